//! The records of `__share_group_state` in Kafka's bytes.
//!
//! Key 0 is a snapshot of one group in one partition, key 1 an update of it; values have version 0
//! in the layout of Kafka 4.1 and newer, which is flexible: what Kafka has no place for stands in
//! tagged fields, which Kafka's readers step over: of a range when its records are due and after
//! what delay (`DUE`), or why they are to become dead letters (`OWED`); of the whole what went wrong
//! with those (`TEXTS`). For Kafka such records are available, with their delivery count. A null value is a tombstone and never comes here.
//!
//! An update here names all that differs from the snapshot of its number; Kafka's name what is new.
//! Laid over one another in the order of the log both come to the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::deliveries::Finished;
use super::saved::{SavedRun, SavedState};
use crate::dead_letters::Death;
use crate::error::Result;
use crate::ids::{LeaderEpoch, PartitionId, TopicId};
use crate::state_log::runs::Runs;
use crate::state_log::wire::{Input, SchemaFault, put_string, put_varint};
use crate::time::{Timestamp, millis};

const SNAPSHOT: i16 = 0;
const UPDATE: i16 = 1;
const VALUE: i16 = 0;

/// The tag of a range's due time: the wall in milliseconds, and the delay that was asked for.
const DUE: u32 = 100;

/// The tag of a range to become dead letters: why, in one byte.
const OWED: u32 = 101;

/// The tag of a value: offset, length in two bytes and text, of each record something is said of.
const TEXTS: u32 = 102;

const AVAILABLE: i8 = 0;
const ACKNOWLEDGED: i8 = 2;
const ARCHIVED: i8 = 4;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ShareKey<'a> {
    pub(super) part: Part,
    pub(super) group: &'a str,
    pub(super) topic: TopicId,
    pub(super) partition: PartitionId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Snapshot,
    Update,
}

impl<'a> ShareKey<'a> {
    /// `None` for a version that is not known: kept as it is.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Option<Self>, SchemaFault> {
        let mut input = Input(bytes);
        let part = match input.i16("key version")? {
            SNAPSHOT => Part::Snapshot,
            UPDATE => Part::Update,
            _ => return Ok(None),
        };
        let group = input.string("group")?;
        let id: [u8; 16] = input
            .take("topic id", 16)?
            .try_into()
            .map_err(|_| SchemaFault::Length { field: "topic id", length: 16 })?;
        let topic =
            TopicId::from_bytes(id).ok_or(SchemaFault::Number { field: "topic id", number: 0 })?;
        let partition = input.partition()?;
        input.end()?;
        Ok(Some(ShareKey { part, group, topic, partition }))
    }

    /// Fails for a name longer than the format holds.
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(24 + self.group.len());
        let version = match self.part {
            Part::Snapshot => SNAPSHOT,
            Part::Update => UPDATE,
        };
        bytes.extend_from_slice(&version.to_be_bytes());
        put_string(&mut bytes, "group name", self.group)?;
        bytes.extend_from_slice(self.topic.as_bytes());
        bytes.extend_from_slice(&self.partition.get().to_be_bytes());
        Ok(bytes)
    }
}

/// A value, with the number of its snapshot.
pub(super) fn parse_value(bytes: &[u8], part: Part) -> Result<(i32, SavedState), SchemaFault> {
    let mut input = Input(bytes);
    let version = input.i16("version")?;
    if version != VALUE {
        return Err(SchemaFault::Version { what: "share group state", version });
    }
    let snapshot = input.i32("snapshot epoch")?;
    if part == Part::Snapshot {
        input.i32("state epoch")?;
    }
    let epoch = LeaderEpoch::from_wire(input.i32("leader epoch")?);
    let start = input.i64("start offset")?;
    if part == Part::Snapshot {
        input.i64("create timestamp")?;
        input.i64("write timestamp")?;
    }
    let mut runs = Runs::default();
    for _ in 0..input.compact_count("state batches")?.unwrap_or(0) {
        let (first, last, run) = parse_run(&mut input)?;
        runs.set(first, last, run);
    }
    let mut texts = BTreeMap::new();
    input.tagged_fields(|tag, bytes| {
        let mut field = Input(if tag == TEXTS { bytes } else { &[] });
        while !field.0.is_empty() {
            let offset = field.i64("offset of a text")?;
            if matches!(runs.get(offset), Some(SavedRun::Owed { .. })) {
                texts.insert(offset, Arc::from(field.string("text")?));
            } else {
                field.string("text")?;
            }
        }
        Ok(())
    })?;
    input.end()?;
    // -1: an update that leaves it as it is
    let start = start.max(0);
    Ok((snapshot, SavedState { start, epoch, runs, texts }))
}

