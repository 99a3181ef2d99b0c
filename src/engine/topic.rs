//! One topic, as every handle shares it: its identity, its configuration, its partitions.
//!
//! The list of partitions only grows, and the limit changes, one change at a time. A topic that was
//! deleted stays what it was for those who hold it, and fails every call: one made later under its
//! name is another topic.

use arc_swap::ArcSwap;

use super::budget::Budget;
use super::partition::Partition;
use crate::config::TopicConfig;
use crate::disk::Near;
use crate::error::{Cause, Error, Result};
use crate::ids::{PartitionId, TopicId};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;

/// One topic.
#[derive(Debug)]
pub(crate) struct Topic {
    name: Arc<str>,
    id: TopicId,
    internal: bool,
    adopted: AtomicBool,
    deleted: AtomicBool,
    config: ArcSwap<TopicConfig>,
    partitions: ArcSwap<Vec<Arc<Partition>>>,
    /// How many `partitions` has: every send looks.
    partition_count: AtomicUsize,
    pub(super) budget: Arc<Budget>,
}

/// Configurations, each kept once however many topics have it.
#[derive(Debug, Default)]
pub(super) struct Configs(Vec<Arc<TopicConfig>>);

impl Configs {
    /// More different ones than this are not looked for.
    const MOST: usize = 16;

    pub(super) fn share(&mut self, config: TopicConfig) -> Arc<TopicConfig> {
        if let Some(known) = self.0.iter().find(|known| ***known == config) {
            return known.clone();
        }
        let config = Arc::new(config);
        if self.0.len() < Configs::MOST {
            self.0.push(config.clone());
        }
        config
    }
}

impl Topic {
    pub(super) fn new(
        name: Arc<str>,
        id: TopicId,
        (internal, adopted): (bool, bool),
        config: Arc<TopicConfig>,
        budget: Arc<Budget>,
    ) -> Self {
        Topic {
            name,
            id,
            internal,
            adopted: AtomicBool::new(adopted),
            deleted: AtomicBool::new(false),
            config: ArcSwap::new(config),
            partitions: ArcSwap::default(),
            partition_count: AtomicUsize::new(0),
            budget,
        }
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn id(&self) -> TopicId {
        self.id
    }

    /// Whether the store keeps it for itself.
    pub(crate) fn is_internal(&self) -> bool {
        self.internal
    }

    /// Whether it came with the directory and nobody has set its policy yet.
    pub(crate) fn is_adopted(&self) -> bool {
        self.adopted.load(Ordering::Acquire)
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    pub(crate) fn config(&self) -> Arc<TopicConfig> {
        self.config.load_full()
    }

    pub(crate) fn partitions(&self) -> Arc<Vec<Arc<Partition>>> {
        self.partitions.load_full()
    }

    /// How many partitions there are; cheaper than the list.
    #[inline]
    pub(crate) fn partition_count(&self) -> usize {
        self.partition_count.load(Ordering::Acquire)
    }

    /// Where what every send looks at lies.
    pub(crate) fn near(&self) -> Near {
        Near::of(&self.partition_count)
    }

    /// The partition of that number.
    pub(crate) fn partition(&self, id: PartitionId) -> Result<Arc<Partition>> {
        let partitions = self.partitions.load();
        partitions.get(id.index()).cloned().ok_or_else(|| {
            let name = format!("{}-{id}", self.name);
            Error::new("find partition", Cause::NotFound { what: "partition", name })
        })
    }

    /// Fails if the topic was deleted.
    pub(crate) fn check_exists(&self, operation: &'static str) -> Result<()> {
        if !self.is_deleted() {
            return Ok(());
        }
        let name = self.name.to_string();
        Err(Error::new(operation, Cause::NotFound { what: "topic", name }))
    }

    pub(super) fn set_partitions(&self, partitions: Vec<Arc<Partition>>) {
        let count = partitions.len();
        self.partitions.store(Arc::new(partitions));
        self.partition_count.store(count, Ordering::Release);
    }

    /// The host has set the policy: the topic is its own from now on.
    pub(super) fn set_config(&self, config: Arc<TopicConfig>) {
        self.config.store(config.clone());
        self.adopted.store(false, Ordering::Release);
        for partition in self.partitions.load().iter() {
            if let Ok(log) = partition.log() {
                log.set_config(config.clone());
                if config.cleanup_policy.compacts() {
                    log.tell_when_larger(0); // have it looked at
                }
            }
        }
        self.count_bytes();
    }

    /// Begins to count what the partitions hold against the limit that is configured.
    pub(super) fn count_bytes(&self) {
        let config = self.config.load();
        let count = self.budget.begin_count(config.max_bytes, config.when_full);
        for partition in self.partitions.load().iter() {
            partition.join_count(count);
        }
        self.budget.announce_room();
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Published bytes of all partitions.
    pub(crate) fn bytes(&self) -> u64 {
        let partitions = self.partitions.load();
        partitions.iter().filter_map(|partition| partition.log().ok()).map(|log| log.size().0).sum()
    }

    pub(super) fn set_deleted(&self) {
        self.deleted.store(true, Ordering::Release);
    }
}
