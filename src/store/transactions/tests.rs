//! Transactions through the public door: what readers see, who is fenced, what time and operators
//! do. `crashes` stops a program of transactions at every call to the disk, `faults` has each of
//! them fail, `model` plays random ones against a plain list.
//!
//! Here is the world they share: a store on a disk of its own, without threads, on a clock that is
//! moved by hand.

#[cfg(feature = "sim")]
mod crashes;
#[cfg(feature = "sim")]
mod faults;
mod handed_over;
#[cfg(feature = "sim")]
mod model;
mod overtaken;

use std::sync::Arc;
use std::time::Duration;

use crate::config::{BackgroundSync, Durability, Threads, TopicConfig};
use crate::consumer::Consumer;
use crate::disk::{Disk, MemoryDisk};
use crate::error::{ErrorKind, Outcome};
use crate::ids::{Offset, ProducerEpoch, ProducerId};
use crate::producer::TransactionalProducer;
use crate::record::{ProducerIdentity, Record};
use crate::store::Store;
use crate::time::{ManualClock, Timestamp};
use crate::txn::TransactionPhase;

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

struct World {
    disk: Arc<dyn Disk>,
    clock: ManualClock,
}

impl World {
    fn on(disk: Arc<dyn Disk>) -> World {
        World { disk, clock: ManualClock::new(START) }
    }

    fn open(&self) -> Store {
        let builder = Store::builder("/store").disk(self.disk.clone()).clock(self.clock.clone());
        builder.threads(Threads::Host).background_sync(BackgroundSync::OFF).open().unwrap()
    }
}

/// A store with the topics `a` (two partitions), `b` and `in`.
fn store() -> (World, Store) {
    let world = World::on(Arc::new(MemoryDisk::new()));
    let store = world.open();
    make_topics(&store);
    (world, store)
}

fn make_topics(store: &Store) {
    store.ensure_topic("a", TopicConfig::new().partitions(2)).unwrap();
    store.ensure_topic("b", TopicConfig::new()).unwrap();
    store.ensure_topic("in", TopicConfig::new()).unwrap();
}

fn transactional(store: &Store, id: &str) -> TransactionalProducer {
    let builder = store.producer().transactional(id);
    builder.timeout(Duration::from_secs(10)).build().unwrap()
}

/// What a reader of what is committed is given of a partition, to its end.
fn values(store: &Store, topic: &str, partition: u32) -> Vec<String> {
    let reader = store.reader().assign([(topic, partition)]).build().unwrap();
    drain(reader)
}

fn drain(mut reader: Consumer) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let records = reader.try_poll().unwrap();
        if records.is_empty() {
            return all;
        }
        let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap().to_vec()).unwrap();
        all.extend(records.iter().map(|record| text(record.value())));
    }
}

#[test]
fn what_is_committed_is_seen_and_nothing_else() {
    let (_, store) = store();
    let mut producer = transactional(&store, "t");
    let plain = store.producer().build().unwrap().topic("b").unwrap();
    let first = producer.begin().unwrap();
    first.topic("a").unwrap().send_to(0, Record::new("1")).unwrap();
    first.topic("a").unwrap().send_to(1, Record::new("1")).unwrap();
    first.topic("b").unwrap().send_batch(&[Record::new("1"), Record::new("1'")]).unwrap();
    plain.send(Record::new("plain")).unwrap();
    assert!(values(&store, "b", 0).is_empty(), "a stable end stops where a transaction is open");
    first.commit().unwrap();
    let second = producer.begin().unwrap();
    second.topic("a").unwrap().send_to(0, Record::new("2")).unwrap();
    second.abort().unwrap();
    let third = producer.begin().unwrap();
    third.topic("a").unwrap().send_to(0, Record::new("3")).unwrap();
    drop(third);
    let fourth = producer.begin().unwrap();
    fourth.topic("a").unwrap().send_to(0, Record::new("4")).unwrap();
    fourth.commit().unwrap();
    assert_eq!(values(&store, "a", 0), ["1", "4"]);
    assert_eq!(values(&store, "a", 1), ["1"]);
    assert_eq!(values(&store, "b", 0), ["1", "1'", "plain"]);
    assert!(store.open_transactions().unwrap().is_empty());
}

