//! Sending dead letters back: once each, where they come from or elsewhere, and what stays.

use std::path::Path;

use super::*;
#[cfg(feature = "gzip")]
use crate::config::Compression;
use crate::disk::Access;
use crate::store::RedriveBuilder;

/// Letters of these values, of group `g`.
fn letters(store: &Store, values: &[&str]) {
    send(store, values);
    let mut consumer = consumer(store);
    while reject_all(&mut consumer) > 0 {}
    tend(store);
}

fn redrive(store: &Store) -> RedriveBuilder<'static> {
    store.redrive_dead_letters("g.dlq")
}

#[test]
fn what_is_sent_back_is_as_it_was_and_counts_how_often() {
    let (_, store) = begin();
    let at = Timestamp::from_millis(5_000);
    let sent = Record::new("v").key("k").header("trace", "1").null_header("flag").timestamp(at);
    producer(&store, "jobs").send(sent).unwrap();
    let mut consumer = consumer(&store);
    for round in 1..=3_u32 {
        reject_all(&mut consumer);
        tend(&store);
        let last = records(&store, "g.dlq").pop().unwrap();
        assert_eq!(last.value(), Some(&b"v"[..]));
        assert_eq!(redrive(&store).count().unwrap().records, 1);
        assert_eq!(redrive(&store).run().unwrap().records, 1);
        assert_eq!(redrive(&store).run().unwrap().records, 0, "once");
        let back = records(&store, "jobs").pop().unwrap();
        assert_eq!((back.key(), back.value()), (Some(&b"k"[..]), Some(&b"v"[..])));
        assert_eq!(back.timestamp(), Some(at));
        let count = round.to_string();
        let headers: Vec<_> = back.headers().map(|it| (it.name(), it.value())).collect();
        let expected =
            [("trace", Some(&b"1"[..])), ("flag", None), ("dlq.redriven", Some(count.as_bytes()))];
        assert_eq!(headers, expected);
    }
    let letters = all(&store, "g.dlq");
    let times: Vec<u32> =
        letters.iter().flatten().map(|it| DeadLetter::of(it).unwrap().redriven).collect();
    assert_eq!(times, [0, 1, 2]);
}

#[test]
fn a_filter_and_a_limit_choose_and_what_they_leave_stays() {
    let (_, store) = begin();
    letters(&store, &["1", "2", "3", "4", "5", "6"]);
    let is_even = |value: Option<&[u8]>| value.unwrap()[0].is_multiple_of(2);
    let done = redrive(&store).filter(|it| is_even(it.value())).max_records(2).run().unwrap();
    assert_eq!((done.records, done.passed_over), (2, 2));
    assert_eq!(&values(&store, "jobs")[6..], ["2", "4"]);
    let left = redrive(&store).count().unwrap();
    assert_eq!((left.records, left.passed_over), (4, 0));
    assert_eq!(redrive(&store).max_records(0).run().unwrap().records, 0);
    assert_eq!(redrive(&store).run().unwrap().records, 4);
    assert_eq!(&values(&store, "jobs")[6..], ["2", "4", "1", "3", "5", "6"]);
}

#[test]
fn letters_whose_topic_is_gone_or_another_stay() {
    let (_, store) = begin();
    letters(&store, &["1"]);
    store.delete_topic("jobs").unwrap();
    let done = redrive(&store).run().unwrap();
    assert_eq!((done.records, done.stranded), (0, 1));
    store.ensure_topic("jobs", TopicConfig::new()).unwrap();
    let done = redrive(&store).run().unwrap();
    assert_eq!((done.records, done.stranded), (0, 1));
    let why = done.why_stranded.unwrap();
    assert!(why.contains("made again"), "{why}");
    assert_eq!(redrive(&store).to("jobs").run().unwrap().records, 1);
    assert_eq!(values(&store, "jobs"), ["1"]);
}

