//! Digests: what no checksum covers is noticed when it changes, and nothing else is lost by it.

use super::*;
use crate::segment::Limits;

/// Bytes of a batch that its checksum does not cover.
const OPEN: usize = 21;

/// A log of two sealed segments and an active one, ten batches each, closed; the runs are short.
fn closed() -> (Bench, i64) {
    let bench = Bench {
        config: TopicConfig::new()
            .index_interval_bytes(150)
            .segment_bytes(1024)
            .timestamp_after_max(None),
        ..Bench::new()
    };
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    let mut end = 0;
    while log.size().1 < 3 || end % 2 > 0 {
        end = append(&log, format!("value {end}").as_bytes(), end).unwrap() + 1;
    }
    log.close().unwrap();
    (bench, end)
}

/// What a reader that skips damage gets of a log, and which offsets it was told are damaged.
fn all_of(log: &PartitionLog, end: i64) -> (Vec<(i64, Vec<u8>)>, Vec<i64>) {
    all_by(log, end, 1)
}

fn all_by(log: &PartitionLog, end: i64, bytes: usize) -> (Vec<(i64, Vec<u8>)>, Vec<i64>) {
    let limits = FetchLimits {
        bytes,
        records: u64::MAX,
        durable_only: false,
        isolation: IsolationLevel::ReadUncommitted,
    };
    let plain = PlainLimit::DEFAULT;
    let rules = TakeRules { max_records: usize::MAX, until: None, plain };
    let (mut found, mut lost) = (Vec::new(), Vec::new());
    let mut next = Offset::ZERO;
    while next < Offset::new(end) {
        match log.fetch(next, None, limits) {
            Ok(fetched) => {
                let chunk = fetched.chunk.expect("no silent gap");
                let mut records = Records::default();
                records.take_in(&log.origin(), chunk.bytes, next, rules);
                for record in &records {
                    let value = record.value().unwrap_or_default().to_vec();
                    found.push((record.offset().get(), value));
                }
                next = fetched.next_offset;
            }
            Err(error) => {
                assert!(error.is_corrupt(), "{error}");
                assert!(error.position().is_some(), "{error}");
                let resume = log.resume_above(next).unwrap();
                lost.extend(next.get()..resume.get());
                next = resume;
            }
        }
    }
    (found, lost)
}

/// All records come back but one, which is told lost.
pub(super) fn costs_one_batch(bench: &Bench, whole: &[(i64, Vec<u8>)], bytes: usize, place: &str) {
    let end = whole.len() as i64;
    let (log, _) = bench.open(facts(end, LastStop::Clean));
    let (found, lost) = all_by(&log, end, bytes);
    assert_eq!(lost.len(), 1, "{place}: lost {lost:?}");
    assert_eq!(found.len() + lost.len(), whole.len(), "{place}: lost {lost:?}");
    for record in &found {
        assert!(whole.contains(record), "{place}: {record:?}");
    }
}

#[test]
fn every_open_bit_of_every_batch_is_noticed_and_costs_that_batch_alone() {
    let (bench, end) = closed();
    let known = facts(end, LastStop::Clean);
    let whole: Vec<_> = {
        let (log, _) = bench.open(known);
        all_of(&log, end).0
    };
    assert_eq!(whole.len() as i64, end);
    let names: Vec<_> = bench.names().into_iter().filter(|name| name.ends_with(".log")).collect();
    assert_eq!(names.len(), 3);
    for name in names {
        let path = Path::new(DIR).join(name);
        let bytes = bench.bytes(&path);
        let mut start = 0;
        while start < bytes.len() {
            let length = u32::from_be_bytes(bytes[start + 8..start + 12].try_into().unwrap());
            for bit in 0..OPEN * 8 {
                let mut flipped = bytes.clone();
                flipped[start + bit / 8] ^= 1 << (bit % 8);
                bench.put(&path, &flipped);
                let place = format!("{} at {start} bit {bit}", path.display());
                costs_one_batch(&bench, &whole, [1, 300, 1 << 20][bit % 3], &place);
            }
            start += length as usize + 12;
        }
        bench.put(&path, &bytes);
    }
}

