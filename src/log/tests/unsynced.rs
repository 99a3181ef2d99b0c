//! What no sync has seen: what an open, a reopening and a checkpoint bring to the disk before they
//! vouch for it, and what they leave as it is.

use super::*;
use crate::disk::names::PARTITION_METADATA;
use crate::disk::{Crash, Fault, IoMode, Operation, Plan, SimDisk};
use crate::log::keeper::{Durable, LogFact};

/// A keeper that is not asked again.
#[derive(Debug)]
struct Anywhere;

impl Keeper for Anywhere {
    fn record(&self, _: &[(LogId, LogFact)], _: Durable) -> Result<()> {
        Ok(())
    }
}

fn on_sim() -> (SimDisk, Bench) {
    let sim = SimDisk::new(1);
    sim.create_dir_all(Path::new(DIR)).unwrap();
    sim.sync_dir(Path::new("/")).unwrap();
    let bench = Bench::on(Arc::new(sim.clone()));
    (sim, bench)
}

/// The same log on another disk.
fn moved(bench: &Bench, disk: SimDisk) -> Bench {
    let (clock, config) = (bench.clock.clone(), bench.config.clone());
    Bench { disk: Arc::new(disk), clock, config, id: bench.id }
}

/// Has a sync of the log fail as the kernel has it: what it was to save may be lost for good.
fn poison(sim: &SimDisk, log: &PartitionLog) {
    let end = Offset::new(append(log, b"in doubt", 9).unwrap() + 1);
    sim.fail(Plan::new(Fault::Error(5)).on(Operation::Sync));
    assert!(log.make_durable(end).is_err());
    sim.heal();
    assert!(log.latch.is_tripped());
}

/// They are there and whole, but nobody has said that the disk has them.
#[test]
fn bytes_beyond_a_clean_recovery_point_are_synced_before_they_count() {
    let (sim, bench) = on_sim();
    bench.put(&Bench::log_path(0), &batches(0, 2));
    bench.disk.open(&Bench::log_path(0), Access::Write).unwrap().sync_data().unwrap();
    bench.disk.sync_dir(Path::new(DIR)).unwrap();
    bench.put(&Bench::log_path(0), &batches(0, 5));
    let (log, _) = bench.open(facts(2, LastStop::Clean));
    log.make_durable(Offset::new(5)).unwrap();
    let cut = moved(&bench, sim.crash(Crash::Nothing));
    let (log, report) = cut.open(facts(2, LastStop::PowerCut));
    assert_eq!(log.offsets().end().get(), 5, "{report:?}");
    assert_eq!(offsets(&read_from(&log, 0).unwrap()), [0, 1, 2, 3, 4]);
}

/// A checkpoint says of the segments behind the active one that no sync needs them any more.
#[test]
fn what_is_appended_behind_a_checkpoint_is_synced_by_the_next_sync() {
    for number in 0..3 {
        let (sim, mut bench) = on_sim();
        bench.config = bench.config.segment_bytes(1024);
        let (log, _) = bench.open(facts(0, LastStop::Clean));
        while log.size().1 <= number {
            append(&log, &[7; 100], 1).unwrap();
        }
        log.checkpoint().unwrap();
        let end = Offset::new(append(&log, b"behind it", 2).unwrap() + 1);
        log.make_durable(end).unwrap();
        let cut = moved(&bench, sim.crash(Crash::Nothing));
        let (after, report) = cut.open(facts(0, LastStop::PowerCut));
        assert_eq!(after.offsets().end(), end, "segment {number}: {report:?}");
    }
}

