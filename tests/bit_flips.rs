//! Every bit of every file of a store, flipped; blocks zeroed, swapped, taken from elsewhere or
//! from an earlier life of the file. Each time the store is opened and read through: what comes
//! back is what was written, or a typed error with its place; and damage stays where it is.
//!
//! The small budget takes a sample, `ci` all bits of stores of a few KiB (closed, killed, with a
//! group, with a journal), `deep` all of one of about 64 KiB. A failure names its state:
//! `TIDELOG_FLIP='...'` runs that one alone; `TIDELOG_SEED=A..B` runs the states of these numbers,
//! for long runs in portions. The control is the same store without its digests, where a changed
//! epoch passes.

mod common;
#[path = "bit_flips/lengths.rs"]
mod lengths;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use common::budget::{Budget, seeds};
use tidelog::disk::{Access, Disk, MemoryDisk};
use tidelog::{
    Durability, Error, ErrorKind, Journal, LeaderEpoch, ManualClock, Offset, Record, Result, Store,
    StoreBuilder, Threads, Timestamp, TopicConfig,
};

const ROOT: &str = "/store";
const PARTITIONS: u32 = 2;

type Files = BTreeMap<PathBuf, Vec<u8>>;
/// What was written, by partition and offset: epoch and value.
type Truth = BTreeMap<(u32, i64), (Option<LeaderEpoch>, Vec<u8>)>;

fn builder(disk: &Arc<MemoryDisk>) -> StoreBuilder {
    let clock = ManualClock::new(Timestamp::from_millis(1_700_000_000_000));
    Store::builder(ROOT).disk(disk.clone()).clock(clock).threads(Threads::Host)
}

fn open(disk: &Arc<MemoryDisk>) -> Result<Store> {
    builder(disk).open()
}

/// How a store came to rest, and what is in it besides records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// Closed.
    Closed,
    /// Killed in its third life.
    Killed,
    /// Closed, with a group that has committed: fifty partitions of offsets, and what is recorded
    /// of them.
    Grouped,
    /// Killed with a journal in which all of its third life lies.
    Journaled,
    /// Closed, with transactions in both partitions, committed and aborted, over several segments.
    Transactional,
}

/// A store at rest: its files, those of its topic's earlier life, and what it holds.
#[derive(Debug)]
struct Fixture {
    name: &'static str,
    files: Files,
    earlier: Files,
    truth: Truth,
    /// Below it, by partition, all is promised and has digests.
    promised: Vec<i64>,
    /// What the group has committed ever.
    committed: HashSet<i64>,
}

/// What the group has committed in each partition.
fn committed(store: &Store) -> Result<Vec<(u32, i64)>> {
    let found = store.committed("g")?;
    Ok(found.iter().map(|(_, partition, at)| (partition.get(), at.offset().get())).collect())
}

fn fill(store: &Store, life: &str, sends: u32) {
    let config =
        TopicConfig::new().partitions(PARTITIONS).segment_bytes(1024).index_interval_bytes(256);
    store.ensure_topic("orders", config).unwrap();
    let orders = store.producer().build().unwrap().topic("orders").unwrap();
    for number in 0..sends {
        let value = format!("{life} {number} of {}", number % PARTITIONS);
        let (one, two) = (Record::new(&value).key("k"), Record::new(&value));
        let partition = number % PARTITIONS;
        match number % 5 {
            0 => orders.send_batch_to(partition, &[one, two]).map(drop),
            _ => orders.send_to(partition, one).map(drop),
        }
        .unwrap();
    }
}

