//! The codecs against bytes of a Kafka 4.1.1 broker (`kafka-golden/groups-root`), hand-made older
//! versions, random round trips and random damage.

use proptest::prelude::*;

use super::committed::METADATA_LIMIT;
use super::*;
use crate::error::ErrorKind;
use crate::ids::{Generation, LeaderEpoch};
use crate::time::Timestamp;

fn bytes(hex: &str) -> Vec<u8> {
    let hex: String = hex.split_whitespace().collect();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn value(offset: i64, epoch: Option<i32>, metadata: &str, at: i64) -> CommittedValue<'_> {
    CommittedValue {
        offset: Offset::new(offset),
        leader_epoch: epoch.map(LeaderEpoch::new),
        metadata,
        committed_at: Timestamp::from_millis(at),
        expires_at: None,
    }
}

/// Key and value as the broker wrote them, and what Kafka's own reader said of them.
#[test]
fn broker_bytes_both_ways() {
    let cases = [
        (
            "0001000d636c61737369632d67726f75700007672d6f7468657200000000",
            "000400000000000000320000000001000001a209d01faf00",
            ("classic-group", "g-other", 0),
            value(50, Some(0), "", 1_795_460_964_271),
        ),
        (
            "0001000d636c61737369632d67726f75700006672d6461746100000000",
            "0004000000000000002a0000000010d0bcd0b5d182d0b02de695b0e68dae000001a209d01fbd00",
            ("classic-group", "g-data", 0),
            value(42, Some(0), "мета-数据", 1_795_460_964_285),
        ),
        (
            "0001000e636f6e73756d65722d67726f75700006672d6461746100000001",
            "0004000000000000003700000000086b69702d383438000001a209d0228400",
            ("consumer-group", "g-data", 1),
            value(55, Some(0), "kip-848", 1_795_460_964_996),
        ),
        (
            "0001000974786e2d67726f75700006672d6461746100000001",
            "00040000000000000022ffffffff01000001a209d02c4d00",
            ("txn-group", "g-data", 1),
            value(34, None, "", 1_795_460_967_501),
        ),
        (
            "0001000974786e2d67726f75700006672d6461746100000000",
            "00040000000000000021ffffffff0a636f6d6d6974746564000001a209d02c4d00",
            ("txn-group", "g-data", 0),
            value(33, None, "committed", 1_795_460_967_501),
        ),
    ];
    for (key_hex, value_hex, (group, topic, partition), expected) in cases {
        let (key_bytes, value_bytes) = (bytes(key_hex), bytes(value_hex));
        let partition = PartitionId::new(partition);
        let key = OffsetsKey::Committed { group, topic, partition };
        assert_eq!(OffsetsKey::parse(&key_bytes), Ok(key));
        assert_eq!(committed_key(group, topic, partition).unwrap(), key_bytes);
        assert_eq!(CommittedValue::parse(&value_bytes), Ok(expected));
        assert_eq!(expected.encode().unwrap(), value_bytes);
    }
}

/// The broker's longest metadata: 4,096 bytes, behind a two-byte length.
#[test]
fn broker_bytes_of_the_longest_metadata() {
    let metadata = "m".repeat(METADATA_LIMIT);
    let mut stored = bytes("0004 0000000000000007 ffffffff 8120");
    stored.extend_from_slice(metadata.as_bytes());
    stored.extend(bytes("000001a209d01fbd 00"));
    let expected = value(7, None, &metadata, 1_795_460_964_285);
    assert_eq!(CommittedValue::parse(&stored), Ok(expected));
    assert_eq!(expected.encode().unwrap(), stored);
}

