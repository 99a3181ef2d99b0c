//! One replica: a store on a simulated disk, that may be up or down.

use std::path::Path;
use std::sync::Arc;

use crate::config::{Journal, Threads, TopicConfig};
use crate::disk::{Crash, SimDisk};
use crate::ids::{LeaderEpoch, Offset};
use crate::log::RawLimits;
use crate::store::{Partition, Store};
use crate::time::{ManualClock, Timestamp};

pub const TOPIC: &str = "orders";

pub struct Replica {
    disk: SimDisk,
    clock: ManualClock,
    store: Option<Store>,
    journal: Journal,
    /// The epoch under which it has made sure that its log is a prefix of the leader's.
    pub agreed: Option<i32>,
}

impl Replica {
    /// A new one, with an empty topic. Every other one has a journal.
    pub fn new(seed: u64, number: u64) -> Self {
        let journal = match (seed + number).is_multiple_of(2) {
            true => Journal::Off,
            false => Journal::Bytes(1 << 20),
        };
        let mut replica = Replica {
            disk: SimDisk::new(seed * 3 + number),
            clock: ManualClock::new(Timestamp::from_millis(1_700_000_000_000)),
            store: None,
            journal,
            agreed: None,
        };
        replica.start("at the beginning");
        let config = TopicConfig::new().segment_bytes(1500).index_interval_bytes(200);
        let store = replica.store.as_ref().unwrap();
        store.create_host_led_topic(TOPIC, config).unwrap();
        replica
    }

    pub fn is_up(&self) -> bool {
        self.store.is_some()
    }

    pub fn start(&mut self, what: &str) {
        let store = Store::builder("/store")
            .disk(Arc::new(self.disk.clone()))
            .clock(self.clock.clone())
            .threads(Threads::Host)
            .journal(self.journal)
            .open();
        let store = store.unwrap_or_else(|error| panic!("{what}: {error}"));
        let report = store.open_report();
        assert!(report.failed_partitions().is_empty(), "{what}: {report:?}");
        for partition in report.partitions() {
            assert!(partition.damage().is_empty(), "{what}: {partition:?}");
        }
        self.store = Some(store);
        self.agreed = None;
    }

    /// The process is killed, or the power goes.
    pub fn stop(&mut self, power: Option<Crash>) {
        let after = match power {
            Some(crash) => self.disk.crash(crash),
            None => self.disk.kill(),
        };
        self.disk = after;
        self.store = None; // what it still writes goes to the disk of before
    }

    pub fn close(&mut self) {
        self.store.take().unwrap().close().unwrap();
    }

    pub fn maintain(&self) {
        let store = self.store.as_ref().unwrap();
        self.clock.advance(std::time::Duration::from_secs(31));
        store.run_due();
        store.run_maintenance();
    }

    pub fn partition(&self) -> Partition {
        self.store.as_ref().expect("it is up").partition(TOPIC, 0).unwrap()
    }

    pub fn store(&self) -> &Store {
        self.store.as_ref().expect("it is up")
    }

    pub fn start_offset(&self) -> Offset {
        self.partition().start_offset().unwrap()
    }

    pub fn end(&self) -> Offset {
        self.partition().end_offset().unwrap()
    }

    pub fn durable(&self) -> Offset {
        self.partition().durable_offset().unwrap()
    }

    pub fn last_epoch(&self) -> Option<LeaderEpoch> {
        self.partition().leader_epochs().unwrap().last().map(|(epoch, _)| *epoch)
    }

    /// What its readers see from `from` on.
    pub fn seen_from(&self, from: Offset) -> Vec<(Offset, Vec<u8>, LeaderEpoch)> {
        let mut reader = self.store().reader().assign([(TOPIC, 0)]).build().unwrap();
        reader.seek(TOPIC, 0, from).unwrap();
        let mut seen = Vec::new();
        loop {
            let records = reader.try_poll().unwrap();
            if records.is_empty() {
                return seen;
            }
            seen.extend(records.iter().map(|record| {
                let value = record.value().unwrap().to_vec();
                (record.offset(), value, record.leader_epoch().unwrap())
            }));
        }
    }

    /// All that it has, as it lies, from `from` on.
    pub fn bytes_from(&self, from: Offset) -> Vec<u8> {
        let partition = self.partition();
        let (mut bytes, mut next) = (Vec::new(), from);
        while next < self.end() {
            let read = partition.read_batches(next, RawLimits::to_end(700)).unwrap();
            bytes.extend_from_slice(read.bytes());
            assert!(read.next_offset() > next);
            next = read.next_offset();
        }
        bytes
    }

    /// The bytes of its `.log` files, one after the other, without what a window has ready.
    pub fn file_bytes(&self) -> Vec<u8> {
        use crate::disk::{Access, Disk as _, read_full_at};
        let dir = Path::new("/store/orders-0");
        let mut names = self.disk.names(dir).unwrap_or_default(); // none before a first batch
        names.retain(|name| name.ends_with(".log"));
        names.sort();
        let mut bytes = Vec::new();
        for name in names {
            let file = self.disk.open(&dir.join(name), Access::Read).unwrap();
            let mut all = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
            read_full_at(&*file, &mut all, 0).unwrap();
            bytes.extend(all);
        }
        bytes
    }
}
