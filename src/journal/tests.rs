//! Tests of the journal by itself: its bytes, its laps, its failures.

#[cfg(feature = "sim")]
mod failing;
#[cfg(feature = "sim")]
mod making;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::file::half_of;
use super::frame::{
    ALIGN, Content, FILE_HEAD, FILE_LEN, FileHead, HEAD, HeadFault, Standing, parse, put,
};
use super::replay::scan;
use super::ring::{Placed, Ring};
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

fn one_frame(at: u64, batches: &[u8]) -> Vec<u8> {
    let standing = Standing { lap: 2, sequence: 9, durable_through: 8, oldest: 5 };
    let mut bytes = Vec::new();
    put(&mut bytes, at, &reign(3), &standing, Content::Records(extent(1, 4, 6), batches));
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_head_of_the_file_has_its_bytes() {
    let head = FileHead { store: STORE, half: HALF };
    let bytes = head.encode();
    let golden = "544944454a524e4c00000001070707070707070707070707070707070000000000001000b80f31f7";
    assert_eq!(hex(&bytes), golden);
    assert_eq!(FileHead::parse(&bytes), Ok(head));
    for cut in 0..FILE_LEN {
        assert!(matches!(FileHead::parse(&bytes[..cut]), Err(HeadFault::Damage(_))), "{cut}");
    }
    for bit in 0..FILE_LEN * 8 {
        let mut bytes = bytes;
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(FileHead::parse(&bytes), Err(HeadFault::Damage(_))), "bit {bit}");
    }
    for (half, makes_sense) in [(0, false), (1, true), (1 << 30, true), ((1 << 30) + 1, false)] {
        let head = FileHead { half, ..head };
        assert_eq!(FileHead::parse(&head.encode()).is_ok(), makes_sense, "a half of {half}");
    }
    let mut newer = bytes;
    newer[8..12].copy_from_slice(&2u32.to_be_bytes());
    let crc = crc32c::crc32c(&newer[..36]);
    newer[36..].copy_from_slice(&crc.to_be_bytes());
    assert_eq!(FileHead::parse(&newer), Err(HeadFault::Newer { found: 2 }));
}

