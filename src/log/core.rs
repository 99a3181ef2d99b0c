//! One partition's log: what its files, its offsets and its locks are.
//!
//! Constant: identity, place, clock. Atomic: the offsets, the segment list behind a pointer, the
//! counters, the dirty flag. Locked: the writer (one append at a time), the trim lock (one
//! retention at a time); one sync at a time by turns (`commit`), never under the writer lock.
//!
//! The rest of the room are this type's deeds, a file each: `append`, `fetch`, `durable` (sync,
//! seal, recovery point), `trim` (retention, log start), `open` (recovery), `close`. Lock order:
//! trim, then the turn, then writer, then epochs. User code runs under none of them.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};

use super::aborted::Aborted;
use super::aborted_files::AbortedFiles;
use super::ahead::WrittenBeside;
use super::claims::{Tracked, limits_of};
use super::counting::Count;
use super::epochs::EpochCache;
use super::fetch::Cursor;
use super::keeper::LogId;
use super::marks::Marks;
use super::offsets::Offsets;
use super::report::Damage;
use super::rules::RulesCell;
use crate::config::{Compression, HoldCap, TopicConfig};
use crate::disk::latch::Latch;
use crate::error::{Cause, Error, Result};
use crate::ids::{LeaderEpoch, Offset, PartitionId};
use crate::journal::Journal;
use crate::record::{BatchRules, PlainLimit, RecordsOrigin};
use crate::segment::{Place, Segment, Tail, TailLimits};
use crate::stats::{LogCounters, PinCounter};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, RwLock};
use crate::time::{Clock, Timestamp, millis};
use crate::wait::commit::Commit;
use std::sync::Arc;

/// What a log asks whoever maintains it for; called outside every lock, often never.
pub(crate) trait Attention: Send + Sync + std::fmt::Debug {
    /// The log has unsynced bytes for the first time since its last sync, and wants one within
    /// that time if it says so.
    fn dirty(&self, within: Option<Duration>);
    /// More bytes are unsynced than the background sync allows, or a segment was rolled.
    fn due(&self);
    /// Tasks wait for a sync that nobody makes: the timer is to make it.
    fn tasks_wait(&self) {}
}

/// The name a log goes by in errors.
#[derive(Clone, Debug)]
pub(crate) struct LogName {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: PartitionId,
}

/// What a log is told when it is opened, beyond what its directory holds.
#[derive(Clone, Debug)]
pub(crate) struct LogSetup {
    pub(crate) name: LogName,
    pub(crate) id: LogId,
    pub(crate) config: Arc<TopicConfig>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Unsynced bytes after which the maintainer is called; `None` never does.
    pub(crate) sync_after: Option<u64>,
    pub(crate) attention: Arc<dyn Attention>,
    pub(crate) pinned: Arc<PinCounter>,
    /// Where power-durable records may go in place of a sync of their segment.
    pub(crate) journal: Option<Arc<Journal>>,
    /// What one batch may take decompressed, where its records are looked into.
    pub(crate) plain: PlainLimit,
}

/// Bytes that recovery found above the recovery point: in the page cache, perhaps not on disk.
/// They are written again before any sync may vouch for them.
#[derive(Debug)]
pub(super) struct Unproven {
    pub(super) segment: Arc<Segment>,
    pub(super) from: u64,
    pub(super) to: u64,
}

/// Files that no reader can reach any more, to be unlinked at a time.
#[derive(Debug)]
pub(super) struct Doomed {
    pub(super) files: Files,
    pub(super) due: Duration,
}

/// How far a dropped segment's files are on their way out.
#[derive(Debug)]
pub(super) enum Files {
    /// Under their own names still.
    Standing(Arc<Segment>),
    /// Under their `.deleted` names.
    Renamed(Vec<std::path::PathBuf>),
}

