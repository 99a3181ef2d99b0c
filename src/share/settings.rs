//! The words of share groups: where one begins, how often it hands a record out, how far it goes.
//!
//! Settings belong to a group as long as it has consumers: the first one brings them, others agree
//! or are refused.

use std::time::Duration;

use crate::config::IsolationLevel;
use crate::error::{Cause, Error, Result};
use crate::record::PlainLimit;
use crate::time::Timestamp;

/// Where a share group begins in a partition it has not read yet.
///
/// Decided once, with the group's first consumer there, and kept; in partitions that come later a
/// group begins with their first record.
///
/// ```
/// use tidelog::{Record, ShareStart, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("jobs", TopicConfig::new())?;
/// store.producer().build()?.topic("jobs")?.send(Record::new("old"))?;
/// let builder = store.share_consumer("g").subscribe(["jobs"]);
/// let mut latest = builder.start(ShareStart::Latest).build()?;
/// assert!(latest.try_poll()?.is_empty());
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShareStart {
    /// With the first record there is; the default.
    #[default]
    Earliest,
    /// With what is sent from then on.
    Latest,
    /// With the first record whose timestamp is that or later.
    At(Timestamp),
}

/// What all consumers of a group agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupSettings {
    /// How often a record is handed out at most.
    pub(crate) max_deliveries: u16,
    /// How many records of a partition may be leased at once.
    pub(crate) max_in_flight: usize,
    /// Whether records of one key are handed out one after the other.
    pub(crate) ordered: bool,
    pub(crate) isolation: IsolationLevel,
    pub(crate) plain: PlainLimit,
}

/// How many records of a partition may be open (leased, due later, behind others) before nothing
/// new is handed out there.
pub(super) const MOST_OPEN: usize = 100_000;

impl Default for GroupSettings {
    fn default() -> Self {
        GroupSettings {
            max_deliveries: 5,
            max_in_flight: 2_000,
            ordered: false,
            isolation: IsolationLevel::ReadCommitted,
            plain: PlainLimit::DEFAULT,
        }
    }
}

/// Refuses what is out of its range.
pub(crate) fn check_settings(settings: &GroupSettings, lease: Duration) -> Result<()> {
    let refuse = |key: &str, value: String, allowed: &str| {
        let (key, allowed) = (key.to_owned(), allowed.to_owned());
        let cause = Cause::InvalidConfig { key, value, allowed };
        Err(Error::new("build share consumer", cause))
    };
    if !(1..=10_000).contains(&settings.max_deliveries) {
        return refuse("max_deliveries", settings.max_deliveries.to_string(), "1 to 10,000");
    }
    if !(1..=MOST_OPEN).contains(&settings.max_in_flight) {
        return refuse("max_in_flight", settings.max_in_flight.to_string(), "1 to 100,000");
    }
    if lease < Duration::from_millis(1) || lease > Duration::from_secs(24 * 3600) {
        return refuse("lease", format!("{lease:?}"), "1 ms to 24 hours");
    }
    Ok(())
}
