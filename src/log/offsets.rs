//! All offsets of one log in one place, and the order among them.
//!
//! ```text
//!   start <= end        start: the first offset a reader may ask for
//!   compacted <= recovery_point <= synced <= durable <= end
//! ```
//! `end` is one past the last published record; the high watermark follows it by itself. `durable`
//! is how far a sync has returned, of the segments or of the journal; `synced` how far one of the
//! segments; `recovery_point` how far that has been recorded: below it bad bytes are damage, above
//! it they are a torn tail; `compacted` how far there may be gaps that compaction made. Each has
//! one setter, which asserts the order.
//! Setters are called by whoever holds the right to move that offset (the writer lock for `end`,
//! the turn to sync for `durable`, the retention lock for `start` and `compacted`; whoever has
//! recorded a recovery point raises that); readers take a snapshot without a lock.

use crate::ids::Offset;
use crate::sync::atomic::{AtomicI64, Ordering};

/// The offsets of one log.
#[derive(Debug)]
pub(crate) struct Offsets {
    start: AtomicI64,
    compacted: AtomicI64,
    recovery_point: AtomicI64,
    synced: AtomicI64,
    durable: AtomicI64,
    end: AtomicI64,
}

/// The offsets as they were at one moment: each is at most what it has become since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OffsetSnapshot {
    pub(crate) start: Offset,
    pub(crate) compacted: Offset,
    pub(crate) recovery_point: Offset,
    pub(crate) durable: Offset,
    pub(crate) end: Offset,
}

impl OffsetSnapshot {
    /// What readers may see: a log without replicas commits what it publishes.
    pub(crate) fn high_watermark(&self) -> Offset {
        self.end
    }
}

impl Offsets {
    /// The offsets of a log that has just been opened.
    pub(crate) fn new(
        start: Offset,
        compacted: Offset,
        recovery_point: Offset,
        end: Offset,
    ) -> Self {
        let offsets = Offsets {
            start: AtomicI64::new(start.get()),
            compacted: AtomicI64::new(compacted.get()),
            recovery_point: AtomicI64::new(recovery_point.get()),
            synced: AtomicI64::new(recovery_point.get()),
            durable: AtomicI64::new(recovery_point.get()),
            end: AtomicI64::new(end.get()),
        };
        offsets.snapshot();
        offsets
    }

    /// All of them. The lower ones are read first, so that the order holds in what is returned.
    pub(crate) fn snapshot(&self) -> OffsetSnapshot {
        let read = |offset: &AtomicI64| Offset::new(offset.load(Ordering::Acquire));
        let snapshot = OffsetSnapshot {
            start: read(&self.start),
            compacted: read(&self.compacted),
            recovery_point: read(&self.recovery_point),
            durable: read(&self.durable),
            end: read(&self.end),
        };
        debug_assert!(snapshot.start <= snapshot.end, "{snapshot:?}");
        debug_assert!(snapshot.compacted <= snapshot.recovery_point, "{snapshot:?}");
        debug_assert!(snapshot.recovery_point <= snapshot.durable, "{snapshot:?}");
        debug_assert!(snapshot.durable <= snapshot.end, "{snapshot:?}");
        snapshot
    }

    pub(crate) fn end(&self) -> Offset {
        Offset::new(self.end.load(Ordering::Acquire))
    }

    pub(crate) fn durable(&self) -> Offset {
        Offset::new(self.durable.load(Ordering::Acquire))
    }

    /// Publishes records up to `end`. Under the writer lock.
    pub(crate) fn set_end(&self, end: Offset) {
        debug_assert!(end.get() >= self.end.load(Ordering::Relaxed), "the end never falls");
        self.end.store(end.get(), Ordering::Release);
    }

    /// How far the segments are synced.
    pub(crate) fn synced(&self) -> Offset {
        Offset::new(self.synced.load(Ordering::Acquire))
    }

    /// A sync of the segments has returned that covers everything below `synced`. By whoever has
    /// the turn.
    pub(crate) fn set_synced(&self, synced: Offset) {
        debug_assert!(synced.get() >= self.synced.load(Ordering::Relaxed), "never falls");
        self.set_durable(synced.max(self.durable()));
        self.synced.store(synced.get(), Ordering::Release);
    }

    /// A sync has returned that covers everything below `durable`. By whoever has the turn.
    pub(crate) fn set_durable(&self, durable: Offset) {
        debug_assert!(durable.get() >= self.durable.load(Ordering::Relaxed), "never falls");
        debug_assert!(durable <= self.end(), "only what is published becomes durable");
        self.durable.store(durable.get(), Ordering::Release);
    }

    /// The recovery point has been recorded; one that was recorded lower says nothing new.
    pub(crate) fn raise_recovery_point(&self, point: Offset) {
        debug_assert!(point <= self.synced(), "recorded only after the sync that covers it");
        self.recovery_point.fetch_max(point.get(), Ordering::AcqRel);
    }

    pub(crate) fn compacted(&self) -> Offset {
        Offset::new(self.compacted.load(Ordering::Acquire))
    }

    /// It has been recorded that compaction may have taken records below `compacted`. Under the
    /// retention lock.
    pub(crate) fn set_compacted(&self, compacted: Offset) {
        debug_assert!(compacted >= self.compacted(), "never falls");
        debug_assert!(
            compacted.get() <= self.recovery_point.load(Ordering::Acquire),
            "only synced"
        );
        self.compacted.store(compacted.get(), Ordering::Release);
    }

    /// The log was opened again where it lies: its end may have fallen, to no less than what was
    /// durable, and all of it is. Under all locks.
    pub(crate) fn reopened(&self, end: Offset) {
        debug_assert!(end >= self.durable(), "what was durable is there");
        self.end.store(end.get(), Ordering::Release); // first: what is durable is never above it
        self.durable.store(end.get(), Ordering::Release);
        self.synced.store(end.get(), Ordering::Release);
    }

    /// The log start has been recorded. Under the retention lock.
    pub(crate) fn set_start(&self, start: Offset) {
        debug_assert!(start.get() >= self.start.load(Ordering::Relaxed), "never falls");
        debug_assert!(start <= self.end(), "never passes the end");
        self.start.store(start.get(), Ordering::Release);
    }
}
