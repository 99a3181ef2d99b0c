//! Who wrote to the root last: this library or another program. A pure decision.
//!
//! | state log says | clean mark | checkpoints | answer |
//! | --- | --- | --- | --- |
//! | never opened | any | any | another hand: all that is here is its work |
//! | closed cleanly | as stamped | as stamped | ours, clean |
//! | closed cleanly | gone | any | another hand opened it and did not close |
//! | closed cleanly | other | any | another hand opened and closed it |
//! | closed cleanly | as stamped | other | another hand |
//! | open | none | as we left them | ours, unclean |
//! | open | our own | as we left them | ours, unclean: a crash within our open or close |
//! | open | another's | any | another hand opened and closed it |
//! | open | none, our own | other | another hand |
//!
//! "As we left them": each file is one that an export confirmed or began. Whoever opens a root with
//! Kafka removes the clean mark and writes its own at close, and our mark's bytes are no one
//! else's; so our mark proves that nobody opened the root since. Neither inode nor time is looked
//! at: a copied or restored directory is judged by what it holds.

use super::exports;
use super::fact::{Digest, ExportDigests, ExportFile};
use super::state::{Opening, RootState};

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastWriter {
    /// We did, and closed cleanly: all is durable and as we left it.
    OursClean,
    /// We did, and were stopped. In the same life of the machine what was written is still in the
    /// page cache or on the disk.
    OursUnclean { same_boot: bool },
    /// Another program did: what it wrote wins.
    AnotherHand { why: Trace },
}

impl LastWriter {
    pub(crate) fn is_ours(self) -> bool {
        !matches!(self, LastWriter::AnotherHand { .. })
    }
}

/// What gave the other hand away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trace {
    NeverOpened,
    CleanMarkGone,
    CleanMarkForeign,
    CheckpointChanged(ExportFile),
}

impl std::fmt::Display for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trace::NeverOpened => f.write_str("this library has never opened the directory"),
            Trace::CleanMarkGone => f.write_str("our mark of a clean close has been removed"),
            Trace::CleanMarkForeign => f.write_str("there is another mark of a clean close"),
            Trace::CheckpointChanged(ExportFile::RecoveryPoints) => {
                f.write_str("the checkpoint of recovery points has been changed")
            }
            Trace::CheckpointChanged(ExportFile::LogStarts) => {
                f.write_str("the checkpoint of log starts has been changed")
            }
            Trace::CheckpointChanged(ExportFile::HighWatermarks) => {
                f.write_str("the checkpoint of high watermarks has been changed")
            }
            Trace::CheckpointChanged(ExportFile::CleanShutdown) => {
                f.write_str("the mark of a clean close has been changed")
            }
        }
    }
}

const CHECKPOINTS: [ExportFile; 3] =
    [ExportFile::RecoveryPoints, ExportFile::LogStarts, ExportFile::HighWatermarks];

/// Decides from the state log, the exports found in the root and this boot's identity, where the
/// system has one.
pub(crate) fn who_wrote_last(
    state: &RootState,
    found: &ExportDigests,
    this_boot: Option<[u8; 16]>,
) -> LastWriter {
    let trace = match state.opening() {
        Opening::Never => Some(Trace::NeverOpened),
        Opening::Clean { .. } => trace_after_clean(state, found),
        Opening::Open { .. } => trace_after_unclean(state, found),
    };
    match (trace, state.opening()) {
        (Some(why), _) => LastWriter::AnotherHand { why },
        (None, Opening::Open { boot_id }) => {
            LastWriter::OursUnclean { same_boot: this_boot == Some(boot_id) }
        }
        (None, _) => LastWriter::OursClean,
    }
}

fn trace_after_clean(state: &RootState, found: &ExportDigests) -> Option<Trace> {
    let (stamped, _) = state.exported();
    let mark = |digests: &ExportDigests| digests.get(&ExportFile::CleanShutdown).copied();
    match (mark(stamped), mark(found)) {
        (stamped, found) if stamped == found => {}
        (_, None) => return Some(Trace::CleanMarkGone),
        _ => return Some(Trace::CleanMarkForeign),
    }
    changed(found, |file, digest| stamped.get(&file).copied() == digest)
}

fn trace_after_unclean(state: &RootState, found: &ExportDigests) -> Option<Trace> {
    match found.get(&ExportFile::CleanShutdown) {
        None => {}
        Some(mark) if *mark == exports::our_clean_mark() => {}
        Some(_) => return Some(Trace::CleanMarkForeign),
    }
    let (exported, begun) = state.exported();
    changed(found, |file, digest| {
        std::iter::once(exported).chain(begun).any(|known| known.get(&file).copied() == digest)
    })
}

/// The first checkpoint that is not as `known` has it.
fn changed(
    found: &ExportDigests,
    known: impl Fn(ExportFile, Option<Digest>) -> bool,
) -> Option<Trace> {
    let mut files = CHECKPOINTS.into_iter();
    let file = files.find(|file| !known(*file, found.get(file).copied()))?;
    Some(Trace::CheckpointChanged(file))
}

#[cfg(test)]
mod tests {
    use super::super::fact::Fact;
    use super::*;
    use crate::ids::LeaderEpoch;

