//! krabka-log: Kafka's format, a log for each stream, behind a lock, since it wants `&mut`.

use std::sync::Mutex;

use krabka_log::{Log, LogConfig, Offset};
use krabka_protocol::records::{Record, RecordBatch};
use krabka_units::prelude::mebibytes;

use super::{Job, Side};

struct Logs(Vec<Mutex<Log>>);

pub fn open(job: &Job<'_>) -> Box<dyn Side> {
    let log = |topic: usize| {
        let dir = job.dir.join(format!("t{topic}-0"));
        Mutex::new(Log::open(dir, LogConfig::default()).expect("a new log"))
    };
    Box::new(Logs((0..job.topics).map(log).collect()))
}

fn batch(values: &[&[u8]]) -> RecordBatch {
    let record = |(delta, value): (i32, &&[u8])| Record {
        offset_delta: delta,
        value: Some(value.to_vec().into()),
        ..Record::default()
    };
    RecordBatch {
        last_offset_delta: values.len() as i32 - 1,
        records: (0..).zip(values).map(record).collect(),
        ..RecordBatch::default()
    }
}

impl Side for Logs {
    fn append(&self, topic: usize, value: &[u8]) {
        self.append_many(topic, &[value]);
    }

    fn append_many(&self, topic: usize, values: &[&[u8]]) {
        let mut batch = batch(values);
        self.0[topic].lock().expect("no panic").append(&mut batch).expect("an append");
    }

    fn append_synced(&self, topic: usize, value: &[u8]) {
        let mut log = self.0[topic].lock().expect("no panic");
        log.append(&mut batch(&[value])).expect("an append");
        log.sync().expect("a sync");
    }

    fn read(&self, topic: usize, each: &mut dyn FnMut(&[u8])) {
        let log = self.0[topic].lock().expect("no panic");
        let mut next = 0;
        loop {
            let read = log.read(Offset(next), mebibytes(1)).expect("a read");
            let Some(last) = read.batches.last() else { return };
            next = last.base_offset + i64::from(last.last_offset_delta) + 1;
            for record in read.batches.iter().flat_map(|batch| &batch.records) {
                each(record.value.as_ref().expect("a value"));
            }
        }
    }
}
