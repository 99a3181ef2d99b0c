//! Transactions as Kafka's own tests of its coordinator and producer have them, by the public door.
//!
//! Who is fenced and what that leaves, what a timeout, an operator or a drop does to whoever goes
//! on, how far readers of what is committed get while some transactions are open and others have
//! ended, and whose offsets count. No threads: time is moved by hand.

use std::sync::Arc;
use std::time::Duration;

use tidelog::disk::MemoryDisk;
use tidelog::{
    BackgroundSync, ErrorKind, ManualClock, Offset, Outcome, Record, Store, Threads, Timestamp,
    TopicConfig, TransactionPhase, TransactionalProducer,
};

fn world() -> (ManualClock, Store) {
    let clock = ManualClock::new(Timestamp::from_millis(1_700_000_000_000));
    let builder = Store::builder("/store").disk(Arc::new(MemoryDisk::new())).clock(clock.clone());
    let builder = builder.threads(Threads::Host).background_sync(BackgroundSync::OFF);
    let store = builder.open().unwrap();
    store.ensure_topic("a", TopicConfig::new()).unwrap();
    store.ensure_topic("b", TopicConfig::new()).unwrap();
    (clock, store)
}

fn producer(store: &Store, id: &str) -> TransactionalProducer {
    store.producer().transactional(id).timeout(Duration::from_secs(5)).build().unwrap()
}

fn values(store: &Store, topic: &str, committed: bool) -> Vec<String> {
    let builder = store.reader().assign([(topic, 0)]);
    let builder = if committed { builder } else { builder.read_uncommitted() };
    let (mut reader, mut all) = (builder.build().unwrap(), Vec::new());
    loop {
        let records = reader.try_poll().unwrap();
        if records.is_empty() {
            return all;
        }
        let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap()).into_owned();
        all.extend(records.iter().map(|record| text(record.value())));
    }
}

fn plain(store: &Store, topic: &str, value: &str) {
    store.producer().build().unwrap().topic(topic).unwrap().send(Record::new(value)).unwrap();
}

#[test]
fn a_fenced_producer_can_do_nothing_any_more_and_harms_nobody() {
    let (_, store) = world();
    let mut zombie = producer(&store, "t");
    let open = zombie.begin().unwrap();
    open.topic("a").unwrap().send(Record::new("zombie")).unwrap();
    let mut successor = producer(&store, "t");
    let next = successor.begin().unwrap();
    next.topic("a").unwrap().send(Record::new("good")).unwrap();
    for _ in 0..2 {
        assert!(open.topic("a").unwrap().send(Record::new("x")).unwrap_err().is_fenced());
        assert!(open.topic("b").unwrap().send(Record::new("x")).unwrap_err().is_fenced());
    }
    let error = open.commit().unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::InvalidProducerEpoch, Outcome::NotWritten)
    );
    assert!(zombie.begin().unwrap_err().is_fenced());
    drop(zombie); // it gives back nothing that is the successor's
    next.commit().unwrap();
    assert_eq!(
        (values(&store, "a", true), values(&store, "b", false)),
        (vec!["good".into()], vec![])
    );
    assert!(store.describe_transaction("t").unwrap().is_held());
}

#[test]
fn a_zombie_behind_its_timeout_commits_neither_records_nor_offsets() {
    let (clock, store) = world();
    plain(&store, "b", "input");
    let mut consumer = store.consumer("g").assign([("b", 0)]).build().unwrap();
    assert_eq!(consumer.try_poll().unwrap().len(), 1);
    let mut producer = producer(&store, "t");
    let late = producer.begin().unwrap();
    late.topic("a").unwrap().send(Record::new("late")).unwrap();
    late.send_offsets(&consumer.consumed().unwrap()).unwrap();
    clock.advance(Duration::from_secs(5));
    store.run_due();
    let error = late.send_offsets(&consumer.consumed().unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidTransactionState);
    assert_eq!(late.commit().unwrap_err().outcome(), Outcome::NotWritten);
    // what the same producer commits next says nothing for what it had staged before
    let next = producer.begin().unwrap();
    next.topic("a").unwrap().send(Record::new("next")).unwrap();
    next.commit().unwrap();
    assert_eq!(values(&store, "a", true), ["next"]);
    assert_eq!(values(&store, "a", false), ["late", "next"]);
    assert!(store.committed("g").unwrap().is_empty());
}

#[test]
fn what_is_sent_outside_of_a_transaction_waits_behind_an_open_one() {
    let (_, store) = world();
    let (mut first, mut second) = (producer(&store, "1"), producer(&store, "2"));
    plain(&store, "a", "0");
    let one = first.begin().unwrap();
    one.topic("a").unwrap().send(Record::new("1")).unwrap();
    let two = second.begin().unwrap();
    two.topic("a").unwrap().send(Record::new("2")).unwrap();
    plain(&store, "a", "3");
    two.commit().unwrap();
    assert_eq!(values(&store, "a", true), ["0"]);
    assert_eq!(values(&store, "a", false), ["0", "1", "2", "3"]);
    let partition = store.partition("a", 0).unwrap();
    assert_eq!(partition.last_stable_offset().unwrap(), Offset::new(1));
    drop(one);
    assert_eq!(values(&store, "a", true), ["0", "2", "3"]);
    assert_eq!(partition.last_stable_offset().unwrap(), partition.end_offset().unwrap());
}

