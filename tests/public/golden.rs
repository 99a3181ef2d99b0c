//! The golden directories are whole, and their loader reads what it should: every scenario
//! unpacks, its files are those listed, and its records hash to what Kafka's own reader found.

use crate::common;

use std::fs;
use std::path::Path;

use common::golden::{Kind, OnDisk, Partition, Payload, RecordsSha256, Scenario, names};
use common::kafka_check::{KafkaVerdict, kafka_check};

/// The files of a partition directory are those that the expectations list.
fn assert_files(scenario: &str, dir: &Path, on_disk: &OnDisk) {
    let mut found: Vec<(String, u64)> = fs::read_dir(dir)
        .expect("the partition's directory is there")
        .map(|entry| {
            let entry = entry.expect("readable");
            let len = entry.metadata().expect("readable").len();
            (entry.file_name().to_string_lossy().into_owned(), len)
        })
        .collect();
    found.sort();
    let mut listed = on_disk.files.clone();
    listed.sort();
    assert_eq!(found, listed, "{scenario}: {}", dir.display());
    for segment in &on_disk.segments {
        let log = fs::read(dir.join(format!("{:020}.log", segment.base_offset))).expect("a log");
        assert_eq!(log.len() as u64, segment.log_bytes, "{scenario}");
        let own = on_disk.batches.iter().filter(|batch| batch.segment == segment.base_offset);
        for batch in own {
            let at = usize::try_from(batch.position).expect("64-bit");
            let base_offset = i64::from_be_bytes(log[at..at + 8].try_into().expect("8 bytes"));
            assert_eq!(base_offset, batch.base_offset, "{scenario}: position {at}");
        }
    }
}

/// Hashes what the expectations list and compares it with what Kafka served. False where a long
/// value is known by its hash only.
fn assert_hash(scenario: &str, partition: &Partition) -> bool {
    let Some(records) = partition.data_records() else { return false };
    let (mut hash, mut count) = (RecordsSha256::default(), 0);
    for record in records {
        let value = match &record.value {
            Payload::Null => None,
            Payload::Bytes(bytes) => Some(bytes.as_slice()),
            Payload::Hashed { .. } => return false,
        };
        let headers = record.headers.iter();
        let headers = headers.map(|(name, value)| (name.as_str(), value.as_deref()));
        hash.add(record.offset, record.timestamp, record.key.as_deref(), value, headers);
        count += 1;
    }
    assert_eq!(count, partition.opened.record_count, "{scenario}");
    assert_eq!(hash.finish(), partition.opened.records_sha256, "{scenario}");
    true
}

#[test]
fn every_scenario_loads() {
    let (mut scenarios, mut partitions, mut hashed) = (0, 0, 0);
    for name in names() {
        let scenario = Scenario::load(&name);
        scenarios += 1;
        match &scenario.kind {
            Kind::Partition(partition) => {
                assert_files(&name, &scenario.partition_path(), &partition.on_disk);
                partitions += 1;
                hashed += u32::from(assert_hash(&name, partition));
            }
            Kind::Root(root) => {
                assert!(!root.partitions.is_empty(), "{name}");
                for (dir, partition) in &root.partitions {
                    let shown = format!("{name}/{dir}");
                    assert_eq!(*dir, format!("{}-{}", partition.topic, partition.partition));
                    assert_files(&shown, &scenario.path().join(dir), &partition.on_disk);
                    partitions += 1;
                    hashed += u32::from(assert_hash(&shown, partition));
                }
                for entry in &root.entries {
                    assert!(scenario.path().join(entry).exists(), "{name}/{entry}");
                }
            }
            Kind::Legacy(records) => assert_eq!(records.len(), 6, "{name}"),
        }
    }
    // 25 hold long values, known by hash alone; 18 are coordinator topics, without records.
    assert_eq!((scenarios, partitions, hashed), (44, 79, 79 - 25 - 18));
}

#[test]
fn a_record_that_differs_hashes_differently() {
    let hash = |offset, value: Option<&[u8]>, headers: &[(&str, Option<&[u8]>)]| {
        let mut hash = RecordsSha256::default();
        hash.add(offset, 7, None, value, headers.iter().copied());
        hash.finish()
    };
    let plain = hash(1, Some(b""), &[]);
    assert_ne!(plain, hash(2, Some(b""), &[]));
    assert_ne!(plain, hash(1, None, &[]));
    assert_ne!(plain, hash(1, Some(b""), &[("a", None)]));
    let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(RecordsSha256::default().finish(), nothing);
}

#[test]
fn kafka_judges_its_own_directories() {
    let good = Scenario::load("codec-none");
    let torn = Scenario::load("torn-cut");
    let test = "kafka_judges_its_own_directories";
    let Some(lines) = kafka_check(&[good.partition_path()], &[]).accepted(test) else { return };
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["recordsSha256"], *good.partition().opened.records_sha256);
    match kafka_check(&[torn.partition_path()], &["--clean"]) {
        KafkaVerdict::Refused(lines) => assert_eq!(lines[0]["ok"], false),
        other => panic!("a torn log passes as clean: {other:?}"),
    }
    let lines = kafka_check(&[torn.partition_path()], &["--unclean"]).accepted(test);
    assert_eq!(lines.map(|lines| lines.len()), Some(1));
}
