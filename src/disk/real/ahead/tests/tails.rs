//! A real file's tail with a thread beside it: what is ready when it is needed, and at random.

use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::disk::tests::{mappings_of, resident_bytes_of};
use crate::disk::{Access, Disk as _, DiskFile, IoMode, RealDisk, TailMap, write_all_at};
use crate::seeds::seeds;

/// A disk with a thread that readies its windows.
fn with_a_server(test: impl FnOnce(&RealDisk)) {
    let Ok(disk) = RealDisk::new(IoMode::Mapped) else { return };
    let windows = disk.windows().unwrap();
    let (goes_on, is_served) = (AtomicBool::new(true), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            windows.ready(&|| {
                is_served.store(true, Ordering::Release);
                goes_on.load(Ordering::Acquire)
            });
        });
        while !is_served.load(Ordering::Acquire) {
            thread::yield_now();
        }
        let passed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(&disk)));
        goes_on.store(false, Ordering::Release);
        windows.wake();
        passed.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

const WINDOW: u64 = 16 << 10;

#[test]
fn the_window_behind_is_ready_before_it_is_needed() {
    let directory = tempfile::tempdir().unwrap();
    with_a_server(|disk| {
        let file = disk.open(&directory.path().join("f"), Access::Create).unwrap();
        let mut map = file.map_tail(0, 64 << 20).unwrap().unwrap();
        let map = &mut *map;
        let until = Instant::now() + Duration::from_secs(60);
        let mut is_ahead = false;
        while !is_ahead && Instant::now() < until {
            let end = map.allocated() + WINDOW;
            if end > map.capacity() {
                break;
            }
            map.allocate(end).unwrap();
            map.prepare(WINDOW, map.capacity());
            thread::sleep(Duration::from_millis(1));
            is_ahead = file.len().unwrap() == map.allocated() + WINDOW;
        }
        assert!(is_ahead);
        let (allocated, end) = (map.allocated(), map.allocated() + WINDOW);
        map.allocate(allocated + 1).unwrap();
        assert!(map.allocated() >= end, "all that is ready is taken");
        let len = usize::try_from(end - allocated).unwrap();
        assert!(map.window(allocated, len).iter().all(|byte| *byte == 0));
    });
}

/// What was stored into a window that the file has no more would be a signal.
#[test]
fn a_window_that_is_ready_goes_where_the_file_is_cut_before_it() {
    let directory = tempfile::tempdir().unwrap();
    with_a_server(|disk| {
        let file = disk.open(&directory.path().join("f"), Access::Create).unwrap();
        let mut map = file.map_tail(0, 64 << 20).unwrap().unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        while file.len().unwrap() == map.allocated() && Instant::now() < until {
            map.allocate(map.allocated() + WINDOW).unwrap();
            map.prepare(WINDOW, map.capacity());
            thread::sleep(Duration::from_millis(1));
        }
        let allocated = map.allocated();
        assert!(file.len().unwrap() > allocated, "the control");
        file.set_len(allocated).unwrap();
        map.allocate(allocated + 1).unwrap();
        assert_eq!(file.len().unwrap(), map.allocated());
    });
}

/// Zeros behind the writer's back would be a hole in what it has acknowledged.
#[test]
fn a_window_that_waits_gives_way_to_a_positioned_write() {
    let directory = tempfile::tempdir().unwrap();
    let Ok(disk) = RealDisk::new(IoMode::Mapped) else { return };
    let windows = disk.windows().unwrap();
    for written in [0, 5_000] {
        let path = directory.path().join(written.to_string());
        let file = disk.open(&path, Access::Create).unwrap();
        let mut map = file.map_tail(0, 1 << 20).unwrap().unwrap();
        let (turn, looks) = (Barrier::new(2), AtomicUsize::new(0));
        let goes_on = || {
            let is_first = looks.fetch_add(1, Ordering::Relaxed) == 0;
            if is_first {
                turn.wait();
                turn.wait();
            }
            is_first
        };
        thread::scope(|scope| {
            scope.spawn(|| windows.ready(&goes_on));
            turn.wait(); // somebody serves, and is not at it yet
            let allocated = map.allocate(WINDOW);
            map.prepare(WINDOW, map.capacity());
            let done = allocated.and_then(|()| write_all_at(&*file, &vec![7; written], WINDOW));
            turn.wait();
            done.unwrap();
        });
        let on_disk = std::fs::read(&path).unwrap();
        let behind = &on_disk[usize::try_from(WINDOW).unwrap()..];
        if written == 0 {
            assert_eq!(behind.len() as u64, WINDOW, "the control: a window was asked for");
        } else {
            assert!(behind[..written].iter().all(|byte| *byte == 7), "it was zeroed");
        }
    }
}

