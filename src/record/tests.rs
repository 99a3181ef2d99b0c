//! The room as a whole: known bytes both ways, round trips, and another coder's word.
//!
//! `model` draws records; `damage` holds what must be refused. What is compared is always what a
//! reader of the batch sees, never how it was made.

mod damage;
mod known;
mod model;
mod one;

use bytes::{Bytes, BytesMut};
use kafka_protocol::records as other;
use proptest::prelude::*;

use self::model::{Model, batch, model, models};
pub(crate) use self::one::one_batch;
use super::batch::Batch;
use super::buffer::BatchBuffer;
use super::encode::{AppendBatch, BatchRules, BorrowedBatch, Reach, Stamp, TimestampRule};
use super::fault::BatchFault;
use super::header::BatchHeader;
use super::single::Record;
use super::{ControlRecord, PlainLimit, codec::is_built, header::Codec, packed};
use crate::config::{Compression, Packing, TimestampType};
use crate::error::{Error, ErrorKind, Outcome, RecordError, RecordRefusal};
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use crate::time::Timestamp;

const VALUE_123: &str = "00000000000000000000003b00000001020318a2700000000000000000015dff7b063c\
    0000015dff7b063cffffffffffffffffffffffffffff0000000112000000010631323300";
const ONE_HEADER: &str = "00000000000000000000004500000000025cd8ef520000000000000000016585b6f3c1\
    0000016585b6f3c1ffffffffffffffffffffffffffff000000012600000001066864720208686b657908687661\
    6c";
const TWO_RECORDS: &str = "0000000000000000000000440000000002625cd9110000000000010000000000000\
    3e800000000000003edffffffffffffffffffffffffffff0000000210000000026b02760012000a02010102026\
    801";
const COMMIT: &str = "00000000000000070000004200000000029a0c66ce00300000000000000000000007d0000\
    00000000007d000000000000000010000ffffffff000000012000000008000000010c00000000000000";

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).unwrap();
        u8::from_str_radix(pair, 16).unwrap()
    };
    digits.chunks(2).map(byte).collect()
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub(super) fn stamp(offset: i64, epoch: i32) -> Stamp {
    Stamp {
        base_offset: Offset::new(offset),
        leader_epoch: LeaderEpoch::new(epoch),
        producer: None,
    }
}

pub(super) fn create() -> BatchRules {
    rules(TimestampRule::Create { now: at(5_000), before_max: Reach::ANY, after_max: Reach::ANY })
}

fn rules(timestamps: TimestampRule) -> BatchRules {
    BatchRules {
        timestamps,
        max_bytes: 1 << 24,
        keyed: false,
        tagged: false,
        packing: Packing::default(),
    }
}

fn written(batch: &impl AppendBatch, stamp: Stamp) -> Vec<u8> {
    let mut bytes = vec![0xaa; batch.size()];
    batch.write(stamp, &mut bytes, crc32c::crc32c_append);
    super::pieces::tests::check(batch, stamp);
    bytes
}

