//! Where what a send looks at lies, from the handle on: each line behind a pointer is one that who
//! goes round thousands of topics waits for, so all are asked for at once; see `disk::near`.
//!
//! A handle knows them of its topic's only partition, a lane of its own. What comes behind the
//! writer lock is fetched there, but for the page that the record is going to be stored into: what
//! finds that page's place may be in no cache either, so the look at it begins here. It is known of
//! plain sends of one record, from the one before.

use super::lanes::Lanes;
use crate::disk::{Near, SharedNear};
use crate::engine::PartitionNear;
use crate::ids::PartitionId;

/// Where everything of a topic with one partition lies.
#[derive(Clone, Debug)]
pub(super) struct TopicNear {
    /// On the page that the next record is stored into.
    page: SharedNear,
    lanes: Near,
    topic: Near,
    lane: Near,
    partition: Near,
    behind: PartitionNear,
}

impl TopicNear {
    /// `None` where a record may go to one of several partitions, as far as is known by now.
    pub(super) fn of(lanes: &Lanes) -> Option<Self> {
        if lanes.topic().partition_count() != 1 {
            return None; // and no lane is made of those that may never be sent to
        }
        let lane = lanes.lane(PartitionId::new(0)).ok()?;
        Some(TopicNear {
            page: SharedNear::default(),
            lanes: Near::of(lanes),
            topic: lanes.topic().near(),
            lane: Near::of(&**lane),
            partition: Near::of(&**lane.partition()),
            behind: lane.near(),
        })
    }

    /// Has all of it fetched.
    #[inline(always)] // see `producer::walk`
    pub(super) fn fetch(&self) {
        self.page.get().fetch();
        self.lanes.fetch();
        self.topic.fetch();
        self.lane.fetch();
        self.partition.fetch();
        self.behind.fetch();
    }

    /// A record was stored, and where the next one goes is known.
    #[inline(always)] // see `producer::walk`
    pub(super) fn follow(&self, next: Near) {
        self.page.follow(next);
    }
}
