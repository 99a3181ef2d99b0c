//! Compaction: whose turn it is, and a step at a time of it.
//!
//! A log of an internal topic tells once it has grown to the size it was given
//! (`log::tell_when_larger`); one of a program's topic is looked at when a segment was sealed, and
//! as often as retention is, for what has grown old (`cleaning`). Nothing here looks at others.
//! One log is compacted at a time, by whoever runs the maintenance, a step a run, with a pause
//! after each, so that it takes a part of the disk's time only: at most 1 MiB in 10 ms. A log that
//! fails is logged and left until it is twice as large.
//!
//! An adopted topic is left alone, like all that another hand made: see `design.md` 1.1.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::cleaning::due_end;
use super::partition::Partition;
use crate::compact::{Done, Need, Pass, Progress, Settings, need};
use crate::config::TopicConfig;
use crate::error::Result;
use crate::ids::{Offset, TopicId};
use crate::log::{Durable, LogId, PartitionLog};
use crate::sync::Mutex;
use crate::time::Timestamp;

/// Between two steps.
const PAUSE: Duration = Duration::from_millis(10);
/// Between two logs: each costs a handful of syncs.
const REST: Duration = Duration::from_millis(100);

/// Whose records a log that is compacted holds.
#[derive(Clone, Debug)]
enum Owner {
    /// The store: a log of state.
    Store,
    /// A program, whose configuration says when.
    Program(Arc<TopicConfig>),
}

/// What is being compacted.
#[derive(Debug, Default)]
pub(super) struct Compaction {
    turns: Mutex<Turns>,
}

#[derive(Debug, Default)]
struct Turns {
    waiting: VecDeque<LogId>,
    running: Option<Running>,
    /// How far the keys of each log are mapped by passes of this process.
    mapped: HashMap<LogId, Mapped>,
    /// How large a log has to be before it is looked at again, whatever asks.
    not_before: HashMap<LogId, u64>,
    /// The next step is due.
    next: Duration,
    closed: bool,
}

/// A pass under way.
#[derive(Debug)]
struct Running {
    partition: Arc<Partition>,
    pass: Pass,
    /// How often the log's offsets had fallen when it was begun.
    falls: u64,
}

/// How far the keys of a log are mapped. That is true while its offsets do not fall: what is
/// appended in the place of what was cut off is mapped by nobody.
#[derive(Debug)]
struct Mapped {
    end: Offset,
    falls: u64,
}

impl Compaction {
    /// Forgets the logs of a topic that is deleted, before its directories get other names.
    pub(super) fn forget(&self, topic: TopicId) {
        let mut turns = self.turns.lock();
        turns.waiting.retain(|id| id.topic != topic);
        turns.mapped.retain(|id, _| id.topic != topic);
        turns.not_before.retain(|id, _| id.topic != topic);
        if turns.running.as_ref().is_some_and(|it| it.partition.topic_id() == topic)
            && let Some(running) = turns.running.take()
        {
            running.pass.abandon();
        }
    }

    /// Gives up what is under way; nothing begins after.
    pub(super) fn end(&self) {
        let mut turns = self.turns.lock();
        turns.closed = true;
        turns.waiting.clear();
        if let Some(running) = turns.running.take() {
            running.pass.abandon();
        }
    }

    /// Of how many logs anything is remembered.
    #[cfg(test)]
    pub(super) fn remembers(&self) -> usize {
        let turns = self.turns.lock();
        turns.mapped.len() + turns.not_before.len()
    }
}

impl Turns {
    fn is_running(&self, id: LogId) -> bool {
        let running = self.running.as_ref().and_then(|running| running.partition.log().ok());
        running.is_some_and(|log| log.id() == id)
    }

    /// Below it every key is mapped, as far as passes of this process know.
    fn mapped(&self, log: &PartitionLog) -> Offset {
        let falls = log.offsets().falls();
        let mapped = self.mapped.get(&log.id());
        let mapped = mapped.filter(|mapped| mapped.falls == falls);
        mapped.map_or(Offset::ZERO, |mapped| mapped.end)
    }

