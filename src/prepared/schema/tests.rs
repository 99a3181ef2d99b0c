//! The bytes of prepared transactions: there and back, golden, and every cut of them.

use super::*;
use crate::ids::{PartitionId, TopicId};
use crate::record::Record;
use crate::state_log::kept::Target;

fn kept<'a>(name: &'a str, record: Record<'a>) -> Kept<'a> {
    let topic = TopicId::from_bytes([7; 16]).unwrap();
    Kept { target: Target { topic, name, partition: PartitionId::new(3) }, record }
}

#[test]
fn values_come_back_as_they_were() {
    let prepared = Timestamp::from_millis(1_700_000_000_000);
    let records = vec![
        kept("a", Record::new("1").key("k").header("h", "x")),
        kept("b", Record::tombstone().without_timestamp()),
    ];
    for value in [
        Value::Prepared { name: "outbox", prepared, records },
        Value::Prepared { name: "", prepared, records: Vec::new() },
        Value::Ended(Outcome::Committed),
        Value::Ended(Outcome::RolledBack),
    ] {
        let bytes = value.encode().unwrap();
        assert_eq!(Value::parse(&bytes), Ok(value));
        for end in 0..bytes.len() {
            assert!(Value::parse(&bytes[..end]).is_err());
        }
        assert!(Value::parse(&[&bytes[..], &[0]].concat()).is_err());
    }
}

#[test]
fn keys_and_questions_come_back() {
    for key in [Key::Transaction(5), Key::Questions(1 << 40)] {
        assert_eq!(Key::parse(&key.encode()), Ok(key));
    }
    let questions = Questions { asked: 3, is_parked: true };
    assert_eq!(Questions::parse(&questions.encode()), Ok(questions));
    assert!(Questions::parse(&[0, 0, 0, 0, 0, 1, 2]).is_err());
    assert!(Key::parse(&[0, 2, 0, 0, 0, 0, 0, 0, 0, 1]).is_err());
    assert!(Key::parse(&[0, 0, 0xff, 0, 0, 0, 0, 0, 0, 1]).is_err());
}

#[test]
fn the_bytes_stay_what_they_are() {
    let prepared = Timestamp::from_millis(258);
    let value = Value::Prepared { name: "n", prepared, records: Vec::new() };
    assert_eq!(value.encode().unwrap(), b"\0\0\0\0\x01n\0\0\0\0\0\0\x01\x02\0\0\0\0");
    assert_eq!(Value::Ended(Outcome::RolledBack).encode().unwrap(), b"\0\0\x02");
    assert_eq!(Key::Questions(3).encode(), *b"\0\x01\0\0\0\0\0\0\0\x03");
    let questions = Questions { asked: 2, is_parked: false };
    assert_eq!(questions.encode(), b"\0\0\0\0\0\x02\0");
}
