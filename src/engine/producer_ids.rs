//! Producer ids, each given out once in the life of a store.
//!
//! They are drawn in blocks: that a block is taken is durable before the first of it is used, so a
//! crash loses the rest of a block and never gives an id out again. The first block begins above
//! every producer that any partition remembers: in a root that Kafka wrote they are the broker's.

use std::ops::Range;

use super::core::Engine;
use super::root::fact::Fact;
use crate::error::{Cause, Error, Result};
use crate::ids::ProducerId;
use crate::log::Durable;
use crate::sync::Mutex;

/// Ids taken at a time.
const BLOCK: i64 = 1000;
const DRAW: &str = "draw producer id";

/// What is left of the block at hand.
#[derive(Debug, Default)]
pub(super) struct ProducerIds(Mutex<Option<Range<i64>>>);

impl Engine {
    /// An id that nobody had before. Blocks for a sync once in a thousand times.
    pub(crate) fn draw_producer_id(&self) -> Result<ProducerId> {
        let owner = self.owner(DRAW)?;
        let mut block = owner.producer_ids.0.lock();
        if let Some(next) = block.as_mut().and_then(Range::next) {
            return Ok(ProducerId::new(next));
        }
        let log = owner.root.log();
        let free = log.with_state(|state| state.free_producer_ids());
        let remembered = if block.is_none() { self.highest_producer_id() } else { None };
        let first = free.max(remembered.map_or(0, |highest| highest.get().saturating_add(1)));
        let end = first.checked_add(BLOCK).ok_or_else(used_up)?;
        log.record(&[Fact::ProducerIds { end }], Durable::Now)?;
        *block = Some(first + 1..end);
        Ok(ProducerId::new(first))
    }

    /// Sees to it that an id which comes from outside is given out to nobody else.
    pub(crate) fn reserve_producer_id(&self, id: ProducerId) -> Result<()> {
        let owner = self.owner(DRAW)?;
        let mut block = owner.producer_ids.0.lock();
        let log = owner.root.log();
        if id.get() < log.with_state(|state| state.free_producer_ids()) {
            return Ok(());
        }
        let end = id.get().checked_add(1).ok_or_else(used_up)?;
        log.record(&[Fact::ProducerIds { end }], Durable::Now)?;
        *block = None;
        Ok(())
    }

    fn highest_producer_id(&self) -> Option<ProducerId> {
        let topics = self.topics();
        let partitions = topics.iter().flat_map(|topic| topic.partitions().to_vec());
        partitions.filter_map(|partition| partition.log().ok()?.highest_producer_id()).max()
    }
}

fn used_up() -> Error {
    Error::new(DRAW, Cause::Unsupported("the producer ids are used up".to_owned()))
}
