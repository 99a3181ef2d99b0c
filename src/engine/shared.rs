//! What all partitions of a store share, and how one of them is opened with it.
//!
//! A partition that cannot be opened exists all the same and says why at each call. What the
//! journal held of it is given to its log before anything else can reach that.
//!
//! Called by `open`, for what is there, and by `catalog`, for what is new.

use std::sync::Arc;

use super::EngineOptions;
use super::budget::Budget;
use super::compaction;
use super::gate::Gate;
use super::held::Held;
use super::partition::{Backing, NewPartition, Partition};
use super::requests::Requests;
use super::root::Root;
use super::topic::Topic;
use crate::disk::names::partition_dir;
use crate::error::Error;
use crate::ids::{Offset, PartitionId};
use crate::journal::Journal;
use crate::log::{KnownFacts, LogId, LogName, LogSetup, PartitionLog, PartitionReport};
use crate::stats::PinCounter;

/// What all partitions of a store share.
pub(super) struct Shared {
    pub(super) options: EngineOptions,
    pub(super) gate: Arc<Gate>,
    pub(super) requests: Arc<Requests>,
    pub(super) budget: Arc<Budget>,
    pub(super) pinned: Arc<PinCounter>,
    pub(super) root: Arc<Root>,
    pub(super) journal: Option<Arc<Journal>>,
}

/// A partition that was opened, and what is to be told of it.
pub(super) struct Opened {
    pub(super) partition: Arc<Partition>,
    /// What of it is worth telling.
    pub(super) report: Option<Box<PartitionReport>>,
    /// Its recovery point, where that is to be recorded before anything is appended.
    pub(super) point: Option<Offset>,
}

impl Shared {
    /// Opens one partition; what it fails with stays with it.
    pub(super) fn open_partition(
        &self,
        topic: &Topic,
        id: LogId,
        known: KnownFacts,
        missing: Option<Error>,
        held: &Held,
    ) -> Opened {
        let setup = LogSetup {
            name: LogName { topic: topic.name().clone(), partition: id.partition },
            id,
            config: topic.config(),
            clock: self.options.clock.clone(),
            sync_after: self.options.background_sync.bytes,
            attention: self.requests.attention(id),
            pinned: self.pinned.clone(),
            journal: self.journal.clone(),
            plain: self.options.plain,
        };
        let dir = self.root.path().join(partition_dir(topic.name(), id.partition));
        let opened = match missing {
            Some(error) => Err(error),
            None => PartitionLog::open(&self.options.disk, &dir, setup, known),
        };
        let opened = opened.and_then(|(log, mut report)| {
            let point = held.restore(&log, &mut report)?;
            Ok((log, report, point))
        });
        let (backing, report, point) = match opened {
            Ok((log, report, point)) => {
                if log.is_dirty() || log.lacks_digests() {
                    self.requests.opened_dirty(id);
                }
                if topic.is_internal() && !topic.is_adopted() {
                    compaction::watch(&log, PartitionId::new(topic.config().partitions).index());
                } else if topic.config().cleanup_policy.compacts() {
                    log.tell_when_larger(0); // have it looked at
                }
                (Backing::Log(Box::new(log)), report, point)
            }
            Err(error) => {
                let error = error.at_partition(topic.name(), id.partition);
                log::error!("{error}");
                let in_doubt = !known.last_stop.is_clean() || held.is_something();
                (Backing::Failed { error, in_doubt }, PartitionReport::default(), None)
            }
        };
        let report = report.is_notable().then(|| Box::new(report));
        let partition = Partition::new(NewPartition {
            topic: topic.name().clone(),
            id,
            backing,
            topic_budget: topic.budget.clone(),
            store_budget: (!topic.is_internal()).then(|| self.budget.clone()),
            gate: self.gate.clone(),
        });
        partition.join_count(topic.budget.count());
        Opened { partition: Arc::new(partition), report, point }
    }
}
