//! Syncs that lie, that hang, and the one that failed and whose next says Ok (row 11 of
//! `docs/reliability.md`).
//!
//! A device that lies about its syncs may lose what was promised; what is left is still whole, in
//! order, and opens. A sync that hangs acknowledges nothing and holds up nobody else.

use std::time::Duration;

use tidelog::Durability::{Power, Process};
use tidelog::Record;
use tidelog::disk::{Crash, Fault, Operation, Plan, SimDisk};

use crate::common::budget::{for_each_seed, seeds};
use crate::common::crew::{each, portion};
use crate::common::suite::Suite;
use crate::points::{losses_on_a_lying_disk, mix};
use crate::runs::Run;
use crate::scenarios::{MODES, SCENARIOS};
use crate::stage::{Setup, Stage, open_store, small};
use crate::verdict::{self, Promise};

#[test]
fn a_disk_that_lies_loses_records_and_nothing_else() {
    let suite = Suite::new("lying-syncs");
    let appends = ["append-power", "roll", "batches", "log-append", "log-roll"];
    let scenarios = SCENARIOS.iter().filter(|one| appends.contains(&one.name));
    let plays = portion(scenarios.flat_map(|one| MODES.map(|mode| (one, mode))));
    each(&plays, |(scenario, mode)| {
        for nth in 1..30 {
            let stage = scenario.stage(*mode);
            stage.disk.fail(Plan::new(Fault::Lie).on(Operation::Sync).nth(nth));
            let run = Run::on(scenario, *mode, stage);
            let last = run.moments.last().expect("the end");
            for choice in 0..3 {
                let mut disk = last.crash(Crash::Random(mix(nth + (choice << 8))));
                suite.state((&run.name, nth), disk.image_hash());
                let found = run.look(&mut disk);
                // a lost name of the store itself, or what lay below a recovery point: said aloud
                let Ok(found) = found else { continue };
                let (_, model) = run.model(last);
                if let Err(error) = model.without_promises().check(&found, Promise::Power) {
                    suite.fail(error, format!("{}, sync {nth} lies, {choice}", run.name));
                }
            }
        }
    });
    suite.control(losses_on_a_lying_disk());
    suite.end();
}

/// The pages read new, the disk holds old, and the next sync says Ok.
#[test]
fn a_sync_that_failed_is_never_made_good_by_the_next() {
    let suite = Suite::new("failed-syncs");
    let test = "lies::a_sync_that_failed_is_never_made_good_by_the_next";
    for_each_seed("crashes", test, seeds(60, 600, 20_000), |seed| {
        let disk = SimDisk::new(seed);
        disk.set_mode(MODES[usize::from(seed % 2 == 0)]);
        let mut stage = Stage::new(disk);
        stage.goes_on = true;
        stage.open();
        stage.create("a", 1, small());
        stage.send("a", 0, 1 + u32::try_from(seed % 3).unwrap(), Power);
        let nth = 1 + mix(seed) % 3;
        stage.disk.fail(Plan::new(Fault::Error(5)).on(Operation::Sync).nth(nth));
        for _ in 0..6 {
            stage.send("a", 0, 2, Process);
            stage.send("a", 0, 1, Power);
            stage.wait(Duration::from_secs(31));
        }
        suite.control(stage.failures);
        // in the same boot the next process reads the new pages; then the power goes
        let killed =
            if seed % 4 < 2 { stage.disk.kill() } else { stage.disk.crash(Crash::Nothing) };
        stage.door = crate::stage::Door::Shut;
        suite.state(seed, promise_anew(&killed));
    });
    suite.end();
}

/// Opens, promises a record and cuts the power: it is there, and all that lay below it. Returns a
/// hash of what the cut left.
fn promise_anew(disk: &SimDisk) -> u64 {
    let setup = Setup::default();
    let door = verdict::open(disk, &setup).unwrap_or_else(|error| panic!("{error}"));
    let crate::stage::Door::Store(store) = &door else { unreachable!("a store") };
    let producer = store.producer().durability(Power).build().expect("a producer");
    let receipt = producer.topic("a").expect("it").send(Record::new("after"));
    let receipt = receipt.expect("a fresh open vouches anew").offset().get();
    let before = verdict::read(&door, &[]).unwrap_or_else(|error| panic!("{error}"));
    let after = disk.crash(Crash::Nothing);
    drop(door);
    let image = after.image_hash();
    let door = verdict::open(&after, &setup).unwrap_or_else(|error| panic!("{error}"));
    let found = verdict::read(&door, &[]).unwrap_or_else(|error| panic!("{error}"));
    let (was, is) = (&before.topics["a"].partitions[0], &found.topics["a"].partitions[0]);
    assert_eq!(is.end, receipt + 1, "what was promised after the failure is there");
    assert!(is.records == was.records, "and all that lay below it");
    drop(after.kill());
    drop(door);
    image
}

