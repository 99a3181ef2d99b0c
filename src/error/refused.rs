//! Why records of a batch are refused: which of them, and each for what.
//!
//! A batch is refused whole, whatever is wrong with it, so that the list is what a program needs to
//! mend it: every record that breaks a rule of its own, with its index. A rule of the whole batch
//! (its size) names the record that broke it, where it can be told. Made by whoever checks batches,
//! carried by [`Error::record_errors`](super::Error::record_errors).

use std::fmt;
use std::time::Duration;

use crate::ids::PartitionId;

/// One record that its batch was refused for.
///
/// ```
/// use tidelog::{CleanupPolicy, Record, RecordRefusal, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// let config = TopicConfig::new().cleanup_policy(CleanupPolicy::Compact);
/// store.create_topic("settings", config)?;
/// let settings = store.producer().build()?.topic("settings")?;
/// let records = [Record::new("1").key("a"), Record::new("2"), Record::new("3")];
/// let error = settings.send_batch_to(0, &records).unwrap_err();
/// let refused: Vec<_> = error.record_errors().iter().map(|it| it.index()).collect();
/// assert_eq!(refused, [1, 2]);
/// assert_eq!(error.record_errors()[0].reason(), &RecordRefusal::NoKey);
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordError {
    index: usize,
    reason: RecordRefusal,
}

/// Why a record is refused.
///
/// ```
/// let reason = tidelog::RecordRefusal::NegativeTimestamp { timestamp: -5 };
/// assert_eq!(reason.to_string(), "its timestamp, -5 ms, is negative");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordRefusal {
    /// It has no key, and the topic is compacted.
    NoKey,
    /// Its timestamp, in ms, lies before 1970.
    NegativeTimestamp {
        /// The timestamp in ms.
        timestamp: i64,
    },
    /// Its timestamp lies further ahead of the clock than `message.timestamp.after.max.ms` allows.
    TimestampTooNew {
        /// How far ahead.
        ahead: Duration,
        /// What is allowed.
        most: Duration,
    },
    /// Its timestamp lies further behind the clock than `message.timestamp.before.max.ms` allows.
    TimestampTooOld {
        /// How far behind.
        behind: Duration,
        /// What is allowed.
        most: Duration,
    },
    /// With it the batch is larger than `max.message.bytes`, or the format, allows.
    TooLarge {
        /// Bytes of the batch up to and with this record.
        size: u64,
        /// What is allowed.
        limit: u64,
    },
    /// It maps to another partition than the first record of its batch.
    OtherPartition {
        /// Where it maps to.
        partition: PartitionId,
        /// Where the batch goes.
        first: PartitionId,
    },
}

impl RecordError {
    pub(crate) fn new(index: usize, reason: RecordRefusal) -> Self {
        RecordError { index, reason }
    }

    /// Its place among the records of the call, from 0 on.
    ///
    /// ```
    /// # use tidelog::{Record, Store, Timestamp, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.create_topic("orders", TopicConfig::new())?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// let late = Record::new("late").timestamp(Timestamp::from_millis(i64::MAX));
    /// let error = orders.send_batch(&[Record::new("now"), late]).unwrap_err();
    /// assert_eq!(error.record_errors()[0].index(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn index(&self) -> usize {
        self.index
    }

    /// Why it is refused.
    ///
    /// ```
    /// # use tidelog::{Record, RecordRefusal, Store, Timestamp, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.create_topic("orders", TopicConfig::new())?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// let late = Record::new("late").timestamp(Timestamp::from_millis(i64::MAX));
    /// let error = orders.send(late).unwrap_err();
    /// let reason = error.record_errors()[0].reason();
    /// assert!(matches!(reason, RecordRefusal::TimestampTooNew { .. }));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn reason(&self) -> &RecordRefusal {
        &self.reason
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {} is refused: {}", self.index, self.reason)
    }
}

impl fmt::Display for RecordRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = Duration::as_millis;
        match self {
            RecordRefusal::NoKey => f.write_str("it has no key, and the topic is compacted"),
            RecordRefusal::NegativeTimestamp { timestamp } => {
                write!(f, "its timestamp, {timestamp} ms, is negative")
            }
            RecordRefusal::TimestampTooNew { ahead, most } => write!(
                f,
                "its timestamp lies {} ms ahead of the clock, at most {}",
                ms(ahead),
                ms(most)
            ),
            RecordRefusal::TimestampTooOld { behind, most } => write!(
                f,
                "its timestamp lies {} ms behind the clock, at most {}",
                ms(behind),
                ms(most)
            ),
            RecordRefusal::TooLarge { size, limit } => {
                write!(f, "with it the batch takes {size} bytes, the limit is {limit}")
            }
            RecordRefusal::OtherPartition { partition, first } => {
                write!(f, "it maps to partition {partition}, the first of its batch to {first}")
            }
        }
    }
}

/// The records that a batch is refused for: at least one, by index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused(Box<[RecordError]>);

impl Refused {
    pub(crate) fn one(index: usize, reason: RecordRefusal) -> Self {
        Refused(Box::new([RecordError::new(index, reason)]))
    }

    /// `None` where there are none.
    pub(crate) fn all(errors: Vec<RecordError>) -> Option<Self> {
        (!errors.is_empty()).then(|| Refused(errors.into()))
    }

    pub(super) fn list(&self) -> &[RecordError] {
        &self.0
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, others)) = self.0.split_first() else { return Ok(()) };
        write!(f, "{first}")?;
        match others.len() {
            0 => Ok(()),
            more => write!(f, "; {more} more are"),
        }
    }
}
