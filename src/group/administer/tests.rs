//! Tests of what operators do: only while a group rests, all of it or nothing, for good.

use super::super::offsets::OFFSETS_TOPIC;
use super::super::offsets::tests::{
    commit, forward, kafka_topic, offset_of, reopen, send, store, topic,
};
use super::*;
use crate::engine::{Engine, Partition};
use crate::error::ErrorKind;
use crate::group::{CommitMode, Interest, JoinRequest, Seat, Step, StickyAssignor};
use crate::ids::Offset;
use crate::time::Timestamp;

const PROCESS: Durability = Durability::Process;

/// A member; dropping it lets it leave.
struct Joined(Arc<Seat>);

impl Drop for Joined {
    fn drop(&mut self) {
        self.0.leave();
    }
}

fn join(offsets: &Arc<OffsetStore>, group: &str, topics: &[&str]) -> Joined {
    let request = JoinRequest {
        distribution: Distribution::Divided,
        interest: Interest::Topics(topics.iter().map(|topic| Arc::from(*topic)).collect()),
        assignor: Arc::new(StickyAssignor::new()),
        instance_id: None,
        max_poll_interval: std::time::Duration::MAX,
    };
    let seat = offsets.join(&Arc::from(group), request).unwrap();
    while !matches!(seat.next_step().unwrap(), Step::Settled(_)) {}
    Joined(seat)
}

fn reset(partition: &Partition, offset: i64) -> [Commit<'_>; 1] {
    [commit(partition, offset, CommitMode::Reset)]
}

fn log_end(engine: &Engine) -> i64 {
    let topic = engine.topic(OFFSETS_TOPIC).unwrap();
    topic.partitions().iter().map(|each| each.offsets().unwrap().end.get()).sum()
}

#[test]
fn a_group_with_members_is_neither_reset_nor_deleted() {
    let (_disk, engine, offsets) = store();
    let orders = topic(&engine, "orders", 9);
    let returns = topic(&engine, "returns", 9);
    let both = [forward(&orders, 5)[0], forward(&returns, 6)[0]];
    offsets.commit("g", &both, PROCESS).unwrap();
    let member = join(&offsets, "g", &["orders"]);
    let before = log_end(&engine);
    let refused = [
        offsets.reset("g", &reset(&orders, 1), PROCESS).unwrap_err(),
        offsets.reset("g", &[], PROCESS).unwrap_err(),
        offsets.delete_group("g").unwrap_err(),
        offsets.delete_offsets("g", "orders").unwrap_err(),
        offsets.clone_group("h", "g", PROCESS).unwrap_err(),
    ];
    let kinds = refused.map(|error| error.kind());
    assert_eq!(kinds[..4], [ErrorKind::GroupNotEmpty; 4]);
    assert_eq!(kinds[4], ErrorKind::NotFound, "there is no source");
    assert_eq!(log_end(&engine), before, "nothing was written");
    assert_eq!(offsets.delete_offsets("g", "returns").unwrap(), 1, "nobody follows it");
    assert_eq!(offset_of(&offsets, "g", &orders), Some(5));
    drop(member);
    offsets.reset("g", &reset(&orders, 1), PROCESS).unwrap();
    assert_eq!(offset_of(&offsets, "g", &orders), Some(1));
}

#[test]
fn an_unknown_group_is_not_found_and_not_made() {
    let (_disk, engine, offsets) = store();
    topic(&engine, "orders", 1);
    let errors = [
        offsets.kept("describe group", "nobody").map(|_| ()).unwrap_err(),
        offsets.delete_group("nobody").unwrap_err(),
        offsets.delete_offsets("nobody", "orders").map(|_| ()).unwrap_err(),
        offsets.clone_group("nobody", "h", PROCESS).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("no group named `nobody`"), "{error}");
    }
    assert!(offsets.groups().is_empty());
    assert_eq!(offsets.kept("describe group", "").unwrap_err().kind(), ErrorKind::InvalidName);
}

