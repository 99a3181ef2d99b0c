//! The fuzz target of what inspection reads beyond the log's own: the transaction index.
//!
//! Arbitrary bytes. What is read keeps its order and its bounds; nothing panics.
//!
//! Called by `crate::fuzzing`.

use crate::feed::Feed;
use crate::ids::Offset;
use crate::segment::parse_transaction_index;

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
