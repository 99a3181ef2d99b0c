//! Reading with a filter: what of what was fetched is handed out, how much a call looks through,
//! and what came of it.
//!
//! What a filter leaves out counts as handed out: the position moves over it and a commit covers
//! it. So that a poll ends although nothing matches, it looks through no more than its limit; it
//! then returns what it has and goes on there the next time. Where the topic keeps tags, stretches
//! that have none of those wanted are passed over without being read.
//!
//! A consumer that waits for some tags is not woken by records that have none of them: so each of
//! its polls looks at every partition that has moved since, not only at what is ready, and what it
//! was not woken for is passed over then.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::assignment::{Position, Step};
use super::builder::ConsumerBuilder;
use super::fetch::Read;
use super::handle::Consumer;
use super::options::check_range;
use crate::error::{Cause, Error, Result};
use crate::ids::{Offset, PartitionId};
use crate::log::{Ahead, FetchLimits, Skipped};
use crate::record::{RecordFilter, Records, TagBits, Taken};

/// How much a poll looks through for records that match.
const SCAN_LIMIT: usize = 64 << 20;
/// Bytes that are passed over cost as much as one that is looked at.
const PASSED_OVER: u64 = 64;
/// So many partitions that woke nobody are looked at by a poll.
const MOST_LOOKED_AT: usize = 64;

/// What a consumer is to be given, and what became of it.
#[derive(Debug)]
pub(super) struct Filtering {
    pub(super) filter: Option<RecordFilter>,
    pub(super) scan_limit: usize,
    /// Bytes that were looked through since something was handed out.
    looked_at: usize,
    /// The next place of a partition that a poll looks at although nothing woke it.
    looks_next: usize,
    /// What will have been looked through once the stage is handed out, by slot.
    staged: BTreeMap<usize, PartitionScan>,
    last: Vec<PartitionScan>,
}

impl Default for Filtering {
    fn default() -> Self {
        let (staged, last) = (BTreeMap::new(), Vec::new());
        let (scan_limit, looked_at, looks_next) = (SCAN_LIMIT, 0, 0);
        Filtering { filter: None, scan_limit, looked_at, looks_next, staged, last }
    }
}

/// What one call has looked through in one partition; see [`Consumer::scans`].
///
/// ```
/// use tidelog::{Record, RecordFilter, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("orders", TopicConfig::new())?;
/// store.producer().build()?.topic("orders")?.send(Record::new("hello").tag("sent"))?;
/// let builder = store.consumer("bonus").subscribe(["orders"]);
/// let mut consumer = builder.filter(RecordFilter::tags(["paid"])).build()?;
/// consumer.try_poll()?;
/// for scan in consumer.scans() {
///     println!("{} of {} up to {}", scan.matched(), scan.scanned(), scan.next_offset());
/// }
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionScan {
    topic: Arc<str>,
    partition: PartitionId,
    scanned: u64,
    matched: u64,
    passed_over_bytes: u64,
    next_offset: Offset,
}

impl PartitionScan {
    /// The topic.
    ///
    /// ```
    /// # use tidelog::{Record, RecordFilter, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # store.producer().build()?.topic("orders")?.send(Record::new("hello").tag("sent"))?;
    /// let builder = store.consumer("bonus").subscribe(["orders"]);
    /// let mut consumer = builder.filter(RecordFilter::tags(["paid"])).build()?;
    /// consumer.try_poll()?;
    /// assert_eq!(consumer.scans()[0].topic(), "orders");
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition's number.
    ///
    /// ```
    /// # use tidelog::{Record, RecordFilter, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # store.producer().build()?.topic("orders")?.send(Record::new("hello").tag("sent"))?;
    /// # let builder = store.consumer("bonus").subscribe(["orders"]);
    /// # let mut consumer = builder.filter(RecordFilter::tags(["paid"])).build()?;
    /// consumer.try_poll()?;
    /// assert_eq!(consumer.scans()[0].partition().get(), 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn partition(&self) -> PartitionId {
        self.partition
    }

    /// Records that the filter was asked about.
    ///
    /// ```
    /// # use tidelog::{Record, RecordFilter, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # store.producer().build()?.topic("orders")?.send(Record::new("hello").tag("sent"))?;
    /// # let builder = store.consumer("bonus").subscribe(["orders"]);
    /// # let mut consumer = builder.filter(RecordFilter::tags(["paid"])).build()?;
    /// consumer.try_poll()?;
    /// assert_eq!(consumer.scans()[0].scanned(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn scanned(&self) -> u64 {
        self.scanned
    }

    /// Those of them that it wanted, which the call returned.
    ///
    /// ```
    /// # use tidelog::{Record, RecordFilter, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # store.producer().build()?.topic("orders")?.send(Record::new("hello").tag("sent"))?;
    /// # let builder = store.consumer("bonus").subscribe(["orders"]);
    /// # let mut consumer = builder.filter(RecordFilter::tags(["paid"])).build()?;
    /// consumer.try_poll()?;
    /// assert_eq!(consumer.scans()[0].matched(), 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn matched(&self) -> u64 {
        self.matched
    }

    /// Bytes of log that were passed over without being read, because the topic
    /// [keeps tags](crate::TopicConfig::tag_index) and none that is wanted was among them.
    ///
    /// ```
    /// use tidelog::{Record, RecordFilter, Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.ensure_topic("orders", TopicConfig::new().tag_index(true))?;
    /// store.producer().build()?.topic("orders")?.send(Record::new("hello").tag("sent"))?;
    /// let builder = store.consumer("bonus").subscribe(["orders"]);
    /// let mut consumer = builder.filter(RecordFilter::tags(["paid"])).build()?;
    /// consumer.try_poll()?;
    /// assert!(consumer.scans()[0].passed_over_bytes() > 0);
    /// assert_eq!(consumer.scans()[0].scanned(), 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn passed_over_bytes(&self) -> u64 {
        self.passed_over_bytes
    }

    /// Where the next call goes on. It always lies behind what was looked through, whether anything
    /// matched or not.
    ///
    /// ```
    /// # use tidelog::{Record, RecordFilter, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # store.producer().build()?.topic("orders")?.send(Record::new("hello").tag("sent"))?;
    /// # let builder = store.consumer("bonus").subscribe(["orders"]);
    /// # let mut consumer = builder.filter(RecordFilter::tags(["paid"])).build()?;
    /// consumer.try_poll()?;
    /// assert_eq!(consumer.scans()[0].next_offset().get(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }
}

