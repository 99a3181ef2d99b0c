//! The partitions a consumer reads: their positions, and the list of those worth looking at.
//!
//! A [`Slot`] is one partition's place. It is either on the ready list, or armed at its
//! partition's signal, or paused; so a round looks only at what may have something. A slot's index
//! is its token in the wait set and may be used again once the partition is gone.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::options::Options;
use super::ranked::Ranked;
use super::undecided::DECIDED;
use crate::config::{Durability, Priority};
use crate::engine::Partition;
use crate::error::{Cause, Error, Result};
use crate::ids::{LeaderEpoch, Offset, PartitionId};
use crate::log::{Cursor, TagReader};
use crate::priority::{PriorityLanes, Weights};
use crate::record::RecordsOrigin;
use crate::stats::PinCounter;
use crate::wait::{Registration, Signal, WaitSet};

/// Where a reader stands in a partition.
#[derive(Clone, Debug)]
pub(super) struct Position {
    pub(super) offset: Offset,
    /// That of the last record before it, read or not.
    pub(super) epoch: Option<LeaderEpoch>,
    pub(super) cursor: Option<Cursor>,
}

/// The position behind the last record that was handed out: what a commit commits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delivered {
    pub(super) offset: Offset,
    pub(super) epoch: Option<LeaderEpoch>,
}

impl Delivered {
    pub(super) fn behind(position: &Position) -> Self {
        Delivered { offset: position.offset, epoch: position.epoch }
    }
}

/// What lies between a position and the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Records.
    Records,
    /// Offsets that have no records: what was delivered before them reaches over them.
    Empty,
    /// Whatever a reset policy leaves out: not delivered, and not committed for itself.
    Jump,
}

/// What was fetched of a partition and not handed out yet.
#[derive(Debug)]
pub(super) struct Ahead {
    pub(super) position: Position,
    /// What a commit will commit once it is handed out.
    pub(super) delivered: Option<Delivered>,
}

/// One assigned partition.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) partition: Arc<Partition>,
    /// This consumer's own: what is handed out shares no count with others.
    pub(super) origin: Arc<RecordsOrigin>,
    registration: Registration,
    /// `None` until it has been decided where reading begins.
    pub(super) position: Option<Position>,
    /// Where the reset policy had a group begin that had committed nothing.
    pub(super) began: Option<Offset>,
    pub(super) ahead: Option<Ahead>,
    pub(super) delivered: Option<Delivered>,
    /// What this consumer committed last, and how durably.
    pub(super) committed: Option<(Offset, Durability)>,
    /// The log was truncated below what is committed: the next commit may go back.
    pub(super) truncated: bool,
    /// How often the log's offsets had fallen when it was last looked for a cut.
    falls: Option<u64>,
    pub(super) paused: bool,
    /// It appeared after the consumer was built.
    pub(super) is_new: bool,
    queued: bool,
    /// What a read of it looks at was asked for, and it was not read since.
    pub(super) is_near: bool,
    /// The tags of the segment it is in, of a reader of some.
    pub(super) tags: TagReader,
    /// What it counts as beside others.
    priority: Priority,
}

impl Slot {
    /// Where the next fetch begins, once that has been decided.
    pub(super) fn next(&self) -> Option<&Position> {
        self.ahead.as_ref().map(|ahead| &ahead.position).or(self.position.as_ref())
    }

    fn next_mut(&mut self) -> Option<&mut Position> {
        self.ahead.as_mut().map(|ahead| &mut ahead.position).or(self.position.as_mut())
    }

    /// A position that was chosen, not reached by reading, takes the epoch of the record before
    /// it: else nothing would tell that the log is cut below it.
    pub(super) fn learn_epoch(&mut self) -> Result<()> {
        let Some(at) = self.next().filter(|at| at.epoch.is_none()) else { return Ok(()) };
        let epoch = self.partition.epoch_before(at.offset)?;
        if let Some(at) = self.next_mut() {
            at.epoch = epoch;
        }
        Ok(())
    }

