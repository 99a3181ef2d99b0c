//! What the log is to say of a state: all of it, or what its newest snapshot does not say.
//!
//! An update names every record that has changed since the snapshot, not only since the last
//! update: so of each kind the latest counts, and compaction may take the others. When naming them
//! costs more than a snapshot would in the long run, it is a snapshot. All of it is counted in
//! ranges, and kept so by the state (`said`): a change costs nothing for each record that is out
//! with others. Called by `place`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::change::{Delta, Open, To};
use super::deliveries::{Finished, Phase};
use super::saved::{SavedRun, SavedState};
use super::schema::Part;
use super::state::ShareState;
use crate::state_log::runs::Runs;

impl ShareState {
    /// How a record was finished, as long as that is known.
    pub(super) fn finished(&self, offset: i64) -> Option<Finished> {
        match self.said.get(offset)? {
            SavedRun::Done(how) => Some(how),
            SavedRun::Open { .. } | SavedRun::Owed { .. } => None,
        }
    }

    /// Whether the log would say something else after it.
    pub(super) fn is_to_be_written(&self, delta: &Delta) -> bool {
        let differs = |(first, _, to): &(i64, i64, To)| match to {
            To::Done(_) => true,
            To::Open(open) => {
                self.open.get(first).map(|before| before.as_saved()) != Some(open.as_saved())
            }
        };
        delta.end.is_some_and(|end| end != self.end) || delta.changes.iter().any(differs)
    }

    /// What the log is to say once the change has taken effect: what differs from the newest
    /// snapshot, or all of it where that costs less in the long run, or must be.
    pub(super) fn to_saved(&self, delta: &Delta, must_snapshot: bool) -> (Part, SavedState) {
        const SMALL: usize = 32;
        let news = delta.to_saved();
        let all = self.said.len() + news.len();
        // an update never takes back what was finished
        if !must_snapshot && delta.start.is_none() && all > SMALL {
            let mut runs = Runs::default();
            for (first, last, ()) in self.touched.within(self.start, i64::MAX - 1) {
                self.said.within(first, last).for_each(|(a, b, run)| runs.set(a, b, run));
            }
            let touched = runs.len();
            if touched * touched <= 2 * all * news.len().max(1) {
                return (Part::Update, self.saved_with(runs, &news, delta));
            }
        }
        (Part::Snapshot, self.saved_with(self.said.clone(), &news, delta))
    }

    fn saved_with(
        &self,
        mut runs: Runs<SavedRun>,
        news: &[(i64, i64, SavedRun)],
        delta: &Delta,
    ) -> SavedState {
        news.iter().for_each(|(first, last, run)| runs.set(*first, *last, *run));
        let texts = self.texts_of(&runs, delta);
        let start = delta.start.map_or(self.start, |start| start.min(self.start));
        SavedState { start, epoch: delta.epoch.or(self.epoch), runs, texts }
    }

    /// What is said of the records that are named as owed.
    fn texts_of(&self, runs: &Runs<SavedRun>, delta: &Delta) -> BTreeMap<i64, Arc<str>> {
        let is_owed = |run: SavedRun| matches!(run, SavedRun::Owed { .. });
        let mut texts = BTreeMap::new();
        if !self.texts.is_empty() {
            for (first, last, _) in runs.iter().filter(|run| is_owed(run.2)) {
                let known = self.texts.range(first..=last);
                texts.extend(known.map(|(at, text)| (*at, text.clone())));
            }
        }
        let new = delta.texts.iter().filter(|(at, _)| runs.get(*at).is_some_and(is_owed));
        texts.extend(new.cloned());
        texts
    }

    /// A snapshot is in the log, with everything up to now.
    pub(super) fn snapshot_written(&mut self) {
        self.touched.clear();
    }
}

impl Delta {
    /// What the log is to say of it, in order: neighbours of which it says the same are one.
    pub(super) fn to_saved(&self) -> Vec<(i64, i64, SavedRun)> {
        let mut runs: Vec<(i64, i64, SavedRun)> = Vec::new();
        for (first, last, to) in &self.changes {
            let run = match to {
                To::Done(how) => SavedRun::Done(*how),
                To::Open(open) => open.as_saved(),
            };
            match runs.last_mut() {
                Some((_, end, same)) if *same == run && end.checked_add(1) == Some(*first) => {
                    *end = *last;
                }
                _ => runs.push((*first, *last, run)),
            }
        }
        runs
    }
}

impl Open {
    pub(super) fn as_saved(&self) -> SavedRun {
        let count = self.count;
        match self.phase {
            Phase::Parked(due) => SavedRun::Open { count, due: Some((due.wall, due.delay)) },
            Phase::Owed(death) => SavedRun::Owed { count, death },
            _ => SavedRun::Open { count, due: None },
        }
    }
}

impl SavedState {
    /// Lays what a later record of the log says over this.
    pub(super) fn lay_over(&mut self, update: &SavedState) {
        self.start = self.start.max(update.start);
        self.epoch = update.epoch.or(self.epoch);
        for (first, last, run) in update.runs.iter() {
            self.runs.set(first, last, run);
        }
        self.runs.clear_below(self.start);
        self.texts.retain(|at, _| update.runs.get(*at).is_none()); // it says why itself
        self.texts.extend(update.texts.iter().map(|(at, text)| (*at, text.clone())));
        let runs = &self.runs;
        self.texts.retain(|at, _| matches!(runs.get(*at), Some(SavedRun::Owed { .. })));
    }
}
