//! The keeper of every log under a store: facts about them go into the root's state log.
//!
//! Many partitions, one write: whoever collects facts hands them over together.

use super::root::Root;
use super::root::fact::Fact;
use crate::error::Result;
use crate::ids::Offset;
use crate::log::{Durable, Keeper, LogFact, LogId};
use std::sync::Arc;

/// Keeps facts about logs in the state log of the root.
#[derive(Debug)]
pub(super) struct RootKeeper(pub(super) Arc<Root>);

impl Keeper for RootKeeper {
    fn record(&self, facts: &[(LogId, LogFact)], durable: Durable) -> Result<()> {
        let facts: Vec<Fact> = facts
            .iter()
            .flat_map(|(log, fact)| {
                let (id, partition) = (log.topic, log.partition);
                let fact = match *fact {
                    LogFact::RecoveryPoint(offset) => Fact::RecoveryPoint { id, partition, offset },
                    LogFact::LogStart(offset) => Fact::LogStart { id, partition, offset },
                    LogFact::Compacted(offset) => Fact::Compacted { id, partition, offset },
                    LogFact::Sparse(offset) => Fact::Sparse { id, partition, offset },
                    LogFact::HighWatermark(offset) => Fact::HighWatermark { id, partition, offset },
                    LogFact::SyncFailed(offset) => Fact::SyncFailed { id, partition, offset },
                    LogFact::Lowered(offset) => return self.lowered(*log, offset),
                };
                vec![fact]
            })
            .collect();
        self.0.log().record(&facts, durable)
    }
}

impl RootKeeper {
    /// What is recorded of a log above `most`, as it is to be then.
    fn lowered(&self, log: LogId, most: Offset) -> Vec<Fact> {
        let (id, partition) = (log.topic, log.partition);
        self.0.log().with_state(|state| {
            let kept = state.topic(id).and_then(|topic| topic.partition(partition));
            let Some(kept) = kept else { return Vec::new() };
            let mut facts = Vec::new();
            if kept.recovery_point > most {
                facts.push(Fact::RecoveryPoint { id, partition, offset: most });
            }
            if kept.sparse > most {
                facts.push(Fact::Sparse { id, partition, offset: most });
            }
            if kept.high_watermark > most {
                facts.push(Fact::HighWatermark { id, partition, offset: most });
            }
            if kept.compacted > most {
                facts.push(Fact::Compacted { id, partition, offset: most });
            }
            facts
        })
    }
}
