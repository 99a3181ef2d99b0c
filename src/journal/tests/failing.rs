//! Syncs and writes of the journal that fail, and power cuts: what is told, and what is left.

use super::*;
use crate::disk::{Crash, Fault, Operation, Plan, SimDisk};
use crate::error::{Cause, Error};

fn ready() -> (SimDisk, Journal, Arc<Asked>) {
    let sim = SimDisk::new(1);
    let (journal, asked) = journal_on(&sim);
    sim.sync_dir(Path::new("/")).unwrap();
    journal.begin(STORE, LeaderEpoch::new(3));
    let _ = commit(&journal, &extent(0, 0, 1), b"x");
    journal.keep_up(|_| Ok(()));
    assert_eq!(commit(&journal, &extent(0, 0, 1), b"x"), Kept::Yes);
    (sim, journal, asked)
}

fn has_file(sim: &SimDisk) -> bool {
    sim.metadata(&Path::new(ROOT).join(JOURNAL)).unwrap().is_some()
}

#[test]
fn a_failed_sync_is_told_to_those_whose_frames_were_in_it_and_the_file_goes_at_last() {
    let (sim, journal, asked) = ready();
    let lost = [1, 2].map(|number| journal.gather(&extent(number, 0, 1), b"x").unwrap());
    sim.fail(Plan::new(Fault::Error(5)).on(Operation::Sync));
    for ticket in lost {
        assert!(journal.settle(ticket).is_err(), "it may or may not be on the disk");
    }
    sim.heal();
    assert_eq!(commit(&journal, &extent(3, 0, 1), b"x"), Kept::No, "from now on");
    assert!(!journal.bar(log(0)).unwrap(), "the others still need it");
    let mut needing = journal.pinning();
    needing.sort_by_key(|log| log.partition);
    assert_eq!(needing, [0, 1, 2].map(log), "whose segments are to be synced first");
    let mut pinning = asked.0.lock().1.clone();
    pinning.sort_by_key(|log| log.partition);
    assert_eq!(pinning, [0, 1, 2].map(log));
    for number in 0..3 {
        journal.keep_up(|_| panic!("it is needed by {number}"));
        journal.synced(log(number), Offset::new(1));
    }
    let refuse = |_| Err(Error::new("record", Cause::Closed("the keeper")));
    journal.keep_up(refuse);
    assert!(has_file(&sim), "its end is not recorded");
    sim.fail(Plan::new(Fault::Error(5)).on(Operation::RemoveFile));
    journal.keep_up(|_| Ok(()));
    sim.heal();
    assert!(has_file(&sim), "it could not be removed, and is to be");
    journal.keep_up(|told| {
        assert_eq!(told, Use::Ends);
        assert!(has_file(&sim), "it is recorded first");
        Ok(())
    });
    assert!(!has_file(&sim));
    assert!(journal.bar(log(0)).unwrap(), "nothing is left that could count");
    assert!(!has_file(&sim.crash(Crash::Nothing)), "it is gone for good");
}

#[test]
fn frames_that_were_not_written_are_declined() {
    let (sim, journal, _) = ready();
    let tickets = [1, 2].map(|number| journal.gather(&extent(number, 0, 1), b"x").unwrap());
    sim.fail(Plan::new(Fault::Error(28)).on(Operation::Write));
    for ticket in tickets {
        assert_eq!(journal.settle(ticket).unwrap(), Kept::No, "the segments are synced");
    }
    assert_eq!(commit(&journal, &extent(3, 0, 1), b"x"), Kept::No);
}

/// It was not in the sync that failed: its segment can be synced instead.
#[test]
fn a_frame_that_came_during_a_sync_that_fails_is_not_in_doubt() {
    let (sim, journal, _) = ready();
    let first = journal.gather(&extent(1, 0, 1), b"x").unwrap();
    sim.fail(Plan::new(Fault::Hang));
    sim.fail(Plan::new(Fault::Error(5)).on(Operation::Sync));
    std::thread::scope(|scope| {
        let failing = scope.spawn(|| journal.settle(first));
        while !sim.is_hanging() {
            std::thread::yield_now();
        }
        let second = journal.gather(&extent(2, 0, 1), b"x").unwrap();
        sim.heal();
        assert!(failing.join().unwrap().is_err(), "it may or may not be on the disk");
        assert_eq!(journal.settle(second).unwrap(), Kept::No);
    });
}

