//! A log's digests on their way to the disk, before a recovery point may speak of what they cover.
//!
//! `save_digests` is called by a checkpoint under the sync lock, before the log's own sync, which
//! then makes the names of new sidecars durable too. Digests of bytes that are not on the disk yet
//! do no harm: recovery believes those below the recovery point only. `digest_one` is upkeep.

use super::core::PartitionLog;
use crate::error::{Error, Result};
use crate::segment::Segment;
use crate::sync::atomic::Ordering;
use std::sync::Arc;

impl PartitionLog {
    /// Whether segments lack digests: another hand has written them, or their sidecars are gone.
    pub(crate) fn lacks_digests(&self) -> bool {
        !self.bare.lock().is_empty()
    }

    /// Takes the digests of one segment that has none from the file, as it is now. Reads all of
    /// it; under the trim lock, so that its names stay its own. Where space or handles ran out it
    /// comes again; what cannot be read is left to the next open, so that not each run reads it.
    pub(crate) fn digest_one(&self) -> Result<()> {
        if !self.lacks_digests() {
            return Ok(());
        }
        let _names_stay = self.trimming.lock();
        self.check_healthy("take digests")?;
        let Some(segment) = self.bare.lock().pop() else { return Ok(()) };
        if !self.segments.load().iter().any(|known| Arc::ptr_eq(known, &segment)) {
            return Ok(());
        }
        match segment.mend_digests() {
            Ok(()) => segment.digests_are_sealed(),
            Err(error) => {
                if error.is_retriable() {
                    self.bare.lock().insert(0, segment); // behind those that were not tried yet
                }
                return Err(self.named(error));
            }
        }
        Ok(())
    }

    /// Writes and syncs the digests of what was rolled and of the active segment. Those of a
    /// rolled one are whole then.
    pub(super) fn save_digests(
        &self,
        rolled: &[Arc<Segment>],
        active: Option<&Segment>,
    ) -> Result<()> {
        for segment in rolled.iter().map(|segment| &**segment).chain(active) {
            let named = || self.names_changed.store(true, Ordering::Release);
            if let Some(file) = segment.save_digests(named)? {
                file.sync_data().map_err(|error| {
                    let error = Error::io("sync digests", &file.path(), error);
                    if error.is_of_a_sync_begun() {
                        self.latch.trip(&error);
                    }
                    error
                })?;
                segment.digests_are_synced();
            }
        }
        rolled.iter().for_each(|segment| segment.digests_are_sealed());
        Ok(())
    }
}
