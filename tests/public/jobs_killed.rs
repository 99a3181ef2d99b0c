//! A job queue whose process is killed with SIGKILL while workers and consumers are at it, and run
//! again on the same directory.
//!
//! The test's own binary is the process; one group is worked off by a worker, another by
//! consumers that say each word themselves. Which jobs fail once, which always and which are
//! rejected is drawn from the seed. What was begun and what was granted goes into a file of notes
//! that outlives the process, and the kills are spread over all of the work. At the end each job
//! is done at least once, those that must not be done never are, were tried as often as they may,
//! and are dead letters, each once; and nothing is handed out again once its acknowledgement was
//! granted.

use std::collections::BTreeMap;
use std::env;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use crate::common::budget::{Budget, for_each_seed, seeds};
use crate::common::suite::Suite;
use tidelog::{
    Durability, JobOutcome, Record, RetryPolicy, ShareConsumer, Store, TopicConfig, Worker,
};

const DIR: &str = "TIDELOG_JOBS_KILLED_DIR";
const SEED: &str = "TIDELOG_JOBS_KILLED_SEED";
/// More than any job is handed out that is not to be given up: each kill may cost it one.
const MOST: u16 = 200;
const TICK: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Done,
    FailsOnce,
    Fails,
    Rejected,
}

/// What is to become of the jobs of one run.
#[derive(Clone, Copy, Debug)]
struct Fates(u64);

