//! The straight way beside the long one: it stages what that would, or says nothing.

use super::*;
use crate::consumer::fetch::Read;
use crate::record::RecordFilter;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

fn world() -> World {
    let world = World::new();
    world.create_with("orders", TopicConfig::new().segment_bytes(8_192));
    world.send("orders", 0, &["first"]);
    world
}

/// A consumer that has read to the end.
fn at_end(builder: ConsumerBuilder) -> Consumer {
    let mut consumer = builder.assign([("orders", 0)]).build().unwrap();
    while !consumer.try_poll().unwrap().is_empty() {}
    consumer
}

fn goes_straight(consumer: &mut Consumer) -> bool {
    consumer.read_straight(0) == Some(Read::More)
}

#[test]
fn what_was_appended_since_is_read_straight_and_counted_once() {
    let world = world();
    let mut consumer = at_end(world.reader());
    assert!(!goes_straight(&mut consumer), "nothing is there");
    world.send("orders", 0, &["a"]);
    world.send_batch("orders", 0, &["b", "c"]);
    assert!(goes_straight(&mut consumer));
    world.send("orders", 0, &["d"]);
    assert!(goes_straight(&mut consumer), "behind what is staged");
    assert_eq!(consumer.position("orders", 0).unwrap(), Offset::new(1), "not handed out yet");
    assert_eq!(values(&consumer.try_poll().unwrap()), ["a", "b", "c", "d"]);
    assert_eq!(consumer.position("orders", 0).unwrap(), Offset::new(5));
    let partition = world.partition("orders", 0);
    let counted = &partition.log().unwrap().counters().fetched.records;
    assert_eq!(counted.get(), 5);
}

#[test]
fn what_was_read_straight_is_what_a_commit_commits() {
    let world = world();
    let mut consumer = at_end(world.group("g"));
    world.send_batch("orders", 0, &["a", "b"]);
    assert!(goes_straight(&mut consumer));
    consumer.commit().unwrap();
    assert_eq!(world.committed("g", "orders", 0), Some(1), "nothing of it was handed out");
    assert_eq!(consumer.try_poll().unwrap().len(), 2);
    consumer.commit().unwrap();
    let partition = world.partition("orders", 0);
    let committed = world.offsets.committed("g", &partition).unwrap().unwrap();
    let epoch = partition.epoch_before(Offset::new(3)).unwrap();
    assert_eq!((committed.offset(), committed.leader_epoch()), (Offset::new(3), epoch));
}

/// Enough for a poll that waits for so many bytes, or not.
#[test]
fn what_was_read_straight_counts_by_its_bytes() {
    let world = world();
    let mut consumer = at_end(world.reader().min_bytes(200));
    world.send("orders", 0, &["a"]);
    assert!(goes_straight(&mut consumer));
    assert!(!consumer.is_enough(), "some 70 bytes");
    world.send("orders", 0, &[&"b".repeat(200)]);
    assert!(goes_straight(&mut consumer));
    assert!(consumer.is_enough());
}

/// Its cursor went with what was dropped; the place is looked up.
#[test]
fn what_is_given_up_is_read_again() {
    let world = world();
    let mut consumer = at_end(world.reader());
    for number in 0..3 {
        let value = number.to_string();
        world.send("orders", 0, &[&value]);
        assert!(goes_straight(&mut consumer));
        consumer.forget_fetched();
        assert!(!goes_straight(&mut consumer), "from where that ended");
        assert_eq!(values(&consumer.try_poll().unwrap()), [value]);
    }
}

#[test]
fn whatever_is_different_is_left_to_the_long_way() {
    let world = world();
    let partition = world.partition("orders", 0);
    let reads_next = |mut consumer: Consumer, expected: &[&str]| {
        assert!(!goes_straight(&mut consumer));
        assert_eq!(values(&consumer.try_poll().unwrap()), expected);
    };
    let plain = || at_end(world.reader());
    let filtered = at_end(world.reader().filter(RecordFilter::by(|_| true)));
    let durable = at_end(world.reader().durable_only());
    let one = at_end(world.reader().max_records(1));
    let small = at_end(world.reader().max_bytes(1));
    world.send_batch("orders", 0, &["a", "b"]);
    reads_next(filtered, &["a", "b"]);
    reads_next(durable, &[]);
    let counted = || partition.log().unwrap().counters().fetched.records.get();
    let before = counted();
    reads_next(one, &["a"]);
    assert_eq!(counted() - before, 1, "no more than was handed out");
    reads_next(small, &["a", "b"]);
    let large = plain();
    world.send("orders", 0, &[&"x".repeat(5_000)]);
    reads_next(large, &[&"x".repeat(5_000)]);

    // what is open, is behind the bound; what was aborted, is in the log
    let undecided = plain();
    world.send_open(&[Record::new("open")]);
    reads_next(undecided, &[]);
    world.end(MarkerKind::Abort);
    let (strict, mut loose) = (plain(), at_end(world.reader().read_uncommitted()));
    world.send("orders", 0, &["c"]);
    reads_next(strict, &["c"]);
    assert!(goes_straight(&mut loose), "to whom everything is shown");
}