#[test]
fn a_length_that_leads_to_a_later_batch_or_the_runs_end_costs_its_own_batch_alone() {
    let (bench, end) = closed();
    let whole = all_of(&bench.open(facts(end, LastStop::Clean)).0, end).0;
    let path = Bench::log_path(0);
    let bytes = bench.bytes(&path);
    let length = |at: usize| u32::from_be_bytes(bytes[at + 8..at + 12].try_into().unwrap());
    let after = |at: &usize| Some(at + 12 + length(*at) as usize).filter(|at| *at < bytes.len());
    let starts: Vec<_> = std::iter::successors(Some(0), after).collect();
    for (number, start) in starts.iter().enumerate() {
        for later in starts.iter().skip(number + 2).copied().chain([bytes.len()]) {
            let mut astray = bytes.clone();
            let length = (later - start - 12) as u32;
            astray[start + 8..start + 12].copy_from_slice(&length.to_be_bytes());
            if astray != bytes {
                bench.put(&path, &astray);
                costs_one_batch(&bench, &whole, 1, &format!("{start} leads to {later}"));
            }
        }
    }
}

/// Who goes on at the end of what is mapped looks at all that is left of it at once.
#[test]
fn a_changed_epoch_is_noticed_by_who_goes_on_behind_the_batch_before() {
    for is_damaged in [false, true] {
        let (bench, end) = closed();
        let names = bench.names();
        let bases = names.iter().filter_map(|name| name.strip_suffix(".log")?.parse::<i64>().ok());
        let base = bases.max().unwrap();
        let bytes = bench.bytes(&Bench::log_path(base));
        assert_eq!(end - base, 2, "the second is the last");
        let last = bytes.len() as u64 / 2;
        let (log, _) = bench.open(facts(end, LastStop::Clean));
        append(&log, b"mapped", end).unwrap();
        if is_damaged {
            let file = bench.disk.open(&Bench::log_path(base), Access::Write).unwrap();
            write_all_at(&*file, &[1], last + 15).unwrap(); // to that of what is appended behind it
        }
        let all = FetchLimits::all(1 << 20);
        let first = log.fetch(Offset::new(base), None, FetchLimits::all(1)).unwrap();
        let rest = log.fetch(Offset::new(base + 1), first.cursor.as_ref(), all);
        if is_damaged {
            assert!(rest.unwrap_err().is_corrupt());
            continue;
        }
        assert_eq!(rest.unwrap().next_offset, Offset::new(end + 1), "the control");
        let segment = log.segments.load().last().unwrap().clone();
        let limits =
            Limits { bytes: 1 << 20, records: 100, bound: Offset::new(100), gapless_from: None };
        let rest = segment.take_rest(last, Offset::new(base + 1), limits);
        assert_eq!(rest.unwrap().sound.next_offset, Offset::new(end + 1), "at once");
    }
}

#[test]
fn without_its_sidecar_a_changed_epoch_passes() {
    let (bench, end) = closed();
    let path = Bench::log_path(0);
    let mut bytes = bench.bytes(&path);
    bytes[12 + 3] ^= 1; // of the first batch, which none before it contradicts
    bench.put(&path, &bytes);
    let known = facts(end, LastStop::Clean);
    let (log, _) = bench.open(known);
    assert_eq!(all_of(&log, end).1[0], 0);
    drop(log);
    bench.disk.remove_file(&Bench::path(0, SegmentFile::Digests)).unwrap();
    let (log, _) = bench.open(known);
    let lost = all_of(&log, end).1;
    assert!(!lost.contains(&0), "{lost:?}");
}

#[test]
fn without_its_sidecar_a_raised_base_offset_is_still_damage() {
    let bench = Bench::new();
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    let end = append(&log, b"a", 1).unwrap() + 1;
    log.close().unwrap();
    drop(log);
    let path = Bench::log_path(0);
    let mut bytes = bench.bytes(&path);
    bytes[7] ^= 1; // the only batch now says that it begins where the log ends
    bench.put(&path, &bytes);
    bench.disk.remove_file(&Bench::path(0, SegmentFile::Digests)).unwrap();
    let (log, report) = bench.open(facts(end, LastStop::Clean));
    assert_eq!(log.offsets().end(), Offset::new(end));
    assert_eq!(all_of(&log, end), (Vec::new(), vec![0]));
    assert_eq!(report.damage.len(), 1, "{report:?}");
}

#[test]
fn behind_damage_reading_never_goes_on_beyond_the_next_segment() {
    let (bench, end) = closed();
    let path = Bench::log_path(0);
    let mut bytes = bench.bytes(&path);
    let second = 12 + u32::from_be_bytes(bytes[8..12].try_into().unwrap()) as usize;
    bytes[second + 7] ^= 0x80; // its second batch says that it lies behind all there is
    bench.put(&path, &bytes);
    for kind in [SegmentFile::Digests, SegmentFile::OffsetIndex, SegmentFile::TimeIndex] {
        bench.disk.remove_file(&Bench::path(0, kind)).unwrap();
    }
    let (log, _) = bench.open(facts(end, LastStop::Clean));
    let names = bench.names();
    let next = names.iter().filter(|name| name.ends_with(".log")).nth(1).unwrap();
    let next: i64 = next.trim_end_matches(".log").parse().unwrap();
    let (found, lost) = all_of(&log, end);
    assert_eq!(found.len() + lost.len(), end as usize, "{lost:?}");
    assert!(found.iter().filter(|(offset, _)| *offset >= next).count() as i64 == end - next);
}

