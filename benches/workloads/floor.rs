//! `floor`: what the parts of a lingering record cost by themselves, in processor time of the one
//! thread that does them, least of the rounds: what no design that does them can fall below.
//!
//! The parts are the system's clock read for each record, a batch of 64 KiB written by position
//! into a file that grows, and its checksum. The last line says how many records a second are left
//! if one thread does all three, and if a second thread takes the write and the checksum.

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::time::SystemTime;

use crate::place::Place;
use crate::rounds::{Run, ran};

/// A record of 100 bytes in a batch of 64 KiB, its share of the header included.
const RECORD: f64 = 108.0;
const BATCH: usize = 64 << 10;

pub fn floor(run: &Run) {
    let place = Place::new(run.name);
    std::fs::create_dir_all(&place.0).expect("a directory");
    let batch = vec![7u8; BATCH];
    let reads = run.count(4_000_000);
    let least = |times: &mut dyn FnMut() -> f64| {
        (0..run.rounds()).map(|_| times()).fold(f64::INFINITY, f64::min)
    };
    let clock = least(&mut || {
        per(reads, || {
            for _ in 0..reads {
                black_box(SystemTime::now());
            }
        })
    });
    let batches = run.count(4_000);
    let records = batches as f64 * BATCH as f64 / RECORD;
    let mut next = 0;
    let write = least(&mut || {
        next += 1;
        let file = new(&place, next);
        let each = per(batches, || {
            for number in 0..batches {
                file.write_all_at(&batch, number * BATCH as u64).expect("a write");
            }
        });
        each * batches as f64 / records
    });
    let sum = least(&mut || {
        let each = per(batches, || {
            for _ in 0..batches {
                black_box(crc32c::crc32c(black_box(&batch)));
            }
        });
        each * batches as f64 / records
    });
    println!("floor: clock {clock:.1} ns, write {write:.1} ns, checksum {sum:.1} ns a record");
    let rate = |nanos: f64| 1e3 / nanos;
    let (one, two) = (clock + write + sum, clock.max(write + sum));
    println!("floor: {:.1} M records/s in one thread, {:.1} in two", rate(one), rate(two));
}

fn new(place: &Place, number: u64) -> File {
    let path = place.0.join(number.to_string());
    OpenOptions::new().write(true).create_new(true).open(path).expect("a new file")
}

/// Nanoseconds of this thread's processor time for each of `count`.
fn per(count: u64, work: impl FnOnce()) -> f64 {
    let began = ran();
    work();
    ran().saturating_sub(began).as_nanos() as f64 / count as f64
}
