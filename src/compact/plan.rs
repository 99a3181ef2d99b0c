//! When a log is due for compaction, and which segments are written again together. Pure.
//!
//! **When.** A log of an internal topic is due once it is larger than its share of 32 MiB, at most
//! 4 MiB and at least 256 KiB, and at least twice as large as what compaction left of it last.
//! So the work is paid for by growth: what a pass reads was appended since the last one, but for
//! as much again. And so the whole is bounded, not just each partition: with the 50 partitions of
//! `__consumer_offsets` that is 655 KiB each, and at most 32 MiB or twice the live state for all,
//! whichever is more; that much is read again in a fraction of a second when the store opens. A
//! pass costs a handful of syncs, paid for by two thousand commits or more.
//!
//! A log of a program's topic is due by its configuration, as with Kafka: once more than a part of
//! what is sealed and old enough was appended since the last pass, or once a record of it is too
//! old to wait. The active segment is never compacted.
//!
//! **Together.** Neighbours whose sizes, indexes and offsets fit one segment become one, as with
//! Kafka: else a log that is compacted often would fall into ever smaller segments. What their
//! indexes of aborted transactions say goes into the one's.

use std::ops::Range;

use crate::config::{Ratio, TopicConfig};
use crate::ids::Offset;
use crate::time::{Timestamp, millis};

/// What the partitions of one topic may hold together before any is due.
const TOPIC_BYTES: u64 = 32 << 20;
/// The least and the most of it that is one partition's.
const LEAST_SHARE: u64 = 256 << 10;
const MOST_SHARE: u64 = 4 << 20;

/// Whether a log is to be compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Now,
    /// Not before it holds so many bytes.
    At(u64),
}

/// Decides for a log of `total` bytes, `clean` of which compaction has been through, in a topic of
/// `partitions`.
pub(crate) fn need(total: u64, clean: u64, partitions: usize) -> Need {
    let share = TOPIC_BYTES / (partitions.max(1) as u64);
    let due = share.clamp(LEAST_SHARE, MOST_SHARE).max(clean.saturating_mul(2));
    if total >= due { Need::Now } else { Need::At(due) }
}

/// One sealed segment as the question sees it whether its log is due, oldest first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    /// One past its last offset.
    pub(crate) end: Offset,
    pub(crate) bytes: u64,
    /// The first batch's timestamp and the largest; `None` where there is none.
    pub(crate) first: Option<Timestamp>,
    pub(crate) newest: Option<Timestamp>,
}

/// What the configuration of a program's topic asks of compaction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    min_dirty: Ratio,
    /// Records later than this are too young to be compacted.
    young_from: Option<Timestamp>,
    /// Records that are not compacted, and not later than this, are too old to wait.
    overdue_to: Option<Timestamp>,
}

impl Terms {
    /// Those of a configuration at `now`.
    pub(crate) fn of(config: &TopicConfig, now: Timestamp) -> Self {
        let before = |age| Timestamp::from_millis(now.as_millis().saturating_sub(millis(age)));
        let lag = config.min_compaction_lag;
        Terms {
            min_dirty: config.min_dirty,
            young_from: (!lag.is_zero()).then(|| before(lag)),
            overdue_to: config.max_compaction_lag.map(before),
        }
    }

    /// Whether a record of that timestamp may not wait for compaction any longer.
    pub(crate) fn is_overdue(&self, timestamp: Option<Timestamp>) -> bool {
        self.overdue_to.is_some_and(|to| timestamp.is_some_and(|timestamp| timestamp <= to))
    }

    /// Whether ages decide anything.
    pub(crate) fn asks_for_ages(&self) -> bool {
        self.young_from.is_some() || self.overdue_to.is_some()
    }
}

/// Up to where a log of a program's topic is to be compacted now, if it is. Everything below
/// `clean` has been.
pub(crate) fn due(sealed: &[Candidate], clean: Offset, terms: &Terms) -> Option<Offset> {
    let is_old = |it: &&Candidate| {
        terms.young_from.is_none_or(|young| it.newest.is_none_or(|newest| newest <= young))
    };
    let (mut total, mut dirty, mut overdue, mut end) = (0_u64, 0_u64, false, None);
    for candidate in sealed.iter().take_while(is_old) {
        total = total.saturating_add(candidate.bytes);
        if candidate.end > clean {
            dirty = dirty.saturating_add(candidate.bytes);
            overdue |= terms.is_overdue(candidate.first);
            end = Some(candidate.end);
        }
    }
    end.filter(|_| overdue || terms.min_dirty.is_below(dirty, total))
}

/// One sealed segment as the grouping sees it, oldest first.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentFacts {
    pub(super) base: Offset,
    pub(super) end: Offset,
    pub(super) bytes: u64,
}

/// What one segment may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentLimits {
    pub(super) bytes: u64,
    pub(super) index_bytes: u64,
    pub(super) index_interval: u64,
}

