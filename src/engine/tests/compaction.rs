//! Compaction of a log of state against a reference: random operations, every stop and every
//! failing call, on the simulated disk.
//!
//! The reference is the history of all that was appended. Whatever happens, what is read is a part
//! of it, its fold is the fold of the whole, and the newest value of each key is there; a stop
//! takes at most an end of it that was promised less.

mod stops;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use self::stops::{Stop, Tally};
use super::super::{Engine, EngineOptions, NewTopic, Partition};
use super::crash::{cuts, disk};
use super::options;
use crate::compact::{Pass, Progress, Settings};
use crate::config::Durability::{self, Power, Process};
use crate::config::{IsolationLevel, TopicConfig};
use crate::disk::{Crash, Disk, Fault, Plan, SimDisk};
use crate::error::{Outcome, Result};
use crate::ids::{Offset, PartitionId};
use crate::log::{Cursor, Durable, FetchLimits};
use crate::record::{Batch, BorrowedBatch, Record};
use crate::seeds::{pick, seeds};
use crate::time::{Clock as _, ManualClock, Timestamp};

const ROOT: &str = "/store";
const DIR: &str = "/store/__state-0";
const TOPIC: &str = "__state";

/// One thing a scenario does.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A batch of that many values, of keys that begin at the first.
    Put(u8, u8, Durability),
    Delete(u8, Durability),
    /// A whole pass with room for so many keys.
    Compact(usize),
    /// A pass that is given up after so many steps.
    Begin(u32),
    /// A pass with an append after each step.
    Beside(u8),
    Day,
    Flush,
    Close,
}

use Step::{Begin, Beside, Close, Compact, Day, Delete, Flush, Put};

const MANY: usize = 100;

const SCENARIO: &[Step] = &[
    Put(0, 3, Process),
    Put(0, 3, Process),
    Put(2, 3, Power),
    Delete(1, Process),
    Put(0, 2, Process),
    Put(0, 2, Process),
    Compact(MANY),
    Put(0, 3, Process),
    Delete(3, Process),
    Put(2, 1, Process),
    Put(2, 1, Process),
    Put(2, 1, Process),
    Compact(MANY),
    Day,
    Day,
    Put(0, 1, Power),
    Compact(MANY),
    Put(4, 3, Process),
];

type Value = Option<String>;

/// An engine with one log of state, and all that was appended to it.
struct Keyed {
    disk: SimDisk,
    clock: ManualClock,
    engine: Option<Arc<Engine>>,
    /// Key and value by offset: what is in the log, or was and is superseded.
    history: BTreeMap<i64, (u8, Value)>,
    /// What may be in the log: a call that failed without saying so.
    maybe: BTreeMap<i64, (u8, Value)>,
    /// Below it a power cut takes nothing; below the second the end of the process does not.
    durable: i64,
    acknowledged: i64,
    number: u32,
    /// How far the keys are mapped by passes since the open.
    mapped: Offset,
    /// What opens found lying about.
    leftovers: HashSet<&'static str>,
    passes: u32,
}

type Found = Vec<(i64, u8, Value)>;

fn fold<'a>(records: impl Iterator<Item = (&'a u8, &'a Value)>) -> BTreeMap<u8, String> {
    let mut state = BTreeMap::new();
    for (key, value) in records {
        match value {
            Some(value) => drop(state.insert(*key, value.clone())),
            None => drop(state.remove(key)),
        }
    }
    state
}

impl Keyed {
    fn new(disk: SimDisk) -> Self {
        Keyed {
            disk,
            clock: ManualClock::new(Timestamp::from_millis(1_700_000_000_000)),
            engine: None,
            history: BTreeMap::new(),
            maybe: BTreeMap::new(),
            durable: 0,
            acknowledged: 0,
            number: 0,
            mapped: Offset::ZERO,
            leftovers: HashSet::new(),
            passes: 0,
        }
    }

