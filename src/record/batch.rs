//! Reading a batch: its checksum first, then its records, one after the other, in place.
//!
//! A [`Batch`] is bytes whose CRC fits their header. Its records are walked without allocating and
//! without trusting a length: each is bounded by the record, each record by the batch, and what is
//! left over at the end is a fault like any other. Those of a compressed batch are decompressed
//! first, by `unpacked` and by nobody else: who only steps over or forwards a batch never does.

use super::codec::{self, PlainLimit};
use super::fault::BatchFault;
use super::header::{BatchHeader, Codec, at};
use super::lend::are_sound;
use super::single::Header;
use super::varint::{take_i32, take_i64, take_length};
use crate::ids::Offset;
use crate::time::Timestamp;

/// A whole batch whose checksum fits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch<'a> {
    header: BatchHeader,
    bytes: &'a [u8],
    /// Its records where they do not stand in `bytes` as they are.
    pub(super) plain: Option<&'a [u8]>,
}

impl<'a> Batch<'a> {
    /// Takes the batch at the front of `bytes`, which may go on behind it.
    #[inline]
    pub(crate) fn verify(bytes: &'a [u8]) -> Result<Self, BatchFault> {
        let header = BatchHeader::parse(bytes, usize::MAX)?;
        let short = BatchFault::Short { needed: header.size(), available: bytes.len() };
        let bytes = bytes.get(..header.size()).ok_or(short)?;
        let computed = crc32c::crc32c(&bytes[at::ATTRIBUTES..]);
        if computed != header.crc() {
            return Err(BatchFault::Crc { stored: header.crc(), computed });
        }
        Ok(Batch { header, bytes, plain: None })
    }

    /// How many records it lends as they are, if nothing is wrong with them; `None` where they are
    /// packed, or [`check_records`](Batch::check_records) says what is.
    pub(crate) fn sound_count(&self) -> Option<u32> {
        if self.header.is_control() {
            return Some(0);
        }
        let (count, records) = (self.header.count(), &self.bytes[at::RECORDS..]);
        let sound = self.header.codec() == Codec::None
            && are_sound(records, count, self.header.last_offset_delta());
        sound.then_some(count)
    }

    /// Takes a batch that was verified before, at the front of `bytes`.
    #[inline]
    pub(super) fn trust(bytes: &'a [u8]) -> Option<Self> {
        let header = BatchHeader::of_verified(bytes.first_chunk()?);
        let whole = header.size() >= BatchHeader::LEN;
        Some(Batch { header, bytes: bytes.get(..header.size()).filter(|_| whole)?, plain: None })
    }

    #[inline]
    pub(crate) fn header(&self) -> &BatchHeader {
        &self.header
    }

    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The batch with its records at hand: those of a compressed one are decompressed into `room`,
    /// which is used again and may take no more than `limit`.
    pub(crate) fn unpacked<'r>(
        &self,
        room: &'r mut Vec<u8>,
        limit: PlainLimit,
    ) -> Result<Batch<'r>, BatchFault>
    where
        'a: 'r,
    {
        if !self.is_packed() {
            return Ok(*self);
        }
        codec::unpack(self.header.codec(), &self.bytes[at::RECORDS..], limit, room)?;
        Ok(self.with_plain(room))
    }

    /// The batch with its records as they were decompressed before.
    pub(crate) fn with_plain<'r>(&self, plain: &'r [u8]) -> Batch<'r>
    where
        'a: 'r,
    {
        Batch { plain: Some(plain), ..*self }
    }

    /// Whether its records have to be decompressed before they can be read.
    #[inline]
    pub(crate) fn is_packed(&self) -> bool {
        let header = &self.header;
        let empty = header.count() == 0 || header.is_control();
        header.codec() != Codec::None && self.plain.is_none() && !empty
    }

    /// Its records; a control batch has none for users.
    #[inline]
    pub(crate) fn records(&self) -> Result<RecordIter<'a>, BatchFault> {
        if self.header.is_control() {
            return Ok(RecordIter { batch: *self, left: &[], index: 0, count: 0, delta: -1 });
        }
        self.all_records()
    }

    /// Its records, a control batch's too.
    #[inline]
    pub(crate) fn all_records(&self) -> Result<RecordIter<'a>, BatchFault> {
        let left = match (self.plain, self.header.codec()) {
            (Some(plain), _) => plain,
            (None, Codec::None) => &self.bytes[at::RECORDS..],
            (None, _) if self.header.count() == 0 => &[], // Kafka does not look either
            (None, codec) => return Err(BatchFault::Packed(codec)),
        };
        Ok(RecordIter { batch: *self, left, index: 0, count: self.header.count(), delta: -1 })
    }

    /// Walks every record once and says what is wrong with the first bad one.
    #[inline]
    pub(crate) fn check_records(&self) -> Result<(), BatchFault> {
        let records = self.records()?;
        if are_sound(records.left, records.count, self.header.last_offset_delta()) {
            return Ok(());
        }
        records.check()
    }
}

