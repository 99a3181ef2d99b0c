//! Partitions that their host leads: in a backup, and where a truncation has failed.

use super::*;
use crate::config::Leadership;
use crate::engine::Watch;
use crate::ids::LeaderEpoch;
use crate::log::Sharing;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn host_led(engine: &Engine, partitions: u32) -> Arc<Topic> {
    let config = TopicConfig::new().partitions(partitions);
    let new = [NewTopic { name: "led", config, internal: false }];
    engine.create_topics_led(&new, Leadership::HostLed).unwrap().remove(0)
}

fn lead(partition: &Partition, epoch: i32, value: &str) -> Result<Offset> {
    let records = [Record::new(value)];
    let batch = BorrowedBatch::measure(&records, &partition.batch_rules(NOW)?)?;
    let appended = partition.append_as_leader(LeaderEpoch::new(epoch), &batch, NOW)?;
    Ok(appended.base_offset)
}

#[test]
fn a_backup_keeps_who_leads_and_how_far_it_is_replicated() {
    let disk = memory();
    let engine = engine(&disk);
    let topic = host_led(&engine, 2);
    let led = topic.partitions()[1].clone();
    led.become_leader(LeaderEpoch::new(4)).unwrap();
    for value in ["a", "b", "c"] {
        lead(&led, 4, value).unwrap();
    }
    led.set_high_watermark(Offset::new(2)).unwrap();
    engine.backup(Path::new("/copy"), Sharing::Nothing, &Watch::default()).unwrap();
    let copy = Engine::open(options(disk.clone()), Path::new("/copy")).unwrap();
    let topic = copy.topic("led").unwrap();
    for partition in topic.partitions().iter() {
        assert_eq!(partition.leadership().unwrap(), Leadership::HostLed, "{}", partition.id());
    }
    let offsets = topic.partitions()[1].offsets().unwrap();
    assert_eq!((offsets.end.get(), offsets.high_watermark().get()), (3, 2));
}

#[test]
fn a_backup_within_its_store_is_refused_however_its_path_is_put() {
    let disk = memory();
    let engine = engine(&disk);
    for target in ["/store/copy", "/other/../store/copy", "/store/../store/copy", "/x/.."] {
        let refused = engine.backup(Path::new(target), Sharing::Nothing, &Watch::default());
        let kind = refused.map_err(|error| error.kind());
        assert_eq!(kind.err(), Some(ErrorKind::InvalidArgument), "{target}");
    }
    engine.backup(Path::new("/store/../copy"), Sharing::Nothing, &Watch::default()).unwrap();
}

#[cfg(feature = "sim")]
mod failing {
    use super::*;
    use crate::disk::{Fault, Operation, Plan, SimDisk};
    use crate::error::Outcome;
    use crate::log::{Durable, LeaderBatches};
    use crate::record::one_batch;

    fn follow(engine: &Engine, partition: &Arc<Partition>, base: i64) -> Result<Offset> {
        let bytes = one_batch(base, 1, b"a leader's", NOW.as_millis());
        engine.append_as_follower(partition, &LeaderBatches::check(&bytes)?, NOW)
    }

    fn on(sim: &SimDisk) -> Arc<Engine> {
        engine(&(Arc::new(sim.clone()) as Arc<dyn Disk>))
    }

    #[test]
    fn a_partition_of_a_hosts_stays_poisoned_while_nothing_can_be_recorded_of_it() {
        let mut poisoned = 0;
        for nth in 1..16 {
            let sim = SimDisk::new(nth);
            let engine = on(&sim);
            let partition = host_led(&engine, 1).partitions()[0].clone();
            partition.become_leader(LeaderEpoch::new(3)).unwrap();
            lead(&partition, 3, "a").unwrap();
            sim.fail(Plan::new(Fault::Error(5)).on(Operation::Sync).nth(nth));
            let cut = engine.truncate_fully_and_start_at(&partition, Offset::new(1_000));
            sim.heal();
            if cut.is_ok() || engine.keeper().unwrap().record(&[], Durable::Now).is_ok() {
                continue;
            }
            poisoned += 1;
            let refused = engine.reopen(&partition).unwrap_err();
            assert!(refused.is_poisoned(), "sync {nth}: {refused}");
            let refused = lead(&partition, 9, "b").unwrap_err();
            assert!(refused.is_poisoned(), "sync {nth}: {refused}");
        }
        assert!(poisoned > 0, "the control");
    }

