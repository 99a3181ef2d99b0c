//! The links that are armed with one signal, in the order in which they were, of which any may
//! leave.
//!
//! Who gives up (a deadline, a poll that found something elsewhere, a consumer that is dropped)
//! leaves from anywhere, and of a partition that thousands wait for thousands may: so each link
//! keeps its place, and what it leaves is an empty slot: constant time but for the packing, which
//! many that left pay for together. Invariants, under the signal's lock:
//!
//! - the link in slot `i` has the place `gone + i + 1`; a link that is in no slot has 0;
//! - the first slot is taken, if there is any;
//! - who leaves packs the slots once more than half of them, and [`SLACK`], are empty: one that
//!   stays at the front while others come and go does not make the queue longer.

use std::collections::VecDeque;

use super::set::Link;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Empty slots that are not worth packing.
const SLACK: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Queue {
    slots: VecDeque<Option<Arc<Link>>>,
    /// Slots that went off the front.
    gone: u64,
    /// Slots that are taken.
    taken: usize,
}

/// Where a link is in the queue of its signal; touched under that signal's lock only.
#[derive(Debug, Default)]
pub(super) struct Place(AtomicU64);

impl Place {
    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, place: u64) {
        self.0.store(place, Ordering::Relaxed);
    }
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.taken
    }

    pub(super) fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// Whether the link is in here: it may be in the queue of its own signal only.
    #[expect(clippy::unused_self, reason = "under the lock that guards the queue")]
    pub(super) fn has(&self, link: &Link) -> bool {
        link.place().get() != 0
    }

    /// Adds one that is not in here at the end.
    pub(super) fn push(&mut self, link: Arc<Link>) {
        debug_assert!(!self.has(&link), "armed twice");
        link.place().set(self.gone + self.slots.len() as u64 + 1);
        self.slots.push_back(Some(link));
        self.taken += 1;
    }

    /// Takes off the one that came first.
    pub(super) fn pop(&mut self) -> Option<Arc<Link>> {
        let link = self.slots.pop_front()??;
        link.place().set(0);
        self.gone += 1;
        self.taken -= 1;
        self.trim();
        Some(link)
    }

    /// Takes off this one, and says whether it was here.
    pub(super) fn leave(&mut self, link: &Link) -> bool {
        let Some(index) = link.place().get().checked_sub(self.gone + 1) else { return false };
        let Some(slot) = self.slots.get_mut(index as usize) else { return false };
        debug_assert!(
            slot.as_deref().is_some_and(|held| std::ptr::eq(held, link)),
            "its own place"
        );
        *slot = None;
        link.place().set(0);
        self.taken -= 1;
        self.trim();
        if self.slots.len() > 2 * self.taken + SLACK {
            self.pack();
        }
        true
    }

    /// Lets go of empty slots at the front.
    fn trim(&mut self) {
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.gone += 1;
        }
    }

    /// Moves all to the front, in their order.
    fn pack(&mut self) {
        self.slots.retain(Option::is_some);
        for (place, link) in (self.gone + 1..).zip(self.slots.iter().flatten()) {
            link.place().set(place);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::super::WaitSet;
    use super::*;

    proptest! {
        /// As a list would do it from which any may be taken; each place says where its link is.
        #[test]
        fn who_is_in_line_is_so_in_the_order_of_coming(
            steps in prop::collection::vec((0..64_u8, 0..120_usize), 1..600),
        ) {
            let set = WaitSet::new();
            let all: Vec<_> = (0..120).map(|token| set.link(token, 0)).collect();
            let (mut queue, mut model) = (Queue::default(), Vec::new());
            for (step, at) in steps {
                let link = &all[at];
                match step {
                    0..32 if !model.contains(&at) => {
                        queue.push(Arc::clone(link));
                        model.push(at);
                    }
                    32 => {
                        let first = (!model.is_empty()).then(|| model.remove(0));
                        let popped = queue.pop();
                        prop_assert_eq!(popped.is_some(), first.is_some());
                        if let (Some(popped), Some(first)) = (popped, first) {
                            prop_assert!(Arc::ptr_eq(&popped, &all[first]));
                        }
                    }
                    _ => {
                        let was_in = model.contains(&at);
                        model.retain(|other| *other != at);
                        prop_assert_eq!(queue.leave(link), was_in);
                        prop_assert!(!was_in || queue.slots.len() <= 2 * queue.taken + SLACK);
                    }
                }
                prop_assert_eq!((queue.len(), queue.is_empty()), (model.len(), model.is_empty()));
                let held: Vec<_> = queue.slots.iter().flatten().collect();
                prop_assert_eq!(held.len(), model.len());
                for (link, at) in held.into_iter().zip(&model) {
                    prop_assert!(Arc::ptr_eq(link, &all[*at]));
                }
                for (index, slot) in queue.slots.iter().enumerate() {
                    let Some(link) = slot else { continue };
                    prop_assert_eq!(link.place().get(), queue.gone + index as u64 + 1);
                }
                prop_assert!(queue.slots.front().is_none_or(Option::is_some));
                for (at, one) in all.iter().enumerate() {
                    prop_assert_eq!(queue.has(one), model.contains(&at));
                }
            }
        }
    }

    #[test]
    fn who_moves_up_has_another_place() {
        let set = WaitSet::new();
        let all: Vec<_> = (0..200).map(|token| set.link(token, 0)).collect();
        let mut queue = Queue::default();
        all.iter().for_each(|link| queue.push(Arc::clone(link)));
        let goes = |at: &usize| (1..150).contains(at) && !at.is_multiple_of(10);
        (0..200).filter(goes).for_each(|at| assert!(queue.leave(&all[at])));
        assert!(queue.slots.len() < 200, "it was packed");
        for (at, link) in all.iter().enumerate().skip(160).step_by(3) {
            assert!(queue.leave(link), "{at}");
            assert!(!queue.has(link) && !queue.leave(link), "{at}");
        }
        let left = (0..200).filter(|at| !goes(at) && (*at < 160 || (at - 160) % 3 != 0));
        for at in left {
            assert!(queue.pop().is_some_and(|link| Arc::ptr_eq(&link, &all[at])), "{at}");
        }
        assert!(queue.is_empty() && queue.slots.is_empty());
    }

    #[test]
    fn one_that_stays_does_not_make_the_queue_longer() {
        let set = WaitSet::new();
        let (stays, comes) = (set.link(0, 0), set.link(1, 0));
        let mut queue = Queue::default();
        queue.push(Arc::clone(&stays));
        for _ in 0..10_000 {
            queue.push(Arc::clone(&comes));
            assert!(queue.leave(&comes));
            assert!(queue.slots.len() <= 2 + SLACK + 1, "{}", queue.slots.len());
        }
        queue.push(Arc::clone(&comes));
        assert_eq!(queue.len(), 2);
        assert!(queue.leave(&stays));
        assert!(queue.pop().is_some_and(|link| Arc::ptr_eq(&link, &comes)));
        assert!(queue.slots.is_empty() && queue.pop().is_none());
    }
}
