//! Making a partition's directory: only when its first batch arrives, so that ten thousand new
//! topics cost one write to the store's state log.
//!
//! `partition.metadata` comes before any batch: it ties the directory to its topic's identity, so
//! that a topic made again under the same name never finds another's records. It is not synced
//! here, where the writer lock is held, but with the directory's names, before anything in the
//! directory is called durable.

use super::checkpoint::format_partition_metadata;
use crate::disk::names::PARTITION_METADATA;
use crate::disk::{Access, write_all_at};
use crate::error::{Error, Result};
use crate::ids::TopicId;
use crate::segment::Place;

/// Makes the directory and its `partition.metadata`, and says whether it was not there: then there
/// is nothing else in it, for only the store's owner makes it, under the writer lock, which who
/// renames a deleted topic's directory takes as well. Safe to repeat.
pub(super) fn make(place: &Place, topic: TopicId) -> Result<bool> {
    let dir = &*place.dir;
    let disk = &place.disk;
    let path = dir.join(PARTITION_METADATA);
    let write = || {
        let is_new = disk.metadata(dir)?.is_none();
        disk.create_dir_all(dir)?;
        let file = disk.open(&path, Access::Create)?;
        // a file that was cut to nothing is written to the device as it is closed (ext4)
        if !is_new && file.len()? > 0 {
            file.set_len(0)?;
        }
        write_all_at(&*file, &format_partition_metadata(topic), 0)?;
        Ok(is_new)
    };
    write().map_err(|error| Error::io("make partition directory", dir, error))
}