    /// A truncation has recorded that there are no gaps above the cut before it failed.
    #[test]
    fn a_gap_behind_a_cut_that_failed_is_recorded_anew() {
        let mut reopened = [0; 2];
        for nth in 1.. {
            let sim = SimDisk::new(nth);
            let engine = on(&sim);
            let partition = host_led(&engine, 1).partitions()[0].clone();
            for base in [0, 1, 50, 51] {
                follow(&engine, &partition, base).unwrap();
            }
            let before = sim.operations();
            sim.fail(Plan::new(Fault::Error(5)).nth(nth));
            let cut = engine.truncate_to(&partition, Offset::new(2));
            if before + nth > sim.operations() {
                break; // it makes fewer calls
            }
            sim.heal();
            if !matches!(cut, Err(error) if error.outcome() == Outcome::Unknown) {
                continue;
            }
            if !matches!(engine.reopen(&partition), Ok(Some(_))) {
                continue; // the state log has failed
            }
            let end = partition.offsets().unwrap().end.get();
            reopened[usize::from(end > 2)] += 1;
            let base = if end == 2 { 40 } else { end };
            follow(&engine, &partition, base).unwrap();
            let killed = on(&sim.kill());
            let partition = killed.topic("led").unwrap().partitions()[0].clone();
            let reports = killed.open_report().partitions();
            let hurt: usize =
                reports.iter().map(|it| it.damage().len() + it.torn_tails().len()).sum();
            let found = (partition.offsets().unwrap().end.get(), hurt);
            assert_eq!(found, (base + 1, 0), "call {nth}, {end} after it: {reports:?}");
        }
        assert!(reopened[0] > 0, "the control: {reopened:?}");
    }

    /// The epoch is drawn, which takes a sync, and then the partition changes hands: what a leader
    /// of the host's appends in between is below what the store appends afterwards.
    #[test]
    fn a_partition_that_leads_itself_again_begins_above_a_leader_that_came_last() {
        let sim = SimDisk::new(1);
        let engine = on(&sim);
        let partition = host_led(&engine, 1).partitions()[0].clone();
        lead(&partition, 3, "a").unwrap();
        sim.fail(Plan::new(Fault::Hang).on(Operation::Sync));
        std::thread::scope(|scope| {
            let handed = scope.spawn(|| engine.set_leadership(&partition, Leadership::SelfLed));
            while !sim.is_hanging() {
                std::thread::yield_now();
            }
            lead(&partition, 9, "b").unwrap();
            sim.heal();
            handed.join().unwrap().unwrap();
        });
        append(&partition, "c", Durability::Process).unwrap();
        let epochs = partition.leader_epochs().unwrap();
        let at: Vec<_> = epochs.iter().map(|(_, at)| at.get()).collect();
        assert_eq!(at, [0, 1, 2], "{epochs:?}");
        assert!(epochs[2].0 > LeaderEpoch::new(9), "{epochs:?}");
    }

    /// Lets `beside` run while `work` waits for its `nth` sync; whether it ended before that did.
    fn beside_sync<T: Send>(
        (sim, nth): (&SimDisk, u64),
        work: impl FnOnce() -> T + Send,
        beside: impl FnOnce() + Send,
    ) -> (T, bool) {
        sim.fail(Plan::new(Fault::Hang).on(Operation::Sync).nth(nth));
        std::thread::scope(|scope| {
            let work = scope.spawn(work);
            while !sim.is_hanging() {
                std::thread::yield_now();
            }
            let beside = scope.spawn(beside);
            let long = std::time::Instant::now() + std::time::Duration::from_millis(500);
            while !beside.is_finished() && std::time::Instant::now() < long {
                std::thread::yield_now();
            }
            let ended = beside.is_finished();
            sim.heal();
            beside.join().unwrap();
            (work.join().unwrap(), ended)
        })
    }

    /// Both ways: what is appended while the change is recorded, which takes a sync.
    #[test]
    fn whoever_appends_does_not_wait_while_a_change_of_leadership_is_recorded() {
        let sim = SimDisk::new(1);
        let engine = on(&sim);
        let partition = create(&engine, "orders", TopicConfig::new()).partitions()[0].clone();
        let hand = |leadership| engine.set_leadership(&partition, leadership);
        let (handed, ended) = beside_sync(
            (&sim, 1),
            || hand(Leadership::HostLed),
            || {
                append(&partition, "a", Durability::Process).unwrap();
            },
        );
        handed.unwrap();
        assert!(ended, "it waited");
        assert_eq!(partition.offsets().unwrap().high_watermark().get(), 1, "it was seen");
        append(&partition, "b", Durability::Process).unwrap_err();
        // the first sync is that of the epoch, and a leader has reached it before it holds
        lead(&partition, 3, "b").unwrap();
        let (handed, ended) = beside_sync(
            (&sim, 2),
            || hand(Leadership::SelfLed),
            || {
                lead(&partition, 9, "c").unwrap();
            },
        );
        handed.unwrap();
        assert!(ended, "it waited");
        append(&partition, "d", Durability::Process).unwrap();
        let epochs = partition.leader_epochs().unwrap();
        assert!(epochs.is_sorted() && epochs.last().unwrap().0.get() > 9, "{epochs:?}");
        let killed = on(&sim.kill());
        let partition = killed.topic("orders").unwrap().partitions()[0].clone();
        assert_eq!(partition.leadership().unwrap(), Leadership::SelfLed);
        assert_eq!(records(&partition).len(), 4);
    }

