//! Verification and repair of a store that is damaged in every way a repair knows, and of one
//! whose repair is cut short at every call to the disk.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidelog::disk::{Access, Disk, MemoryDisk};
use tidelog::{
    Durability, ErrorKind, FindingKind, Journal, ManualClock, Offset, Record, Repair, RepairStep,
    Store, Threads, Timestamp, TopicConfig, Verifier,
};

const ROOT: &str = "/store";
const END: i64 = 40;

fn open(disk: &Arc<dyn Disk>) -> Store {
    // every record of one time: which of them a time index names does not depend on the machine
    let clock = ManualClock::new(Timestamp::from_millis(1_700_000_000_000));
    Store::builder(ROOT).disk(disk.clone()).threads(Threads::Host).clock(clock).open().unwrap()
}

fn value(offset: i64) -> String {
    format!("the value of offset {offset}")
}

/// A closed store: two partitions, of several segments each, forty batches of one record.
fn make(disk: &Arc<dyn Disk>) {
    let store = open(disk);
    let config = TopicConfig::new().partitions(2).segment_bytes(1024).index_interval_bytes(200);
    store.create_topic("orders", config).unwrap();
    let orders = store.producer().build().unwrap().topic("orders").unwrap();
    for offset in 0..END {
        for partition in 0..2 {
            orders.send_to(partition, Record::new(&value(offset))).unwrap();
        }
    }
    store.close().unwrap();
}

fn bytes(disk: &dyn Disk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, Access::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    let mut done = 0;
    while done < bytes.len() {
        done += file.read_at(&mut bytes[done..], done as u64).unwrap();
    }
    bytes
}

fn change(disk: &dyn Disk, path: &Path, at: usize) {
    let byte = bytes(disk, path)[at];
    let file = disk.open(path, Access::Write).unwrap();
    assert_eq!(file.write_at(&[byte ^ 0x10], at as u64).unwrap(), 1);
    file.sync_data().unwrap();
}

fn logs(disk: &dyn Disk, partition: u32) -> Vec<PathBuf> {
    let dir = Path::new(ROOT).join(format!("orders-{partition}"));
    let entries = disk.list(&dir).unwrap();
    let mut logs: Vec<_> = entries
        .into_iter()
        .filter(|entry| entry.name.ends_with(".log"))
        .map(|entry| dir.join(entry.name))
        .collect();
    logs.sort();
    logs
}

/// Where the second batch of a segment begins.
fn second(disk: &dyn Disk, log: &Path) -> usize {
    let bytes = bytes(disk, log);
    u32::from_be_bytes(bytes[8..12].try_into().unwrap()) as usize + 12
}

/// Damages the first partition; returns the offsets that are gone.
fn damage(disk: &dyn Disk) -> Vec<i64> {
    let logs = logs(disk, 0);
    assert!(logs.len() > 3, "{logs:?}");
    let base = |log: &Path| log.file_stem().unwrap().to_str().unwrap().parse::<i64>().unwrap();
    change(disk, &logs[0], second(disk, &logs[0]) + 64); // a body
    change(disk, &logs[1], second(disk, &logs[1]) + 7); // a base offset
    change(disk, &logs[2].with_extension("index"), 3);
    change(disk, &logs[2].with_extension("digest"), 2);
    change(disk, &logs[0].with_file_name("leader-epoch-checkpoint"), 0);
    vec![base(&logs[0]) + 1, base(&logs[1]) + 1]
}

fn kinds(verifier: &Verifier) -> BTreeMap<String, usize> {
    let report = verifier.run().unwrap();
    let mut kinds = BTreeMap::new();
    for finding in report.findings() {
        *kinds.entry(format!("{:?}", finding.kind())).or_default() += 1;
    }
    kinds
}

fn read(store: &Store, partition: u32) -> (Vec<i64>, Vec<i64>) {
    let mut reader = store.reader().assign([("orders", partition)]).build().unwrap();
    let (mut found, mut lost) = (Vec::new(), Vec::new());
    loop {
        match reader.try_poll() {
            Ok(records) if records.is_empty() => return (found, lost),
            Ok(records) => records.iter().for_each(|record| {
                let offset = record.offset().get();
                assert_eq!(record.value(), Some(value(offset).as_bytes()));
                found.push(offset);
            }),
            Err(error) => {
                assert!(error.is_corrupt(), "{error}");
                let gone = reader.skip_damaged("orders", partition).unwrap();
                lost.extend(gone.start.get()..gone.end.get());
            }
        }
    }
}

