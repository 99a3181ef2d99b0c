//! Batches whose checksum is right and whose contents are not: counts, lengths, deltas, codecs,
//! attributes, control records, versions, timestamps, producers.

use super::Felt::{Changed, Cut, Error, Gone, Refused, Whole};
use super::*;

fn put32(at: usize, value: i32) -> impl Fn(&mut Vec<u8>) {
    move |batch| batch[at..at + 4].copy_from_slice(&value.to_be_bytes())
}

fn put64(at: usize, value: i64) -> impl Fn(&mut Vec<u8>) {
    move |batch| batch[at..at + 8].copy_from_slice(&value.to_be_bytes())
}

fn put16(at: usize, value: i16) -> impl Fn(&mut Vec<u8>) {
    move |batch| batch[at..at + 2].copy_from_slice(&value.to_be_bytes())
}

fn put8(at: usize, value: u8) -> impl Fn(&mut Vec<u8>) {
    move |batch| batch[at] = value
}

/// Writes a varint over what is there, of as many bytes as it takes.
fn over(at: usize, bytes: &'static [u8]) -> impl Fn(&mut Vec<u8>) {
    move |batch| batch[at..at + bytes.len()].copy_from_slice(bytes)
}

/// Digests of our own vouch for it; elsewhere it is a batch like any other.
const WHOLE: [Felt; 5] = [Error, Error, Whole, Whole, Whole];
/// The same: readers get what it says.
const CHANGED: [Felt; 5] = [Error, Error, Changed, Changed, Changed];
/// The same: it is not shown.
const GONE: [Felt; 5] = [Error, Error, Gone, Gone, Gone];
/// No checksum covers it: elsewhere than in a log of ours its records stand at other offsets.
const OFFSETS: [Felt; 5] = [Error, Error, Changed, Changed, Cut];
/// It is no batch: nothing is lost but the tail that nobody vouches for, which is put aside.
const DAMAGE: [Felt; 5] = [Error, Error, Error, Error, Cut];

const HUGE: &[u8] = &[0xfe, 0xff, 0xff, 0xff, 0x0f]; // 2^31 - 1
const ENDLESS: &[u8] = &[0xff; 10];

#[test]
fn counts_of_records() {
    let source = Source::new();
    let plain = source.batch("plain");
    hold(
        &source,
        &[
            (plain.lie("no record", put32(57, 0)), [Error; 5]),
            (plain.lie("fewer records", put32(57, 1)), [Error; 5]),
            (plain.lie("more records", put32(57, 3)), DAMAGE),
            (plain.lie("the most records", put32(57, i32::MAX)), DAMAGE),
            (plain.lie("less than none", put32(57, -1)), DAMAGE),
        ],
    );
}

#[test]
fn lengths_within_a_batch() {
    let source = Source::new();
    let plain = source.batch("plain");
    let behind = plain.about.start..source.end_of_segment(&plain.name);
    hold(
        &source,
        &[
            (plain.lie("a shorter record", put8(61, 40)), [Error; 5]),
            (plain.lie("a longer record", put8(61, 126)), [Error; 5]),
            (plain.lie("a record of less than nothing", put8(61, 1)), [Error; 5]),
            (plain.lie("a huge record", over(61, HUGE)), [Error; 5]),
            (plain.lie("an endless varint", over(61, ENDLESS)), [Error; 5]),
            (plain.lie("a longer key", put8(65, 126)), [Error; 5]),
            (plain.lie("a key of less than null", put8(65, 3)), [Error; 5]),
            (plain.lie("a huge key", over(65, HUGE)), [Error; 5]),
            (plain.lie("a longer value", put8(71, 126)), [Error; 5]),
            (plain.lie("a value of less than null", put8(71, 3)), [Error; 5]),
            (plain.lie("a huge value", over(71, HUGE)), [Error; 5]),
            (plain.lie("headers that are not there", last(2)), [Error; 5]),
            (plain.lie("less than no headers", last(1)), [Error; 5]),
            // what follows lies elsewhere then, where no index looks for it
            (plain.lie("no byte of a record", cut_to(61)).about(behind.clone()), [Error; 5]),
            (plain.lie("half a record", cut_to(80)).about(behind), [Error; 5]),
        ],
    );
}

fn last(value: u8) -> impl Fn(&mut Vec<u8>) {
    move |batch| *batch.last_mut().expect("a byte") = value
}

fn cut_to(length: usize) -> impl Fn(&mut Vec<u8>) {
    move |batch| {
        batch.truncate(length);
        batch[8..12].copy_from_slice(&u32::try_from(length - 12).expect("small").to_be_bytes());
    }
}

