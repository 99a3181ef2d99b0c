//! The one error of the library: what failed, where, and what became of the call's effect.
//!
//! Callers branch on [`Error::kind`] or a predicate; people read the text, which names the
//! operation and the place (partition, path, position, offset). An error is built or logged,
//! never both. The cause is an enum of this crate's own, so that no signature carries it.

mod cause;
mod refused;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cause::is_passing;
pub(crate) use cause::{Cause, NotBegun};
pub(crate) use refused::Refused;
pub use refused::{RecordError, RecordRefusal};

use crate::ids::{Offset, PartitionId};

/// `std::result::Result` with this crate's [`Error`].
///
/// ```
/// fn first() -> tidelog::Result<tidelog::Offset> {
///     Ok(tidelog::Offset::ZERO)
/// }
/// assert!(first().is_ok());
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What became of the effect a failed call was to have.
///
/// ```
/// use tidelog::{Outcome, TopicId};
/// let error = "no id".parse::<TopicId>().unwrap_err();
/// assert_eq!(error.outcome(), Outcome::NotWritten);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// Nothing was written and no offset used: the call may be made again without harm.
    NotWritten,
    /// The records are in the log and readable; their durability could not be promised.
    WrittenNotDurable,
    /// It cannot be told; making the call again may write twice.
    Unknown,
}

/// The class of an [`Error`].
///
/// ```
/// use tidelog::{ErrorKind, TopicId};
/// let error = "no id".parse::<TopicId>().unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::InvalidArgument);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused an operation.
    Io,
    /// No space: of the device, a quota, or a `max_bytes` budget.
    Full,
    /// An earlier failure took away what durability rests on; reads go on, writes do not.
    Poisoned,
    /// Bytes on disk are not what was written there.
    Corrupt,
    /// The offset lies outside what the partition holds.
    OffsetOutOfRange,
    /// The position was reached under an epoch whose records are gone.
    LogTruncated,
    /// No topic, partition or group of that name.
    NotFound,
    /// A topic of that name exists and differs.
    AlreadyExists,
    /// A name breaks the rules for names.
    InvalidName,
    /// A setting is unknown or out of its range.
    InvalidConfig,
    /// An argument makes no sense.
    InvalidArgument,
    /// A record breaks the format's or the topic's rules.
    InvalidRecord,
    /// A record or batch is larger than the topic or the store allows, or a compressed one than its
    /// reader does.
    TooLarge,
    /// The store, log or handle was closed.
    Closed,
    /// Another process, or another handle in this one, holds the directory.
    Locked,
    /// The process is a forked child of the one that opened the store.
    Forked,
    /// The directory is not one this library may use.
    NotAStore,
    /// Written by a newer version of the format.
    NewerVersion,
    /// A feature that this build or version does not have.
    Unsupported,
    /// A commit would move a committed offset back.
    OffsetRegression,
    /// The caller is no member of its group any more, or never was, or a partition is another
    /// member's.
    Fenced,
    /// An idempotent producer's sequence does not follow the last one of its partition: records
    /// are missing between, or it repeats what is no longer remembered.
    OutOfOrderSequence,
    /// A newer incarnation of the producer id has written.
    InvalidProducerEpoch,
    /// A leader epoch below the latest one of the partition: whoever uses it leads no longer.
    FencedLeaderEpoch,
    /// The host leads the partition and has not made this replica its leader.
    NotLeader,
    /// Batches of a leader that do not go on where the log ends, or not upwards.
    UnexpectedOffset,
    /// What was asked does not fit the state of the producer's transaction.
    InvalidTransactionState,
    /// Whoever settles a record of a share group has no lease on it, or no longer.
    InvalidRecordState,
    /// What was asked is not what the topic's configuration is for.
    PolicyViolation,
    /// The group has members, or what it must not have for what was asked.
    GroupNotEmpty,
    /// What was to be resolved is: published, cancelled, committed or rolled back.
    AlreadyResolved,
    /// Code handed in by the caller panicked.
    Panicked,
    /// The store was opened read-only: another process may be writing to it.
    ReadOnly,
    /// The caller broke the call off.
    Cancelled,
}

/// Why a call failed, where, and what became of its effect.
///
/// ```
/// use tidelog::{ErrorKind, TopicId};
/// let error = "no id".parse::<TopicId>().unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::InvalidArgument);
/// assert!(error.to_string().starts_with("read topic id: `no id`"));
/// ```
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    operation: &'static str,
    cause: Cause,
    outcome: Outcome,
    partition: Option<(Arc<str>, PartitionId)>,
    path: Option<PathBuf>,
    position: Option<u64>,
    offset: Option<Offset>,
}

/// Building an error: a cause and the operation, then what is known of the place.
impl Error {
    /// `operation` is a verb phrase such as "append" or "open segment".
    pub(crate) fn new(operation: &'static str, cause: Cause) -> Self {
        Error(Box::new(Inner {
            operation,
            cause,
            outcome: Outcome::NotWritten,
            partition: None,
            path: None,
            position: None,
            offset: None,
        }))
    }

