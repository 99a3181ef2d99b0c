//! One file of the simulated disk: what programs see, what the device holds, and everything that
//! lies between.
//!
//! The unit of persistence is the sector of 512 bytes. Since the last sync each sector keeps every
//! content it ever had, and each length the file had is kept; a crash may leave any of them,
//! sector by sector and apart from the length. A store through a map may also be caught half
//! made. After a failed sync the contents it was to save are in limbo: programs read them, a
//! later sync that reports success does not save them, and only writing them anew does.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock};

use super::super::memory::slice_at;
use super::super::tail::Overwrites;
use super::Crash;
use super::random::Random;
use crate::time::Timestamp;

pub(super) const SECTOR: u64 = 512;
const SECTOR_BYTES: usize = 512;

/// The bytes of a sector; copies of a file share them.
type SectorBytes = Arc<[u8; SECTOR_BYTES]>;

/// A content a sector had.
#[derive(Clone)]
struct Version {
    bytes: SectorBytes,
    by: By,
}

/// How bytes came into a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Write,
    MappedStore,
}

/// What a crash may leave or not.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Length(usize),
    Sector(u64, SectorBytes),
}

type Versions = BTreeMap<u64, Vec<Version>>;

#[derive(Clone)]
pub(super) struct SimContents {
    /// What reads return.
    pub(super) bytes: Arc<Vec<u8>>,
    /// What the last sync left on the device; the same bytes where nothing else was written since.
    durable: Arc<Vec<u8>>,
    /// The hash of that, once asked for.
    hash: OnceLock<u64>,
    pending: Versions,
    limbo: Versions,
    lengths: Vec<usize>,
    /// How far space was taken for it: a hole takes none.
    pub(super) charged: u64,
    pub(super) is_mapped: bool,
    pub(super) overwrites: Overwrites,
    pub(super) modified: Timestamp,
}

impl std::fmt::Debug for SimContents {
    /// Without the bytes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimContents").field("len", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl SimContents {
    pub(super) fn new(modified: Timestamp) -> Self {
        SimContents {
            bytes: Arc::default(),
            durable: Arc::default(),
            hash: OnceLock::new(),
            pending: Versions::new(),
            limbo: Versions::new(),
            lengths: Vec::new(),
            charged: 0,
            is_mapped: false,
            overwrites: Overwrites::default(),
            modified,
        }
    }

    /// Whether the device holds what programs read, for certain.
    pub(super) fn is_settled(&self) -> bool {
        self.pending.is_empty() && self.limbo.is_empty() && self.lengths.is_empty()
    }

    /// A file that lies on the device with these bytes.
    fn settled(bytes: Arc<Vec<u8>>, modified: Timestamp) -> Self {
        let charged = bytes.len() as u64;
        SimContents { durable: bytes.clone(), bytes, charged, ..SimContents::new(modified) }
    }

    pub(super) fn write(&mut self, position: usize, bytes: &[u8], by: By) {
        let end = position + bytes.len();
        let now = Arc::make_mut(&mut self.bytes);
        if end > now.len() {
            now.resize(end, 0);
            self.lengths.push(end);
        }
        now[position..end].copy_from_slice(bytes);
        self.charged = self.charged.max(end as u64);
        self.remember(position as u64, end as u64, by);
    }

    pub(super) fn set_len(&mut self, len: usize) {
        let before = self.bytes.len();
        Arc::make_mut(&mut self.bytes).resize(len, 0);
        self.lengths.push(len);
        self.charged = self.charged.min(len as u64);
        if len < before {
            self.remember(len as u64, before as u64, By::Write);
        }
    }

    /// Keeps the contents that the sectors of `start..end` have now.
    fn remember(&mut self, start: u64, end: u64, by: By) {
        if start >= end {
            return;
        }
        for sector in start / SECTOR..=(end - 1) / SECTOR {
            let bytes = sector_of(&self.bytes, sector);
            self.pending.entry(sector).or_default().push(Version { bytes, by });
        }
    }

    /// A sync that works: what is pending is on the device.
    pub(super) fn sync(&mut self) {
        self.hash = OnceLock::new();
        let pending = std::mem::take(&mut self.pending);
        self.lengths.clear();
        if self.limbo.is_empty() {
            self.durable = self.bytes.clone();
            return;
        }
        let durable = Arc::make_mut(&mut self.durable);
        durable.resize(self.bytes.len(), 0);
        for sector in pending.into_keys() {
            put_sector(durable, sector, &sector_of(&self.bytes, sector));
            self.limbo.remove(&sector);
        }
    }

    /// A sync that fails: the system takes what was pending for clean, and it may never be saved.
    pub(super) fn fail_sync(&mut self) {
        for (sector, versions) in std::mem::take(&mut self.pending) {
            self.limbo.entry(sector).or_default().extend(versions);
        }
    }

    /// Damages a byte wherever it lies.
    pub(super) fn damage(&mut self, position: usize, xor: u8) {
        self.hash = OnceLock::new();
        for bytes in [&mut self.bytes, &mut self.durable] {
            if let Some(byte) = Arc::make_mut(bytes).get_mut(position) {
                *byte ^= xor;
            }
        }
    }

