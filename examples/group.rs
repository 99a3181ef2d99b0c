//! A group at work: members come, go and fall asleep, and the group divides its partitions anew.
//!
//! `cargo run --release --example group [-- --seconds 6]`. A producer sends to a topic of twelve
//! partitions; members, a thread each, read them. One leaves half-way; one sleeps longer than its
//! poll interval: it is expelled, its commit is refused, and it joins again. On a terminal there is
//! a live table, elsewhere a line for every change. At the end nothing was lost: the group has
//! committed every record that was sent.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Arg, Command, value_parser};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tidelog::{Consumer, Record, Store, TopicConfig};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const TOPIC: &str = "orders";
const GROUP: &str = "billing";
const PARTITIONS: u32 = 12;

fn main() -> Result<(), Failure> {
    let seconds = Arg::new("seconds").long("seconds").value_name("N").default_value("6");
    let seconds = seconds.value_parser(value_parser!(u64).range(2..)).help("How long it sends");
    let matches = Command::new("group")
        .about("Shows a consumer group whose members come, go and fall asleep")
        .arg(seconds)
        .get_matches();
    let whole = Duration::from_secs(*matches.get_one::<u64>("seconds").expect("it has a default"));

    let store = Store::in_memory()?;
    store.create_topic(TOPIC, TopicConfig::new().partitions(PARTITIONS))?;
    let board = Board::new();
    let done = AtomicBool::new(false);
    let sent = thread::scope(|scope| {
        let run = |name: &'static str, from: f64, part: Part| {
            let (store, board, done) = (&store, &board, &done);
            scope.spawn(move || {
                thread::sleep(whole.mul_f64(from));
                member(store, &mut board.row(name), part, done)
            })
        };
        let members = [
            run("ada", 0.0, Part::Stays),
            run("ben", 0.15, Part::Leaves(whole.mul_f64(0.4))),
            run("cleo", 0.3, Part::Sleeps(whole.mul_f64(0.25), whole.mul_f64(0.3))),
            run("dan", 0.45, Part::Stays),
        ];
        let sent = send(&store, whole);
        while !members.iter().all(|member| member.is_finished()) && !has_committed_all(&store)? {
            thread::sleep(Duration::from_millis(5)); // members still read
        }
        done.store(true, Ordering::Release);
        for member in members {
            member.join().expect("no panic")?;
        }
        sent
    })?;
    println!("{sent} records sent, read and committed by a group of up to four members");
    store.close()?;
    Ok(())
}

/// What a member does with its life.
#[derive(Clone, Copy)]
enum Part {
    /// Reads to the end.
    Stays,
    /// Reads for so long, and leaves.
    Leaves(Duration),
    /// Reads for so long, sleeps for so long, and reads on.
    Sleeps(Duration, Duration),
}

fn send(store: &Store, whole: Duration) -> Result<u64, Failure> {
    let orders = store.producer().build()?.topic(TOPIC)?;
    let began = Instant::now();
    let mut sent = 0_u64;
    while began.elapsed() < whole {
        orders.send(Record::new("an order").key(&sent.to_string()))?;
        sent += 1;
        thread::sleep(Duration::from_micros(200));
    }
    Ok(sent)
}

fn has_committed_all(store: &Store) -> Result<bool, Failure> {
    let committed = store.committed(GROUP)?;
    let of = |id| committed.iter().find(|(_, partition, _)| *partition == id);
    Ok(store.describe(TOPIC)?.partitions().iter().all(|partition| {
        let end = partition.end_offset();
        end.get() == 0 || of(partition.id()).is_some_and(|(_, _, at)| at.offset() == end)
    }))
}

fn member(store: &Store, row: &mut Row, part: Part, done: &AtomicBool) -> Result<(), Failure> {
    /// Short, so that the sleeper is expelled before the show is over.
    const INTERVAL: Duration = Duration::from_millis(300);
    let builder = store.consumer(GROUP).subscribe([TOPIC]).max_poll_interval(INTERVAL);
    let mut consumer = builder.build()?;
    let began = Instant::now();
    let mut read = 0_u64;
    let mut sleeps = true;
    while !done.load(Ordering::Acquire) {
        let records = consumer.poll(Duration::from_millis(20))?;
        read += records.len() as u64;
        match part {
            Part::Leaves(after) if began.elapsed() > after => {
                consumer.commit()?;
                row.end(&format!("left after {read} records"));
                return Ok(());
            }
            Part::Sleeps(after, long) if sleeps && began.elapsed() > after => {
                sleeps = false;
                row.note("asleep, with what it has read not committed");
                thread::sleep(long);
            }
            _ => {}
        }
        match consumer.commit() {
            Ok(()) => row.show(&consumer, read),
            Err(error) if error.is_fenced() => row.note(&format!("too late: {error}")),
            Err(error) => return Err(error.into()),
        }
    }
    row.end(&format!("read {read} records"));
    Ok(())
}

/// Where the members' rows are shown.
struct Board {
    bars: Option<MultiProgress>,
    began: Instant,
}

struct Row<'a> {
    board: &'a Board,
    name: &'static str,
    bar: Option<ProgressBar>,
    partitions: Option<String>,
}

impl Board {
    fn new() -> Self {
        let bars = std::io::stderr().is_terminal().then(MultiProgress::new);
        Board { bars, began: Instant::now() }
    }

    fn row(&self, name: &'static str) -> Row<'_> {
        let bar = self.bars.as_ref().map(|bars| {
            let style = ProgressStyle::with_template("{prefix:6} {wide_msg}").expect("a template");
            bars.add(ProgressBar::new_spinner().with_style(style).with_prefix(name))
        });
        Row { board: self, name, bar, partitions: None }
    }
}

impl Row<'_> {
    /// The member as it is now; a line only if its partitions have changed.
    fn show(&mut self, consumer: &Consumer, read: u64) {
        let assigned = consumer.assignment();
        let numbers: Vec<String> = assigned.iter().map(|(_, id)| format!("{id:>2}")).collect();
        let numbers = numbers.join(" ");
        let generation = consumer.membership().map_or(0, |member| member.generation().get());
        if let Some(bar) = &self.bar {
            bar.set_message(format!("generation {generation:>2}  [{numbers:36}] {read:>6} read"));
        } else if self.partitions.as_ref() != Some(&numbers) {
            self.line(&format!("generation {generation}, partitions [{numbers}]"));
        }
        self.partitions = Some(numbers);
    }

    fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None => self.line(text),
        }
    }

    fn end(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.finish_with_message(text.to_owned()),
            None => self.line(text),
        }
    }

    fn line(&self, text: &str) {
        let seconds = self.board.began.elapsed().as_secs_f64();
        println!("{seconds:6.3} s  {:6} {text}", self.name);
    }
}
