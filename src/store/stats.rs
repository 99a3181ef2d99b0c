//! Numbers for operators: snapshots per store, topic and partition.
//!
//! Counters run since the store was opened; sizes and offsets are as they are now. A snapshot is
//! of no single instant: its numbers are read one after the other, without stopping anyone.

use crate::config::HoldCap;
use crate::engine::{Engine, FollowedPartition, HoldState, Partition, Topic};
use crate::group::OffsetStore;
use crate::ids::{Generation, Offset, PartitionId};
use crate::prepared::PreparedNumbers;
use crate::schedule::ScheduleNumbers;

/// A store in numbers.
///
/// ```
/// use tidelog::{Record, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.create_topic("orders", TopicConfig::new())?;
/// store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
/// let stats = store.stats();
/// let orders = stats.topics.iter().find(|topic| topic.name == "orders").unwrap();
/// assert_eq!((orders.appended_records, orders.partitions[0].end_offset.get()), (1, 1));
/// assert_eq!(stats.appended_records, 1);
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct StoreStats {
    /// Every topic, internal ones too, by name.
    pub topics: Vec<TopicStats>,
    /// Each group with what it has committed and how much is left.
    pub groups: Vec<GroupStats>,
    /// Polls of consumers since the open.
    pub polls: u64,
    /// Polls that had to wait since the open.
    pub waits: u64,
    /// Commits since the open.
    pub commits: u64,
    /// Bytes of records that are held by [`Records`](crate::Records) somewhere in the program.
    pub pinned_bytes: u64,
    /// Bytes counted against `max_bytes`, where one is set.
    pub budget_used: Option<u64>,
    /// The sum over the topics.
    pub bytes: u64,
    /// The sum over the topics.
    pub appended_records: u64,
    /// The sum over the topics.
    pub appended_bytes: u64,
    /// The sum over the topics.
    pub fetched_bytes: u64,
    /// Records handed to consumers since the open.
    pub fetched_records: u64,
    /// Records of `__consumer_offsets` that could not be understood when the store was opened.
    pub unreadable_commits: u64,
    /// Records of `__transaction_state` that could not be understood when the store was opened;
    /// always 0 for who only reads.
    pub unreadable_transactions: u64,
    /// The same of `__share_group_state`.
    pub unreadable_shares: u64,
    /// The same of `__dead_letters`, and 1 more where it could not be read to its end: then nothing
    /// is buried or sent back in this life, for it may have been before.
    pub unreadable_dead_letters: u64,
    /// Committed offsets that outlived their group and were removed since the open.
    pub expired_offsets: u64,
    /// Records that wait for their time; all 0 for who only reads.
    pub scheduled: ScheduleStats,
    /// Records that wait for local work; all 0 for who only reads.
    pub prepared: PreparedStats,
    /// Bytes that stay for groups alone: the sum over the topics.
    pub held_bytes: u64,
    /// The sum over the topics.
    pub syncs: u64,
    /// Partitions whose log was recovered by this open: something was torn, damaged or left over.
    pub recovered_partitions: u64,
    /// Partitions that take no records: not opened, or poisoned.
    pub failed_partitions: u64,
}

/// Scheduled records in numbers.
///
/// ```
/// use std::time::Duration;
/// use tidelog::{Record, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("orders", TopicConfig::new())?;
/// let orders = store.producer().build()?.topic("orders")?;
/// orders.schedule(Record::new("remind me"), Duration::from_secs(3600))?;
/// assert_eq!(store.stats().scheduled.pending, 1);
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScheduleStats {
    /// Records that are not published yet.
    pub pending: u64,
    /// Those of them that are due but have to wait: their partition takes nothing at the moment,
    /// or that of `__schedule` they lie in. They are tried again after a second, once all else
    /// that is due had its turn.
    pub stuck: u64,
    /// Records published since the open, dead letters too.
    pub published: u64,
    /// Records sent to `scheduled.dlq` since the open.
    pub dead_letters: u64,
    /// Records cancelled since the open.
    pub cancelled: u64,
    /// Records of `__schedule` that could not be read or understood since the open: they stay
    /// where they are.
    pub unreadable: u64,
}

