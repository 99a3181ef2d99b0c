//! The directories that Apache Kafka wrote, opened through `Log`, and ours opened by Kafka.
//!
//! Every partition yields exactly the records Kafka reads from it, if the codecs of its batches are
//! built in. What is not read (other codecs, formats 0 and 1) is refused by name. Producers and
//! their open transactions are known as Kafka knows them. Where recovery differs from Kafka's
//! on purpose, the difference is written here.

use crate::common;

use std::fs;
use std::path::{Path, PathBuf};

use common::golden::{
    AbortedTransaction, Kind, Partition, Payload, Producer, RecordsSha256, Scenario, names,
};
use common::kafka_check::kafka_check;
use common::scratch::scratch;
use tidelog::{
    ErrorKind, Log, MarkerKind, Offset, OffsetSpec, ProducerEpoch, ProducerId, ProducerIdentity,
    Record, Sequence, Timestamp, TopicConfig, Verifier,
};

/// Copies a partition's files, so that opening it changes nothing that another test reads.
fn copy(from: &Path) -> (tempfile::TempDir, PathBuf) {
    let held = scratch();
    let dir = held.path().join(from.file_name().unwrap());
    fs::create_dir(&dir).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), dir.join(entry.file_name())).unwrap();
    }
    (held, dir)
}

fn open(dir: &Path, start: Option<i64>) -> tidelog::Result<Log> {
    let start = Offset::new(start.unwrap_or(0).max(0));
    Log::builder(dir).log_start(start).read_uncommitted().open()
}

/// Opens a partition as Kafka has opened it: after its clean close, or after a stop.
fn open_as_kafka(dir: &Path, partition: &Partition) -> tidelog::Result<Log> {
    let start = partition.checkpoints.log_start_offset.unwrap_or(partition.opened.log_start_offset);
    let builder = Log::builder(dir).log_start(Offset::new(start.max(0))).read_uncommitted();
    let point = Offset::new(partition.checkpoints.recovery_point.unwrap_or(0));
    match partition.opened_as_clean {
        true => builder.recovery_point(point).closed_cleanly().open(),
        false => builder.recovery_point(point).open(),
    }
}

/// The records Kafka serves, where they are listed: those that lie in a `.swap` file before the
/// opening are not, and are known by their hash alone.
fn listed(partition: &Partition) -> Option<Vec<&common::golden::Record>> {
    let swapped = partition.on_disk.files.iter().any(|(name, _)| name.ends_with(".swap"));
    let records = partition.data_records().filter(|_| !swapped);
    records.map(Iterator::collect)
}

/// Reads everything and holds it against what Kafka read; returns the end offset.
fn assert_records(shown: &str, log: &Log, partition: &Partition) {
    let mut hash = RecordsSha256::default();
    let mut expected = listed(partition);
    if let Some(expected) = &mut expected {
        expected.reverse();
    }
    let (mut next, mut count) = (log.start_offset(), 0);
    loop {
        let records = log.read(next, 10_000).unwrap_or_else(|error| panic!("{shown}: {error}"));
        if records.is_empty() {
            break;
        }
        for record in &records {
            let headers: Vec<_> = record.headers().map(|it| (it.name(), it.value())).collect();
            let timestamp = record.timestamp().map_or(-1, tidelog::Timestamp::as_millis);
            let at = record.offset().get();
            if let Some(expected) = &mut expected {
                let wanted = expected.pop().unwrap_or_else(|| panic!("{shown}: {at} is too much"));
                assert_eq!((at, timestamp), (wanted.offset, wanted.timestamp), "{shown}");
                assert_eq!(record.key(), wanted.key.as_deref(), "{shown} offset {at}");
                assert!(wanted.value.matches(record.value()), "{shown} offset {at}");
                let theirs: Vec<_> = wanted
                    .headers
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_deref()))
                    .collect();
                assert_eq!(headers, theirs, "{shown} offset {at}");
            }
            hash.add(at, timestamp, record.key(), record.value(), headers);
            count += 1;
            next = Offset::new(at + 1);
        }
    }
    assert_eq!(count, partition.opened.record_count, "{shown}");
    assert_eq!(hash.finish(), partition.opened.records_sha256, "{shown}");
    assert!(expected.is_none_or(|left| left.is_empty()), "{shown}: records are missing");
}