#[test]
fn what_is_no_letter_needs_to_be_told_where_to() {
    let (_, store) = begin();
    letters(&store, &["1"]);
    producer(&store, "g.dlq").send(Record::new("by hand").header("dlq.error", "x")).unwrap();
    let done = redrive(&store).run().unwrap();
    assert_eq!((done.records, done.stranded), (1, 1));
    store.ensure_topic("again", TopicConfig::new()).unwrap();
    assert_eq!(redrive(&store).to("again").run().unwrap().records, 1);
    assert_eq!(values(&store, "again"), ["by hand"]);
}

#[test]
fn bad_words_are_refused() {
    let (_, store) = begin();
    letters(&store, &["1"]);
    let kind = |redrive: RedriveBuilder<'_>| redrive.run().unwrap_err().kind();
    assert_eq!(kind(store.redrive_dead_letters("nothing")), ErrorKind::NotFound);
    assert_eq!(kind(store.redrive_dead_letters("__dead_letters")), ErrorKind::InvalidArgument);
    assert_eq!(kind(redrive(&store).to("nothing")), ErrorKind::NotFound);
    assert_eq!(kind(redrive(&store).to("g.dlq")), ErrorKind::InvalidArgument);
    assert_eq!(kind(redrive(&store).to("__share_group_state")), ErrorKind::InvalidArgument);
    store.close().unwrap();
    assert_eq!(kind(redrive(&store)), ErrorKind::Closed);
}

#[test]
fn a_full_target_keeps_them_and_the_next_redrive_goes_on() {
    let (_, store) = begin();
    letters(&store, &["1", "2"]);
    let small = TopicConfig::new().max_bytes(1_024, WhenFull::Fail);
    store.ensure_topic("again", small).unwrap();
    let filler = "x".repeat(940);
    producer(&store, "again").send(Record::new(&filler)).unwrap();
    let error = redrive(&store).to("again").run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
    assert_eq!(redrive(&store).count().unwrap().records, 2);
    store.alter_topic("again", TopicConfig::new()).unwrap();
    assert_eq!(redrive(&store).to("again").run().unwrap().records, 2);
    assert_eq!(&values(&store, "again")[1..], ["1", "2"]);
}

#[test]
fn one_that_its_topic_does_not_take_stays_and_the_others_go() {
    let (_, store) = begin();
    let large = "x".repeat(2_000);
    letters(&store, &["1", &large, "3"]);
    store.ensure_topic("again", TopicConfig::new().max_batch_bytes(1_024)).unwrap();
    let done = redrive(&store).to("again").run().unwrap();
    assert_eq!((done.records, done.stranded), (2, 1));
    assert_eq!(redrive(&store).run().unwrap().records, 1);
}

#[test]
fn one_that_its_topic_does_not_take_leaves_its_place_to_the_next() {
    let (_, store) = begin();
    let large = "x".repeat(2_000);
    letters(&store, &[&large, "2", &large, "4", "5"]);
    store.ensure_topic("again", TopicConfig::new().max_batch_bytes(1_024)).unwrap();
    let done = redrive(&store).to("again").max_records(2).run().unwrap();
    assert_eq!((done.records, done.stranded), (2, 2));
    assert_eq!(values(&store, "again"), ["2", "4"]);
}

#[test]
fn more_than_their_topic_has_room_for_go_as_far_as_it_has() {
    for when_full in [WhenFull::Fail, WhenFull::DropOldest] {
        let (_, store) = begin();
        let value = "v".repeat(1_000);
        letters(&store, &[value.as_str(); 50]);
        let small = TopicConfig::new().max_bytes(16 << 10, when_full).segment_bytes(4 << 10);
        store.ensure_topic("again", small).unwrap();
        let done = redrive(&store).to("again").run();
        let sent = 50 - redrive(&store).count().unwrap().records;
        match when_full {
            WhenFull::Fail => {
                assert_eq!(done.unwrap_err().kind(), ErrorKind::Full);
                assert!((10..16).contains(&sent), "{sent} letters of 1,000 bytes in 16 KiB");
            }
            _ => assert_eq!((done.unwrap().records, sent), (50, 50)),
        }
    }
}

