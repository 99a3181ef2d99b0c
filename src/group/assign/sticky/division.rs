//! A division of partitions under way: who holds what, and the chains along which it evens out.
//!
//! Topics with the same subscribers are one class: what a member holds of a class can be held by
//! any other subscriber of it, so classes and members, not partitions, are what is searched. A
//! chain leads from a member over a class of which it holds something to a subscriber of that
//! class, and on; one partition is passed along each link. Loads are a least sum of squares exactly
//! when no chain leads from a member to one that has two less (a cost-reducing path of the
//! semi-matching).
//!
//! Called by the sticky assignor.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;

use crate::group::assign::{Assignment, GroupView};
use crate::ids::PartitionId;

/// A place among the view's members.
pub(super) type Member = usize;
/// A place among the classes.
pub(super) type Class = usize;

/// A partition to be held by somebody.
#[derive(Debug)]
pub(super) struct Unit {
    topic: usize,
    number: PartitionId,
    pub(super) class: Class,
    /// Who owns it now and may keep it.
    pub(super) owner: Option<Member>,
    pub(super) holder: Option<Member>,
}

/// What a member holds of one class, by units.
#[derive(Debug, Default)]
pub(super) struct Holding {
    /// What it owns.
    pub(super) own: BTreeSet<usize>,
    /// What it does not: passing it on moves nothing more.
    pub(super) foreign: BTreeSet<usize>,
}

#[derive(Debug)]
pub(super) struct Division {
    pub(super) units: Vec<Unit>,
    /// Each class's subscribers, ascending.
    pub(super) classes: Vec<Vec<Member>>,
    pub(super) held: Vec<BTreeMap<Class, Holding>>,
    pub(super) loads: Vec<usize>,
}

impl Division {
    /// Everybody keeps what it owns and subscribes to; all else is free.
    pub(super) fn keeping(group: &GroupView) -> Self {
        let (topics, members) = (group.viewed_topics(), group.viewed_members());
        let mut subscribers: Vec<Vec<Member>> = vec![Vec::new(); topics.len()];
        for (at, member) in members.iter().enumerate() {
            member.topics.iter().for_each(|topic| subscribers[*topic].push(at));
        }
        let mut classes: Vec<Arc<[Member]>> = Vec::new();
        let mut known: HashMap<Arc<[Member]>, Class> = HashMap::new();
        let (mut units, mut first_units) = (Vec::new(), Vec::new());
        for (at, (topic, subscribers)) in topics.iter().zip(subscribers).enumerate() {
            first_units.push(units.len());
            if subscribers.is_empty() {
                continue;
            }
            let subscribers: Arc<[Member]> = subscribers.into();
            let class = *known.entry(subscribers).or_insert_with_key(|subscribers| {
                classes.push(subscribers.clone());
                classes.len() - 1
            });
            units.extend(topic.numbers().map(|number| Unit {
                topic: at,
                number,
                class,
                owner: None,
                holder: None,
            }));
        }
        let mut division = Division {
            units,
            classes: classes.iter().map(|subscribers| subscribers.to_vec()).collect(),
            held: members.iter().map(|_| BTreeMap::new()).collect(),
            loads: vec![0; members.len()],
        };
        for (at, member) in members.iter().enumerate() {
            for (topic, number) in member.owned.iter().filter(|(at, _)| member.subscribes(*at)) {
                let unit = first_units[*topic] + number.index();
                if division.units[unit].holder.is_none() {
                    division.units[unit].owner = Some(at);
                    division.hold(unit, at);
                }
            }
        }
        division
    }

    /// Gives each free unit to the least loaded of its class; those with few subscribers first.
    pub(super) fn give_out_what_is_free(&mut self) {
        let mut free: Vec<Vec<usize>> = vec![Vec::new(); self.classes.len()];
        for (at, unit) in self.units.iter().enumerate().filter(|(_, unit)| unit.holder.is_none()) {
            free[unit.class].push(at);
        }
        let mut order: Vec<Class> = (0..self.classes.len()).collect();
        order.sort_by_key(|class| self.classes[*class].len());
        for class in order {
            let mut line: BinaryHeap<Reverse<(usize, Member)>> =
                self.classes[class].iter().map(|at| Reverse((self.loads[*at], *at))).collect();
            for unit in std::mem::take(&mut free[class]) {
                let Reverse((load, least)) = line.pop().expect("a class has subscribers");
                self.hold(unit, least);
                line.push(Reverse((load + 1, least)));
            }
        }
    }

    fn hold(&mut self, unit: usize, by: Member) {
        let Unit { class, owner, .. } = self.units[unit];
        self.units[unit].holder = Some(by);
        let holding = self.held[by].entry(class).or_default();
        if owner == Some(by) {
            holding.own.insert(unit)
        } else {
            holding.foreign.insert(unit)
        };
        self.loads[by] += 1;
    }