/// A classic group's life: made by Kafka's first look at it, with a member, empty again.
#[test]
fn broker_bytes_of_a_classic_group() {
    let key = bytes("0002000d636c61737369632d67726f7570");
    assert_eq!(OffsetsKey::parse(&key), Ok(OffsetsKey::Classic { group: "classic-group" }));
    assert_eq!(group_key("classic-group").unwrap(), key);
    let of = |protocol_type, generation, since, has_members| GroupValue {
        protocol_type,
        generation: Generation::new(generation),
        state_since: Some(Timestamp::from_millis(since)),
        has_members,
    };
    let made = "0003000000000000ffffffff000001a209d01f5900000000";
    let live = "00030008636f6e73756d657200000001000572616e6765003e636f6e73756d65722d636c61737369
        632d67726f75702d35372d63616263383137342d666432622d343164632d396462302d6366393234
        30373966643731000001a209d01f6700000001003e636f6e73756d65722d636c61737369632d6772
        6f75702d35372d63616263383137342d666432622d343164632d396462302d636639323430373966
        643731ffff0019636f6e73756d65722d636c61737369632d67726f75702d3537000a2f3132372e30
        2e302e31000493e00000afc8000000250003000000020006672d646174610007672d6f74686572ff
        ffffff00000000ffffffffffff000000330003000000020007672d6f746865720000000100000000
        0006672d6461746100000003000000000000000100000002ffffffff";
    let empty = "00030008636f6e73756d657200000002ffffffff000001a209d01fc800000000";
    let left = of("consumer", 2, 1_795_460_964_296, false);
    for (hex, expected) in [
        (made, of("", 0, 1_795_460_964_185, false)),
        (live, of("consumer", 1, 1_795_460_964_199, true)),
        (empty, left),
    ] {
        assert_eq!(GroupValue::parse(&bytes(hex)), Ok(expected), "{hex}");
    }
    assert_eq!(left.encode().unwrap(), bytes(empty));
    let ours = GroupValue::of_consumers(Generation::new(2), left.state_since);
    assert_eq!(ours.encode().unwrap(), bytes(empty));
    let live = GroupValue::of_consumers(Generation::new(7), None);
    assert_eq!(GroupValue::parse(&live.encode().unwrap()), Ok(live));
}

#[test]
fn older_values_of_groups_and_damaged_ones() {
    let head = "0008636f6e73756d6572 00000005 0001 70 0001 6c";
    let member = "0001 6d 0001 63 0001 68";
    let v0 = format!("0000 {head} 00000001 {member} 00000009 00000001 aa 00000000");
    let v1 = format!("0001 {head} 00000001 {member} 00000008 00000009 00000001 aa 00000000");
    let v2 = format!("0002 {head} 0000000000000006 00000000");
    let v3 = format!(
        "0003 {head} 0000000000000006 00000001 0001 6d 0001 69 0001 63 0001 68
         00000008 00000009 00000001 aa 00000001 bb"
    );
    for (hex, since, has_members) in
        [(v0, None, true), (v1, None, true), (v2, Some(6), false), (v3, Some(6), true)]
    {
        let stored = bytes(&hex);
        let expected = GroupValue {
            protocol_type: "consumer",
            generation: Generation::new(5),
            state_since: since.map(Timestamp::from_millis),
            has_members,
        };
        assert_eq!(GroupValue::parse(&stored), Ok(expected), "{hex}");
        for end in 0..stored.len() {
            assert!(GroupValue::parse(&stored[..end]).is_err(), "{hex} cut at {end}");
        }
    }
    let head = "0003 0000 00000000 ffff ffff 0000000000000000";
    for (rest, fault) in [
        ("ffffffff", SchemaFault::Length { field: "count of members", length: -1 }),
        ("7fffffff", SchemaFault::Short { field: "member id", needed: 2, available: 0 }),
        ("00000000 00", SchemaFault::LeftOver(1)),
    ] {
        assert_eq!(GroupValue::parse(&bytes(&format!("{head}{rest}"))), Err(fault), "{rest}");
    }
    let version = GroupValue::parse(&bytes("0004")).unwrap_err();
    assert_eq!(version.into_error("replay", Offset::ZERO).kind(), ErrorKind::Unsupported);
    let name = "n".repeat(STRING_LIMIT + 1);
    assert_eq!(group_key(&name).unwrap_err().kind(), ErrorKind::TooLarge);
}