impl Fixture {
    /// Two lives of a topic, the second opened twice.
    fn new(name: &'static str, sends: u32, rest: Rest) -> Fixture {
        let disk = Arc::new(MemoryDisk::new());
        let store = open(&disk).unwrap();
        fill(&store, "before", sends);
        store.flush().unwrap();
        let earlier = files(&disk);
        store.delete_topic("orders").unwrap();
        store.close().unwrap();
        let mut all_committed = HashSet::new();
        for life in ["first", "second"] {
            let store = open(&disk).unwrap();
            fill(&store, life, sends / 2);
            if rest == Rest::Grouped {
                commit(&store);
                all_committed.extend(committed(&store).unwrap().iter().map(|(_, at)| *at));
            }
            if rest == Rest::Transactional {
                fill_in_transactions(&store, life);
            }
            store.close().unwrap();
        }
        let journal = if rest == Rest::Journaled { Journal::Bytes(1 << 20) } else { Journal::Off };
        let store = builder(&disk).journal(journal).open().unwrap();
        let promised = (0..PARTITIONS).map(|partition| end(&store, partition)).collect();
        match rest {
            Rest::Killed => fill(&store, "unfinished", sends / 4),
            Rest::Journaled => fill_durably(&store, 3),
            Rest::Closed | Rest::Grouped | Rest::Transactional => {}
        }
        let mut truth = Truth::new();
        for partition in 0..PARTITIONS {
            let (found, lost) = read(&store, partition).unwrap();
            assert!(lost.is_empty());
            truth.extend(found);
        }
        if !matches!(rest, Rest::Killed | Rest::Journaled) {
            store.close().unwrap();
        }
        let files = files(&disk);
        let fixture = Fixture { name, files, earlier, truth, promised, committed: all_committed };
        println!("{name}: {} files, {} bytes", fixture.files.len(), fixture.bytes());
        fixture
    }

    fn bytes(&self) -> usize {
        self.files.values().map(Vec::len).sum()
    }

    /// Every offset of a partition that has a record which is shown.
    fn offsets(&self, partition: u32) -> impl Iterator<Item = i64> {
        self.truth.keys().filter(move |key| key.0 == partition).map(|(_, offset)| *offset)
    }
}

/// Two transactions of one producer over both partitions, of which the second is aborted.
fn fill_in_transactions(store: &Store, life: &str) {
    let mut producer = store.producer().transactional("t").build().unwrap();
    for is_committed in [true, false, true] {
        let open = producer.begin().unwrap();
        let orders = open.topic("orders").unwrap();
        for number in 0..3 {
            let value = format!("{life}: {number}, committed: {is_committed}");
            for partition in 0..PARTITIONS {
                orders.send_to(partition, Record::new(&value)).unwrap();
            }
        }
        if is_committed { open.commit() } else { open.abort() }.unwrap();
    }
}

fn commit(store: &Store) {
    let consumer = store.consumer("g").assign([("orders", 0)]).durability(Durability::Power);
    let mut consumer = consumer.max_records(2).build().unwrap();
    consumer.try_poll().unwrap();
    consumer.commit().unwrap();
}

/// Appends with the power word, by the journal from when the maintenance has made it.
fn fill_durably(store: &Store, sends: u32) {
    let producer = store.producer().durability(Durability::Power).build().unwrap();
    let orders = producer.topic("orders").unwrap();
    for number in 0..sends {
        let value = format!("journaled {number} of {}", number % PARTITIONS);
        orders.send_to(number % PARTITIONS, Record::new(&value)).unwrap();
        let _due = store.run_maintenance();
    }
}

fn end(store: &Store, partition: u32) -> i64 {
    let topic = store.describe("orders").unwrap();
    topic.partitions()[partition as usize].end_offset().get()
}

fn files(disk: &MemoryDisk) -> Files {
    fn walk(disk: &MemoryDisk, dir: &Path, files: &mut Files) {
        for entry in disk.list(dir).unwrap() {
            let path = dir.join(&entry.name);
            if entry.is_dir {
                walk(disk, &path, files);
            } else {
                let file = disk.open(&path, Access::Read).unwrap();
                let mut bytes = vec![0; entry.len as usize];
                let mut done = 0;
                while done < bytes.len() {
                    done += file.read_at(&mut bytes[done..], done as u64).unwrap();
                }
                files.insert(path, bytes);
            }
        }
    }
    let mut found = Files::new();
    walk(disk, Path::new(ROOT), &mut found);
    found
}

