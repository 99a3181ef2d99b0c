//! The ready list of a consumer that reads a topic with priority lanes: a list for each priority.
//!
//! Whose turn it is `priority` decides; within a priority partitions take turns as on the plain
//! list. A partition of a topic without lanes counts as the default priority. While a turn lasts a
//! read fetches about as many records as the turn has, and what came of it is charged.
//!
//! Called by `assignment`, for consumers that have such a partition, and only for them.

use std::collections::VecDeque;

use crate::config::Priority;
use crate::priority::{Fairness, Turn};

#[derive(Debug)]
pub(super) struct Ranked {
    queues: [VecDeque<usize>; Priority::COUNT as usize],
    fairness: Fairness,
    /// Whose read is under way.
    turn: Option<Turn>,
}

impl Ranked {
    pub(super) fn new() -> Self {
        Ranked { queues: Default::default(), fairness: Fairness::new(), turn: None }
    }

    fn queue(&mut self, priority: Priority) -> &mut VecDeque<usize> {
        &mut self.queues[usize::from(priority.get())]
    }

    pub(super) fn push_back(&mut self, index: usize, priority: Priority) {
        self.queue(priority).push_back(index);
    }

    pub(super) fn push_front(&mut self, index: usize, priority: Priority) {
        self.queue(priority).push_front(index);
    }

    /// The next slot, whose turn begins.
    pub(super) fn pop(&mut self) -> Option<usize> {
        let queues = &self.queues;
        let has_some = |priority: Priority| !queues[usize::from(priority.get())].is_empty();
        let turn = self.fairness.next(has_some)?;
        self.turn = Some(turn);
        self.queue(turn.priority).pop_front()
    }

    pub(super) fn len(&self) -> usize {
        self.queues.iter().map(VecDeque::len).sum()
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&usize) -> bool) {
        self.queues.iter_mut().for_each(|queue| queue.retain(&keep));
    }

    /// How many records the turn has left; `None` for as many as there are.
    pub(super) fn most(&self) -> Option<u64> {
        self.turn?.most
    }

    /// Ends the turn, in which so many were read.
    pub(super) fn charge(&mut self, records: usize) {
        if let Some(turn) = self.turn.take() {
            self.fairness.charge(turn, records);
        }
    }
}
