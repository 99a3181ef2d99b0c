//! Room on the device, found before it is wanted.
//!
//! ext4 finds blocks for written pages when it writes them out, and holds a lock of the file
//! meanwhile that each write of a new page takes too: who appends waits, milliseconds at a time,
//! for the sync of what he appended before. Blocks that the file has already ask for no such lock.
//! So a busy file has them found before a sync of it begins, in one piece.
//!
//! Such room lies beyond the file's end: no length changes, no byte can be read there, and what is
//! not used goes with the next `set_len`, be it to the length the file has. A crash leaves it to
//! the open after it. Of ext4 alone, which was measured; XFS keeps room of its own once a file was
//! given some. Called by the file; a failure costs nothing but the gain.

use std::fs::File;
use std::path::Path;

use super::os;

/// So many times what is asked for has to be free then: the last of a disk is left to others.
const SHARE: u64 = 16;

/// Room that is smaller may be the file system's own, for its map of the file.
const LEAST_BYTES: u64 = 64 << 10;

/// Finds room from the file's end to `end`; whether there may be some now.
pub(super) fn reserve(file: &File, path: &Path, end: u64) -> bool {
    let reserved = file.metadata().and_then(|found| {
        let bytes = end.saturating_sub(found.len());
        let free = os::free_for_room(file)?.unwrap_or(0);
        if bytes == 0 || free / SHARE < bytes {
            return Ok(false);
        }
        os::reserve(file, found.len(), bytes)?;
        Ok(true)
    });
    reserved.unwrap_or_else(|error| {
        log::debug!("no room found up to {end} of {}: {error}", path.display());
        true // part of it may have been
    })
}

/// Gives back what lies beyond the end of a file of that length; whether none is left.
pub(super) fn release(file: &File, path: &Path, len: u64) -> bool {
    let released = file.metadata().and_then(|found| {
        let has_room = os::allocated(&found) > len.saturating_add(LEAST_BYTES);
        if !has_room || os::free_for_room(file)?.is_none() {
            return Ok(true);
        }
        if found.len() != len {
            return Ok(false);
        }
        file.set_len(len)?;
        Ok(true)
    });
    released.unwrap_or_else(|error| {
        log::debug!("room behind {len} of {} is kept: {error}", path.display());
        false
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn room_is_found_beyond_the_end_and_given_back_and_no_byte_changes() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"kept").unwrap();
        file.sync_all().unwrap();
        reserve(&file, Path::new("a"), 2); // it reaches further
        let before = file.metadata().unwrap().blocks();
        let is_found = reserve(&file, Path::new("a"), MIB);
        let reserved = file.metadata().unwrap();
        assert_eq!(reserved.len(), 4);
        if !is_found || reserved.blocks() == before {
            println!("SKIP 1: the file system finds no room ahead");
            return;
        }
        assert!(reserved.blocks() * 512 >= MIB);
        assert!(!release(&file, Path::new("a"), 3));
        assert_eq!(file.metadata().unwrap().blocks(), reserved.blocks(), "it is of another length");
        assert!(release(&file, Path::new("a"), 4));
        let released = file.metadata().unwrap();
        assert_eq!((released.len(), released.blocks()), (4, before));
    }

    #[test]
    fn little_is_left_to_others() {
        let file = tempfile::tempfile().unwrap();
        let free = os::free_for_room(&file).unwrap().unwrap_or(0);
        assert!(!reserve(&file, Path::new("a"), free / 2 + MIB));
        assert_eq!(file.metadata().unwrap().blocks(), 0);
        assert!(release(&file, Path::new("a"), 0));
    }

    #[test]
    fn a_file_that_cannot_be_written_is_let_be() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        fs::write(&path, b"kept").unwrap();
        reserve(&File::options().write(true).open(&path).unwrap(), &path, MIB);
        let file = File::open(&path).unwrap();
        let before = file.metadata().unwrap().blocks();
        reserve(&file, Path::new("a"), 2 * MIB);
        assert_eq!(release(&file, Path::new("a"), 4), before * 512 < LEAST_BYTES);
        assert_eq!(file.metadata().unwrap().blocks(), before);
        assert_eq!(fs::read(&path).unwrap(), b"kept");
    }
}
