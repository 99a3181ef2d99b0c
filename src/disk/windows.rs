//! What a disk has done ahead of those who write and read its mapped files: the door for the thread
//! that does it.
//!
//! The store's thread calls it (`engine::threads`), or a host's. The real disk has it alone, where
//! files are mapped; nothing is wrong where nobody calls.

use std::fmt;

use super::sealed;

/// The windows of a disk's mapped files, for the thread that makes the next one ready while its
/// writer still fills the last.
///
/// Nothing depends on it: a writer who meets a window that is not ready makes it himself.
///
/// ```
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use tidelog::disk::{Disk, IoMode, RealDisk};
/// let disk = RealDisk::new(IoMode::Mapped)?;
/// let windows = disk.windows().expect("a mapped disk has some");
/// let goes_on = AtomicBool::new(true);
/// std::thread::scope(|scope| {
///     scope.spawn(|| windows.ready(&|| goes_on.load(Ordering::Acquire)));
///     // here files are mapped and stored into
///     goes_on.store(false, Ordering::Release);
///     windows.wake();
/// });
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Windows: sealed::Sealed + Send + Sync + fmt::Debug {
    /// Makes windows ready, the newest first, and while none is asked for maps cached pages ahead
    /// of who reads on, as long as `goes_on` says so: it is asked before each window, each mebibyte
    /// of pages and after each [`wake`](Windows::wake). Blocks meanwhile, without using the
    /// processor while nobody asks.
    fn ready(&self, goes_on: &dyn Fn() -> bool);

    /// Has whoever makes windows ready ask whether to go on.
    fn wake(&self);
}
