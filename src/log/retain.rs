//! What retention would remove: a pure plan over numbers.
//!
//! The rules are Kafka's (`kafka-format.md` 2.5): three passes, each taking the longest prefix of
//! oldest segments, none reaching past the high watermark; an empty last segment stays. To them
//! come two of ours: a **hold**, an offset someone above still needs, keeps its segment and all
//! after it; a **capped hold** does so only while the segment is not older than its cap, and the
//! log from it on not larger. The plan says where the log would start, and whether the active
//! segment goes too, in which case an empty one is rolled first. Carrying it out is `trim`'s.

use std::sync::Arc;
use std::time::Duration;

use crate::config::HoldCap;
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
    /// The lowest offset that is held, whatever it costs.
    pub(crate) hold: Option<Offset>,
    /// How often the log's segments had been replaced before they were looked at.
    pub(crate) swaps: u64,
}

/// An offset that somebody needs, as far as the cap goes.
#[derive(Clone, Debug)]
pub(crate) struct CappedHold {
    pub(crate) holder: Arc<str>,
    pub(crate) offset: Offset,
    pub(crate) cap: HoldCap,
}

impl CappedHold {
    /// Whether it keeps a segment, from which on the log has that many bytes.
    pub(super) fn keeps(&self, segment: &SegmentFacts, bytes_from: u64, now: Timestamp) -> bool {
        self.offset < segment.end
            && self.cap.bytes.is_none_or(|most| bytes_from <= most)
            && self.cap.age.is_none_or(|most| !is_older(segment, now, most))
    }
}

fn is_older(segment: &SegmentFacts, now: Timestamp, age: Duration) -> bool {
    now.as_millis().saturating_sub(segment.newest.as_millis()) > millis(age)
}

/// One run of retention, planned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Retention {
    /// `None` where nothing goes.
    pub(crate) plan: Option<RetentionPlan>,
    /// How many bytes stay that would go but for each capped hold, in the order they came.
    pub(crate) held: Vec<u64>,
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
    /// How often the segments had been replaced by then: it says nothing of any others.
    pub(crate) swaps: u64,
}

/// Plans one run of retention over the segments of a log.
pub(crate) fn plan(
    segments: &[SegmentFacts],
    now: Timestamp,
    limits: &RetentionLimits,
    holds: &[CappedHold],
) -> Retention {
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
    let total = sum(segments);
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
    let by_age = limits
        .age
        .map_or(0, |age| allowed.iter().take_while(|segment| is_older(segment, now, age)).count());
    let unheld = below_start.max(by_size).max(by_age);
    // the first segment that a hold keeps: the log only gets smaller and younger from there on
    let first_kept = |hold: &CappedHold| {
        let mut bytes_from = total - sum(&segments[..below_start]);
        let mut candidates = (below_start..unheld).filter(|at| {
            let keeps = hold.keeps(&segments[*at], bytes_from, now);
            bytes_from -= segments[*at].bytes;
            keeps
        });
        candidates.next().unwrap_or(unheld)
    };
    let kept: Vec<usize> = holds.iter().map(first_kept).collect();
    let held = kept.iter().map(|first| sum(&segments[*first..unheld])).collect();
    let count = kept.into_iter().fold(unheld, usize::min);
    let last = count.checked_sub(1).and_then(|last| allowed.get(last));
    let plan = last.map(|last| RetentionPlan {
        segments: count,
        log_start: last.end.max(limits.log_start),
        takes_active: count == segments.len(),
        swaps: limits.swaps,
    });
    Retention { plan, held }
}

