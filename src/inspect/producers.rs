//! The bytes of a producer snapshot (`.snapshot`): what Kafka remembers of each producer id.
//!
//! A version, a CRC-32C over everything behind it, a count, and 46 bytes for each producer, in no
//! order. Nothing is believed before the checksum fits, and no memory is taken for a count that the
//! bytes do not bear out.
//!
//! [`Producers`] goes on from a snapshot with the batches behind it, by Kafka's rules for what is
//! already in a log: nothing is refused any more, a marker of a higher epoch forgets the batches
//! before it.
//!
//! Called by `partition`.

use std::collections::BTreeMap;

use byteorder::{BigEndian, ByteOrder as _};

use super::batch::{DumpedBatch, DumpedControl};
use crate::ids::{Offset, ProducerId};
use crate::time::Timestamp;

/// Version, checksum and count.
const HEAD: usize = 2 + 4 + 4;
/// Where what the checksum covers begins.
const COVERED: usize = 2 + 4;
const ENTRY: usize = 8 + 2 + 4 + 8 + 4 + 8 + 4 + 8;
const VERSION: i16 = 1;

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

/// Every producer, as of some offset.
#[derive(Debug, Default)]
pub(super) struct Producers(BTreeMap<ProducerId, DumpedProducer>);

impl Producers {
    pub(super) fn of(snapshot: DumpedSnapshot) -> Self {
        let named = snapshot.producers.into_iter();
        Producers(named.map(|producer| (producer.producer_id, producer)).collect())
    }

    /// Takes the next batch of the log in.
    pub(super) fn push(&mut self, batch: &DumpedBatch<'_>) {
        let (Some(id), Some(epoch)) = (batch.producer_id, batch.producer_epoch) else { return };
        let marker = match batch.control {
            Some(
                DumpedControl::Abort { coordinator_epoch }
                | DumpedControl::Commit { coordinator_epoch },
            ) => Some(coordinator_epoch),
            Some(_) => return,
            None => None,
        };
        let producer = self.0.entry(id).or_insert_with(|| DumpedProducer::unknown(id));
        if producer.producer_epoch != epoch.get() {
            producer.producer_epoch = epoch.get();
            producer.last_sequence = -1;
            producer.last_data_offset = -1;
            producer.offset_delta = 0;
        }
        producer.last_timestamp = batch.max_timestamp.unwrap_or(Timestamp::from_millis(-1));
        if let Some(coordinator_epoch) = marker {
            producer.coordinator_epoch = coordinator_epoch;
            producer.current_transaction = None;
            return;
        }
        producer.last_sequence = batch.last_sequence.unwrap_or(-1);
        producer.last_data_offset = batch.last_offset.get();
        let delta = batch.last_offset.get() - batch.base_offset.get();
        producer.offset_delta = i32::try_from(delta).unwrap_or(i32::MAX);
        if batch.is_transactional {
            producer.current_transaction.get_or_insert(batch.base_offset);
        }
    }

    pub(super) fn into_list(self) -> Vec<DumpedProducer> {
        self.0.into_values().collect()
    }
}

impl DumpedProducer {
    fn unknown(producer_id: ProducerId) -> Self {
        DumpedProducer {
            producer_id,
            producer_epoch: -1,
            last_sequence: -1,
            last_data_offset: -1,
            offset_delta: 0,
            last_timestamp: Timestamp::from_millis(-1),
            coordinator_epoch: -1,
            current_transaction: None,
        }
    }
}

/// Reads a snapshot's producers, sorted by id.
pub(super) fn parse_snapshot(bytes: &[u8]) -> Result<Vec<DumpedProducer>, &'static str> {
    if bytes.len() < HEAD {
        return Err("a producer snapshot that is not whole");
    }
    if BigEndian::read_i16(&bytes[0..2]) != VERSION {
        return Err("a producer snapshot of another version than 1");
    }
    if BigEndian::read_u32(&bytes[2..6]) != crc32c::crc32c(&bytes[COVERED..]) {
        return Err("the checksum of the producer snapshot does not fit");
    }
    let entries = &bytes[HEAD..];
    let count = usize::try_from(BigEndian::read_i32(&bytes[6..10])).ok();
    if count.and_then(|count| count.checked_mul(ENTRY)) != Some(entries.len()) {
        return Err("the producer snapshot holds another number of producers than it says");
    }
    let mut producers = entries.chunks_exact(ENTRY).map(producer).collect::<Result<Vec<_>, _>>()?;
    producers.sort_by_key(|producer| producer.producer_id.get());
    let twice = |two: &[DumpedProducer]| two[0].producer_id == two[1].producer_id;
    match producers.windows(2).any(twice) {
        true => Err("the producer snapshot names a producer twice"),
        false => Ok(producers),
    }
}

fn producer(bytes: &[u8]) -> Result<DumpedProducer, &'static str> {
    let (short, int, long) = (
        |at: usize| BigEndian::read_i16(&bytes[at..at + 2]),
        |at: usize| BigEndian::read_i32(&bytes[at..at + 4]),
        |at: usize| BigEndian::read_i64(&bytes[at..at + 8]),
    );
    let producer = DumpedProducer {
        producer_id: ProducerId::new(long(0)),
        producer_epoch: short(8),
        last_sequence: int(10),
        last_data_offset: long(14),
        offset_delta: int(22),
        last_timestamp: Timestamp::from_millis(long(26)),
        coordinator_epoch: int(34),
        current_transaction: Some(Offset::new(long(38))).filter(|offset| offset.get() >= 0),
    };
    let possible = producer.producer_id.get() >= 0
        && producer.producer_epoch >= -1
        && producer.last_sequence >= -1
        && producer.last_data_offset >= -1
        && producer.offset_delta >= 0
        && long(38) >= -1;
    possible.then_some(producer).ok_or("the producer snapshot holds impossible numbers")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that Kafka's own tests write.
    const KAFKAS: [u8; 56] = [
        0x00, 0x01, 0x5b, 0x83, 0xe0, 0x57, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 1,
        0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0,
        0, 3, 0, 0, 0, 0, 0, 0, 0, 100,
    ];

    #[test]
    fn kafkas_snapshot_reads() {
        let producers = parse_snapshot(&KAFKAS).unwrap();
        let expected = DumpedProducer {
            producer_id: ProducerId::new(1),
            producer_epoch: 2,
            last_sequence: 1,
            last_data_offset: 2,
            offset_delta: 3,
            last_timestamp: Timestamp::from_millis(-1),
            coordinator_epoch: 3,
            current_transaction: Some(Offset::new(100)),
        };
        assert_eq!(producers, [expected]);
    }

    #[test]
    fn whatever_is_cut_or_flipped_is_refused() {
        for len in 0..KAFKAS.len() {
            assert!(parse_snapshot(&KAFKAS[..len]).is_err(), "{len}");
        }
        for bit in 0..KAFKAS.len() * 8 {
            let mut flipped = KAFKAS;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(parse_snapshot(&flipped).is_err(), "{bit}");
        }
    }
}
