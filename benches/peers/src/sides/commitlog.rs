//! commitlog: a log for each stream, behind a lock, since it wants `&mut` to append.

use std::sync::Mutex;

use commitlog::message::{MessageBuf, MessageSet};
use commitlog::{CommitLog, LogOptions, ReadLimit};

use super::{Job, Side};

struct Logs(Vec<Mutex<CommitLog>>);

pub fn open(job: &Job<'_>) -> Box<dyn Side> {
    let log = |topic: usize| {
        let mut options = LogOptions::new(job.dir.join(format!("t{topic}")));
        options.message_max_bytes(1 << 20);
        Mutex::new(CommitLog::new(options).expect("a new log"))
    };
    Box::new(Logs((0..job.topics).map(log).collect()))
}

impl Side for Logs {
    fn append(&self, topic: usize, value: &[u8]) {
        self.0[topic].lock().expect("no panic").append_msg(value).expect("an append");
    }

    fn append_many(&self, topic: usize, values: &[&[u8]]) {
        let mut messages = MessageBuf::default();
        values.iter().for_each(|value| messages.push(value).expect("a message"));
        self.0[topic].lock().expect("no panic").append(&mut messages).expect("an append");
    }

    fn read(&self, topic: usize, each: &mut dyn FnMut(&[u8])) {
        let log = self.0[topic].lock().expect("no panic");
        let mut next = 0;
        loop {
            let messages = log.read(next, ReadLimit::max_bytes(1 << 20)).expect("a read");
            if messages.is_empty() {
                return;
            }
            for message in messages.iter() {
                assert!(message.verify_hash(), "its checksum");
                each(message.payload());
                next = message.offset() + 1;
            }
        }
    }
}