    /// An error of the operating system; running out of space becomes [`ErrorKind::Full`].
    pub(crate) fn io(operation: &'static str, path: &Path, error: io::Error) -> Self {
        let cause = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Cause::Full(error.to_string())
            }
            _ => match error.downcast::<NotBegun>() {
                Ok(NotBegun(error)) => Cause::NotBegun(error),
                Err(error) => Cause::Io(error),
            },
        };
        Error::new(operation, cause).at_path(path)
    }

    /// Bytes at `position` of `path` are not what was written there.
    pub(crate) fn corrupt(
        operation: &'static str,
        path: &Path,
        position: u64,
        reason: impl Into<String>,
    ) -> Self {
        Error::new(operation, Cause::Corrupt(reason.into())).at_path(path).at_position(position)
    }

    #[must_use]
    pub(crate) fn at_path(mut self, path: &Path) -> Self {
        self.0.path.get_or_insert_with(|| path.to_owned());
        self
    }

    #[must_use]
    pub(crate) fn at_position(mut self, position: u64) -> Self {
        self.0.position.get_or_insert(position);
        self
    }

    #[must_use]
    pub(crate) fn at_offset(mut self, offset: Offset) -> Self {
        self.0.offset.get_or_insert(offset);
        self
    }

    #[must_use]
    pub(crate) fn at_partition(mut self, topic: &Arc<str>, partition: PartitionId) -> Self {
        self.0.partition.get_or_insert_with(|| (topic.clone(), partition));
        self
    }

    #[must_use]
    pub(crate) fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.0.outcome = outcome;
        self
    }

    /// Whether a sync was so much as tried: if not, it may be asked for again.
    pub(crate) fn is_of_a_sync_begun(&self) -> bool {
        !matches!(self.0.cause, Cause::NotBegun(_))
    }

    pub(crate) fn cause(&self) -> &Cause {
        &self.0.cause
    }

    /// The same error for another caller: one failure may end many calls.
    pub(crate) fn again(&self) -> Self {
        let inner = &self.0;
        Error(Box::new(Inner {
            operation: inner.operation,
            cause: inner.cause.again(),
            outcome: inner.outcome,
            partition: inner.partition.clone(),
            path: inner.path.clone(),
            position: inner.position,
            offset: inner.offset,
        }))
    }
}

/// What callers ask of an error.
impl Error {
    /// The class of the failure.
    ///
    /// ```
    /// # use tidelog::{ErrorKind, TopicId};
    /// let error = "no id".parse::<TopicId>().unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    /// ```
    pub fn kind(&self) -> ErrorKind {
        self.0.cause.kind()
    }

    /// What became of the call's effect. Only after [`Outcome::NotWritten`] is the same call safe
    /// to make again without idempotence. A call that only reads says `NotWritten`.
    ///
    /// ```
    /// # use tidelog::{Outcome, TopicId};
    /// let error = "no id".parse::<TopicId>().unwrap_err();
    /// assert_eq!(error.outcome(), Outcome::NotWritten);
    /// ```
    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// The operation that failed, as a verb phrase.
    ///
    /// ```
    /// # use tidelog::TopicId;
    /// assert_eq!("no id".parse::<TopicId>().unwrap_err().operation(), "read topic id");
    /// ```
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// The topic and partition concerned, where there is one.
    ///
    /// ```
    /// # use tidelog::TopicId;
    /// assert_eq!("no id".parse::<TopicId>().unwrap_err().partition(), None);
    /// ```
    pub fn partition(&self) -> Option<(&str, PartitionId)> {
        self.0.partition.as_ref().map(|(topic, partition)| (&**topic, *partition))
    }

    /// The file or directory concerned, where there is one.
    ///
    /// ```
    /// # use tidelog::TopicId;
    /// assert_eq!("no id".parse::<TopicId>().unwrap_err().path(), None);
    /// ```
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// The byte position in [`path`](Error::path), where one is to blame.
    ///
    /// ```
    /// # use tidelog::TopicId;
    /// assert_eq!("no id".parse::<TopicId>().unwrap_err().position(), None);
    /// ```
    pub fn position(&self) -> Option<u64> {
        self.0.position
    }

    /// The record offset concerned, where there is one.
    ///
    /// ```
    /// # use tidelog::TopicId;
    /// assert_eq!("no id".parse::<TopicId>().unwrap_err().offset(), None);
    /// ```
    pub fn offset(&self) -> Option<Offset> {
        match self.0.cause {
            Cause::OutOfRange { requested, .. } => Some(requested),
            _ => self.0.offset,
        }
    }

    /// The offsets that could have been read instead, from the first to the end (exclusive),
    /// after [`ErrorKind::OffsetOutOfRange`].
    ///
    /// ```
    /// # use tidelog::TopicId;
    /// assert_eq!("no id".parse::<TopicId>().unwrap_err().available(), None);
    /// ```
    pub fn available(&self) -> Option<(Offset, Offset)> {
        match self.0.cause {
            Cause::OutOfRange { start, end, .. } => Some((start, end)),
            _ => None,
        }
    }