/// Reading with a filter.
impl ConsumerBuilder {
    /// Returns only records that `filter` wants. The position moves over the others as if they had
    /// been returned, and a commit covers them. What is returned is copied out of the log, so that
    /// few records do not keep the others in memory. `build` refuses a filter of no tags.
    ///
    /// All members of a group should have the same filter: what one passes over is done for the
    /// group. A poll that waits is woken by every append, unless the filter names tags and the
    /// topic [keeps them](crate::TopicConfig::tag_index): then only by records that may have one
    /// (of other tags, one in 64 for each that is named), and by the ends of transactions. The
    /// position moves over what woke nobody with the next polls, each of which looks at 64
    /// partitions in turn. Damage in what is passed over without being read is not met.
    ///
    /// ```
    /// use tidelog::{Record, RecordFilter, Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.ensure_topic("orders", TopicConfig::new())?;
    /// let orders = store.producer().build()?.topic("orders")?;
    /// orders.send(Record::new("1").tag("sent"))?;
    /// orders.send(Record::new("2").tag("paid"))?;
    /// orders.send(Record::new("3"))?;
    ///
    /// let builder = store.consumer("bonus").subscribe(["orders"]);
    /// let mut consumer = builder.filter(RecordFilter::tags(["paid"])).build()?;
    /// assert_eq!(consumer.try_poll()?.len(), 1);
    /// consumer.commit()?;
    /// assert_eq!(consumer.committed("orders", 0)?.unwrap().offset().get(), 3);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn filter(mut self, filter: RecordFilter) -> Self {
        self.filtering.filter = Some(filter);
        self
    }

    /// How many bytes of records one call looks through for records that the filter wants; at least
    /// 1, default 64 MiB. A poll that has looked through them returns what it has, be it nothing,
    /// before its time is over, and the next one goes on there; one fetch may go beyond.
    /// Compressed batches count decompressed, and what is passed over by tags for a 64th.
    ///
    /// ```
    /// # use tidelog::RecordFilter;
    /// # let store = tidelog::Store::in_memory()?;
    /// let builder = store.consumer("bonus").subscribe(["orders"]);
    /// let builder = builder.filter(RecordFilter::tags(["paid"])).scan_limit(8 << 20);
    /// # builder.build()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn scan_limit(mut self, bytes: usize) -> Self {
        self.filtering.scan_limit = bytes;
        self
    }
}

impl Filtering {
    pub(super) fn validate(&self) -> Result<()> {
        if self.filter.as_ref().is_some_and(|filter| !filter.names_something()) {
            let text = "a filter of no tags wants nothing".to_owned();
            return Err(Error::new("build consumer", Cause::InvalidArgument(text)));
        }
        check_range("scan_limit", self.scan_limit, usize::MAX)
    }

    /// The bits of the tags that are wanted; `None` where any is, or there is no filter.
    pub(super) fn tag_bits(&self) -> Option<TagBits> {
        self.filter.as_ref().and_then(RecordFilter::tag_bits)
    }

    /// Whether one call has looked through as much as it may.
    pub(super) fn is_over(&self) -> bool {
        self.looked_at >= self.scan_limit
    }

    fn note(&mut self, bytes: usize) {
        self.looked_at = self.looked_at.saturating_add(bytes.max(1));
    }

    /// The stage is handed out.
    pub(super) fn hand_out(&mut self) {
        if self.filter.is_some() {
            self.looked_at = 0;
            self.last.clear();
            self.last.extend(std::mem::take(&mut self.staged).into_values());
        }
    }

