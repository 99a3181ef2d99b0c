//! Each fact to bytes and back, and what bytes must not do.

use proptest::prelude::*;

use super::*;

pub(in crate::engine::root) fn topic_id(number: u8) -> TopicId {
    TopicId::from_bytes([number.max(1); 16]).unwrap()
}

fn digests() -> impl Strategy<Value = ExportDigests> {
    prop::collection::btree_map(
        prop::sample::select(ExportFile::ALL.to_vec()),
        (any::<u64>(), any::<u32>()).prop_map(|(len, crc32c)| Digest { len, crc32c }),
        0..4,
    )
}

fn config() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::vec(("[a-z.]{1,12}", ".{0,8}"), 0..4)
}

/// Any fact, over few topics, so that facts meet.
pub(in crate::engine::root) fn any_fact() -> impl Strategy<Value = Fact> {
    let id = || (1u8..5).prop_map(topic_id);
    let name = || "[ab]";
    let partition = || (0u32..4).prop_map(PartitionId::new);
    let offset = || (0i64..50).prop_map(Offset::new);
    let epoch = || (0i32..20).prop_map(LeaderEpoch::new);
    let place = (id(), partition(), offset());
    prop_oneof![
        (epoch(), any::<[u8; 16]>())
            .prop_map(|(leader_epoch, boot_id)| Fact::Opened { leader_epoch, boot_id }),
        digests().prop_map(|digests| Fact::CleanClose { digests }),
        digests().prop_map(|digests| Fact::ExportBegun { digests }),
        digests().prop_map(|digests| Fact::Exported { digests }),
        (id(), name(), config(), 0u32..4, any::<bool>(), any::<bool>()).prop_map(
            |(id, name, config, partitions, adopted, internal)| Fact::TopicCreated {
                id,
                name,
                config,
                partitions,
                adopted,
                internal
            }
        ),
        (id(), config()).prop_map(|(id, config)| Fact::TopicAltered { id, config }),
        (id(), 0u32..6).prop_map(|(id, total)| Fact::PartitionsAdded { id, total }),
        (id(), name()).prop_map(|(id, name)| Fact::TopicDeleted { id, name }),
        id().prop_map(|id| Fact::TopicForgotten { id }),
        place.clone().prop_map(|(id, partition, offset)| Fact::RecoveryPoint {
            id,
            partition,
            offset
        }),
        place.clone().prop_map(|(id, partition, offset)| Fact::LogStart { id, partition, offset }),
        place.clone().prop_map(|(id, partition, offset)| Fact::Compacted { id, partition, offset }),
        place.clone().prop_map(|(id, partition, offset)| Fact::Sparse { id, partition, offset }),
        place.clone().prop_map(|(id, partition, offset)| Fact::HighWatermark {
            id,
            partition,
            offset
        }),
        (id(), partition(), partition(), any::<bool>()).prop_map(|(id, first, end, host_led)| {
            Fact::Leadership { id, first, end, host_led }
        }),
        place.prop_map(|(id, partition, offset)| Fact::SyncFailed { id, partition, offset }),
        epoch().prop_map(|epoch| Fact::HighestEpoch { epoch }),
        id().prop_map(|id| Fact::OthersWrote { id }),
        (0i64..50).prop_map(|end| Fact::ProducerIds { end }),
        Just(Fact::JournalBegun),
        Just(Fact::JournalEnded),
    ]
}

fn encoded(fact: &Fact) -> Vec<u8> {
    let mut bytes = Vec::new();
    fact.encode(&mut bytes);
    bytes
}

#[test]
fn the_bytes_are_these() {
    let id = topic_id(7);
    let fact = Fact::RecoveryPoint { id, partition: PartitionId::new(3), offset: 258u32.into() };
    let mut golden = vec![10];
    golden.extend([7; 16]);
    golden.extend([0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 1, 2]);
    assert_eq!(encoded(&fact), golden);

    let fact = Fact::TopicCreated {
        id,
        name: "t".into(),
        config: vec![("k".into(), "v".into())],
        partitions: 2,
        adopted: true,
        internal: false,
    };
    let mut golden = vec![5];
    golden.extend([7; 16]);
    golden.extend([0, 0, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 1, b'k', 0, 0, 0, 1, b'v']);
    golden.extend([0, 0, 0, 2, 1]);
    assert_eq!(encoded(&fact), golden);
}

#[test]
fn what_could_not_be_read_back_is_refused() {
    let id = topic_id(1);
    let (partition, bad) = (PartitionId::new(0), Offset::new(-1));
    let refused = [
        Fact::PartitionsAdded { id, total: MAX_PARTITIONS + 1 },
        Fact::RecoveryPoint { id, partition, offset: bad },
        Fact::LogStart { id, partition, offset: bad },
        Fact::ProducerIds { end: -1 },
        Fact::HighestEpoch { epoch: LeaderEpoch::new(-1) },
        Fact::Opened { leader_epoch: LeaderEpoch::new(-1), boot_id: [0; 16] },
    ];
    for fact in refused {
        assert!(fact.refusal().is_some(), "{fact:?}");
        assert!(Fact::decode(&mut &*encoded(&fact)).is_err(), "{fact:?}");
    }
}

#[test]
fn a_length_beyond_the_bytes_allocates_nothing() {
    let mut bytes = vec![TOPIC_ALTERED];
    bytes.extend([1; 16]);
    bytes.extend(u32::MAX.to_be_bytes());
    assert_eq!(Fact::decode(&mut &*bytes), Err(SHORT));
    assert_eq!(Fact::decode(&mut &[99u8, 0, 0][..]), Err("an unknown kind of fact"));
}

proptest! {
    #[test]
    fn facts_round_trip(facts in prop::collection::vec(any_fact(), 0..8)) {
        let mut bytes = Vec::new();
        for fact in &facts {
            prop_assert_eq!(fact.refusal(), None);
            fact.encode(&mut bytes);
        }
        let mut rest = &*bytes;
        let mut read = Vec::new();
        while !rest.is_empty() {
            read.push(Fact::decode(&mut rest).unwrap());
        }
        prop_assert_eq!(read, facts);
    }

    #[test]
    fn a_cut_fact_is_an_error(fact in any_fact(), at in any::<prop::sample::Index>()) {
        let bytes = encoded(&fact);
        let cut = at.index(bytes.len());
        prop_assert!(Fact::decode(&mut &bytes[..cut]).is_err());
    }

    #[test]
    fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Fact::decode(&mut &*bytes);
    }
}
