//! When a log calls whoever maintains it: one number for an append to look at.
//!
//! Three things are told: that bytes are unsynced for the first time since a sync began, that they
//! are more than the background sync allows, and that the log has grown to a size that was asked
//! about. Each is told once: the first again after the next sync has begun, the second after it
//! has ended, the third when it is asked for again. The next of them is kept as a count of appended
//! bytes; what may only rise that number is done under a lock, which appends take when they have
//! reached it, a few times per sync.
//!
//! Owned by the log; asked by `append`, told by `durable`.

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Counts of appended bytes at which something is to be told.
#[derive(Debug)]
#[repr(C)] // what every append reads lies in front
pub(super) struct Marks {
    /// The next of all; written under the lock of `told`.
    next: AtomicU64,
    told: Mutex<Told>,
    /// How many unsynced bytes are allowed.
    most_unsynced: u64,
}

#[derive(Debug)]
struct Told {
    /// That bytes are unsynced.
    dirty: bool,
    /// Where there are too many; nowhere once that is told.
    sync_at: u64,
    /// Where the log has the size that was asked about; nowhere once that is told.
    size_at: u64,
}

/// What an append that has reached a mark has to tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reached {
    /// The log has unsynced bytes.
    pub(super) dirty: bool,
    /// It wants to be looked at.
    pub(super) due: bool,
}

impl Told {
    fn next(&self) -> u64 {
        if self.dirty { self.sync_at.min(self.size_at) } else { 0 }
    }

    fn take_size(&mut self, appended: u64) -> bool {
        let reached = self.size_at <= appended;
        if reached {
            self.size_at = u64::MAX;
        }
        reached
    }
}

impl Marks {
    /// Of a log that nothing was appended to; `None` allows any number of unsynced bytes.
    pub(super) fn new(most_unsynced: Option<u64>) -> Self {
        let most_unsynced = most_unsynced.unwrap_or(u64::MAX);
        let told = Told { dirty: false, sync_at: most_unsynced, size_at: u64::MAX };
        Marks { next: AtomicU64::new(0), told: Mutex::new(told), most_unsynced }
    }

    /// Whether an append after which `appended` bytes are in the log has something to tell.
    #[inline]
    pub(super) fn are_reached(&self, appended: u64) -> bool {
        appended >= self.next.load(Ordering::Relaxed)
    }

    /// What that is; the next append need not.
    #[cold]
    pub(super) fn reach(&self, appended: u64) -> Reached {
        self.change(|told| {
            let dirty = !std::mem::replace(&mut told.dirty, true);
            let due = told.sync_at <= appended;
            if due {
                told.sync_at = u64::MAX;
            }
            Reached { dirty, due: told.take_size(appended) || due }
        })
    }

    /// Asks to be told once, when so many bytes are appended. `true`: they are.
    pub(super) fn ask_size(&self, at: u64, appended: u64) -> bool {
        self.change(|told| {
            told.size_at = at;
            told.take_size(appended)
        })
    }

    /// A sync begins: what is published from here on makes the log dirty.
    pub(super) fn sync_begins(&self) {
        self.change(|told| told.dirty = false);
    }

    /// A sync has ended that covers the first `bytes` appended; or it has failed, and is wanted
    /// again after as many more.
    pub(super) fn sync_ended(&self, bytes: u64) {
        self.change(|told| told.sync_at = bytes.saturating_add(self.most_unsynced));
    }

    fn change<T>(&self, change: impl FnOnce(&mut Told) -> T) -> T {
        let mut told = self.told.lock();
        let result = change(&mut told);
        self.next.store(told.next(), Ordering::Relaxed);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an append tells that leaves `appended` bytes.
    fn append(marks: &Marks, appended: u64) -> Option<(bool, bool)> {
        let reached = marks.are_reached(appended).then(|| marks.reach(appended))?;
        Some((reached.dirty, reached.due))
    }

    #[test]
    fn each_mark_is_told_once_and_again_after_a_sync() {
        let marks = Marks::new(Some(100));
        assert_eq!(append(&marks, 10), Some((true, false)));
        assert_eq!(append(&marks, 99), None);
        assert_eq!(append(&marks, 100), Some((false, true)));
        assert_eq!(append(&marks, 500), None, "while the sync is awaited or under way");
        marks.sync_begins();
        assert_eq!(append(&marks, 510), Some((true, false)));
        marks.sync_ended(500);
        assert_eq!(append(&marks, 520), None);
        assert_eq!(append(&marks, 600), Some((false, true)));
        marks.sync_begins();
        marks.sync_ended(900); // it failed, with so many appended by then
        assert_eq!(append(&marks, 910), Some((true, false)));
        assert_eq!(append(&marks, 1_000), Some((false, true)));
    }

    #[test]
    fn a_size_is_told_once_for_each_time_it_is_asked_for() {
        let marks = Marks::new(None);
        assert_eq!(append(&marks, 10), Some((true, false)));
        assert!(!marks.ask_size(50, 10));
        assert_eq!(append(&marks, 49), None);
        assert_eq!(append(&marks, 60), Some((false, true)));
        assert_eq!(append(&marks, 70), None);
        assert!(marks.ask_size(70, 70));
        assert_eq!(append(&marks, u64::MAX - 1), None);
    }
}
