//! Record sets of Kafka's formats 0 and 1, from before 0.11: told from damage, and how far they go.
//!
//! Nothing reads them, so whoever meets one says which offsets it is about. The first is one only
//! if its own checksum says so: bytes that only look like one are torn or damaged like any others.
//! Those behind it are taken by their heads. A set that is compressed has the offset of its last
//! record, so the last offset is known and the first is where the reader is. Called by `recover`
//! and by the dump.

use byteorder::{BigEndian, ByteOrder as _};

use crate::disk::{DiskFile, read_full_at};
use crate::error::{Error, Result};
use crate::ids::Offset;
use crate::record::BatchFault;

const SIZE_AT: usize = 8;
const CRC_AT: usize = 12;
const MAGIC_AT: usize = 16;
/// Offset, size, checksum, magic, attributes, two null lengths.
const LEAST: usize = 26;

/// The head of a set, as far as it makes sense.
#[derive(Clone, Copy, Debug)]
struct Head {
    offset: Offset,
    size: u64,
    magic: i8,
}

/// What is said of the sets that begin at `position` of a file that ends at `end`; `None` where
/// there is none.
pub(crate) fn legacy_at(
    file: &dyn DiskFile,
    position: u64,
    end: u64,
) -> Result<Option<BatchFault>> {
    let Some(first) = head_at(file, position, end)? else { return Ok(None) };
    let mut whole = vec![0; usize::try_from(first.size).unwrap_or(usize::MAX)];
    let got = read_at(file, &mut whole, position)?;
    let fits = got == whole.len()
        && crc32(&whole[MAGIC_AT..]) == BigEndian::read_u32(&whole[CRC_AT..MAGIC_AT]);
    if !fits {
        return Ok(None);
    }
    let (mut last, mut next) = (first.offset, position + first.size);
    while let Some(head) = head_at(file, next, end)?.filter(|head| head.offset > last) {
        (last, next) = (head.offset, next + head.size);
    }
    Ok(Some(BatchFault::Legacy { magic: first.magic, last: Some(last) }))
}

fn head_at(file: &dyn DiskFile, position: u64, end: u64) -> Result<Option<Head>> {
    let mut head = [0; LEAST];
    if read_at(file, &mut head, position)? < LEAST || !matches!(head[MAGIC_AT], 0 | 1) {
        return Ok(None);
    }
    let offset = BigEndian::read_i64(&head);
    let size = u64::from(BigEndian::read_u32(&head[SIZE_AT..])) + CRC_AT as u64;
    let fits = offset >= 0 && size >= LEAST as u64 && size <= end.saturating_sub(position);
    let offset = Offset::new(offset);
    Ok(fits.then_some(Head { offset, size, magic: head[MAGIC_AT].cast_signed() }))
}

fn read_at(file: &dyn DiskFile, buffer: &mut [u8], position: u64) -> Result<usize> {
    let fail = |error| Error::io("read segment", &file.path(), error).at_position(position);
    read_full_at(file, buffer, position).map_err(fail)
}

/// The checksum of Kafka's old formats: CRC-32 as in zip files. Met once per refused file.
fn crc32(bytes: &[u8]) -> u32 {
    const REFLECTED_POLYNOMIAL: u32 = 0xedb8_8320;
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let carry = crc & 1;
            crc >>= 1;
            if carry == 1 {
                crc ^= REFLECTED_POLYNOMIAL;
            }
        }
    }
    !crc
}