    pub(super) fn pass(&mut self, unit: usize, to: Member) {
        let class = self.units[unit].class;
        if let Some(from) = self.units[unit].holder {
            let holding = self.held[from].get_mut(&class).expect("it holds the unit");
            holding.own.remove(&unit);
            holding.foreign.remove(&unit);
            if holding.own.is_empty() && holding.foreign.is_empty() {
                self.held[from].remove(&class);
            }
            self.loads[from] -= 1;
        }
        self.hold(unit, to);
    }

    /// Which unit of a class a member passes on: one that it does not own, if there is one. The
    /// last in order: neighbours stay together.
    pub(super) fn to_pass(&self, from: Member, class: Class) -> Option<usize> {
        let holding = self.held[from].get(&class)?;
        holding.foreign.last().or_else(|| holding.own.last()).copied()
    }

    /// Passes partitions down chains, from the most loaded first, until no chain is left.
    ///
    /// Where no chain leads down from a member, all that can be reached from it has at most one
    /// less than it, and none of that can be an end for a member with no more load, nor lead to
    /// one: it is left out from then on. So the searches that find nothing visit each link once.
    pub(super) fn even_out(&mut self) {
        let mut search = Search::new(self.loads.len(), self.classes.len());
        let mut most: BinaryHeap<(usize, Reverse<Member>)> =
            self.loads.iter().enumerate().map(|(at, load)| (*load, Reverse(at))).collect();
        while let Some((load, Reverse(from))) = most.pop() {
            if search.settled[from] || self.loads[from] != load {
                continue; // a newer entry, if any, has its load
            }
            match search.least_below(self, from) {
                Some(end) => {
                    search.pass_along(self, from, end);
                    most.push((self.loads[from], Reverse(from)));
                    most.push((self.loads[end], Reverse(end)));
                }
                None => search.settle(),
            }
        }
    }

    pub(super) fn into_assignment(self, group: &GroupView) -> Assignment {
        let mut assignment = Assignment::new();
        for unit in &self.units {
            let holder = unit.holder.expect("everything has been given out");
            let partition = group.viewed_topics()[unit.topic].partition(unit.number);
            assignment.give(group.viewed_members()[holder].id, partition);
        }
        assignment
    }
}

/// A breadth-first search for the end of a chain; its tables are used again and again.
struct Search {
    /// Which search saw a member, or a class, last.
    member_seen: Vec<usize>,
    class_seen: Vec<usize>,
    /// The member before, and the class of what it passes on.
    before: Vec<(Member, Class)>,
    /// Members that no chain will visit any more.
    settled: Vec<bool>,
    /// In order; those that have not been followed yet come last.
    visited: Vec<Member>,
    round: usize,
}

impl Search {
    fn new(members: usize, classes: usize) -> Self {
        Search {
            member_seen: vec![0; members],
            class_seen: vec![0; classes],
            before: vec![(0, 0); members],
            settled: vec![false; members],
            visited: Vec::new(),
            round: 0,
        }
    }

    /// The least loaded member that a chain from `from` reaches, the nearest of them, if it has
    /// two less.
    fn least_below(&mut self, division: &Division, from: Member) -> Option<Member> {
        self.round += 1;
        self.visited.clear();
        self.member_seen[from] = self.round;
        self.visited.push(from);
        let (mut least, mut classes_left) = (from, division.classes.len());
        let mut followed = 0;
        while followed < self.visited.len() && classes_left > 0 {
            let at = self.visited[followed];
            followed += 1;
            for class in division.held[at].keys() {
                if std::mem::replace(&mut self.class_seen[*class], self.round) == self.round {
                    continue;
                }
                classes_left -= 1;
                for next in &division.classes[*class] {
                    if self.settled[*next] || self.member_seen[*next] == self.round {
                        continue;
                    }
                    self.member_seen[*next] = self.round;
                    self.before[*next] = (at, *class);
                    self.visited.push(*next);
                    if division.loads[*next] < division.loads[least] {
                        least = *next;
                    }
                }
            }
        }
        (division.loads[least] + 2 <= division.loads[from]).then_some(least)
    }

    fn pass_along(&self, division: &mut Division, from: Member, end: Member) {
        let mut at = end;
        while at != from {
            let (before, class) = self.before[at];
            let unit = division.to_pass(before, class).expect("the search saw that it holds one");
            division.pass(unit, at);
            at = before;
        }
    }

    fn settle(&mut self) {
        self.visited.iter().for_each(|member| self.settled[*member] = true);
    }
}