/// The writer's state, under the writer lock. In front lies what every append looks at: with the
/// lock one cache line, then those of the tail.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Writer {
    pub(super) next_offset: Offset,
    /// Segments that no longer grow and are not sealed yet.
    pub(super) rolled: Vec<Arc<Segment>>,
    /// The count of bytes that what is appended is no part of yet; see `counting`.
    pub(super) count: Count,
    /// Those who number their records; `None` until there is one.
    pub(super) producers: Option<Box<Tracked>>,
    /// The epoch of everything appended by this open, drawn once recovery knows the others; of a
    /// log that its host leads the highest that it has given this replica as the leader.
    pub(super) epoch: LeaderEpoch,
    /// Whether that epoch has its first batch.
    pub(super) epoch_entered: bool,
    pub(super) lead: Lead,
    /// Whether anybody has ever wanted to be told of what is appended; see `announce_appends`.
    pub(super) announces: bool,
    /// Why nothing may be appended.
    pub(super) refuses: Option<Refusal>,
    /// `None` before the directory is made and after close.
    pub(super) tail: Option<Tail>,
    /// Bytes that have left the log, for whoever counts.
    pub(super) freed: u64,
}

/// By whose word records are appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lead {
    /// The log's own: whoever sends is taken.
    Itself,
    /// The host's, which has made this replica the leader.
    Leads,
    /// The host's: a leader's batches are taken, nobody else's.
    Follows,
}

/// Why a log takes no records.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    Closed,
}

/// One partition's log.
///
/// The order of its fields has a reason: one thread that appends to thousands of logs finds each of
/// them cold, and pays for every cache line. What an append reads lies on one (from `latch` to
/// `marks`), what it writes on another (`counters`, `offsets`), then the lock with the writer's
/// state; `tests::lines` holds them to it.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct PartitionLog {
    pub(super) config: ArcSwap<TopicConfig>,
    pub(super) place: Arc<Place>,
    pub(super) segments: ArcSwap<Vec<Arc<Segment>>>,
    /// Twice how often segments were replaced by others, whoever read meanwhile looks again; odd
    /// while files are cut off, which then are not there for a reader without them.
    pub(super) swaps: AtomicU64,
    /// Of the bytes that were appended since the open, those that are synced.
    pub(super) synced_bytes: AtomicU64,
    pub(super) latch: Latch,
    /// What of the configuration every append needs.
    pub(super) rules: RulesCell,
    /// How many records may be unsynced when an append returns.
    pub(super) flush_after: AtomicU64,
    /// When the maintainer is called.
    pub(super) marks: Marks,
    /// What recovery found missing below the recovery point, if anything.
    pub(super) damage: ArcSwapOption<Vec<Damage>>,
    /// The highest epoch that recovery met, in files or batches.
    pub(super) epoch_floor: Option<LeaderEpoch>,
    /// A file says that there are producers.
    pub(super) producers_noted: AtomicBool,
    pub(super) has_aborted: AtomicBool,
    /// Whether a gap between offsets is damage where compaction has not made it.
    pub(super) gapless: bool,
    /// Names in the directory await a directory sync.
    pub(super) names_changed: AtomicBool,
    /// The directory's own name does, too.
    pub(super) own_name_changed: AtomicBool,
    /// The directory is new: its `partition.metadata` is written again, durably, with its names.
    pub(super) metadata_unsynced: AtomicBool,
    /// What the writer's state says of announcing, for who has not got the lock. It never changes
    /// back.
    pub(super) announces: AtomicBool,
    pub(super) counters: LogCounters,
    pub(super) offsets: Offsets,
    /// Of the one who has the turn.
    pub(super) beside: Mutex<Option<Box<WrittenBeside>>>,
    pub(super) writer: Mutex<Writer>,
    pub(super) setup: LogSetup,
    /// Who syncs, and who waits for it.
    pub(super) commit: Commit<Offset>,
    /// Of the one who has the turn.
    pub(super) unproven: Mutex<Vec<Unproven>>,
    /// Where the durable offset lies; of the one who has the turn.
    pub(super) covered: Mutex<Option<Cursor>>,
    pub(super) trimming: Mutex<Vec<Doomed>>,
    /// Segments below the recovery point that have no digests yet.
    pub(super) bare: Mutex<Vec<Arc<Segment>>>,
    pub(super) epochs: Mutex<EpochCache>,
    /// The offsets of the producer snapshots in the directory.
    pub(super) snapshots: Mutex<BTreeSet<Offset>>,
    /// The transactions that were aborted; whether there are any is `has_aborted`.
    pub(super) aborted: RwLock<Aborted>,
    pub(super) aborted_files: Mutex<AbortedFiles>,
}