#[test]
fn an_index_made_again_still_names_what_lies_behind_damage() {
    let (bench, end) = closed();
    let second = {
        let names = bench.names();
        names.iter().filter(|name| name.ends_with(".log")).nth(1).cloned().unwrap()
    };
    for name in bench.names() {
        let base = name.split('.').next().and_then(|base| base.parse::<i64>().ok());
        let is_later = base.is_some_and(|base| base > 0);
        if is_later
            || name == Bench::path(0, SegmentFile::Digests).file_name().unwrap().to_str().unwrap()
        {
            bench.disk.remove_file(&Path::new(DIR).join(name)).unwrap();
        }
    }
    let path = Bench::log_path(0);
    let mut bytes = bench.bytes(&path);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    bench.put(&path, &bytes);
    let index = Bench::path(0, SegmentFile::OffsetIndex);
    let mut bytes = bench.bytes(&index);
    bytes[7] ^= 8; // the first entry names no batch
    bench.put(&index, &bytes);
    let known = facts(end, LastStop::Clean);
    let (log, _) = bench.open(known);
    let first = all_of(&log, end);
    let behind = first.0.last().unwrap().0;
    assert!(behind < second[..20].parse().unwrap() && first.1[0] < behind, "{first:?}");
    log.close().unwrap();
    drop(log);
    let (log, _) = bench.open(known);
    assert_eq!(all_of(&log, end), first);
}

#[test]
fn a_new_log_has_no_sidecar_before_its_first_checkpoint() {
    let bench = Bench::new();
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    append(&log, b"a", 1).unwrap();
    log.make_durable(Offset::new(1)).unwrap();
    assert!(!bench.exists(&Bench::path(0, SegmentFile::Digests)));
    let point = log.checkpoint().unwrap();
    assert_eq!(point, Offset::new(1));
    let one = bench.bytes(&Bench::path(0, SegmentFile::Digests));
    assert_eq!(one.len(), 40 + 32);
    log.checkpoint().unwrap();
    assert_eq!(bench.bytes(&Bench::path(0, SegmentFile::Digests)), one, "nothing new to say");
}

#[test]
fn another_hand_has_the_digests_dropped_and_taken_again() {
    let (bench, end) = closed();
    let path = Bench::path(0, SegmentFile::Digests);
    let before = bench.bytes(&path);
    let (log, _) = bench.open(facts(0, LastStop::AnotherHand));
    log.close().unwrap();
    let after = bench.bytes(&path);
    let origin = |bytes: &[u8]| bytes[40 + 27];
    assert_eq!((origin(&before), origin(&after)), (0, 1), "appended, from the file");
    let (log, _) = bench.open(facts(end, LastStop::Clean));
    assert!(all_of(&log, end).1.is_empty());
}

#[test]
fn segments_that_lack_digests_get_them_one_at_a_time() {
    let (bench, end) = closed();
    let (log, _) = bench.open(facts(end, LastStop::AnotherHandClean));
    let digests = || bench.names().iter().filter(|name| name.ends_with(".digest")).count();
    assert!(log.lacks_digests() && digests() == 0);
    let mut steps = 0;
    while log.lacks_digests() {
        log.digest_one().unwrap();
        steps += 1;
        assert_eq!(digests(), steps);
    }
    assert_eq!(steps, 2, "all but the last, which its scan has taken");
    log.close().unwrap();
    let names = bench.names().into_iter().filter(|name| name.ends_with(".log"));
    for path in names.map(|name| Path::new(DIR).join(name)) {
        let bytes = bench.bytes(&path);
        let mut flipped = bytes.clone();
        flipped[12 + 3] ^= 1;
        bench.put(&path, &flipped);
        let (log, _) = bench.open(facts(end, LastStop::Clean));
        let first = i64::from_be_bytes(bytes[..8].try_into().unwrap());
        assert_eq!(all_of(&log, end).1, [first], "from now on it is noticed");
        bench.put(&path, &bytes);
    }
}

