//! The numbers and identities of a log, each in a type of its own.
//!
//! An offset counts records, a position counts bytes, an epoch fences. Mixing them up is the
//! classic fault of a log store, so none of them is a bare integer above the floor where bytes
//! are read and written. Widths are Kafka's: offsets are 63-bit, epochs 31-bit.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::{Cause, Error};

/// The place of a record in its partition: the count of records before it, gaps included.
///
/// Offsets run from 0 to `i64::MAX - 1`. A negative number can be written down (it is what a
/// damaged file may hold) but no record ever has one.
///
/// ```
/// use tidelog::Offset;
/// let offset = Offset::new(41);
/// assert_eq!(offset.next(), Offset::new(42));
/// assert_eq!(offset.get(), 41);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(i64);

impl Offset {
    /// The first offset a partition ever has.
    ///
    /// ```
    /// assert_eq!(tidelog::Offset::ZERO.get(), 0);
    /// ```
    pub const ZERO: Offset = Offset(0);

    /// The offset with this number.
    ///
    /// ```
    /// assert_eq!(tidelog::Offset::new(7).get(), 7);
    /// ```
    pub const fn new(number: i64) -> Self {
        Offset(number)
    }

    /// The number.
    ///
    /// ```
    /// assert_eq!(tidelog::Offset::from(7u32).get(), 7);
    /// ```
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The offset after this one; the largest offset is its own successor.
    ///
    /// ```
    /// use tidelog::Offset;
    /// assert_eq!(Offset::new(7).next(), Offset::new(8));
    /// ```
    #[must_use]
    pub const fn next(self) -> Self {
        Offset(self.0.saturating_add(1))
    }

    /// The offset `count` records further on, or `None` past the largest one.
    ///
    /// ```
    /// use tidelog::Offset;
    /// assert_eq!(Offset::new(7).checked_add(3), Some(Offset::new(10)));
    /// assert_eq!(Offset::new(i64::MAX).checked_add(1), None);
    /// ```
    pub const fn checked_add(self, count: i64) -> Option<Self> {
        match self.0.checked_add(count) {
            Some(sum) => Some(Offset(sum)),
            None => None,
        }
    }

    /// How many offsets lie from `earlier` up to this one; 0 where `earlier` is not earlier.
    ///
    /// ```
    /// use tidelog::Offset;
    /// assert_eq!(Offset::new(10).since(Offset::new(4)), 6);
    /// assert_eq!(Offset::new(4).since(Offset::new(10)), 0);
    /// ```
    pub const fn since(self, earlier: Offset) -> u64 {
        let distance = self.0.saturating_sub(earlier.0);
        if distance > 0 { distance.unsigned_abs() } else { 0 }
    }
}

