//! The journal in cases that have a name: what it gives back, what its failures take with them, who
//! is not held up by it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::disk::Operation;
use crate::error::{Outcome, Result};
use crate::ids::PartitionId;

#[test]
fn the_journal_gives_back_what_the_segments_lost() {
    let mut history = ready(APPEND);
    let syncs = history.disk.syncs();
    history.append("b", 0, Power).unwrap();
    assert_eq!(history.disk.syncs(), syncs + 1, "one sync, the journal's");
    cut_power(&mut history);
    reopen(&mut history, "reopen");
    let report = history.engine().unwrap().open_report().clone();
    let restored: u64 = report.partitions().iter().map(|one| one.restored_records()).sum();
    assert!(restored > 0, "{report:?}");
    history.verify(Promise::Power, "given back");
}

#[test]
fn a_clean_close_leaves_nothing_to_replay() {
    let mut history = ready(APPEND);
    history.step(Step::Close).unwrap();
    history.open().unwrap();
    let report = history.engine().unwrap().open_report().clone();
    assert!(report.was_closed_cleanly() && report.partitions().is_empty(), "{report:?}");
}

#[test]
fn a_damaged_journal_is_an_error_and_stays_as_it_is() {
    let mut history = ready(APPEND);
    cut_power(&mut history);
    let path = Path::new(ROOT).join(JOURNAL);
    history.disk.corrupt(&path, FIRST_FRAME + 130, 1).unwrap();
    for _ in 0..2 {
        let error = history.open().unwrap_err();
        assert!(error.is_corrupt(), "{error}");
        assert_eq!(error.path(), Some(&*path));
    }
    history.disk.corrupt(&path, FIRST_FRAME + 130, 1).unwrap();
    reopen(&mut history, "mended");
    history.verify(Promise::Power, "mended");
}

#[test]
fn a_failed_sync_of_the_journal_fails_its_partitions_alone() {
    let mut history = ready(APPEND);
    history.disk.fail(Plan::new(Fault::Error(5)).on(Operation::Sync));
    let error = history.append("b", 0, Power).unwrap_err();
    assert_eq!(error.outcome(), Outcome::WrittenNotDurable, "{error}");
    assert!(error.path().is_some_and(|path| path.ends_with(JOURNAL)), "{error}");
    assert!(history.append("b", 0, Process).unwrap_err().is_poisoned());
    let syncs = history.disk.syncs();
    history.append("a", 1, Power).unwrap();
    assert!(history.disk.syncs() > syncs, "by a sync of its own");
    history.append("a", 0, Power).unwrap();
    cut_power(&mut history);
    reopen(&mut history, "reopen");
    history.verify(Promise::Power, "after a failed sync");
}

/// Where the first frame with records lies: behind the first half, which has the reign's first.
const FIRST_FRAME: u64 = 4096 + 6144;

/// Whether a task is served.
fn is_served(flush: Pin<&mut impl Future<Output = Result<()>>>) -> bool {
    match flush.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done.is_ok(),
        Poll::Pending => false,
    }
}

#[test]
fn tasks_of_many_partitions_share_a_sync_of_the_journal() {
    let mut history = ready(APPEND);
    let places = [("a", 0), ("a", 1), ("b", 0)];
    for (topic, partition) in places {
        history.append(topic, partition, Process).unwrap();
    }
    let engine = history.engine().unwrap();
    let partition =
        |(topic, number): (&str, usize)| engine.topic(topic).unwrap().partitions()[number].clone();
    let partitions = places.map(|(topic, number)| partition((topic, number as usize)));
    let mut flushes: Vec<_> = partitions.iter().map(|one| Box::pin(one.flush_later())).collect();
    assert!(!flushes.iter_mut().any(|flush| is_served(flush.as_mut())));
    let syncs = history.disk.syncs();
    engine.run_due();
    assert_eq!(history.disk.syncs(), syncs + 1, "one sync for all of them");
    assert!(flushes.iter_mut().all(|flush| is_served(flush.as_mut())));
    for partition in &partitions {
        let offsets = partition.offsets().unwrap();
        assert_eq!(offsets.durable, offsets.end);
    }
    drop((partitions, engine));
    cut_power(&mut history);
    reopen(&mut history, "reopen");
    history.verify(Promise::Power, "served by the timer");
}

