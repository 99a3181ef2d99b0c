//! What happens between the steps of one call: a sync within a write, a rename within a look.

use std::time::Duration;

use super::super::RealDisk;
use super::*;

fn opened(directory: &Path) -> (RealDisk, Arc<Inner>) {
    let disk = RealDisk::with_budget(IoMode::Positioned, 4);
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