pub(super) fn encoded(records: &[Record<'_>], rules: &BatchRules, stamp: Stamp) -> Vec<u8> {
    written(&BorrowedBatch::measure(records, rules).unwrap(), stamp)
}

fn read(bytes: &[u8]) -> Vec<(Offset, Model)> {
    let mut room = Vec::new();
    let batch = Batch::verify(bytes).unwrap();
    let batch = batch.unpacked(&mut room, PlainLimit::DEFAULT).unwrap();
    batch.check_records().unwrap();
    let records = batch.records().unwrap().map(Result::unwrap);
    records.map(|record| (record.offset(), Model::of(&record))).collect()
}

#[test]
fn the_checksum_is_castagnolis() {
    assert_eq!(crc32c::crc32c(b"123456789"), 0xE306_9283);
    assert_eq!(crc32c::crc32c(b"Some String"), 608_512_271);
}

#[test]
fn a_brokers_batch_is_read_and_written() {
    let bytes = hex(VALUE_123);
    let found = Batch::verify(&bytes).unwrap();
    let header = found.header();
    assert_eq!(header.size(), 71);
    assert_eq!((header.base_offset(), header.end_offset()), (Offset::ZERO, Offset::new(1)));
    assert_eq!(header.leader_epoch(), Some(LeaderEpoch::new(1)));
    assert_eq!(header.codec(), Codec::None);
    assert_eq!(header.timestamp_type(), TimestampType::CreateTime);
    assert_eq!((header.producer_id(), header.producer_epoch()), (None, None));
    assert_eq!((header.base_sequence(), header.count()), (None, 1));
    assert!(!header.is_control() && !header.is_transactional() && !header.has_delete_horizon());
    let time = at(0x015d_ff7b_063c);
    assert_eq!(header.raw_base_timestamp(), time.as_millis());
    assert_eq!(header.max_timestamp(), Some(time));
    assert_eq!(read(&bytes), [(Offset::ZERO, Model::value("123").time(time))]);
    assert_eq!(encoded(&[Record::new("123").timestamp(time)], &create(), stamp(0, 1)), bytes);
}

#[test]
fn a_header_and_several_records_are_read_and_written() {
    let time = at(0x0165_85b6_f3c1);
    let one = [Record::new("hdr").header("hkey", "hval").timestamp(time)];
    assert_eq!(encoded(&one, &create(), stamp(0, 0)), hex(ONE_HEADER));
    let model = Model::value("hdr").time(time).header("hkey", Some("hval"));
    assert_eq!(read(&hex(ONE_HEADER)), [(Offset::ZERO, model)]);

    let two = [
        Record::new("v").key("k").timestamp(at(1000)),
        Record::tombstone().null_header("h").timestamp(at(1005)),
    ];
    assert_eq!(encoded(&two, &create(), stamp(0, 0)), hex(TWO_RECORDS));
    let models = [
        (Offset::ZERO, Model::value("v").key("k").time(at(1000))),
        (Offset::new(1), Model::default().time(at(1005)).header("h", None)),
    ];
    assert_eq!(read(&hex(TWO_RECORDS)), models);
    let batch = BorrowedBatch::measure(&two, &create()).unwrap();
    assert_eq!(batch.max_timestamp(), Some(at(1005)));
}

#[test]
fn a_marker_takes_an_offset_and_is_not_shown() {
    let bytes = hex(COMMIT);
    let batch = Batch::verify(&bytes).unwrap();
    assert_eq!(batch.header().end_offset(), Offset::new(8));
    assert_eq!(batch.header().producer_id(), Some(ProducerId::new(1)));
    assert_eq!(batch.header().producer_epoch(), Some(ProducerEpoch::new(0)));
    assert!(batch.header().is_control() && batch.header().is_transactional());
    assert_eq!(batch.records().unwrap().count(), 0);
    batch.check_records().unwrap();
    assert_eq!(batch.control(), Ok(Some(ControlRecord::Commit { coordinator_epoch: 0 })));
    assert_eq!(Batch::verify(&hex(TWO_RECORDS)).unwrap().control(), Ok(None));
}

#[test]
fn the_batchs_own_bytes_end_where_it_does() {
    let mut bytes = hex(VALUE_123);
    bytes.extend([9; 40]);
    assert_eq!(Batch::verify(&bytes).unwrap().bytes(), hex(VALUE_123));
}

#[test]
fn the_log_may_set_the_time() {
    let rules = rules(TimestampRule::Append { now: at(77) });
    let records = [Record::new("a").timestamp(at(3)), Record::new("b").without_timestamp()];
    let bytes = encoded(&records, &rules, stamp(4, 2));
    let batch = Batch::verify(&bytes).unwrap();
    assert_eq!(batch.header().timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(batch.header().max_timestamp(), Some(at(77)));
    assert!(read(&bytes).iter().all(|(_, record)| record.time == Some(at(77))));
}

#[test]
fn a_record_may_have_no_time() {
    let records = [Record::new("a").without_timestamp(), Record::new("b").timestamp(at(9))];
    let none = BorrowedBatch::measure(&records[..1], &create()).unwrap();
    assert_eq!(none.max_timestamp(), None);
    let bytes = encoded(&records, &create(), stamp(0, 0));
    let times: Vec<_> = read(&bytes).into_iter().map(|(_, record)| record.time).collect();
    assert_eq!(times, [None, Some(at(9))]);
    assert_eq!(Batch::verify(&bytes).unwrap().header().max_timestamp(), Some(at(9)));
}

#[test]
fn timestamps_count_from_the_delete_horizon() {
    // as compaction leaves it: attributes 0x40, the horizon as base, deltas back from it
    let body = model::body(-4_000, 0, Some(b"k"), None, &[0]);
    let bytes = batch(0x40, 3, 5_000, 1_000, 1, &body);
    assert!(Batch::verify(&bytes).unwrap().header().has_delete_horizon());
    assert_eq!(read(&bytes), [(Offset::ZERO, Model::default().key("k").time(at(1_000)))]);
}

#[test]
fn a_batch_that_compaction_emptied_has_offsets_and_no_records() {
    let bytes = batch(0, 9, -1, 1_000, 0, &[]);
    let header = *Batch::verify(&bytes).unwrap().header();
    assert_eq!((bytes.len(), header.count()), (BatchHeader::LEN, 0));
    assert_eq!(header.end_offset(), Offset::new(10));
    assert_eq!(read(&bytes), []);
    assert_eq!(Batch::verify(&batch(0x30, 0, -1, 5, 0, &[])).unwrap().control(), Ok(None));
}

#[test]
fn a_compressed_batch_is_read_decompressed_alone() {
    for (bits, codec) in [(1, Codec::Gzip), (2, Codec::Snappy), (3, Codec::Lz4), (4, Codec::Zstd)] {
        let bytes = batch(bits, 0, 0, 0, 1, b"packed");
        let batch = Batch::verify(&bytes).unwrap();
        assert_eq!(batch.records().err(), Some(BatchFault::Packed(codec)));
        assert_eq!(batch.check_records(), Err(BatchFault::Packed(codec)));
        let mut room = Vec::new();
        let fault = batch.unpacked(&mut room, PlainLimit::DEFAULT).unwrap_err();
        match is_built(codec) {
            true => assert!(fault.is_damage(), "{fault}"),
            false => assert!(fault.to_string().ends_with(&format!("the feature `{codec}`"))),
        }
    }
}

#[test]
fn bad_records_are_refused_whole() {
    let refused = |records: &[Record<'_>], rules: &BatchRules| {
        BorrowedBatch::measure(records, rules).map(|_| ()).unwrap_err()
    };
    assert_eq!(refused(&[], &create()).kind(), ErrorKind::InvalidArgument);

    let second = std::time::Duration::from_secs(1);
    let narrow = rules(TimestampRule::Create {
        now: at(5_000),
        before_max: Reach::of(Some(second)),
        after_max: Reach::of(Some(second)),
    });
    for (time, good) in [(3_999, false), (4_000, true), (6_000, true), (6_001, false), (-1, false)]
    {
        let records = [Record::new("a"), Record::new("b").timestamp(at(time))];
        let measured = BorrowedBatch::measure(&records, &narrow);
        assert_eq!(measured.is_ok(), good, "{time}");
        if let Err(error) = measured {
            assert_eq!(indexes(&error), [1], "{error}");
        }
    }
    for time in [i64::MIN, -1] {
        let error = refused(&[Record::new("a").timestamp(at(time))], &create());
        assert_eq!(error.kind(), ErrorKind::InvalidRecord, "{time}");
    }

    let records = [Record::new("0123456789")];
    let size = BorrowedBatch::measure(&records, &create()).unwrap().size();
    let of = |max_bytes| BatchRules { max_bytes, ..create() };
    assert!(BorrowedBatch::measure(&records, &of(size)).is_ok());
    assert_eq!(refused(&records, &of(size - 1)).kind(), ErrorKind::TooLarge);
}

fn indexes(error: &Error) -> Vec<usize> {
    error.record_errors().iter().map(RecordError::index).collect()
}

#[test]
fn a_refused_batch_names_every_record_that_is_wrong() {
    let second = std::time::Duration::from_secs(1);
    let clock = TimestampRule::Create {
        now: at(5_000),
        before_max: Reach::of(Some(second)),
        after_max: Reach::of(Some(second)),
    };
    let strict = BatchRules { keyed: true, ..rules(clock) };
    let keyed = |time| Record::new("v").key("k").timestamp(at(time));
    let records =
        [keyed(5_000), Record::new("v"), keyed(3_999), keyed(-1), keyed(6_000), keyed(6_002)];
    let error = BorrowedBatch::measure(&records, &strict).unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::InvalidRecord, Outcome::NotWritten));
    assert_eq!(indexes(&error), [1, 2, 3, 5]);
    let ms = std::time::Duration::from_millis;
    let reasons: Vec<_> = error.record_errors().iter().map(|it| it.reason().clone()).collect();
    let expected = [
        RecordRefusal::NoKey,
        RecordRefusal::TimestampTooOld { behind: ms(1_001), most: second },
        RecordRefusal::NegativeTimestamp { timestamp: -1 },
        RecordRefusal::TimestampTooNew { ahead: ms(1_002), most: second },
    ];
    assert_eq!(reasons, expected);
    let text = "append: record 1 is refused: it has no key, and the topic is compacted; 3 more are";
    assert_eq!(error.to_string(), text);
    assert_eq!(error.again().record_errors(), error.record_errors());

    let large = "x".repeat(500);
    let records = [Record::new("a"), Record::new(&large), Record::new("b")];
    let tight = BatchRules { max_bytes: 400, ..create() };
    let error = BorrowedBatch::measure(&records, &tight).unwrap_err();
    assert_eq!((error.kind(), indexes(&error)), (ErrorKind::TooLarge, vec![1]));
    assert!(error.to_string().contains("the limit is 400"), "{error}");
    let lone = BatchBuffer::new(0).try_push(&records[1], &tight);
    assert_eq!(indexes(&lone.unwrap_err()), [0]);
}

