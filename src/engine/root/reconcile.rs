//! What the catalog says against what the directory holds: a pure plan, one case to a row.
//!
//! | catalog | directory `<topic>-<n>` | ours wrote last | another hand did |
//! | --- | --- | --- | --- |
//! | has it | same id | open | open |
//! | has it | no readable id, log or nothing recorded | open, write the id again | same |
//! | has it | no readable id, no log, something recorded | damage | damage |
//! | has it | no readable id, log, a deleted namesake awaits its end | damage, left alone | same |
//! | has it | id of a deleted topic | delete, then as if there were none | same |
//! | has it | another id | damage, left alone | same, unless (*) |
//! | has it | none, nothing recorded | not yet made: its first append makes it | same |
//! | has it | none, something recorded | damage | damage |
//! | fewer partitions | same id | left alone | the topic has grown |
//! | fewer partitions | no or other id | left alone | left alone |
//! | deleted it | its id | finish the delete | finish the delete |
//! | deleted the name | no readable id | finish the delete | adopt |
//! | not | a live topic's id | left alone | left alone |
//! | not | neither id nor log | left alone | left alone |
//! | not | id or log | left alone | adopt |
//! | any | `...-delete` | delete | delete |
//! | any | `...-stray`, `...-future`, no partition's name | left alone | left alone |
//! | any | `__cluster_metadata-0`, `remote-log-index-cache` | not looked at | same |
//!
//! (*) No directory of the topic carries its id and one carries a new one: the other hand made the
//! topic anew. The catalog's one is gone, the new one adopted.
//!
//! Damage is an error of that partition alone. A Kafka root is an empty catalog and another hand.
//! Files are not looked at: what is unknown is none of our business. Called by the root at open;
//! the engine carries the plan out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::fact::MAX_PARTITIONS;
use super::state::{RootState, TopicState};
use crate::disk::names;
use crate::error::Error;
use crate::ids::{PartitionId, TopicId};

/// A directory of the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SeenDir {
    pub(crate) name: String,
    pub(crate) kind: DirKind,
    pub(crate) id: SeenId,
    /// Whether it holds a segment's `.log`. Not looked for where the catalog has its id.
    pub(crate) holds_log: bool,
}

/// What its name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DirKind {
    Partition {
        topic: String,
        partition: PartitionId,
    },
    /// `...-delete`.
    AwaitsDeletion,
    /// `...-stray`, `...-future`.
    SetAside,
    /// A directory Kafka keeps for itself.
    Kafkas,
    Other,
}

/// What its `partition.metadata` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SeenId {
    Missing,
    Unreadable,
    Id(TopicId),
}

/// Whose word counts where catalog and directory differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Authority {
    /// The catalog's: we wrote last.
    Catalog,
    /// The directory's: another hand wrote last.
    Directory,
}

/// What is to be done, each list in a fixed order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reconciled {
    pub(crate) open: Vec<OpenPartition>,
    /// Catalogued, without a directory, and rightly so.
    pub(crate) not_yet_made: Vec<(TopicId, PartitionId)>,
    pub(crate) missing: Vec<MissingPartition>,
    /// Directories to remove with all they hold.
    pub(crate) delete: Vec<String>,
    /// Deleted topics nothing is left of once `delete` is done: to be recorded as forgotten.
    pub(crate) forget: Vec<TopicId>,
    /// Topics another hand replaced: to be recorded as deleted and forgotten.
    pub(crate) replaced: Vec<TopicId>,
    /// Topics another hand gave more partitions, with the new total.
    pub(crate) grown: Vec<(TopicId, u32)>,
    pub(crate) adopt: Vec<AdoptedTopic>,
    /// Directories left alone, for the report.
    pub(crate) foreign: Vec<Foreign>,
}

/// A catalogued partition and its directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenPartition {
    pub(crate) topic: TopicId,
    pub(crate) partition: PartitionId,
    pub(crate) directory: String,
    /// Its `partition.metadata` is gone or unreadable and has to be written again.
    pub(crate) write_metadata: bool,
}

/// A catalogued partition that cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MissingPartition {
    pub(crate) topic: TopicId,
    pub(crate) partition: PartitionId,
    /// Where its directory should be.
    pub(crate) directory: String,
    pub(crate) why: Missing,
}

/// Why a partition cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    NoDirectory,
    NoLog,
    AnotherTopics,
    OwnerUnknown,
}

impl MissingPartition {
    /// The error of every call to this partition.
    pub(crate) fn error(&self, root: &Path) -> Error {
        let reason = match self.why {
            Missing::NoDirectory => "records were kept, but the partition's directory is gone",
            Missing::NoLog => "records were kept, but the partition's directory holds none",
            Missing::AnotherTopics => "the directory carries the id of a topic unknown here",
            Missing::OwnerUnknown => {
                "the directory has lost its topic id, and a deleted topic had its name"
            }
        };
        Error::corrupt("open partition", &root.join(&self.directory), 0, reason)
    }
}

