//! A reader in another process, beside a writer that is killed again and again: it follows,
//! compares and opens its own end anew now and then.

use std::path::Path;
use std::time::{Duration, Instant};

use tidelog::{ReadOnlyStore, Store};

use crate::load::{compare, say};
use crate::promise::STEADY;

fn start_of(reading: &ReadOnlyStore, topic: &str, partition: u32) -> i64 {
    let described = reading.describe(topic).expect("the topic");
    described.partitions()[partition as usize].start_offset().get()
}

/// Follows until it is killed.
pub fn follow(root: &Path) {
    let mut opened = 0;
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
        let (began, seconds) = (Instant::now(), if opened % 4 == 3 { 30 } else { 3 });
        opened += 1;
        while began.elapsed() < Duration::from_secs(seconds) {
            let records = consumer.poll(Duration::from_millis(50)).expect("a poll");
            compare(&records, &|topic, partition| start_of(&reading, topic, partition));
            say(&format!("followed {}", records.len()));
        }
        drop(consumer);
        reading.close().expect("closed");
    }
}
