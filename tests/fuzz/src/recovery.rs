//! A lone log's directory, opened whatever it holds: another hand's files, or ours with damage.
//!
//! It opens or says why not. What it then reads comes in order; of our own log with flipped bits,
//! holes and missing ends nothing is read that was never written. Appends go on behind all of it,
//! a second opening finds the same, and verification sees the damage that reading met.

use std::path::Path;
use std::sync::Arc;

use tidelog::disk::{Access, Disk, DiskFile, MemoryDisk};
use tidelog::{Log, ManualClock, Offset, Record, Result, Timestamp, TopicConfig, Verifier};

use crate::feed::Feed;

const DIR: &str = "/orders-0";
const NAMES: [&str; 8] = [
    "00000000000000000000.log",
    "00000000000000000000.index",
    "00000000000000000000.timeindex",
    "00000000000000000000.digest",
    "00000000000000000009.log",
    "leader-epoch-checkpoint",
    "partition.metadata",
    "tidelog.keeper",
];

type Read = Vec<(i64, Option<Vec<u8>>)>;

/// What was appended to a log of ours, by offset.
struct Written {
    values: Vec<Vec<u8>>,
    /// What says that it is ours was harmed too: it opens as another hand's, where offsets may
    /// leave some out and nothing vouches for them. The values are none but those written.
    disowned: bool,
    /// How many times its files were damaged.
    damages: u32,
}

impl Written {
    fn has(&self, offset: i64, value: &Vec<u8>) -> bool {
        let at = usize::try_from(offset).ok().and_then(|at| self.values.get(at));
        at == Some(value) || (self.disowned && self.values.contains(value))
    }
}

/// What an opening came to.
#[derive(Default)]
struct Served {
    read: Read,
    /// Some of it was damaged.
    damage: bool,
    /// Some of it this version does not read: what lies behind it was not looked at.
    unread: bool,
}

pub fn run(input: &[u8]) {
    let mut feed = Feed(input);
    let flags = feed.byte();
    let (disk, written) = match flags & 1 {
        1 => (foreign(&mut feed, flags), None),
        _ => {
            let (disk, written) = ours(&mut feed, flags);
            (disk, Some(written))
        }
    };
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let Some(first) = serve(&disk, written.as_ref()) else { return };
    let Some(second) = serve(&disk, written.as_ref()) else {
        panic!("I8: it opened once, and not again");
    };
    // It may find more: what a digest was of and is cut in two, another one is of only in part. And
    // where three things are wrong at once, what named a place behind damage may be made anew.
    let mut again = second.read.iter();
    let is_much = written.as_ref().is_some_and(|written| written.damages > 2);
    let same =
        first.unread || is_much || first.read.iter().all(|read| again.any(|other| other == read));
    assert!(same, "I8: the second opening lacks records of the first");
    if first.damage {
        let report = Verifier::new(DIR).disk(disk).threads(1).run();
        assert!(report.is_ok_and(|report| !report.is_clean()), "damage is read, none verified");
    }
}

fn config() -> TopicConfig {
    TopicConfig::new().segment_bytes(1_024).index_interval_bytes(200).timestamp_after_max(None)
}

fn open(disk: &Arc<dyn Disk>) -> Result<Log> {
    let clock = ManualClock::new(Timestamp::from_millis(1_000));
    let builder = Log::builder(DIR).disk(disk.clone()).config(config());
    builder.clock(Arc::new(clock)).read_uncommitted().open()
}

/// Opens, reads all there is, appends, closes. `None` where it does not open.
fn serve(disk: &Arc<dyn Disk>, written: Option<&Written>) -> Option<Served> {
    let log = match open(disk) {
        Ok(log) => log,
        Err(error) => {
            let again = open(disk).map(drop).expect_err("I8: it opens the second time");
            assert_eq!(again.kind(), error.kind(), "I8: {error}, then {again}");
            return None;
        }
    };
    let mut found = Served::default();
    read_from(&log, log.start_offset(), &mut found);
    if let Some(written) = written {
        for (offset, value) in &found.read {
            let own = value.as_deref() == Some(b"after");
            let is_right = value.as_ref().is_some_and(|value| written.has(*offset, value));
            assert!(own || is_right, "I2: at {offset}");
        }
    }
    let end = log.end_offset();
    let sent = log.append(&[Record::new("after")]);
    if let Ok(receipt) = sent {
        assert!(receipt.first_offset() >= end, "I4: an offset is given out twice");
        let mut behind = Served::default();
        read_from(&log, receipt.first_offset(), &mut behind);
        let value = Some(b"after".to_vec());
        assert_eq!(behind.read, [(receipt.first_offset().get(), value)], "I1: what was just sent");
        found.read.extend(behind.read);
    }
    let _ = log.close();
    Some(found)
}

fn read_from(log: &Log, from: Offset, found: &mut Served) {
    let end = log.end_offset();
    let mut next = from;
    while next < end {
        match log.read(next, 2_000) {
            Ok(records) => {
                for record in &records {
                    assert!(record.offset() >= next && record.offset() < end, "I3");
                    next = Offset::new(record.offset().get() + 1);
                    found.read.push((record.offset().get(), record.value().map(<[u8]>::to_vec)));
                }
                if records.is_empty() {
                    return; // what is left holds no record: control batches, emptied ones
                }
            }
            Err(error) => {
                found.damage |= error.is_corrupt();
                let Ok(skipped) = log.skip_damage(next) else {
                    found.unread = true;
                    return;
                };
                assert!(skipped.end > next, "skipping goes on");
                next = skipped.end;
            }
        }
    }
}

