//! Fuzz targets of record batches: bytes that should be one, and records that are made into one.
//!
//! `batch` takes arbitrary bytes, as they are or with lengths and checksums mended so that the
//! records are reached; what is read lies within them, is read alike by every way of reading, and
//! is the same after it was written again. `encode` makes batches of arbitrary records in both
//! ways there are, which must be one batch, and reads them back.
//!
//! Called by `crate::fuzzing`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::batch::{Batch, BatchRecord};
use super::buffer::BatchBuffer;
use super::codec::PlainLimit;
pub(crate) use super::codec::fuzz::{codec, codec_seeds};
use super::encode::{AppendBatch, BatchRules, BorrowedBatch, Reach, Stamp, TimestampRule, put};
use super::fault::BatchFault;
use super::header::{BatchHeader, Codec, LENGTH_EXCLUDES, MAGIC, at};
use super::plain::check_agreement;
use super::records::{Batches, Records, RecordsOrigin, Sound, TakeRules};
use super::sent::SentBatch;
use super::single::{Header, Record};
use crate::config::{Packing, TimestampType};
use crate::feed::Feed;
use crate::ids::{LeaderEpoch, Offset, PartitionId};
use crate::stats::PinCounter;
use crate::time::Timestamp;

const MEND: u8 = 1;
const THREE: u8 = 2;
const COMMITTED_ONLY: u8 = 4;
/// What a batch may take decompressed.
const LIMIT: usize = 256 << 10;

/// What a reader sees of a record.
#[derive(Clone, Debug, PartialEq)]
struct Seen<'a> {
    offset: Offset,
    time: Option<Timestamp>,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: Vec<Header<'a>>,
}

impl<'a> Seen<'a> {
    fn of(record: &BatchRecord<'a>) -> Self {
        Seen {
            offset: record.offset(),
            time: record.timestamp(),
            key: record.key(),
            value: record.value(),
            headers: record.headers().collect(),
        }
    }
}

/// Arbitrary bytes where batches should lie.
pub(crate) fn batch(input: &[u8]) {
    let mut feed = Feed::new(input);
    let (flags, pattern) = (feed.byte(), feed.byte());
    let bytes = feed.rest();
    let mended;
    let bytes = match flags & MEND {
        0 => bytes,
        _ => {
            mended = mend_all(bytes, if flags & THREE == 0 { 1 } else { 3 });
            &mended
        }
    };
    header_alone(bytes);
    sent(bytes);
    let mut whole = Vec::new();
    let mut position = 0;
    while let Ok(batch) = Batch::verify(&bytes[position..]) {
        check_batch(&batch, pattern);
        whole.push(batch);
        position += batch.header().size();
    }
    assert!(position <= bytes.len());
    take_in(&bytes[..position], &whole, flags, pattern);
}

/// What is taken of a producer is a batch that every reader takes, with the producer's records.
fn sent(bytes: &[u8]) {
    let timestamps = TimestampRule::Create {
        now: Timestamp::from_millis(0),
        before_max: Reach::ANY,
        after_max: Reach::ANY,
    };
    let (max_bytes, packing) = (1 << 20, Packing::default());
    let rules = BatchRules { timestamps, max_bytes, keyed: false, tagged: false, packing };
    let Ok(batch) = SentBatch::check(bytes, &rules, PlainLimit::bytes(LIMIT)) else { return };
    let mut out = vec![0; batch.size()];
    let (base_offset, leader_epoch) = (Offset::new(1_000), LeaderEpoch::new(7));
    batch.write(
        Stamp { base_offset, leader_epoch, producer: None },
        &mut out,
        crc32c::crc32c_append,
    );
    assert_eq!(out[at::RECORDS..], bytes[at::RECORDS..], "its records are not touched");
    let stored = Batch::verify(&out).expect("a batch");
    assert_eq!(
        (stored.header().base_offset(), stored.header().count()),
        (base_offset, batch.count())
    );
    let mut room = Vec::new();
    let read = stored.unpacked(&mut room, PlainLimit::bytes(LIMIT)).expect("it was before");
    let mut newest = None;
    for record in read.records().expect("they are at hand") {
        newest = newest.max(record.expect("it was checked").timestamp());
    }
    assert_eq!(stored.header().max_timestamp(), newest);
}

