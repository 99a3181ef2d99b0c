//! The store's marker, `tidelog.store`: the one file that makes a directory ours.
//!
//! It holds the store's identity and nothing that changes: written once, when a directory is
//! taken, after the state log beside it (see the parent's order of creation), and never again. A
//! directory with a marker is ours whatever else is missing: then that is damage, not a reason
//! to take it for Kafka's.
//!
//! Its counterpart, `tidelog.backup`, marks a directory in which a backup is being made, which must
//! pass for no store of anyone; it holds the identity of the store that is backed up.
//!
//! Layout of both, big-endian: 8 bytes magic, u32 version, 16 bytes store id, u32 CRC-32C over all
//! before it. Every version keeps this shape, so a flipped bit is told from a newer version.

use std::fmt;
use std::path::Path;

use crate::disk::replace::replace_file;
use crate::disk::{Disk, names};
use crate::error::{Cause, Error, Result};
use crate::log::checkpoint::read_small_file;

const MAGIC: [u8; 8] = *b"TIDELOG\n";
const UNFINISHED_MAGIC: [u8; 8] = *b"TIDECOPY";
const VERSION: u32 = 1;
const LEN: usize = 8 + 4 + 16 + 4;

/// The identity of a store, drawn when its directory is taken.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct StoreId([u8; 16]);

impl StoreId {
    pub(crate) fn random() -> Self {
        StoreId(*uuid::Uuid::new_v4().as_bytes())
    }

    pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
        StoreId(bytes)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).simple().fmt(f)
    }
}

impl fmt::Debug for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreId({self})")
    }
}

fn encode(magic: [u8; 8], id: StoreId) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    bytes[..8].copy_from_slice(&magic);
    bytes[8..12].copy_from_slice(&VERSION.to_be_bytes());
    bytes[12..28].copy_from_slice(&id.0);
    let crc = crc32c::crc32c(&bytes[..28]);
    bytes[28..].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// Reads the marker of `root`, `None` where there is none.
///
/// # Errors
/// `Corrupt` where the file is not a whole marker, `NewerVersion`, those of the disk.
pub(crate) fn read(disk: &dyn Disk, root: &Path) -> Result<Option<StoreId>> {
    read_marker(disk, &root.join(names::STORE_MARKER), MAGIC)
}

/// Reads the mark of an unfinished backup in `dir`, `None` where there is none.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_unfinished(disk: &dyn Disk, dir: &Path) -> Result<Option<StoreId>> {
    read_marker(disk, &dir.join(names::UNFINISHED_BACKUP), UNFINISHED_MAGIC)
}

/// Fails where `root` is a backup that was not finished, whatever else it holds.
///
/// # Errors
/// `NotAStore`; those of the disk.
pub(super) fn refuse_unfinished(disk: &dyn Disk, root: &Path) -> Result<()> {
    const OPERATION: &str = "open store";
    let path = root.join(names::UNFINISHED_BACKUP);
    let found = disk.metadata(&path).map_err(|error| Error::io(OPERATION, &path, error))?;
    if found.is_none() {
        return Ok(());
    }
    let text = "it is a backup that was not finished".to_owned();
    Err(Error::new(OPERATION, Cause::NotAStore(text)).at_path(root))
}

fn read_marker(disk: &dyn Disk, path: &Path, magic: [u8; 8]) -> Result<Option<StoreId>> {
    const OPERATION: &str = "read store marker";
    let Some(bytes) = read_small_file(disk, path, OPERATION)? else { return Ok(None) };
    let corrupt = |position: u64, reason: &str| {
        Err(Error::corrupt(OPERATION, path, position, reason.to_owned()))
    };
    let Some((head, [])) = bytes.split_first_chunk::<LEN>() else {
        return corrupt(bytes.len() as u64, "not the length of a marker");
    };
    if head[..8] != magic {
        return corrupt(0, "not such a marker");
    }
    let (version, id, crc) = fields(head);
    if crc32c::crc32c(&head[..28]) != crc {
        return corrupt(28, "the checksum does not fit");
    }
    if version != VERSION {
        let cause = Cause::NewerVersion { found: version, known: VERSION };
        return Err(Error::new(OPERATION, cause).at_path(path));
    }
    Ok(Some(id))
}

fn fields(head: &[u8; LEN]) -> (u32, StoreId, u32) {
    let word = |at: usize| u32::from_be_bytes(std::array::from_fn(|i| head[at + i]));
    (word(8), StoreId(std::array::from_fn(|i| head[12 + i])), word(28))
}

/// Writes the marker of `root`; durable when it returns.
pub(crate) fn write(disk: &dyn Disk, root: &Path, id: StoreId) -> Result<()> {
    write_marker(disk, &root.join(names::STORE_MARKER), MAGIC, id)
}

/// Marks `dir` as a backup of the store `id` that is not finished; durable when it returns.
pub(crate) fn write_unfinished(disk: &dyn Disk, dir: &Path, id: StoreId) -> Result<()> {
    write_marker(disk, &dir.join(names::UNFINISHED_BACKUP), UNFINISHED_MAGIC, id)
}

fn write_marker(disk: &dyn Disk, path: &Path, magic: [u8; 8], id: StoreId) -> Result<()> {
    replace_file(disk, path, &encode(magic, id))
        .map_err(|error| Error::io("write store marker", path, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Access, MemoryDisk, write_all_at};
    use crate::error::ErrorKind;

    fn disk_with(bytes: Option<&[u8]>) -> MemoryDisk {
        let disk = MemoryDisk::new();
        disk.create_dir_all(Path::new("/s")).unwrap();
        if let Some(bytes) = bytes {
            let path = Path::new("/s").join(names::STORE_MARKER);
            let file = disk.open(&path, Access::Create).unwrap();
            write_all_at(&*file, bytes, 0).unwrap();
        }
        disk
    }

    #[test]
    fn a_marker_reads_back_and_a_missing_one_is_none() {
        let disk = disk_with(None);
        assert_eq!(read(&disk, Path::new("/s")).unwrap(), None);
        let id = StoreId::random();
        write(&disk, Path::new("/s"), id).unwrap();
        assert_eq!(read(&disk, Path::new("/s")).unwrap(), Some(id));
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_damage() {
        let whole = encode(MAGIC, StoreId::random());
        for cut in 0..LEN {
            let error = read(&disk_with(Some(&whole[..cut])), Path::new("/s")).unwrap_err();
            assert!(error.is_corrupt(), "cut at {cut}: {error}");
        }
        for bit in 0..LEN * 8 {
            let mut bytes = whole;
            bytes[bit / 8] ^= 1 << (bit % 8);
            let error = read(&disk_with(Some(&bytes)), Path::new("/s")).unwrap_err();
            assert!(error.is_corrupt(), "bit {bit}: {error}");
        }
    }

    #[test]
    fn a_newer_version_is_said_to_be_one() {
        let mut bytes = encode(MAGIC, StoreId::random());
        bytes[8..12].copy_from_slice(&2u32.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[..28]);
        bytes[28..].copy_from_slice(&crc.to_be_bytes());
        let error = read(&disk_with(Some(&bytes)), Path::new("/s")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NewerVersion);
    }
}
