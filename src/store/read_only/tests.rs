//! A writer and a reader over one directory: every record compared, nothing changed, nothing
//! skipped, whatever happens in between.

mod arrival;
mod beside;
mod damage;
mod gaps;
mod guest_disk;
#[cfg(feature = "sim")]
mod left;
mod moving;
mod opening;

use std::path::Path;
use std::time::Duration;

use guest_disk::GuestDisk;

use super::*;
use crate::disk::MemoryDisk;
use crate::record::Record;
use crate::time::ManualClock;

/// The default interval: after it every call looks again.
const INTERVAL: Duration = Duration::from_millis(10);

/// A writer and a reader of one store, on one clock moved by hand.
struct Pair {
    disk: Arc<dyn Disk>,
    guest: Arc<GuestDisk>,
    clock: ManualClock,
    store: Store,
    reading: ReadOnlyStore,
}

fn root() -> &'static Path {
    Path::new("/store")
}

fn open_writer(disk: &Arc<dyn Disk>, clock: &ManualClock) -> Store {
    let builder = Store::builder(root()).disk(disk.clone()).clock(clock.clone());
    builder.threads(Threads::Host).open().unwrap()
}

fn open_reader(disk: Arc<dyn Disk>, path: &Path, clock: &ManualClock) -> ReadOnlyStore {
    let builder = Store::read_only(path).disk(disk).clock(clock.clone());
    builder.threads(Threads::Host).open().unwrap()
}

impl Pair {
    /// A store with the topic `t` of one partition.
    fn new(config: crate::config::TopicConfig) -> Self {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let clock = ManualClock::default();
        let store = open_writer(&disk, &clock);
        store.create_topic("t", config).unwrap();
        let guest = Arc::new(GuestDisk::new(disk.clone()));
        let reading = open_reader(guest.clone(), root(), &clock);
        Pair { disk, guest, clock, store, reading }
    }

    fn send(&self, value: &str) {
        let producer = self.store.producer().build().unwrap().topic("t").unwrap();
        producer.send(Record::new(value)).unwrap();
    }

    fn reopen(&mut self) {
        self.store.close().unwrap();
        self.store = open_writer(&self.disk, &self.clock);
    }

    fn later(&self) {
        self.clock.advance(INTERVAL);
    }
}

fn values(records: &crate::record::Records) -> Vec<String> {
    let values = records.iter().map(|record| record.value().unwrap_or_default().to_vec());
    values.map(|value| String::from_utf8(value).unwrap()).collect()
}
