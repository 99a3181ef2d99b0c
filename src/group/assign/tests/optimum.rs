//! The sticky assignor against the best there is: every division of small groups is tried; large
//! groups are searched for a way to do better that a best division would not leave.

use super::*;

/// A small group in numbers.
#[derive(Debug)]
struct Small {
    /// Each partition's topic.
    topics: Vec<usize>,
    /// For each member, the topics it subscribes to, as bits.
    subscriptions: Vec<usize>,
    /// Who owns each partition, if anybody.
    owners: Vec<Option<usize>>,
}

impl Small {
    fn subscribes(&self, member: usize, partition: usize) -> bool {
        self.subscriptions[member] & (1 << self.topics[partition]) != 0
    }

    /// The cost of the best division: the sum of squared loads, then how many move.
    fn best(&self) -> (usize, usize) {
        let mut best = (usize::MAX, usize::MAX);
        self.try_all(0, &mut vec![0; self.subscriptions.len()], 0, &mut best);
        best
    }

    fn try_all(&self, at: usize, loads: &mut [usize], moves: usize, best: &mut (usize, usize)) {
        if at == self.topics.len() {
            *best = (*best).min((loads.iter().map(|load| load * load).sum(), moves));
            return;
        }
        let mut is_wanted = false;
        for member in 0..loads.len() {
            if self.subscribes(member, at) {
                is_wanted = true;
                loads[member] += 1;
                self.try_all(at + 1, loads, moves + self.moved(at, member), best);
                loads[member] -= 1;
            }
        }
        if !is_wanted {
            self.try_all(at + 1, loads, moves, best);
        }
    }

    fn moved(&self, partition: usize, to: usize) -> usize {
        usize::from(self.owners[partition].is_some_and(|owner| owner != to))
    }

    /// What the sticky assignor makes of it.
    fn of_sticky(&self) -> (usize, usize) {
        let name = |topic: usize| format!("t{topic}");
        let count = self.topics.last().map_or(0, |last| last + 1);
        let mut group = GroupView::new();
        let mut place = Vec::new();
        for topic in 0..count {
            let numbers: Vec<usize> =
                (0..self.topics.len()).filter(|p| self.topics[*p] == topic).collect();
            place.extend((0u32..).zip(&numbers).map(|(number, _)| number));
            group = group.topic(&name(topic), u32::try_from(numbers.len()).unwrap());
        }
        let ids = (0..).map(MemberId::new).take(self.subscriptions.len());
        let ids: Vec<MemberId> = ids.collect();
        for (member, topics) in self.subscriptions.iter().enumerate() {
            let wanted = (0..count).filter(|topic| topics & (1 << topic) != 0).map(name);
            let wanted: Vec<String> = wanted.collect();
            group = group.member(ids[member], None, wanted.iter().map(String::as_str));
        }
        for (partition, owner) in self.owners.iter().enumerate() {
            if let Some(owner) = owner {
                let topic = name(self.topics[partition]);
                group = group.owns(ids[*owner], &topic, [place[partition]]);
            }
        }
        let assignment = StickyAssignor::new().assign(&group);
        assert_eq!(group.check(&assignment), Ok(()));
        let squares = assignment.iter().map(|(_, given)| given.len() * given.len()).sum();
        let mut moves = 0;
        for (partition, topic) in self.topics.iter().enumerate() {
            let holder = ids.iter().position(|id| {
                let given = assignment.partitions_of(*id).iter();
                let mut given = given.map(|p| (p.topic().to_owned(), p.partition().get()));
                given.any(|held| held == (name(*topic), place[partition]))
            });
            moves += holder.map_or(0, |holder| self.moved(partition, holder));
        }
        (squares, moves)
    }

    fn assert_best(&self) {
        assert_eq!(self.of_sticky(), self.best(), "(squares, moves) of {self:?}");
    }
}

/// Counts through all words of so many letters.
fn words(letters: usize, length: usize) -> impl Iterator<Item = Vec<usize>> {
    let all = letters.pow(u32::try_from(length).unwrap());
    (0..all).map(move |mut number| {
        (0..length)
            .map(|_| {
                let letter = number % letters;
                number /= letters;
                letter
            })
            .collect()
    })
}

fn owned(word: Vec<usize>) -> Vec<Option<usize>> {
    word.into_iter().map(|letter| letter.checked_sub(1)).collect()
}

