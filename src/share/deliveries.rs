//! What one record of a share group goes through: its phase, and the one function that moves it.
//!
//! A record that is not finished is available, due later, behind an earlier one of its key, leased,
//! out of deliveries, or owed to the dead-letter topic. Who ends a lease says which: a move by any
//! other lease, or of what is not leased, is refused and changes nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::dead_letters::Death;
use crate::error::{Cause, Error};
use crate::ids::Offset;
use crate::time::Timestamp;

/// Who has been given records, and by which take; never used twice while the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LeaseId {
    pub(crate) member: u64,
    pub(crate) take: u64,
}

/// When a record is to be handed out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// On the monotonic clock: what counts while the process runs.
    pub(super) at: Duration,
    /// By the wall, and so long after it was said: what counts after a restart.
    pub(super) wall: Timestamp,
    pub(super) delay: Duration,
}

/// How a record that is not finished stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Available,
    /// An earlier record of its key is not finished.
    Behind,
    Parked(Due),
    Leased {
        lease: LeaseId,
        deadline: Duration,
    },
    /// It has been handed out as often as it may: only what becomes of it is left to do.
    Exhausted,
    /// It is never handed out again, and open until its dead letter is durable.
    Owed(Death),
}

/// How a record is finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finished {
    Acknowledged,
    Archived,
}

/// What the holder of a lease says of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// It is done.
    Ack,
    /// It is to be handed out again, so long from now at the earliest.
    Release { delay: Duration },
    /// It is never to be handed out again.
    Reject,
}

/// The same with what went wrong, for the dead letter the record may become.
#[derive(Clone, Debug)]
pub(crate) struct Word {
    pub(crate) how: Resolution,
    pub(crate) error: Option<Arc<str>>,
}

impl From<Resolution> for Word {
    fn from(how: Resolution) -> Self {
        Word { how, error: None }
    }
}

/// Why the holder of a lease was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LeaseFault {
    #[error("it was never handed out")]
    NeverTaken,
    #[error("its lease has expired, or was given up; it is not leased now")]
    NotLeased,
    #[error("its lease has expired, or was given up; another one holds it")]
    Stale,
    #[error("it is finished")]
    Finished,
    #[error("it is acknowledged")]
    Acknowledged,
    #[error("it was rejected, or handed out as often as it may")]
    Archived,
}

impl LeaseFault {
    pub(crate) fn into_error(self, operation: &'static str, offset: Offset) -> Error {
        let text = format!("the record cannot be settled: {self}");
        Error::new(operation, Cause::InvalidRecordState(text)).at_offset(offset)
    }
}

/// What may happen to a record that is not finished.
#[derive(Clone, Copy, Debug)]
pub(super) enum Move {
    Take {
        lease: LeaseId,
        deadline: Duration,
    },
    /// The holder's word; `due` where it is to come back later.
    Settle {
        lease: LeaseId,
        how: Settle,
    },
    Extend {
        lease: LeaseId,
        deadline: Duration,
    },
    /// The clock shows `now`.
    Tick {
        now: Duration,
    },
}

/// The holder's word, with its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settle {
    Ack,
    Release(Option<Due>),
    Reject,
    /// It is to become a dead letter.
    Bury(Death),
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    To(Phase),
    Done(Finished),
}

impl Phase {
    /// The phase after a move, for a record that was handed out `count` times and may be `most`
    /// times. The one transition function.
    pub(super) fn after(self, step: Move, count: u16, most: u16) -> Result<Moved, LeaseFault> {
        let given_up = if count >= most { Phase::Exhausted } else { Phase::Available };
        match (self, step) {
            (Phase::Available, Move::Take { lease, deadline }) => {
                Ok(Moved::To(Phase::Leased { lease, deadline }))
            }
            (Phase::Leased { lease, .. }, Move::Settle { lease: by, how }) if lease == by => {
                Ok(match how {
                    Settle::Ack => Moved::Done(Finished::Acknowledged),
                    Settle::Reject => Moved::Done(Finished::Archived),
                    Settle::Bury(death) => Moved::To(Phase::Owed(death)),
                    Settle::Release(Some(due)) if count < most => Moved::To(Phase::Parked(due)),
                    Settle::Release(_) => Moved::To(given_up),
                })
            }
            (Phase::Leased { lease, .. }, Move::Extend { lease: by, deadline }) if lease == by => {
                Ok(Moved::To(Phase::Leased { lease, deadline }))
            }
            (Phase::Leased { deadline, .. }, Move::Tick { now }) if deadline <= now => {
                Ok(Moved::To(given_up))
            }
            (Phase::Parked(due), Move::Tick { now }) if due.at <= now => Ok(Moved::To(given_up)),
            (phase, Move::Tick { .. }) => Ok(Moved::To(phase)),
            (
                Phase::Leased { .. },
                Move::Settle { .. } | Move::Extend { .. } | Move::Take { .. },
            ) => Err(LeaseFault::Stale),
            (Phase::Owed(_), _) => Err(LeaseFault::Archived),
            (Phase::Behind, _) if count == 0 => Err(LeaseFault::NeverTaken),
            (_, _) => Err(LeaseFault::NotLeased),
        }
    }
}

impl Finished {
    pub(super) fn fault(self) -> LeaseFault {
        match self {
            Finished::Acknowledged => LeaseFault::Acknowledged,
            Finished::Archived => LeaseFault::Archived,
        }
    }
}
