//! One record of a state log by its place: for owners that remember where a value lies instead of
//! the value.
//!
//! Where something else lies there, or what lies there is damaged, there is no value. Called by
//! coordinators.

use super::StateLog;
use crate::config::IsolationLevel;
use crate::error::Result;
use crate::ids::{Offset, PartitionId};
use crate::log::FetchLimits;
use crate::record::{Batch, PlainLimit};

impl StateLog {
    /// The value under `key` at `offset`; `None` where that is not what lies there.
    pub(crate) fn value_at(
        &self,
        partition: PartitionId,
        offset: Offset,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>> {
        // one batch is returned, however large
        let isolation = IsolationLevel::ReadUncommitted;
        let limits = FetchLimits { bytes: 1, records: 1, durable_only: false, isolation };
        let Some(topic) = self.existing()? else { return Ok(None) };
        let fetched = topic.partition(partition)?.fetch(offset, None, limits)?;
        let Some(chunk) = fetched.chunk else { return Ok(None) };
        let mut room = Vec::new();
        let batch = Batch::verify(&chunk.bytes[..]);
        let records = batch.and_then(|batch| {
            let batch = batch.unpacked(&mut room, PlainLimit::DEFAULT)?;
            let mut found = None;
            for record in batch.records()? {
                let record = record?;
                if record.offset() == offset && record.key() == Some(key) {
                    found = record.value().map(<[u8]>::to_vec);
                }
            }
            Ok(found)
        });
        Ok(records.unwrap_or(None))
    }
}
