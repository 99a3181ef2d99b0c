//! Which records of a partition count: the transactions in its log, told from the log alone.
//!
//! A transaction begins with its producer's first transactional batch and ends with the marker; up
//! to where nothing is undecided is the last stable offset. `.txnindex` is not asked: what it
//! should say follows from the markers, and it may be missing.
//!
//! Made by `partition`, in one pass over the headers.

use std::collections::{BTreeMap, HashMap};

use super::batch::{DumpedBatch, DumpedControl};
use crate::ids::{Offset, ProducerId};
use crate::segment::AbortedTransaction;

/// The transactions of a partition, as its log tells them.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # tidelog::Log::open(dir.path())?.append(&[tidelog::Record::new("a")])?;
/// let dump = tidelog::Dump::open(dir.path())?;
/// let transactions = dump.partitions()[0].transactions()?;
/// assert!(transactions.aborted().is_empty());
/// assert_eq!(transactions.last_stable_offset().get(), 1);
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct DumpedTransactions {
    open: BTreeMap<ProducerId, Offset>,
    aborted: Vec<AbortedTransaction>,
    /// First and last offset of what each producer aborted, in order.
    ranges: HashMap<ProducerId, Vec<(Offset, Offset)>>,
    end: Offset,
}

impl DumpedTransactions {
    /// Takes the next batch of the log in.
    pub(super) fn push(&mut self, batch: &DumpedBatch<'_>) {
        self.end = batch.last_offset.next();
        let Some(producer_id) = batch.producer_id else { return };
        match batch.control {
            None if batch.is_transactional => {
                self.open.entry(producer_id).or_insert(batch.base_offset);
            }
            Some(DumpedControl::Commit { .. }) => {
                self.open.remove(&producer_id);
            }
            Some(DumpedControl::Abort { .. }) => self.abort(producer_id, batch.base_offset),
            _ => {}
        }
    }

    fn abort(&mut self, producer_id: ProducerId, marker: Offset) {
        let Some(first) = self.open.remove(&producer_id) else { return };
        let last_stable = self.last_stable_offset();
        self.aborted.push(AbortedTransaction::new(producer_id, first, marker, last_stable));
        self.ranges.entry(producer_id).or_default().push((first, marker));
    }

    /// Every aborted transaction that has records left, in order of its marker.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Log::open(dir.path())?.append(&[tidelog::Record::new("a")])?;
    /// let dump = tidelog::Dump::open(dir.path())?;
    /// assert!(dump.partitions()[0].transactions()?.aborted().is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn aborted(&self) -> &[AbortedTransaction] {
        &self.aborted
    }

    /// Up to where every transaction is decided: where the first open one begins, or the end.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Log::open(dir.path())?.append(&[tidelog::Record::new("a")])?;
    /// let dump = tidelog::Dump::open(dir.path())?;
    /// assert_eq!(dump.partitions()[0].transactions()?.last_stable_offset().get(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn last_stable_offset(&self) -> Offset {
        self.open.values().copied().min().unwrap_or(self.end)
    }

    /// Whether a reader at `read_committed` is given the batch's records.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Log::open(dir.path())?.append(&[tidelog::Record::new("a")])?;
    /// let dump = tidelog::Dump::open(dir.path())?;
    /// let transactions = dump.partitions()[0].transactions()?;
    /// dump.partitions()[0].read(|batch| {
    ///     assert!(transactions.is_served(batch));
    ///     std::ops::ControlFlow::Continue(())
    /// })?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn is_served(&self, batch: &DumpedBatch<'_>) -> bool {
        if batch.control.is_some() || batch.base_offset >= self.last_stable_offset() {
            return false;
        }
        let ranges = batch.producer_id.filter(|_| batch.is_transactional);
        let Some(ranges) = ranges.and_then(|id| self.ranges.get(&id)) else { return true };
        let next = ranges.partition_point(|(_, last)| *last < batch.base_offset);
        ranges.get(next).is_none_or(|(first, _)| *first > batch.base_offset)
    }
}
