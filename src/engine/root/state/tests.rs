//! The fold over facts, and the snapshot that folds back.

use proptest::prelude::*;

use super::super::fact::tests::{any_fact, topic_id};
use super::super::fact::{Digest, ExportFile};
use super::*;

fn created(id: TopicId, name: &str, partitions: u32) -> Fact {
    let (name, config) = (name.to_owned(), vec![]);
    Fact::TopicCreated { id, name, config, partitions, adopted: false, internal: false }
}

#[test]
fn a_topic_lives_grows_and_goes() {
    let (old, new) = (topic_id(1), topic_id(2));
    let partition = PartitionId::new(1);
    let mut state = RootState::fold(&[
        created(old, "orders", 2),
        Fact::RecoveryPoint { id: old, partition, offset: 9u32.into() },
        Fact::PartitionsAdded { id: old, total: 3 },
    ]);
    assert_eq!(state.topic_named("orders").unwrap().partitions.len(), 3);
    assert!(state.topic(old).unwrap().partition(partition).unwrap().holds_something());

    state.apply(&Fact::TopicDeleted { id: old, name: "orders".into() });
    assert!(state.topic_named("orders").is_none());
    assert!(state.is_deleted(old) && state.is_deleted_name("orders"));

    state.apply(&created(new, "orders", 2));
    // a late word about the old topic reaches no one
    state.apply(&Fact::RecoveryPoint { id: old, partition, offset: 9u32.into() });
    let topic = state.topic_named("orders").unwrap();
    assert_eq!((topic.id, topic.partitions[1].holds_something()), (new, false));

    state.apply(&Fact::TopicForgotten { id: old });
    assert!(!state.is_deleted_name("orders"));
}

#[test]
fn epochs_only_rise_and_run_out_with_an_error() {
    let mut state = RootState::default();
    assert_eq!(state.next_epoch(None).unwrap().get(), 0);
    state.apply(&Fact::Opened { leader_epoch: LeaderEpoch::new(4), boot_id: [1; 16] });
    state.apply(&Fact::HighestEpoch { epoch: LeaderEpoch::new(2) });
    assert_eq!(state.next_epoch(None).unwrap().get(), 5);
    assert_eq!(state.next_epoch(Some(LeaderEpoch::new(9))).unwrap().get(), 10);
    state.apply(&Fact::HighestEpoch { epoch: LeaderEpoch::new(i32::MAX) });
    assert!(state.next_epoch(None).is_err());
}

#[test]
fn a_clean_close_confirms_its_exports_and_an_opening_ends_it() {
    let digests = ExportDigests::from([(ExportFile::LogStarts, Digest::of(b"0\n0\n"))]);
    let opened = Fact::Opened { leader_epoch: LeaderEpoch::new(0), boot_id: [1; 16] };
    let mut state = RootState::fold(&[
        opened.clone(),
        Fact::ExportBegun { digests: digests.clone() },
        Fact::CleanClose { digests: digests.clone() },
    ]);
    assert_eq!(state.opening(), Opening::Clean { boot_id: [1; 16] });
    assert_eq!(state.exported(), (&digests, &[][..]));
    state.apply(&opened);
    assert_eq!(state.opening(), Opening::Open { boot_id: [1; 16] });
}

#[test]
fn what_others_wrote_stays_theirs_when_a_policy_is_set() {
    let id = topic_id(1);
    let mut state = RootState::fold(&[created(id, "t", 1), Fact::OthersWrote { id }]);
    state.apply(&Fact::TopicAltered { id, config: Vec::new() });
    let topic = state.topic(id).unwrap();
    assert!(topic.foreign && !topic.adopted);
}

proptest! {
    #[test]
    fn a_snapshot_folds_back(facts in prop::collection::vec(any_fact(), 0..40)) {
        let state = RootState::fold(&facts);
        let snapshot = state.snapshot();
        prop_assert_eq!(RootState::fold(&snapshot), state.clone());
        prop_assert!(snapshot.iter().all(|fact| fact.refusal().is_none()));
        for (name, id) in &state.names {
            prop_assert_eq!(&state.topics[id].name, name);
            prop_assert!(!state.is_deleted(*id));
        }
        prop_assert_eq!(state.names.len(), state.topics.len());
    }
}
