//! Indexes of aborted transactions, what vouches for them and the snapshots beside them: each that
//! is not what it should be, and none that is written without need.

use super::*;
use crate::record::{BatchHeader, Marker, MarkerKind};
use crate::segment::{AbortedTransaction, transaction_index_bytes};

fn end_transaction(log: &PartitionLog, id: i64, kind: MarkerKind) {
    let marker = Marker { kind, coordinator_epoch: 0 };
    log.append_marker(of(id), marker, Timestamp::from_millis(1_000_000)).unwrap();
}

fn aborted(log: &PartitionLog) -> Vec<AbortedTransaction> {
    log.aborted_transactions(&(Offset::ZERO..log.offsets().end()))
}

fn with_small_segments() -> Bench {
    let bench = Bench::new();
    Bench { config: bench.config.segment_bytes(1024), ..bench }
}

/// Transactions over several segments, most of them aborted.
fn fill(log: &PartitionLog) {
    for round in 0..12 {
        send_in(log, 3, &[2; 100], true);
        plain(log, &[1; 100]);
        let kind = if round % 4 == 3 { MarkerKind::Commit } else { MarkerKind::Abort };
        end_transaction(log, 3, kind);
    }
}

/// Such a log, closed: its end, and what was aborted.
fn filled() -> (Bench, i64, Vec<AbortedTransaction>) {
    let bench = with_small_segments();
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    fill(&log);
    let expected = aborted(&log);
    assert_eq!(expected.len(), 9);
    let end = log.close().unwrap().get();
    assert!(indexed(&bench).len() > 2, "the control: {:?}", bench.names());
    (bench, end, expected)
}

/// The bases of the segments that have an index.
fn indexed(bench: &Bench) -> Vec<i64> {
    let names = bench.names();
    let names = names.iter().filter_map(|name| name.strip_suffix(".txnindex"));
    names.map(|digits| digits.parse().unwrap()).collect()
}

fn index_path(base: i64) -> PathBuf {
    Bench::path(base, SegmentFile::TransactionIndex)
}

fn remove_all_of(bench: &Bench, base: i64, but: &[SegmentFile]) {
    let kept: Vec<_> = but.iter().map(|kind| Bench::path(base, *kind)).collect();
    let digits = format!("{base:020}.");
    for name in bench.names().into_iter().filter(|name| name.starts_with(&digits)) {
        let path = Path::new(DIR).join(name);
        if !kept.contains(&path) {
            bench.disk.remove_file(&path).unwrap();
        }
    }
}

#[test]
fn a_spoilt_index_is_whole_again_after_a_checkpoint() {
    let (bench, end, expected) = filled();
    for base in indexed(&bench) {
        let whole = bench.bytes(&index_path(base));
        let mut spoilt = whole.clone();
        spoilt[20] ^= 1;
        for bytes in [&spoilt[..], &[], &whole[..whole.len() - 1]] {
            bench.put(&index_path(base), bytes);
            let (log, _) = bench.open(facts(end, LastStop::Clean));
            assert_eq!(aborted(&log), expected, "{base}");
            assert_eq!(log.checkpoint().unwrap().get(), end);
            assert_eq!(bench.bytes(&index_path(base)), whole, "{base}");
        }
    }
}

/// Compaction has joined two segments, and was stopped before the joint index had its name.
#[test]
fn a_joint_segment_without_its_joint_index_is_read_for_what_was_aborted() {
    let (bench, end, expected) = filled();
    let [first, second] = indexed(&bench)[..2] else { panic!("{:?}", bench.names()) };
    let joint = [first, second].map(|base| bench.bytes(&Bench::log_path(base))).concat();
    remove_all_of(&bench, second, &[]);
    remove_all_of(&bench, first, &[SegmentFile::TransactionIndex]);
    bench.put(&Bench::log_path(first), &joint);
    let (log, report) = bench.open(facts(end, LastStop::Clean));
    assert!(report.damage().is_empty(), "{report:?}");
    assert_eq!(aborted(&log), expected);
    log.close().unwrap();
    let (log, _) = bench.open(facts(end, LastStop::Clean));
    assert_eq!(aborted(&log), expected, "and after a close");
}

