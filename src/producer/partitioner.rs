//! Which partition a record goes to when the caller did not say.
//!
//! Owns the [`Partitioner`] trait, which hosts may implement, and the two that come with the
//! crate: [`DefaultPartitioner`] (Kafka's hash for keys, sticky without) and [`RoundRobin`].
//!
//! Invariants: records of one key stay in one partition as long as the number of partitions does
//! not change; a partitioner of the host's that panics or answers a partition that is not there
//! costs its caller an error and nothing else. Partitioners run under no lock of ours.
//!
//! Called by the producer's topic handles through [`choose`].

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::num::{NonZeroU32, NonZeroU64};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Cause, Error, Result};
use crate::ids::PartitionId;
use crate::sync::RwLock;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Chooses the partition of each record that was sent without one.
///
/// A producer calls it from whatever threads send, never twice for one record, and not at all for a
/// topic of one partition. An answer that
/// is not below `partitions` fails that send with [`ErrorKind::InvalidArgument`], a panic with
/// [`ErrorKind::Panicked`]; nothing is written then and the producer stays usable.
///
/// ```
/// use std::num::NonZeroU32;
/// use tidelog::{PartitionId, Partitioner};
///
/// /// Everything of a region side by side: the key begins with its number.
/// #[derive(Debug)]
/// struct ByRegion;
///
/// impl Partitioner for ByRegion {
///     fn partition(&self, _: &str, key: Option<&[u8]>, partitions: NonZeroU32) -> PartitionId {
///         let region = key.and_then(|key| key.first()).copied().unwrap_or(0);
///         PartitionId::new(u32::from(region) % partitions)
///     }
/// }
///
/// let four = NonZeroU32::new(4).unwrap();
/// assert_eq!(ByRegion.partition("orders", Some(&[6, 1, 1]), four), PartitionId::new(2));
/// ```
///
/// [`ErrorKind::InvalidArgument`]: crate::ErrorKind::InvalidArgument
/// [`ErrorKind::Panicked`]: crate::ErrorKind::Panicked
pub trait Partitioner: Send + Sync + fmt::Debug + 'static {
    /// The partition for a record of `topic` with this key (`None`: a null key), out of
    /// `partitions`, which are numbered from 0. Must not block.
    ///
    /// ```
    /// use std::num::NonZeroU32;
    /// use tidelog::{DefaultPartitioner, PartitionId, Partitioner};
    /// let six = NonZeroU32::new(6).unwrap();
    /// let partition = DefaultPartitioner::new().partition("orders", Some(b"abc"), six);
    /// assert_eq!(partition, PartitionId::new(479_470_107 % 6)); // as Kafka's clients choose
    /// ```
    fn partition(&self, topic: &str, key: Option<&[u8]>, partitions: NonZeroU32) -> PartitionId;

    /// Tells that `bytes` of records which [`partition`](Partitioner::partition) was asked about
    /// were taken for `partition`: appended, or put into its linger buffer. The default does
    /// nothing; a sticky partitioner counts them to know when to move on. Must not block.
    ///
    /// ```
    /// use std::num::NonZeroU32;
    /// use tidelog::{PartitionId, Partitioner, RoundRobin};
    /// RoundRobin::new().taken("orders", PartitionId::new(0), 100); // of no interest to it
    /// ```
    fn taken(&self, topic: &str, partition: PartitionId, bytes: usize) {
        let _ = (topic, partition, bytes);
    }
}

/// Asks a partitioner and holds it to its word.
pub(crate) fn choose(
    partitioner: &dyn Partitioner,
    topic: &str,
    key: Option<&[u8]>,
    partitions: NonZeroU32,
) -> Result<PartitionId> {
    let chosen = guarded(|| partitioner.partition(topic, key, partitions))?;
    if chosen.get() >= partitions.get() {
        let text = format!(
            "the partitioner chose partition {chosen} of topic `{topic}`, which has {partitions}"
        );
        return Err(Error::new("choose partition", Cause::InvalidArgument(text)));
    }
    Ok(chosen)
}

/// Reports records that were taken. They are, so a panic here must not fail their send.
pub(crate) fn report_taken(
    partitioner: &dyn Partitioner,
    topic: &str,
    partition: PartitionId,
    bytes: usize,
) {
    if guarded(|| partitioner.taken(topic, partition, bytes)).is_err() {
        log::error!("the partitioner panicked when told of records for {topic}-{partition}");
    }
}

/// A partitioner's state is its own: what a panic leaves there is the host's to answer for.
fn guarded<T>(call: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| {
        // Dropping a payload may run the host's code and panic again; leaking it cannot.
        std::mem::forget(payload);
        Error::new("choose partition", Cause::Panicked("the partitioner"))
    })
}

