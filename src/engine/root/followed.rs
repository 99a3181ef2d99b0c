//! The root of a store that another process may be writing to: its marker and its state log, read.
//!
//! A look opens the state log by its name and compares what tells one file from another: the
//! header, for a compaction begins a new file with a new generation, and the last frame, which a
//! writer that could not sync it takes back. Where both are the same only what was appended since
//! is read, else the whole. A frame that is not whole is "not yet", and what the next look begins
//! with; a bad frame that others vouch for is damage once it is read twice, for a read is not one
//! moment of a file that grows.
//!
//! A root that only Kafka has written to has neither: `unadopted` makes its state.
//!
//! Lock: one, held across the read. Callers: the engine that follows, from any thread.

use std::path::{Path, PathBuf};

use super::frame::{self, Fault, HEADER_LEN, Header, Scan, TornTail, VERSION};
use super::marker::{self, StoreId};
use super::state::RootState;
use super::survey::{RootKind, classify, survey};
use super::unadopted::{self, Unadopted};
use crate::disk::{Access, Disk, DiskFile, names, read_full_at};
use crate::error::{Cause, Error, Result};
use crate::sync::{Arc, Mutex};

/// How often a file that reads as damaged, or goes away, is read anew.
const ATTEMPTS: usize = 5;
/// The longest state log that is read.
const MAX_LEN: u64 = 1 << 30;
const READ: &str = "follow state log";

/// The state as of one look, and how many states there have been.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    pub(crate) serial: u64,
    pub(crate) state: Arc<RootState>,
}

/// A root, followed.
#[derive(Debug)]
pub(crate) struct FollowedRoot {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    store_id: StoreId,
    is_kafkas: bool,
    seen: Mutex<Seen>,
}

/// What was read of the file, and what it said.
#[derive(Debug, Default)]
struct Seen {
    header: Option<Header>,
    /// Where the whole frames end, and the sequence of the next one.
    end: u64,
    next_sequence: u64,
    /// Where the last whole frame begins, and its first bytes, which hold its checksum.
    last: Option<(u64, Vec<u8>)>,
    /// The checksum of what lay behind the whole frames.
    unfinished: Option<u32>,
    torn: Option<TornTail>,
    unadopted: Unadopted,
    known: Known,
}

/// That of a root without a store.
const NO_STORE: StoreId = StoreId::from_bytes([0; 16]);

impl FollowedRoot {
    /// Finds the store at `path` and reads what it knows.
    ///
    /// # Errors
    /// `NotAStore` where there is none, nor a root of Kafka's; `Corrupt` and `NewerVersion` for
    /// files of ours that cannot be read; the disk's.
    pub(crate) fn open(disk: Arc<dyn Disk>, path: &Path) -> Result<FollowedRoot> {
        let marker =
            marker::refuse_unfinished(&*disk, path).and_then(|()| marker::read(&*disk, path));
        let store_id = match marker {
            Ok(Some(store_id)) => store_id,
            Ok(None) if unadopted::is_kafkas(&*disk, path)? => NO_STORE,
            Ok(None) => return Err(no_store(&*disk, path)),
            Err(error) if is_no_directory(&error) => return Err(no_store(&*disk, path)),
            Err(error) => return Err(error),
        };
        let (path, is_kafkas) = (path.to_owned(), store_id == NO_STORE);
        let root = FollowedRoot { disk, path, store_id, is_kafkas, seen: Mutex::default() };
        root.look()?;
        Ok(root)
    }

    pub(crate) fn store_id(&self) -> StoreId {
        self.store_id
    }

    /// Whether only Kafka has written to it.
    pub(crate) fn is_kafkas(&self) -> bool {
        self.is_kafkas
    }

    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What the last look saw.
    pub(crate) fn known(&self) -> Known {
        self.seen.lock().known.clone()
    }

    /// What lay behind the whole frames when the file was last read.
    pub(crate) fn torn(&self) -> Option<TornTail> {
        self.seen.lock().torn
    }

    /// What the state log says now.
    ///
    /// # Errors
    /// `NotAStore` where the store is gone or another is in its place; as [`FollowedRoot::open`].
    pub(crate) fn look(&self) -> Result<Known> {
        let mut seen = self.seen.lock();
        if self.is_kafkas {
            return self.look_at_kafkas(&mut seen);
        }
        let path = self.path.join(names::STATE_LOG);
        for attempt in 1.. {
            let is_last = attempt == ATTEMPTS;
            match self.read(&mut seen, &path) {
                Err(error) if is_last || !error.is_corrupt() => return Err(error),
                Err(_) => {}
                Ok(()) => break,
            }
        }
        Ok(seen.known.clone())
    }

    fn look_at_kafkas(&self, seen: &mut Seen) -> Result<Known> {
        let known = seen.known.clone();
        if let Some(state) = seen.unadopted.look(&*self.disk, &self.path, &known.state)? {
            seen.known = Known { serial: known.serial + 1, state: Arc::new(state) };
        }
        Ok(seen.known.clone())
    }