    /// Fails as truncated where the log was cut below the position. Looks only where it may have
    /// been: whenever another process writes it, and where its offsets have fallen since.
    pub(super) fn check_cut(&mut self) -> Result<()> {
        let falls = self.partition.falls()?; // before the epochs: what falls later is met again
        if self.falls == Some(falls) && self.partition.followed().is_none() {
            return Ok(());
        }
        if let Some(Position { offset, epoch: Some(epoch), .. }) = self.next() {
            self.partition.check_epoch("poll", *offset, *epoch)?;
        }
        self.falls = Some(falls);
        Ok(())
    }

    /// Goes ahead without handing anything out; returns whether it is the first time since.
    pub(super) fn go_ahead(&mut self, position: Position, step: Step) -> bool {
        let before = self.next().map(|position| position.offset);
        let delivered = self.ahead.as_ref().map_or(self.delivered, |ahead| ahead.delivered);
        let goes_on = delivered.is_some_and(|delivered| Some(delivered.offset) == before);
        let delivered = match step {
            Step::Records => Some(Delivered::behind(&position)),
            Step::Empty if goes_on => Some(Delivered::behind(&position)),
            Step::Empty | Step::Jump => delivered,
        };
        self.ahead.replace(Ahead { position, delivered }).is_none()
    }

    /// Makes what was fetched the position.
    pub(super) fn hand_out(&mut self) {
        let Some(ahead) = self.ahead.take() else { return };
        self.delivered = ahead.delivered;
        self.position = Some(ahead.position);
    }

    /// Moves to another place; what was handed out before stays what a commit commits.
    pub(super) fn move_to(&mut self, offset: Offset, epoch: Option<LeaderEpoch>) {
        self.ahead = None;
        self.position = Some(Position { offset, epoch, cursor: None });
    }

    /// Moves behind what cannot be read, as if it had been handed out.
    pub(super) fn skip_to(&mut self, offset: Offset) {
        let before = self.position.as_ref().map(|position| position.offset);
        if self.delivered.is_none_or(|delivered| Some(delivered.offset) == before) {
            self.delivered = Some(Delivered { offset, epoch: None });
        }
        self.move_to(offset, None);
    }

    /// Names this partition in an error.
    pub(super) fn named(&self, error: Error) -> Error {
        error.at_partition(self.partition.topic_name(), self.partition.id())
    }
}

/// All assigned partitions and what they are waited for with.
#[derive(Debug)]
pub(super) struct Assignment {
    slots: Vec<Option<Slot>>,
    /// Places of slots that are gone.
    free: Vec<usize>,
    index: HashMap<Arc<str>, BTreeMap<PartitionId, usize>>,
    ready: VecDeque<usize>,
    /// In its place once a partition has a priority.
    ranked: Option<Box<Ranked>>,
    weights: Weights,
    /// Found empty and not armed; see `watch`.
    pub(super) watched: Vec<usize>,
    /// Without a position yet; see `undecided`.
    pub(super) undecided: BTreeSet<usize>,
    pub(super) decided: Option<Registration>,
    set: WaitSet,
    /// The bits of the tags whose records it is woken for; 0 for all records.
    interest: u64,
    /// Told of topics that come and go, and of the store's close.
    catalog: Registration,
    /// Told by the group of what is to be done; `None` outside groups.
    member: Option<Registration>,
    drained: Vec<usize>,
    /// Slots that are new; nobody has asked for them yet.
    added: Vec<usize>,
    /// What the consumer's records keep in memory.
    pinned: Arc<PinCounter>,
    /// Topics have changed, or the group has something to say, since this was last taken.
    is_stirred: bool,
}

/// The token of the catalog's signal; no slot has this index.
const CATALOG: usize = usize::MAX;
/// The token of a wait's own timer.
pub(super) const TIMER: usize = usize::MAX - 1;
/// The token of the signal of the consumer's place in a group.
const MEMBER: usize = usize::MAX - 2;

impl Assignment {
    pub(super) fn new(
        catalog: &Arc<Signal>,
        options: &Options,
        interest: u64,
        pinned: Arc<PinCounter>,
    ) -> Self {
        let set = WaitSet::new().spin(options.spin);
        let catalog = set.register(catalog, CATALOG);
        set.arm(&catalog);
        Assignment {
            slots: Vec::new(),
            free: Vec::new(),
            index: HashMap::new(),
            ready: VecDeque::new(),
            ranked: None,
            weights: options.weights,
            watched: Vec::new(),
            undecided: BTreeSet::new(),
            decided: None,
            set,
            interest,
            catalog,
            member: None,
            drained: Vec::new(),
            added: Vec::new(),
            pinned,
            is_stirred: true,
        }
    }

