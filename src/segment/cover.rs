//! A segment and its digests: taken as it grows, written when it is synced, asked when it is read.
//!
//! A read asks before it believes a header. What was asked once is remembered, by pieces of 4 KiB
//! of the log: a bit each, for as long as the segment is open. Bytes that this process appended to
//! the active segment need no asking; once it is sealed they are like any others.
//!
//! Where there are no digests (another hand wrote last, or the sidecar is gone or damaged) there
//! is nothing to ask, and checksums, offsets and epochs alone have to do.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;

use super::digest::{DigestedBatch, Digester, Fold, OpenHeader, Origin, Run, Seed};
use super::locate::Fitness;
use super::scan::{Walk, WalkStep};
use super::shared::{Segment, Tenancy};
use super::sidecar::{Found, Sidecar, sidecar_bytes, write_runs};
use crate::disk::DiskFile;
use crate::disk::names::SegmentFile;
use crate::disk::replace::replace_file_name_later;
use crate::error::{Error, Result};
use crate::ids::Offset;
use crate::record::BatchHeader;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Bytes of log behind one bit.
const PIECE: u64 = 4 << 10;
/// Bytes read at a time where a run has to be read for its headers alone.
const STRIDE: u64 = 16 << 10;

/// What a segment knows of its digests.
#[derive(Debug)]
pub(super) struct Cover {
    /// Bytes from here on this process has appended, and the segment is not sealed.
    own_from: AtomicU64,
    /// How many runs of the sidecar count; the rest is of bytes that a stop has taken.
    counted: AtomicU64,
    asked: ArcSwapOption<Asked>,
    unsaved: Mutex<Unsaved>,
}

/// Batches whose headers are not what they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Misfit {
    pub(super) bytes: Range<u64>,
    pub(super) offsets: Range<Offset>,
}

/// Runs that the sidecar does not have yet.
#[derive(Debug, Default)]
struct Unsaved {
    /// How many runs of the file stay.
    kept: u64,
    runs: Vec<Run>,
    /// Written, and not synced yet.
    unsynced: Option<Arc<dyn DiskFile>>,
    /// The file has runs behind those that stay, of bytes that were lost: they go.
    has_stale: bool,
}

/// The sidecar, if it can be used, and what was asked of it.
#[derive(Debug)]
pub(super) struct Asked {
    sidecar: Option<Sidecar>,
    pieces: Box<[AtomicU64]>,
}

impl Asked {
    fn new(sidecar: Option<Sidecar>, len: u64) -> Self {
        let words = usize::try_from(len.div_ceil(PIECE).div_ceil(64)).unwrap_or(0);
        Asked { sidecar, pieces: (0..words).map(|_| AtomicU64::new(0)).collect() }
    }

    pub(super) fn sidecar(&self) -> Option<&Sidecar> {
        self.sidecar.as_ref()
    }

    fn bit(piece: u64) -> (usize, u64) {
        (usize::try_from(piece / 64).unwrap_or(usize::MAX), 1 << (piece % 64))
    }

    fn all(&self, mut pieces: Range<u64>) -> bool {
        pieces.all(|piece| {
            let (word, bit) = Asked::bit(piece);
            self.pieces.get(word).is_some_and(|word| word.load(Ordering::Relaxed) & bit != 0)
        })
    }

    fn note(&self, pieces: Range<u64>) {
        for piece in pieces {
            let (word, bit) = Asked::bit(piece);
            if let Some(word) = self.pieces.get(word) {
                word.fetch_or(bit, Ordering::Relaxed);
            }
        }
    }
}

impl Cover {
    /// Of a segment that lies on disk: all of it is asked about.
    pub(super) fn of_file() -> Self {
        Cover {
            own_from: AtomicU64::new(u64::MAX),
            counted: AtomicU64::new(u64::MAX),
            asked: ArcSwapOption::empty(),
            unsaved: Mutex::new(Unsaved::default()),
        }
    }
}

