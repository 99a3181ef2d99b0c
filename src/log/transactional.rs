//! The door of a lone log for transactions: batches that belong to one, and the markers that end
//! them.
//!
//! For hosts that coordinate transactions over several logs themselves, as Kafka's brokers do over
//! partitions: the log keeps in order what belongs to which producer's transaction, and shows a
//! reader at `read_committed`, which is the default, no record before its fate is decided, and
//! none that was aborted. When a transaction begins and how it ends comes from outside.

use std::ops::Range;

use super::door::Log;
use super::producers::ProducerState;
use super::receipt::LogReceipt;
use crate::config::Durability;
use crate::error::{Cause, Error, Result};
use crate::ids::{Offset, Sequence};
use crate::record::{Marker, MarkerKind, ProducerClaim, ProducerIdentity, Record};
use crate::segment::AbortedTransaction;

impl Log {
    /// Appends records as one batch of a producer's transaction, as
    /// [`append_produced`](Log::append_produced) does outside of one. The first such batch begins
    /// the transaction; [`append_marker`](Log::append_marker) ends it. Until then readers at
    /// `read_committed` see nothing from its first record on, and the producer's batches that
    /// belong to no transaction are refused.
    ///
    /// # Errors
    /// Those of [`append_produced`](Log::append_produced).
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tidelog::{Log, MarkerKind, Record, Sequence, disk::MemoryDisk};
    /// use tidelog::{ProducerEpoch, ProducerId, ProducerIdentity};
    /// let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// let us = ProducerIdentity::new(ProducerId::new(7), ProducerEpoch::new(0));
    /// log.append_transactional(&[Record::new("a")], us, Sequence::FIRST)?;
    /// assert!(log.read(log.start_offset(), 1 << 20)?.is_empty());
    /// log.append_marker(us, 0, MarkerKind::Commit)?;
    /// assert_eq!(log.read(log.start_offset(), 1 << 20)?.len(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn append_transactional(
        &self,
        records: &[Record<'_>],
        identity: ProducerIdentity,
        sequence: Sequence,
    ) -> Result<LogReceipt> {
        self.append_transactional_with(records, identity, sequence, Durability::Process)
    }

