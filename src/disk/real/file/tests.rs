//! What happens between the steps of one call: a sync within a write, a rename within a look.

use std::time::Duration;

use super::super::RealDisk;
use super::*;
use crate::disk::Disk as _;

fn opened(directory: &Path) -> (RealDisk, Arc<Inner>) {
    opened_in(IoMode::Positioned, directory)
}

fn opened_in(mode: IoMode, directory: &Path) -> (RealDisk, Arc<Inner>) {
    let disk = RealDisk::with_budget(mode, 4);
    let path = directory.join("a");
    let shared = &disk.shared;
    let open = || Inner::open(shared, &path, Access::Create);
    let inner = shared.registry.add(open).unwrap();
    (disk, inner)
}

fn is_unsynced(inner: &Inner) -> bool {
    inner.state.lock().unsynced().by_descriptor
}

/// It may have missed the bytes.
#[test]
fn a_write_that_a_sync_came_into_is_unsynced() {
    let directory = tempfile::tempdir().unwrap();
    let (_disk, inner) = opened(directory.path());
    let written = inner.change(1, |file| {
        inner.sync()?;
        os::write_at(file, b"x", 0)
    });
    assert_eq!(written.unwrap(), 1);
    assert!(is_unsynced(&inner));
    inner.sync().unwrap();
    assert!(!is_unsynced(&inner));
    assert!(matches!(inner.try_close(), Closing::Needed), "it was used lately");
    assert!(matches!(inner.try_close(), Closing::Closed), "nobody writes to it");
}

/// The mapping that was to take it along is not let go of by a sync that may have missed it.
#[cfg(target_os = "linux")]
#[test]
fn a_write_over_what_a_mapping_keeps_is_unsynced_where_a_sync_came_into_it() {
    let directory = tempfile::tempdir().unwrap();
    let (_disk, inner) = opened(directory.path());
    inner.change(5, |file| os::write_at(file, b"dirty", 0)).unwrap();
    assert!(inner.close_dirty(), "a mapping keeps it");
    inner
        .change(1, |file| {
            inner.sync()?;
            os::write_at(file, b"D", 0)
        })
        .unwrap();
    let unsynced = inner.state.lock().unsynced();
    assert!(unsynced.by_descriptor || !unsynced.maps.is_empty());
    inner.sync().unwrap();
    let unsynced = inner.state.lock().unsynced();
    assert!(!unsynced.by_descriptor && unsynced.maps.is_empty());
}

/// The system tells a failure once, to the first who asks.
#[test]
fn a_sync_that_the_system_grants_beside_one_that_failed_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let (_disk, inner) = opened(directory.path());
    inner.change(1, |file| os::write_at(file, b"x", 0)).unwrap();
    let unsynced = inner.state.lock().unsynced();
    let failed = io::Error::from_raw_os_error(5);
    inner.state.lock().failed = Some(Failure::of(&failed)); // the pool's, say
    let ended = inner.end_sync(&unsynced, Ok(()));
    assert_eq!(ended.unwrap_err().raw_os_error(), Some(5));
    assert!(is_unsynced(&inner));
    assert!(inner.sync().is_err());
}

/// The sync of the map takes it along, and no sync that may have missed it counts.
#[cfg(target_os = "linux")]
#[test]
fn a_write_under_a_map_is_unsynced_until_the_map_is_synced() {
    let directory = tempfile::tempdir().unwrap();
    let (_disk, inner) = opened_in(IoMode::Mapped, directory.path());
    let file = RealFile { inner: inner.clone() };
    let mut map = file.map_tail(0, 1 << 20).unwrap().unwrap();
    map.allocate(8 << 10).unwrap();
    let maps = || inner.state.lock().unsynced().maps.len();
    for number in 0..3 {
        inner.sync().unwrap();
        assert_eq!(maps(), 0, "before write {number}");
        let written = inner.change(1, |file| {
            if number == 1 {
                inner.sync()?;
            }
            os::write_at(file, b"x", 0)
        });
        assert_eq!((written.unwrap(), maps()), (1, 1), "after write {number}");
        assert!(!is_unsynced(&inner), "nothing lies outside of the map");
    }
    // stored into and dropped: it waits for a sync, and so does what is written under it
    map.window(0, 1).fill(7);
    map.publish(1);
    drop(map);
    let begun = inner.state.lock().unsynced();
    assert_eq!(begun.maps.len(), 1);
    let written = inner.change(1, |file| {
        inner.state.lock().note_synced(&begun);
        os::write_at(file, b"y", 0)
    });
    assert_eq!((written.unwrap(), maps()), (1, 1), "that sync began before it");
    assert!(!is_unsynced(&inner));
    inner.sync().unwrap();
    assert_eq!(maps(), 0);
}

