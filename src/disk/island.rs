//! The one place of `unsafe`: the memory of a mapped tail, the lock call that no safe crate has, in
//! `fork` the page that tells a child, and in `checksum`, `near` and `ticks` the processor's own
//! instructions.
//!
//! Why the mapping is sound. A [`Mapping`] is the shared memory of one file from position 0. Its
//! published end only rises. `&[u8]` is made only of bytes below it, `&mut [u8]` only of bytes at
//! or above it, by the one [`Writer`] there is for a file, through `&mut self`. So no shared and no
//! exclusive slice overlap, and a reader that sees an end (Acquire) sees the bytes stored before it
//! was set (Release). The memory lives as long as any `Arc` of the mapping; every view holds one. A
//! writer that needs more room goes on in a larger mapping of the same file, whose published end
//! begins where that of the one before stays for good: what the two have in common below it is only
//! read, by either's readers. Other programs that write the file, and positioned writes of ours
//! below the published end that change bytes, are outside of this and forbidden by
//! `docs/durability.md`.
//!
//! Touching memory beyond the file's end is no unsoundness but a SIGBUS: the writer's bounds keep
//! below what was allocated. The mapping is called by `real/` only.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use memmap2::{Advice, MmapOptions, MmapRaw, UncheckedAdvice};

use super::tail::Bounds;

pub(super) mod checksum;
pub(super) mod fork;
#[cfg(target_arch = "x86_64")]
pub(super) mod near;
#[cfg(target_arch = "x86_64")]
pub(super) mod ticks;

/// How much address space is left to others where a file is mapped.
const SPARE: usize = 4 << 20;
/// What the system's advice is given for; larger pages are multiples of it.
const PAGE: usize = 4096;

/// Of what it is asked for at once the system reads no more than it reads ahead of a file: so much
/// by default. Who wants as much, of which some is on the device alone, will want what lies behind.
const PIECE_BYTES: usize = 128 << 10;
/// How much of that is asked for.
const AHEAD_BYTES: usize = 2 << 20;

/// With a page that is looked at the system maps those around it that are in its cache: so many
/// bytes by default.
const MAPPED_AROUND: usize = 64 << 10;

/// A file's memory, shared by one writer and any number of readers.
#[derive(Debug)]
#[repr(align(64))] // one cache line for who appends to one of many
pub(super) struct Mapping {
    raw: MmapRaw,
    published: AtomicU64,
    allocated: AtomicU64,
    /// Published pages below it may have to come from the device.
    absent_below: AtomicU64,
    /// The system says which pages are in its cache to who owns the file; of others it claims all.
    tells_cached: bool,
}

impl Mapping {
    /// Maps `capacity` bytes of a file that ends at `published`.
    pub(super) fn create(file: &File, published: u64, capacity: u64) -> io::Result<Writer> {
        let bounds = Bounds::new(published, file.metadata()?.len(), capacity)?;
        Ok(Unused::create(file, capacity)?.begin(bounds))
    }

