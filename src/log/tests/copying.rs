//! What a copy of a log has: which files it shares, what becomes of changes that are made to the
//! log meanwhile, and the form in which it is left.

use super::*;
use crate::disk::names::LEADER_EPOCHS;
use crate::log::Amounts;
use crate::log::copy_out::{Secured, Sharing, cut_all};
use crate::log::keeper::{Durable, LogFact};

const COPY: &str = "/copy";

#[derive(Debug)]
struct Forgetful;

impl Keeper for Forgetful {
    fn record(&self, _: &[(LogId, LogFact)], _: Durable) -> Result<()> {
        Ok(())
    }
}

fn small() -> Bench {
    let bench = Bench::new();
    Bench { config: bench.config.segment_bytes(1024), ..bench }
}

/// A log of four segments, the last of which grows; nothing of it is synced.
fn log_of_four(bench: &Bench) -> PartitionLog {
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    while log.size().1 < 4 {
        append(&log, &[b'x'; 200], 1).unwrap();
    }
    append(&log, b"the last", 1).unwrap();
    log
}

fn bases(log: &PartitionLog) -> Vec<i64> {
    log.segments.load().iter().map(|segment| segment.base().get()).collect()
}

fn lens(log: &PartitionLog) -> Vec<u64> {
    log.segments.load().iter().map(|segment| segment.published()).collect()
}

fn checkpoint(log: &PartitionLog) {
    let point = log.checkpoint().unwrap();
    log.recovery_point_recorded(point);
}

fn secure(log: &PartitionLog, sharing: Sharing) -> Secured<'_> {
    cut_all(&[log]).remove(0).secure(Path::new(COPY), sharing).unwrap()
}

fn copy(secured: &Secured<'_>) -> Amounts {
    secured.copy(Path::new(COPY), &|_, _| true).unwrap()
}

fn finish(bench: &Bench, secured: &Secured<'_>) -> PartitionLog {
    let dir = Path::new(COPY);
    secured.finish(dir, bench.setup(), false, &|_, _| true).unwrap();
    let offsets = secured.offsets();
    let known =
        KnownFacts { log_start: offsets.start, ..facts(offsets.end.get(), LastStop::Clean) };
    let (copy, report) = bench.try_open_at(dir, known).unwrap();
    assert!(report.damage().is_empty(), "{report:?}");
    copy
}

/// The files of the copy: name, length, whether it has another name.
fn files(bench: &Bench) -> Vec<(String, u64, bool)> {
    let of = |name: String| {
        let found = bench.disk.metadata(&Path::new(COPY).join(&name)).unwrap().unwrap();
        (name, found.len, found.links > 1)
    };
    let listed = bench.disk.list(Path::new(COPY)).unwrap().into_iter();
    listed.filter(|entry| !entry.is_dir).map(|entry| of(entry.name)).collect()
}

fn shared(bench: &Bench) -> Vec<i64> {
    let shared = files(bench).into_iter().filter(|(_, _, is_shared)| *is_shared);
    shared.map(|(name, ..)| name.strip_suffix(".log").unwrap().parse().unwrap()).collect()
}

/// All others are copied, and what was taken over is counted as what it is.
#[test]
fn segments_are_shared_that_will_never_change_again() {
    type Ready = fn(&PartitionLog);
    let cases: [(&str, Sharing, Ready, usize); 6] = [
        ("nothing is synced", Sharing::Links, |_| (), 0),
        ("the last one grows", Sharing::Links, checkpoint, 3),
        ("none is asked for", Sharing::Nothing, checkpoint, 0),
        ("it is not recorded", Sharing::Links, |log| assert!(log.checkpoint().is_ok()), 0),
        (
            "the last one but one is still to be sealed",
            Sharing::Links,
            |log| {
                checkpoint(log);
                log.roll_active(Timestamp::from_millis(2)).unwrap();
            },
            3,
        ),
        (
            "it is closed",
            Sharing::Links,
            |log| log.recovery_point_recorded(log.close().unwrap()),
            4,
        ),
    ];
    for (what, sharing, ready, expected) in cases {
        let bench = small();
        let log = log_of_four(&bench);
        ready(&log);
        let secured = secure(&log, sharing);
        let (bases, lens) = (bases(&log), lens(&log));
        assert_eq!(shared(&bench), bases[..expected], "{what}");
        assert_eq!(secured.size(), (lens.iter().sum(), lens.len() as u64), "{what}");
        let copied = copy(&secured);
        assert_eq!(copied.linked_files, expected as u64, "{what}");
        assert_eq!(copied.linked_bytes, lens[..expected].iter().sum::<u64>(), "{what}");
        let own = files(&bench).into_iter().filter(|(_, _, is_shared)| !is_shared);
        let own: Vec<_> = own.map(|(_, len, _)| len).collect();
        assert_eq!(copied.copied_files, own.len() as u64, "{what}");
        assert_eq!(copied.copied_bytes, own.iter().sum::<u64>(), "{what}");
        let all = read_from(&log, 0).unwrap();
        assert_eq!(read_from(&finish(&bench, &secured), 0).unwrap(), all, "{what}");
    }
}

