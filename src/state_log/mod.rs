//! State kept as a log: keyed records in one internal topic, folded by whoever owns the state.
//!
//! `replay` reads what a coordinator folds when the store opens, `write` appends what changes it,
//! `lookup` reads one again, `wire` has the bytes that all schemas share, `kept` those of a record
//! that waits in a state for its publication, `runs` ranges of offsets. Keys and values are bytes
//! here; their schemas belong to the owner. The topic is made with the first append, so that a
//! store that keeps no such state has no such topic.
//!
//! Invariants: one append is one batch, all or nothing; a state of several records is never half
//! written. Callers: the coordinators of the floor above; they serialise appends that concern the
//! same key, and change their memory only after an append has succeeded.

pub(crate) mod kept;
mod lookup;
mod replay;
pub(crate) mod runs;
pub(crate) mod wire;
mod write;

use std::sync::Arc;

use crate::config::TopicConfig;
use crate::engine::{Engine, NewTopic, Partition, Topic};
use crate::error::{ErrorKind, Result};
use crate::sync::Mutex;

pub(crate) use replay::{Progress, Replayed, Skipped, Waiting};

/// One internal topic as a log of keyed state.
#[derive(Debug)]
pub(crate) struct StateLog {
    engine: Arc<Engine>,
    name: &'static str,
    /// What the topic is made with.
    config: TopicConfig,
    topic: Mutex<Option<Arc<Topic>>>,
}

/// One change of the state: a key's new value, or none any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: Option<&'a [u8]>,
}

impl StateLog {
    /// The log in the topic `name`; nothing is made or read yet.
    pub(crate) fn new(engine: Arc<Engine>, name: &'static str, config: TopicConfig) -> Self {
        StateLog { engine, name, config, topic: Mutex::new(None) }
    }

    /// The topic, if there is one.
    fn existing(&self) -> Result<Option<Arc<Topic>>> {
        let mut known = self.topic.lock();
        if let Some(topic) = known.as_ref().filter(|topic| !topic.is_deleted()) {
            return Ok(Some(topic.clone()));
        }
        *known = match self.engine.topic(self.name) {
            Ok(topic) => Some(topic),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(known.clone())
    }

    fn existing_or_new(&self) -> Result<Arc<Topic>> {
        if let Some(topic) = self.existing()? {
            return Ok(topic);
        }
        let new = NewTopic { name: self.name, config: self.config.clone(), internal: true };
        match self.engine.create_topics(&[new]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {} // by another thread
            Err(error) => return Err(error),
        }
        self.engine.topic(self.name)
    }

    /// How many partitions the topic has, or would have. That of a topic another hand made counts.
    pub(crate) fn partition_count(&self) -> Result<u32> {
        let topic = self.existing()?;
        Ok(topic.map_or(self.config.partitions, |topic| {
            u32::try_from(topic.partitions().len()).unwrap_or(u32::MAX)
        }))
    }

    fn partitions(&self) -> Result<Vec<Arc<Partition>>> {
        Ok(self.existing()?.map_or_else(Vec::new, |topic| topic.partitions().to_vec()))
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
