//! Swaps of a live log that come too late, fail, or are told to a keeper first.

use super::*;
use crate::error::Error;
use crate::log::keeper::{Durable, LogFact};
use crate::log::swap::{Sealed, Swapped};
use crate::record::Batch;
use crate::segment::{Origin, Rewritten};
use crate::sync::Mutex;

/// Notes what it is told, or refuses.
#[derive(Debug, Default)]
struct Told {
    facts: Mutex<Vec<LogFact>>,
    refuses: bool,
}

impl Keeper for Told {
    fn record(&self, facts: &[(LogId, LogFact)], _: Durable) -> Result<()> {
        if self.refuses {
            let error = std::io::ErrorKind::Other.into();
            return Err(Error::io("record", Path::new(DIR), error));
        }
        self.facts.lock().extend(facts.iter().map(|(_, fact)| *fact));
        Ok(())
    }
}

/// A log of three segments, two of which may be written again.
fn sealed() -> (Bench, PartitionLog, Vec<Sealed>) {
    log_of(3)
}

/// A log of so many segments, all but the last of which may be written again.
fn log_of(segments: usize) -> (Bench, PartitionLog, Vec<Sealed>) {
    log_on(Bench::new(), segments)
}

fn log_on(mut bench: Bench, segments: usize) -> (Bench, PartitionLog, Vec<Sealed>) {
    bench.config = bench.config.segment_bytes(1024).file_delete_delay(Duration::ZERO);
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    let mut end = 0;
    while log.size().1 < segments {
        end = append(&log, &[b'x'; 200], end).unwrap() + 1;
    }
    let point = log.checkpoint().unwrap();
    log.recovery_point_recorded(point);
    let sealed = log.sealed();
    assert_eq!(sealed.len(), segments - 1);
    (bench, log, sealed)
}

/// The first batch of a segment alone.
fn rewritten(bench: &Bench, log: &PartitionLog, of: &Sealed) -> Rewritten {
    let bytes = bench.bytes(&Bench::log_path(of.segment.base().get()));
    let batch = Batch::verify(&bytes).unwrap();
    let (header, size) = (*batch.header(), batch.header().size());
    let mut rewrite = log.begin_rewrite(of.segment.base()).unwrap();
    rewrite.push(&header, &bytes[..size], Origin::File).unwrap();
    rewrite.finish(Vec::new()).unwrap()
}

fn swap(log: &PartitionLog, old: &Sealed, new: &Rewritten, keeper: &dyn Keeper) -> Result<Swapped> {
    log.swap_in(std::slice::from_ref(&old.segment), new, old.end, keeper)
}

#[test]
fn a_swap_is_recorded_and_leaves_nothing_of_what_it_replaced() {
    let (bench, log, sealed) = sealed();
    let new = rewritten(&bench, &log, &sealed[0]);
    let before = log.size().0;
    let keeper = Told::default();
    let Swapped::Done { freed } = swap(&log, &sealed[0], &new, &keeper).unwrap() else {
        panic!("nothing has overtaken it");
    };
    assert_eq!(log.size().0 + freed, before);
    assert!(freed > 0);
    let mut left = 0;
    log.take_freed(|_, bytes| left = bytes);
    assert_eq!(left, freed, "a budget has them back");
    let facts = keeper.facts.lock().clone();
    assert!(facts.contains(&LogFact::Compacted(sealed[0].end)), "{facts:?}");
    assert_eq!(log.compacted_size(), new.len());
    let found = offsets(&read_from(&log, 0).unwrap());
    assert_eq!(found[..2], [0, sealed[0].end.get()]);
    let base = sealed[0].segment.base().get();
    assert_eq!(bench.bytes(&Bench::log_path(base)).len() as u64, new.len());
    let marked = [".deleted", ".cleaned", ".swap"];
    let is_left = |name: &String| marked.iter().any(|mark| name.contains(mark));
    assert!(!bench.names().iter().any(is_left), "{:?}", bench.names());
}

/// The files of the old ones may have got other names by then.
#[test]
fn a_look_at_the_segments_that_a_swap_overtakes_is_taken_again_at_the_new_ones() {
    let (bench, log, sealed) = sealed();
    let new = rewritten(&bench, &log, &sealed[0]);
    let looks = std::cell::Cell::new(0);
    let seen = log.over_segments(|segments, _| {
        if looks.replace(looks.get() + 1) == 0 {
            swap(&log, &sealed[0], &new, &Told::default())?;
        }
        Ok(segments[0].published())
    });
    assert_eq!((looks.get(), seen.unwrap()), (2, new.len()));
}

/// What was deleted meanwhile does not come back.
#[test]
fn a_swap_that_a_deletion_has_overtaken_changes_nothing() {
    let (bench, log, sealed) = sealed();
    let new = rewritten(&bench, &log, &sealed[0]);
    let keeper = Told::default();
    log.delete_records_before(sealed[0].end, &keeper).unwrap();
    log.unlink_dropped(true).1.unwrap();
    let (start, size) = (log.offsets().snapshot().start, log.size());
    keeper.facts.lock().clear();
    let swapped = swap(&log, &sealed[0], &new, &keeper).unwrap();
    assert_eq!(swapped, Swapped::Overtaken);
    assert_eq!((log.offsets().snapshot().start, log.size()), (start, size));
    assert!(keeper.facts.lock().is_empty());
    assert!(bench.names().iter().all(|name| !name.contains(".cleaned")), "{:?}", bench.names());
}