/// How many bytes there are before nothing but zeros.
fn used(bytes: &[u8]) -> usize {
    let is_zeros = |chunk: &[u8]| chunk == &[0; 4096][..chunk.len()];
    bytes.len()
        - bytes.rchunks(4096).take_while(|chunk| is_zeros(chunk)).map(<[u8]>::len).sum::<usize>()
}

fn disk_of(files: &Files) -> Arc<MemoryDisk> {
    let disk = MemoryDisk::new();
    for (path, bytes) in files {
        disk.create_dir_all(path.parent().unwrap()).unwrap();
        let file = disk.open(path, Access::Create).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
        let (mut done, end) = (0, used(bytes)); // a journal is zeros for the most part
        while done < end {
            done += file.write_at(&bytes[done..end], done as u64).unwrap();
        }
    }
    Arc::new(disk)
}

/// Reads a partition through, skipping damage; what was read, and which offsets are told lost.
fn read(store: &Store, partition: u32) -> Result<(Truth, HashSet<i64>)> {
    let mut consumer = store.reader().assign([("orders", partition)]).build()?;
    let (mut found, mut lost) = (Truth::new(), HashSet::new());
    for _ in 0..10_000 {
        match consumer.try_poll() {
            Ok(records) if records.is_empty() => return Ok((found, lost)),
            Ok(records) => {
                for record in &records {
                    let value = record.value().unwrap_or_default().to_vec();
                    let key = (partition, record.offset().get());
                    let again = found.insert(key, (record.leader_epoch(), value));
                    assert!(again.is_none(), "offset {key:?} twice");
                }
            }
            Err(error) if error.is_corrupt() => {
                assert!(error.path().is_some() && error.position().is_some(), "{error}");
                let gone = consumer.skip_damaged("orders", partition)?;
                assert!(gone.end > gone.start, "damage is passed: {gone:?}");
                lost.extend(gone.start.get()..gone.end.get());
            }
            Err(error) => return Err(error),
        }
    }
    panic!("it does not end");
}

/// One thing done to one file.
#[derive(Clone, Debug)]
enum Change {
    Bit(usize),
    /// `len` bytes at a place become what another place holds, or zeros.
    Block {
        at: usize,
        with: Vec<u8>,
        what: &'static str,
    },
}

#[derive(Clone, Debug)]
struct State<'a> {
    fixture: &'a Fixture,
    path: &'a Path,
    change: Change,
}

impl fmt::Display for State<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.fixture.name, self.path.display())?;
        match &self.change {
            Change::Bit(bit) => write!(f, "bit {bit}"),
            Change::Block { at, with, what } => write!(f, "{what} {at}+{}", with.len()),
        }
    }
}

