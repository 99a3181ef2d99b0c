//! Producers by example, rule by rule; the snapshot's bytes; and random lives beside a reference.

mod model;

use std::time::Duration;

use super::*;
use crate::ids::{Offset, ProducerEpoch, ProducerId, Sequence};
use crate::record::{Marker, MarkerKind};
use crate::time::Timestamp;

const LIMITS: ProducerLimits = ProducerLimits { expiration: Duration::from_secs(100), most: 16 };

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn sequence(number: i32) -> Sequence {
    Sequence::new(number).unwrap()
}

/// A batch of `count` records at `offset`.
fn records(producer: i64, epoch: i16, first: i32, count: u32, offset: i64) -> ProducedBatch {
    let first = sequence(first);
    ProducedBatch {
        producer: ProducerId::new(producer),
        epoch: ProducerEpoch::new(epoch),
        first_offset: Offset::new(offset),
        last_offset: Offset::new(offset + i64::from(count) - 1),
        timestamp: Some(at(offset)),
        content: Content::Records {
            sequences: Some((first, first.after(count - 1))),
            transactional: false,
        },
    }
}

fn transactional(mut batch: ProducedBatch) -> ProducedBatch {
    if let Content::Records { transactional, .. } = &mut batch.content {
        *transactional = true;
    }
    batch
}

fn marker(producer: i64, epoch: i16, coordinator_epoch: i32, offset: i64) -> ProducedBatch {
    let content = Content::Marker(Marker { kind: MarkerKind::Abort, coordinator_epoch });
    ProducedBatch { content, ..records(producer, epoch, 0, 1, offset) }
}

fn send(producers: &mut Producers, batch: ProducedBatch) -> Result<Checked, ProducerFault> {
    let checked = producers.check(&batch, Origin::Client, at(0))?;
    if checked == Checked::Append {
        producers.apply(&batch, at(0));
    }
    Ok(checked)
}

fn is_out_of_order(sent: Result<Checked, ProducerFault>) -> bool {
    matches!(sent, Err(ProducerFault::OutOfOrder { .. }))
}

#[test]
fn the_last_five_batches_are_duplicates_and_older_ones_out_of_order() {
    let mut all = Producers::new(LIMITS);
    for number in 0..7 {
        assert_eq!(
            send(&mut all, records(1, 0, number * 2, 2, 100 + i64::from(number) * 10)),
            Ok(Checked::Append)
        );
    }
    for number in 0..7 {
        let again = send(&mut all, records(1, 0, number * 2, 2, 999));
        if number < 2 {
            assert!(is_out_of_order(again));
            continue;
        }
        let first = 100 + i64::from(number) * 10;
        let Ok(Checked::Duplicate(original)) = again else { panic!("{again:?}") };
        assert_eq!(original.first_offset, Offset::new(first));
        assert_eq!(original.last_offset, Offset::new(first + 1));
        assert_eq!(original.timestamp, Some(at(first)));
    }
    assert!(is_out_of_order(send(&mut all, records(1, 0, 13, 2, 999))), "they overlap");
    assert!(is_out_of_order(send(&mut all, records(1, 0, 12, 1, 999))), "a part of one");
    assert!(is_out_of_order(send(&mut all, records(1, 0, 15, 1, 999))), "a gap");
}

#[test]
fn sequences_wrap_and_a_batch_may_span_the_wrap() {
    let mut all = Producers::new(LIMITS);
    assert_eq!(send(&mut all, records(1, 0, i32::MAX - 1, 4, 10)), Ok(Checked::Append));
    let next = all.next_sequence(ProducerId::new(1), ProducerEpoch::new(0), at(0));
    assert_eq!(next, Ok(sequence(2)));
    let again = send(&mut all, records(1, 0, i32::MAX - 1, 4, 99)).unwrap();
    assert!(matches!(again, Checked::Duplicate(it) if it.first_offset.get() == 10));
    assert_eq!(send(&mut all, records(1, 0, 2, 1, 14)), Ok(Checked::Append));
    let mut all = Producers::new(LIMITS);
    send(&mut all, records(1, 0, i32::MAX, 1, 0)).unwrap();
    assert_eq!(send(&mut all, records(1, 0, 0, 1, 1)), Ok(Checked::Append));
}

#[test]
fn an_epoch_fences_older_ones_and_begins_with_the_first_sequence() {
    let mut all = Producers::new(LIMITS);
    send(&mut all, records(1, 3, 7, 1, 0)).expect("an unknown producer may begin anywhere");
    let stale = send(&mut all, records(1, 2, 8, 1, 1)).unwrap_err();
    assert!(matches!(stale, ProducerFault::Fenced { .. }));
    let error = stale.into_error("append");
    assert!(error.is_fenced() && !error.is_retriable(), "{error}");
    assert!(is_out_of_order(send(&mut all, records(1, 4, 8, 1, 1))));
    assert_eq!(send(&mut all, records(1, 4, 0, 1, 1)), Ok(Checked::Append));
    assert!(send(&mut all, records(1, 3, 7, 1, 9)).is_err(), "no duplicate of a fenced epoch");
}

