//! Offsets that fall: what is promised afterwards, and what a reader sees on the way.

use super::*;

/// Of a log from 0 to 10, all of it durable, with gaps up to 5.
fn opened() -> Offsets {
    let end = Offset::new(10);
    Offsets::new(OffsetSnapshot {
        start: Offset::ZERO,
        compacted: Offset::new(4),
        sparse: Offset::new(5),
        set_watermark: None,
        recovery_point: end,
        durable: end,
        end,
        first_unstable: None,
    })
}

/// A truncation that is about to take files: whoever asks meanwhile is told of nothing above it.
#[test]
fn nothing_above_a_cut_is_promised_from_before_it_on() {
    let offsets = opened();
    let cut = Offset::new(3);
    offsets.promise_no_more_than(cut);
    let after = offsets.snapshot();
    assert_eq!((after.recovery_point, after.durable), (cut, cut));
    assert_eq!((after.compacted, after.sparse), (cut, cut));
    assert_eq!(after.end, Offset::new(10), "it is not cut yet");
    assert_eq!(offsets.falls(), 2, "who read before it looks again");
}

/// A snapshot waits for the second change of the counter: it is odd as long as some have fallen
/// and others have not.
#[test]
fn a_fall_under_way_is_told_from_one_that_is_done() {
    let offsets = opened();
    for before in [0, 2] {
        offsets.fall(|| assert_eq!(offsets.falls(), before + 1));
        assert_eq!(offsets.falls(), before + 2);
    }
}