/// `count` batches, one behind the other, that only their records can be faulty in.
pub(crate) fn mend_all(bytes: &[u8], count: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut next = None;
    for part in bytes.chunks(bytes.len().div_ceil(count).max(1)) {
        let from = out.len();
        out.extend_from_slice(part);
        mend(&mut out[from..], next);
        next = BatchHeader::parse(&out[from..], usize::MAX).ok().map(|header| header.end_offset());
    }
    out
}

/// Gives bytes the format, length and checksum of a batch, and a base offset behind the last one.
pub(crate) fn mend(bytes: &mut [u8], base: Option<Offset>) {
    if bytes.len() < BatchHeader::LEN {
        return;
    }
    let length = i32::try_from(bytes.len() - LENGTH_EXCLUDES).unwrap_or(i32::MAX);
    put(bytes, at::MAGIC, MAGIC.to_be_bytes());
    put(bytes, at::LENGTH, length.to_be_bytes());
    if let Some(base) = base {
        put(bytes, at::BASE_OFFSET, base.get().to_be_bytes());
    }
    let crc = crc32c::crc32c(&bytes[at::ATTRIBUTES..]);
    put(bytes, at::CRC, crc.to_be_bytes());
}

fn header_alone(bytes: &[u8]) {
    let free = BatchHeader::parse(bytes, usize::MAX);
    let bounded = BatchHeader::parse(bytes, bytes.len());
    let Ok(header) = free else {
        assert!(bounded.is_err(), "a limit makes no batch of what is none");
        return;
    };
    assert_eq!(bounded.is_ok(), header.size() <= bytes.len(), "the limit is the length");
    assert!(header.size() >= BatchHeader::LEN && Offset::ZERO <= header.base_offset());
    assert!(header.base_offset() <= header.last_offset());
    assert_eq!(header.end_offset(), header.last_offset().next());
    assert!(u64::from(header.count()) <= header.end_offset().since(header.base_offset()));
    assert_eq!(header.has_delete_horizon(), header.delete_horizon().is_some());
    assert!(header.producer_id().is_none_or(|id| id.get() >= 0));
    assert!(header.leader_epoch().is_none_or(|epoch| epoch.get() >= 0));
}

fn check_batch(batch: &Batch<'_>, pattern: u8) {
    let header = batch.header();
    assert_eq!(batch.bytes().len(), header.size());
    check_control(batch);
    check_agreement(batch.bytes());
    let mut room = Vec::new();
    match batch.unpacked(&mut room, PlainLimit::bytes(LIMIT)) {
        Ok(unpacked) => check_records(&unpacked, pattern),
        Err(_) => {
            assert_eq!(batch.check_records(), Err(BatchFault::Packed(header.codec())));
            assert!(room.len() <= LIMIT, "the limit holds");
        }
    }
}

fn check_records(batch: &Batch<'_>, pattern: u8) {
    let header = batch.header();
    let whole = batch.plain.unwrap_or(batch.bytes());
    let Ok(records) = batch.records() else { unreachable!("they are at hand") };
    let (mut seen, mut sound) = (Vec::new(), true);
    let mut walk = records;
    for record in walk.by_ref() {
        let Ok(record) = record else {
            sound = false;
            break;
        };
        let one = Seen::of(&record);
        let named = one.headers.iter().map(|header| header.name().as_bytes());
        let valued = one.headers.iter().filter_map(Header::value);
        let mut parts = one.key.into_iter().chain(one.value).chain(named).chain(valued);
        assert!(parts.all(|part| lies_in(part, whole)), "it lies outside its batch");
        sound &= one.headers.len() == record.written_headers().0 as usize;
        seen.push(one);
    }
    assert!(walk.next().is_none(), "after a fault there is no record");
    assert!(seen.windows(2).all(|two| two[0].offset < two[1].offset), "offsets rise");
    let mut offsets = seen.iter().map(|one| one.offset);
    assert!(offsets.all(|one| (header.base_offset()..=header.last_offset()).contains(&one)));
    assert_eq!(batch.check_records().is_ok(), sound, "checking and reading agree");
    if sound && !header.is_control() {
        assert_eq!(seen.len(), header.count() as usize);
        rewritten(batch, &seen, pattern);
    }
}

fn lies_in(part: &[u8], whole: &[u8]) -> bool {
    let (part, whole) = (part.as_ptr_range(), whole.as_ptr_range());
    part.is_empty() || (whole.start <= part.start && part.end <= whole.end)
}