    /// Below it everything has been compacted.
    fn clean(&self, log: &PartitionLog) -> Offset {
        self.mapped(log).max(log.offsets().compacted())
    }

    fn put_off(&mut self, log: &PartitionLog, bytes: u64) {
        self.not_before.insert(log.id(), bytes);
        log.tell_when_larger(bytes);
    }
}

/// Has the log of an internal topic tell when it may be due.
pub(super) fn watch(log: &PartitionLog, partitions: usize) {
    let clean = log.compacted_size();
    match need(log.size().0, clean, partitions) {
        Need::At(bytes) => log.tell_when_larger(bytes),
        Need::Now => log.tell_when_larger(0),
    }
}

/// Up to where a power cut undoes no decision: a marker may lie far above what it ends, where no
/// recovery point covers it, and nothing may go that only the records of that transaction replace.
fn decided_for_good(partition: &Partition, log: &PartitionLog) -> Result<Offset> {
    let stable = log.offsets().snapshot().last_stable();
    partition.make_durable(log.offsets().end())?; // asked for behind the other: every marker of it
    Ok(stable)
}

/// What a step came to.
enum Stepped {
    More,
    /// A pass has ended.
    Freed(Arc<Partition>, u64),
}

impl Engine {
    /// Takes note of logs that asked to be looked at, and does the next step if its time has come;
    /// returns when there is more to do.
    pub(super) fn compact_some(&self, asked: &[Arc<Partition>], now: Duration) -> Option<Duration> {
        let wall = self.clock().wall(); // the host's code: under no lock
        let mut turns = self.compaction.turns.lock();
        for partition in asked {
            if let Some(owner) = self.compacted_for(partition)
                && let Err(error) = self.queue_if_due(&mut turns, partition, &owner, wall)
            {
                log::warn!("compaction: {error}");
            }
        }
        if turns.closed || (turns.running.is_none() && turns.waiting.is_empty()) {
            return None;
        }
        let mut stepped = None;
        if turns.next <= now {
            let step = self.compact_step(&mut turns, wall);
            turns.next = now + if matches!(step, Ok(Stepped::More)) { PAUSE } else { REST };
            stepped = Some(step);
        }
        let more = turns.running.is_some() || !turns.waiting.is_empty();
        let next = more.then_some(turns.next);
        drop(turns);
        match stepped {
            Some(Ok(Stepped::Freed(partition, bytes))) => {
                let (topic, id) = (partition.topic_name(), partition.id());
                log::info!("{topic}-{id}: compaction freed {bytes} bytes");
            }
            Some(Err(error)) => log::warn!("compaction: {error}"),
            Some(Ok(Stepped::More)) | None => {}
        }
        next
    }

    /// For whom a partition's log is compacted, if it is.
    fn compacted_for(&self, partition: &Partition) -> Option<Owner> {
        let topic = self.topic_by_id(partition.topic_id()).filter(|topic| !topic.is_adopted())?;
        if topic.is_internal() {
            return Some(Owner::Store);
        }
        let config = topic.config();
        config.cleanup_policy.compacts().then_some(Owner::Program(config))
    }

    fn queue_if_due(
        &self,
        turns: &mut Turns,
        partition: &Partition,
        owner: &Owner,
        wall: Timestamp,
    ) -> Result<()> {
        let Ok(log) = partition.log() else { return Ok(()) };
        let id = log.id();
        if turns.waiting.contains(&id) || turns.is_running(id) {
            return Ok(()); // its end looks again
        }
        let size = log.size().0;
        let put_off = turns.not_before.get(&id).copied().filter(|at| size < *at);
        if let Owner::Program(config) = owner {
            if put_off.is_none() && due_end(log, config, turns.clean(log), wall)?.is_some() {
                turns.waiting.push_back(id);
            }
            return Ok(());
        }
        let need = match put_off {
            Some(at) => Need::At(at),
            None => need(size, log.compacted_size(), self.partitions_beside(partition)),
        };
        match need {
            Need::Now => turns.waiting.push_back(id),
            Need::At(bytes) => log.tell_when_larger(bytes),
        }
        Ok(())
    }

    fn partitions_beside(&self, partition: &Partition) -> usize {
        self.topic_by_id(partition.topic_id()).map_or(1, |topic| topic.partition_count())
    }

