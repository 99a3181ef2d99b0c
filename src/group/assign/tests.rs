//! The assignors against plain statements of what they promise: the sticky one against the best
//! of all divisions, range and round robin against their rules said in another way.

mod optimum;

use std::collections::{BTreeMap, VecDeque};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::group::identity::{MemberId, TopicPartition};
use crate::ids::{PartitionId, TopicId};
use crate::seeds::pick;

const ONE: MemberId = MemberId::new(1);
const TWO: MemberId = MemberId::new(2);
const THREE: MemberId = MemberId::new(3);

fn names(partitions: &[TopicPartition]) -> Vec<String> {
    partitions.iter().map(TopicPartition::to_string).collect()
}

/// A group with topics, members and owners at random.
fn random_group(random: &mut StdRng, members: u64, topics: usize, partitions: u32) -> GroupView {
    let all: Vec<String> = (0..topics).map(|number| format!("t{number}")).collect();
    let mut group = GroupView::new();
    for name in &all {
        group = group.topic(name, random.random_range(0..=partitions));
    }
    let alike = random.random_bool(0.2);
    for number in 0..members {
        let some = all.iter().filter(|_| alike || random.random_bool(0.6));
        let some: Vec<&str> = some.map(String::as_str).collect();
        let instance = random.random_bool(0.4).then(|| format!("i{}", 97 * (number + 3) % 89));
        group = group.member(MemberId::new(number), instance.as_deref(), some);
    }
    for topic in &all {
        for partition in 0..partitions {
            let owner = random.random_range(0..members + 2);
            group = group.owns(MemberId::new(owner), topic, [partition]);
        }
    }
    group
}

/// The subscribers of a topic as Kafka lines them up.
fn line(group: &GroupView, topic: &str) -> Vec<MemberId> {
    let subscribers = group.members().filter(|member| member.subscribes_to(topic));
    let (mut named, mut unnamed) = (BTreeMap::new(), Vec::new());
    for member in subscribers {
        match member.instance_id() {
            Some(instance) => drop(named.insert(instance, member.id())),
            None => unnamed.push(member.id()),
        }
    }
    unnamed.sort();
    named.into_values().chain(unnamed).collect()
}

#[test]
fn range_gives_each_partition_to_the_member_its_number_says() {
    let mut random = StdRng::seed_from_u64(7);
    for _ in 0..pick(300, 20_000, 200_000) {
        let (members, topics) = (random.random_range(1..7), random.random_range(1..5));
        let group = random_group(&mut random, members, topics, 9);
        let assignment = RangeAssignor::new().assign(&group);
        let mut expected = 0;
        for topic in group.topics() {
            let line = line(&group, topic.name());
            let Ok(count @ 1..) = u32::try_from(line.len()) else { continue };
            let (each, longer) = (topic.partition_count() / count, topic.partition_count() % count);
            for partition in topic.partitions() {
                let number = partition.partition().get();
                let rank = match number.checked_sub(longer * (each + 1)) {
                    Some(behind_the_longer) => longer + behind_the_longer / each,
                    None => number / (each + 1),
                };
                let member = line[usize::try_from(rank).unwrap()];
                assert!(assignment.partitions_of(member).contains(&partition), "{group:?}");
                expected += 1;
            }
        }
        assert_eq!(assignment.iter().map(|(_, given)| given.len()).sum::<usize>(), expected);
        assert_eq!(group.check(&assignment), Ok(()));
    }
}

#[test]
fn round_robin_deals_from_the_front_of_a_line_that_goes_round() {
    let mut random = StdRng::seed_from_u64(8);
    for _ in 0..pick(300, 20_000, 200_000) {
        let (members, topics) = (random.random_range(1..7), random.random_range(1..5));
        let group = random_group(&mut random, members, topics, 9);
        let everybody = GroupView::new().topic("all", 1);
        let everybody = group
            .members()
            .fold(everybody, |all, member| all.member(member.id(), member.instance_id(), ["all"]));
        let mut round: VecDeque<MemberId> = line(&everybody, "all").into();
        let mut expected: BTreeMap<MemberId, Vec<TopicPartition>> = BTreeMap::new();
        for topic in group.topics() {
            let takers = line(&group, topic.name());
            for partition in topic.partitions().filter(|_| !takers.is_empty()) {
                while !takers.contains(round.front().unwrap()) {
                    round.rotate_left(1);
                }
                expected.entry(*round.front().unwrap()).or_default().push(partition);
                round.rotate_left(1);
            }
        }
        let assignment = RoundRobinAssignor::new().assign(&group);
        let given: BTreeMap<_, _> =
            assignment.iter().map(|(m, given)| (m, given.to_vec())).collect();
        assert_eq!(given, expected, "{group:?}");
        assert_eq!(group.check(&assignment), Ok(()));
    }
}

/// Two topics of three partitions, two members that subscribe to both: Kafka's own example.
fn two_by_two() -> GroupView {
    let group = GroupView::new().topic("t0", 3).topic("t1", 3);
    group.member(ONE, None, ["t0", "t1"]).member(TWO, None, ["t0", "t1"])
}

