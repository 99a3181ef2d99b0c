//! The state of a group, transition by transition; `model` has the whole protocol at random.

mod model;
mod reference;

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::group::assign::{Assignment, AssignmentFault, Assignor, GroupView, StickyAssignor};
use crate::group::identity::{MemberId, TopicPartition};
use crate::ids::{Generation, PartitionId, TopicId};

const INTERVAL: Duration = Duration::from_secs(300);

fn second(number: u64) -> Duration {
    Duration::from_secs(number)
}

fn id(number: u8) -> TopicId {
    TopicId::from_bytes([number; 16]).unwrap()
}

fn topic(name: &str, number: u8, partitions: u32) -> KnownTopic {
    KnownTopic { name: name.into(), id: id(number), partitions, visibility: Visibility::Public }
}

fn list(count: u64, topics: impl IntoIterator<Item = KnownTopic>) -> Arc<TopicList> {
    Arc::new(TopicList::new(count, topics))
}

fn part(name: &str, number: u8, partition: u32) -> TopicPartition {
    TopicPartition::new(name, id(number), PartitionId::new(partition))
}

fn names(names: &[&str]) -> Interest {
    Interest::Topics(names.iter().map(|name| Arc::from(*name)).collect())
}

/// A pattern that is a prefix.
#[derive(Debug)]
struct Prefix(&'static str);

impl NamePattern for Prefix {
    fn text(&self) -> &str {
        self.0
    }

    fn matches(&self, name: &str) -> bool {
        name.starts_with(self.0)
    }
}

fn joining(number: u64, interest: Interest) -> Joining {
    let assignor = "sticky".into();
    let id = MemberId::new(number);
    Joining { id, instance: None, interest, assignor, max_poll_interval: INTERVAL }
}

/// An assignor that answers what it was made with.
#[derive(Debug)]
struct Says(fn(&GroupView) -> Assignment);

impl Assignor for Says {
    fn name(&self) -> &str {
        "says"
    }

    fn assign(&self, group: &GroupView) -> Assignment {
        (self.0)(group)
    }
}

const ONE: MemberId = MemberId::new(1);
const TWO: MemberId = MemberId::new(2);
const THREE: MemberId = MemberId::new(3);

/// A group of members that subscribe to `orders`, which has four partitions.
fn group(members: &[u64]) -> GroupState {
    let topics = list(1, [topic("orders", 1, 4)]);
    let mut state = GroupState::new(Generation::default(), topics);
    for number in members {
        state.join(joining(*number, names(&["orders"])), second(0)).unwrap();
    }
    state
}

fn install(state: &mut GroupState) -> Vec<MemberId> {
    let plan = state.rebalance().expect("one is due").plan(&StickyAssignor::new());
    match state.install(plan) {
        Installed::At { wake, .. } => wake,
        Installed::Stale => panic!("nothing has changed"),
    }
}

/// What a member does in its poll; returns what it has given up, what it has taken.
fn reconcile(state: &mut GroupState, member: MemberId) -> (usize, usize) {
    let revoked = state.to_revoke(member).unwrap();
    state.release(member, &revoked).unwrap();
    (revoked.len(), state.acquire(member).unwrap().len())
}

fn shown(partitions: &[TopicPartition]) -> Vec<String> {
    partitions.iter().map(TopicPartition::to_string).collect()
}

#[test]
fn a_partition_passes_over_only_when_its_owner_has_given_it_up() {
    let mut state = group(&[1]);
    assert_eq!(install(&mut state), [ONE]);
    assert_eq!(reconcile(&mut state, ONE), (0, 4));
    assert_eq!((state.phase(), state.generation().get()), (Phase::Stable, 1));

    state.join(joining(2, names(&["orders"])), second(1)).unwrap();
    assert_eq!(state.phase(), Phase::Assigning);
    assert_eq!(install(&mut state), [ONE], "the newcomer has nothing to take yet");
    assert_eq!(state.phase(), Phase::Reconciling);
    assert_eq!(state.acquire(TWO).unwrap(), []);
    let revoked = state.to_revoke(ONE).unwrap();
    assert_eq!(shown(&revoked), ["orders-2", "orders-3"], "only what moves");
    assert_eq!(state.owner_of(&revoked[0]), Some(ONE), "until it is released");
    assert_eq!(state.release(ONE, &revoked).unwrap(), [TWO]);
    assert_eq!(state.owner_of(&revoked[0]), None);
    assert_eq!(state.acquire(TWO).unwrap(), revoked);
    assert_eq!((state.phase(), state.generation().get()), (Phase::Stable, 2));
    assert_eq!(state.release(ONE, &revoked).unwrap(), [], "what it does not own is passed over");
    assert_eq!(state.owner_of(&revoked[0]), Some(TWO));
    let counters: GroupCounters = state.counters();
    assert_eq!((counters.released, counters.acquired, counters.rebalances), (2, 6, 2));
}

#[test]
fn who_leaves_leaves_all_at_once() {
    let mut state = group(&[1, 2]);
    install(&mut state);
    reconcile(&mut state, ONE);
    reconcile(&mut state, TWO);
    assert_eq!(state.poll_began(TWO), Ok(()));
    assert_eq!(state.leave(ONE).unwrap(), [TWO], "somebody must see to the rebalance");
    assert_eq!(state.leave(ONE), Err(Departed));
    assert_eq!(install(&mut state), [TWO]);
    assert_eq!(reconcile(&mut state, TWO), (0, 2));
    state.leave(TWO).unwrap();
    assert!(state.is_empty() && state.rebalance().is_none());
    assert_eq!((state.phase(), state.next_expiry()), (Phase::Empty, None));
}

#[test]
fn who_stays_away_too_long_is_expelled_and_who_polls_is_not() {
    let mut state = group(&[1, 2]);
    install(&mut state);
    reconcile(&mut state, ONE);
    state.poll_began(TWO).unwrap();
    assert_eq!(state.next_expiry(), Some(INTERVAL));
    assert_eq!(state.expire(INTERVAL - second(1)), (vec![], vec![]));
    let (expelled, wake) = state.expire(INTERVAL);
    assert_eq!((expelled, wake), (vec![ONE], vec![TWO]));
    assert_eq!(state.next_expiry(), None, "a poll that waits is no absence");
    assert_eq!(state.expire(Duration::MAX), (vec![], vec![]));
    for refused in [
        state.poll_began(ONE).err(),
        state.poll_ended(ONE, second(400)).err(),
        state.to_revoke(ONE).err(),
        state.release(ONE, &[part("orders", 1, 0)]).err(),
        state.acquire(ONE).err(),
        state.leave(ONE).err(),
    ] {
        assert_eq!(refused, Some(Departed));
    }
    assert_eq!(state.may_commit(ONE, &[]), Err(Fenced::Departed));
    state.poll_ended(TWO, second(400)).unwrap();
    assert_eq!(state.next_expiry(), Some(second(700)));
    assert_eq!(state.counters().expelled, 1);
}

#[test]
fn an_interval_without_end_never_expels() {
    let mut state = group(&[]);
    let forever = Joining { max_poll_interval: Duration::MAX, ..joining(1, names(&["orders"])) };
    state.join(forever, second(7)).unwrap();
    assert_eq!(state.next_expiry(), None);
    assert_eq!(state.expire(Duration::MAX).0, []);
}

#[test]
fn a_due_rebalance_always_has_somebody_awake() {
    let mut state = group(&[1, 2]);
    install(&mut state);
    state.poll_began(ONE).unwrap();
    state.poll_began(TWO).unwrap();
    let wake = state.join(joining(3, names(&["orders"])), second(1)).unwrap();
    assert_eq!(wake, [ONE]);
    assert_eq!(state.poll_ended(ONE, second(2)).unwrap(), [TWO], "the next in turn");
    assert_eq!(state.leave(TWO).unwrap(), [], "nobody polls");
    state.poll_began(THREE).unwrap();
    install(&mut state);
    assert_eq!(state.poll_ended(THREE, second(3)).unwrap(), []);
}

#[test]
fn a_plan_of_yesterday_is_stale() {
    let mut state = group(&[1]);
    let rebalance: Rebalance = state.rebalance().unwrap();
    let early = rebalance.plan(&StickyAssignor::new());
    state.join(joining(2, names(&["orders"])), second(0)).unwrap();
    assert_eq!(state.install(early), Installed::Stale);
    let first = state.rebalance().unwrap().plan(&StickyAssignor::new());
    let second = state.rebalance().unwrap().plan(&StickyAssignor::new());
    assert!(matches!(state.install(first), Installed::At { .. }));
    assert_eq!(state.install(second), Installed::Stale, "another was quicker");
    assert_eq!((state.generation().get(), state.counters().stale), (1, 2));
}

#[test]
fn who_may_not_join_is_told_why() {
    let mut state = group(&[]);
    let named = Joining { instance: Some("till-3".into()), ..joining(1, names(&["orders"])) };
    state.join(named.clone(), second(0)).unwrap();
    assert_eq!(state.join(named.clone(), second(0)), Err(JoinRefused::IdInUse));
    let again = Joining { id: TWO, ..named };
    assert_eq!(state.join(again.clone(), second(0)), Err(JoinRefused::InstanceInUse(ONE)));
    let other = Joining { assignor: "range".into(), ..joining(2, names(&["orders"])) };
    let refused = JoinRefused::OtherAssignor("sticky".into());
    assert_eq!(state.join(other.clone(), second(0)), Err(refused));
    state.leave(ONE).unwrap();
    state.join(again, second(0)).expect("the name is free");
    state.leave(TWO).unwrap();
    state.join(other, second(0)).expect("the first member says which assignor it is");
}

#[test]
fn a_commit_is_fenced_by_another_owner_only() {
    let mut state = group(&[1, 2]);
    install(&mut state);
    let mine = state.acquire(ONE).unwrap();
    let theirs = state.acquire(TWO).unwrap();
    assert_eq!(state.may_commit(ONE, &mine), Ok(Generation::new(1)));
    assert_eq!(
        state.may_commit(ONE, mine.iter().chain(&theirs)),
        Err(Fenced::OwnedByAnother(theirs[0].clone(), TWO))
    );
    state.leave(TWO).unwrap();
    assert_eq!(state.may_commit(ONE, &theirs), Ok(Generation::new(1)), "nobody owns them");
    assert_eq!(state.may_commit(ONE, &[part("unknown", 9, 0)]), Ok(Generation::new(1)));
}

#[test]
fn topics_come_grow_go_and_come_again_as_others() {
    let mut state = group(&[1]);
    state.poll_began(ONE).unwrap();
    install(&mut state);
    reconcile(&mut state, ONE);
    assert_eq!(state.set_topics(&list(1, [])), [], "as old as what is known");
    assert_eq!(state.set_topics(&list(2, [topic("orders", 1, 4), topic("other", 2, 1)])), []);
    assert!(state.rebalance().is_none(), "nobody wants the other");
    assert_eq!(state.topics_seen(), 2);

    assert_eq!(state.set_topics(&list(3, [topic("orders", 1, 6)])), [ONE]);
    install(&mut state);
    assert_eq!(reconcile(&mut state, ONE), (0, 2));

    assert_eq!(state.set_topics(&list(4, [topic("orders", 3, 2)])), [ONE]);
    assert_eq!(state.to_revoke(ONE).unwrap().len(), 6, "before any rebalance");
    install(&mut state);
    assert_eq!(reconcile(&mut state, ONE), (6, 2));
    assert_eq!(state.owner_of(&part("orders", 1, 0)), None);
    assert_eq!(state.owner_of(&part("orders", 3, 0)), Some(ONE));
    assert_eq!(state.set_topics(&list(3, [])), [], "an older look changes nothing");
    assert_eq!(state.phase(), Phase::Stable);
}

#[test]
fn a_pattern_follows_topics_and_passes_internal_ones_over() {
    let internal = KnownTopic { visibility: Visibility::Internal, ..topic("a-internal", 7, 1) };
    let topics = list(1, [topic("a-1", 1, 1), topic("b-1", 2, 1), internal.clone()]);
    let mut state = GroupState::new(Generation::new(41), topics);
    let pattern = || Interest::Pattern(Arc::new(Prefix("a-")));
    state.join(joining(1, pattern()), second(0)).unwrap();
    state.join(joining(2, names(&["a-internal"])), second(0)).unwrap();
    install(&mut state);
    assert_eq!(state.generation(), Generation::new(42));
    assert_eq!(shown(&state.acquire(ONE).unwrap()), ["a-1-0"]);
    assert_eq!(shown(&state.acquire(TWO).unwrap()), ["a-internal-0"], "by its name");
    state.set_topics(&list(2, [topic("a-1", 1, 1), topic("a-2", 3, 1), internal]));
    install(&mut state);
    assert_eq!(shown(&state.acquire(ONE).unwrap()), ["a-2-0"]);
}

#[test]
fn nonsense_and_panics_give_way_to_the_sticky_assignor() {
    type Answer = fn(&GroupView) -> Assignment;
    let refusals: [(Answer, Fallback); 2] = [
        (|_| Assignment::new(), Fallback::Refused(AssignmentFault::LeftOut(part("orders", 1, 0)))),
        (|_| panic!("out of ideas"), Fallback::Panicked("out of ideas".to_owned())),
    ];
    for (says, reason) in refusals {
        let mut state = group(&[1, 2]);
        let plan = state.rebalance().unwrap().plan(&Says(says));
        assert_eq!(plan.fallback(), Some(&reason));
        state.install(plan);
        assert_eq!(reconcile(&mut state, ONE), (0, 2));
        assert_eq!(state.describe().fallback, Some(reason));
        assert_eq!(state.counters().fallbacks, 1);
        state.join(joining(3, names(&["orders"])), second(0)).unwrap();
        install(&mut state);
        assert_eq!(state.describe().fallback, None, "it is of one generation");
    }
}

#[test]
fn what_comes_back_to_its_owner_before_it_was_given_up_may_be_taken_again() {
    let mut state = group(&[1]);
    install(&mut state);
    reconcile(&mut state, ONE);
    state.join(joining(2, names(&["orders"])), second(0)).unwrap();
    install(&mut state);
    let revoked = state.to_revoke(ONE).unwrap();
    state.leave(TWO).unwrap(); // while the listener runs
    install(&mut state);
    assert_eq!(state.to_revoke(ONE).unwrap(), []);
    assert_eq!(state.release(ONE, &revoked).unwrap(), [ONE]);
    assert_eq!(state.acquire(ONE).unwrap(), revoked);
}

#[test]
fn a_group_is_described() {
    let mut state = group(&[1, 2]);
    install(&mut state);
    state.acquire(ONE).unwrap();
    state.poll_began(TWO).unwrap();
    let shown: GroupSnapshot = state.describe();
    assert_eq!((shown.generation.get(), shown.counters.joined), (1, 2));
    assert_eq!((shown.phase, shown.assignor.as_deref()), (Phase::Reconciling, Some("sticky")));
    let [one, two]: &[MemberSnapshot] = &shown.members[..] else { panic!("two members") };
    assert_eq!((one.id, one.owned.len(), one.target.len()), (ONE, 2, 2));
    assert_eq!((two.id, two.owned.len(), two.target.len()), (TWO, 0, 2));
    assert_eq!(
        (one.presence, two.presence),
        (Presence::Away { since: second(0) }, Presence::Polling)
    );
    assert!(*one.interest == names(&["orders"]) && one.instance.is_none());
}

/// Everybody polls until nothing is left to hand over; returns how many partitions were given up.
fn settle(state: &mut GroupState, members: impl Iterator<Item = u64> + Clone) -> usize {
    let mut revoked = 0;
    for _ in 0..2 {
        let rounds = members.clone().map(|number| reconcile(state, MemberId::new(number)).0);
        revoked += rounds.sum::<usize>();
    }
    assert_eq!(state.phase(), Phase::Stable);
    revoked
}

#[test]
fn a_thousand_members_hand_over_only_what_moves() {
    let topics = (0..10).map(|number| topic(&format!("t{number}"), number + 1, 1_000));
    let mut state = GroupState::new(Generation::default(), list(1, topics));
    let interest = || Interest::Pattern(Arc::new(Prefix("t")));
    for number in 0..999 {
        state.join(joining(number, interest()), second(0)).unwrap();
    }
    install(&mut state);
    assert_eq!(settle(&mut state, 0..999), 0);
    state.join(joining(999, interest()), second(0)).unwrap();
    assert_eq!(install(&mut state).len(), 10, "those that have one more");
    assert_eq!(settle(&mut state, 0..1_000), 10);
    state.leave(MemberId::new(500)).unwrap();
    assert_eq!(install(&mut state).len(), 10);
    assert_eq!(settle(&mut state, (0..1_000).filter(|number| *number != 500)), 0);
    for number in 1..1_000 {
        state.leave(MemberId::new(number)).ok();
    }
    install(&mut state);
    settle(&mut state, 0..1);
    for number in 1_000..1_999 {
        state.join(joining(number, interest()), second(0)).unwrap();
    }
    install(&mut state);
    assert_eq!(settle(&mut state, (0..1).chain(1_000..1_999)), 9_990);
}
