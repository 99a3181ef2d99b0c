//! How much of a state log each look reads, and that it never misses that the file is another.

use super::super::fact::Fact;
use super::super::fault_disk::{Call, FaultDisk};
use super::super::root_log::{self, RootLog};
use super::*;
use crate::ids::LeaderEpoch;
use crate::log::Durable;

const ROOT: &str = "/store";
const ENOSPC: i32 = 28;

fn id() -> StoreId {
    StoreId::from_bytes([3; 16])
}

fn epoch(number: i32) -> [Fact; 1] {
    [Fact::HighestEpoch { epoch: LeaderEpoch::new(number) }]
}

fn epochs(number: i32, count: usize) -> Vec<Fact> {
    vec![Fact::HighestEpoch { epoch: LeaderEpoch::new(number) }; count]
}

fn made() -> (FaultDisk, RootLog, FollowedRoot) {
    let (disk, root) = (FaultDisk::new(), Path::new(ROOT));
    disk.create_dir_all(root).unwrap();
    root_log::create(&disk, root, id()).unwrap();
    marker::write(&disk, root, id()).unwrap();
    let log = open(&disk);
    let followed = FollowedRoot::open(Arc::new(disk.clone()), root).unwrap();
    (disk, log, followed)
}

fn open(disk: &FaultDisk) -> RootLog {
    RootLog::open(Arc::new(disk.clone()), Path::new(ROOT), id()).unwrap().0
}

fn seen(followed: &FollowedRoot) -> Option<i32> {
    followed.look().unwrap().state.highest_epoch().map(LeaderEpoch::get)
}

fn path() -> PathBuf {
    Path::new(ROOT).join(names::STATE_LOG)
}

#[test]
fn a_look_reads_what_was_appended_since_and_no_more() {
    let (disk, log, followed) = made();
    for number in 0..1_000 {
        log.record(&epoch(number), Durable::Later).unwrap();
    }
    assert_eq!(seen(&followed), Some(999));
    let serial = followed.known().serial;
    disk.take_bytes_read();
    for number in 1_000..1_100 {
        log.record(&epoch(number), Durable::Later).unwrap();
        assert_eq!(seen(&followed), Some(number));
        let read = disk.take_bytes_read();
        assert!(read < 200, "{read} bytes for one fact");
        assert_eq!(seen(&followed), Some(number));
        let read = disk.take_bytes_read();
        assert!(read < 100, "{read} bytes for no fact");
    }
    assert_eq!(followed.known().serial, serial + 100);
    // what the whole file says is the same
    let again = FollowedRoot::open(Arc::new(disk.clone()), Path::new(ROOT)).unwrap();
    assert_eq!(again.known().state, followed.known().state);
}

#[test]
fn a_log_begun_anew_is_read_as_a_whole_whatever_its_length() {
    let (disk, log, followed) = made();
    log.record(&epoch(1), Durable::Now).unwrap();
    assert_eq!(seen(&followed), Some(1));
    drop(log);
    // each opening begins the file anew; the last is as long as the one that was seen
    let log = open(&disk);
    log.record(&epoch(2), Durable::Now).unwrap();
    assert_eq!(seen(&followed), Some(2));
    let len = disk.read(&path()).len();
    drop(log);
    let log = open(&disk);
    log.record(&epoch(3), Durable::Now).unwrap();
    assert_eq!(disk.read(&path()).len(), len, "the control: of the same length");
    assert_eq!(seen(&followed), Some(3));
}

#[test]
fn a_frame_that_was_taken_back_is_forgotten() {
    for (sizes, name) in [((1, 1), "as long"), ((3, 1), "shorter"), ((1, 3), "longer")] {
        let (disk, log, followed) = made();
        log.record(&epoch(1), Durable::Now).unwrap();
        assert_eq!(seen(&followed), Some(1));
        let kept = disk.read(&path());
        // seen whole before its sync failed for want of room, and cut off again
        log.record(&epochs(7, sizes.0), Durable::Later).unwrap();
        let taken_back = disk.read(&path());
        assert_eq!(seen(&followed), Some(7));
        disk.write(&path(), &kept);
        assert_eq!(seen(&followed), Some(1), "{name}: nothing in its place yet");
        disk.write(&path(), &taken_back);
        assert_eq!(seen(&followed), Some(7));
        let header = Header::parse(&kept).unwrap();
        let mut instead = kept.clone();
        let scan = frame::scan(&kept).unwrap();
        frame::put_frame(&mut instead, scan.next_sequence, 0, &epochs(2, sizes.1)).unwrap();
        frame::put_frame(&mut instead, scan.next_sequence + 1, 0, &epoch(3)).unwrap();
        assert_eq!(header.store_id, id());
        disk.write(&path(), &instead);
        assert_eq!(seen(&followed), Some(3), "{name}: another in its place");
    }
}

#[test]
fn half_a_frame_is_not_yet_at_every_length_of_it() {
    let (disk, log, followed) = made();
    log.record(&epoch(1), Durable::Now).unwrap();
    let before = disk.read(&path());
    log.record(&epoch(2), Durable::Later).unwrap();
    let after = disk.read(&path());
    for len in before.len()..after.len() {
        disk.write(&path(), &before);
        assert_eq!(seen(&followed), Some(1));
        disk.write(&path(), &after[..len]);
        assert_eq!(seen(&followed), Some(1), "{len} bytes");
        let mut zeros = after[..len].to_vec();
        zeros.resize(after.len(), 0);
        disk.write(&path(), &zeros);
        assert_eq!(seen(&followed), Some(1), "{len} bytes and zeros");
        disk.write(&path(), &after);
        assert_eq!(seen(&followed), Some(2), "{len} bytes, then whole");
    }
}

#[test]
fn a_write_that_failed_half_way_leaves_nothing_to_see() {
    let (disk, log, followed) = made();
    log.record(&epoch(1), Durable::Now).unwrap();
    disk.fail(Call::Write, 0, ENOSPC);
    assert!(log.record(&epoch(2), Durable::Now).unwrap_err().is_full());
    assert_eq!(seen(&followed), Some(1));
    log.record(&epoch(3), Durable::Now).unwrap();
    assert_eq!(seen(&followed), Some(3));
}
