//! Roots opened, closed, killed and handed to and fro.

use std::path::{Path, PathBuf};

use super::exports::{Exports, Occasion};
use super::fact::{ExportFile, Fact};
use super::fault_disk::{Call, FaultDisk};
use super::last_writer::{LastWriter, Trace};
use super::reconcile::Reconciled;
use super::*;
#[cfg(feature = "sim")]
use crate::disk::SimDisk;
use crate::disk::{Access, Disk, names, write_all_at};
use crate::error::{ErrorKind, Result};
use crate::ids::{Offset, PartitionId, TopicId};
use crate::log::checkpoint::{OffsetLine, write_partition_metadata};
use crate::sync::Arc;

const ROOT: &str = "/store";

fn path(name: &str) -> PathBuf {
    Path::new(ROOT).join(name)
}

fn open(disk: &FaultDisk) -> Result<(Root, RootOpening)> {
    Root::open_or_create(Arc::new(disk.clone()), Path::new(ROOT))
}

fn begin(root: &Root, opening: &RootOpening, facts: Vec<Fact>) {
    let epoch = opening.state.next_epoch(None).unwrap();
    root.begin_reign(epoch, &opening.exports, facts).unwrap();
}

fn exports(offset: i64) -> Exports {
    let (topic, partition) = ("orders".to_owned(), PartitionId::new(0));
    let line = OffsetLine { topic, partition, offset: Offset::new(offset) };
    let high_watermarks = vec![line.clone()];
    Exports { recovery_points: vec![line], log_starts: vec![], high_watermarks }
}

fn created(id: TopicId) -> Fact {
    let (name, config) = ("orders".to_owned(), vec![]);
    Fact::TopicCreated { id, name, config, partitions: 2, adopted: false, internal: false }
}

/// A partition's directory with an empty log.
fn make_partition(disk: &FaultDisk, name: &str, id: Option<TopicId>) {
    disk.create_dir_all(&path(name)).unwrap();
    disk.write(&path(name).join("00000000000000000000.log"), b"");
    if let Some(id) = id {
        let metadata = path(name).join(names::PARTITION_METADATA);
        write_partition_metadata(disk, &metadata, id).unwrap();
    }
}

#[test]
fn a_store_lives_through_close_and_kill() {
    let disk = FaultDisk::new();
    let id = TopicId::random();
    let (root, opening) = open(&disk).unwrap();
    assert_eq!(opening.kind, RootKind::Fresh);
    assert_eq!(opening.plan, Reconciled::default());
    begin(&root, &opening, vec![created(id)]);
    make_partition(&disk, "orders-0", Some(id));
    let store_id = root.store_id();
    drop(root); // killed

    let (root, opening) = open(&disk).unwrap();
    assert_eq!((opening.kind, root.store_id()), (RootKind::Ours, store_id));
    assert_eq!(opening.last_writer, LastWriter::OursUnclean { same_boot: true });
    assert_eq!(opening.plan.open.len(), 1);
    assert_eq!(opening.plan.not_yet_made, [(id, PartitionId::new(1))]);
    begin(&root, &opening, vec![]);
    root.export(&exports(5), Occasion::Interim).unwrap();
    drop(root); // killed again

    let (root, opening) = open(&disk).unwrap();
    assert_eq!(opening.last_writer, LastWriter::OursUnclean { same_boot: true });
    begin(&root, &opening, vec![]);
    root.export(&exports(9), Occasion::CleanClose).unwrap();
    drop(root);

    let (root, opening) = open(&disk).unwrap();
    assert_eq!(opening.last_writer, LastWriter::OursClean);
    assert_eq!(opening.exports.contents, exports(9));
    assert!(opening.exports.has_clean_mark());
    assert_eq!(opening.state.highest_epoch().unwrap().get(), 2);
    begin(&root, &opening, vec![]);
    assert!(disk.metadata(&path(names::CLEAN_SHUTDOWN)).unwrap().is_none());
}

/// Every sync, rename and directory sync of an export and a clean close fails once: afterwards the
/// root is still known as ours.
#[test]
fn a_close_cut_short_anywhere_is_still_ours() {
    for occasion in [Occasion::Interim, Occasion::CleanClose] {
        for call in [Call::Write, Call::Sync, Call::Rename, Call::SyncDir] {
            for pass in 0..8 {
                let disk = FaultDisk::new();
                let (root, opening) = open(&disk).unwrap();
                begin(&root, &opening, vec![]);
                root.export(&exports(1), Occasion::Interim).unwrap();
                disk.fail(call, pass, 5);
                let done = root.export(&exports(2), occasion);
                assert_eq!(done.is_err(), disk.has_struck(), "{call:?} {pass}");
                drop(root);
                let (_, opening) = open(&disk).unwrap();
                assert!(opening.last_writer.is_ours(), "{occasion:?} {call:?} {pass}");
            }
        }
    }
}

