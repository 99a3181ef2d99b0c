//! The coordinator over an engine in memory: epochs that run out, ids and partitions that an
//! earlier life or another hand left, records that cannot be read, states that Kafka wrote.

mod adopted;
#[cfg(feature = "sim")]
mod doubts;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::coordinator::STATE_TOPIC;
use super::*;
use crate::config::{BackgroundSync, Durability, Leadership, Threads, TopicConfig, WhenFull};
use crate::disk::{Disk, MemoryDisk};
use crate::engine::{Engine, EngineOptions, NewTopic, Partition};
use crate::error::ErrorKind;
use crate::ids::{PartitionId, ProducerEpoch};
use crate::record::{
    BorrowedBatch, Marker, MarkerKind, Produced, ProducerClaim, ProducerIdentity, Record,
};
use crate::state_log::{Change, StateLog};
use crate::time::ManualClock;

const SECOND: Duration = Duration::from_secs(1);

fn engine_on(disk: &Arc<dyn Disk>) -> Arc<Engine> {
    engine_at(disk, ManualClock::default())
}

fn engine_at(disk: &Arc<dyn Disk>, clock: ManualClock) -> Arc<Engine> {
    let options = EngineOptions {
        disk: disk.clone(),
        clock: Arc::new(clock),
        threads: Threads::Host,
        background_sync: BackgroundSync::OFF,
        max_bytes: None,
        when_full: WhenFull::Fail,
        journal: None,
        plain: crate::record::PlainLimit::DEFAULT,
    };
    Engine::open(options, Path::new("/store")).unwrap()
}

fn engine() -> (Arc<dyn Disk>, Arc<Engine>, Arc<Partition>) {
    begin(Arc::new(MemoryDisk::new()))
}

fn begin(disk: Arc<dyn Disk>) -> (Arc<dyn Disk>, Arc<Engine>, Arc<Partition>) {
    let engine = engine_on(&disk);
    let partition = make(&engine);
    (disk, engine, partition)
}

fn make(engine: &Engine) -> Arc<Partition> {
    let new = NewTopic { name: "a", config: TopicConfig::new(), internal: false };
    engine.create_topics(&[new]).unwrap();
    partition(engine)
}

fn partition(engine: &Engine) -> Arc<Partition> {
    engine.topic("a").unwrap().partition(PartitionId::new(0)).unwrap()
}

fn write(partition: &Partition, identity: ProducerIdentity) {
    let now = crate::time::Timestamp::from_millis(1_000);
    let records = [Record::new("x")];
    let batch = BorrowedBatch::measure(&records, &partition.batch_rules(now).unwrap()).unwrap();
    let claim = Some(ProducerClaim { identity, sequence: None, transactional: true });
    partition.append(&Produced { batch: &batch, claim }, now, Durability::Process).unwrap();
}

fn end(it: &Transactions, taken: &Taken, identity: ProducerIdentity, kind: MarkerKind) {
    it.end(taken, identity, (kind, Durability::Process), &[]).unwrap();
}

#[test]
fn epochs_run_out_in_the_middle_and_another_id_goes_on() {
    let (disk, engine, partition) = engine();
    let it = Transactions::open(engine.clone()).unwrap();
    let (taken, first) = it.take("t", SECOND).unwrap();
    taken.entry.slot.lock().state.as_mut().unwrap().epoch = ProducerEpoch::new(i16::MAX - 1);
    let last = it.begin(&taken).unwrap();
    it.enlist(&taken, last, &partition).unwrap();
    write(&partition, last);
    end(&it, &taken, last, MarkerKind::Commit);
    let next = it.begin(&taken).unwrap();
    assert!(next.id() != first.id() && next.epoch().get() == 0);
    it.enlist(&taken, next, &partition).unwrap();
    write(&partition, next);
    end(&it, &taken, next, MarkerKind::Abort);
    assert!(it.open_in_partitions().unwrap().is_empty());
    engine.close().unwrap();
    let it = Transactions::open(engine_on(&disk)).unwrap();
    let (_, again) = it.take("t", SECOND).unwrap();
    assert_eq!((again.id(), again.epoch().get()), (next.id(), 2));
}