#[test]
fn a_deleted_group_is_gone_for_good_with_every_record_of_it() {
    let (disk, engine, _) = store();
    topic(&engine, "orders", 9);
    let log = kafka_topic(&engine);
    let newer = |version: i16, rest: &[u8]| [&version.to_be_bytes()[..], b"\0\x01g", rest].concat();
    send(&log, Some(&newer(3, b"")), Some(&[0, 0, 0, 0, 0, 4, 0]));
    send(&log, Some(&newer(5, b"\0\x01m")), Some(b"a member"));
    send(&log, Some(&newer(16, b"\0\x02.*")), Some(b"an expression"));
    send(&log, Some(&newer(77, b"")), Some(b"of a kind to come"));
    let (engine, offsets) = reopen(&disk, &engine);
    let orders = engine.topic("orders").unwrap().partition(PartitionId::new(0)).unwrap();
    offsets.commit("g", &forward(&orders, 5), PROCESS).unwrap();
    assert_eq!(offsets.kept("look", "g").unwrap().kind, GroupKind::Consumer);
    let before = log_end(&engine);
    offsets.delete_group("g").unwrap();
    assert_eq!(log_end(&engine), before + 4, "one tombstone for each record that is known");
    assert!(offsets.existing("g").is_none(), "nothing is remembered of it");
    let log = engine.topic(OFFSETS_TOPIC).unwrap().partition(PartitionId::new(0)).unwrap();
    assert_eq!(log.log().unwrap().offsets().snapshot().durable.get(), before + 4);
    let (_, offsets) = reopen(&disk, &engine);
    assert!(offsets.groups().is_empty());
}

#[test]
fn a_share_group_is_left_to_kafka() {
    let (disk, engine, _) = store();
    topic(&engine, "orders", 9);
    let log = kafka_topic(&engine);
    send(&log, Some(b"\0\x0b\0\x01s"), Some(b"a share group"));
    let (engine, offsets) = reopen(&disk, &engine);
    let orders = engine.topic("orders").unwrap().partition(PartitionId::new(0)).unwrap();
    assert_eq!(offsets.groups(), ["s".into()]);
    let before = log_end(&engine);
    for error in [
        offsets.commit("s", &forward(&orders, 1), PROCESS).unwrap_err(),
        offsets.reset("s", &reset(&orders, 1), PROCESS).unwrap_err(),
        offsets.delete_group("s").unwrap_err(),
        offsets.clone_group("s", "t", PROCESS).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
    assert_eq!(log_end(&engine), before);
}

#[test]
fn a_clone_has_the_offsets_and_nothing_else() {
    let (disk, engine, offsets) = store();
    let orders = topic(&engine, "orders", 9);
    let returns = topic(&engine, "returns", 9);
    let named = Commit { metadata: "sum=7", ..forward(&orders, 5)[0] };
    offsets.commit("g", &[named, forward(&returns, 6)[0]], PROCESS).unwrap();
    let since = Some(Timestamp::from_millis(7));
    offsets.record_generation(&Arc::from("g"), Generation::new(4), since).unwrap();
    let before = log_end(&engine);
    offsets.clone_group("g", "h", Durability::Power).unwrap();
    assert_eq!(log_end(&engine), before + 2);
    let again = offsets.clone_group("g", "h", PROCESS).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::GroupNotEmpty);
    assert_eq!(
        offsets.clone_group("g", "g", PROCESS).unwrap_err().kind(),
        ErrorKind::GroupNotEmpty
    );
    offsets.commit("g", &forward(&orders, 8), PROCESS).unwrap();
    let (engine, offsets) = reopen(&disk, &engine);
    let find = |name: &str| engine.topic(name).unwrap().partition(PartitionId::new(0)).unwrap();
    let (orders, returns) = (find("orders"), find("returns"));
    assert_eq!(offset_of(&offsets, "h", &orders), Some(5));
    assert_eq!(offset_of(&offsets, "h", &returns), Some(6));
    let copied = offsets.committed("h", &orders).unwrap().unwrap();
    assert_eq!(copied.metadata(), "sum=7");
    let kept = offsets.kept("look", "h").unwrap();
    assert_eq!((kept.kind, kept.generation), (GroupKind::Standalone, Generation::new(0)));
}

