//! Groups through the public doors, on every form of disk: members that come, go and stall, topics
//! that come, grow and go, commits, reopens and kills, at random.
//!
//! What is expected is simple: every record of a topic that is still there was delivered to
//! somebody; nobody reads what another live member has; a partition that stays is read without a
//! gap or a repeat; nothing is read again below what is committed; a committed offset never goes
//! back; and who has lost its place cannot commit. A failure prints its seed and the command that
//! repeats it.

use crate::common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::budget;
use common::suite::Suite;
#[cfg(feature = "sim")]
use common::worlds::Simulated;
use common::worlds::{InMemory, Real, World};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidelog::disk::IoMode;
#[cfg(feature = "sim")]
use tidelog::disk::SimDisk;
use tidelog::{
    Assigned, Consumer, ManualClock, Offset, OffsetCommit, RebalanceListener, Record, Records,
    Result, Revoked, Store, Timestamp, TopicConfig, TopicId, TopicPartition,
};

const GROUP: &str = "billing";
const INTERVAL: Duration = Duration::from_secs(300);
const TOPICS: [&str; 4] = ["orders-eu", "orders-us", "returns", "stock"];

/// A partition by its topic's identity.
type Place = (TopicId, u32);

/// What a member's listener has heard: where each of its partitions is read next, `None` before
/// the first record.
type Reading = Arc<Mutex<BTreeMap<Place, Option<i64>>>>;

fn place(partition: &TopicPartition) -> Place {
    (partition.topic_id(), partition.partition().get())
}

struct Listener {
    reading: Reading,
    commits: bool,
}

impl RebalanceListener for Listener {
    fn on_assigned(&mut self, assigned: &mut Assigned<'_>) -> Result<()> {
        let mut reading = self.reading.lock().expect("no panic");
        for partition in assigned.partitions() {
            assert!(reading.insert(place(partition), None).is_none(), "{partition} came twice");
        }
        Ok(())
    }

    fn on_revoked(&mut self, revoked: &mut Revoked<'_>) -> Result<()> {
        for partition in revoked.partitions() {
            let had = self.reading.lock().expect("no panic").remove(&place(partition));
            assert!(had.is_some(), "{partition} went without having come");
        }
        if self.commits { revoked.commit() } else { Ok(()) }
    }

    fn on_lost(&mut self, lost: &[TopicPartition]) -> Result<()> {
        let mut reading = self.reading.lock().expect("no panic");
        reading.retain(|held, _| !lost.iter().any(|partition| place(partition) == *held));
        Ok(())
    }
}

struct Member {
    consumer: Consumer,
    reading: Reading,
    /// When it is expelled, if it does not poll.
    deadline: Duration,
}

struct Run<'w> {
    world: &'w mut dyn World,
    suite: &'w Suite,
    random: StdRng,
    clock: ManualClock,
    now: Duration,
    store: Store,
    members: Vec<Member>,
    /// How many records each partition has, by name; deleted topics go.
    ends: BTreeMap<(String, u32), i64>,
    ids: BTreeMap<String, TopicId>,
    delivered: BTreeSet<(Place, i64)>,
    committed: BTreeMap<(String, u32), i64>,
}

impl<'w> Run<'w> {
    fn new(world: &'w mut dyn World, suite: &'w Suite, seed: u64) -> Self {
        let clock = ManualClock::new(Timestamp::from_millis(1_700_000_000_000));
        let store = world.open(&clock);
        let mut run = Run {
            world,
            suite,
            random: StdRng::seed_from_u64(seed),
            clock,
            now: Duration::ZERO,
            store,
            members: Vec::new(),
            ends: BTreeMap::new(),
            ids: BTreeMap::new(),
            delivered: BTreeSet::new(),
            committed: BTreeMap::new(),
        };
        run.create();
        run
    }

    fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..10 => self.join(),
            10..14 => self.leave(),
            14..50 => self.poll(),
            50..72 => self.send(),
            72..84 => self.commit(),
            84..88 => self.create(),
            88..90 => self.delete(),
            90..92 => self.add_partitions(),
            92..96 => self.stall(),
            96..97 => self.outsider(),
            _ => self.reopen(),
        }
        self.check_owners();
    }

    /// Whether a member has lost its place, as far as the clock says.
    fn is_expelled(&self, member: &Member) -> bool {
        member.deadline <= self.now
    }

    fn join(&mut self) {
        if self.members.len() >= 5 {
            return;
        }
        let reading = Reading::default();
        let commits = self.random.random_bool(0.5);
        let builder = self.store.consumer(GROUP);
        let builder = match self.random.random_range(0..4) {
            0 => builder.subscribe_pattern("orders-.*"),
            1 => builder.subscribe_pattern(".*"),
            2 => builder.subscribe(TOPICS),
            _ => builder.subscribe([TOPICS[self.random.random_range(0..TOPICS.len())]]),
        };
        let builder = builder
            .max_records(self.random.random_range(1..20))
            .max_poll_interval(INTERVAL)
            .rebalance_listener(Listener { reading: reading.clone(), commits });
        let builder = match self.random.random_bool(0.3) {
            true => builder.auto_commit(Duration::from_secs(60)),
            false => builder,
        };
        let consumer = builder.build().expect("a member");
        self.members.push(Member { consumer, reading, deadline: self.now + INTERVAL });
        self.look_at_commits();
    }

    fn pick(&mut self) -> Option<usize> {
        let count = self.members.len();
        (count > 0).then(|| self.random.random_range(0..count))
    }

    fn leave(&mut self) {
        let Some(at) = self.pick() else { return };
        let member = self.members.swap_remove(at);
        let expelled = self.is_expelled(&member);
        if self.random.random_bool(0.5) {
            match member.consumer.close() {
                Ok(()) => {}
                Err(error) => assert!(error.is_fenced() && expelled, "{error}"),
            }
        }
        self.look_at_commits();
    }

    fn poll(&mut self) {
        let Some(at) = self.pick() else { return };
        self.poll_member(at);
    }

    fn poll_member(&mut self, at: usize) -> usize {
        let way = self.random.random_range(0..3);
        let member = &mut self.members[at];
        let records = match way {
            0 => member.consumer.poll(Duration::ZERO).expect("a poll"),
            1 => read_one(&mut member.consumer),
            _ => member.consumer.try_poll().expect("a poll"),
        };
        member.deadline = self.now + INTERVAL;
        self.look_at_commits();
        self.take_in(at, &records);
        records.len()
    }

    /// Records come in order, of partitions that the member has, and from what is committed on.
    fn take_in(&mut self, at: usize, records: &Records) {
        let member = &self.members[at];
        let mut reading = member.reading.lock().expect("no panic");
        for record in records {
            let (topic, partition) = (record.topic(), record.partition().get());
            let place = (self.ids[topic], partition);
            let offset = record.offset().get();
            let next = reading.get_mut(&place).expect("of a partition that has come");
            assert!(
                next.is_none_or(|next| next == offset),
                "{topic}-{partition} {next:?} {offset}"
            );
            if next.is_none() {
                let committed = self.committed.get(&(topic.to_owned(), partition));
                let committed = committed.copied().unwrap_or(0);
                assert!(offset >= committed, "{topic}-{partition}: {offset} below {committed}");
            }
            *next = Some(offset + 1);
            self.delivered.insert((place, offset));
        }
    }

    fn send(&mut self) {
        let places: Vec<_> = self.ends.keys().cloned().collect();
        if places.is_empty() {
            return;
        }
        let (topic, partition) = places[self.random.random_range(0..places.len())].clone();
        let producer = self.store.producer().build().expect("a producer");
        let topic_producer = producer.topic(&topic).expect("there");
        for _ in 0..self.random.random_range(1..6) {
            let receipt = topic_producer.send_to(partition, Record::new("x")).expect("sent");
            let end = self.ends.get_mut(&(topic.clone(), partition)).expect("there");
            assert_eq!(receipt.offset().get(), *end);
            *end += 1;
        }
    }

    fn commit(&mut self) {
        let Some(at) = self.pick() else { return };
        let expelled = self.is_expelled(&self.members[at]);
        let member = &mut self.members[at];
        match member.consumer.commit() {
            Ok(()) => assert!(!expelled, "a stale commit was taken"),
            Err(error) => assert!(error.is_fenced() && expelled, "{error}"),
        }
        self.look_at_commits();
    }

    /// Somebody who only assigns commits while nobody is a member, and else not.
    fn outsider(&mut self) {
        let Some(((topic, partition), _)) = self.ends.first_key_value() else { return };
        let (topic, partition) = (topic.clone(), *partition);
        let builder = self.store.consumer(GROUP).assign([(topic.as_str(), partition)]);
        let mut outsider = builder.build().expect("an outsider");
        let before = self.committed.get(&(topic.clone(), partition)).copied().unwrap_or(0);
        let commit = OffsetCommit::new(&topic, partition, Offset::from(before as u32));
        let live = self.members.iter().any(|member| !self.is_expelled(member));
        match outsider.commit_offsets(&[commit]) {
            Ok(()) => assert!(!live, "the group has members"),
            Err(error) => assert!(error.is_fenced() && live, "{error}"),
        }
        self.look_at_commits();
    }

    /// Committed offsets never go back, and never beyond what was delivered.
    fn look_at_commits(&mut self) {
        for (topic, partition, committed) in self.store.committed(GROUP).expect("offsets") {
            let key = (topic, partition.get());
            let offset = committed.offset().get();
            let before = self.committed.insert(key.clone(), offset).unwrap_or(0);
            assert!(offset >= before, "{key:?} went back from {before} to {offset}");
            let place = (self.ids[&key.0], key.1);
            let known = offset == 0 || self.delivered.contains(&(place, offset - 1));
            assert!(known, "{key:?} {offset} was never delivered");
        }
    }

    fn create(&mut self) {
        let name = TOPICS[self.random.random_range(0..TOPICS.len())];
        if self.ids.contains_key(name) {
            return;
        }
        let partitions = self.random.random_range(1..5);
        self.store.create_topic(name, TopicConfig::new().partitions(partitions)).expect("made");
        self.note_topic(name, partitions);
    }

    fn note_topic(&mut self, name: &str, partitions: u32) {
        let described = self.store.describe(name).expect("there");
        self.ids.insert(name.to_owned(), described.id());
        for at in 0..partitions {
            self.ends.entry((name.to_owned(), at)).or_default();
        }
    }

    fn delete(&mut self) {
        let Some(name) = self.ids.keys().next().cloned() else { return };
        self.store.delete_topic(&name).expect("deleted");
        self.ids.remove(&name);
        self.ends.retain(|(topic, _), _| *topic != name);
        self.committed.retain(|(topic, _), _| *topic != name);
    }

    fn add_partitions(&mut self) {
        let Some(name) = self.ids.keys().next_back().cloned() else { return };
        let total = self.ends.keys().filter(|(topic, _)| *topic == name).count() as u32 + 1;
        if total <= 6 {
            self.store.add_partitions(&name, total).expect("one more");
            self.note_topic(&name, total);
        }
    }

    /// Time passes: for some too much, unless they poll half-way.
    fn stall(&mut self) {
        for _ in 0..2 {
            let step = INTERVAL.mul_f64(self.random.random_range(0.3..0.8));
            self.clock.advance(step);
            self.now += step;
            if self.random.random_bool(0.5) {
                self.store.run_due();
            }
            for at in 0..self.members.len() {
                if self.random.random_bool(0.6) {
                    self.poll_member(at);
                }
            }
        }
    }

    fn reopen(&mut self) {
        if self.random.random_bool(0.5) && self.world.kill() {
            // the process is gone: what it had in hand is of no use
        } else {
            self.store.close().expect("closed");
        }
        self.members.clear();
        self.store = self.world.open(&self.clock);
        self.look_at_commits();
    }

    /// No partition is with two members that live; what a member is told is what it has.
    fn check_owners(&mut self) {
        let mut owners = BTreeSet::new();
        let mut shape = Vec::new();
        for member in &self.members {
            let assigned = member.consumer.assignment();
            shape.push(assigned.iter().map(|(t, p)| (t.clone(), p.get())).collect::<Vec<_>>());
            if !self.is_expelled(member) {
                // by identity: who has not polled since may have one of a topic made again since
                for place in member.reading.lock().expect("no panic").keys() {
                    assert!(owners.insert(*place), "two read a partition");
                }
            }
        }
        self.suite.state((), (shape, &self.ends, &self.committed));
    }

    /// Somebody reads all that is left; then nothing is missing.
    fn finish(&mut self) {
        let builder = self.store.consumer(GROUP).subscribe_pattern(".*");
        let reading = Reading::default();
        let listener = Listener { reading: reading.clone(), commits: true };
        let consumer = builder.rebalance_listener(listener).build().expect("the last member");
        self.members.push(Member { consumer, reading, deadline: self.now + INTERVAL });
        let mut quiet = 0;
        while quiet < 4 {
            let read: usize = (0..self.members.len()).map(|at| self.poll_member(at)).sum();
            quiet = if read == 0 { quiet + 1 } else { 0 };
        }
        self.check_owners();
        let owned: usize =
            self.members.iter().map(|member| member.consumer.assignment().len()).sum();
        assert_eq!(owned, self.ends.len(), "every partition has somebody");
        for ((topic, partition), end) in &self.ends {
            for offset in 0..*end {
                let delivered = self.delivered.contains(&((self.ids[topic], *partition), offset));
                assert!(delivered, "{topic}-{partition} @{offset} was never delivered");
            }
        }
    }
}

/// One item of a read with a definite end.
fn read_one(consumer: &mut Consumer) -> Records {
    let next = consumer.read_to_end().expect("a read").next();
    next.transpose().expect("an item").unwrap_or_default()
}

fn worlds(mut run: impl FnMut(&mut dyn World)) {
    for mode in [IoMode::Mapped, IoMode::Positioned] {
        run(&mut Real::new(mode));
    }
    run(&mut InMemory::default());
    #[cfg(feature = "sim")]
    run(&mut Simulated(SimDisk::new(1)));
}

#[test]
fn members_at_random_deliver_everything() {
    let suite = Suite::new("groups");
    let seeds = budget::seeds(12, 30, 2_000);
    budget::for_each_seed("public", "members_at_random_deliver_everything", seeds, |seed| {
        worlds(|world| {
            let mut run = Run::new(world, &suite, seed);
            (0..150).for_each(|_| run.step());
            run.finish();
        });
    });
}
