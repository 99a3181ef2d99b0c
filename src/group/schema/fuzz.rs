//! Fuzz target of the records of `__consumer_offsets`: keys and values, ours and Kafka's.
//!
//! Texts lie within the bytes that were read; what has an encoder reads the same when it is
//! written again. Called by `crate::fuzzing`.

use super::{
    CommittedValue, GroupValue, OffsetsKey, committed_key, consumer_group_epoch, group_key,
    group_partition, tombstone_order,
};
use crate::feed::Feed;
use crate::ids::{Generation, LeaderEpoch, Offset, PartitionId};
use crate::time::Timestamp;

/// A key or a value, as the first byte says; the second, where it is set, is the version.
pub(crate) fn schema(input: &[u8]) {
    let mut feed = Feed::new(input);
    let (kind, version) = (feed.byte(), feed.byte());
    let mut bytes = feed.rest().to_vec();
    if let Some(place) = bytes.first_chunk_mut::<2>()
        && version != 0
    {
        *place = [0, version - 1];
    }
    match kind & 3 {
        0 => key(&bytes),
        1 => committed(&bytes),
        2 => group(&bytes),
        _ => drop(consumer_group_epoch(&bytes)),
    }
}

fn key(bytes: &[u8]) {
    let Ok(key) = OffsetsKey::parse(bytes) else { return };
    let group = match key {
        OffsetsKey::Committed { group, topic, partition } => {
            let again = committed_key(group, topic, partition).expect("it was a key");
            assert_eq!(OffsetsKey::parse(&again), Ok(key));
            assert_eq!(again[2..], bytes[2..], "but for its version it is the same");
            group
        }
        OffsetsKey::Classic { group } => {
            assert_eq!(group_key(group).expect("it was a key"), bytes);
            group
        }
        OffsetsKey::Newer { group, version, .. } => {
            let _ = tombstone_order(version);
            group
        }
        OffsetsKey::Unknown { .. } => return,
    };
    assert!(group.len() <= bytes.len());
    assert!(group_partition(group, 50) < 50);
}

fn committed(bytes: &[u8]) {
    let Ok(value) = CommittedValue::parse(bytes) else { return };
    assert!(value.offset >= Offset::ZERO && value.metadata.len() <= bytes.len());
    assert!(value.leader_epoch.is_none_or(|epoch| epoch.get() >= 0));
    let Ok(again) = value.encode() else {
        return assert!(super::check_metadata(value.metadata).is_err());
    };
    let without = CommittedValue { expires_at: None, ..value };
    assert_eq!(CommittedValue::parse(&again), Ok(without));
}

fn group(bytes: &[u8]) {
    let Ok(value) = GroupValue::parse(bytes) else { return };
    assert!(value.protocol_type.len() <= bytes.len());
    let again = value.encode().expect("its protocol was read");
    let without = GroupValue { has_members: false, ..value };
    assert_eq!(GroupValue::parse(&again), Ok(without));
}

/// Inputs of `schema`: what is written here, and a member of Kafka's.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let key = committed_key("billing", "orders", PartitionId::new(3)).expect("short");
    let value = CommittedValue {
        offset: Offset::new(17),
        leader_epoch: Some(LeaderEpoch::new(2)),
        metadata: "by hand",
        committed_at: Timestamp::from_millis(1_000),
        expires_at: None,
    };
    let value = value.encode().expect("short");
    let group = GroupValue::of_consumers(Generation::new(5), None).encode().expect("short");
    let text =
        |text: &str| [&[0, u8::try_from(text.len()).unwrap_or(0)][..], text.as_bytes()].concat();
    let member = [
        text("member"),
        text("instance"),
        text("client"),
        text("host"),
        vec![0; 8],
        vec![0, 0, 0, 1, 9, 0, 0, 0, 1, 9],
    ];
    let mut with_member = group.clone();
    let last = with_member.len() - 1;
    with_member[last] = 1;
    with_member.extend(member.concat());
    let with = |head: [u8; 2], bytes: &[u8]| [&head[..], bytes].concat();
    vec![
        with([0, 0], &key),
        with([0, 0], &group_key("billing").expect("short")),
        with([0, 9], &[&[0, 0][..], &text("group"), &text("member")].concat()),
        with([1, 0], &value),
        with([1, 2], &value),
        with([2, 0], &group),
        with([2, 0], &with_member),
        with([3, 1], &[0, 0, 0, 0, 0, 7, 0]),
    ]
}