impl PartitionLog {
    /// What one compressed batch may take decompressed, unless who reads it says otherwise.
    pub(crate) fn plain_limit(&self) -> PlainLimit {
        self.setup.plain
    }

    pub(crate) fn id(&self) -> LogId {
        self.setup.id
    }

    pub(crate) fn offsets(&self) -> &Offsets {
        &self.offsets
    }

    pub(crate) fn counters(&self) -> &LogCounters {
        &self.counters
    }

    pub(crate) fn config(&self) -> Arc<TopicConfig> {
        self.config.load_full()
    }

    /// Takes a new configuration; the active segment heeds it from the next append on.
    pub(crate) fn set_config(&self, config: Arc<TopicConfig>) {
        let within = config.flush_interval;
        // under the lock: of two that come at once one is heeded, not a mixture
        let mut writer = self.writer.lock();
        self.flush_after.store(config.flush_records.unwrap_or(u64::MAX), Ordering::Relaxed);
        self.rules.set(&config);
        writer.heed(&config);
        self.config.store(config);
        drop(writer);
        if self.is_dirty() && within.is_some() {
            self.setup.attention.dirty(within);
        }
    }

    /// The highest epoch that was ever seen here, records of it left or not.
    pub(crate) fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.epochs.lock().latest().max(self.epoch_floor)
    }

    /// How far a hold of this group goes; `None` where the configuration does not ask for one.
    pub(crate) fn hold_cap_of(&self, group: &str) -> Option<HoldCap> {
        self.config.load().retain_for.get(group).copied()
    }

    /// Whether the configuration asks for the tags of batches.
    pub(crate) fn keeps_tags(&self) -> bool {
        self.config.load().tag_index
    }

    /// What the configuration asks of a batch that is appended at `now`.
    pub(crate) fn batch_rules(&self, now: Timestamp) -> BatchRules {
        self.rules.at(now, Compression::Producer, None)
    }

    /// The same with a producer's word on compression.
    #[inline(always)] // see `producer::walk`
    pub(crate) fn rules_for(
        &self,
        now: Timestamp,
        own: Compression,
        level: Option<i32>,
    ) -> BatchRules {
        self.rules.at(now, own, level)
    }

    /// What `rules_for` answers, and the version that says until when it would: for as long as
    /// [`rules_version`](PartitionLog::rules_version) is the same.
    pub(crate) fn lasting_rules_for(
        &self,
        now: Timestamp,
        own: Compression,
        level: Option<i32>,
    ) -> (BatchRules, u64) {
        let version = self.rules.version(); // before the rules: a change in between is noticed
        (self.rules.at(now, own, level), version)
    }

    #[inline]
    pub(crate) fn rules_version(&self) -> u64 {
        self.rules.version()
    }

    /// What records that are read of it come from.
    pub(super) fn origin(&self) -> Arc<RecordsOrigin> {
        let LogName { topic, partition } = &self.setup.name;
        RecordsOrigin::of(topic, *partition, self.pinned())
    }

    /// Who counts the bytes that readers hold.
    pub(crate) fn pinned(&self) -> &Arc<PinCounter> {
        &self.setup.pinned
    }

    /// Sets the epoch of everything this open appends, before it appends anything. It is already
    /// durable and above every epoch this log knows. A log that its host leads has none of ours.
    pub(crate) fn begin_epoch(&self, epoch: LeaderEpoch) {
        let mut writer = self.writer.lock();
        if writer.lead != Lead::Itself {
            return;
        }
        debug_assert!(self.latest_epoch() < Some(epoch), "epochs rise with every open");
        writer.epoch = epoch;
        writer.epoch_entered = false;
    }

    /// Fails if an earlier failure ended writing.
    pub(crate) fn check_healthy(&self, operation: &'static str) -> Result<()> {
        self.latch.check(operation).map_err(|error| self.named(error))
    }

    /// How many bytes and segments readers can reach.
    pub(crate) fn size(&self) -> (u64, usize) {
        let segments = self.segments.load();
        (segments.iter().map(|segment| segment.published()).sum(), segments.len())
    }

    /// Whether anything was ever appended.
    pub(crate) fn has_directory(&self) -> bool {
        !self.segments.load().is_empty()
    }

    /// Where the first segment begins.
    pub(crate) fn first_base(&self) -> Option<Offset> {
        self.segments.load().first().map(|segment| segment.base())
    }

    /// Whether a checkpoint has something to do: records no recovery point covers, or segments to
    /// be sealed.
    pub(crate) fn is_dirty(&self) -> bool {
        let offsets = self.offsets.snapshot();
        offsets.recovery_point < offsets.end
    }

    /// From now on every append says that it is to be announced; the first call may wait for the
    /// writer lock. Whoever is going to wait for an append calls this before he looks at the end
    /// for the last time: one that was made before shows there, one after has seen this, for all of
    /// it happens under that lock. So an append that nobody ever waits for need not ask, at the
    /// price of a fence, whether somebody does.
    pub(crate) fn announce_appends(&self) {
        // as good as the lock: it was stored under it, behind every append that did not see it
        if !self.announces.load(Ordering::Acquire) {
            let mut writer = self.writer.lock();
            writer.announces = true;
            self.announces.store(true, Ordering::Release);
        }
    }

    /// Whether more records are unsynced than an append may leave so.
    #[inline(always)] // see `producer::walk`
    pub(crate) fn is_flush_due(&self) -> bool {
        let most = self.flush_after.load(Ordering::Relaxed);
        most != u64::MAX && self.offsets.end().since(self.offsets.durable()) >= most
    }

    /// Bytes that no sync covers yet.
    pub(crate) fn unsynced_bytes(&self) -> u64 {
        let appended = self.counters.appended_bytes();
        appended.saturating_sub(self.synced_bytes.load(Ordering::Relaxed))
    }

    /// Has the maintainer called once the log is larger than `bytes`; at once if it is.
    pub(crate) fn tell_when_larger(&self, bytes: u64) {
        let appended = self.counters.appended_bytes();
        let left = bytes.saturating_sub(self.size().0);
        if self.marks.ask_size(appended.saturating_add(left), appended) {
            self.setup.attention.due();
        }
    }

    pub(super) fn named(&self, error: Error) -> Error {
        error.at_partition(&self.setup.name.topic, self.setup.name.partition)
    }

    pub(super) fn out_of_range(&self, operation: &'static str, requested: Offset) -> Error {
        let offsets = self.offsets.snapshot();
        let (start, end) = (offsets.start, offsets.end);
        self.named(Error::new(operation, Cause::OutOfRange { requested, start, end }))
    }
}

