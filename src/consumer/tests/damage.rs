//! What cannot be read: damage, compression, transactions; and going on behind it.

use super::*;

#[test]
fn control_batches_are_hidden_and_occupy_offsets() {
    let world = World::new();
    world.create("orders", 1);
    world.send("orders", 0, &["a"]);
    Forged::marker(&world).append(&world);
    world.send("orders", 0, &["b"]);
    Forged::marker(&world).append(&world);
    let mut consumer = world.group("g").subscribe(["orders"]).build().unwrap();
    let records = consumer.try_poll().unwrap();
    let offsets: Vec<_> = records.iter().map(|record| record.offset().get()).collect();
    assert_eq!((values(&records), offsets), (vec!["a".into(), "b".into()], vec![0, 2]));
    assert_eq!(consumer.position("orders", 0).unwrap(), Offset::new(4));
    Forged::marker(&world).append(&world);
    assert!(consumer.poll(Duration::from_millis(10)).unwrap().is_empty());
    assert_eq!(consumer.lag("orders", 0).unwrap(), 0);
    consumer.commit().unwrap();
    assert_eq!(world.committed("g", "orders", 0), Some(5));
}

#[test]
#[cfg(not(feature = "snappy"))]
fn a_codec_that_is_not_built_in_is_an_error_that_names_the_feature() {
    let world = World::new();
    world.create("orders", 1);
    world.send("orders", 0, &["a"]);
    Forged::of(&world, &[Record::new("b")]).attributes(2).append(&world);
    world.send("orders", 0, &["c"]);
    let mut consumer = world.group("g").subscribe(["orders"]).build().unwrap();
    assert_eq!(values(&consumer.try_poll().unwrap()), ["a"]);
    for _ in 0..2 {
        let error = consumer.try_poll().unwrap_err();
        assert_eq!((error.kind(), error.offset()), (ErrorKind::Unsupported, Some(Offset::new(1))));
        assert!(error.to_string().contains("snappy"), "{error}");
    }
    let error = consumer.skip_damaged("orders", 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    consumer.seek("orders", 0, Offset::new(2)).unwrap();
    assert_eq!(values(&consumer.try_poll().unwrap()), ["c"]);
}

/// A batch whose checksum fits and whose records are no gzip stream.
#[test]
#[cfg(feature = "gzip")]
fn what_does_not_decompress_is_damage() {
    let world = World::new();
    world.create("orders", 1);
    world.send("orders", 0, &["a"]);
    Forged::of(&world, &[Record::new("b")]).attributes(1).append(&world);
    world.send("orders", 0, &["c"]);
    let mut consumer = world.group("g").subscribe(["orders"]).build().unwrap();
    assert_eq!(values(&consumer.try_poll().unwrap()), ["a"]);
    let error = consumer.try_poll().unwrap_err();
    assert!(error.is_corrupt() && error.position().is_some_and(|position| position > 0), "{error}");
    assert_eq!(error.offset(), Some(Offset::new(1)));
    assert!(error.to_string().contains("gzip"), "{error}");
    let gone = consumer.skip_damaged("orders", 0).unwrap();
    assert_eq!(gone, Offset::new(1)..Offset::new(2));
    assert_eq!(values(&consumer.try_poll().unwrap()), ["c"]);
}

#[test]
fn a_bad_record_in_a_whole_batch_costs_that_batch() {
    let world = World::new();
    world.create("orders", 1);
    world.send("orders", 0, &["a"]);
    let mut bad = Forged::of(&world, &[Record::new("b")]);
    *bad.0.last_mut().unwrap() = 0x7f; // the number of headers
    bad.append(&world);
    world.send("orders", 0, &["c"]);
    let mut consumer = world.group("g").subscribe(["orders"]).build().unwrap();
    assert_eq!(values(&consumer.try_poll().unwrap()), ["a"]);
    let error = consumer.try_poll().unwrap_err();
    assert!(error.is_corrupt() && error.position().is_some(), "{error}");
    assert_eq!(error.partition(), Some(("orders", PartitionId::new(0))));
    let gone = consumer.skip_damaged("orders", 0).unwrap();
    assert_eq!(gone, Offset::new(1)..Offset::new(2));
    assert_eq!(values(&consumer.try_poll().unwrap()), ["c"]);
    assert!(consumer.skip_damaged("orders", 0).unwrap().is_empty());
}

#[test]
fn an_error_goes_out_behind_the_records_and_hinders_nobody() {
    let world = World::new();
    world.create("orders", 1);
    world.create("returns", 1);
    Forged::of(&world, &[Record::new("z")]).attributes(1).append(&world);
    world.send("returns", 0, &["1", "2", "3"]);
    let builder = world.group("g").assign([("returns", 0), ("orders", 0)]).max_records(1);
    let mut consumer = builder.build().unwrap();
    let mut polled = Vec::new();
    for _ in 0..6 {
        polled.push(consumer.try_poll().map(|records| values(&records)));
    }
    let read: Vec<_> = polled.iter().filter_map(|poll| poll.as_ref().ok()).flatten().collect();
    assert_eq!(read, ["1", "2", "3"]);
    assert!(polled.iter().filter(|poll| poll.is_err()).count() >= 2);
    assert!(matches!(polled.last(), Some(Err(_))), "it is met until something is done");
    consumer.pause("orders", 0).unwrap();
    assert!(consumer.try_poll().unwrap().is_empty());
}

fn corrupt(world: &World, position: u64) {
    let path = Path::new("/store/orders-0/00000000000000000000.log");
    let file = world.disk.open(path, Access::Write).unwrap();
    let mut byte = [0];
    file.read_at(&mut byte, position).unwrap();
    file.write_at(&[byte[0] ^ 0xff], position).unwrap();
}

#[test]
fn damage_is_passed_by_hand_and_says_what_is_gone() {
    let mut world = World::new();
    world.create_with("orders", TopicConfig::new().index_interval_bytes(1_000));
    let value = "v".repeat(100);
    let values: Vec<_> = (0..100).map(|number| format!("{number:03}{value}")).collect();
    let values: Vec<_> = values.iter().map(String::as_str).collect();
    world.send("orders", 0, &values);
    let batch = world.partition("orders", 0).log().unwrap().size().0 / 100;
    world.reopen();
    corrupt(&world, batch * 20 + 80);
    let mut consumer = world.group("g").subscribe(["orders"]).build().unwrap();
    let mut read = Vec::new();
    let error = loop {
        match consumer.try_poll() {
            Ok(records) => read.extend(records.iter().map(|record| record.offset().get())),
            Err(error) => break error,
        }
    };
    assert_eq!(read, (0..20).collect::<Vec<_>>());
    assert!(error.is_corrupt(), "{error}");
    assert!(error.path().is_some() && error.position() == Some(batch * 20), "{error:?}");
    assert_eq!(error.partition(), Some(("orders", PartitionId::new(0))));
    assert_eq!(consumer.position("orders", 0).unwrap(), Offset::new(20), "it stays");
    assert!(consumer.try_poll().unwrap_err().is_corrupt());

    let gone = consumer.skip_damaged("orders", 0).unwrap();
    assert_eq!(gone.start, Offset::new(20));
    assert!(gone.end > gone.start && gone.end < Offset::new(40), "{gone:?}");
    consumer.commit().unwrap();
    assert_eq!(world.committed("g", "orders", 0), Some(gone.end.get()));
    let rest: Vec<_> = consumer
        .read_to_end()
        .unwrap()
        .flat_map(|records| records.unwrap().iter().map(|r| r.offset().get()).collect::<Vec<_>>())
        .collect();
    assert_eq!(rest, (gone.end.get()..100).collect::<Vec<_>>());
}

#[test]
fn reading_to_the_end_stops_at_damage_once() {
    stops_once(67); // within the value
    stops_once(0); // the base offset, which no checksum covers
}

fn stops_once(byte_of_batch: u64) {
    let mut world = World::new();
    world.create("orders", 1);
    world.send("orders", 0, &["a", "b", "c"]);
    let batch = world.partition("orders", 0).log().unwrap().size().0 / 3;
    world.reopen();
    corrupt(&world, batch + byte_of_batch);
    let mut consumer = world.group("g").subscribe(["orders"]).build().unwrap();
    let read: Vec<Result<_>> =
        consumer.read_to_end().unwrap().map(|records| records.map(|r| values(&r))).collect();
    assert_eq!(read.len(), 2);
    assert_eq!(read[0].as_ref().unwrap(), &["a"]);
    assert!(read[1].as_ref().unwrap_err().is_corrupt());
    let gone = consumer.skip_damaged("orders", 0).unwrap();
    assert!(gone.end >= Offset::new(2));
    consumer.read_to_end().unwrap().for_each(|records| drop(records.unwrap()));
    assert_eq!(consumer.lag("orders", 0).unwrap(), 0);
}

/// Offsets that have nothing to show lie before it: the error moves the position to the damage,
/// or skipping it would find nothing wrong where reading began, again and again.
#[test]
fn damage_behind_what_is_not_shown_is_skipped() {
    let mut world = World::new();
    world.create("orders", 1);
    for _ in 0..3 {
        Forged::marker(&world).append(&world);
    }
    let shown_from = world.partition("orders", 0).log().unwrap().size().0;
    world.send("orders", 0, &["a", "b"]);
    world.reopen();
    corrupt(&world, shown_from + 67);
    for is_to_end in [false, true] {
        let mut reader = world.reader().assign([("orders", 0)]).build().unwrap();
        let read = if is_to_end { reader.read_to_end().unwrap().next() } else { None };
        let error = read.unwrap_or_else(|| reader.try_poll()).unwrap_err();
        assert!(error.is_corrupt() && error.offset() == Some(Offset::new(3)), "{error:?}");
        assert_eq!(reader.position("orders", 0).unwrap(), Offset::new(3));
        let gone = reader.skip_damaged("orders", 0).unwrap();
        assert_eq!(gone, Offset::new(3)..Offset::new(4), "to the end: {is_to_end}");
        assert_eq!(values(&reader.try_poll().unwrap()), ["b"]);
    }
}

/// The reset policy chose the place: the error moves the position there.
#[test]
fn damage_where_a_reset_policy_leads_is_skipped() {
    let mut world = World::new();
    world.create("orders", 1);
    world.send("orders", 0, &["a", "b", "c"]);
    let batch = world.partition("orders", 0).log().unwrap().size().0 / 3;
    world.reopen();
    let mut consumer = world.group("g").subscribe(["orders"]).reset(Reset::Earliest).build();
    let consumer = consumer.as_mut().unwrap();
    assert_eq!(consumer.position("orders", 0).unwrap(), Offset::ZERO);
    let partition = world.partition("orders", 0);
    world.engine.delete_records_before(&partition, Offset::new(1)).unwrap();
    corrupt(&world, batch + 67);
    assert!(consumer.try_poll().unwrap_err().is_corrupt());
    let gone = consumer.skip_damaged("orders", 0).unwrap();
    assert_eq!(gone, Offset::new(1)..Offset::new(2));
    assert_eq!(values(&consumer.try_poll().unwrap()), ["c"]);
    consumer.commit().unwrap();
    assert_eq!(world.committed("g", "orders", 0), Some(3));
}
