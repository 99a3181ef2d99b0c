//! What a trim may take, whom it waits for, and what becomes of the files.

use super::*;
use crate::config::Leadership;
use crate::log::HandedOver;
use crate::log::keeper::{Durable, LogFact};
use crate::sync::Mutex;

#[derive(Debug, Default)]
struct Told(Mutex<Vec<LogFact>>);

impl Keeper for Told {
    fn record(&self, facts: &[(LogId, LogFact)], _: Durable) -> Result<()> {
        self.0.lock().extend(facts.iter().map(|(_, fact)| *fact));
        Ok(())
    }
}

fn small(disk: Arc<dyn Disk>) -> Bench {
    let bench = Bench::on(disk);
    disk_dir(&bench);
    Bench { config: bench.config.segment_bytes(1024), ..bench }
}

fn disk_dir(bench: &Bench) {
    bench.disk.create_dir_all(Path::new(DIR)).unwrap();
}

/// A log of that many segments.
fn log_of(bench: &Bench, segments: usize) -> PartitionLog {
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    let mut end = 0;
    while log.size().1 < segments {
        end = append(&log, &[b'x'; 200], end).unwrap() + 1;
    }
    log
}

fn bases(log: &PartitionLog) -> Vec<i64> {
    log.segments.load().iter().map(|segment| segment.base().get()).collect()
}

#[test]
fn the_oldest_segment_goes_once_nobody_holds_a_record_of_it() {
    let bench = small(Arc::new(MemoryDisk::new()));
    let log = log_of(&bench, 3);
    let before = bases(&log);
    let now = Timestamp::from_millis(1_000_000);
    let keeper = Told::default();
    let drop_held_at =
        |offset: i64| log.drop_oldest(Some(("a reader", Offset::new(offset))), &[], &keeper, now);
    for held in [0, before[1] - 1] {
        let error = drop_held_at(held).unwrap_err();
        assert!(error.is_full(), "{error}");
        assert!(error.to_string().contains("a reader"), "{error}");
    }
    assert_eq!(bases(&log), before);
    assert!(keeper.0.lock().is_empty());
    assert_eq!(drop_held_at(before[1]).unwrap().segments, 1);
    assert_eq!(bases(&log), before[1..]);
    assert_eq!(log.offsets().snapshot().start.get(), before[1]);
    assert!(keeper.0.lock().contains(&LogFact::LogStart(Offset::new(before[1]))));
    // the active one goes too, and the log goes on where it ended
    let end = log.offsets().end();
    while log.offsets().snapshot().start < end {
        assert_eq!(log.drop_oldest(None, &[], &keeper, now).unwrap().segments, 1);
    }
    assert_eq!(bases(&log), [end.get()]);
    assert_eq!(log.drop_oldest(None, &[], &keeper, now).unwrap().segments, 0, "it is empty");
    assert_eq!(append(&log, b"goes on", 9).unwrap(), end.get());
}

/// Nor does a host's leader have them back who has not told its followers yet.
#[test]
fn what_is_not_replicated_yet_does_not_give_way_either() {
    let bench = small(Arc::new(MemoryDisk::new()));
    let log = log_of(&bench, 3);
    let before = bases(&log);
    let now = Timestamp::from_millis(1_000_000);
    let keeper = Told::default();
    let handed = log.set_leadership(Leadership::HostLed, None, |_| Ok(()));
    assert_eq!(handed.unwrap(), HandedOver::Done);
    log.set_high_watermark(Offset::new(before[1] - 1)).unwrap();
    let error = log.drop_oldest(None, &[], &keeper, now).unwrap_err();
    assert!(error.is_full(), "{error}");
    assert!(error.to_string().contains("high watermark"), "{error}");
    assert_eq!((bases(&log), keeper.0.lock().len()), (before.clone(), 0));
    log.set_high_watermark(Offset::new(before[1])).unwrap();
    assert_eq!(log.drop_oldest(None, &[], &keeper, now).unwrap().segments, 1);
    assert_eq!(bases(&log), before[1..]);
}

