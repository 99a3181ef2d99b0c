//! Every cut and every flipped bit of a state log.

use proptest::prelude::*;

use super::super::fact::tests::{any_fact, topic_id};
use super::*;
use crate::ids::LeaderEpoch;

/// A state log of these frames; `durable(n)` is what frame number `n` vouches for.
fn log_of(frames: &[Vec<Fact>], snapshot_through: u64, durable: impl Fn(u64) -> u64) -> Vec<u8> {
    let store_id = StoreId::from_bytes([9; 16]);
    let header = Header { store_id, generation: 1, first_sequence: 1, snapshot_through };
    let mut bytes = header.encode().to_vec();
    for (sequence, facts) in (1..).zip(frames) {
        put_frame(&mut bytes, sequence, durable(sequence), facts).unwrap();
    }
    bytes
}

fn epochs(count: i32) -> Vec<Vec<Fact>> {
    (0..count).map(|n| vec![Fact::HighestEpoch { epoch: LeaderEpoch::new(n) }]).collect()
}

/// Where each frame begins, and the end.
fn frame_starts(frames: &[Vec<Fact>]) -> Vec<usize> {
    (0..=frames.len()).map(|n| log_of(&frames[..n], 0, |s| s - 1).len()).collect()
}

#[test]
fn the_bytes_are_these() {
    let bytes = log_of(&epochs(1), 0, |_| 0);
    assert_eq!(&bytes[..8], b"TIDESTAT");
    assert_eq!(&bytes[8..12], [0, 0, 0, 6]);
    assert_eq!(HEADER_LEN, 56);
    let frame = &bytes[HEADER_LEN..];
    assert_eq!(&frame[..4], [0, 0, 0, 13]);
    assert_eq!(&frame[8..], [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0, 0, 0]);
}

#[test]
fn a_cut_leaves_a_prefix_or_is_damage() {
    let frames = epochs(4);
    let starts = frame_starts(&frames);
    let bytes = log_of(&frames, 0, |sequence| sequence - 1);
    for cut in 0..bytes.len() {
        match scan(&bytes[..cut]) {
            Err(fault) => assert!(cut < HEADER_LEN, "cut at {cut}: {fault:?}"),
            Ok(scan) => {
                let whole = starts.iter().filter(|&&start| start <= cut).count() - 1;
                assert_eq!(scan.facts, frames[..whole].concat(), "cut at {cut}");
                assert_eq!(scan.torn.is_some(), !starts.contains(&cut), "cut at {cut}");
            }
        }
    }
}

#[test]
fn a_cut_into_the_snapshot_is_damage() {
    let frames = epochs(4);
    let starts = frame_starts(&frames);
    let bytes = log_of(&frames, 2, |sequence| sequence - 1);
    for cut in 0..bytes.len() {
        assert_eq!(scan(&bytes[..cut]).is_err(), cut < starts[2], "cut at {cut}");
    }
}

#[test]
fn every_flipped_bit_is_damage_or_a_torn_last_frame() {
    let frames = epochs(4);
    let starts = frame_starts(&frames);
    let bytes = log_of(&frames, 0, |sequence| sequence - 1);
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        match scan(&flipped) {
            Err(Fault::Damage { position, .. }) => {
                let start = starts.iter().rev().find(|&&start| start <= bit / 8).unwrap_or(&0);
                assert!(position <= bytes.len() as u64);
                assert!(bit / 8 < starts[3], "bit {bit}");
                assert!(*start == 0 || position == *start as u64, "bit {bit}: {position}");
            }
            Err(other) => panic!("bit {bit}: {other:?}"),
            Ok(scan) => {
                assert!(bit / 8 >= starts[3], "bit {bit} went unnoticed");
                assert_eq!(scan.facts, frames[..3].concat());
                assert!(scan.torn.is_some());
            }
        }
    }
}