/// It is not told that it is done with the sync that had begun before it.
#[test]
fn a_frame_that_came_during_a_sync_has_the_next_one() {
    let (sim, journal, _) = ready();
    let first = journal.gather(&extent(1, 0, 1), b"x").unwrap();
    sim.fail(Plan::new(Fault::Hang));
    std::thread::scope(|scope| {
        let hanging = scope.spawn(|| journal.settle(first));
        while !sim.is_hanging() {
            std::thread::yield_now();
        }
        let second = journal.gather(&extent(2, 0, 1), b"x").unwrap();
        let waiting = scope.spawn(|| journal.settle(second));
        std::thread::sleep(std::time::Duration::from_millis(50)); // it waits by then
        sim.heal();
        assert_eq!(hanging.join().unwrap().unwrap(), Kept::Yes);
        assert_eq!(waiting.join().unwrap().unwrap(), Kept::Yes);
    });
}

/// What a reign begins with is durable before anything relies on it, and so are its frames.
#[test]
fn what_was_kept_is_there_after_every_power_cut() {
    let (sim, journal, _) = ready();
    sim.record();
    let mut kept = vec![(0, 1)];
    for end in 2..=60 {
        assert_eq!(commit(&journal, &extent(0, end - 1, end), &[0; 100]), Kept::Yes);
        kept.push((sim.operations(), end));
        if end % 7 == 0 {
            journal.synced(log(0), Offset::new(end)); // so that laps can turn
        }
    }
    for moment in sim.moments() {
        let least = kept.iter().rev().find(|(at, _)| *at < moment.operation());
        for crash in [Crash::Nothing, Crash::Everything, Crash::Random(1), Crash::Random(2)] {
            let cut = moment.crash(crash);
            let path = Path::new(ROOT).join(JOURNAL);
            let frames = read(&cut, &path, &reign(3)).unwrap().unwrap();
            let last = frames.last().map_or(0, |frame| frame.extent.end.get());
            let shown = format!("before call {}, {crash:?}", moment.operation());
            assert!(last >= least.map_or(1, |(_, end)| *end), "{shown}: {last}");
            let first = frames.first().map_or(last, |frame| frame.extent.end.get());
            let run: Vec<_> = frames.iter().map(|frame| frame.extent.end.get()).collect();
            assert_eq!(run, (first..=last).collect::<Vec<_>>(), "{shown}");
        }
    }
}
#[test]
fn a_journal_is_whole_on_the_disk_before_anything_relies_on_it() {
    let sim = SimDisk::new(1);
    let (journal, _) = journal_on(&sim);
    sim.sync_dir(Path::new("/")).unwrap();
    journal.begin(STORE, LeaderEpoch::new(3));
    let _ = commit(&journal, &extent(0, 0, 1), b"x");
    sim.record();
    let relied_on = std::cell::Cell::new(0);
    journal.keep_up(|told| {
        assert_eq!(told, Use::Begins);
        relied_on.set(sim.operations());
        Ok(())
    });
    let _ = commit(&journal, &extent(0, 0, 1), b"x");
    let moments = sim.moments();
    let later = moments.iter().filter(|moment| moment.operation() > relied_on.get());
    assert!(relied_on.get() > 0 && later.clone().count() > 0, "the control");
    for moment in later {
        for crash in [Crash::Nothing, Crash::Everything, Crash::Random(1), Crash::Random(2)] {
            let found = read(&moment.crash(crash), &Path::new(ROOT).join(JOURNAL), &reign(3));
            assert!(found.unwrap().is_some(), "{crash:?} before {}", moment.operation());
        }
    }
}

/// Until the file is gone for good no log is truncated: that must not be for ever.
#[test]
fn a_removal_whose_name_could_not_be_synced_is_made_up_for() {
    let (sim, journal, _) = ready();
    sim.fail(Plan::new(Fault::Error(5)).on(Operation::Sync));
    let lost = journal.gather(&extent(0, 1, 2), b"x").unwrap();
    assert!(journal.settle(lost).is_err());
    sim.heal();
    journal.synced(log(0), Offset::new(2));
    sim.fail(Plan::new(Fault::Error(24)).on(Operation::SyncDir));
    journal.keep_up(|_| Ok(()));
    assert!(!has_file(&sim) && !journal.bar(log(0)).unwrap(), "the control");
    journal.keep_up(|_| Ok(()));
    assert!(journal.bar(log(0)).unwrap());
    assert!(!has_file(&sim.crash(Crash::Nothing)));
}
