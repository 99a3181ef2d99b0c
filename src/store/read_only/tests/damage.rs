//! Damage and what is not yet: the difference is what the writer has recorded.

use super::*;
use crate::config::TopicConfig;
use crate::disk::Access;

/// Turns a byte of the only segment around.
fn flip(pair: &Pair, position: u64) {
    let path = root().join("t-0/00000000000000000000.log");
    let file = pair.disk.open(&path, Access::Write).unwrap();
    let mut byte = [0];
    file.read_at(&mut byte, position).unwrap();
    file.write_at(&[byte[0] ^ 0x55], position).unwrap();
}

#[test]
fn bad_bytes_above_the_recovery_point_are_not_yet() {
    let pair = Pair::new(TopicConfig::new());
    pair.send("one");
    pair.send("two");
    flip(&pair, 80); // in the second batch
    let mut reader = pair.reading.reader().assign([("t", 0)]).build().unwrap();
    assert_eq!(values(&reader.try_poll().unwrap()), ["one"]);
    flip(&pair, 80);
    pair.clock.advance(Duration::from_secs(2));
    assert_eq!(values(&reader.try_poll().unwrap()), ["two"]);
}

#[test]
fn bad_bytes_below_it_are_damage_and_the_rest_is_read() {
    let mut pair = Pair::new(TopicConfig::new());
    pair.send("one");
    pair.send("two");
    pair.reopen(); // a clean close: what is there is final
    pair.send("three");
    flip(&pair, 80);
    let mut reader = pair.reading.reader().assign([("t", 0)]).build().unwrap();
    assert_eq!(values(&reader.try_poll().unwrap()), ["one"]);
    let error = reader.try_poll().unwrap_err();
    assert!(error.is_corrupt(), "{error}");
    let error = reader.try_poll().unwrap_err();
    assert!(error.is_corrupt(), "again, until something is done about it: {error}");
}

#[test]
fn a_reader_behind_retention_is_told_and_goes_on_by_its_policy() {
    let pair = Pair::new(TopicConfig::new().segment_bytes(1_500));
    (0..50).for_each(|number| pair.send(&number.to_string()));
    let mut reader = pair.reading.reader().assign([("t", 0)]).max_records(1).build().unwrap();
    assert_eq!(values(&reader.try_poll().unwrap()), ["0"]);
    pair.store.delete_records_before("t", 0, Offset::new(40)).unwrap();
    pair.later();
    assert_eq!(values(&reader.try_poll().unwrap()), ["40"]);
}

#[test]
fn a_front_that_a_power_cut_took_and_nobody_was_promised_is_no_damage() {
    let pair = Pair::new(TopicConfig::new().segment_bytes(1_500));
    (0..50).for_each(|number| pair.send(&number.to_string()));
    let first = root().join("t-0/00000000000000000000.log");
    pair.disk.remove_file(&first).unwrap(); // its name was never synced
    let reading = open_reader(pair.guest.clone(), root(), &pair.clock);
    let mut reader = reading.reader().assign([("t", 0)]).build().unwrap();
    assert!(reader.try_poll().unwrap().is_empty());
    let seen = reading.describe("t").unwrap();
    assert_eq!(seen.partitions()[0].end_offset().get(), 0, "as a writer will have it");
}
