//! Delayed delivery through the public door: when, in which order, how often, to where. `crashes`
//! stops a program of it at every call to the disk.
//!
//! Some of the names are what users of RocketMQ's timers report broken.

#[cfg(feature = "sim")]
mod crashes;
mod lives;

use std::sync::Arc;
use std::time::Duration;

use crate::config::{BackgroundSync, Durability, Threads, TopicConfig, WhenFull};
use crate::disk::{Disk, MemoryDisk};
use crate::error::{ErrorKind, Outcome};
use crate::producer::TopicProducer;
use crate::record::{OwnedRecord, Record};
use crate::schedule::{ScheduleId, When};
use crate::store::Store;
use crate::time::{Clock, ManualClock, Timestamp};

const START: i64 = 1_700_000_000_000;
const HOUR: Duration = Duration::from_secs(3600);

struct World {
    disk: Arc<dyn Disk>,
    clock: ManualClock,
}

impl World {
    fn on(disk: Arc<dyn Disk>) -> World {
        World { disk, clock: ManualClock::new(Timestamp::from_millis(START)) }
    }

    fn open(&self) -> Store {
        self.try_open().unwrap()
    }

    fn try_open(&self) -> crate::error::Result<Store> {
        let builder = Store::builder("/store").disk(self.disk.clone()).clock(self.clock.clone());
        builder.threads(Threads::Host).background_sync(BackgroundSync::OFF).open()
    }

    fn advance(&self, store: &Store, millis: u64) {
        self.clock.advance(Duration::from_millis(millis));
        store.run_due();
    }
}

fn begin() -> (World, Store, TopicProducer) {
    let world = World::on(Arc::new(MemoryDisk::new()));
    let store = world.open();
    store.ensure_topic("a", TopicConfig::new()).unwrap();
    let topic = topic(&store, "a");
    (world, store, topic)
}

fn topic(store: &Store, name: &str) -> TopicProducer {
    store.producer().build().unwrap().topic(name).unwrap()
}

fn after(millis: u64) -> When {
    When::After(Duration::from_millis(millis))
}

fn records(store: &Store, topic: &str) -> Vec<OwnedRecord> {
    let mut reader = store.reader().subscribe([topic]).build().unwrap();
    let mut all = Vec::new();
    for records in reader.read_to_end().unwrap() {
        all.extend(records.unwrap().iter().map(|record| record.to_owned()));
    }
    all
}

fn values(store: &Store, topic: &str) -> Vec<String> {
    let text = |record: &OwnedRecord| String::from_utf8(record.value().unwrap().to_vec()).unwrap();
    records(store, topic).iter().map(text).collect()
}

#[test]
fn nothing_is_early_by_a_millisecond_nor_late_by_a_tick() {
    let (world, store, a) = begin();
    // RocketMQ's fires exact multiples of its tick one tick early
    for delay in [1000_u64, 999, 1, 2000, 1001] {
        a.schedule(Record::new(&delay.to_string()), after(delay)).unwrap();
    }
    for at in [0, 1, 998, 999, 1000, 1001, 1999, 2000] {
        let now = START.unsigned_abs() + at - world.clock.wall().as_millis().unsigned_abs();
        world.advance(&store, now);
        let due = [1, 999, 1000, 1001, 2000].into_iter().filter(|due| *due <= at);
        assert_eq!(values(&store, "a"), due.map(|due| due.to_string()).collect::<Vec<_>>());
    }
    assert_eq!(store.stats().scheduled.pending, 0);
    assert_eq!(store.stats().scheduled.published, 5);
}

#[test]
fn a_delay_is_never_early_on_a_clock_with_parts_of_a_millisecond() {
    let store = Store::in_memory().unwrap();
    store.ensure_topic("a", TopicConfig::new()).unwrap();
    let a = topic(&store, "a");
    for _ in 0..50 {
        let before = std::time::SystemTime::now();
        let id = a.schedule(Record::new("x"), HOUR).unwrap();
        let due = Duration::from_millis(id.due().as_millis().unsigned_abs());
        assert!(std::time::UNIX_EPOCH + due >= before + HOUR);
    }
}

