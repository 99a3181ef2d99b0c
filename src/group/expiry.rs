//! Which offsets have outlived `offsets.retention`: a pure plan, and its execution in steps.
//!
//! The rules are Kafka's. In a group whose members have all gone, an offset expires so long after
//! the group became empty, or after its own commit if that came later. In a group that never had
//! members, and in one of KIP-848, each expires so long after its commit. While there are members,
//! only offsets of topics that none of them follows do. An offset that carries its own time of
//! expiry (values of version 1 do) heeds that alone. With its last offset an empty group goes too.
//! Groups that only Kafka can lead are left alone.
//!
//! Run on the maintenance path, some groups at a time; each group's part is one batch under its
//! turn. Where the log came from Kafka nothing expires until the host sets a retention.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::administer::{Place, Remains};
use super::committed::{Entries, Entry};
use super::offsets::{OFFSETS_TOPIC, OffsetStore};
use super::records::{GroupRecords, Phase, Protocol};
use super::roster::Roster;
use super::schema::GroupKind;
use crate::config::OffsetsRetention;
use crate::engine::Due;
use crate::error::Result;
use crate::time::{Timestamp, millis};

/// Kafka's `offsets.retention.check.interval.ms`.
const INTERVAL: Duration = Duration::from_secs(600);

/// How many groups one step looks at; other maintenance comes between steps.
const STEP: usize = 256;

/// What is to go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ExpiryPlan {
    pub(super) offsets: Vec<Place>,
    /// The group itself too.
    pub(super) is_over: bool,
}

/// Plans one group's expiry.
pub(super) fn plan(
    entries: &Entries,
    records: &GroupRecords,
    roster: Option<&Roster>,
    now: Timestamp,
    retention: Duration,
) -> ExpiryPlan {
    let kind = records.kind();
    if matches!(kind, GroupKind::Share | GroupKind::Streams) {
        return ExpiryPlan::default();
    }
    let empty_since = records.classic.and_then(|classic| match classic.phase {
        _ if classic.protocol == Protocol::None => None,
        Phase::EmptySince(since) => Some(since),
        Phase::Live | Phase::LiveElsewhere => None,
    });
    let is_over = |entry: &Entry| match (entry.expires_at, empty_since) {
        (Some(at), _) => now >= at,
        (None, Some(since)) if roster.is_none() => {
            is_older(since.max(entry.committed.committed_at), now, retention)
        }
        (None, _) => is_older(entry.committed.committed_at, now, retention),
    };
    // members of a broker that stopped may follow any topic; those of this process have just gone,
    // and since when is about to be recorded
    let is_in_doubt = roster.is_none()
        && records.classic.is_some_and(|it| !matches!(it.phase, Phase::EmptySince(_)));
    let mut offsets = Vec::new();
    let mut kept = 0_usize;
    for (topic, partitions) in entries {
        let is_followed = is_in_doubt || roster.is_some_and(|roster| roster.follows(topic));
        for (partition, entry) in partitions {
            if !is_followed && is_over(entry) {
                offsets.push((topic.clone(), *partition));
            } else {
                kept += 1;
            }
        }
    }
    let has_records = records.classic.is_some() || !records.newer.is_empty();
    let is_empty = roster.is_none() && !is_in_doubt;
    ExpiryPlan { offsets, is_over: kept == 0 && is_empty && has_records }
}

fn is_older(since: Timestamp, now: Timestamp, retention: Duration) -> bool {
    now.as_millis().saturating_sub(since.as_millis()) >= millis(retention)
}

/// How far the run that is under way has come, and what it goes by.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    retention: OffsetsRetention,
    /// The last group that was looked at.
    after: Option<Arc<str>>,
}

impl OffsetStore {
    /// Expires offsets from now on. Called once, before the store is handed out.
    pub(crate) fn begin_expiry(self: &Arc<Self>, retention: OffsetsRetention) {
        self.expiry.lock().retention = retention;
        if matches!(retention, OffsetsRetention::For(_)) {
            self.end_lives_elsewhere();
        }
        if retention != OffsetsRetention::Never {
            let weak: Weak<OffsetStore> = Arc::downgrade(self);
            let at = self.engine.clock().monotonic() + INTERVAL;
            self.engine.chores().schedule(at, weak);
        }
    }

    /// Looks at all groups now; returns how many offsets expired.
    pub(crate) fn expire_all(&self) -> u64 {
        let before = self.expired.get();
        self.expiry.lock().after = None;
        while self.expire_some() {}
        self.expired.get() - before
    }

    /// Offsets that expired since the store was opened.
    pub(crate) fn expired(&self) -> u64 {
        self.expired.get()
    }

    fn retention(&self) -> Option<Duration> {
        match self.expiry.lock().retention {
            OffsetsRetention::Never => None,
            OffsetsRetention::For(age) => Some(age),
            OffsetsRetention::Default => {
                let adopted = self.engine.topic(OFFSETS_TOPIC).is_ok_and(|it| it.is_adopted());
                (!adopted).then_some(OffsetsRetention::DEFAULT_AGE)
            }
        }
    }

    /// One step; whether there are groups left to look at.
    fn expire_some(&self) -> bool {
        let Some(retention) = self.retention() else { return false };
        let after = self.expiry.lock().after.take();
        let names: Vec<Arc<str>> = {
            use std::ops::Bound::{Excluded, Unbounded};
            let groups = self.groups.lock();
            let from = after.as_deref().map_or(Unbounded, Excluded);
            groups.range::<str, _>((from, Unbounded)).take(STEP).map(|(n, _)| n.clone()).collect()
        };
        for name in &names {
            if let Err(error) = self.expire_group(name, retention) {
                log::warn!("offsets of group `{name}` could not expire: {error}");
            }
        }
        let more = names.len() == STEP;
        if more {
            self.expiry.lock().after = names.last().cloned();
        }
        more
    }

    fn expire_group(&self, name: &Arc<str>, retention: Duration) -> Result<()> {
        let Some(group) = self.existing(name) else { return Ok(()) };
        {
            let _turn = group.turn.lock();
            let roster = self.roster(name);
            let now = self.engine.clock().wall();
            let mut planned = {
                let entries = group.entries.lock().clone();
                let records = group.records.lock();
                plan(&entries, &records, roster.as_ref(), now, retention)
            };
            // never what a transaction is about to commit
            let staged = group.staged_places();
            planned.offsets.retain(|place| !staged.contains(place));
            planned.is_over &= staged.is_empty();
            let remains = if planned.is_over { Remains::Nothing } else { Remains::Group };
            self.remove(name, &group, &planned.offsets, remains)?;
            self.expired.add(planned.offsets.len() as u64);
            if !planned.offsets.is_empty() {
                log::info!("group `{name}`: {} offsets expired", planned.offsets.len());
            }
        }
        self.prune(name, group);
        Ok(())
    }
}

impl Due for OffsetStore {
    /// One step of a run; the next one comes at once while there are groups left.
    fn run(&self, now: Duration) -> Option<Duration> {
        Some(if self.expire_some() { now } else { now + INTERVAL })
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