impl State<'_> {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.fixture.files[self.path].clone();
        match &self.change {
            Change::Bit(bit) => bytes[bit / 8] ^= 1 << (bit % 8),
            Change::Block { at, with, .. } => bytes[*at..at + with.len()].copy_from_slice(with),
        }
        bytes
    }

    /// The partition whose directory the file is in.
    fn partition(&self) -> Option<u32> {
        let dir = self.path.parent()?.file_name()?.to_str()?;
        dir.strip_prefix("orders-")?.parse().ok()
    }

    fn check(&self, files: &Files) -> Result<(), String> {
        let mut files = files.clone();
        files.insert(self.path.to_owned(), self.bytes());
        let store = match open(&disk_of(&files)) {
            Ok(store) => store,
            Err(error) => return self.typed(&error, self.partition().is_none()),
        };
        for partition in 0..PARTITIONS {
            let is_own = self.partition() == Some(partition);
            let (found, lost) = match read(&store, partition) {
                Ok(read) => read,
                Err(error) => {
                    self.typed(&error, is_own || self.partition().is_none())?;
                    continue;
                }
            };
            self.compare(partition, &found, &lost)?;
            // a checkpoint of Kafka's that was changed may promise more than there ever was
            let all: HashSet<_> = self.fixture.offsets(partition).collect();
            let lost: HashSet<_> = lost.into_iter().filter(|offset| all.contains(offset)).collect();
            if !is_own && !lost.is_empty() {
                return Err(format!("partition {partition} lost {lost:?}"));
            }
            let most = match (&self.change, self.path.extension().and_then(|name| name.to_str())) {
                (Change::Bit(_), Some("log")) => 2, // the records of one batch
                (Change::Block { .. }, Some("log")) => i64::MAX,
                _ => 0,
            };
            // behind the last batch that was promised, in its segment, nothing has a name yet: no
            // index entry, no digest
            let promised = self.fixture.promised[partition as usize];
            let was_last = lost.contains(&(promised - 1));
            let due = lost.iter().filter(|offset| !was_last || **offset < promised).count();
            if due as i64 > most {
                return Err(format!("partition {partition} lost {lost:?}, {most} are due"));
            }
            if self.path.extension().is_some_and(|kind| kind == "index") && is_own {
                let store = open(&disk_of(&files)).map_err(|error| error.to_string())?;
                self.find_each(&store, partition)?;
            }
        }
        match committed(&store) {
            Ok(found) => match found.iter().find(|(_, at)| !self.fixture.committed.contains(at)) {
                Some(wrong) => Err(format!("{wrong:?} was never committed")),
                None => Ok(()),
            },
            Err(error) => self.typed(&error, self.partition().is_none()),
        }
    }

    /// What came back is what was written, and what did not is told, but for an unfinished tail.
    fn compare(&self, partition: u32, found: &Truth, lost: &HashSet<i64>) -> Result<(), String> {
        let promised = self.fixture.promised[partition as usize];
        for (key, (epoch, value)) in found {
            let (true_epoch, true_value) =
                self.fixture.truth.get(key).ok_or_else(|| format!("{key:?} was never written"))?;
            if value != true_value || (key.1 < promised && epoch != true_epoch) {
                return Err(format!("{key:?} is {epoch:?} {value:?}"));
            }
        }
        let is_there = |offset: i64| found.contains_key(&(partition, offset));
        for offset in self.fixture.offsets(partition) {
            let is_told = is_there(offset) || lost.contains(&offset);
            let is_torn = offset >= promised && (offset..).take(100).all(|later| !is_there(later));
            if !is_told && !is_torn {
                return Err(format!("offset {offset} of partition {partition} is gone unsaid"));
            }
        }
        Ok(())
    }

    /// Each record is found by its offset, whatever the index says.
    fn find_each(&self, store: &Store, partition: u32) -> Result<(), String> {
        let reader = store.reader().assign([("orders", partition)]).max_records(1);
        let mut reader = reader.build().map_err(|error| error.to_string())?;
        let promised = self.fixture.promised[partition as usize];
        for offset in self.fixture.offsets(partition).filter(|offset| *offset < promised) {
            let found = reader.seek("orders", partition, Offset::new(offset));
            let found = found.and_then(|()| reader.try_poll());
            let found = found.map_err(|error| format!("offset {offset}: {error}"))?;
            let first = found.iter().next().map(|record| record.offset().get());
            if first != Some(offset) {
                return Err(format!("{first:?} was found for offset {offset}"));
            }
        }
        Ok(())
    }

    fn typed(&self, error: &Error, expected: bool) -> Result<(), String> {
        use ErrorKind::{Corrupt, NewerVersion, NotAStore, Unsupported};
        let is_typed = matches!(error.kind(), Corrupt | NewerVersion | NotAStore | Unsupported);
        if expected && is_typed && error.path().is_some() {
            return Ok(());
        }
        Err(format!("{:?}: {error}", error.kind()))
    }
}

