//! Who reads a store now: one live subscriber per group, and the counters of all readers.
//!
//! Until groups share partitions among members, a second subscriber of a group would read every
//! record twice: it is refused. Assigning partitions by hand is not: whoever does that divides
//! them himself.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::{Cause, Error, Result};
use crate::stats::Counter;
use crate::sync::Mutex;

/// The readers of one store.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    /// The topics each group's subscriber follows.
    subscribed: Mutex<HashMap<Arc<str>, Vec<Arc<str>>>>,
    counters: ReadCounters,
}

/// What all readers of a store have done since it was opened.
#[derive(Debug, Default)]
pub(crate) struct ReadCounters {
    /// Calls that fetch, whatever they returned.
    pub(crate) polls: Counter,
    /// Times a reader went to sleep, or left its waker.
    pub(crate) waits: Counter,
    /// Records handed out.
    pub(crate) records: Counter,
    /// Commits that took effect.
    pub(crate) commits: Counter,
}

/// A group's one live subscription; dropping it lets another begin.
#[derive(Debug)]
pub(crate) struct Subscription {
    registry: Arc<Registry>,
    group: Arc<str>,
}

impl Registry {
    pub(crate) fn counters(&self) -> &ReadCounters {
        &self.counters
    }

    /// Fails as locked while the group has a live subscriber.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        group: &Arc<str>,
        topics: &[Arc<str>],
    ) -> Result<Subscription> {
        let mut subscribed = self.subscribed.lock();
        if subscribed.contains_key(group) {
            let text = format!("group `{group}` has a live subscriber");
            return Err(Error::new("subscribe", Cause::Locked(text)));
        }
        subscribed.insert(group.clone(), topics.to_vec());
        Ok(Subscription { registry: self.clone(), group: group.clone() })
    }

    /// What a group's subscriber follows; `None` where there is none.
    pub(crate) fn topics_of(&self, group: &str) -> Option<Vec<Arc<str>>> {
        self.subscribed.lock().get(group).cloned()
    }

    /// The groups that have a subscriber.
    pub(crate) fn live_groups(&self) -> Vec<Arc<str>> {
        self.subscribed.lock().keys().cloned().collect()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.registry.subscribed.lock().remove(&self.group);
    }
}
