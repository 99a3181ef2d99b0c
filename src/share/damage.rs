//! Records that cannot be read: a group goes on behind them, says so once and counts them.
//!
//! What is damaged is archived, so it is not met again; a reset of the group goes back to it once
//! it is mended. What only exceeds a limit of the group's is not damaged: it fails each take until
//! the limit is raised. Of both, what was taken before it is handed out first. Called by `take`.

use super::deliveries::Finished;
use super::place::Place;
use super::take::Taking;
use crate::error::{Error, Result};
use crate::ids::Offset;
use crate::record::{Batches, Taken};

/// What could not be read, and where what can be read goes on; nowhere, where it is no damage.
#[derive(Debug)]
pub(super) struct Unread {
    pub(super) error: Error,
    resume: Option<i64>,
}

/// What a take has passed.
#[derive(Debug)]
pub(super) struct Damage {
    pub(super) records: u64,
    pub(super) error: Error,
}

impl Place {
    /// What a fetch at an offset has met.
    pub(super) fn unfetched(&self, from: i64, error: Error) -> Unread {
        let resume = match error.is_corrupt() {
            true => self.partition.resume_above(Offset::new(from)).ok(),
            false => None,
        };
        let resume = resume.map(|resume| resume.get()).filter(|resume| *resume > from);
        Unread { error: self.named(error), resume }
    }

    /// What reading fetched batches has met, if it met anything before any record.
    pub(super) fn untaken(&self, batches: &Batches, taken: &mut Taken) -> Option<Unread> {
        if taken.records > 0 {
            return None;
        }
        let (at, fault) = taken.fault.take()?;
        let header = batches.header_at(at).filter(|_| fault.is_damage());
        let resume = header.map(|header| header.end_offset().get());
        let error = Error::new("poll", fault.cause()).at_offset(taken.next_offset);
        Some(Unread { error: self.named(error), resume })
    }
}

impl Taking<'_> {
    /// Archives what of `owed` cannot be read from an offset on; nothing where something was taken
    /// before it, which goes out first.
    pub(super) fn pass_damage_of(
        &mut self,
        owed: impl Iterator<Item = i64>,
        from: i64,
        unread: Unread,
    ) -> Result<()> {
        if self.has_some() {
            return Ok(());
        }
        let Some(resume) = unread.resume else { return Err(unread.error) };
        let damaged: Vec<i64> = owed.filter(|at| (from..resume).contains(at)).collect();
        damaged.iter().for_each(|at| self.delta.done(*at, *at, Finished::Archived));
        let records = damaged.len() as u64;
        self.damage = Some(Damage { records, error: unread.error });
        Ok(())
    }

    /// The same of what nobody was given yet.
    pub(super) fn pass_damage(&mut self, from: i64, unread: Unread) -> Result<()> {
        if self.has_some() {
            return Ok(());
        }
        let Some(resume) = unread.resume else { return Err(unread.error) };
        self.delta.done(from, resume - 1, Finished::Archived);
        self.delta.end = Some(resume);
        self.cursor = None;
        let records = resume.abs_diff(from);
        self.damage = Some(Damage { records, error: unread.error });
        Ok(())
    }
}
