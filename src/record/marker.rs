//! The end of a transaction in one partition: a control batch with one record, in Kafka's bytes.
//!
//! A marker names its producer and the epoch that the transaction ended under, has no sequence and
//! takes one offset, which no reader is given (`kafka-format.md` 1.3). 78 bytes, never compressed;
//! compaction may write it longer. Made by the log for whoever coordinates transactions.

use super::encode::{AppendBatch, HeaderFields, Stamp, Sum, TimestampRule, present, put};
use super::header::{BatchHeader, CONTROL, TRANSACTIONAL};
use super::produced::{ProducerClaim, ProducerIdentity};
use crate::time::Timestamp;

/// How a transaction ended.
///
/// ```
/// use std::sync::Arc;
/// use tidelog::{Log, MarkerKind, Record, Sequence, disk::MemoryDisk};
/// use tidelog::{ProducerEpoch, ProducerId, ProducerIdentity};
/// let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
/// let us = ProducerIdentity::new(ProducerId::new(7), ProducerEpoch::new(0));
/// log.append_transactional(&[Record::new("a")], us, Sequence::FIRST)?;
/// log.append_marker(us, 0, MarkerKind::Abort)?;
/// assert!(log.read(log.start_offset(), 1 << 20)?.is_empty());
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MarkerKind {
    /// Its records are no one's to see.
    Abort,
    /// Its records count.
    Commit,
}

/// What a marker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    pub(crate) kind: MarkerKind,
    /// The coordinator's epoch: a later one fences those before it.
    pub(crate) coordinator_epoch: i32,
}

impl MarkerKind {
    fn type_number(self) -> i16 {
        match self {
            MarkerKind::Abort => 0,
            MarkerKind::Commit => 1,
        }
    }
}

/// The key: version and type.
const KEY: usize = 2 + 2;
/// The value: version and coordinator epoch.
const VALUE: usize = 2 + 4;
/// Behind the length: attributes, two deltas, the lengths of key and value, no headers.
const BODY: usize = 1 + 1 + 1 + 1 + KEY + 1 + VALUE + 1;

/// A marker to be appended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MarkerBatch {
    identity: ProducerIdentity,
    marker: Marker,
    timestamp: i64,
    attributes: i16,
}

impl MarkerBatch {
    /// The marker of a producer, dated as a topic dates what is sent now.
    pub(crate) fn new(
        identity: ProducerIdentity,
        marker: Marker,
        timestamps: &TimestampRule,
        now: Timestamp,
    ) -> Self {
        let attributes = timestamps.attributes() | TRANSACTIONAL | CONTROL;
        MarkerBatch { identity, marker, timestamp: present(now), attributes }
    }
}

impl AppendBatch for MarkerBatch {
    fn size(&self) -> usize {
        BatchHeader::LEN + 1 + BODY
    }

    fn count(&self) -> u32 {
        1
    }

    fn max_timestamp(&self) -> Option<Timestamp> {
        Timestamp::from_wire(self.timestamp)
    }

    fn claim(&self) -> Option<ProducerClaim> {
        Some(ProducerClaim { identity: self.identity, sequence: None, transactional: true })
    }

    fn marker(&self) -> Option<Marker> {
        Some(self.marker)
    }

    fn write(&self, stamp: Stamp, out: &mut [u8], sum: impl Sum) {
        /// A length below 64 as the format writes it.
        const fn short(length: usize) -> u8 {
            (length * 2).to_le_bytes()[0]
        }
        let record = &mut out[BatchHeader::LEN..];
        record.fill(0);
        record[0] = short(BODY);
        record[4] = short(KEY);
        put(record, 5 + 2, self.marker.kind.type_number().to_be_bytes());
        record[5 + KEY] = short(VALUE);
        put(record, 6 + KEY + 2, self.marker.coordinator_epoch.to_be_bytes());
        let fields = HeaderFields {
            size: self.size(),
            count: 1,
            attributes: self.attributes,
            base_timestamp: self.timestamp,
            max_timestamp: self.timestamp,
        };
        fields.write(stamp, out, sum);
    }
}

#[cfg(test)]
mod tests {
    use super::super::encode::Reach;
    use super::super::produced::ProducerStamp;
    use super::*;
    use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

    /// `kafka-format.md` 1.4.
    #[test]
    fn a_marker_has_kafka_s_bytes() {
        let now = Timestamp::from_millis(2000);
        let identity = ProducerIdentity::new(ProducerId::new(1), ProducerEpoch::new(0));
        let marker = Marker { kind: MarkerKind::Commit, coordinator_epoch: 0 };
        let timestamps =
            TimestampRule::Create { now, before_max: Reach::ANY, after_max: Reach::ANY };
        let batch = MarkerBatch::new(identity, marker, &timestamps, now);
        let stamp = Stamp {
            base_offset: Offset::new(7),
            leader_epoch: LeaderEpoch::new(0),
            producer: Some(ProducerStamp { identity, first: None, transactional: true }),
        };
        let mut bytes = vec![0xaa; batch.size()];
        batch.write(stamp, &mut bytes, crc32c::crc32c_append);
        let shown: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let kafka = "00000000000000070000004200000000029a0c66ce00300000000000000000000007d0\
                     00000000000007d000000000000000010000ffffffff000000012000000008000000010c\
                     00000000000000";
        assert_eq!(shown, kafka);
    }
}
