//! What became of transactions: told as they end, and from files that nobody looked through.

use std::sync::atomic::{AtomicBool, Ordering};

use super::stepped::{Call, Stepped};
use super::*;
use crate::ids::{ProducerEpoch, ProducerId};
use crate::record::{Marker, MarkerKind, Produced, ProducerClaim, ProducerIdentity};

impl Beside {
    pub(super) fn send(&self, id: i64) {
        let now = Timestamp::from_millis(1_000_000);
        let records = [Record::new(&[7; 300][..])];
        let batch = BorrowedBatch::measure(&records, &self.log.batch_rules(now)).unwrap();
        let identity = identity(id);
        let claim = Some(ProducerClaim { identity, sequence: None, transactional: true });
        self.log.append(&Produced { batch: &batch, claim }, now).unwrap();
    }

    pub(super) fn end(&self, id: i64, kind: MarkerKind) {
        let marker = Marker { kind, coordinator_epoch: 0 };
        self.log.append_marker(identity(id), marker, Timestamp::from_millis(1_000_000)).unwrap();
    }

    /// What offset 3 has was aborted, and that of 5 committed; the rest is plain, but for markers.
    fn with_transactions() -> Self {
        let it = Beside::new();
        it.fill(3);
        it.send(7);
        it.end(7, MarkerKind::Abort);
        it.send(8);
        it.end(8, MarkerKind::Commit);
        it.fill(5);
        it.record(|facts| facts.recovery_point = Offset::new(12));
        it
    }
}

/// All that is to be seen, but for what is told of markers.
fn check(shown: &[i64]) {
    assert!([5, 7, 11].iter().all(|offset| shown.contains(offset)), "{shown:?}");
    assert!(!shown.contains(&3), "{shown:?}");
}

fn identity(id: i64) -> ProducerIdentity {
    ProducerIdentity::new(ProducerId::new(id), ProducerEpoch::new(0))
}

pub(super) const COMMITTED: IsolationLevel = IsolationLevel::ReadCommitted;

#[test]
fn who_reads_what_was_committed_waits_for_what_is_open_and_is_not_shown_what_was_aborted() {
    let it = Beside::new();
    let committed = || it.read_as(0, COMMITTED).0;
    it.fill(1);
    it.look(0);
    it.send(7);
    it.send(8);
    it.fill(1);
    it.look(0);
    assert_eq!(committed(), [0], "offset 1 is open");
    assert_eq!(it.followed.offsets().first_unstable, Some(Offset::new(1)));
    it.end(7, MarkerKind::Commit);
    it.look(0);
    assert_eq!(committed(), [0, 1]);
    it.end(8, MarkerKind::Abort);
    it.look(0);
    assert_eq!(it.followed.offsets().first_unstable, None);
    let late = Beside::follow(&it.bench, &it.recorded);
    late.look(Duration::ZERO).unwrap();
    let shown = committed();
    assert!(shown.contains(&0) && shown.contains(&1) && shown.contains(&3), "{shown:?}");
    assert!(!shown.contains(&2), "it was aborted: {shown:?}");
    assert_eq!(late.offsets().first_unstable, None);
}

#[test]
fn what_was_aborted_in_files_that_nobody_looked_through_is_not_shown() {
    let it = Beside::with_transactions();
    assert!(it.bases().len() > 2, "the control");
    it.look(0);
    let (found, error) = it.read_as(0, COMMITTED);
    assert!(error.is_none(), "{error:?}");
    check(&found);
}

#[test]
fn damage_does_not_hide_what_became_of_transactions_behind_it() {
    let it = Beside::with_transactions();
    let path = Bench::log_path(0);
    let mut bytes = it.bench.bytes(&path);
    bytes[200] ^= 1;
    it.bench.put(&path, &bytes);
    it.look(0);
    assert!(it.read_as(0, COMMITTED).1.expect("damage").is_corrupt());
    let resume = it.followed.resume_above(Offset::ZERO, Duration::ZERO).unwrap().get();
    assert!(resume <= 3, "the control: {resume}");
    let (found, error) = it.read_as(resume, COMMITTED);
    assert!(error.is_none(), "{error:?}");
    check(&found);
    assert_eq!(it.followed.offsets().first_unstable, None);
}

