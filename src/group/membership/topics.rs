//! What a group knows of the store's topics, and what its members want of them.
//!
//! A [`TopicList`] is one look at the catalog, shared by all groups and told apart by the
//! catalog's count: an older look never replaces a newer one. An [`Interest`] is a member's
//! subscription; a pattern is compiled by the caller and never matches an internal topic.
//!
//! Called by the state next door; the coordinator builds lists and interests.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::ids::TopicId;

/// One topic as the catalog has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownTopic {
    pub(crate) name: Arc<str>,
    pub(crate) id: TopicId,
    /// How many partitions it has.
    pub(crate) partitions: u32,
    pub(crate) visibility: Visibility,
}

/// Whether a topic is seen by patterns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visibility {
    Public,
    /// The store's own: only who names it gets it.
    Internal,
}

/// All topics of the store at one count of the catalog's changes, in order of name.
#[derive(Debug, Default)]
pub(crate) struct TopicList {
    count: u64,
    topics: Vec<KnownTopic>,
}

impl TopicList {
    /// The list of what the catalog held when its changes stood at `count`; read the count first,
    /// then the topics, so that the list is never older than it says.
    pub(crate) fn new(count: u64, topics: impl IntoIterator<Item = KnownTopic>) -> Self {
        let by_name: BTreeMap<_, _> =
            topics.into_iter().map(|topic| (topic.name.clone(), topic)).collect();
        TopicList { count, topics: by_name.into_values().collect() }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn topics(&self) -> &[KnownTopic] {
        &self.topics
    }

    pub(crate) fn get(&self, name: &str) -> Option<&KnownTopic> {
        self.position(name).map(|at| &self.topics[at])
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.topics.binary_search_by(|topic| (*topic.name).cmp(name)).ok()
    }

    /// The topics that are in one list and not, or not alike, in the other.
    pub(crate) fn differing<'a>(&'a self, other: &'a TopicList) -> Vec<&'a KnownTopic> {
        let (mut ours, mut theirs) =
            (self.topics.iter().peekable(), other.topics.iter().peekable());
        let mut found = Vec::new();
        loop {
            match (ours.peek(), theirs.peek()) {
                (None, None) => return found,
                (Some(a), Some(b)) if a.name == b.name => {
                    if a != b {
                        found.extend([*a, *b]);
                    }
                    ours.next();
                    theirs.next();
                }
                (Some(a), Some(b)) if a.name < b.name => found.extend(ours.next()),
                (Some(_), None) => found.extend(ours.next()),
                (_, Some(_)) => found.extend(theirs.next()),
            }
        }
    }
}

/// A pattern that a whole topic name must match, compiled by whoever subscribes.
///
/// It runs under the group's lock: it must be the library's own code, and quick.
pub(crate) trait NamePattern: Send + Sync + fmt::Debug {
    /// As it was written; two patterns of one text match the same names.
    fn text(&self) -> &str;

    fn matches(&self, name: &str) -> bool;
}

/// What a member subscribes to.
#[derive(Clone, Debug)]
pub(crate) enum Interest {
    /// These names, whether or not such topics exist yet.
    Topics(BTreeSet<Arc<str>>),
    /// Every topic whose name matches, but for internal ones.
    Pattern(Arc<dyn NamePattern>),
}

impl Interest {
    pub(crate) fn wants(&self, topic: &KnownTopic) -> bool {
        match self {
            Interest::Topics(names) => names.contains(&topic.name),
            Interest::Pattern(pattern) => {
                topic.visibility == Visibility::Public && pattern.matches(&topic.name)
            }
        }
    }

    /// The places in `list` of the topics that are wanted, ascending.
    pub(crate) fn resolve(&self, list: &TopicList) -> Vec<usize> {
        match self {
            Interest::Topics(names) => {
                names.iter().filter_map(|name| list.position(name)).collect()
            }
            Interest::Pattern(_) => {
                let all = list.topics.iter().enumerate();
                all.filter(|(_, topic)| self.wants(topic)).map(|(at, _)| at).collect()
            }
        }
    }

    /// What is equal for equal interests: they are kept and resolved once.
    fn key(&self) -> (Option<&str>, Option<&BTreeSet<Arc<str>>>) {
        match self {
            Interest::Topics(names) => (None, Some(names)),
            Interest::Pattern(pattern) => (Some(pattern.text()), None),
        }
    }
}

impl PartialEq for Interest {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Interest {}

impl PartialOrd for Interest {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Interest {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}