#[test]
fn an_index_with_entries_of_another_segment_is_not_believed() {
    let (bench, end, expected) = filled();
    let bases = indexed(&bench);
    bench.disk.remove_file(&Path::new(DIR).join("tidelog.aborted")).unwrap();
    let indexes: Vec<_> = bases.iter().map(|base| bench.bytes(&index_path(*base))).collect();
    // its own and the next one's: each entry is right by itself, and in order
    bench.put(&index_path(bases[0]), &indexes[..2].concat());
    for second in [&indexes[1][..], &[]] {
        bench.put(&index_path(bases[1]), second);
        for stop in [LastStop::AnotherHandClean, LastStop::Clean] {
            let (log, _) = bench.open(facts(end, stop));
            assert_eq!(aborted(&log), expected, "{stop:?}");
        }
    }
    let (log, _) = bench.open(facts(end, LastStop::Clean));
    log.checkpoint().unwrap();
    let made: Vec<_> = bases.iter().map(|base| bench.bytes(&index_path(*base))).collect();
    assert_eq!(made, indexes);
}

#[test]
fn an_index_that_cannot_be_read_ends_the_open_with_its_error() {
    let (bench, end, _) = filled();
    let path = index_path(indexed(&bench)[0]);
    bench.disk.remove_file(&path).unwrap();
    bench.disk.create_dir_all(&path).unwrap();
    let error = bench.try_open(facts(end, LastStop::Clean)).unwrap_err();
    assert_eq!(error.operation(), "read transaction index", "{error}");
}

/// A try that failed may have left more than the next one writes, where the log was cut meanwhile.
#[test]
fn what_an_earlier_try_left_in_an_index_is_cut_off() {
    let bench = Bench::new();
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    for longer in [200, 0, 30] {
        send_in(&log, 3, b"x", true);
        log.checkpoint().unwrap(); // the marker is the next record
        end_transaction(&log, 3, MarkerKind::Abort);
        log.checkpoint().unwrap();
        let whole = transaction_index_bytes(&aborted(&log));
        assert_eq!(bench.bytes(&index_path(0)), whole);
        bench.put(&index_path(0), &[&whole[..], &vec![0xee; longer]].concat());
    }
    send_in(&log, 3, b"x", true);
    end_transaction(&log, 3, MarkerKind::Abort);
    log.checkpoint().unwrap();
    assert_eq!(bench.bytes(&index_path(0)), transaction_index_bytes(&aborted(&log)));
}

/// Its first records are below the log's start; what is known of it a snapshot says.
#[test]
fn a_transaction_whose_first_records_were_deleted_was_aborted_from_where_it_began() {
    let bench = Bench::new();
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    send_in(&log, 3, b"first", true);
    (0..4).for_each(|_| plain(&log, b"of nobody"));
    let point = log.checkpoint().unwrap();
    send_in(&log, 3, b"last", true);
    end_transaction(&log, 3, MarkerKind::Abort);
    plain(&log, b"of nobody");
    log.checkpoint().unwrap();
    let expected = aborted(&log);
    assert_eq!(expected[0].first, Offset::ZERO);
    drop(log);
    assert_eq!(snapshots(&bench), [5, 8], "the control: the newest is above the recovery point");
    let mut known = facts(point.get(), LastStop::KilledSameBoot);
    known.log_start = Offset::new(2);
    let (log, _) = bench.open(known);
    assert_eq!(aborted(&log), expected);
}

#[test]
fn a_snapshot_that_speaks_of_what_lies_behind_it_is_not_believed() {
    let (bench, other) = (written([7, 7, 8, 7, 7]), written([7, 7, 9, 9, 9]));
    let newest = Bench::path(5, SegmentFile::ProducerSnapshot);
    bench.disk.remove_file(&newest).unwrap();
    bench.put(&Bench::path(3, SegmentFile::ProducerSnapshot), &other.bytes(&newest));
    let (log, _) = bench.open(facts(5, LastStop::Clean));
    assert_eq!([7, 8, 9].map(|id| next(&log, id)), [4, 1, 0]);
}

/// The offsets at which a batch is shown at `read_committed` to who begins at one of them.
fn shown(log: &PartitionLog) -> std::collections::BTreeSet<i64> {
    let isolation = IsolationLevel::ReadCommitted;
    let limits = FetchLimits { records: 1, isolation, ..FetchLimits::all(1) };
    let end = log.offsets().end().get();
    let fetched = (0..end).filter_map(|from| log.fetch(Offset::new(from), None, limits).ok());
    let batches = fetched.filter_map(|fetched| {
        let first = fetched.chunk?.first_offset;
        (!fetched.aborted.contains(&first)).then_some(first.get())
    });
    batches.collect()
}