fn parse_run(input: &mut Input<'_>) -> Result<(i64, i64, SavedRun), SchemaFault> {
    let first = input.i64("first offset")?;
    let last = input.i64("last offset")?;
    if first < 0 || last < first || last == i64::MAX {
        return Err(SchemaFault::Number { field: "last offset", number: last });
    }
    let state = input.i8("delivery state")?;
    let count = input.i16("delivery count")?;
    let count = u16::try_from(count)
        .map_err(|_| SchemaFault::Number { field: "delivery count", number: count.into() })?;
    let (mut due, mut death) = (None, None);
    input.tagged_fields(|tag, bytes| {
        if tag == DUE {
            let mut field = Input(bytes);
            let wall = Timestamp::from_millis(field.i64("due time")?);
            let delay = field.i64("delay")?;
            let delay = u64::try_from(delay)
                .map_err(|_| SchemaFault::Number { field: "delay", number: delay })?;
            due = Some((wall, Duration::from_millis(delay)));
        } else if tag == OWED {
            death = Some(Death::of_number(Input(bytes).i8("why it is owed")?));
        }
        Ok(())
    })?;
    let run = match state {
        AVAILABLE => match death {
            Some(death) => SavedRun::Owed { count, death },
            None => SavedRun::Open { count, due },
        },
        ACKNOWLEDGED => SavedRun::Done(Finished::Acknowledged),
        ARCHIVED => SavedRun::Done(Finished::Archived),
        _ => return Err(SchemaFault::Number { field: "delivery state", number: state.into() }),
    };
    Ok((first, last, run))
}

/// Encodes a value; `written` is when, `snapshot` the number of the snapshot it is or follows.
pub(super) fn encode_value(
    state: &SavedState,
    part: Part,
    snapshot: i32,
    written: Timestamp,
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(48 + state.runs.len() * 20);
    bytes.extend_from_slice(&VALUE.to_be_bytes());
    bytes.extend_from_slice(&snapshot.to_be_bytes());
    if part == Part::Snapshot {
        bytes.extend_from_slice(&0i32.to_be_bytes()); // one state epoch: nobody shares the lead
    }
    let epoch = state.epoch.map_or(-1, LeaderEpoch::get);
    bytes.extend_from_slice(&epoch.to_be_bytes());
    bytes.extend_from_slice(&state.start.to_be_bytes());
    if part == Part::Snapshot {
        bytes.extend_from_slice(&written.as_millis().to_be_bytes());
        bytes.extend_from_slice(&written.as_millis().to_be_bytes());
    }
    // a state has fewer ranges than its topic's largest batch has bytes
    put_varint(&mut bytes, u32::try_from(state.runs.len() + 1).unwrap_or(u32::MAX));
    for (first, last, run) in state.runs.iter() {
        bytes.extend_from_slice(&first.to_be_bytes());
        bytes.extend_from_slice(&last.to_be_bytes());
        let (id, count, due, death) = match run {
            SavedRun::Open { count, due } => (AVAILABLE, count, due, None),
            SavedRun::Owed { count, death } => (AVAILABLE, count, None, Some(death)),
            SavedRun::Done(Finished::Acknowledged) => (ACKNOWLEDGED, 1, None, None),
            SavedRun::Done(Finished::Archived) => (ARCHIVED, 1, None, None),
        };
        bytes.extend_from_slice(&id.to_be_bytes());
        bytes.extend_from_slice(&i16::try_from(count).unwrap_or(i16::MAX).to_be_bytes());
        bytes.push(u8::from(due.is_some() || death.is_some())); // never both
        if let Some((wall, delay)) = due {
            put_varint(&mut bytes, DUE);
            bytes.push(16);
            bytes.extend_from_slice(&wall.as_millis().to_be_bytes());
            bytes.extend_from_slice(&millis(delay).to_be_bytes());
        }
        if let Some(death) = death {
            put_varint(&mut bytes, OWED);
            bytes.push(1);
            bytes.extend_from_slice(&death.number().to_be_bytes());
        }
    }
    put_texts(&mut bytes, state);
    bytes
}

