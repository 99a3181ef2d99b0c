//! What damage leaves in doubt of transactions: who is told, how dear that is, and where reading
//! goes on.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::stepped::{Call, Stepped};
use super::told::COMMITTED;
use super::*;
use crate::record::MarkerKind;

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
    let first = it.log.size().0;
    it.send(7);
    let marker = usize::try_from(it.log.size().0).unwrap() + 70;
    it.end(7, MarkerKind::Abort);
    it.fill(6);
    it.record(|facts| facts.recovery_point = Offset::new(9));
    damage(&it, 0, marker);
    it.look(0);
    let limits = FetchLimits { isolation: COMMITTED, ..FetchLimits::all(1 << 20) };
    let fetch = |from| it.followed.fetch(Offset::new(from), None, limits, Duration::ZERO);
    assert_eq!(fetch(1).unwrap_err().position(), Some(first), "where what is in doubt begins");
    let fetched = fetch(0).unwrap();
    assert_eq!((fetched.next_offset.get(), fetched.aborted.len()), (1, 0));
    let all = FetchLimits::all(1 << 20);
    let fetched = it.followed.fetch(Offset::ZERO, None, all, Duration::ZERO).unwrap();
    assert_eq!(fetched.next_offset.get(), 2, "who is shown all has no doubts");
}

/// Four batches of a transaction in two files, whose marker is damaged, and what follows; where
/// the damage is.
fn left_open() -> (Beside, (i64, usize)) {
    let it = Beside::new();
    (0..4).for_each(|_| it.send(7));
    let active = it.log.segments.load().last().unwrap().clone();
    let marker = usize::try_from(active.published()).unwrap() + 70;
    it.end(7, MarkerKind::Abort);
    it.fill(6);
    it.record(|facts| facts.recovery_point = Offset::new(11));
    assert!(it.bases()[1] <= 3 && it.bases()[2] > 4, "the control: {:?}", it.bases());
    damage(&it, active.base().get(), marker);
    (it, (active.base().get(), marker))
}

/// Read by one who was told of it; counts the surveys from then on.
fn counted(it: Beside) -> (Beside, Arc<AtomicUsize>) {
    let surveys = Arc::new(AtomicUsize::new(0));
    let counted = surveys.clone();
    let disk = Stepped::over(&it.bench.disk, move |call, _| {
        counted.fetch_add(usize::from(call == Call::Names), Ordering::Relaxed);
        Ok(())
    });
    let it = Beside { followed: Beside::follow_on(&disk, &it.bench, &it.recorded), ..it };
    it.look(0);
    it.read_as(0, COMMITTED);
    it.look(0);
    surveys.store(0, Ordering::Relaxed);
    (it, surveys)
}

/// Each survey reads all that is not synced, and all transactions.
#[test]
fn doubt_is_told_after_one_survey_and_passed_over_at_once_without_any() {
    let (it, surveys) = counted(left_open().0);
    let error = it.read_as(0, COMMITTED).1.expect("nobody knows");
    assert_eq!((error.offset(), error.position()), (Some(Offset::ZERO), Some(0)), "{error}");
    assert_eq!(surveys.load(Ordering::Relaxed), 1, "told");
    let resume = |from| it.followed.resume_above(Offset::new(from), Duration::ZERO).unwrap().get();
    assert_eq!(resume(0), 4, "all of the transaction");
    assert_eq!(resume(2), 4);
    assert_eq!(surveys.load(Ordering::Relaxed), 1, "passed over");
    let damaged = it.read_as(4, COMMITTED).1.expect("the marker itself");
    assert!(damaged.is_corrupt() && resume(4) > 4, "{damaged}");
}

/// A writer may delete what was in doubt before a reader has passed it over.
#[test]
fn what_was_in_doubt_and_is_deleted_is_passed_over_too() {
    let (it, _) = counted(left_open().0);
    it.log.delete_records_before(Offset::new(2), &Anywhere).unwrap();
    it.record(|facts| facts.log_start = Offset::new(2));
    it.look(0);
    assert_eq!(it.followed.offsets().start.get(), 2, "the control");
    let resume = it.followed.resume_above(Offset::ZERO, Duration::ZERO).unwrap();
    assert!(resume > Offset::ZERO, "{resume}");
}

/// In a view that was taken before, it may be of a file that another has taken the place of.
#[test]
fn doubt_that_a_survey_does_not_confirm_is_none() {
    let (it, (segment, at)) = left_open();
    let (it, surveys) = counted(it);
    damage(&it, segment, at); // undone
    let (found, error) = it.read_as(0, COMMITTED);
    assert!(error.is_none(), "{error:?}");
    assert!(!found.contains(&3) && found.ends_with(&[5, 6, 7, 8, 9, 10]), "{found:?}");
    assert_eq!(surveys.load(Ordering::Relaxed), 1);
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
