//! The lanes of one topic, which grow with it, and the first failure among them.
//!
//! A lane is made when its partition is first seen and never goes or moves, so a send finds it by a
//! few loads and no lock; that of the first partition, the only one of many topics, lies apart.
//! What a send looks at lies on one cache line. The lanes belong to one topic for good: a topic
//! made again under the name has lanes of its own.

use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock, Weak};

use super::core::Core;
use super::lane::Lane;
use super::topic_name::TopicName;
use crate::engine::Topic;
use crate::error::{Cause, Error, Result};
use crate::ids::PartitionId;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// Shelves, each twice as long as the one before: places for 2^24 - 1 partitions behind the first,
/// far more than a topic may have.
const SHELVES: usize = 24;

/// Places for lanes, empty until the partition is seen.
type Shelf = Box<[OnceLock<Arc<Lane>>]>;

/// All lanes of a topic.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Lanes {
    /// How many lanes there are.
    made: AtomicUsize,
    topic: Arc<Topic>,
    first: OnceLock<Arc<Lane>>,
    name: TopicName,
    core: Weak<Core>,
    shelves: [OnceLock<Shelf>; SHELVES],
    growing: Mutex<()>,
    failures: Arc<Failures>,
}

/// Where the lane of a partition stands: its shelf and its place there; nowhere the first.
#[inline]
fn place(index: usize) -> Option<(usize, usize)> {
    let shelf = index.checked_ilog2()?;
    Some((shelf as usize, index - (1 << shelf)))
}

impl Lanes {
    pub(super) fn new(topic: Arc<Topic>, core: Weak<Core>) -> Self {
        Lanes {
            name: TopicName::of(topic.name()),
            topic,
            core,
            first: OnceLock::new(),
            shelves: [const { OnceLock::new() }; SHELVES],
            made: AtomicUsize::new(0),
            growing: Mutex::new(()),
            failures: Arc::default(),
        }
    }

    pub(super) fn topic(&self) -> &Arc<Topic> {
        &self.topic
    }

    /// Its name, for receipts.
    #[inline]
    pub(super) fn topic_name(&self) -> &TopicName {
        &self.name
    }

    pub(super) fn failures(&self) -> &Failures {
        &self.failures
    }

    /// How many partitions a partitioner may choose from now.
    #[inline]
    pub(super) fn count(&self) -> Result<NonZeroU32> {
        let count = u32::try_from(self.grown()).ok().and_then(NonZeroU32::new);
        count.ok_or_else(|| self.missing(PartitionId::new(0)))
    }

    /// Whether there is but one, so that nothing is to be chosen.
    #[inline]
    pub(super) fn are_single(&self) -> bool {
        self.made.load(Ordering::Acquire) == 1
    }

    /// The lane of the only partition, where there is but one.
    #[inline(always)] // see `walk`
    pub(super) fn only(&self) -> Option<&Arc<Lane>> {
        let single = self.are_single() && self.topic.partition_count() == 1;
        if single { self.first.get() } else { None }
    }

    /// The lane of a partition.
    #[inline]
    pub(super) fn lane(&self, id: PartitionId) -> Result<&Arc<Lane>> {
        let lane = if id.index() < self.grown() { self.get(id.index()) } else { None };
        lane.ok_or_else(|| self.missing(id))
    }

    /// How many lanes there are, now that every partition has one.
    #[inline]
    fn grown(&self) -> usize {
        let made = self.made.load(Ordering::Acquire);
        if made == self.topic.partition_count() { made } else { self.grow() }
    }

    #[inline]
    fn get(&self, index: usize) -> Option<&Arc<Lane>> {
        match place(index) {
            None => self.first.get(),
            Some((shelf, place)) => self.shelves.get(shelf)?.get()?.get(place)?.get(),
        }
    }

    /// The lanes made so far. Whoever makes one later sees all that the caller did before this:
    /// an ending producer misses no lane that still takes records.
    pub(super) fn made(&self) -> Vec<Arc<Lane>> {
        let _one_at_a_time = self.growing.lock();
        let made = self.made.load(Ordering::Acquire);
        (0..made).filter_map(|index| self.get(index)).cloned().collect()
    }

    /// Whether the ending of a batch is still to be told: it lingers, is under way or waits for a
    /// sync.
    pub(super) fn owes_answers(&self) -> bool {
        self.made().iter().any(|lane| lane.owes_answers())
    }

    #[cold]
    fn grow(&self) -> usize {
        let _one_at_a_time = self.growing.lock();
        let partitions = self.topic.partitions();
        for index in self.made.load(Ordering::Acquire)..partitions.len() {
            let place = match place(index) {
                None => &self.first,
                Some((shelf, place)) => {
                    let Some(shelf_lock) = self.shelves.get(shelf) else { break };
                    let empty = || (0..1 << shelf).map(|_| OnceLock::new()).collect();
                    &shelf_lock.get_or_init(empty)[place]
                }
            };
            let partition = partitions[index].clone();
            let (name, core) = (self.name.clone(), self.core.clone());
            let lane = Lane::new(partition, name, core, self.failures.clone());
            let _ = place.set(Arc::new(lane)); // set but once
            self.made.store(index + 1, Ordering::Release);
        }
        self.made.load(Ordering::Acquire)
    }

    #[cold]
    fn missing(&self, id: PartitionId) -> Error {
        let name = format!("{}-{id}", self.topic.name());
        Error::new("find partition", Cause::NotFound { what: "partition", name })
    }
}

/// What the next flush has to report: the first batch that failed since the last one.
#[derive(Debug, Default)]
pub(super) struct Failures {
    first: Mutex<Option<Error>>,
}

impl Failures {
    pub(super) fn note(&self, error: &Error) {
        let error = error.again();
        self.first.lock().get_or_insert(error);
    }

    /// Remembers what another would report, which goes on doing so.
    pub(super) fn note_first_of(&self, other: &Failures) {
        let first = other.first.lock().as_ref().map(Error::again);
        if let Some(error) = first {
            self.note(&error);
        }
    }

    pub(super) fn take(&self) -> Option<Error> {
        self.first.lock().take()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_its_own_place() {
        assert_eq!(place(0), None);
        let places: Vec<_> = (1..9).filter_map(place).collect();
        assert_eq!(places, [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2), (2, 3), (3, 0)]);
        assert_eq!(place((1 << SHELVES) - 1), Some((SHELVES - 1, (1 << (SHELVES - 1)) - 1)));
    }
}
