//! What a topic asks of a batch, kept as numbers that every append reads without a lock.
//!
//! The configuration itself lies behind a counted pointer: to read it through that costs an append
//! two exchanges on memory that all threads share. Here the few numbers that batches are measured
//! by are read plainly, between two looks at a version: it is odd while they change, so that no
//! reader has some of an old configuration and some of a new one.
//!
//! Written under the log's writer lock, read by whoever is about to append.

use crate::config::{Packing, TimestampType, TopicCompression, TopicConfig};
use crate::record::{BatchRules, TimestampRule};
use crate::sync::atomic::{AtomicU64, Ordering, fence};
use crate::sync::spin_loop;
use crate::time::{Timestamp, millis};
use std::time::Duration;

/// No bound on timestamps.
const UNBOUNDED: u64 = u64::MAX;
/// Bits of the flags.
const KEYED: u64 = 1;
const APPEND_TIME: u64 = 2;

/// The rules of one log.
#[derive(Debug)]
pub(super) struct RulesCell {
    /// Odd while the numbers change.
    version: AtomicU64,
    numbers: [AtomicU64; 5],
}

/// The numbers, in the order they are kept in.
type Numbers = [u64; 5];

impl RulesCell {
    pub(super) fn new(config: &TopicConfig) -> Self {
        RulesCell { version: AtomicU64::new(0), numbers: numbers(config).map(AtomicU64::new) }
    }

    /// Takes a new configuration. Under the writer lock.
    pub(super) fn set(&self, config: &TopicConfig) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        for (kept, number) in self.numbers.iter().zip(numbers(config)) {
            kept.store(number, Ordering::Relaxed);
        }
        self.version.store(version + 2, Ordering::Release);
    }

    /// What is asked of a batch that is appended at `now`.
    #[inline(always)] // see `producer::walk`
    pub(super) fn at(&self, now: Timestamp) -> BatchRules {
        loop {
            let version = self.version.load(Ordering::Acquire);
            let [max_bytes, before, after, flags, compression] =
                self.numbers.each_ref().map(|number| number.load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            if version.is_multiple_of(2) && version == self.version.load(Ordering::Relaxed) {
                return rules([max_bytes, before, after, flags, compression], now);
            }
            spin_loop();
        }
    }
}

fn numbers(config: &TopicConfig) -> Numbers {
    // a batch goes whole into one segment
    let max_bytes = config.max_batch_bytes.min(config.segment_bytes);
    let bound =
        |most: Option<Duration>| most.map_or(UNBOUNDED, |most| millis(most).cast_unsigned());
    let mut flags = 0;
    if config.cleanup_policy.compacts() {
        flags |= KEYED;
    }
    if config.timestamp_type == TimestampType::LogAppendTime {
        flags |= APPEND_TIME;
    }
    let (before, after) = (bound(config.timestamp_before_max), bound(config.timestamp_after_max));
    [max_bytes, before, after, flags, config.compression.to_bits()]
}

#[inline(always)] // see `producer::walk`
fn rules([max_bytes, before, after, flags, compression]: Numbers, now: Timestamp) -> BatchRules {
    let bound = |millis| (millis != UNBOUNDED).then(|| Duration::from_millis(millis));
    let timestamps = if flags & APPEND_TIME != 0 {
        TimestampRule::Append { now }
    } else {
        TimestampRule::Create { now, before_max: bound(before), after_max: bound(after) }
    };
    let max_bytes = usize::try_from(max_bytes).unwrap_or(usize::MAX);
    let packing = Packing::of_topic(TopicCompression::from_bits(compression));
    BatchRules { timestamps, max_bytes, keyed: flags & KEYED != 0, packing }
}