#[test]
fn a_clock_before_1970_gives_no_timestamp() {
    for now in [i64::MIN, -5_000, -1] {
        let now = at(now);
        let unbounded =
            TimestampRule::Create { now, before_max: Reach::ANY, after_max: Reach::ANY };
        for rule in [TimestampRule::Append { now }, unbounded] {
            let records = [Record::new("a"), Record::new("b").timestamp(at(i64::MAX))];
            let bytes = encoded(&records, &rules(rule), stamp(0, 0));
            assert_eq!(read(&bytes)[0].1.time, None, "{rule:?}");
            assert_eq!(Batch::verify(&bytes).unwrap().header().raw_base_timestamp(), -1);
            let mut buffer = BatchBuffer::new(0);
            for record in &records {
                assert!(buffer.try_push(record, &rules(rule)).unwrap().is_some());
            }
            buffer.seal(&rule);
            assert_eq!(written(&buffer, stamp(0, 0)), bytes);
        }
    }
}

#[test]
fn a_buffer_fills_to_its_limit_and_begins_anew() {
    let value = [7; 100];
    let record = Record::new(&value);
    let alone = BorrowedBatch::measure(std::slice::from_ref(&record), &create()).unwrap().size();
    let rules = BatchRules { max_bytes: alone * 3, ..create() };
    let mut buffer = BatchBuffer::new(0);
    assert!(buffer.is_empty());
    let mut pushed = 0;
    while let Some(index) = buffer.try_push(&record, &rules).unwrap() {
        assert_eq!(index, pushed);
        pushed += 1;
    }
    assert!(pushed > 3 && buffer.size() <= rules.max_bytes);
    let expected = vec![record.clone(); pushed as usize];
    buffer.seal(&rules.timestamps);
    assert_eq!(written(&buffer, stamp(8, 3)), encoded(&expected, &create(), stamp(8, 3)));
    buffer.clear();
    assert!(buffer.is_empty());
    assert_eq!(buffer.try_push(&record, &rules).unwrap(), Some(0));
}

