//! The topics whose ids somebody asks about, each with what is known of them.
//!
//! A topic's ids are read when the first comes, not when the store opens, and belong to its topic
//! id: one that is made again under the name begins anew. One registry for a store, whose producers
//! share it; what it has of deleted topics goes with the next that is asked about.

use std::collections::HashMap;
use std::sync::Arc;

use super::ids::TopicIds;
use crate::engine::Topic;
use crate::ids::TopicId;
use crate::record::PlainLimit;
use crate::sync::Mutex;

/// All topics whose ids are in use.
#[derive(Debug)]
pub(crate) struct Deduplication {
    plain: PlainLimit,
    topics: Mutex<HashMap<TopicId, Arc<TopicIds>>>,
}

impl Deduplication {
    pub(crate) fn new(plain: PlainLimit) -> Self {
        Deduplication { plain, topics: Mutex::default() }
    }

    /// What decides for a topic.
    pub(crate) fn of(&self, topic: &Arc<Topic>) -> Arc<TopicIds> {
        let mut topics = self.topics.lock();
        if !topics.contains_key(&topic.id()) {
            topics.retain(|_, ids| !ids.topic().is_deleted());
        }
        let new = || Arc::new(TopicIds::new(topic.clone(), self.plain));
        topics.entry(topic.id()).or_insert_with(new).clone()
    }
}
