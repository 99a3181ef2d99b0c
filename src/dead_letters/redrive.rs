//! Sending dead letters back to where they come from, or somewhere else, each once.
//!
//! A dead-letter topic is walked from its start to the end it had at the beginning; what was sent
//! back before is passed over, and so is what the caller does not choose: a later redrive may. The
//! copies and the note of what was sent back are one commit. A letter whose topic is gone, or was
//! made again, stays, and so does one that cannot be read: those behind it go. The caller's filter
//! runs under no lock. Called by `store`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::coordinator::{DeadLetters, Moved, MovedFrom, Turn};
use super::letter::{DeadLetter, sent_back};
use super::topic::is_of_records;
use crate::config::IsolationLevel;
use crate::engine::{Partition, Topic};
use crate::error::{Cause, Error, Outcome, Result};
use crate::ids::{Offset, PartitionId};
use crate::log::{Cursor, FetchLimits};
use crate::record::{Record, RecordView, Records, RecordsOrigin, TakeRules};
use crate::txn::{Part, check_record};

/// Records of one commit, and their bytes.
const MOST: usize = 1_000;
const MOST_BYTES: usize = 8 << 20;
/// How often one portion is tried with what was learnt about it.
const ATTEMPTS: usize = 4;
/// How many ranges the note of one partition may have.
const MOST_RUNS: usize = 100_000;

const OPERATION: &str = "redrive dead letters";

/// What is to be sent back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Redrive<'a> {
    /// The dead-letter topic.
    pub(crate) topic: &'a str,
    /// Where to, if not where they come from.
    pub(crate) to: Option<&'a str>,
    pub(crate) max_records: u64,
    /// Only count.
    pub(crate) dry_run: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Redriven {
    pub(crate) records: u64,
    pub(crate) passed_over: u64,
    pub(crate) stranded: u64,
    /// Why the first one of those stays.
    pub(crate) why_stranded: Option<String>,
}

/// A letter that is to be sent back.
struct Chosen<'a> {
    offset: i64,
    record: Record<'a>,
    to: Arc<Partition>,
}

/// Letters that cannot be read.
struct Unread {
    error: Error,
    /// Where reading goes on behind them; nowhere, where it is not they that are at fault.
    behind: Option<Offset>,
    /// How many they are at most.
    most: u64,
}

impl From<Error> for Unread {
    fn from(error: Error) -> Self {
        Unread { error, behind: None, most: 0 }
    }
}

impl Redriven {
    fn strand(&mut self, why: impl FnOnce() -> String) {
        self.strand_all(1, why);
    }

    fn strand_all(&mut self, letters: u64, why: impl FnOnce() -> String) {
        if letters > 0 {
            self.stranded += letters;
            self.why_stranded.get_or_insert_with(why);
        }
    }
}

impl DeadLetters {
    /// Sends letters back, in the order in which they lie in each partition. Blocks for syncs. On
    /// an error what was sent back before counts.
    pub(crate) fn redrive(
        &self,
        redrive: Redrive<'_>,
        filter: &mut dyn FnMut(RecordView<'_>) -> bool,
    ) -> Result<Redriven> {
        self.engine.check_open(OPERATION)?;
        self.engine.check_writable(OPERATION)?;
        let topic = public(&self.engine.topic(redrive.topic)?)?;
        let to = redrive.to.map(|to| public(&self.engine.topic(to)?)).transpose()?;
        if to.as_ref().is_some_and(|to| to.id() == topic.id()) {
            let text = "a dead-letter topic is not sent back to itself".to_owned();
            return Err(Error::new(OPERATION, Cause::InvalidArgument(text)));
        }
        let mut done = Redriven::default();
        for partition in topic.partitions().iter() {
            let walk = Walk { letters: self, redrive, partition, to: to.as_deref() };
            walk.run(filter, &mut done)
                .map_err(|error| error.at_partition(partition.topic_name(), partition.id()))?;
        }
        Ok(done)
    }
}

fn public(topic: &Arc<Topic>) -> Result<Arc<Topic>> {
    if !topic.is_internal() {
        return Ok(topic.clone());
    }
    let text = format!("`{}` is internal", topic.name());
    Err(Error::new(OPERATION, Cause::InvalidArgument(text)))
}

/// One partition of letters.
struct Walk<'a> {
    letters: &'a DeadLetters,
    redrive: Redrive<'a>,
    partition: &'a Arc<Partition>,
    to: Option<&'a Topic>,
}

