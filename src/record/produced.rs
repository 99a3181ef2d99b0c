//! Batches that carry their producer: who sends them, and which sequences their records have.
//!
//! A batch is wrapped in [`Produced`] on its way to the log. Which sequence it gets is the log's
//! word, for it alone knows the order of appends: the next one, unless the sender names one. The
//! log stamps what it decided into the header, where the batch's checksum covers it.

use std::fmt;

use super::encode::{AppendBatch, Stamp, Sum};
use super::filter::TagBits;
use super::pieces::Pieces;
use crate::ids::{ProducerEpoch, ProducerId, Sequence};
use crate::time::Timestamp;

/// Who an idempotent producer is: its id and the epoch of that.
///
/// Plain numbers, to be kept by whoever wants to go on as the same producer after a crash.
///
/// ```
/// use tidelog::{ProducerEpoch, ProducerId, ProducerIdentity};
/// let identity = ProducerIdentity::new(ProducerId::new(7), ProducerEpoch::new(0));
/// assert_eq!(identity.to_string(), "7:0");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProducerIdentity {
    id: ProducerId,
    epoch: ProducerEpoch,
}

impl ProducerIdentity {
    /// The identity with this id and epoch, both 0 or above.
    ///
    /// ```
    /// # use tidelog::{ProducerEpoch, ProducerId, ProducerIdentity};
    /// let identity = ProducerIdentity::new(ProducerId::new(7), ProducerEpoch::new(0));
    /// assert_eq!(identity.id().get(), 7);
    /// ```
    pub const fn new(id: ProducerId, epoch: ProducerEpoch) -> Self {
        ProducerIdentity { id, epoch }
    }

    /// The producer id.
    ///
    /// ```
    /// # use tidelog::{ProducerEpoch, ProducerId, ProducerIdentity};
    /// let identity = ProducerIdentity::new(ProducerId::new(7), ProducerEpoch::new(0));
    /// assert_eq!(identity.id(), ProducerId::new(7));
    /// ```
    pub const fn id(&self) -> ProducerId {
        self.id
    }

    /// The epoch: of two that share an id the higher one fences the other.
    ///
    /// ```
    /// # use tidelog::{ProducerEpoch, ProducerId, ProducerIdentity};
    /// let identity = ProducerIdentity::new(ProducerId::new(7), ProducerEpoch::new(1));
    /// assert_eq!(identity.epoch(), ProducerEpoch::new(1));
    /// ```
    pub const fn epoch(&self) -> ProducerEpoch {
        self.epoch
    }

    pub(crate) fn is_legal(&self) -> bool {
        self.id.get() >= 0 && self.epoch.get() >= 0
    }
}

impl fmt::Display for ProducerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.id, self.epoch)
    }
}

/// Who sends a batch, and as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProducerClaim {
    pub(crate) identity: ProducerIdentity,
    /// The first record's; `None` for whichever is next.
    pub(crate) sequence: Option<Sequence>,
    /// Whether it belongs to the producer's transaction, which it begins if none is open.
    pub(crate) transactional: bool,
}

impl ProducerClaim {
    /// The next batch of a producer, outside of a transaction.
    pub(crate) fn next(identity: ProducerIdentity) -> Self {
        ProducerClaim { identity, sequence: None, transactional: false }
    }
}

/// What the log decided of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProducerStamp {
    pub(crate) identity: ProducerIdentity,
    /// A marker has none.
    pub(crate) first: Option<Sequence>,
    pub(crate) transactional: bool,
}

/// A batch, and whose it is where that is to be written down.
#[derive(Debug)]
pub(crate) struct Produced<'a, B> {
    pub(crate) batch: &'a B,
    pub(crate) claim: Option<ProducerClaim>,
}

impl<B: AppendBatch> AppendBatch for Produced<'_, B> {
    #[inline]
    fn size(&self) -> usize {
        self.batch.size()
    }

    #[inline]
    fn count(&self) -> u32 {
        self.batch.count()
    }

    #[inline]
    fn max_timestamp(&self) -> Option<Timestamp> {
        self.batch.max_timestamp()
    }

    #[inline]
    fn claim(&self) -> Option<ProducerClaim> {
        self.claim
    }

    fn tags(&self) -> Option<TagBits> {
        self.batch.tags()
    }

    #[inline(always)] // see `producer::walk`
    fn write(&self, stamp: Stamp, out: &mut [u8], sum: impl Sum) {
        self.batch.write(stamp, out, sum);
    }

    fn pieces(&self, stamp: Stamp, memory: Vec<u8>, sum: impl Sum) -> Pieces<'_> {
        self.batch.pieces(stamp, memory, sum)
    }
}