#[test]
fn lengths_of_a_batch() {
    let source = Source::new();
    let plain = source.batch("plain");
    hold(
        &source,
        &[
            (plain.lie("no length", put32(8, 0)), DAMAGE),
            (plain.lie("less than a header", put32(8, 48)), DAMAGE),
            (plain.lie("a header and nothing else", put32(8, 49)), DAMAGE),
            (plain.lie("a byte less", shift32(8, -1)), DAMAGE),
            (plain.lie("a byte more", shift32(8, 1)), DAMAGE),
            (plain.lie("below zero", put32(8, -1)), DAMAGE),
            (plain.lie("the most", put32(8, i32::MAX)), DAMAGE),
        ],
    );
}

fn shift32(at: usize, by: i32) -> impl Fn(&mut Vec<u8>) {
    move |batch| {
        let value = i32::from_be_bytes(batch[at..at + 4].try_into().expect("four bytes"));
        batch[at..at + 4].copy_from_slice(&(value + by).to_be_bytes());
    }
}

/// The next batch is swallowed, checksum and all: both cannot be read.
#[test]
fn a_batch_that_swallows_the_next_one() {
    let source = Source::new();
    let plain = source.batch("plain");
    let (name, at) = (plain.name.clone(), plain.at);
    let about = plain.about.start..plain.about.end + 2;
    let lie = Lie::new("the next one is swallowed", about, move |files| {
        let log = files.get_mut(&name).expect("its segment");
        let next = split(log).into_iter().find(|(next, _)| *next > at).expect("a next batch");
        let end = next.0 + next.1.len();
        let batch = &mut log[at..end];
        batch[8..12].copy_from_slice(&u32::try_from(end - at - 12).expect("small").to_be_bytes());
        seal(batch);
    });
    hold(&source, &[(lie, [Error; 5])]);
}

#[test]
fn deltas() {
    let source = Source::new();
    let plain = source.batch("plain");
    let first = plain.about.start;
    // no checksum tells who is right: what it says of itself hides what follows
    let swallowing = plain.lie("a later last offset", put32(23, 5)).about(first..first + 6);
    let second = 61 + 1 + 51 + 3; // the delta of the second record's offset
    hold(
        &source,
        &[
            (plain.lie("an earlier last offset", put32(23, 0)), DAMAGE),
            (swallowing, [Error, Error, Gone, Gone, Cut]),
            (plain.lie("the last offset of all", put32(23, i32::MAX)), DAMAGE),
            (plain.lie("a last offset before the first", put32(23, -1)), DAMAGE),
            (plain.lie("a record behind the last", put8(second, 10)), [Error; 5]),
            (plain.lie("one offset twice", put8(second, 0)), [Error; 5]),
            (plain.lie("a record before the first", put8(second, 1)), [Error; 5]),
            (plain.lie("a huge offset", over(second, HUGE)), [Error; 5]),
            (plain.lie("an earlier time", put8(63, 1)), CHANGED),
            (plain.lie("an endless time", over(63, ENDLESS)), [Error; 5]),
        ],
    );
}

#[test]
#[cfg(all(feature = "gzip", feature = "snappy", feature = "lz4", feature = "zstd"))]
fn codecs() {
    let source = Source::new();
    let plain = source.batch("plain");
    hold(
        &source,
        &[
            (plain.lie("gzip", put16(21, 1)), [Error; 5]),
            (plain.lie("snappy", put16(21, 2)), [Error; 5]),
            (plain.lie("lz4", put16(21, 3)), [Error; 5]),
            (plain.lie("zstd", put16(21, 4)), [Error; 5]),
            (plain.lie("codec 5", put16(21, 5)), DAMAGE),
            (plain.lie("codec 7", put16(21, 7)), DAMAGE),
        ],
    );
}

#[test]
fn attributes() {
    let source = Source::new();
    let (plain, numbered) = (source.batch("plain"), source.batch("numbered"));
    let (committed, aborted) = (source.batch("committed"), source.batch("aborted"));
    hold(
        &source,
        &[
            (plain.lie("unknown low ones", put16(21, 0x80)), WHOLE),
            (plain.lie("unknown high ones", put16(21, 0x4000)), WHOLE),
            (plain.lie("all of them", put16(21, -1)), DAMAGE),
            (plain.lie("a transaction of nobody", put16(21, 0x10)), WHOLE),
            (plain.lie("a time of the log's own", put16(21, 0x08)), CHANGED),
            (plain.lie("a delete horizon", put16(21, 0x40)), WHOLE),
            (plain.lie("control records", put16(21, 0x20)), GONE),
            (numbered.lie("a transaction", put16(21, 0x10)).takes_markers(), WHOLE),
            (numbered.lie("control records in a transaction", put16(21, 0x30)), GONE),
            (committed.lie("no transaction", put16(21, 0)), WHOLE),
            (aborted.lie("no transaction any more", put16(21, 0)), WHOLE),
        ],
    );
}