/// A topic another hand made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AdoptedTopic {
    pub(crate) name: String,
    /// `None` where no directory names one: the engine draws one.
    pub(crate) id: Option<TopicId>,
    pub(crate) internal: bool,
    /// The highest partition and one; those without a directory are not yet made.
    pub(crate) partitions: u32,
    pub(crate) directories: Vec<AdoptedPartition>,
}

/// The directory of an adopted topic's partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AdoptedPartition {
    pub(crate) partition: PartitionId,
    pub(crate) directory: String,
    pub(crate) write_metadata: bool,
}

/// A directory that is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Foreign {
    pub(crate) directory: String,
    pub(crate) why: Why,
}

/// Why it is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    NotAPartition,
    SetAside,
    UnknownTopic,
    UnknownPartition,
    AnotherTopicsId,
    OwnerUnknown,
    Empty,
}

/// Makes the plan.
pub(crate) fn reconcile(state: &RootState, authority: Authority, dirs: &[SeenDir]) -> Reconciled {
    let mut topics: BTreeMap<&str, BTreeMap<PartitionId, &SeenDir>> = BTreeMap::new();
    let mut plan = Planner { state, authority, out: Reconciled::default(), ids: BTreeSet::new() };
    for dir in dirs {
        match &dir.kind {
            DirKind::Partition { topic, partition } => {
                topics.entry(topic).or_default().insert(*partition, dir);
            }
            DirKind::AwaitsDeletion => plan.out.delete.push(dir.name.clone()),
            DirKind::SetAside => plan.leave(dir, Why::SetAside),
            DirKind::Other => plan.leave(dir, Why::NotAPartition),
            DirKind::Kafkas => {}
        }
    }
    let mut settled = BTreeSet::new();
    for (name, dirs) in &topics {
        match state.topic_named(name) {
            Some(topic) if plan.is_replaced(topic, dirs) => {
                plan.out.replaced.push(topic.id);
                settled.insert(topic.id);
                plan.unknown_topic(name, dirs);
            }
            Some(topic) => {
                settled.insert(topic.id);
                plan.known_topic(topic, dirs);
            }
            None => plan.unknown_topic(name, dirs),
        }
    }
    for topic in state.topics().filter(|topic| !settled.contains(&topic.id)) {
        plan.known_topic(topic, &BTreeMap::new());
    }
    plan.out.forget.extend(state.deleted().map(|(id, _)| id));
    plan.out
}

struct Planner<'a> {
    state: &'a RootState,
    authority: Authority,
    out: Reconciled,
    /// Ids that adopted topics carry.
    ids: BTreeSet<TopicId>,
}