    /// The stage is dropped.
    pub(super) fn forget(&mut self) {
        self.looked_at = 0;
        self.staged.clear();
    }
}

impl Consumer {
    /// What the last call that returned records has looked through, by partition: of a consumer
    /// with a [`filter`](ConsumerBuilder::filter), else nothing. Also where it returned none.
    ///
    /// ```
    /// use tidelog::{Record, RecordFilter, Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.ensure_topic("orders", TopicConfig::new())?;
    /// let orders = store.producer().build()?.topic("orders")?;
    /// orders.send(Record::new("1").tag("sent"))?;
    /// orders.send(Record::new("2").tag("paid"))?;
    /// let builder = store.consumer("bonus").subscribe(["orders"]);
    /// let mut consumer = builder.filter(RecordFilter::tags(["paid"])).build()?;
    /// consumer.try_poll()?;
    /// let scan = &consumer.scans()[0];
    /// assert_eq!((scan.scanned(), scan.matched(), scan.next_offset().get()), (2, 1, 2));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn scans(&self) -> &[PartitionScan] {
        &self.filtering.last
    }

    /// Whether it goes on although it has something: what matches may be a little of what is there.
    pub(super) fn looks_on(&self) -> bool {
        let is_filtered = self.filtering.filter.is_some();
        let looked_at = self.filtering.looked_at;
        is_filtered
            && looked_at < self.options.max_bytes
            && self.failed.is_none()
            && !self.is_full()
    }

    /// Has partitions read again that have moved without waking it, in turn some at each poll:
    /// those who wait for some tags are not woken by all that comes. What wakes nobody has nothing
    /// for them, so that only how far they have come waits for its turn.
    pub(super) fn look_at_unwoken(&mut self) {
        if self.filtering.tag_bits().is_none() {
            return;
        }
        let places = self.assignment.places();
        for _ in 0..places.min(MOST_LOOKED_AT) {
            let index = self.filtering.looks_next % places;
            self.filtering.looks_next = index + 1;
            let is_read = self.assignment.get(index).is_some_and(|slot| !slot.paused);
            if is_read && self.has_moved(index) {
                self.assignment.queue(index);
            }
        }
    }

    /// What lies ahead of a slot for who wants some tags: `Some` if it is passed over, else how
    /// much of it is to be fetched at once.
    pub(super) fn pass_over(&mut self, index: usize, limits: &mut FetchLimits) -> Option<Read> {
        let wanted = self.filtering.tag_bits()?;
        let slot = self.assignment.get_mut(index)?;
        let mut tags = std::mem::take(&mut slot.tags);
        let at = slot.next()?;
        let reader = (wanted, &mut tags);
        let ahead = slot.partition.look_ahead(at.offset, at.cursor.as_ref(), *limits, reader);
        slot.tags = tags;
        match ahead {
            Ahead::Unknown => None,
            Ahead::Wanted(bytes) => {
                limits.bytes = limits.bytes.min(bytes);
                None
            }
            Ahead::Skipped(Skipped { bytes, next_offset, cursor }) => {
                if slot.check_cut().is_err() {
                    return None; // the fetch meets it too
                }
                let epoch = slot.partition.epoch_before(next_offset).ok().flatten();
                let position = Position { offset: next_offset, epoch, cursor: Some(cursor) };
                self.go_ahead(index, position, Step::Records);
                self.filtering.note(usize::try_from(bytes / PASSED_OVER).unwrap_or(usize::MAX));
                self.note_scan(index, next_offset, |scan| scan.passed_over_bytes += bytes);
                Some(Read::More)
            }
        }
    }

    /// Those of `fetched` that the filter wants, and how far that has come.
    pub(super) fn choose(
        &mut self,
        index: usize,
        (fetched, taken): (Records, &mut Taken),
        size: usize,
    ) -> (Records, usize) {
        let Some(filter) = &self.filtering.filter else { return (fetched, size) };
        let most = self.options.max_records - self.stage.len();
        let chosen = fetched.choose(filter, most);
        taken.records = chosen.records.len();
        if let Some((offset, epoch)) = chosen.cut {
            (taken.next_offset, taken.epoch) = (offset, epoch);
        }
        self.filtering.note(size);
        let (scanned, matched) = (chosen.scanned as u64, chosen.records.len() as u64);
        self.note_scan(index, taken.next_offset, |scan| {
            scan.scanned += scanned;
            scan.matched += matched;
        });
        (chosen.records, chosen.bytes)
    }

    fn note_scan(
        &mut self,
        index: usize,
        next_offset: Offset,
        note: impl FnOnce(&mut PartitionScan),
    ) {
        let Some(slot) = self.assignment.get(index) else { return };
        let scan = self.filtering.staged.entry(index).or_insert_with(|| PartitionScan {
            topic: slot.origin.topic().clone(),
            partition: slot.partition.id(),
            scanned: 0,
            matched: 0,
            passed_over_bytes: 0,
            next_offset,
        });
        scan.next_offset = next_offset;
        note(scan);
    }
}
