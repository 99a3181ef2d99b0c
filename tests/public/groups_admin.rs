//! Operating groups through the public doors: resets of every kind, descriptions, expiry, and what
//! a topic keeps for a group that has not read it yet.

use std::sync::Arc;
use std::time::Duration;

use tidelog::disk::MemoryDisk;
use tidelog::{
    Durability, ErrorKind, GroupKind, GroupPhase, HoldCap, HoldStats, ManualClock, Offset,
    OffsetCommit, Record, ResetTo, Store, Threads, Timestamp, TopicConfig, WhenFull,
};

const BIRTH: i64 = 1_700_000_000_000;
const HOUR: Duration = Duration::from_secs(3600);

struct World {
    disk: Arc<MemoryDisk>,
    clock: ManualClock,
    store: Store,
}

impl World {
    fn new() -> Self {
        let disk = Arc::new(MemoryDisk::new());
        let clock = ManualClock::new(Timestamp::from_millis(BIRTH));
        let store = open(&disk, &clock);
        World { disk, clock, store }
    }

    fn reopen(&mut self) {
        self.store.close().expect("a clean close");
        self.store = open(&self.disk, &self.clock);
    }

    /// Sends so many records of about 100 bytes, a second apart.
    fn send(&self, topic: &str, count: usize) {
        let topic = self.store.producer().build().expect("a producer").topic(topic);
        let topic = topic.expect("the topic");
        for _ in 0..count {
            topic.send(Record::new(&[7; 100])).expect("an append");
            self.clock.advance(Duration::from_secs(1));
        }
    }

    fn commit(&self, group: &str, topic: &str, offset: i64) {
        let consumer = self.store.consumer(group).assign([(topic, 0)]).build();
        let commit = OffsetCommit::new(topic, 0, Offset::new(offset));
        consumer.expect("a consumer").commit_offsets(&[commit]).expect("a commit");
    }

    fn committed(&self, group: &str) -> Vec<i64> {
        let all = self.store.committed(group).expect("a look-up");
        all.iter().map(|(_, _, committed)| committed.offset().get()).collect()
    }

    fn start(&self, topic: &str) -> i64 {
        let topic = self.store.describe(topic).expect("the topic");
        topic.partitions()[0].start_offset().get()
    }

    fn holds(&self, topic: &str) -> Vec<HoldStats> {
        let stats = self.store.stats();
        let topic = stats.topics.iter().find(|each| each.name == topic).expect("the topic");
        topic.partitions[0].holds.clone()
    }
}

fn open(disk: &Arc<MemoryDisk>, clock: &ManualClock) -> Store {
    let builder = Store::builder("/store").disk(disk.clone()).clock(clock.clone());
    builder.threads(Threads::Host).open().expect("a store that opens")
}

/// A topic whose segments hold eight of those records each.
fn small() -> TopicConfig {
    TopicConfig::new().segment_bytes(1400)
}

#[test]
fn resets_lead_where_they_say_and_a_dry_run_changes_nothing() {
    let world = World::new();
    world.store.create_topic("orders", small()).expect("a topic");
    world.send("orders", 10); // one a second, from BIRTH on
    world.store.delete_records_before("orders", 0, Offset::new(2)).expect("within the log");
    world.commit("billing", "orders", 5);
    let at = |second: i64| ResetTo::Timestamp(Timestamp::from_millis(BIRTH + second * 1000));
    for (to, new, is_clamped) in [
        (ResetTo::Earliest, 2, false),
        (ResetTo::Latest, 10, false),
        (ResetTo::Offset(Offset::new(7)), 7, false),
        (ResetTo::Offset(Offset::new(1)), 2, true),
        (ResetTo::Offset(Offset::new(11)), 10, true),
        (ResetTo::Shift(2), 7, false),
        (ResetTo::Shift(-3), 2, false),
        (ResetTo::Shift(-4), 2, true),
        (ResetTo::Shift(i64::MAX), 10, true),
        (at(4), 4, false),
        (at(99), 10, false),
        (ResetTo::Back(Duration::from_secs(4)), 6, false),
        (ResetTo::Back(Duration::ZERO), 10, false),
    ] {
        let plan = world.store.reset_group("billing").to(to).dry_run().expect("a plan");
        let step = &plan.moves[0];
        assert_eq!((plan.moves.len(), &*step.topic, step.partition.get()), (1, "orders", 0));
        assert_eq!(step.old, Some(Offset::new(5)));
        assert_eq!((step.new.get(), step.is_clamped), (new, is_clamped), "{to:?}");
        assert_eq!(world.committed("billing"), [5], "nothing has happened");
    }
    let reset = world.store.reset_group("billing").topics(["orders"]).to(ResetTo::Earliest);
    let planned = reset.dry_run().expect("a plan");
    assert_eq!(reset.execute(Durability::Power).expect("a reset"), planned);
    assert_eq!(world.committed("billing"), [2]);
}