#[test]
fn a_marker_ends_a_transaction_and_moves_the_epoch() {
    let mut all = Producers::new(LIMITS);
    send(&mut all, transactional(records(7, 0, 0, 3, 10))).unwrap();
    send(&mut all, transactional(records(8, 0, 0, 1, 13))).unwrap();
    assert_eq!(all.first_unstable(), Some(Offset::new(10)));
    let plain = send(&mut all, records(7, 0, 3, 1, 14)).unwrap_err();
    assert!(matches!(plain, ProducerFault::TransactionOpen { .. }));
    let ended = all.apply(&marker(7, 1, 5, 14), at(0)).unwrap();
    assert_eq!((ended.first_offset.get(), ended.last_offset.get()), (10, 14));
    assert_eq!(ended.kind, MarkerKind::Abort);
    assert_eq!(all.first_unstable(), Some(Offset::new(10)), "its marker is not replicated");
    all.high_watermark_moved(Offset::new(15));
    assert_eq!(all.first_unstable(), Some(Offset::new(13)));
    assert!(is_out_of_order(send(&mut all, records(7, 1, 3, 1, 15))));
    assert_eq!(send(&mut all, transactional(records(7, 1, 0, 1, 15))), Ok(Checked::Append));
    let stale = all.check(&marker(7, 1, 4, 16), Origin::Client, at(0)).unwrap_err();
    assert!(stale.into_error("append").is_fenced());
    assert!(all.apply(&marker(9, 4, 0, 16), at(0)).is_none(), "a marker of no transaction");
    assert!(is_out_of_order(send(&mut all, records(9, 4, 1, 1, 17))), "known by a marker alone");
}

#[test]
fn what_was_in_the_log_before_is_taken_as_it_is() {
    let mut all = Producers::new(LIMITS);
    send(&mut all, records(1, 5, 0, 1, 0)).unwrap();
    for batch in [records(1, 5, 9, 1, 1), records(1, 3, 4, 1, 2)] {
        assert_eq!(all.check(&batch, Origin::Replay, at(0)), Ok(Checked::Append));
        all.apply(&batch, at(0));
    }
    assert_eq!(send(&mut all, records(1, 3, 5, 1, 3)), Ok(Checked::Append));
}

#[test]
fn a_producer_expires_unless_its_transaction_is_open() {
    let mut all = Producers::new(LIMITS);
    all.apply(&records(1, 3, 0, 1, 0), at(1000));
    all.apply(&transactional(records(2, 3, 0, 1, 0)), at(1000));
    let late = at(1000 + 100_000);
    let again = records(1, 0, 55, 1, 1);
    assert_eq!(all.check(&again, Origin::Client, late), Ok(Checked::Append), "unknown by now");
    assert!(all.check(&records(1, 0, 55, 1, 1), Origin::Client, at(100_999)).is_err());
    all.expire(late);
    assert_eq!(all.len(), 1);
    assert!(all.check(&records(2, 3, 5, 1, 1), Origin::Client, late).is_err(), "still known");
    let mut stamped = Producers::new(LIMITS);
    stamped.apply(&records(1, 3, 0, 1, 5_000_000), at(0));
    stamped.expire(at(5_050_000));
    assert_eq!(stamped.len(), 1, "its records are later than the clock was");
}

#[test]
fn of_too_many_those_go_that_were_still_the_longest() {
    let mut all = Producers::new(LIMITS);
    all.apply(&transactional(records(0, 0, 0, 1, 0)), at(0));
    for producer in 1..16 {
        all.apply(&records(producer, 0, 0, 1, producer), at(10 * producer));
    }
    all.apply(&records(1, 0, 1, 1, 20), at(500));
    all.apply(&records(99, 0, 0, 1, 21), at(501));
    assert_eq!(all.len(), 16);
    let knows =
        |producer| all.check(&records(producer, 0, 99, 1, 30), Origin::Client, at(501)).is_err();
    assert!(knows(0) && knows(1) && !knows(2) && knows(3) && knows(99));
    let mut open = Producers::new(LIMITS);
    for producer in 0..16 {
        open.apply(&transactional(records(producer, 0, 0, 1, producer)), at(0));
    }
    let crowded = open.check(&records(99, 0, 0, 1, 50), Origin::Client, at(0)).unwrap_err();
    assert!(crowded.into_error("append").is_full());
}

/// The vector of the format's specification.
#[test]
fn a_snapshot_is_kafkas_byte_for_byte() {
    let hex = "00015b83e057000000010000000000000001000200000001000000000000000200000003ffffffff\
               ffffffff000000030000000000000064";
    let bytes: Vec<u8> = (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap())
        .collect();
    let recorded = Recorded {
        producer: ProducerId::new(1),
        epoch: ProducerEpoch::new(2),
        last_sequence: Some(sequence(1)),
        last_offset: Some(Offset::new(2)),
        offset_delta: 3,
        timestamp: None,
        coordinator_epoch: Some(3),
        transaction_start: Some(Offset::new(100)),
    };
    assert_eq!(encode(vec![recorded]), bytes);
    assert_eq!(decode(&bytes), Ok(vec![recorded]));
    let mut all = Producers::new(LIMITS);
    assert!(!all.load(&[recorded], Offset::new(101), at(0)), "a batch from below 0");
    assert!(decode(&encode(Vec::new())).unwrap().is_empty());
}

