//! What was promised, and whether it was kept: a plain model of topics and records beside an
//! engine on the simulated disk, for the enumerations of crashes and of failing calls.
//!
//! Each value names its topic, the topic's incarnation, its partition and a number used once, so
//! that a record in a wrong place, a stale one or a doubled one is seen at once.

mod led;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::super::{Engine, EngineOptions, FollowOptions, NewTopic, Partition};
use super::{append, options, records};
use crate::config::{Durability, Leadership, Threads, TopicConfig};
use crate::disk::SimDisk;
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::ids::{LeaderEpoch, Offset, PartitionId, TopicId};
use crate::time::{ManualClock, Timestamp};

pub(super) const ROOT: &str = "/store";

/// One thing a scenario does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Create(&'static str, u32),
    /// Topic, partition, how many records, each in a batch of its own.
    Append(&'static str, u32, u32, Durability),
    /// The background runs when all is due for a sync.
    Background,
    Flush,
    DeleteRecords(&'static str, u32, i64),
    Truncate(&'static str, u32, i64),
    /// The host leads the topic's partitions.
    Lead(&'static str),
    /// Topic, partition, offsets to leave out, how many batches of a record each, as a leader has
    /// them.
    Follow(&'static str, u32, i64, u32),
    /// All records go, the next one gets this offset.
    StartAt(&'static str, u32, i64),
    Retain,
    Unlink,
    Delete(&'static str),
    Alter(&'static str),
    AddPartitions(&'static str, u32),
    Close,
    Reopen,
}

/// What is known of one partition of one incarnation of a topic.
#[derive(Clone, Debug, Default)]
struct Kept {
    tried: HashSet<String>,
    /// Value by offset, and whether it was promised to survive a power cut.
    acknowledged: BTreeMap<i64, (String, bool)>,
    /// What a truncation was to take, by offset: once one has, it is never seen again.
    let_go: Vec<(i64, String)>,
    /// The log start lies at or above the first and at or below the second.
    starts: (i64, i64),
}

#[derive(Clone, Debug, Default)]
struct Incarnation {
    /// Known once the creation was acknowledged.
    id: Option<TopicId>,
    deleting: bool,
    deleted: bool,
    partitions: BTreeMap<u32, Kept>,
    promised_partitions: u32,
}

/// What has to survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Promise {
    /// A power cut: what was acknowledged with power durability.
    Power,
    /// The end of the process: whatever was acknowledged.
    Process,
}

/// An engine and all that was promised through it.
pub(super) struct History {
    pub(super) disk: SimDisk,
    pub(super) clock: ManualClock,
    pub(super) engine: Option<Arc<Engine>>,
    /// How large a journal the store has.
    pub(super) journal: Option<u64>,
    topics: BTreeMap<&'static str, Vec<Incarnation>>,
    epoch: Option<LeaderEpoch>,
    number: u64,
}

pub(super) fn config(partitions: u32) -> TopicConfig {
    TopicConfig::new().partitions(partitions).segment_bytes(1024)
}

impl History {
    pub(super) fn new(disk: SimDisk) -> Self {
        let clock = ManualClock::new(Timestamp::from_millis(1_700_000_000_000));
        let topics = BTreeMap::new();
        History { disk, clock, engine: None, journal: None, topics, epoch: None, number: 0 }
    }

    /// Opens the root; epochs rise.
    pub(super) fn open(&mut self) -> Result<()> {
        let disk = Arc::new(self.disk.clone());
        let (clock, journal) = (Arc::new(self.clock.clone()), self.journal);
        let options = EngineOptions { clock, journal, ..options(disk) };
        let engine = Engine::open(options, Path::new(ROOT))?;
        let epoch = engine.open_report().leader_epoch();
        assert!(self.epoch < Some(epoch), "epochs rise: {:?}, {epoch:?}", self.epoch);
        self.epoch = Some(epoch);
        self.engine = Some(engine);
        Ok(())
    }

    pub(super) fn engine(&self) -> Result<Arc<Engine>> {
        self.engine
            .clone()
            .ok_or_else(|| Error::new("test", crate::error::Cause::Closed("the store of the test")))
    }

    fn partition(&self, topic: &str, partition: u32) -> Result<Arc<Partition>> {
        self.engine()?.topic(topic)?.partition(PartitionId::new(partition))
    }

    fn last(&mut self, topic: &'static str) -> &mut Incarnation {
        self.topics.get_mut(topic).and_then(|all| all.last_mut()).expect("created before")
    }

    /// Carries out one step and notes what was promised. What returned only after the power was
    /// cut has promised nothing.
    pub(super) fn step(&mut self, step: Step) -> Result<()> {
        self.let_go_of(step);
        let before = (self.topics.clone(), self.engine.is_some());
        let done = self.carry_out(step);
        if let Err(error) = &done
            && error.outcome() == Outcome::NotWritten
        {
            match step {
                Step::Create(name, _) => drop(self.topics.get_mut(name).and_then(Vec::pop)),
                Step::Delete(name) => {
                    // an earlier try whose outcome is unknown may have taken effect all the same
                    let tried = before.0.get(name).and_then(|all| all.last());
                    let tried = tried.is_some_and(|topic| topic.deleting);
                    let last = self.topics.get_mut(name).and_then(|all| all.last_mut());
                    last.into_iter().for_each(|topic| topic.deleting = topic.deleted || tried);
                }
                _ => {}
            }
        }
        if done.is_ok() && self.disk.is_cut() && before.1 {
            self.unpromise(before.0);
        }
        done
    }

    /// Goes back to what was promised before, but for what was tried since.
    fn unpromise(&mut self, before: BTreeMap<&'static str, Vec<Incarnation>>) {
        for (name, now) in &mut self.topics {
            let mut was = before.get(name).cloned().unwrap_or_default();
            was.resize_with(now.len(), Incarnation::default);
            for (now, was) in now.iter_mut().zip(was) {
                (now.id, now.deleted) = (was.id, was.deleted);
                now.promised_partitions = was.promised_partitions;
                for (number, kept) in &mut now.partitions {
                    let was = was.partitions.get(number).cloned().unwrap_or_default();
                    kept.acknowledged = was.acknowledged;
                    kept.starts.0 = was.starts.0;
                }
            }
        }
    }

    /// What a truncation is about to take is promised no more.
    fn let_go_of(&mut self, step: Step) {
        let (Step::Truncate(topic, partition, target) | Step::StartAt(topic, partition, target)) =
            step
        else {
            return;
        };
        let Some(incarnation) = self.topics.get_mut(topic).and_then(|all| all.last_mut()) else {
            return;
        };
        let kept = incarnation.partitions.entry(partition).or_default();
        if target < kept.starts.1 {
            // of a log that is to begin lower all goes first, to where it ends
            let last = kept.acknowledged.keys().next_back().map_or(0, |last| last + 1);
            let more = kept.tried.len().saturating_sub(kept.acknowledged.len());
            kept.starts.1 = kept.starts.1.max(last) + more as i64;
        }
        let gone = match step {
            Step::Truncate(..) => kept.acknowledged.split_off(&target),
            _ => {
                kept.starts.1 = kept.starts.1.max(target);
                std::mem::take(&mut kept.acknowledged)
            }
        };
        kept.starts.0 = kept.starts.0.min(target);
        kept.let_go.extend(gone.into_iter().map(|(offset, (value, _))| (offset, value)));
    }

    /// A truncation has returned: what it took never comes back.
    fn cut_off(&mut self, topic: &'static str, partition: u32, target: i64) {
        if self.disk.is_cut() {
            return; // nothing that returns after the cut is a promise
        }
        let kept = self.last(topic).partitions.entry(partition).or_default();
        for (_, value) in kept.let_go.extract_if(.., |(offset, _)| *offset >= target) {
            kept.tried.remove(&value);
        }
    }

    fn carry_out(&mut self, step: Step) -> Result<()> {
        let of = match step {
            Step::Append(name, ..) | Step::DeleteRecords(name, ..) | Step::Delete(name) => name,
            Step::Truncate(name, ..) | Step::StartAt(name, ..) => name,
            Step::Lead(name) | Step::Follow(name, ..) => name,
            Step::AddPartitions(name, _) => name,
            _ => "",
        };
        if !of.is_empty() && self.topics.get(of).is_none_or(Vec::is_empty) {
            let (what, name) = ("topic", of.to_owned());
            return Err(Error::new("test", crate::error::Cause::NotFound { what, name }));
        }
        match step {
            Step::Create(name, partitions) => {
                self.topics.entry(name).or_default().push(Incarnation::default());
                let new = [NewTopic { name, config: config(partitions), internal: false }];
                let topic = self.engine()?.create_topics(&new)?.remove(0);
                let incarnation = self.last(name);
                incarnation.id = Some(topic.id());
                incarnation.promised_partitions = partitions;
            }
            Step::Append(topic, partition, count, durability) => {
                for _ in 0..count {
                    self.append(topic, partition, durability)?;
                }
            }
            Step::Background => {
                self.clock.advance(Duration::from_secs(31));
                self.engine()?.run_maintenance();
            }
            Step::Flush => {
                self.engine()?.flush()?;
                self.all_durable();
            }
            Step::DeleteRecords(topic, partition, offset) => {
                let kept = self.last(topic).partitions.entry(partition).or_default();
                kept.starts.1 = kept.starts.1.max(offset);
                let handle = self.partition(topic, partition)?;
                self.engine()?.delete_records_before(&handle, Offset::new(offset))?;
                let kept = self.last(topic).partitions.entry(partition).or_default();
                kept.starts.0 = kept.starts.0.max(offset);
            }
            Step::Lead(topic) => {
                let engine = self.engine()?;
                for partition in engine.topic(topic)?.partitions().iter() {
                    engine.set_leadership(partition, Leadership::HostLed)?;
                }
            }
            Step::Follow(topic, partition, gap, count) => {
                self.follow_leader(topic, partition, gap, count)?;
            }
            Step::Truncate(topic, partition, target) => {
                let handle = self.partition(topic, partition)?;
                self.engine()?.truncate_to(&handle, Offset::new(target))?;
                self.cut_off(topic, partition, target);
                self.all_of_partition_durable(topic, partition);
                let start = self.partition(topic, partition)?.offsets()?.start.get();
                if start == target || !self.disk.is_cut() {
                    let kept = self.last(topic).partitions.entry(partition).or_default();
                    kept.starts = (start, start);
                }
            }
            Step::StartAt(topic, partition, target) => {
                let handle = self.partition(topic, partition)?;
                let engine = self.engine()?;
                engine.truncate_fully_and_start_at(&handle, Offset::new(target))?;
                self.cut_off(topic, partition, 0);
                self.last(topic).partitions.entry(partition).or_default().starts = (target, target);
            }
            Step::Retain => {
                for kept in
                    self.topics.values_mut().flatten().flat_map(|t| t.partitions.values_mut())
                {
                    let end = kept.acknowledged.keys().next_back().map_or(0, |last| last + 1);
                    kept.starts.1 = kept.starts.1.max(end);
                }
                self.clock.advance(Duration::from_secs(600));
                self.engine()?.retain_all();
            }
            Step::Unlink => {
                self.clock.advance(Duration::from_secs(61));
                self.engine()?.run_maintenance();
            }
            Step::Delete(name) => {
                self.last(name).deleting = true;
                self.engine()?.delete_topic(name)?;
                self.last(name).deleted = true;
            }
            Step::Alter(name) => {
                let config = config(1).retention(Duration::from_secs(60));
                self.engine()?.alter_topic(name, config)?;
            }
            Step::AddPartitions(name, total) => {
                self.engine()?.add_partitions(name, total)?;
                self.last(name).promised_partitions = total;
            }
            Step::Close => {
                let Some(engine) = self.engine.take() else { return Ok(()) };
                engine.close()?;
                self.all_durable();
            }
            Step::Reopen => {
                self.engine = None;
                self.open()?;
            }
        }
        Ok(())
    }

    fn all_of_partition_durable(&mut self, topic: &'static str, partition: u32) {
        let kept = self.last(topic).partitions.entry(partition).or_default();
        kept.acknowledged.values_mut().for_each(|(_, power)| *power = true);
    }

    fn all_durable(&mut self) {
        let partitions = self.topics.values_mut().flatten().flat_map(|t| t.partitions.values_mut());
        for kept in partitions {
            kept.acknowledged.values_mut().for_each(|(_, power)| *power = true);
        }
    }

    pub(super) fn append(
        &mut self,
        topic: &'static str,
        partition: u32,
        durability: Durability,
    ) -> Result<Offset> {
        self.number += 1;
        let incarnation = self.topics.get(topic).map_or(0, Vec::len);
        let place = format!("{topic}.{incarnation}/{partition}#{}", self.number);
        let value = format!("{place:-<200}");
        let kept = self.last(topic).partitions.entry(partition).or_default();
        kept.tried.insert(value.clone());
        let handle = self.partition(topic, partition)?;
        let appended = append(&handle, &value, durability);
        let is_cut = self.disk.is_cut();
        let kept = self.last(topic).partitions.entry(partition).or_default();
        if matches!(&appended, Err(error) if error.outcome() == Outcome::NotWritten) && !is_cut {
            kept.tried.remove(&value);
        }
        let offset = appended?;
        if is_cut {
            return Ok(offset); // nothing that returns after the cut is a promise
        }
        let kept = self.last(topic).partitions.entry(partition).or_default();
        kept.acknowledged.insert(offset.get(), (value, false));
        if durability == Durability::Power {
            let below = kept.acknowledged.range_mut(..=offset.get());
            below.for_each(|(_, (_, power))| *power = true);
        }
        Ok(offset)
    }

    /// Takes the records as they are now for all there is: after a crash what was only
    /// acknowledged to survive the process may be gone, and its offsets are free.
    fn settle(&mut self) {
        let Some(engine) = self.engine.clone() else { return };
        for (name, incarnations) in &mut self.topics {
            let Some(topic) = engine.topic(name).ok() else { continue };
            let Some(current) = incarnations.last_mut() else { continue };
            for (number, handle) in (0u32..).zip(topic.partitions().iter()) {
                let kept = current.partitions.entry(number).or_default();
                // a truncation that failed half-way may come to its end by itself
                let found = records(handle).into_iter().filter(|one| !kept.let_go.contains(one));
                kept.acknowledged = found.map(|(at, value)| (at, (value, false))).collect();
            }
        }
    }

    /// Checks every promise against the engine as it is open now; returns how many records that
    /// were acknowledged are gone.
    pub(super) fn verify(&mut self, promise: Promise, context: &str) -> u64 {
        let engine = self.engine.clone().expect("open");
        let gone = self.check(&engine, promise, context);
        self.settle();
        gone
    }

    /// The same by a reader that comes before any writer, and changes nothing.
    pub(super) fn verify_as_guest(&self, promise: Promise, context: &str) {
        let context = format!("{context}, read only");
        let image = self.disk.image_hash();
        match self.follow() {
            Ok(engine) => drop(self.check(&engine, promise, &context)),
            // the stop came before there was a store
            Err(error) if error.kind() == ErrorKind::NotAStore => assert!(
                self.topics.values().flatten().all(|topic| topic.id.is_none()),
                "{context}: {error}"
            ),
            Err(error) => panic!("{context}: {error}"),
        }
        assert_eq!(self.disk.image_hash(), image, "{context}: the disk was changed");
    }

    pub(super) fn follow(&self) -> Result<Arc<Engine>> {
        let options = FollowOptions {
            plain: crate::record::PlainLimit::DEFAULT,
            disk: Arc::new(self.disk.clone()),
            clock: Arc::new(self.clock.clone()),
            threads: Threads::Host,
            interval: Duration::from_millis(10),
        };
        Engine::follow(options, Path::new(ROOT))
    }

    fn check(&self, engine: &Engine, promise: Promise, context: &str) -> u64 {
        let mut gone = 0;
        for (name, incarnations) in &self.topics {
            let Some(last) = incarnations.last() else { continue };
            let Ok(topic) = engine.topic(name) else {
                assert!(last.id.is_none() || last.deleting, "{context}: topic {name} is gone");
                let before = incarnations.len().checked_sub(2).map(|at| &incarnations[at]);
                assert!(before.is_none_or(|before| before.deleting), "{context}: {name} is gone");
                continue;
            };
            let known = |one: &Incarnation| one.id == Some(topic.id());
            let at = incarnations.iter().position(known).unwrap_or(incarnations.len() - 1);
            let current = &incarnations[at];
            assert!(!current.deleted, "{context}: deleted topic {name} is back");
            assert!(last.id.is_none() || at + 1 == incarnations.len(), "{context}: old {name}");
            let partitions = topic.partitions();
            let promised = current.promised_partitions as usize;
            assert!(partitions.len() >= promised, "{context}: partitions of {name} are gone");
            for (number, handle) in (0u32..).zip(partitions.iter()) {
                let kept = current.partitions.get(&number).cloned().unwrap_or_default();
                if *name == "led" && handle.followed().is_some() {
                    continue; // a guest sees up to the high watermark that was recorded last
                }
                let prefix = format!("{name}.{}/{number}#", at + 1);
                let context = format!("{context}: {name}-{number}");
                println!("{context}");
                gone += kept.check(handle, &prefix, promise, &context);
            }
        }
        gone
    }
}

impl Kept {
    fn check(&self, handle: &Partition, prefix: &str, promise: Promise, context: &str) -> u64 {
        let found = records(handle);
        let offsets = handle.offsets().unwrap_or_else(|error| panic!("{context}: {error}"));
        let (start, end) = (offsets.start.get(), offsets.end.get());
        let numbers: Vec<i64> = found.iter().map(|(offset, _)| *offset).collect();
        let dense = (start..end).collect::<Vec<_>>();
        let led = prefix.starts_with("led."); // its leader leaves offsets out
        assert!(led || numbers == dense, "{context}: offsets are dense: {numbers:?}");
        let (lowest, highest) = self.starts;
        assert!((lowest..=highest).contains(&start), "{context}: start {start}, {:?}", self.starts);
        let values: HashSet<&String> = found.iter().map(|(_, value)| value).collect();
        assert_eq!(values.len(), found.len(), "{context}: a record is doubled");
        for (offset, value) in &found {
            assert!(value.starts_with(prefix), "{context}: {value} at {offset} is not from here");
            assert!(self.tried.contains(value), "{context}: a phantom, {value}");
        }
        let found: BTreeMap<_, _> = found.into_iter().collect();
        let mut gone = 0;
        for (offset, (value, power)) in self.acknowledged.range(start..) {
            match found.get(offset) {
                Some(there) if there == value => {}
                there if promise == Promise::Process || *power => {
                    panic!("{context}: {value} was promised at {offset}, there is {there:?}");
                }
                _ => gone += 1,
            }
        }
        gone
    }
}
