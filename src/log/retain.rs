//! What retention would remove: a pure plan over numbers.
//!
//! The rules are Kafka's (`kafka-format.md` 2.5): three passes, each taking the longest prefix of
//! oldest segments, none reaching past the high watermark; an empty last segment stays. To them
//! comes one of ours: a **hold**, an offset someone above still needs, keeps its segment and all
//! after it. The plan says where the log would start, and whether the active segment goes too, in
//! which case an empty one is rolled first. Carrying it out is `trim`'s.

use std::time::Duration;

use crate::ids::Offset;
use crate::time::{Timestamp, millis};

/// One segment as retention sees it, oldest first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentFacts {
    /// The next segment's base; the log end for the last one.
    pub(crate) end: Offset,
    pub(crate) bytes: u64,
    /// The largest timestamp of its records, or when its file last changed.
    pub(crate) newest: Timestamp,
}

/// What is allowed to stay, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetentionLimits {
    pub(crate) age: Option<Duration>,
    pub(crate) bytes: Option<u64>,
    pub(crate) log_start: Offset,
    pub(crate) high_watermark: Offset,
    /// The lowest offset that is held.
    pub(crate) hold: Option<Offset>,
}

/// What retention would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RetentionPlan {
    /// How many of the oldest segments go.
    pub(crate) segments: usize,
    /// Where the log starts then.
    pub(crate) log_start: Offset,
    /// Whether the active segment is among them.
    pub(crate) takes_active: bool,
}

/// Plans one run of retention over the segments of a log.
pub(crate) fn plan(
    segments: &[SegmentFacts],
    now: Timestamp,
    limits: &RetentionLimits,
) -> Option<RetentionPlan> {
    let allowed = segments
        .iter()
        .enumerate()
        .take_while(|(at, segment)| {
            let last = at + 1 == segments.len();
            segment.end <= limits.high_watermark
                && limits.hold.is_none_or(|hold| segment.end <= hold)
                && !(last && segment.bytes == 0)
        })
        .count();
    let allowed = &segments[..allowed];
    let below_start = allowed
        .iter()
        .enumerate()
        .take_while(|(at, segment)| at + 1 < segments.len() && segment.end <= limits.log_start)
        .count();
    let total: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let by_size = limits.bytes.map_or(0, |keep| {
        let mut over = total.saturating_sub(keep);
        allowed
            .iter()
            .take_while(|segment| {
                let fits = over > 0 && segment.bytes <= over;
                over = over.saturating_sub(segment.bytes);
                fits
            })
            .count()
    });
    let by_age = limits.age.map_or(0, |age| {
        allowed
            .iter()
            .take_while(|segment| {
                now.as_millis().saturating_sub(segment.newest.as_millis()) > millis(age)
            })
            .count()
    });
    let count = below_start.max(by_size).max(by_age);
    let last = allowed.get(count.checked_sub(1)?)?;
    Some(RetentionPlan {
        segments: count,
        log_start: last.end.max(limits.log_start),
        takes_active: count == segments.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three segments of 100 bytes and ten offsets each, one second apart.
    fn three() -> Vec<SegmentFacts> {
        (0..3)
            .map(|number| SegmentFacts {
                end: Offset::new(number * 10 + 10),
                bytes: 100,
                newest: Timestamp::from_millis(number * 1000),
            })
            .collect()
    }

    fn limits() -> RetentionLimits {
        RetentionLimits {
            age: None,
            bytes: None,
            log_start: Offset::ZERO,
            high_watermark: Offset::new(30),
            hold: None,
        }
    }

    fn planned(now: i64, limits: RetentionLimits) -> Option<(usize, i64, bool)> {
        plan(&three(), Timestamp::from_millis(now), &limits)
            .map(|plan| (plan.segments, plan.log_start.get(), plan.takes_active))
    }

    #[test]
    fn nothing_goes_without_a_reason() {
        assert_eq!(planned(1 << 40, limits()), None);
        assert_eq!(plan(&[], Timestamp::from_millis(0), &limits()), None);
    }

    #[test]
    fn age_takes_a_prefix_and_the_active_segment_too() {
        let age = RetentionLimits { age: Some(Duration::from_secs(1)), ..limits() };
        assert_eq!(planned(1000, age), None, "exactly as old is not older");
        assert_eq!(planned(1001, age), Some((1, 10, false)));
        assert_eq!(planned(3001, age), Some((3, 30, true)));
    }

    #[test]
    fn a_future_timestamp_pins_its_segment_and_all_after_it() {
        let mut segments = three();
        segments[1].newest = Timestamp::from_millis(1 << 50);
        let age = RetentionLimits { age: Some(Duration::from_secs(1)), ..limits() };
        let plan = plan(&segments, Timestamp::from_millis(1 << 40), &age);
        assert_eq!(plan.map(|plan| plan.segments), Some(1));
    }

    #[test]
    fn size_never_shrinks_the_log_below_its_limit() {
        let keep = |bytes| RetentionLimits { bytes: Some(bytes), ..limits() };
        assert_eq!(planned(0, keep(300)), None);
        assert_eq!(planned(0, keep(201)), None);
        assert_eq!(planned(0, keep(200)), Some((1, 10, false)));
        assert_eq!(planned(0, keep(0)), Some((3, 30, true)));
    }

    #[test]
    fn the_start_offset_frees_whole_segments_but_never_the_last() {
        let start = |offset| RetentionLimits { log_start: Offset::new(offset), ..limits() };
        assert_eq!(planned(0, start(9)), None);
        assert_eq!(planned(0, start(15)), Some((1, 15, false)));
        assert_eq!(planned(0, start(30)), Some((2, 30, false)));
    }

    #[test]
    fn a_hold_and_the_high_watermark_keep_what_lies_behind_them() {
        let all = RetentionLimits { bytes: Some(0), ..limits() };
        let hold = RetentionLimits { hold: Some(Offset::new(19)), ..all };
        assert_eq!(planned(0, hold), Some((1, 10, false)));
        let hold = RetentionLimits { hold: Some(Offset::new(9)), ..all };
        assert_eq!(planned(0, hold), None);
        let mark = RetentionLimits { high_watermark: Offset::new(20), ..all };
        assert_eq!(planned(0, mark), Some((2, 20, false)));
    }

    #[test]
    fn an_empty_last_segment_stays() {
        let mut segments = three();
        segments[2].bytes = 0;
        segments[2].end = Offset::new(20);
        let all = RetentionLimits { bytes: Some(0), ..limits() };
        let plan = plan(&segments, Timestamp::from_millis(0), &all);
        assert_eq!(plan.map(|plan| (plan.segments, plan.takes_active)), Some((2, false)));
    }
}
