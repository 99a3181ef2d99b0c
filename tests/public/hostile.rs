//! Directories that lie: whatever a file of a log says that is not so, with checksums that are
//! right where the lie lies behind them, is a typed error or a documented repair, and harms
//! nothing else.
//!
//! The source is a log of several segments with plain, numbered, committed and aborted records
//! under three leader epochs. A [`Lie`] is planted in a copy, which is then opened in every
//! [`Stance`]: written by us or by another hand, closed or not, with a recovery point behind
//! the lie or none. Then everything is read, appended to, verified, closed, opened and read
//! again. A record outside of what the lie is about may never be changed and never be gone, but
//! where recovery may cut the tail, and then its bytes are saved aside. What came of it is said
//! in one [`Felt`] for each stance, which the tests hold to a table.

mod contents;
mod judge;
mod leftovers;
mod order;
mod roots;
mod sidecars;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use tidelog::disk::{Access, Disk, MemoryDisk};
use tidelog::{
    ErrorKind, Log, LogBuilder, ManualClock, MarkerKind, Offset, ProducerEpoch, ProducerId,
    ProducerIdentity, Record, Timestamp, TopicConfig,
};

use judge::{hold, opened, read_all};

const DIR: &str = "/logs/orders-0";
const START: i64 = 1_700_000_000_000;

/// The files of a directory by name.
type Files = BTreeMap<String, Vec<u8>>;
/// What is read: by offset the timestamp, key and value.
type Contents = BTreeMap<i64, (Option<i64>, Option<Vec<u8>>, Option<Vec<u8>>)>;

/// Who had the directory, and how it was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stance {
    /// Closed by us: all of it is vouched for.
    Closed,
    /// We were killed; of what lies behind the last open nothing is known to be saved.
    Killed,
    /// Another hand closed it.
    OthersClosed,
    /// Another hand did not; its recovery point lies behind the lie.
    OthersKilledSaved,
    /// Another hand did not, and nothing says how far it was saved.
    OthersKilled,
}

const STANCES: [Stance; 5] = [
    Stance::Closed,
    Stance::Killed,
    Stance::OthersClosed,
    Stance::OthersKilledSaved,
    Stance::OthersKilled,
];

impl Stance {
    /// Whether recovery may take what lies behind a lie for a tail.
    fn may_cut(self) -> bool {
        self == Stance::OthersKilled
    }
}

/// What came of a lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Felt {
    /// Every record is read as it was.
    Whole,
    /// What the lie is about cannot be read, with a typed error; all the rest can.
    Error,
    /// The lie is a batch like any other: its records are other ones.
    Changed,
    /// What the lie is about is left out: readers are told nothing.
    Gone,
    /// The log ends before the lie; what lies behind is saved aside.
    Cut,
    /// The directory is not opened; nothing in it changes.
    Refused,
}

/// A lie: a name, what it does to the files, the offsets it is about.
struct Lie {
    name: &'static str,
    plant: Box<dyn Fn(&mut Files)>,
    about: Range<i64>,
    /// Markers are among what goes: what is committed cannot be told any more.
    takes_markers: bool,
}

impl Lie {
    fn new(name: &'static str, about: Range<i64>, plant: impl Fn(&mut Files) + 'static) -> Lie {
        Lie { name, plant: Box::new(plant), about, takes_markers: false }
    }

    /// It is about more than the batch itself.
    fn about(self, about: Range<i64>) -> Lie {
        Lie { about, ..self }
    }

    fn takes_markers(self) -> Lie {
        Lie { takes_markers: true, ..self }
    }
}

/// The log that is lied about.
struct Source {
    closed: Files,
    killed: Files,
    committed: Contents,
    all: Contents,
    /// All batches in order: segment, position, bytes.
    batches: Vec<(String, usize, Vec<u8>)>,
    /// The first offset of each segment.
    bases: Vec<i64>,
    /// Up to where the kill found everything saved.
    saved: i64,
    end: i64,
}

fn off(offset: i64) -> Offset {
    Offset::new(offset)
}

fn config() -> TopicConfig {
    TopicConfig::new().segment_bytes(1_024).index_interval_bytes(150)
}

