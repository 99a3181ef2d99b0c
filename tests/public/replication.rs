//! What a host that replicates relies on, after Kafka's tests of its epoch cache, its follower's
//! append and its high watermark, by the public door of a lone log.
//!
//! The bytes that a follower takes are a leader's own, or those with an offset or an epoch that
//! lies: both lie outside of the checksum.

use std::sync::Arc;

use kafka_protocol::records as other;
use tidelog::disk::MemoryDisk;
use tidelog::{
    Durability, ErrorKind, LeaderEpoch, Leadership, Log, MarkerKind, Offset, ProducerEpoch,
    ProducerId, ProducerIdentity, RawLimits, Record, Sequence,
};

fn epoch(number: i32) -> LeaderEpoch {
    LeaderEpoch::new(number)
}

fn at(offset: i64) -> Offset {
    Offset::new(offset)
}

fn hosted() -> (Arc<MemoryDisk>, Log) {
    let disk = Arc::new(MemoryDisk::new());
    let log = Log::builder("/log").disk(disk.clone()).open().unwrap();
    log.set_leadership(Leadership::HostLed).unwrap();
    (disk, log)
}

fn append(log: &Log, under: i32, count: usize) {
    for _ in 0..count {
        log.append_as_leader(epoch(under), &[Record::new("x")]).unwrap();
    }
}

fn bytes(log: &Log) -> Vec<u8> {
    let (mut all, mut from) = (Vec::new(), log.start_offset());
    loop {
        let read = log.read_batches(from, RawLimits::to_end(1 << 20)).unwrap();
        if read.is_empty() {
            return all;
        }
        all.extend_from_slice(read.bytes());
        from = read.next_offset();
    }
}

/// Epoch 2 from 0, 4 from 3, 7 from 5; the end is 6.
fn of_three_epochs() -> (Arc<MemoryDisk>, Log) {
    let (disk, log) = hosted();
    append(&log, 2, 3);
    append(&log, 4, 2);
    append(&log, 7, 1);
    (disk, log)
}

#[test]
fn an_epoch_ends_where_the_next_begins() {
    let (_, log) = of_three_epochs();
    let end = |number| log.end_offset_for_epoch(epoch(number)).unwrap();
    assert_eq!(end(7), Some((epoch(7), at(6))));
    assert_eq!(end(4), Some((epoch(4), at(5))));
    assert_eq!(end(6), Some((epoch(4), at(5))));
    assert_eq!(end(3), Some((epoch(2), at(3))));
    assert_eq!(end(1), Some((epoch(1), at(0)))); // below the first: where that begins
    assert_eq!(end(8), None);
    assert_eq!(end(i32::MAX), None);
}

#[test]
fn epochs_go_with_what_is_cut_off_and_stay_over_a_close() {
    let (disk, log) = of_three_epochs();
    log.truncate_to(at(5)).unwrap();
    assert_eq!(log.leader_epochs().unwrap(), [(epoch(2), at(0)), (epoch(4), at(3))]);
    log.truncate_to(at(4)).unwrap();
    log.close().unwrap();
    let log = Log::builder("/log").disk(disk).open().unwrap();
    assert_eq!(log.leader_epochs().unwrap(), [(epoch(2), at(0)), (epoch(4), at(3))]);
    assert_eq!(log.end_offset_for_epoch(epoch(4)).unwrap(), Some((epoch(4), at(4))));
    log.truncate_fully_and_start_at(at(100)).unwrap();
    assert!(log.leader_epochs().unwrap().is_empty());
    assert_eq!(log.end_offset_for_epoch(epoch(4)).unwrap(), None);
}

/// As a follower of KIP-101 does it: ask for the end of one's last epoch, cut there, fetch.
#[test]
fn divergent_tails_come_together_byte_for_byte() {
    let (_, leader) = hosted();
    let (_, follower) = hosted();
    append(&leader, 0, 3);
    follower.append_as_follower(&bytes(&leader)).unwrap();
    append(&follower, 1, 4); // it led, and nobody heard of it
    append(&leader, 2, 5);
    let (last, _) = *follower.leader_epochs().unwrap().last().unwrap();
    let (known, end) = leader.end_offset_for_epoch(last).unwrap().unwrap();
    let (_, own) = follower.end_offset_for_epoch(known).unwrap().unwrap();
    follower.truncate_to(end.min(own)).unwrap();
    assert_eq!(follower.end_offset(), at(3));
    let read = leader.read_batches(follower.end_offset(), RawLimits::to_end(1 << 20)).unwrap();
    follower.append_as_follower(read.bytes()).unwrap();
    assert_eq!(bytes(&follower), bytes(&leader));
    assert_eq!(follower.leader_epochs().unwrap(), leader.leader_epochs().unwrap());
}

#[test]
fn offsets_and_epochs_that_lie_are_refused_and_nothing_is_taken() {
    let (_, leader) = hosted();
    append(&leader, 3, 2);
    let good = bytes(&leader);
    for base in [i64::MIN, -1, i64::MAX, i64::MAX - 1] {
        let (_, log) = hosted();
        let mut lie = good[..good.len() / 2].to_vec();
        lie[..8].copy_from_slice(&base.to_be_bytes());
        if log.append_as_follower(&lie).is_ok() {
            assert!(base >= 0 && log.end_offset() > at(base), "{base}");
            continue;
        }
        assert_eq!((log.end_offset(), log.leader_epochs().unwrap().len()), (at(0), 0), "{base}");
    }
    let (_, log) = hosted();
    log.append_as_follower(&good).unwrap();
    let mut below = good[..good.len() / 2].to_vec();
    below[..8].copy_from_slice(&2_i64.to_be_bytes());
    below[12..16].copy_from_slice(&2_i32.to_be_bytes());
    let error = log.append_as_follower(&below).unwrap_err();
    assert_eq!((error.kind(), error.position()), (ErrorKind::FencedLeaderEpoch, Some(0)));
    for cut in [1, 12, 60, good.len() / 2 - 1, good.len() - 1] {
        assert!(log.append_as_follower(&good[..cut]).is_err(), "{cut}");
    }
    assert_eq!(bytes(&log), good);
}

