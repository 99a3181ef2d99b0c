//! What the store asks a log for: what its configuration says, what it holds and what has left it,
//! and to be called when it has grown.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::config::{BackgroundSync, CleanupPolicy};
use crate::ids::{ProducerEpoch, ProducerId, Sequence};
use crate::log::counting::Count;
use crate::log::keeper::{Durable, LogFact};
use crate::log::replay::Whole;
use crate::log::replicated::LeaderBatches;
use crate::record::{AppendBatch, Batch, ProducerIdentity, Reach};

#[derive(Debug)]
struct Forgetful;

impl Keeper for Forgetful {
    fn record(&self, _: &[(LogId, LogFact)], _: Durable) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Called(AtomicUsize);

impl Attention for Called {
    fn dirty(&self, _: Option<Duration>) {}

    fn due(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_000_000)
}

#[test]
fn a_log_asks_of_batches_what_its_configuration_says() {
    let bench = Bench::new();
    let second = Some(Duration::from_secs(1));
    let config = || bench.config.clone().timestamp_before_max(None);
    let rules = |config: TopicConfig| {
        let bench = Bench { config, ..Bench::on(bench.disk.clone()) };
        bench.open(facts(0, LastStop::Clean)).0.batch_rules(now())
    };
    let create = |before: Option<Duration>, after: Option<Duration>| TimestampRule::Create {
        now: now(),
        before_max: Reach::of(before),
        after_max: Reach::of(after),
    };
    let plain = rules(config());
    assert_eq!((plain.keyed, plain.tagged), (false, false));
    assert_eq!(format!("{:?}", plain.timestamps), format!("{:?}", create(None, None)));
    let bounded = rules(config().timestamp_before_max(second));
    assert_eq!(format!("{:?}", bounded.timestamps), format!("{:?}", create(second, None)));
    for policy in [CleanupPolicy::Compact, CleanupPolicy::CompactDelete] {
        let compacted = rules(config().cleanup_policy(policy).tag_index(true));
        assert_eq!((compacted.keyed, compacted.tagged), (true, true), "{policy:?}");
    }
    let kind = crate::config::TimestampType::LogAppendTime;
    let stamped = rules(config().timestamp_type(kind));
    let append = TimestampRule::Append { now: now() };
    assert_eq!(format!("{:?}", stamped.timestamps), format!("{append:?}"));
}

#[test]
fn a_log_reads_within_the_limit_and_counts_with_the_counter_it_was_given() {
    let bench = Bench::new();
    let setup = LogSetup { plain: PlainLimit::bytes(4321), ..bench.setup() };
    let pinned = setup.pinned.clone();
    let known = facts(0, LastStop::Clean);
    let (log, _) = PartitionLog::open(&bench.disk, Path::new(DIR), setup, known).unwrap();
    let limit = format!("{:?}", PlainLimit::bytes(4321));
    assert_eq!(format!("{:?}", log.plain_limit()), limit);
    assert!(Arc::ptr_eq(log.pinned(), &pinned));
    let disk = Arc::new(MemoryDisk::new());
    let lone = Log::builder("/log").disk(disk).max_decompressed_bytes(4321).open().unwrap();
    assert_eq!(format!("{:?}", lone.plain_limit()), limit);
}

/// A budget that is full is not left full, and nothing is given back to it twice.
#[test]
fn what_has_left_a_log_is_told_once_under_the_count_it_was_part_of() {
    let mut bench = Bench::new();
    bench.config = bench.config.segment_bytes(1024);
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    while log.size().1 < 4 {
        append(&log, &[1; 300], 1).unwrap();
    }
    let mut joined = None;
    log.join_count(Count(7), |it| joined = Some((it.held, it.freed)));
    assert_eq!(joined, Some((log.size().0, 0)));
    let taken = || {
        let mut taken = None;
        log.take_freed(|count, freed| taken = Some((count, freed)));
        taken.unwrap()
    };
    let before = log.size().0;
    let second = log.segments.load()[1].base();
    log.delete_records_before(second, &Forgetful).unwrap();
    let deleted = before - log.size().0;
    assert!(deleted > 0, "the control");
    let end = log.offsets().end();
    log.truncate_to(Offset::new(end.get() - 1), None, &Forgetful).unwrap();
    assert!(log.size().0 < before - deleted, "the control");
    assert_eq!(taken(), (Count(7), before - log.size().0));
    assert_eq!(taken(), (Count(7), 0));
}

#[test]
fn who_waits_for_a_log_to_grow_is_called_once_it_has() {
    let bench = Bench::new();
    let called = Arc::new(Called::default());
    let setup = LogSetup { attention: called.clone(), ..bench.setup() };
    let known = facts(0, LastStop::Clean);
    let (log, _) = PartitionLog::open(&bench.disk, Path::new(DIR), setup, known).unwrap();
    append(&log, &[1; 100], 1).unwrap();
    let calls = || called.0.swap(0, Ordering::Relaxed);
    calls();
    log.tell_when_larger(log.size().0 + 1000);
    append(&log, &[1; 100], 1).unwrap();
    assert_eq!(calls(), 0, "it is not larger yet");
    append(&log, &[1; 2000], 1).unwrap();
    assert_eq!(calls(), 1);
    log.tell_when_larger(0);
    assert_eq!(calls(), 1, "it is already");
}

/// Ids that are handed out lie above those that are in use.
#[test]
fn the_highest_producer_below_a_limit_is_known() {
    let log = Log::builder("/log").disk(Arc::new(MemoryDisk::new())).open().unwrap();
    let below = |limit| log.log.highest_producer_below(ProducerId::new(limit)).map(ProducerId::get);
    assert_eq!(below(100), None);
    for id in [7, 30] {
        let producer = ProducerIdentity::new(ProducerId::new(id), ProducerEpoch::new(0));
        log.append_produced(&[Record::new("a")], producer, Sequence::FIRST).unwrap();
    }
    assert_eq!([7, 8, 30, 31].map(below), [None, Some(7), Some(7), Some(30)]);
}

/// However little waits, once it is enough; and nothing where nothing does.
#[test]
fn upkeep_syncs_at_the_number_of_bytes_it_was_told() {
    let sync = BackgroundSync { bytes: Some(1000), interval: None };
    let builder = Log::builder("/log").disk(Arc::new(MemoryDisk::new())).background_sync(sync);
    let log = builder.open().unwrap();
    let appended = |bytes: usize| {
        log.append(&[Record::new(&vec![1; bytes][..])]).unwrap();
        log.maintain().unwrap();
        (log.end_offset().get(), log.durable_offset().get())
    };
    assert_eq!([appended(300), appended(300)], [(1, 0), (2, 0)]);
    assert_eq!(appended(600), (3, 3));
    assert_eq!(appended(300), (4, 3));
}

#[test]
fn a_batch_that_is_written_as_it_is_says_what_it_has() {
    let records = [Record::new("a"), Record::new("b"), Record::new("c")];
    let rules = BatchRules {
        timestamps: TimestampRule::Append { now: now() },
        max_bytes: 1 << 20,
        keyed: false,
        tagged: false,
        packing: Packing::default(),
    };
    let batch = BorrowedBatch::measure(&records, &rules).unwrap();
    let mut bytes = vec![0; batch.size()];
    let (base_offset, leader_epoch) = (Offset::ZERO, LeaderEpoch::new(0));
    let stamp = Stamp { base_offset, leader_epoch, producer: None };
    batch.write(stamp, &mut bytes, crc32c::crc32c_append);
    let whole = Whole(Batch::verify(&bytes).unwrap());
    assert_eq!((whole.count(), whole.size()), (3, bytes.len()));
    assert_eq!(whole.max_timestamp(), Some(now()));
    assert_eq!(LeaderBatches::check(&bytes).unwrap().size(), bytes.len() as u64);
}

/// Its checksum is right; its records are not.
#[test]
fn a_leaders_batch_is_looked_into_before_it_is_taken() {
    let whole = batch(0, b"value");
    let mut bytes = whole.clone();
    *bytes.last_mut().unwrap() = 0x7f; // more headers than there are bytes
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    assert!(LeaderBatches::check(&whole).is_ok(), "the control");
    assert!(LeaderBatches::check(&bytes).is_err());
}