#[test]
fn kafka_s_worked_examples_come_out_as_kafka_says() {
    let range = RangeAssignor::new().assign(&two_by_two());
    assert_eq!(names(range.partitions_of(ONE)), ["t0-0", "t0-1", "t1-0", "t1-1"]);
    assert_eq!(names(range.partitions_of(TWO)), ["t0-2", "t1-2"]);

    let dealt = RoundRobinAssignor::new().assign(&two_by_two());
    assert_eq!(names(dealt.partitions_of(ONE)), ["t0-0", "t0-2", "t1-1"]);
    assert_eq!(names(dealt.partitions_of(TWO)), ["t0-1", "t1-0", "t1-2"]);

    let group = GroupView::new().topic("t0", 1).topic("t1", 2).topic("t2", 3);
    let group = group.member(ONE, None, ["t0"]).member(TWO, None, ["t0", "t1"]);
    let group = group.member(THREE, None, ["t0", "t1", "t2"]);
    let dealt = RoundRobinAssignor::new().assign(&group);
    assert_eq!(names(dealt.partitions_of(ONE)), ["t0-0"]);
    assert_eq!(names(dealt.partitions_of(TWO)), ["t1-0"]);
    assert_eq!(names(dealt.partitions_of(THREE)), ["t1-1", "t2-0", "t2-1", "t2-2"]);
    let sticky = StickyAssignor::new().assign(&group);
    assert_eq!(names(sticky.partitions_of(TWO)), ["t1-0", "t1-1"], "more even than that");
}

#[test]
fn instance_ids_come_first_in_the_line() {
    let group = GroupView::new().topic("t", 3).member(ONE, None, ["t"]);
    let group = group.member(TWO, Some("b"), ["t"]).member(THREE, Some("a"), ["t"]);
    for assignor in [&RangeAssignor::new() as &dyn Assignor, &RoundRobinAssignor::new()] {
        let assignment = assignor.assign(&group);
        assert_eq!(names(assignment.partitions_of(THREE)), ["t-0"], "{}", assignor.name());
        assert_eq!(names(assignment.partitions_of(TWO)), ["t-1"]);
        assert_eq!(names(assignment.partitions_of(ONE)), ["t-2"]);
    }
}

#[test]
fn nobody_and_nothing_are_divided() {
    let assignors: [&dyn Assignor; 3] =
        [&StickyAssignor::new(), &RangeAssignor::new(), &RoundRobinAssignor::new()];
    for assignor in assignors {
        for group in [
            GroupView::new(),
            GroupView::new().topic("t", 3),
            GroupView::new().member(ONE, None, ["t"]),
            GroupView::new().topic("t", 3).member(ONE, None, []),
            GroupView::new().topic("t", 0).member(ONE, None, ["t"]),
        ] {
            let assignment = assignor.assign(&group);
            assert_eq!((assignment.iter().count(), group.check(&assignment)), (0, Ok(())));
        }
    }
}

#[test]
fn each_rule_that_is_broken_is_named() {
    let group = GroupView::new().topic("t0", 1).topic("t1", 1);
    let group = group.member(ONE, None, ["t0", "t1"]).member(TWO, None, ["t0"]);
    let [first, second] =
        &group.topics().flat_map(|topic| topic.partitions()).collect::<Vec<_>>()[..]
    else {
        panic!("two partitions")
    };
    let faults = |given: &[(MemberId, &TopicPartition)]| {
        let mut assignment = Assignment::new();
        given.iter().for_each(|(member, p)| assignment.give(*member, (*p).clone()));
        group.check(&assignment)
    };
    assert_eq!(faults(&[(TWO, first), (ONE, second)]), Ok(()));
    assert_eq!(faults(&[(THREE, first)]), Err(AssignmentFault::UnknownMember(THREE)));
    let unknown = [
        TopicPartition::new("t0", first.topic_id(), PartitionId::new(1)),
        TopicPartition::new("t0", TopicId::random(), PartitionId::new(0)),
        TopicPartition::new("t2", first.topic_id(), PartitionId::new(0)),
    ];
    for partition in unknown {
        let fault = AssignmentFault::UnknownPartition(partition.clone());
        assert_eq!(faults(&[(ONE, &partition)]), Err(fault));
    }
    let fault = AssignmentFault::NotSubscribed(second.clone(), TWO);
    assert_eq!(faults(&[(TWO, first), (TWO, second)]), Err(fault));
    let fault = AssignmentFault::Twice(first.clone(), ONE, TWO);
    assert_eq!(faults(&[(ONE, first), (TWO, first)]), Err(fault));
    assert_eq!(faults(&[(ONE, first)]), Err(AssignmentFault::LeftOut(second.clone())));
}

#[test]
fn an_owner_of_what_it_does_not_subscribe_to_gives_it_up() {
    let group = GroupView::new().topic("t", 2).topic("u", 1);
    let group = group.member(ONE, None, ["u"]).member(TWO, None, ["t"]).owns(ONE, "t", [0, 1]);
    let assignment = StickyAssignor::new().assign(&group);
    assert_eq!(names(assignment.partitions_of(ONE)), ["u-0"]);
    assert_eq!(names(assignment.partitions_of(TWO)), ["t-0", "t-1"]);
}
