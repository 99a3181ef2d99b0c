//! What a store does with dead letters: sending them back.
//!
//! A builder notes what is wanted; the coordinator decides and does it, under no lock while the
//! program's filter runs. Called by programs.

use std::sync::Arc;

use super::handle::Store;
use crate::dead_letters::{DeadLetter, DeadLetters, Redrive};
use crate::error::Result;
use crate::record::RecordView;

/// Sends dead letters back; begun by [`Store::redrive_dead_letters`].
///
/// ```
/// use tidelog::{DeadLetter, Record, RecordView, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("jobs", TopicConfig::new())?;
/// let jobs = store.producer().build()?.topic("jobs")?;
/// jobs.send_batch(&[Record::new("17"), Record::new("18")])?;
/// let mut consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
/// for record in &consumer.try_poll()? {
///     consumer.reject_because(record, "no route to host")?;
/// }
/// // the letters are made by the store's maintenance, soon after
/// let mut letters = store.consumer("post").subscribe(["workers.dlq"]).build()?;
/// let mut seen = 0;
/// while seen < 2 {
///     seen += letters.poll(std::time::Duration::from_secs(30))?.len();
/// }
/// let of_network = |record: RecordView<'_>| {
///     DeadLetter::of(record).is_some_and(|letter| letter.error == Some("no route to host"))
/// };
/// let done = store.redrive_dead_letters("workers.dlq").filter(of_network).max_records(1).run()?;
/// assert_eq!((done.records, store.redrive_dead_letters("workers.dlq").count()?.records), (1, 1));
/// assert_eq!(consumer.try_poll()?.len(), 1);
/// # Ok::<(), tidelog::Error>(())
/// ```
#[must_use = "nothing is sent back until `run` is called"]
pub struct RedriveBuilder<'a> {
    letters: Arc<DeadLetters>,
    topic: String,
    to: Option<String>,
    max_records: u64,
    /// Only the letters of this one.
    group: Option<String>,
    filter: Box<dyn FnMut(RecordView<'_>) -> bool + 'a>,
}

/// What came of a redrive, or would.
///
/// ```
/// use tidelog::{Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("workers.dlq", TopicConfig::new())?;
/// let done = store.redrive_dead_letters("workers.dlq").run()?;
/// assert_eq!((done.records, done.passed_over, done.stranded), (0, 0, 0));
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Redriven {
    /// Letters that were sent back.
    pub records: u64,
    /// Letters that the filter did not choose; a later redrive may.
    pub passed_over: u64,
    /// Letters that stay because there is nowhere to send them: their topic is gone, or another one
    /// has its name, or it does not take them; or they do not say where they come from, or cannot
    /// be read (damaged, too large when decompressed, of a codec this build has not): of damage, as
    /// many as there are offsets that nothing is known of.
    pub stranded: u64,
    /// Why the first one of those stays.
    pub why_stranded: Option<String>,
}

impl Store {
    /// Sends the records of a dead-letter topic back to where they come from, as they were, with
    /// the header `dlq.redriven` that counts how often. Each is sent back once, whenever the
    /// process or the power stops: what was sent back is noted in the commit that does it. The
    /// letters themselves stay; retention or
    /// [`delete_records`](crate::Partition::delete_records_before) removes them.
    ///
    /// Any topic will do, `scheduled.dlq` too; of one that other programs write to, records that
    /// do not say where they come from need [`to`](RedriveBuilder::to).
    ///
    /// ```
    /// use tidelog::{ErrorKind, Store};
    /// let error = Store::in_memory()?.redrive_dead_letters("workers.dlq").run().unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::NotFound);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn redrive_dead_letters(&self, topic: impl Into<String>) -> RedriveBuilder<'static> {
        RedriveBuilder {
            letters: self.letters.clone(),
            topic: topic.into(),
            to: None,
            max_records: u64::MAX,
            group: None,
            filter: Box::new(|_| true),
        }
    }
}

impl Store {
    /// A builder that sends the dead letters of a group back, wherever they are: the topic is the
    /// one its consumers said, or `<group>.dlq` where it has none now; letters of other groups in
    /// it are passed over. Of share groups, workers and consumers that
    /// [give back](crate::Consumer::retry_later). A [`filter`](RedriveBuilder::filter) that is set
    /// chooses among them.
    ///
    /// ```
    /// # use tidelog::{Record, Store, Threads, TopicConfig};
    /// # let store = Store::builder_in_memory().threads(Threads::Host).open()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// # store.producer().build()?.topic("jobs")?.send(Record::new("hello"))?;
    /// let mut consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
    /// for record in &consumer.try_poll()? {
    ///     consumer.reject(record)?;
    /// }
    /// # store.run_maintenance();
    /// assert_eq!(store.redrive_group("workers").run()?.records, 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn redrive_group(&self, group: impl Into<String>) -> RedriveBuilder<'static> {
        let group = group.into();
        let own = || format!("{group}.dlq");
        let topic = self.shares.letter_topic(&group).map_or_else(own, |topic| topic.to_string());
        RedriveBuilder { group: Some(group), ..self.redrive_dead_letters(topic) }
    }
}

