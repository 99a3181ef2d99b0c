//! The bytes of `.txnindex`: which transactions were aborted, each told in the segment that holds
//! its marker.
//!
//! An entry is 34 bytes, big-endian: version, producer id, first offset, last offset (the marker's)
//! and the last stable offset of that moment. There is no checksum, so every field is bounded here
//! and the markers must rise; whether an entry is true, only the log knows.
//!
//! Called by `log`, which writes and reads them, and by `inspect`.

use byteorder::{BigEndian, ByteOrder as _};

use crate::ids::{Offset, ProducerId};

/// Bytes of an entry: version, then four numbers.
const SIZE: usize = 2 + 4 * 8;
const VERSION: i16 = 0;

/// A transaction that was aborted, as Kafka's `.txnindex` tells it.
///
/// ```
/// use tidelog::{Offset, ProducerId};
/// # let dir = tempfile::tempdir().unwrap();
/// # tidelog::Log::open(dir.path())?.append(&[tidelog::Record::new("a")])?;
/// for partition in tidelog::Dump::open(dir.path())?.partitions() {
///     for segment in partition.segments() {
///         for aborted in segment.transaction_index()?.into_iter().flat_map(|it| it.entries) {
///             println!("{} {}..={}", aborted.producer_id, aborted.first, aborted.last);
///         }
///     }
/// }
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AbortedTransaction {
    /// Whose transaction it was.
    pub producer_id: ProducerId,
    /// The offset of its first record here, which may lie segments before the marker.
    pub first: Offset,
    /// The offset of the marker that aborted it.
    pub last: Offset,
    /// Up to where every transaction was decided when it was aborted.
    pub last_stable: Offset,
}

/// What is wrong with a transaction index, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexFault {
    pub(crate) position: u64,
    pub(crate) what: &'static str,
}

impl AbortedTransaction {
    /// One as it is met in a log.
    pub(crate) fn new(
        producer_id: ProducerId,
        first: Offset,
        last: Offset,
        last_stable: Offset,
    ) -> Self {
        AbortedTransaction { producer_id, first, last, last_stable }
    }

    fn bytes(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        BigEndian::write_i16(&mut bytes, VERSION);
        let numbers = [self.producer_id.get(), self.first.get(), self.last.get()];
        for (number, place) in numbers.iter().chain([&self.last_stable.get()]).zip(0..) {
            BigEndian::write_i64(&mut bytes[2 + 8 * place..], *number);
        }
        bytes
    }

    fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        if BigEndian::read_i16(&bytes[0..2]) != VERSION {
            return Err("an entry of another version than 0");
        }
        let number = |at: usize| BigEndian::read_i64(&bytes[at..at + 8]);
        let (producer_id, first, last, last_stable) =
            (number(2), number(10), number(18), number(26));
        if producer_id < 0 || first < 0 || last < first || last == i64::MAX || last_stable < 0 {
            return Err("an entry whose numbers are impossible");
        }
        let [first, last, last_stable] = [first, last, last_stable].map(Offset::new);
        Ok(Self::new(ProducerId::new(producer_id), first, last, last_stable))
    }
}

/// The bytes of an index.
pub(crate) fn transaction_index_bytes(entries: &[AbortedTransaction]) -> Vec<u8> {
    entries.iter().flat_map(AbortedTransaction::bytes).collect()
}

/// Reads the index of the segment that begins at `base`.
pub(crate) fn parse_transaction_index(
    base: Offset,
    bytes: &[u8],
) -> Result<Vec<AbortedTransaction>, IndexFault> {
    let mut entries: Vec<AbortedTransaction> = Vec::with_capacity(bytes.len() / SIZE);
    for (at, entry) in bytes.chunks(SIZE).enumerate() {
        let fault = |what| IndexFault { position: (at * SIZE) as u64, what };
        if entry.len() < SIZE {
            return Err(fault("an entry that is not whole"));
        }
        let entry = AbortedTransaction::parse(entry).map_err(fault)?;
        let before = entries.last().map(|before| before.last);
        if entry.last < base || before.is_some_and(|before| entry.last <= before) {
            return Err(fault("a marker that falls behind what comes before"));
        }
        entries.push(entry);
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(version: i16, numbers: [i64; 4]) -> Vec<u8> {
        let numbers = numbers.map(i64::to_be_bytes).concat();
        [&version.to_be_bytes()[..], &numbers].concat()
    }

    #[test]
    fn entries_are_bounded_and_rise() {
        let good = entry(0, [7, 3, 9, 5]);
        let parsed = parse_transaction_index(Offset::new(9), &good).unwrap();
        let [first, last, stable] = [3, 9, 5].map(Offset::new);
        assert_eq!(parsed, [AbortedTransaction::new(ProducerId::new(7), first, last, stable)]);
        let position = |bytes: &[u8], base| {
            parse_transaction_index(Offset::new(base), bytes).unwrap_err().position
        };
        assert_eq!(transaction_index_bytes(&parsed), good);
        assert_eq!(position(&good, 10), 0, "before the segment");
        assert_eq!(position(&[good.clone(), good.clone()].concat(), 0), 34, "twice");
        assert_eq!(position(&[good.clone(), vec![0; 33]].concat(), 0), 34, "not whole");
        for bad in [
            entry(1, [7, 3, 9, 5]),
            entry(0, [-1, 3, 9, 5]),
            entry(0, [7, -3, 9, 5]),
            entry(0, [7, 10, 9, 5]),
            entry(0, [7, 3, i64::MAX, 5]),
            entry(0, [7, 3, 9, -1]),
        ] {
            assert_eq!(position(&bad, 0), 0, "{bad:?}");
        }
    }
}
