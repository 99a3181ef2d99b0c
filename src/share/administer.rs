//! What operators see of share groups and do with them; what becomes of them with their topics.
//!
//! A group is moved or ended only while it has no consumers. What ends is ended by tombstones, and
//! they are durable before memory forgets. Called by `store`.

use std::sync::Arc;

use super::change::Delta;
use super::groups::{PlaceKey, Places, ShareGroup, ShareGroups};
use super::place::{Place, Slot};
use super::schema::{Part, ShareKey};
use super::settings::{Fate, Intake, RETRIES_OF, Terms};
use super::state::ShareState;
use crate::config::Durability;
use crate::dead_letters::Turn;
use crate::engine::{Partition, Topic};
use crate::error::{Cause, Error, Result};
use crate::ids::{Offset, PartitionId, TopicId};
use crate::state_log::Change;

/// One partition as a share group sees it.
#[derive(Clone, Debug)]
pub(crate) struct PlaceView {
    pub(crate) partition: Arc<Partition>,
    /// Everything below it is finished.
    pub(crate) start: Offset,
    /// Everything below it was handed out or is finished.
    pub(crate) end: Offset,
    pub(crate) leased: usize,
    pub(crate) delayed: usize,
    pub(crate) open: usize,
    pub(crate) archived: u64,
    pub(crate) buried: u64,
    /// What is to become dead letters.
    pub(crate) owed: usize,
    pub(crate) lost: u64,
    pub(crate) damaged: u64,
    /// What it stops at.
    pub(crate) stopped: usize,
    pub(crate) intake: Intake,
}

impl ShareGroups {
    /// The groups there are, with how many consumers each has.
    pub(crate) fn list(&self) -> Vec<(Arc<str>, usize)> {
        let is_listed = |group: &&Arc<ShareGroup>| {
            let places = group.places.lock();
            let has_read = !places.used.is_empty() || !places.saved.is_empty();
            has_read || !group.name.starts_with(RETRIES_OF)
        };
        let all = self.all();
        let listed = all.iter().filter(is_listed);
        listed.map(|group| (group.name.clone(), group.live.lock().consumers)).collect()
    }

