//! Changing what topics there are: one change at a time, durable before it can be seen.
//!
//! Making topics costs one write to the state log, however many: a partition's directory comes
//! with its first batch. Deleting records it first, then ends the handles, then takes the names
//! from the directories durably, so that a topic made again under the name finds none of them;
//! their files go after that. Cut short anywhere, the next open finishes it.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::Engine;
use super::budget::Budget;
use super::held::Held;
use super::partition::Partition;
use super::root::fact::Fact;
use super::shared::Shared;
use super::topic::{Configs, Topic};
use crate::config::{Leadership, TopicConfig};
use crate::disk::names::{
    PARTITION_METADATA, PartitionDir, deleting_dir, parse_partition_dir, partition_dir,
    validate_topic_name,
};
use crate::disk::{Disk, Entry};
use crate::error::{Cause, Error, Result};
use crate::ids::{Offset, PartitionId, TopicId};
use crate::log::checkpoint::read_partition_metadata;
use crate::log::{Durable, KnownFacts, LastStop, LogId, PartitionLog};
use crate::record::check_built;

/// A topic to be made.
#[derive(Clone, Debug)]
pub(crate) struct NewTopic<'a> {
    pub(crate) name: &'a str,
    pub(crate) config: TopicConfig,
    /// Whether it is the store's own.
    pub(crate) internal: bool,
}

