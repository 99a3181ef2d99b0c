//! Compaction of many keys against a model: whatever was written last of a key is there, nothing is
//! there that was not written, and what is superseded goes.
//!
//! Keys are written in waves of random ones, some of them as tombstones, while the maintenance
//! compacts; the store is opened anew in between. The model is the list of all that was written,
//! by offset. `TIDELOG_BUDGET=deep` takes a million keys.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::common::budget::Budget;
use crate::common::scratch::scratch;
use tidelog::{
    CleanupPolicy, ManualClock, Record, Store, Threads, Timestamp, TopicConfig, Verifier,
};

const TOPIC: &str = "keyed";
const WAVES: u32 = 3;
const TOGETHER: u32 = 500;

/// What was written: of each offset the key, and the value unless it is a tombstone.
type History = Vec<(u32, Option<u64>)>;

fn write(store: &Store, history: &mut History, random: &mut StdRng, keys: u32) {
    let topic = store.producer().build().expect("a producer").topic(TOPIC).expect("it");
    for _ in 0..keys / TOGETHER {
        let first = history.len();
        for _ in 0..TOGETHER {
            let value = random.random_bool(0.9).then(|| random.random());
            history.push((random.random_range(0..keys), value));
        }
        let bytes = history[first..].iter().map(|(key, value)| {
            let value = value.map(|value| value.to_be_bytes().repeat(4));
            (key.to_be_bytes(), value)
        });
        let bytes: Vec<_> = bytes.collect();
        let records = bytes.iter().map(|(key, value)| match value {
            Some(value) => Record::new(value).key(key),
            None => Record::tombstone().key(key),
        });
        let receipt = topic.send_batch_to(0, &records.collect::<Vec<_>>()).expect("appended");
        assert_eq!(receipt.base_offset().get(), i64::try_from(first).expect("small"));
    }
}

/// Lets the background compact until it has long changed nothing.
fn compact(store: &Store, clock: &ManualClock) {
    let compactions = || {
        let stats = store.stats();
        let topic = stats.topics.iter().find(|topic| topic.name == TOPIC).expect("the topic");
        topic.partitions.iter().map(|partition| partition.compactions).sum::<u64>()
    };
    let (mut idle, mut before) = (0, u64::MAX);
    while idle < 50 {
        clock.advance(Duration::from_millis(500));
        store.run_maintenance();
        let now = compactions();
        idle = if now == before { idle + 1 } else { 0 };
        before = now;
    }
}

/// Reads all that is left, beside what was written; returns how many records that is.
fn compare(store: &Store, history: &History, keys: u32) -> usize {
    let mut last = vec![None; keys as usize];
    for (offset, (key, _)) in history.iter().enumerate() {
        last[*key as usize] = Some(offset);
    }
    let (mut found, mut next) = (vec![false; history.len()], 0);
    let mut consumer = store.consumer("reader").assign([(TOPIC, 0)]).build().expect("a consumer");
    consumer.seek_to_beginning(TOPIC, 0).expect("it seeks");
    for records in consumer.read_to_end().expect("an end") {
        for record in &records.expect("it reads") {
            let offset = usize::try_from(record.offset().get()).expect("an offset");
            assert!(offset >= next, "{offset} after {next}");
            next = offset + 1;
            let (key, value) = history[offset];
            assert_eq!(record.key(), Some(&key.to_be_bytes()[..]), "the key at {offset}");
            let value = value.map(|value| value.to_be_bytes().repeat(4));
            assert_eq!(record.value(), value.as_deref(), "the value at {offset}");
            found[offset] = true;
        }
    }
    for offset in last.iter().flatten() {
        let is_live = history[*offset].1.is_some();
        assert!(found[*offset] || !is_live, "the last record of a key, at {offset}, is gone");
    }
    for (offset, (key, _)) in history.iter().enumerate().filter(|(offset, _)| found[*offset]) {
        let newest = last[*key as usize].expect("it was written");
        assert!(found[newest], "{offset} is there, of a key whose tombstone at {newest} has gone");
    }
    found.iter().filter(|found| **found).count()
}

#[test]
fn of_many_keys_the_last_record_is_left_and_none_that_was_not_written() {
    let keys = u32::try_from(Budget::get().pick(10_000, 50_000, 1_000_000)).expect("small");
    let clock = ManualClock::new(Timestamp::from_millis(1_700_000_000_000));
    let dir = scratch();
    let root = dir.path().join("store");
    let open = || {
        let builder = Store::builder(&root).clock(clock.clone()).threads(Threads::Host);
        builder.open().expect("it opens")
    };
    let config = TopicConfig::new().cleanup_policy(CleanupPolicy::Compact);
    let config = config.segment_bytes((keys * 4).into()).delete_retention(Duration::from_secs(1));
    open().create_topic(TOPIC, config).expect("created");
    let (mut history, mut random) = (History::new(), StdRng::seed_from_u64(7));
    let mut left = 0;
    for wave in 0..WAVES {
        let store = open();
        write(&store, &mut history, &mut random, keys);
        compact(&store, &clock);
        left = compare(&store, &history, keys);
        if wave == 1 {
            drop(store); // not closed by a call: the handle that goes closes it
        } else {
            store.close().expect("closed");
        }
    }
    assert!(left < history.len() * 2 / 3, "the control: {left} of {} are left", history.len());
    assert!(Verifier::new(&root).run().expect("it reads").is_clean());
    println!("{} records of {keys} keys: {left} left", history.len());
}
