//! The keeper of every log under a store: facts about them go into the root's state log.
//!
//! Many partitions, one write: whoever collects facts hands them over together. Several may do so
//! at once, and who was asked first need not come first: what only rises is not lowered by a word
//! that comes late. A truncation alone lowers it.

use super::root::Root;
use super::root::fact::Fact;
use super::root::state::{PartitionState, RootState};
use crate::error::Result;
use crate::ids::Offset;
use crate::log::{Durable, Keeper, LogFact, LogId};
use std::sync::Arc;

/// Keeps facts about logs in the state log of the root.
#[derive(Debug)]
pub(super) struct RootKeeper(pub(super) Arc<Root>);

impl Keeper for RootKeeper {
    fn record(&self, facts: &[(LogId, LogFact)], durable: Durable) -> Result<()> {
        self.0.log().record_made(|state| made_of(facts, state), durable)
    }
}

/// The facts of the state log that say what is new in `facts`.
fn made_of(facts: &[(LogId, LogFact)], state: &RootState) -> Vec<Fact> {
    let mut made = Vec::with_capacity(facts.len());
    let mut lowered = None; // by a truncation, which is of one log
    for (log, fact) in facts {
        let (id, partition) = (log.topic, log.partition);
        let kept = state.topic(id).and_then(|topic| topic.partition(partition));
        let most = lowered.filter(|(cut, _)| cut == log).map(|(_, most)| most);
        let rises = |offset: Offset, recorded: fn(&PartitionState) -> Offset| {
            let recorded = kept.map_or(Offset::ZERO, recorded);
            offset >= most.map_or(recorded, |most| recorded.min(most))
        };
        match *fact {
            LogFact::RecoveryPoint(offset) if rises(offset, |kept| kept.recovery_point) => {
                made.push(Fact::RecoveryPoint { id, partition, offset });
            }
            LogFact::Compacted(offset) if rises(offset, |kept| kept.compacted) => {
                made.push(Fact::Compacted { id, partition, offset });
            }
            LogFact::Sparse(offset) if rises(offset, |kept| kept.sparse) => {
                made.push(Fact::Sparse { id, partition, offset });
            }
            LogFact::RecoveryPoint(_) | LogFact::Compacted(_) | LogFact::Sparse(_) => {}
            LogFact::LogStart(offset) => made.push(Fact::LogStart { id, partition, offset }),
            LogFact::HighWatermark(offset) => {
                made.push(Fact::HighWatermark { id, partition, offset });
            }
            LogFact::SyncFailed(offset) => made.push(Fact::SyncFailed { id, partition, offset }),
            LogFact::Lowered(most) => {
                lowered = Some((*log, most));
                made.extend(kept.into_iter().flat_map(|kept| down_to(most, *log, kept)));
            }
        }
    }
    made
}

/// What is recorded of a log above `most`, as it is to be then.
fn down_to(most: Offset, log: LogId, kept: &PartitionState) -> Vec<Fact> {
    let (id, partition) = (log.topic, log.partition);
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
}
