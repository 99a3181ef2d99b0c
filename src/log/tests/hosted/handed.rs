//! A log that changes hands, between its host and itself: under which epoch it goes on, what is
//! recorded of it, and what a leader in between has to say.

use super::*;

#[test]
fn leadership_of_ones_own_comes_with_an_epoch_above_the_hosts() {
    let (disk, log) = host_led();
    log.append_as_leader(epoch(41), &[Record::new("a")]).unwrap();
    log.set_leadership(Leadership::SelfLed).unwrap();
    assert!(log.append(&[Record::new("b")]).unwrap().epoch() > epoch(41));
    assert_eq!(log.high_watermark(), log.end_offset());
    log.set_leadership(Leadership::HostLed).unwrap();
    log.append_as_leader(epoch(i32::MAX), &[Record::new("c")]).unwrap();
    let used_up = log.set_leadership(Leadership::SelfLed).unwrap_err();
    assert_eq!(used_up.kind(), ErrorKind::Unsupported);
    log.close().unwrap();
    let log = open(&disk); // it opens all the same
    assert_eq!((log.end_offset().get(), offsets_of(&log)), (3, vec![0, 1]));
}

/// The epoch is drawn, which takes a sync, and then the log changes hands: a leader of the host's
/// that appends in between has the last word on how high that epoch has to be.
#[test]
#[cfg(feature = "sim")]
fn a_log_that_leads_itself_again_begins_above_a_leader_that_came_last() {
    use crate::disk::{Fault, Operation, Plan, SimDisk};
    let sim = SimDisk::new(1);
    let log = open(&(Arc::new(sim.clone()) as Arc<dyn Disk>));
    log.set_leadership(Leadership::HostLed).unwrap();
    log.append_as_leader(epoch(3), &[Record::new("a")]).unwrap();
    sim.fail(Plan::new(Fault::Hang).on(Operation::Sync));
    std::thread::scope(|scope| {
        let handed = scope.spawn(|| log.set_leadership(Leadership::SelfLed));
        while !sim.is_hanging() {
            std::thread::yield_now();
        }
        log.append_as_leader(epoch(9), &[Record::new("b")]).unwrap();
        sim.heal();
        handed.join().unwrap().unwrap();
    });
    assert_eq!(log.leadership().unwrap(), Leadership::SelfLed);
    let own = log.append(&[Record::new("c")]).unwrap().epoch();
    assert!(own > epoch(9), "{own}");
    let at = |number| Offset::new(number);
    let epochs = [(epoch(3), at(0)), (epoch(9), at(1)), (own, at(2))];
    assert_eq!(log.leader_epochs().unwrap(), epochs);
    log.append_as_leader(epoch(20), &[Record::new("d")]).unwrap_err();
}