#[test]
fn a_transaction_of_nothing_ends_without_a_trace() {
    let (_, store) = store();
    let mut producer = transactional(&store, "t");
    let before = store.describe_transaction("t").unwrap().updated();
    producer.begin().unwrap().commit().unwrap();
    producer.begin().unwrap().abort().unwrap();
    let after = store.describe_transaction("t").unwrap();
    assert_eq!((after.phase(), after.updated()), (TransactionPhase::Empty, before));
}

/// Each end raises the epoch, its markers have the raised one, and the next transaction too.
#[test]
fn epochs_go_up_with_every_end() {
    let (_, store) = store();
    let mut producer = transactional(&store, "t");
    for epoch in 0..3_i16 {
        let transaction = producer.begin().unwrap();
        assert_eq!(transaction.identity().epoch().get(), epoch);
        transaction.topic("b").unwrap().send(Record::new("x")).unwrap();
        if epoch == 1 {
            transaction.abort().unwrap()
        } else {
            transaction.commit().unwrap()
        }
        let known = store.engine.topic("b").unwrap().partition(0.into()).unwrap();
        let known = known.log().unwrap().producer_states();
        assert_eq!(known[0].identity().epoch().get(), epoch + 1);
    }
    assert_eq!(transactional(&store, "t").begin().unwrap().identity().epoch().get(), 4);
}

#[test]
fn a_second_producer_fences_the_first_and_ends_what_it_had_open() {
    let (_, store) = store();
    let mut first = transactional(&store, "t");
    let open = first.begin().unwrap();
    let a = open.topic("a").unwrap();
    a.send_to(0, Record::new("lost")).unwrap();
    let mut second = transactional(&store, "t");
    assert!(a.send_to(0, Record::new("late")).unwrap_err().is_fenced());
    assert!(a.send_to(1, Record::new("late")).unwrap_err().is_fenced());
    let error = open.commit().unwrap_err();
    assert!(error.is_fenced() && error.outcome() == Outcome::NotWritten, "{error}");
    assert!(first.begin().unwrap_err().is_fenced());
    let next = second.begin().unwrap();
    next.topic("a").unwrap().send_to(0, Record::new("new")).unwrap();
    drop(first); // gives nothing back that it does not have
    next.commit().unwrap();
    assert_eq!((values(&store, "a", 0), values(&store, "a", 1)), (vec!["new".into()], vec![]));
}

