//! Reading with a filter: what is returned, how far it comes, what it is woken by.

use super::*;
use crate::record::RecordFilter;
use crate::record::packed;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

fn tagged() -> TopicConfig {
    TopicConfig::new().tag_index(true)
}

/// Sends each value in a batch of its own, with a tag unless that is empty.
fn send(world: &World, records: &[(&str, &str)]) {
    let partition = world.partition("orders", 0);
    for (value, tag) in records {
        send_one(&partition, &[record(value, tag)], world.clock.wall());
    }
}

fn record<'a>(value: &'a str, tag: &'a str) -> Record<'a> {
    let record = Record::new(value).key(value);
    if tag.is_empty() { record } else { record.header("other", "x").tag(tag) }
}

fn paid(world: &World) -> Consumer {
    let builder = world.group("g").subscribe(["orders"]);
    builder.filter(RecordFilter::tags(["paid"])).build().unwrap()
}

#[test]
fn only_what_matches_is_returned_and_a_commit_covers_the_rest() {
    for config in [TopicConfig::new(), tagged()] {
        let world = World::new();
        world.create_with("orders", config);
        let sent = [("1", "paid"), ("2", "sent"), ("3", ""), ("4", "paid"), ("5", "paidx")];
        send(&world, &sent);
        let mut consumer = paid(&world);
        let records = consumer.try_poll().unwrap();
        assert_eq!(values(&records), ["1", "4"]);
        let first = records.iter().next().unwrap();
        assert_eq!((first.key(), first.tag()), (Some(&b"1"[..]), Some(&b"paid"[..])));
        assert_eq!(first.timestamp(), Some(START));
        assert_eq!(consumer.position("orders", 0).unwrap(), Offset::new(5));
        consumer.commit().unwrap();
        assert_eq!(world.committed("g", "orders", 0), Some(5));
        // nothing matches: the position and the commit move all the same
        send(&world, &[("6", "sent"), ("7", "")]);
        assert!(consumer.try_poll().unwrap().is_empty());
        consumer.commit().unwrap();
        assert_eq!(world.committed("g", "orders", 0), Some(7));
    }
}

#[test]
fn records_are_chosen_within_a_batch_whatever_its_codec() {
    let world = World::new();
    world.create_with("orders", tagged());
    let partition = world.partition("orders", 0);
    let texts: Vec<String> = (0..30).map(|number| number.to_string()).collect();
    let tags = ["paid", "sent", ""];
    let records: Vec<_> =
        texts.iter().zip(tags.iter().cycle()).map(|(value, tag)| record(value, tag)).collect();
    let codecs = [
        "none",
        #[cfg(feature = "lz4")]
        "lz4",
        #[cfg(feature = "zstd")]
        "zstd",
    ];
    for codec in codecs {
        let mut rules = partition.batch_rules(START).unwrap();
        rules.packing = rules.packing.by(codec.parse().unwrap(), None);
        let batch = packed(&records, &rules).unwrap();
        partition.append(&batch, START, Durability::Process).unwrap();
    }
    let wanted: Vec<_> = texts.iter().step_by(3).cloned().collect();
    let builder = world.reader().subscribe(["orders"]).max_records(4);
    let mut consumer = builder.filter(RecordFilter::tags(["paid", "none such"])).build().unwrap();
    let mut seen = Vec::new();
    for polled in consumer.read_to_end().unwrap() {
        let polled = polled.unwrap();
        assert!(polled.len() <= 4);
        seen.extend(polled.iter().map(|record| (record.offset().get(), text(record.value()))));
    }
    let numbered = |batch: i64| {
        let offset = move |at: usize| batch * 30 + 3 * i64::try_from(at).unwrap();
        wanted.iter().enumerate().map(move |(at, value)| (offset(at), value.clone()))
    };
    let expected: Vec<_> =
        (0..).zip(codecs).flat_map(|(number, _)| numbered(number).collect::<Vec<_>>()).collect();
    assert_eq!(seen, expected);
}

#[test]
fn a_predicate_sees_the_record_and_its_panic_loses_nothing() {
    let world = World::new();
    world.create("orders", 1);
    send(&world, &[("1", "paid"), ("2", "paid"), ("3", "sent")]);
    let angry = Arc::new(AtomicUsize::new(1));
    let asked = angry.clone();
    let filter = RecordFilter::tags(["paid"]).and(move |record| {
        assert_ne!(record.value(), Some(&b"3"[..]), "its tag is another");
        assert!(record.offset().get() != 1 || asked.swap(0, Ordering::SeqCst) == 0, "planned");
        record.key() != Some(b"1") && record.headers().count() == 2
    });
    let mut consumer = world.group("g").subscribe(["orders"]).filter(filter).build().unwrap();
    let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| consumer.try_poll()));
    assert!(polled.is_err());
    assert_eq!(values(&consumer.try_poll().unwrap()), ["2"]);
}