    const BOOT: [u8; 16] = [7; 16];

    /// What one file may look like: nothing, one of two sets of ours, somebody else's.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Look {
        Absent,
        Confirmed,
        Begun,
        Strange,
    }
    use Look::*;
    const LOOKS: [Look; 4] = [Absent, Confirmed, Begun, Strange];

    fn digest(look: Look, file: ExportFile) -> Option<Digest> {
        match (look, file) {
            (Absent, _) => None,
            (Confirmed | Begun, ExportFile::CleanShutdown) => Some(exports::our_clean_mark()),
            (Confirmed, _) => Some(Digest::of(b"0\n0\n")),
            (Begun, _) => Some(Digest::of(b"0\n1\nt 0 1\n")),
            (Strange, _) => Some(Digest::of(b"0\n1\nt 0 2\n")),
        }
    }

    fn set(looks: [Look; 4]) -> ExportDigests {
        let pairs = ExportFile::ALL.into_iter().zip(looks);
        pairs.filter_map(|(file, look)| Some((file, digest(look, file)?))).collect()
    }

    fn opened() -> Fact {
        Fact::Opened { leader_epoch: LeaderEpoch::new(0), boot_id: BOOT }
    }

    fn all_looks() -> impl Iterator<Item = [Look; 4]> {
        let four = move |n: usize| std::array::from_fn(|i| LOOKS[(n >> (2 * i)) & 3]);
        (0..256).map(four)
    }

    #[test]
    fn a_root_never_opened_is_all_another_hands() {
        for looks in all_looks() {
            let answer = who_wrote_last(&RootState::default(), &set(looks), Some(BOOT));
            assert_eq!(answer, LastWriter::AnotherHand { why: Trace::NeverOpened });
        }
    }

    #[test]
    fn after_a_clean_close_all_must_be_as_stamped() {
        let stamp = Fact::CleanClose { digests: set([Confirmed; 4]) };
        let state = RootState::fold(&[opened(), stamp]);
        for looks in all_looks() {
            let answer = who_wrote_last(&state, &set(looks), None);
            let [recovery, starts, watermarks, mark] = looks;
            let why = match (recovery, starts, watermarks, mark) {
                (_, _, _, Absent) => Trace::CleanMarkGone,
                (_, _, _, Strange) => Trace::CleanMarkForeign,
                (Confirmed, Confirmed, Confirmed, _) => {
                    assert_eq!(answer, LastWriter::OursClean, "{looks:?}");
                    continue;
                }
                (Confirmed, Confirmed, _, _) => {
                    Trace::CheckpointChanged(ExportFile::HighWatermarks)
                }
                (Confirmed, _, _, _) => Trace::CheckpointChanged(ExportFile::LogStarts),
                _ => Trace::CheckpointChanged(ExportFile::RecoveryPoints),
            };
            assert_eq!(answer, LastWriter::AnotherHand { why }, "{looks:?}");
        }
    }

    /// Over what was confirmed before (exports, or none at all) and whether an export was begun.
    #[test]
    fn after_an_unclean_stop_each_file_must_be_one_of_ours() {
        for (before, begun) in
            [(Absent, false), (Absent, true), (Confirmed, false), (Confirmed, true)]
        {
            let mut state =
                RootState::fold(&[Fact::Exported { digests: set([before; 4]) }, opened()]);
            if begun {
                state.apply(&Fact::ExportBegun { digests: set([Begun; 4]) });
            }
            for looks in all_looks() {
                let ours = |look: Look| look == before || (begun && look == Begun);
                let trace = match looks {
                    [_, _, _, Strange] => Some(Trace::CleanMarkForeign),
                    [recovery, ..] if !ours(recovery) => {
                        Some(Trace::CheckpointChanged(ExportFile::RecoveryPoints))
                    }
                    [_, starts, ..] if !ours(starts) => {
                        Some(Trace::CheckpointChanged(ExportFile::LogStarts))
                    }
                    [_, _, watermarks, _] if !ours(watermarks) => {
                        Some(Trace::CheckpointChanged(ExportFile::HighWatermarks))
                    }
                    _ => None,
                };
                for boot in [Some(BOOT), Some([8; 16]), None] {
                    let same_boot = boot == Some(BOOT);
                    let expected = match trace {
                        Some(why) => LastWriter::AnotherHand { why },
                        None => LastWriter::OursUnclean { same_boot },
                    };
                    let answer = who_wrote_last(&state, &set(looks), boot);
                    assert_eq!(answer, expected, "{before:?} {begun} {looks:?}");
                }
            }
        }
    }

    #[test]
    fn an_opening_after_a_clean_close_is_an_open_root_again() {
        let stamp = Fact::CleanClose { digests: set([Confirmed; 4]) };
        let state = RootState::fold(&[opened(), stamp, opened()]);
        for mark in [Absent, Confirmed] {
            let found = set([Confirmed, Confirmed, Confirmed, mark]);
            let answer = who_wrote_last(&state, &found, Some(BOOT));
            assert_eq!(answer, LastWriter::OursUnclean { same_boot: true });
        }
    }
}