#[test]
fn a_file_that_is_longer_than_its_head_says_is_damage() {
    let disk = MemoryDisk::new();
    disk.create_dir_all(Path::new(ROOT)).unwrap();
    let path = Path::new(ROOT).join(JOURNAL);
    let file = disk.open(&path, Access::Create).unwrap();
    write_all_at(&*file, &FileHead { store: STORE, half: HALF }.encode(), 0).unwrap();
    file.set_len(FILE_HEAD + 2 * HALF + 1).unwrap();
    assert_eq!(read(&disk, &path, &reign(1)).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn a_frame_has_its_bytes_and_counts_in_its_place_alone() {
    let bytes = one_frame(4096, b"batch");
    let golden = concat!(
        "544a4652",
        "0000007d",
        "CRC",
        "00000001",
        "07070707070707070707070707070707",
        "00000003",
        "00000001",
        "0000000000000002",
        "0000000000000009",
        "0000000000000008",
        "0000000000000005",
        "02020202020202020202020202020202",
        "0000000000000000",
        "0000000000000000",
        "0000000000000004",
        "0000000000000006",
        "6261746368",
        "000000",
    );
    assert_eq!(hex(&bytes), golden.replace("CRC", "fbe09869"));
    let parsed = parse(&bytes, 4096, &reign(3)).unwrap();
    assert_eq!(parsed.size, bytes.len());
    assert_eq!(parsed.content, Content::Records(extent(1, 4, 6), b"batch"));
    assert_eq!(parse(&bytes, 4104, &reign(3)), None, "elsewhere");
    assert_eq!(parse(&bytes, 4096, &reign(2)), None, "of an earlier open");
    let other = Reign { store: [8; 16], ..reign(3) };
    assert_eq!(parse(&bytes, 4096, &other), None, "of another store");
    for cut in 0..bytes.len() {
        assert_eq!(parse(&bytes[..cut], 4096, &reign(3)), None, "cut at {cut}");
    }
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(parse(&bytes, 4096, &reign(3)), None, "bit {bit}");
    }
}

/// A ring and the file that its runs make.
struct Written {
    ring: Ring,
    file: Vec<u8>,
    durable: u64,
}

impl Written {
    fn new() -> Self {
        let file = vec![0; usize::try_from(FILE_HEAD + 2 * HALF).unwrap()];
        Written { ring: Ring::new(reign(3), HALF), file, durable: 0 }
    }

    fn add(&mut self, number: u8, end: i64) -> Placed {
        self.ring.add(&extent(number, end - 1, end), &[number; 200], self.durable)
    }

    /// In how many writes.
    fn sync(&mut self) -> usize {
        let runs = self.ring.take(Vec::new());
        for run in &runs {
            let at = usize::try_from(run.at).unwrap();
            self.file[at..at + run.bytes.len()].copy_from_slice(&run.bytes);
        }
        self.durable = self.ring.last_sequence();
        runs.len()
    }

    /// The logs and ends of what is found.
    fn found(&self) -> Option<Vec<(LogId, i64)>> {
        let frames =
            scan(&Bytes::from(self.file.clone()), HALF, &reign(3)).ok()?.unwrap_or_default();
        let of = |frame: &Frame| (frame.extent.log, frame.extent.end.get());
        Some(frames.iter().map(of).collect())
    }
}

#[test]
fn laps_take_turns_and_wait_for_who_pins_them() {
    let mut written = Written::new();
    let mut end = 0;
    let mut turns = Vec::new();
    loop {
        end += 1;
        match written.add(0, end) {
            Placed::At { turned, .. } if !turned.is_empty() => turns.push(end),
            Placed::At { .. } => assert!(turns.len() < 2, "a lap that is pinned is written over"),
            other => break assert_eq!(other, Placed::Pinned),
        }
        written.sync();
    }
    let in_a_half = i64::try_from((HALF - HEAD as u64) / 320).unwrap();
    assert_eq!((turns, end), (vec![in_a_half + 1], 2 * in_a_half + 1));
    assert_eq!(written.ring.pinning(), [log(0)]);
    let all: Vec<_> = (1..end).map(|end| (log(0), end)).collect();
    assert_eq!(written.found().unwrap(), all);
    written.ring.synced(log(0), Offset::new(in_a_half - 1));
    assert_eq!(written.add(0, end), Placed::Pinned, "one frame is still needed");
    written.ring.synced(log(0), Offset::new(in_a_half));
    assert!(matches!(written.add(0, end), Placed::At { .. }));
    written.sync();
    let all: Vec<_> = (in_a_half + 1..=end).map(|end| (log(0), end)).collect();
    assert_eq!(written.found().unwrap(), all, "the first lap counts no more");
}

/// A ring that is in its third lap, the half of the first written over.
fn third_lap() -> Written {
    let mut written = Written::new();
    for end in 1..=30 {
        let placed = written.add(0, end);
        if placed == Placed::Pinned {
            written.ring.synced(log(0), Offset::new(end - 1));
            let _ = written.add(0, end);
        }
        written.sync();
    }
    let _ = written.add(1, 1);
    written.sync();
    written
}

#[test]
fn a_torn_beginning_of_a_lap_takes_nothing_that_counts() {
    let mut written = third_lap();
    let before = written.file.clone();
    // on to the fourth lap, whose first write is torn anywhere
    let mut end = 30;
    loop {
        end += 1;
        written.ring.synced(log(0), Offset::new(end - 1));
        written.ring.synced(log(1), Offset::new(1));
        let placed = written.ring.add(&extent(0, end - 1, end), &[0; 200], written.durable);
        let runs = written.ring.take(Vec::new());
        if let [first, second] = &runs[..] {
            let mut file = written.file.clone();
            let at = usize::try_from(first.at).unwrap();
            file[at..at + first.bytes.len()].copy_from_slice(&first.bytes);
            let at = usize::try_from(second.at).unwrap();
            for cut in (0..=second.bytes.len()).step_by(8) {
                let mut torn = file.clone();
                torn[at..at + cut].copy_from_slice(&second.bytes[..cut]);
                scan(&Bytes::from(torn), HALF, &reign(3)).unwrap();
            }
            break;
        }
        assert!(matches!(placed, Placed::At { .. }));
        for run in runs {
            let at = usize::try_from(run.at).unwrap();
            written.file[at..at + run.bytes.len()].copy_from_slice(&run.bytes);
        }
        written.durable = written.ring.last_sequence();
    }
    assert_ne!(before, written.file);
}

#[test]
fn every_flipped_bit_of_a_journal_is_damage_or_of_no_consequence() {
    let written = third_lap();
    let whole = written.found().unwrap();
    let last = whole.len();
    let (mut damage, mut shorter, mut same) = (0, 0, 0);
    for bit in (usize::try_from(FILE_HEAD).unwrap() * 8)..written.file.len() * 8 {
        if bit % 8 != bit / 8 % 8 {
            continue; // one bit of each byte
        }
        let mut flipped = Written { file: written.file.clone(), ..Written::new() };
        flipped.file[bit / 8] ^= 1 << (bit % 8);
        match flipped.found() {
            None => damage += 1,
            Some(found) if found == whole => same += 1,
            // the last frame alone: no later one knows that it was durable
            Some(found) => {
                assert_eq!(found[..], whole[..last - 1], "bit {bit}");
                shorter += 1;
            }
        }
    }
    println!("{damage} damage, {shorter} torn, {same} without consequence");
    assert!(damage > 0 && shorter > 0 && same > 0);
}

#[test]
fn every_cut_of_a_journal_is_damage_or_ends_it_earlier() {
    let written = third_lap();
    let whole = written.found().unwrap();
    for cut in (0..written.file.len()).step_by(ALIGN) {
        let bytes = Bytes::from(written.file[..cut].to_vec());
        if let Ok(frames) = scan(&bytes, HALF, &reign(3)) {
            let frames = frames.unwrap_or_default();
            let found: Vec<_> =
                frames.iter().map(|frame| (frame.extent.log, frame.extent.end.get())).collect();
            assert!(whole.starts_with(&found) || found.len() < whole.len(), "cut at {cut}");
        }
    }
}

#[test]
fn frames_of_one_sync_lie_one_behind_the_other() {
    for together in 1..=9 {
        let mut written = Written::new();
        let (mut all, mut writes) = (Vec::new(), 1);
        for end in 1..=18 {
            let Placed::At { turned, .. } = written.add(0, end) else { panic!("there is room") };
            writes += usize::from(!turned.is_empty());
            all.push((log(0), end));
            if end % together == 0 {
                assert_eq!(written.sync(), writes, "{together} together, up to {end}");
                assert_eq!(written.found().unwrap(), all, "{together} together, up to {end}");
                writes = 1;
            }
        }
    }
}

#[test]
fn what_is_put_aside_reads_back() {
    let frames: Vec<_> = (0..3u8)
        .map(|number| Frame {
            extent: extent(number, 1, 4),
            batches: Bytes::from(vec![number; 100 + usize::from(number)]),
        })
        .collect();
    let disk = MemoryDisk::new();
    disk.create_dir_all(Path::new(ROOT)).unwrap();
    let path = Path::new(ROOT).join("aside");
    let aside = Reign::aside(STORE);
    let file = disk.open(&path, Access::Create).unwrap();
    write_all_at(&*file, &encode_aside(&frames, &aside), 0).unwrap();
    assert_eq!(read(&disk, &path, &aside).unwrap().unwrap(), frames);
    file.set_len(file.len().unwrap() - 8).unwrap();
    assert!(read(&disk, &path, &aside).unwrap_err().is_corrupt(), "all of it was durable");
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

/// A frame's checksum covers its place, so it counts nowhere else; nor does one count whose place
/// is not where the one before it leads.
#[test]
fn a_frame_counts_only_where_the_one_before_it_leads() {
    let size = one_frame(FILE_HEAD, b"batch").len() as u64;
    let file = |second_at: u64, lap: u64, first: Content<'_>| {
        let mut bytes = vec![0; usize::try_from(FILE_HEAD).unwrap()];
        let mut standing = Standing { lap: 0, sequence: 1, durable_through: 0, oldest: 1 };
        put(&mut bytes, FILE_HEAD, &reign(3), &standing, first);
        bytes.resize(usize::try_from(second_at).unwrap(), 0);
        (standing.lap, standing.sequence) = (lap, 2);
        put(&mut bytes, second_at, &reign(3), &standing, Content::Records(extent(1, 0, 1), b"2"));
        bytes.resize(usize::try_from(FILE_HEAD + 2 * HALF).unwrap(), 0);
        let frames = scan(&Bytes::from(bytes), HALF, &reign(3)).unwrap().unwrap();
        frames.iter().map(|frame| frame.extent.end.get()).collect::<Vec<_>>()
    };
    let records = Content::Records(extent(0, 4, 6), b"batch");
    let (next, other_half) = (FILE_HEAD + size, FILE_HEAD + HALF);
    assert_eq!(file(next, 0, records), [6, 1]);
    assert_eq!(file(next + 64, 0, records), [6], "further behind");
    assert_eq!(file(other_half, 1, records), [6], "in the next lap, and this one has no end");
    assert_eq!(file(next, 2, records), [6], "where it leads, of another lap");
    assert_eq!(file(other_half, 1, Content::LapEnd), [1]);
    assert_eq!(file(other_half, 3, Content::LapEnd), [0; 0], "a lap is missing");
    assert_eq!(file(FILE_HEAD + HEAD as u64, 0, Content::LapEnd), [0; 0], "it was the lap's last");
}

#[test]
fn what_was_durable_and_is_gone_is_told_with_its_place() {
    let mut bytes = vec![0; usize::try_from(FILE_HEAD).unwrap()];
    let standing = Standing { lap: 0, sequence: 1, durable_through: 2, oldest: 1 };
    let content = Content::Records(extent(0, 4, 6), b"batch");
    put(&mut bytes, FILE_HEAD, &reign(3), &standing, content);
    let position = bytes.len() as u64;
    bytes.resize(usize::try_from(FILE_HEAD + 2 * HALF).unwrap(), 0);
    let gap = scan(&Bytes::from(bytes), HALF, &reign(3)).unwrap_err();
    assert_eq!((gap.position, gap.sequence), (position, 2));
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