fn builder(disk: &Arc<MemoryDisk>) -> LogBuilder {
    let clock = ManualClock::new(Timestamp::from_millis(START));
    Log::builder(DIR).config(config()).disk(disk.clone()).clock(Arc::new(clock))
}

fn get(disk: &MemoryDisk, name: &str) -> Vec<u8> {
    let file = disk.open(&Path::new(DIR).join(name), Access::Read).expect("a file");
    let mut bytes = vec![0; usize::try_from(file.len().expect("a length")).expect("small")];
    let mut done = 0;
    while done < bytes.len() {
        done += file.read_at(&mut bytes[done..], done as u64).expect("it reads");
    }
    bytes
}

fn files(disk: &MemoryDisk) -> Files {
    let entries = disk.list(Path::new(DIR)).expect("its directory");
    let names = entries.into_iter().filter(|entry| !entry.is_dir).map(|entry| entry.name);
    let names = names.filter(|name| name != ".lock");
    names.map(|name| (name.clone(), get(disk, &name))).collect()
}

fn disk_of(files: &Files) -> Arc<MemoryDisk> {
    let disk = Arc::new(MemoryDisk::new());
    disk.create_dir_all(Path::new(DIR)).expect("a directory");
    for (name, bytes) in files {
        let file = disk.open(&Path::new(DIR).join(name), Access::Create).expect("a file");
        file.set_len(0).expect("empty");
        if !bytes.is_empty() {
            assert_eq!(file.write_at(bytes, 0).expect("written"), bytes.len());
        }
    }
    disk
}

/// The whole batches of a log file, with where they begin.
fn split(bytes: &[u8]) -> Vec<(usize, &[u8])> {
    let (mut at, mut found) = (0, Vec::new());
    while let Some(header) = bytes.get(at..at + 61) {
        let length = u32::from_be_bytes(header[8..12].try_into().expect("four bytes"));
        if length == 0 {
            break; // the rest of a window
        }
        let end = at + 12 + length as usize;
        let Some(batch) = bytes.get(at..end) else { break };
        found.push((at, batch));
        at = end;
    }
    found
}

fn base_of(batch: &[u8]) -> i64 {
    i64::from_be_bytes(batch[..8].try_into().expect("eight bytes"))
}

fn last_of(batch: &[u8]) -> i64 {
    base_of(batch) + i64::from(u32::from_be_bytes(batch[23..27].try_into().expect("four bytes")))
}

fn log_name(base: i64) -> String {
    format!("{base:020}.log")
}

/// One round of everything; each open has a leader epoch of its own.
fn fill(log: &Log, round: i64) {
    let by = |id| ProducerIdentity::new(ProducerId::new(id), ProducerEpoch::new(0));
    let mut time = START + round * 1_000;
    for _ in 0..5 {
        for (id, what) in [(0, "plain"), (7, "numbered"), (9, "committed"), (11, "aborted")] {
            let values = [0, 1].map(|number| {
                time += 7;
                (format!("key {number}"), format!("{what} {time} {}", "v".repeat(20)), time)
            });
            let records = values.each_ref().map(|(key, value, time)| {
                Record::new(value).key(key).timestamp(Timestamp::from_millis(*time))
            });
            let next = log.next_sequence(by(id)).expect("a sequence");
            let appended = match id {
                0 => log.append(&records),
                7 => log.append_produced(&records, by(id), next),
                _ => log.append_transactional(&records, by(id), next),
            };
            appended.expect("an append");
        }
    }
    log.append_marker(by(9), 0, MarkerKind::Commit).expect("a marker");
    log.append_marker(by(11), 0, MarkerKind::Abort).expect("a marker");
}