    fn open(&mut self) -> Result<()> {
        self.engine = None;
        for entry in self.disk.list(Path::new(DIR)).unwrap_or_default() {
            let suffixes = [".deleted", ".cleaned", ".swap"];
            self.leftovers.extend(suffixes.iter().filter(|suffix| entry.name.ends_with(**suffix)));
        }
        let disk = Arc::new(self.disk.clone());
        let options = EngineOptions { clock: Arc::new(self.clock.clone()), ..options(disk) };
        let engine = Engine::open(options, Path::new(ROOT))?;
        self.mapped = Offset::ZERO;
        if engine.topic(TOPIC).is_err() {
            let config = TopicConfig::new().segment_bytes(1024).index_interval_bytes(0);
            let new = [NewTopic { name: TOPIC, config, internal: true }];
            engine.create_topics(&new)?;
        }
        self.engine = Some(engine);
        Ok(())
    }

    fn engine(&self) -> Arc<Engine> {
        self.engine.clone().expect("open")
    }

    fn partition(&self) -> Result<Arc<Partition>> {
        self.engine().topic(TOPIC)?.partition(PartitionId::new(0))
    }

    fn step(&mut self, step: Step) -> Result<()> {
        match step {
            Put(first, count, durability) => {
                let changes: Vec<_> = (first..first + count).map(|key| (key, true)).collect();
                self.append(&changes, durability)
            }
            Delete(key, durability) => self.append(&[(key, false)], durability),
            Compact(most_keys) => self.compact(most_keys, u32::MAX, None),
            Begin(steps) => self.compact(MANY, steps, None),
            Beside(key) => self.compact(MANY, u32::MAX, Some(key)),
            Day => {
                self.clock.advance(Duration::from_secs(13 * 3600));
                Ok(())
            }
            Flush => {
                self.engine().flush()?;
                self.promise(self.acknowledged);
                Ok(())
            }
            Close => {
                self.engine().close()?;
                self.engine = None;
                self.promise(self.acknowledged);
                Ok(())
            }
        }
    }

    fn promise(&mut self, end: i64) {
        if !self.disk.is_cut() {
            self.durable = self.durable.max(end);
        }
    }

    fn append(&mut self, changes: &[(u8, bool)], durability: Durability) -> Result<()> {
        let partition = self.partition()?;
        let now = self.clock.wall();
        let changes: Vec<(u8, Value)> = changes
            .iter()
            .map(|(key, is_value)| {
                self.number += 1;
                (*key, is_value.then(|| format!("{:-<60}", format!("{key}#{}", self.number))))
            })
            .collect();
        let keys: Vec<String> = changes.iter().map(|(key, _)| format!("key {key}")).collect();
        let records: Vec<_> = changes
            .iter()
            .zip(&keys)
            .map(|((_, value), key)| {
                value.as_deref().map_or(Record::tombstone(), Record::new).key(key)
            })
            .collect();
        let batch = BorrowedBatch::measure(&records, &partition.batch_rules(now)?)?;
        let base = partition.offsets()?.end.get();
        let appended = partition.append(&batch, now, durability);
        let outcome = appended.as_ref().map_or_else(|error| Some(error.outcome()), |_| None);
        let placed = (base..).zip(changes);
        match outcome {
            None | Some(Outcome::WrittenNotDurable) => self.history.extend(placed),
            Some(Outcome::NotWritten) if !self.disk.is_cut() => {}
            Some(_) => self.maybe.extend(placed),
        }
        let end = appended?.end_offset.get();
        if !self.disk.is_cut() {
            self.acknowledged = end;
        }
        if durability == Power {
            self.promise(end);
        }
        Ok(())
    }

    /// Seals and compacts, in small steps.
    fn compact(&mut self, most_keys: usize, steps: u32, beside: Option<u8>) -> Result<()> {
        let (engine, partition) = (self.engine(), self.partition()?);
        let log = partition.log()?;
        log.roll_active(self.clock.wall())?;
        let partitions = std::slice::from_ref(&partition);
        if let Some(error) = engine.checkpoint(partitions, Durable::Later) {
            return Err(error);
        }
        let settings = Settings { most_keys, step_bytes: 250, ..Settings::at(self.clock.wall()) };
        let Some(mut pass) = Pass::begin(log, self.mapped, settings)? else { return Ok(()) };
        for _ in 0..steps {
            match pass.step(log, engine.keeper()?)? {
                Progress::More => {}
                Progress::Done(done) => {
                    self.mapped = done.next_from;
                    self.passes += 1;
                    return Ok(());
                }
            }
            if let Some(key) = beside
                && let Err(error) = self.append(&[(key, true)], Process)
            {
                pass.abandon();
                return Err(error);
            }
        }
        pass.abandon();
        Ok(())
    }

