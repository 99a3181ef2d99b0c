//! Partitions whose committed offset an open transaction may be about to move.
//!
//! Who takes such a partition over must not begin yet: the transaction may be committed still, by a
//! producer whose consumer was expelled or let go meanwhile, and what it stands for would be given
//! out a second time. So the partition is left without a position, and others are read. The marker
//! calls whoever waits; the transaction's timeout writes it at the latest. Who reads what is not
//! committed takes it as it is and waits for nothing.
//!
//! Callers: `fetch`, which meets such a partition; `seek` and `to_end`, which have no answer then.

use std::sync::Arc;

use super::assignment::Assignment;
use super::handle::Consumer;
use crate::config::IsolationLevel;
use crate::engine::Partition;
use crate::error::{Cause, Error, Result};
use crate::wait::Signal;

/// The token of the signal that transactions' ends give; no slot has this index.
pub(super) const DECIDED: usize = usize::MAX - 3;

impl Assignment {
    fn wait_for_decision(&mut self, index: usize, decided: &Arc<Signal>) {
        let known = self.decided.take();
        let registration = known.unwrap_or_else(|| self.set().register(decided, DECIDED));
        self.set().arm(&registration);
        self.decided = Some(registration);
        self.undecided.insert(index);
    }

    /// Has all of them looked at again.
    pub(super) fn queue_undecided(&mut self) {
        for index in std::mem::take(&mut self.undecided) {
            self.queue(index);
        }
    }
}

impl Consumer {
    /// Whether an open transaction may be about to commit an offset for a partition.
    pub(super) fn has_open_offset(&self, partition: &Partition) -> bool {
        let heeds = self.options.isolation == IsolationLevel::ReadCommitted;
        heeds && self.group.as_ref().is_some_and(|group| self.offsets.is_open(group, partition))
    }

    /// Whether it is not decided where reading a partition begins.
    pub(super) fn is_undecided(&self, index: usize) -> bool {
        self.assignment.get(index).is_some_and(|slot| slot.next().is_none())
    }

    /// Has the consumer called once that is decided; looks once more, for it may be by now.
    pub(super) fn wait_for_decision(&mut self, index: usize) -> Result<()> {
        self.assignment.wait_for_decision(index, self.offsets.decided());
        self.resolve(index)
    }

    /// For who asks for a position that is not decided.
    pub(super) fn undecided(&self, operation: &'static str, index: usize) -> Error {
        let text =
            "an open transaction is about to commit an offset of the group for it".to_owned();
        let error = Error::new(operation, Cause::InvalidTransactionState(text));
        match self.assignment.get(index) {
            Some(slot) => slot.named(error),
            None => error,
        }
    }
}
