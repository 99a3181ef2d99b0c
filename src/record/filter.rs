//! Which records a reader wants: by their tag, by a predicate over what they say, or by both.
//!
//! A tag is the value of a record's first header of the name [`RecordFilter::TAG_HEADER`]. A filter
//! is asked of a record as it is lent, so a predicate pays for what it looks at: key and headers
//! cost little, a value is not copied. What a filter says is final: whatever hashes of tags say of
//! a batch only keeps it from being read.
//!
//! [`TagBits`] is what is kept of the tags of many records: a bit for each tag, of 64. Records that
//! have none of the bits of a wanted tag do not have the tag; the reverse does not hold.
//!
//! Called by `choose`, which filters what was fetched, and by `segment`, which keeps the bits.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::batch::Batch;
use super::lend::take_headers;
use super::single::Record;
use super::view::RecordView;

type Tags = Arc<[Box<[u8]>]>;
type Predicate = dyn Fn(&RecordView<'_>) -> bool + Send + Sync;

/// What a consumer is to be given; see [`ConsumerBuilder::filter`](crate::ConsumerBuilder::filter).
///
/// It wants a record if the record has one of the tags, where tags are named, and every predicate
/// says yes. Cheap to clone.
///
/// ```
/// use tidelog::{Record, RecordFilter, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("orders", TopicConfig::new())?;
/// let orders = store.producer().build()?.topic("orders")?;
/// orders.send(Record::new("1").tag("paid").key("customer-7"))?;
/// orders.send(Record::new("2").tag("paid").key("customer-8"))?;
/// orders.send(Record::new("3").tag("sent").key("customer-7"))?;
///
/// let paid = RecordFilter::tags(["paid", "refunded"]);
/// let paid_by_7 = paid.and(|record| record.key() == Some(b"customer-7"));
/// let mut consumer = store.consumer("bonus").subscribe(["orders"]).filter(paid_by_7).build()?;
/// let records = consumer.try_poll()?;
/// let values: Vec<_> = records.iter().map(|record| record.value()).collect();
/// assert_eq!(values, [Some(&b"1"[..])]);
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone)]
pub struct RecordFilter {
    /// With their bits; `None` where any tag will do, and none at all.
    tags: Option<(Tags, TagBits)>,
    predicates: Vec<Arc<Predicate>>,
}

impl RecordFilter {
    /// The name of the header that holds a record's tag.
    ///
    /// ```
    /// let record = tidelog::Record::new("v").tag("paid");
    /// assert_eq!(record.headers()[0].name(), tidelog::RecordFilter::TAG_HEADER);
    /// ```
    pub const TAG_HEADER: &'static str = "tag";

    /// Wants records that have one of these tags. Tags are compared byte by byte; a record without
    /// a tag, or with a null one, has none of them. `build` refuses a filter of no tags.
    ///
    /// ```
    /// let filter = tidelog::RecordFilter::tags(["paid", "refunded"]);
    /// # let _ = filter;
    /// ```
    pub fn tags<T: AsRef<[u8]>>(tags: impl IntoIterator<Item = T>) -> Self {
        let tags: Tags = tags.into_iter().map(|tag| tag.as_ref().into()).collect();
        let bits = tags.iter().fold(TagBits::NONE, |bits, tag| bits.and(TagBits::of(tag)));
        RecordFilter { tags: Some((tags, bits)), predicates: Vec::new() }
    }

    /// Wants records of which `predicate` says so. It is called within the consumer's calls, under
    /// no lock, at least once for each record and perhaps again for one that was not handed out, so
    /// its answer should be a matter of the record alone. A panic passes through the call and loses
    /// nothing: the record is met again.
    ///
    /// ```
    /// use tidelog::RecordFilter;
    /// let from_web = RecordFilter::by(|record| {
    ///     let mut headers = record.headers();
    ///     headers.any(|header| header.name() == "source" && header.value() == Some(b"web"))
    /// });
    /// # let _ = from_web;
    /// ```
    pub fn by(predicate: impl Fn(&RecordView<'_>) -> bool + Send + Sync + 'static) -> Self {
        RecordFilter { tags: None, predicates: vec![Arc::new(predicate)] }
    }

    /// Wants what this filter wants only where `predicate` says so too. Asked of records with the
    /// right tag alone.
    ///
    /// ```
    /// use tidelog::RecordFilter;
    /// let paid = RecordFilter::tags(["paid"]);
    /// let large = paid.and(|record| record.value().is_some_and(|value| value.len() > 9));
    /// # let _ = large;
    /// ```
    #[must_use]
    pub fn and(
        mut self,
        predicate: impl Fn(&RecordView<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.predicates.push(Arc::new(predicate));
        self
    }

    /// Whether a record is wanted.
    pub(super) fn wants(&self, record: &RecordView<'_>) -> bool {
        let tagged = match &self.tags {
            None => true,
            Some((tags, _)) => record.tag().is_some_and(|tag| tags.iter().any(|own| **own == *tag)),
        };
        tagged && self.predicates.iter().all(|predicate| predicate(record))
    }

    /// Whether it is another's copy, or asks for the same tags and nothing else.
    pub(crate) fn is_same(&self, other: &RecordFilter) -> bool {
        let tags = |filter: &RecordFilter| {
            let tags = filter.tags.as_ref().map(|(tags, _)| tags.iter().cloned());
            tags.map(|tags| tags.collect::<BTreeSet<Box<[u8]>>>())
        };
        let own = self.predicates.iter();
        let same = own.zip(&other.predicates).all(|(own, other)| Arc::ptr_eq(own, other));
        tags(self) == tags(other) && self.predicates.len() == other.predicates.len() && same
    }

    /// Whether it can want anything at all.
    pub(crate) fn names_something(&self) -> bool {
        self.tags.as_ref().is_none_or(|(tags, _)| !tags.is_empty())
    }

    /// The bits of the tags it names; `None` where it wants records whatever their tag.
    pub(crate) fn tag_bits(&self) -> Option<TagBits> {
        self.tags.as_ref().map(|(_, bits)| *bits)
    }
}

impl fmt::Debug for RecordFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |tag: &[u8]| String::from_utf8_lossy(tag).into_owned();
        let tags = self.tags.as_ref();
        let tags: Option<Vec<_>> = tags.map(|(tags, _)| tags.iter().map(|tag| text(tag)).collect());
        f.debug_struct("RecordFilter")
            .field("tags", &tags)
            .field("predicates", &self.predicates.len())
            .finish()
    }
}

