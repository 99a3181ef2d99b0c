//! What happened in a run, as the host saw it, and what that promises: the reference that a store
//! found after a crash is compared with.
//!
//! A story is a list of deeds, each with the number of the call to the disk that had been made by
//! then. Before a call counts what was told with a lower number: something begun may have taken
//! effect, something that returned is a promise. Each value names its topic, the topic's
//! incarnation, its partition, a number used once, and its place in its batch, so that a record in
//! a wrong place, a stale one, a doubled one or half a batch is seen at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidelog::{LeaderEpoch, TopicId};

use crate::common::golden::Payload;
use crate::verdict::{Found, Partition, Promise};

#[path = "story/cuts.rs"]
mod cuts;
#[path = "story/deeds.rs"]
mod deeds;
#[path = "story/transactions.rs"]
mod transactions;
#[path = "story/work.rs"]
pub mod work;

use cuts::Cutting;
pub use deeds::Deed;
use transactions::Open;
pub use transactions::Whole;

/// A batch of a partition, by its number.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    pub number: u64,
    pub count: u32,
    /// Bytes of each value.
    pub size: usize,
}

/// A deed, and how many calls to the disk had been made.
pub type Story = Vec<(u64, Deed)>;

#[derive(Clone, Debug)]
pub struct Acknowledged {
    pub number: u64,
    pub place: u32,
    pub epoch: LeaderEpoch,
    pub power: bool,
}

/// What is known of one partition of one incarnation of a topic.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    pub tried: BTreeMap<u64, Batch>,
    pub acknowledged: BTreeMap<i64, Acknowledged>,
    /// The log start lies at or above the first and at or below the second.
    pub starts: (i64, i64),
    /// The second before the last trim was begun.
    before_trim: i64,
    /// What another hand wrote, by offset.
    pub foreign: Arc<BTreeMap<i64, Payload>>,
    /// Not every offset has a record that is shown.
    pub has_gaps: bool,
    /// It is compacted.
    pub is_thinned: bool,
    /// Cuts that are under way, or failed half way.
    cuts: Vec<Cutting>,
}

#[derive(Clone, Debug, Default)]
pub struct Incarnation {
    /// Known once the creation was acknowledged.
    pub id: Option<TopicId>,
    pub created: bool,
    pub deleting: bool,
    /// The same before the last deletion was begun.
    was_deleting: bool,
    pub deleted: bool,
    pub partitions: u32,
    pub kept: BTreeMap<u32, Kept>,
}

/// What a group committed for a partition.
#[derive(Clone, Debug, Default)]
pub struct Commits {
    /// Every offset tried, in order.
    pub tried: Vec<i64>,
    /// Places in `tried`, one behind, of the last that was promised to outlive the process and a
    /// power cut.
    pub process: usize,
    pub power: usize,
    pub may_be_gone: bool,
    /// The same before the group's last deletion was begun.
    might_be_gone: bool,
    /// It is gone, up to this place in `tried`.
    pub gone: usize,
}

/// All that a story promises.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub topics: BTreeMap<&'static str, Vec<Incarnation>>,
    pub commits: BTreeMap<(&'static str, &'static str, u32), Commits>,
    pub backup: Option<Backup>,
    /// Transactions that are open, by their id.
    open: BTreeMap<&'static str, Open>,
    /// Those that count as a whole, or not at all.
    pub wholes: Vec<Whole>,
    pub work: work::Work,
}

/// A backup: what it holds, and whether it is promised to be there.
#[derive(Clone, Debug)]
pub struct Backup {
    pub of: Box<Model>,
    pub is_done: bool,
}

/// The value of a record.
pub fn value(topic: &str, incarnation: usize, partition: u32, batch: Batch, place: u32) -> Vec<u8> {
    let Batch { number, count, size } = batch;
    let mut value =
        format!("{topic}.{incarnation}/{partition}#{number}:{place}/{count}|").into_bytes();
    // not zeros, which a lost sector would leave as well
    let fill = b'a' + u8::try_from(number % 26).unwrap_or(0);
    value.resize(size.max(value.len()), fill);
    value
}

/// The key of a batch's records, where they have one.
pub fn key(number: u64) -> &'static str {
    ["p", "q", "r"][usize::try_from(number % 3).unwrap_or(0)]
}

/// The numbers of a value: batch, place.
pub fn numbers(value: &[u8]) -> Option<(u64, u32)> {
    let text = value.split(|byte| *byte == b'|').next()?;
    let (_, numbers) = std::str::from_utf8(text).ok()?.split_once('#')?;
    let (number, place) = numbers.split_once(':')?;
    Some((number.parse().ok()?, place.split_once('/')?.0.parse().ok()?))
}

