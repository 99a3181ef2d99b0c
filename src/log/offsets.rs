//! All offsets of one log in one place, and the order among them.
//!
//! ```text
//!   start <= end        start: the first offset a reader may ask for
//!   start <= high watermark <= end
//!   compacted <= recovery_point <= synced <= durable <= end
//! ```
//! `end` is one past the last published record; the high watermark follows it by itself, or stays
//! where the host has set it, if that leads. `durable` is how far a sync has returned, of the
//! segments or of the journal; `synced` how far one of the segments; `recovery_point` how far that
//! has been recorded: below it bad bytes are damage, above it they are a torn tail; `compacted` how
//! far there may be gaps that compaction made, `sparse` how far gaps that a leader left;
//! `first_unstable` where the oldest undecided transaction begins, if there is one. Each has one
//! setter, which asserts the order.
//! Setters are called by whoever holds the right to move that offset (the writer lock for `end`,
//! the turn to sync for `durable`, the retention lock for `start` and `compacted`; whoever has
//! recorded a recovery point raises that); readers take a snapshot without a lock.

use crate::config::IsolationLevel;
use crate::ids::Offset;
use crate::sync::atomic::{AtomicI64, AtomicU64, Ordering, fence};
use crate::sync::spin_loop;

/// The high watermark of a log that leads itself: its end, whatever that is.
const FOLLOWS_END: i64 = i64::MAX;

/// The offsets of one log.
#[derive(Debug)]
#[repr(C)] // what every append writes lies in front
pub(crate) struct Offsets {
    end: AtomicI64,
    start: AtomicI64,
    /// What is recorded as the start: another one while a truncation is under way, or cut short.
    recorded_start: AtomicI64,
    compacted: AtomicI64,
    sparse: AtomicI64,
    /// `FOLLOWS_END` where nobody sets it.
    high_watermark: AtomicI64,
    recovery_point: AtomicI64,
    synced: AtomicI64,
    durable: AtomicI64,
    /// `NONE_UNSTABLE` where every transaction is decided.
    first_unstable: AtomicI64,
    /// Odd while offsets fall; how often they have fallen, twice.
    falls: AtomicU64,
}

/// The offsets as they were at one moment: each is at most what it has become since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OffsetSnapshot {
    pub(crate) start: Offset,
    pub(crate) compacted: Offset,
    /// Below it a leader may have left offsets out.
    pub(crate) sparse: Offset,
    /// Where the host has set the high watermark, if it leads.
    pub(crate) set_watermark: Option<Offset>,
    pub(crate) recovery_point: Offset,
    pub(crate) durable: Offset,
    pub(crate) end: Offset,
    /// Where the oldest transaction begins that is not decided.
    pub(crate) first_unstable: Option<Offset>,
}

const NONE_UNSTABLE: i64 = i64::MAX;

impl OffsetSnapshot {
    /// What readers may see: a log without replicas commits what it publishes.
    pub(crate) fn high_watermark(&self) -> Offset {
        self.set_watermark.map_or(self.end, |set| set.min(self.end))
    }

    /// From where on no offset may be missing, in a log that only this library wrote.
    pub(crate) fn gapless_from(&self) -> Offset {
        self.compacted.max(self.sparse)
    }

    /// Below it every transaction is decided: as far as a reader at `read_committed` sees.
    pub(crate) fn last_stable(&self) -> Offset {
        let bound = self.high_watermark();
        self.first_unstable.map_or(bound, |unstable| unstable.max(self.start).min(bound))
    }

    /// As far as a reader of that isolation level sees.
    pub(crate) fn bound(&self, isolation: IsolationLevel) -> Offset {
        match isolation {
            IsolationLevel::ReadCommitted => self.last_stable(),
            IsolationLevel::ReadUncommitted => self.high_watermark(),
        }
    }

