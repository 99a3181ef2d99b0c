//! What transactions promise: nothing before they are decided, and then all or nothing, over every
//! partition and every offset they reached.
//!
//! While one is open what it sent is unknown to the partitions' own stories, so that whoever reads
//! it meets a phantom. Once it is being decided it may be there; a `Whole` says that what may be
//! there is there together.

use std::collections::{BTreeMap, HashSet};

use tidelog::LeaderEpoch;

use super::{Acknowledged, Batch, Deed, Model, key, numbers};
use crate::verdict::{Found, Promise, ensure};

type Place = (&'static str, u32);

/// A group and a partition.
type Committed = (&'static str, &'static str, u32);

/// A batch, and where it lies if it was acknowledged.
type Joined = (Place, Batch, Option<(i64, LeaderEpoch)>);

/// What an open transaction has sent.
#[derive(Clone, Debug, Default)]
pub struct Open {
    batches: BTreeMap<u64, Joined>,
    offsets: Vec<(Committed, i64)>,
}

/// What counts as a whole.
#[derive(Clone, Debug)]
pub struct Whole {
    who: &'static str,
    /// With the number of the topic's incarnation.
    batches: Vec<(Place, usize, u64)>,
    /// Places in what was tried, one behind.
    offsets: Vec<(Committed, usize)>,
    what: Open,
    is_decided: bool,
}

impl Model {
    pub(super) fn tell_of_transactions(&mut self, deed: &Deed) {
        match *deed {
            Deed::Beginning { who } => drop(self.open.insert(who, Open::default())),
            Deed::Joining { who, topic, partition, batch } => {
                self.kept(topic, partition).has_gaps = true; // its marker
                let open = self.open.entry(who).or_default();
                open.batches.insert(batch.number, ((topic, partition), batch, None));
            }
            Deed::Joined { who, number, offset, epoch } => {
                let open = self.open.entry(who).or_default();
                let batch = open.batches.get_mut(&number);
                batch.expect("it was begun").2 = Some((offset, epoch));
            }
            Deed::Staging { who, group, topic, partition, offset } => {
                let open = self.open.entry(who).or_default();
                open.offsets.push(((group, topic, partition), offset));
            }
            Deed::Deciding { who } => {
                let open = self.open.remove(who).unwrap_or_default();
                self.decide(who, open);
            }
            Deed::Decided { who } => self.decided(who),
            Deed::Dropped { who } => {
                let last = self.wholes.iter().rposition(|whole| whole.who == who);
                match (self.open.remove(who), last) {
                    (None, Some(last)) if !self.wholes[last].is_decided => self.undo(last),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// From here on it may be there.
    fn decide(&mut self, who: &'static str, what: Open) {
        let mut batches = Vec::new();
        for (number, ((topic, partition), batch, _)) in &what.batches {
            self.kept(topic, *partition).tried.insert(*number, *batch);
            batches.push(((*topic, *partition), self.topics[topic].len(), *number));
        }
        let mut offsets = Vec::new();
        for (key, offset) in &what.offsets {
            let commits = self.commits.entry(*key).or_default();
            commits.tried.push(*offset);
            offsets.push((*key, commits.tried.len()));
        }
        self.wholes.push(Whole { who, batches, offsets, what, is_decided: false });
    }

    /// It is there, whatever comes; and all that lay below it, which was synced before.
    fn decided(&mut self, who: &'static str) {
        let whole = self.wholes.iter_mut().rfind(|whole| whole.who == who).expect("begun");
        whole.is_decided = true;
        let whole = whole.clone();
        for (number, ((topic, partition), batch, at)) in whole.what.batches {
            let kept = self.kept(topic, partition);
            let Some((offset, epoch)) = at.filter(|_| kept.tried.contains_key(&number)) else {
                continue; // cut off since
            };
            for place in 0..batch.count {
                let one = Acknowledged { number, place, epoch, power: true };
                kept.acknowledged.insert(offset + i64::from(place), one);
            }
            kept.acknowledged.range_mut(..offset).for_each(|(_, one)| one.power = true);
        }
        for (key, place) in whole.offsets {
            let commits = self.commits.entry(key).or_default();
            commits.process = commits.process.max(place);
            commits.power = commits.power.max(place);
        }
    }

    /// Nothing of it was done, and nothing will be.
    fn undo(&mut self, at: usize) {
        let whole = self.wholes.remove(at);
        for ((topic, partition), _, number) in whole.batches {
            self.kept(topic, partition).tried.remove(&number);
        }
        for (key, place) in whole.offsets {
            let commits = self.commits.entry(key).or_default();
            if commits.tried.len() == place {
                commits.tried.pop();
            }
        }
    }

    /// What is there of each transaction is all of it, or nothing (I6).
    pub fn check_wholes(&self, found: &Found, promise: Promise) -> Result<(), String> {
        for whole in &self.wholes {
            let mut there = HashSet::new();
            for (place, incarnation, number) in &whole.batches {
                there.extend(self.is_there(*place, *incarnation, *number, found));
            }
            for (key, place) in &whole.offsets {
                there.extend(self.counts(key, *place, found));
            }
            let is_torn = there.len() > 1;
            ensure!(!is_torn, "I6: a part of the transaction is there: {whole:?}, {promise:?}");
        }
        ensure!(found.open_transactions == 0, "I6: a transaction of before is open");
        Ok(())
    }

    /// Whether a batch is there, or a later record of its key; nothing where it may be gone.
    fn is_there(
        &self,
        (topic, partition): Place,
        incarnation: usize,
        number: u64,
        found: &Found,
    ) -> Option<bool> {
        let all = self.topics.get(topic)?;
        let last = all.last().filter(|last| all.len() == incarnation && !last.deleting)?;
        let kept = last.kept.get(&partition)?;
        if !kept.tried.contains_key(&number) || kept.may_be_cut(number) {
            return None;
        }
        let seen = found.topics.get(topic)?.partitions.get(partition as usize)?;
        if seen.start > 0 {
            let known = kept.acknowledged.iter().find(|(_, one)| one.number == number);
            known.filter(|(offset, _)| **offset >= seen.start)?;
        }
        let mut numbers = seen.records.iter().filter_map(|(_, _, bytes)| Some(numbers(bytes)?.0));
        Some(numbers.any(|one| {
            one == number || (kept.is_thinned && one > number && key(one) == key(number))
        }))
    }

    /// Whether an offset counts; nothing where a later one may stand for it.
    fn counts(&self, key: &Committed, place: usize, found: &Found) -> Option<bool> {
        let commits = self.commits.get(key)?;
        if commits.may_be_gone || commits.gone >= place {
            return None;
        }
        let (group, topic, partition) = *key;
        let at = found.commits.get(&(group.to_owned(), topic.to_owned(), partition));
        let at = at.and_then(|at| commits.tried.iter().rposition(|tried| tried == at));
        match at.map_or(0, |at| at + 1) {
            later if later > place => None,
            at => Some(at == place),
        }
    }

    /// What is not there now will never be.
    pub(super) fn settle_transactions(&mut self, found: &Found) {
        self.open.clear();
        for whole in std::mem::take(&mut self.wholes) {
            for (place, incarnation, number) in whole.batches {
                let there = self.is_there(place, incarnation, number, found);
                if there == Some(false) {
                    self.kept(place.0, place.1).tried.remove(&number);
                }
            }
        }
    }
}
