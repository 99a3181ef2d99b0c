//! What became of transactions: told as they end, and from files that nobody looked through.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::stepped::{Call, Stepped};
use super::*;
use crate::ids::{ProducerEpoch, ProducerId};
use crate::record::{Marker, MarkerKind, Produced, ProducerClaim, ProducerIdentity};

impl Beside {
    fn send(&self, id: i64) {
        let now = Timestamp::from_millis(1_000_000);
        let records = [Record::new(&[7; 300][..])];
        let batch = BorrowedBatch::measure(&records, &self.log.batch_rules(now)).unwrap();
        let identity = identity(id);
        let claim = Some(ProducerClaim { identity, sequence: None, transactional: true });
        self.log.append(&Produced { batch: &batch, claim }, now).unwrap();
    }

    fn end(&self, id: i64, kind: MarkerKind) {
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

const COMMITTED: IsolationLevel = IsolationLevel::ReadCommitted;

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

fn damage(it: &Beside, segment: i64, at: usize) {
    let path = Bench::log_path(segment);
    let mut bytes = it.bench.bytes(&path);
    bytes[at] ^= 1;
    it.bench.put(&path, &bytes);
}

/// What can be read at `read_committed` from an offset on, going on behind each damage; and where
/// that was.
fn behind_damage(it: &Beside, from: i64) -> (Vec<i64>, Vec<i64>) {
    let (mut next, mut found, mut met) = (from, Vec::new(), Vec::new());
    loop {
        let (shown, error) = it.read_as(next, COMMITTED);
        found.extend(shown);
        let Some(error) = error else { return (found, met) };
        assert!(error.is_corrupt(), "{error}");
        let at = error.offset().unwrap();
        let resumed = it.followed.resume_above(at, Duration::ZERO).unwrap();
        assert!(resumed > at, "it goes on behind {at}");
        met.push(at.get());
        next = resumed.get();
    }
}

/// It can be found by its offset, but the reading that tells of transactions passes it over.
#[test]
fn what_was_aborted_right_behind_damage_is_not_shown_to_who_begins_there() {
    let it = Beside::new();
    it.fill(1);
    it.send(7);
    it.end(7, MarkerKind::Abort);
    it.fill(9);
    it.record(|facts| facts.recovery_point = Offset::new(12));
    damage(&it, 0, 200);
    it.look(0);
    assert!(it.read(1).0.starts_with(&[1, 2]), "the control: it can be read");
    let (found, error) = it.read_as(1, COMMITTED);
    assert!(error.expect("nobody knows").is_corrupt() && found.is_empty(), "{found:?}");
    let (found, met) = behind_damage(&it, 0);
    assert!(!found.contains(&1) && met == [0], "{found:?} {met:?}");
    let (found, met) = behind_damage(&it, 1);
    assert!(!found.contains(&1) && met == [1], "{found:?} {met:?}");
    assert!(found.ends_with(&(it.bases()[1]..12).collect::<Vec<_>>()), "{found:?}");
    assert_eq!(it.followed.offsets().first_unstable, None);
}

/// The damage is the marker that aborted it; the producer goes on, and commits.
#[test]
fn what_was_open_where_damage_begins_is_not_shown_for_a_marker_behind_it() {
    let it = Beside::new();
    it.send(7);
    it.fill(1);
    let marker = usize::try_from(it.log.size().0).unwrap() + 70;
    it.end(7, MarkerKind::Abort);
    it.fill(6);
    it.send(7);
    it.end(7, MarkerKind::Commit);
    it.fill(3);
    it.record(|facts| facts.recovery_point = Offset::new(14));
    assert_eq!(it.bases()[1], 3, "the control");
    damage(&it, 0, marker);
    it.look(0);
    it.read_as(0, COMMITTED);
    it.look(0);
    assert_eq!(it.followed.offsets().first_unstable, None, "nobody waits for what was lost");
    let (found, met) = behind_damage(&it, 0);
    assert_eq!(met, [0, 2], "{found:?}");
    assert!(found.starts_with(&[1, 3]) && found.contains(&9), "{found:?}");
    assert!(found.ends_with(&[11, 12, 13]), "{found:?}");
    // all at once, it ends before what is in doubt
    it.record(|facts| facts.reign = Some(LeaderEpoch::new(1)));
    let late = Beside::follow(&it.bench, &it.recorded);
    late.look(Duration::ZERO).unwrap();
    let limits = FetchLimits { isolation: COMMITTED, ..FetchLimits::all(1 << 20) };
    let fetch = |from| late.fetch(Offset::new(from), None, limits, Duration::ZERO);
    let error = fetch(0).unwrap_err();
    assert_eq!(error.offset(), Some(Offset::ZERO), "{error}");
    assert_eq!(fetch(1).unwrap().next_offset.get(), 2);
}

/// What lies before it is handed out.
#[test]
fn a_read_ends_before_what_damage_leaves_in_doubt() {
    let it = Beside::new();
    it.fill(1);
    it.send(7);
    let marker = usize::try_from(it.log.size().0).unwrap() + 70;
    it.end(7, MarkerKind::Abort);
    it.fill(6);
    it.record(|facts| facts.recovery_point = Offset::new(9));
    damage(&it, 0, marker);
    it.look(0);
    let limits = FetchLimits { isolation: COMMITTED, ..FetchLimits::all(1 << 20) };
    let fetch = |from| it.followed.fetch(Offset::new(from), None, limits, Duration::ZERO);
    fetch(1).unwrap_err();
    let fetched = fetch(0).unwrap();
    assert_eq!((fetched.next_offset.get(), fetched.aborted.len()), (1, 0));
    let all = FetchLimits::all(1 << 20);
    let fetched = it.followed.fetch(Offset::ZERO, None, all, Duration::ZERO).unwrap();
    assert_eq!(fetched.next_offset.get(), 2, "who is shown all has no doubts");
}

/// Of transactions that ended before the damage or begin behind it nothing is in doubt, nor of
/// markers in what was passed over.
#[test]
fn what_damage_does_not_hide_is_shown_as_ever() {
    let it = Beside::new();
    it.send(8);
    it.end(8, MarkerKind::Commit);
    it.send(7);
    it.fill(1); // damaged
    it.send(9);
    it.end(9, MarkerKind::Commit);
    it.send(7);
    it.end(7, MarkerKind::Commit);
    it.fill(3);
    it.record(|facts| facts.recovery_point = Offset::new(11));
    assert_eq!(it.bases()[1..3], [3, 6], "the control");
    damage(&it, 3, 200);
    it.look(0);
    it.read_as(0, COMMITTED);
    it.look(0);
    assert_eq!(behind_damage(&it, 0), (vec![0, 1, 6, 7, 8, 9, 10], vec![2, 3]));
    let (found, error) = it.read_as(4, COMMITTED);
    assert_eq!((found, error.unwrap().offset()), (vec![], Some(Offset::new(4))));
    let (found, error) = it.read_as(5, COMMITTED);
    assert!(error.is_none() && found == (5..11).collect::<Vec<_>>(), "{found:?} {error:?}");
}

/// The doubts that lie wholly below it are forgotten, no others.
#[test]
fn doubts_above_the_start_outlive_a_deletion() {
    let it = Beside::new();
    it.send(7);
    it.fill(3);
    it.send(8);
    it.fill(5);
    it.record(|facts| facts.recovery_point = Offset::new(10));
    assert_eq!(it.bases()[..4], [0, 2, 4, 6], "the control");
    damage(&it, 0, 500); // behind the first transaction's records
    damage(&it, 4, 500); // behind the second's
    it.look(0);
    it.read_as(0, COMMITTED);
    it.look(0);
    assert_eq!(behind_damage(&it, 0), (vec![2, 3, 6, 7, 8, 9], vec![0, 1, 4, 5]));
    it.log.delete_records_before(Offset::new(3), &Anywhere).unwrap();
    for seconds in 0..2 {
        it.record(|facts| facts.log_start = Offset::new(3 + i64::try_from(seconds).unwrap()));
        it.look(seconds);
        assert_eq!(behind_damage(&it, 4), (vec![6, 7, 8, 9], vec![4, 5]), "from {}", 3 + seconds);
    }
}

/// Many batches of one transaction, whose marker is damaged: they are told of at once, by one look
/// at the log, with their place.
#[test]
fn batches_in_doubt_cost_one_survey_and_are_passed_together() {
    let it = Beside::new();
    it.fill(1);
    let first = it.log.size().0;
    it.send(7);
    let second = it.log.size().0;
    (0..2).for_each(|_| it.send(7));
    let marker = usize::try_from(it.log.size().0 - second).unwrap() + 70;
    it.end(7, MarkerKind::Abort);
    it.fill(6);
    it.record(|facts| facts.recovery_point = Offset::new(11));
    assert_eq!(it.bases()[1..3], [2, 5], "the control: over two segments");
    damage(&it, 2, marker);
    it.look(0);
    it.read_as(0, COMMITTED);
    let surveys = Arc::new(AtomicUsize::new(0));
    let counted = surveys.clone();
    it.meanwhile(move |asked, _| {
        counted.fetch_add(usize::from(asked == Asked::Held), Ordering::Relaxed);
        Ok(())
    });
    let (_, error) = it.read_as(1, COMMITTED);
    let error = error.unwrap();
    assert_eq!((error.offset(), error.position()), (Some(Offset::new(1)), Some(first)), "{error}");
    let resumed = it.followed.resume_above(Offset::new(1), Duration::ZERO).unwrap();
    assert_eq!(resumed.get(), 4, "where the marker lies");
    assert_eq!(surveys.load(Ordering::Relaxed), 0, "it was looked at a moment ago");
    let later = Duration::from_secs(9);
    let limits = FetchLimits { isolation: COMMITTED, ..FetchLimits::all(1) };
    it.followed.fetch(Offset::new(2), None, limits, later).unwrap_err();
    assert_eq!(surveys.load(Ordering::Relaxed), 1, "only now it may be another's");
    let beyond = it.followed.resume_above(Offset::new(99), Duration::ZERO).unwrap();
    assert_eq!(beyond.get(), 99);
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