/// Kafka's choice: records with a key go where Kafka's clients send them (32-bit murmur2 of the
/// key), records without one stay on a partition for a while and then move on to a random one.
///
/// Staying keeps batches full and one partition's tail hot. The stay lasts 16 KiB of records
/// without a key ([`with_stay`](DefaultPartitioner::with_stay) changes that), counted over all
/// topics that share the partitioner; over time every partition gets its part.
///
/// ```
/// use std::num::NonZeroU32;
/// use tidelog::{DefaultPartitioner, Partitioner};
/// let partitioner = DefaultPartitioner::new();
/// let four = NonZeroU32::new(4).unwrap();
/// let first = partitioner.partition("orders", None, four);
/// assert_eq!(partitioner.partition("orders", None, four), first); // sticky
/// ```
#[derive(Debug)]
pub struct DefaultPartitioner {
    /// Sets one partitioner's walk apart from another's.
    seed: u64,
    stay: NonZeroU64,
    /// Bytes without a key so far; its quotient by `stay` numbers the stays. It may wrap.
    bytes: AtomicU64,
}

impl DefaultPartitioner {
    /// Bytes of one stay unless chosen otherwise: Kafka's `batch.size`.
    const STAY: NonZeroU64 = NonZeroU64::MIN.saturating_add(16 * 1024 - 1);

    /// A partitioner with its own random walk over the partitions.
    ///
    /// ```
    /// let partitioner = tidelog::DefaultPartitioner::new();
    /// # let _ = partitioner;
    /// ```
    pub fn new() -> Self {
        // The standard library's hasher is seeded at random: all the randomness needed here.
        DefaultPartitioner::with_seed(RandomState::new().hash_one(0))
    }

    /// A partitioner whose walk over the partitions is the same in every run.
    ///
    /// ```
    /// use std::num::NonZeroU32;
    /// use tidelog::{DefaultPartitioner, Partitioner};
    /// let [one, other] = [(); 2].map(|()| DefaultPartitioner::with_seed(7));
    /// let many = NonZeroU32::new(1_000).unwrap();
    /// assert_eq!(one.partition("t", None, many), other.partition("t", None, many));
    /// ```
    pub fn with_seed(seed: u64) -> Self {
        DefaultPartitioner { seed, stay: Self::STAY, bytes: AtomicU64::new(0) }
    }

    /// Sets how many bytes of records without a key go to one partition before the next one is
    /// drawn. Default 16,384, minimum 1 (a new draw for nearly every record).
    ///
    /// ```
    /// use std::num::NonZeroU64;
    /// use tidelog::DefaultPartitioner;
    /// let stay = NonZeroU64::new(1 << 20).unwrap();
    /// let partitioner = DefaultPartitioner::new().with_stay(stay);
    /// # let _ = partitioner;
    /// ```
    #[must_use]
    pub fn with_stay(mut self, bytes: NonZeroU64) -> Self {
        self.stay = bytes;
        self
    }
}

impl Default for DefaultPartitioner {
    fn default() -> Self {
        DefaultPartitioner::new()
    }
}

impl Partitioner for DefaultPartitioner {
    fn partition(&self, _: &str, key: Option<&[u8]>, partitions: NonZeroU32) -> PartitionId {
        let number = match key {
            Some(key) => murmur2(key) & 0x7fff_ffff,
            None => {
                let stays = self.bytes.load(Ordering::Relaxed) / self.stay;
                // The upper half of the draw. A draw at random, not the next in turn: topics
                // that take turns would otherwise keep step and miss partitions.
                (mix(self.seed.wrapping_add(stays)) >> 32) as u32
            }
        };
        PartitionId::new(number % partitions)
    }

    /// Counts all it is told of; a record with a key merely ends the stay of the others sooner.
    fn taken(&self, _: &str, _: PartitionId, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed); // 64-bit targets only
    }
}

/// Each partition in turn, whether a record has a key or not; each topic has its own turn.
///
/// ```
/// use std::num::NonZeroU32;
/// use tidelog::{Partitioner, RoundRobin};
/// let partitioner = RoundRobin::new();
/// let three = NonZeroU32::new(3).unwrap();
/// let turns = [(); 4].map(|()| partitioner.partition("orders", None, three).get());
/// assert_eq!(turns, [0, 1, 2, 0]);
/// ```
#[derive(Debug, Default)]
pub struct RoundRobin {
    /// How many records each topic has had.
    turns: RwLock<HashMap<Box<str>, AtomicU64>>,
}

impl RoundRobin {
    /// Topics remembered at most; past that all turns begin anew, which is still in turn.
    const TOPICS_LIMIT: usize = 65_536;

    /// A partitioner that begins with partition 0 of each topic.
    ///
    /// ```
    /// let partitioner = tidelog::RoundRobin::new();
    /// # let _ = partitioner;
    /// ```
    pub fn new() -> Self {
        RoundRobin::default()
    }

    fn next_turn(&self, topic: &str) -> u64 {
        if let Some(turns) = self.turns.read().get(topic) {
            return turns.fetch_add(1, Ordering::Relaxed);
        }
        let mut all = self.turns.write();
        if all.len() >= Self::TOPICS_LIMIT && !all.contains_key(topic) {
            all.clear();
        }
        all.entry(topic.into()).or_default().fetch_add(1, Ordering::Relaxed)
    }
}