#[test]
fn what_a_reopening_calls_durable_is_on_the_disk_under_its_name() {
    for mode in [IoMode::Mapped, IoMode::Positioned] {
        for is_new in [false, true] {
            let (sim, bench) = on_sim();
            sim.set_mode(mode);
            if is_new {
                bench.disk.remove_dir(Path::new(DIR)).unwrap();
                bench.disk.sync_dir(Path::new("/")).unwrap();
            }
            let (log, _) = bench.open(facts(0, LastStop::Clean));
            if !is_new {
                append(&log, b"kept", 1).unwrap();
                log.make_durable(Offset::new(1)).unwrap();
            }
            poison(&sim, &log);
            let report = log.reopen(Some(LeaderEpoch::new(7))).unwrap().expect("it was poisoned");
            assert!(report.damage().is_empty(), "{report:?}");
            let end = log.offsets().end();
            assert_eq!((end.get(), log.offsets().durable()), (1 + i64::from(!is_new), end));
            let cut = moved(&bench, sim.crash(Crash::Nothing));
            let (log, report) = cut.open(facts(0, LastStop::PowerCut));
            assert_eq!(log.offsets().end(), end, "{mode:?}, new: {is_new}, {report:?}");
        }
    }
}

/// A sync of an index may be what failed.
#[test]
fn a_log_that_was_poisoned_with_nothing_in_doubt_is_reopened_too() {
    let (sim, bench) = on_sim();
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    append(&log, b"kept", 1).unwrap();
    log.make_durable(Offset::new(1)).unwrap();
    sim.fail(Plan::new(Fault::Error(5)).on(Operation::Sync).for_ever());
    assert!(log.checkpoint().is_err());
    sim.heal();
    assert!(log.latch.is_tripped());
    log.reopen(Some(LeaderEpoch::new(7))).unwrap().expect("it was poisoned");
    assert_eq!((log.offsets().end().get(), log.offsets().durable().get()), (1, 1));
    assert_eq!(append(&log, b"goes on", 2).unwrap(), 1);
}

#[test]
fn a_log_that_was_poisoned_is_reopened_where_it_starts() {
    let (sim, mut bench) = on_sim();
    bench.config = bench.config.segment_bytes(1024);
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    while log.size().1 < 3 {
        append(&log, &[b'x'; 200], 1).unwrap();
    }
    let start = Offset::new(log.segments.load()[1].base().get() + 1);
    log.delete_records_before(start, &Anywhere).unwrap();
    poison(&sim, &log);
    let end = log.offsets().end();
    let report = log.reopen(Some(LeaderEpoch::new(7))).unwrap().expect("it was poisoned");
    assert!(report.damage().is_empty(), "{report:?}");
    let offsets = log.offsets().snapshot();
    assert_eq!((offsets.start, offsets.end), (start, end));
    let below = read_from(&log, start.get() - 1).unwrap_err();
    assert_eq!(below.kind(), ErrorKind::OffsetOutOfRange, "{below}");
    assert_eq!(read_from(&log, start.get()).unwrap()[0].0, start.get());
}

/// How far it wrote is not known: nothing goes on behind it.
#[test]
fn an_append_that_panics_ends_the_log() {
    struct Panics<'a>(BorrowedBatch<'a>);
    impl crate::record::AppendBatch for Panics<'_> {
        fn size(&self) -> usize {
            self.0.size()
        }

        fn count(&self) -> u32 {
            self.0.count()
        }

        fn max_timestamp(&self) -> Option<Timestamp> {
            self.0.max_timestamp()
        }

        fn write(&self, _: Stamp, out: &mut [u8], _: impl crate::record::Sum) {
            out[..20].fill(1);
            panic!("on purpose");
        }
    }
    let (_, bench) = on_sim();
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    append(&log, b"kept", 1).unwrap();
    let records = [Record::new(b"lost")];
    let now = Timestamp::from_millis(1);
    let batch = Panics(BorrowedBatch::measure(&records, &log.batch_rules(now)).unwrap());
    let appended = std::panic::AssertUnwindSafe(|| log.append(&batch, now));
    assert!(std::panic::catch_unwind(appended).is_err());
    let error = append(&log, b"behind it", 1).unwrap_err();
    assert!(error.is_poisoned(), "{error}");
    assert_eq!(offsets(&read_from(&log, 0).unwrap()), [0]);
}

