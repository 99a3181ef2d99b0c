//! Reading everything: each segment by one thread, as many at once as there are cores.
//!
//! The threads end within the call. Of a store in use whatever looks wrong is looked at twice, for
//! files change while they are read; only what is wrong both times is said.

use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::report::{VerifyProgress, VerifyReport};
use crate::disk::{Disk, RealDisk};
use crate::engine::{AwaitsReplay, RootAudit, is_root, list_kafkas, list_root};
use crate::error::{Cause, Error, Result};
use crate::log::{Finding, Log, PartitionAudit, PartitionAudited, SegmentAudited, list_lone};
use crate::record::PlainLimit;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

type OnProgress = dyn Fn(&VerifyProgress) -> ControlFlow<()> + Send + Sync;

/// Reads a store's root, or the directory of a lone log, from end to end and holds it against
/// everything that speaks about it. It changes nothing.
///
/// Read are: every batch with its checksum, its records and its offsets, the digests of what no
/// checksum covers, the indexes against the log, `leader-epoch-checkpoint`, `partition.metadata`,
/// the checkpoints of the root, the state log or the keeper file. Made by [`Verifier::new`] for a
/// directory that nobody writes to; [`Store::verifier`](crate::Store::verifier) and
/// [`Log::verifier`](crate::Log::verifier) are for what is open.
///
/// ```
/// use tidelog::{Record, Store, TopicConfig, Verifier};
/// let dir = tempfile::tempdir().unwrap();
/// let store = Store::open(dir.path())?;
/// store.ensure_topic("orders", TopicConfig::new())?;
/// store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
/// assert!(store.verifier().run()?.is_clean()); // while it is open
/// store.close()?;
/// let report = Verifier::new(dir.path()).run()?;
/// assert_eq!((report.is_clean(), report.records()), (true, 1), "{report}");
/// # Ok::<(), tidelog::Error>(())
/// ```
#[must_use]
pub struct Verifier {
    path: PathBuf,
    disk: Option<Arc<dyn Disk>>,
    threads: usize,
    is_live: bool,
    plain: PlainLimit,
    on_progress: Option<Box<OnProgress>>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Verifier {
    /// Of a directory: a store's root, or one that was opened as a [`Log`](crate::Log).
    ///
    /// ```
    /// let verifier = tidelog::Verifier::new("data");
    /// # drop(verifier);
    /// ```
    pub fn new(path: impl AsRef<Path>) -> Verifier {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let path = path.as_ref().to_owned();
        let plain = PlainLimit::DEFAULT;
        Verifier { path, disk: None, threads, is_live: false, plain, on_progress: None }
    }

    /// The disk it lies on; default [`RealDisk::for_directory`] of the path.
    ///
    /// ```
    /// use std::sync::Arc;
    /// let disk = Arc::new(tidelog::disk::MemoryDisk::new());
    /// let verifier = tidelog::Verifier::new("/store").disk(disk);
    /// # drop(verifier);
    /// ```
    pub fn disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.disk = Some(disk);
        self
    }

    /// How many segments are read at once, at least 1; default as many as there are cores.
    ///
    /// ```
    /// let verifier = tidelog::Verifier::new("data").threads(1);
    /// # drop(verifier);
    /// ```
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// How many bytes one compressed batch may take decompressed; of one that takes more, whole as
    /// its checksum says, the records are not looked into. Default 8 MiB, or 32 times the batch's
    /// own size where that is more, or what the store or log was opened with; at least 1.
    ///
    /// ```
    /// let verifier = tidelog::Verifier::new("data").max_decompressed_bytes(64 << 20);
    /// # drop(verifier);
    /// ```
    pub fn max_decompressed_bytes(self, bytes: usize) -> Self {
        self.plain(PlainLimit::bytes(bytes.max(1)))
    }

    /// The same in the limit's own type.
    pub(crate) fn plain(mut self, plain: PlainLimit) -> Self {
        self.plain = plain;
        self
    }

    /// Says that a process may be writing to the directory: what lies behind the recorded recovery
    /// point is not judged then, and what looks wrong is looked at twice.
    ///
    /// ```
    /// let verifier = tidelog::Verifier::new("data").beside_writer();
    /// # drop(verifier);
    /// ```
    pub fn beside_writer(mut self) -> Self {
        self.is_live = true;
        self
    }