impl Engine {
    /// Makes topics, all or none; durable when it returns.
    pub(crate) fn create_topics(&self, new: &[NewTopic<'_>]) -> Result<Vec<Arc<Topic>>> {
        self.create_topics_led(new, Leadership::SelfLed)
    }

    /// The same, with who leads their partitions.
    pub(crate) fn create_topics_led(
        &self,
        new: &[NewTopic<'_>],
        leadership: Leadership,
    ) -> Result<Vec<Arc<Topic>>> {
        let one_at_a_time = self.catalog.lock();
        self.check_open("create topic")?;
        let root = &self.owner("create topic")?.root;
        let mut topics = Vec::with_capacity(new.len());
        let mut facts = Vec::with_capacity(new.len());
        let (mut names, mut configs) = (HashSet::new(), Configs::default());
        for NewTopic { name, config, internal } in new {
            validate_topic_name(name)?;
            config.validate()?;
            config.check_lanes()?;
            check_built("create topic", config.compression.kind())?;
            if !names.insert(*name) || self.table.read().names.contains_key(*name) {
                let difference = "no second one can be made".to_owned();
                let name = (*name).to_owned();
                return Err(Error::new("create topic", Cause::AlreadyExists { name, difference }));
            }
            self.clear_directories(name, 0..config.partitions)?;
            facts.extend(self.forgotten(name)?);
            let id = TopicId::random();
            let budget = Arc::new(Budget::new(config.max_bytes, config.when_full));
            let shared_config = configs.share(config.clone());
            let topic = Topic::new(Arc::from(*name), id, (*internal, false), shared_config, budget);
            let total = config.partitions;
            topic.set_partitions(self.partitions_up_to(&topic, total, leadership)?);
            topics.push(Arc::new(topic));
            facts.push(Fact::TopicCreated {
                id,
                name: (*name).to_owned(),
                config: config.changed_entries(),
                partitions: total,
                adopted: false,
                internal: *internal,
            });
            facts.extend(led_by(leadership, id, 0..total));
        }
        root.log().record(&facts, Durable::Now)?; // one frame: all or none
        let mut table = self.table.write();
        for topic in &topics {
            table.insert(topic.clone());
        }
        drop(table);
        drop(one_at_a_time);
        if new.iter().any(|new| new.config.has_retention() || new.config.cleanup_policy.compacts())
        {
            self.maintenance_wakeup.wake();
        }
        self.catalog_changes.announce();
        Ok(topics)
    }

    /// Sees to it that partitions about to be made find no directory of their name: a deletion
    /// that could not be finished is finished now.
    ///
    /// # Errors
    /// `AlreadyExists` where the directory is not one of a deleted topic; the disk's.
    fn clear_directories(&self, name: &str, partitions: Range<u32>) -> Result<()> {
        let disk = &*self.options.disk;
        let log = self.owner("create topic")?.root.log();
        let root = self.path();
        let mut gone = Vec::new();
        for partition in partitions.map(PartitionId::new) {
            let dir = root.join(partition_dir(name, partition));
            let fail = |error| Error::io("create topic", &dir, error);
            if disk.metadata(&dir).map_err(fail)?.is_none() {
                continue;
            }
            let id = read_partition_metadata(disk, &dir.join(PARTITION_METADATA))?;
            let deleted = log.with_state(|state| match id {
                Some(id) => state.is_deleted(id),
                None => state.is_deleted_name(name),
            });
            if !deleted {
                let difference = "a directory of its name holds what is not this store's".into();
                let cause = Cause::AlreadyExists { name: name.to_owned(), difference };
                return Err(Error::new("create topic", cause).at_path(&dir));
            }
            let away = root.join(deleting_dir(name, partition, TopicId::random()));
            disk.rename(&dir, &away).map_err(fail)?;
            gone.push(away);
        }
        if gone.is_empty() {
            return Ok(());
        }
        disk.sync_dir(root).map_err(|error| Error::io("create topic", root, error))?;
        for dir in gone {
            if let Err(error) = remove_dir(disk, &dir) {
                log::warn!("{error}: the next open removes it");
            }
        }
        Ok(())
    }

    /// The deleted topics that had this name and have no directory of it any more: what lies in one
    /// from now on is another's, even where a power cut takes its topic id.
    ///
    /// # Errors
    /// The disk's: an unfinished deletion may have left names that were never made durable.
    fn forgotten(&self, name: &str) -> Result<Vec<Fact>> {
        let log = self.owner("create topic")?.root.log();
        let ids = log.with_state(|state| state.deleted_of_name(name));
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let (disk, root) = (&*self.options.disk, self.path());
        let fail = |error| Error::io("create topic", root, error);
        disk.sync_dir(root).map_err(fail)?;
        let is_its = |entry: &Entry| match parse_partition_dir(&entry.name) {
            Some(PartitionDir::Live { topic, .. }) => topic == name,
            _ => false,
        };
        let is_gone = !disk.list(root).map_err(fail)?.iter().any(is_its);
        let ids = ids.into_iter().filter(|_| is_gone);
        Ok(ids.map(|id| Fact::TopicForgotten { id }).collect())
    }

    /// Gives a topic partitions up to `total`, none of which has a directory yet.
    ///
    /// # Errors
    /// What a new one could not be opened for: it must not be recorded then.
    fn partitions_up_to(
        &self,
        topic: &Topic,
        total: u32,
        leadership: Leadership,
    ) -> Result<Vec<Arc<Partition>>> {
        let owner = self.owner("add partitions")?;
        let shared = Shared {
            options: self.options.clone(),
            gate: self.gate.clone(),
            requests: self.requests.clone(),
            budget: self.budget.clone(),
            pinned: self.pinned.clone(),
            root: owner.root.clone(),
            journal: owner.journal.clone(),
        };
        let known = KnownFacts {
            recovery_point: Offset::ZERO,
            log_start: Offset::ZERO,
            last_stop: LastStop::Clean,
            adopted: false,
            ours_from: None,
            compacted: Offset::ZERO,
            sparse: Offset::ZERO,
            host_led: (leadership == Leadership::HostLed).then_some(Offset::ZERO),
            sync_failed: false,
        };
        let mut partitions = topic.partitions().to_vec();
        let first = u32::try_from(partitions.len()).unwrap_or(u32::MAX);
        for partition in (first..total).map(PartitionId::new) {
            let id = LogId { topic: topic.id(), partition };
            let opened = shared.open_partition(topic, id, known, None, &Held::default());
            opened.partition.log()?.begin_epoch(owner.epoch);
            partitions.push(opened.partition);
        }
        Ok(partitions)
    }

    /// Changes a topic's configuration; durable when it returns. The number of partitions is not
    /// part of it.
    pub(crate) fn alter_topic(&self, name: &str, config: TopicConfig) -> Result<()> {
        config.validate()?;
        let _one_at_a_time = self.catalog.lock();
        let root = &self.owner("alter topic")?.root;
        let topic = self.topic(name)?;
        config.check_same_lanes(&topic.config())?;
        if config.compression.kind() != topic.config().compression.kind() {
            check_built("alter topic", config.compression.kind())?;
        }
        let partitions = u32::try_from(topic.partitions().len()).unwrap_or(u32::MAX);
        let config = config.partitions(partitions);
        let fact = Fact::TopicAltered { id: topic.id(), config: config.changed_entries() };
        root.log().record(&[fact], Durable::Now)?;
        topic.set_config(Arc::new(config));
        self.maintenance_wakeup.wake();
        Ok(())
    }

    /// Gives a topic more partitions, led as its first one is; durable when it returns.
    pub(crate) fn add_partitions(&self, name: &str, total: u32) -> Result<()> {
        let one_at_a_time = self.catalog.lock();
        let root = &self.owner("add partitions")?.root;
        let topic = self.topic(name)?;
        let before = u32::try_from(topic.partitions().len()).unwrap_or(u32::MAX);
        TopicConfig::new().partitions(total).validate()?;
        if total <= before {
            let text =
                format!("topic `{name}` has {before} partitions and cannot shrink to {total}");
            return Err(Error::new("add partitions", Cause::InvalidArgument(text)));
        }
        self.clear_directories(name, before..total)?;
        let first = topic.partition(PartitionId::new(0))?;
        let leadership = first.log().map_or(Leadership::SelfLed, PartitionLog::leadership);
        let partitions = self.partitions_up_to(&topic, total, leadership)?;
        let mut facts = vec![Fact::PartitionsAdded { id: topic.id(), total }];
        facts.extend(led_by(leadership, topic.id(), before..total));
        root.log().record(&facts, Durable::Now)?;
        topic.set_partitions(partitions);
        drop(one_at_a_time);
        self.catalog_changes.announce();
        Ok(())
    }

    /// Deletes a topic with all its records; durable when it returns. Handles of it fail from then
    /// on; records that were fetched stay valid. Files that cannot be removed now go when the
    /// store is opened next, or when their name is wanted.
    pub(crate) fn delete_topic(&self, name: &str) -> Result<Arc<Topic>> {
        let one_at_a_time = self.catalog.lock();
        let root = &self.owner("delete topic")?.root;
        let topic = self.topic(name)?;
        let deleted = Fact::TopicDeleted { id: topic.id(), name: name.to_owned() };
        root.log().record(&[deleted], Durable::Now)?;
        topic.set_deleted();
        self.table.write().remove(&topic);
        for partition in topic.partitions().iter() {
            partition.set_deleted();
        }
        self.compaction.forget(topic.id());
        let removed = self.remove_directories(&topic).and_then(|()| {
            let forgotten = Fact::TopicForgotten { id: topic.id() };
            root.log().record(&[forgotten], Durable::Later)
        });
        if let Err(error) = removed {
            log::warn!("topic `{name}` is deleted, but not all of its files are gone: {error}");
        }
        drop(one_at_a_time);
        self.catalog_changes.announce();
        Ok(topic)
    }

    fn remove_directories(&self, topic: &Topic) -> Result<()> {
        let disk = &*self.options.disk;
        let root = self.path();
        let mut renamed = Vec::new();
        for partition in topic.partitions().iter() {
            let dir = root.join(partition_dir(topic.name(), partition.id()));
            let fail = |error| Error::io("delete topic", &dir, error);
            if disk.metadata(&dir).map_err(fail)?.is_none() {
                continue; // nothing was ever appended
            }
            let gone = root.join(deleting_dir(topic.name(), partition.id(), topic.id()));
            disk.rename(&dir, &gone).map_err(fail)?;
            renamed.push(gone);
        }
        let sync = || disk.sync_dir(root).map_err(|error| Error::io("delete topic", root, error));
        if renamed.is_empty() {
            return Ok(());
        }
        sync()?;
        for dir in &renamed {
            remove_dir(disk, dir)?;
        }
        sync()
    }
}

/// The fact that makes new partitions the host's, if they are to be.
fn led_by(leadership: Leadership, id: TopicId, partitions: Range<u32>) -> Option<Fact> {
    let (first, end) = (PartitionId::new(partitions.start), PartitionId::new(partitions.end));
    let host_led = leadership == Leadership::HostLed;
    host_led.then_some(Fact::Leadership { id, first, end, host_led })
}

/// Removes a partition directory with the files in it.
pub(super) fn remove_dir(disk: &dyn Disk, dir: &Path) -> Result<()> {
    let remove = || {
        for entry in disk.list(dir)? {
            if !entry.is_dir {
                disk.remove_file(&dir.join(entry.name))?;
            }
        }
        disk.remove_dir(dir)
    };
    remove().map_err(|error| Error::io("remove directory", dir, error))
}
