//! The victim of `faults`: a little of everything on a store of its own, with what it was told of
//! each record said aloud and every error held to its word. And what the one who started it needs:
//! the pipes to it, a tracer, and the comparison of what is left with what was told.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use tidelog::disk::IoMode;
use tidelog::{
    BackgroundSync, Durability, Error, ErrorKind, Journal, Offset, Outcome, Record, Store,
    TopicConfig,
};

use crate::common::orders::values_of;

const ROLE: &str = "TIDELOG_FAULTS_ROLE";
pub const SENDS: usize = 40;
const BUS: i32 = 7;

fn value(partition: u32, number: usize) -> String {
    let size = if number % 7 == 6 { 70_000 } else { 200 }; // by position; through the map
    format!("{partition}:{number}:{}", "x".repeat(size))
}

fn say(line: &str) {
    // the one who listens may have failed
    let _ = std::io::stdout().lock().write_all(format!("{line}\n").as_bytes());
}

fn wait_for_a_word() {
    let mut word = String::new();
    std::io::stdin().read_line(&mut word).expect("a word");
}

/// What any error must be, whatever was refused.
fn hold_to_its_word(error: &Error, dir: &Path) {
    let placed = error.path().is_some_and(|path| path.starts_with(dir));
    let known = matches!(error.kind(), ErrorKind::Io | ErrorKind::Full | ErrorKind::Poisoned);
    assert!(known && (placed || error.partition().is_some()), "{error}");
    assert!(!error.is_corrupt(), "a refusal is no damage: {error}");
}

fn send(store: &Store, number: usize, expected: &mut [Vec<String>; 2]) -> Result<(), Error> {
    let partition = u32::try_from(number % 2).expect("small");
    let word = if number.is_multiple_of(3) { Durability::Power } else { Durability::Process };
    let producer = store.producer().durability(word).build()?.topic("t")?;
    let value = value(partition, number);
    let sent = producer.send_to(partition, Record::new(&value)).map(drop);
    let heard = match &sent {
        Ok(()) if word == Durability::Power => "durable",
        Ok(()) => "sent",
        Err(error) if error.outcome() == Outcome::NotWritten => "refused",
        Err(error) if error.outcome() == Outcome::WrittenNotDurable => "sent",
        Err(_) => "doubtful",
    };
    say(&format!("{heard} {partition} {number}"));
    if heard == "sent" || heard == "durable" {
        expected[partition as usize].push(value);
    }
    sent
}

fn something_else(store: &Store, number: usize) -> Result<(), Error> {
    match number {
        9 => store.flush(),
        12 => store.create_topic("other", TopicConfig::new()).map(drop),
        16 => match store.delete_topic("other") {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()), // it was never made
            done => done,
        },
        22 => store.partition("t", 0)?.flush(),
        26 => store.reset_offsets("g", [("t", 0, Offset::ZERO)], Durability::Power),
        30 => store.apply_retention().map(drop),
        _ => Ok(()),
    }
}

fn work(dir: &Path, mode: IoMode, journal: Journal) -> Result<(), Error> {
    let builder = Store::builder(dir).io_mode(mode).background_sync(BackgroundSync::OFF);
    let store = builder.journal(journal).open()?;
    store.ensure_topic("t", TopicConfig::new().partitions(2).segment_bytes(200_000))?;
    let mut expected = [Vec::new(), Vec::new()];
    for number in 0..SENDS {
        if number == SENDS / 2 {
            say("half");
            wait_for_a_word();
        }
        let done = [send(&store, number, &mut expected), something_else(&store, number)];
        for error in done.iter().filter_map(|done| done.as_ref().err()) {
            hold_to_its_word(error, dir);
            for (partition, expected) in (0..).zip(&expected) {
                match values_of(&store, "t", partition) {
                    Ok(values) => assert!(values == *expected, "{partition} after {error}"),
                    Err(error) => hold_to_its_word(&error, dir),
                }
            }
        }
    }
    store.close()
}

/// The victim's part; the tests themselves have no role and do nothing here.
#[test]
fn role() {
    let Ok(role) = env::var(ROLE) else { return };
    let words: Vec<&str> = role.splitn(3, ' ').collect();
    let mode = if words[0] == "mapped" { IoMode::Mapped } else { IoMode::Positioned };
    let journal = if words[1] == "off" { Journal::Off } else { Journal::Bytes(1 << 20) };
    let dir = Path::new(words[2]);
    say("ready");
    wait_for_a_word();
    if let Err(error) = work(dir, mode, journal) {
        hold_to_its_word(&error, dir);
    }
    say("the end");
}

/// What a victim was told of each record, by partition: durable, sent, refused, doubtful.
#[derive(Debug, Default)]
pub struct Told {
    pub durable: Vec<usize>,
    sent: Vec<usize>,
    refused: Vec<usize>,
    pub half: bool,
    pub ended: bool,
}

