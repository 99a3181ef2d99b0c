//! What a dead letter says of itself: headers behind those of the record it was.
//!
//! Key, value, headers and timestamp of the record stay as they were. The headers that are added
//! are a block that begins with `dlq.topic`; a letter that dies again has two blocks, of which the
//! last one counts. Values are text. `dlq.redriven` is not of the block: it stays with the record
//! and counts how often that was sent back.

use std::sync::Arc;

use crate::ids::{Offset, PartitionId, TopicId};
use crate::record::{Header, Record, RecordView};
use crate::time::Timestamp;

/// The names of the headers.
pub(crate) mod names {
    pub(crate) const TOPIC: &str = "dlq.topic";
    pub(crate) const TOPIC_ID: &str = "dlq.topic.id";
    pub(crate) const PARTITION: &str = "dlq.partition";
    pub(crate) const OFFSET: &str = "dlq.offset";
    pub(crate) const GROUP: &str = "dlq.group";
    pub(crate) const ATTEMPTS: &str = "dlq.attempts";
    pub(crate) const CAUSE: &str = "dlq.cause";
    pub(crate) const ERROR: &str = "dlq.error";
    pub(crate) const TIME: &str = "dlq.time";
    /// Of scheduled records.
    pub(crate) const DUE: &str = "dlq.due";
    pub(crate) const REDRIVEN: &str = "dlq.redriven";

    /// What a block may hold behind its first header.
    pub(super) const BLOCK: [&str; 9] =
        [TOPIC_ID, PARTITION, OFFSET, GROUP, ATTEMPTS, CAUSE, ERROR, TIME, DUE];
}

/// How much is kept of what went wrong, in bytes.
const TEXT_LIMIT: usize = 1_024;

/// Why a record of a share group becomes a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// It was handed out as often as it may.
    Attempts,
    /// Its consumer said so.
    Rejected,
}

impl Death {
    pub(crate) fn number(self) -> i8 {
        match self {
            Death::Attempts => 0,
            Death::Rejected => 1,
        }
    }

    /// One that is not known is the general one.
    pub(crate) fn of_number(number: i8) -> Self {
        if number == 1 { Death::Rejected } else { Death::Attempts }
    }

    fn name(self) -> &'static str {
        match self {
            Death::Attempts => "attempts",
            Death::Rejected => "rejected",
        }
    }
}

/// As much of a text as is kept.
pub(crate) fn bounded(text: &str) -> Arc<str> {
    let mut end = text.len().min(TEXT_LIMIT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Arc::from(&text[..end])
}

/// What is added to a record of a share group.
#[derive(Debug)]
pub(crate) struct Obituary {
    topic: Arc<str>,
    topic_id: String,
    partition: String,
    offset: String,
    group: Arc<str>,
    attempts: String,
    death: Death,
    error: Arc<str>,
    time: String,
}

impl Obituary {
    pub(crate) fn new(
        (topic, topic_id): (&Arc<str>, TopicId),
        (partition, offset): (PartitionId, Offset),
        (group, attempts): (&Arc<str>, u16),
        (death, error): (Death, Option<&Arc<str>>),
        time: Timestamp,
    ) -> Self {
        let said = || match death {
            Death::Attempts => Arc::from("handed out as often as it may"),
            Death::Rejected => Arc::from("rejected"),
        };
        Obituary {
            topic: topic.clone(),
            topic_id: topic_id.to_string(),
            partition: partition.to_string(),
            offset: offset.to_string(),
            group: group.clone(),
            attempts: attempts.to_string(),
            death,
            error: error.cloned().unwrap_or_else(said),
            time: time.as_millis().to_string(),
        }
    }

    /// The record as a dead letter.
    pub(crate) fn letter<'a>(&'a self, view: RecordView<'a>) -> Record<'a> {
        copy(view, view.headers())
            .header(names::TOPIC, self.topic.as_bytes())
            .header(names::TOPIC_ID, &self.topic_id)
            .header(names::PARTITION, &self.partition)
            .header(names::OFFSET, &self.offset)
            .header(names::GROUP, self.group.as_bytes())
            .header(names::ATTEMPTS, &self.attempts)
            .header(names::CAUSE, self.death.name())
            .header(names::ERROR, self.error.as_bytes())
            .header(names::TIME, &self.time)
    }
}

/// A record with what another one has, and with these headers.
fn copy<'a>(view: RecordView<'a>, headers: impl Iterator<Item = Header<'a>>) -> Record<'a> {
    let mut record = Record::tombstone();
    if let Some(value) = view.value() {
        record = record.with_value(value);
    }
    if let Some(key) = view.key() {
        record = record.key(key);
    }
    record = match view.timestamp() {
        Some(timestamp) => record.timestamp(timestamp),
        None => record.without_timestamp(),
    };
    headers.fold(record, with_header)
}

fn with_header<'a>(record: Record<'a>, header: Header<'a>) -> Record<'a> {
    match header.value() {
        Some(value) => record.header(header.name(), value),
        None => record.null_header(header.name()),
    }
}

/// A record of a dead-letter topic, with what it says of itself; lent.
///
/// ```
/// use tidelog::{DeadLetter, Record, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("jobs", TopicConfig::new())?;
/// store.producer().build()?.topic("jobs")?.send(Record::new("hello"))?;
/// let mut consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
/// for record in &consumer.try_poll()? {
///     consumer.reject_because(record, "no such customer")?;
/// }
/// let mut letters = store.consumer("post").subscribe(["workers.dlq"]).build()?;
/// let records = letters.poll(std::time::Duration::from_secs(30))?;
/// let letter = DeadLetter::of(records.iter().next().unwrap()).expect("it is one");
/// assert_eq!((letter.topic, letter.error), ("jobs", Some("no such customer")));
/// assert_eq!((letter.group, letter.attempts), (Some("workers"), Some(1)));
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeadLetter<'a> {
    /// The record as it lies in the dead-letter topic; key, value and timestamp are those it had.
    pub record: RecordView<'a>,
    /// The topic it comes from.
    pub topic: &'a str,
    /// That topic's identity: one made again under the name has another.
    pub topic_id: Option<TopicId>,
    /// The partition it comes from, or was to go to.
    pub partition: Option<PartitionId>,
    /// Its offset there; `None` for a scheduled record, which never was there.
    pub offset: Option<Offset>,
    /// The group that has given it up.
    pub group: Option<&'a str>,
    /// How often it was handed out.
    pub attempts: Option<u32>,
    /// Why it was given up: `attempts` or `rejected`.
    pub cause: Option<&'a str>,
    /// What went wrong the last time, as far as that was said.
    pub error: Option<&'a str>,
    /// When it became a dead letter, by the wall.
    pub time: Option<Timestamp>,
    /// How often the record had been sent back before it came here.
    pub redriven: u32,
    /// The record's own headers.
    own: Vec<Header<'a>>,
}