/// The runs of segments that become one each. Only those that begin below `mapped_end` are
/// looked at: above it nothing is known to be superseded.
pub(super) fn groups(
    segments: &[SegmentFacts],
    mapped_end: Offset,
    limits: SegmentLimits,
) -> Vec<Range<usize>> {
    // the larger entry, of the time index, once each interval
    let index_of = |bytes: u64| (bytes / limits.index_interval.max(1) + 1).saturating_mul(12);
    let mut groups: Vec<Range<usize>> = Vec::new();
    let mut bytes = 0;
    for (at, segment) in segments.iter().enumerate() {
        if segment.base >= mapped_end {
            break;
        }
        let last = groups.last_mut().filter(|group| {
            let total: u64 = bytes + segment.bytes;
            let span = segment.end.since(segments[group.start].base);
            total <= limits.bytes
                && index_of(total) <= limits.index_bytes
                && span <= u64::from(i32::MAX.unsigned_abs())
        });
        match last {
            Some(group) => {
                group.end = at + 1;
                bytes += segment.bytes;
            }
            None => {
                groups.push(at..at + 1);
                bytes = segment.bytes;
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_log_is_due_by_its_share_and_by_doubling() {
        let share = TOPIC_BYTES / 50;
        assert_eq!(need(share - 1, 0, 50), Need::At(share));
        assert_eq!(need(share, 0, 50), Need::Now);
        assert_eq!(need(5 * MIB, 3 * MIB, 50), Need::At(6 * MIB), "the live state counts twice");
        assert_eq!(need(6 * MIB, 3 * MIB, 50), Need::Now);
        for (partitions, share) in [(0, MOST_SHARE), (1, MOST_SHARE), (1000, LEAST_SHARE)] {
            assert_eq!(need(0, 0, partitions), Need::At(share), "{partitions}");
        }
        assert_eq!(need(1, u64::MAX, 1), Need::At(u64::MAX));
    }

    /// Segments of ten offsets and 100 bytes each, a second apart.
    fn candidates(count: i64) -> Vec<Candidate> {
        (0..count)
            .map(|at| Candidate {
                end: Offset::new(at * 10 + 10),
                bytes: 100,
                first: Some(Timestamp::from_millis(at * 1_000)),
                newest: Some(Timestamp::from_millis(at * 1_000 + 999)),
            })
            .collect()
    }

    fn due_at(count: i64, clean: i64, config: &TopicConfig, now: i64) -> Option<i64> {
        let terms = Terms::of(config, Timestamp::from_millis(now));
        due(&candidates(count), Offset::new(clean), &terms).map(Offset::get)
    }

    #[test]
    fn a_program_s_log_is_due_once_more_than_the_ratio_is_dirty() {
        let config = TopicConfig::new();
        assert_eq!(due_at(4, 20, &config, 0), None, "half is not more than half");
        assert_eq!(due_at(5, 20, &config, 0), Some(50));
        assert_eq!(due_at(1, 0, &config, 0), Some(10), "the first time all is dirty");
        assert_eq!(due_at(0, 0, &config, 0), None);
        let always = config.clone().min_cleanable_dirty_ratio(0.0);
        assert_eq!(due_at(4, 30, &always, 0), Some(40));
        assert_eq!(due_at(4, 40, &always, 0), None, "nothing is dirty");
        let never = config.min_cleanable_dirty_ratio(1.0);
        assert_eq!(due_at(4, 0, &never, 0), None);
    }

    #[test]
    fn what_is_young_waits_and_what_is_old_does_not() {
        use std::time::Duration;
        let young = TopicConfig::new().min_compaction_lag(Duration::from_secs(2));
        assert_eq!(due_at(4, 0, &young, 3_999), Some(20), "the third ends 1,000 ms ago");
        assert_eq!(due_at(4, 0, &young, 2_998), None);
        assert_eq!(due_at(4, 20, &young, 3_999), None, "what is old enough is clean");
        let old = TopicConfig::new().max_compaction_lag(Some(Duration::from_secs(5)));
        assert_eq!(due_at(4, 30, &old, 7_999), None);
        assert_eq!(due_at(4, 30, &old, 8_000), Some(40), "the first dirty record is 5 s old");
    }

    fn segments(sizes: &[u64]) -> Vec<SegmentFacts> {
        (0..)
            .zip(sizes)
            .map(|(at, bytes)| SegmentFacts {
                base: Offset::new(at * 10),
                end: Offset::new(at * 10 + 10),
                bytes: *bytes,
            })
            .collect()
    }

    fn pairs(groups: &[Range<usize>]) -> Vec<(usize, usize)> {
        groups.iter().map(|group| (group.start, group.end)).collect()
    }

    const LIMITS: SegmentLimits =
        SegmentLimits { bytes: 100, index_bytes: 1 << 20, index_interval: 4096 };

    #[test]
    fn neighbours_that_fit_one_segment_become_one() {
        let grouped =
            |sizes: &[u64], end, limits| pairs(&groups(&segments(sizes), Offset::new(end), limits));
        let sizes = [60, 40, 1, 100, 0, 101];
        assert_eq!(grouped(&sizes, 1000, LIMITS), [(0, 2), (2, 3), (3, 5), (5, 6)]);
        assert_eq!(grouped(&sizes, 20, LIMITS), [(0, 2)], "what is not mapped stays");
        assert_eq!(grouped(&sizes, 21, LIMITS), [(0, 2), (2, 3)], "a segment is rewritten whole");
        assert!(grouped(&[], 1000, LIMITS).is_empty());
        let small_index = SegmentLimits { index_bytes: 24, index_interval: 50, ..LIMITS };
        assert_eq!(grouped(&sizes[..2], 1000, small_index), [(0, 1), (1, 2)]);
    }

    #[test]
    fn offsets_further_apart_than_an_index_can_say_are_not_joined() {
        let mut far = segments(&[10, 10]);
        far[1].end = Offset::new(i64::from(i32::MAX) + 1);
        assert_eq!(pairs(&groups(&far, Offset::new(1000), LIMITS)), [(0, 1), (1, 2)]);
        far[1].end = Offset::new(i64::from(i32::MAX));
        assert_eq!(pairs(&groups(&far, Offset::new(1000), LIMITS)), [(0, 2)]);
    }
}