/// The producers and the last stable offset are those that Kafka has after it opened the same.
fn assert_producers(shown: &str, log: &Log, partition: &Partition) {
    let known: Vec<_> = log
        .producers()
        .iter()
        .map(|known| Producer {
            producer_id: known.identity().id().get(),
            producer_epoch: i64::from(known.identity().epoch().get()),
            last_sequence: known.last_sequence().map_or(-1, |last| i64::from(last.get())),
            last_data_offset: None,
            offset_delta: None,
            last_timestamp: known.last_timestamp().map_or(-1, Timestamp::as_millis),
            coordinator_epoch: known.coordinator_epoch().map_or(-1, i64::from),
            current_txn_first_offset: Some(known.transaction_start().map_or(-1, Offset::get)),
        })
        .collect();
    assert_eq!(known, partition.opened.producers, "{shown}");
    let stable = log.first_unstable_offset().unwrap_or(log.end_offset());
    assert_eq!(stable.get(), partition.opened.last_stable_offset, "{shown}");
}

fn of_producers(name: &str) -> bool {
    name.ends_with(".snapshot") || name.ends_with(".txnindex")
}

fn snapshots(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| of_producers(&entry.file_name().to_string_lossy()))
        .map(|entry| {
            (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).unwrap())
        })
        .collect();
    found.sort();
    found
}

/// Opens one partition, reads it, tries to append, closes it, reads it again.
fn check_partition(shown: &str, path: &Path, partition: &Partition) {
    let (_held, dir) = copy(path);
    let log = open_as_kafka(&dir, partition).unwrap_or_else(|error| panic!("{shown}: {error}"));
    assert!(log.report().damage().is_empty(), "{shown}: {:?}", log.report());
    let opened = &partition.opened;
    assert_eq!(log.start_offset().get(), opened.log_start_offset, "{shown}");
    assert_eq!(log.end_offset().get(), opened.log_end_offset, "{shown}");
    assert_records(shown, &log, partition);
    assert_timestamps(shown, &log, partition);
    assert_producers(shown, &log, partition);
    let known = log.producers();
    let appended = log.append(&[Record::new("ours")]);
    let receipt = appended.unwrap_or_else(|error| panic!("{shown}: {error}"));
    assert_eq!(receipt.first_offset().get(), opened.log_end_offset, "{shown}");
    let epochs = opened.leader_epochs.iter().map(|(epoch, _)| *epoch).max();
    assert!(epochs.is_none_or(|epoch| i64::from(receipt.epoch().get()) > epoch), "{shown}");
    log.close().unwrap();
    let log = open(&dir, None).unwrap();
    assert!(!log.report().is_notable(), "{shown}: {:?}", log.report());
    let last = log.read(receipt.first_offset(), 1000).unwrap();
    assert_eq!(last.iter().next().and_then(|it| it.value()), Some(&b"ours"[..]), "{shown}");
    assert_eq!(log.producers(), known, "{shown}: after a clean close");
    log.close().unwrap();
    let verified = Verifier::new(&dir).run().unwrap();
    assert!(verified.findings().is_empty(), "{shown}: {verified}");
}

