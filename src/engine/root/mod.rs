//! The root of a store: what the directory itself knows, before any partition is opened.
//!
//! Owns the marker, the state log, Kafka's checkpoint files, and the two decisions made of them at
//! open: who wrote last, and what becomes of each directory. It opens no partition and takes no
//! lock: the engine has locked the directory before, and carries the plan out after.
//!
//! Order of creation: state log, then marker. So a marker without a state log is damage, and a
//! state log without a marker is a creation cut short (it holds no fact). Order of an opening: the
//! engine reads the plan, records what it adopted together with the open mark in one frame
//! ([`Root::begin_reign`]), and only then is the clean mark removed and anything appended.
//! Order of a close: data, exports, clean mark, stamp.
//!
//! Called by the engine only.

use std::path::{Path, PathBuf};

use crate::disk::Disk;
use crate::error::Result;
use crate::ids::LeaderEpoch;
use crate::sync::Arc;

pub(crate) mod directory;
pub(crate) mod exports;
pub(crate) mod fact;
pub(crate) mod followed;
mod frame;
pub(crate) mod last_writer;
pub(crate) mod marker;
pub(crate) mod reconcile;
mod reserve;
pub(crate) mod root_log;
pub(crate) mod state;
mod survey;

#[cfg(test)]
mod fault_disk;

use crate::log::Durable;
use exports::{Exports, FoundExports, Occasion};
use fact::Fact;
use last_writer::{LastWriter, who_wrote_last};
use marker::StoreId;
use reconcile::{Authority, Reconciled, reconcile};
use root_log::{RootLog, RootReport};
use state::RootState;
pub(crate) use survey::RootKind;

/// An open root.
#[derive(Debug)]
pub(crate) struct Root {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    store_id: StoreId,
    log: RootLog,
}

/// What was found on opening a root, and what is to be done.
#[derive(Debug)]
pub(crate) struct RootOpening {
    /// What the directory was before.
    pub(crate) kind: RootKind,
    pub(crate) state: RootState,
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
                directory::sync_own_name(&*disk, path)?;
                (kind, store_id)
            }
        };
        let (log, state, state_log) = RootLog::open(disk.clone(), path, store_id)?;
        let exports = exports::read_all(&*disk, path)?;
        let last_writer = who_wrote_last(&state, &exports.digests, disk.boot_id().ok());
        let authority =
            if last_writer.is_ours() { Authority::Catalog } else { Authority::Directory };
        let seen = survey::survey(&*disk, path, &state)?;
        let plan = reconcile(&state, authority, &seen.dirs);
        let opening = RootOpening { kind, state, state_log, last_writer, exports, plan };
        Ok((Root { disk, path: path.to_owned(), store_id, log }, opening))
    }

    /// Makes a root in a directory without one, as a close would have left it: with this state,
    /// which has seen an opening, and these exports. Durable when it returns, but for the
    /// directory's own name.
    ///
    /// # Errors
    /// Those of the disk.
    pub(crate) fn create_closed(
        disk: Arc<dyn Disk>,
        path: &Path,
        state: &RootState,
        exports: &Exports,
    ) -> Result<StoreId> {
        let store_id = StoreId::random();
        root_log::create_holding(&*disk, path, store_id, state)?;
        marker::write(&*disk, path, store_id)?;
        let (log, ..) = RootLog::open(disk.clone(), path, store_id)?;
        let root = Root { disk, path: path.to_owned(), store_id, log };
        root.export(exports, Occasion::CleanClose)?;
        Ok(store_id)
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

#[cfg(test)]
mod tests;
