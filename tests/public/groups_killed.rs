//! A process with a whole group in it, killed with SIGKILL in the middle of its rebalances, and run
//! again on the same directory, hundreds of times.
//!
//! The test's own binary is the process: it is run again with a role in its environment. Its
//! members, a thread each, join, poll, commit, stall and leave without a pause while records are
//! produced; what they see goes into a file of notes, each record before its commit, that outlives
//! them. After each kill the notes are judged: no record is stepped over, what was committed is
//! committed still and was delivered before, and of a generation nobody reads what another reads;
//! no generation comes twice. A last member gets the rest. Kills that found members at work are
//! counted, so that the test cannot pass by doing nothing.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::env;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::budget;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidelog::{
    Assigned, Consumer, Membership, RebalanceListener, Record, Records, Result, Revoked, Store,
    TopicConfig, TopicPartition,
};

const DIR: &str = "TIDELOG_GROUPS_KILLED_DIR";
const GROUP: &str = "billing";
const PARTITIONS: u32 = 5;
const MEMBERS: u64 = 4;

/// What a process sees, for who judges it after its death: a line each, written at once.
struct Notes(Mutex<File>);

impl Notes {
    fn open(dir: &Path) -> Self {
        let file = OpenOptions::new().create(true).append(true).open(dir.join("notes"));
        Notes(Mutex::new(file.expect("notes are opened")))
    }

    fn write(&self, line: &str) {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(format!("{line}\n").as_bytes()).expect("noted");
    }

    /// Notes what is committed. Nobody else notes meanwhile, so that the lines stand in the order
    /// in which they were true.
    fn commits(&self, word: &str, store: &Store) -> BTreeMap<u32, i64> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let committed = store.committed(GROUP).expect("looked up");
        let committed = committed.iter().map(|(_, id, it)| (id.get(), it.offset().get()));
        let committed: BTreeMap<u32, i64> = committed.collect();
        let lines = committed.iter().map(|(id, offset)| format!("{word} {id} {offset}\n"));
        file.write_all(lines.collect::<String>().as_bytes()).expect("noted");
        committed
    }
}

/// Where a member reads on in each partition it has; `None` before the first record.
type Reading = Arc<Mutex<BTreeMap<u32, Option<i64>>>>;

struct Listener {
    reading: Reading,
    commits: bool,
}

impl Listener {
    fn drop_all(&self, partitions: &[TopicPartition]) {
        let mut reading = self.reading.lock().expect("no panic");
        reading.retain(|id, _| !partitions.iter().any(|it| it.partition().get() == *id));
    }
}

impl RebalanceListener for Listener {
    fn on_assigned(&mut self, assigned: &mut Assigned<'_>) -> Result<()> {
        let mut reading = self.reading.lock().expect("no panic");
        for partition in assigned.partitions() {
            let before = reading.insert(partition.partition().get(), None);
            assert!(before.is_none(), "{partition} came twice");
        }
        Ok(())
    }

    fn on_revoked(&mut self, revoked: &mut Revoked<'_>) -> Result<()> {
        self.drop_all(revoked.partitions());
        if self.commits { revoked.commit() } else { Ok(()) }
    }

    fn on_lost(&mut self, lost: &[TopicPartition]) -> Result<()> {
        self.drop_all(lost);
        Ok(())
    }
}

/// A thread's share in the process.
struct Worker<'a> {
    number: u64,
    store: &'a Store,
    notes: &'a Notes,
    random: StdRng,
}

