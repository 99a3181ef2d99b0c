//! What every form of a mapped tail has in common: its bounds, and the buffered form that the
//! memory and the simulated disk share.
//!
//! Invariant: `published <= allocated <= capacity`, each of the first two only rising. Windows lie
//! in `published..allocated`; crossing a bound is a fault of ours and panics.
//!
//! A buffered tail lends a copy of the file's bytes and stores it back at the next call, for a
//! safe `&mut [u8]` cannot point into memory that readers share. A positioned write that comes
//! between wins over the copy, as it would over memory that was stored into before it.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::{MapReader, TailMap, sealed};

#[cfg(test)]
thread_local! {
    /// What a buffered tail may be enlarged to.
    pub(crate) static LARGEST_MAP: std::cell::Cell<u64> = const { std::cell::Cell::new(u64::MAX) };
}

/// The three ends of a mapped tail.
#[derive(Debug)]
pub(super) struct Bounds {
    published: u64,
    allocated: u64,
    capacity: u64,
}

impl Bounds {
    /// Of a file that is `published` bytes long, all of them final.
    ///
    /// # Errors
    /// `InvalidInput` where they do not fit together.
    pub(super) fn new(published: u64, len: u64, capacity: u64) -> io::Result<Self> {
        if len != published {
            return Err(invalid("a tail is mapped only where the file ends at its published end"));
        }
        if capacity == 0 || capacity < published || isize::try_from(capacity).is_err() {
            return Err(invalid("the capacity of a mapped tail is below its published end"));
        }
        Ok(Bounds { published, allocated: published, capacity })
    }

    pub(super) fn published(&self) -> u64 {
        self.published
    }

    pub(super) fn allocated(&self) -> u64 {
        self.allocated
    }

    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// The same ends in a mapping of that capacity.
    ///
    /// # Errors
    /// `InvalidInput` where it is less than before.
    pub(super) fn enlarged(&self, capacity: u64) -> io::Result<Self> {
        self.check_enlarge(capacity)?;
        Ok(Bounds { capacity, ..*self })
    }

    /// Whether a mapping of that capacity can take this one's place.
    ///
    /// # Errors
    /// `InvalidInput` where not.
    pub(super) fn check_enlarge(&self, capacity: u64) -> io::Result<()> {
        if capacity < self.capacity || isize::try_from(capacity).is_err() {
            return Err(invalid("a mapped tail only grows"));
        }
        Ok(())
    }

    /// The window as offsets into the mapping.
    #[inline]
    pub(super) fn window(&self, position: u64, len: usize) -> std::ops::Range<usize> {
        let end = position.checked_add(len as u64).expect("a window ends within 64 bits");
        assert!(
            position >= self.published && end <= self.allocated,
            "window {position}..{end} leaves {}..{}",
            self.published,
            self.allocated
        );
        // `allocated <= capacity <= isize::MAX`, so neither number is cut.
        position as usize..end as usize
    }

    /// Whether an allocation up to `end` has anything to do.
    ///
    /// # Errors
    /// `InvalidInput` beyond the capacity.
    pub(super) fn check_allocate(&self, end: u64) -> io::Result<bool> {
        if end > self.capacity {
            return Err(invalid("a mapped tail cannot grow beyond its capacity"));
        }
        Ok(end > self.allocated)
    }

    /// The file now reaches to `end`.
    pub(super) fn raise_allocated(&mut self, end: u64) {
        assert!(end <= self.capacity, "{end} is beyond the capacity {}", self.capacity);
        self.allocated = self.allocated.max(end);
    }

    #[inline]
    pub(super) fn publish(&mut self, end: u64) {
        assert!(
            end >= self.published && end <= self.allocated,
            "published end {end} leaves {}..={}",
            self.published,
            self.allocated
        );
        self.published = end;
    }
}

pub(super) fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

/// The ranges written by position since a buffered window was lent.
#[derive(Clone, Debug, Default)]
pub(super) struct Overwrites {
    lent: bool,
    ranges: Vec<(u64, u64)>,
}

impl Overwrites {
    /// A window was lent: from here on positioned writes matter.
    pub(super) fn lend(&mut self) {
        self.lent = true;
        self.ranges.clear();
    }

    pub(super) fn note(&mut self, start: u64, end: u64) {
        if self.lent && start < end {
            self.ranges.push((start, end));
        }
    }

    /// The parts of `start..end` that nothing overwrote, in order; ends the lending.
    pub(super) fn take_rest(&mut self, start: u64, end: u64) -> Vec<(u64, u64)> {
        self.lent = false;
        let mut rest = vec![(start, end)];
        for (low, high) in self.ranges.drain(..) {
            rest = rest
                .into_iter()
                .flat_map(|(from, to)| [(from, to.min(low)), (from.max(high), to)])
                .filter(|(from, to)| from < to)
                .collect();
        }
        rest
    }
}