    /// Has the group's signal wake the consumer too.
    pub(super) fn listen(&mut self, member: &Arc<Signal>) {
        let registration = self.set.register(member, MEMBER);
        self.set.arm(&registration);
        self.member = Some(registration);
    }

    pub(super) fn set(&self) -> &WaitSet {
        &self.set
    }

    /// Adds a partition, ready at first; returns its index. One that is there already stays as it
    /// is.
    pub(super) fn add(&mut self, partition: &Arc<Partition>, is_new: bool) -> usize {
        if let Some(index) = self.index_of(partition.topic_name(), partition.id()) {
            return index;
        }
        let free = self.free.pop();
        let index = free.unwrap_or(self.slots.len());
        let known = self.index.get_key_value(partition.topic_name());
        let own = || Arc::from(&**partition.topic_name());
        let topic: Arc<str> = known.map_or_else(own, |(topic, _)| topic.clone());
        let slot = Slot {
            partition: partition.clone(),
            origin: RecordsOrigin::of(&topic, partition.id(), &self.pinned),
            registration: partition.register(&self.set, index, self.interest),
            position: None,
            began: None,
            ahead: None,
            delivered: None,
            committed: None,
            truncated: false,
            falls: None,
            paused: false,
            is_new,
            queued: false,
            is_near: false,
            tags: TagReader::default(),
            priority: self.priority_of(partition),
        };
        match free {
            Some(index) => self.slots[index] = Some(slot),
            None => self.slots.push(Some(slot)),
        }
        self.index.entry(topic).or_default().insert(partition.id(), index);
        self.added.push(index);
        self.queue(index);
        index
    }

    pub(super) fn has_added(&self) -> bool {
        !self.added.is_empty()
    }