/// The sync of the map brings its range to the disk, and no more.
#[cfg(target_os = "linux")]
#[test]
fn a_write_behind_a_map_waits_for_a_sync_of_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let (_disk, inner) = opened_in(IoMode::Mapped, directory.path());
    let file = RealFile { inner: inner.clone() };
    let _map = file.map_tail(0, 1 << 20).unwrap().unwrap();
    for (end, is_behind) in [(1 << 20, false), (1 << 32, true)] {
        inner.sync().unwrap();
        inner.change(end, |file| os::write_at(file, b"x", end - 1)).unwrap();
        assert_eq!(is_unsynced(&inner), is_behind, "up to {end}");
    }
    inner.sync().unwrap();
    assert!(!is_unsynced(&inner));
}

/// How many of them there were is how a sync knows of one that came after the last.
#[cfg(target_os = "linux")]
#[test]
fn writes_under_a_map_are_counted_on_whatever_is_written_behind_it() {
    let directory = tempfile::tempdir().unwrap();
    let (_disk, inner) = opened_in(IoMode::Mapped, directory.path());
    let file = RealFile { inner: inner.clone() };
    let _map = file.map_tail(0, 1 << 20).unwrap().unwrap();
    let write = |end| inner.change(end, |file| os::write_at(file, b"x", end - 1)).unwrap();
    let maps = || inner.state.lock().unsynced().maps.len();
    write(5);
    assert_eq!(maps(), 1);
    inner.sync().unwrap();
    assert_eq!(maps(), 0);
    write(1 << 32);
    write(5);
    assert_eq!(maps(), 1);
}

#[test]
fn who_looks_for_a_file_that_is_being_renamed_waits_for_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let (disk, inner) = opened(directory.path());
    let (from, to) = (directory.path().join("a"), directory.path().join("b"));
    inner.state.lock().file = None;
    disk.shared.pool.closed();
    std::thread::scope(|scope| {
        let mut looking = None;
        let renamed = disk.shared.registry.rename(&from, &to, || {
            std::fs::rename(&from, &to)?;
            looking = Some(scope.spawn(|| inner.descriptor().map(drop)));
            std::thread::sleep(Duration::from_millis(50)); // it has not found the old name by then
            Ok(())
        });
        renamed.unwrap();
        looking.unwrap().join().unwrap().unwrap();
    });
    assert_eq!(*inner.path(), *to);
}

/// Else it would keep its descriptor for good.
#[test]
fn a_file_whose_name_stayed_may_be_closed_again() {
    let directory = tempfile::tempdir().unwrap();
    let (disk, inner) = opened(directory.path());
    let (path, other) = (directory.path().join("a"), directory.path().join("missing"));
    let refuse = || Err(io::ErrorKind::PermissionDenied.into());
    assert!(disk.shared.registry.remove(&path, refuse).is_err());
    assert!(disk.shared.registry.rename(&other, &path, refuse).is_err());
    assert!(matches!(inner.try_close(), Closing::Needed), "it was used lately");
    assert!(matches!(inner.try_close(), Closing::Closed));
}

/// Its descriptor is closed neither under a write nor where its user keeps it.
#[test]
fn a_file_in_use_or_kept_stays_open_and_has_the_name_it_was_told() {
    let directory = tempfile::tempdir().unwrap();
    let (_disk, inner) = opened(directory.path());
    let file = RealFile { inner: inner.clone() };
    let stays_open = || {
        let needed = (0..3).all(|_| matches!(inner.try_close(), Closing::Needed));
        needed && !inner.close_dirty()
    };
    let written = inner.change(1, |file| {
        assert!(stays_open(), "it is written to");
        os::write_at(file, b"x", 0)
    });
    assert_eq!(written.unwrap(), 1);
    assert!(matches!(inner.try_close(), Closing::Dirty));
    inner.sync().unwrap();
    file.keep_open().unwrap();
    assert!(stays_open());
    assert!(file.system_file().unwrap().is_some());
    let to = directory.path().join("b");
    std::fs::rename(file.path(), &to).unwrap();
    file.renamed(&to);
    assert_eq!(file.path(), to);
}

#[test]
fn every_handle_of_a_file_follows_its_names() {
    let directory = tempfile::tempdir().unwrap();
    let disk = RealDisk::with_budget(IoMode::Positioned, 4);
    let (from, to) = (directory.path().join("a"), directory.path().join("b"));
    let handles: Vec<_> = (0..3).map(|_| disk.open(&from, Access::Create).unwrap()).collect();
    disk.rename(&from, &to).unwrap();
    assert!(handles.iter().all(|handle| handle.path() == to));
    disk.remove_file(&to).unwrap();
    let others = |number| directory.path().join(format!("other {number}"));
    let _others: Vec<_> =
        (0..9).map(|number| disk.open(&others(number), Access::Create).unwrap()).collect();
    assert_eq!(handles[0].write_at(b"x", 0).unwrap(), 1);
    for handle in handles {
        assert_eq!(handle.len().unwrap(), 1, "it is what it was without a name");
    }
}
