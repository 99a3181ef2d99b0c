//! A writer and a reader in two processes, over one real directory, with SIGKILL on either side at
//! random moments.
//!
//! The test's own binary is the writer and the reader: it is run again with a role in its
//! environment. Each value says where it was appended, so the reader sees by itself whether a
//! record is another's or was never written; what it may step over is what the writer has noted,
//! beforehand, as deleted. In the end a last reader gets every record that was acknowledged and is
//! left. So that the test cannot pass by doing nothing, kills that found their victim at work and
//! the records that were read are counted.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::common::budget;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;
use tidelog::{Consumer, Offset, OffsetCommit, ReadOnlyStore, Record, Records, Store, TopicConfig};

const ROLE: &str = "TIDELOG_TWO_PROCESSES_ROLE";
const DIR: &str = "TIDELOG_TWO_PROCESSES_DIR";
/// What a child prints once it works.
const AT_WORK: &str = "at work";
/// Where a child notes why it failed.
const FAILURES: &str = "failures";
const PARTITIONS: u32 = 3;
const GROUP: &str = "billing";
/// Records that are kept of each partition, more or less.
const KEPT: i64 = 1_000;
const SEGMENT: u64 = 9_000;

/// Where the children meet.
#[derive(Clone)]
struct Place(PathBuf);

impl Place {
    fn store(&self) -> PathBuf {
        self.0.join("store")
    }

    fn is_over(&self) -> bool {
        self.0.join("over").exists()
    }

    /// A role's notes: lines, each of which counts once it ends.
    fn notes(&self, role: &str) -> File {
        let path = self.0.join(role);
        OpenOptions::new().create(true).append(true).open(path).expect("notes are opened")
    }

    /// The numbers of the lines that begin with `word`.
    fn noted(&self, role: &str, word: &str) -> Vec<(u32, i64)> {
        let text = fs::read_to_string(self.0.join(role)).unwrap_or_default();
        let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let mut noted = Vec::new();
        for line in lines {
            let words: Vec<_> = line.split_whitespace().collect();
            if let [first, partition, number] = words[..]
                && first == word
            {
                let partition = partition.parse().expect("a partition");
                noted.push((partition, number.parse().expect("a number")));
            }
        }
        noted
    }
}

/// Appends, deletes, commits, until it is killed or all is over.
fn write(place: &Place) {
    let store = Store::open(place.store()).expect("the lock is free once its holder is dead");
    let config = TopicConfig::new().partitions(PARTITIONS).segment_bytes(SEGMENT);
    let config = config.file_delete_delay(Duration::from_millis(20));
    store.ensure_topic("t", config).expect("the topic");
    let seen = store.describe("t").expect("there");
    let mut ends: Vec<i64> =
        seen.partitions().iter().map(|partition| partition.end_offset().get()).collect();
    let topic = store.producer().build().expect("built").topic("t").expect("there");
    let assigned = (0..PARTITIONS).map(|partition| ("t", partition));
    let mut consumer = store.consumer(GROUP).assign(assigned).build().expect("built");
    let mut random = StdRng::seed_from_u64(u64::from(std::process::id()));
    let mut notes = place.notes("writer");
    say_at_work();
    while !place.is_over() {
        let partition = random.random_range(0..PARTITIONS);
        let end = &mut ends[partition as usize];
        for _ in 0..random.random_range(1..20) {
            let count = random.random_range(1..4);
            let length = if random.random_bool(0.02) { 7_000 } else { random.random_range(0..300) };
            let values: Vec<String> = (0..count)
                .map(|at| format!("{partition}:{}:{}", *end + at, "x".repeat(length / 3)))
                .collect();
            let records: Vec<_> = values.iter().map(Record::new).collect();
            topic.send_batch_to(partition, &records).expect("appended");
            *end += count;
        }
        writeln!(notes, "acknowledged {partition} {end}").expect("noted");
        if random.random_bool(0.2) && *end > KEPT {
            let start = *end - KEPT;
            writeln!(notes, "deleting {partition} {start}").expect("noted");
            store.delete_records_before("t", partition, Offset::new(start)).expect("deleted");
        }
        if random.random_bool(0.3) {
            let commit = OffsetCommit::new("t", partition, Offset::new(*end));
            consumer.commit_offsets(&[commit]).expect("committed");
            writeln!(notes, "committed {partition} {end}").expect("noted");
        }
    }
    store.close().expect("closed");
}

/// What one reader was given: the next offset of each partition.
struct Reader {
    place: Place,
    store: ReadOnlyStore,
    consumer: Consumer,
    next: BTreeMap<u32, i64>,
    committed: BTreeMap<u32, i64>,
    records: u64,
}

