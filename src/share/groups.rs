//! All share groups of a store: who is in them, and what the log says of each.
//!
//! The log is read once, when the store opens; a place is made of what it says with the first
//! consumer that comes to it. A state belongs to a topic's identity: one made again under the name
//! is another topic. Before a state of an earlier life is used it is held against the partition's
//! epochs: where the log was cut below it, what it says of the cut-off records counts no more.
//!
//! Locks: the table of groups, then one group's tables, which are held across the first append of
//! a place.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::administer::unknown;
use super::burying::Burying;
use super::deliveries::{Finished, LeaseId};
use super::place::{Place, Slot};
use super::replayed::{self, Told};
use super::saved::{Saved, SavedRun, SavedState};
use super::schema::{Part, ShareKey, encode_value};
use super::settings::{Fate, GroupSettings, Intake, RETRIES_OF, ShareStart, Terms, retries_of};
use super::sieve::Sieve;
use super::state::{Now, ShareState};
use crate::config::{Durability, TopicConfig};
use crate::dead_letters::{DeadLetters, Moved, MovedFrom};
use crate::engine::{Engine, Partition};
use crate::error::{Cause, Error, Result};
use crate::ids::{Offset, PartitionId, TopicId};
use crate::state_log::wire::partition_of_name;
use crate::state_log::{Change, StateLog};
use crate::stats::Counter;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::time::Timestamp;

/// Kafka's name for the topic.
pub(super) const STATE_TOPIC: &str = "__share_group_state";

/// The longest group name, in bytes: what the format can hold.
const GROUP_NAME_LIMIT: usize = 0x7fff;

/// All share groups of a store.
#[derive(Debug)]
pub(crate) struct ShareGroups {
    pub(super) kept: Arc<Kept>,
    pub(super) groups: Mutex<BTreeMap<Arc<str>, Arc<ShareGroup>>>,
    /// Partitions of the log whose groups are not known.
    unread: BTreeMap<PartitionId, Error>,
    skipped: Counter,
    members: AtomicU64,
    takes: AtomicU64,
}

/// What every place needs of the store.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) engine: Arc<Engine>,
    pub(super) log: StateLog,
    pub(super) burying: Arc<Burying>,
}

/// Where in the store a state belongs.
pub(super) type PlaceKey = (TopicId, PartitionId);

/// One share group.
#[derive(Debug)]
pub(crate) struct ShareGroup {
    pub(super) name: Arc<str>,
    pub(super) live: Mutex<Live>,
    pub(super) places: Mutex<Places>,
}

/// Who is in a group.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// Of those who are in it, or were last.
    pub(super) terms: Terms,
    pub(super) consumers: usize,
}

/// What a group has read.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub(super) used: BTreeMap<PlaceKey, Arc<Place>>,
    /// Of an earlier life, and not used since.
    pub(super) saved: BTreeMap<PlaceKey, Saved>,
    /// The group is deleted: one made again under its name is another.
    pub(super) is_gone: bool,
}

impl ShareGroup {
    /// Under which its dead letters of a partition are noted.
    pub(super) fn moved_from(&self, (topic, partition): PlaceKey) -> MovedFrom {
        MovedFrom { group: Some(self.name.clone()), topic, partition }
    }
}

impl Places {
    /// All it has read.
    pub(super) fn keys(&self) -> Vec<PlaceKey> {
        self.used.keys().chain(self.saved.keys()).copied().collect()
    }
}

