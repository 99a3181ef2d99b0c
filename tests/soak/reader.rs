//! A reader in another process, beside a writer that is killed again and again: it follows,
//! compares and opens its own end anew now and then, for a while, then follows to its end.

use std::path::Path;
use std::time::{Duration, Instant};

use tidelog::{ReadOnlyStore, Store};

use crate::figures::{self, Phase};
use crate::load::{compare, longest_life, look_every, say};
use crate::promise::STEADY;

fn start_of(reading: &ReadOnlyStore, topic: &str, partition: u32) -> i64 {
    let described = reading.describe(topic).expect("the topic");
    described.partitions()[partition as usize].start_offset().get()
}

/// Follows until it is killed; in one life once `lasting` is over.
pub fn follow(root: &Path, lasting: Duration) {
    let (start, mut opened) = (Instant::now(), 0);
    loop {
        let Ok(reading) = Store::open_read_only(root) else {
            std::thread::sleep(Duration::from_millis(10)); // there is no store yet
            continue;
        };
        if STEADY.iter().any(|topic| reading.describe(topic).is_err()) {
            std::thread::sleep(Duration::from_millis(10));
            continue;
        }
        let mut consumer = reading.reader().subscribe(STEADY).build().expect("a reader");
        let (began, mut looked) = (Instant::now(), Instant::now());
        let is_last = start.elapsed() > lasting;
        opened += 1;
        while is_last || began.elapsed() < longest_life() {
            let records = consumer.poll(Duration::from_millis(50)).expect("a poll");
            compare(&records, &|topic, partition| start_of(&reading, topic, partition));
            say(&format!("followed {}", records.len()));
            if is_last && looked.elapsed() > look_every() {
                say(&figures::line(Phase::Work, root));
                looked = Instant::now();
            }
        }
        drop(consumer);
        reading.close().expect("closed");
        drop(reading); // what was read through it may be held as long as it is
        if opened > 1 {
            say(&figures::line(Phase::Rest, root));
        }
    }
}
