//! Whole directories: Kafka's opened by a store, a store's judged by Kafka's own classes; and, in
//! `differ`, random operations side by side on a log of ours and on Kafka's.
//!
//! Kafka's roots are adopted whole: every topic, every offset, nothing removed although time
//! passes, what was acknowledged before a `kill -9` still there; and after a close Kafka accepts
//! them again. A store's own root, with rolled, trimmed and expired segments and several epochs,
//! is accepted too. Without a JDK only Kafka's verdict is skipped.

#[path = "../common/mod.rs"]
mod common;

mod behaviours;
mod compacting;
mod differ;
mod driver;
mod script;
mod side;
mod unclean;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use common::golden::{RecordsSha256, Scenario};
use common::kafka_check::kafka_check;
use common::scratch::scratch;
use serde_json::Value;
use tidelog::disk::IoMode;
use tidelog::{
    Durability, ErrorKind, GroupKind, ManualClock, Offset, OffsetCommit, ReadOnlyStore, Record,
    ResetTo, Store, Threads, Timestamp, TopicConfig, TransactionPhase, Verifier,
};

fn open(root: &Path, mode: IoMode, clock: &ManualClock) -> Store {
    let builder = Store::builder(root).io_mode(mode).clock(clock.clone());
    builder.threads(Threads::Host).open().expect("a root that opens")
}

fn accepted(root: &Path, what: &str) {
    drop(kafka_check(&[root.to_owned()], &[]).accepted(what));
}

#[test]
fn kafkas_roots_are_adopted_whole_and_handed_back() {
    for name in ["clean-root", "groups-root", "kill9-root", "live-copy-root"] {
        let clock = ManualClock::new(Timestamp::from_millis(1_900_000_000_000));
        let scenario = Scenario::load(name);
        let root = scenario.root();
        for round in 0..2 {
            let store = open(&scenario.path(), IoMode::Mapped, &clock);
            let report = store.open_report();
            assert_eq!(report.another_hand().is_some(), round == 0, "{name}");
            assert!(report.failed_partitions().is_empty(), "{name}: {report:?}");
            clock.advance(Duration::from_secs(30 * 24 * 3600));
            store.run_maintenance();
            store.apply_retention().expect("a run");
            for partition in root.partitions.values() {
                let topic = store.describe(&partition.topic).expect("an adopted topic");
                assert!(topic.is_adopted(), "{name}");
                let at = format!("{}-{}", partition.topic, partition.partition);
                let seen = topic
                    .partitions()
                    .iter()
                    .find(|seen| seen.id().get() == partition.partition)
                    .expect("the partition");
                let offsets = (seen.start_offset().get(), seen.end_offset().get());
                let opened = &partition.opened;
                let expected = (opened.log_start_offset, opened.log_end_offset);
                assert_eq!(offsets, expected, "{name}: {at}");
                let acknowledged = root.last_acked.get(&at);
                assert!(acknowledged.is_none_or(|last| offsets.1 > *last), "{name}: {at}");
            }
            store.close().expect("a clean close");
        }
        accepted(&scenario.path(), name);
    }
}

/// Kafka's transactional ids are ours: their state is read, one that hangs is shown and ended, by
/// an operator or by its own timeout, and who takes an id over goes on above its epoch.
#[test]
fn transactions_of_kafkas_producers_are_read_and_ended() {
    for by_timeout in [false, true] {
        let clock = ManualClock::new(Timestamp::from_millis(1_900_000_000_000));
        let scenario = Scenario::load("groups-root");
        let store = open(&scenario.path(), IoMode::Positioned, &clock);
        let all = store.transactions().expect("listed");
        let phases: Vec<_> = all.iter().map(|it| (it.id(), it.phase())).collect();
        let hanging = ("t-pending", TransactionPhase::Ongoing);
        assert_eq!(phases, [("t-offsets", TransactionPhase::CompleteCommit), hanging]);
        let open = store.open_transactions().expect("listed");
        assert!(!open.is_empty() && open.iter().all(|it| it.transactional_id() == Some(hanging.0)));
        if by_timeout {
            store.run_due();
            assert_eq!(store.open_transactions().expect("listed").len(), open.len());
            clock.advance(Duration::from_secs(7_001));
            store.run_due();
        } else {
            store.abort_transaction(hanging.0).expect("aborted");
        }
        assert!(store.open_transactions().expect("listed").is_empty());
        let mut producer = store.producer().transactional("t-offsets").build().expect("taken");
        let transaction = producer.begin().expect("begun");
        assert_eq!(
            (transaction.identity().id().get(), transaction.identity().epoch().get()),
            (1, 4)
        );
        transaction.topic("g-other").expect("there").send(Record::new("ours")).expect("sent");
        transaction.commit().expect("committed");
        store.close().expect("a clean close");
        accepted(&scenario.path(), "transactions_of_kafkas_producers_are_read_and_ended");
    }
}