#[test]
fn a_swap_that_is_not_recorded_leaves_the_log_as_it_was() {
    let (bench, log, sealed) = sealed();
    let names = bench.names();
    let new = rewritten(&bench, &log, &sealed[0]);
    assert_ne!(bench.names(), names);
    let keeper = Told { refuses: true, ..Told::default() };
    assert!(swap(&log, &sealed[0], &new, &keeper).is_err());
    assert_eq!(bench.names(), names);
    assert_eq!(log.compacted_size(), 0);
    let found = all_of(&log, log.offsets().end().get());
    assert_eq!(offsets(&found), (0..log.offsets().end().get()).collect::<Vec<_>>());
}

/// They cannot be made again, and a power cut may have kept their renaming and not the log's.
#[test]
fn digests_of_a_finished_rewrite_stay_with_it_whichever_name_they_have() {
    for (at, is_named) in [(0, false), (0, true), (1, false), (1, true)] {
        let (bench, log, sealed) = sealed();
        let new = rewritten(&bench, &log, &sealed[at]);
        let end = log.offsets().end().get();
        log.close().unwrap();
        new.rename_to_swap().unwrap();
        let digests = Bench::path(sealed[at].segment.base().get(), SegmentFile::Digests);
        let swap = digests.with_extension("digest.swap");
        let own = bench.bytes(&swap);
        assert_ne!(own, bench.bytes(&digests), "the control");
        if is_named {
            bench.disk.rename(&swap, &digests).unwrap();
        }
        let known = KnownFacts { compacted: sealed[at].end, ..facts(end, LastStop::Clean) };
        let (log, report) = bench.open(known);
        assert_eq!(bench.bytes(&digests), own, "segment {at}, named: {is_named}");
        assert!(report.damage().is_empty(), "segment {at}, named: {is_named}: {report:?}");
        assert_eq!(all_of(&log, end).last().unwrap().0, end - 1);
    }
}

/// It is whole, so all of it is asked about; what grows beside it is not.
#[test]
fn a_swapped_segment_is_covered_and_the_active_one_grows_on() {
    let (bench, log, sealed) = log_of(2);
    let new = rewritten(&bench, &log, &sealed[0]);
    swap(&log, &sealed[0], &new, &Told::default()).unwrap();
    let (from, end) = (sealed[0].end.get(), log.offsets().end().get());
    append(&log, b"more", end).unwrap();
    assert_eq!(log.size().1, 2, "the control: it goes into the segment that was there");
    let expected: Vec<_> = (from..=end).collect();
    assert_eq!(offsets(&read_from(&log, from).unwrap()), expected);
    log.checkpoint().unwrap();
    assert_eq!(offsets(&read_from(&log, from).unwrap()), expected);
    let path = Bench::log_path(sealed[0].segment.base().get());
    let mut bytes = bench.bytes(&path);
    bytes[15] ^= 1; // of the leader epoch, which no checksum of Kafka's covers
    let file = bench.disk.open(&path, Access::Write).unwrap();
    write_all_at(&*file, &bytes, 0).unwrap();
    let error = read_from(&log, 0).unwrap_err();
    assert!(error.is_corrupt() && error.path() == Some(&*path), "{error}");
}

/// What stood or what was to stand in its place, and all of it.
#[cfg(feature = "sim")]
#[test]
fn a_swap_that_the_power_cuts_off_anywhere_leaves_the_one_or_the_other() {
    use crate::disk::{Crash, SimDisk};

    let disk = SimDisk::new(1);
    disk.create_dir_all(Path::new(DIR)).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    let (bench, log, sealed) = log_on(Bench::on(Arc::new(disk.clone())), 3);
    let end = log.offsets().end();
    log.make_durable(end).unwrap();
    let before = all_of(&log, end.get());
    let new = rewritten(&bench, &log, &sealed[0]);
    disk.record();
    swap(&log, &sealed[0], &new, &Told::default()).unwrap();
    let after = all_of(&log, end.get());
    assert!(after.len() < before.len());
    let known = KnownFacts { compacted: sealed[0].end, ..facts(end.get(), LastStop::PowerCut) };
    let mut found = [0, 0];
    for moment in disk.moments() {
        let random = (0..12).map(Crash::Random);
        for crash in [Crash::Nothing, Crash::Everything].into_iter().chain(random) {
            let config = bench.config.clone();
            let bench = Bench { config, ..Bench::on(Arc::new(moment.crash(crash))) };
            let (log, report) = bench.open(known);
            let shown = format!("before call {}, {crash:?}: {report:?}", moment.operation());
            assert!(report.damage().is_empty(), "{shown}");
            let holds = all_of(&log, end.get());
            assert!(holds == before || holds == after, "{shown}: {:?}", offsets(&holds));
            found[usize::from(holds == after)] += 1;
        }
    }
    assert!(found.iter().all(|count| *count > 0), "the control: {found:?}");
}
