//! The hand-over under loom: every interleaving within the bound of members that release, acquire,
//! wait, commit and are expelled, over the very [`LiveGroup`] that ships.
//!
//! What stands in: the group's commit turn and its committed offset, which lie in the room of
//! files, are a lock and a number here, taken in the order in which `OffsetStore::commit_as` and
//! `OffsetStore::wait_for_commits` take theirs.
//!
//! Run with `.ci/loom`, and with more members under shuttle with `.ci/shuttle`.

use std::collections::BTreeSet;
use std::time::Duration;

use super::assign::StickyAssignor;
use super::identity::{MemberId, TopicPartition};
use super::live::{Began, LiveGroup, Next, Planned};
use super::membership::{Interest, Joining, KnownTopic, TopicList, Visibility};
use crate::ids::Generation;
use crate::ids::{PartitionId, TopicId};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::explore::{MANY_THREADS, breaks, model, thread};
use crate::sync::{Arc, Mutex};
use crate::wait::{Registration, Signal, WaitSet, Woken};

const ONE: MemberId = MemberId::new(1);
const TWO: MemberId = MemberId::new(2);
const INTERVAL: Duration = Duration::from_secs(1);

fn topic_id() -> TopicId {
    TopicId::from_bytes([7; 16]).expect("no reserved one")
}

/// A group over one partition of one topic.
fn group() -> LiveGroup {
    let known = KnownTopic {
        name: "orders".into(),
        id: topic_id(),
        partitions: 1,
        visibility: Visibility::Public,
    };
    LiveGroup::new(Generation::default(), std::sync::Arc::new(TopicList::new(1, [known])))
}

fn partition() -> [TopicPartition; 1] {
    [TopicPartition::new("orders", topic_id(), PartitionId::new(0))]
}

fn join(group: &LiveGroup, id: MemberId, signal: &Arc<Signal>) {
    let joining = Joining {
        id,
        instance: None,
        interest: Interest::Topics(BTreeSet::from(["orders".into()])),
        assignor: "sticky".into(),
        max_poll_interval: INTERVAL,
    };
    group.join(joining, signal, Duration::ZERO, false).value.expect("it may join");
}

fn plan(group: &LiveGroup) {
    let Some(mut rebalance) = group.begin_plan() else { return };
    while let Planned::Again(next) = group.finish_plan(rebalance.plan(&StickyAssignor::new())).value
    {
        rebalance = next;
    }
}

/// What a member's poll does of the hand-over; whether it has the partition after it.
fn look(group: &LiveGroup, id: MemberId) -> bool {
    plan(group);
    let mut next = group.next(id).expect("a member");
    if let Next::Revoke(going) = &next {
        let _ = group.release(id, going);
        next = group.next(id).expect("a member");
    }
    matches!(next, Next::Acquired(_))
}

/// A member that waits in a poll until the partition is its own.
fn wait_for_it(group: &LiveGroup, id: MemberId, set: &WaitSet, registration: &Registration) {
    assert_ne!(group.poll_began(id, Duration::ZERO).value, Began::Lost);
    let mut tokens = Vec::new();
    loop {
        set.arm(registration);
        if look(group, id) {
            break;
        }
        assert_eq!(set.wait(None), Woken::Ready);
        set.drain_ready(&mut tokens);
    }
    let _ = group.poll_ended(id, Duration::ZERO);
}

/// A lost wake-up shows as a deadlock: the second member sleeps for good.
#[test]
fn a_member_that_leaves_wakes_who_waits_for_its_partition() {
    model(3, || {
        let live = Arc::new(group());
        join(&live, ONE, &Arc::new(Signal::new()));
        assert!(look(&live, ONE));
        let signal = Arc::new(Signal::new());
        join(&live, TWO, &signal);
        let leaving = {
            let live = Arc::clone(&live);
            thread::spawn(move || {
                let _ = live.leave(ONE);
            })
        };
        let set = WaitSet::new();
        let registration = set.register(&signal, 0);
        wait_for_it(&live, TWO, &set, &registration);
        leaving.join().unwrap();
    });
}

/// Whether some execution has the second member about to sleep, untold, beside a free partition.
fn some_execution_sleeps_beside_it(looks_before_arming: bool) -> bool {
    breaks(3, move || {
        let live = Arc::new(group());
        join(&live, ONE, &Arc::new(Signal::new()));
        assert!(look(&live, ONE));
        let signal = Arc::new(Signal::new());
        join(&live, TWO, &signal);
        hand_to(&live, TWO);
        let releasing = {
            let live = Arc::clone(&live);
            thread::spawn(move || {
                let _ = live.release(ONE, &partition());
            })
        };
        let set = WaitSet::new();
        let registration = set.register(&signal, 0);
        let has_it = if looks_before_arming {
            let has_it = look(&live, TWO);
            set.arm(&registration);
            has_it
        } else {
            set.arm(&registration);
            look(&live, TWO)
        };
        releasing.join().unwrap();
        let mut tokens = Vec::new();
        set.drain_ready(&mut tokens);
        !has_it && tokens.is_empty()
    })
}