#[test]
fn an_opening_cut_short_anywhere_is_still_ours() {
    for (call, passes) in [(Call::Sync, 3), (Call::Write, 3), (Call::Rename, 2), (Call::SyncDir, 3)]
    {
        for pass in 0..passes {
            let disk = FaultDisk::new();
            let (root, opening) = open(&disk).unwrap();
            begin(&root, &opening, vec![]);
            root.export(&exports(1), Occasion::CleanClose).unwrap();
            drop(root);
            disk.fail(call, pass, 5);
            let attempt = open(&disk).and_then(|(root, opening)| {
                let epoch = opening.state.next_epoch(None)?;
                root.begin_reign(epoch, &opening.exports, vec![])
            });
            assert_eq!(attempt.is_err(), disk.has_struck(), "{call:?} {pass}");
            let (_, opening) = open(&disk).unwrap();
            assert!(opening.last_writer.is_ours(), "{call:?} {pass}");
        }
    }
}

#[test]
fn a_creation_cut_short_anywhere_is_begun_again() {
    for call in [Call::Sync, Call::Write, Call::Rename, Call::SyncDir] {
        for pass in 0..4 {
            let disk = FaultDisk::new();
            disk.fail(call, pass, 5);
            let attempt = open(&disk);
            assert_eq!(attempt.is_err(), disk.has_struck(), "{call:?} {pass}");
            drop(attempt);
            let (root, opening) = open(&disk).unwrap();
            assert_eq!(opening.plan, Reconciled::default());
            begin(&root, &opening, vec![]);
        }
    }
}

/// The creation is killed, the next opening cut: the state log may have its new name and the marker
/// lose its own. Found by seed 21152 of `random-crashes`.
#[cfg(feature = "sim")]
#[test]
fn a_creation_that_was_killed_may_be_cut_when_it_is_begun_again() {
    let open = |disk: &SimDisk| Root::open_or_create(Arc::new(disk.clone()), Path::new(ROOT));
    let (mut killed, mut lost) = (0, 0);
    loop {
        let disk = SimDisk::new(killed);
        killed += 1;
        disk.cut_after(killed);
        let whole = open(&disk).is_ok();
        let disk = disk.kill();
        disk.record();
        open(&disk).unwrap();
        for moment in disk.moments() {
            for left in 0..moment.changes() {
                let after = [moment.cut(|at| at == left), moment.cut(|at| at != left)];
                for (others, disk) in after.into_iter().enumerate() {
                    let is_there = |name| disk.metadata(&path(name)).unwrap().is_some();
                    let is_lost = is_there(names::STATE_LOG) && !is_there(names::STORE_MARKER);
                    lost += u32::from(is_lost);
                    let place = format!("killed at {killed}, {}", moment.operation());
                    open(&disk).unwrap_or_else(|e| panic!("{place}, {left}, {others}: {e}"));
                }
            }
        }
        if whole {
            break;
        }
    }
    assert!(lost > 0, "the marker always outlived the state log");
}

#[test]
fn another_hand_is_noticed() {
    let ways: [(&str, Option<&[u8]>, Trace); 4] = [
        (names::CLEAN_SHUTDOWN, None, Trace::CleanMarkGone),
        (
            names::CLEAN_SHUTDOWN,
            Some(b"{\"version\":0,\"brokerEpoch\":9}"),
            Trace::CleanMarkForeign,
        ),
        (
            names::LOG_STARTS,
            Some(b"0\n1\norders 0 3\n"),
            Trace::CheckpointChanged(ExportFile::LogStarts),
        ),
        (names::RECOVERY_POINTS, None, Trace::CheckpointChanged(ExportFile::RecoveryPoints)),
    ];
    for (name, bytes, why) in ways {
        let disk = FaultDisk::new();
        let (root, opening) = open(&disk).unwrap();
        begin(&root, &opening, vec![]);
        root.export(&exports(1), Occasion::CleanClose).unwrap();
        match bytes {
            Some(bytes) => disk.write(&path(name), bytes),
            None => disk.remove_file(&path(name)).unwrap(),
        }
        make_partition(&disk, "theirs-0", Some(TopicId::random()));
        let (_, opening) = open(&disk).unwrap();
        assert_eq!(opening.last_writer, LastWriter::AnotherHand { why });
        assert_eq!(opening.plan.adopt.len(), 1);
    }
}