#[test]
fn a_snapshot_that_lies_is_a_fault() {
    let mut all = Producers::new(LIMITS);
    send(&mut all, transactional(records(3, 0, 5, 2, 10))).unwrap();
    let good = encode(all.recorded());
    assert!(!Producers::new(LIMITS).load(&decode(&good).unwrap(), Offset::new(11), at(0)));
    assert!(Producers::new(LIMITS).load(&decode(&good).unwrap(), Offset::new(12), at(0)));
    for cut in 0..good.len() {
        assert!(decode(&good[..cut]).is_err(), "cut to {cut}");
    }
    for bit in 0..good.len() * 8 {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&flipped).is_err(), "bit {bit}");
    }
    let resealed = |at: usize, byte: u8| {
        let mut lying = good.clone();
        lying[at] = byte;
        let crc = crc32c::crc32c(&lying[6..]);
        lying[2..6].copy_from_slice(&crc.to_be_bytes());
        decode(&lying)
    };
    assert!(matches!(resealed(6, 0x80), Err(SnapshotFault::Count { .. })));
    assert!(matches!(resealed(9, 2), Err(SnapshotFault::Count { .. })));
    assert!(matches!(resealed(10, 0x80), Err(SnapshotFault::Entry { index: 0, .. })));
    assert!(matches!(resealed(18, 0x80), Err(SnapshotFault::Entry { .. })));
    assert!(resealed(18, 1).is_ok(), "the control");
}

#[test]
fn a_snapshot_with_a_producer_or_a_transaction_twice_is_a_fault() {
    let mut all = Producers::new(LIMITS);
    send(&mut all, transactional(records(3, 0, 5, 2, 10))).unwrap();
    let one = all.recorded()[0];
    let twice = decode(&encode(vec![one, one])).unwrap_err();
    assert!(matches!(twice, SnapshotFault::Entry { index: 1, .. }), "{twice}");
    let other = Recorded { producer: ProducerId::new(one.producer.get() + 1), ..one };
    let at_one_place = decode(&encode(vec![one, other])).unwrap_err();
    assert!(matches!(at_one_place, SnapshotFault::Entry { index: 1, .. }), "{at_one_place}");
    let apart = Recorded { transaction_start: None, ..other };
    assert_eq!(decode(&encode(vec![one, apart])).map(|read| read.len()), Ok(2));
}

#[test]
fn the_highest_producer_below_a_limit_is_below_it() {
    let mut all = Producers::new(LIMITS);
    for producer in [3, 9, 5] {
        send(&mut all, records(producer, 0, 0, 1, producer)).unwrap();
    }
    for (limit, highest) in [(3, None), (4, Some(3)), (5, Some(3)), (6, Some(5)), (99, Some(9))] {
        let found = all.highest_below(ProducerId::new(limit));
        assert_eq!(found, highest.map(ProducerId::new), "below {limit}");
    }
}

/// A sixteenth more than needed goes at a time, the idlest first, and none that has begun.
#[test]
fn room_is_made_of_producers_that_are_idle_and_of_no_more_than_that() {
    let limits = ProducerLimits { most: 320, ..LIMITS };
    for _ in 0..4 {
        let mut all = Producers::new(limits); // in an order of its own
        for producer in 0..319 {
            send(&mut all, records(producer, 0, 0, 1, producer)).unwrap();
        }
        all.make_room(at(0));
        assert_eq!(all.len(), 319, "there is room");
        send(&mut all, records(319, 0, 0, 1, 319)).unwrap();
        all.make_room(at(0));
        assert_eq!(all.len(), 300);
        assert_eq!(all.highest_below(ProducerId::new(20)), None, "the idlest");
    }
    let limits = ProducerLimits { most: 32, ..LIMITS };
    let mut begun = Producers::new(limits);
    for producer in 0..32 {
        send(&mut begun, transactional(records(producer, 0, 0, 1, producer))).unwrap();
    }
    begun.make_room(at(0));
    assert_eq!(begun.len(), 32);
}

#[test]
fn a_snapshot_of_as_many_producers_as_may_be_is_taken_in_whole() {
    let limits = ProducerLimits { most: 32, ..LIMITS };
    let mut all = Producers::new(limits);
    for producer in 0..32 {
        send(&mut all, records(producer, 0, 0, 1, producer)).unwrap();
    }
    for (most, left) in [(33, 32), (32, 32), (31, 29)] {
        let mut loaded = Producers::new(ProducerLimits { most, ..LIMITS });
        assert!(loaded.load(&all.recorded(), Offset::new(32), at(0)));
        assert_eq!(loaded.len(), left, "{most} at most");
    }
}
