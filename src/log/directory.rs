//! Making a partition's directory: only when its first batch arrives, so that ten thousand new
//! topics cost one write to the store's state log.
//!
//! `partition.metadata` comes before any batch: it ties the directory to its topic's identity, so
//! that a topic made again under the same name never finds another's records.

use super::checkpoint;
use crate::error::{Error, Result};
use crate::ids::TopicId;
use crate::segment::Place;

/// Makes the directory and its `partition.metadata`. Safe to repeat.
pub(super) fn make(place: &Place, topic: TopicId) -> Result<()> {
    let dir = &*place.dir;
    place
        .disk
        .create_dir_all(dir)
        .map_err(|error| Error::io("make partition directory", dir, error))?;
    checkpoint::write_partition_metadata(&*place.disk, dir, topic)
}
