//! Records: sending them, and letting the oldest go, by name or by policy.
//!
//! What became of a batch is held against what the call said of it. The records of topics that are
//! compacted have keys, of which there are a few (`story::key`); one topic's have tags.

use tidelog::{Durability, Error, LeaderEpoch, Offset, Outcome, Record, Result};

use super::{Door, Stage};
use crate::story::{self, Batch, Deed, key};
use crate::verdict::TAGGED;

impl Stage {
    /// How far a partition goes, as the open store has it.
    pub(super) fn end(&self, topic: &str, partition: u32) -> Option<i64> {
        match &self.door {
            Door::Shut => None,
            Door::Log(log) => Some(log.end_offset().get()),
            Door::Store(store) => {
                Some(store.partition(topic, partition).ok()?.end_offset().ok()?.get())
            }
        }
    }

    /// Holds what became of a batch against what the call said of it.
    fn check_outcome<T>(&self, sent: &Result<T>, ends: (Option<i64>, Option<i64>), count: u32) {
        let (Some(before), Some(after)) = ends else { return };
        let written = after - before;
        let fits = match sent.as_ref().map_err(Error::outcome) {
            Ok(_) | Err(Outcome::WrittenNotDurable) => written == i64::from(count),
            Err(Outcome::NotWritten) => written == 0,
            Err(_) => written == 0 || written == i64::from(count),
        };
        let said = sent.as_ref().map(drop).map_err(|error| (error.outcome(), error.to_string()));
        assert!(fits, "I7: {written} of {count} records are there after {said:?}");
    }

    /// Sends so many batches of one record of 200 bytes.
    pub fn send(&mut self, topic: &'static str, partition: u32, times: u32, word: Durability) {
        for _ in 0..times {
            self.batch(topic, partition, 1, 200, word);
        }
    }

    /// Sends a batch.
    pub fn batch(
        &mut self,
        topic: &'static str,
        partition: u32,
        count: u32,
        size: usize,
        word: Durability,
    ) {
        if !self.is_open() || !self.has(topic) {
            return;
        }
        let (batch, values) = self.make_batch(topic, partition, count, size);
        let number = batch.number;
        self.note(Deed::Sending { topic, partition, batch });
        let before = self.end(topic, partition);
        let sent = self.append((topic, partition), number, &values, word);
        if !self.disk.is_cut() {
            self.check_outcome(&sent, (before, self.end(topic, partition)), count);
        }
        let undone = Deed::NotSent { topic, partition, number };
        let Some((offset, epoch)) = self.bear_or(sent, undone) else { return };
        self.note(Deed::Sent { topic, partition, number, offset, epoch });
        if word == Durability::Power && !self.led.contains_key(topic) {
            self.note(Deed::Durable { topic, partition, end: offset + i64::from(count) });
        }
    }

    /// The next batch, and its values.
    pub(super) fn make_batch(
        &mut self,
        topic: &'static str,
        partition: u32,
        count: u32,
        size: usize,
    ) -> (Batch, Vec<Vec<u8>>) {
        self.number += 1;
        let batch = Batch { number: self.number, count, size };
        let incarnation = self.incarnations[topic];
        let value = |place| story::value(topic, incarnation, partition, batch, place);
        (batch, (0..count).map(value).collect())
    }

    /// The records of a batch.
    pub(super) fn records<'a>(
        &self,
        topic: &str,
        number: u64,
        values: &'a [Vec<u8>],
    ) -> Vec<Record<'a>> {
        let is_keyed = self.compacted.contains(topic);
        let record = |value: &'a Vec<u8>| match is_keyed {
            true => Record::new(value).key(key(number)),
            false if topic == TAGGED => Record::new(value).tag(key(number)),
            false => Record::new(value),
        };
        values.iter().map(record).collect()
    }

    fn append(
        &self,
        (topic, partition): (&str, u32),
        number: u64,
        values: &[Vec<u8>],
        word: Durability,
    ) -> Result<(i64, LeaderEpoch)> {
        let records = self.records(topic, number, values);
        if let Door::Log(log) = &self.door {
            let receipt = log.append_with(&records, word)?;
            return Ok((receipt.first_offset().get(), receipt.epoch()));
        }
        let Door::Store(store) = &self.door else { unreachable!("it is open") };
        if let Some(epoch) = self.led.get(topic) {
            let receipt = store
                .partition(topic, partition)?
                .append_as_leader(LeaderEpoch::new(*epoch), &records)?;
            return Ok((receipt.first_offset().get(), receipt.epoch()));
        }
        let producer = store.producer().durability(word).idempotent(self.setup.idempotent);
        let receipt = producer.build()?.topic(topic)?.send_batch_to(partition, &records)?;
        Ok((receipt.base_offset().get(), receipt.leader_epoch()))
    }

    pub fn delete_records(&mut self, topic: &'static str, partition: u32, offset: i64) {
        if !self.is_open() || !self.has(topic) {
            return;
        }
        self.note(Deed::Trimming { topic, partition, to: offset });
        let before = Offset::new(offset);
        let done = match &self.door {
            Door::Log(log) => log.delete_records_before(before),
            Door::Store(store) => store.delete_records_before(topic, partition, before),
            Door::Shut => return,
        };
        if self.bear_or(done, Deed::NotTrimmed { topic, partition }).is_some() {
            self.note(Deed::Trimmed { topic, partition, start: offset });
        }
    }

    /// Half a minute after an open, then every five, retention is applied where there is a policy.
    pub(super) fn may_retain(&mut self) {
        let Door::Store(store) = &self.door else { return };
        let store = store.clone();
        for topic in self.incarnations.keys().copied().collect::<Vec<_>>() {
            let Ok(seen) = store.describe(topic) else { continue };
            let is_set = |key| seen.config().get(key).is_some_and(|value| value != "-1");
            if is_set("retention.ms") || is_set("retention.bytes") {
                let parts = (0u32..).zip(seen.partitions());
                parts.for_each(|(partition, _)| self.retaining(topic, partition));
            }
        }
    }

    /// The start of this partition alone may rise from here on.
    pub fn retaining(&mut self, topic: &'static str, partition: u32) {
        self.note(Deed::Trimming { topic, partition, to: i64::MAX });
    }

    /// Applies retention where this topic alone has a policy.
    pub fn retain_topic(&mut self, topic: &'static str) {
        self.retaining(topic, 0);
        if let Some(store) = self.store() {
            self.bear(store.apply_retention());
        }
    }

    /// Applies retention; how far the starts rise is the policy's affair.
    pub fn retain(&mut self) {
        self.open();
        self.note(Deed::Retaining);
        let done = match &self.door {
            Door::Log(log) => log.apply_retention().map(drop),
            Door::Store(store) => store.apply_retention(),
            Door::Shut => return,
        };
        self.bear(done);
    }
}
