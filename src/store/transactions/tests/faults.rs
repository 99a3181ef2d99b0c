//! One transaction, with each of its calls to the disk failing in turn: what its commit says is
//! what the next life finds.

use super::*;
use crate::disk::{Crash, Fault, Operation, Plan, SimDisk};
use crate::error::Result;
use crate::seeds::pick;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

fn begin(disk: &SimDisk) -> Store {
    let store = World::on(Arc::new(disk.clone())).open();
    make_topics(&store);
    send_plain(&store, "in", &["1", "2"]);
    let mut producer = transactional(&store, "t");
    let first = producer.begin().unwrap();
    first.topic("a").unwrap().send_to(0, Record::new("first")).unwrap();
    first.commit().unwrap();
    store.flush().unwrap();
    store
}

/// The commit's result; fails where it does not come to that.
fn transaction(store: &Store, producer: &mut TransactionalProducer) -> Result<Result<()>> {
    let mut consumer = store.consumer("g").assign([("in", 0)]).build()?;
    consumer.try_poll()?;
    let transaction = producer.begin()?;
    transaction.topic("a")?.send_to(0, Record::new("second"))?;
    transaction.topic("b")?.send(Record::new("second"))?;
    transaction.send_offsets(&consumer.consumed()?)?;
    Ok(transaction.commit())
}

/// Whether the second transaction is there; it is whole in any case.
fn is_there(store: &Store, context: &str) -> bool {
    let there = values(store, "b", 0) == ["second"];
    let expected: &[&str] = if there { &["first", "second"] } else { &["first"] };
    assert_eq!(values(store, "a", 0), expected, "{context}: torn");
    assert_eq!(committed(store), there.then_some(Offset::new(2)), "{context}: torn");
    there
}

#[test]
fn a_commit_says_what_became_of_it_whatever_fails() {
    let (mut unknown, mut none, mut committed) = (0, 0, 0);
    let faults = [(Operation::Sync, EIO), (Operation::Write, ENOSPC), (Operation::Open, EIO)];
    for (operation, code) in faults {
        for nth in 1.. {
            let disk = SimDisk::new(nth);
            let store = begin(&disk);
            let mut producer = transactional(&store, "t");
            disk.fail(Plan::new(Fault::Error(code)).on(operation).nth(nth).for_ever());
            let calls = disk.operations();
            let done = transaction(&store, &mut producer);
            let context = format!("{operation:?} {nth}: {done:?}");
            if let Ok(Err(error)) = &done
                && error.outcome() == Outcome::Unknown
            {
                unknown += 1;
                let described = store.describe_transaction("t").unwrap_err();
                assert_eq!(described.kind(), ErrorKind::Poisoned, "{context}");
                assert_eq!(producer.begin().unwrap_err().kind(), ErrorKind::Poisoned, "{context}");
            }
            disk.heal();
            for (how, image) in [
                ("kill", disk.kill()),
                ("cut", disk.crash(Crash::Nothing)),
                ("late cut", disk.crash(Crash::Everything)),
            ] {
                let context = format!("{context}, {how}");
                let store = World::on(Arc::new(image)).open();
                let there = is_there(&store, &context);
                let phase = store.describe_transaction("t").unwrap().phase();
                match &done {
                    Ok(Ok(())) => assert!(there, "{context}: lost"),
                    Ok(Err(error)) if error.outcome() == Outcome::Unknown => {
                        assert_eq!(
                            there,
                            phase == TransactionPhase::CompleteCommit,
                            "{context} {phase}"
                        );
                    }
                    Ok(Err(_)) | Err(_) => assert!(!there, "{context}: a phantom"),
                }
            }
            match done {
                Ok(Ok(())) => committed += 1,
                _ => none += 1,
            }
            drop((producer, store));
            let struck = disk.operations() - calls;
            if nth > struck || nth >= pick(40, 80, 400) {
                break;
            }
        }
    }
    assert!(unknown > 0 && none > 3 && committed > 0, "the control: {unknown} {none} {committed}");
}

/// Who meets no more room in the middle of a transaction may go on once there is some.
#[test]
fn a_full_disk_costs_the_record_and_not_the_transaction() {
    let disk = SimDisk::new(3);
    let store = begin(&disk);
    let mut producer = transactional(&store, "t");
    let transaction = producer.begin().unwrap();
    let b = transaction.topic("b").unwrap();
    b.send(Record::new("one")).unwrap();
    disk.set_capacity(1);
    let large = vec![b'x'; 300_000];
    let error = b.send(Record::new(&large)).unwrap_err();
    assert!(error.is_full() && error.outcome() == Outcome::NotWritten, "{error}");
    disk.set_capacity(u64::MAX);
    b.send(Record::new("two")).unwrap();
    transaction.commit().unwrap();
    assert_eq!(values(&store, "b", 0), ["one", "two"]);
}

/// Nobody has to use the id, to reopen anything or to open the store for the end to become known,
/// where the failure was a passing one. One that took the store's own state log along leaves the
/// commit in doubt until the store is opened again.
#[test]
fn the_timer_settles_a_commit_in_doubt_once_the_disk_answers() {
    let (mut settled, mut left) = (0, 0);
    for (nth, lasts) in (1..40).flat_map(|nth| [(nth, false), (nth, true)]) {
        let disk = SimDisk::new(nth);
        let world = World::on(Arc::new(disk.clone()));
        let store = world.open();
        make_topics(&store);
        let mut producer = transactional(&store, "t");
        let transaction = producer.begin().unwrap();
        transaction.topic("b").unwrap().send(Record::new("x")).unwrap();
        let plan = Plan::new(Fault::Error(EIO)).on(Operation::Sync).nth(nth);
        disk.fail(if lasts { plan.for_ever() } else { plan });
        let Err(error) = transaction.commit() else { continue };
        if error.outcome() != Outcome::Unknown {
            continue;
        }
        let context = format!("sync {nth}, lasts: {lasts}");
        disk.heal();
        world.clock.advance(Duration::from_secs(2));
        store.run_due();
        if lasts {
            let still = store.describe_transaction("t").unwrap_err();
            assert_eq!(still.kind(), ErrorKind::Poisoned, "{context}: {still}");
            left += 1;
            continue;
        }
        let phase = store.describe_transaction("t").unwrap().phase();
        assert_eq!(phase, TransactionPhase::CompleteCommit, "{context}");
        assert_eq!(values(&store, "b", 0), ["x"], "{context}");
        assert!(store.open_transactions().unwrap().is_empty(), "{context}");
        let next = producer.begin().unwrap();
        next.topic("b").unwrap().send(Record::new("y")).unwrap();
        next.commit().unwrap();
        drop(producer);
        let cut = World::on(Arc::new(disk.crash(Crash::Nothing)));
        assert_eq!(values(&cut.open(), "b", 0), ["x", "y"], "{context}: not durable");
        settled += 1;
    }
    assert!(settled > 0 && left > 0, "no commit was in doubt: {settled} {left}");
}