#[test]
fn the_eighteen_levels_of_rocketmq_fire_to_the_millisecond() {
    const LEVELS: [u64; 18] =
        [1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200];
    let (world, store, a) = begin();
    for (level, seconds) in LEVELS.iter().enumerate().rev() {
        a.schedule(Record::new(&level.to_string()), Duration::from_secs(*seconds)).unwrap();
    }
    let mut passed = 0;
    for (level, seconds) in LEVELS.iter().enumerate() {
        let until = seconds * 1000 - passed;
        world.advance(&store, until - 1);
        assert_eq!(values(&store, "a").len(), level, "level {level} is early");
        world.advance(&store, 1);
        assert_eq!(values(&store, "a").len(), level + 1, "level {level} is late");
        passed = seconds * 1000;
    }
}

#[test]
fn those_of_one_time_keep_their_order_and_partition() {
    let (world, store, _) = begin();
    store.ensure_topic("b", TopicConfig::new().partitions(3)).unwrap();
    let b = topic(&store, "b");
    for number in 0..300 {
        let text = format!("{number:03}");
        let at = Timestamp::from_millis(START + 100 + i64::from(number % 2));
        b.schedule(Record::new(&text).key(&(number % 5).to_string()), at).unwrap();
    }
    world.advance(&store, 200);
    let all = records(&store, "b");
    assert_eq!(all.len(), 300);
    for key in 0..5 {
        let key = key.to_string();
        let of_key = all.iter().filter(|record| record.key() == Some(key.as_bytes()));
        let seen: Vec<_> = of_key.map(|record| record.value().unwrap().to_vec()).collect();
        let mut sorted = seen.clone();
        sorted.sort_by_key(|text| (text[2] % 2, text.clone()));
        assert_eq!((seen, 60), (sorted.clone(), sorted.len()));
        let partition = b.partition_for_key(&key).unwrap();
        let own = all.iter().filter(|record| record.key() == Some(key.as_bytes()));
        assert!(own.into_iter().all(|record| record.partition() == partition));
    }
}

#[test]
fn what_was_overdue_after_a_long_stop_fires_at_once_and_in_order() {
    let (world, store, a) = begin();
    for days in [400_u64, 3, 40, 1] {
        a.schedule(Record::new(&days.to_string()), HOUR * 24 * u32::try_from(days).unwrap())
            .unwrap();
    }
    store.close().unwrap();
    world.clock.advance(HOUR * 24 * 399); // RocketMQ loses what was due more than a week ago
    let store = world.open();
    store.run_due();
    assert_eq!(values(&store, "a"), ["1", "3", "40"]);
    world.advance(&store, 24 * 3600 * 1000);
    assert_eq!(values(&store, "a").len(), 4);
}

#[test]
fn a_clock_that_jumps_makes_nothing_early_and_forgets_nothing() {
    let (world, store, a) = begin();
    a.schedule(Record::new("in an hour"), HOUR).unwrap();
    world.clock.set_wall(Timestamp::from_millis(START - 86_400_000)); // a day back
    a.schedule(Record::new("yesterday"), after(10)).unwrap();
    world.advance(&store, 10);
    assert_eq!(values(&store, "a"), ["yesterday"]);
    world.advance(&store, 3_600_000);
    assert_eq!(values(&store, "a").len(), 1, "an hour has passed, but not on the wall");
    world.clock.set_wall(Timestamp::from_millis(START + 3_600_000));
    world.advance(&store, 1000); // the wall is looked at once a second
    assert_eq!(values(&store, "a"), ["yesterday", "in an hour"]);
}

#[test]
fn of_a_cancel_and_a_publication_one_wins() {
    let (world, store, a) = begin();
    let one = a.schedule(Record::new("1"), after(10)).unwrap();
    let two = a.schedule(Record::new("2"), after(10)).unwrap();
    store.cancel_scheduled(&one).unwrap();
    let kind = |id: &ScheduleId| store.cancel_scheduled(id).unwrap_err().kind();
    assert_eq!(kind(&one), ErrorKind::AlreadyResolved);
    world.advance(&store, 10);
    assert_eq!(kind(&two), ErrorKind::AlreadyResolved);
    assert_eq!(values(&store, "a"), ["2"]);
    let forged = |text: String| text.parse::<ScheduleId>().unwrap();
    let text = a.schedule(Record::new("3"), after(10)).unwrap().to_string();
    let (due, rest) = text.split_once('-').unwrap();
    let (sequence, offset) = rest.split_once('-').unwrap();
    let later = due.parse::<i64>().unwrap() + 1;
    assert_eq!(kind(&forged(format!("{later}-{sequence}-{offset}"))), ErrorKind::NotFound);
    assert_eq!(kind(&forged(format!("{due}-{sequence}-{offset}0"))), ErrorKind::NotFound);
    assert_eq!(kind(&forged(format!("{due}-{sequence}ff-{offset}"))), ErrorKind::NotFound);
    world.advance(&store, 10);
    assert_eq!(values(&store, "a"), ["2", "3"], "no forged id took it");
    for bad in ["", "1-2", "1-2-3-4", "-1-2-3", "1-G-3", "01-2-3", "999999999999999-1-1"] {
        assert!(bad.parse::<ScheduleId>().is_err(), "{bad}");
    }
}

