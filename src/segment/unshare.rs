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
use crate::disk::copy::copy_file;
use crate::disk::names::{REPLACEMENT_SUFFIX, SegmentFile};
use crate::disk::{Access, Disk};
use crate::error::{Error, Result};
use std::io;
use std::path::{Path, PathBuf};

impl Segment {
    /// Sees to it that the log file is this log's alone. Costs a look at the file where it is.
    pub(crate) fn unshare(&self) -> Result<()> {
        let path = self.place().path(self.base(), SegmentFile::Log);
        let disk = &*self.place().disk;
        let fail = |error| Error::io("copy shared segment", &path, error);
        if !is_shared(disk, &path).map_err(fail)? {
            return Ok(());
        }
        debug_assert!(self.opened_log().is_none(), "a handle of the shared file would stay");
        let beside = beside(&path);
        let copied = (|| {
            let from = disk.open(&path, Access::Read)?;
            copy_file(disk, &*from, 0..u64::MAX, &beside)?;
            disk.rename(&beside, &path)
        })();
        if let Err(error) = copied {
            let _ = disk.remove_file(&beside); // what is left of it, the next open tidies away
            return Err(fail(error));
        }
        disk.sync_dir(&self.place().dir).map_err(fail)
    }
}

/// Whether a file has more than one name.
pub(super) fn is_shared(disk: &dyn Disk, path: &Path) -> io::Result<bool> {
    Ok(disk.metadata(path)?.is_some_and(|found| found.links > 1))
}

/// Where the file that is to take the place of `path` is written. The name is no segment's: one
/// that says "rewritten" would have the next open take back a rewrite of another segment that was
/// finished, should a power cut have undone the last renaming of that.
pub(super) fn beside(path: &Path) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(REPLACEMENT_SUFFIX);
    PathBuf::from(beside)
}
