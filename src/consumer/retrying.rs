//! Records that come again: what a consumer's group gave back, and the polls that bring it.
//!
//! What a group gives back lies beside its offsets, in a place of a share group's kind for each
//! partition (`share`): so it is counted, given up and made a dead letter as there, and no body is
//! copied. The consumer whose partition it is holds what a poll has brought until it commits; it
//! lets go of it with the partition. A consumer that gives nothing back pays for a look at an empty
//! list.
//!
//! Invariants: what is held is what was taken and neither committed, given back again nor let go
//! of; what is staged was not handed out yet, and comes back if it is forgotten. Called by `later`,
//! which gives back, `fetch` and `commit`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::handle::Consumer;
use crate::config::{Durability, IsolationLevel};
use crate::error::{Cause, Error, ErrorKind, Result};
use crate::ids::Offset;
use crate::record::{RecordView, Records};
use crate::share::{
    GroupSettings, Intake, LONGEST_DELAY, LeaseFault, LeaseId, Letters, Place, Resolution,
    Settling, ShareGroup, ShareGroups, ShareStart, TakeRequest, Terms, retries_of,
};
use crate::wait::Registration;

pub(super) const OPERATION: &str = "retry later";

/// What a builder notes of it.
#[derive(Clone, Debug)]
pub(super) struct RetryTerms {
    pub(super) max_attempts: u16,
    pub(super) letters: Letters,
}

impl Default for RetryTerms {
    fn default() -> Self {
        RetryTerms { max_attempts: 5, letters: Letters::Own }
    }
}

impl RetryTerms {
    pub(super) fn validate(&self) -> Result<()> {
        if (1..=10_000).contains(&self.max_attempts) {
            return Ok(());
        }
        let (key, value) = ("max_attempts".to_owned(), self.max_attempts.to_string());
        let cause = Cause::InvalidConfig { key, value, allowed: "1 to 10,000".to_owned() };
        Err(Error::new("build consumer", cause))
    }
}

/// What a consumer's group gave back, as far as it is this consumer's.
#[derive(Debug, Default)]
pub(super) struct Retrying {
    /// None for who has no group, or cannot write.
    shares: Option<Arc<ShareGroups>>,
    terms: RetryTerms,
    joined: Option<Joined>,
    /// By the index of its slot.
    sources: BTreeMap<usize, Source>,
}

/// It is among those who take from the group's places.
#[derive(Debug)]
struct Joined {
    shares: Arc<ShareGroups>,
    group: Arc<ShareGroup>,
    settings: GroupSettings,
    member: u64,
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.shares.leave(&self.group, self.member);
    }
}

/// One partition's place.
#[derive(Debug)]
struct Source {
    place: Arc<Place>,
    registration: Registration,
    held: BTreeMap<Offset, Held>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) lease: LeaseId,
    pub(super) count: u16,
    /// It was not handed out yet.
    pub(super) is_staged: bool,
}

impl Retrying {
    pub(super) fn new(shares: Option<Arc<ShareGroups>>, terms: RetryTerms) -> Self {
        Retrying { shares, terms, joined: None, sources: BTreeMap::new() }
    }

    /// Everything is handed out.
    pub(super) fn hand_out(&mut self) {
        for source in self.sources.values_mut() {
            source.held.values_mut().for_each(|held| held.is_staged = false);
        }
    }

    pub(super) fn is_staged(&self, index: usize) -> bool {
        let source = self.sources.get(&index);
        source.is_some_and(|source| source.held.values().any(|held| held.is_staged))
    }

    /// What was not handed out comes again at once.
    pub(super) fn forget_staged(&mut self) {
        for source in self.sources.values_mut() {
            let staged = source.held.iter().filter(|(_, held)| held.is_staged);
            let items: Vec<_> = staged.map(|(at, held)| (*at, held.lease)).collect();
            if items.is_empty() {
                continue;
            }
            let word = Resolution::Release { delay: Duration::ZERO }.into();
            let how = (Settling::Each, Durability::Process);
            if let Err(error) = source.place.settle(&items, &word, how) {
                log::warn!("records that come again are held until their consumer ends: {error}");
            }
            source.held.retain(|_, held| !held.is_staged);
        }
    }

