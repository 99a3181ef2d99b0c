//! What is made of a lone log's slot: how its last open stopped, and what that promises.

use super::*;
use crate::ids::LeaderEpoch;

const BOOT: [u8; 16] = [9; 16];

fn slot() -> Slot {
    Slot {
        topic: TopicId::random(),
        recovery_point: Offset::new(7),
        log_start: Offset::new(3),
        epoch: LeaderEpoch::new(2),
        clean: false,
        adopted: false,
        sparse: false,
        sync_failed: false,
        boot_id: BOOT,
        host_led: None,
    }
}

fn facts_of(slot: Slot) -> KnownFacts {
    known_facts(Some(slot), &Kafkas::default(), slot.adopted, BOOT)
}

/// The page cache has what was written before a kill, and nothing from before a restart.
#[test]
fn a_slot_without_a_close_tells_a_kill_from_a_power_cut_by_the_boot() {
    let clean = Slot { clean: true, ..slot() };
    let other_boot = |slot: Slot| Slot { boot_id: [8; 16], ..slot };
    for (slot, stop) in [
        (clean, LastStop::Clean),
        (other_boot(clean), LastStop::Clean),
        (slot(), LastStop::KilledSameBoot),
        (other_boot(slot()), LastStop::PowerCut),
    ] {
        assert_eq!(facts_of(slot).last_stop, stop, "{slot:?}");
    }
}

/// In a log that another hand has written to as well, nothing may be missing behind where an open
/// of ours ended.
#[test]
fn what_is_missing_is_held_against_a_slot_that_knows_from_where_on_all_is_ours() {
    let ours_from = |slot: Slot| facts_of(slot).ours_from.map(Offset::get);
    let adopted = Slot { adopted: true, ..slot() };
    assert_eq!(ours_from(adopted), Some(7));
    assert_eq!(
        ours_from(Slot { clean: true, ..adopted }),
        None,
        "its close has a point of its own"
    );
    let sparse = Slot { sparse: true, ..adopted };
    assert_eq!(ours_from(sparse), None, "its leader may leave out more");
    assert_eq!(ours_from(Slot { clean: true, ..sparse }), None);
    assert!(facts_of(Slot { adopted: false, ..sparse }).adopted, "gaps are no damage");
}
