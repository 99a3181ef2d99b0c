//! Many unsynced files under few descriptors: none is synced before it is asked for, none is taken
//! for synced that is not.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::super::super::{Access, Disk, DiskFile, IoMode, write_all_at};
use super::super::{RealDisk, os};
use super::Names;

/// Files that are kept by a mapping nobody looks into.
fn anchored(dir: &Path) -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains(&*dir.to_string_lossy())).count()
}

fn dirty(disk: &RealDisk, dir: &Path, count: usize) -> Vec<Arc<dyn DiskFile>> {
    let dirty = |at| {
        let file = disk.open(&dir.join(format!("f{at}")), Access::Create).unwrap();
        write_all_at(&*file, b"dirty", 0).unwrap();
        file
    };
    (0..count).map(dirty).collect()
}

fn unsynced(disk: &RealDisk, dir: &Path) -> usize {
    let (device, _) = os::identity_of(dir).unwrap();
    let covering = disk.shared.registry.covering(device);
    covering.iter().filter(|file| file.is_unsynced()).count()
}

#[test]
#[cfg(target_os = "linux")]
fn unsynced_files_are_closed_without_a_sync_and_kept_by_a_mapping_until_theirs() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let disk = RealDisk::with_budget(IoMode::Positioned, 3);
    let files = dirty(&disk, dir, 12);
    assert!(disk.shared.pool.open_now() <= 4);
    assert!(anchored(dir) >= 8, "{} files are kept", anchored(dir));
    assert_eq!(unsynced(&disk, dir), 12);
    // what is written over the mapped range goes by the mapping, what lies beyond does not
    write_all_at(&*files[0], b"D", 0).unwrap();
    write_all_at(&*files[1], b"beyond", 5).unwrap();
    for (at, file) in files.iter().enumerate() {
        file.sync_data().unwrap();
        assert_eq!(unsynced(&disk, dir), 11 - at);
    }
    assert_eq!(anchored(dir), 0);
    assert_eq!(fs::read(dir.join("f0")).unwrap(), b"Dirty");
    assert_eq!(fs::read(dir.join("f1")).unwrap(), b"dirtybeyond");
}

#[test]
fn one_sync_of_everything_leaves_only_later_changes_to_sync() {
    let directory = tempfile::tempdir().unwrap();
    let dir = &directory.path().join("store");
    let disk = RealDisk::with_budget(IoMode::Positioned, 16);
    disk.create_dir_all(&dir.join("p")).unwrap();
    let before = dirty(&disk, dir, 70);
    disk.sync_ahead(dir);
    assert_eq!(unsynced(&disk, dir), 70, "nobody has locked the directory");
    let mut lock = disk.lock(&dir.join(".lock")).unwrap();
    let file = fs::File::open(dir.join(".lock")).unwrap();
    if !os::syncs_whole(&file).unwrap() {
        println!("SKIP 1: the file system has no sync of everything that counts");
        return;
    }
    let whole = &disk.shared.whole;
    let is_changed =
        |dir: &Path| whole.change_of(dir).unwrap().is_none_or(|change| change.number.is_some());
    assert!(is_changed(dir), "nothing is known yet");
    disk.sync_ahead(dir);
    assert_eq!(unsynced(&disk, dir), 0);
    assert!(!is_changed(dir) && !is_changed(&dir.join("p")));
    before.iter().for_each(|file| file.sync_data().unwrap());

    write_all_at(&*before[3], b"later", 0).unwrap();
    disk.open(&dir.join("p/new"), Access::Create).unwrap();
    assert_eq!(unsynced(&disk, dir), 1);
    assert!(!is_changed(dir) && is_changed(&dir.join("p")));
    disk.sync_dir(&dir.join("p")).unwrap();
    assert!(!is_changed(&dir.join("p")));
    disk.rename(&dir.join("f1"), &dir.join("p/f1")).unwrap();
    assert!(is_changed(dir) && is_changed(&dir.join("p")));
    // few files: their own syncs are cheaper
    disk.sync_ahead(dir);
    assert_eq!(unsynced(&disk, dir), 1);
    assert!(is_changed(dir) && is_changed(&dir.join("p")));
    before[3].sync_data().unwrap();
    assert_eq!(unsynced(&disk, dir), 0);
    lock.unlock().unwrap();
}

#[test]
fn a_failed_sync_of_one_file_stays_failed_whatever_is_synced_later() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let disk = RealDisk::with_budget(IoMode::Positioned, 200);
    let _lock = disk.lock(&dir.join(".lock")).unwrap();
    let files = dirty(&disk, dir, 80);
    for file in disk.shared.registry.covering(os::identity_of(dir).unwrap().0).iter().take(1) {
        file.fail();
    }
    disk.sync_ahead(dir);
    let failed = files.iter().filter(|file| file.sync_data().is_err()).count();
    assert_eq!(failed, 1);
}