#[test]
fn partitions_share_the_room_of_their_topic() {
    let (_, store) = begin();
    store.delete_topic("jobs").unwrap();
    store.ensure_topic("jobs", TopicConfig::new().partitions(4)).unwrap();
    let jobs = producer(&store, "jobs");
    for number in 0..200 {
        jobs.send_to(number % 4, Record::new(&"v".repeat(1_000))).unwrap();
    }
    let mut consumer = builder(&store).max_records(500).build().unwrap();
    while reject_all(&mut consumer) > 0 {}
    (0..8).for_each(|_| tend(&store));
    let small = TopicConfig::new().partitions(4).max_bytes(64 << 10, WhenFull::Fail);
    store.ensure_topic("again", small).unwrap();
    let error = redrive(&store).to("again").run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
    let sent = 200 - redrive(&store).count().unwrap().records;
    assert!((50..64).contains(&sent), "{sent} letters of 1,000 bytes in 64 KiB");
    assert_eq!(values(&store, "again").len() as u64, sent);
}

#[test]
fn large_ones_for_many_partitions_keep_nobody() {
    let (_, store) = begin();
    store.delete_topic("jobs").unwrap();
    store.ensure_topic("jobs", TopicConfig::new().partitions(6)).unwrap();
    let jobs = producer(&store, "jobs");
    for number in 0..6 {
        jobs.send_to(number, Record::new(&"v".repeat(2_000))).unwrap();
    }
    jobs.send_to(0, Record::new("small")).unwrap();
    let mut consumer = consumer(&store);
    while reject_all(&mut consumer) > 0 {}
    (0..8).for_each(|_| tend(&store));
    store.ensure_topic("again", TopicConfig::new().partitions(6).max_batch_bytes(1_024)).unwrap();
    let done = redrive(&store).to("again").run().unwrap();
    assert_eq!((done.records, done.stranded), (1, 6));
}

#[test]
fn one_that_its_topic_never_has_room_for_stays_and_the_others_go() {
    let (_, store) = begin();
    let large = "x".repeat(2_000);
    letters(&store, &["1", &large, "3"]);
    let small = TopicConfig::new().max_bytes(1_900, WhenFull::Fail);
    store.ensure_topic("again", small).unwrap();
    let done = redrive(&store).to("again").run().unwrap();
    assert_eq!((done.records, done.stranded), (2, 1));
    assert_eq!(values(&store, "again"), ["1", "3"]);
    assert!(done.why_stranded.unwrap().contains("max_bytes"));
}

/// Though nothing but its own header says where the next one begins.
#[cfg(feature = "gzip")]
#[test]
fn a_letter_too_large_to_decompress_keeps_nobody_and_is_counted() {
    let (world, store) = begin();
    store.close().unwrap();
    let store = world.builder().max_decompressed_bytes(10_000).open().unwrap();
    let packed = TopicConfig::new().compression(Compression::Gzip);
    store.ensure_topic("g.dlq", packed).unwrap();
    letters(&store, &["1"]);
    letters(&store, &[&"x".repeat(100_000), &"y".repeat(100_000)]);
    letters(&store, &["4"]);
    letters(&store, &["5"]);
    let one = redrive(&store).filter(|it| it.value() == Some(b"4"));
    assert_eq!(one.run().unwrap().records, 1);
    let done = redrive(&store).run().unwrap();
    assert_eq!((done.records, done.stranded), (2, 2), "{:?}", done.why_stranded);
    let back = values(&store, "jobs").split_off(5);
    assert_eq!(back.iter().map(|it| &it[..1]).collect::<Vec<_>>(), ["4", "1", "5"]);
    store.close().unwrap();
    let store = world.open();
    assert_eq!(redrive(&store).run().unwrap().records, 2, "once they can be read");
}

#[test]
fn what_was_sent_back_is_known_to_the_next_life() {
    let (world, store) = begin();
    letters(&store, &["1", "2", "3"]);
    assert_eq!(redrive(&store).max_records(2).run().unwrap().records, 2);
    store.close().unwrap();
    let store = world.open();
    assert_eq!(redrive(&store).run().unwrap().records, 1);
    assert_eq!(values(&store, "jobs"), ["1", "2", "3", "1", "2", "3"]);
    // of a topic that is made again under the name nothing was sent back
    store.delete_topic("g.dlq").unwrap();
    letters(&store, &[]);
    assert_eq!(redrive(&store).run().unwrap().records, 3);
}

