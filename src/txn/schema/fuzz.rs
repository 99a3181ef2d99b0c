//! Fuzz target of the records of `__transaction_state`: keys and values, ours and Kafka's.
//!
//! What is understood reads the same when it is written again: a key has one form only, a value
//! may have come in another version, with tags that nobody here knows, or with partitions that its
//! phase does not have. Called by `crate::fuzzing`.

use super::{Partitions, StateKey, TransactionPhase, TransactionState, state_key};
use crate::feed::Feed;
use crate::ids::{PartitionId, ProducerEpoch, ProducerId};
use crate::record::MarkerKind;
use crate::time::Timestamp;
use crate::txn::state::Move;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

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
    if kind & 1 == 0 { key(&bytes) } else { value(&bytes) }
}

fn key(bytes: &[u8]) {
    if let Ok(StateKey::Transaction(id)) = StateKey::parse(bytes) {
        assert_eq!(state_key(id).expect("it was a key"), bytes);
    }
}

fn value(bytes: &[u8]) {
    let Ok(read) = TransactionState::parse(bytes) else { return };
    assert!(read.producer.get() >= 0 && read.epoch.get() >= 0);
    let again = read.encode().expect("it was read");
    let is_new = read.phase == TransactionPhase::Empty;
    let partitions = if is_new { Partitions::new() } else { read.partitions.clone() };
    let written = TransactionState { partitions, ..read.clone() };
    assert_eq!(TransactionState::parse(&again), Ok(written));
    // what recovery does with it: the end is decided, then carried through
    let fresh = Some(ProducerId::new(read.producer.get() ^ 1));
    let now = Timestamp::from_millis(5);
    let decided = read.after(Move::Prepare { kind: MarkerKind::Abort, fresh }, now);
    let done = decided.as_ref().unwrap_or(&read).after(Move::Complete, now);
    if let Ok(done) = done {
        assert!(done.partitions.is_empty() && done.prepared().is_none());
        let is_another = read.next.is_some() || done.producer != read.producer;
        assert!(is_another || done.epoch >= read.epoch);
    }
}

/// Inputs of `schema`: a key, and values of each kind.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let now = Timestamp::from_millis(1_000);
    let empty = TransactionState::new(ProducerId::new(3), Duration::from_secs(60), now);
    let ids = |ids: &[u32]| ids.iter().copied().map(PartitionId::new).collect::<BTreeSet<_>>();
    let partitions =
        Partitions::from([(Arc::from("orders"), ids(&[0, 7])), (Arc::from("t"), ids(&[1]))]);
    let open = empty.after(Move::Enlist(partitions), now).expect("it rests");
    let last = TransactionState { epoch: ProducerEpoch::new(i16::MAX - 1), ..open.clone() };
    let commit = Move::Prepare { kind: MarkerKind::Commit, fresh: Some(ProducerId::new(9)) };
    let decided = last.after(commit, now).expect("it is open");
    let done = decided.after(Move::Complete, now).expect("it is decided");
    let of_zero = [
        &[0, 0][..],
        &5_i64.to_be_bytes(),
        &[0, 2, 0, 0, 0xea, 0x60, 1],
        &[0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 4],
        &[0; 16],
    ];
    let with = |kind: u8, bytes: &[u8]| [&[kind, 0][..], bytes].concat();
    let mut seeds =
        vec![with(0, &state_key("billing").expect("short")), with(1, &of_zero.concat())];
    for state in [empty, open, decided, done] {
        seeds.push(with(1, &state.encode().expect("small")));
    }
    seeds
}