/// A root born here, with transactions committed, aborted and over offsets, epochs that have been
/// taken over, and its own `__transaction_state`.
#[test]
fn kafka_accepts_transactions() {
    let dir = scratch();
    let store = Store::open(dir.path()).expect("a new store");
    store.ensure_topic("in", TopicConfig::new()).expect("made");
    store.ensure_topic("out", TopicConfig::new().partitions(2)).expect("made");
    store.producer().build().unwrap().topic("in").unwrap().send(Record::new("x")).unwrap();
    let mut consumer = store.consumer("g").assign([("in", 0)]).build().unwrap();
    consumer.try_poll().unwrap();
    for life in 0..3 {
        let mut producer = store.producer().transactional("t").build().unwrap();
        for number in 0..4_u32 {
            let transaction = producer.begin().unwrap();
            let out = transaction.topic("out").unwrap();
            out.send_to(number % 2, Record::new("a").key("k")).unwrap();
            out.send_batch_to(1, &[Record::new("b"), Record::new("c")]).unwrap();
            if life == 1 {
                transaction.send_offsets(&consumer.consumed().unwrap()).unwrap();
            }
            if number == 2 { transaction.abort().unwrap() } else { transaction.commit().unwrap() }
        }
    }
    assert_eq!(store.committed("g").unwrap()[0].2.offset(), Offset::new(1));
    store.close().expect("a clean close");
    accepted(dir.path(), "kafka_accepts_transactions");
}

#[test]
fn verify_looks_into_a_root_that_only_kafka_has_written_to() {
    for name in ["clean-root", "kill9-root"] {
        let scenario = Scenario::load(name);
        let report = Verifier::new(scenario.path()).run().expect("it reads");
        let known = scenario.root().partitions.len();
        assert_eq!(report.partitions(), u64::try_from(known).expect("few"), "{name}: {report}");
        assert!(report.batches() > 0 && !report.has_lost_records(), "{name}: {report}");
        assert!(report.another_hand().is_some(), "{name}: {report}");
    }
}

#[test]
fn committed_offsets_of_kafkas_groups_are_read() {
    let clock = ManualClock::new(Timestamp::from_millis(1_900_000_000_000));
    let scenario = Scenario::load("groups-root");
    let store = open(&scenario.path(), IoMode::Positioned, &clock);
    let groups = store.groups().expect("the groups");
    assert!(!groups.is_empty());
    let kinds: Vec<_> = groups.iter().map(|group| (&*group.name, group.kind)).collect();
    assert_eq!(
        kinds,
        [
            ("classic-group", GroupKind::Classic),
            ("consumer-group", GroupKind::Consumer),
            ("partly-deleted", GroupKind::Classic),
            ("share-group", GroupKind::Share),
            ("standalone", GroupKind::Standalone),
            ("txn-group", GroupKind::Standalone), // another's transaction never ended
        ]
    );
    let committed =
        groups.iter().map(|group| store.committed(&group.name).expect("its offsets").len());
    assert!(committed.sum::<usize>() > 0);
    let stats = store.stats();
    assert_eq!(stats.unreadable_commits, 0);
    for (name, generation) in [("classic-group", 2), ("consumer-group", 2), ("standalone", 0)] {
        let group = stats.groups.iter().find(|group| group.name == name).expect("the group");
        assert_eq!(group.generation.get(), generation, "{name}");
    }
}