    /// All records, read in small pieces.
    fn read(&self) -> Result<Found> {
        let partition = self.partition()?;
        let limits = FetchLimits {
            bytes: 500,
            records: u64::MAX,
            durable_only: false,
            isolation: IsolationLevel::ReadUncommitted,
        };
        let mut from = partition.offsets()?.start;
        let mut cursor: Option<Cursor> = None;
        let mut found = Vec::new();
        loop {
            let fetched = partition.fetch(from, cursor.as_ref(), limits)?;
            let Some(chunk) = &fetched.chunk else { return Ok(found) };
            found.extend(records_of(&chunk.bytes));
            (from, cursor) = (fetched.next_offset, fetched.cursor);
        }
    }

    /// What is wrong with the log as it is open now, seen from the history up to its end.
    fn check(&self) -> std::result::Result<(), String> {
        let found = self.read().map_err(|error| error.to_string())?;
        let end = self.partition().and_then(|one| one.offsets()).map_err(|e| e.to_string())?.end;
        let mut wanted = 0;
        for (offset, key, value) in &found {
            if *offset < wanted {
                return Err(format!("offset {offset} comes again"));
            }
            wanted = offset + 1;
            if self.history.get(offset) != Some(&(*key, value.clone())) {
                return Err(format!("a phantom at {offset}: {key} {value:?}"));
            }
        }
        let history = || self.history.range(..end.get());
        let state = fold(history().map(|(_, (key, value))| (key, value)));
        let read = fold(found.iter().map(|(_, key, value)| (key, value)));
        if state != read {
            return Err(format!("the state is {read:?}, not {state:?}"));
        }
        let newest: BTreeMap<u8, i64> = history().map(|(at, (key, _))| (*key, *at)).collect();
        for (key, offset) in newest.iter().filter(|(key, _)| state.contains_key(key)) {
            if !found.iter().any(|(at, ..)| at == offset) {
                return Err(format!("the newest value of {key}, at {offset}, is gone"));
            }
        }
        Ok(())
    }

    /// After a stop: what was promised is there, and what there is, is the history from now on.
    /// Returns how many records went that were promised less.
    fn take_stock(&mut self, promised: i64, context: &str) -> u64 {
        let end = self.partition().and_then(|one| one.offsets()).unwrap().end.get();
        assert!(end >= promised, "{context}: the end is {end}, {promised} was promised");
        let maybe = std::mem::take(&mut self.maybe);
        for (offset, change) in maybe.into_iter().filter(|(offset, _)| *offset < end) {
            self.history.entry(offset).or_insert(change);
        }
        let gone = self.history.split_off(&end).into_keys();
        let gone = gone.filter(|offset| *offset < self.acknowledged).count() as u64;
        (self.acknowledged, self.durable) = (end, self.durable.min(end));
        self.check().unwrap_or_else(|error| panic!("{context}: {error}"));
        gone
    }
}

fn records_of(mut left: &[u8]) -> Found {
    let mut found = Vec::new();
    while !left.is_empty() {
        let batch = Batch::verify(left).unwrap();
        left = &left[batch.header().size()..];
        for record in batch.records().unwrap() {
            let record = record.unwrap();
            let key = std::str::from_utf8(record.key().unwrap()).unwrap();
            let value = record.value().map(|value| String::from_utf8(value.to_vec()).unwrap());
            let key = key.strip_prefix("key ").unwrap().parse().unwrap();
            found.push((record.offset().get(), key, value));
        }
    }
    found
}

/// Runs steps until they end or the power goes.
fn run(keyed: &mut Keyed, steps: &[Step]) {
    let mut steps = steps.iter();
    let mut done = keyed.open();
    while done.is_ok()
        && let Some(step) = steps.next()
    {
        done = keyed.step(*step);
    }
    if let Err(error) = done {
        assert!(keyed.disk.is_cut(), "only the cut fails: {error}");
    }
    keyed.engine = None;
}

fn operations(steps: &[Step], seed: u64) -> (u64, u32) {
    let mut keyed = Keyed::new(disk(seed));
    run(&mut keyed, steps);
    (keyed.disk.operations(), keyed.passes)
}