    /// Keeps a file for [`flush`](Mapping::flush) alone, with what the system has to report of what
    /// was written through `file`. Nothing of it is published, so nobody can look into it.
    pub(super) fn anchor(file: &File) -> io::Result<Arc<Mapping>> {
        let len =
            usize::try_from(file.metadata()?.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let raw = MmapOptions::new().len(len.max(1)).map_raw_read_only(file)?;
        Ok(Arc::new(Mapping {
            raw,
            published: AtomicU64::new(0),
            allocated: AtomicU64::new(0),
            absent_below: AtomicU64::new(0),
            tells_cached: false,
        }))
    }

    /// The published end: all below is final.
    #[inline]
    pub(super) fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    /// How far the file is known to reach.
    pub(super) fn allocated(&self) -> u64 {
        self.allocated.load(Ordering::Acquire)
    }

    /// Whether a range of the file lies in the mapped address space.
    pub(super) fn covers(&self, end: u64) -> bool {
        end <= self.raw.len() as u64
    }

    /// Makes everything written to the mapped range of the file durable, by whatever way it was
    /// written; the system reports errors since the file was opened for this mapping.
    pub(super) fn flush(&self) -> io::Result<()> {
        self.raw.flush()
    }

    /// Readies `from..to` to be stored into without a fault each page.
    pub(super) fn populate(&self, from: u64, to: u64) -> io::Result<()> {
        let start = from as usize / PAGE * PAGE;
        let end = to as usize;
        debug_assert!(end <= self.raw.len());
        match self.raw.advise_range(Advice::PopulateWrite, start, end - start) {
            // Linux before 5.14: the stores fault the pages in.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
            other => other,
        }
    }

    /// Takes the pages of published bytes out of this process's memory; they stay in the page
    /// cache, or on the disk, and come back when they are looked at.
    pub(super) fn let_go(&self, from: u64, to: u64) -> io::Result<()> {
        assert!(from <= to && to <= self.published(), "only published pages are let go");
        self.absent_below.fetch_max(to, Ordering::Relaxed);
        debug_assert!(to <= self.raw.len() as u64);
        // `published <= isize::MAX`, so neither number is cut
        let (start, len) = (from as usize, (to - from) as usize);
        // SAFETY: the mapping is shared and of a file, so dropping its page table entries loses
        // nothing: the bytes are the file's, and a view that is read again faults in the same
        // ones. The range is published (asserted), so the writer holds no slice of it.
        unsafe { self.raw.unchecked_advise_range(UncheckedAdvice::DontNeed, start, len) }
    }

    /// Whether what lies from `start` on has neither been let go nor was there before this map.
    #[inline]
    pub(super) fn is_at_hand(&self, start: u64) -> bool {
        start >= self.absent_below.load(Ordering::Relaxed)
    }

    /// A view of published bytes: the memory itself. Pages that may be on the device alone are
    /// brought in first, so that one it cannot read is an error here and no signal at the reader.
    pub(super) fn view(self: &Arc<Self>, start: u64, end: u64) -> io::Result<Bytes> {
        let published = self.published();
        assert!(start <= end && end <= published, "view {start}..{end} leaves 0..{published}");
        if start == end {
            return Ok(Bytes::new());
        }
        self.bring_in(start, end.min(self.absent_below.load(Ordering::Relaxed)))?;
        // `published <= isize::MAX`, so neither number is cut.
        let view = View { mapping: self.clone(), start: start as usize, end: end as usize };
        Ok(Bytes::from_owner(view))
    }

    /// Maps published pages that are in the system's cache, as far as all are. By one in each
    /// stretch, which the system maps the others with; by a call, for which a page beyond the end
    /// of a file that another program cut is an error and no signal.
    pub(super) fn map_cached(&self, from: u64, to: u64) {
        debug_assert!(from <= to && to <= self.published());
        let to = to as usize; // `published <= isize::MAX`, so neither is cut
        for at in (from as usize / PAGE * PAGE..to).step_by(MAPPED_AROUND) {
            let end = (at + MAPPED_AROUND).min(to);
            if !self.tells_cached || !self.is_cached(at, end) {
                return; // its reader has the device asked for more at once
            }
            if self.raw.advise_range(Advice::PopulateRead, at, PAGE.min(end - at)).is_err() {
                return;
            }
        }
    }

    fn bring_in(&self, start: u64, end: u64) -> io::Result<()> {
        if start >= end {
            return Ok(());
        }
        let mut start = start as usize / PAGE * PAGE;
        if self.tells_cached && self.is_cached(start, end as usize) {
            // A look at a page maps it with its neighbours, at a fifth of the cost. But of a file
            // that another program cut, pages beyond its end may be there still, in a folio that
            // begins before it: the last one is brought in, which a shorter file refuses.
            start = (end as usize - 1) / PAGE * PAGE;
        } else {
            self.ask_for(start, end as usize);
        }
        match self.raw.advise_range(Advice::PopulateRead, start, end as usize - start) {
            // Linux before 5.14: whoever reads the view faults the pages in.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
            // what a fault would have raised SIGBUS for
            Err(error) if error.raw_os_error() == Some(libc::EFAULT) => {
                Err(io::Error::from_raw_os_error(libc::EIO))
            }
            other => other,
        }
    }

    /// Has the system read a range, and who reads much has what comes after it read too: a map that
    /// is read at random has each page waited for by itself.
    #[cold]
    fn ask_for(&self, start: usize, end: usize) {
        let absent = usize::try_from(self.absent_below.load(Ordering::Relaxed)).unwrap_or(end);
        let reads_on = self.tells_cached && end - start >= PIECE_BYTES;
        let ahead = if reads_on { AHEAD_BYTES } else { 0 };
        let to = end.saturating_add(ahead).min(absent.max(end)).min(self.raw.len());
        for from in (start..to).step_by(PIECE_BYTES) {
            let len = PIECE_BYTES.min(to - from);
            let _ = self.raw.advise_range(Advice::WillNeed, from, len); // else page by page
        }
    }

    /// Whether all pages of a range, which begins with one, are in the page cache, up to date.
    #[cfg(target_os = "linux")]
    fn is_cached(&self, start: usize, end: usize) -> bool {
        let mut pages = [0; 256];
        let mut at = start;
        while at < end {
            let len = (end - at).min(pages.len() * PAGE);
            debug_assert!(at.is_multiple_of(PAGE) && at + len <= self.raw.len());
            debug_assert!(len.div_ceil(PAGE) <= pages.len());
            // SAFETY: the range lies within the mapping, and `pages` has a byte for each `PAGE` of
            // it (both asserted): one for each of the system's pages at least, which are multiples
            // of that.
            let done = unsafe {
                let from = self.raw.as_mut_ptr().add(at);
                libc::mincore(from.cast(), len, pages.as_mut_ptr())
            };
            let pages = pages.iter().take(len.div_ceil(PAGE));
            if done != 0 || !pages.fold(true, |all, page| all & (page & 1 == 1)) {
                return false;
            }
            at += len;
        }
        true
    }

    #[cfg(not(target_os = "linux"))]
    fn is_cached(&self, _start: usize, _end: usize) -> bool {
        false
    }
}

/// Whether a file belongs to this process's user.
#[cfg(target_os = "linux")]
fn is_own(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    metadata.uid() == rustix::process::geteuid().as_raw()
}

#[cfg(not(target_os = "linux"))]
fn is_own(_metadata: &std::fs::Metadata) -> bool {
    false
}

/// A range of published bytes that keeps its mapping alive.
struct View {
    mapping: Arc<Mapping>,
    start: usize,
    end: usize,
}

impl AsRef<[u8]> for View {
    fn as_ref(&self) -> &[u8] {
        debug_assert!(self.start <= self.end);
        debug_assert!(self.end as u64 <= self.mapping.published());
        debug_assert!(self.end <= self.mapping.raw.len());
        // SAFETY: the range is below the published end, which never falls (asserted when the view
        // was made), hence inside the mapping, initialised, and never stored into again; the
        // mapping lives as long as `self`.
        unsafe {
            std::slice::from_raw_parts(
                self.mapping.raw.as_ptr().add(self.start),
                self.end - self.start,
            )
        }
    }
}

/// A mapping that nobody stores into or looks into yet: nothing of it is published.
#[derive(Debug)]
pub(super) struct Unused(Mapping);

impl Unused {
    /// Maps `capacity` bytes of a file, which may be shorter.
    pub(super) fn create(file: &File, capacity: u64) -> io::Result<Unused> {
        let len = usize::try_from(capacity).map_err(|_| io::ErrorKind::InvalidInput)?;
        let raw = MmapOptions::new().len(len).map_raw(file)?;
        // small maps would leave a process of little address space nothing at all
        drop(MmapOptions::new().len(SPARE).map_raw_read_only(file)?);
        // Without this the first store into a fresh window reads megabytes ahead.
        raw.advise(Advice::Random)?;
        Ok(Unused(Mapping {
            raw,
            published: AtomicU64::new(0),
            allocated: AtomicU64::new(0),
            absent_below: AtomicU64::new(0),
            tells_cached: file.metadata().is_ok_and(|it| is_own(&it)),
        }))
    }