impl ScheduleStats {
    pub(super) fn of(numbers: ScheduleNumbers) -> Self {
        let ScheduleNumbers { pending, stuck, published, dead_letters, cancelled, unreadable } =
            numbers;
        ScheduleStats { pending, stuck, published, dead_letters, cancelled, unreadable }
    }
}

/// Prepared transactions in numbers.
///
/// ```
/// use tidelog::{Record, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("orders", TopicConfig::new())?;
/// store.prepared("shop").build()?.prepare(&[("orders", Record::new("order 7"))])?;
/// assert_eq!(store.stats().prepared.pending, 1);
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PreparedStats {
    /// Transactions that are not resolved yet.
    pub pending: u64,
    /// Those of them that nobody is asked about any more.
    pub parked: u64,
    /// Records of `__prepared` that could not be understood when the store was opened.
    pub unreadable: u64,
}

impl PreparedStats {
    pub(super) fn of(numbers: PreparedNumbers) -> Self {
        let PreparedNumbers { pending, parked, unreadable } = numbers;
        PreparedStats { pending, parked, unreadable }
    }
}

/// A group in numbers.
///
/// ```
/// use tidelog::{Offset, OffsetCommit, Record, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.create_topic("orders", TopicConfig::new())?;
/// store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
/// let mut consumer = store.consumer("billing").assign([("orders", 0)]).build()?;
/// consumer.commit_offsets(&[OffsetCommit::new("orders", 0, Offset::ZERO)])?;
/// let stats = store.stats();
/// assert_eq!((stats.groups[0].name.as_str(), stats.groups[0].lag), ("billing", 1));
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct GroupStats {
    /// The name.
    pub name: String,
    /// Partitions it has committed an offset for.
    pub partitions: usize,
    /// Offsets between what it has committed and the ends of those partitions.
    pub lag: u64,
    /// How often it has divided its partitions anew, over all opens; 0 without members.
    pub generation: Generation,
    /// How often the sticky assignor had to divide them in place of the group's own, since it has
    /// had members.
    pub fallbacks: u64,
}

/// A topic in numbers.
///
/// ```
/// # let store = tidelog::Store::in_memory()?;
/// store.create_topic("orders", tidelog::TopicConfig::new())?;
/// let stats = store.stats();
/// assert_eq!((stats.topics[0].name.as_str(), stats.topics[0].bytes), ("orders", 0));
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TopicStats {
    /// The name.
    pub name: String,
    /// Each partition, by number.
    pub partitions: Vec<PartitionStats>,
    /// Published bytes on disk: the sum over the partitions.
    pub bytes: u64,
    /// Bytes counted against the topic's `max_bytes`, where one is set.
    pub budget_used: Option<u64>,
    /// Bytes that stay for groups alone: the sum over the partitions.
    pub held_bytes: u64,
    /// The sum over the partitions.
    pub appended_records: u64,
    /// The sum over the partitions.
    pub appended_bytes: u64,
}

