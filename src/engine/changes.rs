//! How those who follow the catalog learn of its changes: a count, and a signal.
//!
//! The count is read before the table, so that a change that comes between is seen as one; the
//! signal is given after the table shows the change, under no lock of readers.
//!
//! Announced by `catalog` and by `follow`; waited for by subscribers.

use std::sync::Arc;

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::wait::Signal;

/// Tells who follows the catalog, such as a subscriber, that topics or partitions have changed.
#[derive(Debug, Default)]
pub(crate) struct CatalogChanges {
    signal: Arc<Signal>,
    count: AtomicU64,
}

impl CatalogChanges {
    /// Announced after each change, and for good when the store closes.
    pub(crate) fn signal(&self) -> &Arc<Signal> {
        &self.signal
    }

    /// How many changes there have been; read before the table.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Nothing has changed, and whoever waits is to look for itself: the state log could not be
    /// read, which no partition tells. Called with no lock held, as below.
    pub(super) fn rouse(&self) {
        self.signal.notify();
    }

    /// The table shows a change. Called with no lock of readers held: it may run wakers.
    pub(super) fn announce(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
        self.signal.notify();
    }
}
