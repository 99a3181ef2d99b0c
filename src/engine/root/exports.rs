//! The files of the root that exist for Kafka's sake: three checkpoints and the clean mark.
//!
//! They are exports: written from what the state log and the partitions know, at close and rarely
//! between, and believed only where another hand wrote last. `cleaner-offset-checkpoint` and
//! `meta.properties` are left as they are. A store born here gets no `meta.properties`: Kafka's log
//! classes open a root without it, and a broker must not take one that nobody formatted for it.
//!
//! The order of a write makes a crash in it recognisable: the digests of what is to come are
//! recorded, then each file is replaced, the clean mark last, then the state log confirms. So at
//! any moment every file is one that the state log knows. Our clean mark holds spaces that Kafka
//! reads and never writes: that mark can have come from no other hand.
//!
//! Called by the root at open (`read`) and by the engine to export.

use std::path::{Path, PathBuf};

use super::fact::{Digest, ExportDigests, ExportFile, Fact};
use super::root_log::RootLog;
use crate::disk::replace::replace_file;
use crate::disk::{Disk, names};
use crate::error::{Error, Result};
use crate::log::Durable;
use crate::log::checkpoint::{OffsetLine, format_offsets, parse_offsets, read_small_file};

/// What we write into `.kafka_cleanshutdown`.
const CLEAN_MARK: &[u8] = b"{ \"version\": 0, \"brokerEpoch\": -1 }\n";

impl ExportFile {
    /// Where the file lies.
    pub(crate) fn path(self, root: &Path) -> PathBuf {
        root.join(match self {
            ExportFile::RecoveryPoints => names::RECOVERY_POINTS,
            ExportFile::LogStarts => names::LOG_STARTS,
            ExportFile::HighWatermarks => names::HIGH_WATERMARKS,
            ExportFile::CleanShutdown => names::CLEAN_SHUTDOWN,
        })
    }
}

/// The digest of our clean mark.
pub(crate) fn our_clean_mark() -> Digest {
    Digest::of(CLEAN_MARK)
}

/// What to export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exports {
    pub(crate) recovery_points: Vec<OffsetLine>,
    /// Only partitions whose log start lies above the base of their first segment.
    pub(crate) log_starts: Vec<OffsetLine>,
    pub(crate) high_watermarks: Vec<OffsetLine>,
}

/// What an export is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// The store stays open.
    Interim,
    /// All data is durable and nothing will be written any more.
    CleanClose,
}

/// The exports as they lie in the root.
#[derive(Debug, Default)]
pub(crate) struct FoundExports {
    pub(crate) digests: ExportDigests,
    pub(crate) contents: Exports,
    /// Checkpoints that could not be understood; as in Kafka they then count as empty.
    pub(crate) faults: Vec<Error>,
}

impl FoundExports {
    /// Whether somebody's clean mark is there.
    pub(crate) fn has_clean_mark(&self) -> bool {
        self.digests.contains_key(&ExportFile::CleanShutdown)
    }
}

/// Reads the exports of `root`; missing ones are empty.
///
/// # Errors
/// Those of the disk. What a file holds is no error here, see [`FoundExports::faults`].
pub(crate) fn read_all(disk: &dyn Disk, root: &Path) -> Result<FoundExports> {
    const OPERATION: &str = "read root checkpoint";
    let mut found = FoundExports::default();
    for file in ExportFile::ALL {
        let path = file.path(root);
        let Some(bytes) = read_small_file(disk, &path, OPERATION)? else { continue };
        found.digests.insert(file, Digest::of(&bytes));
        let lines = match file {
            ExportFile::RecoveryPoints => &mut found.contents.recovery_points,
            ExportFile::LogStarts => &mut found.contents.log_starts,
            ExportFile::HighWatermarks => &mut found.contents.high_watermarks,
            ExportFile::CleanShutdown => continue, // only its existence says something
        };
        match parse_offsets(&bytes) {
            Ok(read) => *lines = read,
            Err(fault) => found.faults.push(fault.into_error(OPERATION, &path)),
        }
    }
    Ok(found)
}

/// Writes the exports and records them; with [`Occasion::CleanClose`] also the clean mark and the
/// stamp that ends a reign. All is durable when it returns.
///
/// # Errors
/// Those of the disk and the state log; what was written until then is known to the state log.
pub(crate) fn write_all(
    disk: &dyn Disk,
    root: &Path,
    log: &RootLog,
    exports: &Exports,
    occasion: Occasion,
) -> Result<()> {
    let mut files = vec![
        (ExportFile::RecoveryPoints, format_offsets(&exports.recovery_points)),
        (ExportFile::LogStarts, format_offsets(&exports.log_starts)),
        (ExportFile::HighWatermarks, format_offsets(&exports.high_watermarks)),
    ];
    if occasion == Occasion::CleanClose {
        files.push((ExportFile::CleanShutdown, CLEAN_MARK.to_vec()));
    }
    let digests: ExportDigests =
        files.iter().map(|(file, bytes)| (*file, Digest::of(bytes))).collect();
    log.record(&[Fact::ExportBegun { digests: digests.clone() }], Durable::Now)?;
    for (file, bytes) in files {
        let path = file.path(root);
        replace_file(disk, &path, &bytes)
            .map_err(|error| Error::io("write root checkpoint", &path, error))?;
    }
    let confirmed = match occasion {
        Occasion::Interim => Fact::Exported { digests },
        Occasion::CleanClose => Fact::CleanClose { digests },
    };
    log.record(&[confirmed], Durable::Now)
}

/// Removes the clean mark, durably, if there is one.
///
/// # Errors
/// Those of the disk.
pub(crate) fn remove_clean_mark(disk: &dyn Disk, root: &Path) -> Result<()> {
    let path = ExportFile::CleanShutdown.path(root);
    match disk.remove_file(&path) {
        Ok(()) => disk.sync_dir(root),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
    .map_err(|error| Error::io("remove clean mark", &path, error))
}
