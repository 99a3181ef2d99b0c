//! The store's own threads, and room that others make: syncs and unlinks without a call, no work
//! when idle, prompt ends, waiting that is over when space comes free.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::super::{Due, Engine, EngineOptions, Partition};
use super::{append, create, options};
use crate::config::{Durability, Threads, TopicConfig, WhenFull};
use crate::disk::{Disk, MemoryDisk};
use crate::ids::Offset;
use crate::time::{ManualClock, Timestamp};

fn own(disk: Arc<dyn Disk>, clock: &ManualClock) -> Arc<Engine> {
    let clock = Arc::new(clock.clone());
    let options = EngineOptions { threads: Threads::Own, clock, ..options(disk) };
    Engine::open(options, Path::new("/store")).unwrap()
}

fn clock() -> ManualClock {
    ManualClock::new(Timestamp::from_millis(1_700_000_000_000))
}

/// Waits for what another thread brings about.
fn eventually(what: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !what() {
        assert!(Instant::now() < deadline, "it did not come about");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn fill(partition: &Partition, count: usize) {
    for _ in 0..count {
        append(partition, &"x".repeat(300), Durability::Process).unwrap();
    }
}

fn deleted_files(disk: &dyn Disk) -> usize {
    let entries = disk.list(Path::new("/store/orders-0")).unwrap();
    entries.iter().filter(|entry| entry.name.ends_with(".deleted")).count()
}

#[test]
fn the_threads_sync_retain_and_unlink_as_the_clock_moves() {
    let (clock, disk) = (clock(), MemoryDisk::new());
    let engine = own(Arc::new(disk.clone()), &clock);
    let config = TopicConfig::new().segment_bytes(1024).retention(Duration::from_secs(60));
    let topic = create(&engine, "orders", config);
    let partition = topic.partitions()[0].clone();
    append(&partition, "one", Durability::Process).unwrap();
    assert_eq!(partition.offsets().unwrap().recovery_point, Offset::ZERO);
    clock.advance(Duration::from_secs(31));
    eventually(|| partition.offsets().unwrap().recovery_point == Offset::new(1));
    fill(&partition, 10);
    clock.advance(Duration::from_secs(600));
    eventually(|| partition.offsets().unwrap().start == Offset::new(11));
    eventually(|| deleted_files(&disk) > 0);
    clock.advance(Duration::from_secs(61));
    eventually(|| deleted_files(&disk) == 0);
    engine.close().unwrap();
}

#[test]
fn an_idle_store_has_nothing_due_and_ends_at_once() {
    let (clock, disk) = (clock(), MemoryDisk::new());
    let engine = own(Arc::new(disk), &clock);
    let topic = create(&engine, "orders", TopicConfig::new());
    append(&topic.partitions()[0], "one", Durability::Process).unwrap();
    clock.advance(Duration::from_secs(31));
    eventually(|| topic.partitions()[0].offsets().unwrap().recovery_point == Offset::new(1));
    assert_eq!((engine.run_maintenance(), engine.run_due()), (None, None));
    let began = Instant::now();
    engine.close().unwrap();
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn syncing_by_hand_does_not_pile_up_requests() {
    let engine = Engine::open(options(Arc::new(MemoryDisk::new())), Path::new("/store")).unwrap();
    let topic = create(&engine, "orders", TopicConfig::new());
    for _ in 0..100 {
        append(&topic.partitions()[0], "x", Durability::Power).unwrap();
    }
    assert_eq!(engine.requests().waiting_count(), 1);
}

/// Lets go of the last handle, or panics, on the timer thread.
struct OnTimer {
    engine: crate::sync::Mutex<Option<Arc<Engine>>>,
}

impl Due for OnTimer {
    fn run(&self, _: Duration) -> Option<Duration> {
        match self.engine.lock().take() {
            Some(engine) => drop(engine),
            None => panic!("as planned"),
        }
        None
    }
}

#[test]
fn the_last_handle_may_go_on_a_thread_of_the_store_and_a_panic_there_ends_nothing() {
    let (clock, disk) = (clock(), MemoryDisk::new());
    let engine = own(Arc::new(disk.clone()), &clock);
    let bomb = Arc::new(OnTimer { engine: crate::sync::Mutex::new(None) });
    let weak: Weak<dyn Due> = Arc::downgrade(&bomb) as Weak<dyn Due>;
    engine.timers().schedule(Duration::from_secs(1), weak);
    clock.advance(Duration::from_secs(1));
    let last = Arc::new(OnTimer { engine: crate::sync::Mutex::new(Some(engine.clone())) });
    let weak: Weak<dyn Due> = Arc::downgrade(&last) as Weak<dyn Due>;
    engine.timers().schedule(Duration::from_secs(2), weak);
    let gone = Arc::downgrade(&engine);
    drop(engine);
    clock.advance(Duration::from_secs(2));
    eventually(|| gone.strong_count() == 0);
    eventually(|| {
        let options = options(Arc::new(disk.clone()));
        Engine::open(options, Path::new("/store")).is_ok()
    });
}

#[test]
fn who_waits_for_room_goes_on_when_records_are_deleted() {
    let engine = Engine::open(options(Arc::new(MemoryDisk::new())), Path::new("/store")).unwrap();
    let block = WhenFull::Block(Duration::from_secs(20));
    let config = TopicConfig::new().segment_bytes(1024).max_bytes(4096, block);
    let topic = create(&engine, "orders", config);
    let partition = topic.partitions()[0].clone();
    fill(&partition, 11);
    std::thread::scope(|scope| {
        let blocked = scope.spawn(|| fill(&partition, 4));
        std::thread::sleep(Duration::from_millis(30));
        engine.delete_records_before(&partition, Offset::new(9)).unwrap();
        blocked.join().unwrap();
    });
    assert!(engine.topic("orders").unwrap().budget().used() <= 4096);
}

#[test]
fn a_host_without_threads_makes_its_own_room_while_it_waits() {
    let clock = clock();
    let memory: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let options = EngineOptions { clock: Arc::new(clock.clone()), ..options(memory) };
    let engine = Engine::open(options, Path::new("/store")).unwrap();
    let block = WhenFull::Block(Duration::from_secs(20));
    let config = TopicConfig::new().segment_bytes(1024).max_bytes(4096, block);
    let topic = create(&engine, "orders", config.retention(Duration::from_secs(60)));
    fill(&topic.partitions()[0], 11);
    clock.advance(Duration::from_secs(600));
    fill(&topic.partitions()[0], 8); // by itself: retention is due
    assert!(topic.partitions()[0].offsets().unwrap().start >= Offset::new(9));
}

#[test]
fn what_is_dropped_for_room_is_unlinked_and_the_oldest_goes_first() {
    let (clock, disk) = (clock(), MemoryDisk::new());
    let memory: Arc<dyn Disk> = Arc::new(disk.clone());
    let options = EngineOptions {
        clock: Arc::new(clock.clone()),
        max_bytes: Some(8192),
        when_full: WhenFull::DropOldest,
        ..options(memory)
    };
    let engine = Engine::open(options, Path::new("/store")).unwrap();
    let config = TopicConfig::new().segment_bytes(1024);
    let orders = create(&engine, "orders", config.clone()).partitions()[0].clone();
    let parcels = create(&engine, "parcels", config).partitions()[0].clone();
    fill(&orders, 10);
    fill(&parcels, 40);
    assert!(engine.budget().used() <= 8192);
    assert_eq!(parcels.offsets().unwrap().end, Offset::new(40));
    assert!(orders.offsets().unwrap().start > Offset::ZERO, "the oldest of all topics");
    assert!(deleted_files(&disk) > 0);
    clock.advance(Duration::from_secs(61));
    engine.run_maintenance();
    assert_eq!(deleted_files(&disk), 0);
    for (partition, name) in [(&orders, "billing"), (&parcels, "audit")] {
        partition.hold(name, partition.offsets().unwrap().start);
    }
    let now = |_| append(&parcels, &"x".repeat(300), Durability::Process).err();
    let error = (0..40).find_map(now).unwrap();
    assert!(error.is_full() && error.is_retriable(), "{error}");
    assert!(error.to_string().contains("holds the records from offset"), "{error}");
}
