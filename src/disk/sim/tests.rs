//! What the simulated disk loses, keeps, tears and fails; each promise beside a control that shows
//! the same check failing where nothing is promised.

use std::collections::HashSet;

use super::super::replace::replace_file;
use super::super::{read_full_at, write_all_at};
use super::*;

const ROOT_DIR: &str = "/";

fn write(disk: &SimDisk, path: &str, bytes: &[u8]) -> Arc<dyn DiskFile> {
    let file = disk.open(Path::new(path), Access::Create).unwrap();
    write_all_at(&*file, bytes, 0).unwrap();
    file
}

fn read(disk: &SimDisk, path: &str) -> Option<Vec<u8>> {
    let file = disk.open(Path::new(path), Access::Read).ok()?;
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    read_full_at(&*file, &mut bytes, 0).unwrap();
    Some(bytes)
}

fn sync_root(disk: &SimDisk) {
    disk.sync_dir(Path::new(ROOT_DIR)).unwrap();
}

/// What `see` finds over many crashes of the same history.
fn outcomes<T: Eq + std::hash::Hash>(
    history: impl Fn(&SimDisk),
    see: impl Fn(&SimDisk) -> T,
) -> HashSet<T> {
    (0..300)
        .map(|seed| {
            let disk = SimDisk::new(seed);
            history(&disk);
            see(&disk.crash(Crash::Random(seed)))
        })
        .collect()
}

