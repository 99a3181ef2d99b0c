//! Broadcast consumers: each sees everything and keeps offsets of its own, under a name that nobody
//! else uses.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{BackgroundSync, Durability, Threads, TopicConfig};
use crate::consumer::{Consumer, OffsetCommit, Reset};
use crate::disk::{Disk, MemoryDisk};
use crate::error::{Error, ErrorKind};
use crate::group::{GroupKind, GroupPhase, StickyAssignor};
use crate::ids::Offset;
use crate::record::Record;
use crate::store::Store;
use crate::time::{ManualClock, Timestamp};

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn open(disk: &Arc<dyn Disk>, clock: &ManualClock) -> Store {
    let builder = Store::builder("/store").disk(disk.clone()).clock(clock.clone());
    builder.threads(Threads::Host).background_sync(BackgroundSync::OFF).open().unwrap()
}

fn begin() -> (Arc<dyn Disk>, ManualClock, Store) {
    let (disk, clock): (Arc<dyn Disk>, _) = (Arc::new(MemoryDisk::new()), ManualClock::new(START));
    let store = open(&disk, &clock);
    store.ensure_topic("a", TopicConfig::new().partitions(3)).unwrap();
    (disk, clock, store)
}

fn send(store: &Store, topic: &str, values: std::ops::Range<u32>) {
    let producer = store.producer().build().unwrap().topic(topic).unwrap();
    let partitions = u32::try_from(store.describe(topic).unwrap().partitions().len()).unwrap();
    for value in values {
        producer.send_to(value % partitions, Record::new(&value.to_string())).unwrap();
    }
}

fn consumer(store: &Store, name: &str) -> Consumer {
    store.broadcast_consumer(name).subscribe(["a"]).build().unwrap()
}

/// What is there for it now, in order of value.
fn take(consumer: &mut Consumer) -> Vec<u32> {
    let mut all = Vec::new();
    loop {
        let records = consumer.try_poll().unwrap();
        if records.is_empty() {
            all.sort_unstable();
            return all;
        }
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap().parse().unwrap();
        all.extend(records.iter().map(|record| -> u32 { text(record.value().unwrap()) }));
    }
}

fn range(values: std::ops::Range<u32>) -> Vec<u32> {
    values.collect()
}

fn refused<T>(built: crate::error::Result<T>) -> Error {
    match built {
        Ok(_) => panic!("it was not refused"),
        Err(error) => error,
    }
}

#[test]
fn each_sees_everything_and_goes_on_where_it_stopped() {
    let (disk, clock, store) = begin();
    let (mut one, mut two) = (consumer(&store, "one"), consumer(&store, "two"));
    send(&store, "a", 0..6);
    assert_eq!(take(&mut one), range(0..6));
    one.commit().unwrap();
    assert_eq!(take(&mut two), range(0..6));
    // what comes and goes beside it is nothing to it
    let generation = one.membership().unwrap().generation();
    let late = store.broadcast_consumer("three").subscribe(["a"]).reset(Reset::Latest);
    let mut late = late.build().unwrap();
    drop(two);
    assert_eq!(one.membership().unwrap().generation(), generation);
    send(&store, "a", 6..9);
    assert_eq!(take(&mut late), range(6..9));
    assert_eq!(take(&mut one), range(6..9));
    drop((one, late));
    store.close().unwrap();
    let store = open(&disk, &clock);
    assert_eq!(take(&mut consumer(&store, "one")), range(6..9));
    assert_eq!(take(&mut consumer(&store, "two")), range(0..9), "it has committed nothing");
}

#[test]
fn new_partitions_and_topics_of_its_pattern_come_to_it() {
    let (_disk, _clock, store) = begin();
    let builder = store.broadcast_consumer("one").subscribe_pattern("a.*").reset(Reset::Latest);
    let mut one = builder.build().unwrap();
    assert_eq!(one.assignment().len(), 3);
    store.add_partitions("a", 5).unwrap();
    store.ensure_topic("ab", TopicConfig::new()).unwrap();
    store.ensure_topic("b", TopicConfig::new()).unwrap();
    send(&store, "a", 0..5);
    send(&store, "ab", 5..6);
    send(&store, "b", 6..7);
    assert_eq!(take(&mut one), range(0..6));
    assert_eq!(one.assignment().len(), 6);
}