    /// One step of the pass under way, or the beginning of the next.
    fn compact_step(&self, turns: &mut Turns, wall: Timestamp) -> Result<Stepped> {
        let Some(Running { partition, mut pass, falls }) = turns.running.take() else {
            return self.begin_pass(turns, wall);
        };
        let log = partition.log()?;
        match pass.step(log, self.keeper()?) {
            Ok(Progress::More) => {
                turns.running = Some(Running { partition, pass, falls });
                Ok(Stepped::More)
            }
            Ok(Progress::Done(done)) => {
                partition.give_back_freed();
                turns.mapped.insert(log.id(), Mapped { end: done.next_from, falls });
                self.end_pass(turns, &partition, log, done, wall)?;
                Ok(Stepped::Freed(partition, done.freed))
            }
            Err(error) => {
                turns.put_off(log, log.size().0.saturating_mul(2));
                Err(error)
            }
        }
    }

    /// Seals what there is, so that all of it is looked at, and begins with it.
    fn begin_pass(&self, turns: &mut Turns, wall: Timestamp) -> Result<Stepped> {
        let Some(id) = turns.waiting.pop_front() else { return Ok(Stepped::More) };
        let Some(partition) = self.partition_by_id(id) else { return Ok(Stepped::More) };
        let log = partition.log()?;
        let Some(owner) = self.compacted_for(&partition) else { return Ok(Stepped::More) };
        let falls = log.falls(); // before what is mapped is asked for
        let begun = match &owner {
            Owner::Store => self.seal(&partition, log, wall).and_then(|()| {
                let from = turns.mapped(log);
                let up_to = decided_for_good(&partition, log)?;
                Pass::begin(log, from, Settings { up_to, ..Settings::at(wall) })
            }),
            Owner::Program(config) => {
                let clean = turns.clean(log);
                due_end(log, config, clean, wall).and_then(|end| {
                    let Some(end) = end else { return Ok(None) };
                    let up_to = end.min(decided_for_good(&partition, log)?);
                    let delete_retention = config.delete_retention;
                    let settings = Settings { up_to, delete_retention, ..Settings::at(wall) };
                    Pass::begin(log, clean, settings)
                })
            }
        };
        match begun {
            Ok(Some(pass)) => turns.running = Some(Running { partition, pass, falls }),
            Ok(None) if matches!(owner, Owner::Program(_)) => {}
            // nothing, or damage that is left for whoever can mend it
            Ok(None) => turns.put_off(log, log.size().0.saturating_mul(2)),
            Err(error) => {
                turns.put_off(log, log.size().0.saturating_mul(2));
                return Err(error);
            }
        }
        Ok(Stepped::More)
    }

    pub(super) fn seal(
        &self,
        partition: &Arc<Partition>,
        log: &PartitionLog,
        wall: Timestamp,
    ) -> Result<()> {
        log.roll_active(wall)?;
        match self.checkpoint(std::slice::from_ref(partition), Durable::Later) {
            None => Ok(()),
            Some(error) => Err(error),
        }
    }

    fn end_pass(
        &self,
        turns: &mut Turns,
        partition: &Partition,
        log: &PartitionLog,
        done: Done,
        wall: Timestamp,
    ) -> Result<()> {
        if let Some(owner @ Owner::Program(_)) = self.compacted_for(partition) {
            if done.next_from < done.wanted {
                turns.waiting.push_back(log.id()); // as below, whatever the ratio is now
                return Ok(());
            }
            return self.queue_if_due(turns, partition, &owner, wall);
        }
        let sealed_end = log.sealed().last().map(|last| last.end);
        if sealed_end.is_some_and(|end| done.next_from < end) {
            turns.waiting.push_back(log.id()); // the map was full: the rest is next
            return Ok(());
        }
        // what is left is what lives, whether the pass had anything to write or not
        let size = log.size().0;
        match need(size, size, self.partitions_beside(partition)) {
            Need::At(bytes) => turns.put_off(log, bytes),
            Need::Now => turns.put_off(log, size.saturating_add(1)), // an empty log
        }
        Ok(())
    }
}
