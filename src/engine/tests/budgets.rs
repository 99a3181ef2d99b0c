//! `max_bytes` that is set and unset under appends and retention: what is used stays exact.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::seeds::pick;

/// Appends until told to stop; every other batch finds no room, where there is a limit.
fn appender(partition: &Partition, stop: &AtomicBool) {
    let mut number = 0_usize;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let _ = append(partition, &"x".repeat(number % 50), Durability::Process);
    }
}

#[test]
fn a_limit_that_is_set_under_appends_is_counted_exactly() {
    let rounds = pick(2, 10, 200);
    let engine = Engine::open(options(Arc::new(MemoryDisk::new())), Path::new("/store")).unwrap();
    let small = TopicConfig::new().partitions(2).segment_bytes(4096);
    let topic = create(&engine, "orders", small.clone());
    let partitions = topic.partitions();
    for round in 0..rounds {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for partition in partitions.iter() {
                scope.spawn(|| appender(partition, &stop));
            }
            let limits = [None, Some(1 << 40), None, Some(20_000 + 100 * round)];
            for limit in limits {
                let config = match limit {
                    Some(limit) => small.clone().max_bytes(limit, WhenFull::DropOldest),
                    None => small.clone(),
                };
                engine.alter_topic("orders", config).unwrap();
                std::thread::yield_now();
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(topic.budget().used(), topic.bytes(), "round {round}");
    }
}