#[test]
fn two_at_once_send_each_back_once() {
    let (_, store) = begin();
    let texts: Vec<String> = (0..2_500).map(|at| at.to_string()).collect();
    letters(&store, &texts.iter().map(String::as_str).collect::<Vec<_>>());
    store.ensure_topic("again", TopicConfig::new()).unwrap();
    let sent: u64 = std::thread::scope(|scope| {
        let run = || redrive(&store).to("again").run().unwrap().records;
        let all: Vec<_> = (0..3).map(|_| scope.spawn(run)).collect();
        all.into_iter().map(|it| it.join().unwrap()).sum()
    });
    let mut back = values(&store, "again");
    back.sort_by_key(|text| text.parse::<u32>().unwrap());
    assert_eq!((sent, back), (2_500, texts));
}

#[test]
fn scheduled_records_without_a_target_are_sent_back_too() {
    let (world, store) = begin();
    producer(&store, "jobs").schedule(Record::new("late"), Duration::from_secs(5)).unwrap();
    store.delete_topic("jobs").unwrap();
    world.pass(&store, 6);
    store.ensure_topic("jobs", TopicConfig::new()).unwrap();
    let done = store.redrive_dead_letters("scheduled.dlq").run().unwrap();
    assert_eq!((done.records, done.stranded), (0, 1));
    let redrive = store.redrive_dead_letters("scheduled.dlq").to("jobs");
    assert_eq!(redrive.run().unwrap().records, 1);
    let back = records(&store, "jobs").pop().unwrap();
    let names: Vec<_> = back.headers().map(|it| it.name()).collect();
    assert_eq!(names, ["dlq.redriven"]);
}

#[test]
fn a_group_s_letters_are_found_by_its_name() {
    let (_, store) = begin();
    send(&store, &["1"]);
    let make = |group: &str| {
        let builder = store.share_consumer(group).subscribe(["jobs"]);
        builder.dead_letter_topic("failed").build().unwrap()
    };
    let (mut own, mut other) = (make("g"), make("h"));
    assert_eq!((reject_all(&mut own), reject_all(&mut other)), (1, 1));
    tend(&store);
    let done = store.redrive_group("g").run().unwrap();
    assert_eq!((done.records, done.passed_over), (1, 1), "those of `h` stay");
    assert_eq!(store.redrive_group("g").run().unwrap().records, 0);
    assert_eq!(poll(&mut own).len(), 1);
    let error = store.redrive_group("nobody").run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn a_damaged_letter_keeps_nobody_and_is_counted() {
    let (world, store) = begin();
    store.ensure_topic("g.dlq", TopicConfig::new().index_interval_bytes(1)).unwrap();
    let value = "v".repeat(1_000);
    for number in 0..6 {
        letters(&store, &[&format!("{number}{value}")]);
    }
    store.close().unwrap();
    let path = Path::new("/store/g.dlq-0/00000000000000000000.log");
    let file = world.disk.open(path, Access::Write).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(&mut bytes, 0).unwrap();
    let at = bytes.windows(3).position(|three| three == b"2vv").expect("the third letter") as u64;
    file.write_at(b"?", at).unwrap();
    drop(file);
    let store = world.open();
    let done = redrive(&store).run().unwrap();
    assert_eq!(done.records, 5);
    assert!(done.stranded > 0, "{done:?}");
    let why = done.why_stranded.expect("why it stays");
    assert!(why.contains("g.dlq"), "{why}");
    let back: Vec<_> =
        values(&store, "jobs").split_off(6).iter().map(|it| it[..1].to_owned()).collect();
    assert_eq!(back, ["0", "1", "3", "4", "5"]);
    assert_eq!(redrive(&store).run().unwrap().records, 0, "once");
}