/// Even where nothing above the recovery point is in doubt: appends go on right behind the cut.
#[test]
fn what_is_behind_the_end_of_a_log_that_was_poisoned_is_cut_off() {
    let bench = Bench::new();
    let mut bytes = batches(0, 3);
    let valid = bytes.len();
    bytes.extend([0xab; 100]);
    bench.put(&Bench::log_path(0), &bytes);
    let known = KnownFacts { sync_failed: true, ..facts(3, LastStop::KilledSameBoot) };
    let (log, _) = bench.open(known);
    assert_eq!(bench.bytes(&Bench::log_path(0)), &bytes[..valid]);
    assert_eq!(append(&log, b"goes on", 9).unwrap(), 3);
    let end = log.close().unwrap().get();
    let (log, report) = bench.open(facts(end, LastStop::Clean));
    assert!(!report.is_notable(), "{report:?}");
    assert_eq!(offsets(&read_from(&log, 0).unwrap()), [0, 1, 2, 3]);
}

#[test]
fn a_reopening_tells_a_loss_from_a_gap_of_another_hand() {
    let (sim, mut bench) = on_sim();
    bench.config = bench.config.segment_bytes(1024);
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    for at in 0..20 {
        append(&log, &[b'x'; 200], at).unwrap();
    }
    log.make_durable(Offset::new(20)).unwrap();
    let second = log.segments.load()[1].base().get();
    poison(&sim, &log);
    bench.disk.remove_file(&Bench::log_path(second)).unwrap();
    let error = log.reopen(None).unwrap_err();
    assert!(error.is_corrupt(), "{error}");
    assert!(log.latch.is_tripped(), "it stays as it was");

    let (sim, bench) = on_sim();
    bench.put(&Bench::log_path(0), &batches(0, 3));
    bench.put(&Bench::log_path(5), &batches(5, 7));
    let known = KnownFacts { adopted: true, ..facts(7, LastStop::AnotherHandClean) };
    let (log, _) = bench.open(known);
    poison(&sim, &log);
    let report = log.reopen(None).unwrap().expect("it was poisoned");
    assert!(!report.is_notable(), "{report:?}");
    assert_eq!(offsets(&read_from(&log, 0).unwrap()), [0, 1, 2, 5, 6, 7]);
}

