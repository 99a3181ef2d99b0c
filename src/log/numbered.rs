//! The door of a lone log for producers that number their records.
//!
//! For hosts that speak Kafka's protocol, or keep their own outbox: who sends a batch, and which
//! sequence its first record has, comes from outside; the log tells a repetition from what is new.

use super::door::Log;
use super::producers::ProducerState;
use super::receipt::LogReceipt;
use crate::config::Durability;
use crate::error::Result;
use crate::ids::Sequence;
use crate::record::{ProducerClaim, ProducerIdentity, Record};

impl Log {
    /// Appends records as one batch of a producer, the first of which has `sequence`: each batch
    /// goes on where the producer's last one ended. One of its last five batches that is sent
    /// again is not appended again: the receipt then has the offsets it got the first time, and
    /// says so. That survives what the batch itself survives: a `kill -9`, and a power cut once it
    /// is durable; after a reopening the last batch of each producer is known. A higher epoch
    /// begins with the first sequence and fences the lower ones; a producer that the log does not
    /// know may begin with any.
    ///
    /// # Errors
    /// As [`Log::append`], and, with nothing written,
    /// [`OutOfOrderSequence`](crate::ErrorKind::OutOfOrderSequence) where batches are missing
    /// between or the batch overlaps the last ones;
    /// [`InvalidProducerEpoch`](crate::ErrorKind::InvalidProducerEpoch), which
    /// [`is_fenced`](crate::Error::is_fenced), where a higher epoch has written;
    /// [`InvalidTransactionState`](crate::ErrorKind::InvalidTransactionState) while the producer
    /// has a transaction open; [`Full`](crate::ErrorKind::Full) where as many producers as are
    /// remembered all have one.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tidelog::{ErrorKind, Log, Record, Sequence};
    /// use tidelog::{ProducerEpoch, ProducerId, ProducerIdentity};
    /// let log = Log::builder("/wal").disk(Arc::new(tidelog::disk::MemoryDisk::new())).open()?;
    /// let us = ProducerIdentity::new(ProducerId::new(7), ProducerEpoch::new(0));
    /// let records = [Record::new("a"), Record::new("b")];
    /// let first = log.append_produced(&records, us, Sequence::FIRST)?;
    /// let again = log.append_produced(&records, us, Sequence::FIRST)?;
    /// assert!(again.is_duplicate() && again.first_offset() == first.first_offset());
    /// let gap = log.append_produced(&records, us, Sequence::FIRST.after(5)).unwrap_err();
    /// assert_eq!(gap.kind(), ErrorKind::OutOfOrderSequence);
    /// log.append_produced(&records, us, Sequence::FIRST.after(2))?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn append_produced(
        &self,
        records: &[Record<'_>],
        identity: ProducerIdentity,
        sequence: Sequence,
    ) -> Result<LogReceipt> {
        self.append_produced_with(records, identity, sequence, Durability::Process)
    }

    /// The same with a word of durability; the original of a duplicate is as durable as asked, too.
    ///
    /// # Errors
    /// Those of [`Log::append_produced`]; where a sync fails those of [`Log::append_with`].
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Durability, Log, Record, Sequence};
    /// # use tidelog::{ProducerEpoch, ProducerId, ProducerIdentity};
    /// # let log = Log::builder("/wal").disk(Arc::new(tidelog::disk::MemoryDisk::new())).open()?;
    /// let us = ProducerIdentity::new(ProducerId::new(7), ProducerEpoch::new(0));
    /// let (records, first) = ([Record::new("paid")], Sequence::FIRST);
    /// let receipt = log.append_produced_with(&records, us, first, Durability::Power)?;
    /// assert_eq!(log.durable_offset(), receipt.next_offset());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn append_produced_with(
        &self,
        records: &[Record<'_>],
        identity: ProducerIdentity,
        sequence: Sequence,
        durability: Durability,
    ) -> Result<LogReceipt> {
        self.check_open("append")?;
        let now = self.clock.wall();
        let claim = ProducerClaim { identity, sequence: Some(sequence), transactional: false };
        self.append_for((Some(claim), None), records, (now, durability))
    }

    /// The sequence with which a producer's next batch has to begin here. All records of it below
    /// that have been appended; the first sequence where the log does not know it.
    ///
    /// # Errors
    /// [`InvalidProducerEpoch`](crate::ErrorKind::InvalidProducerEpoch) where a higher epoch has
    /// written, [`Closed`](crate::ErrorKind::Closed).
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, ProducerEpoch, ProducerId, ProducerIdentity, Record, Sequence};
    /// # let log = Log::builder("/wal").disk(Arc::new(tidelog::disk::MemoryDisk::new())).open()?;
    /// let us = ProducerIdentity::new(ProducerId::new(7), ProducerEpoch::new(0));
    /// log.append_produced(&[Record::new("a")], us, Sequence::FIRST)?;
    /// assert_eq!(log.next_sequence(us)?.get(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn next_sequence(&self, identity: ProducerIdentity) -> Result<Sequence> {
        self.check_open("look up sequence")?;
        self.log.next_sequence(identity, self.clock.wall())
    }

    /// What the log knows of its producers, in the order of their ids.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Record};
    /// # let log = Log::builder("/wal").disk(Arc::new(tidelog::disk::MemoryDisk::new())).open()?;
    /// log.append(&[Record::new("of nobody")])?;
    /// assert!(log.producers().is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn producers(&self) -> Vec<ProducerState> {
        self.log.producer_states()
    }
}