#[test]
fn synced_bytes_and_names_survive_and_others_may_not() {
    let synced = outcomes(
        |disk| {
            write(disk, "f", &[7; 2000]).sync_data().unwrap();
            sync_root(disk);
        },
        |disk| read(disk, "f"),
    );
    assert_eq!(synced, HashSet::from([Some(vec![7; 2000])]));
    // Controls: without either sync something is lost.
    let nameless =
        outcomes(|disk| write(disk, "f", &[7; 2000]).sync_data().unwrap(), |disk| read(disk, "f"));
    assert_eq!(nameless, HashSet::from([None, Some(vec![7; 2000])]));
    let unsynced = outcomes(
        |disk| {
            write(disk, "f", &[7; 2000]);
            sync_root(disk);
        },
        |disk| read(disk, "f"),
    );
    assert!(unsynced.contains(&Some(Vec::new())), "all of it may be lost");
    assert!(unsynced.contains(&Some(vec![7; 2000])), "all of it may be kept");
    assert!(unsynced.contains(&Some(vec![0; 2000])), "the length may be kept alone");
    let is_torn = |bytes: &Vec<u8>| bytes.contains(&0) && bytes.contains(&7);
    assert!(unsynced.iter().flatten().any(is_torn));
    for bytes in unsynced.iter().flatten() {
        assert!(bytes.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
    }
}

#[test]
fn a_sector_may_hold_any_version_since_the_last_sync() {
    let seen = outcomes(
        |disk| {
            let file = write(disk, "f", &[0; 1024]);
            file.sync_data().unwrap();
            sync_root(disk);
            for version in 1..=4 {
                write_all_at(&*file, &[version; 1024], 0).unwrap();
            }
        },
        |disk| {
            let bytes = read(disk, "f").unwrap();
            (bytes[0], bytes[512])
        },
    );
    assert_eq!(seen.len(), 25, "each of two sectors in each of five contents: {seen:?}");
    let after_sync = outcomes(
        |disk| {
            let file = write(disk, "f", &[1; 512]);
            write_all_at(&*file, &[2; 512], 0).unwrap();
            file.sync_data().unwrap();
            sync_root(disk);
        },
        |disk| read(disk, "f"),
    );
    assert_eq!(after_sync, HashSet::from([Some(vec![2; 512])]));
}

#[test]
fn stores_through_a_map_are_lost_torn_and_seen_before_they_are_published() {
    let history = |published: bool| {
        move |disk: &SimDisk| {
            let file = write(disk, "f", b"");
            sync_root(disk);
            let mut map = file.map_tail(0, 1 << 16).unwrap().unwrap();
            map.allocate(4096).unwrap();
            file.sync_data().unwrap();
            for at in 0..8 {
                map.window(at * 100, 100).fill(at as u8 + 1);
                if published {
                    map.publish((at + 1) * 100);
                }
            }
        }
    };
    for published in [true, false] {
        let seen = outcomes(history(published), |disk| read(disk, "f").unwrap());
        assert!(seen.contains(&vec![0; 4096]));
        assert!(seen.iter().any(|bytes| bytes[799] == 8));
        assert!(seen.iter().any(|bytes| bytes[0] == 0 && bytes[799] == 8), "out of order");
        assert!(seen.iter().any(|bytes| bytes[0] == 1 && bytes[799] == 0), "in order");
        let is_half =
            |bytes: &Vec<u8>| bytes[..512].chunks(100).any(|one| one[0] != one[one.len() - 1]);
        assert!(seen.iter().any(is_half), "a store in the making");
        assert!(seen.iter().all(|bytes| bytes.len() == 4096));
    }
}

#[test]
fn a_synced_map_survives() {
    let seen = outcomes(
        |disk| {
            let file = write(disk, "f", b"");
            sync_root(disk);
            let mut map = file.map_tail(0, 1 << 16).unwrap().unwrap();
            map.allocate(4096).unwrap();
            map.window(0, 600).fill(1);
            map.publish(600);
            file.sync_data().unwrap();
            map.window(600, 600).fill(2);
            map.publish(1200);
        },
        |disk| read(disk, "f").unwrap()[..600].to_vec(),
    );
    assert_eq!(seen, HashSet::from([vec![1; 600]]));
}

#[test]
fn renames_are_atomic_and_lost_until_the_directory_is_synced() {
    let rename = |disk: &SimDisk| {
        write(disk, "old", b"1").sync_data().unwrap();
        sync_root(disk);
        write(disk, "new.tmp", b"2").sync_data().unwrap();
        disk.rename(Path::new("new.tmp"), Path::new("old")).unwrap();
    };
    let lost = outcomes(rename, |disk| (read(disk, "old"), read(disk, "new.tmp")));
    let value = |byte: &[u8]| Some(byte.to_vec());
    let expected = [(value(b"1"), None), (value(b"1"), value(b"2")), (value(b"2"), None)];
    assert_eq!(lost, HashSet::from(expected));
    let kept = outcomes(
        |disk| {
            rename(disk);
            sync_root(disk);
        },
        |disk| (read(disk, "old"), read(disk, "new.tmp")),
    );
    assert_eq!(kept, HashSet::from([(value(b"2"), None)]));
    let removed = outcomes(
        |disk| {
            write(disk, "f", b"1").sync_data().unwrap();
            sync_root(disk);
            disk.remove_file(Path::new("f")).unwrap();
        },
        |disk| read(disk, "f"),
    );
    assert_eq!(removed, HashSet::from([None, value(b"1")]));
}

#[test]
fn a_directory_is_lost_with_all_in_it_until_its_parent_is_synced() {
    let make = |disk: &SimDisk| {
        disk.create_dir_all(Path::new("/a/b")).unwrap();
        write(disk, "/a/b/f", b"1").sync_data().unwrap();
        disk.sync_dir(Path::new("/a/b")).unwrap();
    };
    let lost = outcomes(make, |disk| read(disk, "/a/b/f").is_some());
    assert_eq!(lost, HashSet::from([true, false]));
    let kept = outcomes(
        |disk| {
            make(disk);
            disk.sync_dir(Path::new("/a")).unwrap();
            sync_root(disk);
        },
        |disk| read(disk, "/a/b/f").is_some(),
    );
    assert_eq!(kept, HashSet::from([true]));
}

#[test]
fn replacing_a_file_is_atomic_at_every_cut() {
    let steps = {
        let disk = SimDisk::new(0);
        replace_file(&disk, Path::new("f"), &[2; 1500]).unwrap();
        disk.operations()
    };
    let mut seen = HashSet::new();
    for cut in 1..=steps + 1 {
        for seed in 0..40 {
            let disk = SimDisk::new(seed);
            replace_file(&disk, Path::new("f"), &[1; 1500]).unwrap();
            disk.cut_after(cut);
            let done = replace_file(&disk, Path::new("f"), &[2; 1500]).is_ok();
            let after = disk.crash(Crash::Random(seed));
            let found = read(&after, "f").unwrap();
            assert!(found == [1; 1500] || found == [2; 1500], "cut {cut}, seed {seed}");
            assert!(!done || found[0] == 2);
            seen.insert((cut, found[0]));
        }
    }
    assert!(seen.contains(&(1, 1)) && seen.contains(&(steps + 1, 2)));
}

#[test]
fn a_failed_sync_is_not_mended_by_a_later_one() {
    let fail = |disk: &SimDisk, rewrite: bool| {
        let file = write(disk, "f", &[1; 512]);
        file.sync_data().unwrap();
        sync_root(disk);
        write_all_at(&*file, &[2; 512], 0).unwrap();
        disk.fail(Plan::new(Fault::Error(5)).on(Operation::Sync));
        assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(5));
        assert_eq!(read(disk, "f").unwrap(), [2; 512]);
        if rewrite {
            write_all_at(&*file, &[2; 512], 0).unwrap();
        }
        file.sync_data().unwrap();
    };
    let lost = outcomes(|disk| fail(disk, false), |disk| read(disk, "f").unwrap()[0]);
    assert_eq!(lost, HashSet::from([1, 2]));
    let rewritten = outcomes(|disk| fail(disk, true), |disk| read(disk, "f").unwrap()[0]);
    assert_eq!(rewritten, HashSet::from([2]));
}