#[test]
fn tasks_whose_shared_sync_fails_are_told_and_the_rest_goes_on() {
    let mut history = ready(APPEND);
    history.append("a", 0, Process).unwrap();
    history.append("b", 0, Process).unwrap();
    let engine = history.engine().unwrap();
    let places = ["a", "b"].map(|topic| engine.topic(topic).unwrap().partitions()[0].clone());
    let mut flushes: Vec<_> = places.iter().map(|one| Box::pin(one.flush_later())).collect();
    assert!(!flushes.iter_mut().any(|flush| is_served(flush.as_mut())));
    history.disk.fail(Plan::new(Fault::Error(5)).on(Operation::Sync));
    engine.run_due();
    for (place, flush) in places.iter().zip(&mut flushes) {
        let Poll::Ready(Err(error)) = flush.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        else {
            panic!("told");
        };
        assert_eq!(error.outcome(), Outcome::WrittenNotDurable, "{error}");
        assert!(place.log().unwrap().check_healthy("look").is_err());
    }
    history.append("a", 1, Power).unwrap();
}

#[test]
fn a_partition_reopened_after_a_failed_journal_sync_goes_on_without_it() {
    let mut history = ready(APPEND);
    history.disk.fail(Plan::new(Fault::Error(5)).on(Operation::Sync));
    history.append("b", 0, Power).unwrap_err();
    let path = Path::new(ROOT).join(JOURNAL);
    let engine = history.engine().unwrap();
    let partition = engine.topic("b").unwrap().partitions()[0].clone();
    assert!(engine.reopen(&partition).unwrap().is_some());
    history.append("b", 0, Power).unwrap();
    for _ in 0..2 {
        history.step(Step::Background).unwrap();
    }
    let left = history.disk.metadata(&path).unwrap();
    assert!(left.is_none(), "nobody needs what is in it, and no later open may meet it");
    drop((engine, partition));
    cut_power(&mut history);
    reopen(&mut history, "reopen");
    assert!(!history.engine().unwrap().open_report().journal_was_missing(), "it was given up");
    history.verify(Promise::Power, "after a reopening");
}

#[test]
fn a_frame_is_kept_until_its_segment_is_synced() {
    let mut history = ready(&[Step::Append("a", 0, 3, Power), Step::Append("b", 0, 60, Power)]);
    cut_power(&mut history);
    reopen(&mut history, "reopen");
    history.verify(Promise::Power, "after laps of another partition");
}

#[test]
fn a_deleted_topic_does_not_pin_the_journal() {
    let mut history = ready(&[Step::Append("a", 0, 2, Power), Step::Delete("a")]);
    history.append("b", 0, Power).unwrap();
    let mut declined = 0;
    for _ in 0..60 {
        let log = |history: &History| {
            let topic = history.engine().unwrap().topic("b").unwrap();
            topic.partitions()[0].log().unwrap().counters().syncs.get()
        };
        let before = log(&history);
        history.append("b", 0, Power).unwrap();
        declined += u64::from(log(&history) > before);
        history.engine().unwrap().run_maintenance();
    }
    assert!(declined <= 5, "turns of laps alone may take a sync of the segment: {declined}");
}

