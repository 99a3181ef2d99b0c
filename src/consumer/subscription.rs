//! Following topics: their partitions come and go with them.
//!
//! The catalog's signal says that something changed; only then the topics are looked through. A
//! topic that does not exist yet is waited for. A partition of a deleted topic is let go of, and
//! one of a topic made again under the name is another partition.

use std::sync::Arc;

use super::handle::Consumer;
use crate::engine::Partition;
use crate::error::{ErrorKind, Result};
use crate::group::Subscription;

/// The topics a consumer follows.
#[derive(Debug)]
pub(super) struct Subscribed {
    pub(super) topics: Vec<Arc<str>>,
    /// Keeps a second subscriber of the group out.
    pub(super) _turn: Option<Subscription>,
    /// The catalog's count when the topics were last looked through.
    pub(super) seen: Option<u64>,
}

impl Consumer {
    /// Takes up the partitions of subscribed topics that are new, drops those that are gone.
    pub(super) fn refresh(&mut self) -> Result<()> {
        self.assignment.arm_catalog();
        let Some(subscribed) = &mut self.subscribed else { return Ok(()) };
        let count = self.engine.catalog_changes().count();
        let first = subscribed.seen.is_none();
        if subscribed.seen == Some(count) {
            return Ok(());
        }
        let mut present: Vec<Arc<Partition>> = Vec::new();
        for name in &subscribed.topics {
            match self.engine.topic(name) {
                Ok(topic) => present.extend(topic.partitions().iter().cloned()),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        subscribed.seen = Some(count);
        let gone: Vec<usize> = self
            .assignment
            .iter()
            .filter(|(_, slot)| self.engine.topic_by_id(slot.partition.topic_id()).is_none())
            .map(|(index, _)| index)
            .collect();
        for index in gone {
            self.let_go(index);
        }
        for partition in &present {
            self.assignment.add(partition, !first);
        }
        Ok(())
    }

    /// Stops reading a partition that is gone.
    pub(super) fn let_go(&mut self, index: usize) {
        self.forget_fetched_of(index);
        self.assignment.remove(index);
    }
}
