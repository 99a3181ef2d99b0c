//! Following topics: their partitions come and go with them.
//!
//! A member of a group gets its partitions from the group (`member`); a reader without one follows
//! the topics by itself, here. The catalog's signal says that something changed; only then the
//! topics are looked through. A topic that does not exist yet is waited for. A partition of a
//! deleted topic is let go of, and one of a topic made again under the name is another partition.

use std::sync::Arc;

use super::handle::Consumer;
use super::member::Member;
use crate::engine::Partition;
use crate::error::Result;
use crate::group::{Interest, known};

/// Where a consumer's partitions come from.
#[derive(Debug)]
pub(super) enum Following {
    /// They were named once and for all.
    Nothing,
    Topics(Subscribed),
    Group(Box<Member>),
}

/// The topics that a reader without a group follows.
#[derive(Debug)]
pub(super) struct Subscribed {
    pub(super) interest: Interest,
    /// They have not been looked through yet: what is there now is not new.
    pub(super) first: bool,
}

impl Consumer {
    /// What `build` does: takes up what is there and decides where to begin.
    pub(super) fn begin_following(&mut self) -> Result<()> {
        match &self.following {
            Following::Group(_) => self.begin_membership()?,
            Following::Nothing | Following::Topics(_) => self.take_changes()?,
        }
        let indexes: Vec<usize> = self.assignment.iter().map(|(index, _)| index).collect();
        for index in indexes {
            self.resolve_early(index);
        }
        Ok(())
    }

    /// Takes up what has changed of topics and group, if anything has.
    pub(super) fn take_changes(&mut self) -> Result<()> {
        self.assignment.drain();
        match self.assignment.take_stirred() {
            true => self.follow_changes(),
            false => Ok(()),
        }
    }

    #[inline(never)] // seldom
    fn follow_changes(&mut self) -> Result<()> {
        self.assignment.queue_watched(); // a topic may be gone
        let taken = match &self.following {
            Following::Nothing => {
                self.assignment.arm_changes();
                Ok(())
            }
            Following::Topics(_) => self.refresh(),
            Following::Group(_) => self.reconcile(),
        };
        if taken.is_err() {
            self.assignment.stir();
        }
        taken
    }

    /// Whether partitions that are gone are to be let go of in silence.
    pub(super) fn is_following(&self) -> bool {
        !matches!(self.following, Following::Nothing)
    }

    /// Takes up the partitions of subscribed topics that are new, drops those that are gone.
    fn refresh(&mut self) -> Result<()> {
        self.assignment.arm_changes();
        let Following::Topics(subscribed) = &mut self.following else { return Ok(()) };
        let topics = self.engine.topics();
        let wanted = topics.iter().filter(|topic| subscribed.interest.wants(&known(topic)));
        let present: Vec<Arc<Partition>> =
            wanted.flat_map(|topic| topic.partitions().to_vec()).collect();
        let first = std::mem::take(&mut subscribed.first);
        let gone: Vec<usize> = self
            .assignment
            .iter()
            .filter(|(_, slot)| self.engine.topic_by_id(slot.partition.topic_id()).is_none())
            .map(|(index, _)| index)
            .collect();
        self.let_go(&gone);
        for partition in &present {
            self.assignment.add(partition, !first);
        }
        Ok(())
    }

    /// Stops reading partitions; what was fetched of them and not handed out is dropped.
    pub(super) fn let_go(&mut self, indexes: &[usize]) {
        for index in indexes {
            self.forget_fetched_of(*index);
            self.retrying.let_go(*index);
        }
        self.assignment.remove(indexes);
    }
}
