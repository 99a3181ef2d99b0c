//! Prepared transactions over an engine in memory: which outcomes are forgotten, how they leave the
//! log, and what a listing shows of what is damaged or gone.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::config::{BackgroundSync, Threads, WhenFull};
use crate::disk::{Access, Disk, MemoryDisk};
use crate::engine::{EngineOptions, NewTopic};
use crate::error::ErrorKind;
use crate::record::PlainLimit;
use crate::time::ManualClock;

const SECOND: Duration = Duration::from_secs(1);

struct World {
    disk: Arc<dyn Disk>,
    clock: ManualClock,
}

impl World {
    fn new(disk: Arc<dyn Disk>) -> Self {
        World { disk, clock: ManualClock::new(Timestamp::from_millis(1_700_000_000_000)) }
    }

    /// A life that remembers so many outcomes.
    fn open(&self, remembered: usize) -> Arc<Prepared> {
        let options = EngineOptions {
            disk: self.disk.clone(),
            clock: Arc::new(self.clock.clone()),
            threads: Threads::Host,
            background_sync: BackgroundSync::OFF,
            max_bytes: None,
            when_full: WhenFull::Fail,
            journal: None,
            plain: PlainLimit::DEFAULT,
        };
        let engine = Engine::open(options, Path::new("/store")).unwrap();
        if engine.topic("a").is_err() {
            let new = NewTopic { name: "a", config: TopicConfig::new(), internal: false };
            engine.create_topics(&[new]).unwrap();
        }
        let transactions = Transactions::open(engine.clone()).unwrap();
        Prepared::with_remembered(engine, &transactions, remembered).unwrap()
    }
}

fn in_memory() -> World {
    World::new(Arc::new(MemoryDisk::new()))
}

fn close(it: Arc<Prepared>) {
    it.engine.close().unwrap();
}

fn prepare(it: &Prepared) -> u64 {
    let topic = it.engine.topic("a").unwrap();
    let target = Target { topic: topic.id(), name: "a", partition: PartitionId::new(0) };
    let records = vec![Kept { target, record: Record::new("x") }];
    it.prepare(&Arc::from("n"), records, Durability::Process).unwrap()
}

/// Ends of so many transactions, a second apart; their sequences in that order.
fn end(world: &World, it: &Prepared, count: u64) -> Vec<u64> {
    let end_one = |number| {
        let sequence = prepare(it);
        let outcome = [Outcome::RolledBack, Outcome::Committed][usize::from(number % 5 == 0)];
        it.resolve(sequence, outcome).unwrap();
        world.clock.advance(SECOND);
        sequence
    };
    (0..count).map(end_one).collect()
}

fn is_remembered(it: &Prepared, sequence: u64) -> bool {
    matches!(it.state.lock().get(sequence), Known::Ended(_))
}

/// Whose outcomes lie in the log, and have no tombstone.
fn in_log(it: &Prepared) -> BTreeSet<u64> {
    let mut all = BTreeSet::new();
    let take = |record: Replayed<'_>| {
        if let Some(Ok(Key::Transaction(sequence))) = record.key.map(Key::parse) {
            match record.value.map(Value::parse) {
                Some(Ok(Value::Ended(_))) => drop(all.insert(sequence)),
                _ => drop(all.remove(&sequence)),
            }
        }
    };
    it.log.replay(take).unwrap();
    all
}

#[test]
fn after_an_open_the_oldest_outcomes_are_forgotten_first_whosever_partition_they_are_in() {
    let world = in_memory();
    let it = world.open(100);
    let ended = end(&world, &it, 20);
    let late = prepare(&it); // it has a smaller number than those before whom it is remembered
    let between = end(&world, &it, 3);
    it.resolve(late, Outcome::RolledBack).unwrap();
    close(it);
    let it = world.open(8);
    let last: BTreeSet<u64> = ended[16..].iter().chain(&between).chain([&late]).copied().collect();
    for sequence in ended.iter().chain(&between).chain([&late]) {
        assert_eq!(is_remembered(&it, *sequence), last.contains(sequence), "{sequence:x}");
    }
}

