//! What vouches for the header bytes of batches that their own checksum leaves open.
//!
//! Kafka's checksum begins behind base offset, length, leader epoch, format and the checksum field
//! itself: 21 bytes of each batch. A [`Run`] says what those bytes were, for batches that lie one
//! behind the other (about one index interval of them), folded into 64 bits that begin with the
//! identity of topic, partition, segment and position. So a flipped bit there, an older block of
//! the same file and a block of another segment or partition all show.
//!
//! The fold mixes one word at a time by steps that can be undone: two texts that differ in one
//! word never fold to the same number, others do with a chance of 2^-64.
//!
//! Pure: the file that holds runs is `sidecar`, who asks for what is `cover`.

use super::index::relative;
use crate::ids::{Offset, PartitionId, TopicId};
use crate::record::BatchHeader;

/// Bytes at the front of a batch that its checksum does not cover.
pub(crate) const OPEN_BYTES: usize = 8 + 4 + 4 + 1 + 4;
/// The odd number of the golden ratio, which spreads every bit upwards.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Whose log it is: what every digest begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) topic: TopicId,
    pub(crate) partition: PartitionId,
}

/// Where the digests of one segment begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed(u64);

impl Seed {
    pub(crate) fn of(identity: Identity, base: Offset) -> Self {
        let topic = identity.topic.as_bytes();
        let words = [
            word(topic, 0),
            word(topic, 8),
            u64::from(identity.partition.get()),
            base.get().cast_unsigned(),
        ];
        Seed(words.into_iter().fold(0, mix))
    }
}

/// The first 21 bytes of a batch, as a digest takes them in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OpenHeader([u64; 3]);

impl OpenHeader {
    /// Those of the batch at the front of `bytes`, `None` where they are fewer.
    #[inline]
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let head = bytes.first_chunk::<OPEN_BYTES>()?;
        // field by field: a load that spans several stores just made would wait for all of them
        let four = |at: usize| u64::from(u32::from_be_bytes(chunk(head, at)));
        let (length, epoch, format, checksum) = (four(8), four(12), u64::from(head[16]), four(17));
        // the last word begins three bytes early, so that all three are whole
        let last = (epoch & 0xff_ffff) << 40 | format << 32 | checksum;
        Some(OpenHeader([word(head, 0), length << 32 | epoch, last]))
    }

    /// Bytes of the whole batch, as its length says; `None` where no batch is that short.
    pub(crate) fn size(&self) -> Option<u64> {
        const LENGTH_EXCLUDES: u64 = 12;
        let length = self.0[1] >> 32;
        let size = length + LENGTH_EXCLUDES;
        (size >= BatchHeader::LEN as u64).then_some(size)
    }
}

#[inline]
fn chunk<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut chunk = [0; N];
    chunk.copy_from_slice(&bytes[at..at + N]);
    chunk
}

#[inline]
fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(chunk(bytes, at))
}

#[inline]
fn mix(state: u64, word: u64) -> u64 {
    (state ^ word).wrapping_mul(SPREAD).rotate_left(29)
}

/// The digest of a run while it is taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fold(u64);

impl Fold {
    pub(crate) fn begin(seed: Seed, position: u64) -> Self {
        Fold(mix(seed.0, position))
    }

    #[inline]
    pub(crate) fn push(&mut self, header: OpenHeader) {
        let OpenHeader([one, two, three]) = header;
        self.0 = mix(mix(mix(self.0, one), two), three);
    }

    pub(crate) fn finish(self) -> u64 {
        let folded = self.0 ^ (self.0 >> 32);
        let folded = folded.wrapping_mul(SPREAD);
        folded ^ (folded >> 29)
    }
}

/// Who took a digest, and so what it vouches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The writer, as it appended.
    Append,
    /// Taken from the file later: what had happened to it before then does not show.
    File,
}

/// Batches that lie one behind the other, with the digest of their open bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Where it begins and ends, in bytes.
    pub(crate) start: u32,
    pub(crate) end: u32,
    /// Its first offset and the one behind its last, relative to the segment's base.
    pub(crate) first: u32,
    pub(crate) next: u32,
    pub(crate) digest: u64,
    pub(crate) origin: Origin,
}

/// One batch as a digest sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DigestedBatch {
    pub(crate) header: OpenHeader,
    pub(crate) position: u64,
    pub(crate) size: u64,
    pub(crate) first: Offset,
    pub(crate) next: Offset,
}

/// A run that may go on.
#[derive(Clone, Copy, Debug)]
struct OpenRun {
    fold: Fold,
    start: u32,
    end: u32,
    first: u32,
    next: u32,
}

/// Takes digests, batch by batch; allocates only where a run ends.
#[derive(Debug)]
#[repr(C)] // what every batch changes lies in front
pub(crate) struct Digester {
    open: Option<OpenRun>,
    base: Offset,
    interval: u64,
    seed: Seed,
    origin: Origin,
    closed: Vec<Run>,
}

