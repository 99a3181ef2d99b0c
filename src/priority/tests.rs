//! The turn of priorities against its promises, at random: the highest that may goes first, shares
//! are by weight, and nobody waits longer than a round.

use std::num::NonZeroU32;

use super::fairness::QUANTUM;
use super::*;
use crate::config::{Priority, TopicConfig};
use crate::ids::PartitionId;
use crate::seeds::seeds;

fn random(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    }
}

fn lanes(count: u32) -> Option<PriorityLanes> {
    PriorityLanes::of(&TopicConfig::new().priority_lanes(count))
}

#[test]
fn priorities_are_divided_over_lanes_and_lanes_over_partitions() {
    assert_eq!(lanes(1), None);
    let three = lanes(3).unwrap();
    let of = |number| three.lane(Priority::new(number));
    assert_eq!((0..10).map(of).collect::<Vec<_>>(), [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]);
    for count in 2..=10 {
        let lanes = lanes(count).unwrap();
        for partitions in count..40 {
            let partitions = NonZeroU32::new(partitions).unwrap();
            let mut seen = vec![0; partitions.get() as usize];
            for lane in 0..count {
                for place in 0..lanes.width(lane, partitions).unwrap().get() {
                    let partition = lanes.partition(lane, place);
                    seen[partition.index()] += 1;
                    assert_eq!((lanes.lane_of(partition), lanes.place(partition)), (lane, place));
                    let priority = lanes.priority_of(partition);
                    assert_eq!(lanes.lane(priority), lane);
                    let below = priority.get().checked_sub(1).map(|it| lanes.lane(it.into()));
                    assert!(below.is_none_or(|below| below < lane), "the lowest of its lane");
                }
            }
            assert!(seen.iter().all(|times| *times == 1), "each partition has one lane");
        }
    }
    assert_eq!(three.priority_of(PartitionId::new(5)), Priority::new(7));
    assert_eq!(three.width(2, NonZeroU32::new(2).unwrap()), None);
}

/// Everybody always has something: how many records each gets.
fn backlogged(priorities: &[u8], total: u64, mut batch: impl FnMut() -> u64) -> Vec<u64> {
    let (mut fairness, mut got) = (Fairness::new(Weights::default()), vec![0; 10]);
    while got.iter().sum::<u64>() < total {
        let turn = fairness.next(|it| priorities.contains(&it.get())).unwrap();
        let records = turn.most.unwrap_or(100).min(batch());
        fairness.charge(turn, usize::try_from(records).unwrap());
        got[usize::from(turn.priority.get())] += records;
    }
    got
}

#[test]
fn under_full_load_each_gets_its_share() {
    let all: Vec<u8> = (0..10).collect();
    let got = backlogged(&all, 55 * 64 * 1000, || 1);
    for (number, got) in got.iter().enumerate() {
        assert_eq!(*got, (number as u64 + 1) * 64 * 1000, "priority {number}");
    }
    // three lanes: 1, 5 and 8 parts of 14
    let got = backlogged(&[0, 4, 7], 14 * 64 * 100, || 7);
    assert_eq!([got[0], got[4], got[7]], [6_400, 32_000, 51_200]);
}

#[test]
fn batches_that_overshoot_are_paid_for() {
    let (mut fairness, mut got) = (Fairness::new(Weights::default()), [0_u64; 10]);
    for _ in 0..20_000 {
        let turn = fairness.next(|it| it == Priority::LOWEST || it == Priority::HIGHEST).unwrap();
        let records = if turn.priority == Priority::LOWEST { 1_000 } else { 10 };
        fairness.charge(turn, records);
        got[usize::from(turn.priority.get())] += records as u64;
    }
    let share = got[9] as f64 / (got[0] + got[9]) as f64;
    assert!((0.89..0.93).contains(&share), "10 of 11 parts: {share}, {got:?}");
}