#[test]
fn a_window_is_asked_for_where_somebody_serves_as_far_as_the_map_reaches() {
    let directory = tempfile::tempdir().unwrap();
    let Ok(disk) = RealDisk::new(IoMode::Mapped) else { return };
    let windows = disk.windows().unwrap();
    let file = disk.open(&directory.path().join("f"), Access::Create).unwrap();
    let mut map = file.map_tail(0, 2 * WINDOW).unwrap().unwrap();
    let mut asked_by = |size: u64| {
        map.allocate(map.allocated() + size).unwrap();
        map.prepare(WINDOW, map.capacity());
        disk.shared.ahead.waiting.lock().windows.len()
    };
    assert_eq!(asked_by(WINDOW), 0, "nobody serves");
    let turn = Barrier::new(2);
    let goes_on = || {
        turn.wait();
        turn.wait();
        false
    };
    let found = thread::scope(|scope| {
        scope.spawn(|| windows.ready(&goes_on));
        turn.wait();
        let found = [WINDOW / 2, WINDOW / 2].map(&mut asked_by);
        turn.wait();
        found
    });
    assert_eq!(found, [1, 1], "behind the map there is none");
}

/// A full map of one window, and a larger one asked for; what the file has of that now.
fn with_a_larger_map_ahead(test: impl FnOnce(&dyn DiskFile, Box<dyn TailMap>, &Path)) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("f");
    with_a_server(|disk| {
        let file = disk.open(&path, Access::Create).unwrap();
        let mut map = file.map_tail(0, WINDOW).unwrap().unwrap();
        map.allocate(WINDOW).unwrap();
        map.window(0, 7).fill(7);
        map.publish(7);
        map.prepare(WINDOW, 4 * WINDOW);
        let until = Instant::now() + Duration::from_secs(60);
        while file.len().unwrap() < 2 * WINDOW && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(file.len().unwrap(), 2 * WINDOW, "the control: a window was asked for");
        test(&*file, map, &path);
    });
}

#[test]
fn a_larger_map_is_ready_before_it_is_needed() {
    with_a_larger_map_ahead(|file, mut map, path| {
        assert_eq!((map.capacity(), map.allocated(), mappings_of(path)), (WINDOW, WINDOW, 2));
        map.enlarge(3 * WINDOW).unwrap();
        assert_eq!((map.capacity(), map.allocated()), (4 * WINDOW, 2 * WINDOW), "the ready one");
        assert_eq!(mappings_of(path), 2, "the one before waits for a sync");
        file.sync_data().unwrap();
        assert_eq!(mappings_of(path), 1);
        let end = 2 * WINDOW;
        let len = usize::try_from(end).unwrap();
        assert!(map.window(7, len - 7).iter().all(|byte| *byte == 0));
        map.window(7, len - 7).fill(8);
        map.publish(end);
        let view = map.reader().view(0, end).unwrap();
        assert_eq!((&view[..7], &view[7..]), (&[7; 7][..], &vec![8; len - 7][..]));
        assert_eq!(std::fs::read(path).unwrap(), view);
    });
}

#[test]
fn a_map_that_is_wanted_larger_still_takes_over_what_was_made_ready() {
    with_a_larger_map_ahead(|_, mut map, path| {
        map.enlarge(5 * WINDOW).unwrap();
        assert_eq!((map.capacity(), map.allocated()), (5 * WINDOW, 2 * WINDOW));
        assert_eq!(mappings_of(path), 2, "what was asked for is gone");
    });
}

