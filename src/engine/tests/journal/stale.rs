//! Frames that must not come back, each kind by name; and in each test the control that the file
//! does hold them, so that it is the rule which keeps them away and not their absence.
//!
//! | frames | are kept away by |
//! | --- | --- |
//! | of a deleted topic | the deletion, durable before it returns; frames name the topic's id |
//! | of the topic that had the name before | the new topic has another id |
//! | of deleted records | the log start, durable before it returns, its segments synced |
//! | of an earlier lap | the oldest sequence that counts, in every frame |
//! | of an earlier open | the epoch of the open, in every frame |
//! | of a journal that has failed | segments synced, or rewritten, before its file goes (`cases`) |

use super::*;
use crate::disk::replace::read_file;
use crate::disk::{Operation, SimDisk};
use crate::ids::{LeaderEpoch, Offset, TopicId};
use crate::journal::{self, Frame, Reign};

/// The frames of an open that lie in the file, whoever they are of.
fn frames(disk: &SimDisk, (store, epoch): ([u8; 16], LeaderEpoch)) -> Vec<Frame> {
    let path = Path::new(ROOT).join(JOURNAL);
    journal::read(disk, &path, &Reign { store, epoch }).unwrap().unwrap_or_default()
}

/// The store and the epoch of the open at hand.
fn reign(history: &History) -> ([u8; 16], LeaderEpoch) {
    let engine = history.engine().unwrap();
    (*engine.store_id().as_bytes(), engine.open_report().leader_epoch())
}

fn id(history: &History, topic: &str) -> TopicId {
    history.engine().unwrap().topic(topic).unwrap().id()
}

/// How far frames of a partition go.
fn end(frames: &[Frame], topic: TopicId) -> Option<Offset> {
    let of_topic = frames.iter().filter(|frame| frame.extent.log.topic == topic);
    of_topic.map(|frame| frame.extent.end).max()
}

#[test]
fn no_frame_of_a_deleted_topic_comes_back() {
    for again in [false, true] {
        let mut history = ready(&[Step::Append("a", 0, 2, Power)]);
        let (reign, old) = (reign(&history), id(&history, "a"));
        history.step(Step::Delete("a")).unwrap();
        if again {
            history.step(Step::Create("a", 2)).unwrap();
        }
        cut_power(&mut history);
        assert!(end(&frames(&history.disk, reign), old).is_some(), "the control");
        history.verify_as_guest(Promise::Power, "deleted");
        reopen(&mut history, "reopen");
        history.verify(Promise::Power, "deleted");
        let topic = history.engine().unwrap().topic("a").ok();
        let ends = topic.map(|topic| topic.partitions()[0].offsets().unwrap().end.get());
        assert_eq!(ends, again.then_some(0), "a new topic of its name");
    }
}

#[test]
fn no_frame_of_the_topic_before_comes_to_one_made_again() {
    let mut history = ready(&[Step::Append("a", 0, 4, Power)]);
    let (reign, old) = (reign(&history), id(&history, "a"));
    history.step(Step::Delete("a")).unwrap();
    history.step(Step::Create("a", 2)).unwrap();
    for step in [Step::Append("a", 0, 2, Power), Step::Append("a", 0, 1, Process)] {
        history.step(step).unwrap();
    }
    let new = id(&history, "a");
    cut_power(&mut history);
    let left = frames(&history.disk, reign);
    let both = (end(&left, old), end(&left, new));
    assert!(both.0 > both.1 && both.1.is_some(), "the control: {both:?}");
    history.verify_as_guest(Promise::Power, "made again");
    reopen(&mut history, "reopen");
    history.verify(Promise::Power, "made again");
}

#[test]
fn no_frame_below_a_new_log_start_comes_back() {
    let mut history = ready(&[Step::Append("a", 0, 3, Power)]);
    let (reign, topic) = (reign(&history), id(&history, "a"));
    history.step(Step::DeleteRecords("a", 0, 5)).unwrap();
    cut_power(&mut history);
    assert_eq!(end(&frames(&history.disk, reign), topic), Some(Offset::new(5)), "the control");
    history.verify_as_guest(Promise::Power, "deleted records");
    reopen(&mut history, "reopen");
    history.verify(Promise::Power, "deleted records");
    let topic = history.engine().unwrap().topic("a").unwrap();
    let offsets = topic.partitions()[0].offsets().unwrap();
    assert_eq!((offsets.start.get(), offsets.end.get()), (5, 5));
}

#[test]
fn a_log_start_is_not_recorded_of_what_only_the_journal_holds() {
    let mut history = ready(&[Step::Append("a", 0, 7, Power)]);
    history.disk.fail(Plan::new(Fault::Error(28)).on(Operation::Sync));
    history.step(Step::DeleteRecords("a", 0, 5)).unwrap_err();
    cut_power(&mut history);
    history.verify_as_guest(Promise::Power, "a start that was not reached");
    reopen(&mut history, "reopen");
    history.verify(Promise::Power, "a start that was not reached");
}

#[test]
fn no_frame_of_an_earlier_lap_comes_back() {
    let mut history = ready(LAPS);
    let reign = reign(&history);
    cut_power(&mut history);
    let path = Path::new(ROOT).join(JOURNAL);
    let bytes = read_file(&history.disk, &path, 1 << 20).unwrap().unwrap();
    let whole = bytes.chunks(8).filter(|word| word.starts_with(b"TJFR")).count();
    let counted = frames(&history.disk, reign).len();
    assert!(whole > counted + 5, "the control: {whole} in the file, {counted} count");
    history.verify_as_guest(Promise::Power, "earlier laps");
    reopen(&mut history, "reopen");
    history.verify(Promise::Power, "earlier laps");
}

#[test]
fn no_frame_of_an_earlier_open_comes_back() {
    let mut history = ready(&[Step::Append("a", 0, 2, Power)]);
    let (first, topic) = (reign(&history), id(&history, "a"));
    cut_power(&mut history);
    reopen(&mut history, "first");
    history.append("a", 0, Process).unwrap(); // lost, at an offset that no frame may fill
    history.step(Step::DeleteRecords("a", 0, 4)).unwrap();
    cut_power(&mut history);
    let before = frames(&history.disk, first);
    assert!(end(&before, topic).is_some(), "the control: nothing was written over");
    history.verify_as_guest(Promise::Power, "an earlier open");
    reopen(&mut history, "second");
    let report = history.engine().unwrap().open_report().clone();
    assert!(report.partitions().iter().all(|one| one.restored_records() == 0), "{report:?}");
    assert!(!report.journal_was_missing(), "this open had none in use");
    history.verify(Promise::Power, "an earlier open");
}