/// It was made of segments that are not there any more: of those in their place it knows nothing.
#[test]
fn a_plan_of_retention_from_before_a_truncation_takes_nothing() {
    let bench = small(Arc::new(MemoryDisk::new()));
    let log = log_of(&bench, 5);
    let keeper = Told::default();
    let now = Timestamp::from_millis(1_000_000);
    let half = log.size().0 / 2;
    log.set_config(Arc::new(bench.config.clone().retention_bytes(half)));
    let plan = log.plan_retention(now, None, &[]).unwrap().plan.expect("it is too large");
    assert!(plan.log_start > Offset::new(3) && !plan.takes_active, "{plan:?}");
    assert_eq!(
        log.truncate_to(Offset::new(1), Some(LeaderEpoch::new(9)), &keeper).unwrap().get(),
        1
    );
    for _ in 0..2 {
        assert_eq!(log.apply_retention(&plan, &keeper, now).unwrap(), Dropped::default());
        assert_eq!(log.offsets().snapshot().start, Offset::ZERO);
        while log.offsets().end() < plan.log_start.next() {
            append(&log, b"another leader's", 1).unwrap();
        }
    }
    let again = log.plan_retention(now, None, &[]).unwrap().plan;
    assert_eq!(again, None, "what is there now is small enough");
}

/// What was rolled since the last checkpoint is sealed by the next one, whatever was dropped.
/// Since when the active segment has waited to be rolled.
#[test]
fn the_active_segment_is_as_old_as_its_first_batch() {
    let bench = Bench::new();
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    assert_eq!(log.active_since().unwrap(), None, "there is none");
    append(&log, b"first", 1000).unwrap();
    append(&log, b"second", 2000).unwrap();
    assert_eq!(log.active_since().unwrap(), Some(Timestamp::from_millis(1000)));
    log.roll_active(Timestamp::from_millis(3000)).unwrap();
    assert_eq!(log.active_since().unwrap(), None, "it is empty");
    append(&log, b"third", 4000).unwrap();
    assert_eq!(log.active_since().unwrap(), Some(Timestamp::from_millis(4000)));
}

#[test]
fn segments_that_stay_are_sealed_beside_those_that_go() {
    let bench = small(Arc::new(MemoryDisk::new()));
    let log = log_of(&bench, 4);
    let before = bases(&log);
    log.offsets().set_start(Offset::new(before[1]));
    assert_eq!(log.drop_unreachable().unwrap().segments, 1);
    let rolled: Vec<_> = log.writer.lock().rolled.iter().map(|one| one.base().get()).collect();
    assert_eq!(rolled, before[1..3]);
    log.checkpoint().unwrap();
    for base in &before[1..3] {
        assert!(bench.exists(&Bench::path(*base, SegmentFile::OffsetIndex)), "{base}");
        assert!(bench.exists(&Bench::path(*base, SegmentFile::Digests)), "{base}");
    }
    assert!(!bench.exists(&Bench::log_path(before[0])));
}

#[test]
fn files_that_were_dropped_are_unlinked_when_they_are_due() {
    let mut bench = small(Arc::new(MemoryDisk::new()));
    let delay = Duration::from_secs(60);
    bench.config = bench.config.file_delete_delay(delay);
    let log = log_of(&bench, 3);
    assert_eq!(log.next_unlink(), None);
    log.delete_records_before(Offset::new(bases(&log)[1]), &Told::default()).unwrap();
    let deleted = || bench.names().iter().filter(|name| name.ends_with(".deleted")).count();
    let due = log.next_unlink().expect("it waits");
    assert!(deleted() > 0);
    bench.clock.advance(delay - Duration::from_millis(1));
    assert_eq!(log.unlink_dropped(false).0, Some(due));
    assert!(deleted() > 0, "readers may still open them");
    bench.clock.advance(Duration::from_millis(1));
    let (next, unlinked) = log.unlink_dropped(false);
    unlinked.unwrap();
    assert_eq!((next, log.next_unlink(), deleted()), (None, None, 0));
}

#[cfg(feature = "sim")]
mod failing {
    use super::*;
    use crate::disk::{Crash, Fault, Operation, Plan, SimDisk};