    /// The partition is another's now, or nobody's.
    pub(super) fn let_go(&mut self, index: usize) {
        if let (Some(source), Some(joined)) = (self.sources.remove(&index), &self.joined) {
            source.place.give_up(joined.member);
        }
    }

    /// All that was brought comes again at once.
    pub(super) fn let_go_of_held(&mut self) {
        let Some(joined) = &self.joined else { return };
        for source in self.sources.values_mut().filter(|source| !source.held.is_empty()) {
            source.place.give_up(joined.member);
            source.held.clear();
        }
    }

    /// Whether records of that partition have come again and are not said to be done.
    pub(super) fn has_handed_out(&self, index: usize) -> bool {
        self.sources.get(&index).is_some_and(|source| !source.handed_out().is_empty())
    }

    pub(super) fn held(&self, index: usize, offset: Offset) -> Option<Held> {
        self.sources.get(&index)?.held.get(&offset).copied()
    }

    pub(super) fn forget(&mut self, index: usize, offset: Offset) {
        if let Some(source) = self.sources.get_mut(&index) {
            source.held.remove(&offset);
        }
    }
}

impl Consumer {
    /// The place of what was given back of a partition.
    pub(super) fn retry_place(&mut self, index: usize) -> Result<Arc<Place>> {
        if let Some(source) = self.retrying.sources.get(&index) {
            return Ok(source.place.clone());
        }
        self.join_retries(index)?;
        let (Some(joined), Some(slot)) = (&self.retrying.joined, self.assignment.get(index)) else {
            let text = "the consumer keeps nothing for later".to_owned();
            return Err(Error::new(OPERATION, Cause::InvalidArgument(text)));
        };
        let place = joined.shares.place(&joined.group, &slot.partition, ShareStart::Earliest)?;
        place.give_up_others(joined.member);
        let registration = self.assignment.wake_by(place.work());
        let source = Source { place: place.clone(), registration, held: BTreeMap::new() };
        self.retrying.sources.insert(index, source);
        Ok(place)
    }

    fn join_retries(&mut self, index: usize) -> Result<()> {
        let (Some(shares), None) = (&self.retrying.shares, &self.retrying.joined) else {
            return Ok(());
        };
        let (shares, group) = (shares.clone(), self.group_name()?.clone());
        let read = self.assignment.get(index).map(|slot| &**slot.origin.topic());
        let terms = &self.retrying.terms;
        let fate = terms.letters.fate(&self.engine, &group, read.into_iter())?;
        let settings = GroupSettings {
            max_deliveries: terms.max_attempts,
            max_in_flight: 100_000,
            intake: Intake::GivenBack,
            // what it was given may be given again, whoever wrote it
            isolation: IsolationLevel::ReadUncommitted,
            plain: self.options.plain,
            ..GroupSettings::default()
        };
        let terms = Terms { settings, fate, filter: None };
        let group = shares.join(&retries_of(&group), &terms)?;
        let member = shares.next_member();
        self.retrying.joined = Some(Joined { shares, group, settings, member });
        Ok(())
    }

    /// Looks for what was given back of partitions that have come.
    fn look_at_added(&mut self) -> Result<()> {
        let added = self.assignment.take_added();
        let (Some(shares), Some(group)) = (&self.retrying.shares, &self.group) else {
            return Ok(());
        };
        let Some(retries) = shares.retries_of(group) else { return Ok(()) };
        for (at, index) in added.iter().enumerate() {
            let slot = self.assignment.get(*index);
            if !slot.is_some_and(|slot| retries.has_read(&slot.partition)) {
                continue;
            }
            match self.retry_place(*index) {
                Err(error) if error.kind() == ErrorKind::NotFound => {} // a topic that is gone
                Err(error) => {
                    added[at..].iter().for_each(|index| self.assignment.add_again(*index));
                    return Err(error); // until it can be looked at
                }
                Ok(_) => {}
            }
        }
        Ok(())
    }