fn check_control(batch: &Batch<'_>) {
    let control = batch.control();
    if !batch.header().is_control() {
        assert_eq!(control, Ok(None));
    } else if matches!(control, Ok(Some(_))) {
        assert!(batch.header().count() == 1 && batch.header().codec() == Codec::None);
    }
    let emptied = batch.emptied();
    let emptied = Batch::verify(&emptied).expect("an emptied batch is one");
    let (old, new) = (batch.header(), emptied.header());
    assert_eq!((new.count(), new.size()), (0, BatchHeader::LEN));
    assert_eq!((new.base_offset(), new.end_offset()), (old.base_offset(), old.end_offset()));
    assert_eq!((new.producer_id(), new.leader_epoch()), (old.producer_id(), old.leader_epoch()));
    assert_eq!(new.base_sequence(), old.base_sequence());
    assert_eq!(new.is_transactional(), old.is_transactional());
}

/// A batch written again is the same batch, and without some of its records has the others.
fn rewritten(batch: &Batch<'_>, seen: &[Seen<'_>], pattern: u8) {
    let keep: Vec<bool> = (0..seen.len()).map(|at| pattern >> (at % 8) & 1 == 1).collect();
    let horizon = Timestamp::from_millis(i64::from(pattern) << 32);
    let all = vec![true; seen.len()];
    for (keep, horizon) in [(&all, None), (&keep, None), (&keep, Some(horizon))] {
        let bytes = batch.thinned(keep, horizon).expect("its records are sound");
        let thinned = Batch::verify(&bytes).expect("a thinned batch is one");
        let mut room = Vec::new();
        let thinned = thinned.unpacked(&mut room, PlainLimit::bytes(usize::MAX >> 1));
        let thinned = thinned.expect("what was compressed here decompresses");
        let (old, new) = (batch.header(), thinned.header());
        assert_eq!(bytes.len(), new.size());
        assert_eq!((new.base_offset(), new.end_offset()), (old.base_offset(), old.end_offset()));
        if let Some(horizon) = horizon {
            assert_eq!(new.delete_horizon(), Some(horizon));
        }
        thinned.check_records().expect("what was sound stays so");
        let left = thinned.records().expect("not compressed");
        let left: Vec<_> = left.map(|record| record.expect("checked")).collect();
        let kept = seen.iter().zip(keep).filter(|(_, keep)| **keep).map(|(one, _)| one);
        assert!(left.iter().map(Seen::of).eq(kept.cloned()), "the kept records are as they were");
        if old.timestamp_type() == TimestampType::CreateTime {
            let newest = left.iter().filter_map(BatchRecord::timestamp).max();
            assert_eq!(new.max_timestamp(), newest);
        }
    }
}

