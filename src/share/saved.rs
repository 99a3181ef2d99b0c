//! What the log says of one group in one partition, as it is folded.
//!
//! A snapshot says all; an update says what differs from the snapshot of its number, so that of
//! each only the latest counts, and compaction may take the others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::deliveries::Finished;
use super::place::hold;
use super::settings::RETRIES_OF;
use crate::dead_letters::Death;
use crate::engine::Partition;
use crate::ids::{LeaderEpoch, Offset};
use crate::state_log::runs::Runs;
use crate::time::Timestamp;

/// Records of one state, as the log says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SavedRun {
    Done(Finished),
    /// To be handed out, after `due` where there is one: by the wall, and how long after it was
    /// said.
    Open {
        count: u16,
        due: Option<(Timestamp, Duration)>,
    },
    /// To become a dead letter.
    Owed {
        count: u16,
        death: Death,
    },
}

/// What a record of the log says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SavedState {
    pub(super) start: i64,
    pub(super) epoch: Option<LeaderEpoch>,
    pub(super) runs: Runs<SavedRun>,
    /// What went wrong with records that are to become dead letters, where something was said.
    pub(super) texts: BTreeMap<i64, Arc<str>>,
}

/// What all records of the log say together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Saved {
    /// The number of the newest snapshot.
    pub(super) snapshot: i32,
    pub(super) state: SavedState,
}

impl Saved {
    /// Keeps what is still owed from being removed, where the topic asks for it.
    pub(super) fn hold(&self, partition: &Partition, group: &Arc<str>) {
        let is_owed = |run: SavedRun| matches!(run, SavedRun::Open { .. } | SavedRun::Owed { .. });
        let waits = self.state.runs.iter().any(|(_, _, run)| is_owed(run));
        if waits || !group.starts_with(RETRIES_OF) {
            hold(partition, group, Offset::new(self.state.start));
        }
    }
}
