//! How urgent a record is, and how many lanes a topic has for that.
//!
//! A priority is the sender's word, the lanes are the topic's: ten priorities are divided over
//! them, so that senders need not know how many there are. The number of lanes is checked when the
//! topic is made and stays, for it says where records lie. Read by `priority`.

use std::fmt;

use super::topic::{TopicConfig, within};
use super::words::refuse;
use crate::error::Error;

const LANES: &str = "tidelog.priority.lanes";

/// How urgent a record is: 0, which can wait, to 9; 4 where nothing is said.
///
/// ```
/// use tidelog::Priority;
/// assert_eq!(Priority::default(), Priority::new(4));
/// assert!(Priority::HIGHEST > Priority::LOWEST);
/// assert_eq!(Priority::new(12), Priority::HIGHEST);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// What can wait: 0.
    pub const LOWEST: Priority = Priority(0);
    /// The most urgent: 9.
    pub const HIGHEST: Priority = Priority(9);
    /// How many there are.
    pub(crate) const COUNT: u32 = 10;

    /// The priority of this number; above 9 the highest.
    ///
    /// ```
    /// assert_eq!(tidelog::Priority::new(7).get(), 7);
    /// ```
    pub const fn new(number: u8) -> Self {
        if number > Self::HIGHEST.0 { Self::HIGHEST } else { Priority(number) }
    }

    /// The number.
    ///
    /// ```
    /// assert_eq!(tidelog::Priority::HIGHEST.get(), 9);
    /// ```
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Priority(4)
    }
}

impl From<u8> for Priority {
    fn from(number: u8) -> Self {
        Priority::new(number)
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TopicConfig {
    /// `tidelog.priority.lanes`: in how many lanes the topic's partitions lie, 1 to 10 and no more
    /// than partitions; default 1: no lanes. Partition `p` belongs to lane `p` modulo that many,
    /// so that partitions which are added widen the lanes in turn. The ten priorities are divided
    /// evenly over the lanes; consumers take from higher lanes first, and from each some. Fixed
    /// when the topic is made.
    ///
    /// ```
    /// let config = tidelog::TopicConfig::new().partitions(6).priority_lanes(3);
    /// assert_eq!(config.get("tidelog.priority.lanes").as_deref(), Some("3"));
    /// ```
    #[must_use]
    pub fn priority_lanes(mut self, lanes: u32) -> Self {
        self.priority_lanes = lanes;
        self
    }

    pub(super) fn validate_priorities(&self) -> Result<(), Error> {
        within(LANES, self.priority_lanes.into(), 1, Priority::COUNT.into(), "")
    }

    /// Of a topic that is made: each lane has a partition.
    pub(crate) fn check_lanes(&self) -> Result<(), Error> {
        if self.priority_lanes <= self.partitions {
            return Ok(());
        }
        let allowed = format!("no more than the {} partitions", self.partitions);
        Err(refuse(LANES, &self.priority_lanes.to_string(), allowed))
    }

    /// Of a topic that there is: its records lie where its lanes are.
    pub(crate) fn check_same_lanes(&self, before: &TopicConfig) -> Result<(), Error> {
        if self.priority_lanes == before.priority_lanes {
            return Ok(());
        }
        let allowed = format!("{}, as the topic was made with", before.priority_lanes);
        Err(refuse(LANES, &self.priority_lanes.to_string(), allowed))
    }
}
