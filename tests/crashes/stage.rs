//! The stage a scenario plays on: a store, or a lone log, on a simulated disk with a clock set by
//! hand, and the story of what it did.
//!
//! A scenario says what is done, the stage what becomes of it. By default a failing call fails the
//! test. With `goes_on` the host goes on after each failure, as hosts do; once the power is cut
//! nothing is done any more.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidelog::disk::{Access, Disk as _, Moment, SimDisk};
use tidelog::{
    BackgroundSync, Durability, Error, Journal, LeaderEpoch, Log, ManualClock, Offset,
    OffsetCommit, Outcome, Record, Result, Store, Threads, Timestamp, TopicConfig,
};

use crate::foreign::Foreign;
use crate::story::{self, Batch, Deed, Model, Story};

pub const ROOT: &str = "/store";
pub const LOG: &str = "/orders-0";
pub const BACKUP: &str = "/backup";
/// The topic that a lone log stands for.
pub const ALONE: &str = "orders";
pub const BIRTH: i64 = 1_700_000_000_000;

pub enum Door {
    Shut,
    Store(Store),
    Log(Box<Log>),
}

/// How the door is opened, by the scenario and by who comes after the crash.
#[derive(Clone)]
pub struct Setup {
    pub is_log: bool,
    pub idempotent: bool,
    /// Of a lone log.
    pub config: TopicConfig,
    pub journal: Journal,
    pub offsets_retention: Option<Duration>,
}

impl Default for Setup {
    fn default() -> Self {
        let offsets_retention = Some(Duration::from_secs(7 * 24 * 3600));
        Setup {
            is_log: false,
            idempotent: false,
            config: small(),
            journal: Journal::Off,
            offsets_retention,
        }
    }
}

impl Door {
    pub fn close(self) -> Result<()> {
        match self {
            Door::Shut => Ok(()),
            Door::Store(store) => store.close(),
            Door::Log(log) => log.close(),
        }
    }
}

pub struct Stage {
    pub disk: SimDisk,
    pub clock: ManualClock,
    pub door: Door,
    pub story: Story,
    /// Failures are borne, and counted.
    pub goes_on: bool,
    pub failures: u64,
    pub keeps_moments: bool,
    pub setup: Setup,
    number: u64,
    incarnations: std::collections::BTreeMap<&'static str, usize>,
}

pub fn small() -> TopicConfig {
    TopicConfig::new().segment_bytes(1024).index_interval_bytes(400)
}

impl Stage {
    pub fn new(disk: SimDisk) -> Self {
        Stage {
            disk,
            clock: ManualClock::new(Timestamp::from_millis(BIRTH)),
            door: Door::Shut,
            story: Vec::new(),
            goes_on: false,
            failures: 0,
            keeps_moments: true,
            setup: Setup::default(),
            number: 0,
            incarnations: std::collections::BTreeMap::new(),
        }
    }

    pub fn note(&mut self, deed: Deed) {
        self.story.push((self.disk.operations(), deed));
    }

    /// Bears a failure or does not; `None` also for what returned after the cut.
    fn bear<T>(&mut self, done: Result<T>) -> Option<T> {
        if self.disk.is_cut() {
            return None;
        }
        match done {
            Ok(done) => Some(done),
            Err(error) => {
                self.failures += 1;
                assert!(self.goes_on, "nothing was to fail: {error}");
                let again = !error.is_retriable() || error.outcome() == Outcome::NotWritten;
                assert!(again, "I7: retriable, and {:?}: {error}", error.outcome());
                None
            }
        }
    }

    /// Bears a failure; one that says that nothing was done is taken at its word by what follows.
    fn bear_or<T>(&mut self, done: Result<T>, undone: Deed) -> Option<T> {
        let is_undone = matches!(&done, Err(error) if error.outcome() == Outcome::NotWritten);
        let done = self.bear(done);
        if is_undone && !self.disk.is_cut() {
            self.note(undone);
        }
        done
    }

    /// How far a partition goes, as the open store has it.
    fn end(&self, topic: &str, partition: u32) -> Option<i64> {
        match &self.door {
            Door::Shut => None,
            Door::Log(log) => Some(log.end_offset().get()),
            Door::Store(store) => {
                Some(store.partition(topic, partition).ok()?.end_offset().ok()?.get())
            }
        }
    }

    /// Holds what became of a batch against what the call said of it.
    fn check_outcome<T>(&self, sent: &Result<T>, ends: (Option<i64>, Option<i64>), count: u32) {
        let (Some(before), Some(after)) = ends else { return };
        let written = after - before;
        let fits = match sent.as_ref().map_err(Error::outcome) {
            Ok(_) | Err(Outcome::WrittenNotDurable) => written == i64::from(count),
            Err(Outcome::NotWritten) => written == 0,
            Err(_) => written == 0 || written == i64::from(count),
        };
        let said = sent.as_ref().map(drop).map_err(|error| (error.outcome(), error.to_string()));
        assert!(fits, "I7: {written} of {count} records are there after {said:?}");
    }

