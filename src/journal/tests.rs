//! Tests of the journal by itself: how it is made, used and filled; beside that its layout, its
//! laps and its failures.

#[cfg(feature = "sim")]
mod failing;
mod laps;
mod layout;
#[cfg(feature = "sim")]
mod making;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::file::half_of;
use super::frame::{Content, FILE_HEAD, FileHead, HEAD, Standing, put};
use super::replay::scan;
use super::*;
use crate::disk::names::JOURNAL;
use crate::disk::{Access, Disk, MemoryDisk, write_all_at};
use crate::error::ErrorKind;
use crate::ids::{LeaderEpoch, LogId, Offset, PartitionId, TopicId};
use crate::sync::Mutex;

const STORE: [u8; 16] = [7; 16];
const HALF: u64 = 4096;
const ROOT: &str = "/store";

fn reign(epoch: i32) -> Reign {
    Reign { store: STORE, epoch: LeaderEpoch::new(epoch) }
}

fn log(number: u8) -> LogId {
    let topic = TopicId::from_bytes([number + 1; 16]).unwrap();
    LogId { topic, partition: PartitionId::new(u32::from(number)) }
}

fn extent(number: u8, first: i64, end: i64) -> Extent {
    let (first, end) = (Offset::new(first), Offset::new(end));
    Extent { log: log(number), segment: Offset::ZERO, position: 0, first, end }
}

/// Notes what a journal asks for.
#[derive(Debug, Default)]
struct Asked(Mutex<(u32, Vec<LogId>)>);

impl Upkeep for Asked {
    fn due(&self) {
        self.0.lock().0 += 1;
    }

    fn sync_segments(&self, logs: &[LogId]) {
        self.0.lock().1.extend(logs);
    }
}

