//! Where a lone log under random work lives, and how its process or its power is taken away.

use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(feature = "sim")]
use rand::RngExt as _;
use rand::rngs::StdRng;
use tidelog::Log;
use tidelog::disk::{Access, Disk, IoMode, MemoryDisk, RealDisk};
#[cfg(feature = "sim")]
use tidelog::disk::{Crash, SimDisk};

use super::scratch::scratch;

/// How one life of a log ends and the next begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ending {
    Close,
    Drop,
    Kill,
    PowerCut,
}

/// Where a log lives.
pub trait World {
    fn disk(&self) -> Arc<dyn Disk>;
    fn dir(&self) -> PathBuf;

    /// Leaves `log` behind as a kill (or a power cut) would.
    fn end(&mut self, log: Log, ending: Ending, random: &mut StdRng);

    fn has_power(&self) -> bool {
        false
    }
}

/// A kill is played by copying what every other process would see, then looking at the copy.
pub struct Copied {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    lives: u32,
    _held: Option<tempfile::TempDir>,
}

impl Copied {
    pub fn real(mode: IoMode) -> Self {
        let held = scratch();
        let root = held.path().to_owned();
        let disk = Arc::new(RealDisk::new(mode).expect("a real disk"));
        Copied { disk, root, lives: 0, _held: Some(held) }
    }

    pub fn in_memory() -> Self {
        let disk = Arc::new(MemoryDisk::new());
        Copied { disk, root: PathBuf::from("/"), lives: 0, _held: None }
    }
}

impl World for Copied {
    fn disk(&self) -> Arc<dyn Disk> {
        self.disk.clone()
    }

    fn dir(&self) -> PathBuf {
        self.root.join(format!("{}", self.lives)).join("orders-0")
    }

    fn end(&mut self, log: Log, _: Ending, _: &mut StdRng) {
        let from = self.dir();
        self.lives += 1;
        copy_dir(&*self.disk, &from, &self.dir());
        drop(log);
        remove_dir(&*self.disk, &from);
    }
}

fn copy_dir(disk: &dyn Disk, from: &Path, to: &Path) {
    disk.create_dir_all(to).unwrap();
    for entry in disk.list(from).unwrap() {
        let source = disk.open(&from.join(&entry.name), Access::Read).unwrap();
        let len = source.len().unwrap();
        let mut bytes = vec![0; usize::try_from(len).unwrap()];
        let mut done = 0;
        while done < bytes.len() {
            match source.read_at(&mut bytes[done..], done as u64).unwrap() {
                0 => break,
                got => done += got,
            }
        }
        let copy = disk.open(&to.join(&entry.name), Access::Create).unwrap();
        let mut done = 0;
        while done < bytes.len() {
            done += copy.write_at(&bytes[done..], done as u64).unwrap();
        }
    }
}

fn remove_dir(disk: &dyn Disk, dir: &Path) {
    for entry in disk.list(dir).unwrap() {
        disk.remove_file(&dir.join(&entry.name)).unwrap();
    }
    disk.remove_dir(dir).unwrap();
}

/// On the simulated disk.
#[cfg(feature = "sim")]
pub struct Simulated(pub SimDisk);

#[cfg(feature = "sim")]
impl World for Simulated {
    fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.0.clone())
    }

    fn dir(&self) -> PathBuf {
        PathBuf::from("/orders-0")
    }

    fn end(&mut self, log: Log, ending: Ending, random: &mut StdRng) {
        let next = match ending {
            Ending::PowerCut => self.0.crash(match random.random_range(0..5) {
                0 => Crash::Nothing,
                1 => Crash::Everything,
                _ => Crash::Random(random.random()),
            }),
            _ => self.0.kill(),
        };
        drop(log);
        self.0 = next;
    }

    fn has_power(&self) -> bool {
        true
    }
}