#[test]
fn the_high_watermark_stays_within_the_log_whatever_the_host_says() {
    let (_, log) = hosted();
    append(&log, 0, 4);
    let set = |offset| log.set_high_watermark(at(offset)).unwrap();
    assert_eq!((set(-1), set(i64::MIN), set(2), set(i64::MAX)), (at(0), at(0), at(2), at(4)));
    log.truncate_to(at(3)).unwrap();
    assert_eq!(log.high_watermark(), at(3));
    log.truncate_fully_and_start_at(at(50)).unwrap();
    assert_eq!((log.high_watermark(), set(0)), (at(50), at(50)));
    assert_eq!(log.last_stable_offset(), at(50));
}

/// A transaction whose marker is not replicated is not decided yet.
#[test]
fn what_is_stable_never_lies_above_the_high_watermark() {
    let (_, log) = hosted();
    log.become_leader(epoch(0)).unwrap();
    let us = ProducerIdentity::new(ProducerId::new(7), ProducerEpoch::new(0));
    append(&log, 0, 1);
    log.append_transactional(&[Record::new("t")], us, Sequence::FIRST).unwrap();
    append(&log, 0, 1);
    log.append_marker(us, 0, MarkerKind::Commit).unwrap();
    let stable = |watermark| {
        log.set_high_watermark(at(watermark)).unwrap();
        log.last_stable_offset()
    };
    assert_eq!((stable(0), stable(1)), (at(0), at(1)));
    assert_eq!((stable(2), stable(3)), (at(1), at(1)));
    assert_eq!(stable(4), at(4));
    assert_eq!(log.first_unstable_offset(), None);
}

/// A batch as another program's producer encodes it, by an independent coder.
fn of_producer(values: &[&str], (id, epoch, sequence): (i64, i16, i32)) -> Vec<u8> {
    let record = |(index, value): (i32, &&str)| other::Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: id,
        producer_epoch: epoch,
        timestamp_type: other::TimestampType::Creation,
        offset: i64::from(index),
        sequence: sequence + index,
        timestamp: 1_000 + i64::from(index),
        key: None,
        value: Some(bytes::Bytes::copy_from_slice(value.as_bytes())),
        headers: Default::default(),
    };
    let records: Vec<_> = (0..).zip(values).map(record).collect();
    let options = other::RecordEncodeOptions { version: 2, compression: other::Compression::None };
    let mut bytes = bytes::BytesMut::new();
    other::RecordBatchEncoder::encode(&mut bytes, &records, &options).unwrap();
    bytes.to_vec()
}

#[test]
fn a_batch_off_the_wire_is_appended_once_where_its_producer_goes_on() {
    let (_, log) = hosted();
    let first = of_producer(&["a", "b"], (7, 0, 0));
    let receipt = log.append_batch_as_leader(epoch(3), &first).unwrap();
    assert_eq!((receipt.first_offset(), receipt.next_offset()), (at(0), at(2)));
    assert_eq!((receipt.epoch(), receipt.is_duplicate()), (epoch(3), false));
    let again = log.append_batch_as_leader(epoch(3), &first).unwrap();
    assert_eq!((again.first_offset(), again.is_duplicate()), (at(0), true));
    let gap = log.append_batch_as_leader(epoch(3), &of_producer(&["x"], (7, 0, 5))).unwrap_err();
    assert_eq!(gap.kind(), ErrorKind::OutOfOrderSequence);
    log.append_batch_as_leader(epoch(4), &of_producer(&["c"], (7, 0, 2))).unwrap();
    let late = log.append_batch_as_leader(epoch(3), &of_producer(&["d"], (7, 0, 3))).unwrap_err();
    assert!(late.is_fenced());
    let old = log.append_batch_as_leader(epoch(4), &of_producer(&["d"], (7, 1, 0))).unwrap();
    assert_eq!(old.first_offset(), at(3));
    let zombie = log.append_batch_as_leader(epoch(4), &of_producer(&["x"], (7, 0, 3))).unwrap_err();
    assert_eq!(zombie.kind(), ErrorKind::InvalidProducerEpoch);
    log.append_batch(&of_producer(&["of nobody"], (-1, -1, -1)), Durability::Power).unwrap();
    log.set_high_watermark(at(9)).unwrap();
    let records = log.read(at(0), 1 << 20).unwrap();
    let values: Vec<_> = records.iter().map(|record| record.value().unwrap()).collect();
    assert_eq!(values, [&b"a"[..], b"b", b"c", b"d", b"of nobody"]);
    // a follower takes what the leader made of them
    let (_, follower) = hosted();
    assert_eq!(follower.append_as_follower(&bytes(&log)).unwrap(), at(5));
    assert_eq!(bytes(&follower), bytes(&log));
    assert_eq!(follower.producers(), log.producers());
    follower.become_follower().unwrap();
    let refused = follower.append_batch(&first, Durability::Process).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotLeader);
}
