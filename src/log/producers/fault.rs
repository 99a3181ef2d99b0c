//! Why a batch is refused for its producer's sake: found before anything is written, so that the
//! outcome is never in doubt. The same batch would be refused again, which is why none of it is
//! retriable but what waits for a transaction to end. Turned into the library's error by the log.

use crate::error::{Cause, Error};
use crate::ids::{ProducerEpoch, ProducerId, Sequence};

/// Why a batch is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProducerFault {
    #[error("producer {producer} sends sequence {found}, {expected} is next")]
    OutOfOrder { producer: ProducerId, expected: Sequence, found: Sequence },
    #[error("producer {producer} of epoch {found} is fenced by epoch {current}")]
    Fenced { producer: ProducerId, current: ProducerEpoch, found: ProducerEpoch },
    #[error("producer {producer} has a transaction open, the batch belongs to none")]
    TransactionOpen { producer: ProducerId },
    #[error(
        "the marker for producer {producer} is of coordinator epoch {found}, one of {current} was \
         here"
    )]
    CoordinatorFenced { producer: ProducerId, current: i32, found: i32 },
    #[error("the batch of producer {producer} has no sequence")]
    NoSequence { producer: ProducerId },
    #[error("{most} producers have transactions open in this partition, no more are taken")]
    Crowded { most: usize },
}

impl ProducerFault {
    /// The error of a call that would have written the batch.
    pub(crate) fn into_error(self, operation: &'static str) -> Error {
        let text = self.to_string();
        Error::new(
            operation,
            match self {
                ProducerFault::OutOfOrder { .. } => Cause::OutOfOrderSequence(text),
                ProducerFault::Fenced { .. } => Cause::InvalidProducerEpoch(text),
                ProducerFault::TransactionOpen { .. } => Cause::InvalidTransactionState(text),
                ProducerFault::CoordinatorFenced { .. } => Cause::Fenced(text),
                ProducerFault::NoSequence { .. } => Cause::InvalidArgument(text),
                ProducerFault::Crowded { .. } => Cause::Full(text),
            },
        )
    }
}