    fn checked(self) -> Self {
        debug_assert!(self.start <= self.end, "{self:?}");
        debug_assert!(self.compacted <= self.recovery_point, "{self:?}");
        debug_assert!(self.recovery_point <= self.durable, "{self:?}");
        debug_assert!(self.durable <= self.end, "{self:?}");
        self
    }
}

impl Offsets {
    /// The offsets of a log that has just been opened: durable as far as the recovery point.
    pub(crate) fn new(opened: OffsetSnapshot) -> Self {
        let start = AtomicI64::new(opened.start.get());
        let point = || AtomicI64::new(opened.recovery_point.get());
        let set = opened.set_watermark.map(|set| set.max(opened.start).min(opened.end));
        let offsets = Offsets {
            start,
            recorded_start: AtomicI64::new(opened.start.get()),
            compacted: AtomicI64::new(opened.compacted.get()),
            sparse: AtomicI64::new(opened.sparse.get()),
            high_watermark: AtomicI64::new(set.map_or(FOLLOWS_END, Offset::get)),
            recovery_point: point(),
            synced: point(),
            durable: point(),
            end: AtomicI64::new(opened.end.get()),
            first_unstable: AtomicI64::new(NONE_UNSTABLE),
            falls: AtomicU64::new(0),
        };
        offsets.snapshot();
        offsets
    }

    /// All of them, as of one side of a fall.
    pub(crate) fn snapshot(&self) -> OffsetSnapshot {
        loop {
            let falls = self.falls();
            if falls.is_multiple_of(2) {
                let snapshot = self.read();
                fence(Ordering::Acquire);
                if falls == self.falls.load(Ordering::Relaxed) {
                    return snapshot.checked();
                }
            }
            spin_loop();
        }
    }

    /// How often offsets have fallen: whoever read a list of segments meanwhile looks again.
    pub(crate) fn falls(&self) -> u64 {
        self.falls.load(Ordering::Acquire)
    }

    /// The lower ones are read first, so that the order holds in what is returned.
    fn read(&self) -> OffsetSnapshot {
        let read = |offset: &AtomicI64| Offset::new(offset.load(Ordering::Acquire));
        OffsetSnapshot {
            start: read(&self.start),
            compacted: read(&self.compacted),
            sparse: read(&self.sparse),
            set_watermark: self.set_watermark(),
            recovery_point: read(&self.recovery_point),
            durable: read(&self.durable),
            end: read(&self.end),
            // behind the end: where a transaction begins is set before its first batch is published
            first_unstable: Some(read(&self.first_unstable))
                .filter(|unstable| unstable.get() != NONE_UNSTABLE),
        }
    }

    /// The first that a reader may ask for.
    #[inline]
    pub(super) fn start(&self) -> Offset {
        Offset::new(self.start.load(Ordering::Acquire))
    }

    #[inline]
    pub(crate) fn end(&self) -> Offset {
        Offset::new(self.end.load(Ordering::Acquire))
    }

    /// Where the oldest transaction begins that is not decided: set before a batch is published
    /// that begins one, and after a marker that ends one. Under the writer lock.
    pub(crate) fn set_first_unstable(&self, unstable: Option<Offset>) {
        let unstable = unstable.map_or(NONE_UNSTABLE, Offset::get);
        self.first_unstable.store(unstable, Ordering::Release);
    }

    #[inline]
    pub(crate) fn durable(&self) -> Offset {
        Offset::new(self.durable.load(Ordering::Acquire))
    }

    /// Publishes records up to `end`. Under the writer lock.
    #[inline]
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

    /// Where the host has set the high watermark; `None` where the log leads itself.
    pub(crate) fn set_watermark(&self) -> Option<Offset> {
        let set = self.high_watermark.load(Ordering::Acquire);
        (set != FOLLOWS_END).then(|| Offset::new(set))
    }