/// The key of a marker is its version and its type, its value a version and a coordinator epoch.
#[test]
fn control_types_and_versions() {
    let source = Source::new();
    let marker = source.marker();
    // length, attributes, two deltas, key length, version, type, value length, version, epoch
    let (version, kind, value) = (66, 68, 71);
    hold(
        &source,
        &[
            (marker.lie("a type from later", put16(kind, 9)), WHOLE),
            (marker.lie("a type below zero", put16(kind, -1)), WHOLE),
            (marker.lie("a change of leaders", put16(kind, 2)), WHOLE),
            (marker.lie("a key from later", put16(version, 1)), WHOLE),
            (marker.lie("a key below zero", put16(version, -1)), WHOLE),
            (marker.lie("a value from later", put16(value, 3)), WHOLE),
            (marker.lie("a value below zero", put16(value, -1)), WHOLE),
            (marker.lie("a null key", put8(65, 1)), WHOLE),
            (marker.lie("more markers than one", put32(57, 2)), DAMAGE),
            (marker.lie("no control record", put16(21, 0x10)), CHANGED),
            (marker.lie("the marker of nobody", put64(43, -1)), WHOLE),
            (marker.lie("the marker of another", put64(43, 77)), WHOLE),
            (marker.lie("a marker of an epoch below zero", put16(51, -1)), WHOLE),
        ],
    );
}

#[test]
fn versions_of_batches() {
    let source = Source::new();
    let plain = source.batch("plain");
    hold(
        &source,
        &[
            (plain.lie("format 0", put8(16, 0)), DAMAGE),
            (plain.lie("format 1", put8(16, 1)), DAMAGE),
            (plain.lie("format 3", put8(16, 3)), DAMAGE),
            (plain.lie("format 255", put8(16, 255)), DAMAGE),
        ],
    );
}

#[test]
fn timestamps() {
    let source = Source::new();
    let plain = source.batch("plain");
    hold(
        &source,
        &[
            (plain.lie("the least first time", put64(27, i64::MIN)), CHANGED),
            (plain.lie("the greatest first time", put64(27, i64::MAX)), CHANGED),
            (plain.lie("a time below none", put64(27, -5)), CHANGED),
            (plain.lie("the least largest time", put64(35, i64::MIN)), WHOLE),
            (plain.lie("the greatest largest time", put64(35, i64::MAX)), WHOLE),
            (plain.lie("none", put64(35, -1)), WHOLE),
        ],
    );
}

#[test]
fn producers() {
    let source = Source::new();
    let (plain, numbered) = (source.batch("plain"), source.batch("numbered"));
    let committed = source.batch("committed");
    hold(
        &source,
        &[
            (plain.lie("a producer without a sequence", put64(43, 7)), WHOLE),
            (plain.lie("the least producer", put64(43, i64::MIN)), WHOLE),
            (numbered.lie("nobody's sequence", put64(43, -1)), WHOLE),
            (numbered.lie("another producer", put64(43, 8)), WHOLE),
            (numbered.lie("an epoch below zero", put16(51, -1)), WHOLE),
            (numbered.lie("the last epoch", put16(51, i16::MAX)), WHOLE),
            (numbered.lie("a gap of sequences", put32(53, 1_000)), WHOLE),
            (numbered.lie("a sequence below zero", put32(53, -9)), WHOLE),
            (numbered.lie("the last sequence", put32(53, i32::MAX)), WHOLE),
            (committed.lie("another's transaction", put64(43, 11)), WHOLE),
            (committed.lie("a transaction that nobody ends", put64(43, 99)).takes_markers(), WHOLE),
        ],
    );
}

/// What a checksum does not cover is vouched for by digests of our own.
#[test]
fn what_no_checksum_covers() {
    let source = Source::new();
    let plain = source.batch("plain");
    let first = plain.about.start;
    let flip = |at: usize| {
        let (place, about) = (plain.clone(), plain.about.clone());
        Lie::new("a flipped bit", about, move |files| {
            files.get_mut(&place.name).expect("its segment")[place.at + at] ^= 4;
        })
    };
    hold(
        &source,
        &[
            (plain.lie("a later offset", put64(0, first + 1)).about(first..first + 4), OFFSETS),
            (
                plain.lie("an earlier offset", put64(0, first - 1)).about(first - 2..first + 2),
                OFFSETS,
            ),
            (plain.lie("the last offset", put64(0, i64::MAX)), DAMAGE),
            (plain.lie("an offset below zero", put64(0, -1)), DAMAGE),
            (
                plain.lie("the last leader epoch", put32(12, i32::MAX)),
                [Error, Error, Refused, Whole, Refused],
            ),
            (plain.lie("an epoch below zero", put32(12, -7)), WHOLE),
            (flip(17), DAMAGE),
            (flip(30), DAMAGE),
            (flip(80), DAMAGE),
        ],
    );
}