/// A partition in numbers.
///
/// ```
/// # let store = tidelog::Store::in_memory()?;
/// store.create_topic("orders", tidelog::TopicConfig::new())?;
/// let partition = &store.stats().topics[0].partitions[0];
/// assert_eq!((partition.end_offset.get(), partition.waiting), (0, 0));
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PartitionStats {
    /// Its number.
    pub id: PartitionId,
    /// The first offset that can be read.
    pub start_offset: Offset,
    /// All records below it survive a power cut.
    pub durable_offset: Offset,
    /// How far syncs have been recorded: where a recovery would begin to look.
    pub recovery_point: Offset,
    /// One past the last record.
    pub end_offset: Offset,
    /// Published bytes on disk.
    pub bytes: u64,
    /// Bytes no sync has covered yet.
    pub unsynced_bytes: u64,
    /// Segments that readers can reach.
    pub segments: usize,
    /// Records appended since the open.
    pub appended_records: u64,
    /// Batches appended since the open.
    pub appended_batches: u64,
    /// Bytes appended since the open.
    pub appended_bytes: u64,
    /// Appends that failed since the open.
    pub failed_appends: u64,
    /// Bytes handed to readers since the open.
    pub fetched_bytes: u64,
    /// Records handed to readers since the open.
    pub fetched_records: u64,
    /// Reads that failed since the open.
    pub failed_reads: u64,
    /// Segments rolled since the open.
    pub rolls: u64,
    /// Syncs since the open.
    pub syncs: u64,
    /// Segments dropped by retention, budgets and deleted records since the open.
    pub dropped_segments: u64,
    /// Who keeps records from being removed.
    pub holds: Vec<HoldStats>,
    /// Segments that compaction has written since the open, each in place of older ones. Only the
    /// store's own topics are compacted.
    pub compactions: u64,
    /// Bytes that compaction has freed since the open.
    pub compacted_bytes: u64,
    /// Consumers that are waiting for a record of this partition right now.
    pub waiting: usize,
    /// Whether it takes no records: not opened, or poisoned.
    pub failed: bool,
}

/// A hold in numbers.
///
/// ```
/// use tidelog::{HoldCap, Offset, OffsetCommit, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// let cap = HoldCap::bytes(1 << 30);
/// store.create_topic("orders", TopicConfig::new().retain_for("billing", cap))?;
/// let mut consumer = store.consumer("billing").assign([("orders", 0)]).build()?;
/// consumer.commit_offsets(&[OffsetCommit::new("orders", 0, Offset::ZERO)])?;
/// let stats = store.stats();
/// let orders = stats.topics.iter().find(|topic| topic.name == "orders").unwrap();
/// let hold = &orders.partitions[0].holds[0];
/// assert_eq!((hold.holder.as_str(), hold.cap, hold.overrides), ("billing", Some(cap), 0));
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HoldStats {
    /// The group, or the name given to [`Store::hold`](crate::Store::hold).
    pub holder: String,
    /// The first offset that is held.
    pub offset: Offset,
    /// How far the hold goes; `None` for one by name, which is absolute.
    pub cap: Option<HoldCap>,
    /// Bytes that retention would have removed at its last run but for this hold; only of groups.
    pub bytes: u64,
    /// How often segments were removed although the group had not read them, since the open.
    pub overrides: u64,
}

impl StoreStats {
    pub(super) fn of(engine: &Engine, offsets: &OffsetStore) -> Self {
        let counters = offsets.coordinator().counters();
        let topics: Vec<_> = engine.topics().iter().map(|topic| TopicStats::of(topic)).collect();
        let partitions = || topics.iter().flat_map(|topic| &topic.partitions);
        StoreStats {
            groups: offsets.groups().iter().map(|name| GroupStats::of(offsets, name)).collect(),
            polls: counters.polls(),
            waits: counters.waits(),
            commits: counters.commits.get(),
            fetched_records: counters.records(),
            unreadable_commits: offsets.skipped(),
            unreadable_transactions: 0,
            unreadable_shares: 0,
            unreadable_dead_letters: 0,
            scheduled: ScheduleStats::default(),
            prepared: PreparedStats::default(),
            expired_offsets: offsets.expired(),
            held_bytes: topics.iter().map(|topic| topic.held_bytes).sum(),
            pinned_bytes: engine.pinned().get(),
            budget_used: engine.budget().limit().map(|_| engine.budget().used()),
            bytes: topics.iter().map(|topic| topic.bytes).sum(),
            appended_records: topics.iter().map(|topic| topic.appended_records).sum(),
            appended_bytes: topics.iter().map(|topic| topic.appended_bytes).sum(),
            fetched_bytes: partitions().map(|partition| partition.fetched_bytes).sum(),
            syncs: partitions().map(|partition| partition.syncs).sum(),
            recovered_partitions: engine.open_report().partitions().len() as u64,
            failed_partitions: partitions().filter(|partition| partition.failed).count() as u64,
            topics,
        }
    }
}

