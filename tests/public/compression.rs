//! Compressed batches through the public doors: what is sent is read, in every codec that is built
//! in; who decides; what is limited; and what Kafka's own classes say of it.

use crate::common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::kafka_check::kafka_check;
use common::scratch::scratch;
use tidelog::disk::MemoryDisk;
use tidelog::{
    Compression, Consumer, Durability, ErrorKind, Journal, Log, Offset, Outcome, RawLimits, Record,
    Store, Timestamp, TopicConfig,
};

const CODECS: [(Compression, i16, bool); 4] = [
    (Compression::Gzip, 1, cfg!(feature = "gzip")),
    (Compression::Snappy, 2, cfg!(feature = "snappy")),
    (Compression::Lz4, 3, cfg!(feature = "lz4")),
    (Compression::Zstd, 4, cfg!(feature = "zstd")),
];

fn built() -> impl Iterator<Item = (Compression, i16)> {
    CODECS.into_iter().filter(|(.., built)| *built).map(|(codec, bits, _)| (codec, bits))
}

/// The codec of each batch of a closed log, and the bytes they take.
fn stored(dir: &Path) -> (Vec<i16>, usize) {
    let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|it| it.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    files.sort();
    let (mut codecs, mut bytes) = (Vec::new(), 0);
    for file in files {
        let log = fs::read(file).unwrap();
        let mut at = 0;
        while at + 61 <= log.len() {
            codecs.push(i16::from_be_bytes([log[at + 21], log[at + 22]]) & 7);
            at += 12 + u32::from_be_bytes(log[at + 8..at + 12].try_into().unwrap()) as usize;
        }
        bytes += log.len();
    }
    (codecs, bytes)
}

/// A store without a journal, which would be made anew for each.
fn open(dir: &Path) -> Store {
    Store::builder(dir).journal(Journal::Off).open().unwrap()
}

fn values(consumer: &mut Consumer) -> Vec<Vec<u8>> {
    let mut values = Vec::new();
    for records in consumer.read_to_end().unwrap() {
        values.extend(records.unwrap().iter().map(|record| record.value().unwrap().to_vec()));
    }
    values
}

fn value(number: usize) -> String {
    format!("value {number} ").repeat(number % 40 + 1)
}

#[test]
fn what_is_sent_compressed_is_read() {
    for (codec, bits) in built() {
        let dir = scratch();
        let store = open(dir.path());
        let config = TopicConfig::new().segment_bytes(20_000).index_interval_bytes(500);
        store.ensure_topic("orders", config).unwrap();
        let orders = store.producer().compression(codec).batch_bytes(5_000).build().unwrap();
        let orders = orders.topic("orders").unwrap();
        let mut expected: Vec<String> = Vec::new();
        for round in 0..20 {
            let batch: Vec<String> = (0..50).map(|number| value(round * 50 + number)).collect();
            let records: Vec<_> = batch.iter().map(|value| Record::new(value).key("k")).collect();
            let receipt = orders.send_batch(&records).unwrap();
            assert_eq!(receipt.record_count(), 50);
            orders.send(Record::new("alone").header("h", "v")).unwrap();
            records.into_iter().for_each(|record| drop(orders.enqueue(record).unwrap()));
            orders.flush().unwrap();
            expected.extend(batch.iter().cloned());
            expected.push("alone".to_owned());
            expected.extend(batch);
        }
        let mut reader = store.reader().subscribe(["orders"]).max_records(70).build().unwrap();
        let expected: Vec<Vec<u8>> = expected.into_iter().map(String::into_bytes).collect();
        assert!(values(&mut reader) == expected, "{codec}: as they are sent");
        for from in [1, 77, 1002, 2019] {
            reader.seek("orders", 0, Offset::new(from)).unwrap();
            let records = reader.try_poll().unwrap();
            let first = records.iter().next().unwrap();
            assert_eq!(first.offset(), Offset::new(from), "{codec}");
            assert_eq!(first.value(), Some(&expected[usize::try_from(from).unwrap()][..]));
        }
        assert!(store.verifier().run().unwrap().is_clean(), "{codec}");
        drop(reader);
        store.close().unwrap();
        let (codecs, bytes) = stored(&dir.path().join("orders-0"));
        assert!(codecs.iter().all(|stored| *stored == bits), "{codec}: {codecs:?}");
        let plain: usize = expected.iter().map(Vec::len).sum();
        assert!(bytes < plain / 2, "{codec}: {plain} bytes in {bytes}");
        let again = open(dir.path());
        let mut reader = again.reader().subscribe(["orders"]).build().unwrap();
        assert!(values(&mut reader) == expected, "{codec}: after a reopen");
    }
}

