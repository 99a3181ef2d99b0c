//! Copying the bytes of a file into a new one, durably, in bounded memory.
//!
//! The name of the copy is durable once the caller has synced its directory. Called by whoever must
//! not change a file in place, keeps aside what it cuts off, or writes a backup.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::{Access, Disk, DiskFile, read_full_at, write_all_at};

/// Bytes copied at a time.
const BUFFER: u64 = 256 << 10;

/// Copies what `from` holds of `range` into the file `to`, which is made or emptied, and syncs it.
/// Returns how many bytes there were.
///
/// # Errors
/// Those of the operating system; the copy may be there in part.
pub(crate) fn copy_file(
    disk: &dyn Disk,
    from: &dyn DiskFile,
    range: Range<u64>,
    to: &Path,
) -> io::Result<u64> {
    let to: Arc<dyn DiskFile> = disk.open(to, Access::Create)?;
    to.set_len(0)?;
    let len = range.end.saturating_sub(range.start);
    let mut buffer = vec![0; usize::try_from(len.min(BUFFER)).unwrap_or(0)];
    let mut done = 0;
    while done < len {
        // at most the buffer's length, so that it is not cut
        let wanted = (len - done).min(BUFFER) as usize;
        let got = read_full_at(from, &mut buffer[..wanted], range.start + done)?;
        if got == 0 {
            break;
        }
        write_all_at(&*to, &buffer[..got], done)?;
        done += got as u64;
    }
    to.sync_data()?;
    Ok(done)
}
