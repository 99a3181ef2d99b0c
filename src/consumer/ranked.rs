//! The ready list of a consumer that reads a topic with priority lanes: a list for each priority.
//!
//! Whose turn it is `priority` decides; within a priority partitions take turns as on the plain
//! list. A partition of a topic without lanes counts as the default priority. While a turn lasts a
//! read fetches about as many records as the turn has, and what came of it is charged.
//!
//! Called by `assignment`, for consumers that have such a partition, and only for them.

use std::collections::VecDeque;

use super::builder::ConsumerBuilder;
use crate::config::Priority;
use crate::priority::{Fairness, Turn, Weights};

#[derive(Debug)]
pub(super) struct Ranked {
    queues: [VecDeque<usize>; Priority::COUNT as usize],
    fairness: Fairness,
    /// Whose read is under way.
    turn: Option<Turn>,
}

/// Reading topics with priority lanes.
impl ConsumerBuilder {
    /// How many parts of what is read each priority gets while all have something, by its number:
    /// 1 to 1000 each; default `[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]`. It matters in topics with
    /// [priority lanes](crate::TopicConfig::priority_lanes) only, where a lane counts as the lowest
    /// priority that lies in it: of three lanes as 0, 4 and 7.
    ///
    /// In a round each may take 64 records for each part, the highest first; who is alone takes
    /// what it wants. So equal weights share evenly, with the higher ones first in each round, and
    /// weights that lie far apart come close to strict order: with 1 and 1000 a low record waits
    /// for 64,000 high ones at most. Each consumer keeps its own account. `build` refuses other
    /// weights ([`InvalidConfig`](crate::ErrorKind::InvalidConfig)): with 0 a lane would starve.
    ///
    /// ```
    /// # use tidelog::{Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// store.ensure_topic("jobs", TopicConfig::new().partitions(2).priority_lanes(2))?;
    /// let builder = store.consumer("g").subscribe(["jobs"]);
    /// // the lanes count as 0 and 5: 99 of a hundred for the upper one
    /// let consumer = builder.priority_weights([1, 1, 1, 1, 1, 99, 99, 99, 99, 99]).build()?;
    /// # drop(consumer);
    /// assert!(store.consumer("h").subscribe(["jobs"]).priority_weights([0; 10]).build().is_err());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn priority_weights(mut self, weights: [u32; 10]) -> Self {
        self.options.weights = Weights::new(weights);
        self
    }
}

impl Ranked {
    pub(super) fn new(weights: Weights) -> Self {
        Ranked { queues: Default::default(), fairness: Fairness::new(weights), turn: None }
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