    /// Whether there is a share group of that name.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.groups.lock().contains_key(name)
    }

    /// Refuses the name of a share group to what is none.
    pub(crate) fn check_free(&self, operation: &'static str, name: &str) -> Result<()> {
        if !self.contains(name) {
            return Ok(());
        }
        let text = format!("`{}` is a share group", name.chars().take(64).collect::<String>());
        Err(Error::new(operation, Cause::InvalidArgument(text)))
    }

    /// How many consumers a group has, and the partitions it has read.
    pub(crate) fn describe(&self, name: &str) -> Result<(usize, Vec<PlaceView>)> {
        let group = self.known("describe share group", name)?;
        let consumers = group.live.lock().consumers;
        let places = self.make_all(&group)?;
        let mut views: Vec<PlaceView> = places.iter().map(|place| place.view()).collect();
        views.sort_by(|a, b| {
            let key = |it: &PlaceView| (it.partition.topic_name().clone(), it.partition.id());
            key(a).cmp(&key(b))
        });
        Ok((consumers, views))
    }

    /// Ends a group and all it has read; durable when it returns.
    pub(crate) fn delete(&self, name: &str) -> Result<()> {
        const OPERATION: &str = "delete share group";
        self.kept.engine.check_writable(OPERATION)?;
        self.kept.engine.check_open(OPERATION)?;
        let group = self.known(OPERATION, name)?;
        check_empty(OPERATION, &group)?;
        let mut turn = self.kept.burying.letters.turn(); // nothing is buried meanwhile
        self.take_over_all(&group, &mut turn)?;
        let mut groups = self.groups.lock();
        if groups.get(name).is_none_or(|known| !Arc::ptr_eq(known, &group)) {
            return Err(unknown(OPERATION, name)); // by another call meanwhile
        }
        check_empty(OPERATION, &group)?;
        let mut places = group.places.lock();
        let keys = places.keys();
        places.used.values().for_each(|place| place.slot.lock().is_gone = true);
        if let Err(error) = self.forget(&group, &keys, &mut turn) {
            // what of it is left says so; who comes again begins with what the log has
            places.used.values().for_each(|place| place.come_back());
            return Err(error);
        }
        for place in places.used.values() {
            place.slot.lock().set_fate(Fate::Unsaid); // whoever still has it buries nothing
        }
        for key in &keys {
            if let Some(partition) = self.partition(key) {
                partition.end_hold_of_group(name);
            }
        }
        *places = Places { is_gone: true, ..Places::default() };
        groups.remove(name);
        Ok(())
    }

    /// What was noted of a group's places is taken over by their states: else a stop between the
    /// note's end and the state's would have its letters made again.
    fn take_over_all(&self, group: &ShareGroup, turn: &mut Turn) -> Result<()> {
        let burying = &self.kept.burying;
        burying.letters.settle_last(turn)?;
        let keys = group.places.lock().keys();
        for key in keys {
            let from = group.moved_from(key);
            burying.letters.check_decided(&from)?;
            if burying.letters.moved(&from).is_some()
                && let Some(partition) = self.partition(&key)
            {
                let place = self.place(group, &partition, super::ShareStart::Earliest)?;
                burying.finish(&place, &from, turn)?;
            }
        }
        Ok(())
    }

    /// Whether a group may be deleted now; does what its deletion could fail with for good.
    pub(crate) fn prepare_deletion(&self, name: &str) -> Result<()> {
        const OPERATION: &str = "delete share group";
        let group = self.known(OPERATION, name)?;
        check_empty(OPERATION, &group)?;
        self.take_over_all(&group, &mut self.kept.burying.letters.turn())
    }

    /// Moves a group in one partition: what it has open there is forgotten, and it goes on with
    /// `to`. Nobody joins the group meanwhile.
    pub(crate) fn reset(
        &self,
        name: &str,
        partition: &Arc<Partition>,
        to: Offset,
        durability: Durability,
    ) -> Result<()> {
        const OPERATION: &str = "reset share group";
        let group = self.known(OPERATION, name)?;
        check_empty(OPERATION, &group)?;
        let offsets = partition.offsets()?;
        if to < offsets.start || to > offsets.end {
            let (start, end) = (offsets.start, offsets.end);
            let cause = Cause::OutOfRange { requested: to, start, end };
            return Err(Error::new(OPERATION, cause));
        }
        let place = self.place(&group, partition, super::ShareStart::Earliest)?;
        let mut turn = self.kept.burying.letters.turn(); // nothing is buried meanwhile
        self.kept.burying.take_over(&place, &mut turn)?;
        let now = place.now();
        let groups = self.groups.lock();
        if groups.get(name).is_none_or(|known| !Arc::ptr_eq(known, &group)) {
            return Err(unknown(OPERATION, name)); // deleted meanwhile
        }
        check_empty(OPERATION, &group)?;
        let end = {
            let mut slot = place.slot.lock();
            let (settings, fate) = (slot.settings, slot.fate.clone());
            let state = ShareState::new(to.get(), settings.max_deliveries);
            let mut fresh = Slot::new(state, &Terms { settings, fate, filter: None });
            let snapshot = slot.snapshot;
            (fresh.snapshot, fresh.asked) = (snapshot, slot.asked);
            fresh.is_gone = slot.is_gone;
            let written = place.write(&mut fresh, &Delta::default(), now);
            // what is in the log then is laid over by the next record, if that says all
            slot.must_snapshot |= written.as_ref().is_err_and(|_| fresh.must_snapshot);
            let end = written?;
            fresh.alarms = std::mem::take(&mut slot.alarms); // the timer comes all the same
            *slot = fresh;
            place.show(&mut slot);
            end
        };
        place.hold();
        drop(groups);
        match (durability, end) {
            (Durability::Power, Some(end)) => {
                self.kept.log.make_durable_below(place.log_partition, end)
            }
            _ => Ok(()),
        }
    }

    /// Forgets what all groups have read of a topic. To be called once it is deleted, before the
    /// call that deleted it returns.
    pub(crate) fn forget_topic(&self, topic: TopicId) -> Result<()> {
        let mut turn = self.kept.burying.letters.turn();
        for group in self.all() {
            let mut places = group.places.lock();
            let mut keys = places.keys();
            keys.retain(|key| key.0 == topic);
            let used = places.used.iter().filter(|(key, _)| key.0 == topic);
            used.for_each(|(_, place)| place.slot.lock().is_gone = true);
            self.forget(&group, &keys, &mut turn)?;
            for (_, place) in places.used.iter().filter(|(key, _)| key.0 == topic) {
                place.slot.lock().set_fate(Fate::Unsaid);
            }
            places.used.retain(|key, _| key.0 != topic);
            places.saved.retain(|key, _| key.0 != topic);
        }
        Ok(())
    }

    /// A topic's configuration has changed: its holds are those it asks for now.
    pub(crate) fn hold_again(&self, topic: &Topic) {
        for group in self.all() {
            let places = group.places.lock();
            for (key, saved) in places.saved.iter().filter(|(key, _)| key.0 == topic.id()) {
                if let Some(partition) = self.partition(key) {
                    saved.hold(&partition, &group.name);
                }
            }
            let used = places.used.iter().filter(|(key, _)| key.0 == topic.id());
            used.for_each(|(_, place)| place.hold());
        }
    }

    /// Writes tombstones, and makes them durable.
    fn forget(&self, group: &ShareGroup, keys: &[PlaceKey], turn: &mut Turn) -> Result<()> {
        let mut touched: Vec<PartitionId> = Vec::new();
        let notes: Vec<_> = keys.iter().map(|key| group.moved_from(*key)).collect();
        self.kept.burying.letters.forget(turn, &notes)?;
        for (topic, partition) in keys.iter().copied() {
            let log_partition = self.log_partition(&group.name, (topic, partition))?;
            let key = |part| ShareKey { part, group: &group.name, topic, partition }.encode();
            let (update, snapshot) = (key(Part::Update)?, key(Part::Snapshot)?);
            let changes =
                [Change { key: &update, value: None }, Change { key: &snapshot, value: None }];
            self.kept.log.append(log_partition, &changes, Durability::Process)?;
            touched.push(log_partition);
        }
        touched.sort();
        touched.dedup();
        touched.into_iter().try_for_each(|partition| self.kept.log.make_durable(partition))
    }

    pub(super) fn known(&self, operation: &'static str, name: &str) -> Result<Arc<ShareGroup>> {
        self.kept.engine.check_open(operation)?;
        self.existing(name).ok_or_else(|| unknown(operation, name))
    }

    /// The places of a group in topics that exist, those of an earlier life too.
    fn make_all(&self, group: &ShareGroup) -> Result<Vec<Arc<Place>>> {
        let saved: Vec<PlaceKey> = group.places.lock().saved.keys().copied().collect();
        for key in saved {
            if let Some(partition) = self.partition(&key) {
                self.place(group, &partition, super::ShareStart::Earliest)?;
            }
        }
        Ok(group.places.lock().used.values().cloned().collect())
    }
}

