//! Reading: caps, fairness, positions, seeks, pausing, topics that come and go, definite ends.

use super::*;

#[test]
fn records_come_in_order_and_once() {
    let world = World::new();
    world.create("orders", 1);
    world.send("orders", 0, &["a", "b"]);
    world.send_batch("orders", 0, &["c", "d"]);
    let mut consumer = world.group("g").subscribe(["orders"]).build().unwrap();
    assert_eq!(values(&consumer.try_poll().unwrap()), ["a", "b", "c", "d"]);
    assert_eq!(consumer.position("orders", 0).unwrap(), Offset::new(4));
    assert!(consumer.try_poll().unwrap().is_empty());
    world.send("orders", 0, &["e"]);
    assert_eq!(consumer.lag("orders", 0).unwrap(), 1);
    let records = consumer.poll(LONG).unwrap();
    let record = records.iter().next().unwrap();
    assert_eq!((record.topic(), record.offset().get()), ("orders", 4));
    assert_eq!(consumer.lag("orders", 0).unwrap(), 0);
}

#[test]
fn the_record_cap_cuts_within_a_batch() {
    let world = World::new();
    world.create("orders", 1);
    world.send_batch("orders", 0, &["a", "b", "c", "d", "e"]);
    world.send("orders", 0, &["f"]);
    let mut consumer = world.group("g").subscribe(["orders"]).max_records(2).build().unwrap();
    for expected in [&["a", "b"][..], &["c", "d"], &["e"], &["f"], &[]] {
        assert_eq!(values(&consumer.try_poll().unwrap()), expected);
    }
}

#[test]
fn the_byte_cap_returns_one_batch_at_least() {
    let world = World::new();
    world.create("orders", 2);
    let large = "x".repeat(500);
    world.send("orders", 0, &[&large, "a"]);
    world.send("orders", 1, &[&large, "b"]);
    let consumer = world.group("g").subscribe(["orders"]).max_bytes(100);
    let mut consumer = consumer.build().unwrap();
    let polled: Vec<_> = (0..4).map(|_| values(&consumer.try_poll().unwrap())).collect();
    assert_eq!(polled.concat(), [large.as_str(), &large, "a", "b"]);
}

#[test]
fn a_batch_that_does_not_fit_ends_the_wait_for_more() {
    let world = World::new();
    world.create("orders", 2);
    world.send("orders", 0, &["a"]);
    world.send("orders", 1, &[&"x".repeat(500)]);
    let builder = world.group("g").subscribe(["orders"]).max_bytes(200).min_bytes(200);
    let mut consumer = builder.max_wait(LONG).build().unwrap();
    assert_eq!(values(&consumer.poll(LONG).unwrap()), ["a"]);
    assert_eq!(consumer.poll(LONG).unwrap().len(), 1);
}

