//! A look over places of topics with priority lanes: from the higher ones first, from each some.
//!
//! Whose turn it is `priority` decides, among the places that have work now; a place gives once in
//! a look, and places of one priority take turns. A place of a topic without lanes counts as the
//! default priority.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use super::builder::ShareConsumerBuilder;
use super::handle::ShareConsumer;
use super::leased::LeasedRecords;
use crate::config::Priority;
use crate::error::Result;
use crate::priority::{PriorityLanes, Weights};

/// Taking from topics with priority lanes.
impl ShareConsumerBuilder {
    /// How many parts of what is taken each priority gets while all have something, by its number:
    /// 1 to 1000 each; default `[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]`. As
    /// [`ConsumerBuilder::priority_weights`](crate::ConsumerBuilder::priority_weights), which says
    /// more; each consumer of a group has its own.
    ///
    /// ```
    /// # use tidelog::{Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// store.ensure_topic("jobs", TopicConfig::new().partitions(2).priority_lanes(2))?;
    /// let builder = store.share_consumer("g").subscribe(["jobs"]);
    /// let consumer = builder.clone().priority_weights([1; 10]).build()?; // evenly
    /// # drop(consumer);
    /// assert!(builder.priority_weights([0; 10]).build().is_err());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn priority_weights(mut self, weights: [u32; 10]) -> Self {
        self.options.weights = Weights::new(weights);
        self
    }
}

impl ShareConsumer {
    /// What a place counts as, where its topic has lanes.
    pub(super) fn priority_of(&self, at: usize) -> Option<Priority> {
        let partition = self.watched[at].place.partition();
        let lanes = PriorityLanes::of(&*partition.config()?)?;
        Some(lanes.priority_of(partition.id()))
    }

    pub(super) fn look_by_priority(&mut self, taken: &mut LeasedRecords) -> Result<()> {
        let places = self.watched.len();
        let mut queues: [VecDeque<usize>; Priority::COUNT as usize] = Default::default();
        for at in (0..places).map(|step| (self.next + step) % places) {
            if self.is_worth_a_look(at) {
                let priority = self.watched[at].priority;
                queues[usize::from(priority.get())].push_back(at);
            }
        }
        let mut bytes = self.options.max_bytes;
        loop {
            let left = self.options.max_records - taken.len();
            if left == 0 || bytes == 0 {
                break;
            }
            let Some(fairness) = &mut self.fairness else { break };
            let has_some = |priority: Priority| !queues[usize::from(priority.get())].is_empty();
            let Some(turn) = fairness.next(has_some) else { break };
            let Some(at) = queues[usize::from(turn.priority.get())].pop_front() else { break };
            let most = turn.most.and_then(|most| usize::try_from(most).ok()).unwrap_or(left);
            let before = taken.len();
            let flow = self.take_from(at, left.min(most), &mut bytes, taken)?;
            if let Some(fairness) = &mut self.fairness {
                fairness.charge(turn, taken.len() - before);
            }
            if flow == ControlFlow::Break(()) {
                break;
            }
        }
        self.next = if places == 0 { 0 } else { (self.next + 1) % places };
        Ok(())
    }
}
