//! The state machine: each move by name, and long random walks with what must hold at every step.

use super::*;
use crate::seeds;

const SECOND: Duration = Duration::from_secs(1);

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn fresh(epoch: i16) -> TransactionState {
    let epoch = ProducerEpoch::new(epoch);
    TransactionState { epoch, ..TransactionState::new(ProducerId::new(7), SECOND, at(0)) }
}

fn place(topic: &str, id: u32) -> Partitions {
    Partitions::from([(Arc::from(topic), BTreeSet::from([PartitionId::new(id)]))])
}

fn prepare(kind: MarkerKind) -> Move {
    Move::Prepare { kind, fresh: None }
}

#[test]
fn a_transaction_from_its_first_record_to_its_end() {
    let empty = fresh(0);
    let open = empty.after(Move::Enlist(place("a", 0)), at(5)).unwrap();
    assert_eq!((open.phase, open.started), (TransactionPhase::Ongoing, Some(at(5))));
    let open = open.after(Move::Enlist(place("a", 1)), at(6)).unwrap();
    assert_eq!((open.partitions["a"].len(), open.started), (2, Some(at(5))));
    let decided = open.after(prepare(MarkerKind::Commit), at(7)).unwrap();
    assert_eq!(decided.prepared(), Some(MarkerKind::Commit));
    assert_eq!((decided.epoch.get(), decided.partitions["a"].len()), (1, 2));
    let done = decided.after(Move::Complete, at(8)).unwrap();
    assert_eq!((done.phase, done.epoch.get()), (TransactionPhase::CompleteCommit, 1));
    assert!(done.partitions.is_empty());
    let again = done.after(Move::Enlist(place("b", 0)), at(9)).unwrap();
    let aborted = again.after(prepare(MarkerKind::Abort), at(9)).unwrap();
    assert_eq!((aborted.phase, aborted.epoch.get()), (TransactionPhase::PrepareAbort, 2));
}

#[test]
fn what_cannot_happen_is_refused() {
    let empty = fresh(0);
    let take = || Move::Take { timeout: SECOND, fresh: None };
    let expire = || Move::Expire { age: SECOND };
    assert_eq!(empty.after(prepare(MarkerKind::Commit), at(1)), Err(Refused::NotOpen));
    assert_eq!(empty.after(Move::Complete, at(1)), Err(Refused::NotPrepared));
    let open = empty.after(Move::Enlist(place("a", 0)), at(1)).unwrap();
    assert_eq!(open.after(take(), at(1)), Err(Refused::Open));
    assert_eq!(open.after(expire(), at(9_999)), Err(Refused::Open));
    assert_eq!(open.after(Move::Complete, at(1)), Err(Refused::NotPrepared));
    let decided = open.after(prepare(MarkerKind::Abort), at(1)).unwrap();
    for step in [take(), prepare(MarkerKind::Commit), Move::Enlist(place("a", 0)), expire()] {
        assert_eq!(decided.after(step, at(9_999)), Err(Refused::Ending));
    }
    assert_eq!(empty.after(expire(), at(999)), Err(Refused::InUse));
    let dead = empty.after(expire(), at(1000)).unwrap();
    assert_eq!(dead.phase, TransactionPhase::Dead);
    assert_eq!(dead.after(take(), at(1000)), Err(Refused::Dead));
}

#[test]
fn epochs_run_out_and_another_id_goes_on() {
    let last = fresh(i16::MAX - 1);
    let taken = Move::Take { timeout: SECOND, fresh: None };
    assert_eq!(last.after(taken, at(1)), Err(Refused::NoFreshId));
    let taken = Move::Take { timeout: SECOND, fresh: Some(ProducerId::new(8)) };
    let state = last.after(taken, at(1)).unwrap();
    assert_eq!((state.producer.get(), state.epoch.get()), (8, 0));
    assert_eq!(state.previous, Some(ProducerId::new(7)));
    let open = last.after(Move::Enlist(place("a", 0)), at(1)).unwrap();
    let end = Move::Prepare { kind: MarkerKind::Commit, fresh: Some(ProducerId::new(9)) };
    let decided = open.after(end, at(2)).unwrap();
    assert_eq!((decided.producer.get(), decided.epoch.get()), (7, i16::MAX)); // its markers'
    let done = decided.after(Move::Complete, at(2)).unwrap();
    assert_eq!((done.producer.get(), done.epoch.get(), done.next), (9, 0, None));
    assert_eq!(done.previous, Some(ProducerId::new(7)));
}

