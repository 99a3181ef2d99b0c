//! What recovery does with the end of a segment: a table, and nothing but.
//!
//! A segment is looked at if it may hold something above the recovery point. What matters is how
//! its valid batches end, what follows it, and whether that end lies below the recovery point.
//!
//! | valid end | then | followed by | verdict |
//! | --- | --- | --- | --- |
//! | at or above the recovery point | the file's end | nothing, or a segment there | keep |
//! | | the file's end | a segment further on | ours: cut tail; another hand's: keep (a gap) |
//! | | the file's end | a segment below | cut tail |
//! | | zeros | nothing, or a segment there | trim: a window not used, a trim not done |
//! | | zeros | a segment elsewhere | cut tail |
//! | | bad bytes | anything | cut tail |
//! | below it | the file's end | a segment there | keep |
//! | | the file's end | a segment further on | ours: damage; another hand's: keep |
//! | | zeros | a segment there | trim |
//! | | anything else | | damage |
//!
//! Where another hand wrote last, the end of its last segment counts as above: its recovery point
//! may be older than a truncation. And where it closed the log, what something follows counts as
//! below, wherever its recovery point lies.
//!
//! *Cut tail* removes what lies behind the valid end: bytes there were never promised more than a
//! process's life. If whole batches are among them, all of it is saved aside and reported. *Damage*
//! removes nothing: what was promised is missing, what is left stays readable, and appends go on
//! behind the recovery point.

use crate::ids::Offset;
use crate::segment::Stop;

/// Whether recovery looks at the next segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    GoOn,
    Stop,
}

/// What follows a segment's valid batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The end of the file.
    Exact,
    /// Zeros up to the end of the file.
    Zeros,
    /// Bytes that are neither.
    Bad,
}

impl Ending {
    pub(super) fn of(stop: &Stop) -> Self {
        match stop {
            Stop::End => Ending::Exact,
            Stop::Zeros => Ending::Zeros,
            Stop::Bad { .. } => Ending::Bad,
        }
    }
}

/// Where the next segment begins, seen from the valid end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Successor {
    None,
    There,
    Further,
    Below,
}

impl Successor {
    pub(super) fn of(next_base: Option<Offset>, valid_end: Offset) -> Self {
        match next_base {
            None => Successor::None,
            Some(base) if base == valid_end => Successor::There,
            Some(base) if base > valid_end => Successor::Further,
            Some(_) => Successor::Below,
        }
    }
}

/// What recovery does with a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Keep,
    Trim,
    CutTail,
    Damage,
}

/// The table above.
pub(super) fn judge(
    ending: Ending,
    successor: Successor,
    below_recovery_point: bool,
    ours: bool,
) -> Verdict {
    use {Ending as E, Successor as S};
    match (below_recovery_point, ending, successor) {
        (false, E::Exact, S::None | S::There) => Verdict::Keep,
        (_, E::Exact, S::Further) if !ours => Verdict::Keep,
        (false, E::Zeros, S::None | S::There) => Verdict::Trim,
        (false, _, _) => Verdict::CutTail,
        (true, E::Exact, S::There) => Verdict::Keep,
        (true, E::Zeros, S::There) => Verdict::Trim,
        (true, _, _) => Verdict::Damage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table() {
        use {Ending as E, Successor as S, Verdict as V};
        // ending, successor, (above: ours, theirs), (below: ours, theirs)
        let rows = [
            (E::Exact, S::None, (V::Keep, V::Keep), (V::Damage, V::Damage)),
            (E::Exact, S::There, (V::Keep, V::Keep), (V::Keep, V::Keep)),
            (E::Exact, S::Further, (V::CutTail, V::Keep), (V::Damage, V::Keep)),
            (E::Exact, S::Below, (V::CutTail, V::CutTail), (V::Damage, V::Damage)),
            (E::Zeros, S::None, (V::Trim, V::Trim), (V::Damage, V::Damage)),
            (E::Zeros, S::There, (V::Trim, V::Trim), (V::Trim, V::Trim)),
            (E::Zeros, S::Further, (V::CutTail, V::CutTail), (V::Damage, V::Damage)),
            (E::Zeros, S::Below, (V::CutTail, V::CutTail), (V::Damage, V::Damage)),
            (E::Bad, S::None, (V::CutTail, V::CutTail), (V::Damage, V::Damage)),
            (E::Bad, S::There, (V::CutTail, V::CutTail), (V::Damage, V::Damage)),
            (E::Bad, S::Further, (V::CutTail, V::CutTail), (V::Damage, V::Damage)),
            (E::Bad, S::Below, (V::CutTail, V::CutTail), (V::Damage, V::Damage)),
        ];
        for (ending, successor, above, below) in rows {
            let row = format!("{ending:?} {successor:?}");
            assert_eq!(judge(ending, successor, false, true), above.0, "{row} above, ours");
            assert_eq!(judge(ending, successor, false, false), above.1, "{row} above, theirs");
            assert_eq!(judge(ending, successor, true, true), below.0, "{row} below, ours");
            assert_eq!(judge(ending, successor, true, false), below.1, "{row} below, theirs");
        }
    }

    #[test]
    fn successors_are_seen_from_the_valid_end() {
        let end = Offset::new(10);
        assert_eq!(Successor::of(None, end), Successor::None);
        assert_eq!(Successor::of(Some(Offset::new(10)), end), Successor::There);
        assert_eq!(Successor::of(Some(Offset::new(11)), end), Successor::Further);
        assert_eq!(Successor::of(Some(Offset::new(9)), end), Successor::Below);
    }
}
