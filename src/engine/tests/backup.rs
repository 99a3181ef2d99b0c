//! Backups on the simulated disk: stopped at every call, failed at every call, and what they share
//! with their store changed behind their back. The same on a real disk, under load, is in
//! `tests/backup/`.
//!
//! A check says what is wrong instead of failing at once, so that each suite can run its control:
//! a disk that forgets to sync names, or to say that a file has two, must be found out.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::time::Instant;

use super::super::*;
use super::crash::cuts;
use super::history::{History, Promise, ROOT, Step};
use super::*;
use crate::config::Durability::{Power, Process};
use crate::disk::sealed::Sealed;
use crate::disk::{
    Access, Crash, DirLock, DiskFile, Entry, Fault, ForkCheck, Metadata, Plan, SimDisk,
    read_full_at,
};
use crate::log::Sharing;
use crate::seeds::{pick, seeds};

mod broken_off;

const TARGET: &str = "/copies/one";
const UNFINISHED: &str = "/copies/one.unfinished";

/// Rolls, sealed and unsealed segments, a start above the first base, bytes that no sync covers.
const BEFORE: &[Step] = &[
    Step::Create("a", 2),
    Step::Append("a", 0, 12, Process),
    Step::DeleteRecords("a", 0, 6),
    Step::Append("a", 1, 2, Power),
    Step::Create("b", 1),
    Step::Append("b", 0, 7, Process),
    Step::Background,
    Step::Append("a", 0, 6, Process),
    Step::Append("b", 0, 1, Process),
];

/// A disk that is less than it says.
#[derive(Clone, Debug)]
struct Sly {
    disk: SimDisk,
    lie: Lie,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    /// Names of the copy are not synced.
    NoNames,
    /// Every file is said to have one name.
    OneName,
}

impl Sealed for Sly {}

impl Disk for Sly {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(path, access)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(dir)
    }

    fn metadata(&self, path: &Path) -> io::Result<Option<Metadata>> {
        let mut found = self.disk.metadata(path)?;
        if let Some(found) = found.as_mut().filter(|_| self.lie == Lie::OneName) {
            found.links = 1;
        }
        Ok(found)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        match self.lie {
            Lie::NoNames if dir.starts_with(UNFINISHED) => Ok(()),
            _ => self.disk.sync_dir(dir),
        }
    }

    fn lock(&self, lock_file: &Path) -> io::Result<Box<dyn DirLock>> {
        self.disk.lock(lock_file)
    }

    fn boot_id(&self) -> io::Result<[u8; 16]> {
        self.disk.boot_id()
    }

    fn fork_check(&self) -> ForkCheck {
        ForkCheck::never()
    }
}

/// Topic, partition, start and every record.
type Contents = Vec<(String, u32, i64, Vec<(i64, String)>)>;

fn contents(engine: &Engine) -> Contents {
    let topics = engine.topics();
    let partitions = topics.iter().flat_map(|topic| topic.partitions().to_vec());
    let of = |partition: Arc<Partition>| {
        let start = partition.offsets().unwrap().start.get();
        let (topic, id) = (partition.topic_name().to_string(), partition.id().get());
        (topic, id, start, records(&partition))
    };
    partitions.map(of).collect()
}

/// Every file of a directory tree with its bytes.
fn files(disk: &dyn Disk, dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in disk.list(dir).unwrap() {
        let path = dir.join(&entry.name);
        if entry.is_dir {
            files.extend(self::files(disk, &path));
        } else {
            let file = disk.open(&path, Access::Read).unwrap();
            let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
            read_full_at(&*file, &mut bytes, 0).unwrap();
            files.push((path, bytes));
        }
    }
    files.sort();
    files
}

/// What is wrong with what a backup has left at its target and beside it. Says whether it is there.
fn check_target(disk: &Arc<dyn Disk>, expected: &Contents) -> Result<bool, String> {
    let is_there = |path: &str| disk.metadata(Path::new(path)).unwrap().is_some();
    let whole = |path: &str, may_be_new: bool| {
        let engine = match Engine::open(options(disk.clone()), Path::new(path)) {
            Ok(engine) => engine,
            Err(error) if error.kind() == ErrorKind::NotAStore && may_be_new => return Ok(()),
            Err(error) => return Err(format!("{path}: {error}")),
        };
        let report = engine.open_report();
        if report.was_new() && may_be_new {
            return Ok(());
        }
        let clean = report.was_closed_cleanly() && report.failed_partitions().is_empty();
        let found = contents(&engine);
        match clean && found == *expected {
            true => Ok(()),
            false => Err(format!("{path}: {report:?}, {found:?}, not {expected:?}")),
        }
    };
    if is_there(UNFINISHED) {
        whole(UNFINISHED, true)?;
    }
    let is_made = is_there(TARGET);
    if is_made {
        whole(TARGET, false)?;
    }
    Ok(is_made)
}

