//! Every row of the table, under both authorities.

use super::super::fact::Fact;
use super::super::fact::tests::topic_id;
use super::*;
use crate::ids::Offset;
use Authority::{Catalog, Directory};

fn p(number: u32) -> PartitionId {
    PartitionId::new(number)
}

/// `orders` (id 1) with two partitions, `gone` (id 2) deleted.
fn catalog() -> RootState {
    RootState::fold(&[
        created(1, "orders", 2),
        Fact::TopicDeleted { id: topic_id(2), name: "gone".into() },
    ])
}

fn created(id: u8, name: &str, partitions: u32) -> Fact {
    Fact::TopicCreated {
        id: topic_id(id),
        name: name.into(),
        config: vec![],
        partitions,
        adopted: false,
        internal: false,
    }
}

/// The catalog with records kept in both partitions of `orders`.
fn catalog_with_records() -> RootState {
    let mut state = catalog();
    let (id, nine) = (topic_id(1), Offset::new(9));
    state.apply(&Fact::RecoveryPoint { id, partition: p(0), offset: nine });
    state.apply(&Fact::LogStart { id, partition: p(1), offset: nine });
    state
}

#[derive(Clone, Copy)]
enum Holds {
    Log,
    Nothing,
}

/// A partition's directory; `id` 0 stands for no metadata.
fn dir(topic: &str, partition: u32, id: u8, holds: Holds) -> SeenDir {
    SeenDir {
        name: format!("{topic}-{partition}"),
        kind: DirKind::Partition { topic: topic.into(), partition: p(partition) },
        id: if id == 0 { SeenId::Missing } else { SeenId::Id(topic_id(id)) },
        holds_log: matches!(holds, Holds::Log),
    }
}

fn other(name: &str, kind: DirKind) -> SeenDir {
    SeenDir { name: name.into(), kind, id: SeenId::Missing, holds_log: true }
}

fn opened(partition: u32, write_metadata: bool) -> OpenPartition {
    let directory = format!("orders-{partition}");
    OpenPartition { topic: topic_id(1), partition: p(partition), directory, write_metadata }
}

fn missing(partition: u32, why: Missing) -> MissingPartition {
    let directory = format!("orders-{partition}");
    MissingPartition { topic: topic_id(1), partition: p(partition), directory, why }
}

fn left(directory: &str, why: Why) -> Foreign {
    Foreign { directory: directory.into(), why }
}

/// What every plan over `catalog` has, whatever the row: `orders-1` open, `gone` forgotten.
fn base() -> Reconciled {
    Reconciled { open: vec![opened(1, false)], forget: vec![topic_id(2)], ..Reconciled::default() }
}

/// Plans for one directory in the place of `orders-0`, `orders-1` being in order.
fn with_first(state: &RootState, first: Option<SeenDir>, authority: Authority) -> Reconciled {
    let second = dir("orders", 1, 1, Holds::Log);
    let dirs: Vec<_> = first.into_iter().chain([second]).collect();
    reconcile(state, authority, &dirs)
}

#[test]
fn same_id_opens() {
    for authority in [Catalog, Directory] {
        for state in [catalog(), catalog_with_records()] {
            let plan = with_first(&state, Some(dir("orders", 0, 1, Holds::Log)), authority);
            let open = vec![opened(0, false), opened(1, false)];
            assert_eq!(plan, Reconciled { open, ..base() });
        }
    }
}

#[test]
fn a_lost_id_is_written_again() {
    let open = vec![opened(0, true), opened(1, false)];
    for authority in [Catalog, Directory] {
        for (state, holds) in [
            (catalog(), Holds::Log),
            (catalog(), Holds::Nothing),
            (catalog_with_records(), Holds::Log),
        ] {
            let mut first = dir("orders", 0, 0, holds);
            for id in [SeenId::Missing, SeenId::Unreadable] {
                first.id = id;
                let plan = with_first(&state, Some(first.clone()), authority);
                assert_eq!(plan, Reconciled { open: open.clone(), ..base() });
            }
        }
    }
}

#[test]
fn an_emptied_directory_is_damage_where_records_were_kept() {
    for authority in [Catalog, Directory] {
        let first = dir("orders", 0, 0, Holds::Nothing);
        let plan = with_first(&catalog_with_records(), Some(first), authority);
        assert_eq!(plan, Reconciled { missing: vec![missing(0, Missing::NoLog)], ..base() });
    }
}

#[test]
fn a_lost_id_under_a_deleted_name_is_damage() {
    let mut state = catalog();
    state.apply(&Fact::TopicDeleted { id: topic_id(3), name: "orders".into() });
    for authority in [Catalog, Directory] {
        let plan = with_first(&state, Some(dir("orders", 0, 0, Holds::Log)), authority);
        let expected = Reconciled {
            missing: vec![missing(0, Missing::OwnerUnknown)],
            foreign: vec![left("orders-0", Why::OwnerUnknown)],
            forget: vec![topic_id(2), topic_id(3)],
            ..base()
        };
        assert_eq!(plan, expected);
    }
}

