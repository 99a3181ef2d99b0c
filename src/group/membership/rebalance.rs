//! From a change to a new target: the snapshot an assignor works on, and the plan made of it.
//!
//! A [`Rebalance`] is taken under the group's lock and costs a copy of who is there and what they
//! own; all the rest (patterns resolved, the assignor run, its answer held to the rules) happens in
//! [`plan`](Rebalance::plan), without the lock. A [`Plan`] is valid by construction: an answer that
//! is nonsense, or a panic, is replaced whole by what the sticky assignor says, and the plan tells.
//!
//! Called by whoever is in its own `build` or `poll` while a rebalance is due.

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::places::Key;
use super::state::GroupState;
use super::topics::{Interest, TopicList};
use crate::group::assign::{
    Assignment, AssignmentFault, Assignor, GroupView, StickyAssignor, ViewedMember, ViewedTopic,
};
use crate::group::identity::MemberId;

/// A group as it was when somebody began to divide its partitions anew.
#[derive(Debug)]
pub(crate) struct Rebalance {
    version: u64,
    topics: Arc<TopicList>,
    members: Vec<Participant>,
}

#[derive(Debug)]
struct Participant {
    id: MemberId,
    instance: Option<Arc<str>>,
    interest: Arc<Interest>,
    owned: Vec<Key>,
}

/// A target that keeps the rules, for the state it was made of.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(super) version: u64,
    pub(super) assignment: Assignment,
    pub(super) fallback: Option<Fallback>,
}

/// Why a generation was divided by the sticky assignor and not by the group's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// Its answer broke this rule.
    Refused(AssignmentFault),
    /// It panicked, saying this.
    Panicked(String),
}

impl fmt::Display for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fallback::Refused(fault) => fault.fmt(f),
            Fallback::Panicked(text) => write!(f, "it panicked: {text}"),
        }
    }
}

impl GroupState {
    /// The snapshot to plan on, while a rebalance is due.
    pub(crate) fn rebalance(&self) -> Option<Rebalance> {
        let members = self.members.iter().map(|(id, member)| Participant {
            id: *id,
            instance: member.instance.clone(),
            interest: member.interest.clone(),
            owned: member.owned.iter().copied().collect(),
        });
        self.is_due().then(|| Rebalance {
            version: self.version,
            topics: self.topics.clone(),
            members: members.collect(),
        })
    }
}

impl Rebalance {
    /// Has the assignor divide the partitions. It is the host's code: call this under no lock.
    pub(crate) fn plan(&self, assignor: &dyn Assignor) -> Plan {
        let view = self.view();
        let answer = catch_unwind(AssertUnwindSafe(|| assignor.assign(&view)));
        let checked = match answer {
            Ok(assignment) => match view.check(&assignment) {
                Ok(()) => Ok(assignment),
                Err(fault) => Err(Fallback::Refused(fault)),
            },
            Err(payload) => Err(Fallback::Panicked(panic_text(&*payload))),
        };
        let (assignment, fallback) = match checked {
            Ok(assignment) => (assignment, None),
            Err(fallback) => (StickyAssignor::new().assign(&view), Some(fallback)),
        };
        debug_assert_eq!(view.check(&assignment), Ok(()));
        Plan { version: self.version, assignment, fallback }
    }

    /// The group as an assignor sees it: topics that somebody wants, partitions that are there.
    fn view(&self) -> GroupView {
        let mut resolved: HashMap<*const Interest, Arc<[usize]>> = HashMap::new();
        let mut wanted = vec![false; self.topics.topics().len()];
        for member in &self.members {
            resolved.entry(Arc::as_ptr(&member.interest)).or_insert_with(|| {
                let places = member.interest.resolve(&self.topics);
                places.iter().for_each(|at| wanted[*at] = true);
                places.into()
            });
        }
        // the places of wanted topics among the wanted ones
        let mut narrowed = vec![0; wanted.len()];
        let mut topics = Vec::new();
        let mut by_id = HashMap::new();
        for (at, known) in self.topics.topics().iter().enumerate().filter(|(at, _)| wanted[*at]) {
            narrowed[at] = topics.len();
            by_id.insert(known.id, (topics.len(), known.partitions));
            let (name, id) = (known.name.clone(), known.id);
            topics.push(ViewedTopic { name, id, partitions: known.partitions });
        }
        for places in resolved.values_mut() {
            *places = places.iter().map(|at| narrowed[*at]).collect();
        }
        let members = self.members.iter().map(|member| {
            let owned = member.owned.iter().filter_map(|(topic, partition)| {
                let (at, partitions) = *by_id.get(topic)?;
                (partition.get() < partitions).then_some((at, *partition))
            });
            ViewedMember {
                id: member.id,
                instance: member.instance.clone(),
                topics: resolved[&Arc::as_ptr(&member.interest)].clone(),
                owned: owned.collect(),
            }
        });
        GroupView::of(topics, members.collect())
    }
}

impl Plan {
    /// Why the group's own assignor was not heard, if it was not: to be logged, once.
    pub(crate) fn fallback(&self) -> Option<&Fallback> {
        self.fallback.as_ref()
    }
}

fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no text".to_owned())
}