/// A store ready to be backed up, and what the copy must hold.
fn prepared(seed: u64) -> (History, Contents) {
    let mut history = History::new(super::crash::disk(seed));
    history.open().unwrap();
    for step in BEFORE {
        history.step(*step).unwrap();
    }
    let expected = contents(&history.engine().unwrap());
    (history, expected)
}

fn back_up(history: &History, sharing: Sharing) -> Result<BackupReport> {
    history.engine()?.backup(Path::new(TARGET), sharing, &Watch::default())
}

fn calls_of_a_backup(seed: u64, sharing: Sharing) -> u64 {
    let (history, _) = prepared(seed);
    let before = history.disk.operations();
    let report = back_up(&history, sharing).unwrap();
    assert_eq!(report.files_linked() > 0, sharing == Sharing::Links, "{report:?}");
    history.disk.operations() - before
}

#[test]
fn a_backup_is_what_the_store_was_and_a_store_of_its_own() {
    for sharing in [Sharing::Links, Sharing::Nothing] {
        let (mut history, expected) = prepared(0);
        let report = back_up(&history, sharing).unwrap();
        history.step(Step::Append("a", 0, 3, Process)).unwrap();
        history.step(Step::Create("c", 1)).unwrap();
        let disk: Arc<dyn Disk> = Arc::new(history.disk.clone());
        let copy = Engine::open(options(disk.clone()), Path::new(TARGET)).unwrap();
        assert!(copy.open_report().was_closed_cleanly());
        assert_eq!(copy.store_id().to_string(), report.store_id());
        assert_ne!(copy.store_id(), history.engine().unwrap().store_id());
        assert_eq!(contents(&copy), expected);
        let source = history.engine().unwrap();
        for name in ["a", "b"] {
            let (of, copied) = (source.topic(name).unwrap(), copy.topic(name).unwrap());
            assert_eq!(of.id(), copied.id());
            assert_eq!(of.config(), copied.config());
        }
        let partition = copy.topic("a").unwrap().partitions()[0].clone();
        append(&partition, "onward", Power).unwrap();
        copy.close().unwrap();
        // the same place again: it is not empty
        let error = back_up(&history, sharing).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        history.verify(Promise::Process, "the source");
    }
}

/// Stops a backup at call `cut` and checks source and target. Says whether the target was made, and
/// by what hash the disk is known that the stop left.
fn stop_at(
    seed: u64,
    cut: u64,
    stop: Option<Crash>,
    lie: Option<Lie>,
) -> Result<(bool, u64), String> {
    let sharing = if seed.is_multiple_of(3) { Sharing::Nothing } else { Sharing::Links };
    let context = format!("seed {seed}, cut {cut}, {stop:?}");
    let (mut history, expected) = prepared(seed);
    if let Some(lie) = lie {
        history.step(Step::Close).unwrap();
        let disk = Arc::new(Sly { disk: history.disk.clone(), lie });
        let engine = Engine::open(options(disk), Path::new(ROOT)).unwrap();
        history.disk.cut_after(cut);
        let _ = engine.backup(Path::new(TARGET), sharing, &Watch::default());
    } else {
        history.disk.cut_after(cut);
        let _ = back_up(&history, sharing);
    }
    history.engine = None;
    history.disk = match stop {
        Some(crash) => history.disk.crash(crash),
        None => history.disk.kill(),
    };
    let image = history.disk.image_hash();
    let disk: Arc<dyn Disk> = Arc::new(history.disk.clone());
    let is_made = check_target(&disk, &expected).map_err(|what| format!("{context}: {what}"))?;
    if lie.is_some() {
        return Ok((is_made, image));
    }
    history.open().unwrap_or_else(|error| panic!("{context}: reopen: {error}"));
    let promise = if stop.is_some() { Promise::Power } else { Promise::Process };
    history.verify(promise, &context);
    let again =
        history.engine().unwrap().backup(Path::new("/copies/two"), sharing, &Watch::default());
    again.unwrap_or_else(|error| panic!("{context}: the next backup: {error}"));
    Ok((is_made, image))
}

/// The line that a script reads.
fn tell(suite: &str, states: u64, images: &HashSet<u64>, failures: usize, from: Instant) {
    let (distinct, seconds) = (images.len(), from.elapsed().as_secs());
    println!(
        "suite {suite}: {states} states, {distinct} distinct, {failures} failures, {seconds} s"
    );
}

