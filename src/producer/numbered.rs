//! Sending as an idempotent producer: with sequences, and again after a crash.
//!
//! Who is idempotent has its records numbered, partition by partition, in the order of appends; the
//! log gives the number, since it alone knows that order. A program that wants to send again what
//! it does not know the fate of keeps two things of its own: who it was
//! ([`Producer::identity`]) and which sequence a batch was sent with.

use super::handle::Producer;
use super::receipt::{BatchReceipt, MaybeTimestamp, Receipt};
use super::topic::TopicProducer;
use super::waiting::{Sent, Wait};
use crate::error::{Cause, Error, Result};
use crate::ids::{PartitionId, Sequence};
use crate::record::{ProducerClaim, ProducerIdentity, Record};

impl Producer {
    /// Who an idempotent producer is; `None` for any other. Kept, and given to
    /// [`resume`](crate::ProducerBuilder::resume) after a crash, it makes the same producer again.
    ///
    /// ```
    /// # use tidelog::Store;
    /// # let store = Store::in_memory()?;
    /// assert!(store.producer().build()?.identity().is_none());
    /// let producer = store.producer().idempotent(true).build()?;
    /// let other = store.producer().idempotent(true).build()?;
    /// assert_ne!(producer.identity(), other.identity());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn identity(&self) -> Option<ProducerIdentity> {
        self.core().settings().identity
    }
}

impl TopicProducer {
    /// The sequence that the next record of this producer gets in a partition: everything it sent
    /// there with a lower one has been appended. After a crash that says which rows of an outbox
    /// have arrived. The first sequence where the partition does not know the producer.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a producer that is not
    /// idempotent, [`InvalidProducerEpoch`](crate::ErrorKind::InvalidProducerEpoch) for one that
    /// is fenced, [`NotFound`](crate::ErrorKind::NotFound) for a partition there is not.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// let orders = store.producer().idempotent(true).build()?.topic("orders")?;
    /// orders.send_batch(&[Record::new("a"), Record::new("b")])?;
    /// assert_eq!(orders.next_sequence(0)?.get(), 2);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn next_sequence(&self, partition: impl Into<PartitionId>) -> Result<Sequence> {
        const OPERATION: &str = "look up sequence";
        let identity = self.identity_for(OPERATION)?;
        let now = self.core().wall();
        self.lanes().lane(partition.into())?.partition().next_sequence(identity, now)
    }

    /// Sends records as one batch with the sequences from `sequence` on: what the program has
    /// numbered itself, and may have sent before. One of the producer's last five batches of the
    /// partition (after a reopening: the last one) is not appended again; the receipt has its
    /// offsets and [`is_duplicate`](BatchReceipt::is_duplicate). Blocks as
    /// [`send_batch_to`](TopicProducer::send_batch_to).
    ///
    /// # Errors
    /// Those of [`send_batch_to`](TopicProducer::send_batch_to), and
    /// [`OutOfOrderSequence`](crate::ErrorKind::OutOfOrderSequence) where `sequence` is not the
    /// next one, nor the batch one of those: ask [`next_sequence`](TopicProducer::next_sequence)
    /// what has arrived. [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a producer
    /// that is not idempotent.
    ///
    /// ```
    /// # use tidelog::{Record, Sequence, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// let producer = store.producer().idempotent(true).build()?;
    /// let rows = [Record::new("row 0"), Record::new("row 1")];
    /// producer.topic("orders")?.send_numbered(0, Sequence::FIRST, &rows)?;
    /// let identity = producer.identity().expect("it is idempotent"); // kept with the rows
    /// // the program crashes, does not know whether the rows have arrived, and sends them again
    /// let again = store.producer().resume(identity).build()?.topic("orders")?;
    /// assert!(again.send_numbered(0, Sequence::FIRST, &rows)?.is_duplicate());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn send_numbered(
        &self,
        partition: impl Into<PartitionId>,
        sequence: Sequence,
        records: &[Record<'_>],
    ) -> Result<BatchReceipt> {
        let identity = self.identity_for("append")?;
        let claim = ProducerClaim { identity, sequence: Some(sequence), transactional: false };
        let (id, how) =
            (partition.into(), (self.core().wall(), Wait::Blocks(self.word()), Some(claim)));
        Ok(self.batch_receipt(&self.append_as(self.lanes().lane(id)?, records, Some(id), how)?))
    }

    fn identity_for(&self, operation: &'static str) -> Result<ProducerIdentity> {
        self.core().settings().identity.ok_or_else(|| {
            let why = "the producer was not built with `idempotent(true)`".to_owned();
            Error::new(operation, Cause::InvalidArgument(why))
        })
    }
}

/// Receipts, of numbered records or others.
impl TopicProducer {
    #[inline]
    pub(super) fn receipt(&self, sent: &Sent) -> Receipt {
        Receipt {
            topic: self.lanes().topic_name().clone(),
            partition: sent.partition,
            offset: sent.appended.base_offset,
            leader_epoch: sent.appended.epoch,
            timestamp: MaybeTimestamp::of(sent.max_timestamp),
            sequence: sent.appended.sequence,
            is_duplicate: sent.appended.is_duplicate,
        }
    }

    pub(super) fn batch_receipt(&self, sent: &Sent) -> BatchReceipt {
        BatchReceipt {
            topic: self.lanes().topic_name().clone(),
            partition: sent.partition,
            base_offset: sent.appended.base_offset,
            end_offset: sent.appended.end_offset,
            leader_epoch: sent.appended.epoch,
            max_timestamp: sent.max_timestamp,
            base_sequence: sent.appended.sequence,
            is_duplicate: sent.appended.is_duplicate,
        }
    }
}
