//! The state log over a disk that fails, forgets and is read again.

use proptest::prelude::*;

use super::super::fact::tests::{any_fact, topic_id};
use super::super::fault_disk::{Call, FaultDisk};
use super::*;
use crate::error::ErrorKind;
use crate::ids::{LeaderEpoch, PartitionId};

const ROOT: &str = "/store";
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

fn id() -> StoreId {
    StoreId::from_bytes([3; 16])
}

fn state_path() -> PathBuf {
    Path::new(ROOT).join(names::STATE_LOG)
}

fn made() -> FaultDisk {
    let disk = FaultDisk::new();
    disk.create_dir_all(Path::new(ROOT)).unwrap();
    create(&disk, Path::new(ROOT), id()).unwrap();
    disk
}

fn open(disk: &FaultDisk) -> Result<(RootLog, RootState, RootReport)> {
    let opened = RootLog::open(Arc::new(disk.clone()), Path::new(ROOT), id());
    opened.map(|(log, state, report)| (log, RootState::clone(&state), report))
}

fn epoch(number: i32) -> Fact {
    Fact::HighestEpoch { epoch: LeaderEpoch::new(number) }
}

fn highest(state: &RootState) -> Option<i32> {
    state.highest_epoch().map(LeaderEpoch::get)
}

/// What the file says, without opening it for writing.
fn load(disk: &dyn Disk, root: &Path, id: StoreId) -> Result<(RootState, RootReport)> {
    let scan = read(disk, root, Some(id))?;
    Ok((RootState::fold(&scan.facts), report_of(&scan)))
}

#[test]
fn facts_are_found_again() {
    let disk = made();
    let (log, state, report) = open(&disk).unwrap();
    assert_eq!(state, RootState::default());
    assert_eq!(report, RootReport { generation: 1, facts: 0, torn: None });
    log.record(&[epoch(1), epoch(4)], Durable::Now).unwrap();
    log.record(&[epoch(2)], Durable::Later).unwrap();
    drop(log);
    let (log, state, report) = open(&disk).unwrap();
    assert_eq!((highest(&state), report.facts, report.generation), (Some(4), 4, 2));
    log.with_state(|held| assert_eq!(*held, state));
    let (loaded, _) = load(&disk, Path::new(ROOT), id()).unwrap();
    assert_eq!(loaded, state);
}

#[test]
fn later_facts_wait_for_a_sync() {
    let disk = made();
    let (log, ..) = open(&disk).unwrap();
    log.record(&[epoch(1)], Durable::Now).unwrap();
    log.record(&[epoch(2)], Durable::Later).unwrap();
    disk.power_cut();
    assert_eq!(highest(&load(&disk, Path::new(ROOT), id()).unwrap().0), Some(1));

    let (log, ..) = open(&disk).unwrap();
    log.record(&[epoch(3)], Durable::Later).unwrap();
    log.sync().unwrap();
    disk.power_cut();
    assert_eq!(highest(&load(&disk, Path::new(ROOT), id()).unwrap().0), Some(3));
}

#[test]
fn a_full_disk_takes_nothing_and_the_log_goes_on() {
    let disk = made();
    let (log, ..) = open(&disk).unwrap();
    log.record(&[epoch(1)], Durable::Now).unwrap();
    let before = disk.read(&state_path());
    disk.fail(Call::Write, 0, ENOSPC);
    let error = log.record(&[epoch(2)], Durable::Now).unwrap_err();
    assert!(error.is_full() && error.is_retriable(), "{error}");
    assert_eq!(error.path(), Some(state_path().as_path()));
    assert_eq!(disk.read(&state_path()), before);
    log.with_state(|state| assert_eq!(highest(state), Some(1)));
    log.record(&[epoch(3)], Durable::Now).unwrap();
    assert_eq!(highest(&open(&disk).unwrap().1), Some(3));
}

