//! Room that a busy log's file has beyond its end: found before a sync, and given back by whoever
//! ends the business, be it the open after a kill.

use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::*;
use crate::disk::{IoMode, RealDisk};

const MIB: u64 = 1 << 20;
/// What a checkpoint finds worth it, as records of a quarter of that.
const BUSY: u64 = 256 << 10;

struct Busy {
    directory: tempfile::TempDir,
    bench: Bench,
    log: PartitionLog,
    sent: i64,
}

impl Busy {
    fn new(mode: IoMode) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let bench = Bench::on(Arc::new(RealDisk::new(mode).unwrap()));
        let log = bench.try_open_at(directory.path(), facts(0, LastStop::Clean)).unwrap().0;
        log.begin_epoch(LeaderEpoch::new(0));
        let mut busy = Busy { directory, bench, log, sent: 0 };
        (0..20).for_each(|_| busy.append());
        busy
    }

    fn append(&mut self) {
        append(&self.log, &[7; (BUSY / 4) as usize], self.sent).unwrap();
        self.sent += 1;
    }

    fn log_file(&self) -> PathBuf {
        self.directory.path().join(segment_file(Offset::ZERO, SegmentFile::Log))
    }

    /// How many bytes of the device lie beyond the file's end, but for what the file system takes.
    fn room(&self) -> u64 {
        let found = std::fs::metadata(self.log_file()).unwrap();
        (found.blocks() * 512).saturating_sub(found.len().next_multiple_of(4096) + (64 << 10))
    }

    /// What a checkpoint does, whose sync then takes a while.
    fn ask(&self) {
        self.log.segments.load_full().last().unwrap().reserve(MIB, 64 * MIB);
    }

    fn reserve(&self) {
        self.ask();
        assert_eq!(self.room() > 3 * MIB, self.finds_room(), "it is found where there is any");
    }

    /// Whether the file system of the temporary directory keeps such room, and has enough.
    fn finds_room(&self) -> bool {
        let probe = tempfile::NamedTempFile::new_in(self.directory.path()).unwrap();
        let found = rustix::fs::fstatfs(&probe).unwrap();
        let is_ext4 = found.f_type as u64 & 0xFFFF_FFFF == 0xEF53;
        let free = found.f_bavail * u64::try_from(found.f_bsize).unwrap();
        let flags = rustix::fs::FallocateFlags::KEEP_SIZE;
        is_ext4 && free > 512 * MIB && rustix::fs::fallocate(&probe, flags, 0, MIB).is_ok()
    }

    fn check(&self, log: &PartitionLog) {
        let read = read_from(log, 0).unwrap();
        assert_eq!(offsets(&read), (0..self.sent).collect::<Vec<_>>());
        assert_eq!(self.room(), 0, "it was given back");
    }
}

fn in_both_modes(test: impl Fn(Busy)) {
    [IoMode::Mapped, IoMode::Positioned].into_iter().map(Busy::new).for_each(test);
}

#[test]
fn a_checkpoint_finds_room_while_more_comes() {
    in_both_modes(|mut busy| {
        let (done, limit) = (AtomicBool::new(false), Instant::now() + Duration::from_secs(20));
        let (seen, sent) = std::thread::scope(|scope| {
            let log = &busy.log;
            let appending = scope.spawn(|| {
                let mut sent = busy.sent;
                while !done.load(Ordering::Acquire) {
                    append(log, &[7; 4_000], sent).unwrap();
                    sent += 1;
                    std::thread::sleep(Duration::from_micros(50)); // other tests run beside
                }
                sent
            });
            let mut seen = false;
            while !seen && busy.finds_room() && Instant::now() < limit {
                while log.unsynced_bytes() < BUSY && Instant::now() < limit {
                    std::thread::yield_now();
                }
                log.checkpoint().unwrap();
                seen = busy.room() > 0;
            }
            done.store(true, Ordering::Release);
            (seen, appending.join().unwrap())
        });
        busy.sent = sent;
        assert_eq!(seen, busy.finds_room());
        busy.log.checkpoint().unwrap();
        busy.check(&busy.log);
    });
}

#[test]
fn a_log_that_rests_gives_its_room_back_and_finds_some_again() {
    in_both_modes(|mut busy| {
        for _ in 0..3 {
            busy.reserve();
            busy.log.checkpoint().unwrap();
            busy.check(&busy.log);
            busy.append();
            busy.ask();
            busy.check(&busy.log); // once rested it has to be busy for two syncs
        }
    });
}

#[test]
fn a_closed_log_has_no_room_beyond_its_end() {
    in_both_modes(|busy| {
        busy.reserve();
        let point = busy.log.close().unwrap();
        busy.check(&busy.log);
        let known = facts(point.get(), LastStop::Clean);
        busy.check(&busy.bench.try_open_at(busy.directory.path(), known).unwrap().0);
    });
}

/// Whether there is a window to be cut, as in the second round, or none.
#[test]
fn an_open_after_a_kill_gives_back_what_was_left() {
    in_both_modes(|mut busy| {
        for epoch in 1..3 {
            busy.reserve();
            let known = facts(0, LastStop::KilledSameBoot);
            let again = busy.bench.try_open_at(busy.directory.path(), known).unwrap().0;
            busy.check(&again);
            again.begin_epoch(LeaderEpoch::new(epoch));
            std::mem::forget(std::mem::replace(&mut busy.log, again));
            append(&busy.log, &[7; 2 * BUSY as usize], busy.sent).unwrap();
            append(&busy.log, b"it has a window, where there are any", busy.sent + 1).unwrap();
            busy.sent += 2;
        }
    });
}
