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
//! **Together.** Neighbours whose sizes, indexes and offsets fit one segment become one, as with
//! Kafka: else a log that is compacted often would fall into ever smaller segments. A segment with
//! an index of aborted transactions is left as it is.

use std::ops::Range;

use crate::ids::Offset;

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

/// One sealed segment as the grouping sees it, oldest first.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentFacts {
    pub(super) base: Offset,
    pub(super) end: Offset,
    pub(super) bytes: u64,
    /// Whether it may be written again.
    pub(super) rewritable: bool,
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
    let mut open = false;
    let mut bytes = 0;
    for (at, segment) in segments.iter().enumerate() {
        if segment.base >= mapped_end {
            break;
        }
        if !segment.rewritable {
            open = false;
            continue;
        }
        let last = groups.last_mut().filter(|_| open).filter(|group| {
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
        open = true;
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

    fn segments(sizes: &[(u64, bool)]) -> Vec<SegmentFacts> {
        (0..)
            .zip(sizes)
            .map(|(at, (bytes, rewritable))| SegmentFacts {
                base: Offset::new(at * 10),
                end: Offset::new(at * 10 + 10),
                bytes: *bytes,
                rewritable: *rewritable,
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
        let grouped = |sizes: &[(u64, bool)], end, limits| {
            pairs(&groups(&segments(sizes), Offset::new(end), limits))
        };
        let sizes = [(60, true), (40, true), (1, true), (100, true), (0, true), (101, true)];
        assert_eq!(grouped(&sizes, 1000, LIMITS), [(0, 2), (2, 3), (3, 5), (5, 6)]);
        assert_eq!(grouped(&sizes, 20, LIMITS), [(0, 2)], "what is not mapped stays");
        assert_eq!(grouped(&sizes, 21, LIMITS), [(0, 2), (2, 3)], "a segment is rewritten whole");
        assert!(grouped(&[], 1000, LIMITS).is_empty());
        let small_index = SegmentLimits { index_bytes: 24, index_interval: 50, ..LIMITS };
        assert_eq!(grouped(&sizes[..2], 1000, small_index), [(0, 1), (1, 2)]);
    }

    #[test]
    fn what_may_not_be_rewritten_parts_its_neighbours() {
        let sizes = [(10, true), (10, false), (10, true), (10, true), (10, false)];
        let groups = groups(&segments(&sizes), Offset::new(1000), LIMITS);
        assert_eq!(pairs(&groups), [(0, 1), (2, 4)]);
    }

    #[test]
    fn offsets_further_apart_than_an_index_can_say_are_not_joined() {
        let mut far = segments(&[(10, true), (10, true)]);
        far[1].end = Offset::new(i64::from(i32::MAX) + 1);
        assert_eq!(pairs(&groups(&far, Offset::new(1000), LIMITS)), [(0, 1), (1, 2)]);
        far[1].end = Offset::new(i64::from(i32::MAX));
        assert_eq!(pairs(&groups(&far, Offset::new(1000), LIMITS)), [(0, 2)]);
    }
}