#[test]
fn a_call_looks_through_its_limit_and_always_advances() {
    let world = World::new();
    world.create("orders", 1);
    let sent: Vec<_> = (0..400).map(|n| ("v", if n == 399 { "paid" } else { "sent" })).collect();
    send(&world, &sent);
    let builder = world.group("g").subscribe(["orders"]).max_bytes(1_000).scan_limit(2_000);
    let mut consumer = builder.filter(RecordFilter::tags(["paid"])).build().unwrap();
    let (mut polls, mut at) = (0, 0);
    loop {
        // the time is far away: only the limit ends it
        let records = consumer.poll(LONG).unwrap();
        polls += 1;
        let scan = consumer.scans()[0].clone();
        assert_eq!((scan.topic(), scan.partition()), ("orders", PartitionId::new(0)));
        assert_eq!(scan.scanned(), scan.next_offset().since(Offset::new(at)));
        assert_eq!(consumer.position("orders", 0).unwrap(), scan.next_offset());
        assert!(scan.next_offset().get() > at, "it advances");
        at = scan.next_offset().get();
        if !records.is_empty() {
            assert_eq!(scan.matched(), 1);
            break;
        }
    }
    assert!((10..40).contains(&polls), "{polls}");
    let builder = world.reader().subscribe(["orders"]).max_bytes(1_000).scan_limit(2_000);
    let mut reader = builder.filter(RecordFilter::tags(["paid"])).build().unwrap();
    let found: usize = reader.read_to_end().unwrap().map(|records| records.unwrap().len()).sum();
    assert_eq!(found, 1, "an empty item does not end it");
}

#[test]
fn a_filter_that_wants_nothing_and_a_limit_of_none_are_refused() {
    let world = World::new();
    world.create("orders", 1);
    let none: [&str; 0] = [];
    let builder = world.reader().subscribe(["orders"]).filter(RecordFilter::tags(none));
    assert_eq!(builder.build().unwrap_err().kind(), ErrorKind::InvalidArgument);
    let builder = world.reader().subscribe(["orders"]).scan_limit(0);
    assert_eq!(builder.build().unwrap_err().kind(), ErrorKind::InvalidConfig);
}