impl Worker<'_> {
    /// Is one member after another.
    fn work(&mut self) {
        loop {
            let reading = Reading::default();
            let interval = Duration::from_millis(self.random.random_range(4..50));
            let listener =
                Listener { reading: reading.clone(), commits: self.random.random_bool(0.5) };
            let mut builder = self
                .store
                .consumer(GROUP)
                .subscribe(["orders"])
                .max_records(self.random.random_range(1..200))
                .max_poll_interval(interval)
                .rebalance_listener(listener);
            if self.random.random_bool(0.3) {
                builder = builder.auto_commit(Duration::from_millis(3));
            }
            if self.random.random_bool(0.3) {
                builder = builder.instance_id(format!("worker-{}", self.number));
            }
            let consumer = builder.build().expect("a member");
            self.be_member(consumer, &reading, interval);
            thread::sleep(Duration::from_micros(self.random.random_range(0..2_000)));
        }
    }

    fn be_member(&mut self, mut consumer: Consumer, reading: &Reading, interval: Duration) {
        for _ in 0..self.random.random_range(1..40) {
            self.poll(&mut consumer, reading);
            if self.random.random_bool(0.05) {
                thread::sleep(interval * 2);
            }
            if self.random.random_bool(0.4) {
                self.commit(&mut consumer, reading);
            }
        }
        if self.random.random_bool(0.5)
            && let Err(error) = consumer.close()
        {
            assert!(error.is_fenced(), "{error}");
        }
    }

    fn poll(&mut self, consumer: &mut Consumer, reading: &Reading) {
        let timeout = Duration::from_micros(self.random.random_range(0..3_000));
        let records = match consumer.poll(timeout) {
            Ok(records) => records,
            Err(error) => return assert!(error.is_fenced(), "{error}"),
        };
        let membership = consumer.membership().expect("a member");
        self.note_delivered(&records, membership, &mut reading.lock().expect("no panic"));
    }

    fn note_delivered(
        &self,
        records: &Records,
        membership: Membership,
        reading: &mut BTreeMap<u32, Option<i64>>,
    ) {
        let mut runs: BTreeMap<u32, (i64, i64)> = BTreeMap::new();
        for record in records {
            let (id, offset) = (record.partition().get(), record.offset().get());
            assert_eq!(record.value(), Some(format!("{id}:{offset}").as_bytes()));
            let next = reading.get_mut(&id).expect("of a partition that has come");
            assert!(next.is_none_or(|next| next == offset), "{id}: {next:?} to {offset}");
            *next = Some(offset + 1);
            runs.entry(id).or_insert((offset, offset)).1 = offset + 1;
        }
        let (generation, member) = (membership.generation(), membership.member_id().get());
        for (id, (first, next)) in runs {
            self.notes.write(&format!("delivered {id} {first} {next} {generation} {member}"));
        }
    }

    fn commit(&mut self, consumer: &mut Consumer, reading: &Reading) {
        match consumer.commit() {
            Ok(()) => {
                let committed = self.notes.commits("seen", self.store);
                for (id, next) in &*reading.lock().expect("no panic") {
                    let committed = committed.get(id).copied();
                    assert!(next.is_none() || committed >= *next, "{id}: {committed:?} {next:?}");
                }
            }
            Err(error) => assert!(error.is_fenced(), "{error}"),
        }
    }
}

fn produce(store: &Store, mut random: StdRng) {
    let seen = store.describe("orders").expect("there");
    let ends = seen.partitions().iter().map(|partition| partition.end_offset().get());
    let mut ends: Vec<i64> = ends.collect();
    let topic = store.producer().build().expect("built").topic("orders").expect("there");
    loop {
        let id = random.random_range(0..PARTITIONS);
        let end = &mut ends[id as usize];
        let count = random.random_range(1..20);
        let values: Vec<String> = (0..count).map(|at| format!("{id}:{}", *end + at)).collect();
        let records: Vec<_> = values.iter().map(Record::new).collect();
        topic.send_batch_to(id, &records).expect("appended");
        *end += count;
        thread::sleep(Duration::from_micros(random.random_range(0..400)));
    }
}

fn open(dir: &Path) -> Store {
    let store = Store::open(dir.join("store")).expect("the lock is free once its holder is dead");
    let config = TopicConfig::new().partitions(PARTITIONS).segment_bytes(50_000);
    store.ensure_topic("orders", config).expect("the topic");
    store
}

/// The process's part, until it is killed; the parent has no directory and does nothing here.
#[test]
fn role() {
    let Some(dir) = env::var_os(DIR) else { return };
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("{panic}");
        std::process::abort(); // one thread's failure is the process's
    }));
    let dir = PathBuf::from(dir);
    let notes = Notes::open(&dir);
    let store = open(&dir);
    notes.write("open");
    notes.commits("still", &store);
    let seed = u64::from(std::process::id());
    thread::scope(|scope| {
        for number in 0..MEMBERS {
            let random = StdRng::seed_from_u64(seed * 100 + number);
            let mut worker = Worker { number, store: &store, notes: &notes, random };
            scope.spawn(move || worker.work());
        }
        produce(&store, StdRng::seed_from_u64(seed));
    });
}

/// What is known of a partition from all the notes so far.
#[derive(Clone, Copy, Default)]
struct Known {
    /// Every record below has been delivered.
    delivered: i64,
    committed: i64,
}

/// Who judges the notes.
struct Judge {
    notes: File,
    partitions: BTreeMap<u32, Known>,
    /// Who read a partition in a generation: in which life, as which member.
    readers: BTreeMap<(i64, u32), (u64, u64)>,
    lives: u64,
    /// The last generation of the lives before this one.
    before: i64,
    latest: i64,
    delivered: u64,
    rebalances: u64,
}

impl Judge {
    fn new(dir: &Path) -> Self {
        drop(Notes::open(dir));
        Judge {
            notes: File::open(dir.join("notes")).expect("notes are there"),
            partitions: BTreeMap::new(),
            readers: BTreeMap::new(),
            lives: 0,
            before: -1,
            latest: -1,
            delivered: 0,
            rebalances: 0,
        }
    }

    /// Judges what has been noted since the last time; says whether anything was delivered.
    fn look(&mut self) -> bool {
        let mut text = String::new();
        self.notes.read_to_string(&mut text).expect("notes are text");
        let delivered = self.delivered;
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        // a line that a kill has cut is nobody's: the next process began a line of its own
        assert_eq!(whole, text.len(), "a line is written at once: {}", &text[whole..]);
        text.lines().for_each(|line| self.take(line));
        self.delivered > delivered
    }

