//! What hosts do that replicate: cutting a tail off, leading, following.
//!
//! A leader that is followed is a store in memory, made for the batches that are taken from it.

use std::sync::Arc;

use tidelog::disk::MemoryDisk;
use tidelog::{LeaderEpoch, Offset, RawLimits, Result, Store, Threads, TopicConfig};

use super::{Door, Stage};
use crate::story::Deed;

impl Stage {
    /// Cuts off every batch that reaches `to`.
    pub fn truncate(&mut self, topic: &'static str, partition: u32, to: i64) {
        self.cut(topic, partition, (to, false));
    }

    /// Lets all records go; the next one gets the offset `to`.
    pub fn start_anew(&mut self, topic: &'static str, partition: u32, to: i64) {
        self.cut(topic, partition, (to, true));
    }

    /// From where to where a partition goes, as the open store has it.
    pub fn extent(&self, topic: &str, partition: u32) -> Option<(i64, i64)> {
        let start = match &self.door {
            Door::Shut => return None,
            Door::Log(log) => log.start_offset(),
            Door::Store(store) => store.partition(topic, partition).ok()?.start_offset().ok()?,
        };
        Some((start.get(), self.end(topic, partition)?))
    }

    fn cut(&mut self, topic: &'static str, partition: u32, (to, is_whole): (i64, bool)) {
        if !self.is_open() || !self.has(topic) {
            return;
        }
        self.note(Deed::Cutting { topic, partition, to, is_whole });
        let target = Offset::new(to);
        let done = match &self.door {
            Door::Log(log) if is_whole => log.truncate_fully_and_start_at(target),
            Door::Log(log) => log.truncate_to(target).map(drop),
            Door::Store(store) => {
                store.partition(topic, partition).and_then(|one| match is_whole {
                    true => one.truncate_fully_and_start_at(target),
                    false => one.truncate_to(target).map(drop),
                })
            }
            Door::Shut => return,
        };
        if self.bear_or(done, Deed::NotCut { topic, partition }).is_some() {
            self.note(Deed::Cut { topic, partition });
        }
    }

    /// This replica leads from now on, in a new epoch.
    pub fn lead(&mut self, topic: &'static str) {
        let Some(store) = self.store() else { return };
        let Some(epoch) = self.led.get_mut(topic) else { return };
        *epoch += 1;
        let epoch = LeaderEpoch::new(*epoch);
        let done = store.partition(topic, 0).and_then(|one| one.become_leader(epoch));
        self.bear(done);
    }

    /// Another one leads, in a new epoch; this one takes a batch from it, which begins so many
    /// offsets behind its end.
    pub fn follow(&mut self, topic: &'static str, count: u32, gap: i64) {
        let Some(store) = self.store().filter(|_| self.has(topic)) else { return };
        let Some(end) = self.end(topic, 0) else { return };
        let Some(epoch) = self.led.get_mut(topic) else { return };
        *epoch += 1;
        let epoch = LeaderEpoch::new(*epoch);
        let (batch, values) = self.make_batch(topic, 0, count, 200);
        let (number, offset) = (batch.number, end + gap);
        let records = self.records(topic, number, &values);
        let bytes = as_led_elsewhere(epoch, offset, &records).expect("a store in memory");
        if gap > 0 {
            self.note(Deed::Skipping { topic, partition: 0 });
        }
        self.note(Deed::Sending { topic, partition: 0, batch });
        let taken = store.partition(topic, 0).and_then(|one| one.append_as_follower(&bytes));
        let undone = Deed::NotSent { topic, partition: 0, number };
        if let Some(end) = self.bear_or(taken, undone) {
            assert_eq!(end.get(), offset + i64::from(count), "I3: all of it was taken");
            self.note(Deed::Sent { topic, partition: 0, number, offset, epoch });
        }
    }

    /// Readers see all there is.
    pub fn show_all(&mut self, topic: &'static str) {
        let Some(store) = self.store() else { return };
        let all = Offset::new(i64::MAX);
        let done = store.partition(topic, 0).and_then(|one| one.set_high_watermark(all));
        self.bear(done);
    }
}

/// A batch as the leader of that epoch has it.
fn as_led_elsewhere(
    epoch: LeaderEpoch,
    offset: i64,
    records: &[tidelog::Record<'_>],
) -> Result<Vec<u8>> {
    let builder = Store::builder("/leader").disk(Arc::new(MemoryDisk::new()));
    let leader = builder.threads(Threads::Host).open()?;
    leader.create_host_led_topic("led", TopicConfig::new())?;
    let partition = leader.partition("led", 0)?;
    partition.truncate_fully_and_start_at(Offset::new(offset))?;
    partition.append_as_leader(epoch, records)?;
    let read = partition.read_batches(Offset::new(offset), RawLimits::to_end(1 << 20))?;
    Ok(read.bytes().to_vec())
}
