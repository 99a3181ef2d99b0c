//! Tests of share groups: the pure state against a reference, and the bytes of its log.

mod reference;

use std::time::Duration;

use super::change::{Delta, Open};
use super::deliveries::{Due, Finished, LeaseId, Phase};
use super::owed::AtLast;
use super::saved::{SavedRun, SavedState};
use super::schema::{Part, fuzz};
use super::state::{Now, ShareState};
use crate::time::Timestamp;

#[test]
fn bytes_are_read_as_they_were_written() {
    let seeds = fuzz::seeds();
    seeds.iter().for_each(|seed| fuzz::schema(seed));
    // cut, and with each byte another
    for seed in seeds {
        (0..seed.len()).for_each(|len| fuzz::schema(&seed[..len]));
        for at in 1..seed.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bytes = seed.clone();
                bytes[at] = value;
                fuzz::schema(&bytes);
            }
        }
    }
}

/// What stands in the log as Kafka writes it: ranges that leave offsets out, an update on its own.
#[test]
fn what_is_not_named_is_handed_out() {
    let mut saved = SavedState { start: 10, ..SavedState::default() };
    saved.runs.set(12, 12, SavedRun::Done(Finished::Acknowledged));
    let now = Now { mono: Duration::ZERO, wall: Timestamp::from_millis(0) };
    let state = ShareState::restore(&saved, 4, now);
    assert_eq!((state.start(), state.end(), state.open_offsets()), (10, 13, vec![10, 11]));
    state.check();
    saved.runs.set(1 << 40, 1 << 50, SavedRun::Open { count: 1, due: None });
    let state = ShareState::restore(&saved, 4, now);
    assert_eq!(state.end(), 13, "a range that nobody has written here");
}

/// A thousand consumers have a hundred records each out, and every other one is done: a change
/// names ranges, and few of them, however many records are out.
#[test]
fn what_is_out_with_its_neighbours_is_not_named_by_itself() {
    const RECORDS: i64 = 100;
    let mut state = ShareState::new(0, 5);
    let mut named = 0;
    let mut write = |state: &mut ShareState, delta: &Delta| {
        let (part, saved) = state.to_saved(delta, false);
        named += saved.runs.len();
        state.apply(delta);
        if part == Part::Snapshot {
            state.snapshot_written();
        }
    };
    for take in 0..1_000_i64 {
        let lease = LeaseId { member: take.unsigned_abs(), take: 1 };
        let phase = Phase::Leased { lease, deadline: Duration::from_secs(30) };
        let first = take * RECORDS;
        let mut delta = Delta { end: Some(first + RECORDS), ..Delta::default() };
        let open = Open { count: 1, phase, key: None };
        (first..first + RECORDS).for_each(|at| delta.open(at, open));
        write(&mut state, &delta);
    }
    for take in (1..1_000_i64).step_by(2) {
        let first = take * RECORDS;
        let mut delta = Delta::default();
        (first..first + RECORDS).for_each(|at| delta.done(at, at, Finished::Acknowledged));
        write(&mut state, &delta);
    }
    state.check();
    assert_eq!((state.open_len(), state.said.len()), (50_000, 1_000));
    assert!(named < 50_000, "{named} ranges in 1,500 changes");
}

/// Two records of one key that went out and were put off while the group had no order: the front
/// once, the other three times.
#[test]
fn a_limit_that_is_lowered_and_raised_has_nothing_overtake_its_key() {
    let wall = Timestamp::from_millis(0);
    let delay = Duration::from_secs(100);
    let mut state = ShareState::new(0, 5);
    state.set_at_last(AtLast::Bury);
    for (at, count) in [(0, 1), (1, 3)] {
        let phase = Phase::Parked(Due { at: delay, wall, delay });
        let mut delta = Delta { end: Some(at + 1), ..Delta::default() };
        delta.open(at, Open { count, phase, key: None });
        state.apply(&delta);
    }
    state.learn_keys(&[(0, 7), (1, 7)]); // there is order from now on
    state.set_most(3);
    state.check();
    state.set_most(5);
    state.check();
    assert_eq!(state.ready_len(), 0, "the front still waits");
    state.set_most(3);
    state.tick(delay);
    state.check();
    assert_eq!(state.ready(9).iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0]);
    let mut delta = Delta::default();
    delta.done(0, 0, Finished::Acknowledged);
    state.apply(&delta);
    state.check();
    assert_eq!((state.ready_len(), state.exhausted_len()), (0, 1), "out of deliveries in its turn");
}
