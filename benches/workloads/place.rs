//! Where a benchmark puts its data: a directory of its own, in the system's temporary one or in
//! `TIDELOG_BENCH_DIR`, removed when it is over.
//!
//! On a tmpfs a sync costs nothing, and figures of one mean nothing: name a directory on a disk.
//! Used by every workload whose data goes to files.

use std::path::PathBuf;

/// A directory that is removed when the benchmark is over. It is empty, or not there yet.
pub struct Place(pub PathBuf);

impl Place {
    pub fn new(name: &str) -> Self {
        let root = std::env::var_os("TIDELOG_BENCH_DIR").map(PathBuf::from);
        let root = root.unwrap_or_else(std::env::temp_dir);
        let dir = root.join(format!("tidelog-bench-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        Place(dir)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