#[test]
fn a_name_is_one_consumer_s_and_never_a_group_s_too() {
    let (disk, clock, store) = begin();
    send(&store, "a", 0..3);
    let group = store.consumer("group").subscribe(["a"]).build().unwrap();
    let alone = store.broadcast_consumer("one").subscribe(["nothing-yet"]).build().unwrap();
    let mut standalone = store.consumer("standalone").assign([("a", 0)]).build().unwrap();
    assert!(!standalone.try_poll().unwrap().is_empty());
    standalone.commit().unwrap();
    let again = |store: &Store| refused(store.broadcast_consumer("one").subscribe(["a"]).build());
    assert_eq!(again(&store).kind(), ErrorKind::Locked);
    let check = |store: &Store, is_live: bool| {
        let builds = [
            store.broadcast_consumer("group").subscribe(["a"]),
            store.broadcast_consumer("standalone").subscribe(["a"]),
            store.consumer("one").subscribe(["a"]),
        ];
        for error in builds.map(|builder| refused(builder.build())) {
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        }
        let mut outsider = store.consumer("one").assign([("a", 0)]).build().unwrap();
        let error = outsider.commit_offsets(&[OffsetCommit::new("a", 0, Offset::new(1))]);
        let kind = refused(error).kind();
        assert!(kind == ErrorKind::InvalidArgument || is_live && kind == ErrorKind::Fenced);
    };
    check(&store, true);
    drop((group, alone, standalone));
    check(&store, false);
    store.close().unwrap();
    let store = open(&disk, &clock);
    check(&store, false);
    // a name that was given up is anybody's
    store.delete_group("one").unwrap();
    drop(store.consumer("one").subscribe(["a"]).build().unwrap());
}

#[test]
fn options_that_mean_nothing_to_it_are_refused() {
    let (_disk, _clock, store) = begin();
    let builder = || store.broadcast_consumer("one");
    let builds = [
        builder().assign([("a", 0)]),
        builder(),
        builder().subscribe(["a"]).assignor(StickyAssignor::new()),
        builder().subscribe(["a"]).instance_id("i"),
    ];
    for error in builds.map(|builder| refused(builder.build())) {
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
    let error = refused(store.broadcast_consumer("").subscribe(["a"]).build());
    assert_eq!(error.kind(), ErrorKind::InvalidName);
    assert!(store.groups().unwrap().is_empty());
}

#[test]
fn it_is_listed_described_reset_deleted_and_expires_as_groups_do() {
    let (_disk, clock, store) = begin();
    let mut one = consumer(&store, "one");
    send(&store, "a", 0..6);
    take(&mut one);
    one.commit().unwrap();
    let listed = store.groups().unwrap();
    assert_eq!((listed.len(), listed[0].kind, listed[0].members), (1, GroupKind::Broadcast, 1));
    let described = store.describe_group("one").unwrap();
    assert_eq!((described.kind, described.phase), (GroupKind::Broadcast, GroupPhase::Stable));
    assert_eq!(described.partitions.iter().map(|it| it.lag.unwrap()).sum::<u64>(), 0);
    assert_eq!(store.delete_group("one").unwrap_err().kind(), ErrorKind::GroupNotEmpty);
    drop(one);
    assert_eq!(store.describe_group("one").unwrap().kind, GroupKind::Broadcast);
    assert_eq!(take(&mut consumer(&store, "one")), range(0..0));
    store.reset_offsets("one", [("a", 0, Offset::ZERO)], Durability::Process).unwrap();
    assert_eq!(take(&mut consumer(&store, "one")), [0, 3]);
    clock.advance(Duration::from_secs(8 * 24 * 3600));
    store.offsets.expire_all();
    assert!(store.groups().unwrap().is_empty());
    assert_eq!(take(&mut consumer(&store, "one")), range(0..6));
    store.delete_group("one").unwrap();
}

#[cfg(feature = "sim")]
#[test]
fn a_stop_anywhere_loses_no_record_and_no_name() {
    use crate::disk::{Crash, SimDisk};
    use crate::seeds::pick;
    let sim = SimDisk::new(7);
    let (disk, clock): (Arc<dyn Disk>, _) = (Arc::new(sim.clone()), ManualClock::new(START));
    let store = open(&disk, &clock);
    store.ensure_topic("a", TopicConfig::new().partitions(3)).unwrap();
    send(&store, "a", 0..3);
    store.flush().unwrap();
    sim.record();
    let mut committed = vec![(0, 0)];
    let mut one = consumer(&store, "one");
    for round in 1..4 {
        assert_eq!(take(&mut one).len(), 3);
        one.commit_with(Durability::Power).unwrap();
        committed.push((sim.operations(), 3 * round));
        send(&store, "a", 3 * round..3 * round + 3);
    }
    let (mut images, every) = (0, pick(3, 1, 1));
    for moment in sim.moments().into_iter().filter(|it| it.operation() % every == 0) {
        let least = committed.iter().rev().find(|(at, _)| *at < moment.operation());
        let least = least.map_or(0, |(_, next)| *next);
        for image in [moment.crash(Crash::Nothing), moment.crash(Crash::Everything), moment.kill()]
        {
            let disk: Arc<dyn Disk> = Arc::new(image);
            let store = open(&disk, &clock);
            let seen = take(&mut consumer(&store, "one"));
            let all = take(&mut store.reader().subscribe(["a"]).build().unwrap());
            let from = |next: u32| all.iter().copied().filter(|it| *it >= next).collect::<Vec<_>>();
            // a commit that was under way may have come to be
            let may_be = committed.iter().filter(|(_, next)| *next >= least);
            let fits = may_be.map(|(_, next)| from(*next)).any(|rest| rest == seen);
            assert!(fits, "{seen:?} of {all:?} before call {}", moment.operation());
            if least > 0 {
                let error = refused(store.consumer("one").subscribe(["a"]).build());
                assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            }
            images += 1;
        }
    }
    assert!(images > 10, "the control: {images}");
}
