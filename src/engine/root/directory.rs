//! The root's own directory: made if it is missing, its name and those above it durable.
//!
//! What is promised inside a directory is worth nothing if a power cut takes the directory's name.
//! So each name that is made is synced, and that of a root without our marker whoever made it.

use std::path::Path;

use crate::disk::Disk;
use crate::disk::directory::sync_way_to;
use crate::disk::replace::parent;
use crate::error::{Error, Result};

/// Makes the directory and those above it, each name durable.
pub(crate) fn make(disk: &dyn Disk, path: &Path) -> Result<()> {
    let failed = |error| Error::io("open store directory", path, error);
    let mut missing = Vec::new();
    for dir in path.ancestors().filter(|dir| !dir.as_os_str().is_empty()) {
        if disk.metadata(dir).map_err(failed)?.is_some() {
            break; // if the root itself is a file, listing it will say so
        }
        missing.push(dir);
    }
    if missing.is_empty() {
        return Ok(());
    }
    disk.create_dir_all(path).map_err(failed)?;
    missing.iter().try_for_each(|dir| disk.sync_dir(parent(dir)).map_err(failed))
}

/// A root that is new to us may have been made a moment ago by whoever opens it, or by an opening
/// that was cut short: the marker must not be lost with the directory's name, nor with one above.
pub(in crate::engine) fn sync_own_name(disk: &dyn Disk, path: &Path) -> Result<()> {
    sync_way_to(disk, path).map_err(|error| Error::io("open store directory", path, error))
}
