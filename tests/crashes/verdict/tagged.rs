//! Whether a reader of one tag is given every record that has it, and no other.

use tidelog::{RecordFilter, Store};

use super::{Found, ensure};
use crate::story::{key, numbers};

/// The topic whose records are tagged, with the key of their batch.
pub const TAGGED: &str = "tagged";
const WANTED: &str = "q";

/// Reads the tagged topic, if there is one, with a filter.
pub(super) fn check(store: &Store, found: &Found) -> Result<(), String> {
    let Some(topic) = found.topics.get(TAGGED) else { return Ok(()) };
    let has_it = |value: &[u8]| numbers(value).is_some_and(|(number, _)| key(number) == WANTED);
    let records = topic.partitions.iter().flat_map(|partition| &partition.records);
    let expected: Vec<i64> =
        records.filter(|(.., value)| has_it(value)).map(|(offset, ..)| *offset).collect();
    let read = || {
        let builder = store.reader().subscribe([TAGGED]).filter(RecordFilter::tags([WANTED]));
        let mut offsets = Vec::new();
        for records in builder.build()?.read_to_end()? {
            offsets.extend(records?.iter().map(|record| record.offset().get()));
        }
        Ok::<_, tidelog::Error>(offsets)
    };
    let offsets = read().map_err(|error| format!("I7: filtered: {error}"))?;
    ensure!(offsets == expected, "I1: of one tag {offsets:?} are given, {expected:?} are there");
    Ok(())
}