    /// The store, opened again where a failure has shut it.
    fn store(&mut self) -> Option<Store> {
        self.open();
        match &self.door {
            Door::Store(store) => Some(store.clone()),
            _ => None,
        }
    }

    /// Whether the topic was created once, as far as the host knows.
    fn has(&self, topic: &str) -> bool {
        self.incarnations.get(topic).is_some_and(|count| *count > 0)
    }

    fn is_open(&mut self) -> bool {
        self.open();
        !matches!(self.door, Door::Shut)
    }

    /// What has been recorded is forgotten: the scenario begins here.
    pub fn begin(&mut self) {
        if self.keeps_moments {
            self.disk.record();
        }
    }

    pub fn moments(&mut self) -> Vec<Moment> {
        self.disk.moments()
    }

    pub fn open(&mut self) {
        if !matches!(self.door, Door::Shut) || self.disk.is_cut() {
            return;
        }
        if self.setup.is_log && self.incarnations.is_empty() {
            self.incarnations.insert(ALONE, 1);
            self.note(Deed::Creating { topic: ALONE });
        }
        let opened = if self.setup.is_log {
            let log = open_log(&self.disk, &self.clock, &self.setup);
            log.map(|log| Door::Log(Box::new(log)))
        } else {
            open_store(&self.disk, &self.clock, &self.setup).map(Door::Store)
        };
        if let Some(door) = self.bear(opened) {
            self.door = door;
        }
    }

    pub fn close(&mut self) {
        let door = std::mem::replace(&mut self.door, Door::Shut);
        if matches!(door, Door::Shut) {
            return;
        }
        let closed = door.close();
        if self.bear(closed).is_some() {
            self.note(Deed::AllDurable);
        }
    }

    pub fn reopen(&mut self) {
        self.close();
        self.open();
    }

    pub fn create(&mut self, topic: &'static str, partitions: u32, config: TopicConfig) {
        let Some(store) = self.store() else { return };
        *self.incarnations.entry(topic).or_default() += 1;
        self.note(Deed::Creating { topic });
        let before = store.describe(topic).ok().map(|seen| seen.id());
        let created = store.create_topic(topic, config.partitions(partitions));
        let created = created.and_then(|()| Ok(store.describe(topic)?.id()));
        let is_unwritten = matches!(&created, Err(error) if error.outcome() == Outcome::NotWritten);
        match self.bear(created) {
            Some(id) => self.note(Deed::Created { topic, id: Some(id), partitions }),
            None if self.disk.is_cut() => {}
            None if is_unwritten || before.is_some() => {
                *self.incarnations.entry(topic).or_default() -= 1;
                self.note(Deed::NotCreated { topic });
            }
            None => {}
        }
    }

    /// Creates a topic where there is none.
    pub fn ensure(&mut self, topic: &'static str, partitions: u32, config: TopicConfig) {
        let Some(store) = self.store() else { return };
        if store.describe(topic).is_err() && !self.disk.is_cut() {
            self.create(topic, partitions, config);
        }
    }

    /// Another process goes on with what a crash has left.
    pub fn go_on(&mut self, model: &Model) {
        self.door = Door::Shut;
        let known = model.topics.iter().map(|(name, all)| (*name, all.len()));
        self.incarnations = known.collect();
    }

    pub fn grow(&mut self, topic: &'static str, partitions: u32) {
        let Some(store) = self.store() else { return };
        let grown = store.add_partitions(topic, partitions);
        if self.bear(grown).is_some() {
            let id = store.describe(topic).ok().map(|seen| seen.id());
            self.note(Deed::Created { topic, id, partitions });
        }
    }

    pub fn alter(&mut self, topic: &'static str, config: TopicConfig) {
        if let Some(store) = self.store() {
            self.bear(store.alter_topic(topic, config));
        }
    }

    pub fn delete(&mut self, topic: &'static str) {
        let Some(store) = self.store().filter(|_| self.has(topic)) else { return };
        self.note(Deed::Deleting { topic });
        if self.bear_or(store.delete_topic(topic), Deed::NotDeleted { topic }).is_some() {
            self.note(Deed::Deleted { topic });
        }
    }

    /// Sends so many batches of one record of 200 bytes.
    pub fn send(&mut self, topic: &'static str, partition: u32, times: u32, word: Durability) {
        for _ in 0..times {
            self.batch(topic, partition, 1, 200, word);
        }
    }