/// A record of a batch, in place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchRecord<'a> {
    offset: Offset,
    timestamp: Option<Timestamp>,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    header_count: u32,
    headers: &'a [u8],
    index: u32,
}

impl<'a> BatchRecord<'a> {
    pub(crate) fn offset(&self) -> Offset {
        self.offset
    }

    pub(crate) fn timestamp(&self) -> Option<Timestamp> {
        self.timestamp
    }

    pub(crate) fn key(&self) -> Option<&'a [u8]> {
        self.key
    }

    pub(crate) fn value(&self) -> Option<&'a [u8]> {
        self.value
    }

    /// The headers as they are written: how many, and their bytes.
    pub(super) fn written_headers(&self) -> (u32, &'a [u8]) {
        (self.header_count, self.headers)
    }

    /// Walks the headers once and says what is wrong with the first bad one.
    pub(crate) fn check_headers(&self) -> Result<(), BatchFault> {
        let fault = |what| BatchFault::Record { index: self.index, what };
        self.raw_headers().try_for_each(|header| header.map(|_| ()).map_err(fault))
    }

    fn raw_headers(&self) -> RawHeaders<'a> {
        RawHeaders { left: self.headers, count: self.header_count }
    }

    /// The headers; one that is malformed ends them, which a checked batch never does.
    pub(crate) fn headers(&self) -> Headers<'a> {
        Headers(self.raw_headers())
    }
}

/// The records of a batch, first to last. After a fault it ends.
#[derive(Clone, Debug)]
pub(crate) struct RecordIter<'a> {
    batch: Batch<'a>,
    left: &'a [u8],
    index: u32,
    count: u32,
    /// The last record's offset delta.
    delta: i32,
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<BatchRecord<'a>, BatchFault>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.index == self.count {
            if self.left.is_empty() {
                return None;
            }
            self.left = &[];
            let what = "bytes follow the last record";
            return Some(Err(BatchFault::Record { index: self.index, what }));
        }
        let index = self.index;
        Some(self.read().map_err(|what| {
            self.left = &[];
            self.index = self.count;
            BatchFault::Record { index, what }
        }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.count - self.index) as usize; // u32 fits
        (0, Some(left + 1))
    }
}

impl<'a> RecordIter<'a> {
    /// The bytes of those that are left.
    #[inline]
    pub(super) fn left(&self) -> &'a [u8] {
        self.left
    }

    /// Walks what is left and says what is wrong with the first bad record.
    #[cold]
    pub(super) fn check(self) -> Result<(), BatchFault> {
        for record in self {
            record?.check_headers()?;
        }
        Ok(())
    }

    #[inline]
    fn read(&mut self) -> Result<BatchRecord<'a>, &'static str> {
        let mut left = self.left;
        let len = take_i32(&mut left).ok_or("the length does not end")?;
        let len = usize::try_from(len).map_err(|_| "a negative length")?;
        if len > left.len() {
            return Err("it is longer than the batch");
        }
        let (mut body, rest) = left.split_at(len);
        let (_attributes, fields) = body.split_first().ok_or("it has no attributes")?;
        body = fields;
        let timestamp_delta = take_i64(&mut body).ok_or("no timestamp delta")?;
        let offset_delta = take_i32(&mut body).ok_or("no offset delta")?;
        let header = &self.batch.header;
        if offset_delta <= self.delta || offset_delta > header.last_offset_delta() {
            return Err("its offset does not fit between its neighbours'");
        }
        let key = take_bytes(&mut body).ok_or("the key does not fit")?;
        let value = take_bytes(&mut body).ok_or("the value does not fit")?;
        let header_count = take_i32(&mut body).ok_or("no header count")?;
        let header_count = u32::try_from(header_count).map_err(|_| "a negative header count")?;
        if u64::from(header_count) * 2 > body.len() as u64 {
            return Err("more headers than bytes for them");
        }
        if header_count == 0 && !body.is_empty() {
            return Err("bytes follow its headers");
        }
        let timestamp = match header.timestamp_type() {
            crate::config::TimestampType::CreateTime => {
                Timestamp::from_wire(header.raw_base_timestamp().wrapping_add(timestamp_delta))
            }
            crate::config::TimestampType::LogAppendTime => header.max_timestamp(),
        };
        let record = BatchRecord {
            offset: Offset::new(header.base_offset().get() + i64::from(offset_delta)),
            timestamp,
            key,
            value,
            header_count,
            headers: body,
            index: self.index,
        };
        self.left = rest;
        self.index += 1;
        self.delta = offset_delta;
        Ok(record)
    }
}

