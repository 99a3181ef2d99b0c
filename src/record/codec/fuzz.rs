//! The fuzz target of the codecs: arbitrary bytes decompressed, and arbitrary bytes compressed.
//!
//! Whatever comes in, the limit holds; what was compressed here comes back, damaged or not it never
//! panics. Called by `crate::fuzzing`.

use super::*;
use crate::feed::Feed;

const CODECS: [Codec; 4] = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
const COMPRESS: u8 = 4;

/// A codec and what to do with it, a limit, then bytes.
pub(crate) fn codec(input: &[u8]) {
    let mut feed = Feed::new(input);
    let flags = feed.byte();
    let codec = CODECS[usize::from(flags & 3)];
    let limit = usize::from(feed.short()) << 2 | 1;
    let (at, patch) = (usize::from(feed.short()), flags >> 3);
    let bytes = feed.rest();
    if flags & COMPRESS == 0 {
        return bounded(codec, bytes, limit);
    }
    let level = match codec {
        Codec::Gzip => Some(i32::from(patch % 10)),
        Codec::Zstd => Some(i32::from(patch % 5) - 1),
        _ => None,
    };
    let mut packed = Vec::new();
    pack(codec, level, bytes, &mut packed).expect("it is built in");
    let mut back = Vec::new();
    unpack(codec, &packed, PlainLimit::bytes(bytes.len().max(1)), &mut back).expect("undamaged");
    assert_eq!(back, bytes);
    let at = at % packed.len().max(1);
    packed.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= patch | 1);
    bounded(codec, &packed, limit);
}

fn bounded(codec: Codec, packed: &[u8], limit: usize) {
    let mut out = vec![1];
    match unpack(codec, packed, PlainLimit::bytes(limit), &mut out) {
        Ok(()) => assert!(out.len() <= limit),
        Err(BatchFault::Expands { limit: said, .. }) => assert_eq!(said, limit),
        Err(fault) => assert!(matches!(fault, BatchFault::Malformed { .. }), "{fault}"),
    }
    assert!(out.capacity() <= 2 * limit + 8 * packed.len() + 64, "{} held", out.capacity());
}

/// What each codec makes of text that repeats and of text that does not, and the bytes themselves.
pub(crate) fn codec_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (number, codec) in (0..).zip(CODECS) {
        for plain in [&b"tidelog "[..], &b"abcdefgh".repeat(40), &[0; 5_000]] {
            let mut packed = Vec::new();
            pack(codec, None, plain, &mut packed).expect("it is built in");
            seeds.push([&[number, 0x40, 0, 0, 0][..], &packed].concat());
            seeds.push([&[number | COMPRESS, 0, 9, 0, 3][..], plain].concat());
        }
    }
    seeds
}
