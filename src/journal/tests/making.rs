//! The journal's file as it is made: found again, replaced, removed.

use std::path::PathBuf;

use super::super::file::remove_files;
use super::*;
use crate::disk::names::REPLACEMENT_SUFFIX;
use crate::disk::{Fault, Operation, Plan, RealDisk, SimDisk, read_full_at};

fn journal_path() -> PathBuf {
    Path::new(ROOT).join(JOURNAL)
}

/// Begins a reign that asks for the file, and says whether it keeps records then.
fn used(sim: &SimDisk, epoch: i32) -> Kept {
    let (journal, _) = journal_on(sim);
    journal.begin(STORE, LeaderEpoch::new(epoch));
    let asking = commit(&journal, &extent(0, 0, 1), b"x");
    assert_eq!(asking, Kept::No);
    journal.keep_up(|_| Ok(()));
    commit(&journal, &extent(0, 0, 1), format!("of reign {epoch}").as_bytes())
}

fn len(sim: &SimDisk, path: &Path) -> Option<u64> {
    sim.metadata(path).unwrap().map(|found| found.len)
}

fn bytes(sim: &SimDisk, path: &Path) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(len(sim, path).unwrap()).unwrap()];
    read_full_at(&*sim.open(path, Access::Read).unwrap(), &mut bytes, 0).unwrap();
    bytes
}

/// A copy that somebody made by a second name stays what it was.
#[test]
fn a_file_that_has_another_name_too_is_replaced_and_not_written_to() {
    let sim = SimDisk::new(1);
    assert_eq!(used(&sim, 3), Kept::Yes);
    let copy = Path::new(ROOT).join("copy");
    sim.link(&journal_path(), &copy).unwrap();
    let before = bytes(&sim, &copy);
    assert_eq!(used(&sim, 4), Kept::Yes);
    assert_eq!(bytes(&sim, &copy), before);
    assert_eq!(read(&sim, &journal_path(), &reign(4)).unwrap().unwrap().len(), 1);
    assert_eq!(read(&sim, &copy, &reign(3)).unwrap().unwrap().len(), 1);
}

#[test]
fn a_whole_file_is_used_again_and_a_short_one_is_made_anew() {
    let sim = SimDisk::new(1);
    assert_eq!(used(&sim, 3), Kept::Yes);
    let whole = FILE_HEAD + 2 * HALF;
    sim.fail(Plan::new(Fault::Error(5)).on(Operation::Rename).for_ever());
    assert_eq!(used(&sim, 4), Kept::Yes, "it is not made again");
    sim.heal();
    sim.open(&journal_path(), Access::Write).unwrap().set_len(whole - 1).unwrap();
    assert_eq!(used(&sim, 5), Kept::Yes);
    assert_eq!(len(&sim, &journal_path()), Some(whole));
}

/// A large part of what is left is the records', and no disk is full for a journal's sake.
#[test]
fn a_journal_is_made_where_there_is_much_more_room_than_it_takes() {
    let directory = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::for_directory(directory.path()).unwrap());
    let Some(free) = disk.available(directory.path()).unwrap() else { return };
    for (size, kept) in [(free / 4, Kept::No), (FILE_HEAD + 2 * HALF, Kept::Yes)] {
        let asked = Arc::new(Asked::default());
        let journal = Journal::new(disk.clone(), directory.path(), size, asked);
        journal.begin(STORE, LeaderEpoch::new(3));
        assert_eq!(commit(&journal, &extent(0, 0, 1), b"x"), Kept::No);
        journal.keep_up(|_| Ok(()));
        assert_eq!(commit(&journal, &extent(0, 0, 1), b"x"), kept, "{size} of {free}");
        let made = disk.list(directory.path()).unwrap().len();
        assert_eq!(made, usize::from(kept == Kept::Yes));
    }
}

#[test]
fn a_store_that_keeps_its_journal_loses_what_was_not_finished_alone() {
    let sim = SimDisk::new(1);
    assert_eq!(used(&sim, 3), Kept::Yes);
    let unfinished = PathBuf::from(format!("{}{REPLACEMENT_SUFFIX}", journal_path().display()));
    sim.open(&unfinished, Access::Create).unwrap();
    remove_files(&sim, Path::new(ROOT), true);
    assert_eq!(len(&sim, &unfinished), None);
    assert!(len(&sim, &journal_path()).is_some());
    remove_files(&sim, Path::new(ROOT), false);
    assert_eq!(len(&sim, &journal_path()), None);
}

/// What one damaged number could make us read is bounded.
#[test]
fn a_half_of_the_file_has_bytes_and_no_more_than_a_gibibyte() {
    for (half, makes_sense) in [(0, false), (1, true), (1 << 30, true), ((1 << 30) + 1, false)] {
        let head = FileHead { store: STORE, half };
        assert_eq!(FileHead::parse(&head.encode()).is_ok(), makes_sense, "a half of {half}");
    }
}

/// What could not be opened may hold records: it is not taken for missing.
#[test]
fn a_journal_that_cannot_be_opened_is_an_error_and_no_missing_one() {
    let sim = SimDisk::new(1);
    assert_eq!(used(&sim, 3), Kept::Yes);
    sim.fail(Plan::new(Fault::Error(5)).on(Operation::Open).for_ever());
    let error = read(&sim, &journal_path(), &reign(3)).unwrap_err();
    assert!(!error.is_corrupt(), "{error}");
    assert!(crate::journal::file::read_head(&sim, &journal_path()).is_err());
    sim.heal();
    assert_eq!(read(&sim, &journal_path(), &reign(3)).unwrap().unwrap().len(), 1);
    assert!(crate::journal::file::read_head(&sim, Path::new("/none")).unwrap().is_none());
}

/// Nothing counts in a file whose head is damaged: an unclean open has refused it before.
#[test]
fn a_file_with_a_damaged_head_is_replaced_by_the_next_reign() {
    let sim = SimDisk::new(1);
    assert_eq!(used(&sim, 3), Kept::Yes);
    sim.corrupt(&journal_path(), 9, 0xff).unwrap();
    assert!(crate::journal::file::read_head(&sim, &journal_path()).unwrap_err().is_corrupt());
    assert_eq!(used(&sim, 4), Kept::Yes);
    assert_eq!(read(&sim, &journal_path(), &reign(4)).unwrap().unwrap().len(), 1);
}
