//! The digests of a segment that recovery looks at: what its sidecar says, and what is taken again.
//!
//! Below the recovery point the runs of the sidecar count, and a scan ends where one does not fit.
//! Those of what lies behind were written before it was on the disk, so they go; they are taken
//! again from the very bytes that the scan checks, so that opening reads and checks each byte once.
//! What lies between the two, where a sidecar is older than the indexes that the scan begins by, is
//! read for it.
//!
//! Called by `recover` and `scan`; `log/` carries a [`Digested`] from the one to the end.

use bytes::Bytes;

use super::cover::Misfit;
use super::digest::{DigestedBatch, Digester, Origin};
use super::shared::Segment;
use super::sidecar::Sidecar;
use crate::error::Result;
use crate::ids::Offset;
use crate::record::Batch;

/// A hole in the digests that is larger is left as it is when a log is opened.
const LARGEST_HOLE: u64 = 64 << 20;

/// What a scan knows of digests, and takes of them. The default takes none.
#[derive(Debug, Default)]
pub(crate) struct Digested {
    sidecar: Option<Sidecar>,
    taking: Option<Taking>,
}

/// Digests of what the sidecar does not have.
#[derive(Debug)]
struct Taking {
    /// The sidecar's runs reach to here.
    behind: u64,
    /// Where the first batch lies that was taken in.
    from: Option<u64>,
    digester: Digester,
}

/// Which runs of a sidecar count: how many, and to which byte they reach.
#[derive(Clone, Copy)]
struct Kept {
    runs: u64,
    end: u64,
}

impl Digested {
    /// Takes in a batch that a scan has found whole, in order.
    #[inline]
    pub(super) fn push(&mut self, batch: &Batch<'_>, position: u64) {
        let Some(taking) = &mut self.taking else { return };
        if position < taking.behind {
            return;
        }
        if position - taking.behind > LARGEST_HOLE {
            self.taking = None; // nobody will ask for them
            return;
        }
        taking.from.get_or_insert(position);
        taking.digester.push(DigestedBatch::of(batch.header(), batch.bytes(), position));
    }
}

impl Segment {
    /// What a scan is to know of this segment's digests.
    pub(super) fn digested(&self, recovery_point: Offset) -> Result<Digested> {
        let sidecar = self.sidecar()?;
        let behind = self.kept(sidecar.as_ref(), recovery_point)?.end;
        let digester = self.digester(Origin::File);
        Ok(Digested { sidecar, taking: Some(Taking { behind, from: None, digester }) })
    }

    /// The runs of what lies below the recovery point.
    fn kept(&self, sidecar: Option<&Sidecar>, recovery_point: Offset) -> Result<Kept> {
        let mut kept = Kept { runs: 0, end: 0 };
        for run in sidecar.into_iter().flat_map(Sidecar::runs) {
            let (number, run) = run?;
            let end = u64::from(run.end);
            if end <= self.published() && self.offset_of(run.next) <= recovery_point {
                kept = Kept { runs: number + 1, end };
            }
        }
        Ok(kept)
    }

    /// The first bytes from `position` on, of runs with no offset at or beyond `below`, that do not
    /// fit.
    pub(super) fn first_misfit(
        &self,
        digested: &Digested,
        position: u64,
        below: Offset,
    ) -> Result<Option<Misfit>> {
        let Some(sidecar) = &digested.sidecar else { return Ok(None) };
        let have = (0, &Bytes::new());
        for run in sidecar.runs_behind(position) {
            let run = run?;
            if self.offset_of(run.next) > below {
                break;
            }
            if !self.fits(&run, have)? {
                let misfit = self.misfit_of(&run, have)?;
                if misfit.bytes.start >= position {
                    return Ok(Some(misfit));
                }
            }
        }
        Ok(None)
    }

    /// Goes on with the digests of a segment that a scan has looked at, which may have been cut
    /// since: those below the recovery point stay, those behind are the ones that were taken,
    /// unless what lies there is damaged.
    pub(crate) fn resume_digests(
        &self,
        digested: Digested,
        recovery_point: Offset,
        is_whole: bool,
    ) -> Result<()> {
        let Digested { sidecar, taking } = digested;
        let kept = self.kept(sidecar.as_ref(), recovery_point)?;
        self.keep_runs(kept.runs, sidecar.is_some_and(|sidecar| sidecar.len() > kept.runs));
        let end = self.published();
        if !is_whole || end - kept.end > LARGEST_HOLE {
            return Ok(());
        }
        let taken = taking.and_then(|taking| Some((taking.from?, taking.digester)));
        let (from, taken) = match taken {
            Some((from, mut digester)) if (kept.end..=end).contains(&from) => {
                (from, digester.take())
            }
            _ => (end, Vec::new()),
        };
        if kept.end < from {
            self.add_runs(self.runs_of_file(kept.end, from)?);
        }
        self.add_runs(taken);
        Ok(())
    }
}