impl Walk<'_> {
    fn from(&self) -> MovedFrom {
        let (topic, partition) = (self.partition.topic_id(), self.partition.id());
        MovedFrom { group: None, topic, partition }
    }

    fn run(
        &self,
        filter: &mut dyn FnMut(RecordView<'_>) -> bool,
        done: &mut Redriven,
    ) -> Result<()> {
        let offsets = self.partition.offsets()?;
        let end = offsets.bound(IsolationLevel::ReadCommitted);
        let (mut next, mut cursor) = (offsets.start, None);
        while done.records < self.redrive.max_records {
            let moved = self.moved(&mut self.letters.turn())?;
            let begun = moved.runs.within(next.get(), i64::MAX - 1).next();
            if let Some((first, last, ())) = begun
                && first == next.get()
            {
                (next, cursor) = (Offset::new(last + 1), None);
            }
            if next >= end {
                break;
            }
            let records = match self.read((&mut next, &mut cursor), end) {
                Ok(records) => records,
                Err(Unread { error, behind: None, .. }) => return Err(error),
                Err(Unread { error, behind: Some(behind), most }) => {
                    let last = behind.min(end).get() - 1;
                    let moved = moved.runs.within(next.get(), last);
                    let moved: u64 = moved.map(|(from, to, ())| (to - from + 1) as u64).sum();
                    let letters = behind.min(end).since(next).min(most).saturating_sub(moved);
                    done.strand_all(letters, || {
                        let (topic, id) = (self.partition.topic_name(), self.partition.id());
                        error.at_partition(topic, id).to_string()
                    });
                    (next, cursor) = (behind, None);
                    continue;
                }
            };
            let left = self.redrive.max_records - done.records;
            self.send_back(&records, &moved, (filter, left), done)?;
        }
        Ok(())
    }

    /// What was sent back so far, as far as the log still has it.
    fn moved(&self, turn: &mut Turn) -> Result<Moved> {
        let from = self.from();
        self.letters.settle(turn, &from)?;
        let mut moved = self.letters.moved(&from).unwrap_or_default();
        moved.runs.clear_below(self.partition.offsets()?.start.get());
        if let (Some(epoch), Some(last)) = (moved.epoch, moved.runs.last())
            && let Err(error) = self.partition.check_epoch(OPERATION, Offset::new(last + 1), epoch)
        {
            match error.cause() {
                // it was cut: what lies there now is something else
                Cause::LogTruncated { epoch_end, .. } => moved.runs.clear_from(epoch_end.get()),
                _ => return Err(error),
            }
        }
        Ok(moved)
    }

    /// The next records below `end`; none where there is nothing but gaps.
    fn read(
        &self,
        (next, cursor): (&mut Offset, &mut Option<Cursor>),
        end: Offset,
    ) -> Result<Records, Unread> {
        let isolation = IsolationLevel::ReadCommitted;
        let limits =
            FetchLimits { bytes: MOST_BYTES, records: MOST as u64, durable_only: false, isolation };
        let plain = self.letters.engine.plain_limit();
        let rules = TakeRules { max_records: MOST, until: Some(end), plain };
        let fetched = match self.partition.fetch(*next, cursor.as_ref(), limits) {
            Err(error) if error.is_corrupt() => {
                let behind = self.partition.resume_above(*next)?.max(next.next());
                return Err(Unread { error, behind: Some(behind), most: u64::MAX });
            }
            fetched => fetched?,
        };
        let mut records = Records::default();
        let Some(batches) = fetched.batches() else {
            *next = if fetched.next_offset > *next { fetched.next_offset } else { end };
            return Ok(records);
        };
        let (topic, id) = (self.partition.topic_name(), self.partition.id());
        let origin = RecordsOrigin::of(topic, id, self.letters.engine.pinned());
        let taken = records.take_in(&origin, batches.clone(), *next, rules);
        if let Some((at, fault)) = taken.fault
            && taken.records == 0
        {
            *next = taken.next_offset.max(*next);
            let error = Error::new(OPERATION, fault.cause()).at_offset(*next);
            let header = batches.header_at(at);
            let behind = header.map(|header| header.end_offset().max(next.next()));
            let most = header.map_or(0, |header| u64::from(header.count()));
            return Err(Unread { error, behind, most });
        }
        *next = if taken.next_offset > *next { taken.next_offset } else { end };
        *cursor = fetched.cursor.filter(|_| fetched.next_offset == *next);
        Ok(records)
    }

    fn send_back(
        &self,
        records: &Records,
        moved: &Moved,
        (filter, left): (&mut dyn FnMut(RecordView<'_>) -> bool, u64),
        done: &mut Redriven,
    ) -> Result<()> {
        let letters: Vec<(RecordView<'_>, Option<DeadLetter<'_>>, String)> = records
            .iter()
            .filter(|record| moved.runs.get(record.offset().get()).is_none())
            .map(|record| (record, DeadLetter::of(record)))
            .map(|(record, letter)| {
                let count = letter.as_ref().map_or(0, |letter| letter.redriven);
                (record, letter, count.saturating_add(1).to_string())
            })
            .collect();
        let most = done.records + left;
        let mut letters = letters.iter();
        // again where some of what was chosen stays after all: others go in its place
        while done.records < most && letters.len() > 0 {
            let left = most - done.records;
            let mut chosen: Vec<Chosen<'_>> = Vec::new();
            while (chosen.len() as u64) < left
                && let Some((record, letter, count)) = letters.next()
            {
                if !filter(*record) {
                    done.passed_over += 1;
                    continue;
                }
                match self.target(letter.as_ref()) {
                    Ok(to) => chosen.push(Chosen {
                        offset: record.offset().get(),
                        record: sent_back(*record, letter.as_ref(), count),
                        to,
                    }),
                    Err(why) => done.strand(|| why),
                }
            }
            match self.redrive.dry_run {
                true => done.records += chosen.len() as u64,
                false => self.publish(chosen, records, done)?,
            }
        }
        Ok(())
    }

    /// Where a letter goes, or why it stays.
    fn target(&self, letter: Option<&DeadLetter<'_>>) -> Result<Arc<Partition>, String> {
        let wanted = letter.and_then(|letter| letter.partition);
        if let Some(topic) = self.to {
            let partitions = topic.partitions();
            let number = wanted.map_or(0, PartitionId::index) % partitions.len().max(1);
            return partitions.get(number).cloned().ok_or_else(|| "it has no partition".into());
        }
        let Some(letter) = letter else {
            return Err("the record does not say where it comes from".to_owned());
        };
        let name = letter.topic;
        let engine = &self.letters.engine;
        let topic = match engine.topic(name) {
            Ok(topic) if letter.topic_id.is_some_and(|id| id != topic.id()) => {
                return Err(format!("topic `{name}` was deleted and made again"));
            }
            Ok(topic) if topic.is_internal() => return Err(format!("`{name}` is internal")),
            Ok(topic) => topic,
            Err(error) => return Err(error.to_string()),
        };
        topic.partition(wanted.unwrap_or_default()).map_err(|error| error.to_string())
    }

    /// Publishes what was chosen, but what its topic never takes: in one commit, if there is room.
    fn publish(
        &self,
        mut chosen: Vec<Chosen<'_>>,
        records: &Records,
        done: &mut Redriven,
    ) -> Result<()> {
        let from = self.from();
        let epoch = records.iter().last().and_then(|record| record.leader_epoch());
        for _ in 0..ATTEMPTS {
            let mut turn = self.letters.turn();
            let mut moved = self.moved(&mut turn)?;
            // by another one meanwhile
            chosen.retain(|one| moved.runs.get(one.offset).is_none());
            if chosen.is_empty() {
                return Ok(());
            }
            chosen.iter().for_each(|one| moved.runs.set(one.offset, one.offset, ()));
            moved.epoch = epoch.max(moved.epoch);
            if moved.runs.len() > MOST_RUNS {
                let text = "too many letters were passed over: redrive without a filter, or \
                            delete the old ones";
                return Err(Error::new(OPERATION, Cause::InvalidArgument(text.to_owned())));
            }
            let failed = match self.letters.publish(&mut turn, parts_of(&chosen), (&from, moved)) {
                Ok(()) => {
                    done.records += chosen.len() as u64;
                    return Ok(());
                }
                Err(failed) => failed,
            };
            drop(turn);
            let is_full = failed.error.is_full() && failed.error.outcome() == Outcome::NotWritten;
            if is_full && chosen.len() > 1 {
                // there may be room for some of them, and never for all
                let behind = chosen.split_off(chosen.len() / 2);
                self.publish(chosen, records, done)?;
                return self.publish(behind, records, done);
            }
            let is_of_records = failed.part.is_some() && is_of_records(failed.error.kind());
            if !is_of_records || self.strand(&mut chosen, done) == 0 {
                return Err(failed.error);
            }
        }
        let text = "the topics' settings change all the time".to_owned();
        let error = Error::new(OPERATION, Cause::InvalidArgument(text));
        Err(error.with_outcome(Outcome::NotWritten))
    }

    /// Takes out what its partition never takes; returns how many those are.
    fn strand(&self, chosen: &mut Vec<Chosen<'_>>, done: &mut Redriven) -> usize {
        let now = self.letters.engine.clock().wall();
        let before = chosen.len();
        chosen.retain(|one| match check_record(&one.to, &one.record, now) {
            Err(error) if is_of_records(error.kind()) => {
                done.strand(|| error.to_string());
                false
            }
            _ => true,
        });
        before - chosen.len()
    }
}

/// What goes where, in order.
fn parts_of<'a>(chosen: &[Chosen<'a>]) -> Vec<Part<'a>> {
    let mut parts: Vec<Part<'a>> = Vec::new();
    let mut numbers = BTreeMap::new();
    for one in chosen {
        let place = (one.to.topic_id(), one.to.id());
        let number = *numbers.entry(place).or_insert_with(|| {
            parts.push(Part { partition: one.to.clone(), records: Vec::new() });
            parts.len() - 1
        });
        parts[number].records.push(one.record.clone());
    }
    parts
}