/// Keys of a KIP-848 group and of a share group, as the broker wrote them.
#[test]
fn keys_of_newer_kinds_name_their_group() {
    let member = "00166845767648515644516465365a4f502d4743776b5167";
    let consumer = "000e636f6e73756d65722d67726f7570";
    let share = "000b73686172652d67726f7570";
    for (version, group, has_member) in [
        (3, "consumer-group", false),
        (5, "consumer-group", true),
        (6, "consumer-group", false),
        (7, "consumer-group", true),
        (8, "consumer-group", true),
        (10, "share-group", true),
        (11, "share-group", false),
        (12, "share-group", false),
        (13, "share-group", true),
        (14, "share-group", true),
        (15, "share-group", false),
    ] {
        let (kind, name) = match group {
            "share-group" => (GroupKind::Share, share),
            _ => (GroupKind::Consumer, consumer),
        };
        let rest = if has_member { member } else { "" };
        let stored = bytes(&format!("{version:04x} {name} {rest}"));
        let expected = OffsetsKey::Newer { group, kind, version };
        assert_eq!(OffsetsKey::parse(&stored), Ok(expected), "{version}");
        let longer = [&stored[..], &[0]].concat();
        assert_eq!(OffsetsKey::parse(&longer), Err(SchemaFault::LeftOver(1)), "{version}");
    }
    for (version, rest) in [(9, "ff"), (18, ""), (24, ""), (-1, "ff")] {
        let mut stored = i16::to_be_bytes(version).to_vec();
        stored.extend(bytes(rest));
        assert_eq!(OffsetsKey::parse(&stored), Ok(OffsetsKey::Unknown { version }));
    }
    let first = consumer_group_epoch(&bytes("0000000000010100081e2451005ff9c662"));
    assert_eq!(first, Ok(Generation::new(1)));
    assert_eq!(consumer_group_epoch(&bytes("00000000000200")), Ok(Generation::new(2)));
    assert!(consumer_group_epoch(&bytes("00010000000200")).is_err());
    assert!(consumer_group_epoch(&bytes("0000000000020000")).is_err());
}

#[test]
fn members_records_end_before_those_of_their_group() {
    let mut versions = [3, 4, 5, 6, 7, 8, 16];
    versions.sort_by_key(|version| tombstone_order(*version));
    assert_eq!(versions, [8, 7, 6, 5, 16, 4, 3], "as Kafka's own coordinator ends a group");
}

#[test]
fn older_versions_and_unknown_tags() {
    let plain = value(9, None, "hi", 5);
    let epoch = value(9, Some(3), "hi", 5);
    let expiring = CommittedValue { expires_at: Some(Timestamp::from_millis(6)), ..plain };
    let cases = [
        ("0000 0000000000000009 0002 6869 0000000000000005", plain),
        ("0001 0000000000000009 0002 6869 0000000000000005 0000000000000006", expiring),
        ("0001 0000000000000009 0002 6869 0000000000000005 ffffffffffffffff", plain),
        ("0002 0000000000000009 0002 6869 0000000000000005", plain),
        ("0003 0000000000000009 00000003 0002 6869 0000000000000005", epoch),
        ("0004 0000000000000009 00000003 03 6869 0000000000000005 00", epoch),
        // Kafka 4.3's topic id, and a second tag of two varint bytes that holds nothing.
        (
            "0004 0000000000000009 00000003 03 6869 0000000000000005
             02 00 10 000102030405060708090a0b0c0d0e0f 8101 00",
            epoch,
        ),
    ];
    for (hex, expected) in cases {
        assert_eq!(CommittedValue::parse(&bytes(hex)), Ok(expected), "{hex}");
    }
    let key = bytes("0000 0001 67 0001 74 00000002");
    let partition = PartitionId::new(2);
    let expected = OffsetsKey::Committed { group: "g", topic: "t", partition };
    assert_eq!(OffsetsKey::parse(&key), Ok(expected), "key version 0");
}

