//! The map of an active segment grows with it: what was there before, views that are held, readers
//! that go on meanwhile, and files whose map cannot grow.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::*;
use crate::disk::{IoMode, LARGEST_MAP, Near, RealDisk, Windows};

/// A mebibyte or so of records, some of them too large for the window.
const COUNT: i64 = 1_200;

fn value(number: i64) -> Vec<u8> {
    let len = if number % 300 == 299 { 70_000 } else { 900 };
    vec![number.to_le_bytes()[0]; len]
}

fn check(log: &PartitionLog, end: i64) {
    let found = read_from(log, 0).unwrap();
    assert_eq!(offsets(&found), (0..end).collect::<Vec<_>>());
    assert!(found.iter().all(|(offset, read)| *read == value(*offset)), "a value is another");
}

#[test]
fn a_map_grows_under_readers_and_views() {
    let Some((directory, bench, log)) = mapped() else { return };
    append(&log, &value(0), 0).unwrap();
    let limits = FetchLimits {
        bytes: 1,
        records: 1,
        durable_only: false,
        isolation: IsolationLevel::ReadUncommitted,
    };
    let held = log.fetch(Offset::ZERO, None, limits).unwrap().chunk.unwrap().bytes;
    let before = held.to_vec();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                let end = log.offsets().snapshot().end.get();
                let from = (end - 200).max(0);
                for (offset, read) in read_from(&log, from).unwrap() {
                    assert_eq!(read, value(offset));
                }
            }
        });
        for number in 1..COUNT {
            assert_eq!(append(&log, &value(number), number).unwrap(), number);
            if number % 250 == 0 {
                log.make_durable(Offset::new(number)).unwrap();
            }
        }
        done.store(true, Ordering::Release);
        reading.join().unwrap();
    });
    assert_eq!(held, before, "a view of the first map");
    check(&log, COUNT);
    log.make_durable(Offset::new(COUNT)).unwrap();
    log.close().unwrap();
    drop(log);
    let known = facts(COUNT, LastStop::Clean);
    check(&bench.try_open_at(directory.path(), known).unwrap().0, COUNT);
}

/// What two reads of the same place have, and whether both have it where it lies: in the map.
fn twice(log: &PartitionLog, from: i64, bytes: usize) -> (Vec<u8>, bool) {
    let isolation = IsolationLevel::ReadUncommitted;
    let limits = FetchLimits { bytes, records: u64::MAX, durable_only: false, isolation };
    let read = || log.fetch(Offset::new(from), None, limits).unwrap().chunk.unwrap().bytes;
    let (one, other) = (read(), read());
    assert_eq!(one, other);
    (one.to_vec(), std::ptr::eq(one.as_ptr(), other.as_ptr()))
}

/// A view of what may not be in memory asks the system twice; a read asks once and copies.
#[test]
fn a_little_of_what_may_not_be_in_memory_is_read_and_more_of_it_is_viewed() {
    let Some((directory, mut bench, log)) = mapped() else { return };
    append(&log, &value(0), 0).unwrap();
    assert!(twice(&log, 0, 1).1, "the control: as it was written");
    for number in 1..COUNT / 4 {
        append(&log, &value(number), number).unwrap();
    }
    let whole = twice(&log, 0, usize::MAX);
    assert!(whole.1);
    log.close().unwrap();
    drop(log);
    bench.config = bench.config.clone().index_interval_bytes(4096);
    let known = facts(COUNT / 4, LastStop::Clean);
    let log = bench.try_open_at(directory.path(), known).unwrap().0;
    append(&log, &value(COUNT / 4), COUNT / 4).unwrap();
    assert!(twice(&log, COUNT / 4, 1).1, "what was appended since");
    let large = 299; // the only one of 70,000 bytes
    for from in [0, 1, 17, 150, large - 1] {
        let (bytes, is_viewed) = twice(&log, from, 1);
        assert!(!is_viewed && whole.0.windows(bytes.len()).any(|part| part == bytes), "{from}");
    }
    assert!(twice(&log, large, 1).1 && twice(&log, 0, 1 << 20).1);
    assert!(twice(&log, 0, 1 << 20).0.starts_with(&whole.0));

    // another program cuts the file: what is gone is an error with its place, the rest is read
    let path = directory.path().join(segment_file(Offset::ZERO, SegmentFile::Log));
    let held = [0, 9].map(|from| twice(&log, from, 1).0); // they end below what is left
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(10_000).unwrap();
    let limits = FetchLimits::all(1);
    let error = log.fetch(Offset::new(150), None, limits).unwrap_err();
    assert!(error.is_corrupt(), "{error}");
    assert!(error.to_string().contains("the file ends after 10000 bytes"), "{error}");
    assert_eq!([0, 9].map(|from| twice(&log, from, 1).0), held);
}