/// The log is read from its start, and passes over more than cannot be read; what was aborted the
/// files say.
#[test]
fn without_a_snapshot_damage_shows_nobody_what_was_aborted() {
    let (bench, end, expected) = filled();
    for at in snapshots(&bench) {
        bench.disk.remove_file(&Bench::path(at, SegmentFile::ProducerSnapshot)).unwrap();
    }
    let (log, _) = bench.open(facts(end, LastStop::Clean));
    let bases: Vec<_> = log.segments.load().iter().map(|segment| segment.base().get()).collect();
    let whole = shown(&log);
    drop(log);
    for base in bases {
        let path = Bench::log_path(base);
        let bytes = bench.bytes(&path);
        let mut damaged = bytes.clone();
        damaged[70] ^= 1;
        bench.put(&path, &damaged);
        for stop in [LastStop::Clean, LastStop::KilledSameBoot, LastStop::AnotherHandClean] {
            let (log, _) = bench.open(facts(end, stop));
            assert_eq!(aborted(&log), expected, "{base} {stop:?}");
            let shown = shown(&log);
            assert!(shown.is_subset(&whole) && shown.len() > 1, "{base} {stop:?}: {shown:?}");
        }
        bench.put(&path, &bytes);
    }
}

/// Nothing names what lies behind the damage in its segment, but readers find it by its offset.
#[test]
fn what_is_found_behind_damage_by_its_offset_tells_what_was_aborted() {
    let bench = with_small_segments();
    let bench = Bench { config: bench.config.index_interval_bytes(4096), ..bench };
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    fill(&log);
    let whole = shown(&log);
    let first: Vec<_> = log.segments.load().iter().map(|segment| segment.base().get()).collect();
    let end = log.close().unwrap().get();
    let files: Vec<_> = bench.names().into_iter().map(|name| Path::new(DIR).join(name)).collect();
    let files: Vec<_> = files.into_iter().map(|path| (bench.bytes(&path), path)).collect();
    for (base, lost) in first.iter().flat_map(|base| [(base, "snapshot"), (base, "txnindex")]) {
        for name in bench.names() {
            bench.disk.remove_file(&Path::new(DIR).join(name)).unwrap();
        }
        let is_lost = |path: &Path| {
            let extension = path.extension();
            extension.is_some_and(|extension| extension == lost || extension == "digest")
        };
        for (bytes, path) in files.iter().filter(|(_, path)| !is_lost(path)) {
            bench.put(path, bytes);
        }
        if base % 3 == 2 {
            continue; // the marker itself: what it said is gone
        }
        let mut damaged = bench.bytes(&Bench::log_path(*base));
        damaged[70] ^= 1;
        bench.put(&Bench::log_path(*base), &damaged);
        let point = if lost == "snapshot" { end.min(base + 3) } else { end };
        let (log, _) = bench.open(facts(point, LastStop::KilledSameBoot));
        let shown = shown(&log);
        assert!(shown.is_subset(&whole), "{base}, no {lost}: {:?}", shown.difference(&whole));
    }
}

/// Markers that lie between damaged batches are found, however many those are.
#[test]
fn a_marker_between_damaged_batches_tells_what_was_aborted() {
    for (before, after) in (1..6).flat_map(|before| (1..8).map(move |after| (before, after))) {
        let bench = Bench::new();
        let bench = Bench { config: bench.config.index_interval_bytes(1 << 20), ..bench };
        let (log, _) = bench.open(facts(0, LastStop::Clean));
        for _ in 0..3 {
            send_in(&log, 3, &[2; 100], true);
            (0..before).for_each(|_| plain(&log, &[1; 100]));
            end_transaction(&log, 3, MarkerKind::Abort);
            (0..after).for_each(|_| plain(&log, &[1; 100]));
        }
        let expected = aborted(&log);
        let end = log.close().unwrap().get();
        drop(log);
        for at in snapshots(&bench) {
            bench.disk.remove_file(&Bench::path(at, SegmentFile::ProducerSnapshot)).unwrap();
        }
        bench.disk.remove_file(&Bench::path(0, SegmentFile::Digests)).unwrap();
        bench.disk.remove_file(&Bench::path(0, SegmentFile::TransactionIndex)).unwrap();
        let (mut bytes, mut at) = (bench.bytes(&Bench::log_path(0)), 0);
        while let Ok(header) = BatchHeader::parse(&bytes[at..], usize::MAX) {
            if !header.is_transactional() {
                bytes[at + 70] ^= 1;
            }
            at += header.size();
        }
        bench.put(&Bench::log_path(0), &bytes);
        let (log, _) = bench.open(facts(end, LastStop::Clean));
        assert_eq!(aborted(&log), expected, "{before} before, {after} after");
    }
}

