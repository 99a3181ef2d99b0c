//! Producer ids, each given out once in the life of a store.
//!
//! They are drawn in blocks: that a block is taken is durable before the first of it is used, so a
//! crash loses the rest of a block and never gives an id out again. The first block begins above
//! every producer that any partition remembers: in a root that Kafka wrote they are the broker's.
//!
//! Numbers come from outside too, in batches and identities of others'. Those from [`FAR`] on are
//! never drawn, so none of them can be had twice, and none leaves nothing for all others.

use std::ops::Range;
use std::sync::Arc;

use super::core::Engine;
use super::partition::Partition;
use super::root::fact::Fact;
use crate::error::{Cause, Error, Result};
use crate::ids::ProducerId;
use crate::log::Durable;
use crate::sync::Mutex;

/// Ids taken at a time.
const BLOCK: i64 = 1000;
/// Where the ids end that are drawn here: at a million a second that takes 146,000 years.
const FAR: i64 = 1 << 62;
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
        let end = first.saturating_add(BLOCK);
        if end > FAR {
            let text = "the producer ids are used up".to_owned();
            return Err(Error::new(DRAW, Cause::Unsupported(text)));
        }
        log.record(&[Fact::ProducerIds { end }], Durable::Now)?;
        *block = Some(first + 1..end);
        Ok(ProducerId::new(first))
    }

    /// Sees to it that ids which come from outside are given out to nobody else.
    pub(crate) fn reserve_producer_ids(
        &self,
        ids: impl IntoIterator<Item = ProducerId>,
    ) -> Result<()> {
        let near = ids.into_iter().map(ProducerId::get).filter(|id| *id < FAR);
        let Some(highest) = near.max() else { return Ok(()) };
        let owner = self.owner(DRAW)?;
        let mut block = owner.producer_ids.0.lock();
        let log = owner.root.log();
        if highest < log.with_state(|state| state.free_producer_ids()) {
            return Ok(());
        }
        let end = highest + 1;
        log.record(&[Fact::ProducerIds { end }], Durable::Now)?;
        *block = None;
        Ok(())
    }

    fn highest_producer_id(&self) -> Option<ProducerId> {
        let topics = self.topics();
        let partitions = topics.iter().flat_map(|topic| topic.partitions().to_vec());
        let far = ProducerId::new(FAR);
        let known = |partition: Arc<Partition>| partition.log().ok()?.highest_producer_below(far);
        partitions.filter_map(known).max()
    }
}