#[test]
fn who_is_alone_takes_what_it_wants_and_owes_nothing() {
    let mut fairness = Fairness::new(Weights::default());
    let alone = fairness.next(|it| it == Priority::LOWEST).unwrap();
    assert_eq!(alone, Turn { priority: Priority::LOWEST, most: None });
    fairness.charge(alone, 1_000_000);
    let both = |it: Priority| it == Priority::LOWEST || it == Priority::new(9);
    let first = fairness.next(both).unwrap();
    assert_eq!(first, Turn { priority: Priority::HIGHEST, most: Some(640) });
    fairness.charge(first, 640);
    assert_eq!(fairness.next(both).unwrap().priority, Priority::LOWEST);
    assert_eq!(fairness.next(|_| false), None);
}

/// Queues that fill and empty at random, served one turn at a time. The model keeps for each that
/// has something how much others have taken since its last turn.
fn play(seed: u64) {
    let mut draw = random(seed);
    let mut fairness = Fairness::new(Weights::default());
    let (mut queues, mut waited, mut rounds) = ([0_u64; 10], [0_u64; 10], 0);
    for _ in 0..3_000 {
        let number = usize::try_from(draw(10)).unwrap();
        queues[number] += draw(200);
        let Some(turn) = fairness.next(|it| queues[usize::from(it.get())] > 0) else { continue };
        let taken = usize::from(turn.priority.get());
        assert!(queues[taken] > 0, "seed {seed}: an empty one has no turn");
        let is_alone = queues.iter().filter(|len| **len > 0).count() == 1;
        assert_eq!(turn.most.is_none(), is_alone, "seed {seed}");
        let records = turn.most.unwrap_or(u64::MAX).min(queues[taken]).min(1 + draw(64));
        fairness.charge(turn, usize::try_from(records).unwrap());
        queues[taken] -= records;
        for (number, len) in queues.iter().enumerate() {
            if number == taken || *len == 0 {
                waited[number] = 0;
            } else {
                waited[number] += records;
            }
            // a round of all the others, and the rest of one before it came
            let others = (1..=10_u64).sum::<u64>() - (number as u64 + 1);
            let most = 2 * others * QUANTUM.unsigned_abs();
            assert!(waited[number] <= most, "seed {seed}: {number} starves: {waited:?}");
        }
        rounds += 1;
    }
    assert!(rounds > 1_000, "the control: seed {seed}");
}

#[test]
fn nobody_waits_longer_than_a_round_of_the_others() {
    seeds(20, 100, 20_000).for_each(play);
}

#[test]
fn what_comes_for_a_higher_priority_is_next() {
    let mut fairness = Fairness::new(Weights::default());
    let low = |it: Priority| it.get() == 1 || it.get() == 2;
    for _ in 0..50 {
        let turn = fairness.next(low).unwrap();
        fairness.charge(turn, 1);
    }
    let turn = fairness.next(|it| low(it) || it.get() == 8).unwrap();
    assert_eq!(turn.priority, Priority::new(8));
}

/// Weights of the program's choice, at random: each gets its part, whatever they are.
#[test]
fn under_full_load_each_gets_what_its_weight_says() {
    for seed in seeds(20, 100, 10_000) {
        let mut draw = random(seed);
        let weights: [u32; 10] = std::array::from_fn(|_| 1 + u32::try_from(draw(50)).unwrap());
        let mut fairness = Fairness::new(Weights::new(weights));
        let all: u64 = weights.iter().copied().map(u64::from).sum();
        let mut got = [0_u64; 10];
        while got.iter().sum::<u64>() < 3 * all * QUANTUM.unsigned_abs() {
            let turn = fairness.next(|_| true).unwrap();
            let records = turn.most.unwrap().min(1 + draw(30));
            fairness.charge(turn, usize::try_from(records).unwrap());
            got[usize::from(turn.priority.get())] += records;
        }
        let wanted = weights.map(|weight| 3 * u64::from(weight) * QUANTUM.unsigned_abs());
        assert_eq!(got, wanted, "TIDELOG_SEED={seed}: {weights:?}");
    }
}

#[test]
fn weights_that_would_have_somebody_starve_are_refused() {
    assert!(Weights::default().check("build").is_ok());
    assert!(Weights::new([1; 10]).check("build").is_ok());
    assert!(Weights::new([1000; 10]).check("build").is_ok());
    for wrong in [0, 1001] {
        let mut weights = [1; 10];
        weights[3] = wrong;
        assert!(Weights::new(weights).check("build").is_err(), "{wrong}");
    }
}
