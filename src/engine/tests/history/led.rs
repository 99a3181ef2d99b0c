//! What a scenario does with a partition that its host leads.

use super::*;
use crate::log::LeaderBatches;
use crate::record::{AppendBatch as _, BorrowedBatch, Record, Stamp};
use crate::time::Clock as _;

/// A batch of one record, as a leader has it.
fn batch_at(handle: &Partition, base: i64, value: &str) -> Result<Vec<u8>> {
    let now = Timestamp::from_millis(1_700_000_000_000);
    let records = [Record::new(value)];
    let batch = BorrowedBatch::measure(&records, &handle.batch_rules(now)?)?;
    let mut bytes = vec![0; batch.size()];
    let leader_epoch = LeaderEpoch::new(3);
    batch.write(
        Stamp { base_offset: Offset::new(base), leader_epoch, producer: None },
        &mut bytes,
        crc32c::crc32c_append,
    );
    Ok(bytes)
}

impl History {
    /// Takes so many batches of a leader, which has left out `gap` offsets before them.
    pub(super) fn follow_leader(
        &mut self,
        topic: &'static str,
        partition: u32,
        gap: i64,
        count: u32,
    ) -> Result<()> {
        let handle = self.partition(topic, partition)?;
        let first = handle.offsets()?.end.get() + gap;
        let incarnation = self.topics.get(topic).map_or(0, Vec::len);
        let (mut bytes, mut values) = (Vec::new(), Vec::new());
        for offset in first..first + i64::from(count) {
            self.number += 1;
            let value = format!("{topic}.{incarnation}/{partition}#{}", self.number);
            bytes.extend(batch_at(&handle, offset, &value)?);
            values.push((offset, value));
        }
        let kept = self.last(topic).partitions.entry(partition).or_default();
        kept.tried.extend(values.iter().map(|(_, value)| value.clone()));
        let batches = LeaderBatches::check(&bytes)?;
        let end = self.engine()?.append_as_follower(&handle, &batches, self.clock.wall())?;
        handle.set_high_watermark(end)?;
        if !self.disk.is_cut() {
            let kept = self.last(topic).partitions.entry(partition).or_default();
            let taken = values.into_iter().map(|(offset, value)| (offset, (value, false)));
            kept.acknowledged.extend(taken);
        }
        Ok(())
    }
}
