//! The victim: a process that writes to a store with a thread for each partition, and says of each
//! append that returned how far its partition is acknowledged; or to many partitions, which it
//! makes durable together by a flush or a close. And the one who started it.
//!
//! Each value says where it was appended, so whoever reads needs nothing else to know it.

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tidelog::disk::IoMode;
use tidelog::{BackgroundSync, Durability, Journal, Record, Store, TopicConfig};

const ROLE: &str = "TIDELOG_KERNEL_ROLE";
const PARTITIONS: u32 = 2;
/// So many that the disk syncs them at once.
const MANY_PARTITIONS: u32 = 100;

/// How a victim writes.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    pub mode: IoMode,
    pub word: Word,
    /// Bytes of a segment: of few, or so many that its windows come to be made ready ahead.
    pub segment: u64,
}

/// Segments that a victim fills several of before its end.
pub const SMALL: u64 = 200_000;
/// Segments with room for the largest windows.
pub const LARGE: u64 = 16 << 20;

/// By what a victim knows that records are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Each append by itself, of few partitions.
    Of(Durability),
    /// A flush or a close, of many.
    Together,
}

/// Acknowledged ends by partition.
pub type Ends = BTreeMap<u32, i64>;

pub fn value(partition: u32, offset: i64) -> String {
    let size = match offset % 50 {
        49 => 70_000, // by position, whatever the mode
        at => at * 7,
    };
    format!("{partition}:{offset}:{}", "x".repeat(usize::try_from(size).unwrap_or(0)))
}

fn say(line: &str) {
    // nobody listens any more: the end is near
    let _ = std::io::stdout().lock().write_all(format!("{line}\n").as_bytes());
}

fn write(store: &Store, partition: u32, word: Durability) {
    let producer = store.producer().durability(word).build().expect("a producer");
    let topic = producer.topic("t").expect("the topic");
    let described = store.describe("t").expect("the topic");
    let mut end = described.partitions()[partition as usize].end_offset().get();
    say(&format!("found {partition} {end}"));
    loop {
        let count = 1 + end % 3;
        let values: Vec<String> = (end..end + count).map(|at| value(partition, at)).collect();
        let records: Vec<Record<'_>> = values.iter().map(Record::new).collect();
        let Ok(receipt) = topic.send_batch_to(partition, &records) else { return };
        assert_eq!(receipt.base_offset().get(), end);
        end += count;
        say(&format!("sent {partition} {end}"));
    }
}

fn open(dir: &str, mode: IoMode, partitions: u32, segment: u64) -> Store {
    let builder = Store::builder(dir).io_mode(mode).background_sync(BackgroundSync::OFF);
    let builder = builder.journal(Journal::Bytes(1 << 20));
    let store = builder.open().expect("a store that opens");
    let config = TopicConfig::new().partitions(partitions).segment_bytes(segment);
    store.ensure_topic("t", config).expect("the topic");
    store
}

fn write_together(dir: &str, mode: IoMode) {
    let mut ends: Ends = Ends::new();
    loop {
        let store = open(dir, mode, MANY_PARTITIONS, SMALL);
        let described = store.describe("t").expect("the topic");
        for (partition, found) in (0..).zip(described.partitions()) {
            ends.insert(partition, found.end_offset().get());
        }
        let topic = store.producer().build().expect("a producer").topic("t").expect("the topic");
        for flushes in [true, false] {
            for (partition, end) in &mut ends {
                let value = value(*partition, *end);
                let Ok(_) = topic.send_batch_to(*partition, &[Record::new(&value)]) else { return };
                *end += 1;
            }
            let durable = if flushes { store.flush() } else { store.close() };
            let Ok(()) = durable else { return };
            ends.iter().for_each(|(partition, end)| say(&format!("sent {partition} {end}")));
        }
    }
}

/// The victim's part; the tests themselves have no role and do nothing here.
#[test]
fn role() {
    let Ok(role) = env::var(ROLE) else { return };
    let words: Vec<&str> = role.splitn(4, ' ').collect();
    let mode = if words[0] == "mapped" { IoMode::Mapped } else { IoMode::Positioned };
    let word = match words[1] {
        "power" => Durability::Power,
        "process" => Durability::Process,
        _ => return write_together(words[3], mode),
    };
    let store = open(words[3], mode, PARTITIONS, words[2].parse().expect("a number of bytes"));
    std::thread::scope(|scope| {
        for partition in 0..PARTITIONS {
            let store = &store;
            scope.spawn(move || write(store, partition, word));
        }
    });
}

