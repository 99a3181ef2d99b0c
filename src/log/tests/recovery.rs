//! Every row of the verdict's table through files, torn tails, damage, leftovers, lost files.

mod ends;

use super::super::verdict::{Ending, Successor, Verdict, judge};
use super::*;

/// The valid end of the segment that is looked at.
const VALID: i64 = 3;

fn prepared(ending: Ending, successor: Option<i64>) -> Bench {
    let bench = Bench::new();
    let mut bytes = batches(0, VALID);
    match ending {
        Ending::Exact => {}
        Ending::Zeros => bytes.extend([0; 100]),
        Ending::Bad => bytes.extend([0xab; 100]),
    }
    bench.put(&Bench::log_path(0), &bytes);
    if let Some(base) = successor {
        bench.put(&Bench::log_path(base), &batches(base, base + 2));
    }
    bench
}

fn bytes_of_logs(bench: &Bench) -> u64 {
    let logs = bench.names().into_iter().filter(|name| name.ends_with(".log"));
    logs.map(|name| bench.bytes(&Path::new(DIR).join(name)).len() as u64).sum()
}

#[test]
fn every_row_of_the_table_through_files() {
    let valid_len = batches(0, VALID).len() as u64;
    for ending in [Ending::Exact, Ending::Zeros, Ending::Bad] {
        for next in [None, Some(3), Some(5), Some(2)] {
            for (point, adopted) in [(0, false), (0, true), (4, false), (4, true)] {
                let row = format!("{ending:?} next {next:?} point {point} adopted {adopted}");
                let bench = prepared(ending, next);
                let known = KnownFacts { adopted, ..facts(point, LastStop::PowerCut) };
                let before = bytes_of_logs(&bench);
                let (log, report) = bench.open(known);
                let len = bench.bytes(&Bench::log_path(0)).len() as u64;
                if next.is_some_and(|next| next < point) {
                    // wholly below the recovery point: not looked at, let alone touched
                    assert!(!report.is_notable(), "{row}");
                    continue;
                }
                let seen = Successor::of(next.map(Offset::new), Offset::new(VALID));
                let end = next.map_or(VALID, |next| next + 2).max(point);
                match judge(ending, seen, VALID < point, !adopted) {
                    Verdict::Keep | Verdict::Trim => {
                        assert!(!report.is_notable(), "{row}: {report:?}");
                        assert_eq!(log.offsets().end().get(), end, "{row}");
                        assert_eq!(len, valid_len, "{row}");
                    }
                    Verdict::CutTail => {
                        assert_eq!(report.torn_tails().len(), 1, "{row}");
                        assert_eq!(log.offsets().end().get(), VALID.max(point), "{row}");
                        assert_eq!(len, valid_len, "{row}");
                        // what follows, and of what ends here all that may hold whole batches
                        let saved = [next.is_some(), next.is_some() && ending == Ending::Bad];
                        let saved = saved.into_iter().filter(|is_saved| *is_saved).count();
                        assert_eq!(report.torn_tails()[0].saved().len(), saved, "{row}");
                        assert_eq!(report.torn_tails()[0].bytes(), before - valid_len, "{row}");
                        if let Some(next) = next {
                            assert!(!bench.exists(&Bench::log_path(next)), "{row}");
                        }
                    }
                    Verdict::Damage => {
                        assert_eq!(report.damage().len(), 1, "{row}");
                        let damage = &report.damage()[0];
                        assert_eq!(damage.from().get(), VALID, "{row}");
                        assert_eq!(damage.to().get(), next.unwrap_or(point), "{row}");
                        assert_eq!(damage.position(), valid_len, "{row}");
                        assert_eq!(log.offsets().end().get(), end, "{row}");
                        let error = read_from(&log, VALID).unwrap_err();
                        assert!(error.is_corrupt(), "{row}: {error}");
                        let skipped = log.resume_above(Offset::new(VALID)).unwrap();
                        assert_eq!(skipped, damage.to(), "{row}");
                        let rest: Vec<_> = next.map_or(vec![], |next| vec![next, next + 1]);
                        assert_eq!(offsets(&read_from(&log, skipped.get()).unwrap()), rest);
                    }
                }
                let appended = append(&log, b"goes on", 5).unwrap();
                let (start, end) = (log.offsets().snapshot().start, log.offsets().end());
                assert_eq!(appended + 1, end.get(), "{row}");
                assert!(start <= end);
                let read = read_from(&log, appended).unwrap();
                assert_eq!(read, [(appended, b"goes on".to_vec())], "{row}");
                if !adopted {
                    // what was found is found again, and nothing else, after a clean close
                    let point = log.close().unwrap();
                    drop(log);
                    let (log, again) = bench.open(facts(point.get(), LastStop::Clean));
                    assert!(!again.is_notable(), "{row}: {again:?}");
                    assert_eq!(log.offsets().end(), end);
                    assert_eq!(read_from(&log, appended).unwrap(), read, "{row}");
                    if !report.damage().is_empty() {
                        assert!(read_from(&log, VALID).unwrap_err().is_corrupt(), "{row}");
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_cut_with_whole_batches_in_it_is_saved() {
    let bench = Bench::new();
    let mut bytes = batches(0, 8);
    let third = batches(0, 3).len();
    bytes[third + 70] ^= 1;
    bench.put(&Bench::log_path(0), &bytes);
    let (log, report) = bench.open(facts(0, LastStop::PowerCut));
    let torn = &report.torn_tails()[0];
    assert_eq!((torn.offset().get(), torn.position()), (3, third as u64));
    assert_eq!(torn.bytes(), (bytes.len() - third) as u64);
    assert_eq!(bench.bytes(&torn.saved()[0]), &bytes[third..]);
    assert_eq!(offsets(&read_from(&log, 0).unwrap()), [0, 1, 2]);
    // half of the last batch alone is nobody's loss
    let bench = Bench::new();
    let bytes = batches(0, 4);
    bench.put(&Bench::log_path(0), &bytes[..bytes.len() - 5]);
    let (_, report) = bench.open(facts(0, LastStop::KilledSameBoot));
    assert_eq!(report.torn_tails()[0].offset().get(), 3);
    assert!(report.torn_tails()[0].saved().is_empty());
}

#[test]
fn what_is_saved_takes_the_place_of_nothing_that_was_saved_before() {
    let bench = Bench::new();
    let third = batches(0, 3).len();
    let torn = |flipped: u8| {
        let mut bytes = batches(0, 8);
        bytes[third + 70] ^= flipped;
        bench.put(&Bench::log_path(0), &bytes);
        let (_, report) = bench.open(facts(0, LastStop::PowerCut));
        let saved = report.torn_tails()[0].saved()[0].clone();
        (saved, bytes[third..].to_vec())
    };
    let first = torn(1);
    let second = torn(2);
    for (path, bytes) in [&first, &second] {
        assert_eq!(bench.bytes(path), *bytes, "{}", path.display());
    }
    // recovery was cut short: what it had saved, or begun to, is saved once
    bench.put(&second.0, &second.1[..100]);
    assert_eq!(torn(2), second);
    assert_eq!(bench.bytes(&second.0), second.1);
    assert_eq!(torn(1), first);
    let saved = bench.names().into_iter().filter(|name| name.ends_with(".cut"));
    assert_eq!(saved.count(), 2);
}

/// Appends go on right behind the cut: what it took must not come back behind them.
#[cfg(feature = "sim")]
#[test]
fn what_is_cut_is_cut_for_good() {
    use crate::disk::{Crash, SimDisk};
    let disk = SimDisk::new(1);
    disk.create_dir_all(Path::new(DIR)).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    let bench = Bench::on(Arc::new(disk.clone()));
    let (bytes, valid) = (batches(0, 8), batches(0, 3).len());
    bench.put(&Bench::log_path(0), &bytes);
    bench.disk.open(&Bench::log_path(0), Access::Write).unwrap().sync_data().unwrap();
    bench.disk.sync_dir(Path::new(DIR)).unwrap();
    disk.corrupt(&Bench::log_path(0), valid as u64 + 70, 1).unwrap();
    let (log, report) = bench.open(facts(0, LastStop::KilledSameBoot));
    assert_eq!(report.torn_tails().len(), 1);
    let bench = Bench { disk: Arc::new(disk.crash(Crash::Nothing)), ..bench };
    drop(log);
    assert_eq!(bench.bytes(&Bench::log_path(0)), &bytes[..valid]);
}

/// The kernel may have failed to write pages, told nobody who still lives, and call them clean: a
/// sync vouches for what an earlier process left only once it is written again.
#[cfg(feature = "sim")]
#[test]
fn what_an_earlier_process_left_is_written_again_before_a_sync_vouches_for_it() {
    use crate::disk::{Crash, Fault, IoMode, Operation, Plan, SimDisk};
    for mode in [IoMode::Mapped, IoMode::Positioned] {
        let sim = SimDisk::new(1);
        sim.set_mode(mode);
        sim.create_dir_all(Path::new(DIR)).unwrap();
        sim.sync_dir(Path::new("/")).unwrap();
        let bench = Bench::on(Arc::new(sim.clone()));
        let (log, _) = bench.open(facts(0, LastStop::Clean));
        for offset in 0..70 {
            append(&log, &[u8::try_from(offset).unwrap(); 10_000], offset).unwrap();
            if offset == 3 {
                log.make_durable(Offset::new(4)).unwrap();
            }
        }
        let file = sim.open(&Bench::log_path(0), Access::Write).unwrap();
        sim.fail(Plan::new(Fault::Error(5)).on(Operation::Sync));
        assert!(file.sync_data().is_err(), "as the kernel does it by itself");
        let killed = sim.kill();
        let bench = Bench { disk: Arc::new(killed.clone()), ..bench };
        let (log, _) = bench.open(facts(0, LastStop::KilledSameBoot));
        assert_eq!(log.offsets().end().get(), 70);
        log.make_durable(Offset::new(70)).unwrap();
        let bench = Bench { disk: Arc::new(killed.crash(Crash::Nothing)), ..bench };
        let (log, report) = bench.open(facts(0, LastStop::PowerCut));
        assert_eq!(log.offsets().end().get(), 70, "{mode:?}: {report:?}");
        for (offset, value) in read_from(&log, 0).unwrap() {
            assert_eq!(value, [u8::try_from(offset).unwrap(); 10_000], "{mode:?}");
        }
    }
}

#[test]
fn damage_is_skipped_to_the_next_entry_of_the_index() {
    let bench = Bench::new();
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    for offset in 0..20 {
        append(&log, format!("value {offset:02}").as_bytes(), 1000 + offset).unwrap();
    }
    let point = log.close().unwrap().get();
    drop(log);
    let path = Bench::log_path(0);
    let whole = bench.bytes(&path);
    let size = whole.len() / 20;
    // the records of one batch, the header of another: nothing scans them, reading finds them
    for at in [7 * size + 65, 11 * size + 8, 13 * size + 1] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        bench.put(&path, &bytes);
        let gone = i64::try_from(at / size).unwrap();
        let (log, report) = bench.open(facts(point, LastStop::Clean));
        assert_eq!(report.damage(), []);
        let error = read_from(&log, 0).unwrap_err();
        assert!(error.is_corrupt() && error.path() == Some(&*path), "{error}");
        assert_eq!(error.position(), Some(gone.unsigned_abs() * size as u64), "{error}");
        let resume = log.resume_above(Offset::new(gone)).unwrap().get();
        assert_eq!(append(&log, b"on", 5000).unwrap(), 20);
        let rest: Vec<i64> = (resume..21).collect();
        assert_eq!((resume, offsets(&read_from(&log, resume).unwrap())), (gone + 1, rest));
    }
    // the batch that recovery would begin at is bad too: all is scanned, all is told
    let mut bytes = whole.clone();
    bytes[7 * size + 65] ^= 1;
    bytes[19 * size + 65] ^= 1;
    bench.put(&path, &bytes);
    let (log, report) = bench.open(facts(point, LastStop::Clean));
    let told = report.damage().iter().map(|it| (it.from().get(), it.to().get()));
    assert_eq!(told.collect::<Vec<_>>(), [(7, 8), (19, 20)]);
    assert_eq!(append(&log, b"on", 5000).unwrap(), 20);
    assert!(bench.exists(&Bench::log_path(20)), "appends go on in a segment of their own");
    assert_eq!(offsets(&read_from(&log, 20).unwrap()), [20]);
    assert!(read_from(&log, 8).unwrap_err().is_corrupt());
}

#[test]
fn lost_files_below_the_recovery_point_are_damage_above_it_not() {
    let fill = || {
        let bench = Bench::new();
        for base in [0, 4, 8] {
            bench.put(&Bench::log_path(base), &batches(base, base + 4));
        }
        bench
    };
    let range = |report: &PartitionReport| {
        let damage = report.damage();
        damage.iter().map(|it| (it.from().get(), it.to().get())).collect::<Vec<_>>()
    };
    let stop = LastStop::PowerCut;
    for (lost, point, damaged, end) in [
        (&[0][..], 12, vec![(0, 4)], 12),
        (&[8], 12, vec![(8, 12)], 12),
        (&[0, 4, 8], 12, vec![(0, 12)], 12),
        (&[0], 0, vec![], 0),
        (&[4], 0, vec![], 4),
        (&[8], 8, vec![], 8),
    ] {
        let bench = fill();
        for base in lost {
            bench.disk.remove_file(&Bench::log_path(*base)).unwrap();
        }
        let (log, report) = bench.open(facts(point, stop));
        assert_eq!(range(&report), damaged, "{lost:?} point {point}");
        assert_eq!(log.offsets().end().get(), end, "{lost:?} point {point}");
        for (from, to) in damaged {
            assert!(read_from(&log, from).unwrap_err().is_corrupt());
            assert_eq!(log.resume_above(Offset::new(from)).unwrap().get(), to);
        }
        append(&log, b"goes on", 1).unwrap();
    }
    // one in the middle, of which nothing is scanned: reading finds out
    let bench = fill();
    bench.disk.remove_file(&Bench::log_path(4)).unwrap();
    let (log, report) = bench.open(facts(12, LastStop::Clean));
    assert!(report.damage().is_empty());
    assert!(read_from(&log, 0).unwrap_err().is_corrupt());
    assert_eq!(log.resume_above(Offset::new(4)).unwrap().get(), 8);
    assert_eq!(offsets(&read_from(&log, 8).unwrap()), [8, 9, 10, 11]);
}

/// Another hand ended at 7, with a gap below; what this library wrote from there on was lost with
/// the power, but for a later segment, or the name of one.
#[test]
fn where_only_this_library_wrote_a_hole_is_no_gap_of_another_hand() {
    for later in [Vec::new(), batches(9, 10)] {
        for ours_from in [None, Some(Offset::new(7))] {
            let bench = Bench::new();
            bench.put(&Bench::log_path(0), &batches(0, VALID));
            bench.put(&Bench::log_path(5), &batches(5, 7));
            bench.put(&Bench::log_path(9), &later);
            let known = KnownFacts { adopted: true, ours_from, ..facts(7, LastStop::PowerCut) };
            let (log, report) = bench.open(known);
            let kept = ours_from.is_none();
            let row = format!("{} bytes at 9, ours from {ours_from:?}: {report:?}", later.len());
            assert_eq!(bench.exists(&Bench::log_path(9)), kept, "{row}");
            assert_eq!(report.is_notable(), !kept && !later.is_empty(), "{row}");
            let end = if kept { 9 + i64::from(!later.is_empty()) } else { 7 };
            assert_eq!(log.offsets().end().get(), end, "{row}");
            assert_eq!(append(&log, b"goes on", 20).unwrap(), end, "{row}");
            let read = offsets(&read_from(&log, 0).unwrap());
            assert_eq!(read[..5], [0, 1, 2, 5, 6], "their gap stays: {row}");
            assert_eq!(read.last(), Some(&end), "{row}");
        }
    }
}

#[test]
fn leftovers_follow_kafkas_rules() {
    let bench = Bench::new();
    let suffixed = |base, suffix: &str| {
        let mut path = Bench::log_path(base).into_os_string();
        path.push(suffix);
        PathBuf::from(path)
    };
    for base in [0, 4, 8] {
        bench.put(&Bench::log_path(base), &batches(base, base + 4));
    }
    bench.put(&suffixed(0, ".deleted"), b"x");
    bench.put(&suffixed(4, ".cleaned"), b"x");
    bench.put(&suffixed(8, ".swap"), &batches(8, 9));
    bench.put(&Bench::path(77, SegmentFile::OffsetIndex), b"orphan");
    bench.put(Path::new("/orders-0/notes.txt"), b"not ours");
    let (log, report) = bench.open(facts(0, LastStop::PowerCut));
    assert_eq!(report.removed().len(), 4, "{report:?}");
    assert_eq!(offsets(&read_from(&log, 0).unwrap()), (0..12).collect::<Vec<_>>());
    assert!(bench.exists(Path::new("/orders-0/notes.txt")));
    drop(log);
    // a swap alone is a finished rewrite: it takes the place of all it covers
    let rewritten: Vec<u8> = [batch(4, b"kept"), batch(11, b"kept")].concat();
    bench.put(&suffixed(4, ".swap"), &rewritten);
    let adopted = KnownFacts { adopted: true, ..facts(0, LastStop::PowerCut) };
    let (log, _) = bench.open(adopted);
    assert_eq!(offsets(&read_from(&log, 0).unwrap()), [0, 1, 2, 3, 4, 11]);
    assert!(!bench.exists(&Bench::log_path(8)));
}

#[test]
fn a_window_of_zeros_is_trimmed_in_silence_and_epochs_go_on() {
    let bench = Bench::new();
    let mut bytes = batches(0, 5);
    let len = bytes.len();
    bytes.resize(len + 4096, 0);
    bench.put(&Bench::log_path(0), &bytes);
    let (log, report) = bench.open(facts(0, LastStop::KilledSameBoot));
    assert!(!report.is_notable());
    assert_eq!(report.scanned_records(), 5);
    assert_eq!(bench.bytes(&Bench::log_path(0)).len(), len);
    assert_eq!(append(&log, b"x", 9).unwrap(), 5);
    let epochs: Vec<_> =
        log.epoch_entries().iter().map(|(epoch, start)| (epoch.get(), start.get())).collect();
    assert_eq!(epochs, [(0, 0), (1, 5)]);
    assert_eq!(log.offsets().durable(), Offset::ZERO, "a kill proves nothing");
    log.make_durable(Offset::new(6)).unwrap();
    assert_eq!(log.offsets().durable().get(), 6);
}

#[test]
fn after_a_power_cut_what_is_kept_is_durable_before_it_is_served() {
    let bench = Bench::new();
    bench.put(&Bench::log_path(0), &batches(0, 5));
    let (log, _) = bench.open(facts(2, LastStop::PowerCut));
    assert_eq!(log.offsets().durable().get(), 5);
    assert_eq!(log.offsets().snapshot().recovery_point.get(), 2);
}

#[test]
fn old_formats_are_refused_only_where_they_are_whole() {
    // magic 1, its checksum over magic, attributes, timestamp and two null lengths
    let mut message = vec![0; 34];
    message[8..12].copy_from_slice(&22_i32.to_be_bytes());
    message[16] = 1;
    message[26..34].fill(0xff);
    let crc = zip_crc(&message[16..]);
    message[12..16].copy_from_slice(&crc.to_be_bytes());
    for (flip, refused) in [(false, true), (true, false)] {
        let bench = Bench::new();
        let mut bytes = batches(0, 2);
        message[20] ^= u8::from(flip);
        bytes.extend(&message);
        bench.put(&Bench::log_path(0), &bytes);
        match bench.try_open(facts(0, LastStop::AnotherHand)) {
            Err(error) => {
                assert!(refused, "{error}");
                assert_eq!(error.kind(), ErrorKind::Unsupported);
                assert_eq!(bench.bytes(&Bench::log_path(0)), bytes);
            }
            Ok((_, report)) => assert!(!refused && report.torn_tails().len() == 1),
        }
    }
}

/// CRC-32 by the book, one bit at a time.
fn zip_crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes
        .iter()
        .fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

/// Kafka's cleaner leaves such files between others. Once what lies behind a cut has gone, one that
/// stayed would be taken for the log's end by the next open.
#[test]
fn empty_files_of_kafkas_go_with_the_segments_behind_a_cut() {
    let bench = Bench::new();
    let whole = batches(0, 4);
    bench.put(&Bench::log_path(0), &whole[..whole.len() - 10]);
    bench.put(&Bench::log_path(6), b"");
    bench.put(&Bench::log_path(8), &batches(8, 10));
    let (log, report) = bench.open(facts(0, LastStop::AnotherHand));
    assert_eq!(log.offsets().end().get(), 3);
    let torn = &report.torn_tails()[0];
    assert_eq!(torn.saved().len(), 2, "of an empty file nothing is kept: {torn:?}");
    append(&log, b"behind the cut", 1).unwrap();
    log.close().unwrap();
    assert!(!bench.exists(&Bench::log_path(6)) && !bench.exists(&Bench::log_path(8)));
    let known = KnownFacts { adopted: true, ..facts(4, LastStop::Clean) };
    assert_eq!(bench.open(known).0.offsets().end().get(), 4);
}

/// What is spoilt is known from the batches; what cannot be read may be whole.
#[test]
fn epochs_are_taken_from_the_batches_where_their_file_is_damaged_and_only_there() {
    let bench = Bench::new();
    let path = Path::new(DIR).join("leader-epoch-checkpoint");
    bench.put(&Bench::log_path(0), &batches(0, 3));
    bench.put(&path, b"spoilt");
    let (log, _) = bench.try_open(facts(0, LastStop::PowerCut)).unwrap();
    assert_eq!(log.latest_epoch(), Some(LeaderEpoch::new(0)));
    drop(log);
    bench.disk.remove_file(&path).unwrap();
    bench.disk.create_dir_all(&path).unwrap();
    let error = bench.try_open(facts(0, LastStop::PowerCut)).unwrap_err();
    assert_eq!(error.operation(), "read leader epoch checkpoint", "{error}");
}

/// One right at the cut too: it would stand between what is appended there and the next open.
#[test]
fn an_empty_file_of_kafkas_where_a_log_is_cut_goes_with_what_is_behind() {
    let bench = Bench::new();
    let whole = batches(0, 4);
    bench.put(&Bench::log_path(0), &whole[..whole.len() - 10]);
    bench.put(&Bench::log_path(3), b"");
    bench.put(&Bench::log_path(8), &batches(8, 10));
    let (log, _) = bench.open(facts(0, LastStop::AnotherHand));
    assert_eq!(log.offsets().end().get(), 3);
    append(&log, b"behind the cut", 1).unwrap();
    log.close().unwrap();
    drop(log);
    let known = KnownFacts { adopted: true, ..facts(4, LastStop::Clean) };
    let (log, report) = bench.open(known);
    assert_eq!(log.offsets().end().get(), 4);
    assert!(!report.is_notable(), "{report:?}");
}

/// It may be older than the roll that ended the segment: what lies behind the last batch is no part
/// of it, and Kafka would drop every segment behind.
#[test]
fn a_segment_that_ends_at_the_recovery_point_is_looked_at_too() {
    let bench = Bench::new();
    let whole = batches(0, 3);
    bench.put(&Bench::log_path(0), &[&whole[..], &[0; 300]].concat());
    bench.put(&Bench::log_path(3), &batches(3, 5));
    let (log, report) = bench.open(facts(3, LastStop::KilledSameBoot));
    assert_eq!(offsets(&read_from(&log, 0).unwrap()), [0, 1, 2, 3, 4], "{report:?}");
    assert_eq!(bench.bytes(&Bench::log_path(0)).len(), whole.len());
}