impl Partitioner for RoundRobin {
    fn partition(&self, topic: &str, _: Option<&[u8]>, partitions: NonZeroU32) -> PartitionId {
        let turn = self.next_turn(topic) % u64::from(partitions.get());
        PartitionId::new(u32::try_from(turn).expect("a remainder of a division by a u32"))
    }
}

/// 32-bit MurmurHash2 with the seed of Kafka's clients; the length enters modulo 2^32.
pub(crate) fn murmur2(key: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const MULTIPLIER: u32 = 0x5bd1_e995;
    let (words, tail) = key.as_chunks::<4>();
    let mut hash = SEED ^ key.len() as u32;
    for word in words {
        let mut word = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        word = (word ^ (word >> 24)).wrapping_mul(MULTIPLIER);
        hash = hash.wrapping_mul(MULTIPLIER) ^ word;
    }
    if !tail.is_empty() {
        let rest = tail.iter().rev().fold(0, |rest, &byte| rest << 8 | u32::from(byte));
        hash = (hash ^ rest).wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}

/// A bijection of 64 bits that scatters neighbours (the finisher of SplitMix64).
fn mix(number: u64) -> u64 {
    let number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn count(partitions: u32) -> NonZeroU32 {
        NonZeroU32::new(partitions).unwrap()
    }

    #[test]
    fn murmur2_gives_the_published_hashes() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("abc", 479_470_107),
            ("", 275_646_681),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn keys_go_where_kafka_sends_them() {
        let partitioner = DefaultPartitioner::new();
        for (key, hash) in [("21", -973_932_308i32), ("abc", 479_470_107)] {
            let expected = (hash & 0x7fff_ffff).unsigned_abs() % 50;
            let chosen = choose(&partitioner, "t", Some(key.as_bytes()), count(50)).unwrap();
            assert_eq!(chosen.get(), expected);
        }
        let empty = partitioner.partition("t", Some(b""), count(50));
        assert_eq!(empty.get(), 275_646_681 % 50, "an empty key is a key");
    }

    #[test]
    fn without_key_it_stays_and_then_moves_evenly() {
        let partitioner = DefaultPartitioner::with_seed(3).with_stay(NonZeroU64::new(100).unwrap());
        let mut stays = [0u32; 8];
        for _ in 0..8_000 {
            let chosen = partitioner.partition("t", None, count(8));
            for _ in 0..4 {
                assert_eq!(partitioner.partition("t", None, count(8)), chosen);
                partitioner.taken("t", chosen, 25);
            }
            stays[chosen.index()] += 1;
        }
        assert!(stays.iter().all(|&stays| (850..1_150).contains(&stays)), "{stays:?}");
    }

    #[test]
    fn topics_in_step_still_reach_every_partition() {
        let partitioner = DefaultPartitioner::with_seed(3).with_stay(NonZeroU64::new(100).unwrap());
        let mut reached = [false; 2];
        for _ in 0..100 {
            partitioner.taken("big", partitioner.partition("big", None, count(2)), 200);
            reached[partitioner.partition("small", None, count(2)).index()] = true;
        }
        assert_eq!(reached, [true; 2]);
    }

    #[test]
    fn round_robin_takes_turns_per_topic() {
        let partitioner = RoundRobin::new();
        for turn in 0..9 {
            for topic in ["one", "other"] {
                assert_eq!(partitioner.partition(topic, Some(b"k"), count(3)).get(), turn % 3);
            }
        }
    }

    #[test]
    fn round_robin_forgets_rather_than_grows() {
        let partitioner = RoundRobin::new();
        for topic in 0..=RoundRobin::TOPICS_LIMIT {
            partitioner.partition(&topic.to_string(), None, count(3));
        }
        assert_eq!(partitioner.turns.read().len(), 1);
    }

    #[derive(Debug)]
    struct Fixed(u32);

    impl Partitioner for Fixed {
        fn partition(&self, _: &str, _: Option<&[u8]>, _: NonZeroU32) -> PartitionId {
            assert_ne!(self.0, 77, "the host's own fault");
            PartitionId::new(self.0)
        }

        fn taken(&self, _: &str, _: PartitionId, bytes: usize) {
            assert_ne!(bytes, 77, "the host's own fault");
        }
    }

    #[test]
    fn a_custom_partitioner_is_held_to_its_word() {
        assert_eq!(choose(&Fixed(3), "t", None, count(4)).unwrap(), PartitionId::new(3));
        let error = choose(&Fixed(4), "t", None, count(4)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("partition 4 of topic `t`, which has 4"), "{error}");
        let error = choose(&Fixed(77), "t", None, count(4)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Panicked);
        report_taken(&Fixed(0), "t", PartitionId::new(0), 77);
    }
}