impl Reader {
    /// Opens once there is a store with its topic.
    fn open(place: &Place) -> Option<Reader> {
        let store = loop {
            match Store::open_read_only(place.store()) {
                Ok(store) => break store,
                Err(_) if place.is_over() => return None,
                Err(error) => assert_eq!(error.kind(), tidelog::ErrorKind::NotAStore, "{error}"),
            }
            std::thread::yield_now();
        };
        let consumer = store.reader().subscribe(["t"]).build().expect("built");
        let (next, committed) = (BTreeMap::new(), BTreeMap::new());
        Some(Reader { place: place.clone(), store, consumer, next, committed, records: 0 })
    }

    /// Compares every record.
    fn take(&mut self, records: &Records) {
        for record in records {
            let (partition, offset) = (record.partition().get(), record.offset().get());
            let value = std::str::from_utf8(record.value().expect("a value")).expect("text");
            let wanted = format!("{partition}:{offset}:");
            assert!(value.starts_with(&wanted), "at {wanted} lies {:.40}", value);
            let next = self.next.insert(partition, offset + 1).unwrap_or(0);
            if offset != next {
                let deleted = self.place.noted("writer", "deleting");
                let start = deleted.iter().filter(|(of, _)| *of == partition).map(|(_, at)| *at);
                let start = start.max().unwrap_or(0);
                assert!(next < offset && offset <= start, "{next} to {offset}, start {start}");
            }
        }
        self.records += records.len() as u64;
    }

    /// What is committed never goes back.
    fn look_at_commits(&mut self) {
        for (_, partition, committed) in self.store.committed(GROUP).expect("looked up") {
            let now = committed.offset().get();
            let before = self.committed.insert(partition.get(), now);
            assert!(before.is_none_or(|before| before <= now), "{before:?} went back to {now}");
        }
    }
}

/// Reads and compares until it is killed or all is over.
fn read(place: &Place) {
    let Some(mut reader) = Reader::open(place) else { return };
    let mut notes = place.notes("reader");
    let mut polls = 0;
    while !place.is_over() {
        let records = reader.consumer.poll(Duration::from_millis(2)).expect("a poll");
        reader.take(&records);
        writeln!(notes, "read 0 {}", records.len()).expect("noted");
        polls += 1;
        if polls == 1 {
            say_at_work();
        }
        if polls % 5 == 0 {
            reader.look_at_commits();
        }
    }
}

/// Tells the parent, which reads a child's output, that a kill finds it at work from here on.
fn say_at_work() {
    println!("{AT_WORK}");
}

/// The children's part; the parent has no role and does nothing here.
#[test]
fn role() {
    let Some(role) = env::var_os(ROLE) else { return };
    let place = Place(PathBuf::from(env::var_os(DIR).expect("a role has a directory")));
    let failures = place.clone();
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // first of all: a kill may come before the child has ended
        let told = writeln!(failures.notes(FAILURES), "{panic}");
        print(panic);
        told.expect("the failure is noted");
        std::process::exit(1);
    }));
    match role.to_str() {
        Some("writer") => write(&place),
        Some("reader") => read(&place),
        Some("failing") => panic!("as it was told to"),
        _ => panic!("no such role: {role:?}"),
    }
}

/// A child, and what it says.
struct Role {
    name: &'static str,
    child: Child,
    said: BufReader<ChildStdout>,
    is_at_work: bool,
}

impl Role {
    fn spawn(place: &Path, name: &'static str) -> Role {
        let mut command = Command::new(env::current_exe().expect("this test has a path"));
        command
            .args(["--exact", "two_processes::role", "--nocapture"])
            .env(ROLE, name)
            .env(DIR, place);
        command.stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let said = BufReader::new(child.stdout.take().expect("piped"));
        Role { name, child, said, is_at_work: false }
    }

    /// Waits until it is at work, or has ended.
    fn wait_for_work(&mut self) {
        let mut line = String::new();
        while !self.is_at_work {
            line.clear();
            if self.said.read_line(&mut line).expect("what it says is text") == 0 {
                break;
            }
            self.is_at_work = line.contains(AT_WORK);
        }
    }

    /// Kills it; says whether it was at work. One that had ended or failed by itself is an error,
    /// with what it noted.
    fn kill(mut self, place: &Path) -> Result<bool, String> {
        self.child.kill().expect("SIGKILL is sent");
        let ended = self.child.wait().expect("waited for");
        let killed = ended.signal() == Some(9);
        self.judge(place, killed, ended)?;
        Ok(self.is_at_work)
    }

    /// Waits for its end, after all is over.
    fn finish(mut self, place: &Path) -> Result<(), String> {
        let mut rest = String::new();
        self.said.read_to_string(&mut rest).expect("what it says is text");
        let ended = self.child.wait().expect("waited for");
        self.judge(place, ended.success(), ended)
    }

    fn judge(&self, place: &Path, as_wanted: bool, ended: ExitStatus) -> Result<(), String> {
        let failures = fs::read_to_string(place.join(FAILURES)).unwrap_or_default();
        if as_wanted && failures.is_empty() {
            return Ok(());
        }
        Err(format!("the {} ended by itself ({ended}), or one failed: {failures}", self.name))
    }
}

