//! Mending what a verification found: first a plan, then, when told to, the least that carries it
//! out.
//!
//! The plan is printable and names what would be lost: nothing that can be read is. Each step is
//! whole or not done at all, and safe to repeat; a stop in the middle is finished by the next
//! repair or the next open. The directory is locked from the verification to the last step.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::report::VerifyReport;
use super::verify::{Looked, Verifier};
use crate::disk::names::LOCK;
use crate::disk::{DirLock, Disk};
use crate::error::{Cause, Error, Result};
use crate::ids::Offset;
use crate::log::{Finding, FindingKind};

/// One step of a repair.
///
/// ```no_run
/// let plan = tidelog::Repair::begin("data")?;
/// for step in plan.plan().steps() {
///     println!("{step}");
/// }
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RepairStep {
    /// Makes the indexes of a segment again.
    RebuildIndex {
        /// The segment's log file.
        segment: PathBuf,
    },
    /// Takes the digests of a segment again, as its headers are now.
    RebuildDigests {
        /// The segment's log file.
        segment: PathBuf,
    },
    /// Writes `leader-epoch-checkpoint` again from the batches.
    RebuildEpochs {
        /// The partition's directory.
        partition: PathBuf,
    },
    /// Writes a segment anew without what is no whole batch, and keeps the old file under a name
    /// that ends in `.cut`.
    CutOut {
        /// The segment's log file.
        segment: PathBuf,
        /// Which bytes go.
        bytes: Vec<Range<u64>>,
        /// Which offsets are lost: nothing leads to their records.
        lost: Vec<Range<Offset>>,
    },
}

impl fmt::Display for RepairStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RepairStep::RebuildIndex { segment } => {
                write!(f, "make the indexes of {} again", segment.display())
            }
            RepairStep::RebuildDigests { segment } => {
                write!(f, "take the digests of {} again", segment.display())
            }
            RepairStep::RebuildEpochs { partition } => {
                write!(f, "write the epochs of {} again", partition.display())
            }
            RepairStep::CutOut { segment, bytes, lost } => {
                let total: u64 = bytes.iter().map(|bytes| bytes.end - bytes.start).sum();
                write!(f, "cut {total} bytes out of {}", segment.display())?;
                for lost in lost {
                    write!(f, ", losing offsets {} to {}", lost.start, lost.end)?;
                }
                Ok(())
            }
        }
    }
}

/// What a repair would do, and what it cannot.
///
/// ```no_run
/// let repair = tidelog::Repair::begin("data")?;
/// print!("{}", repair.plan());
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairPlan {
    steps: Vec<RepairStep>,
    left: Vec<Finding>,
}

impl RepairPlan {
    /// The steps, in the order in which they are taken.
    ///
    /// ```no_run
    /// let repair = tidelog::Repair::begin("data")?;
    /// assert!(repair.plan().steps().is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[must_use]
    pub fn steps(&self) -> &[RepairStep] {
        &self.steps
    }

    /// What no step mends: records that are gone, files that cannot be read, state that nothing
    /// else tells; and what the next open mends by itself.
    ///
    /// ```no_run
    /// let repair = tidelog::Repair::begin("data")?;
    /// for finding in repair.plan().left() {
    ///     println!("{finding}");
    /// }
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[must_use]
    pub fn left(&self) -> &[Finding] {
        &self.left
    }

    /// The offsets that the steps give up, per segment file.
    ///
    /// ```no_run
    /// let repair = tidelog::Repair::begin("data")?;
    /// assert_eq!(repair.plan().lost().count(), 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn lost(&self) -> impl Iterator<Item = (&Path, Range<Offset>)> {
        self.steps.iter().flat_map(|step| match step {
            RepairStep::CutOut { segment, lost, .. } => {
                lost.iter().map(|lost| (&**segment, lost.clone())).collect()
            }
            _ => Vec::new(),
        })
    }
}

impl fmt::Display for RepairPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        for finding in &self.left {
            writeln!(f, "left as it is: {finding}")?;
        }
        Ok(())
    }
}

/// What a repair did.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # tidelog::Log::open(dir.path())?.close()?;
/// let repaired = tidelog::Repair::begin(dir.path())?.run()?;
/// assert_eq!(repaired.steps(), 0);
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    steps: usize,
    kept: Vec<PathBuf>,
}