/// Takes bytes behind their length; -1 stands for null.
#[inline(always)]
pub(super) fn take_bytes<'a>(input: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let Some(len) = take_length(input)? else { return Some(None) };
    let (bytes, rest) = input.split_at_checked(len)?;
    *input = rest;
    Some(Some(bytes))
}

/// Headers as they come off the bytes.
#[derive(Clone, Debug)]
struct RawHeaders<'a> {
    left: &'a [u8],
    count: u32,
}

impl<'a> Headers<'a> {
    /// Those that `count` and what follows it say there are.
    pub(super) fn of(left: &'a [u8], count: u32) -> Self {
        Headers(RawHeaders { left, count })
    }

    /// Whether each of them is as it should be.
    pub(super) fn are_sound(self) -> bool {
        let RawHeaders { left, count } = self.0;
        u64::from(count) * 2 <= left.len() as u64 && self.0.fold(true, |all, one| all & one.is_ok())
    }
}

impl<'a> RawHeaders<'a> {
    fn read(&mut self) -> Result<Header<'a>, &'static str> {
        let name = take_bytes(&mut self.left).ok_or("a header name does not fit")?;
        let name = name.ok_or("a header name is null")?;
        let name = std::str::from_utf8(name).map_err(|_| "a header name is not UTF-8")?;
        let value = take_bytes(&mut self.left).ok_or("a header value does not fit")?;
        if self.count == 1 && !self.left.is_empty() {
            return Err("bytes follow its headers");
        }
        Ok(Header { name, value })
    }
}

impl<'a> Iterator for RawHeaders<'a> {
    type Item = Result<Header<'a>, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.count == 0 {
            return None;
        }
        let header = self.read();
        self.count = if header.is_ok() { self.count - 1 } else { 0 };
        Some(header)
    }
}

/// The headers of a record that was read, in order.
///
/// ```
/// use tidelog::{Record, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("orders", TopicConfig::new())?;
/// let record = Record::new("v").header("trace", "abc");
/// store.producer().build()?.topic("orders")?.send(record)?;
/// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
/// for record in &consumer.try_poll()? {
///     let names: Vec<_> = record.headers().map(|header| header.name()).collect();
///     assert_eq!(names, ["trace"]);
/// }
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Headers<'a>(RawHeaders<'a>);

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        self.0.next()?.ok()
    }
}

/// What a control batch says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ControlRecord {
    Abort {
        coordinator_epoch: i32,
    },
    Commit {
        coordinator_epoch: i32,
    },
    /// Another kind, which users of a partition never see.
    Other(i16),
}

impl Batch<'_> {
    /// What a control batch says; `None` for any other batch or an emptied one.
    pub(crate) fn control(&self) -> Result<Option<ControlRecord>, BatchFault> {
        use byteorder::{BigEndian, ByteOrder as _};
        if !self.header.is_control() {
            return Ok(None);
        }
        let fault = |what| BatchFault::Record { index: 0, what };
        let mut records = self.all_records()?;
        let Some(record) = records.next().transpose()? else { return Ok(None) };
        if records.next().transpose()?.is_some() {
            return Err(BatchFault::Header("more than one record in a control batch"));
        }
        let key = record.key().filter(|key| key.len() >= 4);
        let key = key.ok_or_else(|| fault("a control record's key is too short"))?;
        if BigEndian::read_i16(key) < 0 {
            return Err(fault("a control record's version is negative"));
        }
        let kind = BigEndian::read_i16(&key[2..4]);
        if kind != 0 && kind != 1 {
            return Ok(Some(ControlRecord::Other(kind)));
        }
        let value = record.value().filter(|value| value.len() >= 6);
        let value = value.ok_or_else(|| fault("a marker's value is too short"))?;
        if BigEndian::read_i16(value) < 0 {
            return Err(fault("a marker's version is negative"));
        }
        let coordinator_epoch = BigEndian::read_i32(&value[2..6]);
        Ok(Some(match kind {
            0 => ControlRecord::Abort { coordinator_epoch },
            _ => ControlRecord::Commit { coordinator_epoch },
        }))
    }
}
