//! What the log is to say of a state: all of it, or what its newest snapshot does not say.
//!
//! An update names every record that has changed since the snapshot, not only since the last
//! update: so of each kind the latest counts, and compaction may take the others. When naming them
//! costs more than a snapshot would in the long run, it is a snapshot. Called by `place`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::change::{Delta, Open, To};
use super::deliveries::Phase;
use super::saved::{SavedRun, SavedState};
use super::state::ShareState;
use crate::state_log::runs::Runs;

impl ShareState {
    /// Whether a snapshot costs less in the long run than naming all that has changed since.
    pub(super) fn wants_snapshot(&self, delta: &Delta) -> bool {
        const SMALL: usize = 32;
        let all = self.open.len() + self.done.len() + delta.len();
        let touched: u64 = self
            .touched
            .iter()
            .map(|(first, last, ())| last.abs_diff(first).saturating_add(1).min(all as u64))
            .sum();
        let limit = 2 * all as u64 * delta.len().max(1) as u64;
        // an update never takes back what was finished
        delta.start.is_some() || all <= SMALL || touched.saturating_mul(touched) > limit
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

    /// What the log is to say once the change has taken effect: all of it, or what differs from
    /// the newest snapshot.
    pub(super) fn to_saved(&self, delta: &Delta, snapshot: bool) -> SavedState {
        let end = delta.end.unwrap_or(self.end).max(self.end);
        let mut runs = Runs::default();
        let mut note = |first: i64, last: i64| {
            for (first, last, how) in self.done.within(first, last) {
                runs.set(first, last, SavedRun::Done(how));
            }
            for (at, open) in self.open.range(first..=last) {
                runs.set(*at, *at, open.as_saved());
            }
        };
        if snapshot && end > self.start {
            note(self.start, end - 1);
        } else {
            for (first, last, ()) in self.touched.within(self.start, i64::MAX - 1) {
                note(first, last);
            }
        }
        for (first, last, to) in &delta.changes {
            let run = match to {
                To::Done(how) => SavedRun::Done(*how),
                To::Open(open) => open.as_saved(),
            };
            runs.set(*first, *last, run);
        }
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

impl Open {
    fn as_saved(&self) -> SavedRun {
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
