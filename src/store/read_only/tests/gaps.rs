//! Offsets that are missing: where that is as it should be, and where it is damage.

use super::*;
use crate::config::{CleanupPolicy, Leadership, TopicConfig};
use crate::consumer::Consumer;
use crate::disk::Access;
use crate::error::Error;
use crate::ids::LeaderEpoch;
use crate::log::RawLimits;

/// Everything that a reader of all gets: offsets and values.
fn all(reader: &mut Consumer) -> Result<Vec<(i64, String)>, Error> {
    let mut found = Vec::new();
    loop {
        let records = reader.try_poll()?;
        if records.is_empty() {
            return Ok(found);
        }
        let offsets = records.iter().map(|record| record.offset().get());
        found.extend(offsets.zip(values(&records)));
    }
}

fn own(pair: &Pair) -> Vec<(i64, String)> {
    all(&mut pair.store.reader().assign([("t", 0)]).build().unwrap()).unwrap()
}

fn followed(reading: &ReadOnlyStore) -> Result<Vec<(i64, String)>, Error> {
    all(&mut reading.reader().assign([("t", 0)]).build().unwrap())
}

#[test]
fn what_compaction_took_from_a_topic_is_not_missed() {
    let config = TopicConfig::new().cleanup_policy(CleanupPolicy::Compact).segment_bytes(1_024);
    let pair = Pair::new(config.min_cleanable_dirty_ratio(0.0));
    let topic = pair.store.producer().build().unwrap().topic("t").unwrap();
    let mut reader = pair.reading.reader().assign([("t", 0)]).build().unwrap();
    for round in 0..3 {
        for number in 0..40 {
            let value = format!("{round} {number:->80}");
            topic.send(Record::new(&value).key(["a", "b", "c"][number % 3])).unwrap();
        }
        pair.later();
        let read = all(&mut reader).unwrap();
        assert!(read.len() > 5, "{round}: {read:?}");
        for _ in 0..200 {
            pair.clock.advance(Duration::from_millis(500));
            pair.store.run_maintenance();
        }
    }
    let left = own(&pair);
    assert!(left.len() < 60, "the control: {} are left", left.len());
    pair.later();
    let found = followed(&pair.reading).unwrap();
    assert!(left.iter().all(|record| found.contains(record)), "who has followed may have more");
    let fresh = open_reader(pair.guest.clone(), root(), &pair.clock);
    assert_eq!(followed(&fresh).unwrap(), left, "by who comes later");
}

/// The batches of ten records that each lie in a batch of their own.
fn led(store: &Store) -> Vec<Vec<u8>> {
    store.create_topic("leader", TopicConfig::new()).unwrap();
    let topic = store.producer().build().unwrap().topic("leader").unwrap();
    let leader = store.partition("leader", 0).unwrap();
    let send = |number: i64| {
        topic.send(Record::new(&number.to_string())).unwrap();
        let read = leader.read_batches(Offset::new(number), RawLimits::to_end(1 << 20)).unwrap();
        read.bytes().to_vec()
    };
    (0..10).map(send).collect()
}

#[test]
fn what_a_leader_left_out_is_not_missed_when_the_store_leads_again() {
    let mut pair = Pair::new(TopicConfig::new());
    let batches = led(&pair.store);
    let partition = pair.store.partition("t", 0).unwrap();
    partition.set_leadership(Leadership::HostLed).unwrap();
    for number in [0, 1, 5, 9] {
        partition.append_as_follower(&batches[number]).unwrap();
    }
    partition.set_high_watermark(Offset::new(10)).unwrap();
    partition.set_leadership(Leadership::SelfLed).unwrap();
    pair.send("mine");
    let expected = [(0, "0"), (1, "1"), (5, "5"), (9, "9"), (10, "mine")];
    let expected = expected.map(|(offset, value)| (offset, value.to_owned()));
    assert_eq!(own(&pair), expected);
    pair.later();
    assert_eq!(followed(&pair.reading).unwrap(), expected);
    pair.reopen();
    pair.send("more");
    let fresh = open_reader(pair.guest.clone(), root(), &pair.clock);
    assert_eq!(followed(&fresh).unwrap(), own(&pair));
}

/// The whole batch is shown once all of it may be.
#[test]
fn a_high_watermark_within_a_batch_passes_nothing_over() {
    let mut pair = Pair::new(TopicConfig::new());
    let partition = pair.store.partition("t", 0).unwrap();
    partition.set_leadership(Leadership::HostLed).unwrap();
    let records = ["a", "b", "c"].map(Record::new);
    partition.append_as_leader(LeaderEpoch::new(7), &records).unwrap();
    partition.set_high_watermark(Offset::new(1)).unwrap();
    pair.reopen(); // it is recorded
    let reading = open_reader(pair.guest.clone(), root(), &pair.clock);
    let mut reader = reading.reader().assign([("t", 0)]).build().unwrap();
    assert_eq!(all(&mut reader).unwrap(), []);
    pair.store.partition("t", 0).unwrap().set_high_watermark(Offset::new(3)).unwrap();
    pair.reopen();
    pair.clock.advance(Duration::from_secs(2));
    let found = all(&mut reader).unwrap();
    let expected = [(0, "a"), (1, "b"), (2, "c")];
    assert_eq!(found, expected.map(|(offset, value)| (offset, value.to_owned())));
}

/// No checksum covers a base offset: what is promised must not be handed out under another.
#[test]
fn a_base_offset_that_is_not_what_it_was_is_damage() {
    let mut pair = Pair::new(TopicConfig::new().segment_bytes(1_500));
    (0..50).for_each(|number| pair.send(&number.to_string()));
    pair.reopen();
    let path = root().join("t-0/00000000000000000000.log");
    let file = pair.disk.open(&path, Access::Write).unwrap();
    let mut head = [0; 12];
    file.read_at(&mut head, 0).unwrap();
    let second = u64::from(u32::from_be_bytes([head[8], head[9], head[10], head[11]])) + 12;
    file.write_at(&[1 ^ 8], second + 7).unwrap();
    let fresh = open_reader(pair.guest.clone(), root(), &pair.clock);
    let mut reader = fresh.reader().assign([("t", 0)]).build().unwrap();
    assert_eq!(values(&reader.try_poll().unwrap()), ["0"]);
    let error = reader.try_poll().unwrap_err();
    assert!(error.is_corrupt(), "{error}");
}
