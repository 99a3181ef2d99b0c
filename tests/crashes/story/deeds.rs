//! What a host does and is told, a deed each: something begun may have taken effect, something that
//! returned is a promise, and a failure that said that nothing was done takes the first back.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidelog::{LeaderEpoch, TopicId};

use super::Batch;
use super::work::Word;
use crate::common::golden::Payload;

#[derive(Clone, Debug)]
pub enum Deed {
    Creating {
        topic: &'static str,
    },
    Created {
        topic: &'static str,
        id: Option<TopicId>,
        partitions: u32,
    },
    Deleting {
        topic: &'static str,
    },
    Deleted {
        topic: &'static str,
    },
    /// A failure said that nothing was created.
    NotCreated {
        topic: &'static str,
    },
    /// A failure said that nothing was deleted; so it is with all that are called `Not`.
    NotDeleted {
        topic: &'static str,
    },
    Sending {
        topic: &'static str,
        partition: u32,
        batch: Batch,
    },
    /// The batch lies at this offset.
    Sent {
        topic: &'static str,
        partition: u32,
        number: u64,
        offset: i64,
        epoch: LeaderEpoch,
    },
    /// A failure said that nothing of it was written.
    NotSent {
        topic: &'static str,
        partition: u32,
        number: u64,
    },
    /// All that was sent below is promised to survive a power cut.
    Durable {
        topic: &'static str,
        partition: u32,
        end: i64,
    },
    AllDurable,
    /// The start may rise so far.
    Trimming {
        topic: &'static str,
        partition: u32,
        to: i64,
    },
    Trimmed {
        topic: &'static str,
        partition: u32,
        start: i64,
    },
    NotTrimmed {
        topic: &'static str,
        partition: u32,
    },
    Retaining,
    Committing {
        group: &'static str,
        topic: &'static str,
        partition: u32,
        offset: i64,
    },
    Committed {
        group: &'static str,
        topic: &'static str,
        partition: u32,
        offset: i64,
        power: bool,
    },
    NotCommitted {
        group: &'static str,
        topic: &'static str,
        partition: u32,
    },
    Forgetting {
        group: &'static str,
    },
    NotForgot {
        group: &'static str,
    },
    Forgot {
        group: &'static str,
    },
    /// A transaction has begun. What is part of it counts from `Deciding` on, all of it or nothing.
    Beginning {
        who: &'static str,
    },
    Joining {
        who: &'static str,
        topic: &'static str,
        partition: u32,
        batch: Batch,
    },
    Joined {
        who: &'static str,
        number: u64,
        offset: i64,
        epoch: LeaderEpoch,
    },
    Staging {
        who: &'static str,
        group: &'static str,
        topic: &'static str,
        partition: u32,
        offset: i64,
    },
    Deciding {
        who: &'static str,
    },
    Decided {
        who: &'static str,
    },
    /// Nothing of it will ever count.
    Dropped {
        who: &'static str,
    },
    /// All batches that reach the offset may go, or all there are, and then it begins there.
    Cutting {
        topic: &'static str,
        partition: u32,
        to: i64,
        is_whole: bool,
    },
    Cut {
        topic: &'static str,
        partition: u32,
    },
    NotCut {
        topic: &'static str,
        partition: u32,
    },
    /// Offsets without records may come.
    Skipping {
        topic: &'static str,
        partition: u32,
    },
    /// Of each key but the last record may go, from the beginning on.
    Thinning {
        topic: &'static str,
        partition: u32,
    },
    /// Something is said of a piece of work that is owed.
    Work {
        number: u64,
        word: Word,
    },
    /// A copy of all there is now is being made.
    BackingUp,
    BackedUp,
    /// These lay there, durable, before the first open.
    Found {
        topic: &'static str,
        records: Arc<BTreeMap<i64, Payload>>,
    },
}