/// Numbers from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn step(&mut self) -> Step {
        let key = self.below(8).to_le_bytes()[0];
        let durability = if self.below(4) == 0 { Power } else { Process };
        match self.below(24) {
            0..11 => Put(key, 1 + self.below(4).to_le_bytes()[0], durability),
            11..15 => Delete(key, durability),
            15..18 => Compact([1, 3, MANY][usize::try_from(self.below(3)).unwrap()]),
            18 => Begin(u32::try_from(self.below(20)).unwrap()),
            19 => Beside(key),
            20 | 21 => Day,
            22 => Flush,
            _ => Close,
        }
    }
}

#[test]
fn random_histories_keep_their_state() {
    let (mut tally, since) = (Tally::default(), std::time::Instant::now());
    let mut passes = 0;
    for seed in seeds(40, 150, 100_000) {
        let mut dice = Dice(seed);
        let mut keyed = Keyed::new(disk(seed));
        keyed.open().unwrap();
        for number in 0..80 {
            let step = dice.step();
            let context = format!(
                "seed {seed}, step {number} {step:?}; repeat with TIDELOG_SEED={seed} \
                 cargo test --features sim --lib random_histories_keep_their_state"
            );
            keyed.step(step).unwrap_or_else(|error| panic!("{context}: {error}"));
            if keyed.engine.is_none() {
                keyed.open().unwrap_or_else(|error| panic!("{context}: {error}"));
            }
            if dice.below(12) == 0 {
                let crash = [Crash::Nothing, Crash::Everything, Crash::Random(dice.below(1 << 30))];
                let stops = crash.map(Stop::Cut).into_iter().chain([Stop::Kill]);
                let stop = stops.collect::<Vec<_>>()[usize::try_from(dice.below(4)).unwrap()];
                let promised = keyed.stop(stop);
                keyed.open().unwrap_or_else(|error| panic!("{context}, {stop:?}: {error}"));
                tally.gone += keyed.take_stock(promised, &format!("{context}, {stop:?}"));
            }
            keyed.check().unwrap_or_else(|error| panic!("{context}: {error}"));
            tally.states += 1;
            tally.distinct.insert(keyed.disk.image_hash());
        }
        passes += keyed.passes;
    }
    tally.print("compaction_model", since);
    assert!(passes > 0 && tally.gone > 0, "the controls: {passes} passes, {} gone", tally.gone);
}

#[test]
fn a_lost_value_is_noticed() {
    // the control of the checks themselves: each kind of loss is an error
    let mut keyed = Keyed::new(disk(0));
    keyed.open().unwrap();
    for step in &SCENARIO[..7] {
        keyed.step(*step).unwrap();
    }
    assert_eq!(keyed.check(), Ok(()));
    keyed.step(Put(7, 1, Power)).unwrap();
    let newest = *keyed.history.keys().next_back().unwrap();
    let history = keyed.history.clone();
    let superseded = (0..newest).find(|at| keyed.read().unwrap().iter().all(|one| one.0 != *at));
    keyed.history.insert(superseded.unwrap(), (6, Some("a value that went".to_owned())));
    assert!(keyed.check().unwrap_err().contains("the state is"));
    keyed.history.clone_from(&history);
    keyed.history.remove(&newest);
    assert!(keyed.check().unwrap_err().contains("phantom"));
    keyed.history = history;
    // and one of the protocol: a segment that goes before its replacement has its name
    keyed.step(Compact(MANY)).unwrap();
    keyed.engine = None;
    let name = "00000000000000000000.log";
    keyed.disk.rename(&Path::new(DIR).join(name), &Path::new(DIR).join("x.log.swap")).unwrap();
    keyed.open().unwrap();
    assert!(keyed.check().is_err());
}

#[test]
fn what_no_recovery_point_covers_is_left_alone() {
    let engine = Engine::open(options(Arc::new(disk(0))), Path::new(ROOT)).unwrap();
    let topic = super::create(&engine, "state", TopicConfig::new().segment_bytes(1024));
    let partition = topic.partitions()[0].clone();
    for _ in 0..12 {
        super::append(&partition, &"x".repeat(300), Process).unwrap();
    }
    let log = partition.log().unwrap();
    assert!(log.size().1 > 2);
    let begin = || Pass::begin(log, Offset::ZERO, Settings::at(engine.clock().wall())).unwrap();
    assert!(begin().is_none(), "nothing is synced");
    engine.flush().unwrap();
    assert!(begin().is_some());
}