impl Segment {
    pub(crate) fn digest_path(&self) -> PathBuf {
        self.place().path(self.base(), SegmentFile::Digests)
    }

    /// From `position` on, nothing is asked: this process appends it.
    pub(super) fn appends_from(&self, position: u64) {
        self.cover.own_from.store(position, Ordering::Release);
    }

    /// The writer goes on behind the first `kept` runs of the sidecar, which may have stale ones
    /// behind them.
    pub(super) fn keep_runs(&self, kept: u64, has_stale: bool) {
        self.cover.counted.store(kept, Ordering::Release);
        *self.cover.unsaved.lock() = Unsaved { kept, has_stale, ..Unsaved::default() };
    }

    /// One who takes digests of this segment.
    pub(super) fn digester(&self, origin: Origin) -> Digester {
        let place = self.place();
        Digester::new(place.identity, self.base(), place.index_interval, origin)
    }

    /// Takes runs that are to be saved.
    pub(super) fn add_runs(&self, runs: Vec<Run>) {
        if !runs.is_empty() {
            self.cover.unsaved.lock().runs.extend(runs);
        }
    }

    /// Writes the runs that the sidecar lacks, in one piece, and returns the file if it is to be
    /// synced. Says so where its name is new. Under the log's sync lock.
    pub(crate) fn save_digests(&self, named: impl FnOnce()) -> Result<Option<Arc<dyn DiskFile>>> {
        let mut unsaved = self.cover.unsaved.lock();
        if unsaved.runs.is_empty() && !unsaved.has_stale {
            return Ok(unsaved.unsynced.clone());
        }
        if unsaved.kept == 0 || unsaved.has_stale {
            named();
        }
        let place = self.place();
        let whose = (place.identity, self.base());
        let path = self.digest_path();
        let runs = std::mem::take(&mut unsaved.runs);
        let kept = unsaved.kept;
        let written = match unsaved.has_stale {
            true => self.replace_digests(kept, &runs).map(|all| (all, None)),
            false => write_runs(&*place.disk, &path, whose, kept, &runs)
                .map(|file| (kept + runs.len() as u64, Some(file))),
        };
        match written {
            Ok((all, file)) => {
                unsaved.kept = all;
                unsaved.has_stale = false;
                unsaved.unsynced = file.clone();
                Ok(file)
            }
            Err(error) => {
                unsaved.runs = runs;
                Err(error)
            }
        }
    }

    /// Writes the sidecar anew, of its first `kept` runs and these, in place of one that has others
    /// behind: what is taken anew may lie below the recovery point, where half of it would pass for
    /// damage. Synced, but for its name. Returns how many runs it has.
    fn replace_digests(&self, kept: u64, runs: &[Run]) -> Result<u64> {
        let (place, path) = (self.place(), self.digest_path());
        let mut all = Vec::new();
        if kept > 0
            && let Found::Sidecar(sidecar) =
                Sidecar::open(&*place.disk, &path, place.identity, self.base())?
        {
            for run in sidecar.with_first(kept).runs() {
                all.push(run?.1);
            }
        }
        all.extend_from_slice(runs);
        let bytes = sidecar_bytes(place.identity, self.base(), &all);
        replace_file_name_later(&*place.disk, &path, &bytes)
            .map_err(|error| Error::io("write digests", &path, error))?;
        Ok(all.len() as u64)
    }

    /// What was saved is on the disk.
    pub(crate) fn digests_are_synced(&self) {
        self.cover.unsaved.lock().unsynced = None;
    }

    /// The digests of a segment that grows no more are whole: from now on all of it is asked
    /// about.
    pub(crate) fn digests_are_sealed(&self) {
        self.cover.counted.store(u64::MAX, Ordering::SeqCst);
        self.cover.asked.store(None); // behind that: see `asked`
        self.appends_from(u64::MAX);
    }

