//! Where what a send looks at lies, from the handle on: each line behind a pointer is one that who
//! goes round thousands of topics waits for, so all are asked for at once; see `disk::near`.
//!
//! A handle knows them of its topic's only partition, a lane of its own. What comes behind the
//! writer lock is fetched there.

use super::lanes::Lanes;
use crate::disk::Near;
use crate::engine::PartitionNear;
use crate::ids::PartitionId;

/// Where everything of a topic with one partition lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct TopicNear {
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
            lanes: Near::of(lanes),
            topic: lanes.topic().near(),
            lane: Near::of(&**lane),
            partition: Near::of(&**lane.partition()),
            behind: lane.near(),
        })
    }

    /// Has all of it fetched.
    #[inline(always)] // see `producer::walk`
    pub(super) fn fetch(self) {
        self.lanes.fetch();
        self.topic.fetch();
        self.lane.fetch();
        self.partition.fetch();
        self.behind.fetch();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::{Record, Store, TopicConfig};

    #[test]
    fn of_a_topic_with_one_partition_alone_it_is_known_where_a_record_goes() {
        let store = Store::in_memory().unwrap();
        let one = store.ensure_topic("one", TopicConfig::new());
        let two = store.ensure_topic("two", TopicConfig::new().partitions(2));
        one.and(two).unwrap();
        let producer = store.producer().build().unwrap();
        let (one, two) = (producer.topic("one").unwrap(), producer.topic("two").unwrap());
        assert!(one.near.is_some() && two.near.is_none());
        // another partition comes later: what is known of the first is of no harm
        store.add_partitions("one", 3).unwrap();
        for (topic, partitions) in [(one, 3), (two, 2)] {
            let sent: std::collections::HashSet<_> = (0..90)
                .map(|key: u8| topic.send(Record::new("value").key(&[key])).unwrap().partition())
                .collect();
            assert_eq!(sent.len(), partitions);
        }
    }
}