#[test]
fn a_backup_stopped_at_any_call_is_absent_or_whole() {
    let began = Instant::now();
    let (mut states, mut made, mut failures) = (0, 0, Vec::new());
    let mut images = HashSet::new();
    let most = pick(12, 120, 100_000);
    for seed in seeds(2, 2, 60) {
        let sharing = if seed.is_multiple_of(3) { Sharing::Nothing } else { Sharing::Links };
        let total = calls_of_a_backup(seed, sharing);
        for cut in cuts(total + 1, most).chain([total + 1]) {
            let random = Crash::Random(seed ^ (cut << 8));
            for stop in [None, Some(Crash::Nothing), Some(Crash::Everything), Some(random)] {
                states += 1;
                match stop_at(seed, cut, stop, None) {
                    Ok((is_made, image)) => {
                        made += u64::from(is_made);
                        images.insert(image);
                    }
                    Err(what) => failures.push(what),
                }
            }
        }
    }
    tell("backup-crashes", states, &images, failures.len(), began);
    assert!(failures.is_empty(), "{}", failures[0]);
    assert!(made > 0, "some are whole");
    // the control: without its syncs of names a finished backup does not survive
    let lost = (0..8).any(|choice| {
        let stop = Some(if choice == 0 { Crash::Nothing } else { Crash::Random(choice) });
        stop_at(1, 1_000_000, stop, Some(Lie::NoNames)).is_err()
    });
    assert!(lost, "the control must fail");
}

#[test]
fn a_backup_that_fails_at_any_call_harms_nothing() {
    let began = Instant::now();
    let (mut states, mut failed) = (0, 0);
    let mut images = HashSet::new();
    for sharing in [Sharing::Links, Sharing::Nothing] {
        let total = calls_of_a_backup(2, sharing);
        for fault in [Fault::Error(5), Fault::Error(28), Fault::DoneError(5)] {
            for nth in cuts(total, pick(12, 120, 100_000)) {
                let context = format!("{sharing:?}, {fault:?} at call {nth}");
                let (mut history, expected) = prepared(2);
                history.disk.fail(Plan::new(fault).nth(nth));
                let done = back_up(&history, sharing);
                history.disk.heal();
                states += 1;
                failed += u64::from(done.is_err());
                let left = |path: &str| history.disk.metadata(Path::new(path)).unwrap().is_some();
                let named = left(TARGET);
                assert!(done.is_err() || named, "{context}: Ok, and nothing is there");
                if let Err(error) = &done {
                    assert!(!error.to_string().is_empty(), "{context}");
                    // what could not be taken away, the next backup does
                    let again = history.engine().unwrap().backup(
                        Path::new(TARGET),
                        sharing,
                        &Watch::default(),
                    );
                    assert!(again.is_ok() || named, "{context}: again: {again:?}");
                }
                history.engine = None;
                history.disk = history.disk.crash(Crash::Nothing);
                images.insert(history.disk.image_hash());
                let disk: Arc<dyn Disk> = Arc::new(history.disk.clone());
                check_target(&disk, &expected).unwrap_or_else(|what| panic!("{context}: {what}"));
                history.open().unwrap_or_else(|error| panic!("{context}: reopen: {error}"));
                history.verify(Promise::Power, &context);
            }
        }
    }
    tell("backup-errors", states, &images, 0, began);
    assert!(failed > 0, "the control: errors were met");
}

/// Ends the segments of `a-0`, backs up by links, and takes away the name of the last segment: the
/// sealed one before it, which the backup shares, becomes the last. Appends go on there. Says
/// whether the backup stayed as it was.
fn backup_survives_a_lost_successor(disk: Arc<dyn Disk>) -> bool {
    let engine = Engine::open(options(disk.clone()), Path::new(ROOT)).unwrap();
    let topic = create(&engine, "a", TopicConfig::new().segment_bytes(1024));
    let partition = topic.partitions()[0].clone();
    append(&partition, &"x".repeat(300), Power).unwrap();
    let now = Timestamp::from_millis(1_700_000_000_000);
    partition.log().unwrap().roll_active(now).unwrap();
    engine.flush().unwrap();
    partition.log().unwrap().checkpoint().unwrap();
    let report = engine.backup(Path::new(TARGET), Sharing::Links, &Watch::default()).unwrap();
    assert_eq!(report.files_linked(), 1, "{report:?}");
    let before = files(&*disk, Path::new(TARGET));
    engine.close().unwrap();
    drop((partition, topic, engine));

    for entry in disk.list(&Path::new(ROOT).join("a-0")).unwrap() {
        if entry.name.starts_with("00000000000000000001.") {
            disk.remove_file(&Path::new(ROOT).join("a-0").join(entry.name)).unwrap();
        }
    }
    let engine = Engine::open(options(disk.clone()), Path::new(ROOT)).unwrap();
    let partition = engine.topic("a").unwrap().partitions()[0].clone();
    assert_eq!(append(&partition, "grown", Power).unwrap().get(), 1);
    assert_eq!(values(&partition).len(), 2);
    assert_eq!(partition.log().unwrap().size().1, 1, "it goes on in the shared segment");
    engine.close().unwrap();
    files(&*disk, Path::new(TARGET)) == before
}

