//! The topics that a producer's handles were made for.
//!
//! Lanes of a topic that was deleted go when the next topic is asked for, once all their batches
//! have ended: they hold its files. To ask for each of ten thousand topics must not mean a look at
//! all that were asked for before, so nothing is looked for unless a topic was deleted since the
//! last look, or one that was had to stay.

use std::collections::HashMap;
use std::sync::Arc;

use super::lanes::{Failures, Lanes};
use crate::engine::Topic;
use crate::ids::TopicId;

/// The lanes of each topic, shared by all handles for it.
#[derive(Debug, Default)]
pub(super) struct Topics {
    lanes: HashMap<TopicId, Arc<Lanes>>,
    /// How many topics had been deleted when none of those was left here; `None` while one may be.
    clean_at: Option<u64>,
}

impl Topics {
    /// The lanes of a topic, made if it has none. So many topics had been `deleted` before the
    /// call; what the lanes that go have not told yet is noted in `left`.
    pub(super) fn lanes_of(
        &mut self,
        topic: &Arc<Topic>,
        deleted: u64,
        left: &Failures,
        make: impl FnOnce() -> Lanes,
    ) -> Arc<Lanes> {
        if let Some(lanes) = self.lanes.get(&topic.id()) {
            return lanes.clone();
        }
        if self.clean_at != Some(deleted) {
            self.clean_at = self.let_go(left).then_some(deleted);
        }
        if topic.is_deleted() {
            self.clean_at = None; // it was found before
        }
        let lanes = Arc::new(make());
        self.lanes.insert(topic.id(), lanes.clone());
        lanes
    }

    pub(super) fn all(&self) -> Vec<Arc<Lanes>> {
        self.lanes.values().cloned().collect()
    }

    /// Whether none stays of the topics that are deleted.
    fn let_go(&mut self, left: &Failures) -> bool {
        let mut is_clean = true;
        self.lanes.retain(|_, lanes| {
            if !lanes.topic().is_deleted() {
                return true;
            }
            let stays = lanes.owes_answers();
            if !stays {
                left.note_first_of(lanes.failures());
            }
            is_clean &= !stays;
            stays
        });
        is_clean
    }
}
