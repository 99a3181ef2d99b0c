//! What opening a store found and did, for people and for programs.
//!
//! Opening never acts in silence: what was adopted, mended, removed, left alone or could not be
//! opened is here, each with its place.

use std::path::{Path, PathBuf};

use crate::ids::LeaderEpoch;
use crate::log::PartitionReport;

/// How the store was left, what of it had to be mended, and what could not be.
///
/// ```
/// let store = tidelog::Store::in_memory()?;
/// let report = store.open_report();
/// assert!(report.was_new());
/// assert!(report.failed_partitions().is_empty());
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct OpenReport {
    pub(super) new: bool,
    pub(super) clean: bool,
    pub(super) another_hand: Option<String>,
    pub(super) epoch: LeaderEpoch,
    pub(super) adopted: Vec<String>,
    pub(super) partitions: Vec<PartitionReport>,
    pub(super) failed: Vec<String>,
    pub(super) removed: Vec<PathBuf>,
    pub(super) left_alone: Vec<PathBuf>,
    pub(super) notes: Vec<String>,
    pub(super) journal_missing: bool,
}

impl OpenReport {
    /// Whether the directory was empty.
    ///
    /// ```
    /// assert!(tidelog::Store::in_memory()?.open_report().was_new());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn was_new(&self) -> bool {
        self.new
    }

    /// Whether the last process to write closed the store.
    ///
    /// ```
    /// assert!(!tidelog::Store::in_memory()?.open_report().was_closed_cleanly());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn was_closed_cleanly(&self) -> bool {
        self.clean
    }

    /// What showed that another program wrote here last, such as Kafka itself.
    ///
    /// ```
    /// assert_eq!(tidelog::Store::in_memory()?.open_report().another_hand(), None);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn another_hand(&self) -> Option<&str> {
        self.another_hand.as_deref()
    }

    /// The leader epoch of everything this open appends.
    ///
    /// ```
    /// assert_eq!(tidelog::Store::in_memory()?.open_report().leader_epoch().get(), 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// Topics taken over from another program, whose records are kept until a policy is set.
    ///
    /// ```
    /// assert!(tidelog::Store::in_memory()?.open_report().adopted_topics().is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn adopted_topics(&self) -> &[String] {
        &self.adopted
    }

    /// The partitions about which there is something to tell: torn tails, damage, leftovers.
    ///
    /// ```
    /// assert!(tidelog::Store::in_memory()?.open_report().partitions().is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn partitions(&self) -> &[PartitionReport] {
        &self.partitions
    }

    /// Why partitions could not be opened; each call to one says the same.
    ///
    /// ```
    /// assert!(tidelog::Store::in_memory()?.open_report().failed_partitions().is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn failed_partitions(&self) -> &[String] {
        &self.failed
    }

    /// Directories of deleted topics that were removed.
    ///
    /// ```
    /// assert!(tidelog::Store::in_memory()?.open_report().removed().is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn removed(&self) -> &[PathBuf] {
        &self.removed
    }

    /// Directories that are not ours to touch.
    ///
    /// ```
    /// assert!(tidelog::Store::in_memory()?.open_report().left_alone().is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn left_alone(&self) -> &[PathBuf] {
        &self.left_alone
    }

    /// Whether records that were promised to survive a power cut may be missing, because the
    /// journal that held them was: it was removed, or another file put in its place, between a
    /// power cut and this open. [`OpenReport::notes`] names the file.
    ///
    /// ```
    /// assert!(!tidelog::Store::in_memory()?.open_report().journal_was_missing());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn journal_was_missing(&self) -> bool {
        self.journal_missing
    }

    /// Whatever else a person should read, a line each.
    ///
    /// ```
    /// assert!(tidelog::Store::in_memory()?.open_report().notes().is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    pub(super) fn leave_alone(&mut self, root: &Path, directory: &str) {
        self.left_alone.push(root.join(directory));
    }
}