/// A file that a buffered tail stores into.
pub(super) trait Backing: Send + Sync + fmt::Debug + 'static {
    /// Copies the file's bytes out; beyond its end there are zeros. Marks the range as lent.
    fn lend(&self, position: u64, buffer: &mut [u8]);
    /// Stores what was lent back, except where a positioned write came later.
    fn give_back(&self, position: u64, bytes: &[u8]);
    /// Writes zeros over `from..end`, after which the file is `end` long.
    fn extend(&self, from: u64, end: u64) -> io::Result<()>;
    /// The published end moves: a step a crash may come before.
    fn publishing(&self) {}
    /// Copies published bytes out.
    fn view(&self, start: u64, end: u64) -> Bytes;
    /// The tail was dropped.
    fn unmapped(&self);
}

/// A tail that lends copies.
pub(super) struct BufferedTail<B: Backing> {
    reader: Arc<BufferedReader<B>>,
    bounds: Bounds,
    buffer: Vec<u8>,
    lent: Option<u64>,
}

/// The readers' side of a [`BufferedTail`].
#[derive(Debug)]
pub(super) struct BufferedReader<B: Backing> {
    backing: B,
    published: AtomicU64,
}

impl<B: Backing> fmt::Debug for BufferedTail<B> {
    /// Without the lent bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferedTail").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

impl<B: Backing> BufferedTail<B> {
    pub(super) fn new(backing: B, bounds: Bounds) -> Self {
        let published = AtomicU64::new(bounds.published());
        let reader = Arc::new(BufferedReader { backing, published });
        BufferedTail { reader, bounds, buffer: Vec::new(), lent: None }
    }

    fn give_back(&mut self) {
        if let Some(position) = self.lent.take() {
            self.reader.backing.give_back(position, &self.buffer);
        }
    }
}

impl<B: Backing> sealed::Sealed for BufferedTail<B> {}

impl<B: Backing> TailMap for BufferedTail<B> {
    fn allocated(&self) -> u64 {
        self.bounds.allocated()
    }

    fn capacity(&self) -> u64 {
        self.bounds.capacity()
    }

    fn enlarge(&mut self, capacity: u64) -> io::Result<()> {
        #[cfg(test)]
        if capacity > LARGEST_MAP.get() {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.bounds = self.bounds.enlarged(capacity)?;
        Ok(())
    }

    fn allocate(&mut self, end: u64) -> io::Result<()> {
        self.give_back();
        if self.bounds.check_allocate(end)? {
            self.reader.backing.extend(self.bounds.allocated(), end)?;
            self.bounds.raise_allocated(end);
        }
        Ok(())
    }

    fn written(&mut self, end: u64) {
        self.bounds.raise_allocated(end);
    }

    fn window(&mut self, position: u64, len: usize) -> &mut [u8] {
        self.give_back();
        self.bounds.window(position, len);
        self.buffer.resize(len, 0);
        self.reader.backing.lend(position, &mut self.buffer);
        self.lent = Some(position);
        &mut self.buffer
    }

    fn publish(&mut self, end: u64) {
        self.give_back();
        self.bounds.publish(end);
        self.reader.backing.publishing();
        self.reader.published.store(end, Ordering::Release);
    }

    fn reader(&self) -> Arc<dyn MapReader> {
        self.reader.clone()
    }
}

impl<B: Backing> Drop for BufferedTail<B> {
    fn drop(&mut self) {
        self.give_back();
        self.reader.backing.unmapped();
    }
}

impl<B: Backing> sealed::Sealed for BufferedReader<B> {}

impl<B: Backing> MapReader for BufferedReader<B> {
    fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    fn view(&self, start: u64, end: u64) -> io::Result<Bytes> {
        let published = self.published();
        assert!(start <= end && end <= published, "view {start}..{end} leaves 0..{published}");
        Ok(self.backing.view(start, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_refuse_what_does_not_fit() {
        assert!(Bounds::new(10, 11, 100).is_err());
        assert!(Bounds::new(10, 10, 9).is_err());
        assert!(Bounds::new(0, 0, 0).is_err());
        let mut bounds = Bounds::new(10, 10, 100).unwrap();
        assert!(bounds.check_allocate(101).is_err());
        assert!(!bounds.check_allocate(10).unwrap());
        bounds.raise_allocated(50);
        assert_eq!(bounds.window(10, 40), 10..50);
        bounds.publish(20);
        assert_eq!((bounds.published(), bounds.allocated()), (20, 50));
        assert!(bounds.enlarged(99).is_err());
        assert_eq!(bounds.enlarged(100).unwrap().capacity(), 100);
    }

    #[test]
    #[should_panic(expected = "leaves 20..50")]
    fn a_window_never_reaches_published_bytes() {
        let mut bounds = Bounds::new(20, 20, 100).unwrap();
        bounds.raise_allocated(50);
        bounds.window(19, 1);
    }

    #[test]
    fn later_positioned_writes_win() {
        let mut overwrites = Overwrites::default();
        overwrites.note(0, 100);
        overwrites.lend();
        overwrites.note(20, 30);
        overwrites.note(5, 12);
        assert_eq!(overwrites.take_rest(10, 40), vec![(12, 20), (30, 40)]);
        assert_eq!(overwrites.take_rest(10, 40), vec![(10, 40)]);
    }
}