/// What Kafka's coordinator would load of a root's `__consumer_offsets`: keys and values as its own
/// classes print them. `None`, with a printed reason, where there is no Java.
fn coordinator_state(root: &Path, what: &str) -> Option<BTreeMap<String, String>> {
    let lines = kafka_check(&[root.to_owned()], &[]).accepted(what)?;
    let states = lines.iter().filter_map(|line| line["coordinatorState"].as_object());
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    Some(states.flatten().map(|(key, value)| (key.clone(), text(value))).collect())
}

#[test]
fn kafka_reads_what_administration_leaves_of_its_groups() {
    let clock = ManualClock::new(Timestamp::from_millis(1_900_000_000_000));
    let scenario = Scenario::load("groups-root");
    let what = "administration of Kafka's groups";
    let Some(before) = coordinator_state(&scenario.path(), what) else { return };
    let store = open(&scenario.path(), IoMode::Mapped, &clock);
    let error = store.delete_group("share-group").expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    store.clone_group("standalone", "standalone-2", Durability::Power).expect("a new group");
    assert_eq!(store.delete_group_offsets("standalone", "g-data").expect("it rests"), 1);
    let reset = store.reset_group("standalone").topics(["g-other"]).to(ResetTo::Earliest);
    reset.execute(Durability::Power).expect("a reset");
    store.close().expect("a clean close");
    let after = coordinator_state(&scenario.path(), what).expect("Java is here");

    let offset = |group: &str, topic: &str, partition: u32| {
        let key = "OffsetCommitKey";
        format!("{key}(group='{group}', topic='{topic}', partition={partition})")
    };
    let written = [
        (
            offset("standalone-2", "g-data", 0),
            "OffsetCommitValue(offset=70, leaderEpoch=-1, metadata=''",
        ),
        (
            offset("standalone-2", "g-other", 0),
            "OffsetCommitValue(offset=7, leaderEpoch=-1, metadata=''",
        ),
        (offset("standalone", "g-other", 0), "OffsetCommitValue(offset=0, leaderEpoch=-1,"),
    ];
    for (key, value) in &written {
        let found = after.get(key).unwrap_or_else(|| panic!("{key}"));
        assert!(found.starts_with(value), "{key}: {found}");
        assert!(found.contains("commitTimestamp=1900000000000"), "{key}: {found}");
    }
    let changed = |key: &str| {
        key == offset("standalone", "g-data", 0)
            || written.iter().any(|(written, _)| written == key)
    };
    let mut untouched = before.clone();
    untouched.retain(|key, _| !changed(key));
    let mut left = after.clone();
    left.retain(|key, _| !written.iter().any(|(written, _)| written == key));
    assert_eq!(left, untouched, "all else is as Kafka left it");
}

/// Protocol type, generation and the time since when a group is empty, as Kafka's own classes read
/// them; members never, for ours live in one process only.
#[test]
fn kafka_reads_the_records_of_our_own_groups() {
    let clock = ManualClock::new(Timestamp::from_millis(1_700_000_000_000));
    let dir = scratch();
    let root = dir.path().join("store");
    let store = open(&root, IoMode::Mapped, &clock);
    store.create_topic("orders", TopicConfig::new().partitions(2)).expect("a topic");
    let member = |group: &str| {
        let mut consumer = store.consumer(group).subscribe(["orders"]).build().expect("a member");
        consumer.try_poll().expect("a poll");
        consumer
    };
    for _ in 0..3 {
        drop(member("billing")); // each divides anew, and leaves
    }
    let first = member("audit");
    let mut both = (first, member("audit"));
    both.0.try_poll().expect("a poll");
    let mut outsider = store.consumer("plain").assign([("orders", 0)]).build().expect("a reader");
    let commit = OffsetCommit::new("orders", 0, Offset::ZERO);
    outsider.commit_offsets(&[commit]).expect("a commit");
    store.close().expect("a clean close");
    let Some(state) = coordinator_state(&root, "the records of our groups") else { return };

    let value = |generation: i32, since: i64| {
        format!(
            "GroupMetadataValue(protocolType='consumer', generation={generation}, protocol=null, \
             leader=null, currentStateTimestamp={since}, members=[])"
        )
    };
    let key = |group: &str| format!("GroupMetadataKey(group='{group}')");
    assert_eq!(state.get(&key("billing")), Some(&value(3, 1_700_000_000_000)));
    assert_eq!(state.get(&key("audit")), Some(&value(2, -1)), "it was live when the store closed");
    assert_eq!(state.get(&key("plain")), None, "it never had members");
    let plain = "OffsetCommitKey(group='plain', topic='orders', partition=0)";
    assert!(state.contains_key(plain), "{state:?}");
}