    /// A hash of what is on the device.
    pub(super) fn image_hash(&self) -> u64 {
        *self.hash.get_or_init(|| {
            let mut hasher = DefaultHasher::new();
            self.durable.len().hash(&mut hasher);
            // most of a window or a journal is zeros, which its length says
            for (sector, bytes) in self.durable.chunks(SECTOR_BYTES).enumerate() {
                if *bytes != [0; SECTOR_BYTES][..bytes.len()] {
                    (sector, bytes).hash(&mut hasher);
                }
            }
            hasher.finish()
        })
    }

    /// The file as a restarted machine finds it.
    pub(super) fn after(&self, crash: Crash, random: &mut Random) -> Self {
        let bytes = match crash {
            Crash::Nothing => self.durable.clone(),
            Crash::Everything => self.bytes.clone(),
            Crash::Random(_) => self.mixed(random),
        };
        SimContents::settled(bytes, self.modified)
    }

    fn mixed(&self, random: &mut Random) -> Arc<Vec<u8>> {
        // Whole outcomes are likely in earnest, and rare among independent choices.
        match random.below(8) {
            0 => return self.durable.clone(),
            1 => return self.bytes.clone(),
            _ => {}
        }
        let mut image = self.durable.to_vec();
        let len = match random.below(self.lengths.len() + 2) {
            0 => self.durable.len(),
            1 => self.bytes.len(),
            at => self.lengths[at - 2],
        };
        image.resize(len, 0);
        let mut touched: Vec<u64> = self.pending.keys().chain(self.limbo.keys()).copied().collect();
        touched.sort_unstable();
        touched.dedup();
        for sector in touched {
            if let Some(bytes) = self.choose(sector, random) {
                put_sector(&mut image, sector, &bytes);
            }
        }
        Arc::new(image)
    }

    /// Each change that a crash may leave or not, in the order in which they were made: contents
    /// of sectors that differ from what was there before, and lengths.
    pub(super) fn changes(&self) -> Vec<Change> {
        let mut changes: Vec<Change> =
            self.lengths.iter().map(|len| Change::Length(*len)).collect();
        let touched: BTreeSet<u64> =
            self.pending.keys().chain(self.limbo.keys()).copied().collect();
        for sector in touched {
            let mut before = sector_of(&self.durable, sector);
            for version in self.versions(sector) {
                if version.bytes != before {
                    before.clone_from(&version.bytes);
                    changes.push(Change::Sector(sector, before.clone()));
                }
            }
        }
        changes
    }

    /// The file with these of its changes.
    pub(super) fn with<'a>(&self, kept: impl Iterator<Item = &'a Change> + Clone) -> Self {
        if kept.clone().next().is_none() {
            return SimContents::settled(self.durable.clone(), self.modified);
        }
        let mut image = self.durable.to_vec();
        let lengths = kept.clone().filter_map(|change| match change {
            Change::Length(len) => Some(*len),
            Change::Sector(..) => None,
        });
        image.resize(lengths.last().unwrap_or(image.len()), 0);
        for change in kept {
            if let Change::Sector(sector, bytes) = change {
                put_sector(&mut image, *sector, bytes);
            }
        }
        SimContents::settled(Arc::new(image), self.modified)
    }

    /// The contents a sector had since the last sync, what a failed one left in doubt first.
    fn versions(&self, sector: u64) -> impl Iterator<Item = &Version> {
        [&self.limbo, &self.pending].into_iter().filter_map(move |map| map.get(&sector)).flatten()
    }

    /// A content of the sector, `None` for what the device held.
    fn choose(&self, sector: u64, random: &mut Random) -> Option<SectorBytes> {
        let versions: Vec<&Version> = self.versions(sector).collect();
        let at = random.below(versions.len() + 1).checked_sub(1)?;
        let mut bytes = versions[at].bytes.clone();
        if versions[at].by == By::MappedStore && random.below(4) == 0 {
            // Written back while the store was being made: its end is not there yet.
            let before = match at.checked_sub(1) {
                Some(before) => versions[before].bytes.clone(),
                None => sector_of(&self.durable, sector),
            };
            let split = random.below(SECTOR_BYTES);
            Arc::make_mut(&mut bytes)[split..].copy_from_slice(&before[split..]);
        }
        Some(bytes)
    }
}

/// A sector's bytes, zeros beyond the end.
fn sector_of(bytes: &[u8], sector: u64) -> SectorBytes {
    let found = slice_at(bytes, sector * SECTOR, SECTOR_BYTES);
    let mut sector = [0; SECTOR_BYTES];
    sector[..found.len()].copy_from_slice(found);
    Arc::new(sector)
}

/// Sets a sector's bytes, as far as the file reaches.
fn put_sector(bytes: &mut [u8], sector: u64, content: &[u8; SECTOR_BYTES]) {
    let start = usize::try_from(sector * SECTOR).map_or(bytes.len(), |at| at.min(bytes.len()));
    let end = start.saturating_add(SECTOR_BYTES).min(bytes.len());
    bytes[start..end].copy_from_slice(&content[..end - start]);
}
