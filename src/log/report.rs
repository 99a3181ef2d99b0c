//! What opening a log found and did, for people and for programs.
//!
//! Recovery never acts in silence: what it cut, what it saved aside, what it found damaged and
//! which leftovers it removed are here, each with its place.

use std::path::{Path, PathBuf};

use crate::ids::{Offset, PartitionId};

/// Bytes behind the last whole batch that recovery cut off: a write that had not finished.
///
/// ```no_run
/// let store = tidelog::Store::open("data")?;
/// for partition in store.open_report().partitions() {
///     for torn in partition.torn_tails() {
///         println!("{} bytes of {} were torn", torn.bytes(), torn.path().display());
///     }
/// }
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    pub(super) path: PathBuf,
    pub(super) position: u64,
    pub(super) bytes: u64,
    pub(super) offset: Offset,
    pub(super) saved: Vec<PathBuf>,
}

impl TornTail {
    /// The segment file that was cut.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where it was cut, in bytes.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// How many bytes were cut off, later segments included.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The offset the log goes on with.
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// Where what was cut was saved: not empty if whole batches were among it, which may have
    /// been acknowledged with [`Durability::Process`](crate::Durability::Process).
    pub fn saved(&self) -> &[PathBuf] {
        &self.saved
    }
}

/// Records that were promised and cannot be read.
///
/// ```no_run
/// let store = tidelog::Store::open("data")?;
/// for partition in store.open_report().partitions() {
///     for damage in partition.damage() {
///         println!("offsets {} to {} are damaged", damage.from(), damage.to());
///     }
/// }
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    pub(super) path: PathBuf,
    pub(super) position: u64,
    pub(super) from: Offset,
    pub(super) to: Offset,
    pub(super) reason: String,
}

impl Damage {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where in it the damage begins, in bytes.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The first offset that cannot be read.
    pub fn from(&self) -> Offset {
        self.from
    }

    /// The first offset behind the damage.
    pub fn to(&self) -> Offset {
        self.to
    }

    /// What is wrong.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

/// What opening one partition's log found and did.
///
/// ```
/// let store = tidelog::Store::in_memory()?;
/// assert!(store.open_report().partitions().is_empty()); // nothing to tell
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionReport {
    pub(super) topic: String,
    pub(super) partition: PartitionId,
    pub(super) scanned_records: u64,
    pub(super) torn_tails: Vec<TornTail>,
    pub(super) damage: Vec<Damage>,
    pub(super) removed: Vec<PathBuf>,
}

impl PartitionReport {
    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition.
    pub fn partition(&self) -> PartitionId {
        self.partition
    }

    /// Records that were checked because no recorded sync covered them.
    pub fn scanned_records(&self) -> u64 {
        self.scanned_records
    }

    /// What was cut off.
    pub fn torn_tails(&self) -> &[TornTail] {
        &self.torn_tails
    }

    /// What cannot be read.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// Leftovers of an earlier stop that were removed.
    pub fn removed(&self) -> &[PathBuf] {
        &self.removed
    }

    /// Whether there is anything here that a person should look at.
    pub fn is_notable(&self) -> bool {
        !self.torn_tails.is_empty() || !self.damage.is_empty() || !self.removed.is_empty()
    }
}
