//! A handle's lane among a topic's priority lanes: partitions are chosen within it.
//!
//! The partitioner sees a lane as a topic of its own, named `TOPIC#LANE`, with as many partitions
//! as the lane has: keys stay in one partition of each lane, and what it remembers of one lane is
//! not mixed with another's. A handle that says nothing sends with the default priority.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::partitioner;
use super::topic::TopicProducer;
use crate::config::Priority;
use crate::engine::Topic;
use crate::error::{Cause, Error, Result};
use crate::ids::PartitionId;
use crate::priority::PriorityLanes;
use crate::record::Record;

/// One lane of a topic.
#[derive(Debug)]
pub(super) struct Band {
    lanes: PriorityLanes,
    lane: u32,
    /// What the partitioner calls it.
    name: String,
}

impl Band {
    /// `None` for a topic without lanes.
    pub(super) fn of(topic: &Topic, priority: Priority) -> Option<Arc<Band>> {
        let lanes = PriorityLanes::of(&topic.config())?;
        let lane = lanes.lane(priority);
        Some(Arc::new(Band { lanes, lane, name: format!("{}#{lane}", topic.name()) }))
    }
}

impl TopicProducer {
    /// The same handle for records of a priority: all it sends, by whichever call, goes to the
    /// topic's lane for it, unless a call names a partition. Records of one lane and key keep their
    /// order; those of different lanes overtake each other.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a topic without lanes
    /// ([`TopicConfig::priority_lanes`](crate::TopicConfig::priority_lanes)).
    ///
    /// ```
    /// # use tidelog::{Priority, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// store.ensure_topic("jobs", TopicConfig::new().partitions(3).priority_lanes(3))?;
    /// let jobs = store.producer().build()?.topic("jobs")?;
    /// jobs.send(Record::new("rebuild the index"))?; // priority 4
    /// jobs.with_priority(Priority::HIGHEST)?.send(Record::new("charge the card"))?;
    /// let mut consumer = store.consumer("workers").subscribe(["jobs"]).build()?;
    /// let records = consumer.try_poll()?;
    /// let first = records.iter().next().unwrap();
    /// assert_eq!(first.value(), Some(&b"charge the card"[..]));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn with_priority(&self, priority: impl Into<Priority>) -> Result<TopicProducer> {
        match Band::of(self.lanes().topic(), priority.into()) {
            Some(band) => Ok(self.in_band(band)),
            None => {
                let text = format!("topic `{}` has no priority lanes", self.name());
                Err(Error::new("choose lane", Cause::InvalidArgument(text)))
            }
        }
    }

    #[cold]
    pub(super) fn choose_in(
        &self,
        band: &Band,
        record: &Record<'_>,
        partitions: NonZeroU32,
    ) -> Result<PartitionId> {
        let Some(width) = band.lanes.width(band.lane, partitions) else {
            let text = format!("topic `{}` has no partition for its lane", self.name());
            return Err(Error::new("choose partition", Cause::InvalidArgument(text)));
        };
        let partitioner = &*self.core().settings().partitioner;
        let place = match width {
            NonZeroU32::MIN => PartitionId::new(0),
            _ => partitioner::choose(partitioner, &band.name, record.key_bytes(), width)?,
        };
        Ok(band.lanes.partition(band.lane, place.get()))
    }

    /// Tells the partitioner what it chose, in the words it knows.
    #[cold]
    pub(super) fn tell_taken_in(&self, band: &Band, partition: PartitionId, bytes: usize) {
        let partitioner = &*self.core().settings().partitioner;
        let place = PartitionId::new(band.lanes.place(partition));
        partitioner::report_taken(partitioner, &band.name, place, bytes);
    }
}
