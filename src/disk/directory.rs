//! The names that lead to a directory: what is promised inside it is worth nothing if a power cut
//! takes one of them.
//!
//! Who makes directories syncs the names of those it made; if it is killed before, nothing tells
//! the next one, which finds them all. So whoever begins something in a directory syncs every name
//! on the way to it, once. Called by lone logs and by stores.

use std::io;
use std::path::Path;

use super::Disk;
use super::replace::parent;

/// Makes the names on the way to `dir` durable, its own first.
///
/// # Errors
/// Those of the operating system, but for directories that this user may not open, and for those
/// above the one that `dir` lies in where they cannot be synced at all.
pub(crate) fn sync_way_to(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let way = dir.ancestors().filter(|dir| !dir.as_os_str().is_empty());
    for (above, dir) in way.enumerate() {
        if above > 0 && dir.parent().is_none() {
            break; // a root has no name
        }
        match disk.sync_dir(parent(dir)) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            Err(error) if above > 0 && cannot_be_synced(&error) => {}
            synced => synced?,
        }
    }
    Ok(())
}

/// A directory of a file system that has no such call.
fn cannot_be_synced(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}
