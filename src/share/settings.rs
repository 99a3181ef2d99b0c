//! The words of share groups: where one begins, how often it hands a record out, how far it goes.
//!
//! Settings belong to a group as long as it has consumers: the first one brings them, others agree
//! or are refused.

use std::sync::Arc;
use std::time::Duration;

use crate::config::IsolationLevel;
use crate::disk::names::validate_topic_name;
use crate::engine::Engine;
use crate::error::{Cause, Error, Result};
use crate::record::{PlainLimit, RecordFilter};
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

/// Which records a group hands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intake {
    /// Those of the log, as they come.
    Log,
    /// Those that an ordinary group's consumers gave back for later, and no others.
    GivenBack,
}

/// What the name of such a group begins with; the ordinary group's follows.
pub(crate) const RETRIES_OF: &str = "%RETRY%";

/// The group that keeps what the consumers of `group` gave back for later.
pub(crate) fn retries_of(group: &str) -> String {
    format!("{RETRIES_OF}{group}")
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
    pub(crate) intake: Intake,
    pub(crate) isolation: IsolationLevel,
    pub(crate) plain: PlainLimit,
}

/// What becomes of records that are given up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fate {
    /// No consumer of this life has said so yet: they stay as they are.
    #[default]
    Unsaid,
    Archive,
    /// They go to this topic.
    Bury(Arc<str>),
    /// They stay, and what is behind them, until somebody says what becomes of them.
    Stop,
}

/// Where what is given up goes, as programs say it.
#[derive(Clone, Debug, Default)]
pub(crate) enum Letters {
    /// To `<group>.dlq`.
    #[default]
    Own,
    To(String),
    Nowhere,
    /// It stays, and the group stops there.
    Stay,
}

impl Letters {
    /// What becomes of records of a group that reads these topics; refuses a topic that cannot
    /// take them.
    pub(crate) fn fate<'a>(
        &self,
        engine: &Engine,
        group: &str,
        mut read: impl Iterator<Item = &'a str>,
    ) -> Result<Fate> {
        let topic = match self {
            Letters::Own => format!("{group}.dlq"),
            Letters::To(topic) => topic.clone(),
            Letters::Nowhere => return Ok(Fate::Archive),
            Letters::Stay => return Ok(Fate::Stop),
        };
        validate_topic_name(&topic)?;
        let is_internal = engine.topic(&topic).is_ok_and(|topic| topic.is_internal());
        if is_internal || read.any(|read| *read == topic) {
            let text = match is_internal {
                true => format!("`{topic}` is internal: dead letters do not go there"),
                false => format!("dead letters of `{topic}` do not go to that topic itself"),
            };
            return Err(Error::new("find dead-letter topic", Cause::InvalidArgument(text)));
        }
        Ok(Fate::Bury(Arc::from(topic)))
    }
}

/// All that the consumers of a group agree on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Terms {
    pub(crate) settings: GroupSettings,
    pub(crate) fate: Fate,
    /// What is handed out of the log; the rest is passed over.
    pub(crate) filter: Option<RecordFilter>,
}

impl Terms {
    /// Whether consumers with these may come to some with others.
    pub(super) fn agree(&self, other: &Terms) -> bool {
        let same_filter = match (&self.filter, &other.filter) {
            (Some(own), Some(other)) => own.is_same(other),
            (own, other) => own.is_none() && other.is_none(),
        };
        self.settings.agrees(&other.settings) && self.fate == other.fate && same_filter
    }
}

/// How many records of a partition may be open (leased, due later, behind others) before nothing
/// new is handed out there.
pub(super) const MOST_OPEN: usize = 100_000;

impl GroupSettings {
    /// Whether consumers with these may come to some with others. Of records that were given back
    /// only matters how often they are: who gave them back has read them.
    pub(super) fn agrees(&self, other: &GroupSettings) -> bool {
        match self.intake {
            Intake::Log => self == other,
            Intake::GivenBack => self.max_deliveries == other.max_deliveries,
        }
    }
}

impl Default for GroupSettings {
    fn default() -> Self {
        GroupSettings {
            max_deliveries: 5,
            max_in_flight: 2_000,
            ordered: false,
            intake: Intake::Log,
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