/// Every `stride`th bit of the files that `which` names; not of the journal's space that was never
/// used, but for its first sector, and few of the reserve's.
fn bits(fixture: &Fixture, stride: u64, which: impl Fn(&Path) -> bool) -> Vec<State<'_>> {
    let is_reserve = |path: &Path| path.ends_with("tidelog.reserve"); // space held, never read
    let chosen = fixture.files.iter().filter(|(path, _)| which(path));
    let all = chosen.flat_map(|(path, bytes)| {
        let front = bytes.chunks(1 << 19).next().unwrap_or_default(); // a half of the journal
        let last = front.iter().rposition(|byte| *byte > 0).unwrap_or(0);
        let is_journal = bytes.len() >= 1 << 20;
        let used = if is_journal { (last + 1).next_multiple_of(512) } else { bytes.len() };
        let step = if is_reserve(path) { 4093 } else { 1 };
        let of_file = (0..used * 8).step_by(step);
        of_file.map(move |bit| State { fixture, path, change: Change::Bit(bit) })
    });
    (0..).zip(all).filter(|(number, _)| number % stride == 0).map(|(_, state)| state).collect()
}

/// Blocks of several sizes: zeroed, swapped within the file, of another file of the kind, and of
/// the file's earlier life.
fn blocks(fixture: &Fixture) -> Vec<State<'_>> {
    let mut states = Vec::new();
    for (path, bytes) in &fixture.files {
        let kind = path.extension();
        for size in [64, 512, 4096] {
            for at in (0..bytes.len()).step_by(size) {
                let len = size.min(bytes.len() - at);
                let mut put = |what, with: Option<&[u8]>| {
                    if let Some(with) = with.filter(|with| *with != &bytes[at..at + len]) {
                        let change = Change::Block { at, with: with.to_vec(), what };
                        states.push(State { fixture, path, change });
                    }
                };
                put("zeroed", Some(&vec![0; len]));
                let next = at + size;
                put("swapped", bytes.get(next..next + len));
                put("stale", fixture.earlier.get(path).and_then(|old| old.get(at..at + len)));
                for (other, theirs) in &fixture.files {
                    if other != path && other.extension() == kind && kind.is_some() {
                        put("misdirected", theirs.get(at..at + len));
                    }
                }
            }
        }
    }
    states
}