/// A publication that was refused holds up none that come after it. A program's producer may still
/// write: its marker has to come.
#[test]
fn an_abort_of_the_stores_own_waits_for_no_partition_that_has_nothing_of_it() {
    let (_, engine, partition) = engine();
    let it = Transactions::open(engine.clone()).unwrap();
    let [own, other] = ["__tidelog_t", "t"].map(|id| {
        let (taken, identity) = it.take(id, SECOND).unwrap();
        it.enlist(&taken, identity, &partition).unwrap();
        (taken, identity)
    });
    engine.set_leadership(&partition, Leadership::HostLed).unwrap();
    end(&it, &own.0, own.1, MarkerKind::Abort);
    it.begin(&own.0).unwrap();
    end(&it, &other.0, other.1, MarkerKind::Abort);
    it.begin(&other.0).unwrap_err();
    engine.set_leadership(&partition, Leadership::SelfLed).unwrap();
    it.begin(&other.0).unwrap();
}

/// A decision of an earlier life that some partitions know already, and one where the producer has
/// gone on: a marker is not written where it lies, for it would end the next transaction.
#[test]
fn a_decision_is_carried_through_once_in_each_partition() {
    let (disk, engine, partition) = engine();
    let it = Transactions::open(engine.clone()).unwrap();
    let (taken, identity) = it.take("t", SECOND).unwrap();
    it.enlist(&taken, identity, &partition).unwrap();
    write(&partition, identity);
    {
        let mut slot = taken.entry.slot.lock();
        it.decide(&taken.entry, &mut slot, MarkerKind::Commit, Durability::Process).unwrap();
    }
    let decided = ProducerIdentity::new(identity.id(), ProducerEpoch::new(1));
    let marker = Marker { kind: MarkerKind::Commit, coordinator_epoch: 0 };
    it.append_marker(&partition, decided, marker, Durability::Process).unwrap();
    write(&partition, decided); // of the next transaction, whose own state was lost
    let before = partition.offsets().unwrap().end;
    engine.close().unwrap();
    let engine = engine_on(&disk);
    let it = Transactions::open(engine.clone()).unwrap();
    let partition = self::partition(&engine);
    assert_eq!(partition.offsets().unwrap().end.since(before), 1, "the abort of the next");
    let aborted = partition.log().unwrap().producer_states();
    assert_eq!(aborted[0].identity().epoch().get(), 2);
    assert!(it.open_in_partitions().unwrap().is_empty());
    let phase = it.describe("t").unwrap().phase();
    assert_eq!(phase, TransactionPhase::CompleteAbort);
}

/// A later life believes the record that says that the markers are there.
#[test]
fn a_durable_commit_is_complete_once_its_markers_are_synced() {
    let (_disk, engine, partition) = engine();
    let it = Transactions::open(engine).unwrap();
    let (taken, identity) = it.take("t", SECOND).unwrap();
    it.enlist(&taken, identity, &partition).unwrap();
    write(&partition, identity);
    it.end(&taken, identity, (MarkerKind::Commit, Durability::Power), &[]).unwrap();
    assert_eq!(it.describe("t").unwrap().phase(), TransactionPhase::CompleteCommit);
    let offsets = partition.offsets().unwrap();
    assert_eq!((offsets.end.get(), offsets.durable.get()), (2, 2));
}

/// The state is behind what partitions know, as after a power cut.
#[cfg(feature = "sim")]
#[test]
fn an_epoch_that_a_partition_knows_is_not_given_again() {
    let disk = crate::disk::SimDisk::new(1);
    let (_, engine, partition) = begin(Arc::new(disk.clone()));
    let it = Transactions::open(engine.clone()).unwrap();
    let (_, identity) = it.take("t", SECOND).unwrap();
    let later = ProducerIdentity::new(identity.id(), ProducerEpoch::new(9));
    write(&partition, later);
    let killed: Arc<dyn Disk> = Arc::new(disk.kill());
    let engine = engine_on(&killed);
    let it = Transactions::open(engine.clone()).unwrap();
    assert!(it.take("t", SECOND).unwrap().1.epoch().get() > 9);
    assert!(it.open_in_partitions().unwrap().is_empty());
}