    /// Sends a batch.
    pub fn batch(
        &mut self,
        topic: &'static str,
        partition: u32,
        count: u32,
        size: usize,
        word: Durability,
    ) {
        if !self.is_open() || !self.has(topic) {
            return;
        }
        self.number += 1;
        let batch = Batch { number: self.number, count, size };
        let number = batch.number;
        self.note(Deed::Sending { topic, partition, batch });
        let incarnation = self.incarnations[topic];
        let value = |place| story::value(topic, incarnation, partition, batch, place);
        let values: Vec<Vec<u8>> = (0..count).map(value).collect();
        let before = self.end(topic, partition);
        let sent = self.append(topic, partition, &values, word);
        if !self.disk.is_cut() {
            self.check_outcome(&sent, (before, self.end(topic, partition)), count);
        }
        let undone = Deed::NotSent { topic, partition, number };
        let Some((offset, epoch)) = self.bear_or(sent, undone) else { return };
        self.note(Deed::Sent { topic, partition, number, offset, epoch });
        if word == Durability::Power {
            self.note(Deed::Durable { topic, partition, end: offset + i64::from(count) });
        }
    }

    fn append(
        &self,
        topic: &str,
        partition: u32,
        values: &[Vec<u8>],
        word: Durability,
    ) -> Result<(i64, LeaderEpoch)> {
        let records: Vec<Record<'_>> = values.iter().map(Record::new).collect();
        if let Door::Log(log) = &self.door {
            let receipt = log.append_with(&records, word)?;
            return Ok((receipt.first_offset().get(), receipt.epoch()));
        }
        let Door::Store(store) = &self.door else { unreachable!("it is open") };
        let producer = store.producer().durability(word).idempotent(self.setup.idempotent);
        let receipt = producer.build()?.topic(topic)?.send_batch_to(partition, &records)?;
        Ok((receipt.base_offset().get(), receipt.leader_epoch()))
    }

    pub fn flush(&mut self) {
        self.open();
        let flushed = match &self.door {
            Door::Log(log) => log.flush(),
            Door::Store(store) => store.flush(),
            Door::Shut => return,
        };
        if self.bear(flushed).is_some() {
            self.note(Deed::AllDurable);
        }
    }

    /// Time passes, and what is due is done: syncs, retention, unlinks, compaction, expiry.
    pub fn wait(&mut self, time: Duration) {
        self.may_retain();
        self.clock.advance(time);
        match &self.door {
            Door::Shut => {}
            Door::Log(log) => {
                let done = log.maintain();
                self.bear(done);
            }
            Door::Store(store) => {
                let store = store.clone();
                store.run_due();
                store.run_maintenance();
            }
        }
    }

    pub fn delete_records(&mut self, topic: &'static str, partition: u32, offset: i64) {
        if !self.is_open() || !self.has(topic) {
            return;
        }
        self.note(Deed::Trimming { topic, partition, to: offset });
        let before = Offset::new(offset);
        let done = match &self.door {
            Door::Log(log) => log.delete_records_before(before),
            Door::Store(store) => store.delete_records_before(topic, partition, before),
            Door::Shut => return,
        };
        if self.bear_or(done, Deed::NotTrimmed { topic, partition }).is_some() {
            self.note(Deed::Trimmed { topic, partition, start: offset });
        }
    }

    /// Half a minute after an open, then every five, retention is applied where there is a policy.
    fn may_retain(&mut self) {
        let Door::Store(store) = &self.door else { return };
        let store = store.clone();
        for topic in self.incarnations.keys().copied().collect::<Vec<_>>() {
            let Ok(seen) = store.describe(topic) else { continue };
            let is_set = |key| seen.config().get(key).is_some_and(|value| value != "-1");
            if is_set("retention.ms") || is_set("retention.bytes") {
                let parts = (0u32..).zip(seen.partitions());
                parts.for_each(|(partition, _)| self.retaining(topic, partition));
            }
        }
    }

    /// The start of this partition alone may rise from here on.
    pub fn retaining(&mut self, topic: &'static str, partition: u32) {
        self.note(Deed::Trimming { topic, partition, to: i64::MAX });
    }

    /// Applies retention where this topic alone has a policy.
    pub fn retain_topic(&mut self, topic: &'static str) {
        self.retaining(topic, 0);
        if let Some(store) = self.store() {
            self.bear(store.apply_retention());
        }
    }

    /// Applies retention; how far the starts rise is the policy's affair.
    pub fn retain(&mut self) {
        self.open();
        self.note(Deed::Retaining);
        let done = match &self.door {
            Door::Log(log) => log.apply_retention().map(drop),
            Door::Store(store) => store.apply_retention(),
            Door::Shut => return,
        };
        self.bear(done);
    }

