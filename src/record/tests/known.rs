//! Records that join a batch of which all else is known beside records that are looked at in full.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn what_joins_with_no_question_asked_is_what_the_long_way_makes(
        records in prop::collection::vec(
            (
                prop_oneof![9 => 0..200_usize, 1 => 8_150..8_200_usize],
                prop::option::weighted(0.3, 0..20_usize),
                prop::option::weighted(0.2, 0..2_000_i64),
                prop_oneof![Just(0_i64), -200..200_i64],
                0..9_000_usize,
            ),
            1..100,
        ),
    ) {
        let bytes = vec![7; 9_000];
        let (mut short, mut long) = (BatchBuffer::new(0), BatchBuffer::new(0));
        let mut now = 1_000;
        for (size, key, own, passed, room) in records {
            now += passed;
            let mut record = Record::new(&bytes[..size]);
            if let Some(key) = key {
                record = record.key(&bytes[..key]);
            }
            if let Some(own) = own {
                record = record.timestamp(at(own));
            }
            let any = (Reach::ANY, Reach::ANY);
            let unbounded =
                TimestampRule::Create { now: at(now), before_max: any.0, after_max: any.1 };
            let most = (short.len() + room).min(short.capacity());
            let (held, count) = (short.len(), short.count());
            let index = match short.try_push_known(&record, &unbounded, most) {
                Some(index) => {
                    prop_assert!(index > 0 && short.len() <= most);
                    Some(index)
                }
                None => {
                    prop_assert_eq!((short.len(), short.count()), (held, count));
                    short.try_push(&record, &rules(unbounded)).unwrap()
                }
            };
            prop_assert_eq!(long.try_push(&record, &rules(unbounded)).unwrap(), index);
            prop_assert_eq!(short.len(), long.len());
        }
        let times = |buffer: &BatchBuffer| {
            let times = buffer.times();
            (0..buffer.count()).map(|index| times.of(index)).collect::<Vec<_>>()
        };
        prop_assert_eq!(times(&short), times(&long));
        prop_assert_eq!(written(&short, stamp(5, 2)), written(&long, stamp(5, 2)));
    }
}

#[test]
fn a_batch_takes_what_fits_to_the_byte_and_never_its_first_record() {
    let value = [7; 100];
    let record = Record::new(&value);
    let mut buffer = BatchBuffer::new(1_000);
    let BatchRules { timestamps, .. } = create();
    assert_eq!(buffer.try_push_known(&record, &timestamps, 1_000), None);
    buffer.try_push(&record, &create()).unwrap();
    let first = buffer.len();
    let size = 2 + 7 + 100;
    assert_eq!(buffer.try_push_known(&record, &timestamps, first + size - 1), None);
    let early = record.clone().timestamp(at(-5));
    assert_eq!(buffer.try_push_known(&early, &timestamps, 1_000), None, "it is to be refused");
    assert_eq!(buffer.try_push_known(&record, &timestamps, first + size), Some(1));
    assert_eq!(buffer.try_push_known(&record, &timestamps, 1_001), None, "no memory for more");
    assert_eq!((buffer.len(), buffer.count()), (first + size, 2));
}