#[test]
fn foreign_bytes_are_typed_faults() {
    let short = |field, needed, available| SchemaFault::Short { field, needed, available };
    let length = |field, length| SchemaFault::Length { field, length };
    for (hex, fault) in [
        ("", short("key version", 2, 0)),
        ("00", short("key version", 2, 1)),
        ("0001 0005 6767", short("group", 5, 2)),
        ("0001 ffff", length("group", -1)),
        ("0001 0001 ff", SchemaFault::NotUtf8("group")),
        ("0001 0001 67 0001 74 ffffffff", SchemaFault::Number { field: "partition", number: -1 }),
        ("0001 0001 67 0001 74 00000000 00", SchemaFault::LeftOver(1)),
        ("0002 0001 67 00", SchemaFault::LeftOver(1)),
    ] {
        assert_eq!(OffsetsKey::parse(&bytes(hex)), Err(fault), "{hex}");
    }
    let head = "0004 0000000000000009 00000003";
    for (rest, fault) in [
        ("00", length("metadata", -1)),
        ("818002", length("metadata", 0x8000)),
        ("ffffffff0f", length("metadata", 0xffff_fffe)),
        ("ffffffff1f", SchemaFault::Varint),
        ("8080808080", SchemaFault::Varint),
        ("80", short("metadata", 1, 0)),
        ("03 68", short("metadata", 2, 1)),
        ("02 ff", SchemaFault::NotUtf8("metadata")),
        ("01 0000000000000005", short("count of tagged fields", 1, 0)),
        ("01 0000000000000005 ffffffff0f", short("tag", 1, 0)),
        ("01 0000000000000005 01 00 05 00", short("tagged field", 5, 1)),
        ("01 0000000000000005 00 00", SchemaFault::LeftOver(1)),
    ] {
        assert_eq!(CommittedValue::parse(&bytes(&format!("{head}{rest}"))), Err(fault), "{rest}");
    }
    let newer = CommittedValue::parse(&bytes("0005")).unwrap_err();
    assert_eq!(newer, SchemaFault::Version { what: "a committed offset's value", version: 5 });
    assert_eq!(newer.into_error("replay", Offset::new(3)).kind(), ErrorKind::Unsupported);
    let negative = CommittedValue::parse(&bytes("0000 ffffffffffffffff")).unwrap_err();
    assert_eq!(negative, SchemaFault::Number { field: "offset", number: -1 });
    let error = negative.into_error("replay", Offset::new(3));
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Corrupt, Some(Offset::new(3))));
}

#[test]
fn what_does_not_fit_is_refused_before_it_is_written() {
    let long = "é".repeat(METADATA_LIMIT / 2 + 1);
    assert!(check_metadata(&long[2..]).is_ok());
    assert_eq!(check_metadata(&long).unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(value(1, None, &long, 0).encode().unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(value(-1, None, "", 0).encode().unwrap_err().kind(), ErrorKind::InvalidArgument);
    let name = "n".repeat(STRING_LIMIT + 1);
    let zero = PartitionId::new(0);
    assert!(committed_key(&name[1..], "t", zero).is_ok());
    assert_eq!(committed_key(&name, "t", zero).unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(committed_key("g", &name, zero).unwrap_err().kind(), ErrorKind::TooLarge);
    let beyond = committed_key("g", "t", PartitionId::new(1 << 31)).unwrap_err();
    assert_eq!(beyond.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn groups_lie_where_the_broker_put_them() {
    for (group, partition) in [
        ("classic-group", 0),
        ("consumer-group", 0),
        ("partly-deleted", 0),
        ("txn-group", 0),
        ("deleted-group", 1),
        ("txn-group-2", 1),
        ("standalone", 3),
        ("share-group", 3),
    ] {
        assert_eq!(group_partition(group, 4), partition, "{group}");
    }
    assert_eq!(group_partition("polygenelubricants", 50), 0, "its hash is i32::MIN");
    assert_eq!(group_partition("grüße-😀", 50), 347_391_577 % 50, "UTF-16 units");
    assert_eq!(group_partition("", 50), 0);
    assert_eq!(group_partition("billing", 0), 0);
}

proptest! {
    #[test]
    fn keys_and_values_come_back(
        group in ".{0,40}", topic in "[a-z]{1,20}", partition in 0u32..=0x7fff_ffff,
        offset in 0i64.., epoch in proptest::option::of(0i32..),
        metadata in ".{0,300}", at in any::<i64>(),
    ) {
        let partition = PartitionId::new(partition);
        let key = committed_key(&group, &topic, partition).unwrap();
        let expected = OffsetsKey::Committed { group: &group, topic: &topic, partition };
        prop_assert_eq!(OffsetsKey::parse(&key), Ok(expected));
        let expected = value(offset, epoch, &metadata, at);
        let stored = expected.encode().unwrap();
        prop_assert_eq!(CommittedValue::parse(&stored), Ok(expected));
        for end in 0..stored.len() {
            prop_assert!(CommittedValue::parse(&stored[..end]).is_err());
        }
        for end in 0..key.len() {
            prop_assert!(OffsetsKey::parse(&key[..end]).is_err());
        }
    }

    #[test]
    fn no_bytes_panic(version in -1i16..25, rest in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut input = version.to_be_bytes().to_vec();
        input.extend(rest);
        let _ = OffsetsKey::parse(&input);
        let _ = CommittedValue::parse(&input);
        let _ = GroupValue::parse(&input);
        let _ = consumer_group_epoch(&input);
    }
}
