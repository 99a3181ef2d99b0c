//! Spinning: looking at a few partitions for a while, in place of being woken by them.
//!
//! A consumer that was told to spin leaves what it found empty unarmed, so that an append to it
//! pays for no wake-up, and looks at each end itself. Nothing is missed: whoever asks what is ready
//! looks at the watched ones too, a change of topics has them all read again, and before the thread
//! parks or a task leaves its waker they are armed and looked at once more, as every waiter does
//! (`wait`). Beyond a few partitions looking would cost more than waking: those are armed at once.
//! What is seen to have moved is asked for at once too, and comes over on the way to its read.

use std::time::Instant;

use super::assignment::{Assignment, Slot};
use super::handle::Consumer;
use crate::log::FetchLimits;
use crate::wait::Woken;

/// How many partitions are watched at a time.
const MOST_WATCHED: usize = 8;

impl Assignment {
    /// Whether a slot that was found empty is to be watched.
    pub(super) fn may_watch(&self, slot: &Slot) -> bool {
        self.set().spins() && self.watched.len() < MOST_WATCHED && slot.partition.log().is_ok()
    }

    /// Looks at a slot from now on, in place of arming it.
    pub(super) fn watch(&mut self, index: usize) {
        if !self.watched.contains(&index) {
            self.watched.push(index);
        }
    }

    /// Queues one whose partition has something, which is asked for at once.
    pub(super) fn queue_moved(&mut self, index: usize) {
        self.fetch_near(index);
        if let Some(slot) = self.get_mut(index) {
            slot.is_near = true;
        }
        self.queue(index);
    }

    /// Of a partition that has something: it comes over while everything else is looked at.
    pub(super) fn fetch_near(&self, index: usize) {
        let at = self.get(index).and_then(Slot::next);
        if let Some(cursor) = at.and_then(|at| at.cursor.as_ref()) {
            cursor.fetch_near();
        }
    }

    /// Whether what a read of a slot looks at was asked for since the last one.
    pub(super) fn take_near(&mut self, index: usize) -> bool {
        self.get_mut(index).is_some_and(|slot| std::mem::take(&mut slot.is_near))
    }

    /// Has all that are watched read again.
    pub(super) fn queue_watched(&mut self) {
        while let Some(index) = self.watched.pop() {
            self.queue(index);
        }
    }
}

impl Consumer {
    /// Queues those that have moved since they were found empty.
    pub(super) fn look_at_watched(&mut self) {
        let mut at = 0;
        while let Some(index) = self.assignment.watched.get(at).copied() {
            if self.has_moved(index) {
                self.assignment.watched.swap_remove(at);
                self.assignment.queue_moved(index);
            } else {
                at += 1;
            }
        }
    }

    /// Has their partitions wake us, for who is about to sleep; returns whether some have moved
    /// meanwhile, which are queued.
    pub(super) fn arm_watched(&mut self) -> bool {
        let mut watched = std::mem::take(&mut self.assignment.watched);
        for index in &watched {
            self.assignment.arm(*index);
        }
        watched.retain(|index| self.has_moved(*index));
        for index in &watched {
            self.assignment.queue(*index);
        }
        self.assignment.ready_len() > 0
    }

    /// Waits: spins first if it was told to, then parks. With nothing ready.
    pub(super) fn spin_and_park(&mut self, deadline: Instant) -> Woken {
        let watched = &self.assignment.watched;
        let idle = || !watched.iter().any(|index| self.has_moved(*index));
        if self.assignment.set().spin_while(Some(deadline), idle) {
            self.look_at_watched();
            if self.assignment.ready_len() > 0 {
                return Woken::Ready;
            }
        }
        if self.arm_watched() {
            return Woken::Ready;
        }
        self.assignment.set().park(Some(deadline))
    }

    /// Whether a slot may have something by now.
    #[inline]
    pub(super) fn has_moved(&self, index: usize) -> bool {
        let Some((slot, at)) =
            self.assignment.get(index).and_then(|slot| Some((slot, slot.next()?)))
        else {
            return true;
        };
        let (durable_only, isolation) = (self.options.durable_only, self.options.isolation);
        let limits = FetchLimits { bytes: 0, records: 0, durable_only, isolation };
        slot.partition.has_moved(at.offset, limits)
    }
}
