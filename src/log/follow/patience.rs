//! How often something is tried that a writer may outrun.
//!
//! Surveys and reads fail, or see half of a change, while the writer goes on under them. What fails
//! though nothing that the writer records has changed is given up soon; where it goes on each time
//! there are more tries, and whoever gives up then knows that it was outrun.

use super::FollowFacts;
use crate::error::{Cause, Error};

/// The tries that are left.
#[derive(Debug)]
pub(super) struct Patience {
    /// Tries left while nothing changes.
    still: usize,
    /// Tries left in all.
    all: usize,
    most: usize,
    known: Option<FollowFacts>,
}

impl Patience {
    pub(super) fn new(still: usize, all: usize) -> Self {
        Patience { still, all, most: still, known: None }
    }

    /// Counts a try, after which the writer was known to have recorded this; says whether there
    /// may be another.
    pub(super) fn lasts(&mut self, known: Option<FollowFacts>) -> bool {
        let went_on = known != self.known;
        self.known = known;
        self.all = self.all.saturating_sub(1);
        self.still = if went_on { self.most - 1 } else { self.still.saturating_sub(1) };
        self.still > 0 && self.all > 0
    }

    /// Whether the writer went on to the last.
    pub(super) fn is_outrun(&self) -> bool {
        self.all == 0
    }
}

/// Whether a file was not there any more: renamed, removed or replaced since it was listed.
pub(super) fn is_vanished(error: &Error) -> bool {
    matches!(error.cause(), Cause::Io(io) if io.kind() == std::io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Offset;

    fn known(recovery_point: i64) -> Option<FollowFacts> {
        Some(FollowFacts {
            log_start: Offset::ZERO,
            recovery_point: Offset::new(recovery_point),
            reign: None,
            gapless: true,
            compacted: Offset::ZERO,
            sparse: Offset::ZERO,
            high_watermark: None,
        })
    }

    /// How many tries there are, and whether the writer went on to the last, where it has recorded
    /// this at each try.
    fn tries(recorded: impl Fn(i64) -> Option<FollowFacts>) -> (i64, bool) {
        let mut patience = Patience::new(3, 10);
        let last = (1..=99).find(|at| !patience.lasts(recorded(*at))).unwrap();
        (last, patience.is_outrun())
    }

    #[test]
    fn there_are_more_tries_while_the_writer_goes_on() {
        assert_eq!(tries(|_| None), (3, false), "nothing is known");
        assert_eq!(tries(|_| known(7)), (3, false), "it stands still");
        assert_eq!(tries(known), (10, true), "it goes on each time");
        assert_eq!(tries(|at| known(at.min(5))), (7, false), "it stands still from the fifth on");
        assert_eq!(tries(|at| known(at / 2)), (10, true), "it goes on every other time");
    }
}
