//! Where the files of a test lie that asks nothing of a device: what is written, read and found
//! again there is the same in memory, and no sync waits.
//!
//! Making, syncing and removing small files took most of the run of some suites (`log_model` 3.1 s,
//! 0.5 in memory). With a larger budget they are on the machine's own file system, where the
//! tests of the disk itself always are.

use super::budget::Budget;
use tempfile::TempDir;

/// So much must be free there: some machines give no more than 64 MiB, and a test that meets the
/// end of it would say something else than what is wrong.
const ENOUGH: u64 = 2 << 30;

/// A directory in memory, if there is such a place; with a larger budget one like any other.
pub fn scratch() -> TempDir {
    match Budget::get() {
        Budget::Small => in_memory(),
        Budget::Ci | Budget::Deep => tempfile::tempdir().expect("a temporary directory"),
    }
}

/// A directory in memory, if there is such a place, whatever the budget.
pub fn in_memory() -> TempDir {
    #[cfg(target_os = "linux")]
    if let Some(dir) = shared_memory() {
        return dir;
    }
    tempfile::tempdir().expect("a temporary directory")
}

#[cfg(target_os = "linux")]
fn shared_memory() -> Option<TempDir> {
    const PLACE: &str = "/dev/shm";
    let found = rustix::fs::statvfs(PLACE).ok()?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    (free >= ENOUGH).then(|| tempfile::tempdir_in(PLACE).ok())?
}
