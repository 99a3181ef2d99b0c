//! Reading what another process writes, where that can happen which no log of one's own does: it
//! is cut back after the reader has seen it.

use super::*;
use crate::disk::{read_full_at, write_all_at};
use crate::engine::FollowOptions;

const ROOT: &str = "/store";

/// Makes a disk hold what another does, under the handles that are open on it.
fn copy(from: &MemoryDisk, to: &MemoryDisk) {
    copy_dir(from, to, Path::new(ROOT));
}

fn copy_dir(from: &MemoryDisk, to: &MemoryDisk, dir: &Path) {
    to.create_dir_all(dir).unwrap();
    for entry in from.list(dir).unwrap() {
        let path = dir.join(&entry.name);
        if entry.is_dir {
            copy_dir(from, to, &path);
            continue;
        }
        let file = from.open(&path, Access::Read).unwrap();
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        read_full_at(&*file, &mut bytes, 0).unwrap();
        let copied = to.open(&path, Access::Create).unwrap();
        copied.set_len(0).unwrap();
        write_all_at(&*copied, &bytes, 0).unwrap();
    }
}

pub(super) fn follow(disk: &Arc<MemoryDisk>, clock: &ManualClock) -> ConsumerBuilder {
    let options = FollowOptions {
        plain: crate::record::PlainLimit::DEFAULT,
        disk: disk.clone(),
        clock: Arc::new(clock.clone()),
        threads: Threads::Host,
        interval: Duration::from_millis(10),
    };
    let engine = Engine::follow(options, Path::new(ROOT)).unwrap();
    let offsets = OffsetStore::follow(engine.clone());
    ConsumerBuilder::new(Claim::new(engine), offsets, None)
}

/// The end is asked for before the fetch; in between the log is found cut back to the position.
/// Another partition's records end that poll, so the position it leaves is what counts: at the end
/// that was, the records that come there meanwhile would be skipped, and by a position that no
/// record was read before no epoch tells.
#[test]
fn a_fetch_without_records_steps_no_further_than_it_saw() {
    let world = World::with(Threads::Host);
    world.create("cut", 1);
    world.create("other", 1);
    world.send("cut", 0, &["0", "1", "2"]);
    world.send("other", 0, &["a"]);
    let (left, seen) = (Arc::new(MemoryDisk::new()), Arc::new(MemoryDisk::new()));
    copy(&world.disk, &left);
    world.send("cut", 0, &["3", "4"]);
    copy(&world.disk, &seen);
    let builder = follow(&seen, &world.clock).assign([("cut", 0), ("other", 0)]);
    let mut reader = builder.build().unwrap();
    reader.seek("cut", 0, Offset::new(3)).unwrap();
    assert_eq!(reader.lag("cut", 0).unwrap(), 2, "it has seen them");

    let (engine, _) = open(&left, &world.clock, Threads::Host);
    copy(&left, &seen);
    assert_eq!(values(&reader.try_poll().unwrap()), ["a"]);
    assert_eq!(reader.position("cut", 0).unwrap(), Offset::new(3));

    let cut = engine.topic("cut").unwrap().partition(PartitionId::new(0)).unwrap();
    for value in ["x", "y", "z"] {
        send_one(&cut, &[Record::new(value)], START);
    }
    copy(&left, &seen);
    world.clock.advance(Duration::from_millis(10));
    assert_eq!(values(&reader.try_poll().unwrap()), ["x", "y", "z"]);
}