impl Source {
    fn new() -> Source {
        let disk = Arc::new(MemoryDisk::new());
        // markers are as old as the last records before them
        let time = |round: i64| Timestamp::from_millis(START + round * 1_000 + 280);
        let builder_at = |round| builder(&disk).clock(Arc::new(ManualClock::new(time(round))));
        for round in 0..2 {
            let log = builder_at(round).open().expect("it opens");
            fill(&log, round);
            log.close().expect("it closes");
        }
        let log = builder_at(2).open().expect("it opens");
        let saved = log.end_offset().get();
        fill(&log, 2);
        let killed = files(&disk);
        log.close().expect("it closes");
        let closed = files(&disk);
        let read = |uncommitted| {
            let log = opened(&disk_of(&closed), Stance::Closed, 0, uncommitted).expect("sound");
            let (contents, faults) = read_all(&log, &(0..0));
            assert!(faults.is_empty(), "{faults:?}");
            contents
        };
        let logs = closed.iter().filter(|(name, _)| name.ends_with(".log"));
        let batches: Vec<_> = logs
            .flat_map(|(name, bytes)| {
                let split = split(bytes).into_iter();
                split.map(|(at, batch)| (name.clone(), at, batch.to_vec()))
            })
            .collect();
        let logs = closed.keys().filter_map(|name| name.strip_suffix(".log"));
        let bases: Vec<i64> = logs.map(|base| base.parse().expect("a base")).collect();
        let end = last_of(&batches.last().expect("batches").2) + 1;
        assert!(bases.len() > 5, "{bases:?}");
        let source = Source {
            committed: read(false),
            all: read(true),
            closed,
            killed,
            batches,
            bases,
            saved,
            end,
        };
        assert_eq!(source.all.len() as i64, end - 6, "all but the markers");
        assert_eq!(source.committed.len() as i64, end - 6 - 30, "all but what was aborted");
        source
    }

    /// The files of a stance, before anything is planted.
    fn files(&self, stance: Stance) -> Files {
        let ours = |name: &str| name.starts_with("tidelog") || name.ends_with(".digest");
        match stance {
            Stance::Closed => self.closed.clone(),
            Stance::Killed => self.killed.clone(),
            _ => {
                let files = self.closed.iter().filter(|(name, _)| !ours(name));
                files.map(|(name, bytes)| (name.clone(), bytes.clone())).collect()
            }
        }
    }

    /// A batch of the middle of a segment that is sealed and saved, by what its values begin with.
    fn batch(&self, of: &str) -> Place {
        let sealed = &self.bases[1..self.bases.len() - 1];
        let found = self.batches.iter().find(|(name, at, batch)| {
            let base = name.trim_end_matches(".log").parse().expect("a base");
            let is_middle = *at > 0 && sealed.contains(&base) && last_of(batch) < self.saved / 2;
            is_middle && batch.windows(of.len()).any(|bytes| bytes == of.as_bytes())
        });
        let (name, at, batch) = found.expect("one of the kind");
        Place { name: name.clone(), at: *at, about: base_of(batch)..last_of(batch) + 1 }
    }

    /// Where the offsets of a segment end.
    fn end_of_segment(&self, name: &str) -> i64 {
        let base: i64 = name.trim_end_matches(".log").parse().expect("a base");
        self.bases.iter().copied().find(|next| *next > base).unwrap_or(self.end)
    }

    /// A marker in a sealed and saved segment.
    fn marker(&self) -> Place {
        let is_control = |batch: &[u8]| batch[22] & 0x20 > 0;
        let found = self.batches.iter().find(|(_, at, batch)| *at > 0 && is_control(batch));
        let (name, at, batch) = found.expect("a marker");
        assert!(base_of(batch) < self.saved / 2);
        Place { name: name.clone(), at: *at, about: base_of(batch)..last_of(batch) + 1 }
    }
}

/// Where a batch lies, and its offsets.
#[derive(Clone, Debug)]
struct Place {
    name: String,
    at: usize,
    about: Range<i64>,
}

impl Place {
    /// Changes the batch as `change` says, length included, and makes its checksum right.
    fn lie(&self, name: &'static str, change: impl Fn(&mut Vec<u8>) + 'static) -> Lie {
        let place = self.clone();
        Lie::new(name, self.about.clone(), move |files| place.change(files, &change))
    }

    fn change(&self, files: &mut Files, change: impl Fn(&mut Vec<u8>)) {
        let log = files.get_mut(&self.name).expect("its segment");
        let length = u32::from_be_bytes(log[self.at + 8..self.at + 12].try_into().expect("four"));
        let range = self.at..self.at + 12 + length as usize;
        let mut batch = log[range.clone()].to_vec();
        change(&mut batch);
        seal(&mut batch);
        log.splice(range, batch);
    }
}

/// Makes a batch's checksum right.
fn seal(batch: &mut [u8]) {
    let sum = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&sum.to_be_bytes());
}