impl Planner<'_> {
    fn leave(&mut self, dir: &SeenDir, why: Why) {
        self.out.foreign.push(Foreign { directory: dir.name.clone(), why });
    }

    fn is_stranger(&self, id: TopicId) -> bool {
        self.state.topic(id).is_none() && !self.state.is_deleted(id)
    }

    /// The case (*) of the table.
    fn is_replaced(&self, topic: &TopicState, dirs: &BTreeMap<PartitionId, &SeenDir>) -> bool {
        let carries = |test: &dyn Fn(TopicId) -> bool| {
            dirs.values().any(|dir| matches!(dir.id, SeenId::Id(id) if test(id)))
        };
        self.authority == Authority::Directory
            && !carries(&|id| id == topic.id)
            && carries(&|id| self.is_stranger(id))
    }

    /// A topic of the catalog, with the directories of its name.
    fn known_topic(&mut self, topic: &TopicState, dirs: &BTreeMap<PartitionId, &SeenDir>) {
        for (number, recorded) in (0u32..).zip(&topic.partitions) {
            let partition = PartitionId::new(number);
            let kept = recorded.holds_something();
            let found = match dirs.get(&partition) {
                Some(dir) => self.known_partition(topic, dir, kept),
                None => Found::Nothing,
            };
            let why = match found {
                Found::Open { directory, write_metadata } => {
                    let topic = topic.id;
                    let open = OpenPartition { topic, partition, directory, write_metadata };
                    self.out.open.push(open);
                    continue;
                }
                Found::Nothing if !kept => {
                    self.out.not_yet_made.push((topic.id, partition));
                    continue;
                }
                Found::Nothing => Missing::NoDirectory,
                Found::Damage(why) => why,
            };
            let directory = names::partition_dir(&topic.name, partition);
            let missing = MissingPartition { topic: topic.id, partition, directory, why };
            self.out.missing.push(missing);
        }
        let count = topic.partitions.len();
        let beyond = dirs.iter().filter(|(partition, _)| partition.index() >= count);
        self.beyond(topic, beyond.map(|(partition, dir)| (*partition, *dir)));
    }

    fn known_partition(&mut self, topic: &TopicState, dir: &SeenDir, kept: bool) -> Found {
        let open = |write_metadata| Found::Open { directory: dir.name.clone(), write_metadata };
        match dir.id {
            SeenId::Id(id) if id == topic.id => open(false),
            SeenId::Id(id) if self.state.is_deleted(id) => {
                self.out.delete.push(dir.name.clone());
                Found::Nothing
            }
            SeenId::Id(_) => {
                self.leave(dir, Why::AnotherTopicsId);
                Found::Damage(Missing::AnotherTopics)
            }
            SeenId::Missing | SeenId::Unreadable if !dir.holds_log && kept => {
                Found::Damage(Missing::NoLog)
            }
            SeenId::Missing | SeenId::Unreadable
                if dir.holds_log && self.state.is_deleted_name(&topic.name) =>
            {
                self.leave(dir, Why::OwnerUnknown);
                Found::Damage(Missing::OwnerUnknown)
            }
            SeenId::Missing | SeenId::Unreadable => open(true),
        }
    }

    /// Directories of a topic beyond the partitions it is known to have.
    fn beyond<'d>(
        &mut self,
        topic: &TopicState,
        dirs: impl Iterator<Item = (PartitionId, &'d SeenDir)>,
    ) {
        let before = topic.partitions.len();
        let mut total = before;
        let mut grown = Vec::new();
        for (partition, dir) in dirs {
            let takes = self.authority == Authority::Directory && partition.get() < MAX_PARTITIONS;
            match dir.id {
                SeenId::Id(id) if self.state.is_deleted(id) => {
                    self.out.delete.push(dir.name.clone());
                }
                SeenId::Id(id) if takes && id == topic.id => {
                    total = total.max(partition.index() + 1);
                    grown.push((partition, dir));
                }
                _ => self.leave(dir, Why::UnknownPartition),
            }
        }
        if total == before {
            return;
        }
        let count = u32::try_from(total).unwrap_or(MAX_PARTITIONS);
        self.out.grown.push((topic.id, count));
        let grown: BTreeMap<PartitionId, &SeenDir> = grown.into_iter().collect();
        for number in (0..count).skip(before) {
            let partition = PartitionId::new(number);
            match grown.get(&partition) {
                Some(dir) => self.out.open.push(OpenPartition {
                    topic: topic.id,
                    partition,
                    directory: dir.name.clone(),
                    write_metadata: false,
                }),
                None => self.out.not_yet_made.push((topic.id, partition)),
            }
        }
    }

    /// Directories whose name belongs to no topic of the catalog.
    fn unknown_topic(&mut self, name: &str, dirs: &BTreeMap<PartitionId, &SeenDir>) {
        let mut topic_id = None;
        let mut directories = Vec::new();
        for (&partition, dir) in dirs {
            match self.stranger(name, partition, dir, &mut topic_id) {
                Stranger::Delete => self.out.delete.push(dir.name.clone()),
                Stranger::Leave(why) => self.leave(dir, why),
                Stranger::Adopt => directories.push(AdoptedPartition {
                    partition,
                    directory: dir.name.clone(),
                    write_metadata: !matches!(dir.id, SeenId::Id(_)),
                }),
            }
        }
        let Some(last) = directories.last() else { return };
        self.ids.extend(topic_id);
        self.out.adopt.push(AdoptedTopic {
            name: name.to_owned(),
            id: topic_id,
            internal: KAFKAS_INTERNAL.contains(&name),
            partitions: last.partition.get() + 1,
            directories,
        });
    }

    /// One such directory; `topic_id` is the id of those before it, if they had one.
    fn stranger(
        &self,
        name: &str,
        partition: PartitionId,
        dir: &SeenDir,
        topic_id: &mut Option<TopicId>,
    ) -> Stranger {
        let catalog_rules = self.authority == Authority::Catalog;
        match dir.id {
            SeenId::Id(id) if self.state.is_deleted(id) => return Stranger::Delete,
            SeenId::Id(id) if self.state.topic(id).is_some() || self.ids.contains(&id) => {
                return Stranger::Leave(Why::AnotherTopicsId);
            }
            SeenId::Missing | SeenId::Unreadable
                if catalog_rules && self.state.is_deleted_name(name) =>
            {
                return Stranger::Delete;
            }
            _ if catalog_rules => return Stranger::Leave(Why::UnknownTopic),
            SeenId::Missing | SeenId::Unreadable if !dir.holds_log => {
                return Stranger::Leave(Why::Empty);
            }
            _ if partition.get() >= MAX_PARTITIONS => {
                return Stranger::Leave(Why::UnknownPartition);
            }
            _ => {}
        }
        match (dir.id, *topic_id) {
            (SeenId::Id(id), Some(first)) if id != first => Stranger::Leave(Why::AnotherTopicsId),
            (SeenId::Id(id), _) => {
                *topic_id = Some(id);
                Stranger::Adopt
            }
            _ => Stranger::Adopt,
        }
    }
}

/// What stands where a partition of the catalog should be.
enum Found {
    Nothing,
    Open { directory: String, write_metadata: bool },
    Damage(Missing),
}

/// What becomes of a directory the catalog does not know.
enum Stranger {
    Adopt,
    Delete,
    Leave(Why),
}

/// The topics Kafka itself keeps.
const KAFKAS_INTERNAL: [&str; 3] =
    ["__consumer_offsets", "__transaction_state", "__share_group_state"];

#[cfg(test)]
mod tests;