    /// The reopening puts a new writer in place, which knows who led the log when it began.
    #[test]
    fn a_partition_that_changes_hands_beside_a_reopening_is_led_as_was_said_last() {
        let sim = SimDisk::new(1);
        let engine = on(&sim);
        let partition = create(&engine, "orders", TopicConfig::new()).partitions()[0].clone();
        append(&partition, "a", Durability::Power).unwrap();
        sim.fail(Plan::new(Fault::Error(5)).on(Operation::Sync));
        append(&partition, "b", Durability::Power).unwrap_err();
        sim.heal();
        let (reopened, _) = beside_sync(
            (&sim, 2), // the first is that of the epoch
            || engine.reopen(&partition),
            || engine.set_leadership(&partition, Leadership::HostLed).unwrap(),
        );
        assert!(reopened.unwrap().is_some());
        assert_eq!(partition.leadership().unwrap(), Leadership::HostLed);
        lead(&partition, 99, "c").unwrap();
        append(&partition, "d", Durability::Process).unwrap();
        let refused = engine.set_leadership(&partition, Leadership::SelfLed);
        refused.unwrap();
        append(&partition, "e", Durability::Process).unwrap();
    }

    /// A directory whose sync has failed may have lost its names, whatever the next sync says.
    #[test]
    fn a_partition_that_began_with_a_truncation_that_failed_promises_nothing_it_may_lose() {
        let mut failed = [0; 2];
        for (at, operation) in [Operation::Sync, Operation::SyncDir].into_iter().enumerate() {
            for nth in 1.. {
                let sim = SimDisk::new(nth);
                let engine = on(&sim);
                let partition = host_led(&engine, 1).partitions()[0].clone();
                sim.fail(Plan::new(Fault::Error(5)).on(operation).nth(nth));
                let cut = engine.truncate_fully_and_start_at(&partition, Offset::new(100));
                sim.heal();
                let Err(error) = cut else { break };
                failed[at] += 1;
                let again = engine.truncate_fully_and_start_at(&partition, Offset::new(100));
                assert!(again.is_err(), "{operation:?} {nth}, and then again: {error}");
                let sent = lead(&partition, 3, "a");
                let durable = sent.and_then(|at| partition.make_durable(at.next()));
                let promised = durable.is_ok().then(|| records(&partition));
                let after = on(&sim.crash(crate::disk::Crash::Nothing));
                let partition = after.topic("led").unwrap().partitions()[0].clone();
                let hurt = after.open_report().partitions().iter().map(|it| it.damage().len());
                assert_eq!(hurt.sum::<usize>(), 0, "{operation:?} {nth}: {error}");
                if let Some(promised) = promised {
                    assert_eq!(records(&partition), promised, "{operation:?} {nth}: {error}");
                }
            }
        }
        assert!(failed.iter().all(|failed| *failed > 1), "the control: {failed:?}");
    }
}

/// Each draws an epoch, and the one that is drawn later may cut first.
#[test]
fn epochs_rise_whichever_of_two_truncations_is_made_first() {
    let disk = memory();
    let engine = engine(&disk);
    let partition = create(&engine, "orders", TopicConfig::new()).partitions()[0].clone();
    for _ in 0..4 {
        append(&partition, "a", Durability::Process).unwrap();
    }
    let highest = std::sync::Mutex::new(LeaderEpoch::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let end = partition.offsets().unwrap().end;
                    let target = Offset::new((end.get() - 1).max(0));
                    engine.truncate_to(&partition, target).unwrap();
                    let mut highest = highest.lock().unwrap();
                    for value in ["b", "c"] {
                        // others may cut it off again, and its epoch with it
                        let own = appended(&partition, value, Durability::Process).unwrap().epoch;
                        assert!(own >= *highest, "{own} after {highest:?}");
                        *highest = own;
                    }
                }
            });
        }
    });
}