    pub fn commit(
        &mut self,
        group: &'static str,
        topic: &'static str,
        partition: u32,
        offset: i64,
        word: Durability,
    ) {
        let Some(store) = self.store() else { return };
        self.note(Deed::Committing { group, topic, partition, offset });
        let one = OffsetCommit::new(topic, partition, Offset::new(offset));
        let consumer = store.consumer(group).assign([(topic, partition)]).build();
        let done = consumer.and_then(|mut it| it.commit_offsets_with(&[one], word));
        let undone = Deed::NotCommitted { group, topic, partition };
        if self.bear_or(done, undone).is_some() {
            let power = word == Durability::Power;
            self.note(Deed::Committed { group, topic, partition, offset, power });
        }
    }

    /// Commits the same again so many times, each with metadata of 4,000 bytes: the topic grows.
    pub fn commit_at_length(&mut self, group: &'static str, topic: &'static str, times: u32) {
        let Some(store) = self.store() else { return };
        let (metadata, offset) = ("m".repeat(4000), 1);
        self.note(Deed::Committing { group, topic, partition: 0, offset });
        let commits = [OffsetCommit::new(topic, 0, Offset::new(offset)).metadata(&metadata)];
        let built = store.consumer(group).assign([(topic, 0)]).build();
        let Some(mut consumer) = self.bear(built) else { return };
        for _ in 0..times {
            let done = consumer.commit_offsets_with(&commits, Durability::Process);
            if self.bear(done).is_none() {
                return;
            }
        }
        self.note(Deed::Committed { group, topic, partition: 0, offset, power: false });
    }

    /// What groups committed may expire from here on.
    pub fn expiring(&mut self, groups: &[&'static str]) {
        for &group in groups {
            self.note(Deed::Forgetting { group });
        }
    }

    /// Makes a backup, where there is none.
    pub fn back_up(&mut self) {
        let Some(store) = self.store() else { return };
        let there = self.disk.metadata(BACKUP.as_ref());
        if !matches!(there, Ok(None)) {
            return;
        }
        self.note(Deed::BackingUp);
        if self.bear(store.backup(BACKUP)).is_some() {
            self.note(Deed::BackedUp);
        }
    }

    /// A partition that Kafka wrote lies there.
    pub fn find(&mut self, topic: &'static str, golden: &Foreign) {
        let dir = if self.setup.is_log { LOG.to_owned() } else { format!("{ROOT}/{topic}-0") };
        let dir = Path::new(&dir);
        self.disk.create_dir_all(dir).expect("made");
        for (name, bytes) in &golden.files {
            let file = self.disk.open(&dir.join(name), Access::Create).expect("made");
            file.write_at(bytes, 0).expect("written");
            file.sync_data().expect("synced");
        }
        dir.ancestors().for_each(|dir| self.disk.sync_dir(dir).expect("synced"));
        self.incarnations.insert(topic, 1);
        self.note(Deed::Creating { topic });
        self.note(Deed::Created { topic, id: None, partitions: 1 });
        self.note(Deed::Found { topic, records: golden.records.clone() });
    }

    pub fn forget(&mut self, group: &'static str) {
        let Some(store) = self.store() else { return };
        self.note(Deed::Forgetting { group });
        if self.bear_or(store.delete_group(group), Deed::NotForgot { group }).is_some() {
            self.note(Deed::Forgot { group });
        }
    }

    /// How long a file is.
    pub fn disk_bytes(&self, path: &str) -> u64 {
        let found = self.disk.metadata(path.as_ref());
        found.ok().flatten().map_or(u64::MAX, |found| found.len)
    }
}

pub fn open_store(disk: &SimDisk, clock: &ManualClock, setup: &Setup) -> Result<Store, Error> {
    open_store_at(ROOT, disk, clock, setup)
}

/// A store that lies elsewhere: a backup.
pub fn open_store_at(
    root: &str,
    disk: &SimDisk,
    clock: &ManualClock,
    setup: &Setup,
) -> Result<Store, Error> {
    let builder = Store::builder(root).disk(Arc::new(disk.clone())).clock(clock.clone());
    let builder = builder.journal(setup.journal).offsets_retention(setup.offsets_retention);
    builder.threads(Threads::Host).background_sync(BackgroundSync::default()).open()
}

pub fn open_log(disk: &SimDisk, clock: &ManualClock, setup: &Setup) -> Result<Log, Error> {
    let builder = Log::builder(LOG).disk(Arc::new(disk.clone())).config(setup.config.clone());
    builder.clock(Arc::new(clock.clone())).open()
}