#[test]
fn sticky_is_the_best_there_is_for_every_small_group() {
    let layouts: &[&[usize]] = &[&[0, 0, 1], &[0, 1, 2], &[0, 0, 1, 1], &[0, 1, 1, 2]];
    let layouts = &layouts[..usize::try_from(pick(2, 4, 4)).unwrap()];
    let mut tried = 0_u64;
    for (members, layout) in [2, 3].iter().flat_map(|m| layouts.iter().map(move |l| (*m, *l))) {
        let topics = layout.last().unwrap() + 1;
        for subscriptions in words(1 << topics, members) {
            for word in words(members + 1, layout.len()) {
                let (topics, subscriptions) = (layout.to_vec(), subscriptions.clone());
                Small { topics, subscriptions, owners: owned(word) }.assert_best();
                tried += 1;
            }
        }
    }
    println!("every division of {tried} groups was tried");
}

#[test]
fn sticky_is_the_best_there_is_where_all_subscribe_alike() {
    let (members, most) = (4, usize::try_from(pick(4, 6, 6)).unwrap());
    for partitions in 0..=most {
        for word in words(members + 1, partitions) {
            let topics = vec![0; partitions];
            Small { topics, subscriptions: vec![1; members], owners: owned(word) }.assert_best();
        }
    }
}

#[test]
fn sticky_is_the_best_there_is_for_groups_of_four_at_random() {
    let mut random = StdRng::seed_from_u64(9);
    for _ in 0..pick(2_000, 100_000, 1_000_000) {
        let members: usize = random.random_range(2..=4);
        let partitions = random.random_range(1..=6);
        let mut topics: Vec<usize> = (0..partitions).map(|_| random.random_range(0..6)).collect();
        topics.sort_unstable();
        let few = random.random_range(1..=4);
        topics.iter_mut().for_each(|topic| *topic %= few);
        topics.sort_unstable();
        let count = topics.last().unwrap() + 1;
        let subscriptions = (0..members).map(|_| random.random_range(0..1 << count)).collect();
        let owners = (0..partitions).map(|_| random.random_range(0..=members).checked_sub(1));
        let owners = owners.collect();
        Small { topics, subscriptions, owners }.assert_best();
    }
}

/// Whether some chain leads from a member to one that has two less, by who holds what.
fn can_be_more_even(group: &GroupView, assignment: &Assignment) -> bool {
    let load = |member: MemberId| assignment.partitions_of(member).len();
    group.members().any(|from| {
        let mut reached = vec![from.id()];
        let mut at = 0;
        while at < reached.len() {
            for partition in assignment.partitions_of(reached[at]) {
                let takers = group.members().filter(|m| m.subscribes_to(partition.topic()));
                for taker in takers {
                    if !reached.contains(&taker.id()) {
                        reached.push(taker.id());
                    }
                }
            }
            at += 1;
        }
        reached.iter().any(|end| load(*end) + 2 <= load(from.id()))
    })
}

#[test]
fn sticky_leaves_no_chain_to_a_more_even_division() {
    let mut random = StdRng::seed_from_u64(10);
    for _ in 0..pick(100, 2_000, 20_000) {
        let (members, topics) = (random.random_range(5..25), random.random_range(1..12));
        let group = random_group(&mut random, members, topics, 12);
        let assignment = StickyAssignor::new().assign(&group);
        assert_eq!(group.check(&assignment), Ok(()));
        assert!(!can_be_more_even(&group, &assignment), "{group:?}");
    }
}

/// The group in which everybody owns what it was given.
fn after(members: u64, partitions: u32, assignment: &Assignment) -> GroupView {
    let group = GroupView::new().topic("t", partitions);
    (0..members).map(MemberId::new).fold(group, |group, member| {
        let numbers = assignment.partitions_of(member).iter().map(|p| p.partition().get());
        group.member(member, None, ["t"]).owns(member, "t", numbers)
    })
}

/// How many partitions a member of `group` loses.
fn moves(group: &GroupView, assignment: &Assignment) -> usize {
    let lost = group.members().map(|member| {
        let given = assignment.partitions_of(member.id());
        member.owned().filter(|p| !given.iter().any(|g| g.partition() == p.partition())).count()
    });
    lost.sum()
}

#[test]
fn a_thousand_members_come_and_go_with_the_fewest_moves() {
    let sticky = StickyAssignor::new();
    let before = sticky.assign(&after(999, 10_000, &Assignment::new()));
    let joined = after(1_000, 10_000, &before);
    let even = sticky.assign(&joined);
    assert_eq!(moves(&joined, &even), 10, "what the newcomer gets");
    assert!((0..1_000).all(|member| even.partitions_of(MemberId::new(member)).len() == 10));
    let left = after(999, 10_000, &even);
    assert_eq!(moves(&left, &sticky.assign(&left)), 0, "only what is free is given out");
    let settled = after(1_000, 10_000, &even);
    assert_eq!(moves(&settled, &sticky.assign(&settled)), 0);
}