impl Writer {
    /// What of a configuration lies with the writer.
    pub(super) fn heed(&mut self, config: &TopicConfig) {
        if let Some(tail) = &mut self.tail {
            tail.set_limits(tail_limits(config));
        }
        if let Some(tracked) = &mut self.producers {
            tracked.producers.set_limits(limits_of(config));
        }
    }
}

impl Refusal {
    pub(super) fn error(&self, operation: &'static str) -> Error {
        match self {
            Refusal::Closed => Error::new(operation, Cause::Closed("the log")),
        }
    }
}

/// What of a topic's configuration decides when a segment is full.
pub(super) fn tail_limits(config: &TopicConfig) -> TailLimits {
    // a record that is to be compacted in time must not stay in the active segment for longer
    let lag = config.max_compaction_lag.filter(|_| config.cleanup_policy.compacts());
    let segment_ms = lag.map_or(config.segment_ms, |lag| lag.min(config.segment_ms));
    let jitter = millis(config.segment_jitter).min(millis(segment_ms));
    let taken = if jitter > 0 { random_below(jitter.unsigned_abs()) } else { 0 };
    TailLimits {
        segment_bytes: config.segment_bytes,
        index_bytes: config.segment_index_bytes,
        segment_ms: millis(segment_ms).saturating_sub(taken.cast_signed()),
        tags: config.tag_index,
    }
}

/// A number below `bound`, different from process to process: enough to spread rolls over time.
fn random_below(bound: u64) -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(0) % bound
}
