//! What a topic asks of a batch, kept as numbers that every append reads without a lock.
//!
//! The configuration itself lies behind a counted pointer: to read it through that costs an append
//! two exchanges on memory that all threads share. Here the few numbers that batches are measured
//! by are read plainly, all of one configuration.
//!
//! Written under the log's writer lock, read by whoever is about to append.

use crate::config::{Compression, Packing, TimestampType, TopicCompression, TopicConfig};
use crate::record::{BatchRules, Reach, TimestampRule};
use crate::time::Timestamp;
use crate::wait::Numbers;

/// Flags, in the byte that `TopicCompression::to_bits` leaves free.
const KEYED: u64 = 1 << 24;
const APPEND_TIME: u64 = 2 << 24;
const TAGGED: u64 = 4 << 24;

/// The rules of one log.
#[derive(Debug)]
pub(super) struct RulesCell(Numbers<4>);

impl RulesCell {
    pub(super) fn new(config: &TopicConfig) -> Self {
        RulesCell(Numbers::new(numbers(config)))
    }

    /// Takes a new configuration. Under the writer lock.
    pub(super) fn set(&self, config: &TopicConfig) {
        self.0.set(numbers(config));
    }

    /// Changes with the configuration; to be read before the rules.
    #[inline]
    pub(super) fn version(&self) -> u64 {
        self.0.version()
    }

    /// What is asked of a batch that is appended at `now` by a producer with this word on
    /// compression.
    #[inline(always)] // see `producer::walk`
    pub(super) fn at(&self, now: Timestamp, own: Compression, level: Option<i32>) -> BatchRules {
        rules(self.0.get(), now, (own, level))
    }
}

fn numbers(config: &TopicConfig) -> [u64; 4] {
    // a batch goes whole into one segment
    let max_bytes = config.max_batch_bytes.min(config.segment_bytes);
    let bound = |most| Reach::of(most).as_millis().cast_unsigned();
    let mut flags = 0;
    if config.cleanup_policy.compacts() {
        flags |= KEYED;
    }
    if config.timestamp_type == TimestampType::LogAppendTime {
        flags |= APPEND_TIME;
    }
    if config.tag_index {
        flags |= TAGGED;
    }
    let (before, after) = (bound(config.timestamp_before_max), bound(config.timestamp_after_max));
    debug_assert_eq!(flags & config.compression.to_bits(), 0);
    [max_bytes, before, after, config.compression.to_bits() | flags]
}

#[inline(always)] // see `producer::walk`
fn rules(
    [max_bytes, before, after, packing]: [u64; 4],
    now: Timestamp,
    (own, level): (Compression, Option<i32>),
) -> BatchRules {
    let bound = |millis: u64| Reach::from_millis(millis.cast_signed());
    let timestamps = if packing & APPEND_TIME != 0 {
        TimestampRule::Append { now }
    } else {
        TimestampRule::Create { now, before_max: bound(before), after_max: bound(after) }
    };
    let max_bytes = usize::try_from(max_bytes).unwrap_or(usize::MAX);
    let packed = Packing::of_topic(TopicCompression::from_bits(packing)).by(own, level);
    let (keyed, tagged) = (packing & KEYED != 0, packing & TAGGED != 0);
    BatchRules { timestamps, max_bytes, keyed, packing: packed, tagged }
}