#[test]
fn other_failures_are_final() {
    for (call, errno) in [(Call::Write, EIO), (Call::Sync, EIO), (Call::Sync, ENOSPC)] {
        let disk = made();
        let (log, ..) = open(&disk).unwrap();
        log.record(&[epoch(1)], Durable::Now).unwrap();
        disk.fail(call, 0, errno);
        let error = log.record(&[epoch(2)], Durable::Now).unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
        assert!(!error.is_retriable());
        let error = log.record(&[epoch(3)], Durable::Later).unwrap_err();
        assert!(error.is_poisoned(), "{error}");
        drop(log);
        let found = highest(&open(&disk).unwrap().1);
        assert!(found == Some(1) || found == Some(2), "{found:?}");
    }
}

#[test]
fn a_failed_cut_after_a_full_disk_is_final_and_leaves_a_torn_tail() {
    let disk = made();
    let (log, ..) = open(&disk).unwrap();
    log.record(&[epoch(1)], Durable::Now).unwrap();
    let end = disk.read(&state_path()).len();
    // the fault disk strikes once: the cut is made to fail by hand
    disk.fail(Call::SetLen, 0, EIO);
    let error = log.write_failed(&log.inner.lock(), std::io::Error::from_raw_os_error(ENOSPC));
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert!(log.record(&[epoch(2)], Durable::Later).unwrap_err().is_poisoned());
    let mut bytes = disk.read(&state_path());
    bytes.extend([0, 0, 0, 13, 1, 2]);
    disk.write(&state_path(), &bytes);
    let (_, state, report) = open(&disk).unwrap();
    assert_eq!(highest(&state), Some(1));
    assert_eq!(report.torn.map(|torn| (torn.position, torn.bytes)), Some((end as u64, 6)));
    assert_eq!(open(&disk).unwrap().2.torn, None, "the tail is gone after the first open");
}

#[test]
fn what_could_not_be_read_back_is_refused_before_it_is_written() {
    let disk = made();
    let (log, ..) = open(&disk).unwrap();
    let before = disk.read(&state_path());
    let bad = Fact::PartitionsAdded { id: topic_id(1), total: u32::MAX };
    let error = log.record(&[bad], Durable::Now).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let name = "n".repeat(1 << 20);
    let long = vec![Fact::TopicDeleted { id: topic_id(1), name }; 20];
    let error = log.record(&long, Durable::Now).unwrap_err();
    assert_eq!((error.kind(), error.path()), (ErrorKind::TooLarge, Some(&*state_path())));
    assert_eq!(disk.read(&state_path()), before);
    log.record(&[epoch(1)], Durable::Now).unwrap();
}

#[test]
fn missing_foreign_and_damaged_files_are_corrupt() {
    let disk = made();
    let root = Path::new(ROOT);
    let other = RootLog::open(Arc::new(disk.clone()), root, StoreId::random()).unwrap_err();
    assert!(other.is_corrupt(), "{other}");
    disk.remove_file(&state_path()).unwrap();
    let missing = open(&disk).unwrap_err();
    assert!(missing.is_corrupt(), "{missing}");
    disk.write(&state_path(), b"");
    assert!(open(&disk).unwrap_err().is_corrupt());
}

#[test]
fn damage_names_its_position_and_changes_nothing() {
    let disk = made();
    let (log, ..) = open(&disk).unwrap();
    let position = disk.read(&state_path()).len();
    for number in 0..4 {
        log.record(&[epoch(number)], Durable::Now).unwrap();
    }
    let mut bytes = disk.read(&state_path());
    bytes[position + 17] ^= 1;
    disk.write(&state_path(), &bytes);
    let error = open(&disk).unwrap_err();
    assert!(error.is_corrupt());
    assert_eq!(error.position(), Some(position as u64));
    assert_eq!(disk.read(&state_path()), bytes);
}

#[test]
fn a_creation_is_repeated_only_over_an_empty_log() {
    let disk = made();
    create(&disk, Path::new(ROOT), StoreId::from_bytes([4; 16])).unwrap();
    create(&disk, Path::new(ROOT), id()).unwrap();
    let (log, ..) = open(&disk).unwrap();
    log.record(&[epoch(1)], Durable::Now).unwrap();
    assert!(create(&disk, Path::new(ROOT), id()).unwrap_err().is_corrupt());
}

fn fill(log: &RootLog, frames: u32) {
    let partition = PartitionId::new(0);
    for offset in 0..frames {
        let fact = Fact::RecoveryPoint { id: topic_id(1), partition, offset: offset.into() };
        log.record(&vec![fact; 100], Durable::Later).unwrap();
    }
}

