//! The ids of one topic's window, as its logs say: no I/O, no clock.
//!
//! Of two records under one id the one with the later timestamp counts, so that it does not matter
//! in which order partitions are read. A record of a transaction counts from the moment it is
//! written, but stays open until its marker: aborted, it was never there. What has left the window
//! by a sixteenth of it, or by 10 s, is forgotten; before that a clock that steps back finds it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::ids::{LeaderEpoch, Offset, PartitionId, ProducerId};
use crate::time::Timestamp;

/// A record that was sent under an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) partition: PartitionId,
    pub(crate) offset: Offset,
    pub(crate) epoch: Option<LeaderEpoch>,
    pub(crate) timestamp: Timestamp,
    /// Whose transaction it belongs to, while that is open.
    pub(crate) open: Option<ProducerId>,
}

/// What is known of a topic's ids.
#[derive(Debug)]
pub(super) struct Window {
    length: Duration,
    seen: HashMap<Arc<[u8]>, Seen>,
    /// May name ids that have gone or come again.
    by_age: BinaryHeap<Reverse<(Timestamp, Arc<[u8]>)>>,
    /// The ids of what is open.
    open: HashMap<(PartitionId, ProducerId), Vec<Arc<[u8]>>>,
    /// The newest that was forgotten.
    forgotten: Option<Timestamp>,
}

impl Window {
    pub(super) fn new(length: Duration) -> Self {
        Window {
            length,
            seen: HashMap::new(),
            by_age: BinaryHeap::new(),
            open: HashMap::new(),
            forgotten: None,
        }
    }

    /// The oldest timestamp that is within it.
    pub(super) fn start(&self, now: Timestamp) -> Timestamp {
        now.saturating_sub(self.length)
    }

    pub(super) fn length(&self) -> Duration {
        self.length
    }

    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether something was forgotten that is within the window now: the clock went back.
    pub(super) fn lacks(&self, now: Timestamp) -> bool {
        self.forgotten.is_some_and(|newest| newest >= self.start(now))
    }

    /// Takes in a record of the log.
    pub(super) fn note(&mut self, id: &[u8], record: Seen, now: Timestamp) {
        let start = self.start(now);
        if record.timestamp < start {
            return;
        }
        let known = self.seen.get_key_value(id).map(|(key, known)| (key.clone(), *known));
        if let Some((_, known)) = known
            && known.timestamp >= start
            && known.open.is_none()
            && (record.open.is_some() || known.timestamp > record.timestamp)
        {
            return; // what is open may come to nothing
        }
        let key = known.map_or_else(|| Arc::from(id), |(key, _)| key);
        if let Some(producer) = record.open {
            self.open.entry((record.partition, producer)).or_default().push(key.clone());
        }
        self.by_age.push(Reverse((record.timestamp, key.clone())));
        self.seen.insert(key, record);
    }

    /// Takes in the end of a producer's transaction in a partition.
    pub(super) fn end(&mut self, partition: PartitionId, producer: ProducerId, committed: bool) {
        for id in self.open.remove(&(partition, producer)).into_iter().flatten() {
            let Some(known) = self.seen.get_mut(&id) else { continue };
            if known.open != Some(producer) || known.partition != partition {
                continue;
            }
            if committed {
                known.open = None;
            } else {
                self.seen.remove(&id);
            }
        }
    }

    /// The record under an id, if it is within the window.
    pub(super) fn find(&self, id: &[u8], now: Timestamp) -> Option<Seen> {
        self.seen.get(id).copied().filter(|seen| seen.timestamp >= self.start(now))
    }

    /// Lets go of an id whose record has gone from the log.
    pub(super) fn remove(&mut self, id: &[u8]) {
        self.seen.remove(id);
    }

    /// Forgets what left the window a while ago; with `all` everything that has left it.
    pub(super) fn forget(&mut self, now: Timestamp, all: bool) {
        let slack = (self.length / 16).min(Duration::from_secs(10));
        let start = self.start(now);
        let before = if all { start } else { start.saturating_sub(slack) };
        while let Some(Reverse((timestamp, _))) = self.by_age.peek()
            && *timestamp < before
        {
            let Some(Reverse((timestamp, id))) = self.by_age.pop() else { return };
            self.forgotten = self.forgotten.max(Some(timestamp));
            if self.seen.get(&id).is_some_and(|seen| seen.timestamp == timestamp) {
                self.seen.remove(&id);
            }
        }
    }
}