    /// Stages what is to come again now, and has the next of it wake who waits.
    pub(super) fn take_retries(&mut self) -> Result<()> {
        if self.assignment.has_added() {
            self.look_at_added()?;
        }
        if self.retrying.sources.is_empty() {
            return Ok(());
        }
        self.engine.run_own_work(); // where no thread of the store's ends delays
        let indexes: Vec<usize> = self.retrying.sources.keys().copied().collect();
        for index in indexes {
            if self.is_full() {
                break;
            }
            if self.has_retries_of(index)
                && let Err(error) = self.take_retries_of(index)
            {
                match error.kind() {
                    ErrorKind::NotFound => {} // its topic is gone
                    _ if self.stage.has_records() => self.failed = Some((index, error)),
                    _ => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Whether there is something now; else whoever waits is woken for it.
    fn has_retries_of(&self, index: usize) -> bool {
        let (Some(source), Some(joined)) =
            (self.retrying.sources.get(&index), &self.retrying.joined)
        else {
            return false;
        };
        if self.assignment.get(index).is_none_or(|slot| slot.paused) {
            return false;
        }
        let has_work = || source.place.has_work(&joined.settings);
        has_work() || {
            self.assignment.set().arm(&source.registration);
            has_work()
        }
    }

    fn take_retries_of(&mut self, index: usize) -> Result<()> {
        let (max_records, max_bytes) = self.room();
        let Some(joined) = &self.retrying.joined else { return Ok(()) };
        let Some(source) = self.retrying.sources.get_mut(&index) else { return Ok(()) };
        let lease = joined.shares.next_lease(joined.member);
        let request = TakeRequest { lease, lasts: LONGEST_DELAY, max_records, max_bytes };
        let (mut records, mut notes) = (Records::default(), Vec::new());
        source.place.take(request, &mut records, &mut notes)?;
        let mut bytes = 0;
        for (record, note) in records.iter().zip(&notes) {
            let held = Held { lease, count: note.count, is_staged: true };
            source.held.insert(record.offset(), held);
            bytes += record.key().map_or(0, <[u8]>::len) + record.value().map_or(0, <[u8]>::len);
        }
        self.stage.add(records, bytes);
        Ok(())
    }

    /// What came again and was handed out is done: the group has committed.
    pub(super) fn finish_retries(&mut self, of: &[usize], durability: Durability) -> Result<()> {
        for (index, source) in &mut self.retrying.sources {
            let items = source.handed_out();
            if items.is_empty() || !of.contains(index) {
                continue;
            }
            let how = (Settling::Each, durability);
            source.place.settle(&items, &Resolution::Ack.into(), how)?;
            source.held.retain(|_, held| held.is_staged);
        }
        Ok(())
    }

    /// The same for a task.
    pub(super) async fn finish_retries_later(&mut self, durability: Durability) -> Result<()> {
        for source in self.retrying.sources.values_mut() {
            let items = source.handed_out();
            if items.is_empty() {
                continue;
            }
            let (word, how) = (Resolution::Ack.into(), (Settling::Each, durability));
            source.place.clone().settle_later(items, word, how).await?;
            source.held.retain(|_, held| held.is_staged);
        }
        Ok(())
    }

    /// Finishes one record that came again; `None` where it did not.
    pub(super) fn finish_retry(&mut self, record: &RecordView<'_>) -> Option<Result<()>> {
        let index = self.assignment.index_of(record.topic(), record.partition())?;
        let (offset, held) = (record.offset(), self.retrying.held(index, record.offset())?);
        let place = self.retrying.sources.get(&index)?.place.clone();
        let how = (Settling::Whole, self.options.durability);
        let settled = place.settle(&[(offset, held.lease)], &Resolution::Ack.into(), how);
        let settled = settled.and_then(|settled| refused(&place, offset, settled.first()));
        if settled.is_ok() {
            self.retrying.forget(index, offset);
        }
        Some(settled)
    }
}

impl Source {
    fn handed_out(&self) -> Vec<(Offset, LeaseId)> {
        let held = self.held.iter().filter(|(_, held)| !held.is_staged);
        held.map(|(at, held)| (*at, held.lease)).collect()
    }
}

pub(super) fn refused(
    place: &Place,
    offset: Offset,
    settled: Option<&Result<(), LeaseFault>>,
) -> Result<()> {
    let Some(Err(fault)) = settled else { return Ok(()) };
    let partition = place.partition();
    let error = fault.into_error(OPERATION, offset);
    Err(error.at_partition(partition.topic_name(), partition.id()))
}