/// The failure could not be recorded either. The next process, in the same boot, knows nothing of
/// it: it writes again what it finds before a sync of its own may vouch for it.
#[test]
fn a_sync_that_failed_unrecorded_is_never_made_good_by_the_next() {
    let mut stage = Stage::new(SimDisk::new(1));
    stage.goes_on = true;
    stage.open();
    stage.create("a", 1, small());
    stage.send("a", 0, 1, Power);
    stage.send("a", 0, 1, Process);
    for plan in [
        Plan::new(Fault::Error(5)).on(Operation::Sync).nth(1),
        Plan::new(Fault::Error(5)).on(Operation::Write).for_ever(),
    ] {
        stage.disk.fail(plan);
    }
    stage.send("a", 0, 1, Power);
    assert_eq!(stage.failures, 1, "it was felt");
    let killed = stage.disk.kill();
    stage.door = crate::stage::Door::Shut;
    promise_anew(&killed);
}

#[test]
fn a_sync_that_hangs_acknowledges_nothing_and_holds_up_nobody_else() {
    for mode in MODES {
        let disk = SimDisk::new(1);
        disk.set_mode(mode);
        let store = open_store(&disk, &verdict::later(), &Setup::default()).expect("opened");
        store.create_topic("a", small().partitions(2)).expect("created");
        let send = |partition, word| {
            let producer = store.producer().durability(word).build().expect("a producer");
            producer.topic("a").expect("it").send_to(partition, Record::new("v")).map(drop)
        };
        for partition in 0..2 {
            send(partition, Power).expect("sent");
        }
        disk.fail(Plan::new(Fault::Hang));
        let returned = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                send(0, Power).expect("once the disk is well");
                returned.store(true, std::sync::atomic::Ordering::Release);
            });
            while !disk.is_hanging() {
                std::thread::yield_now();
            }
            send(1, Process).expect("another partition");
            send(0, Process).expect("the same one, with the weaker word");
            assert!(!returned.load(std::sync::atomic::Ordering::Acquire), "no false promise");
            let end = store.describe("a").expect("it").partitions()[0].durable_offset().get();
            assert_eq!(end, 1);
            disk.heal();
        });
        assert!(returned.into_inner());
        let end = store.describe("a").expect("it").partitions()[0].durable_offset().get();
        assert_eq!(end, 2, "what was sent since that sync began is not its affair");
        let last = disk.crash(Crash::Nothing);
        drop(store);
        let found = verdict::open(&last, &Setup::default()).expect("opened");
        let found = verdict::read(&found, &[]).expect("read");
        assert!(found.topics["a"].partitions[0].end >= 2, "{mode:?}");
    }
}

/// The first leads a sync that hangs and fails; the others wait for the next, which there is none.
#[test]
fn a_sync_that_fails_fails_all_who_wait_for_it() {
    let disk = SimDisk::new(1);
    let store = open_store(&disk, &verdict::later(), &Setup::default()).expect("opened");
    store.create_topic("a", small()).expect("created");
    let producer = store.producer().durability(Power).build().expect("a producer");
    let topic = producer.topic("a").expect("it");
    topic.send(Record::new("first")).expect("sent");
    disk.fail(Plan::new(Fault::Hang).on(Operation::Sync));
    disk.fail(Plan::new(Fault::Error(5)).on(Operation::Sync));
    std::thread::scope(|scope| {
        let leader = scope.spawn(|| topic.send(Record::new("led")));
        while !disk.is_hanging() {
            std::thread::yield_now();
        }
        let others = [0; 4].map(|_| scope.spawn(|| topic.send(Record::new("waits"))));
        while store.describe("a").expect("it").partitions()[0].end_offset().get() < 6 {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(20)); // for the last one to begin waiting
        disk.heal();
        for sender in others.into_iter().chain([leader]) {
            let error = sender.join().expect("no panic").expect_err("it is not durable");
            assert!(!error.is_retriable(), "{error}");
        }
    });
    let end = store.describe("a").expect("it").partitions()[0].durable_offset().get();
    assert_eq!(end, 1);
}
