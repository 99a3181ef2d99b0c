//! The root of a store that another process may be writing to: its marker and its state log, read.
//!
//! A look opens the state log by its name and compares header and length: a compaction begins a
//! new file with a new generation. Where either differs the file is read as a whole. A frame that
//! is not whole is "not yet", and what the next look begins with; a bad frame that others vouch
//! for is damage once it is read twice, for a read is not one moment of a file that grows.
//!
//! Lock: one, held across the read. Callers: the engine that follows, from any thread.

use std::path::{Path, PathBuf};

use super::frame::{self, Fault, HEADER_LEN, Header, VERSION};
use super::marker::{self, StoreId};
use super::state::RootState;
use super::survey::{RootKind, classify, survey};
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
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    header: Option<Header>,
    len: u64,
    /// Where a frame begins that is not whole, and the checksum of what there is of it.
    unfinished: Option<(u64, u32)>,
    known: Known,
}

impl FollowedRoot {
    /// Finds the store at `path` and reads what it knows.
    ///
    /// # Errors
    /// `NotAStore` where there is none, or one of Kafka's that nobody has adopted; `Corrupt` and
    /// `NewerVersion` for files of ours that cannot be read; the disk's.
    pub(crate) fn open(disk: Arc<dyn Disk>, path: &Path) -> Result<FollowedRoot> {
        marker::refuse_unfinished(&*disk, path)?;
        let Some(store_id) = marker::read(&*disk, path)? else {
            return Err(no_store(&*disk, path));
        };
        let root = FollowedRoot { disk, path: path.to_owned(), store_id, seen: Mutex::default() };
        root.look()?;
        Ok(root)
    }

    pub(crate) fn store_id(&self) -> StoreId {
        self.store_id
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What the last look saw.
    pub(crate) fn known(&self) -> Known {
        self.seen.lock().known.clone()
    }

    /// What the state log says now.
    ///
    /// # Errors
    /// `NotAStore` where the store is gone or another is in its place; as [`FollowedRoot::open`].
    pub(crate) fn look(&self) -> Result<Known> {
        let mut seen = self.seen.lock();
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
        if seen.header == Some(header) && seen.len == len {
            let same = match seen.unfinished {
                None => true,
                Some((from, crc)) => crc == crc32c::crc32c(&range(&*file, path, from, len)?),
            };
            if same {
                return Ok(());
            }
        }
        let bytes = range(&*file, path, 0, len)?;
        let scan = frame::scan(&bytes).map_err(|fault| explain(fault, path))?;
        let unfinished = scan.torn.and_then(|torn| {
            let from = usize::try_from(torn.position).ok()?;
            Some((torn.position, crc32c::crc32c(bytes.get(from..)?)))
        });
        let state = RootState::fold(&scan.facts);
        if seen.header.is_none() || state != *seen.known.state {
            seen.known = Known { serial: seen.known.serial + 1, state: Arc::new(state) };
        }
        // of the file that was read, which may have been longer than the read by then
        (seen.header, seen.len) = (Some(scan.header), bytes.len() as u64);
        seen.unfinished = unfinished;
        Ok(())
    }

    fn gone(&self, path: &Path) -> Result<()> {
        if marker::read(&*self.disk, &self.path)?.is_some() {
            return Err(Error::corrupt(READ, path, 0, "the file is missing"));
        }
        Err(no_store(&*self.disk, &self.path))
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
                Ok(RootKind::Kafka) => "Kafka wrote it, and no store has adopted it yet: open it \
                                        once for writing"
                    .to_owned(),
                Ok(_) => "there is no store in it".to_owned(),
            }
        }
    };
    Error::new(OPERATION, Cause::NotAStore(text)).at_path(path)
}
