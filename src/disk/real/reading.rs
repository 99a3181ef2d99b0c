//! Pages of a map that are brought in ahead of who reads on in it.
//!
//! A first read of what the writer has let go, or has never had in his map, asks the system of each
//! page whether it is in its cache and has it mapped: some 200 ns a page, a fifth of the time of
//! who reads small records. The thread that makes windows ready does it for the pages in front of
//! him meanwhile.
//!
//! Nothing depends on it: what was not brought in, or has gone again, its reader brings in himself,
//! as he does where nobody serves. A piece is asked for once in a map's life, by who has read a
//! stretch in more than one look without a gap; whoever looks here and there asks for nothing. Not
//! near the writer: what he has in his map needs none of it, and what he lets go next would be
//! brought in for nothing. Nor for who reads on in small pieces: `segment` reads those of the file.
//! Readers share these notes: two that read at the same time look like one who jumps, and bring in
//! their pages themselves.

use std::ops::Range;
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::island::Mapping;

/// What is brought in at a time: who waits for a window meanwhile waits for no more.
const PIECE: u64 = 1 << 20;
/// How far in front of the reader pages are asked for: as far as he has come, between these, and
/// anew once he has half of that left. To wake the thread takes the reader microseconds and, where
/// all processors are at work, maybe his own.
const LEAST_AHEAD: u64 = 2 * PIECE;
const MOST_AHEAD: u64 = 64 * PIECE;
/// Who has read as much without a gap reads on.
const RUN: u64 = 128 << 10;
/// More than a writer of small batches has in his map behind him.
const BEHIND_WRITER: u64 = 2 << 20;

/// What is known of those who read one map.
#[derive(Debug)]
pub(super) struct Reading {
    /// Where the run began that ends at `read_to`.
    run_from: AtomicU64,
    read_to: AtomicU64,
    /// A bit for each piece that was asked for.
    asked: Box<[AtomicU64]>,
}

/// Pages to be brought in, if their map is still there.
#[derive(Debug)]
pub(super) struct Pages {
    pub(super) mapping: Weak<Mapping>,
    pub(super) range: Range<u64>,
}

impl Pages {
    /// Brings a piece in; returns what is left to do.
    pub(super) fn bring_in(self) -> Option<Self> {
        let Pages { mapping, range } = self;
        let next = range.end.min(range.start.saturating_add(PIECE));
        mapping.upgrade()?.map_cached(range.start, next);
        (next < range.end).then_some(Pages { mapping, range: next..range.end })
    }
}

/// Up to where pages are brought in of a map that is published to `published`.
#[inline]
pub(super) fn limit(published: u64) -> u64 {
    published.saturating_sub(BEHIND_WRITER)
}