#[test]
fn amounts_are_added_each_to_its_own() {
    let of = |files, bytes, copied_files, copied_bytes| Amounts {
        linked_files: files,
        linked_bytes: bytes,
        copied_files,
        copied_bytes,
    };
    let mut all = Amounts::default();
    all.add(of(1, 20, 300, 4000));
    all.add(of(5, 60, 700, 8000));
    assert_eq!(all, of(6, 80, 1000, 12_000));
}

/// A retention that has raised the start has yet to come for its files.
#[test]
fn a_copy_begins_with_the_segment_that_the_log_starts_in() {
    let bench = small();
    let log = log_of_four(&bench);
    checkpoint(&log);
    let bases = bases(&log);
    for start in [bases[1] - 1, bases[1], bases[1] + 1] {
        log.offsets().set_start(Offset::new(start));
        let secured = secure(&log, Sharing::Nothing);
        let first = if start < bases[1] { bases[0] } else { bases[1] };
        let offsets = secured.offsets();
        assert_eq!(offsets.first_base, Some(Offset::new(first)), "{start}");
        assert_eq!((offsets.start.get(), offsets.end), (start, log.offsets().end()));
        copy(&secured);
        let names = files(&bench).into_iter().map(|(name, ..)| name);
        let logs: Vec<_> = names.filter(|name| name.ends_with(".log")).collect();
        assert_eq!(logs.len(), if start < bases[1] { 4 } else { 3 }, "{start}: {logs:?}");
        for (name, ..) in files(&bench) {
            bench.disk.remove_file(&Path::new(COPY).join(name)).unwrap();
        }
    }
}

/// Of a log that was just opened no file has been: it is before its name goes.
#[test]
fn segments_that_retention_takes_meanwhile_are_in_the_copy() {
    let bench = small();
    let log = log_of_four(&bench);
    let all = read_from(&log, 0).unwrap();
    let end = log.close().unwrap();
    drop(log);
    let (log, _) = bench.open(facts(end.get(), LastStop::Clean));
    let secured = secure(&log, Sharing::Nothing);
    log.delete_records_before(Offset::new(bases(&log)[2]), &Forgetful).unwrap();
    log.unlink_dropped(true).1.unwrap();
    assert!(!bench.exists(&Bench::log_path(0)), "the control");
    copy(&secured);
    assert_eq!(read_from(&finish(&bench, &secured), 0).unwrap(), all);
}

/// Its file has what the log does not know of.
#[test]
fn a_file_that_another_hand_made_longer_is_copied_as_far_as_it_is_the_logs() {
    let bench = small();
    let log = log_of_four(&bench);
    checkpoint(&log);
    let path = Bench::log_path(bases(&log)[1]);
    bench.put(&path, &[&bench.bytes(&path)[..], &[7; 30]].concat());
    let secured = secure(&log, Sharing::Links);
    copy(&secured);
    assert_eq!(shared(&bench), [bases(&log)[0], bases(&log)[2]]);
    let all = read_from(&log, 0).unwrap();
    assert_eq!(read_from(&finish(&bench, &secured), 0).unwrap(), all);
}

#[test]
fn a_file_that_lost_its_end_is_told_of_with_what_is_left_of_it() {
    let bench = small();
    let log = log_of_four(&bench);
    let path = Bench::log_path(bases(&log)[1]);
    let secured = secure(&log, Sharing::Nothing);
    let left = lens(&log)[1] - 1;
    bench.disk.open(&path, Access::Write).unwrap().set_len(left).unwrap();
    let error = secured.copy(Path::new(COPY), &|_, _| true).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert_eq!((error.path(), error.position()), (Some(&*path), Some(left)), "{error}");
}