/// The store opens, lacks what is gone and nothing else, and takes more.
fn check(disk: &Arc<dyn Disk>, gone: &[i64], context: &str) {
    let again = Repair::begin_with(Verifier::new(ROOT).disk(disk.clone())).unwrap();
    assert!(again.plan().steps().is_empty(), "{context}: {}", again.plan());
    let report = again.report().clone();
    drop(again);
    let lost: Vec<_> = report
        .findings()
        .iter()
        .map(|finding| (finding.kind(), finding.offsets().map(|lost| lost.start.get())))
        .collect();
    let gaps: Vec<_> = gone.iter().map(|offset| (FindingKind::Gap, Some(*offset))).collect();
    assert_eq!(lost, gaps, "{context}: {report}");
    let store = open(disk);
    assert!(store.open_report().failed_partitions().is_empty(), "{context}");
    for partition in 0..2 {
        let gone = if partition == 0 { gone } else { &[] };
        let expected: Vec<_> = (0..END).filter(|offset| !gone.contains(offset)).collect();
        assert_eq!(read(&store, partition), (expected, gone.to_vec()), "{context}");
    }
    let orders = store.producer().build().unwrap().topic("orders").unwrap();
    assert_eq!(orders.send_to(0, Record::new("more")).unwrap().offset(), Offset::new(END));
    store.close().unwrap();
}

#[test]
fn what_is_wrong_is_found_in_its_place_and_mended() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    make(&disk);
    let verifier = Verifier::new(ROOT).disk(disk.clone());
    let report = verifier.run().unwrap();
    assert!(report.is_clean() && report.unvouched().is_empty(), "{report}");
    assert_eq!((report.records(), report.batches()), (80, 80));
    let gone = damage(&*disk);
    let found = kinds(&verifier);
    let expected = [("Batch", 1), ("Digest", 1), ("Epochs", 1), ("Index", 1), ("Sidecar", 1)];
    assert_eq!(found, expected.map(|(kind, count)| (kind.to_owned(), count)).into());
    let report = verifier.run().unwrap();
    for finding in report.findings().iter().filter(|finding| finding.kind().loses_records()) {
        assert!(finding.bytes() > 0 && finding.position() > 0, "{finding}");
        let lost = finding.offsets().unwrap();
        assert!(gone.contains(&lost.start.get()) && lost.end == lost.start.next(), "{finding}");
    }
    let repair = Repair::begin_with(Verifier::new(ROOT).disk(disk.clone())).unwrap();
    assert_eq!(repair.plan().lost().count(), 2, "{}", repair.plan());
    let cuts = |step: &&RepairStep| matches!(step, RepairStep::CutOut { .. });
    assert_eq!(repair.plan().steps().iter().filter(cuts).count(), 2);
    let kept = repair.run().unwrap().kept().to_vec();
    assert!(kept.iter().all(|path| disk.metadata(path).unwrap().is_some()), "{kept:?}");
    check(&disk, &gone, "repaired");
}

/// The next batch lies where the one was that was cut out.
#[test]
fn what_a_repair_keeps_takes_the_place_of_nothing_that_was_kept_before() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    make(&disk);
    let log = logs(&*disk, 0).remove(0);
    let mut kept = Vec::new();
    for _ in 0..2 {
        change(&*disk, &log, second(&*disk, &log) + 64);
        let damaged = bytes(&*disk, &log);
        let repair = Repair::begin_with(Verifier::new(ROOT).disk(disk.clone())).unwrap();
        let path = repair.run().unwrap().kept()[0].clone();
        assert_eq!(bytes(&*disk, &path), damaged);
        kept.push((path, damaged));
    }
    for (path, damaged) in kept {
        assert!(bytes(&*disk, &path) == damaged, "{} is another", path.display());
    }
}