/// What is lent of verified batches is what reading them one by one says.
fn take_in(bytes: &[u8], batches: &[Batch<'_>], flags: u8, pattern: u8) {
    let Some(first) = batches.first() else { return };
    let from = first.header().base_offset().checked_add(i64::from(pattern & 7));
    let from = from.unwrap_or(Offset::ZERO);
    let rules = TakeRules {
        max_records: usize::from(pattern) + 1,
        until: None,
        plain: PlainLimit::bytes(LIMIT),
    };
    let mut records = Records::default();
    let pinned = Arc::new(PinCounter::default());
    let origin = RecordsOrigin::of(&Arc::from("topic"), PartitionId::new(3), &pinned);
    let whole = Bytes::copy_from_slice(bytes);
    let is_aborted =
        |header: &BatchHeader| flags & COMMITTED_ONLY != 0 && header.is_data_of_transaction();
    let aborted = batches.iter().map(Batch::header).filter(|header| is_aborted(header));
    let aborted = aborted.map(BatchHeader::base_offset).collect();
    let is_rising =
        batches.windows(2).all(|two| two[0].header().end_offset() <= two[1].header().base_offset());
    // as a read of a segment finds it, where offsets rise
    let counts = batches.iter().map(|batch| batch.sound_count().map(|count| count as usize));
    let records_of_all = counts.sum::<Option<usize>>().filter(|_| is_rising);
    let sound = records_of_all.zip(batches.last()).map(|(records, last)| Sound {
        records,
        first_offset: first.header().base_offset(),
        next_offset: last.header().end_offset(),
        epoch: last.header().leader_epoch(),
    });
    let whole = Batches { bytes: whole, aborted, sound };
    let taken = records.take_in(&origin, whole, from, rules);
    let mut expected = Vec::new();
    let mut unpacked_bytes = 0;
    let mut rooms: Vec<Vec<u8>> = vec![Vec::new(); batches.len()];
    for (batch, room) in batches.iter().zip(&mut rooms) {
        let header = batch.header();
        if expected.len() >= rules.max_records || unpacked_bytes >= LIMIT {
            break;
        }
        if is_aborted(header) || (batch.is_packed() && header.end_offset() <= from) {
            continue; // it is not looked into
        }
        let unpacked = batch.unpacked(room, rules.plain).ok();
        let unpacked = unpacked.filter(|batch| batch.check_records().is_ok());
        let Some(unpacked) = unpacked else { break };
        unpacked_bytes += unpacked.plain.map_or(0, <[u8]>::len);
        let all = unpacked.records().expect("checked").map(|record| record.expect("checked"));
        expected.extend(all.map(|record| Seen::of(&record)).filter(|one| one.offset >= from));
    }
    expected.truncate(rules.max_records);
    assert_eq!((records.len(), records.is_empty()), (taken.records, taken.records == 0));
    assert!(taken.next_offset >= from && taken.records <= rules.max_records);
    assert!(taken.fault.is_none_or(|(position, _)| position < bytes.len()));
    if !is_rising {
        return; // offsets of a segment rise: what is lent between such batches is not defined
    }
    assert_eq!(taken.records, expected.len());
    assert_eq!(records.iter().count(), expected.len());
    for (view, one) in records.iter().zip(&expected) {
        let headers: Vec<_> = view.headers().collect();
        assert_eq!((view.offset(), view.timestamp()), (one.offset, one.time));
        assert_eq!((view.key(), view.value(), &headers), (one.key, one.value, &one.headers));
        let owned = view.to_owned();
        assert_eq!((owned.key(), owned.value()), (one.key, one.value));
        assert!(view.producer().is_none_or(|(_, _, sequence)| sequence >= 0));
    }
    drop(records);
    assert_eq!(pinned.get(), 0, "nothing is held any more");
}

/// Arbitrary records made into a batch.
pub(crate) fn encode(input: &[u8]) {
    let mut feed = Feed::new(input);
    let flags = feed.byte();
    let now = Timestamp::from_millis(feed.long().cast_signed() >> (flags & 15));
    let reach = |bounded: bool, feed: &mut Feed<'_>| match bounded {
        true => Reach::from_millis(i64::from(feed.word())),
        false => Reach::ANY,
    };
    let timestamps = match flags & 0x10 {
        0 => TimestampRule::Append { now },
        _ => TimestampRule::Create {
            now,
            before_max: reach(flags & 0x20 != 0, &mut feed),
            after_max: reach(flags & 0x40 != 0, &mut feed),
        },
    };
    let max_bytes = if flags & 0x80 == 0 { 1 << 20 } else { usize::from(feed.short()) };
    let rules = BatchRules {
        timestamps,
        max_bytes,
        keyed: false,
        tagged: false,
        packing: Packing::default(),
    };
    let stamp = Stamp {
        base_offset: Offset::new(i64::from(feed.word()) << 16),
        leader_epoch: LeaderEpoch::new(i32::from(feed.short())),
        producer: None,
    };
    let mut records = Vec::new();
    while !feed.is_empty() && records.len() < 20 {
        records.push(record(&mut feed));
    }
    let mut buffer = BatchBuffer::new(0);
    let pushed: Vec<_> = records.iter().map(|one| buffer.try_push(one, &rules)).collect();
    let all_pushed = pushed.iter().all(|pushed| matches!(pushed, Ok(Some(_))));
    let Ok(measured) = BorrowedBatch::measure(&records, &rules) else {
        assert!(records.is_empty() || !all_pushed, "one way takes what the other refuses");
        return;
    };
    assert!(all_pushed, "one way refuses what the other takes: {pushed:?}");
    assert_eq!((measured.size(), measured.count()), (buffer.size(), buffer.count()));
    let mut written = vec![0xaa; measured.size()];
    measured.write(stamp, &mut written, crc32c::crc32c_append);
    let mut gathered = vec![0x55; buffer.len()];
    if flags & 1 == 0 {
        buffer.seal(&timestamps);
    }
    buffer.write(stamp, &mut gathered, crc32c::crc32c_append);
    assert_eq!(written, gathered, "both ways make one batch");
    assert!(written.len() <= max_bytes);
    read_back(&written, &records, &rules, stamp, &measured);
}