    /// Sets the high watermark, within what the log holds, or has it follow the end by itself.
    /// Under the writer lock.
    pub(crate) fn set_high_watermark(&self, wanted: Option<Offset>) -> Offset {
        let (start, end) = (self.start.load(Ordering::Acquire), self.end().get());
        let set = wanted.map(|wanted| wanted.get().min(end).max(start));
        self.high_watermark.store(set.unwrap_or(FOLLOWS_END), Ordering::Release);
        Offset::new(set.unwrap_or(end))
    }

    /// It has been recorded that a leader may have left out offsets below `sparse`. While no
    /// truncation can be.
    pub(crate) fn raise_sparse(&self, sparse: Offset) {
        self.sparse.fetch_max(sparse.get(), Ordering::AcqRel);
    }

    /// Below it a leader may have left offsets out.
    pub(crate) fn sparse(&self) -> Offset {
        Offset::new(self.sparse.load(Ordering::Acquire))
    }

    /// A high watermark that was set lies within what the log holds.
    fn clamp_high_watermark(&self, start: Offset, end: Offset) {
        if let Some(set) = self.set_watermark() {
            let within = set.get().min(end.get()).max(start.get());
            self.high_watermark.store(within, Ordering::Release);
        }
    }

    /// The log was opened again where it lies: its end may have fallen, to no less than what was
    /// durable, and all of it is. It starts where it is recorded to. Under all locks.
    pub(crate) fn reopened(&self, start: Offset, end: Offset) {
        debug_assert!(end >= self.durable(), "what was durable is there");
        self.fall(|| {
            for offset in [&self.durable, &self.synced, &self.end] {
                offset.store(end.get(), Ordering::Release);
            }
            self.start.store(start.get(), Ordering::Release);
            self.clamp_high_watermark(start, end);
        });
    }

    /// What is recorded as the log start.
    pub(crate) fn recorded_start(&self) -> Offset {
        Offset::new(self.recorded_start.load(Ordering::Acquire))
    }

    /// A log start was recorded that a truncation is about to reach. Under the retention lock.
    pub(crate) fn start_recorded(&self, start: Offset) {
        self.recorded_start.store(start.get(), Ordering::Release);
    }

    /// Records from `most` on are about to go: nothing above it is promised any more. Under all
    /// locks.
    pub(crate) fn promise_no_more_than(&self, most: Offset) {
        self.fall(|| {
            // nor are gaps known any more: that is how it is recorded
            let lower = [&self.compacted, &self.sparse, &self.recovery_point, &self.synced];
            for offset in lower.into_iter().chain([&self.durable]) {
                offset.fetch_min(most.get(), Ordering::Release);
            }
        });
    }

    /// The log was cut: it has what lies between these, all of it durable and recorded so. Under
    /// all locks.
    pub(crate) fn cut_to(&self, start: Offset, end: Offset) {
        self.fall(|| {
            self.compacted.fetch_min(end.get(), Ordering::Release);
            self.sparse.fetch_min(end.get(), Ordering::Release);
            for offset in [&self.recovery_point, &self.synced, &self.durable, &self.end] {
                offset.store(end.get(), Ordering::Release);
            }
            self.start.store(start.get(), Ordering::Release);
            self.clamp_high_watermark(start, end);
        });
    }

    /// Lets offsets fall, as one for who takes a snapshot.
    fn fall(&self, change: impl FnOnce()) {
        let falls = self.falls.load(Ordering::Relaxed);
        self.falls.store(falls + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        change();
        self.falls.store(falls + 2, Ordering::Release);
    }

    /// The log start has been recorded. Under the retention lock.
    pub(crate) fn set_start(&self, start: Offset) {
        debug_assert!(start.get() >= self.start.load(Ordering::Relaxed), "never falls");
        debug_assert!(start <= self.end(), "never passes the end");
        self.start_recorded(start);
        self.start.store(start.get(), Ordering::Release);
        self.high_watermark.fetch_max(start.get(), Ordering::AcqRel);
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
