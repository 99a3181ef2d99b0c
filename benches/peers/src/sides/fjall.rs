//! fjall: one keyspace, keys of stream and number, big-endian, as its documentation advises.

use std::sync::atomic::{AtomicU64, Ordering};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{Job, Side};

struct Tree {
    database: Database,
    keyspace: Keyspace,
    next: Vec<AtomicU64>,
}

pub fn open(job: &Job<'_>) -> Box<dyn Side> {
    let database = Database::builder(job.dir).open().expect("a new database");
    let keyspace = database.keyspace("bench", KeyspaceCreateOptions::default).expect("it");
    let next = (0..job.topics).map(|_| AtomicU64::new(0)).collect();
    Box::new(Tree { database, keyspace, next })
}

fn key(topic: usize, number: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&(topic as u32).to_be_bytes());
    key[4..].copy_from_slice(&number.to_be_bytes());
    key
}

impl Tree {
    fn next(&self, topic: usize, count: u64) -> u64 {
        self.next[topic].fetch_add(count, Ordering::Relaxed)
    }
}

impl Side for Tree {
    fn append(&self, topic: usize, value: &[u8]) {
        let key = key(topic, self.next(topic, 1));
        self.keyspace.insert(key, value).expect("an insert");
    }

    fn append_many(&self, topic: usize, values: &[&[u8]]) {
        let first = self.next(topic, values.len() as u64);
        let mut batch = self.database.batch();
        for (number, value) in (first..).zip(values) {
            batch.insert(&self.keyspace, key(topic, number), *value);
        }
        batch.commit().expect("a commit");
    }

    fn append_synced(&self, topic: usize, value: &[u8]) {
        self.append(topic, value);
        self.database.persist(PersistMode::SyncData).expect("a sync");
    }

    fn read(&self, topic: usize, each: &mut dyn FnMut(&[u8])) {
        for pair in self.keyspace.prefix((topic as u32).to_be_bytes()) {
            let (_, value) = pair.into_inner().expect("a pair");
            each(&value);
        }
    }
}
