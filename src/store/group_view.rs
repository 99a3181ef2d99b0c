//! Groups as operators see them: a line of a list, and everything there is about one.
//!
//! Snapshots that hold nothing open. Members live in this process; of a group that Kafka's members
//! last led, only what lies in the log is known.

use std::collections::HashMap;
use std::sync::Arc;

use super::handle::Store;
use super::share_groups::ShareGroupPartition;
use crate::error::{ErrorKind, Result};
use crate::group::{GroupKind, GroupPhase, Roster};
use crate::ids::{Generation, Offset, PartitionId};
use crate::time::Timestamp;

/// One group of [`Store::groups`].
///
/// ```
/// # use tidelog::{Offset, OffsetCommit, Store, TopicConfig};
/// # let store = Store::in_memory()?;
/// # store.create_topic("orders", TopicConfig::new())?;
/// # let mut consumer = store.consumer("billing").assign([("orders", 0)]).build()?;
/// # consumer.commit_offsets(&[OffsetCommit::new("orders", 0, Offset::ZERO)])?;
/// for group in store.groups()? {
///     println!("{} {} {} {}", group.name, group.kind, group.phase, group.members);
/// }
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupListing {
    /// The name.
    pub name: String,
    /// Which protocol its members speak, or spoke.
    pub kind: GroupKind,
    /// How far it is with dividing its partitions.
    pub phase: GroupPhase,
    /// How many members it has in this process.
    pub members: usize,
}

/// A group as it was at one moment; made by [`Store::describe_group`].
///
/// ```
/// use tidelog::{GroupKind, GroupPhase, Record, Store, TopicConfig};
/// use std::time::Duration;
/// let store = Store::in_memory()?;
/// store.create_topic("orders", TopicConfig::new())?;
/// let orders = store.producer().build()?.topic("orders")?;
/// orders.send(Record::new("hello"))?;
/// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
/// consumer.poll(Duration::from_secs(1))?;
/// consumer.commit()?;
/// orders.send(Record::new("again"))?;
/// let group = store.describe_group("billing")?;
/// assert_eq!((group.members.len(), group.partitions[0].lag), (1, Some(1)));
/// assert!(group.partitions[0].owner.is_some());
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupDescription {
    /// The name.
    pub name: String,
    /// Which protocol its members speak, or spoke.
    pub kind: GroupKind,
    /// How far it is with dividing its partitions.
    pub phase: GroupPhase,
    /// How often it has divided them, over all opens.
    pub generation: Generation,
    /// What divides them; `None` without members.
    pub assignor: Option<String>,
    /// Why the sticky assignor divided them this time instead of that one: what that one said
    /// broke the rules, or it panicked.
    pub fallback: Option<String>,
    /// Its members, in order of joining; none of a share group, whose consumers have no names.
    pub members: Vec<GroupMember>,
    /// What it has committed for, follows or reads, by topic and partition.
    pub partitions: Vec<GroupPartition>,
}

/// A member of a group.
///
/// ```
/// # use tidelog::{Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.create_topic("orders", TopicConfig::new())?;
/// let consumer = store.consumer("billing").subscribe(["orders"]).build()?;
/// assert_eq!(store.describe_group("billing")?.members[0].topics, ["orders"]);
/// # drop(consumer);
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupMember {
    /// Its name within the group; never used twice while the process runs.
    pub id: String,
    /// The identity it was given, if any.
    pub instance_id: Option<String>,
    /// The topics it follows.
    pub topics: Vec<String>,
    /// The partitions it may read now.
    pub owned: Vec<(String, PartitionId)>,
}

/// A partition as a group sees it.
///
/// ```
/// # use tidelog::{Offset, OffsetCommit, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.create_topic("orders", TopicConfig::new())?;
/// let mut consumer = store.consumer("billing").assign([("orders", 0)]).build()?;
/// consumer.commit_offsets(&[OffsetCommit::new("orders", 0, Offset::ZERO).metadata("sum=7")])?;
/// let partition = &store.describe_group("billing")?.partitions[0];
/// assert_eq!((partition.committed, &*partition.metadata), (Some(Offset::ZERO), "sum=7"));
/// assert_eq!(partition.owner, None);
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupPartition {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: PartitionId,
    /// Where the group reads next; `None` where it has not committed. Of a share group: where what
    /// is not finished begins.
    pub committed: Option<Offset>,
    /// When it committed that.
    pub committed_at: Option<Timestamp>,
    /// The text committed with it.
    pub metadata: String,
    /// One past the last record that can be read; `None` where the partition cannot be looked at.
    pub end: Option<Offset>,
    /// Offsets between the two; `None` where one of them is not known.
    pub lag: Option<u64>,
    /// The member that may read it now.
    pub owner: Option<String>,
}

fn phase_of_shared(consumers: usize) -> GroupPhase {
    if consumers == 0 { GroupPhase::Empty } else { GroupPhase::Stable }
}