#[test]
fn partitions_take_turns() {
    let world = World::new();
    world.create("orders", 3);
    for id in 0..3 {
        world.send_batch("orders", id, &["1", "2", "3", "4"]);
    }
    let mut consumer = world.group("g").subscribe(["orders"]).max_records(2).build().unwrap();
    let mut turns = Vec::new();
    for _ in 0..6 {
        let records = consumer.try_poll().unwrap();
        turns.push(records.iter().next().unwrap().partition().get());
    }
    assert_eq!(turns, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn seeks_move_and_do_not_commit() {
    let world = World::new();
    world.create("orders", 1);
    world.send("orders", 0, &["a", "b", "c"]);
    let mut consumer = world.group("g").subscribe(["orders"]).build().unwrap();
    assert_eq!(consumer.try_poll().unwrap().len(), 3);
    consumer.seek("orders", 0, Offset::new(1)).unwrap();
    consumer.commit().unwrap();
    assert_eq!(world.committed("g", "orders", 0), Some(3));
    assert_eq!(values(&consumer.try_poll().unwrap()), ["b", "c"]);
    assert_eq!(consumer.seek_to_beginning("orders", 0).unwrap(), Offset::ZERO);
    assert_eq!(consumer.try_poll().unwrap().len(), 3);
    assert_eq!(consumer.seek_to_end("orders", 0).unwrap(), Offset::new(3));
    assert!(consumer.try_poll().unwrap().is_empty());

    let error = consumer.seek("orders", 0, Offset::new(4)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange);
    assert_eq!(error.available(), Some((Offset::ZERO, Offset::new(3))));
    assert_eq!(consumer.position("orders", 0).unwrap(), Offset::new(3));
    let error = consumer.seek("orders", 1, Offset::ZERO).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn seeks_to_times() {
    let world = World::new();
    world.create("orders", 1);
    for second in 0..10 {
        let at = START.saturating_sub(Duration::from_secs(10 - second));
        let record = Record::new("x").timestamp(at);
        send_one(&world.partition("orders", 0), &[record], START);
    }
    let mut consumer = world.group("g").subscribe(["orders"]).build().unwrap();
    let mut seek = |ago: u64| {
        let at = START.saturating_sub(Duration::from_millis(ago));
        consumer.seek_to_timestamp("orders", 0, at).unwrap().get()
    };
    assert_eq!([seek(60_000), seek(7_000), seek(6_500), seek(0)], [0, 3, 4, 10]);
}

#[test]
fn paused_partitions_rest() {
    let world = World::new();
    world.create("orders", 2);
    world.send("orders", 0, &["a"]);
    world.send("orders", 1, &["b"]);
    let mut consumer = world.group("g").subscribe(["orders"]).build().unwrap();
    consumer.pause("orders", 0).unwrap();
    assert_eq!(values(&consumer.try_poll().unwrap()), ["b"]);
    world.send("orders", 0, &["c"]);
    assert!(consumer.poll(NONE).unwrap().is_empty());
    assert!(consumer.is_paused("orders", 0).unwrap());
    consumer.resume("orders", 0).unwrap();
    assert_eq!(values(&consumer.try_poll().unwrap()), ["a", "c"]);
    world.send("orders", 0, &["d"]);
    assert_eq!(values(&consumer.poll(LONG).unwrap()), ["d"]);
}

#[test]
fn builders_refuse_what_makes_no_sense() {
    let world = World::new();
    world.create("orders", 1);
    let kind = |builder: ConsumerBuilder| builder.build().unwrap_err().kind();
    let group = |name: &str| world.group(name).subscribe(["orders"]);
    assert_eq!(kind(world.group("g")), ErrorKind::InvalidArgument);
    assert_eq!(kind(group("g").assign([("orders", 0)])), ErrorKind::InvalidArgument);
    assert_eq!(kind(group("")), ErrorKind::InvalidName);
    assert_eq!(kind(group(&"g".repeat(40_000))), ErrorKind::InvalidName);
    assert_eq!(kind(world.group("g").subscribe(["or/ders"])), ErrorKind::InvalidName);
    assert_eq!(kind(world.group("g").assign([("orders", 1)])), ErrorKind::NotFound);
    assert_eq!(kind(world.group("g").assign([("returns", 0)])), ErrorKind::NotFound);
    assert_eq!(kind(group("g").max_bytes(0)), ErrorKind::InvalidConfig);
    assert_eq!(kind(group("g").max_records(0)), ErrorKind::InvalidConfig);
    assert_eq!(kind(group("g").min_bytes(2).max_bytes(1)), ErrorKind::InvalidConfig);
    let reader = world.reader().subscribe(["orders"]).auto_commit(LONG);
    assert_eq!(kind(reader), ErrorKind::InvalidArgument);
    group("g").build().unwrap(); // what was refused left nothing behind
}

#[test]
fn subscribers_follow_their_topics() {
    let world = World::new();
    let builder = world.group("g").subscribe(["orders", "returns"]).reset(Reset::Latest);
    let mut consumer = builder.build().unwrap();
    assert!(consumer.try_poll().unwrap().is_empty());
    world.create("orders", 1);
    world.send("orders", 0, &["a"]);
    assert_eq!(values(&consumer.try_poll().unwrap()), ["a"], "it came after the consumer");
    world.engine.add_partitions("orders", 3).unwrap();
    world.send("orders", 2, &["b"]);
    assert_eq!(values(&consumer.try_poll().unwrap()), ["b"]);
    assert_eq!(consumer.assignment().len(), 3);
    consumer.commit().unwrap();

    world.delete("orders");
    assert!(consumer.try_poll().unwrap().is_empty());
    assert!(consumer.assignment().is_empty());
    consumer.commit().unwrap();
    world.create("orders", 1);
    assert_eq!(world.committed("g", "orders", 0), None);
    world.send("orders", 0, &["new"]);
    assert_eq!(values(&consumer.try_poll().unwrap()), ["new"]);
}

#[test]
fn an_assigned_topic_that_is_deleted_fails_and_hinders_nobody() {
    let world = World::new();
    world.create("orders", 1);
    world.create("returns", 1);
    let builder = world.group("g").assign([("orders", 0), ("returns", 0)]);
    let mut consumer = builder.build().unwrap();
    world.send("orders", 0, &["gone"]);
    world.delete("orders");
    let error = consumer.try_poll().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    world.send("returns", 0, &["a"]);
    let mut seen = Vec::new();
    for _ in 0..4 {
        if let Ok(records) = consumer.try_poll() {
            seen.extend(values(&records));
        }
    }
    assert_eq!(seen, ["a"]);
    consumer.commit().unwrap();
    assert_eq!(world.committed("g", "returns", 0), Some(1));
}

#[test]
fn reading_to_the_end_ends_where_the_log_ended() {
    let world = World::new();
    world.create("orders", 2);
    world.send("orders", 0, &["a", "b", "c"]);
    world.send("orders", 1, &["d"]);
    let mut consumer = world.group("g").subscribe(["orders"]).max_records(2).build().unwrap();
    let mut reading = consumer.read_to_end().unwrap();
    let mut seen = Vec::new();
    while let Some(records) = reading.next() {
        seen.extend(values(&records.unwrap()));
        reading.consumer().commit().unwrap();
        world.send("orders", 0, &["later"]);
    }
    seen.sort();
    assert_eq!(seen, ["a", "b", "c", "d"]);
    assert_eq!(world.committed("g", "orders", 0), Some(3));
    assert_eq!(consumer.position("orders", 0).unwrap(), Offset::new(3));
    assert!(values(&consumer.try_poll().unwrap()).iter().all(|value| value == "later"));
}

#[test]
fn reading_to_the_end_passes_what_has_no_records() {
    let world = World::new();
    world.create("orders", 1);
    world.send("orders", 0, &["a"]);
    Forged::marker(&world).append(&world);
    Forged::of(&world, &[Record::new("b")]).span(10).append(&world);
    Forged::marker(&world).append(&world);
    let mut consumer = world.group("g").subscribe(["orders"]).build().unwrap();
    let all: Vec<_> = consumer.read_to_end().unwrap().map(|records| records.unwrap()).collect();
    assert_eq!(all.iter().flat_map(values).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(consumer.read_to_end().unwrap().count(), 0);
    assert_eq!(consumer.lag("orders", 0).unwrap(), 0);
    consumer.commit().unwrap();
    assert_eq!(world.committed("g", "orders", 0), Some(13), "the marker has nothing to read");
}

#[test]
fn records_outlive_retention_and_the_store() {
    let world = World::new();
    world.create("orders", 1);
    world.send("orders", 0, &["a"]);
    let records = {
        let mut consumer = world.group("g").subscribe(["orders"]).build().unwrap();
        consumer.try_poll().unwrap()
    };
    assert!(world.engine.pinned().get() > 0);
    let pinned = world.engine.pinned().clone();
    world.delete("orders");
    world.engine.close().unwrap();
    assert_eq!(values(&records), ["a"]);
    drop(records);
    assert_eq!(pinned.get(), 0);
}

#[test]
fn durable_records_only() {
    let world = World::new();
    world.create("orders", 1);
    world.send("orders", 0, &["a"]);
    let mut consumer = world.group("g").subscribe(["orders"]).durable_only().build().unwrap();
    assert!(consumer.try_poll().unwrap().is_empty());
    world.partition("orders", 0).make_durable(Offset::new(1)).unwrap();
    assert_eq!(values(&consumer.poll(LONG).unwrap()), ["a"]);
    world.send("orders", 0, &["b"]);
    assert_eq!(consumer.seek_to_end("orders", 0).unwrap(), Offset::new(1));
    assert_eq!(consumer.read_to_end().unwrap().count(), 0);
}

#[test]
fn a_thousand_partitions_cost_what_is_ready() {
    let world = World::new();
    world.create("orders", 1_000);
    let mut consumer = world.group("g").subscribe(["orders"]).build().unwrap();
    assert!(consumer.try_poll().unwrap().is_empty());
    for id in [3, 999, 500] {
        world.send("orders", id, &["x"]);
        let records = consumer.poll(LONG).unwrap();
        assert_eq!(records.iter().next().unwrap().partition().get(), id);
        assert!(consumer.assignment.ready_len() <= 1);
    }
    consumer.try_poll().unwrap();
    assert_eq!(consumer.assignment.ready_len(), 0);
    consumer.commit().unwrap();
    assert_eq!(world.committed("g", "orders", 500), Some(1));
    assert_eq!(world.committed("g", "orders", 501), None);
}
