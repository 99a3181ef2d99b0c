//! walrus-rust with its default fsync schedule, once by maps and once by file descriptors. What is
//! read is consumed, so it is read once.

use walrus_rust::{disable_fd_backend, enable_fd_backend, FsyncSchedule, ReadConsistency, Walrus};

use super::{Job, Side};

struct Sides {
    walrus: Walrus,
    names: Vec<String>,
}

pub fn open_mapped(job: &Job<'_>) -> Box<dyn Side> {
    disable_fd_backend();
    open(job)
}

pub fn open_by_position(job: &Job<'_>) -> Box<dyn Side> {
    enable_fd_backend();
    open(job)
}

fn open(job: &Job<'_>) -> Box<dyn Side> {
    std::env::set_var("WALRUS_QUIET", "1");
    std::env::set_var("WALRUS_DATA_DIR", job.dir);
    let schedule =
        if job.synced { FsyncSchedule::SyncEach } else { FsyncSchedule::Milliseconds(200) };
    let reads = ReadConsistency::AtLeastOnce { persist_every: 1_000_000 };
    let walrus = Walrus::with_consistency_and_schedule_for_key("bench", reads, schedule);
    let names = (0..job.topics).map(|topic| format!("t{topic}")).collect();
    Box::new(Sides { walrus: walrus.expect("a new log"), names })
}

impl Side for Sides {
    fn append(&self, topic: usize, value: &[u8]) {
        self.walrus.append_for_topic(&self.names[topic], value).expect("an append");
    }

    fn append_many(&self, topic: usize, values: &[&[u8]]) {
        self.walrus.batch_append_for_topic(&self.names[topic], values).expect("an append");
    }

    fn append_synced(&self, topic: usize, value: &[u8]) {
        self.append(topic, value);
    }

    fn read(&self, topic: usize, each: &mut dyn FnMut(&[u8])) {
        loop {
            let read = self.walrus.batch_read_for_topic(&self.names[topic], 1 << 20, true);
            let entries = read.expect("a read");
            if entries.is_empty() {
                return;
            }
            entries.iter().for_each(|entry| each(&entry.data));
        }
    }

    fn rereads(&self) -> bool {
        false
    }
}
