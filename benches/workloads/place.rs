//! Where a benchmark puts its data: a directory of its own, in the system's temporary one or in
//! `TIDELOG_BENCH_DIR`, removed when it is over.
//!
//! On a tmpfs a sync costs nothing, and figures of one mean nothing: name a directory on a disk.
//! Used by every workload whose data goes to files.

use std::io::Write as _;
use std::path::PathBuf;

use crate::rounds::Run;

/// What workloads have ready that fill memory as fast as they can.
const WARM_MIB: u64 = 3 << 10;

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

    /// The same where the system has memory for files at hand. A virtual machine's pages that
    /// nothing was in for long are the host's, and each costs several times as much when it comes
    /// back: that would be all that is measured.
    pub fn warmed(run: &Run) -> Self {
        static PIECE: [u8; 1 << 20] = [0; 1 << 20];
        let place = Place::new(run.name);
        let path = place.0.with_extension("warm");
        if let Ok(mut file) = std::fs::File::create(&path) {
            // as far as there is room
            (0..run.count(WARM_MIB)).find(|_| file.write_all(&PIECE).is_err());
        }
        let _ = std::fs::remove_file(&path);
        place
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