/// What is committed for a topic that is not there would be the first offset of whatever is made
/// under its name, for nobody forgets it in a group that is made meanwhile.
#[test]
fn a_clone_leaves_out_offsets_of_topics_that_are_not_there() {
    let (disk, engine, _) = store();
    let log = kafka_topic(&engine);
    let key = committed_key("g", "gone", PartitionId::new(0)).unwrap();
    let value = [&0i16.to_be_bytes()[..], &3i64.to_be_bytes(), &0i16.to_be_bytes(), &[0; 8]];
    send(&log, Some(&key), Some(&value.concat()));
    let (engine, offsets) = reopen(&disk, &engine);
    let before = log_end(&engine);
    offsets.clone_group("g", "h", PROCESS).unwrap();
    assert_eq!(
        (log_end(&engine), offsets.groups().len()),
        (before, 1),
        "there is nothing to clone"
    );
    let orders = topic(&engine, "orders", 9);
    offsets.commit("g", &forward(&orders, 5), PROCESS).unwrap();
    offsets.clone_group("g", "h", PROCESS).unwrap();
    assert_eq!(log_end(&engine), before + 2, "the commit, and its copy");
    assert_eq!(offset_of(&offsets, "h", &orders), Some(5));
}

#[test]
fn a_deleted_topics_offsets_go_from_groups_of_every_kind() {
    let (disk, engine, _) = store();
    topic(&engine, "orders", 9);
    let log = kafka_topic(&engine);
    send(&log, Some(b"\0\x03\0\x01k"), Some(&[0, 0, 0, 0, 0, 4, 0]));
    let (engine, offsets) = reopen(&disk, &engine);
    let orders = engine.topic("orders").unwrap().partition(PartitionId::new(0)).unwrap();
    for group in ["classic", "k", "standalone"] {
        offsets.commit(group, &forward(&orders, 5), PROCESS).unwrap();
    }
    offsets.record_generation(&Arc::from("classic"), Generation::new(2), None).unwrap();
    engine.delete_topic("orders").unwrap();
    offsets.forget_topic("orders").unwrap();
    let (_, offsets) = reopen(&disk, &engine);
    for group in ["classic", "k"] {
        assert!(offsets.all_committed(group).unwrap().is_empty());
        assert_ne!(offsets.kept("look", group).unwrap().generation, Generation::new(0), "{group}");
    }
    assert_eq!(offsets.groups(), ["classic".into(), "k".into()]);
}

#[test]
fn a_reset_beyond_the_end_changes_nothing() {
    let (_disk, engine, offsets) = store();
    let orders = topic(&engine, "orders", 9);
    offsets.commit("g", &forward(&orders, 5), PROCESS).unwrap();
    for offset in [-1, 10] {
        let error = offsets.reset("g", &reset(&orders, offset), PROCESS).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange);
        assert_eq!(error.available(), Some((Offset::ZERO, Offset::new(9))));
    }
    assert_eq!(offset_of(&offsets, "g", &orders), Some(5));
}

#[test]
fn deletes_and_commits_of_one_group_take_turns() {
    let (disk, engine, offsets) = store();
    let orders = topic(&engine, "orders", 99);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for offset in 1..100 {
                let committed = offsets.commit("g", &forward(&orders, offset), PROCESS);
                committed.unwrap(); // after a deletion any offset goes forward
            }
        });
        scope.spawn(|| {
            for _ in 0..40 {
                match offsets.delete_group("g") {
                    Ok(()) => {}
                    Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound),
                }
            }
        });
    });
    let told = offset_of(&offsets, "g", &orders);
    let (engine, offsets) = reopen(&disk, &engine);
    let orders = engine.topic("orders").unwrap().partition(PartitionId::new(0)).unwrap();
    assert_eq!(offset_of(&offsets, "g", &orders), told, "memory and log agree");
}
