//! `Numbers`: a few numbers that change together, rarely, and are read often, without a lock.
//!
//! A version stands beside them, odd while they change. A reader looks at it before and after: two
//! equal even looks say that nothing changed between, so the numbers are those of one change. The
//! fences are what makes that so: a reader that sees one number of a change sees, behind its
//! fence, the version that the writer had set before its own.
//!
//! One writer at a time; that is the caller's. loom runs this file. Called by `log::rules`.

use crate::sync::atomic::{AtomicU64, Ordering, fence};
use crate::sync::spin_loop;

/// Numbers that are read all of one change.
#[derive(Debug)]
pub(crate) struct Numbers<const N: usize> {
    /// Odd while the numbers change.
    version: AtomicU64,
    numbers: [AtomicU64; N],
}

impl<const N: usize> Numbers<N> {
    pub(crate) fn new(numbers: [u64; N]) -> Self {
        Numbers { version: AtomicU64::new(0), numbers: numbers.map(AtomicU64::new) }
    }

    /// Changes them all. One at a time.
    pub(crate) fn set(&self, numbers: [u64; N]) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        for (kept, number) in self.numbers.iter().zip(numbers) {
            kept.store(number, Ordering::Relaxed);
        }
        self.version.store(version + 2, Ordering::Release);
    }

    /// Which change they are of. Whoever looks at this before it takes them, and finds the same
    /// later, knows that they have not changed since.
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// All of them, as one change left them.
    #[inline]
    pub(crate) fn get(&self) -> [u64; N] {
        loop {
            let version = self.version.load(Ordering::Acquire);
            let numbers = self.numbers.each_ref().map(|number| number.load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            if version.is_multiple_of(2) && version == self.version.load(Ordering::Relaxed) {
                return numbers;
            }
            spin_loop();
        }
    }
}
