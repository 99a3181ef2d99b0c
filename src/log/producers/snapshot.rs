//! Kafka's `.snapshot` file, bytes only (`kafka-format.md` 1.6).
//!
//! Version, CRC-32C over everything behind it, count, then 46 bytes for each producer, of whose
//! batches the last one alone is kept. Entries are written in the order of their ids, so that the
//! same state makes the same bytes. Reading trusts nothing: the length must be that of the count,
//! and numbers that no log can have made are a fault like a checksum that does not fit.

use std::collections::HashSet;

use byteorder::{BigEndian, ByteOrder as _};

use super::entry::{BatchMeta, ProducerEntry};
use super::state::Producers;
use crate::ids::{Offset, ProducerEpoch, ProducerId, Sequence};
use crate::time::Timestamp;

/// Where each field begins; sums of the sizes before it.
mod at {
    pub(super) const VERSION: usize = 0;
    pub(super) const CRC: usize = VERSION + 2;
    pub(super) const COUNT: usize = CRC + 4;
    pub(super) const ENTRIES: usize = COUNT + 4;

    pub(super) const PRODUCER: usize = 0;
    pub(super) const EPOCH: usize = PRODUCER + 8;
    pub(super) const LAST_SEQUENCE: usize = EPOCH + 2;
    pub(super) const LAST_OFFSET: usize = LAST_SEQUENCE + 4;
    pub(super) const OFFSET_DELTA: usize = LAST_OFFSET + 8;
    pub(super) const TIMESTAMP: usize = OFFSET_DELTA + 4;
    pub(super) const COORDINATOR_EPOCH: usize = TIMESTAMP + 8;
    pub(super) const TRANSACTION_START: usize = COORDINATOR_EPOCH + 4;
    pub(super) const ENTRY_LEN: usize = TRANSACTION_START + 8;
}

const VERSION: i16 = 1;
/// The largest file that is read: some eleven million producers.
pub(crate) const MAX_SNAPSHOT: usize = 512 << 20;

/// What is wrong with a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SnapshotFault {
    #[error("{0} bytes are no snapshot")]
    Length(usize),
    #[error("its version is {0}, only {VERSION} is known")]
    Version(i16),
    #[error("its checksum is {computed:08x}, it says {stored:08x}")]
    Crc { stored: u32, computed: u32 },
    #[error("it says {count} entries and has room for {room}")]
    Count { count: i32, room: usize },
    #[error("entry {index}: {what}")]
    Entry { index: usize, what: &'static str },
}

/// One producer as a snapshot has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) producer: ProducerId,
    pub(crate) epoch: ProducerEpoch,
    pub(crate) last_sequence: Option<Sequence>,
    pub(crate) last_offset: Option<Offset>,
    pub(crate) offset_delta: u32,
    pub(crate) timestamp: Option<Timestamp>,
    pub(crate) coordinator_epoch: Option<i32>,
    pub(crate) transaction_start: Option<Offset>,
}

/// The bytes of a snapshot of these producers.
pub(crate) fn encode(mut recorded: Vec<Recorded>) -> Vec<u8> {
    recorded.sort_unstable_by_key(|recorded| recorded.producer);
    let mut bytes = vec![0; at::ENTRIES + recorded.len() * at::ENTRY_LEN];
    BigEndian::write_i16(&mut bytes[at::VERSION..], VERSION);
    let count = i32::try_from(recorded.len()).unwrap_or(i32::MAX);
    BigEndian::write_i32(&mut bytes[at::COUNT..], count);
    let entries = bytes[at::ENTRIES..].chunks_exact_mut(at::ENTRY_LEN);
    for (recorded, entry) in recorded.iter().zip(entries) {
        let offset = |offset: Option<Offset>| offset.map_or(-1, Offset::get);
        let timestamp = Timestamp::to_wire(recorded.timestamp);
        BigEndian::write_i64(&mut entry[at::PRODUCER..], recorded.producer.get());
        BigEndian::write_i16(&mut entry[at::EPOCH..], recorded.epoch.get());
        let sequence = Sequence::to_wire(recorded.last_sequence);
        BigEndian::write_i32(&mut entry[at::LAST_SEQUENCE..], sequence);
        BigEndian::write_i64(&mut entry[at::LAST_OFFSET..], offset(recorded.last_offset));
        let delta = i32::try_from(recorded.offset_delta).unwrap_or(i32::MAX);
        BigEndian::write_i32(&mut entry[at::OFFSET_DELTA..], delta);
        BigEndian::write_i64(&mut entry[at::TIMESTAMP..], timestamp);
        let coordinator = recorded.coordinator_epoch.unwrap_or(-1);
        BigEndian::write_i32(&mut entry[at::COORDINATOR_EPOCH..], coordinator);
        let start = offset(recorded.transaction_start);
        BigEndian::write_i64(&mut entry[at::TRANSACTION_START..], start);
    }
    let crc = crc32c::crc32c(&bytes[at::COUNT..]);
    BigEndian::write_u32(&mut bytes[at::CRC..], crc);
    bytes
}

