//! Fuzz target of the journal: arbitrary bytes as its file, and rings of frames that were damaged.
//!
//! What is taken from a file lies within it and is what was put there; frames are taken in order
//! without a gap; a gap is told where a frame knows that what is missing was durable. A file
//! that holds frames aside gives them back.
//!
//! Called by `crate::fuzzing`.

use std::path::Path;

use bytes::Bytes;

use super::file::half_of;
use super::frame::{
    ALIGN, Content, Extent, FILE_HEAD, FileHead, HEAD, Reign, Standing, parse, put,
};
use super::replay::{Frame, encode_aside, read, scan};
use super::ring::{Placed, Ring};
use crate::disk::{Access, Disk, MemoryDisk, write_all_at};
use crate::error::ErrorKind;
use crate::feed::Feed;
use crate::ids::{LeaderEpoch, LogId, Offset, PartitionId, TopicId};

const HALF: u64 = 1024;
const STORE: [u8; 16] = [7; 16];
const MEND: u8 = 1;
const RING: u8 = 2;

fn reign() -> Reign {
    Reign { store: STORE, epoch: LeaderEpoch::new(3) }
}

/// The journal's file, arbitrary or of a ring.
pub(crate) fn journal(input: &[u8]) {
    let mut feed = Feed::new(input);
    match feed.byte() {
        flags if flags & RING != 0 => ring(feed),
        flags => file(feed, flags),
    }
}

fn file(mut feed: Feed<'_>, flags: u8) {
    let mut bytes = feed.rest().to_vec();
    if let Ok(head) = FileHead::parse(&bytes) {
        assert_eq!(FileHead::parse(&head.encode()), Ok(head));
    }
    if flags & MEND != 0 {
        // the bytes as frames: the head and what makes each of them one
        let mut whole = FileHead { store: STORE, half: HALF }.encode().to_vec();
        whole.resize(usize::try_from(FILE_HEAD).expect("small"), 0);
        mend(&mut bytes, whole.len());
        whole.extend_from_slice(&bytes);
        bytes = whole;
    }
    if let Some(frame) = parse(&bytes, 0, &reign()) {
        assert!(frame.size <= bytes.len() && frame.size.is_multiple_of(ALIGN));
    }
    let whole = Bytes::from(bytes);
    let found = scan(&whole, HALF, &reign()).0;
    for frame in found.iter().flatten().flatten() {
        assert!(frame.batches.len() <= whole.len());
    }
    if let Ok(Some(frames)) = &found {
        put_aside(frames);
    }
    let disk = with_file(&whole);
    match (read(&disk, Path::new("/journal"), &reign()), found) {
        (Ok(read), Ok(found)) if flags & MEND != 0 => assert_eq!(read, found),
        (Err(error), _) => {
            let kind = error.kind();
            assert!(matches!(kind, ErrorKind::Corrupt | ErrorKind::NewerVersion), "{error}");
        }
        _ => {}
    }
}

/// Makes frames of bytes, one behind the other: magic, length, reign, checksum.
fn mend(bytes: &mut [u8], start: usize) {
    let mut at = 0;
    while bytes.len() - at >= HEAD {
        let asked = usize::from(bytes[at + 7]) + HEAD; // the length's lowest byte stands for it
        let len = asked.min(bytes.len() - at);
        let frame = &bytes[at..at + len];
        let number = |from: usize| u64::from(frame[from + 7]);
        let standing = Standing {
            lap: number(40) & 3,
            sequence: number(48),
            durable_through: number(56),
            oldest: number(64),
        };
        let place = extent(frame[71] & 3, i64::from(frame[111]), i64::from(frame[119]));
        let content = match frame[15] & 7 {
            0 => Content::LapEnd,
            _ => Content::Records(place, &frame[HEAD..]),
        };
        let mut out = Vec::new();
        put(&mut out, (start + at) as u64, &reign(), &standing, content);
        let end = (at + out.len()).min(bytes.len());
        bytes[at..end].copy_from_slice(&out[..end - at]);
        at = end;
    }
}

fn extent(log: u8, first: i64, end: i64) -> Extent {
    let topic = TopicId::from_bytes([log + 1; 16]).expect("not zero");
    Extent {
        log: LogId { topic, partition: PartitionId::new(u32::from(log)) },
        segment: Offset::ZERO,
        position: 0,
        first: Offset::new(first),
        end: Offset::new(end),
    }
}

fn with_file(bytes: &[u8]) -> MemoryDisk {
    let disk = MemoryDisk::new();
    let file = disk.open("/journal".as_ref(), Access::CreateNew).expect("a new file");
    write_all_at(&*file, bytes, 0).expect("room");
    disk
}

fn put_aside(frames: &[Frame]) {
    let reign = Reign::aside(STORE);
    let disk = with_file(&encode_aside(frames, &reign));
    let again = read(&disk, Path::new("/journal"), &reign).expect("it was just written");
    assert_eq!(again.unwrap_or_default(), frames, "without frames there is nothing of a reign");
}