#[test]
fn a_clock_that_was_set_back_has_no_outcome_forgotten_before_its_time() {
    let world = in_memory();
    let it = world.open(100);
    let before = end(&world, &it, 8);
    world.clock.set_wall(Timestamp::from_millis(1_600_000_000_000));
    let behind = end(&world, &it, 8);
    assert!(before.iter().chain(&behind).all(|sequence| is_remembered(&it, *sequence)));
    close(it);
    let it = world.open(8);
    let mut remembered = 0;
    for partition in 0..PARTITIONS {
        let all = before.iter().chain(&behind);
        let own = all.filter(|it| partition_of(**it) == PartitionId::new(partition));
        let own = own.map(|sequence| is_remembered(&it, *sequence));
        let last: Vec<bool> = own.skip_while(|is_remembered| !is_remembered).collect();
        assert!(last.iter().all(|is_remembered| *is_remembered), "of {partition} an older one");
        remembered += last.len();
    }
    assert_eq!(remembered, 8);
    let new = end(&world, &it, 8);
    assert!(new.iter().all(|sequence| is_remembered(&it, *sequence)), "the last ones");
}

#[test]
fn what_is_forgotten_while_its_lane_is_in_use_leaves_the_log_in_this_life() {
    let world = in_memory();
    let it = world.open(2);
    let old = end(&world, &it, 2);
    let other = prepare(&it);
    assert_ne!(partition_of(other), partition_of(old[0]));
    let turn = it.lane(old[0]).turn.lock(); // somebody else resolves there
    it.resolve(other, Outcome::Committed).unwrap();
    drop(turn);
    assert!(!is_remembered(&it, old[0]) && in_log(&it).contains(&old[0]));
    let later = end(&world, &it, 8); // in every lane
    assert_eq!(in_log(&it).into_iter().filter(|it| *it < later[0]).count(), 0);
}

/// A resolution that took all along would be too large in the end, and never succeed.
#[test]
fn what_many_lives_have_forgotten_leaves_the_log_in_portions() {
    let world = in_memory();
    let it = world.open(usize::MAX);
    let count = (MOST_GONE + 40) as u64 * 4;
    end(&world, &it, count);
    close(it);
    let it = world.open(1);
    let left = |it: &Prepared| -> Vec<usize> {
        it.lanes.iter().map(|lane| lane.forgotten.lock().len()).collect()
    };
    assert_eq!(left(&it).iter().sum::<usize>() as u64, count - 1);
    end(&world, &it, 4);
    assert!(left(&it).iter().all(|left| (39..=41).contains(left)), "{:?}", left(&it));
    end(&world, &it, 8);
    assert!(in_log(&it).len() <= 5, "{:?}", in_log(&it));
}

#[test]
#[cfg(feature = "sim")]
fn what_is_forgotten_while_a_commit_is_in_doubt_leaves_the_log_in_this_life() {
    use crate::disk::{Fault, Operation, Plan, SimDisk};
    let mut settled = 0;
    for nth in 1..=20 {
        let disk = SimDisk::new(nth);
        let world = World::new(Arc::new(disk.clone()));
        let it = world.open(2);
        let old = end(&world, &it, 2);
        let (doubtful, other) = loop {
            // in the lane of the first that is forgotten, and in another one
            let (one, two) = (prepare(&it), prepare(&it));
            if partition_of(one) == partition_of(old[0]) {
                break (one, two);
            }
        };
        disk.fail(Plan::new(Fault::Error(5)).on(Operation::Sync).nth(nth));
        let told = it.resolve(doubtful, Outcome::Committed);
        disk.heal();
        let is_in_doubt = it.lane(doubtful).turn.lock().in_doubt.is_some();
        assert!(!is_in_doubt || told.unwrap_err().outcome() == crate::error::Outcome::Unknown);
        if !is_in_doubt || it.resolve(other, Outcome::RolledBack).is_err() {
            continue;
        }
        assert!(!is_remembered(&it, old[0]) && in_log(&it).contains(&old[0]));
        let mut told = it.resolve(doubtful, Outcome::Committed);
        for _ in 0..60 {
            if told.is_ok() {
                break;
            }
            world.clock.advance(10 * SECOND);
            it.engine.run_due();
            told = it.resolve(doubtful, Outcome::Committed);
        }
        if told.is_err() {
            continue;
        }
        settled += 1;
        end(&world, &it, 8);
        assert!(!in_log(&it).contains(&old[0]), "sync {nth}");
    }
    assert!(settled > 0);
}