    /// Called from the reading threads after every mebibyte or so, and at each segment's end;
    /// [`ControlFlow::Break`] ends the verification early, with what it has found so far.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Log::open(dir.path())?.append(&[tidelog::Record::new("a")])?;
    /// let report = tidelog::Verifier::new(dir.path())
    ///     .on_progress(|_| ControlFlow::Break(()))
    ///     .run()?;
    /// assert!(!report.is_complete());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn on_progress(
        mut self,
        told: impl Fn(&VerifyProgress) -> ControlFlow<()> + Send + Sync + 'static,
    ) -> Self {
        self.on_progress = Some(Box::new(told));
        self
    }

    /// Reads everything. Blocks for as long as that takes: at the disk's speed, or the
    /// processor's. Damage is no error here but a finding.
    ///
    /// # Errors
    /// [`NotAStore`](crate::ErrorKind::NotAStore) where there is nothing to verify,
    /// [`NewerVersion`](crate::ErrorKind::NewerVersion), and those of the disk that concern no
    /// single file.
    ///
    /// ```no_run
    /// let report = tidelog::Verifier::new("data").run()?;
    /// print!("{report}");
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn run(&self) -> Result<VerifyReport> {
        let (report, _) = self.run_on(&self.disk_of()?)?;
        Ok(report)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn disk_of(&self) -> Result<Arc<dyn Disk>> {
        match &self.disk {
            Some(disk) => Ok(disk.clone()),
            None => {
                let disk = RealDisk::for_directory(&self.path);
                Ok(Arc::new(disk.map_err(|error| Error::io("verify", &self.path, error))?))
            }
        }
    }

    /// The report, and the partitions it speaks of with what was found in each.
    pub(super) fn run_on(&self, disk: &Arc<dyn Disk>) -> Result<(VerifyReport, Vec<Looked>)> {
        let RootAudit { findings, partitions, another_hand, .. } = self.list(disk)?;
        let mut report = VerifyReport { findings, another_hand, ..VerifyReport::default() };
        let reading = Reading {
            total: partitions.iter().map(PartitionAudit::bytes).sum(),
            done: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            told: self.on_progress.as_deref(),
            plain: self.plain,
        };
        let audits = reading.audit(&partitions, self.threads)?;
        let mut looked = Vec::with_capacity(partitions.len());
        for (partition, audits) in partitions.into_iter().zip(audits) {
            report.partitions += 1;
            report.segments += partition.segments().len() as u64;
            report.bytes += partition.bytes();
            let mut found = partition.conclude(audits);
            if self.is_live && !found.findings.is_empty() {
                self.look_again(disk, &partition, &mut found.findings)?;
            }
            report.batches += found.batches;
            report.records += found.records;
            report.findings.extend(found.findings.iter().cloned());
            report.unvouched.extend(found.unvouched.iter().cloned());
            looked.push(Looked { partition, found });
        }
        report.cancelled = reading.stopped.into_inner();
        Ok((report, looked))
    }

    pub(super) fn check_exists(&self, disk: &dyn Disk) -> Result<()> {
        let there = disk.metadata(&self.path);
        if there.map_err(|error| Error::io("verify", &self.path, error))?.is_none() {
            let cause = Cause::NotAStore("there is nothing".to_owned());
            return Err(Error::new("verify", cause).at_path(&self.path));
        }
        Ok(())
    }

    /// Finishes or takes back what was cut short in any partition.
    pub(super) fn tidy(&self, disk: &Arc<dyn Disk>) -> Result<()> {
        self.list(disk)?.partitions.iter().try_for_each(PartitionAudit::tidy)
    }

    /// Fails where the next open is to bring records from the journal to their places: places must
    /// not move before.
    pub(super) fn check_replayed(&self, disk: &Arc<dyn Disk>) -> Result<()> {
        let Some(AwaitsReplay { path, partition }) = self.list(disk)?.awaits_replay else {
            return Ok(());
        };
        let why = match partition {
            None => "the journal holds records that only the next open brings into their \
                     partitions: open the store, close it, and repair then"
                .to_owned(),
            Some(partition) => format!(
                "this file holds records of {partition} from the journal, which earlier opens \
                 could not bring there: mend what the open report says of that partition, open \
                 the store, close it, and repair then; or move the file elsewhere, which gives \
                 its records up"
            ),
        };
        Err(Error::new("repair", Cause::InvalidArgument(why)).at_path(&path))
    }

    fn list(&self, disk: &Arc<dyn Disk>) -> Result<RootAudit> {
        self.check_exists(&**disk)?;
        if is_root(&**disk, &self.path)? {
            return list_root(disk, &self.path, self.is_live);
        }
        if let Some(kafkas) = list_kafkas(disk, &self.path, self.is_live)? {
            return Ok(kafkas);
        }
        let (findings, partitions) = list_lone(disk, &self.path, self.is_live)?;
        Ok(RootAudit { findings, partitions, ..RootAudit::default() })
    }

    /// Keeps what is wrong a second time as well.
    fn look_again(
        &self,
        disk: &Arc<dyn Disk>,
        partition: &PartitionAudit,
        findings: &mut Vec<Finding>,
    ) -> Result<()> {
        let again = self.list(disk)?.partitions;
        let again = again.iter().find(|again| again.id() == partition.id());
        let again = again.map(|again| again.audit_all(self.plain).findings).unwrap_or_default();
        let same = |one: &Finding, other: &Finding| {
            (one.kind(), one.path(), one.position())
                == (other.kind(), other.path(), other.position())
        };
        findings.retain(|finding| again.iter().any(|again| same(again, finding)));
        Ok(())
    }
}