/// That it leads itself was recorded when a leader of the host's that had the last epoch there is
/// came between: what is recorded says again what holds.
#[test]
#[cfg(feature = "sim")]
fn a_log_that_could_not_take_the_lead_after_all_is_its_hosts_at_the_next_open() {
    use crate::disk::{Crash, Fault, Operation, Plan, SimDisk};
    let sim = SimDisk::new(1);
    let log = open(&(Arc::new(sim.clone()) as Arc<dyn Disk>));
    log.set_leadership(Leadership::HostLed).unwrap();
    log.append_as_leader(epoch(3), &[Record::new("a")]).unwrap();
    sim.fail(Plan::new(Fault::Hang).on(Operation::Sync).nth(2)); // behind that of the drawing
    let handed = std::thread::scope(|scope| {
        let handed = scope.spawn(|| log.set_leadership(Leadership::SelfLed));
        while !sim.is_hanging() {
            std::thread::yield_now();
        }
        log.append_as_leader(epoch(i32::MAX), &[Record::new("b")]).unwrap();
        sim.heal();
        handed.join().unwrap()
    });
    assert_eq!(handed.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(log.leadership().unwrap(), Leadership::HostLed);
    let after: Arc<dyn Disk> = Arc::new(sim.crash(Crash::Everything));
    assert_eq!(open(&after).leadership().unwrap(), Leadership::HostLed);
}

#[test]
#[cfg(feature = "sim")]
fn a_log_that_could_draw_no_epoch_has_not_changed_hands_and_says_so() {
    use crate::disk::{Fault, Operation, Plan, SimDisk};
    use crate::error::Outcome;
    let sim = SimDisk::new(1);
    let log = open(&(Arc::new(sim.clone()) as Arc<dyn Disk>));
    log.set_leadership(Leadership::HostLed).unwrap();
    sim.fail(Plan::new(Fault::Error(5)).on(Operation::Sync));
    let refused = log.set_leadership(Leadership::SelfLed).unwrap_err();
    assert_eq!(refused.outcome(), Outcome::NotWritten, "{refused}");
    assert_eq!(refused.operation(), "draw leader epoch");
    assert_eq!(log.leadership().unwrap(), Leadership::HostLed);
}

/// Neither the epoch nor what readers may see changes with a word that says what is so already.
#[test]
fn a_leadership_that_is_set_again_changes_nothing() {
    let (log, _) = Bench::new().open(facts(0, LastStop::Clean));
    let set = |leadership, epoch| {
        let handed = log.set_leadership(leadership, epoch, |_| Ok(())).unwrap();
        assert_eq!(handed, HandedOver::Done);
    };
    append(&log, b"seen", 1).unwrap();
    set(Leadership::HostLed, None);
    log.become_leader(epoch(5)).unwrap();
    append(&log, b"not seen yet", 2).unwrap();
    let before = log.offsets().snapshot().high_watermark();
    assert_eq!(before.get(), 1, "the control");
    set(Leadership::HostLed, None);
    assert_eq!(log.offsets().snapshot().high_watermark(), before);
    append(&log, b"it leads still", 3).unwrap();
    for drawn in [7, 99] {
        set(Leadership::SelfLed, Some(epoch(drawn)));
        append(&log, b"its own", 4).unwrap();
        assert_eq!(log.latest_epoch(), Some(epoch(7)));
    }
}

/// A leader has reached its epoch meanwhile: the log is led as before, also after a stop.
#[test]
fn a_leadership_that_comes_too_late_is_not_recorded() {
    let (log, _) = Bench::new().open(facts(0, LastStop::Clean));
    let handed = log.set_leadership(Leadership::HostLed, None, |_| Ok(())).unwrap();
    assert_eq!(handed, HandedOver::Done);
    log.become_leader(epoch(5)).unwrap();
    for late in [None, Some(epoch(4)), Some(epoch(5))] {
        let handed = log.set_leadership(Leadership::SelfLed, late, |_| panic!("under {late:?}"));
        assert_eq!(handed.unwrap(), HandedOver::Overtaken);
    }
    assert_eq!(log.leadership(), Leadership::HostLed);
}

/// Records may have been lost that were read under the latest epoch.
#[cfg(feature = "sim")]
#[test]
fn a_replica_that_was_reopened_leads_under_a_higher_epoch_alone() {
    use crate::disk::{Fault, Operation, Plan, SimDisk};
    let sim = SimDisk::new(1);
    let log = open(&(Arc::new(sim.clone()) as Arc<dyn Disk>));
    log.set_leadership(Leadership::HostLed).unwrap();
    log.append_as_leader(epoch(2), &[Record::new("a")]).unwrap();
    log.flush().unwrap();
    log.append_as_leader(epoch(2), &[Record::new("b")]).unwrap();
    sim.fail(Plan::new(Fault::Error(5)).on(Operation::Sync));
    assert!(log.flush().is_err());
    sim.heal();
    log.reopen().unwrap().expect("it was poisoned");
    assert_eq!(log.append(&[Record::new("c")]).unwrap_err().kind(), ErrorKind::NotLeader);
    assert!(log.append_as_leader(epoch(2), &[Record::new("c")]).unwrap_err().is_fenced());
    log.append_as_leader(epoch(3), &[Record::new("c")]).unwrap();
}