#[test]
fn whole_frames_behind_a_bad_one_are_torn_unless_they_vouch_for_it() {
    let frames = epochs(4);
    let starts = frame_starts(&frames);
    // all four written without a sync: a power cut may keep any of them
    let mut unsynced = log_of(&frames, 0, |_| 0);
    unsynced[starts[1] + 20] ^= 1;
    let scanned = scan(&unsynced).unwrap();
    assert_eq!(scanned.facts, frames[..1].concat());
    let torn = scanned.torn.unwrap();
    assert_eq!((torn.position, torn.whole_frames), (starts[1] as u64, 2));

    // the last one was written after a sync of the first two
    let mut synced = log_of(&frames, 0, |sequence| if sequence == 4 { 2 } else { 0 });
    synced[starts[1] + 20] ^= 1;
    let Err(Fault::Damage { position, .. }) = scan(&synced) else { panic!("not damage") };
    assert_eq!(position, starts[1] as u64);
}

#[test]
fn zeros_and_noise_behind_the_last_frame_are_torn() {
    for tail in [vec![0; 1], vec![0; 4096], vec![0xa5; 300], vec![0, 0, 0, 13]] {
        let mut bytes = log_of(&epochs(2), 0, |sequence| sequence - 1);
        let end = bytes.len();
        bytes.extend(&tail);
        let torn = scan(&bytes).unwrap().torn.unwrap();
        let expected = TornTail { position: end as u64, bytes: tail.len() as u64, whole_frames: 0 };
        assert_eq!(torn, expected);
    }
}

#[test]
fn a_newer_version_and_an_unknown_fact_are_told_apart() {
    let of_version = |version| {
        let mut bytes = log_of(&[], 0, |_| 0);
        bytes[11] = version;
        let crc = crc32c::crc32c(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_be_bytes());
        bytes
    };
    assert_eq!(scan(&of_version(7)).unwrap_err(), Fault::Newer { found: 7 });
    for known in [1, 2, 3, 4, 5, 6] {
        assert!(scan(&of_version(known)).is_ok(), "version {known}");
    }

    let mut unknown = log_of(&epochs(1), 0, |_| 0);
    unknown[HEADER_LEN + FRAME_HEAD + VOUCH_LEN] = 200;
    let crc = frame_crc(&unknown[HEADER_LEN..]);
    unknown[HEADER_LEN + 4..HEADER_LEN + 8].copy_from_slice(&crc.to_be_bytes());
    let at = HEADER_LEN + FRAME_HEAD + VOUCH_LEN;
    let reason = "an unknown kind of fact";
    assert_eq!(scan(&unknown).unwrap_err(), Fault::Damage { position: at as u64, reason });
}

#[test]
fn a_frame_too_large_is_refused_and_leaves_no_bytes() {
    let name = "n".repeat(MAX_PAYLOAD);
    let mut bytes = vec![1, 2, 3, 4];
    let fact = Fact::TopicDeleted { id: topic_id(1), name };
    assert!(put_frame(&mut bytes, 1, 0, &[fact]).is_err());
    assert_eq!(bytes, [1, 2, 3, 4]);
}

proptest! {
    #[test]
    fn frames_round_trip(frames in prop::collection::vec(
        prop::collection::vec(any_fact(), 0..5), 0..6)
    ) {
        let bytes = log_of(&frames, 0, |sequence| sequence - 1);
        let scan = scan(&bytes).unwrap();
        prop_assert_eq!(scan.facts, frames.concat());
        prop_assert_eq!(scan.next_sequence, frames.len() as u64 + 1);
        prop_assert_eq!(scan.torn, None);
    }

    #[test]
    fn no_bytes_make_scanning_panic(
        tail in prop::collection::vec(any::<u8>(), 0..300),
        headed in any::<bool>(),
    ) {
        let mut bytes = if headed { log_of(&epochs(1), 0, |_| 0) } else { vec![] };
        bytes.extend(tail);
        let _ = scan(&bytes);
    }
}
