//! A log's digests on their way to the disk, before a recovery point may speak of what they cover.
//!
//! Called by a checkpoint under the sync lock, before the log's own sync, which then makes the
//! names of new sidecars durable too. Digests of bytes that are not on the disk yet do no harm:
//! recovery believes those below the recovery point only.

use super::core::PartitionLog;
use crate::error::{Error, Result};
use crate::segment::Segment;
use crate::sync::atomic::Ordering;
use std::sync::Arc;

impl PartitionLog {
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
