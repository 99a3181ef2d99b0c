//! Who is in a group now, as administration sees it: a snapshot, taken under the group's turn
//! where a decision rests on it.
//!
//! Members live in this process only. What they own and follow comes from whoever coordinates
//! them; this file is all that administration and expiry know of that.

use std::sync::Arc;

use super::offsets::OffsetStore;
use crate::error::{Cause, Error, Result};
use crate::ids::PartitionId;

/// How far a group is with dividing its partitions; Kafka's words.
///
/// ```
/// let store = tidelog::Store::in_memory()?;
/// store.ensure_topic("orders", tidelog::TopicConfig::new())?;
/// let consumer = store.consumer("billing").subscribe(["orders"]).build()?;
/// assert_ne!(store.describe_group("billing")?.phase, tidelog::GroupPhase::Empty);
/// # drop(consumer);
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GroupPhase {
    /// It has no members.
    #[default]
    Empty,
    /// Its partitions are about to be divided anew.
    Assigning,
    /// They are divided, and some are not yet with the member that is to read them.
    Reconciling,
    /// Each is where it is to be.
    Stable,
}

impl std::fmt::Display for GroupPhase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            GroupPhase::Empty => "empty",
            GroupPhase::Assigning => "assigning",
            GroupPhase::Reconciling => "reconciling",
            GroupPhase::Stable => "stable",
        })
    }
}

/// A group that has members.
#[derive(Clone, Debug)]
pub(crate) struct Roster {
    pub(crate) phase: GroupPhase,
    /// What divides the partitions; `None` before the first time.
    pub(crate) assignor: Option<Arc<str>>,
    pub(crate) members: Vec<RosterMember>,
}

#[derive(Clone, Debug)]
pub(crate) struct RosterMember {
    pub(crate) id: String,
    pub(crate) instance_id: Option<String>,
    /// The topics it follows, whether they exist or not.
    pub(crate) topics: Vec<Arc<str>>,
    /// What it may read now.
    pub(crate) owned: Vec<(Arc<str>, PartitionId)>,
}

impl Roster {
    pub(crate) fn follows(&self, topic: &str) -> bool {
        self.members.iter().any(|member| member.topics.iter().any(|other| &**other == topic))
    }
}

impl OffsetStore {
    /// A group's members; `None` where it has none.
    pub(crate) fn roster(&self, group: &str) -> Option<Roster> {
        let topics = self.registry().topics_of(group)?;
        let mut owned = Vec::new();
        for name in &topics {
            let Ok(topic) = self.engine.topic(name) else { continue };
            owned.extend(topic.partitions().iter().map(|each| (name.clone(), each.id())));
        }
        let member = RosterMember { id: "subscriber".to_owned(), instance_id: None, topics, owned };
        Some(Roster { phase: GroupPhase::Stable, assignor: None, members: vec![member] })
    }

    /// Refuses what must not happen to a group while it has members.
    pub(super) fn check_rests(&self, operation: &'static str, group: &str) -> Result<()> {
        match self.roster(group) {
            None => Ok(()),
            Some(roster) => {
                let text = format!("group `{group}` has members: {}", roster.members.len());
                Err(Error::new(operation, Cause::GroupNotEmpty(text)))
            }
        }
    }
}
