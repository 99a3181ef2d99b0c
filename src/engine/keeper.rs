//! The keeper of every log under a store: facts about them go into the root's state log.
//!
//! Many partitions, one write: whoever collects facts hands them over together.

use super::root::Root;
use super::root::fact::Fact;
use crate::error::Result;
use crate::log::{Durable, Keeper, LogFact, LogId};
use std::sync::Arc;

/// Keeps facts about logs in the state log of the root.
#[derive(Debug)]
pub(super) struct RootKeeper(pub(super) Arc<Root>);

impl Keeper for RootKeeper {
    fn record(&self, facts: &[(LogId, LogFact)], durable: Durable) -> Result<()> {
        let facts: Vec<Fact> = facts
            .iter()
            .map(|(id, fact)| {
                let (id, partition) = (id.topic, id.partition);
                match *fact {
                    LogFact::RecoveryPoint(offset) => Fact::RecoveryPoint { id, partition, offset },
                    LogFact::LogStart(offset) => Fact::LogStart { id, partition, offset },
                    LogFact::Compacted(offset) => Fact::Compacted { id, partition, offset },
                    LogFact::SyncFailed(offset) => Fact::SyncFailed { id, partition, offset },
                }
            })
            .collect();
        self.0.log().record(&facts, durable)
    }
}