/// What an epoch of a producer id was used for: at most one transaction, with one ending.
#[derive(Default)]
struct Uses(BTreeMap<(i64, i16), MarkerKind>);

#[test]
fn random_walks_keep_the_rules() {
    let steps = seeds::pick(20_000, 100_000, 2_000_000);
    for seed in seeds::seeds(2, 2, 8) {
        walk(seed, steps);
    }
}

fn walk(seed: u64, steps: u64) {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut draw = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let mut state = fresh(i16::MAX - 40);
    let (mut uses, mut next_id, mut now) = (Uses::default(), 100, 0_i64);
    for step in 0..steps {
        now += draw(700).cast_signed() - 100; // the clock is set back at times
        let wants = state.needs_fresh_id();
        next_id += 1;
        let id = wants.then(|| ProducerId::new(next_id));
        let next = match draw(8) {
            0 => Move::Take { timeout: SECOND, fresh: id },
            1 | 2 => Move::Enlist(place("a", u32::try_from(draw(3)).unwrap())),
            3 => Move::Prepare { kind: MarkerKind::Commit, fresh: id },
            4 => Move::Prepare { kind: MarkerKind::Abort, fresh: id },
            5 | 6 => Move::Complete,
            _ => Move::Expire { age: SECOND },
        };
        let context = format!("seed {seed}, step {step}: {next:?} in {state:?}");
        let Ok(after) = state.after(next, at(now)) else { continue };
        check(&state, &after, &mut uses, &context);
        state = match after.phase {
            TransactionPhase::Dead => {
                TransactionState::new(ProducerId::new(next_id), SECOND, after.updated)
            }
            _ => after,
        };
        if state.epoch.get() < i16::MAX - 60 {
            state.epoch = ProducerEpoch::new(i16::MAX - 40); // so that they run out often
        }
    }
}

fn check(before: &TransactionState, after: &TransactionState, uses: &mut Uses, context: &str) {
    use TransactionPhase::{Ongoing, PrepareAbort, PrepareCommit};
    let with_partitions = matches!(after.phase, Ongoing | PrepareCommit | PrepareAbort);
    assert_eq!(!after.partitions.is_empty(), with_partitions, "{context}");
    assert!(after.updated >= before.updated, "{context}");
    if after.producer == before.producer {
        assert!(after.epoch >= before.epoch, "{context}");
    } else {
        assert!(before.epoch.get() >= i16::MAX - 1 && after.epoch.get() == 0, "{context}");
        assert_eq!(after.previous, Some(before.producer), "{context}");
    }
    assert_eq!(after.next.is_some(), after.prepared().is_some() && after.epoch.get() == i16::MAX);
    if let Some(ending) = after.prepared() {
        // data of the lower epoch, markers of the raised one: no other transaction has that pair
        assert_eq!(after.epoch.get(), before.epoch.get() + 1, "{context}");
        assert_eq!(after.partitions, before.partitions, "{context}");
        let used = uses.0.insert((after.producer.get(), after.epoch.get()), ending);
        assert!(used.is_none(), "{context}");
    }
    if let Some(ending) = before.prepared() {
        let done = match ending {
            MarkerKind::Commit => TransactionPhase::CompleteCommit,
            MarkerKind::Abort => TransactionPhase::CompleteAbort,
        };
        assert_eq!(after.phase, done, "{context}");
    }
}
