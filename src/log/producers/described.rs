//! One producer of a partition, as programs are told of it: numbers only, as a snapshot of that
//! moment would have them. It holds nothing of the log, and goes stale as the log goes on. Made by
//! the log's doors.

use super::snapshot::Recorded;
use crate::ids::{Offset, Sequence};
use crate::record::ProducerIdentity;
use crate::time::Timestamp;

/// What a partition knows of one producer: [`Log::producers`](crate::Log::producers).
///
/// ```
/// use std::sync::Arc;
/// use tidelog::{Log, ProducerEpoch, ProducerId, ProducerIdentity, Record, Sequence};
/// let log = Log::builder("/wal").disk(Arc::new(tidelog::disk::MemoryDisk::new())).open()?;
/// let us = ProducerIdentity::new(ProducerId::new(7), ProducerEpoch::new(0));
/// log.append_produced(&[Record::new("a")], us, Sequence::FIRST)?;
/// let known = log.producers();
/// assert_eq!((known[0].identity(), known[0].last_sequence()), (us, Some(Sequence::FIRST)));
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerState(Recorded);

impl ProducerState {
    pub(crate) fn of(recorded: Recorded) -> Self {
        ProducerState(recorded)
    }

    /// Its id and its epoch. See [`ProducerState`] for an example of all of these.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, ProducerEpoch, ProducerId, ProducerIdentity, Record, Sequence};
    /// # let log = Log::builder("/wal").disk(Arc::new(tidelog::disk::MemoryDisk::new())).open()?;
    /// # let us = ProducerIdentity::new(ProducerId::new(7), ProducerEpoch::new(0));
    /// log.append_produced(&[Record::new("a")], us, Sequence::FIRST)?;
    /// assert_eq!(log.producers()[0].identity(), us);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn identity(&self) -> ProducerIdentity {
        ProducerIdentity::new(self.0.producer, self.0.epoch)
    }

    /// The sequence of its last record; `None` where only a marker is known.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, ProducerEpoch, ProducerId, ProducerIdentity, Record, Sequence};
    /// # let log = Log::builder("/wal").disk(Arc::new(tidelog::disk::MemoryDisk::new())).open()?;
    /// # let us = ProducerIdentity::new(ProducerId::new(7), ProducerEpoch::new(0));
    /// log.append_produced(&[Record::new("a")], us, Sequence::FIRST)?;
    /// assert_eq!(log.producers()[0].last_sequence(), Some(Sequence::FIRST));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn last_sequence(&self) -> Option<Sequence> {
        self.0.last_sequence
    }

    /// The timestamp of its last batch or marker.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, ProducerEpoch, ProducerId, ProducerIdentity, Record, Sequence};
    /// # let log = Log::builder("/wal").disk(Arc::new(tidelog::disk::MemoryDisk::new())).open()?;
    /// # let us = ProducerIdentity::new(ProducerId::new(7), ProducerEpoch::new(0));
    /// let receipt = log.append_produced(&[Record::new("a")], us, Sequence::FIRST)?;
    /// assert_eq!(log.producers()[0].last_timestamp(), receipt.timestamp());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn last_timestamp(&self) -> Option<Timestamp> {
        self.0.timestamp
    }

    /// The epoch of the coordinator that ended its last transaction, if one has.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, ProducerEpoch, ProducerId, ProducerIdentity, Record, Sequence};
    /// # let log = Log::builder("/wal").disk(Arc::new(tidelog::disk::MemoryDisk::new())).open()?;
    /// # let us = ProducerIdentity::new(ProducerId::new(7), ProducerEpoch::new(0));
    /// log.append_produced(&[Record::new("a")], us, Sequence::FIRST)?;
    /// assert_eq!(log.producers()[0].coordinator_epoch(), None);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn coordinator_epoch(&self) -> Option<i32> {
        self.0.coordinator_epoch
    }

    /// Where its open transaction begins, if it has one.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, ProducerEpoch, ProducerId, ProducerIdentity, Record, Sequence};
    /// # let log = Log::builder("/wal").disk(Arc::new(tidelog::disk::MemoryDisk::new())).open()?;
    /// # let us = ProducerIdentity::new(ProducerId::new(7), ProducerEpoch::new(0));
    /// log.append_produced(&[Record::new("a")], us, Sequence::FIRST)?;
    /// assert_eq!(log.producers()[0].transaction_start(), None);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn transaction_start(&self) -> Option<Offset> {
        self.0.transaction_start
    }
}
