//! What the writer does in the middle of a reader's look, each step at the moment that hurts.
//!
//! Every record is compared: a reader beside a writer that keeps everything gets each record once,
//! and never an error.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::config::TopicConfig;
use crate::consumer::{Consumer, OffsetCommit};
use crate::ids::Offset;

/// A writer whose log rolls all the time.
fn rolling() -> Pair {
    Pair::new(TopicConfig::new().segment_bytes(1_500))
}

fn send_numbers(store: &Store, numbers: Range<u32>) {
    let topic = store.producer().build().unwrap().topic("t").unwrap();
    numbers.for_each(|number| drop(topic.send(Record::new(&number.to_string())).unwrap()));
}

/// Has `step` run, with its number, before each call about a path that `chosen` names, `most`
/// times.
fn step_before(
    pair: &Pair,
    most: u32,
    chosen: impl Fn(&Path) -> bool + Send + 'static,
    mut step: impl FnMut(&Store, u32) + Send + 'static,
) -> Arc<AtomicU32> {
    let (store, steps) = (pair.store.clone(), Arc::new(AtomicU32::new(0)));
    let counted = steps.clone();
    pair.guest.set_between(Some(Box::new(move |path| {
        if chosen(path) && counted.load(Ordering::Relaxed) < most {
            step(&store, counted.fetch_add(1, Ordering::Relaxed));
        }
    })));
    steps
}

fn is_state_log(path: &Path) -> bool {
    path.ends_with(crate::disk::names::STATE_LOG)
}

/// Reads on until three looks in a row have brought nothing.
fn read_all(pair: &Pair, reader: &mut Consumer) -> Vec<String> {
    let (mut read, mut idle) = (Vec::new(), 0);
    while idle < 3 {
        pair.clock.advance(Duration::from_secs(2));
        let records = reader.try_poll().unwrap();
        idle = if records.is_empty() { idle + 1 } else { 0 };
        read.extend(values(&records));
    }
    read
}

