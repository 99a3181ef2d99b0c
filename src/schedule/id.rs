//! When a record is to be published, and the name of what was scheduled.
//!
//! An id says when it is due, which sequence it has and where it lies: so it is found without an
//! index, and no other entry ever has the same. It is a short text to be kept anywhere.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use super::state::Key;
use crate::error::{Cause, Error, Result};
use crate::ids::Offset;
use crate::time::{Clock, FRACTION, Timestamp};

/// The last millisecond of the year 9999.
pub(super) const LATEST: i64 = 253_402_300_799_999;

/// When a scheduled record is to be published: at a time of day, or after a while.
///
/// Both are kept as a time on the wall of the store's clock, in milliseconds; what lies in the past
/// is published at once. The latest is the end of the year 9999.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use tidelog::{Timestamp, When};
/// assert_eq!(When::from(Duration::from_secs(5)), When::After(Duration::from_secs(5)));
/// let at = Timestamp::from_millis(1_700_000_000_000);
/// assert_eq!(When::from(at), When::At(at));
/// assert!(matches!(When::from(SystemTime::now()), When::At(_)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum When {
    /// At this time or after, never before.
    At(Timestamp),
    /// So long after the call, or later.
    After(Duration),
}

impl When {
    /// The time on the wall, checked.
    pub(super) fn due(self, clock: &dyn Clock) -> Result<i64> {
        let due = match self {
            When::At(at) => at,
            // a part of a millisecond that is cut off, of either, would be early
            When::After(delay) => {
                clock.wall_rounded_up().saturating_add(delay.saturating_add(FRACTION))
            }
        };
        if due.as_millis() <= LATEST {
            return Ok(due.as_millis().max(0));
        }
        let text = format!("{due} lies beyond the end of the year 9999");
        Err(Error::new("schedule", Cause::InvalidArgument(text)))
    }
}

impl From<Timestamp> for When {
    fn from(at: Timestamp) -> Self {
        When::At(at)
    }
}

impl From<SystemTime> for When {
    fn from(at: SystemTime) -> Self {
        When::At(Timestamp::from(at.checked_add(FRACTION).unwrap_or(at)))
    }
}

impl From<Duration> for When {
    fn from(delay: Duration) -> Self {
        When::After(delay)
    }
}

/// The name of a record that was scheduled, to cancel it by; unique in its store for good.
///
/// ```
/// use std::time::Duration;
/// use tidelog::{Record, ScheduleId, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("orders", TopicConfig::new())?;
/// let orders = store.producer().build()?.topic("orders")?;
/// let id = orders.schedule(Record::new("remind me"), Duration::from_secs(3600))?;
/// let text = id.to_string(); // to be kept anywhere
/// assert_eq!(text.parse::<ScheduleId>()?, id);
/// store.cancel_scheduled(&id)?;
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScheduleId {
    pub(super) key: Key,
    pub(super) offset: Offset,
}

impl ScheduleId {
    /// When it is due.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidelog::{Record, Store, Timestamp, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// let at = Timestamp::from_millis(4_102_444_800_000);
    /// assert_eq!(orders.schedule(Record::new("happy new year"), at)?.due(), at);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn due(&self) -> Timestamp {
        Timestamp::from_millis(self.key.due)
    }
}

impl fmt::Display for ScheduleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Key { due, sequence } = self.key;
        f.pad(&format!("{due}-{sequence:x}-{:x}", self.offset.get()))
    }
}

impl FromStr for ScheduleId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let read = || {
            let mut parts = text.split('-');
            let due = parts.next()?.parse().ok().filter(|due| (0..=LATEST).contains(due))?;
            let sequence = u64::from_str_radix(parts.next()?, 16).ok()?;
            let offset = i64::from_str_radix(parts.next()?, 16).ok()?;
            let id = ScheduleId { key: Key { due, sequence }, offset: Offset::new(offset) };
            // one text for each id
            parts.next().is_none().then_some(id).filter(|id| id.to_string() == text)
        };
        read().ok_or_else(|| {
            let shown: String = text.chars().take(64).collect();
            let why = format!("`{shown}` is not the id of something scheduled");
            Error::new("read schedule id", Cause::InvalidArgument(why))
        })
    }
}