impl Told {
    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["half"] => self.half = true,
            ["the", "end"] => self.ended = true,
            [what, _, number] => {
                let Ok(number) = number.parse() else { return };
                match what {
                    "durable" => self.durable.push(number),
                    "sent" => self.sent.push(number),
                    "refused" => self.refused.push(number),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// Compares with what was told; `cut`: only what is durable, and what came before it, was
    /// promised.
    pub fn compare(&self, found: &[Vec<String>; 2], cut: bool) -> Result<(), String> {
        for (partition, found) in (0..).zip(found) {
            let numbers: Option<Vec<usize>> =
                found.iter().map(|value| value.split(':').nth(1)?.parse().ok()).collect();
            let numbers = numbers.ok_or_else(|| format!("I2: {partition}: no value of ours"))?;
            let whole = |number: &usize| value(partition, *number);
            if numbers.iter().map(whole).ne(found.iter().cloned()) {
                return Err(format!("I2: {partition}: a record is not as it was sent"));
            }
            if !numbers.is_sorted_by(|one, next| one < next) {
                return Err(format!("I3: {partition}: {numbers:?}"));
            }
            let ours = |number: &&usize| **number % 2 == partition as usize;
            if let Some(one) = self.refused.iter().find(|one| numbers.contains(one)) {
                return Err(format!("I2: {partition}: {one} was called not written"));
            }
            let safe = self.durable.iter().filter(ours).max();
            for told in self.sent.iter().chain(&self.durable).filter(ours) {
                let promised = !cut || safe.is_some_and(|safe| told <= safe);
                if promised && !numbers.contains(told) {
                    return Err(format!("I1: {partition}: {told} is lost of {numbers:?}"));
                }
            }
        }
        Ok(())
    }
}

/// Opens what is left without any fault and reads it.
pub fn found(dir: &Path, mode: IoMode) -> Result<[Vec<String>; 2], String> {
    let store = Store::builder(dir).io_mode(mode).open().map_err(|error| format!("I8: {error}"))?;
    let report = store.open_report();
    if !report.failed_partitions().is_empty() {
        return Err(format!("I8: {:?}", report.failed_partitions()));
    }
    if let Some(one) = report.partitions().iter().find(|one| !one.damage().is_empty()) {
        return Err(format!("I10: {one:?}"));
    }
    let mut found = [Vec::new(), Vec::new()];
    if store.describe("t").is_ok() {
        for (partition, found) in (0..).zip(&mut found) {
            *found = values_of(&store, "t", partition).map_err(|error| format!("I7: {error}"))?;
        }
        let topic = store.producer().durability(Durability::Power).build();
        let topic = topic.and_then(|producer| producer.topic("t")).map_err(|e| e.to_string())?;
        topic.send_to(0, Record::new("after")).map_err(|error| format!("I8: {error}"))?;
    }
    store.close().map_err(|error| format!("I8: {error}"))?;
    Ok(found)
}

/// A victim and the pipes to it.
pub struct Victim {
    pub child: Child,
    said: BufReader<ChildStdout>,
}

impl Victim {
    pub fn start(dir: &Path, mode: IoMode, journal: bool) -> Victim {
        let mode = if mode == IoMode::Mapped { "mapped" } else { "positioned" };
        let journal = if journal { "on" } else { "off" };
        // a file that may not grow is an error here, not the end of the process
        let quiet = "trap '' XFSZ; exec \"$@\"";
        let program = env::current_exe().expect("this test has a path");
        let mut command = Command::new("sh");
        command.args(["-c", quiet, "sh"]).arg(program);
        command.args(["--exact", "refused::role", "--nocapture"]);
        command.env(ROLE, format!("{mode} {journal} {}", dir.display()));
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().expect("it starts");
        let said = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut victim = Victim { child, said };
        let mut ready = Told::default();
        victim.listen(&mut ready, |line, _| line == "ready");
        victim
    }

    pub fn go(&mut self) {
        let pipe = self.child.stdin.as_mut().expect("a pipe");
        // it may have ended
        let _ = pipe.write_all(b"go\n");
    }

    pub fn listen(&mut self, told: &mut Told, enough: impl Fn(&str, &Told) -> bool) {
        let mut line = String::new();
        while self.said.read_line(&mut line).is_ok_and(|read| read > 0) {
            // the harness may say something on the same line
            let word = line.trim_end().rsplit("... ").next().unwrap_or_default();
            told.hear(word);
            if enough(word, told) {
                return;
            }
            line.clear();
        }
    }

    /// Whether it came to its end, or the kernel ended it over a page that it would not write.
    pub fn end(mut self) -> Result<bool, String> {
        let mut failed = String::new();
        if let Some(pipe) = &mut self.child.stderr {
            std::io::Read::read_to_string(pipe, &mut failed).expect("what it said");
        }
        let status = self.child.wait().expect("waited for");
        match status.signal() {
            Some(BUS) => Ok(false),
            _ if status.success() => Ok(true),
            _ => Err(format!("I7: {status}: {failed}")),
        }
    }
}

/// A tracer of a victim that is ready, and what it noted.
pub struct Tracer {
    child: Child,
    notes: PathBuf,
}

impl Tracer {
    pub fn of(victim: &Victim, calls: &str, inject: Option<&str>, notes: PathBuf) -> Tracer {
        let mut command = Command::new("strace");
        command.args(["-f", "-p", &victim.child.id().to_string()]);
        command.args(["-e", &format!("trace={calls}")]);
        if let Some(inject) = inject {
            command.args(["-e", &format!("inject={inject}")]);
        }
        command.arg("-o").arg(&notes);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let mut said = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut line = String::new();
        said.read_line(&mut line).expect("it says that it has the victim");
        assert!(line.contains("attached"), "{line}");
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Tracer { child, notes }
    }

    /// What it noted; it ends with its victim.
    pub fn notes(mut self) -> String {
        self.child.wait().expect("waited for");
        let notes = fs::read_to_string(&self.notes).unwrap_or_default();
        fs::remove_file(&self.notes).unwrap_or_default();
        notes
    }
}