impl Model {
    /// What is promised before the call of that number.
    pub fn before(story: &Story, call: u64) -> Model {
        let mut model = Model::default();
        story.iter().take_while(|(at, _)| *at < call).for_each(|(_, deed)| model.tell(deed));
        model
    }

    pub fn last(&mut self, topic: &'static str) -> &mut Incarnation {
        let all = self.topics.entry(topic).or_default();
        if all.is_empty() {
            all.push(Incarnation::default());
        }
        all.last_mut().expect("there is one")
    }

    fn kept(&mut self, topic: &'static str, partition: u32) -> &mut Kept {
        self.last(topic).kept.entry(partition).or_default()
    }

    fn every(&mut self) -> impl Iterator<Item = &mut Kept> {
        self.topics.values_mut().flatten().flat_map(|topic| topic.kept.values_mut())
    }

    pub fn tell(&mut self, deed: &Deed) {
        match *deed {
            Deed::Creating { topic } => {
                self.topics.entry(topic).or_default().push(Incarnation::default());
            }
            Deed::Created { topic, id, partitions } => {
                let topic = self.last(topic);
                (topic.id, topic.created) = (id, true);
                topic.partitions = topic.partitions.max(partitions);
            }
            Deed::NotCreated { topic } => drop(self.topics.get_mut(topic).and_then(Vec::pop)),
            Deed::Deleting { topic } => {
                let last = self.last(topic);
                (last.was_deleting, last.deleting) = (last.deleting, true);
                let of = self.commits.iter_mut().filter(|((_, each, _), _)| *each == topic);
                of.for_each(|(_, commits)| commits.may_be_gone = true);
            }
            Deed::Deleted { topic } => self.last(topic).deleted = true,
            Deed::NotDeleted { topic } => {
                let last = self.last(topic);
                last.deleting = last.was_deleting;
            }
            Deed::Trimming { topic, partition, to } => {
                let kept = self.kept(topic, partition);
                kept.before_trim = kept.starts.1;
                kept.starts.1 = kept.starts.1.max(to);
            }
            Deed::NotTrimmed { topic, partition } => {
                let kept = self.kept(topic, partition);
                kept.starts.1 = kept.before_trim;
            }
            Deed::Trimmed { topic, partition, start } => {
                let kept = self.kept(topic, partition);
                kept.starts = (kept.starts.0.max(start), kept.starts.1.max(start));
            }
            Deed::Retaining => self.every().for_each(|kept| kept.starts.1 = i64::MAX),
            Deed::BackingUp => {
                let of = Box::new(Model { backup: None, ..self.clone() });
                self.backup = Some(Backup { of, is_done: false });
            }
            Deed::BackedUp => self.backup.iter_mut().for_each(|backup| backup.is_done = true),
            Deed::Work { number, word } => self.work.tell(number, word),
            Deed::Found { topic, ref records } => self.kept(topic, 0).foreign = records.clone(),
            Deed::Beginning { .. }
            | Deed::Joining { .. }
            | Deed::Joined { .. }
            | Deed::Staging { .. }
            | Deed::Deciding { .. }
            | Deed::Decided { .. }
            | Deed::Dropped { .. } => self.tell_of_transactions(deed),
            Deed::Cutting { topic, partition, .. }
            | Deed::Cut { topic, partition }
            | Deed::NotCut { topic, partition }
            | Deed::Skipping { topic, partition }
            | Deed::Thinning { topic, partition } => self.kept(topic, partition).tell_of_cuts(deed),
            Deed::Committing { .. }
            | Deed::Committed { .. }
            | Deed::NotCommitted { .. }
            | Deed::Forgetting { .. }
            | Deed::NotForgot { .. }
            | Deed::Forgot { .. } => self.tell_of_groups(deed),
            _ => self.tell_of_records(deed),
        }
    }

    fn tell_of_records(&mut self, deed: &Deed) {
        match *deed {
            Deed::Sending { topic, partition, batch } => {
                self.kept(topic, partition).tried.insert(batch.number, batch);
            }
            Deed::Sent { topic, partition, number, offset, epoch } => {
                let kept = self.kept(topic, partition);
                for place in 0..kept.tried[&number].count {
                    let one = Acknowledged { number, place, epoch, power: false };
                    kept.acknowledged.insert(offset + i64::from(place), one);
                }
            }
            Deed::NotSent { topic, partition, number } => {
                self.kept(topic, partition).tried.remove(&number);
            }
            Deed::Durable { topic, partition, end } => {
                let kept = self.kept(topic, partition);
                kept.acknowledged.range_mut(..end).for_each(|(_, one)| one.power = true);
            }
            Deed::AllDurable => {
                self.work.durable();
                let all = self.every().flat_map(|kept| kept.acknowledged.values_mut());
                all.for_each(|one| one.power = true);
            }
            _ => {}
        }
    }