/// A stop in the swap of a rewritten segment: its digests have their name, its log not yet.
#[test]
fn a_log_that_gets_its_name_late_keeps_the_digests_that_had_theirs() {
    let (bench, end) = closed();
    let (log, digests) = (Bench::log_path(0), Bench::path(0, SegmentFile::Digests));
    let vouched = bench.bytes(&digests);
    let swap = log.with_extension("log.swap");
    bench.put(&swap, &bench.bytes(&log));
    bench.disk.remove_file(&log).unwrap();
    let (opened, _) = bench.open(facts(end, LastStop::Clean));
    assert!(bench.exists(&log) && !bench.exists(&swap), "the rewrite was finished");
    assert_eq!(bench.bytes(&digests), vouched);
    assert!(all_of(&opened, end).1.is_empty());
}

#[test]
fn a_newer_sidecar_is_refused_and_a_torn_one_goes_on() {
    let (bench, end) = closed();
    let known = facts(end, LastStop::Clean);
    let last = bench.names().into_iter().rfind(|name| name.ends_with(".digest")).unwrap();
    let path = Path::new(DIR).join(last);
    let bytes = bench.bytes(&path);
    let mut newer = bytes.clone();
    newer[7] = 2;
    let crc = crc32c::crc32c(&newer[..36]);
    newer[36..40].copy_from_slice(&crc.to_be_bytes());
    bench.put(&path, &newer);
    assert_eq!(bench.try_open(known).unwrap_err().kind(), ErrorKind::NewerVersion);
    for cut in 0..bytes.len() {
        bench.put(&path, &bytes[..cut]);
        let (log, _) = bench.open(known);
        append(&log, b"more", end).unwrap();
        log.close().unwrap();
        let (log, report) = bench.open(facts(end + 1, LastStop::Clean));
        assert!(report.damage().is_empty(), "cut to {cut}: {:?}", report.damage());
        let (found, lost) = all_of(&log, end + 1);
        assert!(lost.is_empty() && found.len() as i64 == end + 1, "cut to {cut}: {lost:?}");
        drop(log);
        let (bench_log, name) = (bench.names(), path.with_extension("log"));
        assert!(bench_log.iter().any(|found| name.ends_with(found)));
        let log = bench.bytes(&name);
        let kept = log.len() - batch(0, b"more").len();
        bench.put(&name, &log[..kept]);
        bench.put(&path, &bytes);
    }
}

#[test]
fn a_block_of_another_segment_of_the_same_shape_is_noticed() {
    // two logs of one topic that differ in nothing but their partition
    let (bench, end) = closed();
    let sidecar = bench.bytes(&Bench::path(0, SegmentFile::Digests));
    let other = Bench {
        id: LogId { partition: PartitionId::new(1), ..bench.id },
        disk: bench.disk.clone(),
        clock: bench.clock.clone(),
        config: bench.config.clone(),
    };
    let (log, _) = other.open(facts(end, LastStop::Clean));
    assert!(all_of(&log, end).1.is_empty(), "a sidecar of another partition vouches for nothing");
    drop(log);
    // runs of the next segment of that partition
    let next = bench.names().into_iter().filter(|name| name.ends_with(".digest")).nth(1).unwrap();
    let mut runs = bench.bytes(&Path::new(DIR).join(next));
    runs[..40].copy_from_slice(&sidecar[..40]);
    bench.put(&Bench::path(0, SegmentFile::Digests), &runs);
    let (log, _) = bench.open(facts(end, LastStop::Clean));
    assert!(all_of(&log, end).1.is_empty(), "runs of another segment vouch for nothing");
    drop(log);
    // a run of it in the sidecar of that partition
    let mut mixed = sidecar.clone();
    mixed[24 + 3] = 1;
    let crc = crc32c::crc32c(&mixed[..36]);
    mixed[36..40].copy_from_slice(&crc.to_be_bytes());
    bench.put(&Bench::path(0, SegmentFile::Digests), &mixed);
    let (log, _) = other.open(facts(end, LastStop::Clean));
    assert!(all_of(&log, end).1.is_empty(), "its runs fail their own checksum");
}

/// They are on the disk before a recovery point speaks of what they vouch for.
#[cfg(feature = "sim")]
#[test]
fn a_power_cut_takes_no_digest_below_the_recovery_point() {
    use crate::disk::{Crash, SimDisk};
    let disk = SimDisk::new(1);
    disk.create_dir_all(Path::new(DIR)).unwrap();
    let bench = Bench::on(Arc::new(disk.clone()));
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    append(&log, b"a", 1).unwrap();
    assert_eq!(log.checkpoint().unwrap(), Offset::new(1));
    let bench = Bench { disk: Arc::new(disk.crash(Crash::Nothing)), ..bench };
    let path = Bench::log_path(0);
    let mut bytes = bench.bytes(&path);
    bytes[12 + 3] ^= 1; // the epoch
    bench.put(&path, &bytes);
    let (log, _) = bench.open(facts(1, LastStop::PowerCut));
    assert_eq!(all_of(&log, 1).1, [0], "it is noticed");
}