/// With its negative control: who looks before it arms misses a release, and loom finds it.
#[test]
fn who_arms_and_then_looks_does_not_sleep_beside_a_free_partition() {
    assert!(!some_execution_sleeps_beside_it(false));
    assert!(some_execution_sleeps_beside_it(true), "the look before the arming");
}

/// The partition goes from the first to the second, by a plan that the second makes: the first
/// stays and gives it up in its own poll.
#[test]
fn a_release_wakes_who_waits_for_it() {
    model(3, || {
        let live = Arc::new(group());
        let first = Arc::new(Signal::new());
        join(&live, ONE, &first);
        assert!(look(&live, ONE));
        let signal = Arc::new(Signal::new());
        join(&live, TWO, &signal);
        hand_to(&live, TWO);
        let releasing = {
            let live = Arc::clone(&live);
            thread::spawn(move || {
                let Ok(Next::Revoke(going)) = live.next(ONE) else { panic!("it is to go") };
                assert_eq!(going, partition());
                let _ = live.release(ONE, &going);
            })
        };
        let set = WaitSet::new();
        let registration = set.register(&signal, 0);
        wait_for_it(&live, TWO, &set, &registration);
        releasing.join().unwrap();
    });
}

/// A partition that goes through the hands of four members, each of whom waits for it, commits
/// under the turn and leaves: two never have it at once, and none sleeps for good.
#[test]
fn a_partition_goes_from_member_to_member() {
    if !MANY_THREADS {
        return;
    }
    model(0, || {
        let (live, owners) = (Arc::new(group()), Arc::new(AtomicUsize::new(0)));
        let members = [1, 2, 3, 4].map(MemberId::new).map(|id| {
            let (live, owners) = (Arc::clone(&live), Arc::clone(&owners));
            thread::spawn(move || {
                let (set, signal) = (WaitSet::new(), Arc::new(Signal::new()));
                let registration = set.register(&signal, 0);
                join(&live, id, &signal);
                wait_for_it(&live, id, &set, &registration);
                assert_eq!(owners.fetch_add(1, Ordering::AcqRel), 0, "two owners");
                assert!(live.may_commit(id, &partition()).is_ok());
                owners.fetch_sub(1, Ordering::AcqRel);
                let _ = live.leave(id);
            })
        });
        members.into_iter().for_each(|member| member.join().unwrap());
        assert!(live.is_empty());
    });
}

/// Has a plan installed that gives the partition to `member`.
fn hand_to(group: &LiveGroup, member: MemberId) {
    #[derive(Debug)]
    struct To(MemberId);
    impl super::assign::Assignor for To {
        fn name(&self) -> &str {
            "sticky"
        }
        fn assign(&self, group: &super::assign::GroupView) -> super::assign::Assignment {
            let mut assignment = super::assign::Assignment::new();
            for partition in group.topics().flat_map(|topic| topic.partitions()) {
                assignment.give(self.0, partition);
            }
            assignment
        }
    }
    let rebalance = group.begin_plan().expect("a plan is due");
    let finished = group.finish_plan(rebalance.plan(&To(member))).value;
    assert!(matches!(finished, Planned::Installed(_)));
}

/// What a group has committed, behind its turn.
#[derive(Default)]
struct Offsets {
    turn: Mutex<()>,
    committed: AtomicUsize,
}

/// A stale member commits while it is expelled and its partition taken over: whether some
/// execution has the new owner begin before a commit that is made all the same.
fn some_execution_commits_behind_the_new_owner(waits_for_commits: bool) -> bool {
    breaks(3, move || {
        let live = Arc::new(group());
        let offsets = Arc::new(Offsets::default());
        join(&live, ONE, &Arc::new(Signal::new()));
        assert!(look(&live, ONE));
        let committing = {
            let (live, offsets) = (Arc::clone(&live), Arc::clone(&offsets));
            thread::spawn(move || {
                let _turn = offsets.turn.lock();
                let may = live.may_commit(ONE, &partition()).is_ok();
                if may {
                    offsets.committed.store(5, Ordering::Release);
                }
                may
            })
        };
        let _ = live.expire(INTERVAL);
        join(&live, TWO, &Arc::new(Signal::new()));
        assert!(look(&live, TWO));
        if waits_for_commits {
            drop(offsets.turn.lock());
        }
        let begins_at = offsets.committed.load(Ordering::Acquire);
        let made = committing.join().unwrap();
        made && begins_at != 5
    })
}

#[test]
fn a_stale_commit_is_before_the_new_owner_or_refused() {
    assert!(!some_execution_commits_behind_the_new_owner(true));
}

/// Negative control: without the wait loom must find the commit that comes too late.
#[test]
fn a_new_owner_that_does_not_wait_for_commits_is_caught() {
    assert!(some_execution_commits_behind_the_new_owner(false));
}
