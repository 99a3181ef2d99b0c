//! What a verification says: how much was read, what is wrong, what nothing vouches for.
//!
//! Findings come partition by partition, in the order of the offsets; a report that was broken off
//! says so. Made by `verify`, read by `repair` and by users.

use std::fmt;

use crate::log::{Finding, FindingKind, Unvouched};

/// How far a verification has come.
///
/// ```
/// use std::ops::ControlFlow;
/// # let dir = tempfile::tempdir().unwrap();
/// # tidelog::Store::open(dir.path())?.close()?;
/// let report = tidelog::Verifier::new(dir.path())
///     .on_progress(|progress| {
///         println!("{} of {} bytes", progress.bytes_done(), progress.bytes_total());
///         ControlFlow::Continue(())
///     })
///     .run()?;
/// assert!(report.is_complete());
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyProgress {
    pub(super) bytes_done: u64,
    pub(super) bytes_total: u64,
}

impl VerifyProgress {
    /// Bytes of segments that have been read.
    ///
    /// ```
    /// # use std::ops::ControlFlow;
    /// let tell = |progress: &tidelog::VerifyProgress| {
    ///     println!("{} bytes", progress.bytes_done());
    ///     ControlFlow::Continue(())
    /// };
    /// let verifier = tidelog::Verifier::new("data").on_progress(tell);
    /// # drop(verifier);
    /// ```
    #[must_use]
    pub fn bytes_done(&self) -> u64 {
        self.bytes_done
    }

    /// Bytes of segments that there were when it began.
    ///
    /// ```
    /// # use std::ops::ControlFlow;
    /// let tell = |progress: &tidelog::VerifyProgress| {
    ///     println!("of {} bytes", progress.bytes_total());
    ///     ControlFlow::Continue(())
    /// };
    /// let verifier = tidelog::Verifier::new("data").on_progress(tell);
    /// # drop(verifier);
    /// ```
    #[must_use]
    pub fn bytes_total(&self) -> u64 {
        self.bytes_total
    }
}

/// What a verification found. It is printable.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # tidelog::Store::open(dir.path())?.close()?;
/// let report = tidelog::Verifier::new(dir.path()).run()?;
/// assert!(report.is_clean(), "{report}");
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    pub(super) findings: Vec<Finding>,
    pub(super) unvouched: Vec<Unvouched>,
    pub(super) partitions: u64,
    pub(super) segments: u64,
    pub(super) batches: u64,
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) cancelled: bool,
    pub(super) another_hand: Option<String>,
}

impl VerifyReport {
    /// What is wrong, partition by partition, in the order of the offsets.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Store::open(dir.path())?.close()?;
    /// let report = tidelog::Verifier::new(dir.path()).run()?;
    /// assert!(report.findings().is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Bytes whose batch headers no digest of their writer covers: written by another program,
    /// found after a stop in the middle, or without their sidecar.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Store::open(dir.path())?.close()?;
    /// let report = tidelog::Verifier::new(dir.path()).run()?;
    /// assert!(report.unvouched().is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[must_use]
    pub fn unvouched(&self) -> &[Unvouched] {
        &self.unvouched
    }

    /// What gave away that another program was the last to write to the store's root, where one
    /// was: nothing in it is vouched for then until the store is opened, which takes over what it
    /// finds. `None` of a store that is open, and of a lone log.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Store::open(dir.path())?.close()?;
    /// let report = tidelog::Verifier::new(dir.path()).run()?;
    /// assert_eq!(report.another_hand(), None);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[must_use]
    pub fn another_hand(&self) -> Option<&str> {
        self.another_hand.as_deref()
    }

    /// Whether everything was read and nothing is wrong.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Store::open(dir.path())?.close()?;
    /// assert!(tidelog::Verifier::new(dir.path()).run()?.is_clean());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty() && self.is_complete()
    }

    /// Whether it came to its end: the progress callback did not break it off.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Store::open(dir.path())?.close()?;
    /// assert!(tidelog::Verifier::new(dir.path()).run()?.is_complete());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.cancelled
    }

    /// Whether records cannot be read.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Store::open(dir.path())?.close()?;
    /// assert!(!tidelog::Verifier::new(dir.path()).run()?.has_lost_records());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[must_use]
    pub fn has_lost_records(&self) -> bool {
        self.findings.iter().map(Finding::kind).any(FindingKind::loses_records)
    }

    /// Partitions that were looked at.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Store::open(dir.path())?.close()?;
    /// println!("{} partitions", tidelog::Verifier::new(dir.path()).run()?.partitions());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[must_use]
    pub fn partitions(&self) -> u64 {
        self.partitions
    }

    /// Segments that were read.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Store::open(dir.path())?.close()?;
    /// println!("{} segments", tidelog::Verifier::new(dir.path()).run()?.segments());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[must_use]
    pub fn segments(&self) -> u64 {
        self.segments
    }

    /// Whole batches that were read.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Store::open(dir.path())?.close()?;
    /// println!("{} batches", tidelog::Verifier::new(dir.path()).run()?.batches());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[must_use]
    pub fn batches(&self) -> u64 {
        self.batches
    }

    /// Records in them.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Store::open(dir.path())?.close()?;
    /// println!("{} records", tidelog::Verifier::new(dir.path()).run()?.records());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Bytes of segments.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Store::open(dir.path())?.close()?;
    /// println!("{} bytes", tidelog::Verifier::new(dir.path()).run()?.bytes());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let VerifyReport { partitions, segments, batches, records, bytes, .. } = self;
        writeln!(f, "{partitions} partitions, {segments} segments, {bytes} bytes")?;
        writeln!(f, "{batches} batches, {records} records")?;
        if let Some(why) = &self.another_hand {
            writeln!(f, "another program wrote to it last: {why}")?;
        }
        for finding in &self.findings {
            writeln!(f, "wrong: {finding}")?;
        }
        for hole in &self.unvouched {
            let bytes = hole.bytes();
            let path = hole.path().display();
            writeln!(f, "not vouched for: {path} {} to {}", bytes.start, bytes.end)?;
        }
        if self.cancelled {
            writeln!(f, "broken off")?;
        }
        Ok(())
    }
}