#[test]
fn a_record_too_large_for_any_batch_is_refused_and_for_this_one_put_off() {
    let (fits, over) = ([1; 1_000], [1; 1_001]);
    let (fits, over) = (Record::new(&fits), Record::new(&over));
    let alone = BorrowedBatch::measure(std::slice::from_ref(&fits), &create()).unwrap().size();
    let rules = BatchRules { max_bytes: alone, ..create() };
    let mut buffer = BatchBuffer::new(0);
    for held in 0..3 {
        assert_eq!(buffer.try_push(&over, &rules).unwrap_err().kind(), ErrorKind::TooLarge);
        if held > 0 {
            // its timestamp takes more bytes here than in a batch of its own: still no error
            let late = fits.clone().timestamp(at(i64::MAX));
            assert_eq!(buffer.try_push(&late, &rules).unwrap(), None);
        }
        assert_eq!(buffer.try_push(&Record::new("a"), &rules).unwrap(), Some(held));
    }
    buffer.clear();
    assert_eq!(buffer.try_push(&fits, &rules).unwrap(), Some(0));
}

#[test]
fn a_buffer_sealed_late_has_the_time_of_its_sealing() {
    let mut buffer = BatchBuffer::new(64);
    let early = rules(TimestampRule::Append { now: at(10) });
    buffer.try_push(&Record::new("a"), &early).unwrap();
    buffer.try_push(&Record::new("b"), &early).unwrap();
    buffer.seal(&TimestampRule::Append { now: at(99) });
    assert_eq!(buffer.max_timestamp(), Some(at(99)));
    let bytes = written(&buffer, stamp(0, 0));
    assert!(read(&bytes).iter().all(|(_, record)| record.time == Some(at(99))));
}

/// What the other coder makes of the same records.
fn to_other(models: &[Model], base: i64) -> Vec<other::Record> {
    let bytes = |field: &Option<Vec<u8>>| field.clone().map(Bytes::from);
    let record = |(index, model): (i32, &Model)| other::Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 6,
        producer_id: other::NO_PRODUCER_ID,
        producer_epoch: other::NO_PRODUCER_EPOCH,
        timestamp_type: other::TimestampType::Creation,
        offset: base + i64::from(index),
        sequence: index,
        timestamp: Timestamp::to_wire(model.time),
        key: bytes(&model.key),
        value: bytes(&model.value),
        headers: model
            .headers
            .iter()
            .map(|(name, value)| (name.clone().into(), bytes(value)))
            .collect(),
    };
    (0..).zip(models).map(record).collect()
}

