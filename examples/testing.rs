//! How a program that uses Tidelog tests itself: a store in memory, and time that moves by hand.
//!
//! `cargo run --example testing`. Nothing touches the disk, no thread runs in the background, and
//! a week of retention passes in no time.

use std::time::Duration;

use tidelog::{Clock, ManualClock, Record, Store, Threads, Timestamp, TopicConfig};

/// The code under test: counts the orders that nobody has counted yet.
fn count_orders(store: &Store) -> tidelog::Result<u64> {
    let mut consumer = store.consumer("counter").subscribe(["orders"]).build()?;
    let mut count = 0;
    loop {
        let records = consumer.try_poll()?;
        if records.is_empty() {
            break;
        }
        count += records.iter().count() as u64;
        consumer.commit()?;
    }
    Ok(count)
}

/// A store that lives in this process alone, on a clock that stands still.
fn store_for_tests(clock: &ManualClock) -> tidelog::Result<Store> {
    Store::builder_in_memory().clock(clock.clone()).threads(Threads::Host).open()
}

fn orders_are_counted_once() -> tidelog::Result<()> {
    let store = store_for_tests(&ManualClock::new(Timestamp::from_millis(1_700_000_000_000)))?;
    store.ensure_topic("orders", TopicConfig::new())?;
    let orders = store.producer().build()?.topic("orders")?;
    for order in ["tea", "rice", "salt"] {
        orders.send(Record::new(order))?;
    }
    assert_eq!(count_orders(&store)?, 3);
    assert_eq!(count_orders(&store)?, 0, "what was committed is not read again");
    orders.send(Record::new("ink"))?;
    assert_eq!(count_orders(&store)?, 1);
    store.close()
}

fn a_week_later_old_orders_are_gone() -> tidelog::Result<()> {
    let week = Duration::from_secs(7 * 24 * 60 * 60);
    let clock = ManualClock::new(Timestamp::from_millis(1_700_000_000_000));
    let store = store_for_tests(&clock)?;
    store.ensure_topic("orders", TopicConfig::new().retention(week))?;
    let orders = store.producer().build()?.topic("orders")?;

    orders.send(Record::new("old"))?;
    clock.advance(week + Duration::from_secs(1));
    store.run_maintenance(); // with `Threads::Host` nothing happens behind the test's back
    let receipt = orders.send(Record::new("new"))?;

    let mut consumer = store.consumer("late").subscribe(["orders"]).build()?;
    let records = consumer.try_poll()?;
    let values: Vec<_> = records.iter().map(|record| record.value().map(<[u8]>::to_vec)).collect();
    assert_eq!(values, [Some(b"new".to_vec())]);
    assert_eq!(receipt.offset().get(), 1, "an offset is never used twice");
    assert_eq!(receipt.timestamp(), Some(clock.wall()));
    store.close()
}

fn main() -> tidelog::Result<()> {
    orders_are_counted_once()?;
    a_week_later_old_orders_are_gone()?;
    println!("all is as it should be");
    Ok(())
}
