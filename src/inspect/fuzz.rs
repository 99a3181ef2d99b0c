//! Fuzz targets of what only inspection reads: producer snapshots and the transaction index.
//!
//! Arbitrary bytes, as they are or with the checksum mended. What is read keeps its order and its
//! bounds; nothing panics.
//!
//! Called by `crate::fuzzing`.

use super::producers::parse_snapshot;
use crate::feed::Feed;
use crate::ids::Offset;
use crate::segment::parse_transaction_index;

/// A kind, then a snapshot; with an odd kind its version and checksum are made to fit.
pub(crate) fn snapshot(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if kind & 1 == 1 && bytes.len() >= 6 {
        bytes[0..2].copy_from_slice(&1i16.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[6..]);
        bytes[2..6].copy_from_slice(&crc.to_be_bytes());
    }
    let Ok(producers) = parse_snapshot(&bytes) else { return };
    assert_eq!(bytes.len(), 10 + 46 * producers.len());
    assert!(producers.windows(2).all(|two| two[0].producer_id < two[1].producer_id));
}

pub(crate) fn snapshot_seeds() -> Vec<Vec<u8>> {
    let entry = |id: u8| [&[0, 0, 0, 0, 0, 0, 0, id][..], &[0; 38]].concat();
    let head = |count: u8| vec![1, 0, 1, 0, 0, 0, 0, 0, 0, 0, count];
    vec![
        vec![],
        head(0),
        [head(1), entry(7)].concat(),
        [head(2), entry(7), entry(3)].concat(),
        [head(2), entry(7), entry(7)].concat(),
    ]
}

/// A base offset, then an index.
pub(crate) fn transaction_index(input: &[u8]) {
    let mut feed = Feed::new(input);
    let base = feed.bytes(2).iter().fold(0i64, |sum, byte| sum * 256 + i64::from(*byte));
    let bytes = input.get(2..).unwrap_or_default();
    match parse_transaction_index(Offset::new(base), bytes) {
        Ok(entries) => {
            assert_eq!(bytes.len(), 34 * entries.len());
            assert!(entries.windows(2).all(|two| two[0].last < two[1].last));
            assert!(entries.iter().all(|one| one.first <= one.last && one.last.get() >= base));
        }
        Err(fault) => assert!(fault.position < bytes.len() as u64),
    }
}

pub(crate) fn transaction_index_seeds() -> Vec<Vec<u8>> {
    let entry = |numbers: [i64; 4]| [&[0; 2][..], &numbers.map(i64::to_be_bytes).concat()].concat();
    let (one, two) = (entry([7, 3, 9, 5]), entry([8, 4, 12, 13]));
    let base = vec![0, 2];
    vec![
        base.clone(),
        [base.clone(), one.clone()].concat(),
        [base.clone(), one.clone(), two.clone()].concat(),
        [base, two, one].concat(),
    ]
}
