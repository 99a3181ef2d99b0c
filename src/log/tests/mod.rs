//! Tests of one log below its door: recovery row by row, upkeep, failures.

mod appending;
mod asked;
mod auditing;
mod copying;
mod digested;
mod digests;
mod fetching;
mod filtered;
mod followed;
mod hosted;
mod indexes;
mod keeping;
mod lines;
mod lone;
mod lookups;
mod maps;
mod producers;
mod recovery;
#[cfg(target_os = "linux")]
mod room;
mod said;
mod swaps;
mod transactions;
mod trimming;
mod truncation;
#[cfg(feature = "sim")]
mod unsynced;
mod upkeep;

use std::path::{Path, PathBuf};

use super::*;

/// Nobody maintains a log under test but the test.
#[derive(Debug)]
struct Unattended;

impl Attention for Unattended {
    fn dirty(&self, _: Option<Duration>) {}
    fn due(&self) {}
}

use crate::config::{IsolationLevel, Packing, TopicConfig};
use crate::disk::names::{SegmentFile, segment_file};
use crate::disk::{Access, Disk, IoMode, MemoryDisk, RealDisk, read_full_at, write_all_at};
use crate::error::{ErrorKind, Result};
use crate::ids::{LeaderEpoch, Offset, PartitionId, TopicId};
use crate::record::{
    BatchRules, BorrowedBatch, PlainLimit, Record, Records, Stamp, TakeRules, TimestampRule,
    one_batch,
};
use crate::time::{ManualClock, Timestamp};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

const DIR: &str = "/orders-0";

/// A log on a disk of its own, opened and opened again.
struct Bench {
    disk: Arc<dyn Disk>,
    clock: ManualClock,
    config: TopicConfig,
    id: LogId,
}

impl Bench {
    fn new() -> Self {
        let disk = Arc::new(MemoryDisk::new());
        disk.create_dir_all(Path::new(DIR)).unwrap();
        Bench::on(disk)
    }

    /// Of a log that was closed, and begins at 0.
    fn audit_facts(&self, recovery_point: i64) -> AuditFacts {
        AuditFacts {
            recovery_point: Offset::new(recovery_point),
            log_start: Offset::ZERO,
            gapless: true,
            compacted: Offset::ZERO,
            sparse: Offset::ZERO,
            is_live: false,
            foreign: false,
            may_lack_id: false,
            index_interval: self.config.index_interval_bytes,
        }
    }

    fn on(disk: Arc<dyn Disk>) -> Self {
        Bench {
            disk,
            clock: ManualClock::new(Timestamp::from_millis(1_000_000)),
            config: TopicConfig::new().index_interval_bytes(0).timestamp_after_max(None),
            id: LogId { topic: TopicId::random(), partition: PartitionId::new(0) },
        }
    }

    fn try_open(&self, known: KnownFacts) -> Result<(PartitionLog, PartitionReport)> {
        self.try_open_at(Path::new(DIR), known)
    }

    fn try_open_at(
        &self,
        dir: &Path,
        known: KnownFacts,
    ) -> Result<(PartitionLog, PartitionReport)> {
        PartitionLog::open(&self.disk, dir, self.setup(), known)
    }

    fn setup(&self) -> LogSetup {
        LogSetup {
            name: LogName { topic: Arc::from("orders"), partition: PartitionId::new(0) },
            id: self.id,
            config: Arc::new(self.config.clone()),
            clock: Arc::new(self.clock.clone()),
            sync_after: None,
            attention: Arc::new(Unattended),
            pinned: Arc::default(),
            journal: None,
            plain: crate::record::PlainLimit::DEFAULT,
        }
    }

    fn open(&self, known: KnownFacts) -> (PartitionLog, PartitionReport) {
        let (log, report) = self.try_open(known).unwrap();
        let epoch = log.latest_epoch().map_or(0, |latest| latest.get() + 1);
        log.begin_epoch(LeaderEpoch::new(epoch));
        (log, report)
    }

    fn path(base: i64, kind: SegmentFile) -> PathBuf {
        Path::new(DIR).join(segment_file(Offset::new(base), kind))
    }