/// What another program wrote may have gaps, but not where all of it should be.
#[test]
fn a_partition_without_any_file_is_missed_whoever_wrote_to_it() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    make(&disk);
    disk.remove_file(&Path::new(ROOT).join(".kafka_cleanshutdown")).unwrap(); // another's opening
    open(&disk).close().unwrap();
    let verifier = Verifier::new(ROOT).disk(disk.clone());
    assert!(verifier.run().unwrap().is_clean(), "the control");
    for log in logs(&*disk, 0) {
        disk.remove_file(&log).unwrap();
    }
    let report = verifier.run().unwrap();
    let found = report.findings().iter().find(|finding| finding.kind() == FindingKind::Gap);
    let lost = found.unwrap_or_else(|| panic!("nothing is missed: {report}")).offsets().unwrap();
    assert_eq!((lost.start, lost.end), (Offset::ZERO, Offset::new(END)));
}

#[test]
fn a_verification_can_be_broken_off_and_changes_nothing() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    make(&disk);
    damage(&*disk);
    let before: Vec<_> = logs(&*disk, 0).iter().map(|path| bytes(&*disk, path)).collect();
    let broken = Verifier::new(ROOT).disk(disk.clone()).on_progress(|progress| {
        assert!(progress.bytes_done() <= progress.bytes_total());
        ControlFlow::Break(())
    });
    assert!(!broken.run().unwrap().is_complete());
    assert!(Repair::begin_with(broken).is_err(), "half a report is no ground for a repair");
    Verifier::new(ROOT).disk(disk.clone()).threads(1).run().unwrap();
    let after: Vec<_> = logs(&*disk, 0).iter().map(|path| bytes(&*disk, path)).collect();
    assert_eq!(before, after);
}

#[test]
fn an_open_store_is_verified_and_not_repaired() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    make(&disk);
    let store = open(&disk);
    let orders = store.producer().build().unwrap().topic("orders").unwrap();
    orders.send_to(0, Record::new("not synced yet")).unwrap();
    let report = store.verifier().run().unwrap();
    assert!(report.is_clean(), "{report}");
    let error = Repair::begin_with(Verifier::new(ROOT).disk(disk.clone())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    change(&*disk, &logs(&*disk, 1)[0], 70);
    assert!(store.verifier().run().unwrap().has_lost_records());
    store.close().unwrap();
}

#[test]
fn what_digests_do_not_vouch_for_is_said() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    make(&disk);
    let log = logs(&*disk, 0)[1].clone();
    disk.remove_file(&log.with_extension("digest")).unwrap();
    let report = Verifier::new(ROOT).disk(disk.clone()).run().unwrap();
    assert!(report.is_clean(), "{report}");
    let [hole] = report.unvouched() else { panic!("{report}") };
    let len = bytes(&*disk, &log).len() as u64;
    assert_eq!((hole.path(), hole.bytes(), hole.is_digested_since()), (&*log, 0..len, false));
    Repair::begin_with(Verifier::new(ROOT).disk(disk.clone())).unwrap().run().unwrap();
    let report = Verifier::new(ROOT).disk(disk.clone()).run().unwrap();
    let [hole] = report.unvouched() else { panic!("{report}") };
    assert!(hole.is_digested_since() && report.is_clean());
}

/// Those of the segment that grows, all at once; its indexes are there.
#[test]
fn digests_that_were_lost_are_taken_again_by_an_open() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    make(&disk);
    let log = logs(&*disk, 0).pop().unwrap();
    let len = bytes(&*disk, &log).len() as u64;
    assert!(bytes(&*disk, &log.with_extension("index")).len() >= 16, "more than one entry");
    disk.remove_file(&log.with_extension("digest")).unwrap();
    open(&disk).close().unwrap();
    let report = Verifier::new(ROOT).disk(disk.clone()).run().unwrap();
    let [hole] = report.unvouched() else { panic!("{report}") };
    assert_eq!((hole.path(), hole.bytes(), hole.is_digested_since()), (&*log, 0..len, true));
}

