//! Offsets that an open transaction is about to commit, and whoever takes their partition over.
//!
//! Once the transaction could still be committed while the next owner had begun at the offset
//! before it: what it had made of its records was there, and they were read a second time.

use super::*;
use std::thread;

/// How the one that has sent its offsets loses its partition.
#[derive(Clone, Copy, Debug)]
enum Gone {
    Left,
    Expelled,
}

fn text(records: &crate::record::Records) -> Vec<String> {
    let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap().to_vec()).unwrap();
    records.iter().map(|record| text(record.value())).collect()
}

fn member(store: &Store) -> Consumer {
    let builder = store.consumer("g").subscribe(["in"]);
    builder.max_poll_interval(Duration::from_secs(1)).build().unwrap()
}

#[test]
fn who_takes_a_partition_over_begins_behind_the_transaction_that_has_its_offsets() {
    for (gone, commits) in
        [(Gone::Left, true), (Gone::Left, false), (Gone::Expelled, true), (Gone::Expelled, false)]
    {
        let (world, store) = store();
        send_plain(&store, "in", &["1", "2"]);
        let mut producer = transactional(&store, "t");
        let mut first = member(&store);
        assert_eq!(first.try_poll().unwrap().len(), 2);
        let transaction = producer.begin().unwrap();
        transaction.topic("b").unwrap().send(Record::new("made of both")).unwrap();
        transaction.send_offsets(&first.consumed().unwrap()).unwrap();
        let first = match gone {
            Gone::Left => None,
            Gone::Expelled => Some(first),
        };
        world.clock.advance(Duration::from_secs(2));
        let mut second = member(&store);
        assert_eq!(second.assignment().len(), 1, "{gone:?}");
        send_plain(&store, "in", &["3"]);
        assert!(second.try_poll().unwrap().is_empty(), "{gone:?}: read a second time");
        let refused = second.position("in", 0).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidTransactionState, "{refused}");
        assert!(second.read_to_end().is_err(), "it would end before it has begun");
        let loose = store.consumer("g").assign([("in", 0)]).read_uncommitted().build().unwrap();
        assert_eq!(drain(loose).len(), 3, "who takes what is open as well waits for nothing");
        let expected = if commits { &["3"][..] } else { &["1", "2", "3"] };
        thread::scope(|scope| {
            let next = scope.spawn(|| second.poll(Duration::from_secs(30)).unwrap());
            thread::sleep(Duration::from_millis(20));
            assert!(!next.is_finished());
            let ended = if commits { transaction.commit() } else { transaction.abort() };
            ended.unwrap();
            assert_eq!(text(&next.join().unwrap()), expected, "{gone:?}, commits: {commits}");
        });
        second.commit().unwrap();
        assert_eq!(committed(&store), Some(Offset::new(3)));
        drop(first);
    }
}

/// Nobody waits for one that its timeout or an operator ends, nor for whom the program moves.
#[test]
fn who_waits_for_offsets_is_called_whoever_ends_their_transaction() {
    for by_operator in [true, false] {
        let (world, store) = store();
        send_plain(&store, "in", &["1"]);
        let mut producer = transactional(&store, "t");
        let mut consumer = store.consumer("g").assign([("in", 0)]).build().unwrap();
        assert_eq!(consumer.try_poll().unwrap().len(), 1);
        let transaction = producer.begin().unwrap();
        transaction.send_offsets(&consumer.consumed().unwrap()).unwrap();
        consumer.rewind().unwrap();
        assert!(consumer.try_poll().unwrap().is_empty());
        consumer.seek_to_beginning("in", 0).unwrap();
        assert_eq!(consumer.try_poll().unwrap().len(), 1, "the program knows better");
        consumer.rewind().unwrap();
        consumer.pause("in", 0).unwrap();
        assert!(consumer.try_poll().unwrap().is_empty());
        match by_operator {
            true => store.abort_transaction("t").unwrap(),
            false => {
                world.clock.advance(Duration::from_secs(10));
                store.run_due();
            }
        }
        assert!(consumer.try_poll().unwrap().is_empty(), "it is paused");
        consumer.resume("in", 0).unwrap();
        assert_eq!(text(&consumer.try_poll().unwrap()), ["1"]);
        drop(transaction);
    }
}
