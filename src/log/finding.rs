//! What an audit says of a store, for people and for programs: findings, each with its place, and
//! what nothing vouches for.
//!
//! A finding that loses records is told from one that the next open or a repair mends without loss.
//! Made by `audit` and by the engine's for a root; read by `inspect` and by users.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::ids::Offset;

/// What kind of thing is wrong.
///
/// ```
/// use tidelog::FindingKind;
/// assert!(FindingKind::Batch.loses_records());
/// assert!(!FindingKind::Index.loses_records());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FindingKind {
    /// Bytes that are no batch, or none that fits its place: its records cannot be read.
    Batch,
    /// Offsets that should be there and that no batch holds.
    Gap,
    /// Batch headers that are not what was written: the records of their run are not handed out.
    Digest,
    /// A file could not be read.
    Unreadable,
    /// Bytes behind the last whole batch of a log, or behind the last whole entry of the state log,
    /// which the next open cuts off.
    TornTail,
    /// Digests that are damaged or another segment's: they vouch for nothing. No record is lost.
    Sidecar,
    /// An index that is missing or says something else than the log. It is made again on need.
    Index,
    /// `leader-epoch-checkpoint` is damaged, or says something else than the log.
    Epochs,
    /// `partition.metadata` is damaged, missing or another topic's.
    Metadata,
    /// One of the checkpoints in the root cannot be understood.
    Checkpoint,
    /// The marker, the state log or the keeper file is damaged: the store cannot be opened.
    State,
}

impl FindingKind {
    /// Whether records cannot be read because of it.
    ///
    /// ```
    /// assert!(!tidelog::FindingKind::TornTail.loses_records());
    /// ```
    #[must_use]
    pub fn loses_records(self) -> bool {
        use FindingKind::{Batch, Digest, Gap, State, Unreadable};
        matches!(self, Batch | Gap | Digest | Unreadable | State)
    }
}

/// One thing that is wrong, and where.
///
/// ```no_run
/// let report = tidelog::Verifier::new("data").run()?;
/// for finding in report.findings() {
///     println!("{finding}");
/// }
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub(crate) kind: FindingKind,
    pub(crate) path: PathBuf,
    pub(crate) position: u64,
    pub(crate) bytes: u64,
    pub(crate) offsets: Option<Range<Offset>>,
    pub(crate) what: String,
}

impl Finding {
    pub(crate) fn new(kind: FindingKind, path: &Path, what: impl Into<String>) -> Self {
        let (path, what) = (path.to_owned(), what.into());
        Finding { kind, path, position: 0, bytes: 0, offsets: None, what }
    }

    /// What kind of thing it is.
    ///
    /// ```no_run
    /// # let report = tidelog::Verifier::new("data").run()?;
    /// let lost = report.findings().iter().filter(|finding| finding.kind().loses_records());
    /// # drop(lost);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[must_use]
    pub fn kind(&self) -> FindingKind {
        self.kind
    }

    /// The file, or the directory where a file is missing.
    ///
    /// ```no_run
    /// # let report = tidelog::Verifier::new("data").run()?;
    /// println!("{}", report.findings()[0].path().display());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where in the file it begins, in bytes.
    ///
    /// ```no_run
    /// # let report = tidelog::Verifier::new("data").run()?;
    /// println!("{}", report.findings()[0].position());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// How many bytes it takes up; 0 where that means nothing.
    ///
    /// ```no_run
    /// # let report = tidelog::Verifier::new("data").run()?;
    /// println!("{}", report.findings()[0].bytes());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The offsets that cannot be read because of it, where that is known.
    ///
    /// ```no_run
    /// # let report = tidelog::Verifier::new("data").run()?;
    /// if let Some(lost) = report.findings()[0].offsets() {
    ///     println!("{} to {}", lost.start, lost.end);
    /// }
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[must_use]
    pub fn offsets(&self) -> Option<Range<Offset>> {
        self.offsets.clone()
    }

    /// What is wrong, in words.
    ///
    /// ```no_run
    /// # let report = tidelog::Verifier::new("data").run()?;
    /// println!("{}", report.findings()[0].what());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {}", self.path.display(), self.position, self.what)?;
        match &self.offsets {
            Some(lost) => write!(f, " (offsets {} to {})", lost.start, lost.end),
            None => Ok(()),
        }
    }
}

/// Bytes of a segment for whose batch headers nothing vouches: a bit that had changed there before
/// a digest was taken, if any was, does not show. Bodies have their checksums all the same.
///
/// ```no_run
/// let report = tidelog::Verifier::new("data").run()?;
/// for hole in report.unvouched() {
///     let bytes = hole.bytes();
///     println!("{}: {} to {}", hole.path().display(), bytes.start, bytes.end);
/// }
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unvouched {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Range<u64>,
    pub(crate) taken_later: bool,
}

impl Unvouched {
    /// The segment.
    ///
    /// ```no_run
    /// # let report = tidelog::Verifier::new("data").run()?;
    /// println!("{}", report.unvouched()[0].path().display());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which of its bytes.
    ///
    /// ```no_run
    /// # let report = tidelog::Verifier::new("data").run()?;
    /// println!("{:?}", report.unvouched()[0].bytes());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[must_use]
    pub fn bytes(&self) -> Range<u64> {
        self.bytes.clone()
    }

    /// Whether a digest was taken from the file later, as after a stop in the middle: what has
    /// changed since then does show.
    ///
    /// ```no_run
    /// # let report = tidelog::Verifier::new("data").run()?;
    /// println!("{}", report.unvouched()[0].is_digested_since());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[must_use]
    pub fn is_digested_since(&self) -> bool {
        self.taken_later
    }
}