    /// How much of the file is mapped.
    pub(super) fn capacity(&self) -> u64 {
        self.0.raw.len() as u64
    }

    /// As [`Mapping::populate`].
    pub(super) fn populate(&self, from: u64, to: u64) -> io::Result<()> {
        self.0.populate(from, to)
    }

    /// Hands what is below the published end to readers and the rest to one writer.
    fn begin(self, bounds: Bounds) -> Writer {
        debug_assert_eq!(self.capacity(), bounds.capacity());
        let mapping = Arc::new(Mapping {
            published: AtomicU64::new(bounds.published()),
            allocated: AtomicU64::new(bounds.allocated()),
            absent_below: AtomicU64::new(bounds.published()),
            ..self.0
        });
        debug_assert_eq!(mapping.published(), bounds.published());
        Writer { mapping, bounds }
    }
}

/// The one who may store into a [`Mapping`]; not cloneable, made with it.
#[derive(Debug)]
pub(super) struct Writer {
    mapping: Arc<Mapping>,
    bounds: Bounds,
}

impl Writer {
    pub(super) fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    pub(super) fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Goes on in another mapping of the same file, which covers no less. Readers of the one before
    /// keep what was published in it.
    pub(super) fn go_on_in(&mut self, unused: Unused) -> io::Result<()> {
        let bounds = self.bounds.enlarged(unused.capacity())?;
        unused.populate(bounds.published(), bounds.allocated())?;
        *self = unused.begin(bounds);
        Ok(())
    }