#[test]
fn cut_bytes_may_come_back_until_the_cut_is_synced() {
    let cut = |disk: &SimDisk| {
        let file = write(disk, "f", &[1; 1024]);
        file.sync_data().unwrap();
        sync_root(disk);
        file.set_len(100).unwrap();
        file.set_len(1024).unwrap();
        file
    };
    let unsynced = outcomes(|disk| drop(cut(disk)), |disk| read(disk, "f").unwrap());
    assert!(unsynced.iter().any(|bytes| bytes.len() == 1024 && bytes[1023] == 1));
    let synced = outcomes(|disk| cut(disk).sync_data().unwrap(), |disk| read(disk, "f").unwrap());
    assert_eq!(synced, HashSet::from([[vec![1; 100], vec![0; 924]].concat()]));
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let run = |seed, choice| {
        let disk = SimDisk::new(seed);
        for at in 0..20 {
            write(&disk, &format!("f{}", at % 5), &[at; 3000]);
        }
        disk.crash(Crash::Random(choice)).image_hash()
    };
    assert_eq!(run(1, 2), run(1, 2));
    let distinct: HashSet<u64> = (0..100).map(|choice| run(1, choice)).collect();
    assert!(distinct.len() > 50, "{}", distinct.len());
}

#[test]
fn nothing_and_everything_are_what_they_say() {
    let disk = SimDisk::new(3);
    write(&disk, "kept", b"1").sync_data().unwrap();
    sync_root(&disk);
    write(&disk, "kept", b"2");
    write(&disk, "made", b"3");
    let before = disk.image_hash();
    let again = disk.kill();
    let everything = again.kill().crash(Crash::Everything);
    assert_eq!(read(&everything, "kept").unwrap(), b"2");
    assert_eq!(read(&everything, "made").unwrap(), b"3");
    assert_ne!(everything.image_hash(), before);

    let disk = SimDisk::new(3);
    write(&disk, "kept", b"1").sync_data().unwrap();
    sync_root(&disk);
    write(&disk, "kept", b"2");
    write(&disk, "made", b"3");
    let nothing = disk.crash(Crash::Nothing);
    assert_eq!(read(&nothing, "kept").unwrap(), b"1");
    assert_eq!(read(&nothing, "made"), None);
    assert_eq!(nothing.image_hash(), before);
}

#[test]
fn a_kill_keeps_what_was_written_and_frees_locks() {
    let disk = SimDisk::new(3);
    let lock = disk.lock(Path::new(".lock")).unwrap();
    let file = write(&disk, "f", b"unsynced");
    let mut map = file.map_tail(8, 100).unwrap().unwrap();
    map.allocate(20).unwrap();
    map.window(8, 4).copy_from_slice(b"tail");
    map.publish(12);
    let after = disk.kill();
    assert_eq!(file.len().unwrap_err().raw_os_error(), Some(5));
    assert_eq!(read(&after, "f").unwrap(), b"unsyncedtail\0\0\0\0\0\0\0\0");
    drop(after.lock(Path::new(".lock")).unwrap());
    let boot = after.boot_id().unwrap();
    assert_eq!(boot, SimDisk::new(3).boot_id().unwrap());
    let restarted = after.crash(Crash::Nothing);
    assert_ne!(restarted.boot_id().unwrap(), boot);
    // What still hangs on to the old disk does no harm.
    map.window(12, 1).fill(1);
    map.publish(13);
    drop((map, lock));
    assert_eq!(read(&restarted, "f"), None);
}