    fn log_path(base: i64) -> PathBuf {
        Bench::path(base, SegmentFile::Log)
    }

    fn bytes(&self, path: &Path) -> Vec<u8> {
        let file = self.disk.open(path, Access::Read).unwrap();
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        read_full_at(&*file, &mut bytes, 0).unwrap();
        bytes
    }

    fn put(&self, path: &Path, bytes: &[u8]) {
        let file = self.disk.open(path, Access::Create).unwrap();
        file.set_len(0).unwrap();
        write_all_at(&*file, bytes, 0).unwrap();
    }

    fn exists(&self, path: &Path) -> bool {
        self.disk.metadata(path).unwrap().is_some()
    }

    fn names(&self) -> Vec<String> {
        let entries = self.disk.list(Path::new(DIR)).unwrap();
        let mut names: Vec<_> = entries.into_iter().map(|entry| entry.name).collect();
        names.sort();
        names
    }
}

/// A new log of real files that are mapped, in a directory that goes with it; `None` where there is
/// no such disk.
fn mapped() -> Option<(TempDir, Bench, PartitionLog)> {
    let directory = tempfile::tempdir().unwrap();
    let bench = Bench::on(Arc::new(RealDisk::new(IoMode::Mapped).ok()?));
    let (log, _) = bench.try_open_at(directory.path(), facts(0, LastStop::Clean)).unwrap();
    Some((directory, bench, log))
}

/// A log whose last stop was of the given kind.
fn facts(recovery_point: i64, last_stop: LastStop) -> KnownFacts {
    KnownFacts {
        recovery_point: Offset::new(recovery_point),
        log_start: Offset::ZERO,
        last_stop,
        adopted: false,
        ours_from: None,
        compacted: Offset::ZERO,
        sparse: Offset::ZERO,
        host_led: None,
        sync_failed: false,
    }
}

/// One batch of one record at `base`.
fn batch(base: i64, value: &[u8]) -> Vec<u8> {
    one_batch(base, 0, value, base + 1)
}

/// Batches of one record each, `first..end`.
fn batches(first: i64, end: i64) -> Vec<u8> {
    (first..end).flat_map(|base| batch(base, format!("value {base}").as_bytes())).collect()
}

/// Appends one batch of one record; returns its offset.
fn append(log: &PartitionLog, value: &[u8], at: i64) -> Result<i64> {
    append_and_tell(log, value, at).map(|appended| appended.base_offset.get())
}

/// The same, with all that is told of it.
fn append_and_tell(log: &PartitionLog, value: &[u8], at: i64) -> Result<Appended> {
    let now = Timestamp::from_millis(at);
    let records = [Record::new(value).timestamp(now)];
    let rules = log.batch_rules(now);
    let batch = BorrowedBatch::measure(&records, &rules)?;
    log.append(&batch, now)
}

/// Offset and value of every record from `from` on, up to the first that cannot be read.
fn read_from(log: &PartitionLog, from: i64) -> Result<Vec<(i64, Vec<u8>)>> {
    let limits = FetchLimits {
        bytes: 200,
        records: u64::MAX,
        durable_only: false,
        isolation: IsolationLevel::ReadUncommitted,
    };
    let plain = PlainLimit::DEFAULT;
    let rules = TakeRules { max_records: usize::MAX, until: None, plain };
    let mut next = Offset::new(from);
    let mut found = Vec::new();
    loop {
        let fetched = log.fetch(next, None, limits)?;
        let Some(chunk) = fetched.chunk else { return Ok(found) };
        let mut records = Records::default();
        let taken = records.take_in(&log.origin(), chunk.bytes, next, rules);
        assert!(taken.fault.is_none(), "{taken:?}");
        for record in &records {
            found.push((record.offset().get(), record.value().unwrap_or_default().to_vec()));
        }
        next = fetched.next_offset;
    }
}

fn offsets(found: &[(i64, Vec<u8>)]) -> Vec<i64> {
    found.iter().map(|(offset, _)| *offset).collect()
}