    /// Fails if bytes `from..to` touch a batch whose open bytes are not what they were.
    pub(crate) fn vouch(&self, from: u64, to: u64) -> Result<()> {
        self.vouch_with(from, to, (0, &Bytes::new()))
    }

    /// The same, for a caller that has bytes of the segment at hand, from a position on.
    pub(super) fn vouch_with(&self, from: u64, to: u64, have: (u64, &Bytes)) -> Result<()> {
        match self.misfit_in(from, to, have)? {
            None => Ok(()),
            Some(misfit) => Err(self.misfit_error(&misfit)),
        }
    }

    /// The first bytes in `from..to` that nothing vouches for although they have a digest.
    #[inline]
    pub(super) fn misfit_in(
        &self,
        from: u64,
        to: u64,
        have: (u64, &Bytes),
    ) -> Result<Option<Misfit>> {
        let to = to.min(self.cover.own_from.load(Ordering::Acquire));
        if from >= to || self.place().tenancy == Tenancy::Guest {
            return Ok(None);
        }
        let pieces = from / PIECE..to.div_ceil(PIECE);
        if let Some(asked) = &*self.cover.asked.load()
            && asked.all(pieces.clone())
        {
            return Ok(None);
        }
        self.ask(from..to, pieces, have)
    }

    #[cold]
    fn ask(
        &self,
        bytes: Range<u64>,
        pieces: Range<u64>,
        have: (u64, &Bytes),
    ) -> Result<Option<Misfit>> {
        let asked = self.asked()?;
        let Some(sidecar) = &asked.sidecar else {
            asked.note(pieces);
            return Ok(None);
        };
        let (mut all_fit, end) = (true, pieces.end * PIECE);
        for run in sidecar.runs_behind(pieces.start * PIECE) {
            let run = self.still_ours(run)?;
            let Some(run) = run.filter(|run| u64::from(run.start) < end) else { break };
            if self.fits(&run, have)? {
                continue;
            }
            all_fit = false; // its neighbours are none the worse
            let misfit = self.misfit_of(&run, have)?;
            if misfit.bytes.start < bytes.end && bytes.start < misfit.bytes.end {
                return Ok(Some(misfit));
            }
        }
        if all_fit {
            asked.note(pieces);
        }
        Ok(None)
    }

    /// What of a run that does not fit is to be believed no more.
    pub(super) fn misfit_of(&self, run: &Run, have: (u64, &Bytes)) -> Result<Misfit> {
        let (bytes, offsets) = match self.fitness(run, have)? {
            Fitness::But { damaged: (start, end), offsets, .. } => (start..end, offsets),
            _ => (u64::from(run.start)..u64::from(run.end), (run.first, run.next)),
        };
        let offsets = self.offset_of(offsets.0)..self.offset_of(offsets.1);
        Ok(Misfit { bytes, offsets })
    }

    /// A sidecar that is gone while it is read belongs to a segment that was dropped.
    fn still_ours(&self, run: Result<Run>) -> Result<Option<Run>> {
        match run {
            Ok(run) => Ok(Some(run)),
            Err(error) => match self.place().disk.metadata(&self.digest_path()) {
                Ok(None) => Ok(None),
                _ => Err(error),
            },
        }
    }

    pub(super) fn misfit_error(&self, misfit: &Misfit) -> Error {
        let Range { start, end } = misfit.bytes;
        let what = format!("the batch headers of bytes {start} to {end} do not fit their digest");
        Error::corrupt("read", &self.path(), start, what).at_offset(misfit.offsets.start)
    }

    pub(super) fn offset_of(&self, relative: u32) -> Offset {
        self.base().checked_add(i64::from(relative)).unwrap_or(self.base())
    }

