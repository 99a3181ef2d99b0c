//! Fuzz target of producer snapshots: arbitrary bytes, and the same with a checksum that fits.
//!
//! What is read is written again as the same producers; what a log can have made is known after a
//! load, and no more than may be.
//!
//! Called by `crate::fuzzing`.

use std::time::Duration;

use super::{ProducerLimits, Producers, decode, encode};
use crate::ids::Offset;
use crate::time::Timestamp;

const LIMITS: ProducerLimits = ProducerLimits { expiration: Duration::from_secs(60), most: 8 };

/// The bytes of a `.snapshot` file; an odd first byte has the checksum made to fit.
pub(crate) fn snapshot(input: &[u8]) {
    let Some((flags, bytes)) = input.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if flags & 1 == 1 && bytes.len() >= 10 {
        bytes[..2].copy_from_slice(&[0, 1]);
        let crc = crc32c::crc32c(&bytes[6..]);
        bytes[2..6].copy_from_slice(&crc.to_be_bytes());
    }
    let Ok(mut read) = decode(&bytes) else { return };
    let again = decode(&encode(read.clone())).expect("it was written");
    read.sort_by_key(|recorded| recorded.producer);
    assert_eq!(again, read);
    let (end, now) = (Offset::new(1 << 40), Timestamp::from_millis(0));
    let mut producers = Producers::new(LIMITS);
    if producers.load(&read, end, now) {
        assert!(read.iter().all(|recorded| recorded.fits(end)));
        let open = read.iter().filter(|recorded| recorded.transaction_start.is_some()).count();
        assert!(producers.len() <= LIMITS.most.max(open));
    }
}

pub(crate) fn snapshot_seeds() -> Vec<Vec<u8>> {
    let entry = |id: u8| {
        let mut entry = [0; 46];
        entry[7] = id;
        entry[13] = 4;
        entry[21] = 9;
        entry[25] = 1;
        entry[34..].fill(0xff);
        entry
    };
    let file = |count: u8| {
        let mut bytes = vec![1, 0, 1, 0, 0, 0, 0, 0, 0, 0, count];
        (0..count).for_each(|id| bytes.extend(entry(id)));
        bytes
    };
    vec![file(0), file(1), file(3)]
}