#[test]
fn our_roots_are_kafkas() {
    for mode in [IoMode::Mapped, IoMode::Positioned] {
        let clock = ManualClock::new(Timestamp::from_millis(1_700_000_000_000));
        let dir = scratch();
        let root = dir.path().join("store");
        for round in 0..3 {
            let store = open(&root, mode, &clock);
            if round == 0 {
                let config = TopicConfig::new().partitions(2).segment_bytes(2048);
                store.create_topic("orders", config.clone()).expect("a topic");
                let config = config.retention(Duration::from_secs(3600));
                store.create_topic("expiring", config).expect("a topic");
                store.create_topic("empty", TopicConfig::new()).expect("a topic");
            }
            for name in ["orders", "expiring"] {
                let topic = store.producer().build().expect("a producer").topic(name);
                let topic = topic.expect("the topic");
                for number in 0..60 {
                    let key = format!("key-{number}");
                    let record = Record::new("some value").key(&key).header("h", "v");
                    topic.send_to(number % 2, record).expect("an append");
                }
            }
            let mut consumer =
                store.consumer("billing").subscribe(["orders"]).build().expect("a consumer");
            consumer.try_poll().expect("a poll");
            consumer.commit().expect("a commit");
            drop(consumer);
            let before = Offset::new(17 + 20 * round);
            store.delete_records_before("orders", 1, before).expect("within the log");
            if round == 1 {
                clock.advance(Duration::from_secs(7200));
                store.apply_retention().expect("a run");
            }
            store.close().expect("a clean close");
            accepted(&root, "our roots");
        }
    }
}

/// Every file below a directory, with its bytes' checksum and when it was last written.
fn state(dir: &Path) -> BTreeMap<std::path::PathBuf, (u32, std::time::SystemTime)> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).expect("it is there") {
        let entry = entry.expect("an entry");
        let found = entry.metadata().expect("it is there");
        if found.is_dir() {
            files.extend(state(&entry.path()));
        } else {
            let bytes = std::fs::read(entry.path()).expect("readable");
            let written = found.modified().expect("a time");
            files.insert(entry.path(), (crc32c::crc32c(&bytes), written));
        }
    }
    files
}

/// All that a reader gets of a partition: the hash and the count.
fn read_all(reading: &ReadOnlyStore, topic: &str, partition: u32) -> (String, u64) {
    let builder = reading.reader().assign([(topic, partition)]).read_uncommitted();
    let mut reader = builder.build().expect("a reader");
    let (mut hash, mut count) = (RecordsSha256::default(), 0);
    for records in reader.read_to_end().expect("an end") {
        for record in &records.expect("readable") {
            let timestamp = record.timestamp().map_or(-1, Timestamp::as_millis);
            let headers = record.headers().map(|it| (it.name(), it.value()));
            hash.add(record.offset().get(), timestamp, record.key(), record.value(), headers);
            count += 1;
        }
    }
    (hash.finish(), count)
}