    /// Those that have come since this was last asked.
    pub(super) fn take_added(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.added)
    }

    /// One is to be asked for once more.
    pub(super) fn add_again(&mut self, index: usize) {
        self.added.push(index);
    }

    /// Lets a signal wake who waits, and nothing else.
    pub(super) fn wake_by(&self, signal: &Arc<Signal>) -> Registration {
        self.set.register(signal, TIMER)
    }

    /// Takes slots out; what they stood for is read no more.
    pub(super) fn remove(&mut self, indexes: &[usize]) {
        for index in indexes {
            let Some(slot) = self.slots.get_mut(*index).and_then(Option::take) else { continue };
            if let Some(topic) = self.index.get_mut(slot.partition.topic_name()) {
                topic.remove(&slot.partition.id());
                if topic.is_empty() {
                    self.index.remove(slot.partition.topic_name());
                }
            }
            self.free.push(*index);
        }
        let slots = &self.slots;
        let is_there = |index: &usize| slots.get(*index).is_some_and(Option::is_some);
        self.ready.retain(is_there);
        if let Some(ranked) = &mut self.ranked {
            ranked.retain(is_there);
        }
        self.watched.retain(is_there);
        self.undecided.retain(is_there);
    }

    pub(super) fn index_of(&self, topic: &str, partition: PartitionId) -> Option<usize> {
        self.index.get(topic)?.get(&partition).copied()
    }

    /// The slot of a partition the caller named.
    pub(super) fn find(&self, topic: &str, partition: PartitionId) -> Result<usize> {
        self.index_of(topic, partition).ok_or_else(|| {
            let (what, name) = ("assigned partition", format!("{topic}-{partition}"));
            Error::new("find partition", Cause::NotFound { what, name })
        })
    }

    pub(super) fn get(&self, index: usize) -> Option<&Slot> {
        self.slots.get(index)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Slot> {
        self.slots.get_mut(index)?.as_mut()
    }

    /// How many indexes there are, those of slots that are gone too.
    pub(super) fn places(&self) -> usize {
        self.slots.len()
    }

    /// Every slot with its index.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Slot)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| Some((index, slot.as_ref()?)))
    }

    /// Puts a slot at the end of the ready list, unless it is there or paused.
    pub(super) fn queue(&mut self, index: usize) {
        if let Some(priority) = self.mark_queued(index) {
            match &mut self.ranked {
                None => self.ready.push_back(index),
                Some(ranked) => ranked.push_back(index, priority),
            }
        }
    }

    /// Puts a slot at the front: it is the next to be looked at.
    pub(super) fn queue_first(&mut self, index: usize) {
        if let Some(priority) = self.mark_queued(index) {
            match &mut self.ranked {
                None => self.ready.push_front(index),
                Some(ranked) => ranked.push_front(index, priority),
            }
        }
    }

    fn mark_queued(&mut self, index: usize) -> Option<Priority> {
        let slot = self.get_mut(index).filter(|slot| !slot.queued && !slot.paused)?;
        slot.queued = true;
        Some(slot.priority)
    }

    /// What a partition counts as; with the first that has a priority the list is one by those.
    fn priority_of(&mut self, partition: &Partition) -> Priority {
        let lanes = partition.config().and_then(|config| PriorityLanes::of(&config));
        let Some(lanes) = lanes else { return Priority::default() };
        if self.ranked.is_none() {
            let mut ranked = Ranked::new(self.weights);
            for index in std::mem::take(&mut self.ready) {
                ranked.push_back(index, Priority::default()); // none had lanes
            }
            self.ranked = Some(Box::new(ranked));
        }
        lanes.priority_of(partition.id())
    }

    /// How many looks a round takes: one at each that is ready; with priorities, where turns are
    /// short, as many as it takes for the lower ones to have theirs.
    pub(super) fn turns(&self) -> usize {
        const EACH: usize = 4;
        self.ranked.as_ref().map_or(self.ready.len(), |ranked| EACH * ranked.len())
    }

    /// How many records a read is to fetch, for the sake of others; `None` without others.
    pub(super) fn most(&self) -> Option<u64> {
        self.ranked.as_ref()?.most()
    }

    /// What came of a read.
    pub(super) fn charge(&mut self, records: usize) {
        if let Some(ranked) = &mut self.ranked {
            ranked.charge(records);
        }
    }

    /// The next slot to look at; paused ones fall off the list.
    pub(super) fn pop(&mut self) -> Option<usize> {
        loop {
            let index = match &mut self.ranked {
                None => self.ready.pop_front()?,
                Some(ranked) => ranked.pop()?,
            };
            let Some(slot) = self.get_mut(index) else { continue };
            slot.queued = false;
            if !slot.paused {
                return Some(index);
            }
        }
    }

    pub(super) fn ready_len(&self) -> usize {
        self.ranked.as_ref().map_or(self.ready.len(), |ranked| ranked.len())
    }

    /// Has the partition wake us when it has more. The caller looks once more after this.
    pub(super) fn arm(&self, index: usize) {
        if let Some(slot) = self.get(index) {
            self.set.arm(&slot.registration);
        }
    }

    /// Has changes of topics and of the group wake the consumer. The caller looks at both after
    /// this.
    pub(super) fn arm_changes(&self) {
        self.set.arm(&self.catalog);
        if let Some(member) = &self.member {
            self.set.arm(member);
        }
    }

    /// Takes over what has become ready since.
    pub(super) fn drain(&mut self) {
        let mut tokens = std::mem::take(&mut self.drained);
        self.set.drain_ready(&mut tokens);
        for token in tokens.drain(..) {
            match token {
                CATALOG | MEMBER => self.is_stirred = true,
                DECIDED => self.queue_undecided(),
                TIMER => {} // whoever set it looks at its signal
                index => self.queue(index),
            }
        }
        self.drained = tokens;
    }

    /// Whether topics or the group have changed since this was asked last; at first they have.
    pub(super) fn take_stirred(&mut self) -> bool {
        std::mem::take(&mut self.is_stirred)
    }

    /// What came of a change could not be taken in: the next look is to try again.
    pub(super) fn stir(&mut self) {
        self.is_stirred = true;
    }
}