    fn read(&self, seen: &mut Seen, path: &Path) -> Result<()> {
        let fail = |error| Error::io(READ, path, error);
        let file = match self.disk.open(path, Access::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return self.gone(path),
            Err(error) => return Err(fail(error)),
        };
        let len = file.len().map_err(fail)?;
        let mut head = [0; HEADER_LEN];
        let got = read_full_at(&*file, &mut head, 0).map_err(fail)?;
        let header = Header::parse(&head[..got]).map_err(|fault| explain(fault, path))?;
        if header.store_id != self.store_id {
            let text = format!("another store, {}, has taken its place", header.store_id);
            return Err(Error::new(READ, Cause::NotAStore(text)).at_path(path));
        }
        if seen.header == Some(header) && len >= seen.end && seen.still_ends(&*file, path)? {
            let bytes = range(&*file, path, seen.end, len)?;
            if (!bytes.is_empty()).then(|| crc32c::crc32c(&bytes)) == seen.unfinished {
                return Ok(());
            }
            if let Ok(scan) = frame::scan_on(&bytes, 0, header, seen.next_sequence) {
                let mut state = RootState::clone(&seen.known.state);
                scan.facts.iter().for_each(|fact| state.apply(fact));
                seen.take_over(&bytes, seen.end, &scan, state);
                return Ok(());
            } // else what is wrong shows, or not, when all of it is read
        }
        let bytes = range(&*file, path, 0, len)?;
        let scan = frame::scan(&bytes).map_err(|fault| explain(fault, path))?;
        let state = RootState::fold(&scan.facts);
        seen.take_over(&bytes, 0, &scan, state);
        Ok(())
    }

    fn gone(&self, path: &Path) -> Result<()> {
        if marker::read(&*self.disk, &self.path)?.is_some() {
            return Err(Error::corrupt(READ, path, 0, "the file is missing"));
        }
        Err(no_store(&*self.disk, &self.path))
    }
}

impl Seen {
    /// Whether the last whole frame is still there: a writer may take back the frame it appended
    /// last, if it could not be synced, and put another in its place.
    fn still_ends(&self, file: &dyn DiskFile, path: &Path) -> Result<bool> {
        let Some((from, head)) = &self.last else { return Ok(true) };
        Ok(range(file, path, *from, from + head.len() as u64)? == *head)
    }

    /// Takes over what a scan of `bytes`, which begin at `from` in the file, has found.
    fn take_over(&mut self, bytes: &[u8], from: u64, scan: &Scan, state: RootState) {
        if self.header.is_none() || state != *self.known.state {
            self.known = Known { serial: self.known.serial + 1, state: Arc::new(state) };
        }
        // of the file that was read, which may have been longer than the read by then
        let whole = scan.torn.map_or(bytes.len() as u64, |torn| torn.position);
        let behind = usize::try_from(whole).ok().and_then(|whole| bytes.get(whole..));
        let placed = |torn: TornTail| TornTail { position: from + torn.position, ..torn };
        self.torn = scan.torn.map(placed);
        self.unfinished = behind.filter(|behind| !behind.is_empty()).map(crc32c::crc32c);
        if let Some(last) = scan.last {
            let head = bytes[last..].iter().take(frame::FRAME_HEAD).copied().collect();
            self.last = Some((from + last as u64, head));
        } else if from == 0 {
            self.last = None;
        }
        (self.header, self.next_sequence) = (Some(scan.header), scan.next_sequence);
        self.end = from + whole;
    }
}

/// Bytes `from..to` of a file, fewer where it has fewer.
fn range(file: &dyn DiskFile, path: &Path, from: u64, to: u64) -> Result<Vec<u8>> {
    if to > MAX_LEN {
        return Err(Error::corrupt(READ, path, 0, format!("{to} bytes are no state log")));
    }
    let mut bytes = vec![0; usize::try_from(to.saturating_sub(from)).unwrap_or(0)];
    let got = read_full_at(file, &mut bytes, from);
    bytes.truncate(got.map_err(|error| Error::io(READ, path, error))?);
    Ok(bytes)
}

fn explain(fault: Fault, path: &Path) -> Error {
    match fault {
        Fault::Newer { found } => {
            Error::new(READ, Cause::NewerVersion { found, known: VERSION }).at_path(path)
        }
        Fault::Damage { position, reason } => Error::corrupt(READ, path, position, reason),
    }
}

fn is_no_directory(error: &Error) -> bool {
    matches!(error.cause(), Cause::Io(io) if io.kind() == std::io::ErrorKind::NotADirectory)
}

/// Why a directory without a marker cannot be followed.
fn no_store(disk: &dyn Disk, path: &Path) -> Error {
    const OPERATION: &str = "open store read-only";
    let text = match disk.metadata(path) {
        Err(error) => return Error::io(OPERATION, path, error),
        Ok(None) => "there is nothing".to_owned(),
        Ok(Some(found)) if !found.is_dir => "it is a file".to_owned(),
        Ok(Some(_)) => {
            let seen = survey(disk, path, &RootState::default());
            match seen.and_then(|seen| classify(path, None, &seen)) {
                Err(error) => return error,
                Ok(RootKind::Kafka) => "what is left has no store's marker".to_owned(),
                Ok(_) => "there is no store in it".to_owned(),
            }
        }
    };
    Error::new(OPERATION, Cause::NotAStore(text)).at_path(path)
}

#[cfg(test)]
mod tests;
