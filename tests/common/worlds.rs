//! Where a store under random work lives, and how it stops without being closed: on real files, in
//! memory, and with the feature `sim` on the simulated disk, which alone can stop it so.

use std::path::PathBuf;
use std::sync::Arc;

#[cfg(feature = "sim")]
use rand::RngExt as _;
use rand::rngs::StdRng;
#[cfg(feature = "sim")]
use tidelog::disk::{Crash, SimDisk};
use tidelog::disk::{Disk, IoMode, MemoryDisk, RealDisk};
use tidelog::{ManualClock, Store, Threads};

use super::scratch::scratch;

/// Where a store lives.
pub trait World {
    fn disk(&self) -> Arc<dyn Disk>;
    fn path(&self) -> PathBuf;

    /// Ends the process that has the store, if this world can.
    fn kill(&mut self) -> bool {
        false
    }

    /// Ends the process or cuts the power; says whether it was the power. `None`: this world
    /// cannot.
    fn crash(&mut self, _: &mut StdRng) -> Option<bool> {
        None
    }

    /// Opens the store that lies here, without threads of its own.
    fn open(&self, clock: &ManualClock) -> Store {
        Store::builder(self.path())
            .disk(self.disk())
            .clock(clock.clone())
            .threads(Threads::Host)
            .open()
            .expect("a store that was left behind opens")
    }
}

/// A directory on real files.
pub struct Real(tempfile::TempDir, Arc<dyn Disk>);

impl Real {
    pub fn new(mode: IoMode) -> Self {
        let dir = scratch();
        Real(dir, Arc::new(RealDisk::new(mode).expect("a real disk")))
    }
}

impl World for Real {
    fn disk(&self) -> Arc<dyn Disk> {
        self.1.clone()
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("store")
    }
}

/// In memory.
#[derive(Default)]
pub struct InMemory(Arc<MemoryDisk>);

impl World for InMemory {
    fn disk(&self) -> Arc<dyn Disk> {
        self.0.clone()
    }

    fn path(&self) -> PathBuf {
        PathBuf::from("/store")
    }
}

/// On the simulated disk.
#[cfg(feature = "sim")]
pub struct Simulated(pub SimDisk);

#[cfg(feature = "sim")]
impl World for Simulated {
    fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.0.clone())
    }

    fn path(&self) -> PathBuf {
        PathBuf::from("/store")
    }

    fn kill(&mut self) -> bool {
        self.0 = self.0.kill();
        true
    }

    fn crash(&mut self, random: &mut StdRng) -> Option<bool> {
        let power = random.random_bool(0.5);
        self.0 = match power {
            false => self.0.kill(),
            true => self.0.crash(Crash::Random(random.random())),
        };
        Some(power)
    }
}