impl Digester {
    pub(crate) fn new(identity: Identity, base: Offset, interval: u64, origin: Origin) -> Self {
        let seed = Seed::of(identity, base);
        Digester { seed, base, interval, origin, open: None, closed: Vec::new() }
    }

    /// From here on digests vouch for as much as `origin` says.
    pub(crate) fn set_origin(&mut self, origin: Origin) {
        if origin != self.origin {
            self.close();
            self.origin = origin;
        }
    }

    /// Takes in the next batch. A run ends once it is longer than the interval, so a batch that
    /// is longer alone is a run of its own. What lies beyond 4 GiB is not covered.
    #[inline]
    pub(crate) fn push(&mut self, batch: DigestedBatch) {
        let bounds =
            (batch.position, batch.position + batch.size, batch.next.get() - self.base.get());
        let (Ok(start), Ok(end), Ok(next), Some(first)) = (
            u32::try_from(bounds.0),
            u32::try_from(bounds.1),
            u32::try_from(bounds.2),
            relative(self.base, batch.first),
        ) else {
            return self.close();
        };
        let open = self.open.get_or_insert_with(|| {
            let fold = Fold::begin(self.seed, batch.position);
            OpenRun { fold, start, end, first, next }
        });
        debug_assert!(open.end == start || open.start == start, "batches lie one behind the other");
        open.fold.push(batch.header);
        (open.end, open.next) = (end, next);
        if u64::from(open.end - open.start) > self.interval {
            self.close();
        }
    }

    /// Ends the run at hand.
    #[cold]
    pub(crate) fn close(&mut self) {
        if let Some(open) = self.open.take() {
            let OpenRun { fold, start, end, first, next } = open;
            let digest = fold.finish();
            self.closed.push(Run { start, end, first, next, digest, origin: self.origin });
        }
    }

    /// The runs that have ended since this was called last, the one at hand with them.
    pub(crate) fn take(&mut self) -> Vec<Run> {
        self.close();
        std::mem::take(&mut self.closed)
    }
}

#[cfg(test)]
impl Digester {
    /// How many bytes at its front change with every batch, or are looked at.
    pub(super) const CHANGED: usize = std::mem::offset_of!(Digester, seed);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        let topic = TopicId::from_bytes([7; 16]).expect("an id");
        Identity { topic, partition: PartitionId::new(3) }
    }

    fn digest(heads: &[[u8; OPEN_BYTES]]) -> u64 {
        let mut fold = Fold::begin(Seed::of(identity(), Offset::new(5)), 100);
        heads.iter().for_each(|head| fold.push(OpenHeader::of(head).expect("21 bytes")));
        fold.finish()
    }

    #[test]
    fn the_numbers_on_disk_do_not_change() {
        let heads = [0, 40].map(|n| std::array::from_fn(|at| n + at as u8));
        assert_eq!(digest(&heads), 0x58cf_3cb1_4524_2c4d); // worked out by hand from docs/format.md
    }

    #[test]
    fn every_flipped_bit_every_swap_and_every_place_shows() {
        let heads: Vec<_> = (0..5).map(|n| std::array::from_fn(|at| (n * 40 + at) as u8)).collect();
        let right = digest(&heads);
        for n in 0..heads.len() {
            for bit in 0..OPEN_BYTES * 8 {
                let mut flipped = heads.clone();
                flipped[n][bit / 8] ^= 1 << (bit % 8);
                assert_ne!(digest(&flipped), right, "batch {n} bit {bit}");
            }
            let mut swapped = heads.clone();
            swapped.swap(n, (n + 1) % heads.len());
            assert_ne!(digest(&swapped), right);
        }
        assert_ne!(digest(&heads[..4]), right);
        let here = Seed::of(identity(), Offset::new(5));
        let elsewhere = Identity { partition: PartitionId::new(4), ..identity() };
        assert_ne!(here, Seed::of(elsewhere, Offset::new(5)));
        assert_ne!(here, Seed::of(identity(), Offset::new(6)));
        assert_ne!(Fold::begin(here, 0).finish(), Fold::begin(here, 1).finish());
    }

    #[test]
    fn a_run_ends_behind_the_interval_and_when_asked() {
        let mut digester = Digester::new(identity(), Offset::new(10), 100, Origin::Append);
        let header = OpenHeader::of(&[1; OPEN_BYTES]).expect("21 bytes");
        for n in 0..5_i64 {
            let position = n.cast_unsigned() * 60;
            let first = Offset::new(10 + n);
            digester.push(DigestedBatch { header, position, size: 60, first, next: first.next() });
        }
        let runs = digester.take();
        let shape: Vec<_> =
            runs.iter().map(|run| (run.start, run.end, run.first, run.next)).collect();
        assert_eq!(shape, [(0, 120, 0, 2), (120, 240, 2, 4), (240, 300, 4, 5)]);
        assert!(digester.take().is_empty());
    }
}