/// As when it is let go while the log is written to.
#[test]
fn a_little_of_what_the_writer_has_let_go_is_read() {
    let Some((_directory, _bench, log)) = mapped() else { return };
    append(&log, &value(0), 0).unwrap();
    let (first, is_viewed) = twice(&log, 0, 1);
    assert!(is_viewed, "the control");
    for number in 1..2 * COUNT {
        append(&log, &value(number), number).unwrap();
    }
    let (then, is_viewed) = twice(&log, 0, 1);
    assert!(!is_viewed && then == first);
    check(&log, 2 * COUNT);
}

/// There may be no handle to be had, or the file has gone from where it was.
#[test]
#[cfg(target_os = "linux")]
fn what_was_let_go_is_had_from_the_map_where_the_file_cannot_be_read() {
    if RealDisk::new(IoMode::Mapped).is_err() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let bench = Bench::on(Arc::new(RealDisk::with_budget(IoMode::Mapped, 1)));
    let (log, _) = bench.try_open_at(directory.path(), facts(0, LastStop::Clean)).unwrap();
    for number in 0..2 * COUNT {
        append(&log, &value(number), number).unwrap();
    }
    let path = directory.path().join(segment_file(Offset::ZERO, SegmentFile::Log));
    let is_open = || {
        let mut open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        open.any(|entry| std::fs::read_link(entry.path()).is_ok_and(|file| file == path))
    };
    let (first, is_viewed) = twice(&log, 0, 1);
    assert!(!is_viewed && is_open(), "the control: it was read");
    let other = bench.disk.open(&directory.path().join("other"), Access::Create).unwrap();
    other.write_at(b"x", 0).unwrap();
    assert!(!is_open(), "the control: another file has the only handle");
    std::fs::rename(&path, directory.path().join("taken")).unwrap();
    assert!(twice(&log, 0, 1).0 == first, "the map has it");
    check(&log, 2 * COUNT);
}

/// A process that may have no larger map goes on by positioned writes.
#[test]
fn a_map_that_cannot_grow_is_done_without() {
    LARGEST_MAP.set(256 << 10);
    let bench = Bench::new();
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    for number in 0..COUNT {
        assert_eq!(append(&log, &value(number), number).unwrap(), number);
    }
    check(&log, COUNT);
    log.close().unwrap();
    drop(log);
    check(&bench.open(facts(COUNT, LastStop::Clean)).0, COUNT);
}

/// How much the log's file grew by at each of some appends, where it grew.
fn growth(log: &PartitionLog, file: &Path, numbers: std::ops::Range<i64>) -> Vec<u64> {
    let len = || std::fs::metadata(file).map_or(0, |found| found.len());
    let mut before = len();
    let grown = |number| {
        append(log, &[1; 900], number).unwrap();
        let by = len() - before;
        before += by;
        by
    };
    numbers.map(grown).filter(|by| *by > 0).collect()
}

/// A busy one's would be zeros that every log of many carries along.
#[test]
fn a_log_left_alone_begins_with_small_windows_again() {
    let Some((directory, _bench, log)) = mapped() else { return };
    let file = directory.path().join(segment_file(Offset::ZERO, SegmentFile::Log));
    let first = growth(&log, &file, 0..COUNT);
    assert_eq!(first[..4], [4 << 10, 4 << 10, 8 << 10, 16 << 10]);
    assert!(*first.iter().max().unwrap() >= 256 << 10, "the control: it was busy: {first:?}");
    log.checkpoint().unwrap();
    let then = growth(&log, &file, COUNT..2 * COUNT);
    assert_eq!(then[..3], [4 << 10, 8 << 10, 16 << 10], "of {then:?}");
}

