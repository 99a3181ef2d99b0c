//! One partition's log that another process may be writing to: read, followed, never changed.
//!
//! What can be read is a [`View`]: segments, offsets and epochs as they were at one look, behind
//! an atomic pointer. A look goes on from the one before (`look`); only where that does not explain
//! what is there the directory is surveyed again (`survey`).
//!
//! Order within a survey, and why: the facts are read that the writer has recorded, the directory
//! is listed, the facts are read again, then the files. A log start is recorded before files go, a
//! recovery point after bytes are final, and an epoch before its first batch; so what the first
//! facts promise and the second do not take back is in the files, and no batch is of a reign that
//! is not known. Only what was promised so is damage where it is missing. A look that misses what
//! newer facts promise is no proof of that: it leads to a survey.
//!
//! Where a power cut has left records in the journal alone they are shown as one segment more
//! (`restore`), until somebody opens the store for writing.
//!
//! Locks: `following`, held across the reads of a look, never while anyone is woken.

mod doubts;
mod look;
mod patience;
mod read;
mod restore;
mod survey;
mod transactions;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use restore::Restored;
use transactions::Transactions;

use super::checkpoint::read_partition_metadata;
use super::core::LogName;
use super::epochs::EpochCache;
use super::keeper::{FAR, LogId};
use super::offsets::OffsetSnapshot;
use crate::disk::Disk;
use crate::disk::names::PARTITION_METADATA;
use crate::error::{Cause, Error, Result};
use crate::ids::{LeaderEpoch, Offset};
use crate::journal::Frame;
use crate::record::PlainLimit;
use crate::segment::{FollowedTail, Place, Segment, Tenancy};
use crate::stats::LogCounters;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};

/// What the writer has recorded of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FollowFacts {
    pub(crate) log_start: Offset,
    /// Everything below is final.
    pub(crate) recovery_point: Offset,
    /// The epoch of the writer that opened the store last.
    pub(crate) reign: Option<LeaderEpoch>,
    /// Whether every offset from the start on must be there, but for those below the next two.
    pub(crate) gapless: bool,
    /// Compaction may have taken records below it.
    pub(crate) compacted: Offset,
    /// A leader may have left out offsets below it.
    pub(crate) sparse: Offset,
    /// The high watermark, where the host leads the log, as it was recorded last.
    pub(crate) high_watermark: Option<Offset>,
}

impl FollowFacts {
    /// The offset from which on none may be missing; `None` where any may.
    fn gapless_from(&self) -> Option<Offset> {
        self.gapless.then_some(self.compacted.max(self.sparse))
    }

    /// Whether the offsets between the end of a segment and the next one may be missing.
    fn allows_gap(&self, end: Offset, next: Offset) -> bool {
        let is_far = next <= self.sparse && next.since(end) >= FAR;
        !self.gapless || next <= self.compacted || is_far
    }
}

/// Where the facts come from; asked while a log is looked at.
pub(crate) trait FactSource: Send + Sync + std::fmt::Debug {
    /// What was recorded when the store was looked at last; `None` once the topic is known to be
    /// deleted.
    fn known(&self, id: LogId) -> Option<FollowFacts>;

    /// What is recorded now.
    fn facts(&self, id: LogId) -> Result<Option<FollowFacts>>;

    /// What the journal, or a file beside it, has of a log that nobody has recovered since.
    fn held(&self, id: LogId) -> Result<Vec<Frame>>;
}

/// What of a log can be read, as of one look.
#[derive(Clone, Debug)]
struct View {
    segments: Vec<Arc<Segment>>,
    offsets: OffsetSnapshot,
    epochs: EpochCache,
    reign: Option<LeaderEpoch>,
    gapless: bool,
    /// Once a transactional batch was met.
    transactions: Option<Transactions>,
}

/// What a look goes on from.
#[derive(Debug, Default)]
struct Following {
    /// `None` until the first survey.
    facts: Option<FollowFacts>,
    /// The recovery point that the last survey can vouch for: what is missing below is damage.
    promised: Offset,
    segments: Vec<Arc<Segment>>,
    /// That of the last of `segments`, if any.
    tail: Option<FollowedTail>,
    /// What goes on behind the tail, in the journal.
    restored: Option<Restored>,
    epochs: EpochCache,
    transactions: Option<Transactions>,
    surveyed: Duration,
}

/// One partition's log, followed.
#[derive(Debug)]
pub(crate) struct FollowedLog {
    name: LogName,
    id: LogId,
    place: Arc<Place>,
    source: Arc<dyn FactSource>,
    plain: PlainLimit,
    view: ArcSwap<View>,
    following: Mutex<Following>,
    /// A reader, or a look, has met a transactional batch.
    transactional: AtomicBool,
    /// The directory was seen to be another topic's: what was opened there is not read.
    taken_over: AtomicBool,
    counters: LogCounters,
}

