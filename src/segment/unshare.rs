//! A log file that has another name besides its own is never changed: it is copied first.
//!
//! A backup may share the files of sealed segments by a second name. Such a segment can come to be
//! written again: a power cut takes its successor's name and it is the last one, or the recovery
//! point falls back behind it. Then the log goes on with a copy of its own: written beside under a
//! name that nothing takes for a segment's, synced, renamed over the shared name, the directory
//! synced. Cut short, the shared file still has the name, and what lies beside it is tidied away.
//!
//! Called by recovery for each segment that it may change, before any handle of it is open.

use super::shared::Segment;
use crate::disk::copy::own;
use crate::disk::names::SegmentFile;
use crate::error::{Error, Result};

impl Segment {
    /// Sees to it that the log file is this log's alone. Costs a look at the file where it is.
    pub(crate) fn unshare(&self) -> Result<()> {
        debug_assert!(self.opened_log().is_none(), "a handle of the shared file would stay");
        let path = self.place().path(self.base(), SegmentFile::Log);
        own(&*self.place().disk, &path)
            .map_err(|error| Error::io("copy shared segment", &path, error))
    }
}