/// Nobody has adopted them, and nobody does: offsets, records and what groups have committed are
/// read, and not a byte changes.
#[test]
fn kafkas_roots_are_read_as_they_are() {
    let all_built = cfg!(all(feature = "gzip", feature = "snappy", feature = "lz4"));
    let all_built = all_built && cfg!(feature = "zstd");
    for name in ["clean-root", "groups-root", "kill9-root", "live-copy-root"] {
        let scenario = Scenario::load(name);
        let before = state(&scenario.path());
        let builder = Store::read_only(scenario.path()).threads(Threads::Host);
        let reading = builder.open().expect("a root of Kafka's");
        for partition in scenario.root().partitions.values() {
            let topic = reading.describe(&partition.topic).expect("a topic");
            assert!(topic.is_adopted(), "{name}");
            let shown = format!("{name}: {}-{}", partition.topic, partition.partition);
            let mut partitions = topic.partitions().iter();
            let seen = partitions.find(|seen| seen.id().get() == partition.partition);
            let seen = seen.expect("the partition");
            let opened = &partition.opened;
            let offsets = (seen.start_offset().get(), seen.end_offset().get());
            assert_eq!(offsets, (opened.log_start_offset, opened.log_end_offset), "{shown}");
            if all_built {
                let read = read_all(&reading, &partition.topic, partition.partition);
                assert_eq!(read, (opened.records_sha256.clone(), opened.record_count), "{shown}");
            }
        }
        let groups = scenario.root().committed_offsets.as_object().cloned().unwrap_or_default();
        for (group, committed) in groups {
            let Some(theirs) = committed.as_object() else { continue };
            let ours = reading.committed(&group).expect("readable");
            let ours = ours.into_iter().map(|(topic, partition, committed)| {
                (format!("{topic}-{partition}"), committed.offset().get())
            });
            let theirs =
                theirs.iter().map(|(at, it)| (at.clone(), it["offset"].as_i64().expect("one")));
            assert!(ours.collect::<BTreeMap<_, _>>() == theirs.collect(), "{name}: {group}");
        }
        reading.close().expect("it closes");
        assert!(state(&scenario.path()) == before, "{name}: files have changed");
        drop(Store::open(scenario.path()).expect("now it is adopted"));
    }
}

/// A reader stands while a topic comes, and says so once a store has adopted the root.
#[test]
fn a_reader_of_kafkas_root_sees_topics_come_and_the_adoption() {
    let scenario = Scenario::load("clean-root");
    let clock = ManualClock::new(Timestamp::from_millis(1_900_000_000_000));
    let builder = Store::read_only(scenario.path()).threads(Threads::Host).clock(clock.clone());
    let reading = builder.open().expect("a root of Kafka's");
    let topics = |reading: &ReadOnlyStore| -> Vec<String> {
        let topics = reading.topics().expect("listed");
        topics.iter().map(|topic| topic.name().to_owned()).collect()
    };
    let mut known = topics(&reading);
    let from = scenario.root().partitions.keys().next().expect("a partition").clone();
    let made = scenario.path().join("made-meanwhile-0");
    std::fs::create_dir(&made).expect("made");
    clock.advance(Duration::from_secs(1));
    assert_eq!(topics(&reading), known, "there is nothing in it yet");
    for entry in std::fs::read_dir(scenario.path().join(&from)).expect("there") {
        let entry = entry.expect("an entry");
        if entry.file_name() != "partition.metadata" {
            std::fs::copy(entry.path(), made.join(entry.file_name())).expect("a copy");
        }
    }
    clock.advance(Duration::from_secs(1));
    known.push("made-meanwhile".to_owned());
    known.sort();
    assert_eq!(topics(&reading), known);
    let id = reading.describe("made-meanwhile").expect("there").id();
    std::fs::remove_dir_all(scenario.path().join(&from)).expect("gone");
    clock.advance(Duration::from_secs(1));
    assert_eq!(reading.describe("made-meanwhile").expect("there").id(), id, "drawn once");
    Store::open(scenario.path()).expect("adopted").close().expect("closed");
    clock.advance(Duration::from_secs(1));
    assert_eq!(reading.topics().unwrap_err().kind(), ErrorKind::NotAStore);
}