impl<'a> RedriveBuilder<'a> {
    /// Sends all to this topic instead, to the partition of the same number (modulo how many there
    /// are).
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("old.dlq", TopicConfig::new())?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// # store.producer().build()?.topic("old.dlq")?.send(Record::new("by hand"))?;
    /// assert_eq!(store.redrive_dead_letters("old.dlq").run()?.stranded, 1);
    /// assert_eq!(store.redrive_dead_letters("old.dlq").to("jobs").run()?.records, 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn to(mut self, topic: impl Into<String>) -> Self {
        self.to = Some(topic.into());
        self
    }

    /// Sends back so many at most; default all there are now.
    ///
    /// ```
    /// # use tidelog::{Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("workers.dlq", TopicConfig::new())?;
    /// assert_eq!(store.redrive_dead_letters("workers.dlq").max_records(100).run()?.records, 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn max_records(mut self, records: u64) -> Self {
        self.max_records = records;
        self
    }

    /// Sends back what `choose` says yes to; see [`DeadLetter`](crate::DeadLetter) for what letters
    /// say. It runs under no lock. What it passes over has a range of its own in the note of what
    /// was sent back, of which a partition has up to 100,000.
    ///
    /// ```
    /// # use tidelog::{Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("workers.dlq", TopicConfig::new())?;
    /// let redrive = store.redrive_dead_letters("workers.dlq");
    /// redrive.filter(|record| record.key() == Some(b"customer-7")).run()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn filter<'f>(self, choose: impl FnMut(RecordView<'_>) -> bool + 'f) -> RedriveBuilder<'f> {
        let RedriveBuilder { letters, topic, to, max_records, group, filter: _ } = self;
        RedriveBuilder { letters, topic, to, max_records, group, filter: Box::new(choose) }
    }

    /// Only counts what [`run`](RedriveBuilder::run) would do now.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) for a topic there is none of, those of a read.
    ///
    /// ```
    /// # use tidelog::{Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("workers.dlq", TopicConfig::new())?;
    /// assert_eq!(store.redrive_dead_letters("workers.dlq").count()?.records, 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn count(self) -> Result<Redriven> {
        self.start(true)
    }

    /// Sends them back, in the order in which they lie in each partition, up to a thousand in one
    /// commit. Blocks for its syncs. Ends with the letters that were there when it began.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) for a topic there is none of,
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for one that is internal or would be
    /// sent back to itself, [`Full`](crate::ErrorKind::Full) and the other errors of an append:
    /// what was sent back before is noted, the next redrive goes on behind it. With the outcome
    /// [`Unknown`](crate::Outcome::Unknown) the last portion may have been sent back: the next
    /// redrive finds out, and repeats nothing.
    ///
    /// ```
    /// # use tidelog::{Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("workers.dlq", TopicConfig::new())?;
    /// let done = store.redrive_dead_letters("workers.dlq").run()?;
    /// println!("{} sent back, {} stay: {:?}", done.records, done.stranded, done.why_stranded);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn run(self) -> Result<Redriven> {
        self.start(false)
    }

    fn start(mut self, dry_run: bool) -> Result<Redriven> {
        let (to, max_records) = (self.to.as_deref(), self.max_records);
        let redrive = Redrive { topic: &self.topic, to, max_records, dry_run };
        let (group, filter) = (self.group.as_deref(), &mut self.filter);
        let mut choose = |record: RecordView<'_>| {
            let is_chosen = group.is_none_or(|group| {
                DeadLetter::of(record).is_some_and(|letter| letter.group == Some(group))
            });
            is_chosen && filter(record)
        };
        let done = self.letters.redrive(redrive, &mut choose)?;
        let (records, passed_over) = (done.records, done.passed_over);
        let (stranded, why_stranded) = (done.stranded, done.why_stranded);
        Ok(Redriven { records, passed_over, stranded, why_stranded })
    }
}

impl std::fmt::Debug for RedriveBuilder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedriveBuilder")
            .field("topic", &self.topic)
            .field("to", &self.to)
            .field("max_records", &self.max_records)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
