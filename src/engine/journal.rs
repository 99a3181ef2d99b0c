//! The journal in the life of a store: when a reign's frames count, and who looks after the file.
//!
//! After an unclean stop of ours its frames (`held`) go to their partitions, each of which takes
//! back what its log has lost and syncs it, before the new epoch is drawn: from then on all of them
//! count no more. Cut short anywhere, the next open does the same again.
//!
//! That a reign has a journal in use is recorded before the first frame may be relied on, and that
//! it has none any more before the file goes: so an open knows whether to expect one.
//!
//! Called by `open`, `close` and by the maintenance.

use super::Engine;
use super::core::Table;
use super::held::{Holdings, Whose};
use super::requests::Requests;
use super::root::Root;
use super::root::fact::Fact;
use super::shared::Shared;
use crate::disk::Disk;
use crate::ids::{LeaderEpoch, Offset};
use crate::journal::{Journal, Use, remove_files};
use crate::log::{Durable, LogId};
use crate::sync::Arc;

/// A partition that has got what the journal held of it.
pub(super) struct Restored {
    pub(super) id: LogId,
    pub(super) point: Offset,
}

impl Restored {
    pub(super) fn fact(&self) -> Fact {
        let (id, partition) = (self.id.topic, self.id.partition);
        Fact::RecoveryPoint { id, partition, offset: self.point }
    }
}

/// The journal of a store that is about to be opened, where it is to have one.
pub(super) fn of_store(
    disk: &Arc<dyn Disk>,
    root: &Root,
    size: Option<u64>,
    requests: &Arc<Requests>,
) -> Option<Arc<Journal>> {
    let size = size?;
    Some(Arc::new(Journal::new(disk.clone(), root.path(), size, requests.clone())))
}

/// The reign before is over: its frames count no more, and the journal serves this one.
pub(super) fn settle(
    shared: &Shared,
    table: &Table,
    held: &Holdings,
    restored: &[Restored],
    epoch: LeaderEpoch,
) {
    for Restored { id, point } in restored {
        let topic = table.ids.get(&id.topic);
        let partition = topic.and_then(|topic| topic.partition(id.partition).ok());
        if let Some(log) = partition.as_ref().and_then(|partition| partition.log().ok()) {
            log.recovery_point_recorded(*point);
        }
    }
    let whose = shared.whose();
    held.let_go(whose, table);
    remove_files(whose.disk, whose.root, shared.journal.is_some());
    if let Some(journal) = &shared.journal {
        journal.begin(whose.store, epoch);
    }
}

impl Shared {
    pub(super) fn whose(&self) -> Whose<'_> {
        let (disk, root) = (&*self.options.disk, self.root.path());
        Whose { disk, root, store: *self.root.store_id().as_bytes() }
    }
}

impl Engine {
    /// Makes the next portion of the journal's file or removes it, and syncs the segments of logs
    /// that pin its space.
    pub(super) fn keep_up_journal(&self) {
        self.sync_pinning(self.requests().take_pinning());
        if self.requests().take_journal()
            && let Ok(owner) = self.owner("maintain")
            && let Some(journal) = &owner.journal
        {
            journal.keep_up(|begun| {
                let fact = match begun {
                    Use::Begins => Fact::JournalBegun,
                    Use::Ends => Fact::JournalEnded,
                };
                owner.root.log().record(&[fact], Durable::Now)
            });
        }
    }

    /// Has the journal take a truncation's bar: who keeps it from that is asked as it is now, for
    /// the maintenance may have taken the request and not come to it, or have failed for a moment.
    pub(super) fn make_room_in_journal(&self) {
        if let Ok(owner) = self.owner("truncate")
            && let Some(journal) = &owner.journal
        {
            self.sync_pinning(journal.pinning());
        }
        self.keep_up_journal(); // one that has failed goes once nobody needs it
    }

    fn sync_pinning(&self, logs: Vec<LogId>) {
        for id in logs {
            let Some(partition) = self.partition_by_id(id) else { continue };
            let Ok(log) = partition.log() else { continue };
            if let Err(error) = log.sync_segments() {
                log::debug!("{error}"); // the journal asks again, the log says it to its callers
                partition.note_failure();
            }
            partition.signal().notify(); // for those who wait for durable records only
        }
    }
}
