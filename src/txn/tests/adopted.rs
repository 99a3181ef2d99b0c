//! States that came with a directory of Kafka's: what they speak of is ended after a while, as
//! Kafka would have ended it, and what is the store's own at once. To open such a root changes
//! nothing.

use super::*;
use crate::ids::Offset;
use crate::txn::publish::OWN_PREFIX;

const ROOT: &str = "/store";

/// An open transaction of `id` with one record, and then the state that `decide` makes of it, in a
/// root that from there on is Kafka's: nothing in it is the store's.
fn adopted(id: &str, decide: impl FnOnce(&mut state::TransactionState)) -> Arc<dyn Disk> {
    adopted_with(id, |_, _, _| {}, decide)
}

/// The same, with something done to the partition before.
fn adopted_with(
    id: &str,
    before: impl FnOnce(&Transactions, &Partition, ProducerIdentity),
    decide: impl FnOnce(&mut state::TransactionState),
) -> Arc<dyn Disk> {
    let (disk, engine, partition) = engine();
    let it = Transactions::open(engine.clone()).unwrap();
    let (taken, identity) = it.take(id, SECOND).unwrap();
    it.enlist(&taken, identity, &partition).unwrap();
    write(&partition, identity);
    before(&it, &partition, identity);
    {
        let mut slot = taken.entry.slot.lock();
        let mut state = slot.state.clone().unwrap();
        decide(&mut state);
        it.write(&taken.entry, &mut slot, state, Durability::Process).unwrap();
    }
    engine.close().unwrap();
    for entry in disk.list(Path::new(ROOT)).unwrap() {
        if entry.name.starts_with("tidelog.") {
            disk.remove_file(&Path::new(ROOT).join(&entry.name)).unwrap();
        }
    }
    disk
}

/// As protocols before the second version commit: the epoch stays.
fn commit_in_the_same_epoch(state: &mut state::TransactionState) {
    (state.phase, state.client_version) = (TransactionPhase::PrepareCommit, 0);
}

struct Life {
    clock: ManualClock,
    engine: Arc<Engine>,
    it: Arc<Transactions>,
    partition: Arc<Partition>,
}

impl Life {
    fn on(disk: &Arc<dyn Disk>) -> Life {
        let clock = ManualClock::default();
        let engine = engine_at(disk, clock.clone());
        assert!(engine.topic(STATE_TOPIC).unwrap().is_adopted());
        let it = Transactions::open(engine.clone()).unwrap();
        let partition = partition(&engine);
        Life { clock, engine, it, partition }
    }

    fn wait(&self) {
        self.clock.advance(11 * SECOND);
        self.engine.run_due();
    }

    fn phase(&self, id: &str) -> TransactionPhase {
        self.it.describe(id).unwrap().phase()
    }

    /// What is open, what was aborted, and the end.
    fn seen(&self) -> (usize, usize, i64) {
        let end = self.partition.offsets().unwrap().end;
        let aborted = self.partition.aborted_transactions(&(Offset::ZERO..end)).unwrap().len();
        (self.partition.open_transactions().unwrap().len(), aborted, end.get())
    }
}

#[test]
fn a_commit_of_an_older_protocol_gets_its_marker() {
    let disk = adopted("t", commit_in_the_same_epoch);
    let life = Life::on(&disk);
    assert_eq!(life.seen(), (1, 0, 1), "opening changes nothing");
    life.wait();
    assert_eq!(life.seen(), (0, 0, 2), "it is committed");
    assert_eq!(life.phase("t"), TransactionPhase::CompleteCommit);
    life.it.take("t", SECOND).unwrap();
    life.it.open_in_partitions().unwrap();
    assert_eq!(life.seen(), (0, 0, 2));
}

#[test]
fn a_commit_of_an_older_protocol_gets_no_second_marker() {
    let mark = |it: &Transactions, partition: &Partition, identity: ProducerIdentity| {
        let marker = Marker { kind: MarkerKind::Commit, coordinator_epoch: 0 };
        it.append_marker(partition, identity, marker, Durability::Process).unwrap();
    };
    let life = Life::on(&adopted_with("t", mark, commit_in_the_same_epoch));
    life.wait();
    assert_eq!(life.seen(), (0, 0, 2));
    assert_eq!(life.phase("t"), TransactionPhase::CompleteCommit);
}

/// What is open is of an earlier epoch than the records of what was committed.
#[test]
fn an_earlier_transaction_whose_marker_was_cut_off_is_no_part_of_a_commit() {
    for version in [0, 2] {
        let disk = adopted("t", |state| {
            commit_in_the_same_epoch(state);
            (state.epoch, state.client_version) = (ProducerEpoch::new(5), version);
        });
        let life = Life::on(&disk);
        assert_eq!(life.seen(), (1, 0, 1), "opening changes nothing");
        life.wait();
        let (open, aborted, _) = life.seen();
        assert_eq!((open, aborted), (0, 1), "version {version}");
        assert_eq!(life.phase("t"), TransactionPhase::CompleteCommit);
    }
}

#[test]
fn what_is_the_stores_own_is_ended_at_once() {
    let own = format!("{OWN_PREFIX}schedule");
    let disk = adopted(&own, |state| {
        commit_in_the_same_epoch(state);
        (state.epoch, state.client_version) = (ProducerEpoch::new(1), 2);
    });
    let life = Life::on(&disk);
    assert_eq!(life.seen(), (0, 0, 2), "what was decided is carried through");
    assert_eq!(life.phase(&own), TransactionPhase::CompleteCommit);

    let life = Life::on(&adopted(&own, |_| {}));
    assert_eq!(life.seen(), (0, 1, 2), "what was open is aborted");
    assert_eq!(life.phase(&own), TransactionPhase::CompleteAbort);
}