    fn tell_of_groups(&mut self, deed: &Deed) {
        match *deed {
            Deed::Committing { group, topic, partition, offset } => {
                let commits = self.commits.entry((group, topic, partition)).or_default();
                commits.tried.push(offset);
            }
            Deed::Committed { group, topic, partition, offset, power } => {
                let commits = self.commits.entry((group, topic, partition)).or_default();
                let at =
                    commits.tried.iter().rposition(|tried| *tried == offset).expect("tried") + 1;
                commits.process = at;
                if power {
                    commits.power = at;
                }
            }
            Deed::NotCommitted { group, topic, partition } => {
                let commits = self.commits.entry((group, topic, partition)).or_default();
                commits.tried.pop();
            }
            Deed::Forgetting { group } | Deed::Forgot { group } | Deed::NotForgot { group } => {
                let of = self.commits.iter_mut().filter(|((each, ..), _)| *each == group);
                of.for_each(|(_, commits)| commits.tell_of_forgetting(deed));
            }
            _ => {}
        }
    }
}

impl Commits {
    fn tell_of_forgetting(&mut self, deed: &Deed) {
        match deed {
            Deed::Forgetting { .. } => {
                (self.might_be_gone, self.may_be_gone) = (self.may_be_gone, true);
            }
            Deed::NotForgot { .. } => self.may_be_gone = self.might_be_gone,
            _ => self.gone = self.tried.len(),
        }
    }
}

impl Model {
    /// The same when nothing of it has to be there.
    pub fn without_promises(&self) -> Model {
        let mut model = self.clone();
        for topic in model.topics.values_mut().flatten() {
            (topic.created, topic.deleting, topic.deleted) = (false, true, false);
            topic.partitions = 0;
            for kept in topic.kept.values_mut() {
                kept.starts = (0, i64::MAX);
                kept.acknowledged.clear();
            }
        }
        model.commits.clear();
        model.backup = None;
        model.wholes.clear();
        model
    }

    /// Takes what is found after a crash for all there is: what is gone is no promise any more, and
    /// what is there and lies on the device is one.
    pub fn settle(&mut self, found: &Found, promise: Promise) {
        self.settle_transactions(found);
        let is_durable = promise == Promise::Power;
        for (name, incarnations) in &mut self.topics {
            let topic = found.topics.get(*name);
            let Some(topic) = topic else {
                if incarnations.last().is_some_and(|last| !last.created) {
                    incarnations.pop();
                }
                if let Some(last) = incarnations.last_mut() {
                    last.deleted = true;
                }
                continue;
            };
            let known = |one: &Incarnation| one.id.is_some() && one.id == topic.id;
            if let Some(at) = incarnations.iter().position(known) {
                incarnations.truncate(at + 1); // what came after never was
            }
            let Some(current) = incarnations.last_mut() else { continue };
            (current.id, current.created, current.deleting) = (topic.id, true, false);
            let there = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
            current.partitions = current.partitions.max(there);
            for (number, partition) in (0u32..).zip(&topic.partitions) {
                current.kept.entry(number).or_default().settle(partition, is_durable);
            }
        }
        for ((group, topic, partition), commits) in &mut self.commits {
            let place = ((*group).to_owned(), (*topic).to_owned(), *partition);
            let found = found.commits.get(&place);
            let at = found.and_then(|at| commits.tried.iter().rposition(|tried| tried == at));
            commits.tried.truncate(at.map_or(0, |at| at + 1));
            commits.process = commits.tried.len();
            commits.power =
                if is_durable { commits.process } else { commits.power.min(commits.process) };
            commits.gone = commits.gone.min(commits.tried.len().saturating_sub(1));
            commits.may_be_gone = false;
        }
    }
}

impl Kept {
    fn settle(&mut self, found: &Partition, is_durable: bool) {
        self.settle_cut(found);
        let before = std::mem::take(&mut self.acknowledged);
        for (offset, epoch, bytes) in &found.records {
            let Some((number, place)) = numbers(bytes) else { continue };
            let was = before.get(offset).filter(|was| was.number == number);
            let power = is_durable || was.is_some_and(|was| was.power);
            let epoch = LeaderEpoch::new(epoch.unwrap_or(0));
            self.acknowledged.insert(*offset, Acknowledged { number, place, epoch, power });
        }
    }
}
