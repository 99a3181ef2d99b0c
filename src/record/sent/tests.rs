//! What is taken as it came, what of it is made anew, and what is refused.

use std::time::Duration;

use super::*;
use crate::config::Packing;
use crate::error::{ErrorKind, RecordRefusal};
use crate::ids::{LeaderEpoch, ProducerEpoch, ProducerId};
use crate::record::{BorrowedBatch, Reach, Record, packed};

const NOW: Timestamp = Timestamp::from_millis(10_000);

fn rules() -> BatchRules {
    let after_max = Reach::of(Some(Duration::from_secs(1)));
    let timestamps = TimestampRule::Create { now: NOW, before_max: Reach::ANY, after_max };
    let packing = Packing::default();
    BatchRules { timestamps, max_bytes: 1 << 20, keyed: false, tagged: false, packing }
}

fn at_offset(offset: i64, epoch: i32) -> Stamp {
    let (base_offset, leader_epoch) = (Offset::new(offset), LeaderEpoch::new(epoch));
    Stamp { base_offset, leader_epoch, producer: None }
}

fn written(batch: &impl AppendBatch, stamp: Stamp) -> Vec<u8> {
    let mut bytes = vec![0; batch.size()];
    batch.write(stamp, &mut bytes, crc32c::crc32c_append);
    crate::record::pieces::tests::check(batch, stamp);
    bytes
}

/// A producer's batch of three records.
fn sent() -> Vec<u8> {
    let records = [5_000, 9_000, 7_000].map(|time| {
        Record::new("a value").key("k").header("h", "v").timestamp(Timestamp::from_millis(time))
    });
    written(&BorrowedBatch::measure(&records, &rules()).unwrap(), at_offset(0, -1))
}

fn compressed(codec: Compression) -> Vec<u8> {
    let record = || Record::new("a value that comes again, again, again").timestamp(NOW);
    let records = [record(), record(), record()];
    let rules = BatchRules { packing: rules().packing.by(codec, None), ..rules() };
    written(&packed(&records, &rules).unwrap(), at_offset(0, -1))
}

/// The batch with other bytes at `place`, and a checksum that fits.
fn patched(mut bytes: Vec<u8>, place: usize, patch: &[u8]) -> Vec<u8> {
    bytes[place..place + patch.len()].copy_from_slice(patch);
    let crc = crc32c::crc32c(&bytes[at::ATTRIBUTES..]);
    put(&mut bytes, at::CRC, crc.to_be_bytes());
    bytes
}

fn of_producer(bytes: Vec<u8>, attributes: u8) -> Vec<u8> {
    let bytes = patched(bytes, at::ATTRIBUTES + 1, &[attributes]);
    patched(bytes, at::PRODUCER_ID, &[0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 0, 0, 0, 7])
}

fn built() -> impl Iterator<Item = Compression> {
    let codecs = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    codecs.into_iter().filter(|codec| check_built("test", *codec).is_ok())
}

fn check<'a>(bytes: &'a [u8], rules: &BatchRules) -> Result<SentBatch<'a>> {
    SentBatch::check(bytes, rules, PlainLimit::DEFAULT)
}

#[test]
fn offset_and_epoch_change_and_nothing_else() {
    let all = built().map(compressed).chain([sent(), of_producer(sent(), 0)]);
    for bytes in all {
        let batch = check(&bytes, &rules()).unwrap();
        let stored = written(&batch, at_offset(1_000, 5));
        assert_eq!(stored[at::LENGTH..at::LEADER_EPOCH], bytes[at::LENGTH..at::LEADER_EPOCH]);
        assert_eq!(stored[at::MAGIC..], bytes[at::MAGIC..], "the checksum's reach and itself");
        let read = Batch::verify(&stored).unwrap();
        assert_eq!(read.header().base_offset(), Offset::new(1_000));
        assert_eq!(read.header().last_offset(), Offset::new(1_002));
        assert_eq!(read.header().leader_epoch(), Some(LeaderEpoch::new(5)));
    }
}

#[test]
fn the_producer_is_the_one_the_batch_names() {
    for (attributes, transactional) in [(0, false), (0x10, true)] {
        let bytes = of_producer(sent(), attributes);
        let claim = check(&bytes, &rules()).unwrap().claim().unwrap();
        let identity = ProducerIdentity::new(ProducerId::new(9), ProducerEpoch::new(2));
        let sequence = Sequence::new(7);
        assert_eq!(claim, ProducerClaim { identity, sequence, transactional });
    }
    assert_eq!(check(&sent(), &rules()).unwrap().claim(), None);
}

#[test]
fn a_largest_timestamp_that_is_none_is_mended() {
    let bytes = patched(sent(), at::MAX_TIMESTAMP, &77_i64.to_be_bytes());
    let batch = check(&bytes, &rules()).unwrap();
    assert_eq!(batch.max_timestamp(), Some(Timestamp::from_millis(9_000)));
    let stored = written(&batch, at_offset(3, 0));
    let read = Batch::verify(&stored).unwrap();
    assert_eq!(read.header().max_timestamp(), Some(Timestamp::from_millis(9_000)));
    assert_eq!(stored[at::RECORDS..], bytes[at::RECORDS..]);
}

