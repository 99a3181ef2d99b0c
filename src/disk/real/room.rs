//! Room on the device, found before it is wanted.
//!
//! ext4 finds blocks for written pages when it writes them out, and holds a lock of the file
//! meanwhile that each write of a new page takes too: who appends waits, milliseconds at a time,
//! for the sync of what he appended before. Blocks that the file has already ask for no such lock.
//! So a busy file has them found before a sync of it begins, in one piece.
//!
//! Such room lies beyond the file's end: no length changes, no byte can be read there, and what is
//! not used goes with the next change of the length, be it to the length the file has. A crash
//! leaves it to the next open. Called by the file; a failure costs nothing but the gain.

use std::fs::File;

use super::os;

/// So many times what is asked for has to be free: the last of a disk is left to those who write.
const SHARE: u64 = 16;

/// Room that is smaller may be the file system's own, for its map of the file.
const LEAST: u64 = 64 << 10;

/// Finds room from the file's end to `end`.
pub(super) fn reserve(file: &File, end: u64) {
    let reserved = file.metadata().and_then(|found| {
        let bytes = end.saturating_sub(found.len());
        if bytes == 0 || os::room_for_pieces(file)? / SHARE < bytes {
            return Ok(());
        }
        os::reserve(file, found.len(), bytes)
    });
    if let Err(error) = reserved {
        log::debug!("no room was found ahead: {error}");
    }
}

/// Gives back what lies beyond the end of a file of that length.
pub(super) fn release(file: &File, len: u64) {
    let released = file.metadata().and_then(|found| {
        let is_longer = os::allocated(&found) > len.saturating_add(LEAST);
        if is_longer && found.len() == len { file.set_len(len) } else { Ok(()) }
    });
    if let Err(error) = released {
        log::debug!("room that was found ahead is not given back: {error}");
    }
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
        reserve(&file, 2); // it reaches further
        let before = file.metadata().unwrap().blocks();
        reserve(&file, MIB);
        let has_pieces = os::room_for_pieces(&file).unwrap() / SHARE >= MIB;
        let reserved = file.metadata().unwrap();
        assert_eq!(reserved.len(), 4);
        assert_eq!(reserved.blocks() * 512 >= MIB, has_pieces);
        release(&file, 3);
        assert_eq!(file.metadata().unwrap().blocks(), reserved.blocks(), "it is of another length");
        release(&file, 4);
        let released = file.metadata().unwrap();
        assert_eq!((released.len(), released.blocks()), (4, before));
    }

    #[test]
    fn little_is_left_to_others() {
        let file = tempfile::tempfile().unwrap();
        let free = os::room_for_pieces(&file).unwrap();
        reserve(&file, free / SHARE + MIB);
        assert_eq!(file.metadata().unwrap().blocks(), 0);
        release(&file, 0);
        assert_eq!(file.metadata().unwrap().len(), 0);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_let_be() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        fs::write(&path, b"kept").unwrap();
        let file = File::open(&path).unwrap();
        reserve(&file, MIB);
        release(&file, 4);
        assert_eq!(fs::read(&path).unwrap(), b"kept");
    }
}
