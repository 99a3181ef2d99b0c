//! Fuzz target of the records of `__prepared`: any bytes parse or fail, and what parses is written
//! as it was.
//! Called by `crate::fuzzing`.

use super::{Key, Questions, Value};
use crate::record::Record;
use crate::state_log::kept::{Kept, Target};
use crate::time::Timestamp;

/// A key, a transaction or its questions, as the first byte says.
pub(crate) fn schema(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else { return };
    match kind & 3 {
        0 => {
            if let Ok(key) = Key::parse(bytes) {
                assert_eq!(key.encode(), bytes);
            }
        }
        1 => {
            if let Ok(questions) = Questions::parse(bytes) {
                assert_eq!(questions.encode(), bytes);
            }
        }
        _ => {
            let Ok(value) = Value::parse(bytes) else { return };
            let again = value.encode().expect("what was read can be written");
            assert_eq!(Value::parse(&again), Ok(value));
        }
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let topic = crate::ids::TopicId::from_bytes([7; 16]).expect("not zero");
    let target = Target { topic, name: "orders", partition: 3u32.into() };
    let records = vec![Kept { target, record: Record::new("value").key("key").header("a", "1") }];
    let prepared = Timestamp::from_millis(1_700_000_000_000);
    let value = Value::Prepared { name: "outbox", prepared, records }.encode();
    let value = value.expect("it is small");
    let questions = Questions { asked: 3, is_parked: true }.encode();
    let key = Key::Transaction(5).encode();
    vec![
        [&[0][..], &key].concat(),
        [&[1][..], &questions].concat(),
        [&[2][..], &value].concat(),
        vec![2, 0, 0, 1],
    ]
}