#[test]
fn times_beyond_the_limit_are_refused_and_past_ones_are_now() {
    let (world, store, a) = begin();
    for when in [When::After(Duration::MAX), When::At(Timestamp::from_millis(i64::MAX))] {
        let error = a.schedule(Record::new("x"), when).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert_eq!(error.outcome(), Outcome::NotWritten);
    }
    let late = When::At(Timestamp::from_millis(253_402_300_799_999));
    a.schedule(Record::new("far away"), late).unwrap();
    for millis in [i64::MIN, -1, 0, START - 1] {
        a.schedule(Record::new("now"), Timestamp::from_millis(millis)).unwrap();
    }
    world.advance(&store, 0);
    assert_eq!(values(&store, "a"), ["now"; 4]);
    assert_eq!(store.stats().scheduled.pending, 1);
}

#[test]
fn a_target_that_was_deleted_or_made_again_does_not_get_it() {
    let (world, store, _) = begin();
    for name in ["gone", "again"] {
        store.create_topic(name, TopicConfig::new()).unwrap();
        topic(&store, name).schedule(Record::new(name).header("h", "1"), after(10)).unwrap();
        store.delete_topic(name).unwrap();
    }
    store.create_topic("again", TopicConfig::new()).unwrap();
    world.advance(&store, 10);
    assert!(values(&store, "again").is_empty());
    let dead = records(&store, "scheduled.dlq");
    let header = |record: &OwnedRecord, name: &str| {
        let found = record.headers().find(|header| header.name() == name);
        String::from_utf8(found.unwrap().value().unwrap().to_vec()).unwrap()
    };
    let shown = |record: &OwnedRecord| (header(record, "dlq.topic"), header(record, "dlq.error"));
    assert_eq!(shown(&dead[0]), ("gone".into(), "topic `gone` was deleted".into()));
    let again = "topic `again` was deleted and made again";
    assert_eq!(shown(&dead[1]), ("again".into(), again.into()));
    assert_eq!(header(&dead[0], "h"), "1");
    assert_eq!(header(&dead[0], "dlq.due"), (START + 10).to_string());
    let stats = store.stats().scheduled;
    assert_eq!((stats.dead_letters, stats.published, stats.pending), (2, 2, 0));
}

#[test]
fn a_record_its_topic_takes_no_longer_is_a_dead_letter_and_holds_up_nobody() {
    let (world, store, a) = begin();
    let large = [7; 3000];
    a.schedule(Record::new("before"), after(10)).unwrap();
    a.schedule(Record::new(&large), after(10)).unwrap();
    a.schedule(Record::new("after"), after(10)).unwrap();
    store.alter_topic("a", TopicConfig::new().max_batch_bytes(1000)).unwrap();
    let refused = a.schedule(Record::new(&large), after(10)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::TooLarge);
    world.advance(&store, 10);
    assert_eq!(values(&store, "a"), ["before", "after"]);
    assert_eq!(records(&store, "scheduled.dlq").len(), 1);
}

#[test]
fn a_full_target_holds_up_nobody_else_and_gets_its_records_later() {
    let (world, store, a) = begin();
    let block = WhenFull::Block(Duration::from_secs(3600));
    store.ensure_topic("full", TopicConfig::new().max_bytes(1024, block)).unwrap();
    let full = topic(&store, "full");
    full.send(Record::new(&[0; 900])).unwrap();
    full.schedule(Record::new(&[1; 500]), after(10)).unwrap();
    a.schedule(Record::new("1"), after(10)).unwrap();
    world.advance(&store, 10);
    assert_eq!(values(&store, "a"), ["1"]);
    let stats = store.stats().scheduled;
    assert_eq!((stats.pending, stats.stuck), (1, 1));
    store.alter_topic("full", TopicConfig::new()).unwrap();
    world.advance(&store, 1000);
    assert_eq!(records(&store, "full").len(), 2);
    assert_eq!(store.stats().scheduled.pending, 0);
}