impl Place {
    /// It was not deleted after all: its next record says everything.
    fn come_back(&self) {
        let mut slot = self.slot.lock();
        (slot.is_gone, slot.must_snapshot) = (false, true);
    }

    fn view(&self) -> PlaceView {
        let slot = self.slot.lock();
        PlaceView {
            partition: self.partition.clone(),
            start: Offset::new(slot.state.start()),
            end: Offset::new(slot.state.end()),
            leased: slot.state.leased_len(),
            delayed: slot.state.parked_len(),
            open: slot.state.open_len(),
            archived: self.archived.get(),
            buried: self.buried.get(),
            owed: slot.state.exhausted_len(),
            lost: self.lost.get(),
            damaged: self.damaged.get(),
            stopped: if slot.fate == Fate::Stop { slot.state.exhausted_len() } else { 0 },
            intake: slot.settings.intake,
        }
    }
}

pub(super) fn unknown(operation: &'static str, name: &str) -> Error {
    let name = name.chars().take(64).collect();
    Error::new(operation, Cause::NotFound { what: "share group", name })
}

fn check_empty(operation: &'static str, group: &ShareGroup) -> Result<()> {
    let consumers = group.live.lock().consumers;
    if consumers == 0 {
        return Ok(());
    }
    let text = format!("share group `{}` has {consumers} consumers", group.name);
    Err(Error::new(operation, Cause::GroupNotEmpty(text)))
}