fn sum(segments: &[SegmentFacts]) -> u64 {
    segments.iter().map(|segment| segment.bytes).sum()
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
            swaps: 0,
        }
    }

    fn planned(now: i64, limits: RetentionLimits) -> Option<(usize, i64, bool)> {
        plan(&three(), Timestamp::from_millis(now), &limits, &[])
            .plan
            .map(|plan| (plan.segments, plan.log_start.get(), plan.takes_active))
    }

    #[test]
    fn nothing_goes_without_a_reason() {
        assert_eq!(planned(1 << 40, limits()), None);
        assert_eq!(plan(&[], Timestamp::from_millis(0), &limits(), &[]), Retention::default());
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
        let plan = plan(&segments, Timestamp::from_millis(1 << 40), &age, &[]).plan;
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

    /// What compaction has emptied costs nothing, and an empty active segment is made anew for
    /// nothing.
    #[test]
    fn segments_without_bytes_go_for_no_size_and_an_empty_active_one_never() {
        let mut segments = three();
        segments[0].bytes = 0;
        let keep = RetentionLimits { bytes: Some(200), ..limits() };
        assert_eq!(plan(&segments, Timestamp::from_millis(0), &keep, &[]).plan, None);
        let mut segments = three();
        segments[2].bytes = 0;
        let age = RetentionLimits { age: Some(Duration::from_secs(1)), ..limits() };
        let plan = plan(&segments, Timestamp::from_millis(1 << 40), &age, &[]).plan.unwrap();
        assert_eq!((plan.segments, plan.takes_active), (2, false));
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
        let plan = plan(&segments, Timestamp::from_millis(0), &all, &[]).plan;
        assert_eq!(plan.map(|plan| (plan.segments, plan.takes_active)), Some((2, false)));
    }

    fn hold(offset: i64, cap: HoldCap) -> CappedHold {
        CappedHold { holder: Arc::from("g"), offset: Offset::new(offset), cap }
    }

    /// How many segments go and what each hold keeps, where everything would go at `now`.
    fn held(now: i64, holds: &[CappedHold]) -> (usize, Vec<u64>) {
        let all = RetentionLimits { bytes: Some(0), ..limits() };
        let planned = plan(&three(), Timestamp::from_millis(now), &all, holds);
        (planned.plan.map_or(0, |plan| plan.segments), planned.held)
    }

    #[test]
    fn a_capped_hold_keeps_what_its_cap_allows_and_no_more() {
        let wide = HoldCap::bytes(300);
        assert_eq!(held(0, &[hold(9, wide)]), (0, vec![300]));
        assert_eq!(held(0, &[hold(10, wide)]), (1, vec![200]));
        assert_eq!(held(0, &[hold(30, wide)]), (3, vec![0]), "it has read everything");
        assert_eq!(held(0, &[hold(0, HoldCap::bytes(299))]), (1, vec![200]));
        assert_eq!(held(0, &[hold(0, HoldCap::bytes(99))]), (3, vec![0]));
        let second = HoldCap::age(Duration::from_secs(1));
        assert_eq!(held(1000, &[hold(0, second)]), (0, vec![300]));
        assert_eq!(held(1001, &[hold(0, second)]), (1, vec![200]));
        assert_eq!(held(3001, &[hold(0, second)]), (3, vec![0]));
        let both = second.and_bytes(100);
        assert_eq!(held(1001, &[hold(0, both)]), (2, vec![100]));
        let two = [hold(25, wide), hold(0, HoldCap::bytes(200))];
        assert_eq!(held(0, &two), (1, vec![100, 200]));
    }

    #[test]
    fn a_capped_hold_keeps_nothing_that_would_stay_anyway_or_is_deleted() {
        let wide = hold(0, HoldCap::bytes(1000));
        let now = Timestamp::from_millis(0);
        let planned = plan(&three(), now, &limits(), std::slice::from_ref(&wide));
        assert_eq!(planned, Retention { plan: None, held: vec![0] });
        let deleted = RetentionLimits { log_start: Offset::new(15), ..limits() };
        let planned = plan(&three(), now, &deleted, &[wide]);
        assert_eq!(planned.plan.map(|plan| plan.segments), Some(1));
        assert_eq!(planned.held, [0]);
    }
}