    /// The file now reaches to `end`; said only after it does, or stores would raise SIGBUS.
    pub(super) fn raise_allocated(&mut self, end: u64) {
        self.bounds.raise_allocated(end);
        self.mapping.allocated.store(self.bounds.allocated(), Ordering::Release);
    }

    /// Memory at or above the published end, below the allocated one.
    #[inline]
    pub(super) fn window(&mut self, position: u64, len: usize) -> &mut [u8] {
        let range = self.bounds.window(position, len);
        debug_assert!(range.end <= self.mapping.raw.len());
        debug_assert!(position >= self.mapping.published.load(Ordering::Relaxed));
        // SAFETY: the range is inside the mapping and at or above the published end (asserted by
        // `Bounds::window`), so no view overlaps it; this is the mapping's only writer, borrowed
        // exclusively for the slice's life, during which `publish` cannot be called.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.mapping.raw.as_mut_ptr().add(range.start),
                range.end - range.start,
            )
        }
    }

    /// Takes every page out of this process's memory, the window's too: whoever stores or reads
    /// next faults them in again. That it fails costs memory only.
    pub(super) fn let_go_all(&mut self) {
        let len = usize::try_from(self.bounds.allocated()).unwrap_or(0);
        debug_assert!(len <= self.mapping.raw.len());
        self.mapping.absent_below.fetch_max(self.mapping.published(), Ordering::Relaxed);
        // SAFETY: as in `Mapping::let_go` for the published pages; of those above, this writer
        // holds no slice, since it is borrowed exclusively here.
        let _ =
            unsafe { self.mapping.raw.unchecked_advise_range(UncheckedAdvice::DontNeed, 0, len) };
    }

    /// Hands the bytes below `end` to readers.
    #[inline]
    pub(super) fn publish(&mut self, end: u64) {
        self.bounds.publish(end);
        self.mapping.published.store(end, Ordering::Release);
    }
}

/// What to do with the open-file-description lock of a whole file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Locking {
    Take,
    Free,
}

/// Takes or frees the lock that conflicts with POSIX `fcntl` locks yet belongs to the open file;
/// never waits.
pub(super) fn file_description_lock(file: &File, locking: Locking) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let kind = match locking {
        Locking::Take => libc::F_WRLCK,
        Locking::Free => libc::F_UNLCK,
    };
    // SAFETY: `flock` is plain numbers, for which zero is a value.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::c_short::try_from(kind).map_err(|_| io::ErrorKind::InvalidInput)?;
    lock.l_whence = 0; // SEEK_SET; start and length 0 mean the whole file
    debug_assert!(lock.l_pid == 0, "the system wants 0 here");
    // SAFETY: the descriptor is open for the call (borrowed from `file`) and `lock` is a valid
    // structure that the call only reads.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Runs `child` in a forked process and returns its exit code.
#[cfg(test)]
pub(crate) fn in_forked_child(child: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child runs only the closure, which takes no lock another thread may have held
    // but the allocator's (made ready for this by the C library), and leaves by `_exit`.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    if pid == 0 {
        let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(99);
        // SAFETY: ends the child without running the parent's destructors.
        unsafe { libc::_exit(code) }
    }
    let mut status = 0;
    // SAFETY: waits for the child made above; `status` is a valid place to write to.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(waited, pid);
    libc::WEXITSTATUS(status)
}

#[cfg(all(test, target_os = "linux", not(loom), not(shuttle)))]
mod tests;
