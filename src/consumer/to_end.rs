//! Reading to a definite end: the ends as they were when the reading began.
//!
//! It ends where the logs ended then, whatever is appended meanwhile, and also where no record
//! lies before that end: behind gaps, markers and emptied batches the position moves on by itself.
//! It never waits.

use std::collections::VecDeque;
use std::sync::Arc;

use super::fetch::Read;
use super::handle::Consumer;
use crate::engine::Partition;
use crate::error::Result;
use crate::ids::Offset;
use crate::record::Records;

/// Reads up to the ends that the partitions had when it was made; see
/// [`Consumer::read_to_end`].
///
/// ```
/// use tidelog::{Record, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("orders", TopicConfig::new())?;
/// store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
/// let mut reader = store.reader().assign([("orders", 0)]).build()?;
/// let mut count = 0;
/// for records in reader.read_to_end()? {
///     count += records?.len();
/// }
/// assert_eq!(count, 1);
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing is read until it is iterated"]
pub struct ReadToEnd<'a> {
    consumer: &'a mut Consumer,
    /// Partitions that are not at their end yet.
    left: VecDeque<Left>,
}

/// A partition that is not at its end yet. Its slot may be another's after a rebalance.
#[derive(Debug)]
struct Left {
    index: usize,
    partition: Arc<Partition>,
    end: Offset,
}

impl Consumer {
    /// Reads every assigned partition that is not paused from its position to the end it has now,
    /// gaps or not, and then ends. Each item is as much as one poll returns; items after an error
    /// there are none, and a new call goes on from the positions. Records come and positions move
    /// as with [`poll`](Consumer::poll), which is also where the errors are listed. In a group this
    /// call and each item count as polls: partitions that go meanwhile are read no further, those
    /// that come are left for later.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
    /// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// let all: Result<Vec<_>, _> = consumer.read_to_end()?.collect();
    /// assert_eq!(all?.len(), 1);
    /// assert_eq!(consumer.read_to_end()?.count(), 0); // nothing new
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn read_to_end(&mut self) -> Result<ReadToEnd<'_>> {
        self.engine.check_open("read to end")?;
        let _polling = self.begin_polling()?;
        self.take_changes()?;
        self.forget_fetched();
        self.failed = None;
        let indexes: Vec<usize> = self
            .assignment
            .iter()
            .filter(|(_, slot)| !slot.paused)
            .map(|(index, _)| index)
            .collect();
        let mut left = VecDeque::new();
        for index in indexes {
            self.resolve(index)?;
            if self.is_undecided(index) {
                return Err(self.undecided("read to end", index));
            }
            let Some(slot) = self.assignment.get(index) else { continue };
            let end = self.bound(slot).map_err(|error| slot.named(error))?;
            if slot.next().is_some_and(|at| at.offset < end) {
                left.push_back(Left { index, partition: slot.partition.clone(), end });
            }
        }
        Ok(ReadToEnd { consumer: self, left })
    }
}

impl ReadToEnd<'_> {
    /// The consumer, to commit between two items. Partitions it moves or pauses are read to the
    /// same end from where they are then.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
    /// # let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// let mut reading = consumer.read_to_end()?;
    /// while let Some(records) = reading.next() {
    ///     assert_eq!(records?.len(), 1);
    ///     reading.consumer().commit()?;
    /// }
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn consumer(&mut self) -> &mut Consumer {
        self.consumer
    }

    fn read_some(&mut self) -> Result<Option<Records>> {
        let consumer = &mut *self.consumer;
        let _polling = consumer.begin_poll()?;
        consumer.take_changes()?;
        self.left.retain(|left| {
            let slot = consumer.assignment.get(left.index);
            slot.is_some_and(|slot| Arc::ptr_eq(&slot.partition, &left.partition))
        });
        while let Some(left) = self.left.pop_front() {
            let (index, end) = (left.index, left.end);
            match consumer.read(index, Some(end)) {
                Ok(Read::Drained) => continue,
                Ok(Read::Full) => {
                    self.left.push_front(left);
                    break;
                }
                Ok(Read::More) => {
                    let next = consumer.assignment.get(index).and_then(|slot| slot.next());
                    if next.is_some_and(|at| at.offset < end) {
                        self.left.push_back(left);
                    }
                }
                Err(error) => {
                    // what came before the error goes out first
                    if !consumer.stage.has_records() {
                        consumer.move_positions();
                        return Err(error);
                    }
                    self.left.push_front(left);
                    break;
                }
            }
            if consumer.is_full() {
                break;
            }
        }
        let records = self.consumer.hand_out();
        // none of them, and more to look through: a filter has left out as much as one call may
        Ok((!records.is_empty() || !self.left.is_empty()).then_some(records))
    }
}

impl Iterator for ReadToEnd<'_> {
    type Item = Result<Records>;

    fn next(&mut self) -> Option<Result<Records>> {
        if self.left.is_empty() {
            return None;
        }
        let read = self.read_some();
        if read.is_err() {
            self.left.clear();
        }
        read.transpose()
    }
}
