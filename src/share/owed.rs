//! Records that are never to be handed out again and not finished: what becomes of them.
//!
//! A record gets here by its last delivery or by a rejection. Where the group has a dead-letter
//! topic it stays open, and so stays in the log, until its letter is durable; otherwise it is
//! archived. What was decided stays decided: a record that is owed is handed to nobody, whatever
//! settings come. Pure, like `state`; called by `place` and `burying`.

use std::sync::Arc;

use super::change::Open;
use super::deliveries::{Phase, Settle};
use super::state::ShareState;
use crate::dead_letters::Death;

/// Of how many dead letters to come it is kept what went wrong.
const MOST_TEXTS: usize = 4_096;

/// What becomes of records that are never to be handed out again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum AtLast {
    /// They are finished.
    #[default]
    Archive,
    /// They stay open until they are dead letters.
    Bury,
}

impl AtLast {
    pub(super) fn rejected(self) -> Settle {
        match self {
            AtLast::Archive => Settle::Reject,
            AtLast::Bury => Settle::Bury(Death::Rejected),
        }
    }
}

impl ShareState {
    /// What is never to be handed out again and not finished.
    pub(super) fn exhausted(&self) -> impl Iterator<Item = (i64, Open)> + '_ {
        self.exhausted.iter().filter_map(|at| Some((*at, *self.open.get(at)?)))
    }

    pub(super) fn exhausted_len(&self) -> usize {
        self.exhausted.len()
    }

    /// Changes what becomes of such records from now on.
    pub(super) fn set_at_last(&mut self, at_last: AtLast) {
        self.at_last = at_last;
    }

    /// Decides that what is exhausted becomes a dead letter; nothing of that is written: a restart
    /// finds the same.
    pub(super) fn owe_exhausted(&mut self) {
        let all: Vec<(i64, Open)> =
            self.exhausted().filter(|(_, open)| open.phase == Phase::Exhausted).collect();
        for (at, open) in all {
            self.set_open(at, Open { phase: Phase::Owed(Death::Attempts), ..open });
        }
    }

    /// Keeps what went wrong with records that are owed, of a bounded number of them.
    pub(super) fn note_texts(&mut self, texts: &[(i64, Arc<str>)]) {
        for (at, text) in texts {
            let is_owed =
                self.open.get(at).is_some_and(|open| matches!(open.phase, Phase::Owed(_)));
            if is_owed && self.texts.len() < MOST_TEXTS {
                self.texts.insert(*at, text.clone());
            }
        }
    }
}
