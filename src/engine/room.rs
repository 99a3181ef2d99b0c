//! Making room where a `max_bytes` budget is spent: fail, wait, or drop the oldest.
//!
//! What is larger than a budget is refused for good. Dropping takes whole sealed segments, the one
//! with the oldest records first over all partitions that share the budget, rolling an active
//! segment where there is nothing else. What a hold, the high watermark or an open transaction
//! keeps stays: if nothing else is left, the append fails as full and says what keeps it. Runs
//! before the append, under no lock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::budget::{Budget, Reserved};
use super::partition::Partition;
use crate::config::WhenFull;
use crate::error::{Cause, Error, Result};
use crate::ids::TopicId;
use crate::time::{Timestamp, deadline_after};

/// Room in both budgets of a partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) of_topic: Reserved,
    /// `None` for internal topics.
    of_store: Option<Reserved>,
}

/// Reserves `bytes` in both budgets of a partition, or fails as full.
#[inline(always)] // see `producer::walk`
pub(super) fn reserve(partition: &Partition, bytes: u64) -> Result<Room> {
    let topic = &partition.topic_budget;
    let of_topic = match topic.try_reserve(bytes) {
        Some(reserved) => reserved,
        None => make_room(partition, topic, bytes, Scope::Topic)?,
    };
    let Some(store) = &partition.store_budget else {
        return Ok(Room { of_topic, of_store: None });
    };
    let of_store = match store.try_reserve(bytes) {
        Some(reserved) => reserved,
        None => make_room(partition, store, bytes, Scope::Store)
            .inspect_err(|_| topic.give_back(of_topic))?,
    };
    Ok(Room { of_topic, of_store: Some(of_store) })
}

/// Takes `bytes` of both budgets, whether they have room or not: the end of a transaction, which
/// may be what holds up everything else.
pub(super) fn take(partition: &Partition, bytes: u64) -> Room {
    let of_store = partition.store_budget.as_ref().map(|store| store.take(bytes));
    Room { of_topic: partition.topic_budget.take(bytes), of_store }
}

/// Gives back what was reserved for a batch that was not appended.
#[cold]
pub(super) fn give_back(partition: &Partition, room: Room) {
    partition.topic_budget.give_back(room.of_topic);
    if let (Some(store), Some(reserved)) = (&partition.store_budget, room.of_store) {
        store.give_back(reserved);
    }
}

impl Partition {
    /// What the smaller of its budgets allows; no batch may be larger.
    pub(crate) fn largest_batch(&self) -> Option<u64> {
        let of_store = self.store_budget.as_ref().and_then(|store| store.limit());
        self.topic_budget.limit().into_iter().chain(of_store).min()
    }

    /// Fails where a batch of so many bytes never has room, whatever is removed.
    pub(crate) fn check_fits(&self, bytes: u64) -> Result<()> {
        check_fits(self, &self.topic_budget, bytes, Scope::Topic)?;
        let store = self.store_budget.as_ref();
        store.map_or(Ok(()), |store| check_fits(self, store, bytes, Scope::Store))
    }

    /// Fails as full where an append of so many bytes would wait for room: for callers that serve
    /// others too.
    pub(crate) fn check_room(&self, bytes: u64) -> Result<()> {
        self.check_fits(bytes)?;
        let of_store = (self.store_budget.as_ref(), Scope::Store.name());
        let budgets = [(Some(&self.topic_budget), Scope::Topic.name()), of_store];
        for (budget, of) in budgets {
            let Some(budget) = budget.filter(|it| matches!(it.when_full(), WhenFull::Block(_)))
            else {
                continue;
            };
            match budget.try_reserve(bytes) {
                Some(reserved) => budget.give_back(reserved),
                None => {
                    let text = format!("the {of} has no room for {bytes} bytes now");
                    let error = Error::new("append", Cause::Full(text));
                    return Err(error.at_partition(self.topic_name(), self.id()));
                }
            }
        }
        Ok(())
    }
}

/// What is to be appended to several partitions before any of it may be removed again, added up:
/// they share budgets.
#[derive(Debug, Default)]
pub(crate) struct Needed {
    of_topics: BTreeMap<TopicId, u64>,
    of_store: u64,
}

impl Needed {
    /// Adds what comes to one partition, as one batch or as several. Fails where that never has
    /// room, and as full where all so far has none now without a wait.
    pub(crate) fn add(&mut self, to: &Partition, bytes: u64, is_one_batch: bool) -> Result<()> {
        let sum = self.of_topics.entry(to.topic_id()).or_default();
        *sum = sum.saturating_add(bytes);
        check_all(to, (&to.topic_budget, Scope::Topic), (*sum, bytes, is_one_batch))?;
        let Some(store) = &to.store_budget else { return Ok(()) };
        self.of_store = self.of_store.saturating_add(bytes);
        check_all(to, (store, Scope::Store), (self.of_store, bytes, is_one_batch))
    }
}