#[test]
fn a_deleted_topics_directory_makes_room() {
    let first = || Some(dir("orders", 0, 2, Holds::Log));
    for authority in [Catalog, Directory] {
        let plan = with_first(&catalog(), first(), authority);
        let delete = vec!["orders-0".to_owned()];
        let not_yet_made = vec![(topic_id(1), p(0))];
        assert_eq!(plan, Reconciled { delete: delete.clone(), not_yet_made, ..base() });

        let plan = with_first(&catalog_with_records(), first(), authority);
        let missing = vec![missing(0, Missing::NoDirectory)];
        assert_eq!(plan, Reconciled { delete, missing, ..base() });
    }
}

#[test]
fn another_id_in_a_partitions_place_is_damage_to_it_alone() {
    for authority in [Catalog, Directory] {
        let plan = with_first(&catalog(), Some(dir("orders", 0, 9, Holds::Log)), authority);
        let expected = Reconciled {
            missing: vec![missing(0, Missing::AnotherTopics)],
            foreign: vec![left("orders-0", Why::AnotherTopicsId)],
            ..base()
        };
        assert_eq!(plan, expected);
    }
}

#[test]
fn a_topic_made_anew_by_another_hand_replaces_the_catalogs() {
    let dirs = [dir("orders", 0, 9, Holds::Log), dir("orders", 2, 9, Holds::Log)];
    let plan = reconcile(&catalog_with_records(), Directory, &dirs);
    let adopted = |partition| AdoptedPartition {
        partition: p(partition),
        directory: format!("orders-{partition}"),
        write_metadata: false,
    };
    let topic = AdoptedTopic {
        name: "orders".into(),
        id: Some(topic_id(9)),
        internal: false,
        partitions: 3,
        directories: vec![adopted(0), adopted(2)],
    };
    let expected = Reconciled {
        replaced: vec![topic_id(1)],
        adopt: vec![topic],
        forget: vec![topic_id(2)],
        ..Reconciled::default()
    };
    assert_eq!(plan, expected);

    let plan = reconcile(&catalog_with_records(), Catalog, &dirs);
    let missing = vec![missing(0, Missing::AnotherTopics), missing(1, Missing::NoDirectory)];
    let foreign =
        vec![left("orders-0", Why::AnotherTopicsId), left("orders-2", Why::UnknownPartition)];
    let forget = vec![topic_id(2)];
    assert_eq!(plan, Reconciled { missing, foreign, forget, ..Reconciled::default() });
}

#[test]
fn no_directory_is_right_or_damage_by_what_was_recorded() {
    for authority in [Catalog, Directory] {
        let plan = with_first(&catalog(), None, authority);
        assert_eq!(plan, Reconciled { not_yet_made: vec![(topic_id(1), p(0))], ..base() });
        let plan = with_first(&catalog_with_records(), None, authority);
        assert_eq!(plan, Reconciled { missing: vec![missing(0, Missing::NoDirectory)], ..base() });

        let plan = reconcile(&catalog(), authority, &[]);
        assert_eq!(plan.not_yet_made, [(topic_id(1), p(0)), (topic_id(1), p(1))]);
    }
}

#[test]
fn partitions_beyond_the_catalogs() {
    let first = dir("orders", 0, 1, Holds::Log);
    let second = dir("orders", 1, 1, Holds::Log);
    let plan_of = |authority, beyond: SeenDir| {
        reconcile(&catalog(), authority, &[first.clone(), second.clone(), beyond])
    };
    let both = || Reconciled { open: vec![opened(0, false), opened(1, false)], ..base() };

    let foreign = vec![left("orders-3", Why::UnknownPartition)];
    for (authority, id) in [(Catalog, 1), (Catalog, 9), (Catalog, 0), (Directory, 9)] {
        let plan = plan_of(authority, dir("orders", 3, id, Holds::Log));
        assert_eq!(plan, Reconciled { foreign: foreign.clone(), ..both() });
    }
    let plan = plan_of(Directory, dir("orders", 3, 1, Holds::Log));
    let expected = Reconciled {
        open: vec![opened(0, false), opened(1, false), opened(3, false)],
        not_yet_made: vec![(topic_id(1), p(2))],
        grown: vec![(topic_id(1), 4)],
        ..base()
    };
    assert_eq!(plan, expected);
    // a number no topic may have
    let plan = plan_of(Directory, dir("orders", MAX_PARTITIONS, 1, Holds::Log));
    assert_eq!(plan.foreign[0].why, Why::UnknownPartition);
    let plan = plan_of(Directory, dir("orders", 3, 2, Holds::Log));
    assert_eq!(plan, Reconciled { delete: vec!["orders-3".into()], ..both() });
}

