//! Pages of a map that are brought in ahead of who reads on in it.
//!
//! A first read of what the writer has let go, or has never had in his map, asks the system of each
//! page whether it is in its cache and has it mapped: some 200 ns a page, a fifth of the time of
//! who reads small records. The thread that makes windows ready does it for the pages in front of
//! him meanwhile.
//!
//! Nothing depends on it: what was not brought in, or has gone again, its reader brings in himself,
//! as he does where nobody serves. A piece is asked for once in a map's life, by who has read a
//! stretch without a gap; whoever looks here and there asks for nothing. Not near the writer: what
//! he has in his map needs none of it, and what he lets go next would be brought in for nothing.
//! Readers share these notes. They may take one another's places for jumps, and ask later for it.

use std::ops::Range;
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::island::Mapping;

/// What is brought in at a time: who waits for a window meanwhile waits for no more.
const PIECE: u64 = 1 << 20;
/// How far in front of the reader pages are asked for, once half of them are behind him: to wake
/// the thread costs as much as bringing in fifty.
const AHEAD: u64 = 8 * PIECE;
/// Who has read as much without a gap reads on.
const RUN: u64 = 128 << 10;
/// More than the writer has in his map behind him at any time.
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
        }
        if end.saturating_sub(self.run_from.load(Ordering::Relaxed)) < RUN {
            return None;
        }
        let last = end.saturating_add(AHEAD).min(limit) / PIECE;
        let first = (end / PIECE..last).find(|piece| !self.is_asked(*piece))?;
        if first * PIECE > end.saturating_add(AHEAD / 2) {
            return None;
        }
        let pieces = (first..last).take_while(|piece| self.ask(*piece)).count() as u64;
        (pieces > 0).then_some(first * PIECE..(first + pieces) * PIECE)
    }

    fn is_asked(&self, piece: u64) -> bool {
        self.word(piece).is_none_or(|word| word.load(Ordering::Relaxed) & bit(piece) != 0)
    }

    /// Notes that a piece is asked for; whether it was not before.
    fn ask(&self, piece: u64) -> bool {
        self.word(piece)
            .is_some_and(|word| word.fetch_or(bit(piece), Ordering::Relaxed) & bit(piece) == 0)
    }

    /// `None`: the map has no such piece.
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
            let reading = Reading::of(64 * PIECE);
            let limit = 60 * PIECE + 5;
            let mut asked = vec![];
            for at in (0..60 * PIECE).step_by(usize::try_from(step).unwrap()) {
                if let Some(range) = reading.wanted(at, at + step, limit) {
                    assert!(range.end <= at + step + AHEAD, "{range:?} at {at} by {step}");
                    assert!(
                        range.end == 60 * PIECE || range.end - range.start >= AHEAD / 2 - PIECE
                    );
                    asked.extend(range.start / PIECE..range.end / PIECE);
                }
                let next = (at + step + AHEAD / 2) / PIECE;
                if at + step >= RUN && next < 60 {
                    assert!(asked.contains(&(next - 1)), "{next} at {at} by {step}: {asked:?}");
                }
            }
            assert!(asked.is_sorted_by(|one, other| one < other), "{step}: {asked:?}");
            assert!(asked.iter().all(|piece| *piece < 60), "{step}: {asked:?}");
            assert_eq!(read(&reading, 0..60 * PIECE, step, limit), [], "a second time by {step}");
        }
    }

    #[test]
    fn who_looks_here_and_there_or_has_read_little_asks_for_nothing() {
        let reading = Reading::of(64 * PIECE);
        for at in [9, 3, 40, 3, 17].map(|piece| piece * PIECE) {
            assert_eq!(read(&reading, at..at + 100 * KIB, 20 * KIB, 60 * PIECE), []);
        }
        // views overlap where one ended in the midst of a batch
        assert_eq!(reading.wanted(20 * PIECE, 20 * PIECE + 100 * KIB, 60 * PIECE), None);
        let on = reading.wanted(20 * PIECE + 90 * KIB, 20 * PIECE + 190 * KIB, 60 * PIECE);
        assert_eq!(on, Some(20 * PIECE..28 * PIECE));
    }

    #[test]
    fn nothing_is_asked_for_near_the_writer_or_beyond_the_map() {
        let reading = Reading::of(4 * PIECE);
        assert_eq!(limit(PIECE), 0);
        assert_eq!(reading.wanted(0, PIECE, limit(3 * PIECE)), None);
        assert_eq!(reading.wanted(PIECE, PIECE + 1, limit(4 * PIECE)), Some(PIECE..2 * PIECE));
        assert_eq!(reading.wanted(PIECE, 300 * PIECE, u64::MAX), None);
        assert_eq!(reading.wanted(u64::MAX - 1, u64::MAX, u64::MAX), None);
    }
}
