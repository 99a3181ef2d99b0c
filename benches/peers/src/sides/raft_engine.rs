//! raft-engine: a region for each stream, an entry for each value, one log batch a call.
//!
//! Its entries are protobuf messages with an index; the one that stands in for raft's own carries
//! an index and bytes as well. Compression is off: the values do not compress. A region has one
//! writer at a time, so its groups are of several regions (`synctopics`).

use std::path::Path;
use std::sync::Mutex;

use protobuf::descriptor::UninterpretedOption as Entry;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

use super::{Job, Side};

struct Entries;

impl MessageExt for Entries {
    type Entry = Entry;

    fn index(entry: &Entry) -> u64 {
        entry.get_positive_int_value()
    }
}

struct Regions {
    engine: Engine,
    /// The next index of each region; indexes follow each other within one.
    next: Vec<Mutex<u64>>,
}

pub fn open(job: &Job<'_>) -> Box<dyn Side> {
    let dir = |dir: &Path| dir.to_str().expect("a readable path").to_owned();
    let config = Config {
        dir: dir(job.dir),
        batch_compression_threshold: ReadableSize(0),
        ..Config::default()
    };
    let engine = Engine::open(config).expect("a new engine");
    Box::new(Regions { engine, next: (0..job.topics).map(|_| Mutex::new(1)).collect() })
}

impl Regions {
    fn write(&self, topic: usize, values: &[&[u8]], sync: bool) {
        let mut next = self.next[topic].lock().expect("no panic");
        let entry = |(index, value): (u64, &&[u8])| {
            let mut entry = Entry::new();
            entry.set_positive_int_value(index);
            entry.set_string_value(value.to_vec());
            entry
        };
        let entries: Vec<_> = (*next..).zip(values).map(entry).collect();
        let mut batch = LogBatch::default();
        batch.add_entries::<Entries>(topic as u64 + 1, &entries).expect("it fits");
        *next += values.len() as u64;
        self.engine.write(&mut batch, sync).expect("a write");
    }
}

impl Side for Regions {
    fn append(&self, topic: usize, value: &[u8]) {
        self.write(topic, &[value], false);
    }

    fn append_many(&self, topic: usize, values: &[&[u8]]) {
        self.write(topic, values, false);
    }

    fn append_synced(&self, topic: usize, value: &[u8]) {
        self.write(topic, &[value], true);
    }

    fn read(&self, topic: usize, each: &mut dyn FnMut(&[u8])) {
        let end = *self.next[topic].lock().expect("no panic");
        let mut entries = Vec::new();
        for first in (1..end).step_by(1_000) {
            entries.clear();
            let last = (first + 1_000).min(end);
            let region = topic as u64 + 1;
            let read =
                self.engine.fetch_entries_to::<Entries>(region, first, last, None, &mut entries);
            read.expect("a read");
            entries.iter().for_each(|entry| each(entry.get_string_value()));
        }
    }
}