#[test]
fn the_logs_own_time_changes_the_header_alone() {
    let rules = BatchRules { timestamps: TimestampRule::Append { now: NOW }, ..rules() };
    for bytes in built().map(compressed).chain([sent()]) {
        let stored = written(&check(&bytes, &rules).unwrap(), at_offset(3, 0));
        assert_eq!(stored[at::RECORDS..], bytes[at::RECORDS..]);
        let mut room = Vec::new();
        let read = Batch::verify(&stored).unwrap();
        let read = read.unpacked(&mut room, PlainLimit::DEFAULT).unwrap();
        let times: Vec<_> = read.records().unwrap().map(|it| it.unwrap().timestamp()).collect();
        assert_eq!(times, [Some(NOW); 3]);
    }
}

#[test]
fn another_codec_of_the_topics_has_the_records_packed_anew() {
    let plain = sent();
    for codec in built() {
        let topic = crate::config::TopicConfig::new().compression(codec);
        let rules = BatchRules { packing: Packing::of_topic(topic.compression), ..rules() };
        let stored = written(&check(&plain, &rules).unwrap(), at_offset(3, 0));
        let read = Batch::verify(&stored).unwrap();
        assert_eq!(read.header().codec(), Codec::from(codec));
        let mut room = Vec::new();
        let unpacked = read.unpacked(&mut room, PlainLimit::DEFAULT).unwrap();
        assert_eq!(unpacked.plain, Some(&plain[at::RECORDS..]));
        unpacked.check_records().unwrap();
        let none = crate::config::TopicConfig::new().compression(Compression::None);
        let rules = BatchRules { packing: Packing::of_topic(none.compression), ..rules };
        let bytes = compressed(codec);
        let stored = written(&check(&bytes, &rules).unwrap(), at_offset(3, 0));
        let read = Batch::verify(&stored).unwrap();
        assert_eq!((read.header().codec(), read.header().count()), (Codec::None, 3));
        read.check_records().unwrap();
    }
}

#[test]
fn what_a_producer_may_not_send_is_refused_with_its_kind() {
    use ErrorKind::{Corrupt, InvalidArgument, TooLarge, Unsupported};
    let flipped = |place: usize| {
        let mut bytes = sent();
        bytes[place] ^= 1;
        bytes
    };
    let cut = sent()[..70].to_vec();
    let two = [sent(), sent()].concat();
    let mut far = sent();
    far[at::BASE_OFFSET + 7] = 1;
    let mut old = sent();
    old[at::MAGIC] = 1;
    let cases = [
        ("a flipped record", flipped(at::RECORDS + 3), Corrupt),
        ("a flipped checksum", flipped(at::CRC), Corrupt),
        ("half of it", cut, Corrupt),
        ("nothing", Vec::new(), Corrupt),
        ("two", two, InvalidArgument),
        ("an offset", far, InvalidArgument),
        ("format 1", old, Unsupported),
        ("too few", patched(sent(), at::COUNT, &[0, 0, 0, 2]), InvalidArgument),
        ("none", patched(sent(), at::COUNT, &[0; 4]), InvalidArgument),
        ("control", patched(sent(), at::ATTRIBUTES + 1, &[0x20]), InvalidArgument),
        ("append time", patched(sent(), at::ATTRIBUTES + 1, &[0x08]), InvalidArgument),
        ("a horizon", patched(sent(), at::ATTRIBUTES + 1, &[0x40]), InvalidArgument),
        ("unknown bits", patched(sent(), at::ATTRIBUTES, &[0x01]), InvalidArgument),
        ("of nobody", patched(sent(), at::ATTRIBUTES + 1, &[0x10]), InvalidArgument),
        ("no sequence", patched(sent(), at::PRODUCER_ID, &[0; 10]), InvalidArgument),
        ("gzip that is none", patched(sent(), at::ATTRIBUTES + 1, &[1]), Corrupt),
        ("codec 6", patched(sent(), at::ATTRIBUTES + 1, &[6]), Corrupt),
    ];
    for (shown, bytes, kind) in cases {
        let error = check(&bytes, &rules()).unwrap_err();
        let kind = match cfg!(feature = "gzip") || !shown.starts_with("gzip") {
            true => kind,
            false => Unsupported,
        };
        assert_eq!(error.kind(), kind, "{shown}: {error}");
        assert_eq!(error.outcome(), crate::error::Outcome::NotWritten, "{shown}");
    }
    let small = BatchRules { max_bytes: 80, ..rules() };
    assert_eq!(check(&sent(), &small).unwrap_err().kind(), TooLarge);
    for codec in built() {
        let bytes = compressed(codec);
        let error = SentBatch::check(&bytes, &rules(), PlainLimit::bytes(50)).unwrap_err();
        assert_eq!(error.kind(), TooLarge, "{codec}: {error}");
    }
}

#[test]
fn every_record_that_breaks_a_rule_of_the_topic_is_named() {
    let after_max = Reach::of(Some(Duration::from_millis(500)));
    let now = Timestamp::from_millis(6_000);
    let timestamps = TimestampRule::Create { now, before_max: Reach::ANY, after_max };
    let error = check(&sent(), &BatchRules { timestamps, ..rules() }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRecord);
    let named: Vec<_> = error.record_errors().iter().map(RecordError::index).collect();
    assert_eq!(named, [1, 2]);
    let records = [Record::new("a").key("k"), Record::new("b")];
    let bytes = written(&BorrowedBatch::measure(&records, &rules()).unwrap(), at_offset(0, -1));
    let error = check(&bytes, &BatchRules { keyed: true, ..rules() }).unwrap_err();
    assert_eq!(error.record_errors(), [RecordError::new(1, RecordRefusal::NoKey)]);
}