/// Nothing but markers and aborted records, over several segments: a reader comes to the end.
#[test]
fn a_reader_does_not_stall_where_nothing_is_left_to_read() {
    let (_, store) = world();
    store.ensure_topic("small", TopicConfig::new().segment_bytes(1024)).unwrap();
    let mut producer = producer(&store, "t");
    for _ in 0..20 {
        let transaction = producer.begin().unwrap();
        transaction.topic("small").unwrap().send(Record::new(&[b'x'; 300])).unwrap();
        transaction.abort().unwrap();
    }
    plain(&store, "small", "last");
    assert_eq!(values(&store, "small", true), ["last"]);
    assert_eq!(values(&store, "small", false).len(), 21);
}

#[test]
fn a_transaction_of_nothing_commits_and_aborts_without_a_record() {
    let (_, store) = world();
    let mut producer = producer(&store, "t");
    let before = producer.begin().unwrap().identity();
    producer.begin().unwrap().commit().unwrap();
    producer.begin().unwrap().abort().unwrap();
    assert_eq!(producer.begin().unwrap().identity(), before);
    assert_eq!(store.describe_transaction("t").unwrap().phase(), TransactionPhase::Empty);
    assert_eq!(store.partition("a", 0).unwrap().end_offset().unwrap(), Offset::ZERO);
}

#[test]
fn dropping_a_transaction_aborts_it_at_once_everywhere() {
    let (_, store) = world();
    let mut producer = producer(&store, "t");
    let transaction = producer.begin().unwrap();
    for topic in ["a", "b"] {
        transaction.topic(topic).unwrap().send(Record::new("x")).unwrap();
    }
    assert_eq!(store.open_transactions().unwrap().len(), 2);
    drop(transaction);
    assert!(store.open_transactions().unwrap().is_empty());
    assert_eq!(store.describe_transaction("t").unwrap().phase(), TransactionPhase::CompleteAbort);
    for topic in ["a", "b"] {
        plain(&store, topic, "y");
        assert_eq!(values(&store, topic, true), ["y"]);
        let partition = store.partition(topic, 0).unwrap();
        let all = Offset::ZERO..partition.end_offset().unwrap();
        assert_eq!(partition.aborted_transactions(all).unwrap().len(), 1);
    }
}

/// An operator's abort comes while offsets are being staged: they are in no later commit.
#[test]
fn offsets_that_an_abort_overtakes_are_never_committed() {
    let (_, store) = world();
    plain(&store, "b", "input");
    let mut consumer = store.consumer("g").assign([("b", 0)]).build().unwrap();
    assert_eq!(consumer.try_poll().unwrap().len(), 1);
    let mut producer = producer(&store, "t");
    for round in 0..100 {
        let transaction = producer.begin().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..500).any(|_| store.abort_transaction("t").is_ok()));
            let _ = transaction.send_offsets(&consumer.consumed().unwrap());
        });
        drop(transaction);
        let next = producer.begin().unwrap();
        next.topic("a").unwrap().send(Record::new("next")).unwrap();
        next.commit().unwrap();
        assert!(store.committed("g").unwrap().is_empty(), "round {round}");
    }
}

/// One that is committed outside of a transaction, behind one that is staged in it, is the later in
/// the log: it counts at once, after the transaction's commit, and in the next life, which reads
/// both from the log again.
#[test]
fn an_offset_committed_outside_counts_over_one_that_a_transaction_staged_before_it() {
    let disk = Arc::new(MemoryDisk::new());
    let open = || {
        let builder = Store::builder("/store").disk(disk.clone()).threads(Threads::Host);
        builder.background_sync(BackgroundSync::OFF).open().unwrap()
    };
    let store = open();
    store.ensure_topic("a", TopicConfig::new()).unwrap();
    (0..3).for_each(|_| plain(&store, "a", "input"));
    let reader = |most| {
        let builder = store.consumer("g").assign([("a", 0)]).max_records(most);
        let mut consumer = builder.build().unwrap();
        assert_eq!(consumer.try_poll().unwrap().len(), most);
        consumer
    };
    let (mut one, all) = (reader(1), reader(3));
    let mut producer = producer(&store, "t");
    let transaction = producer.begin().unwrap();
    transaction.send_offsets(&all.consumed().unwrap()).unwrap();
    one.commit().unwrap();
    transaction.commit().unwrap();
    let committed = |store: &Store| store.committed("g").unwrap()[0].2.offset();
    assert_eq!(committed(&store), Offset::new(1));
    drop((one, all, producer));
    store.close().unwrap();
    assert_eq!(committed(&open()), Offset::new(1));
}