/// The tagged fields of the whole.
fn put_texts(bytes: &mut Vec<u8>, state: &SavedState) {
    if state.texts.is_empty() {
        bytes.push(0);
        return;
    }
    let mut field = Vec::new();
    for (offset, text) in &state.texts {
        field.extend_from_slice(&offset.to_be_bytes());
        // it was cut to far less
        field.extend_from_slice(&u16::try_from(text.len()).unwrap_or(0).to_be_bytes());
        field.extend_from_slice(text.as_bytes());
    }
    bytes.push(1);
    put_varint(bytes, TEXTS);
    put_varint(bytes, u32::try_from(field.len()).unwrap_or(u32::MAX)); // a bounded number of them
    bytes.extend_from_slice(&field);
}

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz {
    //! Keys and values from foreign bytes: what is read is written back as it was.

    use super::*;

    /// The first byte chooses; the rest is a key or a value.
    pub(crate) fn schema(bytes: &[u8]) {
        let Some((kind, bytes)) = bytes.split_first() else { return };
        let part = if kind & 2 == 0 { Part::Snapshot } else { Part::Update };
        if kind & 1 == 0 {
            if let Ok(Some(key)) = ShareKey::parse(bytes) {
                assert_eq!(key.encode().expect("it was a key"), bytes);
            }
            return;
        }
        let Ok((snapshot, state)) = parse_value(bytes, part) else { return };
        let again = encode_value(&state, part, snapshot, Timestamp::from_millis(1));
        assert_eq!(parse_value(&again, part), Ok((snapshot, state)));
    }

    /// Inputs of `schema`: what is written here.
    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        let mut runs = Runs::default();
        runs.set(5, 9, SavedRun::Done(Finished::Acknowledged));
        runs.set(10, 10, SavedRun::Done(Finished::Archived));
        let due = Some((Timestamp::from_millis(1_000), Duration::from_millis(10)));
        runs.set(11, 11, SavedRun::Open { count: 3, due });
        runs.set(12, 40, SavedRun::Open { count: 1, due: None });
        runs.set(41, 43, SavedRun::Owed { count: 5, death: Death::Attempts });
        runs.set(44, 44, SavedRun::Owed { count: 1, death: Death::Rejected });
        let texts = BTreeMap::from([(42, Arc::from("no route")), (44, Arc::from("bad"))]);
        let state = SavedState { start: 5, epoch: LeaderEpoch::from_wire(2), runs, texts };
        let mut all = Vec::new();
        for (kind, part) in [(0, Part::Snapshot), (2, Part::Update)] {
            let topic = TopicId::from_bytes([7; 16]).expect("not nil");
            let key = ShareKey { part, group: "g", topic, partition: PartitionId::new(3) };
            let key = key.encode().expect("short");
            all.push([&[kind], &key[..]].concat());
            let value = encode_value(&state, part, 4, Timestamp::from_millis(9));
            all.push([&[kind | 1], &value[..]].concat());
        }
        all
    }
}