/// What is durable of a ring survives what was not: every cut and flip behind it, and nothing is
/// taken that was never put.
fn ring(mut feed: Feed<'_>) {
    let mut ring = Ring::new(reign(), half_of(FILE_HEAD + 2 * HALF));
    let mut file = FileHead { store: STORE, half: HALF }.encode().to_vec();
    file.resize(usize::try_from(FILE_HEAD + 2 * HALF).expect("small"), 0);
    let (mut all, mut durable, mut durable_file) = (Vec::new(), 0, file.clone());
    let (mut ends, mut synced) = ([0i64; 4], [0i64; 4]);
    for _ in 0..feed.byte() & 63 {
        let (step, log) = (feed.byte(), feed.byte() & 3);
        let at = usize::from(log);
        match step & 7 {
            0 => {
                ring.synced(extent(log, 0, 0).log, Offset::new(ends[at]));
                synced[at] = ends[at];
            }
            1 | 2 => {
                for run in ring.take(Vec::new()) {
                    let at = usize::try_from(run.at).expect("small");
                    file[at..at + run.bytes.len()].copy_from_slice(&run.bytes);
                }
                durable = ring.last_sequence();
                durable_file.clone_from(&file);
            }
            _ => {
                let (first, end) = (ends[at], ends[at] + 1 + i64::from(step >> 3));
                let batches = vec![step; usize::from(feed.byte())];
                let place = extent(log, first, end);
                if let Placed::At { sequence, .. } = ring.add(&place, &batches, durable) {
                    ends[at] = end;
                    let frame = Frame { extent: place, batches: batches.into() };
                    all.push((sequence, frame));
                }
            }
        }
    }
    let after_stop = stopped(ring, &mut file, &durable_file, &mut feed);
    let found = scan(&Bytes::from(after_stop), HALF, &reign())
        .0
        .unwrap_or_else(|gap| panic!("what was durable is missing: {gap:?}"))
        .unwrap_or_default();
    let place = all.iter().position(|(_, frame)| Some(frame) == found.first());
    assert!(found.is_empty() || place.is_some(), "nobody put that: {:?}", found[0]);
    let put = all[place.unwrap_or(0)..].iter().map(|(_, frame)| frame);
    assert!(put.take(found.len()).eq(&found), "frames come in their order");
    for (sequence, frame) in all.iter().filter(|(sequence, _)| *sequence <= durable) {
        let is_synced = frame.extent.end.get() <= synced[usize::from(log_of(frame))];
        assert!(is_synced || found.contains(frame), "frame {sequence} was durable and is gone");
    }
}

fn log_of(frame: &Frame) -> u8 {
    frame.extent.log.topic.as_bytes()[0] - 1
}

/// What a power cut leaves: of the last write, which no sync covered, any piece.
fn stopped(mut ring: Ring, file: &mut [u8], durable: &[u8], feed: &mut Feed<'_>) -> Vec<u8> {
    let mut left = durable.to_vec();
    // each run is synced before the next is written
    for run in ring.take(Vec::new()) {
        let at = usize::try_from(run.at).expect("small");
        file[at..at + run.bytes.len()].copy_from_slice(&run.bytes);
        let step = feed.byte();
        if step & 3 == 0 {
            left.copy_from_slice(file);
            continue;
        }
        for piece in (at..at + run.bytes.len()).step_by(64) {
            let end = (piece + 64).min(at + run.bytes.len());
            match feed.byte() & 3 {
                0 => {}
                1 => left[piece] ^= 1,
                _ => left[piece..end].copy_from_slice(&file[piece..end]),
            }
        }
        break;
    }
    left
}

/// Inputs of `journal`: frames, and steps of a ring.
pub(crate) fn journal_seeds() -> Vec<Vec<u8>> {
    let standing = Standing { lap: 0, sequence: 1, durable_through: 0, oldest: 1 };
    let mut bytes = Vec::new();
    for (sequence, content) in [
        (1, Content::Records(extent(1, 0, 4), b"batches")),
        (2, Content::Records(extent(2, 0, 1), b"")),
        (3, Content::LapEnd),
    ] {
        let at = FILE_HEAD + bytes.len() as u64;
        put(&mut bytes, at, &reign(), &Standing { sequence, ..standing }, content);
    }
    let head = FileHead { store: STORE, half: HALF }.encode();
    let mut whole = head.to_vec();
    whole.resize(usize::try_from(FILE_HEAD).expect("small"), 0);
    let steps: Vec<u8> = (0..40).flat_map(|n: u8| [n % 6, n % 3, n * 5]).collect();
    vec![
        [&[0][..], &head].concat(),
        [&[0][..], &whole, &bytes].concat(),
        [&[MEND][..], &bytes].concat(),
        [&[RING, 40][..], &steps].concat(),
        [&[RING, 9][..], &[3, 1, 100, 3, 2, 80, 1, 0, 4, 1, 60, 1, 2, 2, 2, 1]].concat(),
    ]
}