impl FollowedLog {
    /// A log in `dir`; nothing is looked at yet.
    pub(crate) fn new(
        disk: &Arc<dyn Disk>,
        dir: &std::path::Path,
        (name, id): (LogName, LogId),
        (index_interval, plain): (u64, PlainLimit),
        source: Arc<dyn FactSource>,
    ) -> Self {
        let dir = Arc::from(dir);
        let tenancy = Tenancy::Guest;
        let zero = Offset::ZERO;
        let offsets = OffsetSnapshot {
            start: zero,
            compacted: zero,
            sparse: zero,
            set_watermark: None,
            recovery_point: zero,
            durable: zero,
            end: zero,
            first_unstable: None,
        };
        let epochs = EpochCache::default();
        let view = View {
            segments: Vec::new(),
            offsets,
            epochs,
            reign: None,
            gapless: false,
            transactions: None,
        };
        FollowedLog {
            name,
            id,
            place: Arc::new(Place {
                disk: disk.clone(),
                dir,
                index_interval,
                identity: id.identity(),
                tenancy,
            }),
            source,
            plain,
            view: ArcSwap::from_pointee(view),
            following: Mutex::default(),
            transactional: AtomicBool::new(false),
            taken_over: AtomicBool::new(false),
            counters: LogCounters::default(),
        }
    }

    /// Shows readers what is known now.
    fn show(&self, following: &mut Following) {
        let Some(facts) = following.facts else { return };
        let shown = self.view.load();
        let segments = following.all_segments();
        let same_segments = shown.segments.len() == segments.len()
            && shown.segments.iter().zip(&segments).all(|(a, b)| Arc::ptr_eq(a, b));
        let mut view = following.view(&facts);
        if self.transactional.load(Ordering::Acquire) {
            let mut told = following.transactions.take().unwrap_or_default();
            self.tell_transactions(&mut told, &view);
            view.offsets.first_unstable = told.first_unstable(view.offsets.end);
            view.transactions = Some(told.clone());
            following.transactions = Some(told);
        }
        let same_told = shown.transactions.is_some() == view.transactions.is_some();
        if same_told && same_segments && shown.offsets == view.offsets && shown.reign == facts.reign
        {
            return;
        }
        self.view.store(Arc::new(view));
    }

    /// Fails where the directory is another topic's by now: one that was made again under the
    /// name. Asked after files in it were opened: the metadata is there before any batch.
    fn check_identity(&self) -> Result<()> {
        let path = self.place.dir.join(PARTITION_METADATA);
        match read_partition_metadata(&*self.place.disk, &path) {
            Ok(Some(id)) if id != self.id.topic => {
                self.taken_over.store(true, Ordering::Release);
                Err(self.deleted())
            }
            Ok(_) => Ok(()),
            Err(error) if error.is_corrupt() => Ok(()), // torn by a power cut: it says nothing
            Err(error) => Err(error),
        }
    }

    fn deleted(&self) -> Error {
        let name = self.name.topic.to_string();
        Error::new("follow log", Cause::NotFound { what: "topic", name })
    }

    fn named(&self, error: Error) -> Error {
        error.at_partition(&self.name.topic, self.name.partition)
    }
}

impl Following {
    /// The offset behind the last batch that counts.
    fn seen(&self) -> Offset {
        self.tail.as_ref().map_or(Offset::ZERO, FollowedTail::next_offset)
    }

    fn all_segments(&self) -> Vec<Arc<Segment>> {
        let restored = self.restored.iter().map(|restored| &restored.segment);
        self.segments.iter().chain(restored).cloned().collect()
    }

    /// What of it can be read. What the journal gave back is durable: it was read from the disk.
    fn view(&self, facts: &FollowFacts) -> View {
        let end = self.end();
        let first = self.segments.first().map_or(Offset::ZERO, |segment| segment.base());
        let start = if facts.gapless { facts.log_start } else { facts.log_start.max(first) };
        let (start, point) = (start.min(end), facts.recovery_point.min(end));
        let durable = self.restored.as_ref().map_or(point, |restored| restored.end);
        let offsets = OffsetSnapshot {
            start,
            compacted: facts.compacted,
            sparse: facts.sparse,
            set_watermark: facts.high_watermark.map(|set| set.max(start)),
            recovery_point: point,
            durable,
            end,
            first_unstable: None,
        };
        let mut epochs = self.epochs.clone();
        epochs.truncate_from_start(start);
        let (reign, gapless) = (facts.reign, facts.gapless);
        let segments = self.all_segments();
        View { segments, offsets, epochs, reign, gapless, transactions: None }
    }

    /// Where the log ends for a reader. What was promised and is not there is behind a gap that
    /// says so, not behind the end.
    fn end(&self) -> Offset {
        let start = self.facts.map_or(Offset::ZERO, |facts| facts.log_start);
        let end = self.seen().max(self.promised).max(start);
        self.restored.as_ref().map_or(end, |restored| end.max(restored.end))
    }
}
