//! Producer snapshots (`.snapshot`) as they are shown: what Kafka remembers of each producer id.
//!
//! The bytes are read where the log reads its own, in `log::producers`; here they get the names and
//! the numbers that Kafka's file has, -1 for none, and their order: by id.
//!
//! Called by `partition`.

use crate::ids::{Offset, ProducerId, Sequence};
use crate::log::producers::{Recorded, decode};
use crate::time::Timestamp;

/// A producer snapshot: the state of every producer before an offset.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # tidelog::Log::open(dir.path())?.append(&[tidelog::Record::new("a")])?;
/// for partition in tidelog::Dump::open(dir.path())?.partitions() {
///     for snapshot in partition.snapshots()? {
///         println!("{}: {} producers", snapshot.offset, snapshot.producers.len());
///     }
/// }
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DumpedSnapshot {
    /// The offset before which it holds.
    pub offset: Offset,
    /// The producers, by id.
    pub producers: Vec<DumpedProducer>,
}

/// What a [`DumpedSnapshot`] says of one producer id. As in the file, -1 stands for none.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # tidelog::Log::open(dir.path())?.append(&[tidelog::Record::new("a")])?;
/// let dump = tidelog::Dump::open(dir.path())?;
/// let snapshots = dump.partitions()[0].snapshots()?;
/// for producer in snapshots.iter().flat_map(|snapshot| &snapshot.producers) {
///     println!("{} epoch {}", producer.producer_id, producer.producer_epoch);
/// }
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DumpedProducer {
    /// The producer.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub producer_epoch: i16,
    /// The sequence of its last record, -1 where its last batch was a marker.
    pub last_sequence: i32,
    /// The offset of its last record, -1 where there is none.
    pub last_data_offset: i64,
    /// By how much the last offset of its last batch lies above the first.
    pub offset_delta: i32,
    /// The timestamp of its last batch.
    pub last_timestamp: Timestamp,
    /// The epoch of the coordinator that wrote its last marker, -1 where there is none.
    pub coordinator_epoch: i32,
    /// Where the transaction begins that it has open.
    pub current_transaction: Option<Offset>,
}

impl DumpedProducer {
    fn of(recorded: Recorded) -> Self {
        DumpedProducer {
            producer_id: recorded.producer,
            producer_epoch: recorded.epoch.get(),
            last_sequence: Sequence::to_wire(recorded.last_sequence),
            last_data_offset: recorded.last_offset.map_or(-1, Offset::get),
            offset_delta: i32::try_from(recorded.offset_delta).unwrap_or(i32::MAX),
            last_timestamp: Timestamp::from_millis(Timestamp::to_wire(recorded.timestamp)),
            coordinator_epoch: recorded.coordinator_epoch.unwrap_or(-1),
            current_transaction: recorded.transaction_start,
        }
    }
}

/// Reads a snapshot's producers, sorted by id.
pub(super) fn read_snapshot(bytes: &[u8]) -> Result<Vec<DumpedProducer>, String> {
    let recorded = decode(bytes).map_err(|fault| format!("the producer snapshot: {fault}"))?;
    let mut producers: Vec<_> = recorded.into_iter().map(DumpedProducer::of).collect();
    producers.sort_by_key(|producer| producer.producer_id);
    Ok(producers)
}