impl From<u32> for Offset {
    fn from(number: u32) -> Self {
        Offset(i64::from(number))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a partition within its topic, from 0.
///
/// ```
/// use tidelog::PartitionId;
/// assert_eq!(PartitionId::new(3).to_string(), "3");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(u32);

impl PartitionId {
    /// The partition with this number.
    ///
    /// ```
    /// assert_eq!(tidelog::PartitionId::new(3).get(), 3);
    /// ```
    pub const fn new(number: u32) -> Self {
        PartitionId(number)
    }

    /// The number.
    ///
    /// ```
    /// assert_eq!(tidelog::PartitionId::from(3).get(), 3);
    /// ```
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The number as an index into a table of the topic's partitions.
    pub(crate) const fn index(self) -> usize {
        self.0 as usize // u32 always fits: 64-bit targets only
    }
}

impl From<u32> for PartitionId {
    fn from(number: u32) -> Self {
        PartitionId(number)
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The reign under which a batch was written: it rises with every open of a store for writing.
///
/// Two records that ever had the same offset differ in their epoch, which is how a reader
/// notices that a record it once saw was lost in a power cut and its offset used again.
///
/// ```
/// use tidelog::LeaderEpoch;
/// assert!(LeaderEpoch::new(4) > LeaderEpoch::new(3));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaderEpoch(i32);

impl LeaderEpoch {
    /// The epoch with this number.
    ///
    /// ```
    /// assert_eq!(tidelog::LeaderEpoch::new(4).get(), 4);
    /// ```
    pub const fn new(number: i32) -> Self {
        LeaderEpoch(number)
    }

    /// The number.
    ///
    /// ```
    /// assert_eq!(tidelog::LeaderEpoch::new(4).get(), 4);
    /// ```
    pub const fn get(self) -> i32 {
        self.0
    }

    /// The epoch of a batch header's field, where -1 stands for none.
    pub(crate) const fn from_wire(number: i32) -> Option<Self> {
        if number < 0 { None } else { Some(LeaderEpoch(number)) }
    }
}

impl fmt::Display for LeaderEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How often a group has divided its partitions anew; Kafka's width, so 0 to `i32::MAX`.
///
/// ```
/// use tidelog::Generation;
/// assert!(Generation::new(4) > Generation::new(3));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(i32);

impl Generation {
    /// The generation with this number; a negative one, which Kafka writes for "none", is 0.
    ///
    /// ```
    /// assert_eq!(tidelog::Generation::new(4).get(), 4);
    /// assert_eq!(tidelog::Generation::new(-1), tidelog::Generation::default());
    /// ```
    pub const fn new(number: i32) -> Self {
        Generation(if number < 0 { 0 } else { number })
    }

    /// The number.
    ///
    /// ```
    /// assert_eq!(tidelog::Generation::new(4).get(), 4);
    /// ```
    pub const fn get(self) -> i32 {
        self.0
    }

    /// The one after this. The largest is its own successor: members are told apart by their ids,
    /// so nothing that was fenced comes back.
    pub(crate) const fn next(self) -> Self {
        Generation(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The identity of an idempotent or transactional producer, as batches carry it.
///
/// ```
/// assert_eq!(tidelog::ProducerId::new(1000).get(), 1000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerId(i64);

impl ProducerId {
    /// The producer id with this number.
    ///
    /// ```
    /// assert_eq!(tidelog::ProducerId::new(1000).get(), 1000);
    /// ```
    pub const fn new(number: i64) -> Self {
        ProducerId(number)
    }

    /// The number.
    ///
    /// ```
    /// assert_eq!(tidelog::ProducerId::new(1000).get(), 1000);
    /// ```
    pub const fn get(self) -> i64 {
        self.0
    }
}

/// The incarnation of a producer id; the newest fences the older ones.
///
/// ```
/// assert_eq!(tidelog::ProducerEpoch::new(2).get(), 2);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerEpoch(i16);

impl fmt::Display for ProducerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ProducerEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The place of a record among those of one idempotent producer in one partition.
///
/// 0 to 2,147,483,647; behind the largest comes 0 again.
///
/// ```
/// use tidelog::Sequence;
/// assert_eq!(Sequence::FIRST.after(7).get(), 7);
/// assert_eq!(Sequence::MAX.after(1), Sequence::FIRST);
/// assert_eq!(Sequence::new(-1), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sequence(i32);

impl Sequence {
    /// What a producer begins with.
    ///
    /// ```
    /// assert_eq!(tidelog::Sequence::FIRST.get(), 0);
    /// ```
    pub const FIRST: Sequence = Sequence(0);

    /// The largest; [`Sequence::FIRST`] follows it.
    ///
    /// ```
    /// assert_eq!(tidelog::Sequence::MAX.get(), i32::MAX);
    /// ```
    pub const MAX: Sequence = Sequence(i32::MAX);

    /// The sequence with this number; `None` for a negative one.
    ///
    /// ```
    /// assert_eq!(tidelog::Sequence::new(5).map(|it| it.get()), Some(5));
    /// ```
    pub const fn new(number: i32) -> Option<Self> {
        if number < 0 { None } else { Some(Sequence(number)) }
    }

    /// The number.
    ///
    /// ```
    /// assert_eq!(tidelog::Sequence::MAX.get(), 2_147_483_647);
    /// ```
    pub const fn get(self) -> i32 {
        self.0
    }

    /// The sequence `count` records later, past the largest from 0 on.
    ///
    /// ```
    /// assert_eq!(tidelog::Sequence::MAX.after(3).get(), 2);
    /// ```
    #[must_use]
    pub const fn after(self, count: u32) -> Self {
        // two numbers below 2^31 and 2^32: the remainder is below 2^31
        let sum = (self.0.cast_unsigned() as u64 + count as u64) % (1 << 31);
        Sequence((sum as u32).cast_signed())
    }

    /// The sequence `count` records earlier.
    pub(crate) const fn before(self, count: u32) -> Self {
        self.after((1 << 31) - count % (1 << 31))
    }

    /// The field of the format, -1 for none.
    pub(crate) fn to_wire(sequence: Option<Self>) -> i32 {
        sequence.map_or(-1, Sequence::get)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ProducerEpoch {
    /// The producer epoch with this number.
    ///
    /// ```
    /// assert_eq!(tidelog::ProducerEpoch::new(2).get(), 2);
    /// ```
    pub const fn new(number: i16) -> Self {
        ProducerEpoch(number)
    }

    /// The number.
    ///
    /// ```
    /// assert_eq!(tidelog::ProducerEpoch::new(2).get(), 2);
    /// ```
    pub const fn get(self) -> i16 {
        self.0
    }
}

/// The identity of a topic, which a topic made later under the same name does not share.
///
/// Written as Kafka writes it: 16 bytes, 22 characters of URL-safe base64 without padding.
///
/// ```
/// use tidelog::TopicId;
/// let id = TopicId::random();
/// assert_eq!(id.to_string().parse::<TopicId>().unwrap(), id);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId([u8; 16]);

impl TopicId {
    /// A new identity, drawn at random; never zero and, as in Kafka, never beginning with `-`.
    ///
    /// ```
    /// use tidelog::TopicId;
    /// assert_ne!(TopicId::random(), TopicId::random());
    /// ```
    pub fn random() -> Self {
        loop {
            let id = TopicId(*uuid::Uuid::new_v4().as_bytes());
            if !id.to_string().starts_with('-') {
                return id;
            }
        }
    }

    /// The identity with these bytes, or `None` for the 16 zero bytes, which Kafka forbids.
    ///
    /// ```
    /// use tidelog::TopicId;
    /// assert!(TopicId::from_bytes([0; 16]).is_none());
    /// ```
    pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(TopicId(bytes))
    }

    /// The 16 bytes.
    ///
    /// ```
    /// use tidelog::TopicId;
    /// let id = TopicId::random();
    /// assert_eq!(TopicId::from_bytes(*id.as_bytes()), Some(id));
    /// ```
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The identity of these hexadecimal digits.
    pub(crate) fn from_hex(digits: &str) -> Option<Self> {
        TopicId::from_bytes(*uuid::Uuid::parse_str(digits).ok()?.as_bytes())
    }

    /// The 32 hexadecimal digits Kafka uses in the names of directories that await deletion.
    pub(crate) fn to_hex(self) -> String {
        uuid::Uuid::from_bytes(self.0).simple().to_string()
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicId({self})")
    }
}

impl FromStr for TopicId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = || {
            Error::new(
                "read topic id",
                Cause::InvalidArgument(format!(
                    "`{text}` is not 22 characters of URL-safe base64 naming a non-zero id"
                )),
            )
        };
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| refuse())?;
        let bytes = <[u8; 16]>::try_from(bytes).map_err(|_| refuse())?;
        TopicId::from_bytes(bytes).ok_or_else(refuse)
    }
}

/// One partition of one topic, whatever that is called: what a log is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LogId {
    pub(crate) topic: TopicId,
    pub(crate) partition: PartitionId,
}