    pub(super) fn asked(&self) -> Result<Arc<Asked>> {
        loop {
            if let Some(asked) = self.cover.asked.load_full() {
                return Ok(asked);
            }
            let counted = self.cover.counted.load(Ordering::SeqCst);
            let asked = Arc::new(Asked::new(self.sidecar()?, self.published()));
            self.cover.asked.store(Some(asked.clone()));
            if self.cover.counted.load(Ordering::SeqCst) == counted {
                return Ok(asked); // where it is sealed from here on, that lets go of this one
            }
            self.cover.asked.store(None);
        }
    }

    /// The sidecar, if there is one that can be used.
    pub(super) fn sidecar(&self) -> Result<Option<Sidecar>> {
        if self.replaced.load(Ordering::Acquire) {
            return Ok(None); // the file of this name is another's
        }
        let place = self.place();
        let path = self.digest_path();
        // before the file is opened: all runs count once it has none of what was cut off, and one
        // that was opened before then has
        let counted = self.cover.counted.load(Ordering::SeqCst);
        Ok(match Sidecar::open(&*place.disk, &path, place.identity, self.base())? {
            Found::Sidecar(sidecar) => Some(sidecar.with_first(counted)),
            Found::Missing | Found::Unwritten => None,
            Found::Unusable(why) => {
                log::warn!("{} vouches for nothing: {why}", path.display());
                None
            }
        })
    }

    /// Whether the open bytes of a run's batches are what they were.
    pub(super) fn fits(&self, run: &Run, have: (u64, &Bytes)) -> Result<bool> {
        let (end, published) = (u64::from(run.end), self.published());
        if end > published {
            return Ok(false);
        }
        let seed = Seed::of(self.place().identity, self.base());
        let mut position = u64::from(run.start);
        let mut fold = Fold::begin(seed, position);
        let (mut start, mut bytes) = (have.0, have.1.clone());
        while position < end {
            let held = position.checked_sub(start).and_then(|at| usize::try_from(at).ok());
            let held = held.and_then(|at| bytes.get(at..)).unwrap_or(&[]);
            let left = (end - position).min(BatchHeader::LEN as u64);
            if (held.len() as u64) < left {
                bytes = self.bytes(position, end.min(position + STRIDE))?;
                start = position;
                continue;
            }
            let Some(header) = OpenHeader::of(held) else { return Ok(false) };
            let Some(size) = header.size() else { return Ok(false) };
            fold.push(header);
            position += size;
        }
        Ok(position == end && fold.finish() == run.digest)
    }

    /// Whether the sidecar at `path` is that of this segment as it is.
    pub(crate) fn is_vouched_for_by(&self, path: &Path) -> Result<bool> {
        let place = self.place();
        let found = Sidecar::open(&*place.disk, path, place.identity, self.base())?;
        let Found::Sidecar(sidecar) = found else { return Ok(false) };
        let mut end = 0;
        for run in sidecar.runs() {
            let (_, run) = run?;
            if !self.fits(&run, (0, &Bytes::new()))? {
                return Ok(false);
            }
            end = u64::from(run.end);
        }
        Ok(end == self.published())
    }

    /// Digests of the whole batches in `from..to`, as they are now.
    pub(super) fn runs_of_file(&self, from: u64, to: u64) -> Result<Vec<Run>> {
        let file = self.log()?;
        let mut walk = Walk::new(&**file, from, to);
        let mut digester = self.digester(Origin::File);
        while let WalkStep::Batch(position, batch) = walk.step()? {
            digester.push(DigestedBatch::of(batch.header(), batch.bytes(), position));
        }
        Ok(digester.take())
    }
}

impl DigestedBatch {
    /// What a digest needs of a whole batch at `position`.
    pub(super) fn of(header: &BatchHeader, bytes: &[u8], position: u64) -> Self {
        DigestedBatch {
            header: OpenHeader::of(bytes).unwrap_or_default(), // a batch has 61 bytes at least
            position,
            size: header.size() as u64,
            first: header.base_offset(),
            next: header.end_offset(),
        }
    }
}