/// Ends who serves, however a test ends.
struct Serving<'a>(&'a dyn Windows, &'a AtomicBool);

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        self.1.store(false, Ordering::Release);
        self.0.wake();
    }
}

/// Windows of 4, 4, 8, 16 and so on to 128 KiB, each behind what is mapped of the last; the next
/// lies in a larger map.
#[test]
fn a_window_that_is_half_full_has_the_next_one_behind_it() {
    let directory = tempfile::tempdir().unwrap();
    let Ok(disk) = RealDisk::new(IoMode::Mapped) else { return };
    let windows = disk.windows().unwrap();
    let bench = Bench::on(Arc::new(disk));
    let (log, _) = bench.try_open_at(directory.path(), facts(0, LastStop::Clean)).unwrap();
    let file = directory.path().join("00000000000000000000.log");
    let len = || std::fs::metadata(&file).unwrap().len();
    let (goes_on, is_served) = (AtomicBool::new(true), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            windows.ready(&|| {
                is_served.store(true, Ordering::Release);
                goes_on.load(Ordering::Acquire)
            });
        });
        let _serving = Serving(&*windows, &goes_on);
        let until = Instant::now() + Duration::from_secs(60);
        let wait_for = |is_so: &dyn Fn() -> bool| {
            while !is_so() {
                assert!(Instant::now() < until, "the file is {} bytes long", len());
                std::thread::yield_now();
            }
        };
        wait_for(&|| is_served.load(Ordering::Acquire));
        let mut end = 0;
        let grown = (2..7).map(|step| (4 << step, 2 << step, 8 << step));
        for (window, size, next) in [(4, 4, 8), (8, 4, 16)].into_iter().chain(grown) {
            while log.size().0 <= (window - size / 2) << 10 {
                assert!(end == 0 || len() == window << 10, "{} bytes", len());
                append(&log, &value(end), end).unwrap();
                end += 1;
            }
            wait_for(&|| len() == next << 10);
        }
        while log.size().0 <= 256 << 10 {
            append(&log, &value(end), end).unwrap();
            end += 1;
        }
        assert_eq!(len(), 512 << 10, "nothing is behind that yet");
        check(&log, end);
    });
}

#[test]
fn the_processor_is_asked_for_where_the_next_batch_goes() {
    let Some((_directory, _bench, log)) = mapped() else { return };
    append(&log, &[7; 100], 0).unwrap();
    let segment = log.segments.load()[0].clone();
    let mut lines = Vec::new();
    // up to where the file is mapped anew, and two that are written by position
    for number in 1..1_200 {
        let len = if [20, 1_000].contains(&number) { 70_000 } else { 900 };
        let from = segment.published();
        let asked = log.writer.lock().tail.as_ref().unwrap().next_near();
        let all = FetchLimits::all(usize::MAX);
        let read = log.fetch(Offset::new(number - 1), None, all).unwrap().cursor.unwrap();
        let appended = append_and_tell(&log, &vec![7; len], number).unwrap();
        let next = log.writer.lock().tail.as_ref().unwrap().next_near();
        assert_eq!(appended.next, next, "senders are told");
        let stored = Near::of(&*segment.bytes(from, segment.published()).unwrap());
        let map = log.writer.lock().tail.as_ref().unwrap().map_near();
        if len > 1_000 {
            assert_eq!(map, Near::of(&*segment), "nothing is known of what comes next");
            continue;
        }
        if lines.last() != Some(&map) {
            lines.push(map);
        } else if asked != Near::default() {
            assert_eq!((stored, stored), (asked, read.near()), "record {number}");
        }
        assert_eq!(map, segment.map_near());
    }
    assert!(lines.len() > 1, "the file was mapped anew");
    segment.drop_map();
    assert_eq!(segment.map_near(), Near::default());
}

#[test]
fn without_a_map_no_line_is_asked_for_that_others_share() {
    let bench = Bench::new();
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    append(&log, &[7; 100], 0).unwrap();
    let segment = log.segments.load()[0].clone();
    let lines = log.writer.lock().tail.as_ref().unwrap().map_near();
    assert_eq!((lines, segment.map_near()), (Near::of(&*segment), Near::default()));
}
