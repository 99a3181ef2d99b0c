//! What a place hears of its partition while somebody waits there.
//!
//! The partition's own signal is armed only then, and rings for the place, which wakes one of those
//! who wait. Where the group wants some tags alone it is rung only by what may have one, as far as
//! the partition knows: the rest stays where it is until the next poll passes over it.
//!
//! Invariant: what rings is what the consumers of the group want. It changes with their filter, and
//! that only while the group has none, so that nobody waits for what the place does not hear.
//! Lock: `heard`, for a look; wakers run under none.

use std::sync::{Arc, Weak};
use std::task::{Context, Wake, Waker};

use super::place::Place;
use crate::engine::Partition;
use crate::record::{RecordFilter, TagBits};
use crate::sync::Mutex;
use crate::wait::{Registration, WaitSet};

/// Watches the partition's signal for those who wait.
pub(super) struct Watch {
    set: WaitSet,
    heard: Mutex<Heard>,
    waker: Waker,
}

/// Which of the partition's announcements are heard.
struct Heard {
    /// As [`WaitSet::register_for`] has it: all of them where it is 0.
    interest: u64,
    registration: Arc<Registration>,
}

struct Ring(Weak<Place>);

impl Wake for Ring {
    fn wake(self: Arc<Self>) {
        if let Some(place) = self.0.upgrade() {
            place.ring();
        }
    }
}

impl Watch {
    pub(super) fn new(
        place: Weak<Place>,
        partition: &Partition,
        filter: Option<&RecordFilter>,
    ) -> Self {
        let set = WaitSet::new();
        let interest = interest(filter);
        let registration = Arc::new(partition.register(&set, 0, interest));
        let heard = Mutex::new(Heard { interest, registration });
        Watch { set, heard, waker: Waker::from(Arc::new(Ring(place))) }
    }

    /// Has the next announcement that is wanted ring, once.
    pub(super) fn arm(&self) {
        let mut tokens = Vec::new();
        let mut context = Context::from_waker(&self.waker);
        while self.set.poll_wait(&mut context).is_ready() {
            self.set.drain_ready(&mut tokens);
        }
        let registration = self.heard.lock().registration.clone();
        self.set.arm(&registration);
    }

    /// The group's next consumers want something else.
    pub(super) fn want(&self, partition: &Partition, filter: Option<&RecordFilter>) {
        let interest = interest(filter);
        if self.heard.lock().interest == interest {
            return;
        }
        let registration = Arc::new(partition.register(&self.set, 0, interest));
        let heard = Heard { interest, registration };
        let before = std::mem::replace(&mut *self.heard.lock(), heard);
        drop(before); // takes it off the partition's signal
    }
}

fn interest(filter: Option<&RecordFilter>) -> u64 {
    filter.and_then(RecordFilter::tag_bits).map_or(0, TagBits::word)
}