/// What was stored beyond the file's end would be a signal.
#[test]
fn a_larger_map_has_nothing_ready_where_the_file_was_cut_meanwhile() {
    with_a_larger_map_ahead(|file, mut map, _| {
        file.set_len(WINDOW).unwrap();
        map.enlarge(3 * WINDOW).unwrap();
        assert_eq!((map.capacity(), map.allocated()), (4 * WINDOW, WINDOW));
        map.allocate(2 * WINDOW).unwrap();
        map.window(WINDOW, 1).fill(7);
        assert_eq!(file.len().unwrap(), 2 * WINDOW);
    });
}

#[test]
fn a_map_that_rests_keeps_no_larger_one_and_no_zeros_of_it() {
    with_a_larger_map_ahead(|file, mut map, path| {
        map.rest();
        assert_eq!((map.capacity(), map.allocated(), mappings_of(path)), (WINDOW, WINDOW, 1));
        assert_eq!(file.len().unwrap(), WINDOW);
        map.enlarge(4 * WINDOW).unwrap();
        map.allocate(2 * WINDOW).unwrap();
        assert!(map.window(WINDOW, 9).iter().all(|byte| *byte == 0));
    });
}

#[test]
fn a_map_that_is_dropped_leaves_no_larger_one() {
    with_a_larger_map_ahead(|file, map, path| {
        assert_eq!(mappings_of(path), 2);
        drop(map);
        file.sync_data().unwrap();
        assert_eq!(mappings_of(path), 0);
    });
}

/// The zeros of its window would lie where the file is taken to end.
#[test]
fn a_larger_map_whose_window_gave_way_has_the_file_cut() {
    with_a_larger_map_ahead(|file, mut map, _| {
        let end = WINDOW + 100;
        write_all_at(file, &[7; 100], WINDOW).unwrap();
        map.enlarge(4 * WINDOW).unwrap();
        map.written(end);
        map.publish(end);
        assert_eq!((map.allocated(), file.len().unwrap()), (end, 2 * WINDOW), "the control");
        map.rest();
        assert_eq!(file.len().unwrap(), end);
        let reader = map.reader();
        assert_eq!(reader.view(WINDOW, end).unwrap(), vec![7; 100]);
    });
}

/// A tail as its log uses it.
struct Tail<'a> {
    file: &'a dyn DiskFile,
    map: Option<Box<dyn TailMap>>,
    /// What it holds.
    bytes: Vec<u8>,
}

impl Tail<'_> {
    fn published(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn append(&mut self, bytes: &[u8]) {
        let end = self.published() + bytes.len() as u64;
        let map = self.map.as_mut().unwrap();
        if end > map.capacity() {
            // at times more than was asked for
            let unit = if bytes.len().is_multiple_of(8) { 256 } else { 64 };
            map.enlarge(end.next_multiple_of(unit << 10)).unwrap();
        }
        if end > map.allocated() {
            let wanted = (map.allocated() + WINDOW).min(map.capacity()).max(end);
            map.allocate(wanted).unwrap();
            map.prepare(WINDOW, (map.allocated() + WINDOW).next_multiple_of(64 << 10));
        }
        map.window(self.bytes.len() as u64, bytes.len()).copy_from_slice(bytes);
        map.publish(end);
        self.bytes.extend_from_slice(bytes);
    }

    fn append_by_position(&mut self, bytes: &[u8]) {
        write_all_at(self.file, bytes, self.published()).unwrap();
        let end = self.published() + bytes.len() as u64;
        let map = self.map.as_mut().unwrap();
        if end > map.capacity() {
            map.enlarge(end.next_multiple_of(64 << 10)).unwrap();
        }
        map.written(end);
        map.publish(end);
        self.bytes.extend_from_slice(bytes);
    }

    /// Part of a positioned append that failed, taken back.
    fn fail(&mut self, bytes: &[u8]) {
        let position = self.published();
        write_all_at(self.file, bytes, position).unwrap();
        let map = self.map.as_mut().unwrap();
        let inside = map.allocated().min(position + bytes.len() as u64) - position;
        map.window(position, usize::try_from(inside).unwrap()).fill(0);
        let allocated = map.allocated();
        self.file.set_len(allocated).unwrap();
    }

    fn map_again(&mut self) {
        self.map = None;
        self.file.set_len(self.published()).unwrap();
        let capacity = (self.published() + 1).next_multiple_of(64 << 10);
        self.map = Some(self.file.map_tail(self.published(), capacity).unwrap().unwrap());
    }

    fn check(&self, path: &Path) {
        let on_disk = std::fs::read(path).unwrap();
        assert!(on_disk.len() >= self.bytes.len());
        assert!(on_disk[..self.bytes.len()] == self.bytes, "what was appended is there");
        assert!(on_disk[self.bytes.len()..].iter().all(|byte| *byte == 0), "and zeros behind it");
    }
}

