//! Decisions that may not last: those that a killed process has left to the page cache, those whose
//! sync fails while a task waits for it, and an operator who comes in between.
//!
//! Each of these once tore a transaction apart, or said of one in doubt that it was committed. A
//! kill keeps what the page cache has, and the power cut behind it takes that.

use std::future::Future as _;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::disk::{Crash, Fault, Operation, Plan, SimDisk};
use crate::error::Outcome;
use crate::ids::Offset;

fn on(disk: &SimDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

fn aborted(partition: &Partition) -> usize {
    let all = Offset::ZERO..partition.offsets().unwrap().end;
    partition.log().unwrap().aborted_transactions(&all).len()
}

/// An open transaction of `t` with one record.
fn open_one(disk: &SimDisk) -> (Arc<Engine>, Arc<Partition>, Arc<Transactions>, Taken) {
    let (_, engine, partition) = begin(on(disk));
    let it = Transactions::open(engine.clone()).unwrap();
    let (taken, identity) = it.take("t", SECOND).unwrap();
    it.enlist(&taken, identity, &partition).unwrap();
    write(&partition, identity);
    (engine, partition, it, taken)
}

fn decide(it: &Transactions, taken: &Taken) -> ProducerIdentity {
    let mut slot = taken.entry.slot.lock();
    it.decide(&taken.entry, &mut slot, MarkerKind::Commit, Durability::Process).unwrap();
    slot.state.as_ref().unwrap().identity()
}

#[test]
fn a_decision_that_is_carried_through_after_a_kill_is_durable_before_readers_see_it() {
    let disk = SimDisk::new(1);
    let (_engine, _, it, taken) = open_one(&disk);
    decide(&it, &taken);
    let killed = disk.kill();
    let engine = engine_on(&on(&killed));
    let _carries_it_through = Transactions::open(engine.clone()).unwrap();
    let cut = killed.crash(Crash::Nothing);
    let engine = engine_on(&on(&cut));
    let it = Transactions::open(engine.clone()).unwrap();
    assert_eq!(it.describe("t").unwrap().phase(), TransactionPhase::CompleteCommit);
    assert_eq!(aborted(&partition(&engine)), 0);
}

#[test]
fn a_marker_that_a_killed_process_wrote_is_durable_before_its_end_is_written() {
    let disk = SimDisk::new(2);
    let (_engine, written, it, taken) = open_one(&disk);
    let at = it.partition_of("t").unwrap();
    written.make_durable(written.offsets().unwrap().end).unwrap();
    let decided = decide(&it, &taken);
    it.log.make_durable(at).unwrap();
    let marker = Marker { kind: MarkerKind::Commit, coordinator_epoch: 0 };
    it.append_marker(&written, decided, marker, Durability::Process).unwrap();
    let killed = disk.kill();
    let engine = engine_on(&on(&killed));
    let it = Transactions::open(engine.clone()).unwrap();
    assert_eq!(it.describe("t").unwrap().phase(), TransactionPhase::CompleteCommit);
    it.log.make_durable(at).unwrap();
    let cut = killed.crash(Crash::Nothing);
    let engine = engine_on(&on(&cut));
    let it = Transactions::open(engine.clone()).unwrap();
    assert_eq!(it.describe("t").unwrap().phase(), TransactionPhase::CompleteCommit);
    assert_eq!(aborted(&partition(&engine)), 0, "what was committed is aborted");
}

#[test]
fn an_operator_does_not_abort_in_one_partition_what_is_decided() {
    let (_engine, partition, it, taken) = open_one(&SimDisk::new(3));
    let decided = decide(&it, &taken);
    let refused = it.abort_in_partition(&partition, decided.id()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidTransactionState);
    assert_eq!(aborted(&partition), 0);
    assert_eq!(it.describe("t").unwrap().phase(), TransactionPhase::CompleteCommit);
}

/// The timer goes on with a commit that its task waits for, and meets the failure of the sync.
#[test]
fn a_task_is_told_that_its_commit_is_in_doubt_whoever_met_the_failure() {
    let disk = SimDisk::new(4);
    let (_engine, partition, it, taken) = open_one(&disk);
    let identity = taken.entry.slot.lock().state.as_ref().unwrap().identity();
    partition.make_durable(partition.offsets().unwrap().end).unwrap();
    let how = (MarkerKind::Commit, Durability::Power);
    let mut commit = Box::pin(it.clone().end_later(taken.clone(), identity, how, Vec::new()));
    let mut context = Context::from_waker(Waker::noop());
    assert!(commit.as_mut().poll(&mut context).is_pending());
    disk.fail(Plan::new(Fault::Error(5)).on(Operation::Sync).for_ever());
    let failed = it.finish(&taken.entry, &mut taken.entry.slot.lock()).unwrap_err();
    assert_eq!(failed.outcome(), Outcome::Unknown);
    let Poll::Ready(told) = commit.as_mut().poll(&mut context) else { panic!("it waits still") };
    assert_eq!(told.unwrap_err().outcome(), Outcome::Unknown);
}

/// No sync of a poisoned log is tried again: fresh files are, less and less often. Here the store
/// can record nothing any more, so that only its next open settles it.
#[test]
fn a_commit_in_doubt_is_asked_for_less_and_less_often() {
    let (disk, clock) = (SimDisk::new(5), ManualClock::default());
    let engine = engine_at(&on(&disk), clock.clone());
    let partition = make(&engine);
    let it = Transactions::open(engine.clone()).unwrap();
    let (taken, identity) = it.take("t", SECOND * 3_600).unwrap();
    it.enlist(&taken, identity, &partition).unwrap();
    write(&partition, identity);
    partition.make_durable(partition.offsets().unwrap().end).unwrap();
    disk.fail(Plan::new(Fault::Error(5)).on(Operation::Sync).for_ever());
    let how = (MarkerKind::Commit, Durability::Power);
    assert_eq!(it.end(&taken, identity, how, &[]).unwrap_err().outcome(), Outcome::Unknown);
    for _ in 0..600 {
        clock.advance(SECOND);
        engine.run_due();
    }
    let tries = taken.entry.slot.lock().tries;
    assert!((8..20).contains(&tries), "{tries} tries in ten minutes");
    disk.heal();
    let cut = disk.crash(Crash::Nothing);
    let engine = engine_on(&on(&cut));
    let it = Transactions::open(engine).unwrap();
    assert_eq!(it.describe("t").unwrap().phase(), TransactionPhase::CompleteAbort);
}

/// The end that uses up the epochs names who goes on, and a power cut took that with all that
/// spoke of it; what it had written since was of nobody, and open for ever.
#[test]
fn who_goes_on_when_epochs_have_run_out_is_known_after_a_power_cut() {
    for kind in [MarkerKind::Abort, MarkerKind::Commit] {
        let disk = SimDisk::new(6);
        let (_engine, partition, it, taken) = open_one(&disk);
        let mut last = taken.entry.slot.lock().state.as_ref().unwrap().identity();
        end(&it, &taken, last, MarkerKind::Abort);
        let most = ProducerEpoch::new(i16::MAX - 1);
        taken.entry.slot.lock().state.as_mut().unwrap().epoch = most;
        last = it.begin(&taken).unwrap();
        it.enlist(&taken, last, &partition).unwrap();
        write(&partition, last);
        end(&it, &taken, last, kind);
        let next = it.begin(&taken).unwrap();
        assert_ne!(next.id(), last.id(), "the control");
        it.enlist(&taken, next, &partition).unwrap();
        write(&partition, next);
        partition.make_durable(partition.offsets().unwrap().end).unwrap();
        let engine = engine_on(&on(&disk.crash(Crash::Nothing)));
        let it = Transactions::open(engine).unwrap();
        assert_eq!(it.open_in_partitions().unwrap().len(), 0, "{kind:?}");
    }
}
