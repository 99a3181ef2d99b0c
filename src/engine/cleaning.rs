//! When the logs of programs' topics are compacted, and what for: what their configuration asks.
//!
//! Two things make one due: sealed segments, more of which than a part was appended since the last
//! pass, and age. Age moves without appends, so the logs of compacted topics are looked at as often
//! as retention is; one whose active segment begins with a record that is too old to wait is rolled
//! then, for the active segment is never compacted. `compaction` does the rest.

use std::sync::Arc;

use super::Engine;
use super::partition::Partition;
use crate::compact::{Candidate, Terms, due};
use crate::config::TopicConfig;
use crate::error::Result;
use crate::ids::Offset;
use crate::log::{PartitionLog, Sealed};
use crate::time::Timestamp;

/// Up to where a log is to be compacted now, if it is; below `clean` it has been.
pub(super) fn due_end(
    log: &PartitionLog,
    config: &TopicConfig,
    clean: Offset,
    now: Timestamp,
) -> Result<Option<Offset>> {
    let terms = Terms::of(config, now);
    let with_ages = terms.asks_for_ages();
    let candidates: Result<Vec<_>> =
        log.sealed().iter().map(|sealed| candidate(sealed, with_ages)).collect();
    Ok(due(&candidates?, clean, &terms))
}

/// Ages cost a look into the files, and are left out where nothing asks for them.
fn candidate(Sealed { segment, end }: &Sealed, with_ages: bool) -> Result<Candidate> {
    let at = |millis: Option<i64>| millis.map(Timestamp::from_millis);
    let (first, newest) = match with_ages {
        true => (at(segment.first_batch_timestamp()?), at(segment.largest_timestamp()?)),
        false => (None, None),
    };
    Ok(Candidate { end: *end, bytes: segment.published(), first, newest })
}

impl Engine {
    /// The partitions of compacted topics that are to be looked at for their age, with what is too
    /// old for an active segment rolled out of it.
    pub(super) fn look_at_ages(&self, now: Timestamp) -> Vec<Arc<Partition>> {
        let mut aged = Vec::new();
        for topic in self.topics().iter().filter(|topic| !topic.is_adopted()) {
            let config = topic.config();
            if !config.cleanup_policy.compacts() {
                continue;
            }
            let terms = Terms::of(&config, now);
            for partition in topic.partitions().iter() {
                let Ok(log) = partition.log() else { continue };
                let rolled = match log.active_since() {
                    Ok(since) if terms.is_overdue(since) => self.seal(partition, log, now),
                    Ok(_) => Ok(()),
                    Err(error) => Err(error),
                };
                if let Err(error) = rolled {
                    log::warn!("compaction: {error}");
                }
                aged.push(partition.clone());
            }
        }
        aged
    }
}
