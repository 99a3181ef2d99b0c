//! Work that falls apart into pieces, on all cores, and a portion of it for long runs in steps.
//!
//! The pieces of an enumeration are its scenarios: what one of them counts, no other does, so that
//! the counts of portions add up. `TIDELOG_PORTION=2/8` takes every eighth piece from the second.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The pieces of this run.
///
/// # Panics
/// When `TIDELOG_PORTION` is no portion, or one without pieces.
pub fn portion<T>(pieces: impl Iterator<Item = T>) -> Vec<T> {
    let text = std::env::var("TIDELOG_PORTION").unwrap_or_default();
    if text.is_empty() {
        return pieces.collect();
    }
    let (first, count) = chosen(&text).unwrap_or_else(|| panic!("TIDELOG_PORTION={text}: K/N"));
    let pieces: Vec<T> = pieces.skip(first).step_by(count).collect();
    assert!(!pieces.is_empty(), "TIDELOG_PORTION={text}: there are fewer pieces");
    pieces
}

/// Whether this run is not of all pieces.
pub fn is_portion() -> bool {
    std::env::var("TIDELOG_PORTION").is_ok_and(|text| !text.is_empty())
}

/// How many pieces to step over, and every how many-th to take.
fn chosen(text: &str) -> Option<(usize, usize)> {
    let (number, count) = text.split_once('/')?;
    let (number, count): (usize, usize) = (number.parse().ok()?, count.parse().ok()?);
    (1..=count).contains(&number).then(|| (number - 1, count))
}

/// Does each piece, on a thread a core; the first panic goes on in the caller.
pub fn each<T: Sync>(pieces: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let run = || {
        while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
            work(piece);
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut ends = Vec::new();
    std::thread::scope(|scope| {
        let others = cores.min(pieces.len()).saturating_sub(1);
        let others: Vec<_> = (0..others).map(|_| scope.spawn(run)).collect();
        ends.push(catch_unwind(AssertUnwindSafe(run)));
        ends.extend(others.into_iter().map(std::thread::ScopedJoinHandle::join));
    });
    if let Some(panic) = ends.into_iter().find_map(Result::err) {
        resume_unwind(panic);
    }
}

mod own {
    use super::*;

    #[test]
    fn portions_are_read_and_nothing_else() {
        assert_eq!(chosen("1/1"), Some((0, 1)));
        assert_eq!(chosen("3/8"), Some((2, 8)));
        for wrong in ["0/8", "9/8", "8", "a/b", "1/0", "/"] {
            assert_eq!(chosen(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn each_piece_is_done_once_and_a_panic_is_the_callers() {
        let done = [const { AtomicUsize::new(0) }; 100];
        let pieces: Vec<usize> = (0..100).collect();
        each(&pieces, |at| {
            done[*at].fetch_add(1, Ordering::Relaxed);
        });
        assert!(done.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        let ended = catch_unwind(|| each(&pieces, |at| assert_ne!(*at, 70)));
        assert!(ended.is_err());
    }
}