/// Checks all states on two threads; returns what failed.
fn run(name: &str, states: &[State<'_>]) -> Vec<String> {
    let began = Instant::now();
    let chosen = std::env::var("TIDELOG_FLIP").ok();
    let is_first_enough = std::env::var_os("TIDELOG_FIRST").is_some();
    let (next, hasher) = (AtomicUsize::new(0), RandomState::new());
    let work = || {
        let (mut failed, mut distinct) = (Vec::new(), HashSet::new());
        while let Some(state) = states.get(next.fetch_add(1, Ordering::Relaxed)) {
            if chosen.as_ref().is_some_and(|chosen| *chosen != state.to_string()) {
                continue;
            }
            let key = match &state.change {
                Change::Bit(bit) => hasher.hash_one(bit), // each of a file's is another file
                Change::Block { .. } => hasher.hash_one(state.bytes()),
            };
            distinct.insert(hasher.hash_one((state.fixture.name, state.path, key)));
            let checked = std::panic::catch_unwind(|| state.check(&state.fixture.files));
            let checked = checked.unwrap_or_else(|_| Err("it panics".to_owned()));
            if let Err(why) = checked {
                failed.push(format!("{state}: {why}"));
                if is_first_enough {
                    next.store(states.len(), Ordering::Relaxed);
                }
            }
        }
        (failed, distinct)
    };
    let done = std::thread::scope(|scope| {
        let threads = [scope.spawn(work), scope.spawn(work)];
        threads.map(|thread| thread.join().expect("a worker"))
    });
    let (mut failed, mut distinct) = (Vec::new(), HashSet::new());
    for (one, seen) in done {
        failed.extend(one);
        distinct.extend(seen);
    }
    let (states, seconds) = (states.len(), began.elapsed().as_secs_f64());
    let (distinct, failures) = (distinct.len(), failed.len());
    common::suite::say(&format!(
        "suite {name}: {states} states, {distinct} distinct, {failures} failures, {seconds:.1} s"
    ));
    failed
}

fn assert_none(failed: &[String]) {
    for failure in failed.iter().take(10) {
        let state = failure.split(": ").next().unwrap_or_default();
        eprintln!("{failure}");
        let budget = common::budget::words();
        eprintln!("repeat: {budget}TIDELOG_FLIP='{state}' cargo test --test bit_flips");
    }
    assert!(failed.is_empty(), "{} states", failed.len());
}

fn sends() -> u32 {
    Budget::get().pick(24, 24, 500) as u32
}

/// The states that are to be run.
fn portion<'a>(states: &'a [State<'a>]) -> &'a [State<'a>] {
    let all = states.len() as u64;
    let chosen = seeds(all, all, all);
    let at = |number: u64| number.min(all) as usize;
    &states[at(chosen.start)..at(chosen.end)]
}

#[test]
fn every_flipped_bit_is_noticed_or_harmless() {
    let budget = Budget::get();
    let closed = Fixture::new("closed", sends(), Rest::Closed);
    let killed = Fixture::new("killed", sends(), Rest::Killed);
    let grouped = Fixture::new("grouped", 24, Rest::Grouped);
    let journaled = Fixture::new("journaled", 24, Rest::Journaled);
    let of_groups = |path: &Path| path.to_string_lossy().contains("__consumer_offsets");
    let is_journal = |path: &Path| path.ends_with("tidelog.journal");
    let transactional = Fixture::new("transactional", 24, Rest::Transactional);
    let of_orders = |path: &Path| path.to_string_lossy().contains("orders-");
    let is_log = |path: &Path| path.extension().is_some_and(|kind| kind == "log");
    let mut states = bits(&closed, budget.pick(23, 1, 1), |_| true);
    states.extend(bits(&killed, budget.pick(61, 5, 1), |_| true));
    states.extend(bits(&grouped, budget.pick(97, 1, 1), of_groups));
    states.extend(bits(&grouped, budget.pick(997, 41, 1), |path| !of_groups(path)));
    states.extend(bits(&journaled, budget.pick(97, 3, 1), is_journal));
    states.extend(bits(&transactional, budget.pick(397, 41, 1), |path| {
        is_log(path) && of_orders(path)
    }));
    states.extend(bits(&transactional, budget.pick(97, 7, 1), |path| {
        !is_log(path) && of_orders(path)
    }));
    // the control: without digests a changed epoch is believed
    let mut bare = closed.files.clone();
    bare.retain(|path, _| path.extension().is_none_or(|kind| kind != "digest"));
    let path = Path::new("/store/orders-0/00000000000000000000.log");
    let control = State { fixture: &closed, path, change: Change::Bit(15 * 8) };
    let passes = control.check(&bare).unwrap_err();
    assert!(passes.contains("(0, 0) is"), "the control: {passes}");
    control.check(&closed.files).unwrap();
    assert_none(&run("bit_flips", portion(&states)));
}

#[test]
fn every_block_that_is_not_what_it_was_is_noticed_or_harmless() {
    let closed = Fixture::new("closed", sends(), Rest::Closed);
    let states = blocks(&closed);
    let stride = Budget::get().pick(states.len() as u64 / 800 + 1, 1, 1) as usize;
    let states: Vec<_> = states.into_iter().step_by(stride).collect();
    assert_none(&run("block_faults", portion(&states)));
}
