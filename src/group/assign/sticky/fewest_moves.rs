//! Of all divisions as even as this one, the one that moves the fewest partitions.
//!
//! A round of chains that leaves the sum of squares as it is and takes partitions back to their
//! owners is a cycle of negative cost in a graph of members, classes and one hub: from a member to
//! a class it holds something of (1 if it owns all of that, else 0), from a class to its
//! subscribers (0), from a member that holds a displaced partition to its owner (-1), and over the
//! hub from a member that may end with one more to one that may begin with one less (what the
//! squares change by, which outweighs all moves). While there is such a cycle it is followed;
//! where there is none, the division is the best there is.
//!
//! Found by Bellman and Ford's method, within a bound on the links looked at, so that the cost of
//! a rebalance is bounded too. Called by the sticky assignor.

use super::division::{Class, Division, Member};

/// How many links are looked at before what has been reached is good enough.
const MOST_LINKS: usize = 20_000_000;

/// A step that shortened the way to a node.
#[derive(Clone, Copy, Debug)]
struct Step {
    from: usize,
    /// The displaced unit that goes home; otherwise any of the class is passed on.
    homeward: Option<usize>,
}

/// The nodes are the members, then the classes, then the hub.
struct Graph<'a> {
    division: &'a Division,
    /// Units that are not with their owners.
    displaced: Vec<usize>,
    length: Vec<i64>,
    step: Vec<Option<Step>>,
    is_shorter: bool,
}

impl Division {
    /// Takes partitions back to their owners where the loads stay as even as they are.
    pub(super) fn move_fewer(&mut self) {
        if self.classes.len() < 2 {
            return; // who gave up a partition had more than its share to begin with
        }
        let mut links_left = MOST_LINKS;
        while let Some(cycle) = Graph::new(self).negative_cycle(&mut links_left) {
            self.follow(&cycle);
        }
    }

    /// Passes a unit along each link of a cycle of (node, how it is reached).
    fn follow(&mut self, cycle: &[(usize, Step)]) {
        let mut passes: Vec<(usize, Member)> = Vec::new();
        for (node, step) in cycle.iter().filter(|(node, _)| *node < self.held.len()) {
            match step.homeward {
                Some(unit) => passes.push((unit, *node)),
                None if step.from < self.hub() => {
                    let class: Class = step.from - self.held.len();
                    let (_, giver) = cycle.iter().find(|(node, _)| *node == step.from).expect(
                        "a class in a cycle is reached from the member that passes something on",
                    );
                    let unit = self.to_pass(giver.from, class).expect("it holds some of the class");
                    passes.push((unit, *node));
                }
                None => {} // over the hub nothing is passed
            }
        }
        passes.into_iter().for_each(|(unit, to)| self.pass(unit, to));
    }

    fn hub(&self) -> usize {
        self.held.len() + self.classes.len()
    }
}

impl<'a> Graph<'a> {
    fn new(division: &'a Division) -> Self {
        let is_displaced = |unit: &usize| {
            let unit = &division.units[*unit];
            unit.owner.is_some() && unit.owner != unit.holder
        };
        let nodes = division.hub() + 1;
        Graph {
            division,
            displaced: (0..division.units.len()).filter(is_displaced).collect(),
            length: vec![0; nodes],
            step: vec![None; nodes],
            is_shorter: false,
        }
    }

    /// A cycle of negative cost; `None` if there is none, or nothing to gain, or no work left.
    fn negative_cycle(mut self, links_left: &mut usize) -> Option<Vec<(usize, Step)>> {
        if self.displaced.is_empty() {
            return None;
        }
        let of_classes: usize = self.division.classes.iter().map(Vec::len).sum();
        let of_members: usize = self.division.held.iter().map(|held| held.len() + 2).sum();
        let links = of_classes + of_members + self.displaced.len();
        loop {
            *links_left = links_left.checked_sub(links)?;
            self.is_shorter = false;
            self.relax_all();
            if !self.is_shorter {
                return None;
            }
            if let Some(cycle) = self.cycle() {
                return Some(cycle);
            }
        }
    }

    fn relax_all(&mut self) {
        let division = self.division;
        let (members, hub) = (division.held.len(), division.hub());
        for (member, held) in division.held.iter().enumerate() {
            for (class, holding) in held {
                let cost = i64::from(holding.foreign.is_empty());
                self.relax(member, members + class, cost, None);
            }
        }
        for unit in std::mem::take(&mut self.displaced) {
            let Some((holder, owner)) = division.units[unit].holder.zip(division.units[unit].owner)
            else {
                continue;
            };
            self.relax(holder, owner, -1, Some(unit));
            self.displaced.push(unit);
        }
        for (class, subscribers) in division.classes.iter().enumerate() {
            for member in subscribers {
                self.relax(members + class, *member, 0, None);
            }
        }
        for member in 0..members {
            self.relax(member, hub, self.square(member, 1), None);
        }
        for member in 0..members {
            self.relax(hub, member, self.square(member, -1), None);
        }
    }

    /// What one partition more, or less, adds to a load's square, weighed above all moves.
    fn square(&self, member: Member, more: i64) -> i64 {
        let count = |number: usize| i64::try_from(number).expect("partitions fit in memory");
        let outweighs = count(self.division.units.len()) * 2 + 2;
        outweighs * (2 * more * count(self.division.loads[member]) + 1)
    }

    fn relax(&mut self, from: usize, to: usize, cost: i64, homeward: Option<usize>) {
        let length = self.length[from] + cost;
        if length < self.length[to] {
            self.length[to] = length;
            self.step[to] = Some(Step { from, homeward });
            self.is_shorter = true;
        }
    }

    /// The steps go round somewhere exactly when there is a cycle of negative cost.
    fn cycle(&self) -> Option<Vec<(usize, Step)>> {
        let mut seen = vec![usize::MAX; self.step.len()];
        for first in 0..self.step.len() {
            let mut node = first;
            while seen[node] == usize::MAX {
                seen[node] = first;
                match self.step[node] {
                    Some(step) => node = step.from,
                    None => break,
                }
            }
            if seen[node] == first && self.step[node].is_some() {
                let mut cycle = Vec::new();
                let mut at = node;
                while let Some(step) = self.step[at] {
                    cycle.push((at, step));
                    at = step.from;
                    if at == node {
                        return Some(cycle);
                    }
                }
            }
        }
        None
    }
}