#[test]
fn the_topic_decides_where_it_names_a_codec() {
    let sent = |topic: Compression, own: Compression| {
        let dir = scratch();
        let store = open(dir.path());
        store.ensure_topic("orders", TopicConfig::new().compression(topic)).unwrap();
        let orders = store.producer().compression(own).build().unwrap().topic("orders").unwrap();
        orders.send(Record::new("a")).unwrap();
        drop(orders.enqueue(Record::new("b")).unwrap());
        store.close().unwrap();
        stored(&dir.path().join("orders-0")).0
    };
    for (codec, bits) in built() {
        assert_eq!(sent(codec, Compression::Producer), [bits, bits], "{codec}");
        assert_eq!(sent(codec, Compression::None), [bits, bits], "{codec}");
        assert_eq!(sent(Compression::Producer, codec), [bits, bits], "{codec}");
        assert_eq!(sent(Compression::None, codec), [0, 0], "{codec}");
        let (other, _) = built().find(|(other, _)| *other != codec).unwrap_or((codec, bits));
        assert_eq!(sent(codec, other), [bits, bits], "{codec} {other}");
    }
    assert_eq!(sent(Compression::Producer, Compression::Producer), [0, 0]);
}

#[test]
fn a_codec_that_is_not_built_in_is_refused_before_anything_is_written() {
    for (codec, _, built) in CODECS {
        let store = Store::in_memory().unwrap();
        let config = TopicConfig::new().compression(codec);
        store.ensure_topic("plain", TopicConfig::new()).unwrap();
        if built {
            store.ensure_topic("orders", config.clone()).unwrap();
            store.alter_topic("plain", config).unwrap();
            let orders = store.producer().build().unwrap().topic("orders").unwrap();
            orders.send(Record::new("a")).unwrap();
            continue;
        }
        let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new()));
        let log = log.config(config.clone()).open().unwrap();
        let named = format!("without the feature `{codec}`");
        for error in [
            store.create_topic("orders", config.clone()).unwrap_err(),
            store.ensure_topic("orders", config.clone()).map(drop).unwrap_err(),
            store.alter_topic("plain", config).unwrap_err(),
            store.producer().compression(codec).build().map(drop).unwrap_err(),
            log.append(&[Record::new("a")]).map(drop).unwrap_err(),
        ] {
            assert_eq!(
                (error.kind(), error.outcome()),
                (ErrorKind::Unsupported, Outcome::NotWritten)
            );
            assert!(error.to_string().contains(&named), "{error}");
        }
    }
}

/// The topic's limit is one on what is stored; a batch that does not shrink is stored as it is if
/// that fits; none is stored that readers would refuse.
#[test]
fn the_limit_on_batches_is_one_on_their_compressed_size() {
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    })
    .take(9_900)
    .collect();
    for (codec, bits) in built() {
        let dir = scratch();
        let store = open(dir.path());
        store.ensure_topic("orders", TopicConfig::new().max_batch_bytes(10_000)).unwrap();
        let orders = store.producer().compression(codec).build().unwrap().topic("orders").unwrap();
        orders.send(Record::new(&vec![0; 100_000])).unwrap();
        drop(orders.enqueue(Record::new(&vec![1; 100_000])).unwrap());
        orders.flush().unwrap();
        orders.send(Record::new(&noise)).unwrap();
        let twice = [Record::new(&noise), Record::new(&noise[..5_000]).key("k")];
        let too_large = orders.send_batch(&twice).map(drop);
        if codec != Compression::Zstd && codec != Compression::Gzip {
            assert_eq!(too_large.unwrap_err().kind(), ErrorKind::TooLarge, "{codec}");
        }
        let bomb = orders.send(Record::new(&vec![0; 10 << 20])).unwrap_err();
        assert_eq!((bomb.kind(), bomb.outcome()), (ErrorKind::TooLarge, Outcome::NotWritten));
        store.close().unwrap();
        let (codecs, _) = stored(&dir.path().join("orders-0"));
        assert_eq!(codecs[..2], [bits, bits], "{codec}");
    }
}

#[test]
fn a_batch_that_expands_beyond_the_limit_is_an_error_that_names_place_and_limit() {
    for (codec, _) in built() {
        let store = Store::in_memory().unwrap();
        store.ensure_topic("orders", TopicConfig::new()).unwrap();
        let orders = store.producer().compression(codec).build().unwrap().topic("orders").unwrap();
        orders.send(Record::new("a")).unwrap();
        orders.send(Record::new(&vec![0; 1 << 20])).unwrap();
        orders.send(Record::new("c")).unwrap();
        let reader = || store.reader().subscribe(["orders"]);
        let mut strict = reader().max_decompressed_bytes(100_000).build().unwrap();
        assert_eq!(strict.try_poll().unwrap().len(), 1);
        for _ in 0..2 {
            let error = strict.try_poll().unwrap_err();
            assert_eq!((error.kind(), error.offset()), (ErrorKind::TooLarge, Some(Offset::new(1))));
            assert!(error.to_string().contains("more than 100000 bytes"), "{error}");
        }
        let error = strict.skip_damaged("orders", 0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge, "it is not damaged: {error}");
        strict.seek("orders", 0, Offset::new(2)).unwrap();
        assert_eq!(strict.try_poll().unwrap().len(), 1);
        assert_eq!(values(&mut reader().build().unwrap()).len(), 3, "{codec}");
    }
}