#[test]
fn who_looks_on_may_end_it_at_each_segment() {
    for sharing in [Sharing::Links, Sharing::Nothing] {
        let bench = small();
        let log = log_of_four(&bench);
        checkpoint(&log);
        let secured = secure(&log, sharing);
        let told = crate::sync::Mutex::new((0, 0));
        let go_on = |bytes, segments| {
            let mut told = told.lock();
            *told = (told.0 + bytes, told.1 + segments);
            told.1 < 2
        };
        let error = secured.copy(Path::new(COPY), &go_on).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
        assert_eq!(*told.lock(), (lens(&log)[..2].iter().sum(), 2));
    }
}

/// It need not be made again then. What else lies in the directory is none of the log's.
#[test]
fn what_lies_beside_final_segments_is_copied_with_them() {
    let bench = small();
    let log = log_of_four(&bench);
    checkpoint(&log);
    let bases = bases(&log);
    let sidecar = |base, suffix: &str| format!("{base:020}{suffix}");
    let theirs = sidecar(bases[1], ".anothers");
    bench.put(&Path::new(DIR).join(&theirs), b"another's");
    bench.put(&Path::new(DIR).join("notes"), b"a stranger's");
    let directory = Path::new(DIR).join(sidecar(bases[0], ".directory"));
    bench.disk.create_dir_all(&directory).unwrap();
    let secured = secure(&log, Sharing::Links);
    copy(&secured);
    let names: Vec<_> = files(&bench).into_iter().map(|(name, ..)| name).collect();
    let beside = names.iter().filter(|name| !name.ends_with(".log")).collect::<Vec<_>>();
    assert!(beside.contains(&&theirs), "{beside:?}");
    for base in &bases[..3] {
        for suffix in [".index", ".timeindex", SegmentFile::Digests.suffix()] {
            assert!(beside.contains(&&sidecar(*base, suffix)), "{base}{suffix}: {beside:?}");
        }
    }
    let of_last = sidecar(bases[3], "");
    assert!(beside.iter().all(|name| !name.starts_with(&of_last)), "it grows: {beside:?}");
    assert!(!names.contains(&"notes".to_owned()), "{names:?}");
    for name in beside {
        let at = |dir: &str| bench.bytes(&Path::new(dir).join(name));
        assert!(at(DIR) == at(COPY), "{name}");
    }
}

/// Kafka's tools look for them, and a copy of what was never sealed has none from its log.
#[test]
fn a_copy_of_what_was_not_sealed_has_its_indexes_and_epochs() {
    let bench = small();
    let log = log_of_four(&bench);
    log.begin_epoch(LeaderEpoch::new(4));
    append(&log, b"under another epoch", 2).unwrap();
    let secured = secure(&log, Sharing::Links);
    log.begin_epoch(LeaderEpoch::new(6));
    append(&log, b"after the moment", 2).unwrap();
    copy(&secured);
    let copied = finish(&bench, &secured);
    for base in bases(&log) {
        for kind in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex] {
            let path = Path::new(COPY).join(segment_file(Offset::new(base), kind));
            assert!(bench.exists(&path), "{}", path.display());
        }
    }
    assert!(bench.exists(&Path::new(COPY).join(LEADER_EPOCHS)));
    assert_eq!(copied.epoch_entries(), log.epoch_entries()[..2]);
}

#[test]
fn nothing_is_made_for_a_log_without_records() {
    let bench = small();
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    let secured = secure(&log, Sharing::Links);
    assert_eq!((copy(&secured), secured.size()), (Amounts::default(), (0, 0)));
    secured.finish(Path::new(COPY), bench.setup(), false, &|_, _| true).unwrap();
    assert!(!bench.exists(Path::new(COPY)));
}

#[cfg(feature = "sim")]
#[test]
fn a_file_that_can_have_no_second_name_is_copied_and_a_failing_disk_is_told_of() {
    use crate::disk::{Fault, Operation, Plan, SimDisk};
    for (number, is_copied) in [(18, true), (5, false)] {
        let sim = SimDisk::new(1);
        let bench = Bench::on(Arc::new(sim.clone()));
        bench.disk.create_dir_all(Path::new(DIR)).unwrap();
        let bench = Bench { config: bench.config.segment_bytes(1024), ..bench };
        let log = log_of_four(&bench);
        checkpoint(&log);
        sim.fail(Plan::new(Fault::Error(number)).on(Operation::Link).for_ever());
        let secured = cut_all(&[&log]).remove(0).secure(Path::new(COPY), Sharing::Links);
        sim.heal();
        assert_eq!(secured.is_ok(), is_copied, "{secured:?}");
        let Ok(secured) = secured else { continue };
        assert_eq!(copy(&secured).linked_files, 0);
        let all = read_from(&log, 0).unwrap();
        assert_eq!(read_from(&finish(&bench, &secured), 0).unwrap(), all);
    }
}