#[test]
fn directories_of_unknown_topics() {
    let second = dir("orders", 1, 1, Holds::Log);
    let first = dir("orders", 0, 1, Holds::Log);
    let plan_of = |authority, dir: SeenDir| {
        reconcile(&catalog(), authority, &[first.clone(), second.clone(), dir])
    };
    let both = || Reconciled { open: vec![opened(0, false), opened(1, false)], ..base() };
    let leaves = |name: &str, why| Reconciled { foreign: vec![left(name, why)], ..both() };

    for authority in [Catalog, Directory] {
        // by its id a deleted topic, whatever its name
        let plan = plan_of(authority, dir("gone", 0, 2, Holds::Log));
        assert_eq!(plan, Reconciled { delete: vec!["gone-0".into()], ..both() });
        // a copy of a live topic's directory
        let plan = plan_of(authority, dir("copy", 0, 1, Holds::Log));
        assert_eq!(plan, leaves("copy-0", Why::AnotherTopicsId));
    }
    // by its name a deleted topic
    let plan = plan_of(Catalog, dir("gone", 0, 0, Holds::Log));
    assert_eq!(plan, Reconciled { delete: vec!["gone-0".into()], ..both() });
    let plan = plan_of(Directory, dir("gone", 0, 0, Holds::Log));
    assert_eq!(plan.adopt.len(), 1);

    for (id, holds) in [(0, Holds::Log), (9, Holds::Log), (9, Holds::Nothing)] {
        let plan = plan_of(Catalog, dir("new", 0, id, holds));
        assert_eq!(plan, leaves("new-0", Why::UnknownTopic));
        let plan = plan_of(Directory, dir("new", 0, id, holds));
        let topic = &plan.adopt[0];
        assert_eq!(topic.id, (id != 0).then(|| topic_id(id)));
        assert_eq!(topic.directories[0].write_metadata, id == 0);
        assert_eq!((topic.partitions, topic.internal), (1, false));
    }
    let plan = plan_of(Catalog, dir("new", 0, 0, Holds::Nothing));
    assert_eq!(plan, leaves("new-0", Why::UnknownTopic));
    let plan = plan_of(Directory, dir("new", 0, 0, Holds::Nothing));
    assert_eq!(plan, leaves("new-0", Why::Empty));
    let plan = plan_of(Directory, dir("backup", 20_240_101, 0, Holds::Log));
    assert_eq!(plan, leaves("backup-20240101", Why::UnknownPartition));
}

#[test]
fn names_that_say_it_all() {
    for authority in [Catalog, Directory] {
        let dirs = [
            dir("orders", 0, 1, Holds::Log),
            dir("orders", 1, 1, Holds::Log),
            other("x-0.0123-delete", DirKind::AwaitsDeletion),
            other("x-0.0123-stray", DirKind::SetAside),
            other("photos", DirKind::Other),
            other("__cluster_metadata-0", DirKind::Kafkas),
        ];
        let expected = Reconciled {
            open: vec![opened(0, false), opened(1, false)],
            delete: vec!["x-0.0123-delete".into()],
            foreign: vec![
                left("x-0.0123-stray", Why::SetAside),
                left("photos", Why::NotAPartition),
            ],
            ..base()
        };
        assert_eq!(reconcile(&catalog(), authority, &dirs), expected);
    }
}

#[test]
fn a_kafka_root_is_adopted_whole() {
    let dirs = [
        dir("__consumer_offsets", 1, 5, Holds::Log),
        dir("__consumer_offsets", 0, 5, Holds::Log),
        other("__cluster_metadata-0", DirKind::Kafkas),
        dir("old", 0, 0, Holds::Log),
        dir("old", 1, 6, Holds::Log),
        dir("old", 2, 7, Holds::Log),  // at odds with partition 1
        dir("twin", 0, 6, Holds::Log), // a copy of old-1
    ];
    let plan = reconcile(&RootState::default(), Directory, &dirs);
    let seen: Vec<_> = plan
        .adopt
        .iter()
        .map(|topic| (&*topic.name, topic.id, topic.internal, topic.partitions))
        .collect();
    assert_eq!(
        seen,
        [("__consumer_offsets", Some(topic_id(5)), true, 2), ("old", Some(topic_id(6)), false, 2),]
    );
    let writes: Vec<_> = plan.adopt[1].directories.iter().map(|dir| dir.write_metadata).collect();
    assert_eq!(writes, [true, false]);
    let foreign = [left("old-2", Why::AnotherTopicsId), left("twin-0", Why::AnotherTopicsId)];
    assert_eq!(plan.foreign, foreign);
}

#[test]
fn damage_is_an_error_with_its_place() {
    for why in [Missing::NoDirectory, Missing::NoLog, Missing::AnotherTopics, Missing::OwnerUnknown]
    {
        let error = missing(0, why).error(Path::new("/store"));
        assert!(error.is_corrupt());
        assert_eq!(error.path(), Some(Path::new("/store/orders-0")));
    }
}
