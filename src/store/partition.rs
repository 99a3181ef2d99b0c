//! A handle for one partition: how far it has come, and what makes it durable.
//!
//! Records go in through producers and out through consumers; this is for hosts that watch over a
//! partition: that flush it, wait until it is durable, and bring it back after a failure. Each call
//! goes down to the engine's partition, which it holds, with the store.

use std::sync::Arc;

use super::handle::Store;
use crate::config::IsolationLevel;
use crate::engine;
use crate::error::Result;
use crate::ids::{Offset, PartitionId};
use crate::log::{FoundOffset, OffsetSpec, PartitionReport, ProducerState};

/// One partition of a topic; cheap to clone, and `Send` and `Sync`. It keeps the store open.
///
/// It belongs to the topic that had the name when it was made: once that is deleted each call
/// fails as [`NotFound`](crate::ErrorKind::NotFound), whatever has the name now.
///
/// ```
/// use tidelog::{Offset, Record, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.create_topic("orders", TopicConfig::new())?;
/// store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
/// let partition = store.partition("orders", 0)?;
/// partition.flush()?;
/// assert_eq!(partition.durable_offset()?, Offset::new(1));
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Partition {
    pub(super) store: Store,
    pub(super) partition: Arc<engine::Partition>,
}

impl Store {
    /// A handle for one partition.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) without such a topic or partition,
    /// [`Closed`](crate::ErrorKind::Closed).
    ///
    /// ```
    /// use tidelog::{Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.create_topic("orders", TopicConfig::new())?;
    /// assert_eq!(store.partition("orders", 0)?.topic(), "orders");
    /// assert!(store.partition("orders", 1).is_err());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn partition(&self, topic: &str, partition: impl Into<PartitionId>) -> Result<Partition> {
        let partition = self.engine.topic(topic)?.partition(partition.into())?;
        Ok(Partition { store: self.clone(), partition })
    }
}

impl Partition {
    /// The topic's name.
    ///
    /// ```
    /// # use tidelog::{Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// store.create_topic("orders", TopicConfig::new())?;
    /// assert_eq!(store.partition("orders", 0)?.topic(), "orders");
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn topic(&self) -> &str {
        self.partition.topic_name()
    }

