//! A segment that leaves its log: its files get `.deleted` names, whoever reads it goes on.
//!
//! One that is dropped takes all of its names along. One that is replaced gives some of them to
//! the segment in its place, so from then on it touches no file but the log it has open: what
//! lies under its names is another's.

use std::path::PathBuf;

use super::shared::Segment;
use crate::disk::names::{Leftover, SegmentFile, leftover_file};
use crate::error::{Error, Result};
use crate::sync::atomic::Ordering;

impl Segment {
    /// Another segment takes this one's place.
    pub(crate) fn set_replaced(&self) {
        let mut no_rebuild = self.making_index.lock();
        no_rebuild.unsynced = Vec::new(); // of files that are another's, or nobody's
        self.replaced.store(true, Ordering::Release);
    }

    /// Gives the files of a dropped or replaced segment their `.deleted` names; returns the new
    /// paths. Open handles and views go on reading. A producer snapshot speaks of its offset, not
    /// of the segment, and is not among them. Safe to repeat where it failed half-way.
    pub(crate) fn rename_deleted(&self) -> Result<Vec<PathBuf>> {
        use SegmentFile::{Digests, Log, OffsetIndex, Tags, TimeIndex, TransactionIndex};
        self.set_replaced(); // no read under way makes one of these names anew
        let place = self.place();
        let mut renamed = Vec::new();
        for kind in [Log, OffsetIndex, TimeIndex, TransactionIndex, Digests, Tags] {
            let path = place.path(self.base(), kind);
            let fail = |error| Error::io("drop segment", &path, error);
            let gone = place.dir.join(leftover_file(self.base(), kind, Leftover::Deleted));
            let is_there = place.disk.metadata(&path).map_err(fail)?.is_some();
            if !is_there && place.disk.metadata(&gone).map_err(fail)?.is_none() {
                continue;
            }
            if is_there {
                place.disk.rename(&path, &gone).map_err(fail)?;
            }
            if kind == SegmentFile::Log
                && let Some(file) = self.opened_log()
            {
                file.renamed(&gone);
            }
            renamed.push(gone);
        }
        Ok(renamed)
    }
}
