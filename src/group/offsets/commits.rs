//! A commit's way: what comes before its turn, the turn, and the sync behind it.
//!
//! One commit of a group at a time is checked and appended, in its turn. Syncs are made outside of
//! it: first of the records that the offsets stand for, so that a durable offset never refers to
//! lost records; then of the commit itself, in one sync with all that other threads and tasks have
//! committed by then. What the group keeps from retention moves only with what is as durable as
//! the commit asked for.
//!
//! Callers: `consumer` commits, `administer` resets.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Committer, OffsetStore};
use crate::config::Durability;
use crate::engine::{Partition, make_all_durable};
use crate::error::{Cause, Error, Outcome, Result};
use crate::group::committed::{Commit, CommitMode, Committed, Group};
use crate::group::generations::check_kind;
use crate::group::schema::{CommittedValue, check_metadata, committed_key};
use crate::ids::{LeaderEpoch, Offset, PartitionId};
use crate::state_log::Change;

/// A commit's records, and what they say.
pub(super) struct Encoded {
    pub(super) keys: Vec<Vec<u8>>,
    pub(super) values: Vec<Vec<u8>>,
    pub(super) committed: Vec<Committed>,
}

pub(super) fn changes<'a>(keys: &'a [Vec<u8>], values: &'a [Vec<u8>]) -> Vec<Change<'a>> {
    keys.iter().zip(values).map(|(key, value)| Change { key, value: Some(value) }).collect()
}

/// A commit whose own shape has been checked, and whose turn comes.
pub(in crate::group) struct InTurn<'a> {
    pub(in crate::group) operation: &'static str,
    pub(in crate::group) log_partition: PartitionId,
    pub(in crate::group) commits: &'a [Commit<'a>],
    pub(in crate::group) durability: Durability,
    pub(in crate::group) holds: Holds,
}

/// When what the group keeps from retention moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::group) enum Holds {
    /// With the commit.
    Move,
    /// Once its sync is made, by who waits for that.
    Stay,
}