impl GroupListing {
    pub(super) fn of_share_group(name: &str, consumers: usize) -> Self {
        let phase = phase_of_shared(consumers);
        GroupListing { name: name.to_owned(), kind: GroupKind::Share, phase, members: consumers }
    }

    pub(super) fn of(store: &Store, name: &str) -> Result<Self> {
        let kept = store.offsets.kept("list groups", name)?;
        let roster = store.offsets.roster(name);
        Ok(GroupListing {
            name: name.to_owned(),
            kind: kept.kind,
            phase: phase(roster.as_ref()),
            members: roster.map_or(0, |roster| roster.members.len()),
        })
    }
}

impl GroupDescription {
    pub(super) fn of(store: &Store, name: &str) -> Result<Self> {
        let kept = match store.offsets.kept("describe group", name) {
            Err(error) if error.kind() == ErrorKind::NotFound && store.shares.contains(name) => {
                return Self::of_share_group(store, name);
            }
            kept => kept?,
        };
        let roster = store.offsets.roster(name);
        let members = roster.as_ref().map_or_else(Vec::new, members_of);
        let partitions = partitions_of(store, name, roster.as_ref())?;
        Ok(GroupDescription {
            name: name.to_owned(),
            kind: kept.kind,
            phase: phase(roster.as_ref()),
            generation: kept.generation,
            fallback: roster.as_ref().and_then(|roster| roster.fallback.clone()),
            assignor: roster.and_then(|roster| roster.assignor).map(|name| name.to_string()),
            members,
            partitions,
        })
    }
}

impl GroupDescription {
    /// Its consumers have no names, nobody divides its partitions.
    fn of_share_group(store: &Store, name: &str) -> Result<Self> {
        let group = store.describe_share_group(name)?;
        let partition = |it: &ShareGroupPartition| GroupPartition {
            topic: it.topic.clone(),
            partition: it.partition,
            committed: Some(it.start),
            committed_at: None,
            metadata: String::new(),
            end: store.engine.topic(&it.topic).ok().and_then(|topic| {
                let offsets = topic.partition(it.partition).ok()?.offsets().ok()?;
                Some(offsets.last_stable())
            }),
            lag: it.lag,
            owner: None,
        };
        Ok(GroupDescription {
            kind: GroupKind::Share,
            phase: phase_of_shared(group.consumers),
            generation: Generation::default(),
            assignor: None,
            fallback: None,
            members: Vec::new(),
            partitions: group.partitions.iter().map(partition).collect(),
            name: group.name,
        })
    }
}

fn phase(roster: Option<&Roster>) -> GroupPhase {
    roster.map_or(GroupPhase::Empty, |roster| roster.phase)
}

fn members_of(roster: &Roster) -> Vec<GroupMember> {
    let of = |member: &crate::group::RosterMember| GroupMember {
        id: member.id.clone(),
        instance_id: member.instance_id.clone(),
        topics: member.topics.iter().map(ToString::to_string).collect(),
        owned: member.owned.iter().map(|(topic, id)| (topic.to_string(), *id)).collect(),
    };
    roster.members.iter().map(of).collect()
}

fn partitions_of(
    store: &Store,
    name: &str,
    roster: Option<&Roster>,
) -> Result<Vec<GroupPartition>> {
    let mut owners: HashMap<(Arc<str>, PartitionId), String> = HashMap::new();
    let mut places = Vec::new();
    for member in roster.iter().flat_map(|roster| &roster.members) {
        for place in &member.owned {
            owners.insert(place.clone(), member.id.clone());
        }
        for topic in &member.topics {
            let Ok(topic) = store.engine.topic(topic) else { continue };
            places.extend(topic.partitions().iter().cloned());
        }
    }
    let committed = store.offsets.all_committed(name)?;
    places.extend(committed.into_iter().map(|(partition, _)| partition));
    places.sort_by(|a, b| (a.topic_name(), a.id()).cmp(&(b.topic_name(), b.id())));
    places.dedup_by(|a, b| Arc::ptr_eq(a, b));
    let mut partitions = Vec::with_capacity(places.len());
    for partition in places {
        let committed = store.offsets.committed(name, &partition)?;
        let end = partition.offsets().ok().map(|offsets| offsets.last_stable());
        let offset = committed.as_ref().map(|committed| committed.offset());
        let place = (partition.topic_name().clone(), partition.id());
        partitions.push(GroupPartition {
            topic: place.0.to_string(),
            partition: place.1,
            committed: offset,
            committed_at: committed.as_ref().map(|committed| committed.committed_at()),
            metadata: committed.map_or_else(String::new, |it| it.metadata().to_owned()),
            end,
            lag: end.zip(offset).map(|(end, offset)| end.since(offset)),
            owner: owners.remove(&place),
        });
    }
    Ok(partitions)
}