/// How often a look at the log's directory finds fault with a sidecar.
pub(super) fn faults_of_sidecars(bench: &Bench, recovery_point: i64) -> usize {
    let facts = bench.audit_facts(recovery_point);
    let audit = PartitionAudit::list(&bench.disk, Path::new(DIR), bench.id, facts).unwrap();
    let found = audit.audit_all(PlainLimit::DEFAULT).findings;
    found.iter().filter(|finding| finding.kind() == FindingKind::Sidecar).count()
}

#[test]
fn what_a_cut_leaves_of_unsynced_digests_is_no_fault_and_is_made_again() {
    let (bench, end) = closed();
    let path = Bench::path(0, SegmentFile::Digests);
    let whole = bench.bytes(&path);
    let zeroed = |from: usize, to: usize| {
        let mut bytes = whole.clone();
        bytes[from..to].fill(0);
        bytes
    };
    let last = whole.len();
    let left = [vec![], whole[..39].to_vec(), zeroed(0, 40), zeroed(17, last), zeroed(72, last)];
    for bytes in left {
        bench.put(&path, &bytes);
        assert_eq!(faults_of_sidecars(&bench, 0), 0, "{bytes:?}");
        assert_eq!(faults_of_sidecars(&bench, end), 1, "it was synced: {bytes:?}");
        let (log, _) = bench.open(facts(0, LastStop::PowerCut));
        log.close().unwrap();
        assert_eq!(bench.bytes(&path)[..40], whole[..40]);
        assert_eq!(faults_of_sidecars(&bench, end), 0);
        bench.put(&path, &whole);
    }
    let mut damaged = whole.clone();
    damaged[1] ^= 1; // no cut does that
    bench.put(&path, &damaged);
    assert_eq!(faults_of_sidecars(&bench, 0), 1);
}

/// Of one log in 256 the head ends with a zero, which a file that was cut has as well as not.
#[test]
fn a_head_that_lacks_nothing_but_zeros_was_begun_and_no_more() {
    let path = Bench::path(0, SegmentFile::Digests);
    let (bench, end) = (0..100_000)
        .map(|_| closed())
        .find(|(bench, _)| bench.bytes(&path)[39] == 0)
        .expect("their identities are random");
    let whole = bench.bytes(&path);
    bench.put(&path, &whole[..39]);
    assert_eq!(faults_of_sidecars(&bench, 0), 0);
    assert_eq!(faults_of_sidecars(&bench, end), 1, "it was synced");
    let (log, _) = bench.open(facts(0, LastStop::PowerCut));
    log.close().unwrap();
    assert_eq!(bench.bytes(&path)[..40], whole[..40]);
}

/// A full disk in the one moment in which a segment has its turn.
#[cfg(feature = "sim")]
#[test]
fn a_segment_whose_digests_found_no_room_has_another_turn() {
    use crate::disk::{Fault, Operation, Plan, SimDisk};
    let (bench, end) = closed();
    let disk = SimDisk::new(1);
    disk.create_dir_all(Path::new(DIR)).unwrap();
    let copy = Bench { disk: Arc::new(disk.clone()), ..bench };
    let from = bench.disk.clone();
    for entry in from.list(Path::new(DIR)).unwrap() {
        let path = Path::new(DIR).join(entry.name);
        let file = from.open(&path, Access::Read).unwrap();
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        read_full_at(&*file, &mut bytes, 0).unwrap();
        copy.put(&path, &bytes);
    }
    let (log, _) = copy.open(facts(end, LastStop::AnotherHandClean));
    let digests = || copy.names().iter().filter(|name| name.ends_with(".digest")).count();
    disk.fail(Plan::new(Fault::Error(28)).on(Operation::Write).for_ever());
    for _ in 0..3 {
        assert!(log.digest_one().unwrap_err().is_retriable());
        assert!(log.lacks_digests());
    }
    disk.heal();
    while log.lacks_digests() {
        log.digest_one().unwrap();
    }
    assert_eq!(digests(), 2, "all but the last, which its scan has taken");
    // what cannot be read is not read again and again
    let (log, _) = copy.open(facts(end, LastStop::AnotherHandClean));
    disk.fail(Plan::new(Fault::Error(5)).on(Operation::Read).for_ever());
    log.digest_one().unwrap_err();
    log.digest_one().unwrap_err();
    log.digest_one().unwrap();
    assert!(!log.lacks_digests());
}