fn journal_on(disk: &(impl Disk + Clone + 'static)) -> (Journal, Arc<Asked>) {
    disk.create_dir_all(Path::new(ROOT)).unwrap();
    let asked = Arc::new(Asked::default());
    let size = FILE_HEAD + 2 * HALF;
    let journal = Journal::new(Arc::new(disk.clone()), Path::new(ROOT), size, asked.clone());
    (journal, asked)
}

fn commit(journal: &Journal, extent: &Extent, batches: &[u8]) -> Kept {
    match journal.gather(extent, batches) {
        Some(ticket) => journal.settle(ticket).unwrap(),
        None => Kept::No,
    }
}

#[test]
fn a_journal_is_made_when_it_is_first_asked_for_and_used_again() {
    let disk = MemoryDisk::new();
    let (journal, asked) = journal_on(&disk);
    assert_eq!(commit(&journal, &extent(0, 0, 1), b"x"), Kept::No, "it sleeps");
    journal.begin(STORE, LeaderEpoch::new(3));
    for _ in 0..2 {
        assert_eq!(commit(&journal, &extent(0, 0, 1), b"x"), Kept::No);
        assert_eq!(asked.0.lock().0, 1, "asked at once, and once");
    }
    journal.keep_up(|_| Ok(()));
    assert_eq!(commit(&journal, &extent(0, 0, 1), b"x"), Kept::Yes);
    let path = Path::new(ROOT).join(JOURNAL);
    let frames = read(&disk, &path, &reign(3)).unwrap().unwrap();
    assert_eq!(frames[0].extent, extent(0, 0, 1));
    assert_eq!(half_of(FILE_HEAD + 2 * HALF), HALF);
    // the next open
    let (journal, _) = journal_on(&disk);
    journal.begin(STORE, LeaderEpoch::new(4));
    let _ = commit(&journal, &extent(0, 1, 2), b"y");
    journal.keep_up(|_| Ok(()));
    assert_eq!(commit(&journal, &extent(0, 1, 2), b"y"), Kept::Yes);
    assert_eq!(read(&disk, &path, &reign(3)).unwrap(), None, "written over");
    assert_eq!(read(&disk, &path, &reign(4)).unwrap().unwrap().len(), 1);
    let foreign = Reign { store: [9; 16], ..reign(4) };
    assert!(read(&disk, &path, &foreign).unwrap_err().is_corrupt());
}

#[test]
fn a_newer_journal_is_refused_and_kept() {
    let disk = MemoryDisk::new();
    let (journal, _) = journal_on(&disk);
    let path = Path::new(ROOT).join(JOURNAL);
    let mut head = FileHead { store: STORE, half: HALF }.encode();
    head[8..12].copy_from_slice(&9u32.to_be_bytes());
    let crc = crc32c::crc32c(&head[..36]);
    head[36..].copy_from_slice(&crc.to_be_bytes());
    let file = disk.open(&path, Access::Create).unwrap();
    write_all_at(&*file, &head, 0).unwrap();
    assert_eq!(read(&disk, &path, &reign(3)).unwrap_err().kind(), ErrorKind::NewerVersion);
    journal.begin(STORE, LeaderEpoch::new(3));
    let _ = commit(&journal, &extent(0, 0, 1), b"x");
    journal.keep_up(|_| Ok(()));
    assert_eq!(commit(&journal, &extent(0, 0, 1), b"x"), Kept::No);
    assert_eq!(file.len().unwrap(), head.len() as u64);
}

#[test]
fn who_pins_space_is_asked_to_sync_and_the_journal_goes_on() {
    let disk = MemoryDisk::new();
    let (journal, asked) = journal_on(&disk);
    journal.begin(STORE, LeaderEpoch::new(3));
    let _ = commit(&journal, &extent(0, 0, 1), b"x");
    journal.keep_up(|_| Ok(()));
    let fill = |number, from| {
        let mut end = from;
        while commit(&journal, &extent(number, end, end + 1), &[0; 300]) == Kept::Yes {
            end += 1;
            assert!(end < from + 100, "nothing is ever full");
        }
        end
    };
    let end = fill(0, 0);
    assert_eq!(asked.0.lock().1, [log(0)], "asked when the second lap began");
    assert_eq!(commit(&journal, &extent(1, 0, 1), &[0; 300]), Kept::No, "full");
    journal.synced(log(0), Offset::new(end));
    assert!(fill(1, 0) > 10);
    assert!(!journal.takes(HALF), "a frame is a small part of a half");
    assert_eq!(commit(&journal, &extent(2, 0, 1), &[0; 600]), Kept::No);
}

#[test]
fn a_bar_takes_the_earlier_frames_of_its_log_alone() {
    let disk = MemoryDisk::new();
    let (journal, _) = journal_on(&disk);
    assert!(journal.bar(log(0)).unwrap(), "there is nothing yet");
    journal.begin(STORE, LeaderEpoch::new(3));
    assert_eq!(commit(&journal, &extent(0, 0, 1), b"x"), Kept::No);
    journal.keep_up(|_| Ok(()));
    for number in [0, 1] {
        assert_eq!(commit(&journal, &extent(number, 0, 1), b"x"), Kept::Yes);
    }
    assert!(journal.bar(log(0)).unwrap());
    assert_eq!(commit(&journal, &extent(0, 0, 2), b"y"), Kept::Yes);
    let frames = read(&disk, &Path::new(ROOT).join(JOURNAL), &reign(3)).unwrap().unwrap();
    let found: Vec<_> = frames.iter().map(|frame| frame.extent).collect();
    assert_eq!(found, [extent(1, 0, 1), extent(0, 0, 2)]);
}

/// Others work in between.
#[test]
fn a_large_journal_is_made_a_portion_at_a_time_and_one_that_is_not_finished_goes() {
    const SIZE: u64 = (10 << 20) + 5120; // not a whole number of writes
    let disk = MemoryDisk::new();
    disk.create_dir_all(Path::new(ROOT)).unwrap();
    let path = Path::new(ROOT).join(JOURNAL);
    for is_given_up in [true, false] {
        let asked = Arc::new(Asked::default());
        let journal = Journal::new(Arc::new(disk.clone()), Path::new(ROOT), SIZE, asked.clone());
        journal.begin(STORE, LeaderEpoch::new(3));
        for portion in 1..=3 {
            assert_eq!(commit(&journal, &extent(0, 0, 1), b"x"), Kept::No);
            assert_eq!(asked.0.lock().0, portion, "asked to go on");
            assert!(disk.metadata(&path).unwrap().is_none(), "it has no name before it is whole");
            if is_given_up && portion == 3 {
                journal.give_up_making();
                assert!(disk.list(Path::new(ROOT)).unwrap().is_empty());
                break;
            }
            journal.keep_up(|_| Ok(()));
        }
        let made = disk.metadata(&path).unwrap().map(|found| found.len);
        let half = half_of(SIZE);
        assert_eq!(made, (!is_given_up).then_some(FILE_HEAD + 2 * half));
    }
}