fn read_back(
    bytes: &[u8],
    records: &[Record<'_>],
    rules: &BatchRules,
    stamp: Stamp,
    measured: &BorrowedBatch<'_>,
) {
    let batch = Batch::verify(bytes).expect("what is written is a batch");
    let header = batch.header();
    assert_eq!(header.base_offset(), stamp.base_offset);
    assert_eq!(header.leader_epoch(), Some(stamp.leader_epoch));
    assert_eq!(header.max_timestamp(), measured.max_timestamp());
    batch.check_records().expect("what is written is sound");
    let read: Vec<_> = batch.records().expect("plain").map(|one| one.expect("checked")).collect();
    assert_eq!(read.len(), records.len());
    for ((record, offset), sent) in read.iter().zip(stamp.base_offset.get()..).zip(records) {
        let wanted = rules.timestamps.resolve(sent.timestamp).expect("it was measured");
        let seen = Seen::of(record);
        assert_eq!(seen.offset, Offset::new(offset));
        assert_eq!(seen.time, Timestamp::from_wire(wanted));
        assert_eq!((seen.key, seen.value), (sent.key_bytes(), sent.value()));
        assert_eq!(seen.headers, sent.headers());
    }
}

fn record<'a>(feed: &mut Feed<'a>) -> Record<'a> {
    let flags = feed.byte();
    let length = |feed: &mut Feed<'_>| match flags & 1 {
        0 => usize::from(feed.byte()),
        _ => usize::from(feed.short()),
    };
    let mut record = Record::tombstone();
    if flags & 2 != 0 {
        let length = length(feed);
        record = Record::new(feed.bytes(length));
    }
    if flags & 4 != 0 {
        let length = length(feed);
        record = record.key(feed.bytes(length));
    }
    for _ in 0..flags >> 3 & 3 {
        let name = usize::from(feed.byte() & 15);
        let name = std::str::from_utf8(feed.bytes(name)).unwrap_or("name");
        let value = feed.byte();
        record = match value {
            0xff => record.null_header(name),
            _ => record.header(name, feed.bytes(usize::from(value))),
        };
    }
    match flags >> 5 & 3 {
        0 => record,
        1 => record.without_timestamp(),
        _ => record.timestamp(Timestamp::from_millis(feed.long().cast_signed())),
    }
}

/// Batches as they are written: plain, with all a record can have, thinned, emptied; mended and
/// not.
pub(crate) fn batch_seeds() -> Vec<Vec<u8>> {
    let rules = BatchRules {
        timestamps: TimestampRule::Create {
            now: Timestamp::from_millis(1_000),
            before_max: Reach::ANY,
            after_max: Reach::ANY,
        },
        max_bytes: 1 << 20,
        keyed: false,
        tagged: false,
        packing: Packing::default(),
    };
    let stamp =
        Stamp { base_offset: Offset::new(5), leader_epoch: LeaderEpoch::new(2), producer: None };
    let full = Record::new("value").key("key").header("name", "header").null_header("null");
    let sets = [vec![Record::new("v")], vec![full, Record::tombstone().key("k")]];
    let mut seeds = Vec::new();
    for records in &sets {
        let measured = BorrowedBatch::measure(records, &rules).expect("small");
        let mut bytes = vec![0; measured.size()];
        measured.write(stamp, &mut bytes, crc32c::crc32c_append);
        let batch = Batch::verify(&bytes).expect("just written");
        let keep: Vec<_> = (0..records.len()).map(|at| at == 0).collect();
        let horizon = Some(Timestamp::from_millis(9));
        let thinned = batch.thinned(&keep, horizon).expect("plain");
        for bytes in [&bytes, &thinned, &batch.emptied(), &[&bytes[..], &thinned].concat()] {
            seeds.push([&[0, 1][..], bytes].concat());
            seeds.push([&[MEND, 1][..], bytes].concat());
        }
        seeds.push([&[MEND | THREE, 0xff][..], &bytes, &bytes, &bytes].concat());
    }
    seeds
}

/// Inputs of `encode`: records with and without everything.
pub(crate) fn encode_seeds() -> Vec<Vec<u8>> {
    let head = |flags: u8| [&[flags][..], &1_000_u64.to_be_bytes(), &[0; 6]].concat();
    let records = [&[2, 3][..], b"abc", &[0x0e, 1], b"v", &[1], b"k", &[1], b"n", &[0xff]].concat();
    vec![[head(0x10), records.clone()].concat(), [head(0), records].concat()]
}