    fn take(&mut self, line: &str) {
        let mut words = line.split(' ');
        let word = words.next().unwrap_or_default();
        let numbers: Vec<i64> = words.map(|it| it.parse().expect("a number")).collect();
        match (word, &numbers[..]) {
            ("open", []) => {
                self.lives += 1;
                self.before = self.latest;
            }
            ("still" | "seen", [id, committed]) => self.committed(*id, *committed, line),
            ("delivered", [id, first, next, generation, member]) => {
                self.take_delivered(*id, *first, *next, line);
                self.take_reader(*id, *generation, *member, line);
            }
            _ => panic!("no such line: {line}"),
        }
    }

    fn partition(&mut self, id: i64) -> &mut Known {
        self.partitions.entry(u32::try_from(id).expect("a partition")).or_default()
    }

    fn committed(&mut self, id: i64, committed: i64, line: &str) {
        let known = self.partition(id);
        assert!(committed >= known.committed, "`{line}` went back from {}", known.committed);
        assert!(committed <= known.delivered, "`{line}` was not delivered: {}", known.delivered);
        known.committed = committed;
    }

    fn take_delivered(&mut self, id: i64, first: i64, next: i64, line: &str) {
        let known = self.partition(id);
        assert!(first <= known.delivered, "`{line}` steps over what is behind {}", known.delivered);
        known.delivered = known.delivered.max(next);
        self.delivered += 1;
    }

    fn take_reader(&mut self, id: i64, generation: i64, member: i64, line: &str) {
        let (before, life) = (self.before, self.lives);
        assert!(generation > before, "`{line}`: generation {before} was there in another life");
        self.rebalances += u64::from(generation > self.latest);
        self.latest = self.latest.max(generation);
        let place = (generation, u32::try_from(id).expect("a partition"));
        let reader = (life, u64::try_from(member).expect("a member"));
        let first = *self.readers.entry(place).or_insert(reader);
        assert_eq!(first, reader, "`{line}`: another has read it in this generation");
    }
}

fn spawn(dir: &Path) -> Child {
    let mut command = Command::new(env::current_exe().expect("this test has a path"));
    command.args(["--exact", "groups_killed::role", "--nocapture"]).env(DIR, dir);
    command.stdout(Stdio::null()).spawn().expect("it starts")
}

/// Reads the rest as the group's only member, and compares with what there is.
fn drain(dir: &Path, judge: &mut Judge) {
    let (store, notes) = (open(dir), Notes::open(dir));
    notes.write("open");
    notes.commits("still", &store);
    let worker =
        Worker { number: 0, store: &store, notes: &notes, random: StdRng::seed_from_u64(0) };
    let mut consumer = store.consumer(GROUP).subscribe(["orders"]).build().expect("a member");
    let membership = consumer.membership().expect("a member");
    let mut reading = (0..PARTITIONS).map(|id| (id, None)).collect();
    for records in consumer.read_to_end().expect("begun") {
        worker.note_delivered(&records.expect("read"), membership, &mut reading);
    }
    consumer.commit().expect("committed");
    notes.commits("seen", &store);
    judge.look();
    for partition in store.describe("orders").expect("there").partitions() {
        let end = partition.end_offset().get();
        let known = *judge.partition(partition.id().get().into());
        assert_eq!(known.delivered, end, "{partition:?}");
    }
}

#[test]
fn a_group_killed_in_its_rebalances_loses_nothing() {
    if env::var_os(DIR).is_some() {
        return;
    }
    let rounds = budget::Budget::get().pick(30, 100, 400);
    let began = Instant::now();
    let [kills, at_work, batches, rebalances] = [const { Cell::new(0u64) }; 4];
    let add = |count: &Cell<u64>, more: u64| count.set(count.get() + more);
    let test = "a_group_killed_in_its_rebalances_loses_nothing";
    budget::for_each_seed("public", test, budget::seeds(1, 3, 100), |seed| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut random = StdRng::seed_from_u64(seed);
        let mut judge = Judge::new(dir.path());
        for _ in 0..rounds {
            let mut process = spawn(dir.path());
            thread::sleep(Duration::from_micros(random.random_range(500..80_000)));
            let ended = process.try_wait().expect("waited for");
            assert!(ended.is_none(), "the process ended by itself: {ended:?}");
            process.kill().expect("SIGKILL is sent");
            process.wait().expect("waited for");
            add(&kills, 1);
            add(&at_work, u64::from(judge.look()));
        }
        drain(dir.path(), &mut judge);
        add(&batches, judge.delivered);
        add(&rebalances, judge.rebalances);
    });
    println!(
        "{} of the kills of members at work, in {} generations, {} deliveries",
        at_work.get(),
        rebalances.get(),
        batches.get()
    );
    let (kills, seconds) = (kills.get(), began.elapsed().as_secs_f64());
    crate::common::suite::say(&format!(
        "suite groups_killed: {kills} states, {kills} distinct, 0 failures, {seconds:.1} s"
    ));
    assert!(at_work.get() > 0, "no kill found a member at work");
}