/// Its number must not be that of a change which was synced before.
#[test]
fn a_name_that_changes_while_all_are_synced_is_synced_itself() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let disk = RealDisk::with_budget(IoMode::Positioned, 16);
    let whole = &disk.shared.whole;
    let (device, _) = os::identity_of(dir).unwrap();
    let begin = |counts| {
        *whole.names.lock() = Some(Names { device, counts, changed: HashMap::new() });
    };
    begin(true);
    whole.changed([dir]);
    let while_synced = || {
        begin(false); // somebody syncs everything
        whole.changed([dir]); // and meanwhile somebody renames a file
        Ok(())
    };
    whole.sync_names(dir, while_synced).unwrap();
    whole.names.lock().as_mut().unwrap().counts = true;
    let mut is_synced = false;
    whole
        .sync_names(dir, || {
            is_synced = true;
            Ok(())
        })
        .unwrap();
    assert!(is_synced, "the name may be in no sync at all");
}

#[test]
fn every_change_of_names_is_to_be_synced() {
    let directory = tempfile::tempdir().unwrap();
    let dir = &directory.path().join("store");
    let disk = RealDisk::with_budget(IoMode::Positioned, 200);
    disk.create_dir_all(&dir.join("p")).unwrap();
    let _files = dirty(&disk, dir, 70);
    let _lock = disk.lock(&dir.join(".lock")).unwrap();
    disk.sync_ahead(dir);
    let (f0, other) = (&dir.join("f0"), &dir.join("p/other"));
    if !os::syncs_whole(&fs::File::open(f0).unwrap()).unwrap() {
        println!("SKIP 1: the file system has no sync of everything that counts");
        return;
    }
    let whole = &disk.shared.whole;
    let is_changed = |dir: &Path| whole.change_of(dir).unwrap().unwrap().number.is_some();
    let then = |what: &str, in_dir: bool, in_p: bool| {
        let found = (is_changed(dir), is_changed(&dir.join("p")));
        assert_eq!(found, (in_dir, in_p), "{what}");
        disk.sync_dir(dir).unwrap();
        disk.sync_dir(&dir.join("p")).unwrap();
        assert!(!is_changed(dir) && !is_changed(&dir.join("p")), "{what}, synced");
    };
    then("nothing", false, false);
    disk.link(f0, other).unwrap();
    then("a second name", false, true);
    disk.remove_file(other).unwrap();
    then("a name less", false, true);
    disk.rename(f0, other).unwrap();
    then("a file that moves", true, true);
    disk.create_dir_all(&dir.join("p/q")).unwrap();
    then("a new directory", true, true); // and all above it
    disk.remove_dir(&dir.join("p/q")).unwrap();
    then("a directory less", false, true);
    disk.open(&dir.join("new"), Access::CreateNew).unwrap();
    then("a new file", true, false);
}

/// What it has not synced is not known, nor what the others' word is worth from then on.
#[test]
fn after_a_sync_of_names_that_failed_every_directory_is_synced_again() {
    let directory = tempfile::tempdir().unwrap();
    let dir = &directory.path().join("store");
    let disk = RealDisk::with_budget(IoMode::Positioned, 200);
    disk.create_dir_all(&dir.join("p")).unwrap();
    let _files = dirty(&disk, dir, 70);
    let _lock = disk.lock(&dir.join(".lock")).unwrap();
    disk.sync_ahead(dir);
    if !os::syncs_whole(&fs::File::open(dir.join("f0")).unwrap()).unwrap() {
        println!("SKIP 1: the file system has no sync of everything that counts");
        return;
    }
    let whole = &disk.shared.whole;
    disk.open(&dir.join("p/new"), Access::CreateNew).unwrap();
    whole.sync_names(dir, || unreachable!("its names have not changed")).unwrap();
    // what comes while they are synced may have been missed
    let beside = || disk.open(&dir.join("p/beside"), Access::CreateNew).map(drop);
    whole.sync_names(&dir.join("p"), beside).unwrap();
    assert!(whole.change_of(&dir.join("p")).unwrap().unwrap().number.is_some());
    let failed = whole.sync_names(&dir.join("p"), || Err(std::io::ErrorKind::Other.into()));
    assert!(failed.is_err());
    for again in [dir, &dir.join("p")] {
        let mut synced = false;
        let sync = || {
            synced = true;
            Ok(())
        };
        whole.sync_names(again, sync).unwrap();
        assert!(synced, "{}", again.display());
    }
}

/// Stores come and go; one does not end what another has.
#[test]
fn each_directory_that_is_locked_is_known_until_it_is_freed() {
    let directory = tempfile::tempdir().unwrap();
    let disk = RealDisk::with_budget(IoMode::Positioned, 16);
    let path = |at: usize| directory.path().join(at.to_string());
    let lock = |at: usize| {
        disk.create_dir_all(&path(at)).unwrap();
        disk.lock(&path(at).join(".lock")).unwrap()
    };
    let mut held = vec![lock(0), lock(1)];
    let is_known = |at: usize| disk.shared.whole.lock_of(&path(at)).is_some();
    assert!(is_known(0) && is_known(1));
    held.remove(0).unlock().unwrap();
    held.push(lock(2));
    assert!(!is_known(0) && is_known(1) && is_known(2));
    for at in 3..100 {
        lock(at).unlock().unwrap();
        assert!(!is_known(at) && is_known(1) && is_known(2));
    }
    let known = disk.shared.whole.locked.lock().len();
    assert!(known < 12, "{known} are kept of 2");
}