impl Repaired {
    /// How many steps were taken.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Log::open(dir.path())?.close()?;
    /// assert_eq!(tidelog::Repair::begin(dir.path())?.run()?.steps(), 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[must_use]
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Where the segments are kept that were written anew; they may be removed.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Log::open(dir.path())?.close()?;
    /// assert!(tidelog::Repair::begin(dir.path())?.run()?.kept().is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[must_use]
    pub fn kept(&self) -> &[PathBuf] {
        &self.kept
    }
}

/// A repair of a store's root, or of a lone log's directory, that nobody has open: it holds the
/// directory's lock from [`Repair::begin`] until it is dropped.
///
/// Indexes, digests and epochs are made again; what is no whole batch is cut out, and the offsets
/// that it hid become a gap that a reader is told of
/// ([`Consumer::skip_damaged`](crate::Consumer::skip_damaged) goes on behind it). Everything else
/// reads as before.
///
/// ```
/// use tidelog::{Log, Record, Repair, Verifier};
/// let dir = tempfile::tempdir().unwrap();
/// let log = Log::open(dir.path())?;
/// log.append(&[Record::new("a")])?;
/// log.close()?;
/// # let index = dir.path().join("00000000000000000000.index");
/// std::fs::write(&index, "rubbish!").unwrap();
/// let repair = Repair::begin(dir.path())?;
/// print!("{}", repair.plan());
/// assert_eq!(repair.run()?.steps(), 1);
/// assert!(Verifier::new(dir.path()).run()?.is_clean());
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Debug)]
pub struct Repair {
    report: VerifyReport,
    looked: Vec<Looked>,
    plan: RepairPlan,
    lock: Box<dyn DirLock>,
}

