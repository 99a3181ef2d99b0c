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
    seen: HashMap<Arc<[u8]>, Known>,
    /// May name ids that have gone or come again.
    by_age: BinaryHeap<Reverse<(Timestamp, Arc<[u8]>)>>,
    /// What is open, with its ids: it counts beside what else is under them once it is committed.
    open: HashMap<(PartitionId, ProducerId), Vec<Open>>,
    /// The newest that was forgotten, or that was too old to be read.
    forgotten: Option<Timestamp>,
}

/// A record of a transaction that has not ended, by its id.
type Open = (Arc<[u8]>, Seen);

/// What counts under an id.
#[derive(Debug)]
struct Known {
    record: Seen,
    /// The newest other record under the id, before which it stands; open ones aside.
    hidden: Option<Timestamp>,
    /// Whether it stands before one that was open.
    hides_open: bool,
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
    fn start(&self, now: Timestamp) -> Timestamp {
        now.saturating_sub(self.length)
    }

    /// The oldest timestamp that is kept.
    fn kept(&self, now: Timestamp) -> Timestamp {
        self.start(now).saturating_sub((self.length / 16).min(Duration::from_secs(10)))
    }

    /// From which timestamp on a log is to be read; what is older counts as forgotten, so that a
    /// clock that steps back to it has the log read again.
    pub(super) fn begin(&mut self, now: Timestamp) -> Timestamp {
        let kept = self.kept(now);
        self.forgotten = self.forgotten.max(Some(kept.saturating_sub(Duration::from_millis(1))));
        kept
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
        if record.timestamp < self.kept(now) {
            self.forgotten = self.forgotten.max(Some(record.timestamp));
            return;
        }
        let key = self.seen.get_key_value(id).map_or_else(|| Arc::from(id), |(key, _)| key.clone());
        if let Some(producer) = record.open {
            let open = self.open.entry((record.partition, producer)).or_default();
            open.push((key.clone(), record));
        }
        let (mut hidden, mut hides_open) = (None, false);
        if let Some(known) = self.seen.get_mut(id) {
            let other = known.record;
            if other.timestamp >= start && other.open.is_none() {
                if record.open.is_some() {
                    known.hides_open = true;
                    return; // it may come to nothing
                }
                if other.timestamp > record.timestamp {
                    known.hidden = known.hidden.max(Some(record.timestamp));
                    return;
                }
            }
            (hidden, hides_open) = (known.hidden, known.hides_open);
            if other.open.is_none() {
                hidden = hidden.max(Some(other.timestamp));
            } else if (other.partition, other.offset) != (record.partition, record.offset) {
                hides_open = true;
            }
        }
        self.by_age.push(Reverse((record.timestamp, key.clone())));
        self.seen.insert(key, Known { record, hidden, hides_open });
    }

    /// Takes in the end of a producer's transaction in a partition.
    pub(super) fn end(
        &mut self,
        (partition, producer): (PartitionId, ProducerId),
        committed: bool,
        now: Timestamp,
    ) {
        for (id, record) in self.open.remove(&(partition, producer)).into_iter().flatten() {
            if committed {
                self.note(&id, Seen { open: None, ..record }, now);
            } else if self.seen.get(&id).is_some_and(|known| known.record == record) {
                self.remove(&id);
            }
        }
    }

    /// The record under an id, if it is within the window.
    pub(super) fn find(&self, id: &[u8], now: Timestamp) -> Option<Seen> {
        let record = self.seen.get(id)?.record;
        (record.timestamp >= self.start(now)).then_some(record)
    }

    /// Lets go of a record that has gone. Of those it stood before the newest that is open counts
    /// from now on; others count as forgotten, and are found when the logs are read again. An open
    /// one would not be: there, too, it comes to stand behind what is aborted.
    pub(super) fn remove(&mut self, id: &[u8]) {
        let Some(known) = self.seen.remove(id) else { return };
        self.forgotten = self.forgotten.max(known.hidden);
        if !known.hides_open {
            return;
        }
        let gone = known.record;
        let mut newest: Option<Open> = None;
        for open in self.open.values_mut() {
            open.retain(|(other, record)| &**other != id || *record != gone);
            let own = open.iter().filter(|(other, _)| &**other == id).cloned();
            newest = newest.into_iter().chain(own).max_by_key(|(_, record)| record.timestamp);
        }
        if let Some((id, record)) = newest {
            self.by_age.push(Reverse((record.timestamp, id.clone())));
            self.seen.insert(id, Known { record, hidden: None, hides_open: true });
        }
    }

    /// Forgets what left the window a while ago; with `all` everything that has left it.
    pub(super) fn forget(&mut self, now: Timestamp, all: bool) {
        let before = if all { self.start(now) } else { self.kept(now) };
        while let Some(Reverse((timestamp, _))) = self.by_age.peek()
            && *timestamp < before
        {
            let Some(Reverse((timestamp, id))) = self.by_age.pop() else { return };
            self.forgotten = self.forgotten.max(Some(timestamp));
            if self.seen.get(&id).is_some_and(|known| known.record.timestamp == timestamp) {
                self.remove(&id);
            }
        }
    }
}