#[test]
fn a_partition_that_cannot_be_opened_keeps_what_the_journal_has() {
    let mut history = ready(APPEND);
    cut_power(&mut history);
    // the fault may strike anything: open until only the partition fails
    let mut opened = 0;
    for nth in 1..60 {
        history.disk.heal();
        history.disk.fail(Plan::new(Fault::Error(5)).on(Operation::Read).nth(nth));
        if history.open().is_err() {
            continue;
        }
        history.disk.heal();
        let failed = history.engine().unwrap().open_report().failed_partitions().len();
        opened += u64::from(failed > 0);
        cut_power(&mut history);
    }
    assert!(opened > 0, "some open went on without a partition");
    reopen(&mut history, "healed");
    history.verify(Promise::Power, "healed");
    let partition = PartitionId::new(0);
    let topic = history.engine().unwrap().topic("a").unwrap();
    assert!(topic.partition(partition).unwrap().log().is_ok());
    let names = history.disk.list(Path::new(ROOT)).unwrap();
    let left: Vec<_> =
        names.iter().filter(|entry| entry.name.starts_with("tidelog.journal-")).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Another partition pins the half that the bar of a truncation would go to, and the maintenance
/// has taken the request to sync it without having come to that.
#[test]
fn a_truncation_is_not_refused_for_what_another_partition_has_in_the_journal() {
    let mut history = ready(&[Step::Append("a", 0, 6, Power), Step::Background]);
    let engine = history.engine().unwrap();
    let partition = engine.topic("b").unwrap().partitions()[0].clone();
    let log = partition.log().unwrap();
    let syncs = || log.counters().syncs.get();
    history.append("a", 0, Power).unwrap();
    let before = syncs();
    let mut count = 0;
    while syncs() == before {
        history.append("b", 0, Power).unwrap(); // until the journal takes no more of it
        count += 1;
        assert!(count < 1_000);
    }
    drop(engine.requests().take_pinning());
    for target in [5, 4, 3, 2, 1] {
        history.step(Step::Truncate("b", 0, target)).unwrap(); // there is room for two at most
    }
    history.append("b", 0, Power).unwrap();
    drop((engine, partition));
    cut_power(&mut history);
    reopen(&mut history, "reopen");
    history.verify(Promise::Power, "after truncations beside a full journal");
}

/// What only the journal has of it must stay there until it is reopened, so its half is never free.
#[test]
fn a_partition_that_is_poisoned_keeps_no_other_from_appends_truncations_and_deletions() {
    let mut history = ready(&[Step::Append("a", 0, 6, Power), Step::Append("a", 1, 6, Power)]);
    history.step(Step::Background).unwrap();
    let engine = history.engine().unwrap();
    let [poisoned, other] =
        ["a", "b"].map(|topic| engine.topic(topic).unwrap().partitions()[0].clone());
    history.append("a", 0, Power).unwrap();
    history.append("a", 1, Power).unwrap();
    history.disk.fail(Plan::new(Fault::Error(5)).on(Operation::Sync));
    poisoned.log().unwrap().sync_segments().unwrap_err();
    let syncs = || other.log().unwrap().counters().syncs.get();
    let before = syncs();
    let mut count = 0;
    while syncs() == before {
        history.append("b", 0, Power).unwrap(); // until the journal takes no more
        count += 1;
        assert!(count < 1_000);
    }
    for target in [5, 4, 3, 2, 1] {
        for (topic, partition) in [("a", 1), ("b", 0)] {
            history.step(Step::Truncate(topic, partition, target)).unwrap();
            history.append(topic, partition, Power).unwrap();
        }
        history.step(Step::Background).unwrap();
    }
    let journal = engine.owner("test").unwrap().journal.clone().unwrap();
    assert!(!journal.pinning().is_empty(), "the control: it is still pinned");
    history.step(Step::DeleteRecords("a", 1, 1)).unwrap();
    history.step(Step::Delete("b")).unwrap();
    drop((engine, poisoned, other, journal));
    cut_power(&mut history);
    reopen(&mut history, "reopen");
    history.verify(Promise::Power, "beside a poisoned partition");
}

/// A journal that has failed goes once nobody needs it, and nothing in it counts any more then.
#[test]
fn a_truncation_is_not_refused_for_a_journal_that_has_failed() {
    let mut history = ready(APPEND);
    history.append("a", 1, Power).unwrap();
    history.disk.fail(Plan::new(Fault::Error(5)).on(Operation::Sync));
    history.append("b", 0, Power).unwrap_err();
    let engine = history.engine().unwrap();
    let partition = engine.topic("b").unwrap().partitions()[0].clone();
    assert!(engine.reopen(&partition).unwrap().is_some());
    drop(engine.requests().take_pinning());
    let journal = engine.owner("test").unwrap().journal.clone().unwrap();
    assert_eq!(journal.pinning().len(), 2, "the control: both of `a`");
    history.step(Step::Truncate("a", 0, 1)).unwrap();
    history.append("a", 0, Power).unwrap();
    drop((engine, partition));
    cut_power(&mut history);
    reopen(&mut history, "reopen");
    history.verify(Promise::Power, "after a truncation beside a failed journal");
}
