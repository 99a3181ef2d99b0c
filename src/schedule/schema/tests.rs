//! The bytes of entries: there and back, golden, and every cut of them.

use super::*;
use crate::ids::{PartitionId, TopicId};
use crate::record::Record;
use crate::state_log::kept::Target;
use crate::time::Timestamp;

fn target() -> Target<'static> {
    let topic = TopicId::from_bytes([7; 16]).unwrap();
    Target { topic, name: "t", partition: PartitionId::new(3) }
}

fn records() -> Vec<Record<'static>> {
    vec![
        Record::tombstone(),
        Record::new(""),
        Record::new("value").key("key").timestamp(Timestamp::from_millis(-5)),
        Record::new("value").without_timestamp().header("a", "1").null_header("").header("a", ""),
    ]
}

#[test]
fn entries_come_back_as_they_were() {
    for record in records() {
        let entry = Kept { target: target(), record };
        let bytes = encode(&entry).unwrap();
        assert_eq!(parse(&bytes), Ok(entry));
        for end in 0..bytes.len() {
            assert!(parse(&bytes[..end]).is_err(), "{end} of {} bytes", bytes.len());
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(parse(&longer), Err(SchemaFault::LeftOver(1)));
    }
}

#[test]
fn keys_come_back_and_foreign_ones_do_not() {
    let key = Key { due: 1_700_000_000_000, sequence: 77 };
    assert_eq!(Key::parse(&key.encode()), Ok(key));
    for due in [-1, i64::MAX] {
        assert!(Key::parse(&Key { due, sequence: 1 }.encode()).is_err());
    }
    let mut newer = key.encode();
    newer[1] = 1;
    let what = "a schedule's key";
    assert_eq!(Key::parse(&newer), Err(SchemaFault::Version { what, version: 1 }));
}

#[test]
fn the_bytes_stay_what_they_are() {
    let record = Record::new("v").key("k").timestamp(Timestamp::from_millis(5)).header("h", "x");
    let mut golden = vec![0, 0];
    golden.extend_from_slice(&[7; 16]);
    golden.extend_from_slice(b"\0\x01t\0\0\0\x03\x02\0\0\0\0\0\0\0\x05\0\0\0\x01k\0\0\0\x01v");
    golden.extend_from_slice(b"\0\0\0\x01\0\0\0\x01h\0\0\0\x01x");
    assert_eq!(encode(&Kept { target: target(), record }).unwrap(), golden);
    let key = Key { due: 258, sequence: 3 }.encode();
    assert_eq!(key, *b"\0\0\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x03");
}
