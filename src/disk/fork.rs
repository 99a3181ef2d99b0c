//! Telling a forked child from the process that made a disk.
//!
//! A child has the locks of threads that it has not, and its parent's files: whoever finds himself
//! in one does nothing. Asked in front of every call, so the answer is a load and a comparison, and
//! a check is a value that every door keeps. Called by all floors above.

use std::sync::atomic::{AtomicU64, Ordering};

/// Tells a forked child from the process that made a disk; see [`Disk::fork_check`].
///
/// ```
/// use tidelog::disk::{Disk, IoMode, RealDisk};
/// let check = RealDisk::new(IoMode::Positioned)?.fork_check();
/// assert!(!check.is_forked_child());
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// [`Disk::fork_check`]: super::Disk::fork_check
#[derive(Clone, Copy, Debug)]
pub struct ForkCheck {
    /// Where the number of the process stands that asks.
    #[cfg(target_os = "linux")]
    cell: Option<&'static AtomicU64>,
    /// The number of the process that made the disk, or where there is no cell its id; nought: all
    /// processes are welcome.
    own: u64,
}

impl ForkCheck {
    /// A check for the process that runs, by its id where the system has no better.
    pub(super) fn new() -> Self {
        #[cfg(target_os = "linux")]
        if let Ok((cell, own)) = super::island::fork::mark() {
            return ForkCheck { cell: Some(cell), own };
        }
        ForkCheck { own: u64::from(std::process::id()), ..Self::never() }
    }

    /// One that takes nobody for a child: of disks in memory, which a child has its own of.
    pub(crate) const fn never() -> Self {
        ForkCheck {
            #[cfg(target_os = "linux")]
            cell: None,
            own: 0,
        }
    }

    /// Whether the process is a forked child of the one that made the disk.
    ///
    /// ```
    /// # use tidelog::disk::{Disk, MemoryDisk};
    /// assert!(!MemoryDisk::new().fork_check().is_forked_child());
    /// ```
    #[inline]
    pub fn is_forked_child(&self) -> bool {
        #[cfg(target_os = "linux")]
        if let Some(cell) = self.cell {
            return cell.load(Ordering::Relaxed) != self.own;
        }
        self.is_other_process()
    }

    #[inline(never)]
    fn is_other_process(&self) -> bool {
        self.own != 0 && self.own != u64::from(std::process::id())
    }
}
