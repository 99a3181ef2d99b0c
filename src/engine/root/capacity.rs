//! How much a root may hold, so that none of its files outgrows what an open reads.
//!
//! The state log and the checkpoints of a root are read whole, up to a limit. Whatever has been
//! recorded must be read again: a topic or partitions whose facts might not fit, at their most, are
//! refused before anything is written. A state is allowed half the limit, so that a log of it that
//! has just been begun anew always has room to grow by more than any one frame.
//!
//! Asked by the state log, under its lock, before facts that make topics or partitions.

use super::fact::Fact;
use super::state::RootState;
use crate::error::{Cause, Error, Result};
use crate::log::checkpoint::MOST_SMALL;

/// The most that the facts of one partition take: each kind that tells an offset, and a run of
/// leadership for itself.
const MOST_OF_PARTITION: u64 = 6 * (1 + 16 + 4 + 8) + (1 + 16 + 4 + 4 + 1);

/// A line of a root's checkpoint at its longest: the topic, its partition, an offset.
const MOST_OF_LINE: u64 = 249 + 1 + 10 + 1 + 19 + 1;

// a checkpoint of as many partitions as a state may have is read again as well
const _: () = assert!(MOST_SMALL as u64 / 2 / MOST_OF_PARTITION * MOST_OF_LINE < MOST_SMALL as u64);

/// What the facts of a state may come to, kept beside it.
#[derive(Debug)]
pub(super) struct Capacity {
    limit: u64,
    /// At most so much: what was deleted since it was last counted is still in it.
    held: u64,
}

impl Capacity {
    pub(super) fn of(state: &RootState, limit: u64) -> Self {
        Capacity { limit, held: most_of(state) }
    }

    /// The longest the state log may get.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Takes in what `facts` add to `state`.
    ///
    /// # Errors
    /// `TooLarge` where that might get too long to be read; nothing is taken in then.
    pub(super) fn admit(&mut self, state: &RootState, facts: &[Fact]) -> Result<()> {
        let added: u64 = facts.iter().map(|fact| growth(state, fact)).sum();
        let most = self.limit / 2;
        if added == 0 || self.held + added <= most {
            self.held += added;
            return Ok(());
        }
        self.held = most_of(state);
        let size = self.held + added;
        if size > most {
            let what = "what is recorded of all topics and partitions";
            return Err(Error::new("record facts", Cause::TooLarge { what, size, limit: most }));
        }
        self.held = size;
        Ok(())
    }
}

fn len_of(fact: &Fact) -> u64 {
    let mut bytes = Vec::new();
    fact.encode(&mut bytes);
    bytes.len() as u64
}

fn most_of(state: &RootState) -> u64 {
    let topics = state.snapshot_topics().map(|fact| growth(&RootState::default(), &fact));
    let deleted = state.snapshot_deleted().map(|fact| len_of(&fact));
    topics.chain(deleted).sum()
}

/// What a fact adds that makes a topic or partitions; others are within what was counted for those.
fn growth(state: &RootState, fact: &Fact) -> u64 {
    match fact {
        Fact::TopicCreated { partitions, .. } => {
            len_of(fact) + u64::from(*partitions) * MOST_OF_PARTITION
        }
        Fact::TopicAltered { id, .. } => {
            let config = state.topic(*id).map(|topic| topic.config.clone()).unwrap_or_default();
            let before = len_of(&Fact::TopicAltered { id: *id, config });
            len_of(fact).saturating_sub(before)
        }
        Fact::PartitionsAdded { id, total } => {
            let there = state.topic(*id).map_or(0, |topic| topic.partitions.len() as u64);
            u64::from(*total).saturating_sub(there) * MOST_OF_PARTITION
        }
        _ => 0,
    }
}
