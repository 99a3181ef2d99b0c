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

/// The whole batches of a log file.
fn batches(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut found) = (bytes, Vec::new());
    while rest.len() > 61 && rest[8..12] != [0; 4] {
        let length = u32::from_be_bytes(rest[8..12].try_into().unwrap()) as usize + 12;
        let (batch, behind) = rest.split_at(length);
        found.push(batch);
        rest = behind;
    }
    found
}

/// What lies as `.log.swap` is taken for a finished rewrite, unless no rewrite looks like that:
/// then what it was made of is read, as the writer's next open has it.
#[test]
fn a_rewrite_that_is_not_whole_hides_nothing_from_readers() {
    let pair = Pair::new(TopicConfig::new().segment_bytes(1_500));
    (0..50).for_each(|number| pair.send(&number.to_string()));
    pair.store.close().unwrap();
    let dir = root().join("t-0");
    let names = pair.disk.names(&dir).unwrap();
    let mut logs: Vec<_> = names.into_iter().filter(|name| name.ends_with(".log")).collect();
    logs.sort();
    assert!(logs.len() > 2, "{logs:?}");
    let base: i64 = logs[1].trim_end_matches(".log").parse().unwrap();
    let file = pair.disk.open(&dir.join(&logs[1]), Access::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    crate::disk::read_full_at(&*file, &mut bytes, 0).unwrap();
    let all = batches(&bytes);
    let (head, tail) = (all[..2].concat(), all[2..].concat());
    type Swaps<'a> = Vec<(i64, &'a [u8])>;
    let cases: [(&str, Swaps<'_>); 5] = [
        ("empty", vec![(base, &[])]),
        ("cut", vec![(base, &bytes[..bytes.len() / 2])]),
        ("cut, and begins later", vec![(base + 2, &tail[..tail.len() / 2])]),
        ("one of two is cut", vec![(base, &head), (base + 2, &tail[..100])]),
        ("one of two is empty", vec![(base, &head), (base + 2, &[])]),
    ];
    let whole: Vec<_> = (0..50).map(|number| number.to_string()).collect();
    for (what, swaps) in cases {
        let path = |base: i64| dir.join(format!("{base:020}.log.swap"));
        for (base, bytes) in &swaps {
            let file = pair.disk.open(&path(*base), Access::Create).unwrap();
            crate::disk::write_all_at(&*file, bytes, 0).unwrap();
        }
        let reading = open_reader(pair.guest.clone(), root(), &pair.clock);
        let mut reader = reading.reader().assign([("t", 0)]).build().unwrap();
        let mut found = Vec::new();
        loop {
            let records = reader.try_poll().unwrap_or_else(|error| panic!("{what}: {error}"));
            if records.is_empty() {
                break;
            }
            found.extend(values(&records));
        }
        assert_eq!(found, whole, "{what}");
        for (base, _) in &swaps {
            pair.disk.remove_file(&path(*base)).unwrap();
        }
    }
}