/// Reads the bytes of a snapshot.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<Recorded>, SnapshotFault> {
    if bytes.len() < at::ENTRIES {
        return Err(SnapshotFault::Length(bytes.len()));
    }
    let version = BigEndian::read_i16(&bytes[at::VERSION..]);
    if version != VERSION {
        return Err(SnapshotFault::Version(version));
    }
    let stored = BigEndian::read_u32(&bytes[at::CRC..]);
    let computed = crc32c::crc32c(&bytes[at::COUNT..]);
    if stored != computed {
        return Err(SnapshotFault::Crc { stored, computed });
    }
    let count = BigEndian::read_i32(&bytes[at::COUNT..]);
    let entries = &bytes[at::ENTRIES..];
    let room = entries.len() / at::ENTRY_LEN;
    if usize::try_from(count) != Ok(room) || !entries.len().is_multiple_of(at::ENTRY_LEN) {
        return Err(SnapshotFault::Count { count, room });
    }
    let (mut producers, mut starts) = (HashSet::new(), HashSet::new());
    let entries = entries.chunks_exact(at::ENTRY_LEN).enumerate();
    entries
        .map(|(index, entry)| {
            let fault = |what| SnapshotFault::Entry { index, what };
            let recorded = read_entry(entry).map_err(fault)?;
            // else a transaction would stay open that no marker ends, or end with another
            if !producers.insert(recorded.producer) {
                return Err(fault("a producer that was there before"));
            }
            if recorded.transaction_start.is_some_and(|start| !starts.insert(start)) {
                return Err(fault("a transaction that begins where another does"));
            }
            Ok(recorded)
        })
        .collect()
}

fn read_entry(entry: &[u8]) -> Result<Recorded, &'static str> {
    let producer = BigEndian::read_i64(&entry[at::PRODUCER..]);
    let epoch = BigEndian::read_i16(&entry[at::EPOCH..]);
    let delta = BigEndian::read_i32(&entry[at::OFFSET_DELTA..]);
    let coordinator = BigEndian::read_i32(&entry[at::COORDINATOR_EPOCH..]);
    if producer < 0 {
        return Err("a negative producer id");
    }
    if epoch < 0 {
        return Err("a negative producer epoch");
    }
    let offset = |at| {
        let offset = BigEndian::read_i64(&entry[at..]);
        Some(Offset::new(offset)).filter(|_| (0..i64::MAX).contains(&offset))
    };
    Ok(Recorded {
        producer: ProducerId::new(producer),
        epoch: ProducerEpoch::new(epoch),
        last_sequence: Sequence::new(BigEndian::read_i32(&entry[at::LAST_SEQUENCE..])),
        last_offset: offset(at::LAST_OFFSET),
        offset_delta: u32::try_from(delta).map_err(|_| "a negative offset delta")?,
        timestamp: Timestamp::from_wire(BigEndian::read_i64(&entry[at::TIMESTAMP..])),
        coordinator_epoch: (coordinator >= 0).then_some(coordinator),
        transaction_start: offset(at::TRANSACTION_START),
    })
}

impl Recorded {
    /// Whether a log that ends at `end` can have made it.
    pub(crate) fn fits(&self, end: Offset) -> bool {
        let below = |offset: Option<Offset>| offset.is_none_or(|offset| offset < end);
        let spans = self.last_offset.is_none_or(|last| i64::from(self.offset_delta) <= last.get());
        below(self.last_offset) && below(self.transaction_start) && spans
    }
}

impl Producers {
    /// What a snapshot has of them, in any order.
    pub(crate) fn recorded(&self) -> Vec<Recorded> {
        self.entries
            .iter()
            .map(|(producer, entry)| {
                let last = entry.batches.back();
                Recorded {
                    producer: *producer,
                    epoch: entry.epoch,
                    last_sequence: entry.last_sequence(),
                    last_offset: last.map(|last| last.last_offset),
                    offset_delta: last.map_or(0, |last| last.span),
                    timestamp: entry.last_timestamp,
                    coordinator_epoch: entry.coordinator_epoch,
                    transaction_start: entry.transaction_start,
                }
            })
            .collect()
    }

    /// Takes up what a snapshot at `end` says, in place of everything known before; says whether
    /// a log can have made it. To be read again counts as activity.
    pub(crate) fn load(&mut self, recorded: &[Recorded], end: Offset, now: Timestamp) -> bool {
        self.entries.clear();
        self.transactions = super::transactions::Transactions::default();
        if !recorded.iter().all(|recorded| recorded.fits(end)) {
            return false;
        }
        for recorded in recorded {
            let mut entry = ProducerEntry::new(recorded.epoch, now);
            if let Some(last_offset) = recorded.last_offset {
                entry.remember(BatchMeta {
                    last_sequence: recorded.last_sequence,
                    last_offset,
                    span: recorded.offset_delta,
                    timestamp: recorded.timestamp,
                });
            }
            entry.last_timestamp = recorded.timestamp;
            entry.coordinator_epoch = recorded.coordinator_epoch;
            entry.transaction_start = recorded.transaction_start;
            if let Some(start) = entry.transaction_start {
                self.transactions.begin(start, recorded.producer);
            }
            self.entries.insert(recorded.producer, entry);
        }
        if self.entries.len() > self.limits().most {
            self.make_room(now);
        }
        true
    }
}
