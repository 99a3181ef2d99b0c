//! How far a backup has come, and how it is told to stop.
//!
//! A [`Watch`] is shared by whoever makes the backup, on however many threads, and whoever looks
//! on. The caller's callback runs under no lock; one that panics stops the backup like one that
//! says so. Whoever makes the backup asks at every piece of 256 KiB and at every segment: what
//! stops it is an error like any other, after which everything is taken away again.

use std::fmt;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::BACK_UP;
use crate::error::{Cause, Error, Result};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How far a backup has come. Totals are 0 until the moment it shows is fixed: before that the
/// store is flushed.
///
/// ```
/// # use std::ops::ControlFlow;
/// let store = tidelog::Store::in_memory()?;
/// let backup = store.backup_builder("/backup").on_progress(|progress| {
///     println!("{} of {} bytes", progress.bytes_done(), progress.bytes_total());
///     ControlFlow::Continue(())
/// });
/// backup.run()?;
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupProgress {
    bytes: [u64; 2],
    segments: [u64; 2],
    partitions: [u64; 2],
}

impl BackupProgress {
    /// Bytes of log that are in the backup: copied, or shared by a second name.
    ///
    /// ```
    /// assert_eq!(tidelog::BackupProgress::default().bytes_done(), 0);
    /// ```
    pub fn bytes_done(&self) -> u64 {
        self.bytes[0]
    }

    /// Bytes of log that will be in it.
    ///
    /// ```
    /// assert_eq!(tidelog::BackupProgress::default().bytes_total(), 0);
    /// ```
    pub fn bytes_total(&self) -> u64 {
        self.bytes[1]
    }

    /// Segments whose log is in it.
    ///
    /// ```
    /// assert_eq!(tidelog::BackupProgress::default().segments_done(), 0);
    /// ```
    pub fn segments_done(&self) -> u64 {
        self.segments[0]
    }

    /// Segments that will be in it.
    ///
    /// ```
    /// assert_eq!(tidelog::BackupProgress::default().segments_total(), 0);
    /// ```
    pub fn segments_total(&self) -> u64 {
        self.segments[1]
    }

    /// Partitions that are whole and durable in it.
    ///
    /// ```
    /// assert_eq!(tidelog::BackupProgress::default().partitions_done(), 0);
    /// ```
    pub fn partitions_done(&self) -> u64 {
        self.partitions[0]
    }

    /// Partitions that will be in it, those without a record included.
    ///
    /// ```
    /// assert_eq!(tidelog::BackupProgress::default().partitions_total(), 0);
    /// ```
    pub fn partitions_total(&self) -> u64 {
        self.partitions[1]
    }
}

type OnProgress = dyn Fn(&BackupProgress) -> ControlFlow<()> + Send + Sync;

/// What those who make a backup and those who look on share.
#[derive(Default)]
pub(crate) struct Watch {
    told: Option<Box<OnProgress>>,
    stopped: AtomicBool,
    panicked: AtomicBool,
    bytes: [AtomicU64; 2],
    segments: [AtomicU64; 2],
    partitions: [AtomicU64; 2],
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("progress", &self.progress()).finish_non_exhaustive()
    }
}

impl Watch {
    /// `told` is called as the backup goes on, and stops it by saying so.
    pub(crate) fn telling(
        told: impl Fn(&BackupProgress) -> ControlFlow<()> + Send + Sync + 'static,
    ) -> Self {
        Watch { told: Some(Box::new(told)), ..Watch::default() }
    }

    /// Has the backup break off soon.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(crate) fn progress(&self) -> BackupProgress {
        let of = |[done, total]: &[AtomicU64; 2]| {
            let total = total.load(Ordering::Relaxed);
            [done.load(Ordering::Relaxed).min(total), total]
        };
        BackupProgress {
            bytes: of(&self.bytes),
            segments: of(&self.segments),
            partitions: of(&self.partitions),
        }
    }

    /// What there is to do.
    pub(super) fn expect(&self, bytes: u64, segments: u64, partitions: u64) {
        self.bytes[1].store(bytes, Ordering::Relaxed);
        self.segments[1].store(segments, Ordering::Relaxed);
        self.partitions[1].store(partitions, Ordering::Relaxed);
    }

    /// So much more is done; whether to go on.
    pub(super) fn go_on(&self, bytes: u64, segments: u64) -> bool {
        self.bytes[0].fetch_add(bytes, Ordering::Relaxed);
        self.segments[0].fetch_add(segments, Ordering::Relaxed);
        if let Some(told) = &self.told
            && !self.stopped.load(Ordering::Relaxed)
        {
            let progress = self.progress();
            match catch_unwind(AssertUnwindSafe(|| told(&progress))) {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => self.stop(),
                Err(_) => {
                    self.panicked.store(true, Ordering::Relaxed);
                    self.stop();
                }
            }
        }
        !self.stopped.load(Ordering::Relaxed)
    }

    pub(super) fn partition_done(&self) {
        self.partitions[0].fetch_add(1, Ordering::Relaxed);
    }

    /// # Errors
    /// `Cancelled` once it was told to stop, `Panicked` where the callback did.
    pub(super) fn check(&self) -> Result<()> {
        if self.go_on(0, 0) { Ok(()) } else { Err(self.verdict()) }
    }

    /// Why it was told to stop.
    pub(super) fn verdict(&self) -> Error {
        let cause = match self.panicked.load(Ordering::Relaxed) {
            true => Cause::Panicked("the progress callback"),
            false => Cause::Cancelled,
        };
        Error::new(BACK_UP, cause)
    }
}
