//! How much memory a producer's lingering records may take.
//!
//! A batch holds a [`Grant`] and asks for more before it takes a record; the grant goes back when
//! it is dropped, once the batch is in the log or has failed. Grants grow in steps, so that the
//! number all threads share is touched a few times per batch and not per record; when the memory
//! runs short the steps shrink to what is needed.

use std::sync::Arc;

use crate::sync::Arc as SharedArc;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::wait::Signal;

/// The largest step by which a grant grows beyond its need.
const STEP_BYTES: usize = 16 * 1024;
/// The smallest.
const FIRST_BYTES: usize = 1024;

/// The memory of one producer.
#[derive(Debug)]
pub(super) struct Memory {
    limit: usize,
    granted: AtomicUsize,
    freed: SharedArc<Signal>,
}

impl Memory {
    pub(super) fn new(limit: usize) -> Self {
        Memory { limit, granted: AtomicUsize::new(0), freed: SharedArc::new(Signal::new()) }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn granted(&self) -> usize {
        self.granted.load(Ordering::Acquire)
    }

    /// Told when memory comes back, and for good when the producer ends.
    pub(super) fn freed(&self) -> &SharedArc<Signal> {
        &self.freed
    }

    fn try_take(&self, bytes: usize) -> bool {
        let fits = |granted: usize| granted.checked_add(bytes).filter(|sum| *sum <= self.limit);
        self.granted.fetch_update(Ordering::AcqRel, Ordering::Relaxed, fits).is_ok()
    }
}

/// Memory that one batch holds.
#[derive(Debug)]
pub(super) struct Grant {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Grant {
    /// A grant of nothing yet.
    pub(super) fn new(memory: &Arc<Memory>) -> Self {
        Grant { memory: memory.clone(), bytes: 0 }
    }

    /// Grows to at least `needed` bytes. `false`: there is no memory for that, nothing changed.
    #[inline]
    pub(super) fn covers(&mut self, needed: usize) -> bool {
        needed <= self.bytes || self.grow(needed)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn grow(&mut self, needed: usize) -> bool {
        let roomy = needed.max(self.bytes + self.bytes.clamp(FIRST_BYTES, STEP_BYTES));
        for bytes in [roomy, needed] {
            if self.memory.try_take(bytes - self.bytes) {
                self.bytes = bytes;
                return true;
            }
        }
        false
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.memory.granted.fetch_sub(self.bytes, Ordering::AcqRel);
            self.memory.freed.notify();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn grants_grow_in_steps_and_to_the_last_byte() {
        let memory = Arc::new(Memory::new(5_000));
        let mut one = Grant::new(&memory);
        assert!(one.covers(100));
        assert_eq!(memory.granted(), 1_024);
        assert!(one.covers(1_024));
        assert_eq!(memory.granted(), 1_024);
        assert!(one.covers(1_025));
        assert_eq!(memory.granted(), 2_048);
        let mut other = Grant::new(&memory);
        assert!(other.covers(2_952), "the step shrinks to the need");
        assert!(!other.covers(2_953));
        assert_eq!(memory.granted(), 5_000);
        drop(one);
        assert!(other.covers(2_953));
        drop(other);
        assert_eq!(memory.granted(), 0);
    }
}