#[test]
fn the_power_is_cut_at_the_chosen_call() {
    let disk = SimDisk::new(1);
    let file = write(&disk, "f", b"1");
    let mut map = write(&disk, "m", b"").map_tail(0, 100).unwrap().unwrap();
    map.allocate(10).unwrap();
    disk.cut_after(3);
    write_all_at(&*file, b"2", 0).unwrap();
    map.window(0, 1).fill(9);
    map.publish(1);
    assert!(!disk.is_cut());
    assert_eq!(file.write_at(b"3", 0).unwrap_err().raw_os_error(), Some(5));
    assert!(disk.is_cut());
    map.window(1, 1).fill(9);
    map.publish(2);
    assert_eq!(map.reader().view(0, 2).unwrap(), vec![9; 2]);
    assert!(disk.list(Path::new(ROOT_DIR)).is_err());
    let operations = disk.operations();
    let after = disk.kill();
    assert_eq!(after.operations(), operations);
    assert_eq!(read(&after, "f").unwrap(), b"2");
    assert_eq!(read(&after, "m").unwrap()[..2], [9, 0]);
}

#[test]
fn planned_faults_strike_their_call() {
    let disk = SimDisk::new(1);
    let file = write(&disk, "f", b"abcdef");
    disk.fail(Plan::new(Fault::Error(28)).on(Operation::Write).nth(2));
    file.write_at(b"x", 0).unwrap();
    let error = file.write_at(b"y", 0).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    file.write_at(b"z", 0).unwrap();
    disk.fail(Plan::new(Fault::ShortRead(2)));
    let mut buffer = [0; 6];
    assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 2);
    assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 6);
    disk.fail(Plan::new(Fault::ShortWrite(0)));
    let error = write_all_at(&*file, b"12", 0).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    // Interruptions are gone over.
    disk.fail(Plan::new(Fault::Error(4)).on(Operation::Write));
    write_all_at(&*file, b"12", 0).unwrap();
    disk.fail(Plan::new(Fault::Error(5)).on(Operation::Sync).for_ever());
    for _ in 0..3 {
        file.sync_data().unwrap_err();
    }
    assert_eq!(disk.syncs(), 3);
    disk.heal();
    file.sync_data().unwrap();
}

#[test]
fn a_full_disk_refuses_and_keeps_what_it_has() {
    let disk = SimDisk::new(1);
    disk.set_capacity(8192);
    let file = write(&disk, "f", b"");
    let mut map = file.map_tail(0, 1 << 20).unwrap().unwrap();
    map.allocate(4096).unwrap();
    let error = map.allocate(16_384).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!((map.allocated(), file.len().unwrap()), (4096, 4096));
    let other = write(&disk, "g", &[1; 4096]);
    assert_eq!(map.allocate(4097).unwrap_err().kind(), io::ErrorKind::StorageFull);
    disk.remove_file(Path::new("g")).unwrap();
    assert!(map.allocate(8192).is_err(), "an open file keeps its space");
    drop(other);
    map.allocate(8192).unwrap();
    map.window(0, 8192).fill(1);
}

#[test]
fn contents_that_nobody_can_reach_are_forgotten() {
    let disk = SimDisk::new(1);
    for at in 0..50 {
        let path = format!("f{at}");
        drop(write(&disk, &path, &[1; 100]));
        disk.remove_file(Path::new(&path)).unwrap();
    }
    let held = write(&disk, "held", b"held");
    disk.remove_file(Path::new("held")).unwrap();
    sync_root(&disk);
    assert_eq!(disk.shared.world.lock().state.files.len(), 1);
    let mut bytes = [0; 4];
    held.read_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"held");
}

#[test]
fn a_change_that_is_done_may_be_said_to_have_failed() {
    let disk = SimDisk::new(1);
    let file = write(&disk, "f", b"abcdef");
    let late = || Plan::new(Fault::DoneError(5));
    disk.fail(late().nth(2));
    file.set_len(5).unwrap();
    file.write_at(b"x", 0).unwrap(); // the second, and no such change
    let error = file.set_len(3).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(5));
    file.set_len(4).unwrap();
    assert_eq!(read(&disk, "f").as_deref(), Some(&b"xbc\0"[..]), "all three of them are done");
    disk.fail(late().for_ever());
    disk.rename("f".as_ref(), "g".as_ref()).unwrap_err();
    disk.link("g".as_ref(), "h".as_ref()).unwrap_err();
    disk.remove_file("g".as_ref()).unwrap_err();
    let error = disk.remove_file("g".as_ref()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound, "it has a reason of its own");
    disk.create_dir_all("d/e".as_ref()).unwrap_err();
    disk.remove_dir("d/e".as_ref()).unwrap_err();
    let left = disk.list(Path::new(ROOT_DIR)).unwrap();
    let left: Vec<_> = left.iter().map(|entry| &entry.name[..]).collect();
    assert_eq!(left, ["d", "h"]);
}