/// The tombstone of what was asked goes with the outcome: what lay behind it would stay for ever.
#[test]
#[cfg(feature = "sim")]
fn what_was_asked_is_not_noted_while_a_commit_is_in_doubt() {
    use crate::disk::{Fault, Operation, Plan, SimDisk};
    let mut settled = 0;
    for nth in 1..=20 {
        let disk = SimDisk::new(nth);
        let world = World::new(Arc::new(disk.clone()));
        let it = world.open(9);
        let sequence = prepare(&it);
        disk.fail(Plan::new(Fault::Error(5)).on(Operation::Sync).nth(nth));
        let _ = it.resolve(sequence, Outcome::Committed);
        disk.heal();
        if it.lane(sequence).turn.lock().in_doubt.is_none() {
            continue;
        }
        let _ = it.record_questions(sequence, Questions { asked: 3, is_parked: false });
        let is_settled = (0..60).any(|_| {
            world.clock.advance(10 * SECOND);
            it.engine.run_due();
            it.resolve(sequence, Outcome::Committed).is_ok()
        });
        if !is_settled {
            continue;
        }
        settled += 1;
        let mut is_noted = false;
        let take = |record: Replayed<'_>| {
            if record.key == Some(&Key::Questions(sequence).encode()[..]) {
                is_noted = record.value.is_some();
            }
        };
        it.log.replay(take).unwrap();
        assert!(!is_noted, "sync {nth}");
    }
    assert!(settled > 0, "the control");
}

/// The process was killed between the outcome and its sync, or that failed: it lies in the log, and
/// may not stay there.
#[test]
#[cfg(feature = "sim")]
fn a_roll_back_that_is_said_again_is_durable_too() {
    use crate::disk::{Crash, SimDisk};
    let disk = SimDisk::new(3);
    let world = World::new(Arc::new(disk.clone()));
    let it = world.open(9);
    let sequence = prepare(&it);
    it.log.make_durable(partition_of(sequence)).unwrap();
    let changes = Changes::new(sequence, Outcome::RolledBack, &[]).unwrap();
    it.log.append(partition_of(sequence), &changes.all(), Durability::Process).unwrap();
    let killed = disk.kill();
    let world = World { disk: Arc::new(killed.clone()), clock: world.clock };
    let it = world.open(9);
    it.resolve(sequence, Outcome::RolledBack).unwrap();
    let world = World { disk: Arc::new(killed.crash(Crash::Nothing)), clock: world.clock };
    let it = world.open(9);
    let refused = it.resolve(sequence, Outcome::Committed).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AlreadyResolved);
}

fn flip(world: &World, partition: PartitionId, position: u64) {
    let path = format!("/store/__prepared-{partition}/00000000000000000000.log");
    let file = world.disk.open(Path::new(&path), Access::Write).unwrap();
    let mut byte = [0];
    file.read_at(&mut byte, position).unwrap();
    file.write_at(&[byte[0] ^ 0xff], position).unwrap();
}

#[test]
fn one_that_is_damaged_is_listed_without_records_and_hides_no_other() {
    let world = in_memory();
    let it = world.open(9);
    let all: Vec<u64> = (0..3).map(|_| prepare(&it)).collect();
    flip(&world, partition_of(all[1]), 80);
    let listed = it.list(None, 9).unwrap();
    let seen: Vec<_> = listed.iter().map(|it| (it.id().get(), it.is_damaged())).collect();
    assert_eq!(seen, [(all[0], false), (all[1], true), (all[2], false)]);
    assert_eq!(listed.iter().map(|it| it.records().len()).collect::<Vec<_>>(), [1, 0, 1]);
    let refused = it.resolve(all[1], Outcome::Committed).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    it.resolve(all[1], Outcome::RolledBack).unwrap();
    assert_eq!(it.list(None, 9).unwrap().len(), 2);
}

#[test]
fn one_that_is_resolved_while_it_is_listed_is_left_out_and_damages_nothing() {
    let world = in_memory();
    let it = world.open(9);
    let sequence = prepare(&it);
    let Known::Pending(pending) = it.state.lock().get(sequence) else { panic!("it is") };
    it.resolve(sequence, Outcome::RolledBack).unwrap();
    // as if compaction had taken it: another record lies where the listing looks
    let pending = Pending { offset: pending.offset.next(), ..pending };
    assert!(it.view(sequence, &pending).unwrap().is_none());
}