/// Offsets that are there again stand for other records.
#[test]
fn a_log_that_was_cut_is_not_read_straight() {
    let world = world();
    let partition = world.partition("orders", 0);
    world.send("orders", 0, &["a", "b"]);
    let mut consumer = at_end(world.reader());
    world.engine.truncate_to(&partition, Offset::new(1)).unwrap();
    world.send("orders", 0, &["c", "d", "e"]);
    assert!(!goes_straight(&mut consumer));
    assert_eq!(values(&consumer.try_poll().unwrap()), ["c", "d", "e"]);
}

#[test]
fn what_was_deleted_before_it_was_read_is_not_read_straight() {
    let world = world();
    let partition = world.partition("orders", 0);
    let mut consumer = at_end(world.reader());
    world.send("orders", 0, &["a", "b"]);
    world.engine.delete_records_before(&partition, Offset::new(2)).unwrap();
    assert!(!goes_straight(&mut consumer));
    assert_eq!(values(&consumer.try_poll().unwrap()), ["b"]);
}

/// The same lives read by both, whatever becomes of the log meanwhile.
#[test]
fn who_goes_straight_reads_what_who_takes_the_long_way_does() {
    let mut straight_reads = 0;
    for seed in 0..40 {
        let mut random = StdRng::seed_from_u64(seed);
        let world = world();
        let partition = world.partition("orders", 0);
        let uncommitted = random.random_bool(0.5);
        let build = |filtered: bool| {
            let mut builder = world.reader().max_records(6).reset(Reset::Earliest);
            if uncommitted {
                builder = builder.read_uncommitted();
            }
            if filtered {
                builder = builder.filter(RecordFilter::by(|_| true));
            }
            at_end(builder)
        };
        let (mut straight, mut long) = (build(false), build(true));
        let (mut is_open, mut sent) = (false, 0);
        for _ in 0..60 {
            match random.random_range(0..12) {
                0..6 => {
                    let few: Vec<String> = (0..random.random_range(1..4))
                        .map(|_| {
                            sent += 1;
                            format!("{sent:-<0$}", random.random_range(1..900))
                        })
                        .collect();
                    let few: Vec<&str> = few.iter().map(String::as_str).collect();
                    world.send_batch("orders", 0, &few);
                }
                6..8 => {
                    world.send_open(&[Record::new("open")]);
                    is_open = true;
                }
                8..10 if is_open => {
                    let kinds = [MarkerKind::Commit, MarkerKind::Abort];
                    world.end(kinds[random.random_range(0..2)]);
                    is_open = false;
                }
                10 if !is_open => {
                    let offsets = partition.offsets().unwrap();
                    let to = random.random_range(offsets.start.get()..=offsets.end.get());
                    if random.random_bool(0.5) {
                        world.engine.delete_records_before(&partition, Offset::new(to)).unwrap();
                    } else {
                        world.engine.truncate_to(&partition, Offset::new(to)).unwrap();
                    }
                }
                _ => {}
            }
            straight_reads += usize::from(random.random_bool(0.3) && goes_straight(&mut straight));
            let one = |consumer: &mut Consumer| {
                let mut all = Vec::new();
                loop {
                    match consumer.try_poll() {
                        Ok(records) if records.is_empty() => break,
                        Ok(records) => all.extend(records.iter().map(|record| {
                            (record.offset().get(), text(record.value()), record.leader_epoch())
                        })),
                        Err(error) => all.push((-1, format!("{:?}", error.kind()), None)),
                    }
                }
                (all, consumer.position("orders", 0).unwrap())
            };
            assert_eq!(one(&mut straight), one(&mut long), "seed {seed}");
        }
    }
    assert!(straight_reads > 100, "the straight way was gone {straight_reads} times");
}