#[test]
fn history_is_compacted_away() {
    let disk = made();
    let (log, ..) = open(&disk).unwrap();
    log.record(&[epoch(7)], Durable::Later).unwrap();
    fill(&log, 400); // 29 bytes each: 1.2 MB
    let len = disk.read(&state_path()).len();
    assert!(len < 1 << 20, "{len} bytes");
    disk.power_cut(); // the snapshot was synced
    let (_, state, report) = open(&disk).unwrap();
    assert_eq!((highest(&state), report.generation), (Some(7), 3));
}

#[test]
fn a_failed_compaction_loses_nothing() {
    for (call, errno) in [(Call::Sync, EIO), (Call::Rename, EIO), (Call::SyncDir, EIO)] {
        let disk = made();
        let (log, ..) = open(&disk).unwrap();
        log.record(&[epoch(7)], Durable::Later).unwrap();
        disk.fail(call, 0, errno);
        let partition = PartitionId::new(0);
        let fact = Fact::RecoveryPoint { id: topic_id(1), partition, offset: 1u32.into() };
        let facts = vec![fact; 40_000]; // over 1 MiB at once
        log.record(&facts, Durable::Later).unwrap();
        assert!(disk.has_struck());
        // before the new file has its name the old one stays in force
        assert_eq!(log.latch.is_tripped(), call != Call::Sync);
        drop(log);
        assert_eq!(highest(&open(&disk).unwrap().1), Some(7));
    }
}

/// A shortage of descriptors passes: what is recorded until then is durable after the sync of the
/// name, and not said to be before.
#[test]
fn a_compaction_that_finds_no_descriptor_for_its_name_ends_nothing() {
    const EMFILE: i32 = 24;
    let disk = made();
    let (log, ..) = open(&disk).unwrap();
    log.record(&[epoch(7)], Durable::Now).unwrap();
    disk.fail(Call::SyncDir, 0, EMFILE);
    let partition = PartitionId::new(0);
    let fact = Fact::RecoveryPoint { id: topic_id(1), partition, offset: 1u32.into() };
    log.record(&vec![fact; 40_000], Durable::Now).unwrap(); // over 1 MiB at once
    assert!(disk.has_struck());
    log.record(&[epoch(8)], Durable::Later).unwrap();
    disk.fail(Call::SyncDir, 0, EMFILE);
    let error = log.record(&[epoch(9)], Durable::Now).unwrap_err();
    assert!(disk.has_struck() && error.is_retriable(), "{error}");
    log.record(&[epoch(10)], Durable::Now).unwrap();
    disk.fail(Call::SyncDir, 0, EIO);
    log.record(&[epoch(11)], Durable::Now).unwrap();
    assert!(!disk.has_struck(), "the name is durable by now");
    drop(log);
    assert_eq!(highest(&open(&disk).unwrap().1), Some(11));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Frames recorded with and without sync, then the file cut anywhere: what is read back is
    /// what some prefix of the frames folds to.
    #[test]
    fn any_cut_gives_a_prefix_or_damage(
        frames in prop::collection::vec(
            (prop::collection::vec(any_fact(), 1..4), any::<bool>()), 1..6),
    ) {
        let disk = made();
        let (log, mut state, _) = open(&disk).unwrap();
        let snapshot = disk.read(&state_path()).len();
        let mut prefixes = vec![state.clone()];
        for (facts, synced) in &frames {
            let durable = if *synced { Durable::Now } else { Durable::Later };
            log.record(facts, durable).unwrap();
            facts.iter().for_each(|fact| state.apply(fact));
            prefixes.push(state.clone());
        }
        log.with_state(|held| assert_eq!(*held, state));
        let bytes = disk.read(&state_path());
        for cut in 0..=bytes.len() {
            disk.write(&state_path(), &bytes[..cut]);
            match load(&disk, Path::new(ROOT), id()) {
                Ok((read, _)) => prop_assert!(prefixes.contains(&read), "cut at {cut}"),
                Err(error) => {
                    prop_assert!(error.is_corrupt());
                    prop_assert!(cut < snapshot, "cut at {cut}: {error}");
                }
            }
        }
    }
}

mod capacity;
