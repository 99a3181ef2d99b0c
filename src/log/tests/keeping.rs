//! What a lone log records of itself, and when it must not any more.

use super::*;
use crate::disk::names::KEEPER;
use crate::log::keeper::{Durable, LogFact};

fn open(disk: &Arc<dyn Disk>) -> Log {
    Log::builder("/log").disk(disk.clone()).open().unwrap()
}

/// Its directory may be another process's by then.
#[test]
fn nothing_is_recorded_of_a_log_that_was_closed() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let log = open(&disk);
    log.append(&[Record::new("a"), Record::new("b")]).unwrap();
    log.close().unwrap();
    let kept = || {
        let file = disk.open(&Path::new("/log").join(KEEPER), Access::Read).unwrap();
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        read_full_at(&*file, &mut bytes, 0).unwrap();
        bytes
    };
    let before = kept();
    let late = (log.log.id(), LogFact::LogStart(Offset::new(1)));
    for durable in [Durable::Now, Durable::Later] {
        let refused = log.keeper.record(&[late], durable).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Closed, "{refused}");
    }
    assert_eq!(kept(), before);
}

/// A sync that comes behind one that failed proves nothing, whoever asked for it before.
#[test]
#[cfg(feature = "sim")]
fn whoever_waits_to_record_while_a_sync_fails_is_told() {
    use crate::disk::{Fault, Operation, Plan, SimDisk};
    let sim = SimDisk::new(1);
    let log = open(&(Arc::new(sim.clone()) as Arc<dyn Disk>));
    sim.fail(Plan::new(Fault::Hang));
    sim.fail(Plan::new(Fault::Error(5)).on(Operation::Sync));
    let record = || log.keeper.update(Durable::Now, |slot| slot.log_start = Offset::ZERO);
    std::thread::scope(|scope| {
        let first = scope.spawn(record);
        while !sim.is_hanging() {
            std::thread::yield_now();
        }
        let second = scope.spawn(record);
        std::thread::sleep(Duration::from_millis(50)); // it has come to where it waits
        sim.heal();
        assert!(first.join().unwrap().is_err());
        let second = second.join().unwrap();
        assert!(second.as_ref().is_err_and(crate::error::Error::is_poisoned), "{second:?}");
    });
}

/// It is the log that makes its directory, and those above it.
#[test]
#[cfg(feature = "sim")]
fn a_log_in_a_directory_of_new_ones_is_there_after_a_power_cut() {
    use crate::config::Durability;
    use crate::disk::{Crash, SimDisk};
    let sim = SimDisk::new(1);
    let open = |sim: SimDisk| Log::builder("/a/b/log").disk(Arc::new(sim)).open().unwrap();
    let log = open(sim.clone());
    log.append_with(&[Record::new("paid")], Durability::Power).unwrap();
    let log = open(sim.crash(Crash::Nothing));
    assert_eq!(log.end_offset(), Offset::new(1));
}

#[test]
fn gaps_are_allowed_where_they_may_have_been_made_and_nowhere_else() {
    let at = Offset::new;
    let ours = facts(0, LastStop::PowerCut);
    let compacted = KnownFacts { compacted: at(10), ..ours };
    for (next, allowed) in [(9, true), (10, true), (11, false)] {
        assert_eq!(compacted.allows_gap(at(3), at(next)), allowed, "compacted, to {next}");
    }
    let far = super::super::keeper::FAR.cast_signed();
    let sparse = KnownFacts { sparse: at(far + 10), ..ours };
    for (end, next, is_far) in [
        (10, far + 10, true),
        (11, far + 10, false), // it lies within a segment
        (9, far + 10, true),
        (10, far + 11, false),
    ] {
        assert_eq!(sparse.is_far(at(end), at(next)), is_far, "{end} to {next}");
        assert_eq!(sparse.allows_gap(at(end), at(next)), is_far, "{end} to {next}");
    }
    let adopted = KnownFacts { adopted: true, ours_from: Some(at(7)), ..ours };
    for (end, allowed) in [(6, true), (7, false), (8, false)] {
        assert_eq!(adopted.allows_gap(at(end), at(20)), allowed, "adopted, from {end}");
    }
    assert!(KnownFacts { ours_from: None, ..adopted }.allows_gap(at(8), at(20)));
}