/// Nothing but an index names what lies behind a base offset that was changed, and a batch may span
/// any number of offsets: they are not asked for one by one.
#[test]
fn a_changed_base_offset_is_not_gone_on_from_offset_by_offset() {
    let bench = Bench::new();
    let config = bench.config.index_interval_bytes(1 << 20).segment_bytes(32 << 10);
    let bench = Bench { config, ..bench };
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    let many: Vec<_> = (0..1000).map(|_| Record::new(&b"x"[..])).collect();
    let now = Timestamp::from_millis(1_000_000);
    let batch = BorrowedBatch::measure(&many, &log.batch_rules(now)).unwrap();
    while log.size().1 < 2 {
        log.append(&batch, now).unwrap();
    }
    let base = log.segments.load()[1].base().get();
    plain(&log, &[1; 100]);
    log.append(&batch, now).unwrap();
    send_in(&log, 3, &[2; 100], true);
    end_transaction(&log, 3, MarkerKind::Abort);
    let end = log.close().unwrap().get();
    drop(log);
    for at in snapshots(&bench) {
        bench.disk.remove_file(&Bench::path(at, SegmentFile::ProducerSnapshot)).unwrap();
    }
    bench.disk.remove_file(&Bench::path(base, SegmentFile::Digests)).unwrap();
    let path = Bench::log_path(base);
    let whole = bench.bytes(&path);
    let second = BatchHeader::parse(&whole, whole.len()).unwrap().size();
    for changed in [5, base + 1_000_000, i64::MAX - 9, -1] {
        let mut bytes = whole.clone();
        bytes[second..second + 8].copy_from_slice(&changed.to_be_bytes());
        bench.put(&path, &bytes);
        let (log, _) = bench.open(facts(end, LastStop::Clean));
        let failed = log.counters().failed_reads.get();
        assert!((1..10).contains(&failed), "{changed}: {failed} reads failed");
    }
}

/// What has not changed since the last checkpoint costs the next one nothing.
#[cfg(feature = "sim")]
mod unchanged {
    use super::*;
    use crate::disk::{Crash, Fault, Operation, Plan, SimDisk};
    use crate::record::Batch;
    use crate::segment::Origin;

    fn on_sim() -> (SimDisk, Bench) {
        let sim = SimDisk::new(1);
        sim.create_dir_all(Path::new(DIR)).unwrap();
        sim.sync_dir(Path::new("/")).unwrap();
        let bench = Bench::on(Arc::new(sim.clone()));
        (sim, Bench { config: bench.config.segment_bytes(1024), ..bench })
    }

    /// A checkpoint that gives no file its name and takes none away.
    fn checkpoint_names_nothing(sim: &SimDisk, log: &PartitionLog) {
        for operation in [Operation::Rename, Operation::RemoveFile, Operation::Sync] {
            sim.fail(Plan::new(Fault::Error(5)).on(operation).for_ever());
        }
        log.checkpoint().unwrap();
        sim.heal();
    }

    #[test]
    fn indexes_that_are_vouched_for_are_not_written_again() {
        let (sim, bench) = on_sim();
        let (log, _) = bench.open(facts(0, LastStop::Clean));
        fill(&log);
        log.checkpoint().unwrap();
        checkpoint_names_nothing(&sim, &log);
        let end = log.close().unwrap().get();
        let (log, _) = bench.try_open(facts(end, LastStop::Clean)).unwrap();
        assert_eq!(aborted(&log).len(), 9);
        checkpoint_names_nothing(&sim, &log);
    }

    #[test]
    fn a_log_without_aborted_transactions_vouches_for_none() {
        let (sim, bench) = on_sim();
        let (log, _) = bench.open(facts(0, LastStop::Clean));
        for _ in 0..20 {
            send(&log, 7, &[1; 100]);
        }
        let end = log.close().unwrap().get();
        let (log, _) = bench.try_open(facts(end, LastStop::Clean)).unwrap();
        assert_eq!(next(&log, 7), 20);
        checkpoint_names_nothing(&sim, &log);
        assert!(!bench.names().iter().any(|name| name == "tidelog.aborted"));
    }