/// Its directory may be another's by then.
#[test]
fn a_closed_log_is_not_reopened_and_nothing_of_it_is_touched() {
    let (sim, bench) = on_sim();
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    append(&log, b"kept", 1).unwrap();
    poison(&sim, &log);
    assert!(log.close().is_err());
    let before = sim.operations();
    let error = log.reopen(None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    assert_eq!(sim.operations(), before, "its files are not looked at");
}

/// What an append has put behind it is for its own writer to write: a sync that failed has
/// lost it here, and so it shows who has written.
#[test]
fn no_more_is_written_again_than_what_recovery_has_accepted() {
    let (sim, bench) = on_sim();
    sim.set_mode(IoMode::Positioned);
    let fill = |log: &PartitionLog, count| {
        for at in 0..count {
            append(log, &[b'x'; 10_000], at).unwrap();
        }
    };
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    fill(&log, 30);
    log.make_durable(Offset::new(1)).unwrap(); // for the names
    drop(log);
    let killed = sim.kill();
    let bench = moved(&bench, killed.clone());
    let (log, _) = bench.open(facts(0, LastStop::KilledSameBoot));
    fill(&log, 20);
    let file = bench.disk.open(&Bench::log_path(0), Access::Write).unwrap();
    killed.fail(Plan::new(Fault::Error(5)).on(Operation::Sync));
    assert!(file.sync_data().is_err(), "as the kernel does it by itself");
    log.write_unproven_again().unwrap();
    file.sync_data().unwrap();
    drop(log);
    let cut = moved(&bench, killed.crash(Crash::Nothing));
    let (log, _) = cut.open(facts(0, LastStop::PowerCut));
    assert_eq!(log.offsets().end().get(), 30);
}

/// It was written without a sync when the directory was made: Kafka refuses one without it.
#[test]
fn the_name_of_the_topic_is_durable_with_the_first_record() {
    let (sim, bench) = on_sim();
    let path = Path::new(DIR).join(PARTITION_METADATA);
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    append(&log, b"first", 1).unwrap();
    let written = bench.bytes(&path);
    log.make_durable(Offset::new(1)).unwrap();
    let bench = moved(&bench, sim.crash(Crash::Nothing));
    assert_eq!(bench.bytes(&path), written);
    // and one that is torn all the same, or gone, or of another topic, is made again
    let (_, other) = on_sim();
    append(&other.open(facts(0, LastStop::Clean)).0, b"first", 1).unwrap();
    let foreign = other.bytes(&path);
    assert_ne!(foreign, written);
    for found in [&b""[..], &written[..written.len() / 2], &foreign] {
        bench.put(&path, found);
        if found.is_empty() {
            bench.disk.remove_file(&path).unwrap();
        }
        let (log, _) = bench.open(facts(0, LastStop::PowerCut));
        let end = append(&log, b"next", 2).unwrap() + 1;
        log.make_durable(Offset::new(end)).unwrap();
        assert_eq!(bench.bytes(&path), written);
    }
}

#[test]
fn what_was_written_ahead_leaves_a_checkpoint_nothing_to_replace() {
    let (sim, bench) = on_sim();
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    append(&log, b"first", 1).unwrap();
    log.write_ahead();
    log.finish_ahead();
    let named = bench.names();
    assert!(named.iter().any(|name| name == "partition.metadata"), "{named:?}");
    sim.fail(Plan::new(Fault::Error(5)).on(Operation::Rename).for_ever());
    assert_eq!(log.checkpoint().unwrap().get(), 1);
    let cut = moved(&bench, sim.crash(Crash::Nothing));
    let kept = cut.names();
    assert!(named.iter().all(|name| kept.contains(name)), "{named:?}, {kept:?}");
    let (log, report) = cut.open(facts(1, LastStop::PowerCut));
    assert!(!report.is_notable(), "{report:?}");
    assert_eq!(log.epoch_entries(), [(LeaderEpoch::new(0), Offset::ZERO)]);
}

/// A sync in between takes the metadata alone: the epochs beside it wait for the checkpoint.
#[test]
fn what_is_left_of_what_was_written_ahead_gets_its_name_later() {
    let (_, bench) = on_sim();
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    append(&log, b"first", 1).unwrap();
    log.write_ahead();
    log.make_durable(Offset::new(1)).unwrap();
    log.checkpoint().unwrap();
    let names = bench.names();
    assert!(names.iter().any(|name| name == "leader-epoch-checkpoint"), "{names:?}");
}

/// A write that found no room has lost nothing; one that failed otherwise may have.
#[test]
fn what_is_written_ahead_and_finds_no_room_does_not_end_the_log() {
    let ended = |errno, nth| {
        let (sim, bench) = on_sim();
        let (log, _) = bench.open(facts(0, LastStop::Clean));
        append(&log, b"first", 1).unwrap();
        drop(log);
        let killed = sim.kill();
        let (log, _) = moved(&bench, killed.clone()).open(facts(0, LastStop::KilledSameBoot));
        killed.fail(Plan::new(Fault::Error(errno)).on(Operation::Write).nth(nth));
        log.write_ahead();
        killed.heal();
        log.latch.is_tripped()
    };
    assert!((1..6).all(|nth| !ended(28, nth)));
    assert!((1..6).any(|nth| ended(5, nth)));
}

/// What another hand has left is no damage where the log is put together again behind a cut.
#[test]
fn a_log_with_gaps_of_another_hand_is_truncated_behind_them() {
    let behind_each_other = [(0, [batches(0, 3), batches(5, 9)].concat())];
    let in_two_files = [(0, batches(0, 3)), (5, batches(5, 9))];
    for files in [&behind_each_other[..], &in_two_files] {
        let bench = Bench::new();
        for (base, bytes) in files {
            bench.put(&Bench::log_path(*base), bytes);
        }
        let known = KnownFacts { adopted: true, ..facts(9, LastStop::AnotherHandClean) };
        let (log, _) = bench.open(known);
        assert_eq!(log.truncate_to(Offset::new(7), None, &Anywhere).unwrap().get(), 7);
        assert_eq!(offsets(&read_from(&log, 0).unwrap()), [0, 1, 2, 5, 6]);
        assert!(log.damage.load().is_none());
        assert_eq!(append(&log, b"goes on", 9).unwrap(), 7);
    }
}

/// Has somebody give the log another configuration the next time it asks what time it is.
#[derive(Debug)]
struct Meddling {
    clock: ManualClock,
    log: std::sync::OnceLock<std::sync::Weak<PartitionLog>>,
    next: crate::sync::Mutex<Option<TopicConfig>>,
}

impl crate::time::Clock for Meddling {
    fn wall(&self) -> Timestamp {
        let next = self.next.lock().take();
        if let (Some(config), Some(log)) = (next, self.log.get().and_then(|log| log.upgrade())) {
            log.set_config(Arc::new(config));
        }
        self.clock.wall()
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }
}

#[test]
fn a_configuration_that_comes_during_a_reopening_is_heeded_after_it() {
    let (sim, bench) = on_sim();
    let log = std::sync::OnceLock::new();
    let clock = bench.clock.clone();
    let clock = Arc::new(Meddling { clock, log, next: crate::sync::Mutex::new(None) });
    let setup = LogSetup {
        name: LogName { topic: Arc::from("orders"), partition: PartitionId::new(0) },
        id: bench.id,
        config: Arc::new(bench.config.clone()),
        clock: clock.clone(),
        sync_after: None,
        attention: Arc::new(Unattended),
        pinned: Arc::default(),
        journal: None,
        plain: PlainLimit::DEFAULT,
    };
    let known = facts(0, LastStop::Clean);
    let (log, _) = PartitionLog::open(&bench.disk, Path::new(DIR), setup, known).unwrap();
    log.begin_epoch(LeaderEpoch::new(0));
    let log = Arc::new(log);
    clock.log.set(Arc::downgrade(&log)).unwrap();
    poison(&sim, &log);
    *clock.next.lock() = Some(bench.config.clone().segment_bytes(1024));
    log.reopen(Some(LeaderEpoch::new(7))).unwrap().expect("it was poisoned");
    assert!(clock.next.lock().is_none(), "the control: it came");
    for at in 0..10 {
        append(&log, &[b'x'; 200], at).unwrap();
    }
    assert!(log.size().1 > 1, "{:?}", log.size());
}

/// Where nothing was synced at once, the syncs of the checkpoint are what makes them durable.
#[test]
fn indexes_that_were_written_ahead_are_synced_by_the_checkpoint() {
    let kept = |is_closed: bool| {
        let (sim, mut bench) = on_sim();
        bench.config = bench.config.segment_bytes(1024).index_interval_bytes(300);
        let (log, _) = bench.open(facts(0, LastStop::Clean));
        for at in 0..30 {
            append(&log, &[1; 100], at + 1).unwrap();
        }
        log.stop_appends();
        log.write_ahead();
        log.finish_ahead();
        let indexes = |bench: &Bench| {
            let names = bench.names().into_iter().filter(|name| name.ends_with("index"));
            names.map(|name| bench.bytes(&Path::new(DIR).join(name))).collect::<Vec<_>>()
        };
        let written = indexes(&bench);
        if is_closed {
            log.close().unwrap();
        }
        bench.disk.sync_dir(Path::new(DIR)).unwrap(); // the names
        (written, indexes(&moved(&bench, sim.crash(Crash::Nothing))))
    };
    let (written, unsynced) = kept(false);
    assert!(written.len() > 2 && written.iter().all(|bytes| !bytes.is_empty()), "{written:?}");
    assert_eq!(unsynced.len(), written.len(), "the control: {unsynced:?}");
    assert!(unsynced.iter().flatten().all(|byte| *byte == 0), "the control: {unsynced:?}");
    assert_eq!(kept(true), (written.clone(), written));
}

/// A cut may leave indexes without the records they speak of; other records may come then.
#[test]
fn a_cut_between_what_is_written_ahead_and_the_close_is_no_damage() {
    let (sim, mut bench) = on_sim();
    bench.config = bench.config.segment_bytes(1024).index_interval_bytes(300);
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    let mut times: Vec<i64> = (0..30).map(|at| at * 10).collect();
    times.iter().take(11).for_each(|at| drop(append(&log, &[1; 100], *at)));
    let point = log.checkpoint().unwrap().get(); // within the second segment
    times.iter().skip(11).for_each(|at| drop(append(&log, &[1; 100], *at)));
    log.stop_appends();
    sim.record();
    log.write_ahead();
    log.finish_ahead();
    log.close().unwrap();
    let check = |log: &PartitionLog, times: &[i64], shown: &str| {
        let held = offsets(&read_from(log, 0).unwrap());
        assert_eq!(held, (0..times.len() as i64).collect::<Vec<_>>(), "{shown}");
        for wanted in (0..600).step_by(7) {
            let wanted_at = Timestamp::from_millis(wanted);
            let found = log.find_timestamp(wanted_at, IsolationLevel::ReadUncommitted).unwrap();
            let first = times.iter().position(|at| *at >= wanted).map(|at| at as i64);
            assert_eq!(found.map(|(offset, _)| offset.get()), first, "{shown}, {wanted}");
        }
    };
    let (mut ends, mut cuts) = (std::collections::BTreeSet::new(), 0);
    for moment in sim.moments() {
        let random = (0..12).map(Crash::Random);
        for crash in [Crash::Nothing, Crash::Everything].into_iter().chain(random) {
            let disk = moment.crash(crash);
            let cut = moved(&bench, disk.clone());
            let (log, report) = cut.open(facts(point, LastStop::PowerCut));
            let shown = format!("before call {}, {crash:?}: {report:?}", moment.operation());
            assert!(report.damage().is_empty(), "{shown}");
            let end = log.offsets().end().get();
            assert!(end >= point, "{shown}");
            times = (0..end).map(|at| at * 10).collect();
            check(&log, &times, &shown);
            for at in 0..9 {
                append(&log, &[2; 37], 400 + at * 20).unwrap();
                times.push(400 + at * 20);
            }
            let end = log.close().unwrap().get();
            let cut = moved(&bench, disk.crash(Crash::Nothing));
            let (log, report) = cut.open(facts(end, LastStop::PowerCut));
            assert!(!report.is_notable(), "{shown}, and then {report:?}");
            check(&log, &times, &shown);
            ends.insert(end);
            cuts += 1;
        }
    }
    assert!(ends.len() > 3 && cuts > 300, "the control: {ends:?}, {cuts}");
}

/// Its files have gone by other names, and whoever has its own now is not to be written over.
#[test]
fn what_was_dropped_before_it_was_sealed_writes_no_index() {
    let (_, mut bench) = on_sim();
    bench.config = bench.config.segment_bytes(1024).index_interval_bytes(300);
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    for at in 0..30 {
        append(&log, &[1; 100], at).unwrap();
    }
    let dropped = log.segments.load().first().unwrap().clone();
    assert!(log.writer.lock().rolled.iter().any(|rolled| Arc::ptr_eq(rolled, &dropped)), "sealed");
    dropped.rename_deleted().unwrap();
    log.write_ahead();
    log.finish_ahead();
    assert!(dropped.seal_indexes().unwrap().is_empty());
    let names = bench.names();
    let own = |name: &&String| name.starts_with("00000000000000000000.") && name.ends_with("index");
    assert_eq!(names.iter().find(own), None, "{names:?}");
}