#[test]
fn bad_resets_are_typed_errors() {
    let world = World::new();
    let store = &world.store;
    store.create_topic("orders", TopicConfig::new().partitions(2)).expect("a topic");
    world.commit("billing", "orders", 0);
    let kind = |reset: tidelog::GroupReset| reset.dry_run().expect_err("refused").kind();
    let billing = || store.reset_group("billing");
    assert_eq!(kind(store.reset_group("nobody").to(ResetTo::Latest)), ErrorKind::NotFound);
    assert_eq!(kind(store.reset_group("").to(ResetTo::Latest)), ErrorKind::InvalidName);
    assert_eq!(kind(billing()), ErrorKind::InvalidArgument);
    assert_eq!(kind(billing().topics(["x"]).to(ResetTo::Latest)), ErrorKind::NotFound);
    let third = billing().partitions([("orders", 2)]).to(ResetTo::Latest);
    assert_eq!(kind(third), ErrorKind::NotFound);
    let unread = billing().topics(["orders"]).to(ResetTo::Shift(1));
    let error = unread.dry_run().expect_err("partition 1 has nothing to shift from");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(error.partition().map(|(_, id)| id.get()), Some(1));
    let twice = billing().topics(["orders"]).partitions([("orders", 0)]).to(ResetTo::Latest);
    assert_eq!(twice.dry_run().expect("a plan").moves.len(), 2, "each once");
}