impl OffsetStore {
    /// A commit that nobody is asked about, for tests of what lies below the members.
    #[cfg(test)]
    pub(crate) fn commit(
        &self,
        group: &str,
        commits: &[Commit<'_>],
        durability: Durability,
    ) -> Result<()> {
        let log_partition = self.before_commit(group, commits, durability)?;
        let (operation, holds) = ("commit", Holds::Move);
        let what = InTurn { operation, log_partition, commits, durability, holds };
        self.commit_in_turn(group, what, |_| Ok(()))
    }

    /// Commits for one group, all of it or nothing. Blocks while another commit of the group is
    /// under way, and for syncs with [`Durability::Power`]: of the records that the offsets stand
    /// for first, so that a durable offset never refers to lost records, then of the commit.
    ///
    /// # Errors
    /// `Fenced` if the committer may not, decided in the commit's turn: who takes a partition over
    /// and then waits for the turn finds a commit of its former owner made, or refused.
    pub(crate) fn commit_as(
        &self,
        by: Committer<'_>,
        group: &str,
        commits: &[Commit<'_>],
        durability: Durability,
    ) -> Result<()> {
        let log_partition = self.before_commit(group, commits, durability)?;
        by.look_before_the_turn(self, group)?;
        let (operation, holds) = ("commit", Holds::Move);
        let what = InTurn { operation, log_partition, commits, durability, holds };
        self.commit_in_turn(group, what, |group| by.check(self, group, commits))
    }

    /// The same for a task, which has synced what the offsets stand for and waits for the sync of
    /// the commit itself: [`make_durable_later`](OffsetStore::make_durable_later), and then
    /// [`move_holds`](OffsetStore::move_holds).
    pub(crate) fn commit_unsynced(
        &self,
        by: Committer<'_>,
        group: &str,
        commits: &[Commit<'_>],
    ) -> Result<()> {
        let durability = Durability::Process;
        let log_partition = self.before_commit(group, commits, durability)?;
        by.look_before_the_turn(self, group)?;
        let (operation, holds) = ("commit", Holds::Stay);
        let what = InTurn { operation, log_partition, commits, durability, holds };
        self.commit_in_turn(group, what, |group| by.check(self, group, commits))
    }

    /// Moves what a group keeps from being removed up to what it has committed, durably by now.
    pub(crate) fn move_holds(&self, group: &str, commits: &[Commit<'_>]) {
        if let Some((name, group)) = self.existing_named(group) {
            group.move_holds(&name, commits);
        }
    }

    /// Whether a commit would be refused because somebody else is to read there.
    pub(crate) fn check_may_commit(
        &self,
        by: Committer<'_>,
        group: &str,
        commit: &Commit<'_>,
    ) -> Result<()> {
        by.look_before_the_turn(self, group)?;
        by.check(self, group, std::slice::from_ref(commit))
    }

    /// What comes before a commit's turn: checks of its own shape, and the syncs it rests on.
    pub(in crate::group) fn before_commit(
        &self,
        group: &str,
        commits: &[Commit<'_>],
        durability: Durability,
    ) -> Result<PartitionId> {
        self.engine.check_open("commit")?;
        self.engine.check_writable("commit")?;
        let log_partition = self.partition_of(group)?;
        check_shape(commits)?;
        if durability == Durability::Power {
            let ends = commits.iter().map(|commit| (commit.partition, commit.offset));
            let synced = make_all_durable(ends, |synced| synced);
            synced.map_err(|error| error.with_outcome(Outcome::NotWritten))?;
        }
        Ok(log_partition)
    }

    /// Writes a commit if it `may` be, which is asked under the group's turn, and has it synced. A
    /// commit of nothing is asked about too: who may not commit learns it there.
    pub(in crate::group) fn commit_in_turn(
        &self,
        group: &str,
        what: InTurn<'_>,
        may: impl FnOnce(&str) -> Result<()>,
    ) -> Result<()> {
        let InTurn { operation, log_partition, commits, durability, holds } = what;
        if commits.is_empty() {
            return may(group);
        }
        let (name, group) = self.existing_or_new(group);
        let written = {
            let _turn = group.turn.lock();
            may(&name)
                .and_then(|()| check_kind(operation, &name, group.records.lock().kind()))
                .and_then(|()| self.write_commits(log_partition, &name, &group, commits))
        };
        let end = match written {
            Ok(end) => end,
            Err(error) => {
                self.prune(&name, group); // it may be known by this commit only
                return Err(error);
            }
        };
        if durability == Durability::Power {
            self.log.make_durable_below(log_partition, end)?;
        }
        if holds == Holds::Move {
            group.move_holds(&name, commits);
        }
        Ok(())
    }

    /// Appends a commit, all of it or nothing; returns the offset behind it. Called under the
    /// group's turn.
    fn write_commits(
        &self,
        log_partition: PartitionId,
        name: &Arc<str>,
        group: &Group,
        commits: &[Commit<'_>],
    ) -> Result<Offset> {
        let Encoded { keys, values, committed } = self.encode(name, group, commits)?;
        let end = self.log.append(log_partition, &changes(&keys, &values), Durability::Process)?;
        for (commit, committed) in commits.iter().zip(committed) {
            group.insert(commit.partition, committed);
        }
        self.coordinator().counters().commits.add(1);
        Ok(end)
    }

    /// A commit's records, if it may be made.
    pub(super) fn encode(
        &self,
        name: &Arc<str>,
        group: &Group,
        commits: &[Commit<'_>],
    ) -> Result<Encoded> {
        for commit in commits {
            check_place(group, commit)?;
        }
        let mut keys = Vec::with_capacity(commits.len());
        let mut values = Vec::with_capacity(commits.len());
        let mut committed = Vec::with_capacity(commits.len());
        let now = self.engine.clock().wall();
        for commit in commits {
            let partition = commit.partition;
            let epoch = commit.leader_epoch.or_else(|| epoch_before(partition, commit.offset));
            let value = CommittedValue {
                offset: commit.offset,
                leader_epoch: epoch,
                metadata: commit.metadata,
                committed_at: now,
                expires_at: None,
            };
            keys.push(committed_key(name, partition.topic_name(), partition.id())?);
            values.push(value.encode()?);
            committed.push(Committed::of(&value));
        }
        Ok(Encoded { keys, values, committed })
    }

    /// Makes every commit of the group so far survive a power cut, for a task.
    pub(crate) fn make_durable_later(
        &self,
        group: &str,
    ) -> impl Future<Output = Result<()>> + Send + 'static + use<> {
        let waiting = self.partition_of(group).map(|at| self.log.make_durable_later(at));
        let not_durable = |error: Error| error.with_outcome(Outcome::WrittenNotDurable);
        async move { waiting.map_err(not_durable)?.await.map_err(not_durable) }
    }

    /// Blocks until the commits of the group that are under way are made or refused.
    pub(crate) fn wait_for_commits(&self, group: &str) {
        if let Some(group) = self.existing(group) {
            drop(group.turn.lock());
        }
    }
}

impl Group {
    /// Moves what the group keeps from being removed up to what was committed, where nothing was
    /// committed since: whoever did that moves it further, once that is as durable as it has to be.
    fn move_holds(&self, name: &Arc<str>, commits: &[Commit<'_>]) {
        let _turn = self.turn.lock();
        for commit in commits {
            let committed = self.committed(commit.partition).map(|committed| committed.offset());
            if committed == Some(commit.offset) {
                commit.partition.hold_for_group(name, commit.offset);
            }
        }
    }
}

/// What can be wrong with a commit by itself.
fn check_shape(commits: &[Commit<'_>]) -> Result<()> {
    let mut seen = HashSet::with_capacity(commits.len());
    for commit in commits {
        check_metadata(commit.metadata)?;
        let partition = commit.partition;
        if !seen.insert((partition.topic_id(), partition.id())) {
            let text = "a commit names a partition twice".to_owned();
            return Err(Error::new("commit", Cause::InvalidArgument(text))
                .at_partition(partition.topic_name(), partition.id()));
        }
    }
    Ok(())
}

/// What can be wrong with it in the light of the partition and of what is committed. A topic that
/// was deleted fails here.
fn check_place(group: &Group, commit: &Commit<'_>) -> Result<()> {
    let partition = commit.partition;
    let place = |error: Error| error.at_partition(partition.topic_name(), partition.id());
    let offsets = partition.offsets().map_err(place)?;
    // a high watermark may be lower than one that was read up to
    let (requested, end) = (commit.offset, offsets.end);
    if requested < Offset::ZERO || requested > end {
        let cause = Cause::OutOfRange { requested, start: offsets.start, end };
        return Err(place(Error::new("commit", cause)));
    }
    let committed = group.committed(partition).map(|committed| committed.offset());
    if let (CommitMode::Forward, Some(committed)) = (commit.mode, committed)
        && requested < committed
    {
        let cause = Cause::OffsetRegression { committed, requested };
        return Err(place(Error::new("commit", cause)));
    }
    Ok(())
}

/// The epoch of the record below `offset`, as far as the partition knows.
fn epoch_before(partition: &Partition, offset: Offset) -> Option<LeaderEpoch> {
    partition.log().ok()?.epoch_before(offset)
}

#[cfg(all(test, not(loom), feature = "sim"))]
mod tests;
