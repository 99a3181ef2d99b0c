//! Tests of share groups: the pure state against a reference, and the bytes of its log.

mod reference;

use std::time::Duration;

use super::deliveries::Finished;
use super::saved::{SavedRun, SavedState};
use super::schema::fuzz;
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
