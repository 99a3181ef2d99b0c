//! Where reading begins when there is no offset to begin at, or none that still holds.
//!
//! A policy answers three questions: a group without a committed offset, a position that fell
//! behind retention, and a position whose records were truncated away. It decides on numbers of
//! one partition and moves nothing itself.

use std::time::Duration;

use crate::config::IsolationLevel;
use crate::engine::Partition;
use crate::error::Result;
use crate::ids::Offset;
use crate::time::Timestamp;

/// What a consumer does without a valid position: at the start of a group that has committed
/// nothing, when retention has overtaken it, and when the log was truncated below it.
///
/// ```
/// use tidelog::{Record, Reset, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("orders", TopicConfig::new())?;
/// store.producer().build()?.topic("orders")?.send(Record::new("before"))?;
/// let group = store.consumer("billing").subscribe(["orders"]);
/// let mut consumer = group.reset(Reset::Latest).build()?;
/// assert!(consumer.try_poll()?.is_empty());
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reset {
    /// The first record there is; the default. After a truncation: the first offset whose record
    /// may be another than before.
    #[default]
    Earliest,
    /// The end: only what comes later. Partitions that appear while a topic is subscribed are read
    /// from their start all the same, since all they hold came later.
    Latest,
    /// None is right: the call fails, and reading goes on after a seek.
    None,
    /// The first record at most this old by the store's clock; the end if there is none.
    Since(Duration),
}

impl Reset {
    /// The offset to begin at; `None` where the caller must say.
    pub(super) fn place(
        self,
        partition: &Partition,
        end: Offset,
        now: Timestamp,
    ) -> Result<Option<Offset>> {
        Ok(match self {
            Reset::Earliest => Some(partition.offsets()?.start),
            Reset::Latest => Some(end),
            Reset::None => None,
            Reset::Since(age) => {
                let found = partition
                    .offset_at(now.saturating_sub(age), IsolationLevel::ReadUncommitted)?;
                Some(found.map_or(end, |offset| offset.min(end)))
            }
        })
    }

    /// The offset to go on at after the records from `epoch_end` on were cut off.
    pub(super) fn after_truncation(
        self,
        partition: &Partition,
        epoch_end: Offset,
        end: Offset,
        now: Timestamp,
    ) -> Result<Option<Offset>> {
        match self {
            Reset::Earliest => Ok(Some(epoch_end.max(partition.offsets()?.start))),
            _ => self.place(partition, end, now),
        }
    }
}
