//! Group commit through the engine: threads share syncs, tasks never make one, whoever runs them.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::{append, create, disks, options, records};
use crate::config::{Durability, Threads, TopicConfig};
use crate::disk::{Disk, MemoryDisk};
use crate::engine::{Engine, EngineOptions, Partition};
use crate::error::{ErrorKind, Outcome};
use crate::ids::PartitionId;

fn one_partition(options: EngineOptions, root: &Path) -> (Arc<Engine>, Arc<Partition>) {
    let engine = Engine::open(options, root).unwrap();
    let topic = create(&engine, "orders", TopicConfig::new());
    let partition = topic.partition(PartitionId::new(0)).unwrap();
    (engine, partition)
}

fn in_memory() -> (Arc<Engine>, Arc<Partition>) {
    one_partition(options(Arc::new(MemoryDisk::new())), Path::new("/store"))
}

fn look<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

fn syncs(partition: &Partition) -> u64 {
    partition.log().unwrap().counters().syncs.get()
}

#[test]
fn writers_share_syncs_and_each_is_durable_when_it_returns() {
    const WRITERS: i64 = 8;
    const EACH: i64 = 25;
    for (dir, disk) in disks() {
        let (engine, partition) = one_partition(options(disk), &dir.path().join("store"));
        std::thread::scope(|scope| {
            for _ in 0..WRITERS {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        let offset = append(&partition, "x", Durability::Power).unwrap();
                        assert!(partition.offsets().unwrap().durable > offset);
                    }
                });
            }
        });
        assert_eq!(partition.offsets().unwrap().durable.get(), WRITERS * EACH);
        assert_eq!(records(&partition).len() as i64, WRITERS * EACH);
        assert!(syncs(&partition) <= (WRITERS * EACH).unsigned_abs());
        engine.close().unwrap();
    }
}

#[test]
fn a_lone_writer_makes_one_sync_a_record() {
    let (_engine, partition) = in_memory();
    for number in 1..=10 {
        append(&partition, "x", Durability::Power).unwrap();
        assert_eq!(syncs(&partition), number);
        partition.flush().unwrap();
        assert_eq!(syncs(&partition), number, "there was nothing left to do");
    }
}

#[test]
fn a_task_waits_for_the_timer_and_makes_no_sync_itself() {
    let (engine, partition) = in_memory();
    append(&partition, "one", Durability::Process).unwrap();
    let mut flush = pin!(partition.flush_later());
    let mut all = pin!(engine.flush_later());
    for _ in 0..3 {
        assert!(look(flush.as_mut()).is_none() && look(all.as_mut()).is_none());
    }
    assert_eq!(syncs(&partition), 0);
    append(&partition, "later", Durability::Process).unwrap();
    engine.run_due();
    assert_eq!(syncs(&partition), 1);
    look(flush.as_mut()).unwrap().unwrap();
    look(all.as_mut()).unwrap().unwrap();
    assert_eq!(partition.offsets().unwrap().durable.get(), 2);
    look(pin!(partition.flush_later())).expect("nothing to wait for").unwrap();
    engine.run_due();
    assert_eq!(syncs(&partition), 1);
}

#[test]
fn a_task_rides_on_a_threads_sync_and_may_let_go_of_it() {
    let (engine, partition) = in_memory();
    append(&partition, "one", Durability::Process).unwrap();
    drop(partition.flush_later());
    let mut flush = pin!(partition.flush_later());
    append(&partition, "two", Durability::Power).unwrap();
    look(flush.as_mut()).expect("served").unwrap();
    engine.run_due();
    assert_eq!(syncs(&partition), 1, "nobody was left to sync for");
}

#[test]
fn the_timer_thread_serves_tasks() {
    for threads in [Threads::Own, Threads::Host] {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let options = EngineOptions { threads, ..options(disk) };
        let (engine, partition) = one_partition(options, Path::new("/store"));
        append(&partition, "one", Durability::Process).unwrap();
        let flush = partition.flush_later();
        if threads == Threads::Host {
            engine.run_due();
        }
        pollster::block_on(flush).unwrap();
        pollster::block_on(engine.flush_later()).unwrap();
        engine.close().unwrap();
    }
}

#[test]
fn a_close_and_a_deletion_end_what_waits() {
    let (engine, partition) = in_memory();
    append(&partition, "one", Durability::Process).unwrap();
    let mut flush = pin!(partition.flush_later());
    engine.delete_topic("orders").unwrap();
    let error = look(flush.as_mut()).expect("ended").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    let partition = create(&engine, "parcels", TopicConfig::new()).partition(PartitionId::new(0));
    let partition = partition.unwrap();
    append(&partition, "one", Durability::Process).unwrap();
    let mut flush = pin!(partition.flush_later());
    engine.close().unwrap();
    look(flush.as_mut()).expect("the close has synced for it").unwrap();
    assert_eq!(partition.flush().unwrap_err().kind(), ErrorKind::Closed);
    let error = look(pin!(partition.flush_later())).unwrap().unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Closed, Outcome::NotWritten));
}

/// A partition with a record, a sync of which is under way until the disk is healed.
#[cfg(feature = "sim")]
fn with_a_sync_under_way(
    faults: &[crate::disk::Fault],
    meanwhile: impl FnOnce(&Engine, &Partition),
) -> crate::error::Result<()> {
    use crate::disk::{Operation, Plan, SimDisk};
    let disk = SimDisk::new(1);
    let (engine, partition) = one_partition(options(Arc::new(disk.clone())), Path::new("/store"));
    append(&partition, "one", Durability::Process).unwrap();
    for fault in faults {
        disk.fail(Plan::new(*fault).on(Operation::Sync));
    }
    let before = disk.syncs();
    std::thread::scope(|scope| {
        let leader = scope.spawn(|| partition.flush());
        while disk.syncs() == before {
            std::thread::yield_now();
        }
        let healer = scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            disk.heal();
        });
        meanwhile(&engine, &partition);
        healer.join().unwrap();
        leader.join().unwrap()
    })
}

#[cfg(feature = "sim")]
#[test]
fn a_sync_that_fails_fails_the_threads_that_wait_for_it() {
    use crate::disk::Fault::{Error, Hang};
    let led = with_a_sync_under_way(&[Hang, Error(5)], |_, partition| {
        let error = partition.flush().unwrap_err();
        assert_eq!(error.outcome(), Outcome::WrittenNotDurable, "{error}");
        assert!(partition.flush().unwrap_err().is_poisoned());
        assert_eq!(partition.offsets().unwrap().durable.get(), 0);
    });
    assert_eq!(led.unwrap_err().outcome(), Outcome::WrittenNotDurable);
}

#[cfg(feature = "sim")]
#[test]
fn a_sync_serves_nobody_who_came_after_it_began() {
    let led = with_a_sync_under_way(&[crate::disk::Fault::Hang], |engine, partition| {
        append(partition, "two", Durability::Process).unwrap();
        let mut flush = pin!(partition.flush_later());
        while partition.offsets().unwrap().durable.get() == 0 {
            std::thread::yield_now();
        }
        assert_eq!(partition.offsets().unwrap().durable.get(), 1);
        assert!(look(flush.as_mut()).is_none(), "that sync was not for it");
        while look(flush.as_mut()).is_none() {
            engine.run_due();
        }
        append(partition, "three", Durability::Power).unwrap();
        assert_eq!(partition.offsets().unwrap().durable.get(), 3);
    });
    led.unwrap();
}