    /// The number within the topic.
    ///
    /// ```
    /// # use tidelog::{PartitionId, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// store.create_topic("orders", TopicConfig::new())?;
    /// assert_eq!(store.partition("orders", 0)?.id(), PartitionId::new(0));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn id(&self) -> PartitionId {
        self.partition.id()
    }

    /// The first offset that can be read.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed), [`NotFound`](crate::ErrorKind::NotFound), and why the
    /// partition could not be opened, if it could not.
    ///
    /// ```
    /// # use tidelog::{Offset, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.create_topic("orders", TopicConfig::new())?;
    /// assert_eq!(store.partition("orders", 0)?.start_offset()?, Offset::ZERO);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn start_offset(&self) -> Result<Offset> {
        Ok(self.partition.offsets()?.start)
    }

    /// The offset the next record will get.
    ///
    /// # Errors
    /// Those of [`start_offset`](Partition::start_offset).
    ///
    /// ```
    /// # use tidelog::{Offset, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.create_topic("orders", TopicConfig::new())?;
    /// assert_eq!(store.partition("orders", 0)?.end_offset()?, Offset::ZERO);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn end_offset(&self) -> Result<Offset> {
        Ok(self.partition.offsets()?.end)
    }

    /// Everything below survives a power cut, without a hole. It only rises, whoever syncs: a
    /// power-durable send, a flush, the background.
    ///
    /// # Errors
    /// Those of [`start_offset`](Partition::start_offset).
    ///
    /// ```
    /// use tidelog::{Durability, Offset, Record};
    /// # use tidelog::{Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.create_topic("orders", TopicConfig::new())?;
    /// let orders = store.producer().build()?.topic("orders")?;
    /// let partition = store.partition("orders", 0)?;
    /// orders.send(Record::new("may be lost with the power"))?;
    /// assert_eq!(partition.durable_offset()?, Offset::ZERO);
    /// orders.with_durability(Durability::Power).send(Record::new("takes it along"))?;
    /// assert_eq!(partition.durable_offset()?, Offset::new(2));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn durable_offset(&self) -> Result<Offset> {
        Ok(self.partition.offsets()?.durable)
    }

    /// Looks an offset up: the first, the end, that of the newest record, or by time. `None` where
    /// no record is that late, or none has a timestamp. Blocks for the disk where it is by time.
    ///
    /// # Errors
    /// Those of [`start_offset`](Partition::start_offset), [`Corrupt`](crate::ErrorKind::Corrupt)
    /// where the search meets damage, and those of the disk.
    ///
    /// ```
    /// use tidelog::{Offset, OffsetSpec, Record, Timestamp};
    /// # use tidelog::{Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.create_topic("orders", TopicConfig::new())?;
    /// let orders = store.producer().build()?.topic("orders")?;
    /// for time in [10, 30, 20] {
    ///     orders.send(Record::new("a").timestamp(Timestamp::from_millis(time)))?;
    /// }
    /// let partition = store.partition("orders", 0)?;
    /// let find = |spec| partition.find_offset(spec);
    /// assert_eq!(find(OffsetSpec::Latest)?.unwrap().offset(), Offset::new(3));
    /// assert_eq!(find(OffsetSpec::MaxTimestamp)?.unwrap().offset(), Offset::new(1));
    /// let at = |time| OffsetSpec::AtOrAfter(Timestamp::from_millis(time));
    /// assert_eq!(find(at(15))?.unwrap().offset(), Offset::new(1)); // by offset, not by time
    /// assert!(find(at(31))?.is_none());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn find_offset(&self, wanted: OffsetSpec) -> Result<Option<FoundOffset>> {
        self.partition.find_offset(wanted, IsolationLevel::ReadCommitted)
    }

    /// Raises where the partition starts: reads below `offset` fail as out of range from then on,
    /// and segments that lie wholly below it go from the disk. An offset at or below the start
    /// changes nothing. `Ok` means that the new start survives a power cut. Blocks for syncs.
    ///
    /// # Errors
    /// [`OffsetOutOfRange`](crate::ErrorKind::OffsetOutOfRange) above what can be read,
    /// [`PolicyViolation`](crate::ErrorKind::PolicyViolation) for a topic that is compacted and not
    /// deleted from, [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for one of the store's
    /// own, those
    /// of [`start_offset`](Partition::start_offset), and those of a sync.
    ///
    /// ```
    /// use tidelog::{ErrorKind, Offset, Record};
    /// # use tidelog::{Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.create_topic("orders", TopicConfig::new())?;
    /// store.producer().build()?.topic("orders")?.send(Record::new("old"))?;
    /// let partition = store.partition("orders", 0)?;
    /// partition.delete_records_before(Offset::new(1))?;
    /// assert_eq!(partition.start_offset()?, Offset::new(1));
    /// let beyond = partition.delete_records_before(Offset::new(2)).unwrap_err();
    /// assert_eq!(beyond.kind(), ErrorKind::OffsetOutOfRange);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn delete_records_before(&self, offset: Offset) -> Result<()> {
        self.store.not_internal("delete records", self.topic())?;
        self.store.engine.delete_records_before(&self.partition, offset)
    }

    /// What the partition knows of its idempotent and transactional producers, in the order of
    /// their ids.
    ///
    /// # Errors
    /// [`ReadOnly`](crate::ErrorKind::ReadOnly) in a store that another process may be writing, and
    /// those of [`start_offset`](Partition::start_offset).
    ///
    /// ```
    /// use tidelog::Record;
    /// # use tidelog::{Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.create_topic("orders", TopicConfig::new())?;
    /// let producer = store.producer().idempotent(true).build()?;
    /// producer.topic("orders")?.send(Record::new("once"))?;
    /// let known = store.partition("orders", 0)?.producers()?;
    /// assert_eq!(Some(known[0].identity()), producer.identity());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn producers(&self) -> Result<Vec<ProducerState>> {
        self.partition.producers()
    }

    /// Makes every record appended so far durable. `Ok` means that all of the partition up to the
    /// end it had at the call survives a power cut: the bytes, the length of the file, its name.
    /// Blocks for a sync, which others may share, unless an earlier one covers it all.
    ///
    /// # Errors
    /// Those of the sync, with the outcome
    /// [`WrittenNotDurable`](crate::Outcome::WrittenNotDurable); a failed sync poisons the
    /// partition, and [`Poisoned`](crate::ErrorKind::Poisoned) from then on.
    ///
    /// ```
    /// # use tidelog::{Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.create_topic("orders", TopicConfig::new())?;
    /// store.partition("orders", 0)?.flush()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn flush(&self) -> Result<()> {
        self.partition.flush()
    }

    /// [`flush`](Partition::flush) as a future of any runtime, for what was appended before this
    /// call. It never blocks: the sync is made by a thread that needs one too, or else by the
    /// store's timer; with [`Threads::Host`](crate::Threads::Host) by whoever calls
    /// [`run_due`](Store::run_due). Dropping it undoes nothing.
    ///
    /// ```
    /// # use tidelog::{Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.create_topic("orders", TopicConfig::new())?;
    /// pollster::block_on(store.partition("orders", 0)?.flush_async())?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn flush_async(&self) -> impl Future<Output = Result<()>> + Send + 'static + use<> {
        self.partition.flush_later()
    }

    /// Brings the partition back after a failure has poisoned it, without closing the store; does
    /// nothing and returns `None` if it is not poisoned. `Ok` means that it takes records again,
    /// and that everything up to [`end_offset`](Partition::end_offset) survives a power cut.
    ///
    /// Recovery looks at what is there: records that no sync had covered may turn out to be gone,
    /// and are reported. What was not safe before is copied to fresh files, for another sync of
    /// the old ones would prove nothing. Readers go on meanwhile; what is appended afterwards has
    /// a new leader epoch, so that a position in lost records is a typed
    /// [`LogTruncated`](crate::ErrorKind::LogTruncated). Blocks for reading and writing what lies
    /// above the last recovery point, a few files as a rule.
    ///
    /// # Errors
    /// Those of the disk: then it stays poisoned, and the call may be made again.
    /// [`Corrupt`](crate::ErrorKind::Corrupt) where records that were durable are gone;
    /// [`Poisoned`](crate::ErrorKind::Poisoned) where the store's own state log is: only closing
    /// and opening the store helps then.
    ///
    /// ```
    /// # use tidelog::{Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.create_topic("orders", TopicConfig::new())?;
    /// let partition = store.partition("orders", 0)?;
    /// assert!(partition.reopen()?.is_none()); // nothing was wrong
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn reopen(&self) -> Result<Option<PartitionReport>> {
        self.store.engine.reopen(&self.partition)
    }
}