/// Where a seed's store lies. A kill loses no page, so a file system in memory, where the machine
/// has one, is as hard a judge and a quicker one; some seeds take a real one.
fn directory(seed: u64) -> TempDir {
    let memory = Path::new("/dev/shm");
    if seed % 8 != 7
        && let Ok(dir) = tempfile::tempdir_in(memory)
    {
        return dir;
    }
    tempfile::tempdir().expect("a temporary directory")
}

/// Kills either side again and again; counts those of each that were at work.
fn kill_often(place: &Path, random: &mut StdRng, rounds: u64) -> Result<[u64; 2], String> {
    const NAMES: [&str; 2] = ["writer", "reader"];
    let mut roles = NAMES.map(|name| Some(Role::spawn(place, name)));
    let mut kills = [0; 2];
    for _ in 0..rounds {
        let victim = random.random_range(0..2);
        let mut role = roles[victim].take().expect("there");
        if random.random_bool(0.8) {
            role.wait_for_work();
            std::thread::sleep(Duration::from_micros(random.random_range(0..4_000)));
        } else {
            std::thread::sleep(Duration::from_micros(random.random_range(0..4_000)));
        }
        kills[victim] += u64::from(role.kill(place)?);
        roles[victim] = Some(Role::spawn(place, NAMES[victim]));
    }
    for role in roles.iter_mut().flatten() {
        role.wait_for_work();
    }
    fs::write(place.join("over"), "").expect("told");
    roles.into_iter().flatten().try_for_each(|role| role.finish(place))?;
    Ok(kills)
}

#[test]
fn killed_on_either_side_every_record_is_read() {
    if env::var_os(ROLE).is_some() {
        return;
    }
    let rounds = 60;
    let (began, kills, read) = (Instant::now(), Cell::new([0u64; 2]), Cell::new(0));
    let test = "killed_on_either_side_every_record_is_read";
    budget::for_each_seed("public", test, budget::seeds(4, 18, 2_000), |seed| {
        let dir = directory(seed);
        let mut random = StdRng::seed_from_u64(seed);
        let killed = kill_often(dir.path(), &mut random, rounds);
        let killed = killed.unwrap_or_else(|failure| panic!("{failure}"));
        kills.set([kills.get()[0] + killed[0], kills.get()[1] + killed[1]]);
        read.set(read.get() + compare(&Place(dir.path().to_owned())));
    });
    let [writers, readers] = kills.get();
    let seconds = began.elapsed().as_secs_f64();
    println!("{writers} writers and {readers} readers killed, {} records read", read.get());
    let kills = writers + readers;
    crate::common::suite::say(&format!(
        "suite two_processes: {kills} states, {kills} distinct, 0 failures, {seconds:.1} s"
    ));
    assert!(writers > 0 && readers > 0, "no kill found its victim at work");
    assert!(read.get() > 0, "the children read nothing");
}

#[test]
fn a_child_that_fails_is_noticed_however_it_ends() {
    if env::var_os(ROLE).is_some() {
        return;
    }
    for wait in [true, false] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut role = Role::spawn(dir.path(), "failing");
        role.wait_for_work(); // it never is: it ends
        let judged = if wait { role.finish(dir.path()) } else { role.kill(dir.path()).map(drop) };
        let failure = judged.expect_err("it failed");
        assert!(failure.contains("as it was told to"), "{failure}");
    }
    // its kill came first, its failure before that
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::write(dir.path().join(FAILURES), "it was seen\n").expect("noted");
    let role = Role::spawn(dir.path(), "reader");
    assert!(role.kill(dir.path()).expect_err("noticed").contains("it was seen"));
}

/// A last reader gets all that was acknowledged and is left, and the last commits.
fn compare(place: &Place) -> u64 {
    let mut reader = Reader::open(place).expect("there is a store");
    loop {
        let records = reader.consumer.poll(Duration::from_millis(30)).expect("a poll");
        if records.is_empty() {
            break;
        }
        reader.take(&records);
    }
    reader.look_at_commits();
    for (partition, end) in place.noted("writer", "acknowledged") {
        assert!(reader.next.get(&partition) >= Some(&end), "{partition}: {end} is missing");
    }
    for (partition, offset) in place.noted("writer", "committed") {
        assert!(reader.committed.get(&partition) >= Some(&offset), "{partition}: {offset} is lost");
    }
    let store = Store::open(place.store()).expect("opened");
    for described in store.describe("t").expect("there").partitions() {
        let end = described.end_offset().get();
        assert_eq!(reader.next.get(&described.id().get()).copied().unwrap_or(0), end);
    }
    let read: i64 = place.noted("reader", "read").iter().map(|(_, count)| *count).sum();
    reader.records + u64::try_from(read).unwrap_or(0)
}
