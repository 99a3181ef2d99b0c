//! Limits of the machine, in the same run as everything else: copying, checksums, writes, syncs,
//! and what it takes to wake a thread.

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::report::Results;

/// Nanoseconds of one call, of as many as fit into some time.
fn nanos(time: Duration, mut once: impl FnMut()) -> f64 {
    let began = Instant::now();
    let mut count = 0_u32;
    while began.elapsed() < time {
        (0..8).for_each(|_| once());
        count += 8;
    }
    began.elapsed().as_nanos() as f64 / f64::from(count)
}

pub fn measure(rounds: usize, dir: &Path, results: &mut Results) {
    std::fs::create_dir_all(dir).expect("a directory");
    let time = Duration::from_millis(300);
    let from = vec![7_u8; 1 << 16];
    let mut to = vec![0_u8; 1 << 16];
    for _ in 0..rounds {
        let mut add = |row, figure| results.add(row, "the machine", figure);
        let took = nanos(time, || black_box(&mut to[..]).copy_from_slice(black_box(&from)));
        add("memcpy of 64 KiB, GB/s", 65_536.0 / took);
        let took = nanos(time, || _ = black_box(crc32c::crc32c(black_box(&from))));
        add("CRC-32C of 64 KiB, GB/s", 65_536.0 / took);
        add("CRC-32C of 100 B, ns", nanos(time, || _ = black_box(crc32c::crc32c(&from[..100]))));
        writes(dir, time, &mut add);
        add("park and unpark, one way, us", parked());
        add("spinning on an atomic, one way, ns", spinning());
    }
    let _ = std::fs::remove_dir_all(dir);
}

fn writes(dir: &Path, time: Duration, add: &mut impl FnMut(&'static str, f64)) {
    const SIZE: u64 = 64 << 20;
    let block = vec![7_u8; 100 << 10];
    let file = File::create(dir.join("limits")).expect("a new file");
    file.write_all_at(&vec![0; SIZE as usize], 0).and_then(|()| file.sync_all()).expect("room");
    let mut at = 0;
    let mut write = |size: usize, sync: bool| {
        at = (at + size as u64) % (SIZE - (1 << 20));
        file.write_all_at(&block[..size], at).expect("a write");
        if sync {
            file.sync_data().expect("a sync");
        }
    };
    add("pwrite of 128 B, ns", nanos(time, || write(128, false)));
    add("pwrite of 100 KiB, GB/s", 102_400.0 / nanos(time, || write(100 << 10, false)));
    file.sync_all().expect("a sync");
    add("fdatasync of 1 KiB overwritten, k/s", 1e6 / nanos(time, || write(1024, true)));
    let file = File::create(dir.join("extended")).expect("a new file");
    let mut at = 0;
    let extend = || {
        file.write_all_at(&block[..1024], at).and_then(|()| file.sync_data()).expect("a sync");
        at += 1024;
    };
    add("fdatasync of 1 KiB extended, k/s", 1e6 / nanos(time, extend));
}

/// The median of there and back, halved, when the other thread is asleep each time.
fn parked() -> f64 {
    let turn = AtomicU64::new(0);
    let here = std::thread::current();
    let mut times = Vec::new();
    std::thread::scope(|scope| {
        let there = scope.spawn(|| {
            for trip in 0..1_000 {
                while turn.load(Ordering::Acquire) != 2 * trip + 1 {
                    std::thread::park();
                }
                turn.store(2 * trip + 2, Ordering::Release);
                here.unpark();
            }
        });
        for trip in 0..1_000 {
            std::thread::sleep(Duration::from_micros(100));
            let sent = Instant::now();
            turn.store(2 * trip + 1, Ordering::Release);
            there.thread().unpark();
            while turn.load(Ordering::Acquire) != 2 * trip + 2 {
                std::thread::park();
            }
            times.push(sent.elapsed().as_nanos() as f64 / 2e3);
        }
    });
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn spinning() -> f64 {
    const TRIPS: u64 = 200_000;
    let turn = AtomicU64::new(0);
    let mut took = 0.0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for trip in 0..TRIPS {
                while turn.load(Ordering::Acquire) != 2 * trip + 1 {
                    std::hint::spin_loop();
                }
                turn.store(2 * trip + 2, Ordering::Release);
            }
        });
        let began = Instant::now();
        for trip in 0..TRIPS {
            turn.store(2 * trip + 1, Ordering::Release);
            while turn.load(Ordering::Acquire) != 2 * trip + 2 {
                std::hint::spin_loop();
            }
        }
        took = began.elapsed().as_nanos() as f64 / (2 * TRIPS) as f64;
    });
    took
}