#[test]
fn a_group_is_described_with_its_members_and_lag() {
    let world = World::new();
    let store = &world.store;
    store.create_topic("orders", TopicConfig::new().partitions(2)).expect("a topic");
    let orders = store.producer().build().expect("a producer").topic("orders").expect("it");
    let send = |count| {
        for number in 0..count {
            orders.send_to(number % 2, Record::new("hello")).expect("an append");
        }
    };
    send(4);
    let mut member = store.consumer("billing").subscribe(["orders"]).build().expect("a member");
    while !member.try_poll().expect("a poll").is_empty() {}
    member.commit().expect("a commit");
    send(3);
    let group = store.describe_group("billing").expect("the group");
    assert_eq!((group.kind, group.members.len()), (GroupKind::Classic, 1));
    assert_ne!(group.phase, GroupPhase::Empty);
    assert_eq!(group.members[0].owned.len(), 2);
    assert_eq!(group.partitions.len(), 2);
    assert_eq!(group.partitions.iter().filter_map(|each| each.lag).sum::<u64>(), 3);
    assert!(group.partitions.iter().all(|each| each.owner.as_ref() == Some(&group.members[0].id)));
    let listed = &store.groups().expect("a list")[0];
    assert_eq!((&*listed.name, listed.members), ("billing", 1));
    let error = store.delete_group("billing").expect_err("it has a member");
    assert_eq!(error.kind(), ErrorKind::GroupNotEmpty);
    drop(member);
    let group = store.describe_group("billing").expect("the group");
    assert_eq!((group.phase, group.members.len()), (GroupPhase::Empty, 0));
    assert!(group.partitions.iter().all(|each| each.owner.is_none()));
    store.delete_group("billing").expect("it rests");
    let error = store.describe_group("billing").expect_err("it is gone");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn a_topic_keeps_for_a_group_what_its_cap_allows() {
    let mut world = World::new();
    let cap = HoldCap::age(10 * HOUR);
    let config = small().retention(HOUR).retain_for("billing", cap);
    world.store.create_topic("orders", config).expect("a topic");
    world.send("orders", 40);
    world.commit("billing", "orders", 20);
    world.commit("audit", "orders", 0); // a group the topic does not know
    world.clock.advance(2 * HOUR);
    world.store.apply_retention().expect("a run");
    let start = world.start("orders");
    assert!((10..=20).contains(&start), "segments below 20 are gone: {start}");
    let hold = &world.holds("orders")[0];
    assert_eq!((&*hold.holder, hold.offset.get(), hold.cap), ("billing", 20, Some(cap)));
    assert_eq!((hold.bytes > 0, hold.overrides), (true, 0));
    assert_eq!(world.store.stats().held_bytes, hold.bytes);

    world.reopen();
    world.store.apply_retention().expect("a run");
    assert_eq!(world.start("orders"), start, "held again before anything was removed");
    assert_eq!(world.holds("orders").len(), 1);

    world.commit("billing", "orders", 30);
    world.store.apply_retention().expect("a run");
    assert!(world.start("orders") > start, "it moved with the commit");
    assert!(world.start("orders") <= 30);

    world.clock.advance(9 * HOUR);
    world.store.apply_retention().expect("a run");
    assert_eq!(world.start("orders"), 40, "a dead group does not fill the disk");
    let hold = &world.holds("orders")[0];
    assert_eq!((hold.bytes, hold.overrides), (0, 1));
    world.store.apply_retention().expect("a run");
    assert_eq!(world.holds("orders")[0].overrides, 1, "nothing more was taken");
}

#[test]
fn a_cap_of_bytes_bounds_the_partition() {
    let world = World::new();
    let config = small().retention_bytes(0).retain_for("billing", HoldCap::bytes(3000));
    world.store.create_topic("orders", config).expect("a topic");
    world.commit("billing", "orders", 0);
    let bytes = || {
        let stats = world.store.stats();
        stats.topics.iter().find(|topic| topic.name == "orders").expect("the topic").bytes
    };
    let mut overrides = 0;
    for _ in 0..10 {
        world.send("orders", 10);
        world.store.apply_retention().expect("a run");
        assert!(bytes() <= 3000, "{} bytes", bytes());
        overrides = world.holds("orders")[0].overrides;
    }
    assert!(bytes() > 1000, "and something is kept");
    assert!(overrides > 3, "{overrides}");
    world.commit("billing", "orders", 100);
    world.store.apply_retention().expect("a run");
    assert_eq!((bytes(), world.start("orders")), (0, 100), "it has read everything");
}

#[test]
fn holds_end_with_their_offset_and_follow_the_configuration() {
    let world = World::new();
    let store = &world.store;
    let cap = HoldCap::age(1000 * HOUR);
    let config = small().retention(HOUR);
    store.create_topic("orders", config.clone()).expect("a topic");
    world.send("orders", 10);
    for group in ["a", "b", "c"] {
        world.commit(group, "orders", 1);
    }
    assert!(world.holds("orders").is_empty());
    let all = ["a", "b", "c"].iter().fold(config, |config, name| config.retain_for(*name, cap));
    store.alter_topic("orders", all).expect("a change");
    let holders = || world.holds("orders").into_iter().map(|it| it.holder).collect::<Vec<_>>();
    assert_eq!(holders(), ["a", "b", "c"]);
    store.delete_group("a").expect("it rests");
    assert_eq!(holders(), ["b", "c"]);
    assert_eq!(store.delete_group_offsets("b", "orders").expect("it rests"), 1);
    assert_eq!(holders(), ["c"]);
    world.clock.advance(167 * HOUR);
    store.apply_retention().expect("a run");
    assert_eq!((world.start("orders"), holders()), (0, vec!["c".to_owned()]));
    world.clock.advance(HOUR); // seven days
    store.apply_retention().expect("a run");
    assert!(holders().is_empty(), "expired");
    assert_eq!(world.start("orders"), 10);
    assert_eq!(store.stats().expired_offsets, 1);
    store.alter_topic("orders", small().retention(HOUR)).expect("a change");
    world.commit("d", "orders", 10);
    assert!(holders().is_empty());
}

#[test]
fn dropping_the_oldest_heeds_a_hold_within_its_cap_only() {
    let world = World::new();
    let store = &world.store;
    let config = small().max_bytes(6000, WhenFull::DropOldest);
    let held = config.clone().retain_for("billing", HoldCap::age(HOUR));
    store.create_topic("orders", held).expect("a topic");
    world.send("orders", 10);
    world.commit("billing", "orders", 3);
    let orders = store.producer().build().expect("a producer").topic("orders").expect("it");
    let error = (0..100).find_map(|_| orders.send(Record::new(&[7; 100])).err());
    let error = error.expect("the hold is within its cap");
    assert!(error.is_full());
    assert!(error.to_string().contains("kept for group `billing`"), "{error}");
    assert_eq!(world.start("orders"), 0);
    world.clock.advance(2 * HOUR);
    orders.send(Record::new(&[7; 100])).expect("the cap is passed: the oldest goes");
    assert!(world.start("orders") > 3);
    assert_eq!(world.holds("orders")[0].overrides, 1);
}

#[test]
fn a_hold_by_name_stays_absolute() {
    let world = World::new();
    let store = &world.store;
    store.create_topic("orders", small().retention(HOUR)).expect("a topic");
    world.send("orders", 20);
    store.hold("orders", 0, "export", Offset::new(10)).expect("the partition");
    world.clock.advance(10_000 * HOUR);
    store.apply_retention().expect("a run");
    assert!((1..=10).contains(&world.start("orders")));
    let hold = &world.holds("orders")[0];
    assert_eq!((&*hold.holder, hold.cap), ("export", None));
}

#[test]
fn a_retention_of_offsets_is_checked_and_kept_to() {
    let error = Store::builder_in_memory().offsets_retention(Duration::ZERO).open();
    assert_eq!(error.expect_err("too short").kind(), ErrorKind::InvalidConfig);
    let clock = ManualClock::new(Timestamp::from_millis(BIRTH));
    let builder = Store::builder_in_memory().clock(clock.clone()).threads(Threads::Host);
    let store = builder.offsets_retention(HOUR).open().expect("a store");
    store.create_topic("orders", TopicConfig::new()).expect("a topic");
    let mut consumer = store.consumer("g").assign([("orders", 0)]).build().expect("a consumer");
    let commit = OffsetCommit::new("orders", 0, Offset::ZERO);
    consumer.commit_offsets(&[commit]).expect("a commit");
    clock.advance(HOUR);
    store.run_maintenance(); // its check is due every ten minutes
    assert!(store.groups().expect("a list").is_empty());
}