#[test]
fn a_shared_segment_that_becomes_the_last_is_copied_before_it_grows() {
    for mode in [IoMode::Mapped, IoMode::Positioned] {
        let disk = SimDisk::new(1);
        disk.set_mode(mode);
        assert!(backup_survives_a_lost_successor(Arc::new(disk)));
        let disk = SimDisk::new(1);
        disk.set_mode(mode);
        let sly = Sly { disk, lie: Lie::OneName };
        assert!(!backup_survives_a_lost_successor(Arc::new(sly)), "the control must fail");
    }
}

#[test]
fn a_shared_segment_is_copied_whatever_call_the_copying_stops_at() {
    let began = Instant::now();
    let (mut states, mut images) = (0, HashSet::new());
    for cut in 1..pick(60, 300, 300) {
        for stop in [Crash::Nothing, Crash::Everything, Crash::Random(cut)] {
            let disk = SimDisk::new(cut);
            let engine = Engine::open(options(Arc::new(disk.clone())), Path::new(ROOT)).unwrap();
            let topic = create(&engine, "a", TopicConfig::new());
            append(&topic.partitions()[0], "kept", Power).unwrap();
            engine.close().unwrap();
            let file = "a-0/00000000000000000000.log";
            disk.link(&Path::new(ROOT).join(file), Path::new("/other")).unwrap();
            disk.sync_dir(Path::new("/")).unwrap();
            disk.cut_after(cut);
            let opened = Engine::open(options(Arc::new(disk.clone())), Path::new(ROOT));
            let added = opened.and_then(|engine| {
                append(&engine.topic("a")?.partitions()[0].clone(), "added", Power)
            });
            let promised = added.is_ok() && !disk.is_cut();
            let disk = disk.crash(stop);
            images.insert(disk.image_hash());
            let disk: Arc<dyn Disk> = Arc::new(disk);
            let engine = Engine::open(options(disk.clone()), Path::new(ROOT)).unwrap();
            let found = values(&engine.topic("a").unwrap().partitions()[0]);
            assert!(found[0] == "kept" && (found.len() == 2 || !promised), "{cut}: {found:?}");
            engine.close().unwrap();
            let names = disk.list(&Path::new(ROOT).join("a-0")).unwrap();
            assert!(names.iter().all(|entry| !entry.name.ends_with(".tmp")), "{names:?}");
            let other = disk.open(Path::new("/other"), Access::Read).unwrap();
            let mut bytes = vec![0; 1 << 12];
            let len = read_full_at(&*other, &mut bytes, 0).unwrap();
            assert!(!bytes[..len].windows(5).any(|part| part == b"added"), "cut {cut}");
            states += 1;
        }
    }
    tell("backup-unshare", states, &images, 0, began);
}

#[test]
fn what_is_in_the_way_of_a_backup_is_left_alone() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let engine = Engine::open(options(disk.clone()), Path::new(ROOT)).unwrap();
    disk.create_dir_all(Path::new(UNFINISHED)).unwrap();
    let holiday = Path::new(UNFINISHED).join("holiday.jpg");
    disk.open(&holiday, Access::Create).unwrap();
    let refuses = |target: &str| {
        let error =
            engine.backup(Path::new(target), Sharing::Links, &Watch::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{target}: {error}");
    };
    refuses(TARGET);
    assert!(disk.metadata(&holiday).unwrap().is_some());
    assert!(disk.metadata(&Path::new(UNFINISHED).join(".lock")).unwrap().is_none());
    for inside in [ROOT, "/store/copy", "/", "/copies"] {
        refuses(inside);
    }
    disk.remove_file(&holiday).unwrap();
    let held = disk.lock(&Path::new(UNFINISHED).join(".lock")).unwrap();
    let error = engine.backup(Path::new(TARGET), Sharing::Links, &Watch::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    drop(held);
    disk.create_dir_all(Path::new(TARGET)).unwrap(); // empty: it may be there
    engine.backup(Path::new(TARGET), Sharing::Links, &Watch::default()).unwrap();
    engine.close().unwrap();
    let error =
        engine.backup(Path::new("/copies/late"), Sharing::Links, &Watch::default()).unwrap_err();
    assert!(error.is_closed());
}