#[test]
fn a_torn_end_of_the_state_log_is_said_and_left_to_the_next_open() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    make(&disk);
    let path = Path::new(ROOT).join("tidelog.state");
    let len = bytes(&*disk, &path).len() as u64;
    let file = disk.open(&path, Access::Write).unwrap();
    assert_eq!(file.write_at(&[7; 20], len).unwrap(), 20);
    drop(file);
    let report = Verifier::new(ROOT).disk(disk.clone()).run().unwrap();
    let [torn] = report.findings() else { panic!("{report}") };
    assert_eq!((torn.kind(), torn.path()), (FindingKind::TornTail, &*path));
    assert_eq!((torn.position(), torn.bytes()), (len, 20));
    assert!(!report.has_lost_records());
    let beside = Verifier::new(ROOT).disk(disk.clone()).beside_writer().run().unwrap();
    assert!(beside.is_clean(), "it may be about to be whole: {beside}");
    let repair = Repair::begin_with(Verifier::new(ROOT).disk(disk.clone())).unwrap();
    assert!(repair.plan().steps().is_empty(), "{}", repair.plan());
    assert_eq!(repair.plan().left(), report.findings());
    drop(repair);
    open(&disk).close().unwrap();
    let report = Verifier::new(ROOT).disk(disk).run().unwrap();
    assert!(report.is_clean(), "{report}");
}

/// Frames name the places of what they hold: a repair that moves those would orphan them.
#[test]
fn a_repair_does_not_pass_over_a_journal_that_is_not_replayed() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    make(&disk);
    let builder = || Store::builder(ROOT).disk(disk.clone()).threads(Threads::Host);
    let store = builder().journal(Journal::Bytes(1 << 20)).open().unwrap();
    let producer = store.producer().durability(Durability::Power).build().unwrap();
    let orders = producer.topic("orders").unwrap();
    for offset in END..END + 6 {
        orders.send_to(0, Record::new(&value(offset))).unwrap();
        let _due = store.run_maintenance();
    }
    let copy: Arc<dyn Disk> = Arc::new(copy_of(&*disk)); // as a kill leaves it
    store.close().unwrap();
    damage(&*copy);
    let verifier = || Verifier::new(ROOT).disk(copy.clone());
    let found = kinds(&verifier());
    let error = Repair::begin_with(verifier()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(error.to_string().contains("journal"), "{error}");
    assert_eq!(kinds(&verifier()), found, "nothing was touched");
    open(&copy).close().unwrap();
    Repair::begin_with(verifier()).unwrap().run().unwrap();
    let store = open(&copy);
    let (found, lost) = read(&store, 0);
    assert_eq!(found.len() + lost.len(), END as usize + 6, "{lost:?}");
    assert!(lost.iter().all(|offset| *offset < END), "{lost:?}");
    // a journal of which something durable is gone is said to be damaged
    let path = Path::new(ROOT).join("tidelog.journal");
    drop(store);
    let whole = copy_of(&*disk);
    if whole.metadata(&path).unwrap().is_some() {
        change(&whole, &path, 3);
        let report = Verifier::new(ROOT).disk(Arc::new(whole)).run().unwrap();
        assert!(report.is_clean(), "a closed store's journal counts for nothing: {report}");
    }
}

/// What earlier opens could not replay holds a repair up as well, until it is moved away.
#[test]
fn a_repair_names_what_was_put_aside_of_a_journal_and_the_way_out() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    make(&disk);
    let store = open(&disk);
    let id = *store.describe("orders").unwrap().id().as_bytes();
    store.close().unwrap();
    let name = format!("tidelog.journal-{:032x}-1", u128::from_be_bytes(id));
    let aside = Path::new(ROOT).join(name);
    drop(disk.open(&aside, Access::Create).unwrap());
    let begin = || Repair::begin_with(Verifier::new(ROOT).disk(disk.clone()));
    let error = begin().unwrap_err();
    assert_eq!((error.kind(), error.path()), (ErrorKind::InvalidArgument, Some(&*aside)));
    for word in ["orders-1", "open report", "elsewhere"] {
        assert!(error.to_string().contains(word), "{error}");
    }
    disk.rename(&aside, Path::new("/elsewhere")).unwrap();
    begin().unwrap().run().unwrap();
}

/// Another disk with the same files.
fn copy_of(disk: &dyn Disk) -> MemoryDisk {
    fn copy(from: &dyn Disk, to: &MemoryDisk, dir: &Path) {
        to.create_dir_all(dir).unwrap();
        for entry in from.list(dir).unwrap() {
            let path = dir.join(&entry.name);
            if entry.is_dir {
                copy(from, to, &path);
                continue;
            }
            let file = to.open(&path, Access::Create).unwrap();
            let bytes = bytes(from, &path);
            let mut done = 0;
            while done < bytes.len() {
                done += file.write_at(&bytes[done..], done as u64).unwrap();
            }
        }
    }
    let to = MemoryDisk::new();
    copy(disk, &to, Path::new(ROOT));
    to
}