#[test]
fn what_nobody_knows_is_ended_where_it_is() {
    let (_, engine, partition) = engine();
    let stranger = ProducerIdentity::new(crate::ids::ProducerId::new(77), ProducerEpoch::new(3));
    write(&partition, stranger);
    let it = Transactions::open(engine).unwrap();
    let open = it.open_in_partitions().unwrap();
    assert_eq!((open[0].identity(), open[0].transactional_id()), (stranger, None));
    it.abort_in_partition(&partition, stranger.id()).unwrap();
    let error = it.abort_in_partition(&partition, stranger.id()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidTransactionState);
}

#[test]
fn records_that_cannot_be_read_cost_no_more_than_themselves() {
    let (disk, engine, _) = engine();
    let it = Transactions::open(engine.clone()).unwrap();
    let (_, identity) = it.take("t", SECOND).unwrap();
    let config = TopicConfig::new().partitions(50);
    let log = StateLog::new(engine.clone(), STATE_TOPIC, config);
    let at = it.partition_of("t").unwrap();
    let put = |key: &[u8], value: Option<&[u8]>| {
        log.append(at, &[Change { key, value }], Durability::Process).unwrap();
    };
    put(&[0, 0, 0, 1, b't'], Some(&[0, 9, 9]));
    put(&[0, 0, 0, 9], Some(&[]));
    put(&[0, 7], Some(&[1, 2, 3])); // of a kind that is not known
    engine.close().unwrap();
    let it = Transactions::open(engine_on(&disk)).unwrap();
    assert_eq!(it.skipped(), 2);
    assert_eq!(it.describe("t").unwrap().identity(), identity);
    for bad in ["", &"x".repeat(40_000)] {
        assert_eq!(it.take(bad, SECOND).unwrap_err().kind(), ErrorKind::InvalidName);
    }
}

/// A number that no coordinator gives out, as only damage or a prank writes it.
#[test]
fn a_state_with_a_number_from_far_away_costs_no_more_than_itself() {
    let (disk, engine, _) = engine();
    let it = Transactions::open(engine.clone()).unwrap();
    let (_, identity) = it.take("t", SECOND).unwrap();
    let log = StateLog::new(engine.clone(), STATE_TOPIC, TopicConfig::new().partitions(50));
    for (number, far) in [i64::MAX, 7_000, i64::MAX - 1].into_iter().enumerate() {
        let id = format!("far {number}");
        let now = crate::time::Timestamp::from_millis(1_000);
        let state = state::TransactionState::new(crate::ids::ProducerId::new(far), SECOND, now);
        let (key, value) = (schema::state_key(&id).unwrap(), state.encode().unwrap());
        let change = Change { key: &key, value: Some(&value) };
        log.append(it.partition_of(&id).unwrap(), &[change], Durability::Process).unwrap();
    }
    engine.close().unwrap();
    let it = Transactions::open(engine_on(&disk)).unwrap();
    assert_eq!(it.describe("t").unwrap().identity(), identity);
    let (_, other) = it.take("other", SECOND).unwrap();
    assert!((7_001..1 << 62).contains(&other.id().get()), "{other}");
}

/// An id whose first state could not be written is nobody's.
#[test]
fn an_id_that_could_not_be_taken_leaves_nothing_behind() {
    let (_, engine, _) = engine();
    let it = Transactions::open(engine.clone()).unwrap();
    it.take("t", SECOND).unwrap();
    let log = engine.topic(STATE_TOPIC).unwrap();
    for id in ["u", "v"] {
        let partition = log.partition(it.partition_of(id).unwrap()).unwrap();
        engine.set_leadership(&partition, Leadership::HostLed).unwrap();
        it.take(id, SECOND).unwrap_err();
        assert!(it.existing(id).is_none(), "{id}");
        engine.set_leadership(&partition, Leadership::SelfLed).unwrap();
        it.take(id, SECOND).unwrap();
    }
}
