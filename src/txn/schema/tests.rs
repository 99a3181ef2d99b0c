//! The codec against bytes of a Kafka 4.1.1 broker (`tests/golden/groups-root`), a value of
//! version 0 made by hand, round trips, and every cut of each.

use proptest::prelude::*;

use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    let hex: String = hex.split_whitespace().collect();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn partitions(all: &[(&str, u32)]) -> Partitions {
    let mut partitions = Partitions::new();
    for (topic, id) in all {
        partitions.entry(Arc::from(*topic)).or_default().insert(PartitionId::new(*id));
    }
    partitions
}

fn state(epoch: i16, phase: TransactionPhase, updated: i64, started: i64) -> TransactionState {
    TransactionState {
        producer: ProducerId::new(1),
        epoch: ProducerEpoch::new(epoch),
        previous: None,
        next: None,
        timeout: Duration::from_secs(7000),
        phase,
        partitions: Partitions::new(),
        updated: Timestamp::from_millis(updated),
        started: Timestamp::from_wire(started),
        client_version: if started < 0 { 0 } else { 2 },
    }
}

/// Values as the broker wrote them for `t-offsets`, and what Kafka's own reader said of them.
#[test]
fn broker_bytes_both_ways() {
    const OFFSETS: (&str, u32) = ("__consumer_offsets", 0);
    let begun = 1_795_460_967_138;
    let cases = [
        (
            "000100000000000000010000006acfc00000000001a209d02a02ffffffffffffffff00",
            state(0, TransactionPhase::Empty, 1_795_460_966_914, -1),
            vec![],
        ),
        (
            "000100000000000000010000006acfc00102135f5f636f6e73756d65725f6f66667365747302000000
             0000000001a209d02ae2000001a209d02ae20102020002",
            state(0, TransactionPhase::Ongoing, begun, begun),
            vec![OFFSETS],
        ),
        (
            "000100000000000000010001006acfc00401000001a209d02b41000001a209d02ae20102020002",
            state(1, TransactionPhase::CompleteCommit, 1_795_460_967_233, begun),
            vec![],
        ),
    ];
    for (hex, expected, places) in cases {
        let expected = TransactionState { partitions: partitions(&places), ..expected };
        assert_eq!(TransactionState::parse(&bytes(hex)).as_ref(), Ok(&expected));
        assert_eq!(expected.encode().unwrap(), bytes(hex));
    }
    // Kafka lists partitions in the order of a hash
    let both = "000100000000000000010001006acfc0020308672d6f7468657202000000000013
        5f5f636f6e73756d65725f6f666673657473020000000000000001a209d02b3e000001a209d02ae2
        0102020002";
    let expected = TransactionState {
        partitions: partitions(&[OFFSETS, ("g-other", 0)]),
        ..state(1, TransactionPhase::PrepareCommit, 1_795_460_967_230, begun)
    };
    assert_eq!(TransactionState::parse(&bytes(both)), Ok(expected));
    let key = bytes("00000009742d6f666673657473");
    assert_eq!(StateKey::parse(&key), Ok(StateKey::Transaction("t-offsets")));
    assert_eq!(state_key("t-offsets").unwrap(), key);
    assert_eq!(StateKey::parse(&bytes("0001")), Ok(StateKey::Unknown));
}

#[test]
fn values_of_version_0_and_unknown_tags() {
    let head = "0000000000000001 0003 00000001";
    let v0 = format!(
        "0000 {head} 01 00000001 0001 61 00000002 00000000 00000007 0000000000000005 \
         0000000000000004"
    );
    let read = TransactionState::parse(&bytes(&v0)).unwrap();
    assert_eq!(read.partitions, partitions(&[("a", 0), ("a", 7)]));
    assert_eq!((read.epoch.get(), read.client_version), (3, 0));
    let none = format!("0000 {head} 00 ffffffff 0000000000000005 ffffffffffffffff");
    assert_eq!(TransactionState::parse(&bytes(&none)).unwrap().started, None);
    let tagged = format!("0001 {head} 00 00 0000000000000005 ffffffffffffffff 01 09 02 aabb");
    assert!(TransactionState::parse(&bytes(&tagged)).is_ok());
    let version = bytes(&tagged.replacen("0001", "0002", 1));
    assert!(matches!(TransactionState::parse(&version), Err(SchemaFault::Version { .. })));
    for hex in [v0, tagged] {
        let stored = bytes(&hex);
        for end in 0..stored.len() {
            assert!(TransactionState::parse(&stored[..end]).is_err(), "{hex} cut at {end}");
        }
    }
}

#[test]
fn numbers_that_lie_are_refused() {
    let tail = "00 0000000000000005 ffffffffffffffff 00";
    for (head, field) in [
        ("ffffffffffffffff 0000 00000001 00", "producer id"),
        ("0000000000000001 0000 ffffffff 00", "timeout"),
        ("0000000000000001 0000 00000001 07", "status"),
    ] {
        let read = TransactionState::parse(&bytes(&format!("0001 {head} {tail}")));
        assert!(matches!(read, Err(SchemaFault::Number { field: f, .. }) if f == field));
    }
    let many = "0001 0000000000000001 0000 00000001 01 ffffffff0f";
    assert!(TransactionState::parse(&bytes(many)).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read(
        numbers in (0i64..i64::MAX, 0i16..i16::MAX, 0u64..i32::MAX as u64, any::<i64>()),
        started in proptest::option::of(0i64..i64::MAX),
        ids in (proptest::option::of(0i64..9), proptest::option::of(0i64..9)),
        places in proptest::collection::vec(("[a-z]{1,200}", 0u32..1000), 0..20),
        kind in 1i8..7,
    ) {
        let (producer, epoch, timeout, updated) = numbers;
        let places: Vec<(&str, u32)> = places.iter().map(|(t, id)| (t.as_str(), *id)).collect();
        let state = TransactionState {
            producer: ProducerId::new(producer),
            epoch: ProducerEpoch::new(epoch),
            previous: ids.0.map(ProducerId::new),
            next: ids.1.map(ProducerId::new),
            timeout: Duration::from_millis(timeout),
            phase: phase(kind).unwrap(),
            partitions: partitions(&places),
            updated: Timestamp::from_millis(updated),
            started: started.map(Timestamp::from_millis),
            client_version: 2,
        };
        prop_assert_eq!(TransactionState::parse(&state.encode().unwrap()), Ok(state));
    }

    #[test]
    fn no_bytes_make_it_panic(input in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = StateKey::parse(&input);
        let _ = TransactionState::parse(&input);
    }
}
