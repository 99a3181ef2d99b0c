//! A partition's door for a host that leads it: leadership, epochs, followers' appends, the high
//! watermark.
//!
//! For hosts that replicate and bring their own consensus. Each call goes down to the engine, which
//! keeps leadership durable, counts bytes and wakes who waits.

use super::partition::Partition;
use crate::config::{Durability, Leadership};
use crate::engine::Partition as EnginePartition;
use crate::error::{Error, Result};
use crate::ids::{LeaderEpoch, Offset};
use crate::log::{Appended, LeaderBatches, LogReceipt, RawBatches, RawLimits};
use crate::record::{AppendBatch as _, BorrowedBatch, Record, SentBatch, packed};
use crate::time::Timestamp;

impl Partition {
    /// Who leads the partition: itself, unless the host has taken its leadership. It is remembered
    /// from open to open.
    ///
    /// # Errors
    /// Those of [`start_offset`](Partition::start_offset), and
    /// [`ReadOnly`](crate::ErrorKind::ReadOnly).
    ///
    /// ```
    /// use tidelog::{Leadership, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// store.create_host_led_topic("orders", TopicConfig::new())?;
    /// let partition = store.partition("orders", 0)?;
    /// assert_eq!(partition.leadership()?, Leadership::HostLed);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn leadership(&self) -> Result<Leadership> {
        self.partition.leadership()
    }

    /// Has the host lead the partition from now on, or the partition itself again. Durable when it
    /// returns; blocks for a sync, unless it is so already.
    ///
    /// Under the host this replica follows until it is made the leader, every epoch comes from the
    /// host, and the high watermark stays where it was, at the end, until the host moves it. One
    /// that leads itself again draws an epoch above every one it has seen, and its high watermark
    /// is its end.
    ///
    /// # Errors
    /// Those of [`leadership`](Partition::leadership);
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a topic of the store's own;
    /// [`Unsupported`](crate::ErrorKind::Unsupported) where the host has used the highest epoch
    /// there is; those of the disk.
    ///
    /// ```
    /// use tidelog::{ErrorKind, LeaderEpoch, Leadership, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// store.create_host_led_topic("orders", TopicConfig::new())?;
    /// let partition = store.partition("orders", 0)?;
    /// partition.append_as_leader(LeaderEpoch::new(7), &[Record::new("a")])?;
    /// partition.set_leadership(Leadership::SelfLed)?;
    /// assert_eq!(partition.high_watermark()?, partition.end_offset()?);
    /// let led = partition.append_as_leader(LeaderEpoch::new(9), &[Record::new("b")]).unwrap_err();
    /// assert_eq!(led.kind(), ErrorKind::InvalidArgument);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn set_leadership(&self, leadership: Leadership) -> Result<()> {
        self.store.not_internal("set leadership", self.topic())?;
        self.store.engine.set_leadership(&self.partition, leadership)
    }

    /// Makes this replica the leader of `epoch`, which what is sent to it is written under from
    /// then on. It is not remembered: after an open, a truncation or a reopening the replica
    /// follows until it is made the leader anew: as a rule of a higher epoch, after a reopening of
    /// a higher one alone. Does not block.
    ///
    /// # Errors
    /// [`FencedLeaderEpoch`](crate::ErrorKind::FencedLeaderEpoch), which
    /// [`is_fenced`](crate::Error::is_fenced), for an epoch below the latest one that the partition
    /// has or this replica has led; [`InvalidArgument`](crate::ErrorKind::InvalidArgument) below 0,
    /// and where the host does not lead the partition.
    ///
    /// ```
    /// use tidelog::{LeaderEpoch, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// store.create_host_led_topic("orders", TopicConfig::new())?;
    /// let partition = store.partition("orders", 0)?;
    /// partition.become_leader(LeaderEpoch::new(3))?;
    /// let orders = store.producer().build()?.topic("orders")?;
    /// assert_eq!(orders.send(Record::new("a"))?.leader_epoch(), LeaderEpoch::new(3));
    /// assert!(partition.become_leader(LeaderEpoch::new(2)).unwrap_err().is_fenced());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn become_leader(&self, epoch: LeaderEpoch) -> Result<()> {
        self.partition.become_leader(epoch)
    }

    /// Makes this replica a follower: what is sent to it is refused as
    /// [`NotLeader`](crate::ErrorKind::NotLeader) from then on. Does not block.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) where the host does not lead the
    /// partition.
    ///
    /// ```
    /// use tidelog::{ErrorKind, LeaderEpoch, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// store.create_host_led_topic("orders", TopicConfig::new())?;
    /// let partition = store.partition("orders", 0)?;
    /// partition.become_leader(LeaderEpoch::new(3))?;
    /// partition.become_follower()?;
    /// let orders = store.producer().build()?.topic("orders")?;
    /// let refused = orders.send(Record::new("a")).unwrap_err();
    /// assert_eq!(refused.kind(), ErrorKind::NotLeader);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn become_follower(&self) -> Result<()> {
        self.partition.become_follower()
    }

    /// Appends records as one batch under `epoch`, as the leader of which this replica acts from
    /// then on. All of them or none; they survive `kill -9` when it returns, a power cut after a
    /// [`flush`](Partition::flush), and are read once the high watermark is above them.
    ///
    /// # Errors
    /// Those of [`become_leader`](Partition::become_leader), and of an append: see
    /// [`TopicProducer::send`](crate::TopicProducer::send).
    ///
    /// ```
    /// use tidelog::{LeaderEpoch, Offset, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// store.create_host_led_topic("orders", TopicConfig::new())?;
    /// let partition = store.partition("orders", 0)?;
    /// let receipt = partition.append_as_leader(LeaderEpoch::new(3), &[Record::new("a")])?;
    /// assert_eq!((receipt.first_offset(), receipt.epoch().get()), (Offset::ZERO, 3));
    /// let late = partition.append_as_leader(LeaderEpoch::new(2), &[Record::new("b")]);
    /// assert!(late.unwrap_err().is_fenced());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn append_as_leader(
        &self,
        epoch: LeaderEpoch,
        records: &[Record<'_>],
    ) -> Result<LogReceipt> {
        self.append_led(epoch, records)
    }

    /// Appends one batch that a producer made, as it came over a wire; see
    /// [`append_batch_as_leader`](Partition::append_batch_as_leader). For a partition that leads
    /// itself, and for one that this replica was [made the leader](Partition::become_leader) of.
    /// Blocks for a sync if `durability` asks for one.
    ///
    /// # Errors
    /// Those of [`append_batch_as_leader`](Partition::append_batch_as_leader);
    /// [`NotLeader`](crate::ErrorKind::NotLeader) while this replica follows.
    ///
    /// ```
    /// use tidelog::{Durability, Offset, RawLimits, Record, Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.create_topic("orders", TopicConfig::new())?;
    /// store.producer().build()?.topic("orders")?.send(Record::new("a"))?;
    /// let partition = store.partition("orders", 0)?;
    /// let read = partition.read_batches(Offset::ZERO, RawLimits::to_end(1 << 20))?;
    /// let receipt = partition.append_batch(read.bytes(), Durability::Process)?;
    /// assert_eq!(receipt.first_offset(), Offset::new(1));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn append_batch(&self, batch: &[u8], durability: Durability) -> Result<LogReceipt> {
        self.append_sent(batch, |partition, batch, now| partition.append(batch, now, durability))
    }

    /// Appends one batch that a producer made, as it came over a wire (the records of a produce
    /// request), as the leader of `epoch`. All of it or nothing; what is checked and what is made
    /// anew [`Log::append_batch_as_leader`](crate::Log::append_batch_as_leader) tells.
    ///
    /// # Errors
    /// Those of [`Log::append_batch_as_leader`](crate::Log::append_batch_as_leader), and of
    /// [`append_as_leader`](Partition::append_as_leader).
    ///
    /// ```
    /// use tidelog::{ErrorKind, LeaderEpoch, Offset, RawLimits, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// store.create_host_led_topic("orders", TopicConfig::new())?;
    /// let partition = store.partition("orders", 0)?;
    /// partition.append_as_leader(LeaderEpoch::new(3), &[Record::new("a")])?;
    /// let read = partition.read_batches(Offset::ZERO, RawLimits::to_end(1 << 20))?;
    /// let receipt = partition.append_batch_as_leader(LeaderEpoch::new(4), read.bytes())?;
    /// assert_eq!((receipt.first_offset(), receipt.epoch().get()), (Offset::new(1), 4));
    /// let cut = &read.bytes()[..60];
    /// let refused = partition.append_batch_as_leader(LeaderEpoch::new(4), cut).unwrap_err();
    /// assert_eq!(refused.kind(), ErrorKind::Corrupt);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn append_batch_as_leader(&self, epoch: LeaderEpoch, batch: &[u8]) -> Result<LogReceipt> {
        self.append_sent(batch, |partition, batch, now| {
            partition.append_as_leader(epoch, batch, now)
        })
    }

    fn append_sent(
        &self,
        batch: &[u8],
        append: impl FnOnce(&EnginePartition, &SentBatch<'_>, Timestamp) -> Result<Appended>,
    ) -> Result<LogReceipt> {
        self.store.not_internal("append batch", self.topic())?;
        let engine = &self.store.engine;
        let now = engine.clock().wall();
        let appended = || {
            let rules = self.partition.batch_rules(now)?;
            let batch = SentBatch::check(batch, &rules, engine.plain_limit())?;
            let appended = append(&self.partition, &batch, now)?;
            Ok(LogReceipt::of(&appended, batch.max_timestamp()))
        };
        appended().map_err(|error| self.placed(error))
    }

    fn placed(&self, error: Error) -> Error {
        error.at_partition(self.partition.topic_name(), self.partition.id())
    }

    /// Appends whole batches as the leader has them, one after the other in `batches`: offsets,
    /// epochs and bytes stay what they are. From then on this replica follows. Returns where the
    /// partition ends then; an empty slice changes nothing. They survive `kill -9` when it returns.
    ///
    /// The first batch begins at the end of the partition or above it, each further one where the
    /// one before it ends or above, under its epoch or a later one. Offsets that are left out, as
    /// compaction leaves them, are remembered as such, which costs a sync. Batches of any kind are
    /// taken: compressed ones, of transactions, control batches, larger than the topic allows;
    /// producers' sequences are not checked. All of it is checked before anything is written.
    ///
    /// # Errors
    /// Each names the [position](crate::Error::position) in `batches` of the one to blame, and
    /// nothing was appended: [`Corrupt`](crate::ErrorKind::Corrupt) for what is no whole batch of
    /// format 2, or whose checksum, counts or lengths do not fit;
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for Kafka's formats 0 and 1;
    /// [`UnexpectedOffset`](crate::ErrorKind::UnexpectedOffset) below the end;
    /// [`FencedLeaderEpoch`](crate::ErrorKind::FencedLeaderEpoch) for an epoch that falls.
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) where the host does not lead the
    /// partition. Those of the disk name the offset of the batch that met them; those before it are
    /// in the partition then. Where `max_bytes` leaves no room for all of `batches` none is
    /// appended: [`Full`](crate::ErrorKind::Full), or [`TooLarge`](crate::ErrorKind::TooLarge)
    /// where it never has room for so much at once.
    ///
    /// ```
    /// use tidelog::{ErrorKind, LeaderEpoch, Offset, RawLimits, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// store.create_host_led_topic("orders", TopicConfig::new())?;
    /// let partition = store.partition("orders", 0)?;
    /// partition.append_as_leader(LeaderEpoch::new(0), &[Record::new("a"), Record::new("b")])?;
    /// let read = partition.read_batches(Offset::ZERO, RawLimits::to_end(1 << 20))?;
    /// partition.truncate_fully_and_start_at(Offset::ZERO)?; // as if it were another replica
    /// assert_eq!(partition.append_as_follower(read.bytes())?, Offset::new(2));
    /// let again = partition.append_as_follower(read.bytes()).unwrap_err();
    /// assert_eq!((again.kind(), again.position()), (ErrorKind::UnexpectedOffset, Some(0)));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn append_as_follower(&self, batches: &[u8]) -> Result<Offset> {
        let engine = &self.store.engine;
        LeaderBatches::check(batches)
            .and_then(|it| engine.append_as_follower(&self.partition, &it, engine.clock().wall()))
            .map_err(|error| self.placed(error))
    }

    /// How far readers see: everything below is there for good, as the host says it. The end of the
    /// partition where that leads itself.
    ///
    /// ```
    /// use tidelog::{LeaderEpoch, Offset, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// store.create_host_led_topic("orders", TopicConfig::new())?;
    /// let partition = store.partition("orders", 0)?;
    /// partition.append_as_leader(LeaderEpoch::new(0), &[Record::new("a")])?;
    /// assert_eq!(partition.high_watermark()?, Offset::ZERO);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn high_watermark(&self) -> Result<Offset> {
        Ok(self.partition.offsets()?.high_watermark())
    }

    /// Sets how far readers see, within what the partition holds: below its start it is the start,
    /// above its end the end. Returns where it is then. Consumers that wait are woken. It is
    /// recorded with the next recovery point and at close, so that after a crash it may be lower
    /// than it was; truncation lowers it. Retention, deletion of records and compaction stay below
    /// it. A batch that it lies within is not read yet. Does not block.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) where the host does not lead the
    /// partition.
    ///
    /// ```
    /// use tidelog::{LeaderEpoch, Offset, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// store.create_host_led_topic("orders", TopicConfig::new())?;
    /// let partition = store.partition("orders", 0)?;
    /// partition.append_as_leader(LeaderEpoch::new(0), &[Record::new("a")])?;
    /// partition.append_as_leader(LeaderEpoch::new(0), &[Record::new("b")])?;
    /// assert_eq!(partition.set_high_watermark(Offset::new(1))?, Offset::new(1));
    /// let mut reader = store.reader().assign([("orders", 0)]).build()?;
    /// assert_eq!(reader.try_poll()?.len(), 1);
    /// assert_eq!(partition.set_high_watermark(Offset::new(9))?, Offset::new(2));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn set_high_watermark(&self, offset: Offset) -> Result<Offset> {
        self.partition.set_high_watermark(offset)
    }

    /// The leader epochs that have records here, each with the offset of its first: a follower asks
    /// its leader for the end of the last one. As Kafka's `leader-epoch-checkpoint`.
    ///
    /// # Errors
    /// Those of [`start_offset`](Partition::start_offset), and
    /// [`ReadOnly`](crate::ErrorKind::ReadOnly).
    ///
    /// ```
    /// use tidelog::{LeaderEpoch, Offset, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// store.create_host_led_topic("orders", TopicConfig::new())?;
    /// let partition = store.partition("orders", 0)?;
    /// partition.append_as_leader(LeaderEpoch::new(4), &[Record::new("a")])?;
    /// assert_eq!(partition.leader_epochs()?, [(LeaderEpoch::new(4), Offset::ZERO)]);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn leader_epochs(&self) -> Result<Vec<(LeaderEpoch, Offset)>> {
        self.partition.leader_epochs()
    }

    /// Reads whole batches as they lie in the partition, from the one that holds `from` on,
    /// compressed or not, control batches included: as bytes, and as a range of a file. Empty where
    /// there is nothing to read as far as `limits` sees. Of one segment at a time. Blocks for the
    /// disk at most.
    ///
    /// # Errors
    /// [`OffsetOutOfRange`](crate::ErrorKind::OffsetOutOfRange) below the start or above the end,
    /// [`Corrupt`](crate::ErrorKind::Corrupt) where the next batch is damaged, and those of
    /// [`start_offset`](Partition::start_offset).
    ///
    /// ```
    /// use tidelog::{Offset, RawLimits, Record, Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.create_topic("orders", TopicConfig::new())?;
    /// store.producer().build()?.topic("orders")?.send(Record::new("a"))?;
    /// let partition = store.partition("orders", 0)?;
    /// let read = partition.read_batches(Offset::ZERO, RawLimits::to_high_watermark(1 << 20))?;
    /// assert_eq!(read.next_offset(), Offset::new(1));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn read_batches(&self, from: Offset, limits: RawLimits) -> Result<RawBatches> {
        self.partition.read_batches(from, limits)
    }

    fn append_led(&self, epoch: LeaderEpoch, records: &[Record<'_>]) -> Result<LogReceipt> {
        self.store.not_internal("append as leader", self.topic())?;
        let now = self.store.engine.clock().wall();
        let appended = || {
            let rules = self.partition.batch_rules(now)?;
            if rules.packing.is_plain() {
                let batch = BorrowedBatch::measure(records, &rules)?;
                let appended = self.partition.append_as_leader(epoch, &batch, now)?;
                return Ok(LogReceipt::of(&appended, batch.max_timestamp()));
            }
            let batch = packed(records, &rules)?;
            let appended = self.partition.append_as_leader(epoch, &batch, now)?;
            Ok(LogReceipt::of(&appended, batch.max_timestamp()))
        };
        appended().map_err(|error| self.placed(error))
    }
}