#[test]
fn stretches_without_the_tag_are_passed_over_across_segments() {
    let world = World::new();
    world.create_with("orders", tagged().segment_bytes(4_000).index_interval_bytes(200));
    let tag = |n: usize| if n % 100 == 50 { "paid" } else { "sent" };
    let texts: Vec<String> = (0..500).map(|number| number.to_string()).collect();
    let sent: Vec<_> = texts.iter().enumerate().map(|(n, text)| (&**text, tag(n))).collect();
    send(&world, &sent);
    let mut consumer = paid(&world);
    assert_eq!(values(&consumer.try_poll().unwrap()), ["50", "150", "250", "350", "450"]);
    let scan = &consumer.scans()[0];
    assert_eq!((scan.matched(), scan.next_offset()), (5, Offset::new(500)));
    assert!(scan.scanned() < 60, "{scan:?}");
    assert!(scan.passed_over_bytes() > 30_000, "{scan:?}");
    // from the middle of a run
    consumer.seek("orders", 0, Offset::new(149)).unwrap();
    assert_eq!(values(&consumer.try_poll().unwrap()), ["150", "250", "350", "450"]);
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// How often a task that waits for `filter` is woken by what `append` appends.
fn wakes(config: TopicConfig, filter: RecordFilter, append: impl Fn(&World)) -> usize {
    let world = World::new();
    world.create_with("orders", config);
    let builder = world.group("g").subscribe(["orders"]).read_uncommitted();
    let mut consumer = builder.filter(filter).build().unwrap();
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    let mut waiting = pin!(consumer.poll_async());
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    append(&world);
    count.0.load(Ordering::SeqCst)
}

#[test]
fn only_what_may_match_wakes_where_tags_are_kept() {
    let paid = || RecordFilter::tags(["paid", "back"]);
    let others = |world: &World| {
        for _ in 0..100 {
            send(world, &[("x", "sent"), ("y", "")]);
        }
        world.send_open(&[record("z", "sent")]);
    };
    assert_eq!(wakes(tagged(), paid(), others), 0);
    assert_eq!(wakes(tagged(), paid(), |world| send(world, &[("x", "back")])), 1);
    let commit = |world: &World| {
        world.send_open(&[record("z", "sent")]);
        world.end(MarkerKind::Commit);
    };
    assert_eq!(wakes(tagged(), paid(), commit), 1, "it may show records of any tag");
    assert_eq!(wakes(TopicConfig::new(), paid(), others), 1, "nothing is known of tags");
    let any = || RecordFilter::by(|record| record.tag() == Some(b"paid"));
    assert_eq!(wakes(tagged(), any(), others), 1, "a predicate may want all");
}

/// What a waiting consumer was not woken for is passed over by its next poll, and it is woken by
/// what it waits for although it never looked at the rest.
#[test]
fn a_consumer_that_is_not_woken_misses_nothing() {
    let world = World::new();
    world.create_with("orders", tagged());
    let mut consumer = paid(&world);
    assert!(consumer.try_poll().unwrap().is_empty());
    send(&world, &[("1", "sent"), ("2", "sent")]);
    assert!(consumer.try_poll().unwrap().is_empty());
    assert_eq!(consumer.position("orders", 0).unwrap(), Offset::new(2));
    consumer.commit().unwrap();
    assert_eq!(world.committed("g", "orders", 0), Some(2));
    std::thread::scope(|scope| {
        let polled = scope.spawn(|| values(&consumer.poll(LONG).unwrap()));
        let partition = world.partition("orders", 0);
        while partition.signal().armed_count() == 0 {
            std::thread::yield_now();
        }
        send(&world, &[("3", "sent"), ("4", "paid"), ("5", "sent")]);
        assert_eq!(polled.join().unwrap(), ["4"]);
    });
}

/// A poll looks at some of many partitions: none that has what is wanted waits for its turn, and
/// the positions of the others come after.
#[test]
fn of_many_partitions_those_with_a_match_are_read_at_once() {
    const PARTITIONS: u32 = 200;
    let world = World::new();
    world.create_with("orders", tagged().partitions(PARTITIONS));
    let mut consumer = paid(&world);
    assert!(consumer.try_poll().unwrap().is_empty());
    let send = |partition: u32, tag: &str| {
        send_one(&world.partition("orders", partition), &[record("x", tag)], START);
    };
    (0..PARTITIONS).for_each(|partition| send(partition, "sent"));
    let moved = |consumer: &mut Consumer| {
        let has_moved = |it: &u32| consumer.position("orders", *it).unwrap() > Offset::ZERO;
        (0..PARTITIONS).filter(has_moved).count()
    };
    for (polls, partition) in (1..).zip([199, 64, 7, 130]) {
        send(partition, "paid");
        let polled = consumer.try_poll().unwrap();
        let from: Vec<u32> = polled.iter().map(|record| record.partition().get()).collect();
        assert_eq!(from, [partition]);
        assert!(moved(&mut consumer) <= 65 * polls, "a poll looks at some");
    }
    assert_eq!(moved(&mut consumer), PARTITIONS as usize, "and four of them at all");
    (0..PARTITIONS).for_each(|partition| {
        let end = if [199, 64, 7, 130].contains(&partition) { 2 } else { 1 };
        assert_eq!(consumer.position("orders", partition).unwrap(), Offset::new(end));
    });
}

/// Two waiters for different tags, and appends of both from two threads: each gets its own.
#[test]
fn waiters_for_different_tags_are_each_woken() {
    let world = World::new();
    world.create_with("orders", tagged());
    let count = 300;
    std::thread::scope(|scope| {
        for tag in ["paid", "sent"] {
            let world = &world;
            let builder = world.group(tag).subscribe(["orders"]);
            let mut consumer = builder.filter(RecordFilter::tags([tag])).build().unwrap();
            scope.spawn(move || {
                let mut seen = 0;
                while seen < count {
                    let polled = consumer.poll(LONG).unwrap();
                    assert!(!polled.is_empty(), "{tag}: it was not woken after {seen}");
                    assert!(polled.iter().all(|record| record.tag() == Some(tag.as_bytes())));
                    seen += polled.len();
                }
            });
            scope.spawn(move || (0..count).for_each(|_| send(world, &[("v", tag)])));
        }
    });
}

#[test]
fn what_is_open_or_aborted_is_not_shown_by_its_tag() {
    let world = World::new();
    world.create_with("orders", tagged());
    world.send_open(&[record("a", "paid")]);
    send(&world, &[("b", "sent"), ("c", "paid")]);
    let mut consumer = paid(&world);
    assert!(consumer.try_poll().unwrap().is_empty());
    assert_eq!(consumer.position("orders", 0).unwrap(), Offset::ZERO);
    world.end(MarkerKind::Abort);
    assert_eq!(values(&consumer.try_poll().unwrap()), ["c"]);
}