impl Repair {
    /// Locks the directory, verifies it and makes a plan; blocks for that. Nothing is changed but
    /// what a compaction or a deletion that was cut short has left, which is tidied as an open
    /// does.
    ///
    /// # Errors
    /// [`Locked`](crate::ErrorKind::Locked) while anyone has it open;
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) where the journal of a store that was
    /// not closed, or a file that was put aside of one, holds records that are not in their
    /// partitions yet: an open brings them there, and the error says what else may be done;
    /// [`Io`](crate::ErrorKind::Io) where the directory cannot be written to (a verification alone
    /// can do without); and those of [`Verifier::run`].
    ///
    /// ```no_run
    /// let repair = tidelog::Repair::begin("data")?;
    /// print!("{}", repair.plan());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn begin(path: impl AsRef<Path>) -> Result<Repair> {
        Repair::begin_with(Verifier::new(path))
    }

    /// The same with the disk, the threads and the progress of a verifier.
    ///
    /// # Errors
    /// As [`Repair::begin`].
    ///
    /// ```no_run
    /// let repair = tidelog::Repair::begin_with(tidelog::Verifier::new("data").threads(1))?;
    /// # drop(repair);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn begin_with(verifier: Verifier) -> Result<Repair> {
        let disk = verifier.disk_of()?;
        verifier.check_exists(&*disk)?;
        let lock = lock(&disk, verifier.path())?;
        verifier.check_replayed(&disk)?;
        verifier.tidy(&disk)?;
        let (report, looked) = verifier.run_on(&disk)?;
        if !report.is_complete() {
            let why = "the verification was broken off".to_owned();
            return Err(Error::new("repair", Cause::InvalidArgument(why)));
        }
        let plan = plan(&report, &looked);
        Ok(Repair { report, looked, plan, lock })
    }

    /// What would be done.
    ///
    /// ```no_run
    /// let repair = tidelog::Repair::begin("data")?;
    /// assert!(repair.plan().steps().is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[must_use]
    pub fn plan(&self) -> &RepairPlan {
        &self.plan
    }

    /// What the verification found.
    ///
    /// ```no_run
    /// let repair = tidelog::Repair::begin("data")?;
    /// print!("{}", repair.report());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[must_use]
    pub fn report(&self) -> &VerifyReport {
        &self.report
    }

    /// Carries the plan out. Durable when it returns; blocks for copies and syncs.
    ///
    /// # Errors
    /// Those of the disk. What was done until then stays done; another repair does the rest.
    ///
    /// ```no_run
    /// let repaired = tidelog::Repair::begin("data")?.run()?;
    /// println!("{} steps", repaired.steps());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn run(mut self) -> Result<Repaired> {
        let mut done = Repaired::default();
        for step in &self.plan.steps {
            self.take(step, &mut done)?;
            done.steps += 1;
        }
        self.lock.unlock().map_err(|error| Error::new("repair", Cause::Io(error)))?;
        Ok(done)
    }

    fn take(&self, step: &RepairStep, done: &mut Repaired) -> Result<()> {
        for Looked { partition, found } in &self.looked {
            match step {
                RepairStep::RebuildIndex { segment } => {
                    if let Some(segment) = partition.owned(segment) {
                        return segment.mend_indexes();
                    }
                }
                RepairStep::RebuildDigests { segment } => {
                    if let Some(segment) = partition.owned(segment) {
                        return segment.mend_digests();
                    }
                }
                RepairStep::RebuildEpochs { partition: dir } => {
                    if partition.dir() == dir {
                        return partition.mend_epochs(&found.epochs);
                    }
                }
                RepairStep::CutOut { segment, bytes, .. } => {
                    if let Some(owned) = partition.owned(segment) {
                        done.kept.push(owned.cut_out(bytes)?);
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}

fn lock(disk: &Arc<dyn Disk>, path: &Path) -> Result<Box<dyn DirLock>> {
    let file = path.join(LOCK);
    disk.lock(&file).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => {
            let text = "a store, a log or another program uses the directory".to_owned();
            Error::new("repair", Cause::Locked(text)).at_path(&file)
        }
        _ => Error::io("repair", &file, error),
    })
}

/// The state log has a torn end too: the next open cuts it.
fn is_log(path: &Path) -> bool {
    path.extension().is_some_and(|kind| kind == "log")
}

/// The least that mends what was found: a pure decision.
fn plan(report: &VerifyReport, looked: &[Looked]) -> RepairPlan {
    let mut plan = RepairPlan::default();
    let mut cuts: BTreeMap<&Path, Vec<&Finding>> = BTreeMap::new();
    let mut rest = Vec::new();
    for finding in &report.findings {
        match finding.kind() {
            FindingKind::Batch | FindingKind::Digest | FindingKind::TornTail
                if finding.bytes() > 0 && is_log(finding.path()) =>
            {
                cuts.entry(finding.path()).or_default().push(finding);
            }
            _ => rest.push(finding),
        }
    }
    for (segment, findings) in &cuts {
        let mut bytes: Vec<_> =
            findings.iter().map(|f| f.position()..f.position() + f.bytes()).collect();
        bytes.sort_by_key(|bytes| bytes.start);
        let lost = findings.iter().filter_map(|finding| finding.offsets()).collect();
        let segment = segment.to_path_buf();
        plan.steps.push(RepairStep::CutOut { segment, bytes, lost });
    }
    // a segment that is written anew gets new indexes and digests with it
    let is_cut = |segment: &PathBuf| cuts.contains_key(&**segment);
    let put = |plan: &mut RepairPlan, step| {
        if !plan.steps.contains(&step) {
            plan.steps.push(step);
        }
    };
    for finding in rest {
        let segment = finding.path().with_extension("log");
        match finding.kind() {
            FindingKind::Index if is_cut(&segment) => {}
            FindingKind::Index => put(&mut plan, RepairStep::RebuildIndex { segment }),
            FindingKind::Sidecar if is_cut(&segment) => {}
            FindingKind::Sidecar => put(&mut plan, RepairStep::RebuildDigests { segment }),
            FindingKind::Epochs => {
                let partition = finding.path().parent().unwrap_or(Path::new("")).to_owned();
                put(&mut plan, RepairStep::RebuildEpochs { partition });
            }
            _ => plan.left.push(finding.clone()),
        }
    }
    let holes = looked.iter().flat_map(|looked| &looked.found.unvouched);
    for hole in holes.filter(|hole| !hole.is_digested_since()) {
        let segment = hole.path().to_owned();
        if !is_cut(&segment) {
            put(&mut plan, RepairStep::RebuildDigests { segment });
        }
    }
    plan
}