/// One poll decompresses no more than its bounds, however well the log is compressed.
#[test]
fn a_poll_holds_about_one_limit_of_what_it_decompressed() {
    for (codec, _) in built() {
        let store = Store::in_memory().unwrap();
        store.ensure_topic("orders", TopicConfig::new()).unwrap();
        let orders = store.producer().compression(codec).build().unwrap().topic("orders").unwrap();
        for _ in 0..20 {
            orders.send(Record::new(&vec![0; 1 << 20])).unwrap();
        }
        let builder = store.reader().subscribe(["orders"]).max_decompressed_bytes(3 << 20);
        let mut reader = builder.build().unwrap();
        let mut left = 20;
        while left > 0 {
            let records = reader.try_poll().unwrap();
            assert!((1..=4).contains(&records.len()), "{codec}: {}", records.len());
            left -= records.len();
        }
        assert!(reader.try_poll().unwrap().is_empty());
    }
}

#[test]
fn kafka_accepts_what_is_compressed() {
    let held = scratch();
    let mut dirs = Vec::new();
    for (codec, bits) in built() {
        let dir = held.path().join(format!("ours-{bits}"));
        let config = TopicConfig::new().segment_bytes(8_000).index_interval_bytes(500);
        let config = config.compression(codec).timestamp_after_max(None);
        let log = Log::builder(&dir).config(config).open().unwrap();
        for number in 0..300_usize {
            let at =
                Timestamp::from_millis(1_000_000 + i64::try_from(number * 7919 % 5000).unwrap());
            let text = value(number);
            let records = [
                Record::new(&text).key("k").timestamp(at).header("h", "v").null_header("n"),
                Record::tombstone().key("gone"),
                Record::new("plain").without_timestamp(),
            ];
            log.append(&records[..number % 3 + 1]).unwrap();
        }
        let found = log.offset_for_timestamp(Timestamp::from_millis(1_004_990)).unwrap();
        let (offset, at) = found.expect("it is that late");
        let records = log.read(offset, 1).unwrap();
        assert_eq!(records.iter().next().unwrap().timestamp(), Some(at), "{codec}");
        log.close().unwrap();
        let (codecs, _) = stored(&dir);
        assert!(codecs.len() == 300 && codecs.iter().all(|stored| *stored == bits), "{codec}");
        dirs.push(dir);
    }
    if !dirs.is_empty() {
        let _ = kafka_check(&dirs, &["--no-gaps"]).accepted("kafka_accepts_what_is_compressed");
    }
}

/// A batch that takes 9 MiB decompressed, as another program wrote it: by default its records are
/// an error for whoever wants one of them, with a larger limit they are not.
#[test]
fn a_larger_limit_counts_for_whoever_looks_into_a_batch() {
    let Some((codec, _)) = built().next() else { return };
    let value = vec![7; 9 << 20];
    let at = |millis| Timestamp::from_millis(millis);
    let large = TopicConfig::new().max_batch_bytes(20 << 20);
    let plain = Log::builder("/plain").config(large.clone()).disk(Arc::new(MemoryDisk::new()));
    let plain = plain.open().unwrap();
    plain
        .append(&[Record::new(&value).timestamp(at(5)), Record::new("b").timestamp(at(9))])
        .unwrap();
    let sent = plain.read_batches(Offset::ZERO, RawLimits::to_end(20 << 20)).unwrap();
    let disk = Arc::new(MemoryDisk::new());
    let builder = || Store::builder("/store").disk(disk.clone());
    let store = builder().max_decompressed_bytes(16 << 20).open().unwrap();
    store.create_topic("orders", large.compression(codec)).unwrap();
    let partition = store.partition("orders", 0).unwrap();
    partition.append_batch(sent.bytes(), Durability::Process).unwrap();
    let stored = partition.read_batches(Offset::ZERO, RawLimits::to_end(20 << 20)).unwrap();
    assert!(stored.next_offset().get() == 2 && stored.bytes().len() < 1 << 20, "it is compressed");
    drop(stored);
    drop(partition);
    let found = |store: &Store| store.offset_at("orders", 0, at(7));
    let read = |mut reader: Consumer| reader.try_poll().map(|records| records.len());
    let all = |store: &Store| read(store.reader().assign([("orders", 0)]).build().unwrap());
    assert_eq!(found(&store).unwrap(), Some(Offset::new(1)));
    assert_eq!(all(&store).unwrap(), 2);
    store.close().unwrap();
    let store = builder().open().unwrap();
    assert_eq!(found(&store).unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(all(&store).unwrap_err().kind(), ErrorKind::TooLarge);
    let own = store.reader().assign([("orders", 0)]).max_decompressed_bytes(16 << 20);
    assert_eq!(read(own.build().unwrap()).unwrap(), 2);
    store.close().unwrap();
    let reading = Store::read_only("/store").disk(disk).max_decompressed_bytes(16 << 20);
    let reading = reading.open().unwrap();
    assert_eq!(reading.offset_at("orders", 0, at(7)).unwrap(), Some(Offset::new(1)));
    assert_eq!(read(reading.reader().assign([("orders", 0)]).build().unwrap()).unwrap(), 2);
}
