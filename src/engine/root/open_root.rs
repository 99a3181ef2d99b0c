//! An open root: its marker, its state log, its exports, taken and kept together.
//!
//! Opening makes the directory ours if it is empty or Kafka's, reads what all of them say, and
//! decides by it (`last_writer`, `reconcile`); it changes no partition. What it decided is carried
//! out by the engine, which then begins the reign: one frame of the state log, and only then the
//! clean mark goes. Fields are constant; the state log has a lock of its own.
//!
//! Called by the engine only.

use std::path::{Path, PathBuf};

use super::directory;
use super::exports::{self, Exports, FoundExports, Occasion};
use super::fact::Fact;
use super::last_writer::{LastWriter, who_wrote_last};
use super::marker::{self, StoreId};
use super::reconcile::{Authority, Reconciled, reconcile};
use super::root_log::{self, RootLog, RootReport};
use super::state::{Opening, RootState};
use super::survey::{self, RootKind};
use crate::disk::Disk;
use crate::error::Result;
use crate::ids::LeaderEpoch;
use crate::log::Durable;
use crate::sync::Arc;

/// An open root.
#[derive(Debug)]
pub(crate) struct Root {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) path: PathBuf,
    pub(super) store_id: StoreId,
    pub(super) log: RootLog,
}

/// What was found on opening a root, and what is to be done.
#[derive(Debug)]
pub(crate) struct RootOpening {
    /// What the directory was before.
    pub(crate) kind: RootKind,
    pub(crate) state: Arc<RootState>,
    pub(crate) state_log: RootReport,
    pub(crate) last_writer: LastWriter,
    pub(crate) exports: FoundExports,
    pub(crate) plan: Reconciled,
}

impl Root {
    /// Opens the root at `path`, or takes an empty or a Kafka directory as one.
    ///
    /// # Errors
    /// `NotAStore` for a directory of something else, `Corrupt` and `NewerVersion` for files of
    /// ours that cannot be read, those of the disk.
    pub(crate) fn open_or_create(disk: Arc<dyn Disk>, path: &Path) -> Result<(Root, RootOpening)> {
        directory::make(&*disk, path)?;
        marker::refuse_unfinished(&*disk, path)?;
        let marker = marker::read(&*disk, path)?;
        let (kind, store_id) = match marker {
            Some(store_id) => (RootKind::Ours, store_id),
            None => {
                let seen = survey::survey(&*disk, path, &RootState::default())?;
                let kind = survey::classify(path, marker, &seen)?;
                let store_id = StoreId::random();
                root_log::create(&*disk, path, store_id)?;
                marker::write(&*disk, path, store_id)?;
                (kind, store_id)
            }
        };
        let (log, state, state_log) = RootLog::open(disk.clone(), path, store_id)?;
        if state.opening() == Opening::Never {
            // also where the opening that took the directory was killed before it came to this
            directory::sync_own_name(&*disk, path)?;
        }
        let exports = exports::read_all(&*disk, path)?;
        let last_writer = who_wrote_last(&state, &exports.digests, disk.boot_id().ok());
        let authority =
            if last_writer.is_ours() { Authority::Catalog } else { Authority::Directory };
        let seen = survey::survey(&*disk, path, &state)?;
        let plan = reconcile(&state, authority, &seen.dirs);
        let opening = RootOpening { kind, state, state_log, last_writer, exports, plan };
        Ok((Root { disk, path: path.to_owned(), store_id, log }, opening))
    }

    /// Marks the store as open under `epoch`, together with `facts` (what was adopted, replaced,
    /// forgotten), and removes the clean mark. Durable when it returns; nothing may be appended to
    /// any partition before.
    ///
    /// # Errors
    /// Those of the state log and the disk.
    pub(crate) fn begin_reign(
        &self,
        epoch: LeaderEpoch,
        found: &FoundExports,
        facts: Vec<Fact>,
    ) -> Result<()> {
        // without an identity of the boot, one that no later boot can have
        let boot_id = self.disk.boot_id().unwrap_or_else(|_| *StoreId::random().as_bytes());
        let mut facts = facts;
        facts.push(Fact::Exported { digests: found.digests.clone() });
        facts.push(Fact::Opened { leader_epoch: epoch, boot_id });
        self.log.record(&facts, Durable::Now)?;
        exports::remove_clean_mark(&*self.disk, &self.path)?;
        self.log.regain_reserve();
        Ok(())
    }

    /// Writes Kafka's checkpoint files, and at a clean close the stamp that ends the reign.
    ///
    /// # Errors
    /// Those of the state log and the disk.
    pub(crate) fn export(&self, exports: &Exports, occasion: Occasion) -> Result<()> {
        self.log.with_reserve(|| {
            exports::write_all(&*self.disk, &self.path, &self.log, exports, occasion)
        })
    }

    /// The state log.
    pub(crate) fn log(&self) -> &RootLog {
        &self.log
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn store_id(&self) -> StoreId {
        self.store_id
    }
}