fn put(disk: &MemoryDisk, name: &str, bytes: &[u8]) {
    let file = disk.open(&Path::new(DIR).join(name), Access::Create).expect("room");
    file.set_len(0).expect("room");
    let mut done = 0;
    while done < bytes.len() {
        done += file.write_at(&bytes[done..], done as u64).expect("room");
    }
}

/// A directory of somebody else: the log in the input, or several files, each behind its length.
fn foreign(feed: &mut Feed<'_>, flags: u8) -> MemoryDisk {
    let disk = MemoryDisk::new();
    disk.create_dir_all(DIR.as_ref()).expect("room");
    if flags & 2 == 0 {
        put(&disk, NAMES[0], feed.rest());
        return disk;
    }
    for _ in 0..6 {
        if feed.is_empty() {
            break;
        }
        let (which, length) = (feed.byte(), usize::from(feed.short()));
        put(&disk, NAMES[usize::from(which) % NAMES.len()], feed.bytes(length & 0x7ff));
    }
    disk
}

/// A log of ours, closed or not, and what happened to its files since.
fn ours(feed: &mut Feed<'_>, flags: u8) -> (MemoryDisk, Written) {
    let memory = MemoryDisk::new();
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let log = open(&disk).expect("a new log");
    let mut values = Vec::new();
    for number in 0..feed.byte() & 15 {
        let size = 10 + 14 * usize::from(feed.byte() & 31);
        let count = 1 + usize::from(number & 1);
        let batch: Vec<_> = (0..count).map(|one| vec![number * 2 + one as u8 + 1; size]).collect();
        let records: Vec<_> = batch.iter().map(Record::new).collect();
        log.append(&records).expect("room");
        values.extend(batch);
        if feed.byte() & 3 == 0 {
            log.flush().expect("room");
        }
    }
    if flags & 4 == 0 {
        log.close().expect("room");
    }
    let left = copy_of(&memory);
    drop(log);
    let mut names = names_in(&left);
    names.sort();
    let (mut disowned, mut damages) = (false, 0);
    for _ in 0..4 {
        if feed.is_empty() || names.is_empty() {
            break;
        }
        let name = names[feed.below(names.len() as u64) as usize].clone();
        disowned |= ["partition.metadata", "tidelog.keeper"].contains(&name.as_str());
        damages += 1;
        damage(&left, &name, feed);
        names = names_in(&left);
        names.sort();
    }
    (left, Written { values, disowned, damages })
}

fn names_in(disk: &MemoryDisk) -> Vec<String> {
    let entries = disk.list(DIR.as_ref()).expect("it is there");
    entries.into_iter().map(|entry| entry.name).filter(|name| !name.starts_with('.')).collect()
}

/// The files as the end of the process leaves them; nobody holds a lock.
fn copy_of(disk: &MemoryDisk) -> MemoryDisk {
    let copy = MemoryDisk::new();
    copy.create_dir_all(DIR.as_ref()).expect("room");
    for name in names_in(disk) {
        put(&copy, &name, &bytes_of(disk, &name));
    }
    copy
}

fn bytes_of(disk: &MemoryDisk, name: &str) -> Vec<u8> {
    let file = disk.open(&Path::new(DIR).join(name), Access::Read).expect("listed");
    read_all(&*file)
}

fn read_all(file: &dyn DiskFile) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.len().expect("a length")).expect("small")];
    let mut done = 0;
    while done < bytes.len() {
        done += file.read_at(&mut bytes[done..], done as u64).expect("read");
    }
    bytes
}

/// What disks do: a bit flips, a piece is zeros, an end is missing or zeros follow, a file is gone.
fn damage(disk: &MemoryDisk, name: &str, feed: &mut Feed<'_>) {
    let mut bytes = bytes_of(disk, name);
    let how = feed.byte();
    let at = feed.below(bytes.len() as u64) as usize;
    match how & 7 {
        0 => {
            disk.remove_file(&Path::new(DIR).join(name)).expect("listed");
            return;
        }
        1 => bytes.truncate(at),
        2 => bytes.resize(bytes.len() + 8 * usize::from(how >> 3), 0),
        3 => {
            let end = bytes.len().min(at + 16 * usize::from(how >> 3));
            bytes[at..end].fill(0);
        }
        _ if bytes.is_empty() => {}
        _ => bytes[at] ^= 1 << (how >> 5),
    }
    put(disk, name, &bytes);
}

pub fn seeds() -> Vec<Vec<u8>> {
    let log = |flags: u8| {
        [
            &[flags, 12][..],
            &[5, 0, 9, 1, 30, 2, 3, 0, 7, 1, 20, 1, 30, 0, 2, 1, 9, 1, 30, 0, 7, 1, 2, 3],
        ]
        .concat()
    };
    let mut seeds = vec![log(0), log(4)];
    for (file, how, at) in [(0, 4, 90), (1, 0, 0), (2, 1, 40), (0, 3, 70), (3, 9, 8), (0, 0x1a, 0)]
    {
        for flags in [0, 4] {
            seeds.push([log(flags), vec![file, how, 0, at]].concat());
        }
    }
    seeds
}