/// A victim at work, and what it has said.
pub struct Victim {
    child: Child,
    said: Arc<Mutex<(Ends, Ends)>>,
    listener: Option<JoinHandle<()>>,
}

impl Victim {
    pub fn start(dir: &Path, manner: Manner) -> Self {
        let mode = if manner.mode == IoMode::Mapped { "mapped" } else { "positioned" };
        let word = match manner.word {
            Word::Of(Durability::Power) => "power",
            Word::Of(_) => "process",
            Word::Together => "together",
        };
        let mut command = Command::new(env::current_exe().expect("this test has a path"));
        command.args(["--exact", "writer::role", "--nocapture"]);
        command.env(ROLE, format!("{mode} {word} {} {}", manner.segment, dir.display()));
        let command = command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("it starts");
        let pipe = BufReader::new(child.stdout.take().expect("a pipe"));
        let said = Arc::new(Mutex::new((Ends::new(), Ends::new())));
        let heard = said.clone();
        let listener = std::thread::spawn(move || {
            for line in pipe.lines().map_while(Result::ok) {
                let words: Vec<&str> = line.split(' ').collect();
                let [what, partition, end] = words[..] else { continue };
                let (Ok(partition), Ok(end)) = (partition.parse(), end.parse()) else { continue };
                let mut said = heard.lock().expect("whole");
                match what {
                    "found" => drop(said.0.insert(partition, end)),
                    "sent" => drop(said.1.insert(partition, end)),
                    _ => {}
                }
            }
        });
        Victim { child, said, listener: Some(listener) }
    }

    /// What it has been told so far is acknowledged.
    pub fn acknowledged(&self) -> Ends {
        self.said.lock().expect("whole").1.clone()
    }

    /// Whether it has ended by itself, which no victim may.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("asked").is_some()
    }

    /// Ends it; what it found at its start, and all that it has said before its end.
    pub fn kill(mut self) -> (Ends, Ends) {
        self.child.kill().expect("SIGKILL is sent");
        self.child.wait().expect("waited for");
        self.listener.take().expect("one").join().expect("it listened to the end");
        self.said.lock().expect("whole").clone()
    }
}

/// Opens what is left and compares every record with its place; the ends, or what is wrong.
pub fn judge(dir: &Path, mode: IoMode, acknowledged: &Ends) -> Result<Ends, String> {
    let store = Store::builder(dir).io_mode(mode).open().map_err(|error| format!("I8: {error}"))?;
    let report = store.open_report();
    if !report.failed_partitions().is_empty() {
        return Err(format!("I8: {:?}", report.failed_partitions()));
    }
    if let Some(one) = report.partitions().iter().find(|one| !one.damage().is_empty()) {
        return Err(format!("I10: {one:?}"));
    }
    let mut ends = Ends::new();
    if let Ok(described) = store.describe("t") {
        ends.extend((0..).zip(described.partitions()).map(|(partition, _)| (partition, 0)));
        let mut reader = store.reader().subscribe(["t"]).build().map_err(|e| e.to_string())?;
        loop {
            let records = reader.try_poll().map_err(|error| format!("I7: {error}"))?;
            if records.is_empty() {
                break;
            }
            for record in &records {
                let (partition, offset) = (record.partition().get(), record.offset().get());
                let next = ends.insert(partition, offset + 1).unwrap_or(0);
                let wanted = value(partition, offset);
                if next != offset || record.value() != Some(wanted.as_bytes()) {
                    return Err(format!("I2, I3: at {partition}:{offset}, {next} was next"));
                }
            }
        }
    }
    for (partition, end) in acknowledged {
        let found = ends.get(partition).copied().unwrap_or(0);
        if found < *end {
            return Err(format!("I1: {partition} ends at {found}, {end} acknowledged"));
        }
    }
    Ok(ends)
}
