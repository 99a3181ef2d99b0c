//! Where a partition's transactions stand: open, or ended by a marker that is not replicated yet.
//!
//! The first unstable offset is the lowest at which either kind begins; what lies below is decided
//! for every reader. A partition without replicas has its high watermark at its end, so that an
//! ended transaction is settled as soon as its marker is appended.

use std::collections::BTreeMap;

use crate::ids::{Offset, ProducerId};
use crate::record::MarkerKind;

/// A transaction that has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Completed {
    pub(crate) producer: ProducerId,
    pub(crate) first_offset: Offset,
    /// That of its marker.
    pub(crate) last_offset: Offset,
    pub(crate) kind: MarkerKind,
    /// Where the oldest of the others that are open begins; none is, the offset behind the marker.
    pub(crate) last_stable: Offset,
}

/// A partition's transactions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Transactions {
    /// By first offset.
    ongoing: BTreeMap<Offset, ProducerId>,
    /// By first offset, with that of the marker.
    unreplicated: BTreeMap<Offset, Offset>,
}

impl Transactions {
    pub(super) fn begin(&mut self, first_offset: Offset, producer: ProducerId) {
        self.ongoing.insert(first_offset, producer);
    }

    pub(super) fn end(&mut self, first_offset: Offset, marker: Offset) {
        self.ongoing.remove(&first_offset);
        self.unreplicated.insert(first_offset, marker);
    }

    /// Takes note that all below `high_watermark` is replicated.
    pub(super) fn settle_below(&mut self, high_watermark: Offset) {
        if !self.unreplicated.is_empty() {
            self.unreplicated.retain(|_, marker| *marker >= high_watermark);
        }
    }

    pub(super) fn first_ongoing(&self) -> Option<Offset> {
        self.ongoing.keys().next().copied()
    }

    pub(super) fn open(&self) -> usize {
        self.ongoing.len()
    }

    pub(super) fn first_unstable(&self) -> Option<Offset> {
        let ongoing = self.ongoing.keys().next();
        let unreplicated = self.unreplicated.keys().next();
        ongoing.into_iter().chain(unreplicated).min().copied()
    }
}
