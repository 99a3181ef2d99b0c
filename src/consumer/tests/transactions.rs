//! Consumers over transactions: what they are shown, where the end lies, and what wakes them.

use super::*;
use std::thread;

#[test]
fn polls_return_what_was_committed_up_to_what_is_open() {
    let world = World::new();
    world.create("orders", 1);
    world.send("orders", 0, &["1"]);
    world.send_open(&[Record::new("a")]);
    world.send("orders", 0, &["2"]);
    let mut strict = world.group("g").subscribe(["orders"]).build().unwrap();
    let mut loose = world.group("h").subscribe(["orders"]).read_uncommitted().build().unwrap();
    assert_eq!(strict.lag("orders", 0).unwrap(), 1, "the end is where the open one begins");
    assert_eq!(values(&strict.try_poll().unwrap()), ["1"]);
    assert!(strict.try_poll().unwrap().is_empty());
    assert_eq!(strict.lag("orders", 0).unwrap(), 0);
    assert_eq!(strict.read_to_end().unwrap().count(), 0);
    let all = loose.try_poll().unwrap();
    assert_eq!(values(&all), ["1", "a", "2"]);
    assert!(all.iter().nth(1).unwrap().is_transactional());
    world.end(MarkerKind::Abort);
    assert_eq!(values(&strict.try_poll().unwrap()), ["2"]);
    world.send_open(&[Record::new("b")]);
    world.end(MarkerKind::Commit);
    assert_eq!(values(&strict.try_poll().unwrap()), ["b"]);
    assert_eq!(strict.position("orders", 0).unwrap(), Offset::new(6), "behind the marker");
    assert!(loose.try_poll().unwrap().iter().map(|record| record.offset().get()).eq([4]));
}

/// Only the marker moves what such a poll may see.
#[test]
fn a_marker_wakes_a_poll() {
    for kind in [MarkerKind::Commit, MarkerKind::Abort] {
        let world = World::new();
        world.create("orders", 1);
        world.send_open(&[Record::new("a")]);
        world.send("orders", 0, &["behind"]);
        let mut consumer = world.group("g").subscribe(["orders"]).build().unwrap();
        thread::scope(|scope| {
            let polled = scope.spawn(|| {
                let mut seen = Vec::new();
                while !seen.iter().any(|value| value == "behind") {
                    seen.extend(values(&consumer.poll(LONG).unwrap()));
                }
                seen
            });
            thread::sleep(Duration::from_millis(10));
            assert!(!polled.is_finished());
            world.end(kind);
            let committed = kind == MarkerKind::Commit;
            let expected = if committed { &["a", "behind"][..] } else { &["behind"] };
            assert_eq!(polled.join().unwrap(), expected, "{kind:?}");
        });
    }
}

/// Aborted batches and markers alone, more than a fetch returns: the poll goes on behind them.
#[test]
fn a_poll_does_not_stall_at_what_it_does_not_return() {
    let world = World::new();
    world.create("orders", 1);
    for number in 0..200 {
        world.send_open(&[Record::new(&format!("{number:0100}"))]);
        if number % 10 == 9 {
            world.end(MarkerKind::Abort);
        }
    }
    world.send("orders", 0, &["last"]);
    let builder = world.group("g").subscribe(["orders"]).max_bytes(500);
    let mut consumer = builder.build().unwrap();
    assert_eq!(values(&consumer.poll(LONG).unwrap()), ["last"]);
    let mut reader = world.reader().assign([("orders", 0)]).max_bytes(500).build().unwrap();
    let all: Vec<_> = reader.read_to_end().unwrap().map(|records| records.unwrap().len()).collect();
    assert_eq!(all, [1]);
    world.send("orders", 0, &["x"]);
    world.send_open(&[Record::new("open")]);
    let mut late = world.group("late").subscribe(["orders"]).reset(Reset::Latest).build().unwrap();
    assert!(late.try_poll().unwrap().is_empty());
    assert_eq!(late.position("orders", 0).unwrap(), Offset::new(222), "where the open one begins");
}

#[test]
fn a_full_topic_takes_the_end_of_a_transaction() {
    let world = World::new();
    world.create_with("orders", TopicConfig::new().max_bytes(1024, WhenFull::Fail));
    let [a, b] = ["a", "b"].map(|value| value.repeat(440));
    world.send_open(&[Record::new(&a)]);
    world.send_open(&[Record::new(&b)]);
    let partition = world.partition("orders", 0);
    let records = [Record::new("c")];
    let batch = BorrowedBatch::measure(&records, &partition.batch_rules(START).unwrap()).unwrap();
    assert!(partition.append(&batch, START, Durability::Process).unwrap_err().is_full());
    world.end(MarkerKind::Commit);
    assert_eq!(values(&member(&world).try_poll().unwrap()), [a, b]);
}

/// Another process tells from the log alone what became of transactions.
#[test]
fn who_follows_sees_what_was_committed() {
    let world = World::with(Threads::Host);
    world.create("orders", 1);
    world.send("orders", 0, &["1"]);
    world.send_open(&[Record::new("a")]);
    world.send("orders", 0, &["2"]);
    let follow = || followed::follow(&world.disk, &world.clock).assign([("orders", 0)]);
    let mut strict = follow().build().unwrap();
    assert_eq!(values(&strict.try_poll().unwrap()), ["1"]);
    assert!(strict.try_poll().unwrap().is_empty());
    assert_eq!(strict.lag("orders", 0).unwrap(), 0);
    let mut loose = follow().read_uncommitted().build().unwrap();
    assert_eq!(values(&loose.try_poll().unwrap()), ["1", "a", "2"]);
    let mut look = |expected: &[&str]| {
        world.clock.advance(Duration::from_millis(10));
        assert_eq!(values(&strict.try_poll().unwrap()), expected);
    };
    world.end(MarkerKind::Abort);
    look(&["2"]);
    world.send_open(&[Record::new("b")]);
    look(&[]);
    world.end(MarkerKind::Commit);
    world.send_open(&[Record::new("c")]);
    look(&["b"]);
    world.end(MarkerKind::Abort);
    world.send("orders", 0, &["3"]);
    look(&["3"]);
    let mut late = follow().build().unwrap();
    let all: Vec<_> = late.read_to_end().unwrap().flat_map(|read| values(&read.unwrap())).collect();
    assert_eq!(all, ["1", "2", "b", "3"]);
}

/// The marker lies in the next segment: of what is left of this one, nothing says by itself that it
/// was aborted.
#[test]
fn who_reads_at_the_end_of_a_segment_is_shown_nothing_that_was_aborted() {
    let world = World::new();
    world.create_with("orders", TopicConfig::new().segment_bytes(1_024));
    world.send("orders", 0, &["0"]);
    let mut consumer = world.group("g").subscribe(["orders"]).build().unwrap();
    assert_eq!(values(&consumer.try_poll().unwrap()), ["0"]);
    world.send_open(&[Record::new(&"aborted".repeat(120))]);
    world.end(MarkerKind::Abort);
    let next = Path::new("/store/orders-0/00000000000000000002.log");
    assert!(world.disk.metadata(next).unwrap().is_some(), "it begins with the marker");
    world.send("orders", 0, &["1"]);
    assert_eq!(values(&consumer.try_poll().unwrap()), ["1"]);
}
