//! The lanes of a topic: from priorities to lanes, from lanes to partitions and back.
//!
//! Lane 0 is the lowest. Partition `p` of a topic with `n` lanes belongs to lane `p % n`, however
//! many partitions are added later; so a lane is never empty, nor is a record ever moved to
//! another. Arithmetic only, for producers and both kinds of consumers.

use std::num::NonZeroU32;

use crate::config::{Priority, TopicConfig};
use crate::ids::PartitionId;

/// The lanes of a topic that has more than one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PriorityLanes(NonZeroU32);

impl PriorityLanes {
    pub(crate) fn of(config: &TopicConfig) -> Option<Self> {
        NonZeroU32::new(config.priority_lanes).filter(|lanes| lanes.get() > 1).map(PriorityLanes)
    }

    /// The lane of a record.
    pub(crate) fn lane(self, priority: Priority) -> u32 {
        u32::from(priority.get()) * self.0.get() / Priority::COUNT
    }

    /// The lane a partition belongs to.
    pub(crate) fn lane_of(self, partition: PartitionId) -> u32 {
        partition.get() % self.0
    }

    /// The lowest priority whose records lie in a partition: what it counts as.
    pub(crate) fn priority_of(self, partition: PartitionId) -> Priority {
        let number = (self.lane_of(partition) * Priority::COUNT).div_ceil(self.0.get());
        Priority::new(u8::try_from(number).unwrap_or(u8::MAX))
    }

    /// How many of a topic's partitions belong to a lane; `None` where there are none.
    pub(crate) fn width(self, lane: u32, partitions: NonZeroU32) -> Option<NonZeroU32> {
        NonZeroU32::new(partitions.get().saturating_sub(lane).div_ceil(self.0.get()))
    }

    /// The partition at a place of a lane.
    pub(crate) fn partition(self, lane: u32, place: u32) -> PartitionId {
        PartitionId::new(lane + place * self.0.get())
    }

    /// The place of a partition in its lane.
    pub(crate) fn place(self, partition: PartitionId) -> u32 {
        partition.get() / self.0
    }
}