#[test]
fn what_is_open_for_too_long_is_aborted() {
    let (world, store) = store();
    let mut producer = transactional(&store, "t");
    let transaction = producer.begin().unwrap();
    transaction.topic("a").unwrap().send_to(0, Record::new("late")).unwrap();
    world.clock.advance(Duration::from_millis(9_999));
    store.run_due();
    assert_eq!(store.describe_transaction("t").unwrap().phase(), TransactionPhase::Ongoing);
    world.clock.advance(Duration::from_millis(1));
    store.run_due();
    assert_eq!(store.describe_transaction("t").unwrap().phase(), TransactionPhase::CompleteAbort);
    let error = transaction.topic("a").unwrap().send_to(0, Record::new("x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidTransactionState);
    assert_eq!(transaction.commit().unwrap_err().kind(), ErrorKind::InvalidTransactionState);
    let again = producer.begin().unwrap();
    again.topic("a").unwrap().send_to(0, Record::new("again")).unwrap();
    again.commit().unwrap();
    assert_eq!(values(&store, "a", 0), ["again"]);
    world.clock.advance(Duration::from_secs(60));
    store.run_due();
    assert_eq!(store.describe_transaction("t").unwrap().phase(), TransactionPhase::CompleteCommit);
}

#[test]
fn operators_see_and_end_transactions() {
    let (_, store) = store();
    assert_eq!(store.describe_transaction("t").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(store.abort_transaction("t").unwrap_err().kind(), ErrorKind::NotFound);
    let mut producer = transactional(&store, "t");
    let refused = store.abort_transaction("t").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidTransactionState);
    let transaction = producer.begin().unwrap();
    transaction.topic("a").unwrap().send_to(1, Record::new("x")).unwrap();
    let listed = store.transactions().unwrap();
    assert_eq!(listed[0].partitions(), [("a", 1.into())]);
    assert_eq!((listed[0].timeout(), listed[0].started()), (Duration::from_secs(10), Some(START)));
    let open = store.open_transactions().unwrap();
    assert_eq!((open.len(), open[0].transactional_id()), (1, Some("t")));
    let id = transaction.identity().id();
    let partition = store.partition("a", 1).unwrap();
    partition.abort_transaction(id).unwrap();
    assert!(store.open_transactions().unwrap().is_empty());
    let refused = partition.abort_transaction(id).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidTransactionState);
    drop(transaction);
    assert!(values(&store, "a", 1).is_empty());
}

fn committed(store: &Store) -> Option<Offset> {
    let all = store.committed("g").unwrap();
    all.first().map(|(_, _, committed)| committed.offset())
}

fn send_plain(store: &Store, topic: &str, values: &[&str]) {
    let topic = store.producer().build().unwrap().topic(topic).unwrap();
    for value in values {
        topic.send(Record::new(value)).unwrap();
    }
}

#[test]
fn offsets_count_with_the_commit_alone() {
    let (world, store) = store();
    send_plain(&store, "in", &["1", "2", "3"]);
    let mut consumer = store.consumer("g").assign([("in", 0)]).build().unwrap();
    let mut producer = transactional(&store, "t");
    assert_eq!(consumer.try_poll().unwrap().len(), 3);
    let transaction = producer.begin().unwrap();
    transaction.send_offsets(&consumer.consumed().unwrap()).unwrap();
    assert_eq!(committed(&store), None);
    transaction.abort().unwrap();
    assert_eq!(committed(&store), None);
    consumer.rewind().unwrap();
    assert_eq!(consumer.try_poll().unwrap().len(), 3);
    let transaction = producer.begin().unwrap();
    transaction.topic("b").unwrap().send(Record::new("all")).unwrap();
    transaction.send_offsets(&consumer.consumed().unwrap()).unwrap();
    assert_eq!(committed(&store), None);
    transaction.commit().unwrap();
    assert_eq!(committed(&store), Some(Offset::new(3)));
    assert!(consumer.consumed().unwrap().is_empty());
    drop((consumer, producer));
    store.close().unwrap();
    let store = world.open();
    assert_eq!(committed(&store), Some(Offset::new(3)));
    assert!(store.open_report().was_closed_cleanly());
}

/// What is written later in the log counts, whichever transaction ends first; a reopened store
/// says the same.
#[test]
fn of_two_commits_the_later_in_the_log_counts() {
    let (world, store) = store();
    send_plain(&store, "in", &["1", "2", "3"]);
    let read = |count: u64| {
        let mut consumer = store.consumer("g").assign([("in", 0)]).max_records(1).build().unwrap();
        consumer.seek_to_beginning("in", 0).unwrap();
        (0..count).for_each(|_| drop(consumer.try_poll().unwrap()));
        consumer
    };
    let (mut first, mut second) = (transactional(&store, "1"), transactional(&store, "2"));
    let (one, two) = (first.begin().unwrap(), second.begin().unwrap());
    one.send_offsets(&read(1).consumed().unwrap()).unwrap();
    two.send_offsets(&read(2).consumed().unwrap()).unwrap();
    two.commit().unwrap();
    one.commit().unwrap();
    assert_eq!(committed(&store), Some(Offset::new(2)));
    let one = first.begin().unwrap();
    one.send_offsets(&read(3).consumed().unwrap()).unwrap();
    store.reset_offsets("g", [("in", 0, Offset::new(1))], Durability::Process).unwrap();
    one.commit().unwrap();
    assert_eq!(committed(&store), Some(Offset::new(1)));
    drop((first, second));
    store.close().unwrap();
    assert_eq!(committed(&world.open()), Some(Offset::new(1)));
}

#[test]
fn what_is_deleted_takes_staged_offsets_along() {
    let (world, store) = store();
    send_plain(&store, "in", &["1"]);
    let mut consumer = store.consumer("g").assign([("in", 0)]).build().unwrap();
    consumer.try_poll().unwrap();
    let mut producer = transactional(&store, "t");
    let transaction = producer.begin().unwrap();
    transaction.send_offsets(&consumer.consumed().unwrap()).unwrap();
    drop(consumer);
    store.delete_topic("in").unwrap();
    store.ensure_topic("in", TopicConfig::new()).unwrap();
    transaction.commit().unwrap();
    assert_eq!(committed(&store), None);
    drop(producer);
    store.close().unwrap();
    assert_eq!(committed(&world.open()), None);
}

#[test]
fn a_close_ends_what_is_open_and_an_unused_id_expires() {
    let (world, store) = store();
    let mut producer = transactional(&store, "t");
    let transaction = producer.begin().unwrap();
    transaction.topic("a").unwrap().send_to(0, Record::new("x")).unwrap();
    store.close().unwrap();
    assert!(transaction.commit().unwrap_err().is_closed());
    drop(producer);
    let store = world.open();
    let described = store.describe_transaction("t").unwrap();
    assert_eq!(described.phase(), TransactionPhase::CompleteAbort);
    let kept = transactional(&store, "kept");
    for _ in 0..8 {
        world.clock.advance(Duration::from_secs(24 * 3600));
        store.run_maintenance();
    }
    let ids: Vec<_> = store.transactions().unwrap();
    assert_eq!(ids.iter().map(|it| it.id()).collect::<Vec<_>>(), ["kept"]);
    drop(kept);
    store.close().unwrap();
    assert_eq!(world.open().transactions().unwrap().len(), 1);
}

#[test]
fn tasks_commit_too() {
    let (_, store) = store();
    let mut producer = transactional(&store, "t");
    let transaction = producer.begin().unwrap();
    transaction.topic("a").unwrap().send_to(0, Record::new("x")).unwrap();
    let mut committing = Box::pin(transaction.commit_async());
    let waker = std::task::Waker::noop();
    let mut context = std::task::Context::from_waker(waker);
    let mut polls = 0;
    while committing.as_mut().poll(&mut context).is_pending() {
        polls += 1;
        assert!(polls < 100);
        store.run_due();
    }
    drop(committing);
    assert_eq!(values(&store, "a", 0), ["x"]);
    let transaction = producer.begin().unwrap();
    transaction.topic("a").unwrap().send_to(0, Record::new("y")).unwrap();
    drop(Box::pin(transaction.commit_async())); // never polled: it is aborted
    assert!(store.open_transactions().unwrap().is_empty());
    assert_eq!(values(&store, "a", 0), ["x"]);
}

/// The numbers of producers come from outside too. Once one at their very end, resumed by mistake,
/// left none for anybody else, for good.
#[test]
fn an_identity_from_elsewhere_does_not_use_up_all_others() {
    let (world, mut store) = store();
    for id in [i64::MAX, i64::MAX - 1, i64::MAX - 1_000] {
        let far = ProducerIdentity::new(ProducerId::new(id), ProducerEpoch::new(0));
        let builder = store.producer().resume(far);
        let a = builder.build().unwrap().topic("a").unwrap();
        a.send_to(0, Record::new("from far away")).unwrap();
        for _ in 0..2 {
            let own = store.producer().idempotent(true).build().unwrap().identity().unwrap();
            assert!(own.id().get() < 1 << 62, "{own}");
            store.close().unwrap();
            store = world.open();
        }
        transactional(&store, &id.to_string());
    }
}

/// A topic made again under the name, with fewer partitions: the end looks for what is there.
#[test]
fn a_topic_that_is_made_again_meanwhile_holds_up_no_end() {
    let (_, store) = store();
    let mut producer = transactional(&store, "t");
    for commits in [true, false] {
        let transaction = producer.begin().unwrap();
        transaction.topic("a").unwrap().send_to(1, Record::new("gone")).unwrap();
        transaction.topic("b").unwrap().send(Record::new("stays")).unwrap();
        store.delete_topic("a").unwrap();
        store.ensure_topic("a", TopicConfig::new()).unwrap();
        transaction.topic("a").unwrap().send_to(0, Record::new("new")).unwrap();
        if commits {
            transaction.commit().unwrap()
        } else {
            transaction.abort().unwrap()
        }
        let phase = store.describe_transaction("t").unwrap().phase();
        assert!(matches!(
            phase,
            TransactionPhase::CompleteCommit | TransactionPhase::CompleteAbort
        ));
        assert_eq!(values(&store, "a", 0).len(), usize::from(commits));
        store.delete_topic("a").unwrap();
        store.ensure_topic("a", TopicConfig::new().partitions(2)).unwrap();
    }
    assert_eq!(values(&store, "b", 0), ["stays"]);
    assert!(store.open_transactions().unwrap().is_empty());
}
