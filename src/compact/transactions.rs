//! What a pass knows of transactions and producers, batch by batch, in the order of the log.
//!
//! All that a pass looks at is decided: it ends below the last stable offset. Data of transactions
//! that were aborted goes at once. A marker stays while the log holds a batch of its transaction,
//! be it an emptied one; the first pass that meets none begins its delete horizon, and one behind
//! that takes it. What is written keeps an entry in its index of aborted transactions for each
//! marker whose data is not gone (`kafka-format.md` 2.7).
//!
//! The batch with a producer's last sequence stays, emptied if need be, as long as the log
//! remembers the producer; of one that is known by a marker alone, the marker of its epoch.

use std::collections::{HashMap, HashSet};

use crate::ids::ProducerId;
use crate::log::{Aborted, LastBatch};
use crate::record::{BatchHeader, MarkerKind};
use crate::segment::AbortedTransaction;

/// The transactions of a log, on the way through it.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    aborted: Aborted,
    producers: HashMap<ProducerId, LastBatch>,
    /// Who had a batch in the transaction at hand.
    seen: HashSet<ProducerId>,
    /// The entries whose markers were met and stay, until they are taken.
    index: Vec<AbortedTransaction>,
}

impl Transactions {
    pub(super) fn new(aborted: Aborted, producers: HashMap<ProducerId, LastBatch>) -> Self {
        Transactions { aborted, producers, seen: HashSet::new(), index: Vec::new() }
    }

    /// Whether the records of a batch, which holds no marker, were aborted.
    pub(super) fn is_aborted(&self, header: &BatchHeader) -> bool {
        header.is_transactional() && self.aborted.covers(header)
    }

    /// A batch without a marker was met, records left or not.
    pub(super) fn meet_data(&mut self, header: &BatchHeader) {
        if let Some(producer) = header.producer_id().filter(|_| header.is_transactional()) {
            self.seen.insert(producer);
        }
    }

    /// A marker was met; says whether all data of its transaction is gone.
    pub(super) fn meet_marker(&mut self, header: &BatchHeader, kind: MarkerKind) -> bool {
        let had_data = header.producer_id().is_some_and(|producer| self.seen.remove(&producer));
        if had_data && kind == MarkerKind::Abort {
            let here = header.base_offset()..header.end_offset();
            self.index.extend(self.aborted.marked_in(here));
        }
        !had_data
    }

    /// Whether a batch tells how far its producer has come, and nothing else does.
    pub(super) fn is_last_of_producer(&self, header: &BatchHeader) -> bool {
        let last = header.producer_id().and_then(|producer| self.producers.get(&producer));
        last.is_some_and(|last| match last.last_offset {
            Some(offset) => offset == header.last_offset(),
            None => header.is_control() && Some(last.epoch) == header.producer_epoch(),
        })
    }

    /// The index of what was met since it was taken last.
    pub(super) fn take_index(&mut self) -> Vec<AbortedTransaction> {
        std::mem::take(&mut self.index)
    }
}
