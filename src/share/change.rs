//! A change of one place's state before it takes effect: planned, written, then applied.
//!
//! So an append that fails leaves the state as it was. A change names each offset at most once.

use std::sync::Arc;

use super::deliveries::{Finished, LeaseId, Phase, Resolution};
use crate::ids::LeaderEpoch;

/// What a record becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    Open(Open),
    Done(Finished),
}

/// A record that is not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Open {
    /// How often it was handed out.
    pub(super) count: u16,
    pub(super) phase: Phase,
    /// The hash of its key, where order by key is kept and the record has one.
    pub(super) key: Option<u64>,
}

/// A change that is planned.
#[derive(Clone, Debug, Default)]
pub(super) struct Delta {
    /// First and last offset, and what all between become.
    pub(super) changes: Vec<(i64, i64, To)>,
    /// It begins here now, earlier than it did: finished records are owed again.
    pub(super) start: Option<i64>,
    /// What was fetched reaches to here now.
    pub(super) end: Option<i64>,
    /// The epoch of the last record fetched.
    pub(super) epoch: Option<LeaderEpoch>,
    /// Who said what, for who says it again.
    pub(super) settled: Vec<(i64, (LeaseId, Resolution))>,
    /// What went wrong with records that are to become dead letters.
    pub(super) texts: Vec<(i64, Arc<str>)>,
    /// Records that were owed and are not in the log any more.
    pub(super) lost: u64,
}

impl Delta {
    pub(super) fn done(&mut self, first: i64, last: i64, how: Finished) {
        if first <= last {
            self.changes.push((first, last, To::Done(how)));
        }
    }

    pub(super) fn open(&mut self, offset: i64, open: Open) {
        self.changes.push((offset, offset, To::Open(open)));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.end.is_none()
    }

    /// How many offsets it names, ranges as one.
    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }
}