fn random(seed: u64, path: &Path, disk: &RealDisk) {
    let mut random = StdRng::seed_from_u64(seed);
    let file = disk.open(path, Access::Create).unwrap();
    let mut tail = Tail { file: &*file, map: None, bytes: Vec::new() };
    tail.map_again();
    for step in 0..300_u32 {
        let len = random.random_range(1..12_000);
        let bytes: Vec<u8> = (0..len).map(|_| random.random_range(1..=255)).collect();
        match random.random_range(0..40) {
            0..30 => tail.append(&bytes),
            30..34 => tail.append_by_position(&bytes),
            34..37 => tail.fail(&bytes),
            37 => tail.map.as_mut().unwrap().rest(),
            38 => file.sync_data().unwrap(),
            _ => tail.map_again(),
        }
        if step % 10 == 0 {
            tail.check(path);
        }
    }
    tail.check(path);
    tail.map = None;
    tail.check(path);
}

#[test]
fn a_tail_with_a_thread_ahead_holds_what_was_appended() {
    let directory = tempfile::tempdir().unwrap();
    let seeds = seeds(8, 60, 2_000);
    with_a_server(|disk| {
        for seed in seeds {
            random(seed, &directory.path().join(format!("f{seed}")), disk);
        }
    });
}

/// Of what was appended long ago the map has little; who reads on finds it there.
#[test]
fn pages_are_in_the_map_before_who_reads_on_comes_to_them() {
    const STEP: u64 = 256 << 10;
    let some = memmap2::MmapOptions::new().len(4096).map_anon().unwrap();
    if some.advise(memmap2::Advice::PopulateRead).is_err() {
        println!("SKIP 1: the system maps no pages by a call");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a");
    with_a_server(|disk| {
        let file = disk.open(&path, Access::Create).unwrap();
        let mut map = file.map_tail(0, 64 << 20).unwrap().unwrap();
        for at in (0..48 << 20).step_by(usize::try_from(STEP).unwrap()) {
            map.allocate(at + STEP).unwrap();
            map.window(at, usize::try_from(STEP).unwrap()).fill(7);
            map.publish(at + STEP);
        }
        map.rest();
        let reader = map.reader();
        let have_come = |at: u64| {
            let before = resident_bytes_of(&path);
            // not looked at: they alone map next to nothing
            reader.view(at, at + STEP).unwrap();
            reader.view(at + STEP, at + 2 * STEP).unwrap();
            let until = Instant::now() + Duration::from_secs(5);
            while resident_bytes_of(&path) < before + (1 << 20) && Instant::now() < until {
                thread::sleep(Duration::from_millis(1));
            }
            resident_bytes_of(&path) >= before + (1 << 20)
        };
        // several, for a system that is short of memory drops some from its cache
        assert!((0..8).any(|number| have_come(number * (5 << 20))));
        for at in (0..48 << 20).step_by(usize::try_from(STEP).unwrap()) {
            assert_eq!(reader.view(at, at + STEP).unwrap(), vec![7; 256 << 10]);
        }
    });
}