/// The names and bytes of the snapshots and transaction indexes, after an opening and a closing.
#[test]
fn snapshots_are_those_that_kafka_leaves() {
    for name in names() {
        let scenario = Scenario::load(&name);
        let Kind::Partition(partition) = &scenario.kind else { continue };
        let (_held, dir) = copy(&scenario.partition_path());
        open_as_kafka(&dir, partition).unwrap().close().unwrap();
        let ours: Vec<_> =
            snapshots(&dir).into_iter().map(|it| (it.0, it.1.len() as u64)).collect();
        let kafkas = partition.opened.files_after_close.iter();
        let kafkas: Vec<_> = kafkas.filter(|(name, _)| of_producers(name)).cloned().collect();
        let spared: Vec<_> = ours.iter().filter(|kept| !kafkas.contains(kept)).collect();
        assert!(spared.is_empty(), "{name}: {spared:?}");
        let missing: Vec<_> = kafkas.iter().filter(|kept| !ours.contains(kept)).collect();
        let fewer = match name.as_str() {
            // Kafka recovers each segment that has no index, and takes one for each
            "torn-no-index" => 5,
            _ => 0,
        };
        assert_eq!(missing.len(), fewer, "{name}: {missing:?}");
    }
}

/// Looks every timestamp up, and one beside each.
fn assert_timestamps(shown: &str, log: &Log, partition: &Partition) {
    let Some(records) = listed(partition) else { return };
    if partition.on_disk.batches.iter().any(|batch| batch.control) {
        return; // a marker's own time counts, as it does for Kafka, and is not among the records
    }
    let mut wanted: Vec<i64> = records.iter().map(|record| record.timestamp).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let step = (wanted.len() / 50).max(1);
    for wanted in wanted.into_iter().step_by(step).flat_map(|at| [at - 1, at, at + 1]) {
        if wanted < 0 {
            continue;
        }
        let found = log.offset_for_timestamp(tidelog::Timestamp::from_millis(wanted)).unwrap();
        let expected = records.iter().find(|record| record.timestamp >= wanted);
        let found = found.map(|(at, timestamp)| (at.get(), timestamp.as_millis()));
        assert_eq!(found, expected.map(|it| (it.offset, it.timestamp)), "{shown} at {wanted}");
    }
}

fn is_built(codec: &str) -> bool {
    match codec {
        "none" => true,
        "gzip" => cfg!(feature = "gzip"),
        "snappy" => cfg!(feature = "snappy"),
        "lz4" => cfg!(feature = "lz4"),
        "zstd" => cfg!(feature = "zstd"),
        other => panic!("no codec: {other}"),
    }
}

/// Every batch whose codec is not built in is an error that names the feature; others are read.
fn check_compressed(shown: &str, path: &Path, partition: &Partition) {
    let (_held, dir) = copy(path);
    let log = open_as_kafka(&dir, partition).unwrap();
    assert_eq!(log.end_offset().get(), partition.opened.log_end_offset, "{shown}");
    assert_producers(shown, &log, partition);
    for batch in partition.on_disk.batches.iter().filter(|batch| !batch.control) {
        if batch.last_offset < log.start_offset().get() || batch.count == 0 {
            continue; // one that compaction has emptied is stepped over
        }
        let from = Offset::new(batch.base_offset.max(log.start_offset().get()));
        match log.read(from, 1) {
            Ok(_) => assert!(is_built(&batch.codec), "{shown} offset {from}"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unsupported, "{shown}: {error}");
                let named = format!("`{}`", batch.codec);
                assert!(error.to_string().contains(&named), "{shown} {named}: {error}");
            }
        }
    }
}

fn check(shown: &str, path: &Path, partition: &Partition) {
    if partition.on_disk.batches.iter().all(|batch| is_built(&batch.codec)) {
        check_partition(shown, path, partition);
    } else {
        check_compressed(shown, path, partition);
    }
}

#[test]
fn kafkas_partitions_read_as_kafka_reads_them() {
    for name in names() {
        let scenario = Scenario::load(&name);
        match &scenario.kind {
            Kind::Partition(partition) => check(&name, &scenario.partition_path(), partition),
            Kind::Root(root) => {
                for (dir, partition) in &root.partitions {
                    let shown = format!("{name}/{dir}");
                    check(&shown, &scenario.path().join(dir), partition);
                }
            }
            Kind::Legacy(_) => {}
        }
    }
}

