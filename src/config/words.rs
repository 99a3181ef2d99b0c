//! The small enums that options and calls share: durability, what to do when full, who sets
//! timestamps, who lends the threads, how often to sync in the background.
//!
//! Each is written and read as text where a topic's configuration holds it; the text is Kafka's
//! where Kafka has the setting.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::error::{Cause, Error};
use crate::time::millis;

/// How much a write survives once its call has returned `Ok`.
///
/// ```
/// use tidelog::Durability;
/// assert_eq!(Durability::default(), Durability::Process);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// Survives the end of the process, `kill -9` included: the bytes are in the page cache.
    #[default]
    Process,
    /// Survives a power cut: the sync that covers the write, and all of its partition before it,
    /// has returned.
    Power,
}

/// Who sets a record's timestamp; Kafka's `message.timestamp.type`.
///
/// ```
/// use tidelog::TimestampType;
/// assert_eq!(TimestampType::LogAppendTime.to_string(), "LogAppendTime");
/// assert_eq!("CreateTime".parse::<TimestampType>().unwrap(), TimestampType::CreateTime);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TimestampType {
    /// The producer does; a record without a timestamp gets the time of its `send`.
    #[default]
    CreateTime,
    /// The log does, with the time of the append.
    LogAppendTime,
}

impl fmt::Display for TimestampType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TimestampType::CreateTime => "CreateTime",
            TimestampType::LogAppendTime => "LogAppendTime",
        })
    }
}

impl FromStr for TimestampType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "CreateTime" => Ok(TimestampType::CreateTime),
            "LogAppendTime" => Ok(TimestampType::LogAppendTime),
            _ => Err(refuse("message.timestamp.type", text, "CreateTime or LogAppendTime")),
        }
    }
}

/// What an append does when a `max_bytes` budget has no room for it. A batch larger than all of the
/// budget is [`TooLarge`](crate::ErrorKind::TooLarge), whatever is chosen.
///
/// ```
/// use std::time::Duration;
/// use tidelog::WhenFull;
/// assert_eq!(WhenFull::default(), WhenFull::Fail);
/// assert_eq!(WhenFull::Block(Duration::from_secs(1)).to_string(), "block:1000");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenFull {
    /// Fails as [`ErrorKind::Full`](crate::ErrorKind::Full), at once.
    #[default]
    Fail,
    /// Waits up to this long for room, then fails.
    Block(Duration),
    /// Drops the oldest sealed segments until there is room, rolling the active one if it is the
    /// only one; never one that a hold, the high watermark or an open transaction keeps: then it
    /// fails and names that.
    DropOldest,
}

impl fmt::Display for WhenFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WhenFull::Fail => f.write_str("fail"),
            WhenFull::Block(deadline) => write!(f, "block:{}", millis(*deadline)),
            WhenFull::DropOldest => f.write_str("drop-oldest"),
        }
    }
}

impl FromStr for WhenFull {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let block = text.strip_prefix("block:").and_then(|millis| millis.parse().ok());
        match (text, block) {
            ("fail", _) => Ok(WhenFull::Fail),
            ("drop-oldest", _) => Ok(WhenFull::DropOldest),
            (_, Some(millis)) => Ok(WhenFull::Block(Duration::from_millis(millis))),
            _ => Err(refuse("tidelog.when.full", text, "fail, drop-oldest or block:MILLISECONDS")),
        }
    }
}

/// Who lends the store the time for what happens later: lingering, background syncs, retention.
///
/// ```
/// use tidelog::Threads;
/// assert_eq!(Threads::default(), Threads::Own);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Threads {
    /// The store runs threads of its own: a timer, a maintainer, and where files are mapped one
    /// that readies the next window of a busy partition while its writer fills the last, and pages
    /// ahead of who reads on.
    #[default]
    Own,
    /// None: the host calls `run_due` and `run_maintenance`, and calls that block run due work.
    Host,
}

/// Whether a store has a journal, and how large it is.
///
/// In a journal power-durable appends to many partitions cost one sync together, of a file that is
/// written over in place, instead of one for each partition. Its records go to the segments too,
/// which are synced later.
///
/// ```
/// use tidelog::{Journal, Store};
/// let store = Store::builder_in_memory().journal(Journal::Bytes(16 << 20)).open()?;
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Journal {
    /// None: every partition is synced by itself.
    Off,
    /// A file of that many bytes, 1 MiB to 1 GiB, made when it is first of use.
    Bytes(u64),
}

impl Journal {
    /// The smallest, in bytes.
    pub(crate) const LEAST: u64 = 1 << 20;
    /// The largest.
    pub(crate) const MOST: u64 = 1 << 30;

    pub(crate) fn bytes(self) -> Option<u64> {
        match self {
            Journal::Off => None,
            Journal::Bytes(bytes) => Some(bytes),
        }
    }
}

/// 64 MiB: what a store on the real disk has unless it is told otherwise.
impl Default for Journal {
    fn default() -> Self {
        Journal::Bytes(64 << 20)
    }
}

/// When a partition is synced without anybody asking.
///
/// The first bound reached counts. It bounds what a power cut can take from records that were
/// acknowledged with [`Durability::Process`], and the time to open after one.
///
/// ```
/// use std::time::Duration;
/// use tidelog::BackgroundSync;
/// let sync = BackgroundSync::default();
/// assert_eq!(sync.bytes, Some(64 << 20));
/// assert_eq!(sync.interval, Some(Duration::from_secs(30)));
/// assert_eq!(BackgroundSync::OFF.interval, None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BackgroundSync {
    /// Sync once this many bytes are unsynced; `None` never does. Default 64 MiB, at least 1.
    pub bytes: Option<u64>,
    /// Sync once bytes have been unsynced this long; `None` never does. Default 30 s.
    pub interval: Option<Duration>,
}

impl BackgroundSync {
    /// No background sync at all.
    pub const OFF: BackgroundSync = BackgroundSync { bytes: None, interval: None };
}

impl Default for BackgroundSync {
    fn default() -> Self {
        BackgroundSync { bytes: Some(64 << 20), interval: Some(Duration::from_secs(30)) }
    }
}

/// What a reader is shown of transactions: Kafka's `isolation.level`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum IsolationLevel {
    /// What lies below the last stable offset, without what was aborted.
    #[default]
    ReadCommitted,
    /// All there is.
    ReadUncommitted,
}

/// The error for a setting that is out of its range.
pub(super) fn refuse(key: &str, value: &str, allowed: impl Into<String>) -> Error {
    Error::new(
        "configure topic",
        Cause::InvalidConfig { key: key.into(), value: value.into(), allowed: allowed.into() },
    )
}