impl Reading {
    /// Of a map as long as that.
    pub(super) fn of(capacity: u64) -> Self {
        let words = capacity.div_ceil(PIECE).div_ceil(64);
        let words = usize::try_from(words).unwrap_or(0); // a map's length is one
        Reading {
            run_from: AtomicU64::new(0),
            read_to: AtomicU64::new(0),
            asked: (0..words).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Somebody reads `start..end`: what is to be brought in ahead of him, below `limit`.
    pub(super) fn wanted(&self, start: u64, end: u64, limit: u64) -> Option<Range<u64>> {
        let before = self.read_to.swap(end, Ordering::Relaxed);
        if start > before || before > end {
            self.run_from.store(start, Ordering::Relaxed);
            return None;
        }
        let run = end.saturating_sub(self.run_from.load(Ordering::Relaxed));
        if run < RUN {
            return None;
        }
        let ahead = run.clamp(LEAST_AHEAD, MOST_AHEAD);
        let last = end.saturating_add(ahead).min(limit) / PIECE;
        let first = (end / PIECE..last).find(|piece| !self.is_asked(*piece))?;
        if first * PIECE > end.saturating_add(ahead / 2) {
            return None;
        }
        let pieces = (first..last).take_while(|piece| self.ask(*piece)).count() as u64;
        (pieces > 0).then_some(first * PIECE..(first + pieces) * PIECE)
    }

    /// That was refused, and may be asked for again.
    pub(super) fn not_asked(&self, range: Range<u64>) {
        for piece in range.start / PIECE..range.end / PIECE {
            if let Some(word) = self.word(piece) {
                word.fetch_and(!bit(piece), Ordering::Relaxed);
            }
        }
    }

    fn is_asked(&self, piece: u64) -> bool {
        self.word(piece).is_none_or(|word| word.load(Ordering::Relaxed) & bit(piece) != 0)
    }

    /// Notes that a piece is asked for; whether it was not before.
    fn ask(&self, piece: u64) -> bool {
        self.word(piece)
            .is_some_and(|word| word.fetch_or(bit(piece), Ordering::Relaxed) & bit(piece) == 0)
    }

    /// `None` far beyond the map.
    fn word(&self, piece: u64) -> Option<&AtomicU64> {
        self.asked.get(usize::try_from(piece / 64).ok()?)
    }
}

fn bit(piece: u64) -> u64 {
    1 << (piece % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1 << 10;

    /// What is asked for while a map is read from one place to another.
    fn read(reading: &Reading, range: Range<u64>, step: u64, limit: u64) -> Vec<Range<u64>> {
        let steps = range.step_by(usize::try_from(step).unwrap());
        steps.filter_map(|at| reading.wanted(at, at + step, limit)).collect()
    }

    #[test]
    fn who_reads_on_has_each_piece_asked_for_once_and_long_before_he_comes_to_it() {
        for step in [4 * KIB, 100 * KIB, PIECE, 3 * PIECE] {
            let reading = Reading::of(400 * PIECE);
            let limit = 300 * PIECE + 5;
            let (mut asked, mut times) = (vec![], 0);
            for at in (0..300 * PIECE).step_by(usize::try_from(step).unwrap()) {
                let end = at + step;
                let ahead = end.clamp(LEAST_AHEAD, MOST_AHEAD);
                if let Some(range) = reading.wanted(at, end, limit) {
                    assert!(range.end <= end + ahead, "{range:?} at {at} by {step}");
                    asked.extend(range.start / PIECE..range.end / PIECE);
                    times += 1;
                }
                let next = (end + ahead / 2) / PIECE;
                if end >= RUN.max(2 * step) && next < 300 {
                    assert!(asked.contains(&(next - 1)), "{next} at {at} by {step}: {asked:?}");
                }
            }
            assert!(asked.is_sorted_by(|one, other| one < other), "{step}: {asked:?}");
            assert!(asked.iter().all(|piece| *piece < 300), "{step}: {asked:?}");
            assert!(times < 30, "{times} times by {step}");
            assert_eq!(read(&reading, 0..300 * PIECE, step, limit), [], "a second time by {step}");
        }
    }

    #[test]
    fn what_was_refused_is_asked_for_again() {
        let reading = Reading::of(64 * PIECE);
        assert_eq!(reading.wanted(0, PIECE, 60 * PIECE), Some(PIECE..3 * PIECE));
        assert_eq!(reading.wanted(PIECE, PIECE + 1, 60 * PIECE), None);
        reading.not_asked(PIECE..3 * PIECE);
        assert_eq!(reading.wanted(PIECE + 1, PIECE + 2, 60 * PIECE), Some(PIECE..3 * PIECE));
    }

    #[test]
    fn who_looks_here_and_there_or_has_read_little_asks_for_nothing() {
        let reading = Reading::of(64 * PIECE);
        for at in [9, 3, 40, 3, 17].map(|piece| piece * PIECE) {
            assert_eq!(reading.wanted(at, at + 2 * PIECE, 60 * PIECE), None, "one look is no run");
            assert_eq!(read(&reading, at + 9..at + 9 + 100 * KIB, 20 * KIB, 60 * PIECE), []);
        }
        // views overlap where one ended in the midst of a batch
        assert_eq!(reading.wanted(20 * PIECE, 20 * PIECE + 100 * KIB, 60 * PIECE), None);
        let on = reading.wanted(20 * PIECE + 90 * KIB, 20 * PIECE + 190 * KIB, 60 * PIECE);
        assert_eq!(on, Some(20 * PIECE..22 * PIECE));
    }

    #[test]
    fn nothing_is_asked_for_near_the_writer_or_beyond_what_can_be_noted() {
        let reading = Reading::of(4 * PIECE);
        assert_eq!(limit(PIECE), 0);
        assert_eq!(reading.wanted(0, PIECE, limit(3 * PIECE)), None);
        assert_eq!(reading.wanted(PIECE, PIECE + 1, limit(4 * PIECE)), Some(PIECE..2 * PIECE));
        assert_eq!(reading.wanted(PIECE, 300 * PIECE, u64::MAX), None);
        assert_eq!(reading.wanted(300 * PIECE, u64::MAX, u64::MAX), None);
    }
}