    /// The same with a word of durability.
    ///
    /// # Errors
    /// Those of [`append_produced_with`](Log::append_produced_with).
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Durability, Log, Record, Sequence, disk::MemoryDisk};
    /// # use tidelog::{ProducerEpoch, ProducerId, ProducerIdentity};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// let us = ProducerIdentity::new(ProducerId::new(7), ProducerEpoch::new(0));
    /// let (records, first) = ([Record::new("a")], Sequence::FIRST);
    /// let receipt = log.append_transactional_with(&records, us, first, Durability::Power)?;
    /// assert_eq!(log.durable_offset(), receipt.next_offset());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn append_transactional_with(
        &self,
        records: &[Record<'_>],
        identity: ProducerIdentity,
        sequence: Sequence,
        durability: Durability,
    ) -> Result<LogReceipt> {
        self.check_open("append")?;
        let now = self.clock.wall();
        let claim = ProducerClaim { identity, sequence: Some(sequence), transactional: true };
        self.append_for((Some(claim), None), records, (now, durability))
    }

    /// Ends a producer's transaction in this log: its records count, or are no one's to see, from
    /// now on. The identity's epoch may be higher than that of the records: lower ones are fenced
    /// then, and its next batch begins with the first sequence. A marker for a producer that has no
    /// transaction open is legal. Power-durable, as the end of a transaction should be: blocks for
    /// a sync; the receipt is that of the marker, which takes an offset that no reader gets.
    ///
    /// # Errors
    /// Those of [`append_with`](Log::append_with), and, with nothing written,
    /// [`InvalidProducerEpoch`](crate::ErrorKind::InvalidProducerEpoch) where a higher epoch has
    /// written, [`Fenced`](crate::ErrorKind::Fenced) where a marker of a higher coordinator epoch
    /// is there, [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a negative one.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{ErrorKind, Log, MarkerKind, Record, Sequence, disk::MemoryDisk};
    /// # use tidelog::{ProducerEpoch, ProducerId, ProducerIdentity};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// let us = ProducerIdentity::new(ProducerId::new(7), ProducerEpoch::new(0));
    /// log.append_transactional(&[Record::new("a")], us, Sequence::FIRST)?;
    /// log.append_marker(us, 5, MarkerKind::Abort)?;
    /// let late = log.append_marker(us, 4, MarkerKind::Commit).unwrap_err();
    /// assert_eq!(late.kind(), ErrorKind::Fenced);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn append_marker(
        &self,
        identity: ProducerIdentity,
        coordinator_epoch: i32,
        kind: MarkerKind,
    ) -> Result<LogReceipt> {
        self.append_marker_with(identity, coordinator_epoch, kind, Durability::Power)
    }

    /// The same with a word of durability.
    ///
    /// # Errors
    /// Those of [`append_marker`](Log::append_marker).
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Durability, Log, MarkerKind, Offset, disk::MemoryDisk};
    /// # use tidelog::{ProducerEpoch, ProducerId, ProducerIdentity};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// let us = ProducerIdentity::new(ProducerId::new(7), ProducerEpoch::new(0));
    /// log.append_marker_with(us, 0, MarkerKind::Commit, Durability::Process)?;
    /// assert_eq!((log.end_offset(), log.durable_offset()), (Offset::new(1), Offset::ZERO));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn append_marker_with(
        &self,
        identity: ProducerIdentity,
        coordinator_epoch: i32,
        kind: MarkerKind,
        durability: Durability,
    ) -> Result<LogReceipt> {
        const OPERATION: &str = "append marker";
        self.check_open(OPERATION)?;
        if coordinator_epoch < 0 {
            let why = format!("{coordinator_epoch} is no epoch of a coordinator");
            return Err(Error::new(OPERATION, Cause::InvalidArgument(why)));
        }
        let now = self.clock.wall();
        let appended = self.log.append_marker(identity, Marker { kind, coordinator_epoch }, now)?;
        self.settled(appended, Some(now), durability)
    }

    /// Up to where every transaction is decided: where the oldest open one begins, or the end.
    /// Readers at `read_committed` see no further.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Offset, Record, Sequence, disk::MemoryDisk};
    /// # use tidelog::{ProducerEpoch, ProducerId, ProducerIdentity};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// let us = ProducerIdentity::new(ProducerId::new(7), ProducerEpoch::new(0));
    /// log.append(&[Record::new("a")])?;
    /// log.append_transactional(&[Record::new("b")], us, Sequence::FIRST)?;
    /// assert_eq!((log.last_stable_offset(), log.end_offset()), (Offset::new(1), Offset::new(2)));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn last_stable_offset(&self) -> Offset {
        self.log.offsets().snapshot().last_stable()
    }

    /// Where the oldest transaction begins that has not ended: below it every record's fate is
    /// decided. `None` where no transaction is open.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::Log;
    /// # let log = Log::builder("/wal").disk(Arc::new(tidelog::disk::MemoryDisk::new())).open()?;
    /// assert_eq!(log.first_unstable_offset(), None);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn first_unstable_offset(&self) -> Option<Offset> {
        self.log.offsets().snapshot().first_unstable
    }

    /// The producers that have a transaction open, in the order in which these began; where one
    /// began is [`transaction_start`](ProducerState::transaction_start).
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Offset, Record, Sequence, disk::MemoryDisk};
    /// # use tidelog::{ProducerEpoch, ProducerId, ProducerIdentity};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// let us = ProducerIdentity::new(ProducerId::new(7), ProducerEpoch::new(0));
    /// log.append_transactional(&[Record::new("a")], us, Sequence::FIRST)?;
    /// let open = log.open_transactions();
    /// assert_eq!(open[0].identity(), us);
    /// assert_eq!(open[0].transaction_start(), Some(Offset::ZERO));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn open_transactions(&self) -> Vec<ProducerState> {
        self.log.open_transactions()
    }

    /// The aborted transactions that reach into a range of offsets, in the order of their markers:
    /// what a consumer of Kafka's protocol has to be told with the batches of that range.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, MarkerKind, Offset, Record, Sequence, disk::MemoryDisk};
    /// # use tidelog::{ProducerEpoch, ProducerId, ProducerIdentity};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// let us = ProducerIdentity::new(ProducerId::new(7), ProducerEpoch::new(0));
    /// log.append_transactional(&[Record::new("a")], us, Sequence::FIRST)?;
    /// log.append_marker(us, 0, MarkerKind::Abort)?;
    /// let aborted = log.aborted_transactions(Offset::ZERO..log.end_offset());
    /// assert_eq!((aborted[0].first, aborted[0].last), (Offset::ZERO, Offset::new(1)));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn aborted_transactions(&self, range: Range<Offset>) -> Vec<AbortedTransaction> {
        self.log.aborted_transactions(&range)
    }
}