#[test]
fn formats_before_kafka_0_11_are_refused_and_not_touched() {
    for name in ["legacy-magic-0", "legacy-magic-1"] {
        let scenario = Scenario::load(name);
        let (_held, dir) = copy(&scenario.partition_path());
        let log = dir.join("00000000000000000000.log");
        let before = fs::read(&log).unwrap();
        let error = open(&dir, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{name}: {error}");
        assert!(error.to_string().contains("0.11"), "{name}: {error}");
        assert!(error.to_string().contains("up to offset 4"), "{name}: {error}");
        assert_eq!(error.path(), Some(&*log), "{name}");
        assert_eq!(fs::read(&log).unwrap(), before, "{name}");
    }
}

/// What a log returns from its start on: its hash, and how many records there are.
fn read_all(log: &Log) -> (String, u64) {
    let (mut hash, mut next, mut count) = (RecordsSha256::default(), log.start_offset(), 0);
    loop {
        let records = log.read(next, 10_000).unwrap();
        let Some(last) = records.iter().last() else { return (hash.finish(), count) };
        next = last.offset().next();
        for record in &records {
            let timestamp = record.timestamp().map_or(-1, tidelog::Timestamp::as_millis);
            let headers = record.headers().map(|it| (it.name(), it.value()));
            let (key, value) = (record.key(), record.value());
            hash.add(record.offset().get(), timestamp, key, value, headers);
            count += 1;
        }
    }
}

/// At both isolation levels, and again once the directory is ours.
#[test]
fn readers_get_what_kafka_s_consumers_got() {
    let (mut with_aborted, mut all_built) = (0, true);
    for name in names() {
        let scenario = Scenario::load(&name);
        let Kind::Partition(partition) = &scenario.kind else { continue };
        let Some(consumer) = &partition.consumer else { continue };
        if !partition.on_disk.batches.iter().all(|batch| is_built(&batch.codec)) {
            all_built = false;
            continue;
        }
        let (_held, dir) = copy(&scenario.partition_path());
        let start = Offset::new(partition.checkpoints.log_start_offset.unwrap_or(0));
        for closing in ["of Kafka", "closed by us"] {
            let shown = format!("{name}, {closing}");
            // of what compaction left without data, only the files of a clean close tell
            let point = Offset::new(partition.checkpoints.recovery_point.unwrap_or(0));
            let builder = Log::builder(&dir).log_start(start).recovery_point(point);
            let clean = partition.opened_as_clean;
            let builder = if clean { builder.closed_cleanly() } else { builder };
            let log = builder.open().unwrap();
            let committed = &consumer.read_committed;
            let expected = (committed.records_sha256.clone(), committed.record_count);
            assert_eq!(read_all(&log), expected, "{shown}");
            assert_eq!(log.last_stable_offset().get(), committed.end_offset, "{shown}");
            let latest = log.find_offset(OffsetSpec::Latest).unwrap().unwrap();
            assert_eq!(latest.offset().get(), committed.end_offset, "{shown}");
            let aborted = log.aborted_transactions(Offset::ZERO..log.end_offset());
            let aborted = aborted.iter().map(|entry| AbortedTransaction {
                producer_id: entry.producer_id.get(),
                first_offset: entry.first.get(),
                last_offset: entry.last.get(),
                last_stable_offset: entry.last_stable.get(),
            });
            let aborted: Vec<_> = aborted.collect();
            assert_eq!(aborted, partition.opened.aborted_transactions, "{shown}");
            with_aborted += usize::from(!aborted.is_empty());
            log.close().unwrap();
        }
        let log = open(&dir, None).unwrap();
        let all = &consumer.read_uncommitted;
        assert_eq!(read_all(&log), (all.records_sha256.clone(), all.record_count), "{name}");
    }
    assert!(with_aborted >= if all_built { 4 } else { 2 }, "the control: {with_aborted}");
}

/// What recovery cuts although whole batches follow is saved beside the segment, where Kafka
/// throws it away.
#[test]
fn what_is_cut_from_the_middle_is_saved_aside() {
    let scenario = Scenario::load("torn-flip-middle");
    let (_held, dir) = copy(&scenario.partition_path());
    let log = open(&dir, None).unwrap();
    let torn = &log.report().torn_tails()[0];
    assert_eq!(torn.offset().get(), scenario.partition().opened.log_end_offset);
    assert!(torn.saved().len() > 1, "{torn:?}");
    let saved: u64 = torn.saved().iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert_eq!(saved, torn.bytes());
}

fn written(dir: &Path, config: TopicConfig) -> Log {
    let log = Log::builder(dir).config(config.timestamp_after_max(None)).open().unwrap();
    for number in 0..400_i64 {
        let value = vec![7; usize::try_from(number % 90).unwrap()];
        let at = tidelog::Timestamp::from_millis(1_000_000 + (number * 7919) % 5000);
        let records = [
            Record::new(&value).key("k").timestamp(at).header("h", "v").null_header("n"),
            Record::tombstone().key("gone"),
            Record::new("plain").without_timestamp(),
        ];
        let count = usize::try_from(number % 3).unwrap() + 1;
        log.append(&records[..count]).unwrap();
    }
    log
}

#[test]
fn kafka_accepts_what_we_closed() {
    let held = scratch();
    let small = TopicConfig::new().segment_bytes(8000).index_interval_bytes(500);
    let mut dirs = Vec::new();
    for (number, config) in [TopicConfig::new(), small.clone()].into_iter().enumerate() {
        let dir = held.path().join(format!("ours-{number}"));
        written(&dir, config.clone()).close().unwrap();
        let again = Log::builder(&dir).config(config).open().unwrap();
        again.append(&[Record::new("of another epoch")]).unwrap();
        again.close().unwrap();
        dirs.push(dir);
    }
    let test = "kafka_accepts_what_we_closed";
    let Some(lines) = kafka_check(&dirs, &["--no-gaps"]).accepted(test) else { return };
    assert_eq!(lines.len(), 2);
    let trimmed = held.path().join("ours-2");
    let log = written(&trimmed, small);
    log.delete_records_before(Offset::new(333)).unwrap();
    log.apply_retention().unwrap();
    log.maintain().unwrap();
    log.close().unwrap();
    let start = ["--log-start-offset", "333"];
    kafka_check(&[trimmed], &start).accepted(test);
}

/// The window of zeros that a kill leaves is a torn tail for Kafka too.
#[test]
fn kafka_recovers_what_a_kill_left() {
    let held = scratch();
    let dir = held.path().join("ours-0");
    let log = written(&dir, TopicConfig::new());
    let (_copy, killed) = copy(&dir);
    let expected = log.end_offset().get();
    drop(log);
    let checked = kafka_check(&[killed], &["--unclean"]);
    let Some(lines) = checked.accepted("kafka_recovers_what_a_kill_left") else { return };
    assert_eq!(lines[0]["logEndOffset"], expected, "{}", lines[0]);
}

#[test]
fn adopted_values_that_are_long_match_by_hash() {
    let scenario = Scenario::load("large-record");
    let records = scenario.partition().on_disk.records.as_ref().unwrap();
    assert!(records.iter().any(|record| matches!(record.value, Payload::Hashed { .. })));
}

/// Kafka knows our producers from our snapshots, and the same ones from our batches.
#[test]
fn kafka_knows_the_producers_we_closed_with() {
    let held = scratch();
    let dir = held.path().join("numbered-0");
    let config = TopicConfig::new().segment_bytes(4000).timestamp_after_max(None);
    let log = Log::builder(&dir).config(config).open().unwrap();
    let identity =
        |id, epoch| ProducerIdentity::new(ProducerId::new(id), ProducerEpoch::new(epoch));
    let mut next = [Sequence::FIRST, Sequence::new(i32::MAX - 10).unwrap(), Sequence::FIRST];
    for number in 0..90_usize {
        let (at, count) = (number % 3, 1 + u32::try_from(number % 4).unwrap());
        let epoch = i16::from(at == 2 && number > 40);
        if number == 41 {
            next[2] = Sequence::FIRST;
        }
        let records: Vec<_> = (0..count).map(|_| Record::new("numbered").key("k")).collect();
        let us = identity(i64::try_from(at).unwrap(), epoch);
        log.append_produced(&records, us, next[at]).unwrap();
        next[at] = next[at].after(count);
        if number % 20 == 0 {
            log.maintain().unwrap();
            log.append(&[Record::new("of nobody")]).unwrap();
        }
    }
    let known = log.producers();
    log.close().unwrap();
    let test = "kafka_knows_the_producers_we_closed_with";
    let Some(lines) = kafka_check(&[dir], &[]).accepted(test) else { return };
    let kafkas = lines[0]["producers"].as_array().expect("a list").clone();
    assert_eq!(kafkas.len(), known.len());
    for (known, kafkas) in known.iter().zip(kafkas) {
        let ours = [
            known.identity().id().get(),
            i64::from(known.identity().epoch().get()),
            known.last_sequence().map_or(-1, |last| i64::from(last.get())),
            known.last_timestamp().map_or(-1, Timestamp::as_millis),
        ];
        let keys = ["producerId", "producerEpoch", "lastSequence", "lastTimestamp"];
        assert_eq!(ours.map(Some), keys.map(|key| kafkas[key].as_i64()), "{kafkas}");
    }
}

/// Transactions of three producers between plain records: as Kafka reads them, and as it makes
/// them again from the log alone.
#[test]
fn kafka_accepts_our_transactions() {
    let held = scratch();
    let dir = held.path().join("ours-0");
    let config = TopicConfig::new().segment_bytes(3000).index_interval_bytes(500);
    let log = Log::builder(&dir).config(config).open().unwrap();
    let of = |id: i64, epoch| ProducerIdentity::new(ProducerId::new(id), ProducerEpoch::new(epoch));
    let mut epochs = [0; 4];
    for number in 0..300_usize {
        let id = [1, 0, 2, 3, 2, 1, 0, 3, 1, 2][number * 7 % 10];
        let us = of(i64::try_from(id).unwrap(), epochs[id]);
        let records = [Record::new("value").key("key")];
        match number % 11 {
            5 | 8 if id > 0 => {
                let kind = if number % 2 == 0 { MarkerKind::Commit } else { MarkerKind::Abort };
                if number % 5 == 0 {
                    epochs[id] += 1; // as transactions of Kafka's second version do
                }
                let us = of(us.id().get(), epochs[id]);
                log.append_marker(us, 3, kind).unwrap();
            }
            _ if id > 0 => {
                let next = log.next_sequence(us).unwrap();
                log.append_transactional(&records, us, next).unwrap();
            }
            _ => drop(log.append(&records).unwrap()),
        }
        if number == 150 {
            log.maintain().unwrap();
        }
    }
    let aborted = log.aborted_transactions(Offset::ZERO..log.end_offset());
    let aborted: Vec<_> = aborted
        .iter()
        .map(|entry| [entry.producer_id.get(), entry.first.get(), entry.last.get()])
        .collect();
    assert!(aborted.len() > 5 && log.first_unstable_offset().is_some(), "the control");
    let stable = log.last_stable_offset().get();
    log.close().unwrap();
    let verdict = kafka_check(&[dir], &["--no-gaps"]);
    let Some(lines) = verdict.accepted("kafka_accepts_our_transactions") else { return };
    assert_eq!(lines[0]["lastStableOffset"].as_i64(), Some(stable));
    let theirs = lines[0]["abortedTransactions"].as_array().unwrap().iter().map(|entry| {
        ["producerId", "firstOffset", "lastOffset"].map(|name| entry[name].as_i64().unwrap())
    });
    assert_eq!(theirs.collect::<Vec<_>>(), aborted);
}
