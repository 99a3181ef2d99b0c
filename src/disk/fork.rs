//! Telling a forked child from the process that made a disk.
//!
//! A child has the locks of threads that it has not, and its parent's files: whoever finds himself
//! in one does nothing. Asked in front of every call, so the answer is a load and a comparison, and
//! a check is a value that every door keeps. Called by all floors above.

#[cfg(target_os = "linux")]
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
pub struct ForkCheck(Welcome);

/// Which processes are not taken for children.
#[derive(Clone, Copy, Debug)]
enum Welcome {
    /// All: a child has a copy of its own.
    All,
    /// The one with this number, where that of the process stands.
    #[cfg(target_os = "linux")]
    Number { stands: &'static AtomicU64, own: u64 },
    /// The one with this id, which costs a call to the system.
    Id(u32),
}

impl ForkCheck {
    /// A check for the process that runs, by its id where the system has no better.
    pub(super) fn new() -> Self {
        #[cfg(target_os = "linux")]
        if let Ok((stands, own)) = super::island::fork::mark() {
            return ForkCheck(Welcome::Number { stands, own });
        }
        ForkCheck(Welcome::Id(std::process::id()))
    }

    /// One that takes nobody for a child: of disks in memory, which a child has its own of.
    pub(crate) const fn never() -> Self {
        ForkCheck(Welcome::All)
    }

    /// Whether the process is a forked child of the one that made the disk.
    ///
    /// ```
    /// # use tidelog::disk::{Disk, MemoryDisk};
    /// assert!(!MemoryDisk::new().fork_check().is_forked_child());
    /// ```
    #[inline]
    pub fn is_forked_child(&self) -> bool {
        match self.0 {
            #[cfg(target_os = "linux")]
            Welcome::Number { stands, own } => stands.load(Ordering::Relaxed) != own,
            Welcome::All => false,
            Welcome::Id(own) => is_other_process(own),
        }
    }
}

#[inline(never)]
fn is_other_process(own: u32) -> bool {
    own != std::process::id()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_its_id_a_process_is_told_from_others() {
        let own = std::process::id();
        assert!(!ForkCheck(Welcome::Id(own)).is_forked_child());
        assert!(ForkCheck(Welcome::Id(own + 1)).is_forked_child());
    }
}