    #[test]
    fn files_that_cannot_be_unlinked_are_tried_again_and_missing_ones_are_gone() {
        let sim = SimDisk::new(1);
        let mut bench = small(Arc::new(sim.clone()));
        bench.config = bench.config.file_delete_delay(Duration::ZERO);
        let log = log_of(&bench, 3);
        log.delete_records_before(Offset::new(bases(&log)[1]), &Told::default()).unwrap();
        let deleted = || {
            let names = bench.names().into_iter();
            names.filter(|name| name.ends_with(".deleted")).collect::<Vec<_>>()
        };
        sim.fail(Plan::new(Fault::Error(5)).on(Operation::RemoveFile).for_ever());
        let (next, unlinked) = log.unlink_dropped(true);
        assert!(unlinked.is_err());
        assert!(next.is_some() && !deleted().is_empty());
        sim.heal();
        let first = deleted().remove(0);
        bench.disk.remove_file(&Path::new(DIR).join(first)).unwrap();
        let (next, unlinked) = log.unlink_dropped(true);
        unlinked.unwrap();
        assert_eq!((next, deleted().len()), (None, 0));
    }

    /// Has the power cut off whenever a log start is recorded, and looks where the log ends then.
    #[derive(Debug)]
    struct CutAtStart {
        sim: SimDisk,
        config: TopicConfig,
        found: Mutex<Vec<(Offset, Offset)>>,
    }

    impl Keeper for CutAtStart {
        fn record(&self, facts: &[(LogId, LogFact)], _: Durable) -> Result<()> {
            for (_, fact) in facts {
                let LogFact::LogStart(start) = fact else { continue };
                let disk = Arc::new(self.sim.crash(Crash::Nothing));
                let cut = Bench { config: self.config.clone(), ..Bench::on(disk) };
                let (log, _) = cut.open(super::facts(0, LastStop::PowerCut));
                self.found.lock().push((*start, log.offsets().end()));
            }
            Ok(())
        }
    }

    /// A checkpoint finds no room for the epochs; the records themselves have theirs.
    #[test]
    fn a_full_disk_has_no_start_recorded_above_what_is_durable() {
        let sim = SimDisk::new(1);
        let bench = small(Arc::new(sim.clone()));
        bench.disk.sync_dir(Path::new("/")).unwrap();
        let log = log_of(&bench, 1);
        log.make_durable(log.offsets().end()).unwrap();
        log.begin_epoch(LeaderEpoch::new(5));
        while log.size().1 < 4 {
            append(&log, &[b'x'; 200], 9).unwrap();
        }
        sim.fail(Plan::new(Fault::Error(28)).on(Operation::Write).for_ever());
        assert!(log.checkpoint().unwrap_err().is_full(), "the control");
        let start = Offset::new(bases(&log)[2]);
        assert!(log.offsets().durable() < start, "the control");
        let found = Mutex::default();
        let keeper = CutAtStart { sim, config: bench.config.clone(), found };
        log.delete_records_before(start, &keeper).unwrap();
        let found = keeper.found.lock().clone();
        assert_eq!(found.len(), 1, "the control: {found:?}");
        assert!(found[0].0 == start && found[0].1 >= start, "{found:?}");
    }

    /// A full disk is another matter: there a deletion may be what ends it.
    #[test]
    fn a_log_whose_sync_failed_for_good_takes_no_deletion() {
        let mut failed = 0;
        for nth in 1..12 {
            let sim = SimDisk::new(nth);
            let bench = small(Arc::new(sim.clone()));
            let log = log_of(&bench, 4);
            log.checkpoint().unwrap(); // the new start lies below
            append(&log, &[b'x'; 200], 99).unwrap();
            sim.fail(Plan::new(Fault::Error(5)).on(Operation::Sync).nth(nth));
            let keeper = Told::default();
            let done = log.delete_records_before(Offset::new(3), &keeper);
            let is_recorded = !keeper.0.lock().is_empty();
            let is_poisoned = log.latch.is_tripped();
            assert_eq!((done.is_ok(), is_recorded), (!is_poisoned, !is_poisoned), "sync {nth}");
            failed += u32::from(is_poisoned);
        }
        assert!(failed > 0, "the control");
    }
}

/// However many there are: no sync looks at them any more.
#[test]
fn a_checkpoint_settles_all_segments_but_the_active_one() {
    let bench = small(Arc::new(MemoryDisk::new()));
    let log = log_of(&bench, 4);
    log.checkpoint().unwrap();
    let settled: Vec<_> = log.segments.load().iter().map(|segment| segment.is_settled()).collect();
    assert_eq!(settled, [true, true, true, false]);
}