impl Fates {
    fn of(self, number: u64) -> Fate {
        let mut drawn = (self.0 ^ number.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        drawn = (drawn ^ drawn >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        match (drawn >> 33) % 200 {
            0 => Fate::Fails,
            1 | 2 => Fate::Rejected,
            3..43 => Fate::FailsOnce,
            _ => Fate::Done,
        }
    }
}

fn open(dir: &Path) -> Store {
    let store = Store::open(dir.join("store")).expect("it opens");
    store.ensure_topic("jobs", TopicConfig::new().partitions(2)).expect("a topic");
    store
}

/// A file that each word is in as soon as it is said.
#[derive(Clone)]
struct Notes(Arc<File>);

impl Notes {
    fn of(dir: &Path) -> Self {
        let file = OpenOptions::new().create(true).append(true).open(dir.join("notes"));
        Notes(Arc::new(file.expect("a file")))
    }

    fn say(&self, word: &str, number: u64) {
        (&*self.0).write_all(format!("{word} {number}\n").as_bytes()).expect("it is written");
    }

    fn len(&self) -> u64 {
        self.0.metadata().expect("a file").len()
    }
}

fn number_of(value: Option<&[u8]>) -> u64 {
    std::str::from_utf8(value.expect("a value")).unwrap().parse().expect("a number")
}

fn work(store: &Store, notes: &Notes, fates: Fates) -> Worker {
    let notes = notes.clone();
    let worker = store.worker("w").topic("jobs").concurrency(3).durability(Durability::Process);
    let worker = worker.retry(RetryPolicy::fixed(Duration::from_millis(1))).max_attempts(MOST);
    let run = move |job: tidelog::Job| {
        let number = number_of(job.record().value());
        match fates.of(number) {
            Fate::Rejected => JobOutcome::Reject,
            Fate::Fails => JobOutcome::Retry,
            Fate::FailsOnce if job.attempt() == 1 => JobOutcome::Retry,
            Fate::FailsOnce | Fate::Done => {
                notes.say("done", number);
                JobOutcome::Done
            }
        }
    };
    worker.run(run).expect("it runs")
}

fn consumer(store: &Store) -> ShareConsumer {
    let builder = store.share_consumer("c").subscribe(["jobs"]).max_records(20);
    builder.durability(Durability::Process).max_deliveries(MOST).build().expect("a consumer")
}

fn consume(mut consumer: ShareConsumer, notes: &Notes, fates: Fates, stops: &AtomicBool) {
    while !stops.load(Ordering::Acquire) {
        let leased = consumer.poll(Duration::from_millis(50)).expect("a poll");
        leased.iter().for_each(|record| notes.say("took", number_of(record.value())));
        for record in &leased {
            let number = number_of(record.value());
            match fates.of(number) {
                Fate::Rejected => {
                    consumer.reject(record).expect("rejected");
                    notes.say("granted", number);
                }
                Fate::Fails => consumer.release(record).expect("released"),
                Fate::FailsOnce if record.delivery_count() == 1 => {
                    consumer.release_after(record, Duration::from_millis(1)).expect("released");
                }
                Fate::FailsOnce | Fate::Done => {
                    consumer.ack(record).expect("acknowledged");
                    notes.say("granted", number);
                }
            }
        }
    }
}

fn begin(
    store: &Store,
    notes: &Notes,
    fates: Fates,
) -> (Worker, Vec<JoinHandle<()>>, Arc<AtomicBool>) {
    let stops = Arc::new(AtomicBool::new(false));
    let begin = |_| {
        let (consumer, notes, stops) = (consumer(store), notes.clone(), stops.clone());
        std::thread::spawn(move || consume(consumer, &notes, fates, &stops))
    };
    let threads = (0..2).map(begin).collect();
    (work(store, notes, fates), threads, stops)
}

/// The process that is killed.
#[test]
fn role() {
    let Some(dir) = env::var_os(DIR) else { return };
    let fates = Fates(env::var(SEED).expect("a seed").parse().expect("a number"));
    let (store, notes) = (open(Path::new(&dir)), Notes::of(Path::new(&dir)));
    let _working = begin(&store, &notes, fates);
    sleep(Duration::from_secs(3600));
}

fn spawn(dir: &Path, seed: u64) -> Child {
    let mut command = Command::new(env::current_exe().expect("this test has a path"));
    command.args(["--exact", "jobs_killed::role", "--nocapture", "--test-threads=1"]);
    command.env(DIR, dir).env(SEED, seed.to_string());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("it starts")
}

/// What was said of a job, in order.
fn told(dir: &Path) -> BTreeMap<u64, Vec<String>> {
    let mut told: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for line in std::fs::read_to_string(dir.join("notes")).unwrap().lines() {
        let (word, number) = line.split_once(' ').expect("two words");
        told.entry(number.parse().unwrap()).or_default().push(word.to_owned());
    }
    told
}

/// The dead letters of a group, in order.
fn letters(store: &Store, group: &str) -> Vec<u64> {
    let mut reader = store.reader().subscribe([format!("{group}.dlq")]).build().unwrap();
    let mut letters = Vec::new();
    for records in reader.read_to_end().unwrap() {
        letters.extend(records.unwrap().iter().map(|record| number_of(record.value())));
    }
    letters.sort_unstable();
    letters
}

/// What is wrong with what was said of a job, if anything is.
fn judge(number: u64, fate: Fate, said: &[String], kills: u64) -> Result<(), String> {
    let count = |word: &str| said.iter().filter(|it| *it == word).count() as u64;
    let (done, took) = (count("done"), count("took"));
    let granted = said.iter().position(|word| word == "granted").unwrap_or(said.len());
    let again = said[granted..].iter().any(|word| word == "took");
    let is_right = match fate {
        Fate::Done | Fate::FailsOnce => {
            (1..=kills + 1).contains(&done) && (1..=kills + 2).contains(&took)
        }
        Fate::Rejected => done == 0 && took > 0,
        Fate::Fails => {
            // a kill may come between the lease and the note
            let most = u64::from(MOST);
            done == 0 && (most - kills..=most).contains(&took)
        }
    };
    match is_right && !again {
        true => Ok(()),
        false => Err(format!("{number}, {fate:?}, done {done} times, taken {took}: {said:?}")),
    }
}

/// Kills the process so often, spread over about all there is to do.
fn kill(dir: &Path, (seed, jobs, kills): (u64, u64, u64), notes: &Notes, suite: &Suite) {
    /// What is noted of a job, in bytes, a little less than there will be.
    const NOTED: u64 = 40;
    for kill in 0..kills {
        let mut child = spawn(dir, seed);
        let all = NOTED * jobs * (kill + 1) / (kills + 1);
        let until = all.max(notes.len() + 1) + (seed + kill) * 37 % 100;
        let patience = Instant::now() + PATIENCE; // it may have nothing left to do
        while notes.len() < until && Instant::now() < patience {
            assert_eq!(child.try_wait().unwrap(), None, "it ended by itself");
            sleep(TICK);
        }
        child.kill().expect("it runs");
        assert_eq!(child.wait().expect("it is a child").code(), None, "it ended by itself");
        suite.state((seed, kill), notes.len());
    }
}

/// Works off what is left, and looks at what has become of each job.
fn end(dir: &Path, (seed, jobs, kills): (u64, u64, u64), notes: &Notes, suite: &Suite) {
    let (store, fates) = (open(dir), Fates(seed));
    let (worker, threads, stops) = begin(&store, notes, fates);
    let left = |group| -> u64 {
        let group = store.describe_share_group(group).unwrap();
        group.partitions.iter().map(|partition| partition.lag.unwrap()).sum()
    };
    while left("w") + left("c") > 0 {
        sleep(TICK);
    }
    stops.store(true, Ordering::Release);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    worker.stop().unwrap();
    let is_dead = |number: &u64| matches!(fates.of(*number), Fate::Fails | Fate::Rejected);
    let dead: Vec<u64> = (0..jobs).filter(is_dead).collect();
    for group in ["w", "c"] {
        assert_eq!(letters(&store, group), dead, "dead letters of {group}");
    }
    store.close().unwrap();
    let told = told(dir);
    assert_eq!(told.len() as u64, jobs, "jobs are lost");
    for (number, said) in &told {
        if let Err(wrong) = judge(*number, fates.of(*number), said, kills) {
            suite
                .fail(wrong, format!("TIDELOG_SEED={seed} cargo test --test public jobs_killed::"));
        }
    }
    let store = open(dir);
    assert!(consumer(&store).try_poll().unwrap().is_empty(), "a new life is given something");
    assert_eq!(store.stats().unreadable_shares, 0);
}

#[test]
fn jobs_of_a_process_that_is_killed_are_done_and_given_up_as_they_are_to_be() {
    let budget = Budget::get();
    let (jobs, kills) = (budget.pick(400, 2_000, 100_000), budget.pick(2, 4, 100));
    let suite = Suite::new("jobs_killed");
    let said = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let lost = judge(0, Fate::Done, &said(&["took", "granted"]), kills); // never done
    let twice = ["took", "done", "granted", "took"];
    let again = judge(0, Fate::Done, &said(&twice), kills);
    suite.control(u64::from(lost.is_err() && again.is_err()));
    for_each_seed("public", "jobs_killed::", seeds(1, 1, 1), |seed| {
        let dir = tempfile::tempdir().unwrap();
        let notes = Notes::of(dir.path());
        let store = open(dir.path());
        let producer = store.producer().durability(Durability::Process).build().unwrap();
        let topic = producer.topic("jobs").unwrap();
        for number in 0..jobs {
            topic.send(Record::new(&number.to_string()).key(&number.to_string())).unwrap();
        }
        drop((consumer(&store), topic));
        store.close().unwrap();
        kill(dir.path(), (seed, jobs, kills), &notes, &suite);
        end(dir.path(), (seed, jobs, kills), &notes, &suite);
    });
    suite.end();
}