impl<'a> DeadLetter<'a> {
    /// The letter that a record is; `None` where it does not say where it comes from.
    ///
    /// ```
    /// use tidelog::{DeadLetter, RecordView};
    /// fn is_of(record: RecordView<'_>, topic: &str) -> bool {
    ///     DeadLetter::of(record).is_some_and(|letter| letter.topic == topic)
    /// }
    /// ```
    pub fn of(record: RecordView<'a>) -> Option<DeadLetter<'a>> {
        let mut own: Vec<Header<'a>> = record.headers().collect();
        let block = own.split_off(block_of(&own)?);
        let said = |name: &str| text(block.iter().find(|header| header.name() == name)?.value()?);
        let number = |name: &str| said(name)?.parse::<u32>().ok();
        let redriven = own.iter().rev().find(|header| header.name() == names::REDRIVEN);
        let redriven = redriven.and_then(|header| text(header.value()?)?.parse().ok());
        Some(DeadLetter {
            record,
            topic: said(names::TOPIC)?,
            topic_id: said(names::TOPIC_ID).and_then(|id| id.parse().ok()),
            partition: number(names::PARTITION).map(PartitionId::new),
            offset: said(names::OFFSET).and_then(|it| it.parse().ok()).map(Offset::new),
            group: said(names::GROUP),
            attempts: number(names::ATTEMPTS),
            cause: said(names::CAUSE),
            error: said(names::ERROR),
            time: said(names::TIME).and_then(|it| it.parse().ok()).map(Timestamp::from_millis),
            redriven: redriven.unwrap_or(0),
            own,
        })
    }
}

/// Where the last block begins among headers.
fn block_of(headers: &[Header<'_>]) -> Option<usize> {
    for at in (0..headers.len()).rev() {
        let name = headers[at].name();
        let again = headers[at + 1..].iter().any(|header| header.name() == name);
        match name {
            _ if again => return None,
            names::TOPIC => return Some(at),
            _ if names::BLOCK.contains(&name) => {}
            _ => return None,
        }
    }
    None
}

/// A record as it was before somebody buried it, with the count of how often it was sent back.
pub(super) fn sent_back<'a>(
    record: RecordView<'a>,
    letter: Option<&DeadLetter<'a>>,
    count: &'a str,
) -> Record<'a> {
    let own = match letter {
        Some(letter) => letter.own.clone(),
        None => record.headers().collect(),
    };
    copy(record, own.into_iter().filter(|header| header.name() != names::REDRIVEN))
        .header(names::REDRIVEN, count)
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_letters() {
        assert_eq!(&*bounded("short"), "short");
        let long = "ü".repeat(TEXT_LIMIT);
        assert_eq!(bounded(&long).len(), TEXT_LIMIT);
        let odd = format!("x{long}");
        assert_eq!(bounded(&odd).len(), TEXT_LIMIT - 1);
    }
}