fn kafka_root() -> (FaultDisk, TopicId) {
    let (disk, id) = (FaultDisk::new(), TopicId::random());
    disk.create_dir_all(Path::new(ROOT)).unwrap();
    disk.write(&path("meta.properties"), b"version=1\n");
    disk.write(&path("bootstrap.checkpoint"), b"\0");
    disk.write(&path(names::CLEAN_SHUTDOWN), b"{\"version\":0,\"brokerEpoch\":9}");
    disk.write(&path(names::RECOVERY_POINTS), b"0\n1\norders 0 300\n");
    disk.write(&path(names::LOG_STARTS), b"not a checkpoint");
    make_partition(&disk, "__cluster_metadata-0", None);
    make_partition(&disk, "orders-0", Some(id));
    make_partition(&disk, "orders-1", None);
    (disk, id)
}

#[test]
fn a_kafka_root_is_adopted_and_then_ours() {
    let (disk, id) = kafka_root();
    let (root, opening) = open(&disk).unwrap();
    assert_eq!(opening.kind, RootKind::Kafka);
    assert_eq!(opening.last_writer, LastWriter::AnotherHand { why: Trace::NeverOpened });
    let topic = &opening.plan.adopt[0];
    assert_eq!((&*topic.name, topic.id, topic.partitions), ("orders", Some(id), 2));
    assert_eq!(opening.exports.contents.recovery_points.len(), 1);
    assert_eq!(opening.exports.faults.len(), 1);
    drop(root); // killed before it recorded anything: adopted again

    let (root, opening) = open(&disk).unwrap();
    assert_eq!(opening.kind, RootKind::Ours);
    assert_eq!(opening.plan.adopt.len(), 1);
    begin(&root, &opening, vec![created(id)]);
    drop(root);

    let (_, opening) = open(&disk).unwrap();
    assert_eq!(opening.last_writer, LastWriter::OursUnclean { same_boot: true });
    assert_eq!(opening.plan.open.len(), 2);
    assert!(disk.metadata(&path("meta.properties")).unwrap().is_some());
}

#[test]
fn what_is_not_a_store_is_refused_and_left_alone() {
    let disk = FaultDisk::new();
    disk.create_dir_all(Path::new(ROOT)).unwrap();
    disk.write(&path("holiday.jpg"), b"...");
    let error = open(&disk).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotAStore);
    assert!(error.to_string().contains("holiday.jpg"), "{error}");
    assert_eq!(disk.list(Path::new(ROOT)).unwrap().len(), 1);
}

#[test]
fn a_store_without_its_state_or_marker_is_damage_not_kafkas() {
    let disk = FaultDisk::new();
    let (root, opening) = open(&disk).unwrap();
    begin(&root, &opening, vec![created(TopicId::random())]);
    drop(root);
    disk.write(&path("meta.properties"), b"version=1\n");
    let state = disk.read(&path(names::STATE_LOG));

    disk.remove_file(&path(names::STATE_LOG)).unwrap();
    assert!(open(&disk).unwrap_err().is_corrupt());
    disk.write(&path(names::STATE_LOG), &state[..20]);
    assert!(open(&disk).unwrap_err().is_corrupt());
    disk.write(&path(names::STATE_LOG), &state);
    let marker = disk.read(&path(names::STORE_MARKER));
    disk.remove_file(&path(names::STORE_MARKER)).unwrap();
    assert!(open(&disk).unwrap_err().is_corrupt());
    let file = disk.open(&path(names::STORE_MARKER), Access::Create).unwrap();
    write_all_at(&*file, &marker[..10], 0).unwrap();
    assert!(open(&disk).unwrap_err().is_corrupt());
    disk.write(&path(names::STORE_MARKER), &marker);
    open(&disk).unwrap();
}

/// Who made the directories was killed before it could sync their names.
#[cfg(feature = "sim")]
#[test]
fn every_name_on_the_way_to_a_new_root_is_durable() {
    let sim = SimDisk::new(1);
    let root = Path::new("/a/b/store");
    sim.create_dir_all(root).unwrap();
    let (opened, opening) = Root::open_or_create(Arc::new(sim.clone()), root).unwrap();
    begin(&opened, &opening, vec![]);
    let cut = sim.crash(crate::disk::Crash::Nothing);
    assert_eq!(marker::read(&cut, root).unwrap(), Some(opened.store_id()));
}
