//! The lone log's door for a host that leads it: leadership, epochs, followers' appends, the high
//! watermark.
//!
//! For hosts that replicate a log and bring their own consensus. What the log makes of their word
//! is `led`'s and `replicated`'s; this room adds the keeper, and keeps changes of leadership from
//! closing, truncation and reopening.

use super::door::Log;
use super::keeper::Durable;
use super::led::{HandedOver, MOST_DRAWS, outrun};
use super::receipt::LogReceipt;
use super::replicated::LeaderBatches;
use crate::config::{Durability, Leadership};
use crate::error::{Outcome, Result};
use crate::ids::{LeaderEpoch, Offset};
use crate::record::{AppendBatch as _, Record, SentBatch};

impl Log {
    /// Who leads the log: itself, unless the host has taken its leadership. It is remembered from
    /// open to open.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed).
    ///
    /// ```
    /// use tidelog::{Leadership, Log, disk::MemoryDisk};
    /// # let disk = std::sync::Arc::new(MemoryDisk::new());
    /// let log = Log::builder("/wal").disk(disk).open()?;
    /// log.set_leadership(Leadership::HostLed)?;
    /// assert_eq!(log.leadership()?, Leadership::HostLed);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn leadership(&self) -> Result<Leadership> {
        self.check_open("look up leadership")?;
        Ok(self.log.leadership())
    }

    /// Has the host lead the log from now on, or the log itself again. Durable when it returns;
    /// blocks for a sync, unless it is so already.
    ///
    /// Under the host this replica follows until it is made the leader, every epoch comes from the
    /// host, and the high watermark stays where it was, at the end, until the host moves it. One
    /// that leads itself again draws an epoch above every one it has seen, and its high watermark
    /// is its end.
    ///
    /// # Errors
    /// Those of [`Log::leadership`]; [`Unsupported`](crate::ErrorKind::Unsupported) where the host
    /// has used the highest epoch there is; those of the disk.
    ///
    /// ```
    /// use tidelog::{ErrorKind, LeaderEpoch, Leadership, Log, Record, disk::MemoryDisk};
    /// # let disk = std::sync::Arc::new(MemoryDisk::new());
    /// let log = Log::builder("/wal").disk(disk).open()?;
    /// log.set_leadership(Leadership::HostLed)?;
    /// log.append_as_leader(LeaderEpoch::new(7), &[Record::new("a")])?;
    /// log.set_leadership(Leadership::SelfLed)?;
    /// assert_eq!(log.high_watermark(), log.end_offset());
    /// let led = log.append_as_leader(LeaderEpoch::new(9), &[Record::new("b")]).unwrap_err();
    /// assert_eq!(led.kind(), ErrorKind::InvalidArgument);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn set_leadership(&self, leadership: Leadership) -> Result<()> {
        self.change_leadership(leadership)
    }

    /// Makes this replica the leader of `epoch`, which what is sent to it is written under from
    /// then on. It is not remembered: after an open, a truncation or a reopening the replica
    /// follows until it is made the leader anew: as a rule of a higher epoch, after a reopening of
    /// a higher one alone. Does not block.
    ///
    /// # Errors
    /// [`FencedLeaderEpoch`](crate::ErrorKind::FencedLeaderEpoch), which
    /// [`is_fenced`](crate::Error::is_fenced), for an epoch below the latest one that the log has
    /// or this replica has led; [`InvalidArgument`](crate::ErrorKind::InvalidArgument) below 0, and
    /// where the host does not lead the log.
    ///
    /// ```
    /// use tidelog::{LeaderEpoch, Leadership, Log, Record, disk::MemoryDisk};
    /// # let disk = std::sync::Arc::new(MemoryDisk::new());
    /// let log = Log::builder("/wal").disk(disk).open()?;
    /// log.set_leadership(Leadership::HostLed)?;
    /// log.become_leader(LeaderEpoch::new(3))?;
    /// assert_eq!(log.append(&[Record::new("a")])?.epoch(), LeaderEpoch::new(3));
    /// assert!(log.become_leader(LeaderEpoch::new(2)).unwrap_err().is_fenced());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn become_leader(&self, epoch: LeaderEpoch) -> Result<()> {
        self.check_open("lead log")?;
        self.log.become_leader(epoch)
    }

    /// Makes this replica a follower: what is sent to it is refused as
    /// [`NotLeader`](crate::ErrorKind::NotLeader) from then on. Does not block.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) where the host does not lead the log.
    ///
    /// ```
    /// use tidelog::{ErrorKind, LeaderEpoch, Leadership, Log, Record, disk::MemoryDisk};
    /// # let disk = std::sync::Arc::new(MemoryDisk::new());
    /// let log = Log::builder("/wal").disk(disk).open()?;
    /// log.set_leadership(Leadership::HostLed)?;
    /// log.become_leader(LeaderEpoch::new(3))?;
    /// log.become_follower()?;
    /// let refused = log.append(&[Record::new("a")]).unwrap_err();
    /// assert_eq!(refused.kind(), ErrorKind::NotLeader);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn become_follower(&self) -> Result<()> {
        self.check_open("become follower")?;
        self.log.become_follower()
    }

    /// Appends records as one batch under `epoch`, as the leader of which this replica acts from
    /// then on. All of them or none; they survive `kill -9` when it returns, a power cut after a
    /// [`flush`](Log::flush), and are read once the high watermark is above them.
    ///
    /// # Errors
    /// Those of [`become_leader`](Log::become_leader), and of an append: see [`Log::append`].
    ///
    /// ```
    /// use tidelog::{LeaderEpoch, Leadership, Log, Offset, Record, disk::MemoryDisk};
    /// # let disk = std::sync::Arc::new(MemoryDisk::new());
    /// let log = Log::builder("/wal").disk(disk).open()?;
    /// log.set_leadership(Leadership::HostLed)?;
    /// let receipt = log.append_as_leader(LeaderEpoch::new(3), &[Record::new("a")])?;
    /// assert_eq!((receipt.first_offset(), receipt.epoch().get()), (Offset::ZERO, 3));
    /// let late = log.append_as_leader(LeaderEpoch::new(2), &[Record::new("b")]);
    /// assert!(late.unwrap_err().is_fenced());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn append_as_leader(
        &self,
        epoch: LeaderEpoch,
        records: &[Record<'_>],
    ) -> Result<LogReceipt> {
        self.check_open("append")?;
        let now = self.clock.wall();
        self.append_for((None, Some(epoch)), records, (now, Durability::Process))
    }

    /// Appends one batch that a producer made, as it came over a wire; see
    /// [`append_batch_as_leader`](Log::append_batch_as_leader). For a log that leads itself, and
    /// for one that this replica was [made the leader](Log::become_leader) of.
    ///
    /// # Errors
    /// Those of [`append_batch_as_leader`](Log::append_batch_as_leader);
    /// [`NotLeader`](crate::ErrorKind::NotLeader) while this replica follows.
    ///
    /// ```
    /// use tidelog::{Durability, Log, Offset, RawLimits, Record, disk::MemoryDisk};
    /// # let disk = std::sync::Arc::new(MemoryDisk::new());
    /// let log = Log::builder("/wal").disk(disk).open()?;
    /// log.append(&[Record::new("a")])?;
    /// let read = log.read_batches(Offset::ZERO, RawLimits::to_end(1 << 20))?;
    /// let receipt = log.append_batch(read.bytes(), Durability::Process)?;
    /// assert_eq!(receipt.first_offset(), Offset::new(1));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn append_batch(&self, batch: &[u8], durability: Durability) -> Result<LogReceipt> {
        self.append_sent(None, batch, durability)
    }

    /// Appends one batch that a producer made, as it came over a wire (the records of a produce
    /// request), as the leader of `epoch`. All of it or nothing.
    ///
    /// It is checked as Kafka's leader checks it: one whole batch of format 2 whose checksum fits,
    /// its offsets from 0 on without a gap, every record and the topic's rules, no control batch;
    /// where it names a producer, its sequence too: what was sent before is not written again
    /// ([`is_duplicate`](LogReceipt::is_duplicate)). A batch of a transaction is taken as its
    /// header says; who may write in one is the host's to know. Offset and epoch are set in place,
    /// outside of the checksum's reach. The header is computed anew where its largest timestamp is
    /// not that of its records, or where the log sets the time; the records where the topic names
    /// another codec: they stay as they are where they would be too large in it.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) for what is no whole batch, or whose checksum, counts
    /// or lengths do not fit; [`Unsupported`](crate::ErrorKind::Unsupported) for formats 0 and 1
    /// and for a codec that is not built in;
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for what no producer sends;
    /// [`InvalidRecord`](crate::ErrorKind::InvalidRecord), with
    /// [`record_errors`](crate::Error::record_errors), for what the topic refuses;
    /// [`TooLarge`](crate::ErrorKind::TooLarge), decompressed too: see
    /// [`max_decompressed_bytes`](crate::LogBuilder::max_decompressed_bytes); those of
    /// [`append_produced`](Log::append_produced) and of [`become_leader`](Log::become_leader).
    ///
    /// ```
    /// use tidelog::{ErrorKind, LeaderEpoch, Leadership, Log, Offset, RawLimits, Record};
    /// # use tidelog::disk::MemoryDisk;
    /// # let disk = std::sync::Arc::new(MemoryDisk::new());
    /// let log = Log::builder("/wal").disk(disk).open()?;
    /// log.set_leadership(Leadership::HostLed)?;
    /// log.append_as_leader(LeaderEpoch::new(3), &[Record::new("a")])?;
    /// let read = log.read_batches(Offset::ZERO, RawLimits::to_end(1 << 20))?;
    /// let mut batch = read.bytes().to_vec(); // as a producer's, it begins at offset 0
    /// let receipt = log.append_batch_as_leader(LeaderEpoch::new(4), &batch)?;
    /// assert_eq!((receipt.first_offset(), receipt.epoch().get()), (Offset::new(1), 4));
    /// *batch.last_mut().unwrap() ^= 1;
    /// let refused = log.append_batch_as_leader(LeaderEpoch::new(4), &batch).unwrap_err();
    /// assert_eq!(refused.kind(), ErrorKind::Corrupt);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn append_batch_as_leader(&self, epoch: LeaderEpoch, batch: &[u8]) -> Result<LogReceipt> {
        self.append_sent(Some(epoch), batch, Durability::Process)
    }

    fn append_sent(
        &self,
        epoch: Option<LeaderEpoch>,
        batch: &[u8],
        durability: Durability,
    ) -> Result<LogReceipt> {
        self.check_open("append batch")?;
        let now = self.clock.wall();
        let batch = SentBatch::check(batch, &self.log.batch_rules(now), self.log.plain_limit())?;
        let appended = self.log.append_under(epoch, &batch, now)?;
        self.settled(appended, batch.max_timestamp(), durability)
    }

    /// Appends whole batches as the leader has them, one after the other in `batches`: offsets,
    /// epochs and bytes stay what they are. From then on this replica follows. Returns where the
    /// log ends then; an empty slice changes nothing. They survive `kill -9` when it returns.
    ///
    /// The first batch begins at the end of the log or above it, each further one where the one
    /// before it ends or above, under its epoch or a later one. Offsets that are left out, as
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
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) where the host does not lead the log.
    /// Those of the disk name the offset of the batch that met them; those before it are in the log
    /// then.
    ///
    /// ```
    /// use tidelog::{ErrorKind, LeaderEpoch, Leadership, Log, Offset, RawLimits, Record};
    /// use tidelog::disk::MemoryDisk;
    /// # let disk = std::sync::Arc::new(MemoryDisk::new());
    /// let log = Log::builder("/wal").disk(disk).open()?;
    /// log.set_leadership(Leadership::HostLed)?;
    /// log.append_as_leader(LeaderEpoch::new(0), &[Record::new("a"), Record::new("b")])?;
    /// let read = log.read_batches(Offset::ZERO, RawLimits::to_end(1 << 20))?;
    /// log.truncate_fully_and_start_at(Offset::ZERO)?; // as if it were another replica
    /// assert_eq!(log.append_as_follower(read.bytes())?, Offset::new(2));
    /// let again = log.append_as_follower(read.bytes()).unwrap_err();
    /// assert_eq!((again.kind(), again.position()), (ErrorKind::UnexpectedOffset, Some(0)));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn append_as_follower(&self, batches: &[u8]) -> Result<Offset> {
        self.check_open("append as follower")?;
        self.take_batches(batches)
    }

    /// How far readers see: everything below is there for good, as the host says it. The end of the
    /// log where that leads itself.
    ///
    /// ```
    /// use tidelog::{LeaderEpoch, Leadership, Log, Offset, Record, disk::MemoryDisk};
    /// # let disk = std::sync::Arc::new(MemoryDisk::new());
    /// let log = Log::builder("/wal").disk(disk).open()?;
    /// log.set_leadership(Leadership::HostLed)?;
    /// log.append_as_leader(LeaderEpoch::new(0), &[Record::new("a")])?;
    /// assert_eq!(log.high_watermark(), Offset::ZERO);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn high_watermark(&self) -> Offset {
        self.log.offsets().snapshot().high_watermark()
    }

    /// Sets how far readers see, within what the log holds: below its start it is the start, above
    /// its end the end. Returns where it is then. It is recorded with the next recovery point and
    /// at close, so that after a crash it may be lower than it was; truncation lowers it.
    /// Retention, deletion of records and compaction stay below it. A batch that it lies within is
    /// not read yet. Does not block.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) where the host does not lead the log.
    ///
    /// ```
    /// use tidelog::{LeaderEpoch, Leadership, Log, Offset, Record, disk::MemoryDisk};
    /// # let disk = std::sync::Arc::new(MemoryDisk::new());
    /// let log = Log::builder("/wal").disk(disk).open()?;
    /// log.set_leadership(Leadership::HostLed)?;
    /// log.append_as_leader(LeaderEpoch::new(0), &[Record::new("a")])?;
    /// log.append_as_leader(LeaderEpoch::new(0), &[Record::new("b")])?;
    /// assert_eq!(log.set_high_watermark(Offset::new(1))?, Offset::new(1));
    /// assert_eq!(log.read(Offset::ZERO, 1 << 20)?.len(), 1);
    /// assert_eq!(log.set_high_watermark(Offset::new(9))?, Offset::new(2));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn set_high_watermark(&self, offset: Offset) -> Result<Offset> {
        self.check_open("set high watermark")?;
        self.log.set_high_watermark(offset)
    }

    /// The leader epochs that have records here, each with the offset of its first: a follower asks
    /// its leader for the end of the last one. As Kafka's `leader-epoch-checkpoint`.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed).
    ///
    /// ```
    /// use tidelog::{LeaderEpoch, Leadership, Log, Offset, Record, disk::MemoryDisk};
    /// # let disk = std::sync::Arc::new(MemoryDisk::new());
    /// let log = Log::builder("/wal").disk(disk).open()?;
    /// log.set_leadership(Leadership::HostLed)?;
    /// log.append_as_leader(LeaderEpoch::new(4), &[Record::new("a")])?;
    /// assert_eq!(log.leader_epochs()?, [(LeaderEpoch::new(4), Offset::ZERO)]);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn leader_epochs(&self) -> Result<Vec<(LeaderEpoch, Offset)>> {
        self.check_open("look up epochs")?;
        Ok(self.log.epoch_entries())
    }

    fn change_leadership(&self, leadership: Leadership) -> Result<()> {
        let _neither_closed_nor_reopened_meanwhile = self.lock.lock();
        self.check_open("set leadership")?;
        if self.log.leadership() == leadership {
            return Ok(());
        }
        let mut ended = outrun("set leadership");
        for attempt in 0..MOST_DRAWS {
            match self.hand_over(leadership) {
                Ok(HandedOver::Done) => return Ok(()),
                Ok(HandedOver::Overtaken) => {}
                Err(error) if attempt == 0 => return Err(error),
                Err(error) => {
                    ended = error;
                    break;
                }
            }
        }
        // where one of the draws was recorded, it is not what holds
        let offsets = self.log.offsets();
        let watermark = offsets.set_watermark().map(|set| set.min(offsets.durable()));
        self.keeper
            .update(Durable::Now, |slot| slot.host_led = watermark)
            .map_err(|error| error.with_outcome(Outcome::Unknown))?;
        Err(ended)
    }

    /// Tries it once, under an epoch that is drawn for it.
    fn hand_over(&self, leadership: Leadership) -> Result<HandedOver> {
        let epoch = match leadership {
            Leadership::SelfLed => Some(self.keeper.draw_epoch(self.log.highest_epoch())?),
            Leadership::HostLed => None,
        };
        let _no_point = self.points.write();
        self.log.set_leadership(leadership, epoch, |watermark| {
            self.keeper.update(Durable::Now, |slot| slot.host_led = watermark)
        })
    }

    fn take_batches(&self, batches: &[u8]) -> Result<Offset> {
        let batches = LeaderBatches::check(batches)?;
        let now = self.clock.wall();
        let followed = self.log.append_as_follower(&batches, now, (&self.keeper, &self.points))?;
        if self.log.is_flush_due() {
            self.make_durable(followed.end)?;
        }
        self.seal_if_many();
        match followed.failure {
            Some(failure) => Err(failure),
            None => Ok(followed.end),
        }
    }
}
