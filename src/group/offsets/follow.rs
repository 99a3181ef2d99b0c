//! Committed offsets that another process commits: the fold goes on from where it ended.
//!
//! Each question reads on in the group's own partition first. An offset belongs to a topic's
//! identity, which the log does not name: so the catalog is read before and after, until it is the
//! same. Then every offset of a topic that was deleted meanwhile has been followed by its
//! tombstone, for the writer forgets a topic before it makes another of the name.
//!
//! A fold that rested for long begins anew, for compaction may have taken tombstones that it did
//! not see; so does one whose log was truncated.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::super::coordinator::Coordinator;
use super::super::schema::group_partition;
use super::{Fold, Group, OffsetStore, Owed};
use crate::engine::Engine;
use crate::error::{ErrorKind, Result};
use crate::ids::PartitionId;
use crate::state_log::Progress;
use crate::stats::Counter;
use crate::sync::Mutex;

/// How long a fold may rest; far less than the day for which tombstones are kept.
const MOST_REST: Duration = Duration::from_secs(3600);
/// How often the catalog may change under one question before the answer stands as it is.
const ROUNDS: usize = 16;

/// How far each partition of the log has been read.
#[derive(Debug, Default)]
pub(super) struct Following {
    read: HashMap<PartitionId, Read>,
}

#[derive(Debug, Default)]
struct Read {
    progress: Progress,
    /// When, on the monotonic clock, it had been read to its end.
    at: Duration,
}

impl OffsetStore {
    /// Follows what another process commits; nothing is read before it is asked for.
    pub(crate) fn follow(engine: Arc<Engine>) -> Arc<OffsetStore> {
        Arc::new(OffsetStore {
            groups: Mutex::new(BTreeMap::new()),
            staging: Mutex::default(),
            log: OffsetStore::log_of(&engine),
            engine,
            unread: BTreeMap::new(),
            skipped: Counter::default(),
            expiry: Mutex::default(),
            expired: Counter::default(),
            coordinator: Coordinator::default(),
            decided: Arc::default(),
            owed: Owed::default(),
            following: Some(Mutex::default()),
        })
    }

    /// Reads on in one partition of the log, where another process writes it.
    pub(super) fn catch_up(&self, partition: PartitionId) -> Result<()> {
        let Some(following) = &self.following else { return Ok(()) };
        let mut following = following.lock();
        let read = following.read.entry(partition).or_default();
        let now = self.engine.clock().monotonic();
        if now.saturating_sub(read.at) > MOST_REST {
            self.begin_anew(partition, read)?;
        }
        for round in 0..ROUNDS {
            self.engine.look()?;
            let before = self.engine.catalog_changes().count();
            match self.read_on(partition, &mut read.progress) {
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::LogTruncated | ErrorKind::OffsetOutOfRange
                    ) =>
                {
                    self.begin_anew(partition, read)?;
                    continue;
                }
                done => done?,
            }
            self.engine.look()?;
            if self.engine.catalog_changes().count() == before {
                if round > 0 {
                    self.resolve_again(partition)?;
                }
                break;
            }
        }
        read.at = now;
        Ok(())
    }

    /// Reads on in every partition; one that cannot be read keeps what was read of it before.
    pub(in crate::group) fn catch_up_all(&self) {
        if self.following.is_none() {
            return;
        }
        let count = self.log.partition_count().unwrap_or(0);
        for partition in (0..count).map(PartitionId::new) {
            if let Err(error) = self.catch_up(partition) {
                log::warn!("committed offsets are not up to date: {error}");
            }
        }
    }

    fn read_on(&self, partition: PartitionId, progress: &mut Progress) -> Result<()> {
        let mut fold = Fold::new(&self.engine, self.groups.lock().clone());
        let places = self.log.replay_partition(partition, progress, |record| fold.take(record));
        self.skipped.add(fold.skipped);
        *self.groups.lock() = fold.groups;
        self.skipped.add(places?);
        Ok(())
    }

    fn groups_in(&self, partition: PartitionId) -> Result<Vec<(Arc<str>, Arc<Group>)>> {
        let count = self.log.partition_count()?;
        let groups = self.groups.lock();
        let here = groups
            .iter()
            .filter(|(name, _)| PartitionId::new(group_partition(name, count)) == partition);
        Ok(here.map(|(name, group)| (name.clone(), group.clone())).collect())
    }

    /// Folds the partition from its start; what it held before stands until that is done.
    fn begin_anew(&self, partition: PartitionId, read: &mut Read) -> Result<()> {
        let mut fold = Fold::new(&self.engine, BTreeMap::new());
        let mut progress = Progress::default();
        let replayed =
            self.log.replay_partition(partition, &mut progress, |record| fold.take(record));
        self.skipped.add(fold.skipped + replayed?);
        let before = self.groups_in(partition)?;
        let mut groups = self.groups.lock();
        before.iter().for_each(|(name, _)| drop(groups.remove(name)));
        groups.extend(fold.groups);
        read.progress = progress;
        Ok(())
    }

    /// The catalog changed while offsets were read: each topic is who has the name now.
    fn resolve_again(&self, partition: PartitionId) -> Result<()> {
        for (_, group) in self.groups_in(partition)? {
            let names: Vec<_> = group.entries.lock().keys().cloned().collect();
            for name in names {
                let id = self.engine.topic(&name).ok().map(|topic| topic.id());
                let mut entries = group.entries.lock();
                let partitions = entries.get_mut(&name).into_iter().flat_map(BTreeMap::values_mut);
                partitions.for_each(|entry| entry.topic_id = id);
            }
        }
        Ok(())
    }
}
