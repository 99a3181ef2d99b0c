//! A root that is made whole at once: what a close would have left behind, without an opening.
//!
//! For copies of a store. Order: state log, marker, exports, clean mark, stamp; whoever makes one
//! sees to it that nobody takes the directory for a store before.

use std::path::Path;

use super::Root;
use super::exports::{Exports, Occasion};
use super::marker::{self, StoreId};
use super::root_log::{self, RootLog};
use super::state::RootState;
use crate::disk::Disk;
use crate::error::Result;
use crate::sync::Arc;

impl Root {
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
}