fn numbers(range: Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[test]
fn records_that_became_final_after_the_listing_are_not_missing() {
    let pair = rolling();
    send_numbers(&pair.store, 0..10);
    // whenever the reader asks what is final, more has become so
    let steps = step_before(&pair, 200, is_state_log, |store, step| {
        send_numbers(store, 10 + step * 8..18 + step * 8);
        store.flush().unwrap();
    });
    let mut reader = pair.reading.reader().assign([("t", 0)]).build().unwrap();
    let mut read = Vec::new();
    while steps.load(Ordering::Relaxed) < 200 {
        // to the end of what one look has shown
        pair.later();
        loop {
            let records = reader.try_poll().unwrap();
            if records.is_empty() {
                break;
            }
            read.extend(values(&records));
        }
    }
    read.extend(read_all(&pair, &mut reader));
    assert_eq!(read, numbers(0..1610));
}

#[test]
fn a_reader_whose_files_go_under_its_hands_is_never_told_of_damage() {
    const STEPS: u32 = 1_500; // many times what one survey tries
    let pair = rolling();
    send_numbers(&pair.store, 0..60);
    let mut reader = pair.reading.reader().assign([("t", 0)]).build().unwrap();
    let mut read = values(&reader.try_poll().unwrap());
    // whatever it is about to open or list has just been deleted
    let partition = root().join("t-0");
    let steps = step_before(
        &pair,
        STEPS,
        move |path| path.starts_with(&partition),
        |store, step| {
            let end = 60 + (step + 1) * 30;
            send_numbers(store, end - 30..end);
            let start = Offset::new(i64::from(end) - 10);
            store.delete_records_before("t", 0, start).unwrap();
            store.run_maintenance();
        },
    );
    while steps.load(Ordering::Relaxed) < STEPS {
        read.extend(read_all(&pair, &mut reader));
    }
    read.extend(read_all(&pair, &mut reader));
    let read: Vec<u32> = read.iter().map(|number| number.parse().unwrap()).collect();
    assert!(read.is_sorted_by(|a, b| a < b), "none twice, none out of order: {read:?}");
    let end = 60 + STEPS * 30;
    assert!(read.ends_with(&(end - 10..end).collect::<Vec<_>>()), "{read:?}");
}

#[test]
fn a_reader_beside_compaction_finds_every_commit_and_nothing_false() {
    let pair = rolling();
    send_numbers(&pair.store, 0..100);
    let clock = pair.clock.clone();
    let store = pair.store.clone();
    let mut consumer = store.consumer("billing").assign([("t", 0)]).build().unwrap();
    consumer.commit_offsets(&[OffsetCommit::new("t", 0, Offset::ZERO)]).unwrap();
    let committed = Arc::new(AtomicU32::new(0));
    let noted = committed.clone();
    let partition = "__consumer_offsets";
    let metadata = "m".repeat(4_000);
    let mut steps = 0;
    pair.guest.set_between(Some(Box::new(move |path| {
        if !path.to_string_lossy().contains(partition) || steps == 3_000 {
            return;
        }
        steps += 1;
        let offset = steps / 30;
        let commit = OffsetCommit::new("t", 0, Offset::from(offset)).metadata(&metadata);
        consumer.commit_offsets(&[commit]).unwrap();
        noted.store(offset, Ordering::Relaxed);
        clock.advance(Duration::from_millis(110));
        store.run_maintenance();
    })));
    let mut before = 0;
    for _ in 0..400 {
        pair.later();
        let least = committed.load(Ordering::Relaxed);
        let seen = pair.reading.committed("billing").unwrap();
        let most = committed.load(Ordering::Relaxed);
        if let [(topic, _, one)] = &seen[..] {
            let offset = u32::try_from(one.offset().get()).unwrap();
            assert_eq!(topic, "t");
            assert!(
                (least..=most).contains(&offset) && before <= offset,
                "{least} {offset} {most}"
            );
            before = offset;
        }
    }
    pair.guest.set_between(None);
    let stats = pair.store.stats();
    let topic = stats.topics.iter().find(|topic| topic.name == partition).unwrap();
    let compactions: u64 = topic.partitions.iter().map(|one| one.compactions).sum();
    assert!(compactions > 0, "there was something to compact");
    assert_eq!(pair.reading.committed("billing").unwrap()[0].2.offset(), Offset::from(before));
    assert!(before > 0);
}

/// A power cut takes records below a position that was chosen, and what comes after reaches over
/// it: only the epoch of the record before the position tells.
#[cfg(feature = "sim")]
#[test]
fn a_truncation_below_a_chosen_position_is_noticed() {
    use crate::consumer::Reset;
    use crate::disk::{Crash, SimDisk};
    use crate::error::ErrorKind;
    for (start, reset) in [(4, Reset::None), (5, Reset::None), (4, Reset::Earliest)] {
        let (sim, clock) = (SimDisk::new(1), ManualClock::default());
        let open = |sim: &SimDisk| open_writer(&(Arc::new(sim.clone()) as Arc<dyn Disk>), &clock);
        let store = open(&sim);
        store.create_topic("t", TopicConfig::new()).unwrap();
        send_numbers(&store, 0..2);
        store.flush().unwrap();
        send_numbers(&store, 2..5);
        let guest = Arc::new(GuestDisk::new(Arc::new(sim.clone())));
        let reading = open_reader(guest.clone(), root(), &clock);
        let mut reader = reading.reader().assign([("t", 0)]).reset(reset).build().unwrap();
        reader.seek("t", 0, Offset::new(start)).unwrap();
        let left = sim.crash(Crash::Nothing);
        let store = open(&left);
        assert_eq!(store.describe("t").unwrap().partitions()[0].end_offset(), Offset::new(2));
        send_numbers(&store, 100..108);
        guest.set_world(Arc::new(left.clone()));
        clock.advance(Duration::from_secs(2));
        match reset {
            Reset::None => {
                let error = reader.try_poll().unwrap_err();
                assert_eq!(error.kind(), ErrorKind::LogTruncated, "{error}");
            }
            _ => assert_eq!(values(&reader.try_poll().unwrap()), numbers(100..108)),
        }
    }
}
