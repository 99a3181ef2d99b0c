//! The cause inside an error: one variant for each text there is.
//!
//! An enum of this crate's own, derived with `thiserror`, that no signature carries: callers see
//! its kind. It can be said again, since one failure may end many calls.

use std::io;
use std::sync::Arc;

use super::ErrorKind;
use super::refused::Refused;
use crate::ids::{LeaderEpoch, Offset};

/// The cause inside an [`Error`]: as many variants as there are different texts.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cause {
    #[error("{0}")]
    Io(#[source] io::Error),
    #[error("{0}")]
    NotBegun(#[source] io::Error),
    #[error("no space: {0}")]
    Full(String),
    #[error("poisoned by an earlier failure: {0}")]
    Poisoned(Arc<str>),
    #[error("corrupt: {0}")]
    Corrupt(String),
    #[error("offset {requested} is out of range {start}..{end}")]
    OutOfRange { requested: Offset, start: Offset, end: Offset },
    #[error("the log was truncated: epoch {epoch} ended at offset {epoch_end}")]
    LogTruncated { epoch: LeaderEpoch, epoch_end: Offset },
    #[error("no {what} named `{name}`")]
    NotFound { what: &'static str, name: String },
    #[error("topic `{name}` exists: {difference}")]
    AlreadyExists { name: String, difference: String },
    #[error("`{name}` is not a legal {what} name: {reason}")]
    InvalidName { what: &'static str, name: String, reason: &'static str },
    #[error("{key} = {value}: {allowed}")]
    InvalidConfig { key: String, value: String, allowed: String },
    #[error("{0}")]
    InvalidArgument(String),
    #[error("{0}")]
    InvalidRecord(Refused),
    #[error("{what} takes {size} bytes, the limit is {limit}")]
    TooLarge { what: &'static str, size: u64, limit: u64 },
    #[error("the batch is too large: {0}")]
    BatchTooLarge(Refused),
    #[error("{0}")]
    Expands(String),
    #[error("{0} is closed")]
    Closed(&'static str),
    #[error("locked: {0}")]
    Locked(String),
    #[error("this process was forked from the one that opened the store")]
    Forked,
    #[error("not a directory of this library: {0}")]
    NotAStore(String),
    #[error("format version {found} is newer than {known}, the newest this build reads")]
    NewerVersion { found: u32, known: u32 },
    #[error("{0}")]
    Unsupported(String),
    #[error("offset {requested} is below the committed offset {committed}")]
    OffsetRegression { committed: Offset, requested: Offset },
    #[error("fenced: {0}")]
    Fenced(String),
    #[error("out of order sequence: {0}")]
    OutOfOrderSequence(String),
    #[error("invalid producer epoch: {0}")]
    InvalidProducerEpoch(String),
    #[error("leader epoch {found} is fenced: {least} is the least that may lead")]
    FencedLeaderEpoch { found: LeaderEpoch, least: LeaderEpoch },
    #[error("not the leader: the host leads this partition and has made no leader of this replica")]
    NotLeader,
    #[error("unexpected offset: {0}")]
    UnexpectedOffset(String),
    #[error("invalid transaction state: {0}")]
    InvalidTransactionState(String),
    #[error("invalid record state: {0}")]
    InvalidRecordState(String),
    #[error("{0}")]
    PolicyViolation(String),
    #[error("{0}")]
    GroupNotEmpty(String),
    #[error("{0}")]
    AlreadyResolved(String),
    #[error("{0} panicked")]
    Panicked(&'static str),
    #[error("the store was opened read-only")]
    ReadOnly,
    #[error("it was broken off")]
    Cancelled,
}

impl Cause {
    pub(super) fn again(&self) -> Cause {
        match self {
            Cause::Io(error) => Cause::Io(io_again(error)),
            Cause::NotBegun(error) => Cause::NotBegun(io_again(error)),
            Cause::Full(what) => Cause::Full(what.clone()),
            Cause::Poisoned(first) => Cause::Poisoned(first.clone()),
            Cause::Corrupt(what) => Cause::Corrupt(what.clone()),
            Cause::OutOfRange { requested, start, end } => {
                Cause::OutOfRange { requested: *requested, start: *start, end: *end }
            }
            Cause::LogTruncated { epoch, epoch_end } => {
                Cause::LogTruncated { epoch: *epoch, epoch_end: *epoch_end }
            }
            Cause::NotFound { what, name } => Cause::NotFound { what, name: name.clone() },
            Cause::AlreadyExists { name, difference } => {
                Cause::AlreadyExists { name: name.clone(), difference: difference.clone() }
            }
            Cause::InvalidName { what, name, reason } => {
                Cause::InvalidName { what, name: name.clone(), reason }
            }
            Cause::InvalidConfig { key, value, allowed } => Cause::InvalidConfig {
                key: key.clone(),
                value: value.clone(),
                allowed: allowed.clone(),
            },
            Cause::InvalidArgument(what) => Cause::InvalidArgument(what.clone()),
            Cause::InvalidRecord(refused) => Cause::InvalidRecord(refused.clone()),
            Cause::BatchTooLarge(refused) => Cause::BatchTooLarge(refused.clone()),
            Cause::TooLarge { what, size, limit } => {
                Cause::TooLarge { what, size: *size, limit: *limit }
            }
            Cause::Expands(what) => Cause::Expands(what.clone()),
            Cause::Closed(what) => Cause::Closed(what),
            Cause::Locked(holder) => Cause::Locked(holder.clone()),
            Cause::Forked => Cause::Forked,
            Cause::NotAStore(what) => Cause::NotAStore(what.clone()),
            Cause::NewerVersion { found, known } => {
                Cause::NewerVersion { found: *found, known: *known }
            }
            Cause::Unsupported(what) => Cause::Unsupported(what.clone()),
            Cause::OffsetRegression { committed, requested } => {
                Cause::OffsetRegression { committed: *committed, requested: *requested }
            }
            Cause::Fenced(why) => Cause::Fenced(why.clone()),
            Cause::OutOfOrderSequence(why) => Cause::OutOfOrderSequence(why.clone()),
            Cause::InvalidProducerEpoch(why) => Cause::InvalidProducerEpoch(why.clone()),
            Cause::FencedLeaderEpoch { found, least } => {
                Cause::FencedLeaderEpoch { found: *found, least: *least }
            }
            Cause::NotLeader => Cause::NotLeader,
            Cause::UnexpectedOffset(why) => Cause::UnexpectedOffset(why.clone()),
            Cause::InvalidTransactionState(why) => Cause::InvalidTransactionState(why.clone()),
            Cause::InvalidRecordState(why) => Cause::InvalidRecordState(why.clone()),
            Cause::PolicyViolation(why) => Cause::PolicyViolation(why.clone()),
            Cause::GroupNotEmpty(why) => Cause::GroupNotEmpty(why.clone()),
            Cause::AlreadyResolved(why) => Cause::AlreadyResolved(why.clone()),
            Cause::Panicked(what) => Cause::Panicked(what),
            Cause::ReadOnly => Cause::ReadOnly,
            Cause::Cancelled => Cause::Cancelled,
        }
    }

    pub(super) fn kind(&self) -> ErrorKind {
        match self {
            Cause::Io(_) | Cause::NotBegun(_) => ErrorKind::Io,
            Cause::Full(_) => ErrorKind::Full,
            Cause::Poisoned(_) => ErrorKind::Poisoned,
            Cause::Corrupt(_) => ErrorKind::Corrupt,
            Cause::OutOfRange { .. } => ErrorKind::OffsetOutOfRange,
            Cause::LogTruncated { .. } => ErrorKind::LogTruncated,
            Cause::NotFound { .. } => ErrorKind::NotFound,
            Cause::AlreadyExists { .. } => ErrorKind::AlreadyExists,
            Cause::InvalidName { .. } => ErrorKind::InvalidName,
            Cause::InvalidConfig { .. } => ErrorKind::InvalidConfig,
            Cause::InvalidArgument(_) => ErrorKind::InvalidArgument,
            Cause::InvalidRecord(_) => ErrorKind::InvalidRecord,
            Cause::TooLarge { .. } | Cause::BatchTooLarge(_) | Cause::Expands(_) => {
                ErrorKind::TooLarge
            }
            Cause::Closed(_) => ErrorKind::Closed,
            Cause::Locked(_) => ErrorKind::Locked,
            Cause::Forked => ErrorKind::Forked,
            Cause::NotAStore(_) => ErrorKind::NotAStore,
            Cause::NewerVersion { .. } => ErrorKind::NewerVersion,
            Cause::Unsupported(_) => ErrorKind::Unsupported,
            Cause::OffsetRegression { .. } => ErrorKind::OffsetRegression,
            Cause::Fenced(_) => ErrorKind::Fenced,
            Cause::OutOfOrderSequence(_) => ErrorKind::OutOfOrderSequence,
            Cause::InvalidProducerEpoch(_) => ErrorKind::InvalidProducerEpoch,
            Cause::FencedLeaderEpoch { .. } => ErrorKind::FencedLeaderEpoch,
            Cause::NotLeader => ErrorKind::NotLeader,
            Cause::UnexpectedOffset(_) => ErrorKind::UnexpectedOffset,
            Cause::InvalidTransactionState(_) => ErrorKind::InvalidTransactionState,
            Cause::InvalidRecordState(_) => ErrorKind::InvalidRecordState,
            Cause::PolicyViolation(_) => ErrorKind::PolicyViolation,
            Cause::GroupNotEmpty(_) => ErrorKind::GroupNotEmpty,
            Cause::AlreadyResolved(_) => ErrorKind::AlreadyResolved,
            Cause::Panicked(_) => ErrorKind::Panicked,
            Cause::ReadOnly => ErrorKind::ReadOnly,
            Cause::Cancelled => ErrorKind::Cancelled,
        }
    }
}

fn io_again(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// A sync that found no handle to be made through: it never began, so nothing is in doubt that was
/// not before, unlike after any sync that failed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotBegun(#[source] pub(crate) io::Error);

/// Errors that say the machine is short of something now, not that anything is wrong.
pub(super) fn is_passing(error: &io::Error) -> bool {
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    const EFBIG: i32 = 27;
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted
            | io::ErrorKind::WouldBlock
            | io::ErrorKind::OutOfMemory
            | io::ErrorKind::FileTooLarge
            | io::ErrorKind::WriteZero
    ) || matches!(error.raw_os_error(), Some(EMFILE | ENFILE | EFBIG))
}