    /// The records that the batch was refused for, by index, each with its reason: empty unless
    /// the kind is [`InvalidRecord`](ErrorKind::InvalidRecord), or
    /// [`TooLarge`](ErrorKind::TooLarge) where one record can be told to have broken the limit.
    /// Nothing of the batch was written.
    ///
    /// ```
    /// use tidelog::{Record, Store, Timestamp, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.create_topic("orders", TopicConfig::new())?;
    /// let orders = store.producer().build()?.topic("orders")?;
    /// let late = Record::new("late").timestamp(Timestamp::from_millis(i64::MAX));
    /// let error = orders.send_batch(&[Record::new("now"), late]).unwrap_err();
    /// for refused in error.record_errors() {
    ///     println!("record {}: {}", refused.index(), refused.reason());
    /// }
    /// assert_eq!(error.record_errors().len(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn record_errors(&self) -> &[RecordError] {
        match &self.0.cause {
            Cause::InvalidRecord(refused) | Cause::BatchTooLarge(refused) => refused.list(),
            _ => &[],
        }
    }

    /// Whether the same call may succeed later and making it again cannot write twice.
    ///
    /// ```
    /// # use tidelog::TopicId;
    /// assert!(!"no id".parse::<TopicId>().unwrap_err().is_retriable());
    /// ```
    pub fn is_retriable(&self) -> bool {
        let passing = match &self.0.cause {
            Cause::Full(_) | Cause::Locked(_) | Cause::NotBegun(_) => true,
            Cause::Io(error) => is_passing(error),
            _ => false,
        };
        passing && self.0.outcome == Outcome::NotWritten
    }

    /// Whether bytes on disk were found damaged.
    ///
    /// ```
    /// # use tidelog::TopicId;
    /// assert!(!"no id".parse::<TopicId>().unwrap_err().is_corrupt());
    /// ```
    pub fn is_corrupt(&self) -> bool {
        self.kind() == ErrorKind::Corrupt
    }

    /// Whether space ran out: of the device, a quota or a budget.
    ///
    /// ```
    /// # use tidelog::TopicId;
    /// assert!(!"no id".parse::<TopicId>().unwrap_err().is_full());
    /// ```
    pub fn is_full(&self) -> bool {
        self.kind() == ErrorKind::Full
    }

    /// Whether the store, log or handle was closed before the call.
    ///
    /// ```
    /// # use tidelog::TopicId;
    /// assert!(!"no id".parse::<TopicId>().unwrap_err().is_closed());
    /// ```
    pub fn is_closed(&self) -> bool {
        self.kind() == ErrorKind::Closed
    }

    /// Whether the caller has lost what it acts on: a group's member that was expelled, a
    /// partition that is another member's now, a producer or leader of an older epoch. Making the
    /// call again does not help; the next poll joins a group again.
    ///
    /// ```
    /// use tidelog::{Offset, OffsetCommit, Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.ensure_topic("orders", TopicConfig::new())?;
    /// let member = store.consumer("billing").subscribe(["orders"]).build()?;
    /// let mut outsider = store.consumer("billing").assign([("orders", 0)]).build()?;
    /// let commit = OffsetCommit::new("orders", 0, Offset::ZERO);
    /// assert!(outsider.commit_offsets(&[commit]).unwrap_err().is_fenced());
    /// drop(member);
    /// outsider.commit_offsets(&[commit])?; // the group has no members now
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn is_fenced(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::Fenced | ErrorKind::InvalidProducerEpoch | ErrorKind::FencedLeaderEpoch
        )
    }

    /// Whether an earlier failure has ended writing to this partition or store.
    ///
    /// ```
    /// # use tidelog::TopicId;
    /// assert!(!"no id".parse::<TopicId>().unwrap_err().is_poisoned());
    /// ```
    pub fn is_poisoned(&self) -> bool {
        self.kind() == ErrorKind::Poisoned
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.0;
        write!(f, "{}: {}", inner.operation, inner.cause)?;
        let mut separator = " (";
        if let Some((topic, partition)) = &inner.partition {
            write!(f, "{separator}partition {topic}-{partition}")?;
            separator = ", ";
        }
        if let Some(path) = &inner.path {
            write!(f, "{separator}file {}", path.display())?;
            separator = ", ";
        }
        if let Some(position) = inner.position {
            write!(f, "{separator}position {position}")?;
            separator = ", ";
        }
        if let Some(offset) = inner.offset {
            write!(f, "{separator}offset {offset}")?;
            separator = ", ";
        }
        match inner.outcome {
            Outcome::NotWritten => {}
            Outcome::WrittenNotDurable => {
                write!(f, "{separator}the records are written, not durable")?;
                separator = ", ";
            }
            Outcome::Unknown => {
                write!(f, "{separator}whether it took effect is unknown")?;
                separator = ", ";
            }
        }
        if separator == ", " { f.write_str(")") } else { Ok(()) }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Error").field(&self.0).finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.cause {
            Cause::Io(error) | Cause::NotBegun(error) => Some(error),
            _ => None,
        }
    }
}
