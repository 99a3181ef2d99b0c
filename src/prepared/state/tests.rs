//! The state against plain lists, with random steps and new lives; and its rules one by one.

use std::collections::BTreeSet;
use std::time::Instant;

use super::*;
use crate::seeds::{end_suite, pick, seeds};

const SECOND: Duration = Duration::from_secs(1);
/// On the wall.
const NOW: Timestamp = Timestamp::from_millis(0);

fn checks(most: u32, exhausted: Exhausted) -> Checks {
    Checks { first: SECOND, longest: 8 * SECOND, most, exhausted }
}

fn pending(now: Duration) -> Pending {
    let (name, offset) = (Arc::from("n"), Offset::ZERO);
    let prepared = Timestamp::from_millis(0);
    Pending { name, offset, prepared, asked: 0, phase: Phase::Waiting(now) }
}

#[test]
fn questions_come_at_growing_intervals_and_then_the_policy_does() {
    let policies = [
        (Exhausted::Park, Next::Park),
        (Exhausted::RollBack, Next::RollBack),
        (Exhausted::KeepAsking, Next::Wait),
    ];
    for (policy, last) in policies {
        let (mut state, checks) = (State::new(9), checks(6, policy));
        let mut now = Duration::ZERO;
        state.add(1, pending(now));
        for (asked, delay) in [1, 2, 4, 8, 8, 8].into_iter().enumerate() {
            assert_eq!(state.next_question("n", &checks), Some(now + delay * SECOND));
            let early = now + delay * SECOND - Duration::from_nanos(1);
            assert!(state.begin_asking("n", &checks, early).is_none(), "early");
            now += delay * SECOND;
            assert!(state.begin_asking("other", &checks, now).is_none());
            assert_eq!(state.begin_asking("n", &checks, now).unwrap().0, 1);
            assert!(state.begin_asking("n", &checks, now).is_none(), "asked twice at once");
            let (count, next) = state.told_nothing(1, &checks, now).unwrap();
            assert_eq!(count as usize, asked + 1);
            assert_eq!(next, if asked == 5 { last } else { Next::Wait });
        }
        let more = policy == Exhausted::KeepAsking;
        let next = state.next_question("n", &checks);
        assert_eq!(next.is_some(), more || policy == Exhausted::RollBack);
        assert_eq!(state.parked(), usize::from(policy == Exhausted::Park));
    }
}

#[test]
fn outcomes_are_remembered_for_as_many_as_are_asked_for() {
    let mut state = State::new(3);
    for sequence in 0..5 {
        state.add(sequence, pending(SECOND));
        let forgotten = state.resolve(sequence, Outcome::Committed, NOW);
        assert_eq!(forgotten, sequence.checked_sub(3).into_iter().collect::<Vec<_>>());
    }
    assert!(matches!(state.get(1), Known::Unknown));
    assert!(matches!(state.get(2), Known::Ended(Outcome::Committed)));
    assert_eq!(state.draw_sequence(), 5);
    assert!(state.told_nothing(2, &checks(1, Exhausted::Park), SECOND).is_none());
}

#[test]
fn outcomes_are_forgotten_by_when_they_came_in_whatever_order_they_are_read() {
    let mut state = State::new(3);
    let at = |millis| Timestamp::from_millis(millis);
    let restored = [(0, 1), (4, 40), (1, 2), (5, 50), (2, 3), (6, 60)];
    let mut forgotten = Vec::new();
    for (sequence, millis) in restored {
        forgotten.extend(state.restore_outcome(sequence, Outcome::RolledBack, at(millis)));
    }
    assert_eq!(forgotten, [0, 1, 2]);
    // from now on in the order of the calls, and with no way around those that are there
    assert_eq!(state.resolve(7, Outcome::Committed, at(9)), [4]);
    assert_eq!(state.resolve(8, Outcome::Committed, at(70)), [5]);
    state.forget(6);
    assert!(state.resolve(3, Outcome::Committed, at(9)).is_empty());
    assert!([7, 8, 3].into_iter().all(|it| matches!(state.get(it), Known::Ended(_))));
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}