    /// It stands for nothing: gone already it is gone, and one that stays is told.
    #[test]
    fn an_index_where_nothing_was_aborted_goes_with_the_next_checkpoint() {
        let reopened = || {
            let (sim, bench) = on_sim();
            let (log, _) = bench.open(facts(0, LastStop::Clean));
            send_in(&log, 3, b"x", true);
            end_transaction(&log, 3, MarkerKind::Commit);
            let end = log.close().unwrap().get();
            bench.put(&index_path(0), &[0xee; 50]);
            let (log, _) = bench.try_open(facts(end, LastStop::Clean)).unwrap();
            assert!(aborted(&log).is_empty());
            (sim, bench, log)
        };
        let (_, bench, log) = reopened();
        log.checkpoint().unwrap();
        assert!(indexed(&bench).is_empty());
        let (_, bench, log) = reopened();
        bench.disk.remove_file(&index_path(0)).unwrap();
        log.checkpoint().unwrap();
        let (sim, bench, log) = reopened();
        sim.fail(Plan::new(Fault::Error(5)).on(Operation::RemoveFile));
        assert!(log.checkpoint().is_err());
        assert_eq!(indexed(&bench), [0]);
    }

    /// What holds more than was vouched for may never have been synced.
    #[test]
    fn an_index_with_more_than_was_vouched_for_is_written_again() {
        let (sim, bench) = on_sim();
        let (log, _) = bench.open(facts(0, LastStop::Clean));
        send_in(&log, 3, b"x", true);
        end_transaction(&log, 3, MarkerKind::Abort);
        let point = log.checkpoint().unwrap().get();
        send_in(&log, 3, b"x", true);
        end_transaction(&log, 3, MarkerKind::Abort);
        log.make_durable(Offset::new(4)).unwrap();
        let all = aborted(&log);
        drop(log);
        // as a process that was killed on its way to the index's sync leaves it
        bench.put(&index_path(0), &transaction_index_bytes(&all));
        let (log, _) = bench.open(facts(point, LastStop::KilledSameBoot));
        assert_eq!(aborted(&log), all);
        let point = log.checkpoint().unwrap().get();
        drop(log);
        let cut = Bench { disk: Arc::new(sim.crash(Crash::Nothing)), ..bench };
        assert_eq!(cut.bytes(&index_path(0)), transaction_index_bytes(&all));
        let (log, _) = cut.open(facts(point, LastStop::PowerCut));
        assert_eq!(aborted(&log), all);
    }

    /// The index of a rewritten segment lacks what compaction has taken: what vouched for the old
    /// one does not fit it.
    #[test]
    fn the_index_of_a_rewrite_is_vouched_for_by_the_next_checkpoint() {
        let (sim, bench) = on_sim();
        let (log, _) = bench.open(facts(0, LastStop::Clean));
        fill(&log);
        let point = log.checkpoint().unwrap();
        log.recovery_point_recorded(point);
        let sealed = log.sealed().remove(0);
        let base = sealed.segment.base();
        let bytes = bench.bytes(&Bench::log_path(base.get()));
        let mut rewrite = log.begin_rewrite(base).unwrap();
        let mut rest = &bytes[..];
        while let Ok(batch) = Batch::verify(rest) {
            let (header, size) = (*batch.header(), batch.header().size());
            rewrite.push(&header, &rest[..size], Origin::File).unwrap();
            rest = &rest[size..];
        }
        let kept = aborted(&log).split_off(1);
        let within: Vec<_> = kept.iter().filter(|entry| entry.last < sealed.end).copied().collect();
        let rewritten = rewrite.finish(within).unwrap();
        let swapped = log.swap_in(&[sealed.segment], &rewritten, sealed.end, &Forgetful).unwrap();
        assert!(matches!(swapped, crate::log::swap::Swapped::Done { .. }));
        assert_eq!(aborted(&log), kept);
        let end = log.checkpoint().unwrap().get();
        drop(log);
        let known = KnownFacts { compacted: sealed.end, ..facts(end, LastStop::Clean) };
        let (log, _) = bench.try_open(known).unwrap();
        assert_eq!(aborted(&log), kept);
        checkpoint_names_nothing(&sim, &log);
    }
}

/// They are learnt from the indexes where nothing else says that there were producers.
#[test]
fn what_was_aborted_is_known_where_all_else_about_producers_is_lost() {
    let (bench, end, expected) = filled();
    let (log, _) = bench.open(facts(end, LastStop::Clean));
    (0..3).for_each(|_| plain(&log, b"an open looks at these alone"));
    let end = log.close().unwrap().get();
    drop(log);
    for at in snapshots(&bench) {
        bench.disk.remove_file(&Bench::path(at, SegmentFile::ProducerSnapshot)).unwrap();
    }
    bench.disk.remove_file(&Path::new(DIR).join("tidelog.producers")).unwrap();
    let (log, _) = bench.open(facts(end, LastStop::Clean));
    assert_eq!(aborted(&log), expected);
}
