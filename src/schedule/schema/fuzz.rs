//! Fuzz target of the records of `__schedule`: any bytes parse or fail, and what parses is written
//! as it was.
//! Called by `crate::fuzzing`.

use super::{encode, parse};
use crate::record::Record;
use crate::schedule::state::Key;
use crate::state_log::kept::{Kept, Target};

/// A key or a value, as the first byte says.
pub(crate) fn schema(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else { return };
    if kind & 1 == 0 {
        if let Ok(key) = Key::parse(bytes) {
            assert_eq!(key.encode(), bytes);
        }
        return;
    }
    let Ok(entry) = parse(bytes) else { return };
    let again = encode(&entry).expect("what was read can be written");
    assert_eq!(parse(&again), Ok(entry));
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let topic = crate::ids::TopicId::from_bytes([7; 16]).expect("not zero");
    let target = Target { topic, name: "orders", partition: 3u32.into() };
    let record = Record::new("value").key("key").header("a", "1").null_header("b");
    let entry = encode(&Kept { target, record }).expect("it is small");
    let key = Key { due: 1_700_000_000_000, sequence: 5 }.encode();
    vec![[&[0][..], &key].concat(), [&[1][..], &entry].concat()]
}
