//! Counters, handed down to who counts and read by snapshot.
//!
//! A counter has one writer at a time or is added to rarely, so counting is a relaxed load and
//! store or one relaxed addition; a snapshot is of no single instant. What operators see is built
//! from these and from the offsets, in `store/`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use crate::sweep;
use crate::sync::Mutex;

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Adds where a lock or ownership keeps other writers out: no read-modify-write.
    #[inline]
    pub(crate) fn add_alone(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed) + more, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Something that lies on cache lines of its own, for what is written by other threads than its
/// neighbours: two lines, since processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Apart<T>(T);

impl<T> std::ops::Deref for Apart<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// What readers do of one log; see [`LogCounters`].
#[derive(Debug, Default)]
pub(crate) struct FetchCounters {
    pub(crate) records: Counter,
    pub(crate) bytes: Counter,
}

/// What one log counts since it was opened; what every append counts lies last, for the log to have
/// on one cache line with what else an append writes.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct LogCounters {
    pub(crate) failed_appends: Counter,
    pub(crate) fetched: Box<Apart<FetchCounters>>,
    pub(crate) failed_reads: Counter,
    pub(crate) rolls: Counter,
    pub(crate) syncs: Counter,
    pub(crate) dropped_segments: Counter,
    pub(crate) compactions: Counter,
    pub(crate) compacted_bytes: Counter,
    appended_records: Counter,
    appended_batches: Counter,
    appended_bytes: Counter,
}

impl LogCounters {
    /// One batch was appended; called under the log's writer lock.
    #[inline]
    pub(crate) fn appended(&self, records: u64, bytes: u64) {
        self.appended_records.add_alone(records);
        self.appended_batches.add_alone(1);
        self.appended_bytes.add_alone(bytes);
    }

    pub(crate) fn appended_records(&self) -> u64 {
        self.appended_records.get()
    }

    pub(crate) fn appended_batches(&self) -> u64 {
        self.appended_batches.get()
    }

    #[inline]
    pub(crate) fn appended_bytes(&self) -> u64 {
        self.appended_bytes.get()
    }
}

/// Bytes that record views keep from being freed, over all who hold some.
///
/// Who reads a lot counts on a share of its own: readers do not wait for each other's cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct PinCounter {
    held: AtomicU64,
    shares: Mutex<Vec<Weak<PinCounter>>>,
}

impl PinCounter {
    pub(crate) fn add(&self, bytes: u64) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn give_back(&self, bytes: u64) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        let shares = self.shares.lock();
        let live = shares.iter().filter_map(Weak::upgrade);
        self.held.load(Ordering::Relaxed) + live.map(|share| share.get()).sum::<u64>()
    }

    /// A counter of which this one has the sum. One that is gone counts nothing: each pin, and each
    /// part of what was read, holds it.
    pub(crate) fn share(&self) -> Arc<PinCounter> {
        let share = Arc::new(PinCounter::default());
        let is_there = |share: &Weak<PinCounter>| share.strong_count() > 0;
        sweep::push(&mut self.shares.lock(), Arc::downgrade(&share), is_there);
        share
    }
}

/// Bytes someone holds, counted for as long as this lives.
#[derive(Debug)]
pub(crate) struct Pin {
    counter: Arc<PinCounter>,
    bytes: u64,
}

impl Pin {
    pub(crate) fn new(counter: &Arc<PinCounter>, bytes: usize) -> Self {
        let bytes = bytes as u64;
        counter.add(bytes);
        Pin { counter: counter.clone(), bytes }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.counter.give_back(self.bytes);
    }
}
