//! The small files a sync of a log brings along, and writing them before it.
//!
//! The epoch file and `partition.metadata` are replaced whole: written beside, synced, renamed.
//! Their names await the directory sync that comes before a recovery point may rise; until then
//! recovery may find an epoch that has no records, and drops it.
//!
//! Where many logs are synced, each first writes what its checkpoint would write, syncing nothing:
//! the disk can then make all of it durable at once, and the syncs of the checkpoint find nothing
//! left to do. That goes in two rounds, with such a sync behind each: the second gives what was
//! written beside its name, and writes the indexes of what was rolled, whose records the first has
//! made durable. Nothing rests on any of it: what failed, or came later, the checkpoint does; so it
//! does the snapshots and the indexes of what still grows.
//!
//! By whoever has the turn.

use super::checkpoint::{self, EpochLine, WRITE_EPOCHS, WRITE_METADATA, put_beside};
use super::core::PartitionLog;
use crate::disk::names::{LEADER_EPOCHS, PARTITION_METADATA};
use crate::disk::replace::Beside;
use crate::error::Result;
use crate::segment::Segment;
use crate::sync::atomic::Ordering;
use std::sync::Arc;

/// What is written and has not got its name yet.
#[derive(Debug, Default)]
pub(super) struct WrittenBeside {
    epochs: Option<Beside>,
    metadata: Option<Beside>,
}

impl PartitionLog {
    /// The first round: writes what a checkpoint would write, and syncs none of it.
    pub(crate) fn write_ahead(&self) {
        self.ahead(|| {
            let (rolled, active) = {
                let mut writer = self.writer.lock();
                let active = writer.tail.as_mut().map(|tail| tail.hand_over_digests().clone());
                (writer.rolled.clone(), active)
            };
            for segment in &rolled {
                segment.trim_for_sync()?;
            }
            self.write_digests(rolled.iter().chain(&active))?;
            self.write_epochs_beside()?;
            self.write_metadata_beside()?;
            self.write_unproven_again().inspect_err(|error| {
                if !error.is_retriable() {
                    self.latch.trip(error); // as where a sync begins with it
                }
            })
        });
    }

    /// The second round: names, and the indexes of what was rolled.
    pub(crate) fn finish_ahead(&self) {
        self.ahead(|| {
            self.put_epochs()?;
            self.put_metadata()?;
            let rolled = self.writer.lock().rolled.clone();
            rolled.iter().try_for_each(|segment| segment.write_indexes_ahead())
        });
    }

    fn ahead(&self, work: impl FnOnce() -> Result<()>) {
        let turn = self.commit.take();
        if !self.latch.is_tripped()
            && let Err(error) = work()
        {
            log::debug!("{error}"); // the checkpoint comes to it again
        }
        drop(turn);
    }

    fn write_digests<'a>(&self, of: impl Iterator<Item = &'a Arc<Segment>>) -> Result<()> {
        for segment in of {
            let named = || self.names_changed.store(true, Ordering::Release);
            segment.save_digests(named)?;
        }
        Ok(())
    }

    /// Writes the epoch file if an epoch began since it was written.
    pub(super) fn write_epochs(&self) -> Result<()> {
        self.write_epochs_beside()?;
        self.put_epochs()
    }

    fn write_epochs_beside(&self) -> Result<()> {
        let Some(entries) = self.epochs.lock().take_changed() else { return Ok(()) };
        let lines: Vec<_> = entries
            .iter()
            .map(|(epoch, start)| EpochLine { epoch: *epoch, start: *start })
            .collect();
        let path = self.place.dir.join(LEADER_EPOCHS);
        match checkpoint::write_epochs_beside(&*self.place.disk, &path, &lines) {
            Ok(written) => {
                self.beside.lock().get_or_insert_default().epochs = Some(written);
                Ok(())
            }
            Err(error) => {
                self.epochs.lock().set_changed();
                Err(error)
            }
        }
    }

    fn put_epochs(&self) -> Result<()> {
        let Some(written) = self.take_beside(|beside| beside.epochs.take()) else { return Ok(()) };
        let put = put_beside(&*self.place.disk, WRITE_EPOCHS, written);
        match put {
            Ok(()) => self.names_changed.store(true, Ordering::Release),
            Err(_) => self.epochs.lock().set_changed(),
        }
        put
    }

    /// Writes `partition.metadata` of a new directory again: it was not synced when it was made.
    pub(super) fn write_metadata(&self) -> Result<()> {
        self.write_metadata_beside()?;
        self.put_metadata()
    }

    fn write_metadata_beside(&self) -> Result<()> {
        let is_there = self.beside.lock().as_ref().is_some_and(|beside| beside.metadata.is_some());
        if is_there || !self.metadata_unsynced.load(Ordering::Acquire) {
            return Ok(());
        }
        let path = self.place.dir.join(PARTITION_METADATA);
        let (disk, id) = (&*self.place.disk, self.setup.id.topic);
        let written = checkpoint::write_partition_metadata_beside(disk, &path, id)?;
        self.beside.lock().get_or_insert_default().metadata = Some(written);
        Ok(())
    }

    fn put_metadata(&self) -> Result<()> {
        let Some(written) = self.take_beside(|beside| beside.metadata.take()) else {
            return Ok(());
        };
        put_beside(&*self.place.disk, WRITE_METADATA, written)?;
        self.metadata_unsynced.store(false, Ordering::Release);
        self.names_changed.store(true, Ordering::Release);
        Ok(())
    }

    /// Takes one of the files; nothing is kept where none is left.
    fn take_beside(
        &self,
        take: impl FnOnce(&mut WrittenBeside) -> Option<Beside>,
    ) -> Option<Beside> {
        let mut beside = self.beside.lock();
        let taken = take(beside.as_deref_mut()?);
        if beside.as_ref().is_some_and(|left| left.epochs.is_none() && left.metadata.is_none()) {
            *beside = None;
        }
        taken
    }
}