/// One seed's steps: whatever is not resolved is asked about or parked, nothing that is resolved
/// is asked about again, and no outcome changes.
fn play(seed: u64, steps: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let policy = [Exhausted::Park, Exhausted::RollBack, Exhausted::KeepAsking];
    let checks = checks(3, policy[(seed % 3) as usize]);
    let (mut state, mut now) = (State::new(usize::MAX), Duration::ZERO);
    let mut open: BTreeSet<u64> = BTreeSet::new();
    let mut asking: Option<u64> = None;
    let mut ended: BTreeMap<u64, Outcome> = BTreeMap::new();
    let mut asked: BTreeMap<u64, (u32, bool)> = BTreeMap::new();
    for _ in 0..steps {
        let outcome = if dice.below(2) == 0 { Outcome::Committed } else { Outcome::RolledBack };
        match dice.below(8) {
            0 | 1 => {
                let sequence = state.draw_sequence();
                state.add(sequence, pending(now));
                assert!(open.insert(sequence) && !ended.contains_key(&sequence));
            }
            2 => now += SECOND * dice.below(4) as u32,
            3 => {
                let from = dice.below(state.next_sequence.max(1));
                let some = open.range(from..).next().copied();
                if let Some(sequence) = some {
                    state.resolve(sequence, outcome, NOW);
                    open.remove(&sequence);
                    ended.insert(sequence, outcome);
                }
            }
            4 if dice.below(50) == 0 => {
                asking = None;
                state = State::new(usize::MAX);
                open.iter().for_each(|sequence| state.add(*sequence, pending(now)));
                for (sequence, (count, is_parked)) in &asked {
                    state.restore_checks(*sequence, *count, *is_parked);
                }
                for (sequence, outcome) in &ended {
                    state.resolve(*sequence, *outcome, NOW);
                }
            }
            4 | 5 if asking.is_none() => {
                asking = state.begin_asking("n", &checks, now).map(|(sequence, _)| sequence);
                if let Some(sequence) = asking {
                    assert!(open.contains(&sequence), "asked about what has ended");
                    assert!(!asked.get(&sequence).is_some_and(|it| it.1), "parked");
                }
            }
            _ => {
                let Some(sequence) = asking.take() else { continue };
                let told = state.told_nothing(sequence, &checks, now);
                assert_eq!(told.is_some(), open.contains(&sequence));
                let Some((count, next)) = told else { continue };
                assert_eq!(count, asked.get(&sequence).map_or(0, |it| it.0) + 1);
                asked.insert(sequence, (count, next == Next::Park));
                if next == Next::RollBack {
                    state.resolve(sequence, Outcome::RolledBack, NOW);
                    open.remove(&sequence);
                    ended.insert(sequence, Outcome::RolledBack);
                }
            }
        }
        assert_eq!(state.len(), open.len());
        let some = dice.below(state.next_sequence.max(1));
        match state.get(some) {
            Known::Pending(_) => assert!(open.contains(&some)),
            Known::Ended(outcome) => assert_eq!(ended.get(&some), Some(&outcome)),
            Known::Unknown => assert!(!open.contains(&some) && !ended.contains_key(&some)),
            Known::Undecided => panic!("none is"),
        }
    }
}

#[test]
fn nothing_is_asked_about_that_has_ended_and_nothing_else_is_forgotten() {
    let (began, steps) = (Instant::now(), pick(2_000, 50_000, 50_000));
    let seeds = seeds(9, 20, 2_000);
    for seed in seeds.clone() {
        let run = std::panic::AssertUnwindSafe(|| play(seed, steps));
        if std::panic::catch_unwind(run).is_err() {
            panic!("TIDELOG_SEED={seed} cargo test --lib nothing_else_is_forgotten");
        }
    }
    end_suite("prepared-model", (seeds.end - seeds.start) * steps, began);
}

/// An answer that cannot be carried out is no reason to ask for ever, nor to roll back.
#[test]
fn what_cannot_be_resolved_as_answered_is_asked_later_each_time_and_parked_in_the_end() {
    let policies = [
        (Exhausted::Park, false, true),
        (Exhausted::RollBack, false, true),
        (Exhausted::KeepAsking, false, false),
        (Exhausted::Park, true, false),
    ];
    for (policy, may_pass, parks) in policies {
        let (mut state, checks) = (State::new(9), checks(3, policy));
        let mut now = Duration::ZERO;
        state.add(1, pending(now));
        for (asked, delay) in [1, 2, 4].into_iter().enumerate() {
            assert_eq!(state.next_question("n", &checks), Some(now + delay * SECOND));
            now += delay * SECOND;
            assert_eq!(state.begin_asking("n", &checks, now).unwrap().0, 1);
            let (count, next) = state.was_not_resolved(1, &checks, (now, may_pass)).unwrap();
            assert_eq!(count as usize, asked + 1);
            assert_eq!(next, if asked == 2 && parks { Next::Park } else { Next::Wait });
            assert!(state.was_not_resolved(1, &checks, (now, may_pass)).is_none(), "counted twice");
        }
        assert_eq!(state.parked(), usize::from(parks));
        assert_eq!(state.next_question("n", &checks).is_some(), !parks);
        assert!(matches!(state.get(1), Known::Pending(_)), "kept");
    }
}

/// 100,000 that wait are asked about one by one in the time a few look-ups take.
#[test]
fn a_question_costs_no_look_at_all_that_wait() {
    let (mut state, checks) = (State::new(9), checks(2, Exhausted::Park));
    for sequence in 0..100_000 {
        let name = if sequence % 2 == 0 { "n" } else { "other" };
        state.add(sequence, Pending { name: Arc::from(name), ..pending(Duration::ZERO) });
    }
    let mut asked = 0;
    for round in 1..3 {
        while let Some((sequence, _)) = state.begin_asking("n", &checks, round * 3 * SECOND) {
            state.told_nothing(sequence, &checks, round * 3 * SECOND).unwrap();
            assert!(state.next_question("other", &checks).is_some());
            asked += 1;
        }
    }
    assert_eq!((asked, state.parked()), (100_000, 50_000));
    assert_eq!(state.next_question("n", &checks), None);
}