fn from_other(record: &other::Record) -> Model {
    let bytes = |field: &Option<Bytes>| field.as_ref().map(|field| field.to_vec());
    Model {
        key: bytes(&record.key),
        value: bytes(&record.value),
        headers: record
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), bytes(value)))
            .collect(),
        time: Timestamp::from_wire(record.timestamp),
    }
}

/// The other coder keeps headers in a map: a name comes once.
fn unrepeated(mut model: Model) -> Model {
    let mut seen = std::collections::HashSet::new();
    model.headers.retain(|(name, _)| seen.insert(name.clone()));
    model
}

/// Those that both coders have without a C library.
fn codecs() -> impl Strategy<Value = (Compression, other::Compression)> {
    let all = [
        (Compression::None, other::Compression::None),
        (Compression::Gzip, other::Compression::Gzip),
        (Compression::Snappy, other::Compression::Snappy),
    ];
    let built = |(codec, _): &(Compression, _)| is_built(Codec::from(*codec));
    prop::sample::select(all.into_iter().filter(built).collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        models in models(),
        base in 0..i64::MAX - 100,
        epoch in 0..i32::MAX,
    ) {
        let records: Vec<_> = models.iter().map(Model::record).collect();
        let bytes = encoded(&records, &create(), stamp(base, epoch));
        let found = read(&bytes);
        let offsets: Vec<_> = found.iter().map(|(offset, _)| offset.get()).collect();
        let expected: Vec<_> = (base..).take(models.len()).collect();
        prop_assert_eq!(offsets, expected);
        let found: Vec<_> = found.into_iter().map(|(_, record)| record).collect();
        prop_assert_eq!(&found, &models);
        let header = *Batch::verify(&bytes).unwrap().header();
        prop_assert_eq!(header.leader_epoch(), Some(LeaderEpoch::new(epoch)));
        prop_assert_eq!(header.count() as usize, records.len());

        let mut buffer = BatchBuffer::new(0);
        for record in &records {
            prop_assert!(buffer.try_push(record, &create()).unwrap().is_some());
        }
        buffer.seal(&create().timestamps);
        prop_assert_eq!(written(&buffer, stamp(base, epoch)), bytes);
    }

    #[test]
    fn another_coder_reads_what_is_written(
        models in prop::collection::vec(model().prop_map(unrepeated), 1..8),
        base in 0..i64::from(i32::MAX),
        (codec, _) in codecs(),
    ) {
        let records: Vec<_> = models.iter().map(Model::record).collect();
        let rules = BatchRules { packing: Packing::default().by(codec, None), ..create() };
        let bytes = written(&packed(&records, &rules).unwrap(), stamp(base, 6));
        prop_assert_eq!(Batch::verify(&bytes).unwrap().header().codec(), Codec::from(codec));
        prop_assert_eq!(read(&bytes).len(), models.len());
        let mut bytes = Bytes::from(bytes);
        let set = other::RecordBatchDecoder::decode(&mut bytes).unwrap();
        prop_assert!(bytes.is_empty());
        prop_assert_eq!(set.version, 2);
        for ((record, model), offset) in set.records.iter().zip(&models).zip(base..) {
            prop_assert_eq!(record.offset, offset);
            prop_assert_eq!(record.partition_leader_epoch, 6);
            prop_assert_eq!(record.producer_id, other::NO_PRODUCER_ID);
            prop_assert_eq!(&from_other(record), model);
        }
        prop_assert_eq!(set.records.len(), models.len());
    }

    #[test]
    fn what_another_coder_writes_is_read(
        models in prop::collection::vec(model().prop_map(unrepeated), 1..8),
        base in 0..i64::from(i32::MAX),
        (_, compression) in codecs(),
    ) {
        let mut bytes = BytesMut::new();
        let options = other::RecordEncodeOptions { version: 2, compression };
        let records = to_other(&models, base);
        other::RecordBatchEncoder::encode(&mut bytes, &records, &options).unwrap();
        let header = *Batch::verify(&bytes).unwrap().header();
        prop_assert_eq!(header.size(), bytes.len());
        prop_assert_eq!(header.leader_epoch(), Some(LeaderEpoch::new(6)));
        let expected: Vec<_> = (base..).map(Offset::new).zip(models).collect();
        prop_assert_eq!(read(&bytes), expected);
    }
}