#[test]
fn a_new_life_publishes_nothing_twice_and_its_ids_are_new() {
    let (world, store, a) = begin();
    let mut ids = Vec::new();
    for number in 0..20_u64 {
        ids.push(a.schedule(Record::new(&number.to_string()), after(number % 4 * 10)).unwrap());
    }
    world.advance(&store, 10);
    store.cancel_scheduled(&ids[2]).unwrap();
    assert_eq!(store.stats().scheduled.pending, 9);
    store.close().unwrap();
    drop((store, a));
    let store = world.open();
    assert_eq!(store.stats().scheduled.pending, 9);
    let again = store.cancel_scheduled(&ids[2]).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyResolved);
    store.cancel_scheduled(&ids[3]).unwrap();
    let id = topic(&store, "a").schedule(Record::new("new"), after(0)).unwrap();
    assert!(!ids.contains(&id));
    world.advance(&store, 100);
    let mut seen = values(&store, "a");
    seen.sort();
    let mut expected: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    expected.retain(|number| number != "2" && number != "3");
    expected.push("new".to_owned());
    expected.sort();
    assert_eq!(seen, expected);
}

#[test]
fn pages_show_all_that_is_pending_once_and_in_order() {
    let (world, store, a) = begin();
    let mut dues = Vec::new();
    for number in 0..500_u64 {
        let delay = number * number * 7919 % 4_000_000_000 + 1;
        dues.push(a.schedule(Record::new("x"), after(delay)).unwrap().due());
    }
    store.cancel_scheduled(&store.scheduled(None, 1).unwrap()[0].id()).unwrap();
    dues.sort();
    let (mut seen, mut last) = (Vec::new(), None);
    loop {
        let page = store.scheduled(last, 64).unwrap();
        let Some(end) = page.last() else { break };
        last = Some(end.id());
        seen.extend(page.iter().map(|record| record.due()));
    }
    assert_eq!(seen, dues[1..]);
    assert!(store.scheduled(None, 0).unwrap().is_empty());
    world.advance(&store, 4_000_000_001);
    assert!(store.scheduled(None, 9).unwrap().is_empty());
}

#[test]
fn what_is_resolved_does_not_stay_on_disk() {
    let (world, store, a) = begin();
    let value = [1; 1000];
    for _ in 0..3 {
        for number in 0..1500 {
            a.schedule(Record::new(&value), after(number % 50)).unwrap();
        }
        world.advance(&store, 60);
        for _ in 0..40 {
            world.clock.advance(Duration::from_millis(200));
            store.run_maintenance();
        }
    }
    let stats = store.stats();
    let schedule = stats.topics.iter().find(|topic| topic.name == "__schedule").unwrap();
    assert_eq!(stats.scheduled.published, 4_500);
    assert!(schedule.bytes < 1 << 20, "{} bytes", schedule.bytes);
}

#[test]
fn a_record_keeps_its_own_timestamp_and_else_has_that_of_its_publication() {
    let (world, store, a) = begin();
    let own = Timestamp::from_millis(START - 5);
    a.schedule(Record::new("own").timestamp(own), after(10)).unwrap();
    a.schedule(Record::new("none").without_timestamp(), after(10)).unwrap();
    a.schedule(Record::tombstone().key("k"), after(10)).unwrap();
    world.advance(&store, 17);
    let stamps: Vec<_> = records(&store, "a").iter().map(OwnedRecord::timestamp).collect();
    assert_eq!(stamps[0], Some(own));
    assert_eq!(stamps[2], Some(Timestamp::from_millis(START + 17)));
    assert_eq!(records(&store, "a")[2].value(), None);
}

#[test]
fn threads_of_the_store_do_it_by_themselves() {
    let store = Store::in_memory().unwrap();
    store.ensure_topic("a", TopicConfig::new()).unwrap();
    let a = topic(&store, "a").with_durability(Durability::Power);
    let mut consumer = store.consumer("g").subscribe(["a"]).build().unwrap();
    let id = a.schedule(Record::new("x"), after(30)).unwrap();
    let records = consumer.poll(Duration::from_secs(20)).unwrap();
    assert_eq!(records.len(), 1);
    assert!(Timestamp::from(std::time::SystemTime::now()) >= id.due());
}