impl ShareGroups {
    /// Reads what the log says. Costs nothing in a store that never had a share group.
    pub(crate) fn open(engine: Arc<Engine>, letters: Arc<DeadLetters>) -> Result<Arc<Self>> {
        // Kafka's: 50 partitions; compacted, like all internal topics
        let config =
            TopicConfig::new().partitions(50).segment_bytes(100 << 20).max_batch_bytes(64 << 20);
        let log = StateLog::new(engine.clone(), STATE_TOPIC, config);
        let Told { groups, skipped, faults } = replayed::read(&log)?;
        let made = groups.into_iter().map(|(name, saved)| {
            let places = Mutex::new(Places { saved, ..Places::default() });
            (name.clone(), Arc::new(ShareGroup { name, live: Mutex::default(), places }))
        });
        let groups = Mutex::new(made.collect());
        let unreadable = Counter::default();
        unreadable.add(faults + skipped.places);
        Ok(Arc::new(ShareGroups {
            kept: Arc::new(Kept { burying: Burying::new(engine.clone(), letters), engine, log }),
            groups,
            unread: skipped.unread,
            skipped: unreadable,
            members: AtomicU64::new(0),
            takes: AtomicU64::new(0),
        }))
    }

    /// Records of the log that could not be understood, since the store was opened.
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped.get()
    }

    /// Has every topic that asks for it keep what is still owed. Called when the store opens,
    /// before anything is removed.
    pub(crate) fn hold_all(&self) {
        for group in self.all() {
            let places = group.places.lock();
            for (key, saved) in &places.saved {
                if let Some(partition) = self.partition(key) {
                    saved.hold(&partition, &group.name);
                }
            }
            places.used.values().for_each(|place| place.hold());
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<ShareGroup>> {
        self.groups.lock().values().cloned().collect()
    }

    pub(super) fn existing(&self, name: &str) -> Option<Arc<ShareGroup>> {
        self.groups.lock().get(name).cloned()
    }

    pub(super) fn partition(&self, (topic, partition): &PlaceKey) -> Option<Arc<Partition>> {
        self.kept.engine.topic_by_id(*topic)?.partition(*partition).ok()
    }

    /// A number that no consumer has had before.
    pub(crate) fn next_member(&self) -> u64 {
        self.members.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// A lease that nobody has had before.
    pub(crate) fn next_lease(&self, member: u64) -> LeaseId {
        LeaseId { member, take: self.takes.fetch_add(1, Ordering::AcqRel) + 1 }
    }

    /// The group with one consumer more. Refused where others have joined it on other terms.
    pub(crate) fn join(&self, name: &str, terms: &Terms) -> Result<Arc<ShareGroup>> {
        const OPERATION: &str = "join share group";
        self.kept.engine.check_open(OPERATION)?;
        self.kept.engine.check_writable(OPERATION)?;
        check_name(name)?;
        let group = {
            let mut groups = self.groups.lock();
            let group = groups.entry(Arc::from(name)).or_insert_with_key(|name| {
                let (live, places) = (Mutex::default(), Mutex::default());
                Arc::new(ShareGroup { name: name.clone(), live, places })
            });
            let mut live = group.live.lock();
            if live.consumers > 0 && !live.terms.agree(terms) {
                let text =
                    format!("the consumers of share group `{name}` agree on {:?}", live.terms);
                return Err(Error::new(OPERATION, Cause::InvalidArgument(text)));
            }
            live.consumers += 1;
            live.terms = terms.clone();
            drop(live);
            group.clone()
        };
        let places: Vec<Arc<Place>> = group.places.lock().used.values().cloned().collect();
        places.iter().for_each(|place| place.set_terms(terms));
        Ok(group)
    }

    /// Where what a group gives up goes, as far as its consumers have said.
    pub(crate) fn letter_topic(&self, group: &str) -> Option<Arc<str>> {
        let groups = [self.existing(group), self.existing(&retries_of(group))];
        groups.into_iter().flatten().find_map(|group| match &group.live.lock().terms.fate {
            Fate::Bury(topic) => Some(topic.clone()),
            Fate::Unsaid | Fate::Archive | Fate::Stop => None,
        })
    }

    /// The group that keeps what the ordinary one of that name gave back, if it ever did.
    pub(crate) fn retries_of(&self, group: &str) -> Option<Arc<ShareGroup>> {
        self.existing(&retries_of(group))
    }

    /// One consumer less; what it holds is given up.
    pub(crate) fn leave(&self, group: &ShareGroup, member: u64) {
        let places: Vec<Arc<Place>> = group.places.lock().used.values().cloned().collect();
        places.iter().for_each(|place| place.give_up(member));
        let mut groups = self.groups.lock();
        let is_last = {
            let mut live = group.live.lock();
            live.consumers -= 1;
            live.consumers == 0
        };
        let places = group.places.lock();
        if is_last && places.used.is_empty() && places.saved.is_empty() {
            groups.remove(&group.name);
        }
    }

    /// One group in one partition; where it begins is decided with its first use, and written.
    pub(crate) fn place(
        &self,
        group: &ShareGroup,
        partition: &Arc<Partition>,
        start: ShareStart,
    ) -> Result<Arc<Place>> {
        let key = (partition.topic_id(), partition.id());
        let clock = self.kept.engine.clock();
        let now = Now { mono: clock.monotonic(), wall: clock.wall() };
        let log_partition = self.log_partition(&group.name, key)?;
        let mut places = group.places.lock();
        if places.is_gone {
            return Err(unknown("look up share group", &group.name));
        }
        if let Some(place) = places.used.get(&key) {
            return Ok(place.clone());
        }
        // under that lock: who joins later finds the place and tells it its own
        let mut terms = group.live.lock().terms.clone();
        if group.name.starts_with(RETRIES_OF) {
            terms.settings.intake = Intake::GivenBack; // before anybody has come too
        }
        let settings = terms.settings;
        let buried = self.kept.burying.letters.moved(&group.moved_from(key));
        let slot = match places.saved.get(&key) {
            Some(saved) => {
                let mut saved = saved.clone();
                if let Some(buried) = &buried {
                    lay_over_buried(&mut saved, buried, partition)?;
                }
                let state = ShareState::restore(&saved.state, settings.max_deliveries, now);
                self.restore(partition, (saved.snapshot, state), &terms)?
            }
            None => {
                let start = self.first_start(partition, start, settings)?;
                Slot::new(ShareState::new(start.get(), settings.max_deliveries), &terms)
            }
        };
        let mut slot = slot;
        slot.state.tick(now.mono); // delays that are over
        let is_new = !places.saved.contains_key(&key);
        let place = Place::new(self.kept.clone(), &group.name, partition, (log_partition, slot));
        if is_new {
            let mut slot = place.slot.lock();
            place.write(&mut slot, &super::change::Delta::default(), now)?;
        }
        place.hold();
        if buried.is_some() {
            self.kept.burying.ask(Arc::downgrade(&place)); // its state is to say so too
        }
        places.saved.remove(&key);
        places.used.insert(key, place.clone());
        Ok(place)
    }

    fn first_start(
        &self,
        partition: &Partition,
        start: ShareStart,
        settings: GroupSettings,
    ) -> Result<Offset> {
        let offsets = partition.offsets()?;
        let latest = offsets.bound(settings.isolation);
        Ok(match start {
            ShareStart::Earliest => offsets.start,
            ShareStart::Latest => latest,
            ShareStart::At(wanted) => {
                partition.offset_at(wanted, settings.isolation)?.unwrap_or(latest)
            }
        })
    }

    fn restore(
        &self,
        partition: &Partition,
        (snapshot, state): (i32, ShareState),
        terms: &Terms,
    ) -> Result<Slot> {
        let mut slot = Slot::new(state, terms);
        slot.snapshot = snapshot; // the next record says all: what was touched is not known
        slot.lacks_keys = terms.settings.ordered;
        slot.follow_cuts(partition)?;
        Ok(slot)
    }

    /// Where the state of a place lies in the log; fails where that place is lost.
    pub(super) fn log_partition(&self, group: &str, key: PlaceKey) -> Result<PartitionId> {
        let name = format!("{group}:{}:{}", key.0, key.1);
        let partition = partition_of_name(&name, self.kept.log.partition_count()?);
        let partition = PartitionId::new(partition);
        match self.unread.get(&partition) {
            Some(error) => Err(error.again()),
            None => Ok(partition),
        }
    }
}

impl Kept {
    /// Appends what a place's state is; returns the end of the log.
    pub(super) fn append(
        &self,
        place: &Place,
        (part, number): (Part, i32),
        saved: &SavedState,
        written: Timestamp,
    ) -> Result<Offset> {
        let (topic, partition) = (place.partition.topic_id(), place.partition.id());
        let key = ShareKey { part, group: &place.group, topic, partition }.encode()?;
        let value = encode_value(saved, part, number, written);
        let change = Change { key: &key, value: Some(&value) };
        self.log.append(place.log_partition, &[change], Durability::Process)
    }
}

impl ShareGroup {
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether it has read a partition, in this life or an earlier one.
    pub(crate) fn has_read(&self, partition: &Partition) -> bool {
        let (key, places) = ((partition.topic_id(), partition.id()), self.places.lock());
        places.used.contains_key(&key) || places.saved.contains_key(&key)
    }

    /// Its place in a partition, if it has read there.
    pub(super) fn used(&self, partition: &Partition) -> Option<Arc<Place>> {
        self.places.lock().used.get(&(partition.topic_id(), partition.id())).cloned()
    }
}

impl Place {
    /// Other consumers have come, on other terms.
    fn set_terms(&self, terms: &Terms) {
        let settings = terms.settings;
        let mut slot = self.slot.lock();
        slot.set_fate(terms.fate.clone());
        slot.lacks_keys |= settings.ordered && !slot.settings.ordered;
        if slot.settings.max_deliveries != settings.max_deliveries {
            slot.state.set_most(settings.max_deliveries);
        }
        slot.settings = settings;
        let end = slot.state.end();
        slot.sieve = match (slot.sieve.take(), &terms.filter) {
            (Some(sieve), Some(filter)) if sieve.filter.is_same(filter) => Some(sieve),
            (_, filter) => filter.clone().map(|filter| Sieve::new(filter, end)),
        };
        self.show(&mut slot);
        drop(slot);
        self.hear_for(terms.filter.as_ref());
    }
}

/// What has become dead letters is finished, whatever the state says of it: that was not said
/// before an earlier life ended.
fn lay_over_buried(saved: &mut Saved, buried: &Moved, partition: &Partition) -> Result<()> {
    let mut end = i64::MAX;
    if let (Some(epoch), Some(last)) = (buried.epoch, buried.runs.last())
        && let Err(error) = partition.check_epoch("read share group", Offset::new(last + 1), epoch)
    {
        match error.cause() {
            // it was cut: what lies there now is something else
            Cause::LogTruncated { epoch_end, .. } => end = epoch_end.get(),
            _ => return Err(error),
        }
    }
    for (first, last, ()) in buried.runs.within(saved.state.start, end - 1) {
        let open = saved
            .state
            .runs
            .within(first, last)
            .filter(|run| matches!(run.2, SavedRun::Open { .. } | SavedRun::Owed { .. }));
        let open: Vec<(i64, i64, SavedRun)> = open.collect();
        for (first, last, _) in open {
            saved.state.runs.set(first, last, SavedRun::Done(Finished::Archived));
        }
    }
    Ok(())
}

/// Refuses a name that cannot be a group's.
pub(super) fn check_name(group: &str) -> Result<()> {
    let reason = match group.len() {
        0 => "it is empty",
        1..=GROUP_NAME_LIMIT => return Ok(()),
        _ => "it is longer than 32,767 bytes",
    };
    let name = group.chars().take(64).collect();
    Err(Error::new("name group", Cause::InvalidName { what: "group", name, reason }))
}

/// How long the first lease lasts where nothing is said: Kafka's.
pub(crate) const LEASE: Duration = Duration::from_secs(30);
