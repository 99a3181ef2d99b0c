//! `tidelog.aborted`: what vouches for the `.txnindex` files of a log, which have no checksum.
//!
//! A flipped bit there, or a file that is gone, would show readers what was aborted. Layout,
//! big-endian: magic "TDLA", version u32, topic id, partition u32, count u32; then for each segment
//! with an index its base offset i64, the index's length u64 and crc32c u32; a crc32c of all that.
//! It is replaced whole, after the files are synced and before a recovery point may rise.
//!
//! What a file has beyond its length came later, and lies above the recovery point. Without it,
//! after another hand, or where it is damaged itself, the files are taken for what they say.

use std::collections::BTreeMap;
use std::path::PathBuf;

use byteorder::{BigEndian, ByteOrder as _};

use super::core::PartitionLog;
use super::keeper::LogId;
use crate::disk::names::ABORTED;
use crate::disk::replace::{read_file, replace_file_name_later};
use crate::error::{Error, Result};
use crate::ids::Offset;

const MAGIC: [u8; 4] = *b"TDLA";
const VERSION: u32 = 1;
const TOPIC_AT: usize = 8;
const PARTITION_AT: usize = TOPIC_AT + 16;
const COUNT_AT: usize = PARTITION_AT + 4;
const HEAD: usize = COUNT_AT + 4;
/// Base offset, length, checksum.
const ITEM: usize = 8 + 8 + 4;
/// The largest that is read: a million segments.
const MOST: usize = HEAD + ITEM * (1 << 20) + 4;

/// What an index was when it was vouched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vouched {
    len: u64,
    crc: u32,
}

impl Vouched {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Vouched { len: bytes.len() as u64, crc: crc32c::crc32c(bytes) }
    }

    /// Whether a file begins with what was vouched for.
    pub(super) fn fits(&self, bytes: &[u8]) -> bool {
        let len = usize::try_from(self.len).ok();
        len.and_then(|len| bytes.get(..len)).is_some_and(|begun| Vouched::of(begun) == *self)
    }
}

/// By the base offsets of segments.
pub(super) type Vouchers = BTreeMap<Offset, Vouched>;

pub(super) fn encode(id: LogId, vouchers: &Vouchers) -> Vec<u8> {
    let mut bytes = vec![0; HEAD];
    bytes[..4].copy_from_slice(&MAGIC);
    BigEndian::write_u32(&mut bytes[4..], VERSION);
    bytes[TOPIC_AT..PARTITION_AT].copy_from_slice(id.topic.as_bytes());
    BigEndian::write_u32(&mut bytes[PARTITION_AT..], id.partition.get());
    let count = u32::try_from(vouchers.len()).unwrap_or(u32::MAX);
    BigEndian::write_u32(&mut bytes[COUNT_AT..], count);
    for (base, vouched) in vouchers {
        bytes.extend(base.get().to_be_bytes());
        bytes.extend(vouched.len.to_be_bytes());
        bytes.extend(vouched.crc.to_be_bytes());
    }
    bytes.extend(crc32c::crc32c(&bytes).to_be_bytes());
    bytes
}

pub(super) fn decode(id: LogId, bytes: &[u8]) -> Option<Vouchers> {
    let end = bytes.len().checked_sub(4).filter(|end| *end >= HEAD)?;
    let (body, crc) = bytes.split_at(end);
    let fits = body[..4] == MAGIC
        && BigEndian::read_u32(crc) == crc32c::crc32c(body)
        && BigEndian::read_u32(&body[4..]) == VERSION
        && body[TOPIC_AT..PARTITION_AT] == *id.topic.as_bytes()
        && BigEndian::read_u32(&body[PARTITION_AT..]) == id.partition.get();
    let items = &body[HEAD..];
    let count = BigEndian::read_u32(&body[COUNT_AT..]) as usize;
    if !fits || items.len() != count * ITEM {
        return None;
    }
    let item = |item: &[u8]| {
        let base = Offset::new(BigEndian::read_i64(item));
        let (len, crc) = (BigEndian::read_u64(&item[8..]), BigEndian::read_u32(&item[16..]));
        (base, Vouched { len, crc })
    };
    Some(items.chunks_exact(ITEM).map(item).collect())
}

impl PartitionLog {
    fn aborted_path(&self) -> PathBuf {
        self.place.dir.join(ABORTED)
    }

    /// Vouches for the indexes as they are on the disk; its name awaits the directory's sync.
    pub(super) fn write_aborted_vouchers(&self, vouchers: &Vouchers) -> Result<()> {
        let path = self.aborted_path();
        let fail = |error| Error::io("vouch for transaction indexes", &path, error);
        let disk = &*self.place.disk;
        if vouchers.is_empty() {
            return match disk.remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(fail(error)),
                _ => Ok(()),
            };
        }
        let bytes = encode(self.setup.id, vouchers);
        replace_file_name_later(disk, &path, &bytes).map_err(fail)
    }

    /// What the indexes were when they were vouched for; `None` where nothing says.
    pub(super) fn read_aborted_vouchers(&self) -> Result<Option<Vouchers>> {
        let path = self.aborted_path();
        match read_file(&*self.place.disk, &path, MOST) {
            Ok(bytes) => Ok(bytes.and_then(|bytes| decode(self.setup.id, &bytes))),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Ok(None),
            Err(error) => Err(Error::io("read vouchers", &path, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{PartitionId, TopicId};

    #[test]
    fn vouchers_read_as_written_and_nothing_else_does() {
        let id = LogId { topic: TopicId::random(), partition: PartitionId::new(3) };
        let vouchers: Vouchers = [(0, &b"abc"[..]), (700, b"")]
            .map(|(base, bytes)| (Offset::new(base), Vouched::of(bytes)))
            .into();
        let bytes = encode(id, &vouchers);
        assert_eq!(decode(id, &bytes), Some(vouchers));
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert_eq!(decode(id, &flipped), None, "{at}");
            assert_eq!(decode(id, &bytes[..at]), None, "{at}");
        }
        let other = LogId { topic: id.topic, partition: PartitionId::new(4) };
        assert_eq!(decode(other, &bytes), None);
    }

    #[test]
    fn a_file_may_go_on_behind_what_was_vouched_for() {
        let vouched = Vouched::of(b"abc");
        assert!(vouched.fits(b"abc") && vouched.fits(b"abcd"));
        assert!(!vouched.fits(b"ab") && !vouched.fits(b"abd"));
    }
}
