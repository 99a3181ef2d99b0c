//! The lanes of one topic, which grow with it, and the first failure among them.
//!
//! A lane is made when its partition is first seen and never goes; the list is replaced, so that a
//! send reads it without a lock. The lanes belong to one topic for good: a topic made again under
//! the name has lanes of its own.

use std::num::NonZeroU32;
use std::sync::{Arc, Weak};

use arc_swap::{ArcSwap, Guard};

use super::core::Core;
use super::lane::Lane;
use crate::engine::Topic;
use crate::error::{Cause, Error, Result};
use crate::ids::PartitionId;
use crate::sync::Mutex;

/// All lanes of a topic.
#[derive(Debug)]
pub(super) struct Lanes {
    topic: Arc<Topic>,
    core: Weak<Core>,
    list: ArcSwap<Vec<Arc<Lane>>>,
    growing: Mutex<()>,
    failures: Arc<Failures>,
}

/// The list at one moment; at least one lane.
pub(super) type LaneList = Guard<Arc<Vec<Arc<Lane>>>>;

impl Lanes {
    pub(super) fn new(topic: Arc<Topic>, core: Weak<Core>) -> Self {
        Lanes {
            topic,
            core,
            list: ArcSwap::default(),
            growing: Mutex::new(()),
            failures: Arc::default(),
        }
    }

    pub(super) fn topic(&self) -> &Arc<Topic> {
        &self.topic
    }

    pub(super) fn failures(&self) -> &Failures {
        &self.failures
    }

    /// The lanes of every partition the topic has now.
    #[inline]
    pub(super) fn list(&self) -> LaneList {
        let list = self.list.load();
        if list.len() == self.topic.partition_count() { list } else { self.grown() }
    }

    /// The lanes made so far. Whoever makes one later sees all that the caller did before this:
    /// an ending producer misses no lane that still takes records.
    pub(super) fn made(&self) -> Arc<Vec<Arc<Lane>>> {
        let _one_at_a_time = self.growing.lock();
        self.list.load_full()
    }

    /// Whether anything lingers.
    pub(super) fn holds_records(&self) -> bool {
        self.list.load().iter().any(|lane| lane.holds_records())
    }

    #[cold]
    fn grown(&self) -> LaneList {
        let _one_at_a_time = self.growing.lock();
        let partitions = self.topic.partitions();
        let mut list = Vec::clone(&self.list.load());
        for partition in partitions.iter().skip(list.len()) {
            let lane = Lane::new(partition.clone(), self.core.clone(), self.failures.clone());
            list.push(Arc::new(lane));
        }
        self.list.store(Arc::new(list));
        self.list.load()
    }

    /// How many partitions a partitioner may choose from.
    #[inline]
    pub(super) fn count(&self, list: &LaneList) -> Result<NonZeroU32> {
        let count = u32::try_from(list.len()).ok().and_then(NonZeroU32::new);
        count.ok_or_else(|| self.missing(PartitionId::new(0)))
    }

    /// The lane of a partition.
    #[inline]
    pub(super) fn lane<'l>(&self, list: &'l LaneList, id: PartitionId) -> Result<&'l Arc<Lane>> {
        list.get(id.index()).ok_or_else(|| self.missing(id))
    }

    #[cold]
    fn missing(&self, id: PartitionId) -> Error {
        let name = format!("{}-{id}", self.topic.name());
        Error::new("find partition", Cause::NotFound { what: "partition", name })
    }
}

/// What the next flush has to report: the first batch that failed since the last one.
#[derive(Debug, Default)]
pub(super) struct Failures {
    first: Mutex<Option<Error>>,
}

impl Failures {
    pub(super) fn note(&self, error: &Error) {
        let error = error.again();
        self.first.lock().get_or_insert(error);
    }

    pub(super) fn take(&self) -> Option<Error> {
        self.first.lock().take()
    }
}