#[cfg(target_os = "linux")]
#[test]
fn a_directory_that_cannot_be_written_to_is_verified_and_not_repaired() {
    use crate::common::child::{self, Wrapper};
    const TEST: &str = "repair::a_directory_that_cannot_be_written_to_is_verified_and_not_repaired";
    if let Some((_, root)) = child::part() {
        let report = Verifier::new(&root).run().unwrap();
        assert_eq!(report.findings().len(), 1, "{report}");
        let error = Repair::begin(&root).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(error.path().is_some(), "{error}");
        return child::done();
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let store = Store::open(&root).unwrap();
    store.create_topic("orders", TopicConfig::new()).unwrap();
    let orders = store.producer().build().unwrap().topic("orders").unwrap();
    orders.send(Record::new("hello")).unwrap();
    store.close().unwrap();
    std::fs::write(root.join("orders-0/leader-epoch-checkpoint"), "rubbish").unwrap();
    let script = "mount --bind \"$D\" \"$D\" && mount -o remount,bind,ro \"$D\"";
    child::run(TEST, "read-only", &root, &Wrapper::mounts(script, &root));
    assert_eq!(Repair::begin(&root).unwrap().run().unwrap().steps(), 1, "where it can be written");
}

#[cfg(feature = "sim")]
mod crash {
    use super::*;
    use crate::common::budget::Budget;
    use tidelog::disk::{Crash, SimDisk};

    /// A damaged store, the offsets that are gone, and the two logs that are to be kept.
    fn damaged(seed: u64) -> (SimDisk, Vec<i64>, [Vec<u8>; 2]) {
        let disk = SimDisk::new(seed);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        make(&shared);
        let gone = damage(&disk);
        drop(shared);
        let disk = disk.kill();
        let logs = logs(&disk, 0);
        let damaged = [bytes(&disk, &logs[0]), bytes(&disk, &logs[1])];
        (disk, gone, damaged)
    }

    /// The bytes of all that was kept of the first partition.
    fn kept(disk: &SimDisk) -> Vec<Vec<u8>> {
        let dir = Path::new(ROOT).join("orders-0");
        let entries = disk.list(&dir).unwrap().into_iter();
        let kept = entries.filter(|entry| entry.name.ends_with(".cut"));
        kept.map(|entry| bytes(disk, &dir.join(entry.name))).collect()
    }

    fn repair(disk: &SimDisk) -> tidelog::Result<()> {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        Repair::begin_with(Verifier::new(ROOT).disk(disk).threads(1))?.run().map(drop)
    }

    #[test]
    fn a_repair_cut_short_at_any_call_is_finished_by_the_next() {
        let began = std::time::Instant::now();
        let (disk, ..) = damaged(0);
        let before = disk.operations();
        repair(&disk).unwrap();
        let total = disk.operations() - before;
        let mut states = 0;
        let stride = Budget::get().pick(5, 1, 1) as usize;
        for cut in (1..=total).step_by(stride) {
            for crash in [Crash::Nothing, Crash::Everything, Crash::Random(cut)] {
                let context = format!("cut {cut} of {total}, {crash:?}");
                let (disk, gone, damaged) = damaged(cut);
                disk.cut_after(cut);
                let _ = repair(&disk); // cut short
                let disk = disk.crash(crash);
                repair(&disk).unwrap_or_else(|error| panic!("{context}: {error}"));
                let kept = kept(&disk);
                let lacks = damaged.iter().position(|log| !kept.contains(log));
                assert_eq!(lacks, None, "{context}: a log that was damaged is not kept");
                let disk: Arc<dyn Disk> = Arc::new(disk);
                check(&disk, &gone, &context);
                states += 1;
            }
        }
        let seconds = began.elapsed().as_secs_f64();
        println!(
            "suite repair_crashes: {states} states, {states} distinct, 0 failures, {seconds:.1} s"
        );
    }
}
