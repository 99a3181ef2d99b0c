//! Who is in a group now, as administration sees it: a snapshot, taken under the group's turn
//! where a decision rests on it.
//!
//! Members live in this process only. What they own and follow comes from whoever coordinates
//! them; this file is all that administration and expiry know of that.

use std::sync::Arc;

use super::coordinator::known;
use super::membership::{Interest, KnownTopic, Phase};
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
    /// Why the sticky assignor divided them instead, this time.
    pub(crate) fallback: Option<String>,
    /// How often it had to.
    pub(crate) fallbacks: u64,
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

/// The topics a member follows: those it names, or those its pattern finds.
fn followed(interest: &Interest, known: &[KnownTopic]) -> Vec<Arc<str>> {
    match interest {
        Interest::Topics(names) => names.iter().cloned().collect(),
        Interest::Pattern(_) => {
            let found = known.iter().filter(|topic| interest.wants(topic));
            found.map(|topic| topic.name.clone()).collect()
        }
    }
}

impl OffsetStore {
    /// A group's members; `None` where it has none.
    pub(crate) fn roster(&self, group: &str) -> Option<Roster> {
        let shown = self.coordinator().describe(group)?;
        if shown.members.is_empty() {
            return None;
        }
        let known: Vec<KnownTopic> = self.engine.topics().iter().map(|each| known(each)).collect();
        let members = shown.members.iter().map(|member| RosterMember {
            id: member.id.to_string(),
            instance_id: member.instance.as_deref().map(str::to_owned),
            topics: followed(&member.interest, &known),
            owned: member.owned.iter().map(|p| (p.topic_name().clone(), p.partition())).collect(),
        });
        Some(Roster {
            phase: match shown.phase {
                Phase::Empty => GroupPhase::Empty,
                Phase::Assigning => GroupPhase::Assigning,
                Phase::Reconciling => GroupPhase::Reconciling,
                Phase::Stable => GroupPhase::Stable,
            },
            assignor: shown.assignor,
            fallback: shown.fallback.map(|why| why.to_string()),
            fallbacks: shown.counters.fallbacks,
            members: members.collect(),
        })
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