/// Whether a budget has room for what comes to one partition, and for all with it. What drops its
/// oldest has all of its room; but where several batches come, not for more than half, for the
/// segment that the first of them lie in is not dropped.
fn check_all(
    to: &Partition,
    (budget, scope): (&Budget, Scope),
    (all, bytes, is_one_batch): (u64, u64, bool),
) -> Result<()> {
    let Some(limit) = budget.limit() else { return Ok(()) };
    if is_one_batch {
        check_fits(to, budget, bytes, scope)?;
    }
    let room = match budget.when_full() {
        WhenFull::DropOldest if !is_one_batch && bytes > limit / 2 => limit / 2,
        WhenFull::DropOldest => limit,
        WhenFull::Fail | WhenFull::Block(_) => limit.saturating_sub(budget.used()),
    };
    if all <= room {
        return Ok(());
    }
    let text = format!("{all} bytes, and the {} has room for {room} now", scope.name());
    Err(Error::new("append", Cause::Full(text)).at_partition(to.topic_name(), to.id()))
}

/// Which partitions share a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Topic,
    Store,
}

impl Scope {
    fn name(self) -> &'static str {
        match self {
            Scope::Topic => "topic",
            Scope::Store => "store",
        }
    }
}

fn check_fits(partition: &Partition, budget: &Budget, bytes: u64, scope: Scope) -> Result<()> {
    let Some(limit) = budget.limit().filter(|limit| bytes > *limit) else { return Ok(()) };
    let what = match scope {
        Scope::Topic => "the batch, of what its topic may hold (`max_bytes`),",
        Scope::Store => "the batch, of what the store may hold (`max_bytes`),",
    };
    let error = Error::new("append", Cause::TooLarge { what, size: bytes, limit });
    Err(error.at_partition(partition.topic_name(), partition.id()))
}

#[cold]
fn make_room(partition: &Partition, budget: &Budget, bytes: u64, scope: Scope) -> Result<Reserved> {
    partition.check_fits(bytes)?; // into both: else room is made in one for nothing
    let full = |what: &str| {
        let (of, used) = (scope.name(), budget.used());
        let limit = budget.limit().unwrap_or(u64::MAX);
        let text = format!("{bytes} bytes more than the {used} of {limit} the {of} holds: {what}");
        Error::new("append", Cause::Full(text)).at_partition(partition.topic_name(), partition.id())
    };
    match budget.when_full() {
        WhenFull::Fail => Err(full("`max_bytes` is spent")),
        WhenFull::Block(patience) => {
            let deadline = deadline_after(patience);
            loop {
                if let Some(reserved) = budget.try_reserve(bytes) {
                    return Ok(reserved);
                }
                let until = run_own_work(partition, deadline);
                let is_last = until == deadline;
                if !budget.wait_for_room(bytes, until) && is_last || budget.is_closed() {
                    partition.gate().check("append")?;
                    return Err(full("no room came free in time"));
                }
            }
        }
        WhenFull::DropOldest => loop {
            if let Some(reserved) = budget.try_reserve(bytes) {
                return Ok(reserved);
            }
            let nothing = "there is nothing left to drop";
            drop_one(partition, scope).map_err(|kept| full(kept.as_deref().unwrap_or(nothing)))?;
        },
    }
}

/// Without threads of the store's own, whoever waits does the work that frees room. Returns until
/// when to wait before it looks again.
fn run_own_work(partition: &Partition, deadline: Instant) -> Instant {
    let Some(engine) = partition.gate().engine().filter(|engine| engine.is_run_by_host()) else {
        return deadline;
    };
    let next = [engine.run_due(), engine.run_maintenance()].into_iter().flatten().min();
    match next {
        Some(next) if !engine.clock_is_manual() => {
            let left = next.saturating_sub(engine.clock().monotonic());
            deadline_after(left).min(deadline)
        }
        _ => deadline, // a clock moved by hand moves on another thread, which runs what is due
    }
}

/// Drops the segment with the oldest records. What one partition fails with does not keep the
/// others from giving way. The error says what keeps the records that are left, if anything does.
fn drop_one(partition: &Partition, scope: Scope) -> Result<(), Option<String>> {
    let Some(engine) = partition.gate().engine() else { return Err(None) };
    let topics = match scope {
        Scope::Topic => engine.topic_by_id(partition.topic_id()).into_iter().collect(),
        Scope::Store => engine.topics(),
    };
    let mut kept = None;
    let mut candidates: Vec<(Timestamp, Arc<Partition>)> = Vec::new();
    for topic in topics.iter().filter(|topic| scope == Scope::Topic || !topic.is_internal()) {
        for partition in topic.partitions().iter() {
            let Ok(log) = partition.log() else { continue };
            let facts = match log.segment_facts(true) {
                Ok(facts) => facts,
                Err(error) => {
                    kept.get_or_insert(error.to_string());
                    continue;
                }
            };
            let Some(oldest) = facts.first().filter(|oldest| oldest.bytes > 0) else { continue };
            candidates.push((oldest.newest, partition.clone()));
        }
    }
    candidates.sort_by_key(|(oldest, _)| *oldest);
    let Ok(keeper) = engine.keeper() else { return Err(kept) };
    let now = engine.clock().wall();
    for (_, candidate) in candidates {
        match candidate.drop_oldest(keeper, now) {
            Ok(0) => {}
            Ok(_) => {
                engine.unlink_later(&candidate);
                return Ok(());
            }
            Err(error) => {
                kept.get_or_insert(error.to_string());
            }
        }
    }
    Err(kept)
}