/// The file has gone between the look and the reading of it, and is back later.
#[test]
fn what_cannot_be_read_is_not_decided_until_it_can_be() {
    let it = Beside::with_transactions();
    it.look(0);
    it.read_as(0, COMMITTED);
    let base = it.bases()[1];
    let (disk, path) = (it.bench.disk.clone(), Bench::log_path(base));
    let aside = path.with_extension("aside");
    let back = (disk.clone(), path.clone(), aside.clone());
    it.meanwhile(move |asked, _| {
        if asked == Asked::Held {
            disk.rename(&path, &aside).unwrap();
        }
        Ok(())
    });
    it.record(|facts| facts.reign = Some(LeaderEpoch::new(1)));
    it.look(0);
    assert_eq!(it.followed.offsets().first_unstable, Some(Offset::new(base)));
    *it.recorded.happens.lock() = None;
    back.0.rename(&back.2, &back.1).unwrap();
    it.fill(1);
    it.look(0);
    assert_eq!(it.followed.offsets().first_unstable, None);
}

/// Once, as a device may: what it hid is no damage, and is read at the next look.
#[test]
fn a_read_that_failed_hides_nothing_of_what_became_of_transactions() {
    let it = Beside::with_transactions();
    let base = it.bases()[1];
    let (path, fails) = (Bench::log_path(base), Arc::new(AtomicBool::new(false)));
    let armed = fails.clone();
    let disk = Stepped::over(&it.bench.disk, move |call, read| {
        match call == Call::Read && read == path && armed.swap(false, Ordering::Relaxed) {
            true => Err(std::io::Error::other("a device error")),
            false => Ok(()),
        }
    });
    let it = Beside { followed: Beside::follow_on(&disk, &it.bench, &it.recorded), ..it };
    it.look(0);
    it.read_as(0, COMMITTED);
    let arms = fails.clone();
    it.meanwhile(move |asked, _| {
        arms.fetch_or(asked == Asked::Held, Ordering::Relaxed);
        Ok(())
    });
    it.record(|facts| facts.reign = Some(LeaderEpoch::new(1)));
    it.look(0);
    assert!(!fails.load(Ordering::Relaxed), "the control: it failed");
    assert_eq!(it.followed.offsets().first_unstable, Some(Offset::new(base)));
    *it.recorded.happens.lock() = None;
    it.fill(1);
    it.look(0);
    assert_eq!(it.followed.offsets().first_unstable, None);
    check(&it.read_as(0, COMMITTED).0);
}

/// A reader that fell behind: the marker is not there any more.
#[test]
fn what_was_open_below_what_was_deleted_holds_no_reader_up() {
    let it = Beside::new();
    it.send(7);
    it.look(0);
    it.read_as(0, COMMITTED);
    it.look(0);
    assert_eq!(it.followed.offsets().first_unstable, Some(Offset::ZERO), "the control");
    it.end(7, MarkerKind::Abort);
    it.fill(9);
    assert!(it.bases()[1] > 2, "the control: no file goes");
    it.log.delete_records_before(Offset::new(2), &Anywhere).unwrap();
    it.record(|facts| facts.log_start = Offset::new(2));
    it.look(0);
    let (found, error) = it.read_as(2, COMMITTED);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(found, (2..11).collect::<Vec<_>>());
}

/// A host that has all records go may have the log begin anywhere; the files are as they were then.
#[test]
fn what_was_aborted_is_not_shown_either_where_the_log_begins_before_it_again() {
    let it = Beside::new();
    it.send(7);
    it.end(7, MarkerKind::Abort);
    it.fill(9);
    assert!(it.bases()[1] > 2, "the control: no file goes");
    it.look(0);
    it.read_as(0, COMMITTED);
    for begins in [0, 2, 0] {
        it.record(|facts| facts.log_start = Offset::new(begins));
        it.look(0);
        let (found, error) = it.read_as(begins, COMMITTED);
        assert!(error.is_none(), "{error:?}");
        assert!(!found.contains(&0) && found.contains(&2), "from {begins}: {found:?}");
    }
}
