//! Each rule of the sieve, on batches made for it.

use std::collections::HashMap;

use super::*;
use crate::config::{Compression, Packing};
use crate::ids::{LeaderEpoch, ProducerEpoch, ProducerId};
use crate::log::{Aborted, LastBatch};
use crate::record::{
    AppendBatch as _, BatchRules, BorrowedBatch, Reach, Record, Stamp, TimestampRule, check_built,
    packed,
};
use crate::segment::AbortedTransaction;

/// Where the attributes and the producer id of a batch begin, and what its checksum covers.
const ATTRIBUTES: usize = 21;
const PRODUCER: usize = 43;
const SEQUENCE: usize = 53;
const CRC: usize = 17;

const TRANSACTIONAL: u8 = 0x10;
const CONTROL: u8 = 0x20;
const GZIP: u8 = 1;

const DAY: i64 = 24 * 3600 * 1000;

type KeyValue<'a> = (Option<&'a str>, Option<&'a str>);

/// A batch of records at `base`, each ten milliseconds after the one before.
fn batch(base: i64, records: &[KeyValue<'_>]) -> Vec<u8> {
    batch_within(1 << 20, base, records)
}

fn batch_within(max_bytes: usize, base: i64, records: &[KeyValue<'_>]) -> Vec<u8> {
    let rules = BatchRules {
        timestamps: TimestampRule::Create {
            now: Timestamp::from_millis(1000),
            before_max: Reach::ANY,
            after_max: Reach::ANY,
        },
        max_bytes,
        keyed: false,
        tagged: false,
        packing: Packing::default(),
    };
    let records: Vec<_> = (0..)
        .zip(records)
        .map(|(at, (key, value))| {
            let record = value.map_or(Record::tombstone(), Record::new);
            let record = record.timestamp(Timestamp::from_millis(1000 + at * 10));
            let record = record.header("h", "1");
            key.map_or(record.clone(), |key| record.key(key))
        })
        .collect();
    let batch = BorrowedBatch::measure(&records, &rules).unwrap();
    let mut bytes = vec![0; batch.size()];
    let stamp =
        Stamp { base_offset: Offset::new(base), leader_epoch: LeaderEpoch::new(3), producer: None };
    batch.write(stamp, &mut bytes, crc32c::crc32c_append);
    bytes
}

/// The batch with its records compressed.
fn compressed(plain: &[u8], codec: Compression) -> Vec<u8> {
    let batch = Batch::verify(plain).unwrap();
    let records: Vec<_> = batch.records().unwrap().map(|record| record.unwrap()).collect();
    let records: Vec<_> = records
        .iter()
        .map(|read| {
            let record = read.value().map_or(Record::tombstone(), Record::new);
            record.key(read.key().unwrap()).timestamp(read.timestamp().unwrap()).header("h", "1")
        })
        .collect();
    let timestamps = TimestampRule::Create {
        now: Timestamp::from_millis(1000),
        before_max: Reach::ANY,
        after_max: Reach::ANY,
    };
    let packing = Packing::default().by(codec, None);
    let packed = packed(
        &records,
        &BatchRules { timestamps, max_bytes: 4 << 20, keyed: false, tagged: false, packing },
    )
    .unwrap();
    let mut bytes = vec![0; packed.size()];
    let stamp = Stamp {
        base_offset: batch.header().base_offset(),
        leader_epoch: LeaderEpoch::new(3),
        producer: None,
    };
    packed.write(stamp, &mut bytes, crc32c::crc32c_append);
    bytes
}

/// The batch with other bytes at `at`, and a checksum that fits.
fn patched(mut bytes: Vec<u8>, at: usize, patch: &[u8]) -> Vec<u8> {
    bytes[at..at + patch.len()].copy_from_slice(patch);
    let crc = crc32c::crc32c(&bytes[ATTRIBUTES..]);
    bytes[CRC..CRC + 4].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn with_attributes(bytes: Vec<u8>, attributes: u8) -> Vec<u8> {
    patched(bytes, ATTRIBUTES + 1, &[attributes])
}

fn with_producer(bytes: Vec<u8>) -> Vec<u8> {
    let bytes = patched(bytes, PRODUCER, &[0, 0, 0, 0, 0, 0, 0, 9, 0, 2]);
    patched(bytes, SEQUENCE, &[0, 0, 0, 5])
}

fn sieve(now: i64, mapped_end: i64) -> Sieve {
    sieve_of(now, mapped_end, Transactions::default())
}

fn sieve_of(now: i64, mapped_end: i64, transactions: Transactions) -> Sieve {
    let rules = Rules {
        plain: PlainLimit::DEFAULT,
        now: Timestamp::from_millis(now),
        delete_retention: Duration::from_secs(24 * 3600),
        mapped_end: Offset::new(mapped_end),
    };
    Sieve::new(rules, transactions)
}

/// Producer 9 is remembered, its last record at this offset, or by a marker of epoch 2.
fn remembered(last_offset: Option<i64>) -> HashMap<ProducerId, LastBatch> {
    let epoch = ProducerEpoch::new(2);
    let last = LastBatch { epoch, last_offset: last_offset.map(Offset::new) };
    [(ProducerId::new(9), last)].into()
}

fn map(entries: &[(&str, i64)]) -> KeyMap {
    let mut map = KeyMap::new(100);
    entries.iter().for_each(|(key, at)| map.put(key.as_bytes(), Offset::new(*at)).unwrap());
    map
}

/// Offset, timestamp, key and value of each record; headers and checksum are checked.
fn records(bytes: &[u8]) -> Vec<(i64, i64, Option<String>, Option<String>)> {
    let batch = Batch::verify(bytes).unwrap();
    assert_eq!(batch.bytes().len(), bytes.len());
    batch.check_records().unwrap();
    let text = |bytes: Option<&[u8]>| bytes.map(|b| String::from_utf8(b.to_vec()).unwrap());
    batch
        .records()
        .unwrap()
        .map(|record| {
            let record = record.unwrap();
            let headers: Vec<_> = record.headers().collect();
            assert_eq!((headers[0].name(), headers[0].value()), ("h", Some(&b"1"[..])));
            let at = record.timestamp().unwrap().as_millis();
            (record.offset().get(), at, text(record.key()), text(record.value()))
        })
        .collect()
}

fn sift(sieve: &mut Sieve, bytes: &[u8], map: &KeyMap) -> Fate {
    sieve.sift(&Batch::verify(bytes).unwrap(), map).unwrap()
}

fn rewritten(fate: Fate) -> Vec<u8> {
    match fate {
        Fate::Rewritten(bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_last_record_of_each_key_stays_where_it_was() {
    let bytes =
        batch(10, &[(Some("a"), Some("1")), (Some("b"), Some("2")), (Some("a"), Some("3"))]);
    let map = map(&[("a", 12), ("b", 11)]);
    let thin = rewritten(sift(&mut sieve(0, 100), &bytes, &map));
    let kept =
        |at, time, key: &str, value: &str| (at, time, Some(key.to_owned()), Some(value.to_owned()));
    assert_eq!(records(&thin), [kept(11, 1010, "b", "2"), kept(12, 1020, "a", "3")]);
    let (before, after) = (Batch::verify(&bytes).unwrap(), Batch::verify(&thin).unwrap());
    let (before, after) = (before.header(), after.header());
    assert_eq!(after.base_offset(), before.base_offset());
    assert_eq!(after.last_offset_delta(), before.last_offset_delta());
    assert_eq!(after.leader_epoch(), before.leader_epoch());
    assert_eq!(after.max_timestamp().unwrap().as_millis(), 1020);
    assert_eq!(after.raw_base_timestamp(), 1010);
    assert_eq!(after.count(), 2);
    // a later pass finds nothing more to take
    assert_eq!(sift(&mut sieve(0, 100), &thin, &map), Fate::Whole);
}

#[test]
fn what_the_map_does_not_reach_stays_as_it_is() {
    let bytes = batch(10, &[(Some("a"), Some("1")), (Some("a"), None)]);
    assert_eq!(sift(&mut sieve(0, 10), &bytes, &map(&[("a", 50)])), Fate::Whole);
    // between its records: the first is known to be superseded, the second is not
    let thin = rewritten(sift(&mut sieve(0, 11), &bytes, &map(&[("a", 50)])));
    assert_eq!(records(&thin).len(), 1);
    assert!(!Batch::verify(&thin).unwrap().header().has_delete_horizon());
    assert_eq!(sift(&mut sieve(0, 100), &bytes[..], &map(&[("b", 1)])), {
        // a key the map does not know stays, its tombstone gets a horizon
        let whole = Batch::verify(&bytes).unwrap();
        Fate::Rewritten(whole.thinned(&[true; 2], Some(Timestamp::from_millis(DAY))).unwrap())
    });
}

#[test]
fn records_without_a_key_stay() {
    let bytes = batch(0, &[(None, Some("x")), (Some("a"), Some("1")), (None, None)]);
    let thin = rewritten(sift(&mut sieve(DAY * 9, 100), &bytes, &map(&[("a", 7)])));
    assert_eq!(records(&thin).iter().map(|record| record.0).collect::<Vec<_>>(), [0, 2]);
}

#[test]
fn a_tombstone_gets_a_horizon_and_goes_after_it() {
    let bytes = batch(10, &[(Some("a"), None), (Some("b"), Some("2"))]);
    let map = map(&[("a", 10), ("b", 11)]);
    let marked = rewritten(sift(&mut sieve(5000, 100), &bytes, &map));
    let header = *Batch::verify(&marked).unwrap().header();
    assert_eq!(header.delete_horizon(), Some(Timestamp::from_millis(5000 + DAY)));
    let times: Vec<_> = records(&marked).iter().map(|record| (record.0, record.1)).collect();
    assert_eq!(times, [(10, 1000), (11, 1010)], "timestamps are what they were");
    // the horizon is set once, from the first pass
    assert_eq!(sift(&mut sieve(4999 + DAY, 100), &marked, &map), Fate::Whole);
    let thin = rewritten(sift(&mut sieve(5000 + DAY, 100), &marked, &map));
    assert_eq!(records(&thin), [(11, 1010, Some("b".into()), Some("2".into()))]);
    // a superseded one needs no horizon
    let superseded = map_of_a_later(&bytes);
    assert_eq!(records(&superseded).len(), 1);
    assert!(!Batch::verify(&superseded).unwrap().header().has_delete_horizon());
}

fn map_of_a_later(bytes: &[u8]) -> Vec<u8> {
    rewritten(sift(&mut sieve(5000, 100), bytes, &map(&[("a", 50), ("b", 11)])))
}

#[test]
fn an_emptied_batch_is_kafkas_61_bytes_and_goes() {
    let bytes = batch(10, &[(Some("a"), Some("1")), (Some("a"), Some("2"))]);
    let map = map(&[("a", 50)]);
    let Fate::Gone(emptied) = sift(&mut sieve(0, 100), &bytes, &map) else { panic!() };
    assert_eq!(emptied.len(), 61);
    let (before, after) = (Batch::verify(&bytes).unwrap(), Batch::verify(&emptied).unwrap());
    let (before, after) = (before.header(), after.header());
    assert_eq!((after.count(), after.raw_base_timestamp()), (0, -1));
    assert_eq!(after.last_offset(), before.last_offset());
    assert_eq!(after.max_timestamp(), before.max_timestamp());
    assert_eq!(after.leader_epoch(), before.leader_epoch());
    assert_eq!(sift(&mut sieve(0, 100), &emptied, &map), Fate::Gone(emptied));
}

#[test]
fn the_last_batch_of_a_producer_stays_emptied_and_others_go() {
    let bytes = with_producer(batch(10, &[(Some("a"), Some("1"))]));
    let map = map(&[("a", 50)]);
    let sieve_at =
        |last| sieve_of(0, 100, Transactions::new(Aborted::default(), remembered(Some(last))));
    let emptied = rewritten(sift(&mut sieve_at(10), &bytes, &map));
    let header = *Batch::verify(&emptied).unwrap().header();
    assert_eq!((emptied.len(), header.count(), header.base_sequence()), (61, 0, Some(5)));
    assert_eq!(header.producer_id().map(|id| id.get()), Some(9));
    assert_eq!(sift(&mut sieve_at(10), &emptied, &map), Fate::Whole);
    assert_eq!(sift(&mut sieve_at(11), &emptied, &map), Fate::Gone(emptied.clone()));
    assert_eq!(sift(&mut sieve_at(11), &bytes, &map), Fate::Gone(emptied));
}

fn marker(base: i64, kind: u8) -> Vec<u8> {
    let rules = TimestampRule::Create {
        now: Timestamp::from_millis(1000),
        before_max: Reach::ANY,
        after_max: Reach::ANY,
    };
    let rules = BatchRules {
        timestamps: rules,
        max_bytes: 1 << 20,
        keyed: false,
        tagged: false,
        packing: Packing::default(),
    };
    let records = [Record::new(&[0; 6]).key(&[0, 0, 0, 0])];
    let records = if kind == 1 { [Record::new(&[0; 6]).key(&[0, 0, 0, 1])] } else { records };
    let batch = BorrowedBatch::measure(&records, &rules).unwrap();
    let mut bytes = vec![0; batch.size()];
    let stamp =
        Stamp { base_offset: Offset::new(base), leader_epoch: LeaderEpoch::new(3), producer: None };
    batch.write(stamp, &mut bytes, crc32c::crc32c_append);
    let bytes = with_attributes(bytes, TRANSACTIONAL | CONTROL);
    patched(bytes, PRODUCER, &[0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 0xff, 0xff, 0xff, 0xff])
}

/// What was aborted goes at once; its marker when nothing of it is left, and a day is over.
#[test]
fn a_marker_outlives_the_data_of_its_transaction() {
    for kind in [0, 1] {
        let data = with_producer(batch(10, &[(Some("a"), Some("1"))]));
        let data = with_attributes(data, TRANSACTIONAL);
        let marker = marker(11, kind);
        let entry = AbortedTransaction::new(
            ProducerId::new(9),
            Offset::new(10),
            Offset::new(11),
            Offset::new(12),
        );
        let aborted: Aborted = (kind == 0).then_some(entry).into_iter().collect();
        let fresh =
            |now, producers| sieve_of(now, 100, Transactions::new(aborted.clone(), producers));
        let map = map(&[]);
        let mut sieve = fresh(0, HashMap::new());
        let fate = sift(&mut sieve, &data, &map);
        assert_eq!(matches!(fate, Fate::Gone(_)), kind == 0, "{fate:?}");
        assert_eq!(sift(&mut sieve, &marker, &map), Fate::Whole, "data was met");
        assert_eq!(sieve.transactions.take_index().len(), usize::from(kind == 0));
        let mut sieve = fresh(5000, HashMap::new());
        let marked = rewritten(sift(&mut sieve, &marker, &map));
        assert!(sieve.transactions.take_index().is_empty());
        let read = Batch::verify(&marked).unwrap();
        assert_eq!(read.header().attributes(), 0x70);
        assert_eq!((marked.len(), read.header().delete_horizon().unwrap().as_millis()), {
            (81, 5000 + DAY) // as Kafka's: the timestamp's delta is longer
        });
        assert_eq!(read.control().unwrap(), Batch::verify(&marker).unwrap().control().unwrap());
        assert_eq!(read.header().max_timestamp(), Some(Timestamp::from_millis(1000)));
        let early = sift(&mut fresh(4999 + DAY, HashMap::new()), &marked, &map);
        assert_eq!(early, Fate::Whole);
        let over = sift(&mut fresh(5000 + DAY, HashMap::new()), &marked, &map);
        let Fate::Gone(emptied) = over else { panic!("{over:?}") };
        // the only one to say which epoch its producer has come to
        let alone = rewritten(sift(&mut fresh(5000 + DAY, remembered(None)), &marked, &map));
        assert_eq!((alone.len(), &alone), (61, &emptied));
        assert_eq!(sift(&mut fresh(0, remembered(None)), &emptied, &map), Fate::Whole);
        assert_eq!(sift(&mut fresh(0, HashMap::new()), &emptied, &map), Fate::Gone(emptied));
    }
}

#[test]
fn batches_that_cannot_be_read_stay_and_keep_the_tombstones_above_them() {
    let plain = || batch(10, &[(Some("a"), Some("1"))]);
    let bad_contents = patched(plain(), 61, &[0x02]); // its record is one byte long
    let unreadable = [
        with_attributes(plain(), GZIP), // which it is not: damaged, or not built in
        with_attributes(plain(), TRANSACTIONAL | CONTROL),
        with_attributes(plain(), CONTROL),
        bad_contents,
    ];
    let map = map(&[("a", 20), ("b", 21)]);
    let tombstones = batch(20, &[(Some("a"), None), (Some("b"), Some("2"))]);
    let marked = rewritten(sift(&mut sieve(0, 100), &tombstones, &map));
    for bytes in unreadable {
        let mut sieve = sieve(DAY * 2, 100);
        assert_eq!(sift(&mut sieve, &bytes, &map), Fate::Whole);
        assert_eq!(sift(&mut sieve, &marked, &map), Fate::Whole, "{bytes:?}");
        // what a later record supersedes goes all the same
        let superseded = batch(15, &[(Some("a"), None)]);
        assert!(matches!(sift(&mut sieve, &superseded, &map), Fate::Gone(_)));
    }
}

/// What is left of a compressed batch is compressed alike, and says what it would say otherwise.
#[test]
fn compressed_batches_are_sifted_and_keep_their_codec() {
    let sent = [(Some("a"), Some("1")), (Some("b"), Some("2")), (Some("c"), None)];
    let plain = batch(10, &sent);
    let map = map(&[("a", 20), ("b", 11), ("c", 12)]);
    let expected = rewritten(sift(&mut sieve(0, 100), &plain, &map));
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        if check_built("test", codec).is_err() {
            continue;
        }
        let bytes = compressed(&plain, codec);
        let thin = rewritten(sift(&mut sieve(0, 100), &bytes, &map));
        let thin = Batch::verify(&thin).unwrap();
        assert_eq!(thin.header().codec(), Batch::verify(&bytes).unwrap().header().codec());
        assert!(thin.header().has_delete_horizon());
        let mut room = Vec::new();
        let thin = thin.unpacked(&mut room, PlainLimit::DEFAULT).unwrap();
        thin.check_records().unwrap();
        let left = thin.records().unwrap().map(|record| record.unwrap());
        let left: Vec<_> = left.map(|record| (record.offset().get(), record.timestamp())).collect();
        let same = records(&expected).into_iter();
        let same: Vec<_> =
            same.map(|(offset, at, ..)| (offset, Some(Timestamp::from_millis(at)))).collect();
        assert_eq!(left, same, "{codec}");
        let mut kept = sieve(0, 5);
        assert_eq!(sift(&mut kept, &bytes, &map), Fate::Whole, "{codec}: copied as it is");
        let nothing_left = compressed(&batch(10, &sent[..1]), codec);
        let gone = sift(&mut sieve(0, 100), &nothing_left, &map);
        assert!(matches!(gone, Fate::Gone(emptied) if emptied.len() == 61), "{codec}");
    }
}

#[test]
fn the_logs_own_timestamps_stay() {
    let bytes = with_attributes(batch(10, &[(Some("a"), None), (Some("b"), Some("2"))]), 0x08);
    let before = records(&bytes);
    let marked = rewritten(sift(&mut sieve(0, 100), &bytes, &map(&[("a", 10)])));
    assert_eq!(records(&marked), before, "one timestamp, the batch's");
    let thin = rewritten(sift(&mut sieve(0, 100), &bytes, &map(&[("a", 50)])));
    assert_eq!(records(&thin), before[1..]);
}

/// What takes more than the log's limit stays as it is; with a larger limit it is looked into.
#[test]
fn the_logs_limit_says_which_batches_are_looked_into() {
    let plain = batch(10, &[(Some("a"), Some("1")), (Some("b"), Some("2"))]);
    let map = map(&[("a", 20), ("b", 11)]);
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        if check_built("test", codec).is_err() {
            continue;
        }
        let bytes = compressed(&plain, codec);
        let mut one = sieve(0, 100);
        one.rules.plain = PlainLimit::bytes(8);
        assert_eq!(sift(&mut one, &bytes, &map), Fate::Whole, "{codec}");
        one.rules.plain = PlainLimit::bytes(1 << 10);
        assert!(matches!(sift(&mut one, &bytes, &map), Fate::Rewritten(_)), "{codec}");
    }
}

/// Readers take a batch that expands to 32 times its size, or to 8 MiB: one whose records that
/// shrink badly go must not become one that is more than that.
#[test]
fn what_is_left_of_a_batch_is_never_more_than_readers_take() {
    let mut seed = 7_u64;
    let mut noise = String::new();
    while noise.len() < 900_000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        noise.push_str(&format!("{seed:x}"));
    }
    let blank = "x".repeat(9 << 20);
    let map = map(&[("noise", 50), ("blank", 11)]);
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        if check_built("test", codec).is_err() {
            continue;
        }
        let mut room = Vec::new();
        let records = [(Some("noise"), Some(&*noise)), (Some("blank"), Some(&*blank))];
        let plain = batch_within(32 << 20, 10, &records);
        let bytes = compressed(&plain, codec);
        let sent = Batch::verify(&bytes).unwrap();
        assert_ne!(sent.header().attributes() & 7, 0, "{codec}");
        sent.unpacked(&mut room, PlainLimit::DEFAULT).unwrap();
        let thin = rewritten(sift(&mut sieve(0, 100), &bytes, &map));
        let left = Batch::verify(&thin).unwrap();
        let left = left.unpacked(&mut room, PlainLimit::DEFAULT).unwrap();
        left.check_records().unwrap();
        let values: Vec<_> =
            left.records().unwrap().map(|record| record.unwrap().value().unwrap().len()).collect();
        assert_eq!(values, [9 << 20], "{codec}");
        let Some(growth) = (thin.len() as u64).checked_sub(bytes.len() as u64) else {
            continue; // it shrinks less, and so is compressed still
        };
        let mut with_room = Sieve { spare: growth, ..sieve(0, 100) };
        assert_eq!(sift(&mut with_room, &bytes, &map), Fate::Rewritten(thin), "{codec}");
        assert_eq!((with_room.spare, with_room.unreadable_from), (0, None));
        let mut without = Sieve { spare: growth - 1, ..sieve(0, 100) };
        assert_eq!(sift(&mut without, &bytes, &map), Fate::Whole, "no segment takes it, {codec}");
        assert_eq!(without.unreadable_from, Some(Offset::new(10)), "no tombstone behind it goes");
    }
}