impl GroupStats {
    fn of(offsets: &OffsetStore, name: &str) -> Self {
        let committed = offsets.all_committed(name).unwrap_or_default();
        let lag = committed.iter().filter_map(|(partition, committed)| {
            let end = partition.offsets().ok()?.end;
            Some(end.since(committed.offset()))
        });
        GroupStats {
            name: name.to_owned(),
            partitions: committed.len(),
            lag: lag.sum(),
            generation: offsets.generation(name),
            fallbacks: offsets.roster(name).map_or(0, |roster| roster.fallbacks),
        }
    }
}

impl TopicStats {
    fn of(topic: &Topic) -> Self {
        let partitions: Vec<_> =
            topic.partitions().iter().map(|partition| PartitionStats::of(partition)).collect();
        TopicStats {
            name: topic.name().to_string(),
            bytes: partitions.iter().map(|partition| partition.bytes).sum(),
            budget_used: topic.budget().limit().map(|_| topic.budget().used()),
            held_bytes: partitions.iter().map(|partition| partition.held_bytes()).sum(),
            appended_records: partitions.iter().map(|stats| stats.appended_records).sum(),
            appended_bytes: partitions.iter().map(|stats| stats.appended_bytes).sum(),
            partitions,
        }
    }
}

impl HoldStats {
    fn of(hold: HoldState) -> Self {
        let HoldState { holder, offset, cap, bytes, overrides } = hold;
        HoldStats { holder, offset, cap, bytes, overrides }
    }
}

impl PartitionStats {
    /// Holds overlap: the largest one covers the others.
    fn held_bytes(&self) -> u64 {
        self.holds.iter().map(|hold| hold.bytes).max().unwrap_or(0)
    }

    fn of(partition: &Partition) -> Self {
        let id = partition.id();
        let waiting = partition.signal().armed_count();
        if let Some(followed) = partition.followed() {
            return PartitionStats { id, waiting, ..PartitionStats::of_followed(followed) };
        }
        let Ok(log) = partition.log() else {
            return PartitionStats { id, failed: true, ..PartitionStats::default() };
        };
        let offsets = log.offsets().snapshot();
        let counters = log.counters();
        let (bytes, segments) = log.size();
        PartitionStats {
            id,
            start_offset: offsets.start,
            durable_offset: offsets.durable,
            recovery_point: offsets.recovery_point,
            end_offset: offsets.end,
            bytes,
            unsynced_bytes: log.unsynced_bytes(),
            segments,
            appended_records: counters.appended_records(),
            appended_batches: counters.appended_batches(),
            appended_bytes: counters.appended_bytes(),
            failed_appends: counters.failed_appends.get(),
            fetched_bytes: counters.fetched.bytes.get(),
            fetched_records: counters.fetched.records.get(),
            failed_reads: counters.failed_reads.get(),
            rolls: counters.rolls.get(),
            syncs: counters.syncs.get(),
            dropped_segments: counters.dropped_segments.get(),
            holds: partition.holds().into_iter().map(HoldStats::of).collect(),
            compactions: counters.compactions.get(),
            compacted_bytes: counters.compacted_bytes.get(),
            waiting,
            failed: log.check_healthy("look at").is_err(),
        }
    }

    /// What a reader of another process's store knows: offsets, sizes, and what it has read.
    fn of_followed(followed: &FollowedPartition) -> Self {
        let Ok(log) = followed.log() else {
            return PartitionStats { failed: true, ..PartitionStats::default() };
        };
        let (offsets, (bytes, segments)) = (log.offsets(), log.size());
        PartitionStats {
            start_offset: offsets.start,
            durable_offset: offsets.durable,
            recovery_point: offsets.recovery_point,
            end_offset: offsets.end,
            bytes,
            segments,
            fetched_bytes: log.counters().fetched.bytes.get(),
            fetched_records: log.counters().fetched.records.get(),
            failed_reads: log.counters().failed_reads.get(),
            ..PartitionStats::default()
        }
    }
}