impl<'a> Record<'a> {
    /// Gives it a tag, by which consumers can be told what to read: a header of the name
    /// [`RecordFilter::TAG_HEADER`] behind those it has. The first one counts.
    ///
    /// ```
    /// let record = tidelog::Record::new("v").tag("paid");
    /// assert_eq!(record.headers()[0].value(), Some(&b"paid"[..]));
    /// ```
    #[must_use]
    pub fn tag<T: AsRef<[u8]> + ?Sized>(self, tag: &'a T) -> Self {
        self.header(RecordFilter::TAG_HEADER, tag)
    }
}

impl<'a> RecordView<'a> {
    /// Its tag: the value of its first header of the name [`RecordFilter::TAG_HEADER`]; `None`
    /// where it has no such header, or a null one.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// store.producer().build()?.topic("orders")?.send(Record::new("hello").tag("paid"))?;
    /// # let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// let records = consumer.try_poll()?;
    /// assert_eq!(records.iter().next().and_then(|record| record.tag()), Some(&b"paid"[..]));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.headers().find(|header| header.name() == RecordFilter::TAG_HEADER)?.value()
    }
}

/// What is kept of the tags of some records: a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TagBits(u64);

impl TagBits {
    /// Of records without a tag.
    pub(crate) const NONE: TagBits = TagBits(0);
    /// Of records that may have any.
    pub(crate) const ANY: TagBits = TagBits(u64::MAX);

    /// That of one tag: the upper six bits of its CRC-32C say which. Part of the format on disk.
    pub(crate) fn of(tag: &[u8]) -> Self {
        TagBits(1 << (crc32c::crc32c(tag) >> 26))
    }

    pub(crate) fn from_word(word: u64) -> Self {
        TagBits(word)
    }

    pub(crate) fn word(self) -> u64 {
        self.0
    }

    #[must_use]
    pub(crate) fn and(self, other: TagBits) -> Self {
        TagBits(self.0 | other.0)
    }

    /// Whether records with these bits may have one of the tags with those.
    pub(crate) fn may_have(self, wanted: TagBits) -> bool {
        self.0 & wanted.0 != 0
    }

    /// Those of the sound batch at the front of `bytes`, whose records are not compressed: `ANY`
    /// where they are, or anything else is wrong.
    pub(crate) fn of_batch(bytes: &[u8]) -> Self {
        Batch::trust(bytes).map_or(TagBits::ANY, |batch| TagBits::of_records(&batch))
    }

    /// Those of a batch whose records are at hand. A control batch has none.
    pub(crate) fn of_records(batch: &Batch<'_>) -> Self {
        if batch.header().is_control() {
            return TagBits::NONE;
        }
        let count = batch.header().count();
        batch.records().map_or(TagBits::ANY, |records| TagBits::of_plain(count, records.left()))
    }

    /// Those of `count` records, one behind the other as batches have them.
    pub(super) fn of_plain(count: u32, records: &[u8]) -> Self {
        let (mut left, mut bits) = (records, TagBits::NONE);
        for _ in 0..count {
            match take_headers(&mut left) {
                Some(mut headers) => {
                    let tag = headers.find(|header| header.name() == RecordFilter::TAG_HEADER);
                    if let Some(tag) = tag.and_then(|header| header.value()) {
                        bits = bits.and(TagBits::of(tag));
                    }
                }
                None => return TagBits::ANY,
            }
        }
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_on_disk_do_not_change() {
        // crc32c("123456789") is e3069283, of nothing 0
        assert_eq!(TagBits::of(b"123456789").word(), 1 << (0xe306_9283_u32 >> 26));
        assert_eq!(TagBits::of(b"").word(), 1);
    }

    #[test]
    fn bits_meet_where_a_tag_is_shared() {
        let (paid, sent) = (TagBits::of(b"paid"), TagBits::of(b"sent"));
        assert!(paid.and(sent).may_have(sent) && TagBits::ANY.may_have(paid));
        assert!(!TagBits::NONE.may_have(TagBits::ANY) && !paid.may_have(sent));
    }
}
