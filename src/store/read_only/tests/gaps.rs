//! Offsets that are missing: where that is as it should be, and where it is damage.

use super::*;
use crate::config::{Leadership, TopicConfig};
use crate::consumer::Consumer;
use crate::error::Error;
use crate::ids::LeaderEpoch;

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