impl Log {
    /// Reads everything the log holds and says what is wrong, while it is open.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Record, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// log.append(&[Record::new("a")])?;
    /// assert!(log.verifier().run()?.is_clean());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn verifier(&self) -> Verifier {
        let (disk, dir) = self.place();
        Verifier::new(dir).disk(disk.clone()).plain(self.plain_limit()).beside_writer()
    }
}

/// A partition with what was found in it.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) partition: PartitionAudit,
    pub(super) found: PartitionAudited,
}

/// The threads' common state.
struct Reading<'a> {
    total: u64,
    done: AtomicU64,
    stopped: AtomicBool,
    told: Option<&'a OnProgress>,
    plain: PlainLimit,
}

impl Reading<'_> {
    /// Audits every segment of every partition; in their order.
    fn audit(
        &self,
        partitions: &[PartitionAudit],
        threads: usize,
    ) -> Result<Vec<Vec<SegmentAudited>>> {
        let work: Vec<_> = partitions
            .iter()
            .enumerate()
            .flat_map(|(number, partition)| {
                (0..partition.segments().len()).map(move |at| (number, at))
            })
            .collect();
        let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let run = || {
            while let Some((number, at)) = work.get(next.fetch_add(1, Ordering::Relaxed)).copied()
                && !self.stopped.load(Ordering::Relaxed)
            {
                let audit = partitions[number].audit(at, self.plain, &|bytes| self.go_on(bytes));
                found.lock().push((number, at, audit));
            }
        };
        std::thread::scope(|scope| {
            let others = threads.min(work.len()).saturating_sub(1);
            let handles: Vec<_> = (0..others).map(|_| scope.spawn(run)).collect();
            run();
            handles.into_iter().try_for_each(|handle| handle.join())
        })
        .map_err(|_| Error::new("verify", Cause::Panicked("a verification")))?;
        let mut found = found.into_inner();
        found.sort_by_key(|(number, at, _)| (*number, *at));
        let mut audits: Vec<Vec<_>> = partitions.iter().map(|_| Vec::new()).collect();
        for (number, _, audit) in found {
            audits[number].push(audit);
        }
        Ok(audits)
    }

    fn go_on(&self, bytes: u64) -> bool {
        let bytes_done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let progress = VerifyProgress { bytes_done, bytes_total: self.total };
        if self.told.is_some_and(|told| told(&progress).is_break()) {
            self.stopped.store(true, Ordering::Relaxed);
        }
        !self.stopped.load(Ordering::Relaxed)
    }
}
