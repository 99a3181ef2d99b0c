//! A look: what has come and gone since the one before, from where that one ended.
//!
//! It costs one small read behind the last batch and a question each for the next segment's name
//! and for the last one's file. Where what is recorded has changed, and while a truncation may be
//! under way, that file is opened by its name too and the last batch read in it. Only where this
//! does not explain what is there (a new reign of a writer, a file that is gone, was cut or has
//! been replaced, bytes that stay unfinished) the directory is surveyed.
//!
//! A truncation records first that no more than up to where it cuts is final. Then it puts a copy
//! in the place of the file that it cuts; whoever has that open sees nothing of it, and nothing
//! more is recorded before something is appended and synced.

use std::sync::Arc;
use std::time::Duration;

use super::patience::is_vanished;
use super::{FollowFacts, FollowedLog, Following};
use crate::disk::Access;
use crate::disk::names::SegmentFile;
use crate::error::{Error, Result};
use crate::ids::Offset;
use crate::segment::{Beyond, FollowedTail};
use crate::sync::atomic::Ordering;

/// How long bytes that stay unfinished are left alone between two surveys.
const PATIENCE: Duration = Duration::from_secs(1);

impl FollowedLog {
    /// Looks for what has come and gone; says whether the offsets have changed.
    pub(crate) fn look(&self, now: Duration) -> Result<bool> {
        let mut following = self.following.lock();
        let before = self.view.load().offsets;
        self.look_locked(&mut following, now).map_err(|error| self.named(error))?;
        Ok(self.view.load().offsets != before)
    }

    fn look_locked(&self, following: &mut Following, now: Duration) -> Result<()> {
        let facts = self.source.known(self.id).ok_or_else(|| self.deleted())?;
        let goes_on = following.facts.is_some_and(|known| known.goes_on_to(&facts));
        if !goes_on {
            return self.survey(following, now);
        }
        if following.restored.is_some() && following.facts == Some(facts) {
            return Ok(()); // nobody has recovered it, so nobody appends
        }
        if following.restored.is_some() {
            return self.survey(following, now);
        }
        if following.facts != Some(facts) {
            // learnt once it has been asked: where that fails, or nothing comes of the survey, the
            // next look asks again
            if !following.tail.as_ref().map_or(Ok(true), |tail| self.still_ends(tail))? {
                return self.survey(following, now);
            }
            following.learn(facts);
        }
        if following.tail.is_none() && self.has_directory()? {
            return self.survey(following, now);
        }
        let beyond = match self.advance(following, &facts) {
            Err(error) if is_vanished(&error) => return self.survey(following, now),
            advanced => advanced?,
        };
        let missing = following.seen() < facts.recovery_point;
        if missing && facts.recovery_point > following.promised {
            return self.survey(following, now);
        }
        let stuck = beyond == Beyond::Unfinished || missing;
        let patient = following.surveyed.saturating_add(PATIENCE) > now;
        let replaced = match (&following.tail, beyond) {
            (Some(tail), Beyond::Nothing) => self.is_replaced(tail, &facts)?,
            _ => false,
        };
        match beyond {
            _ if replaced => self.survey(following, now),
            Beyond::Cut | Beyond::NewEpoch => self.survey(following, now),
            _ if stuck && !patient => self.survey(following, now),
            _ => {
                self.show(following);
                Ok(())
            }
        }
    }

    /// Accepts what was appended, from segment to segment.
    fn advance(&self, following: &mut Following, facts: &FollowFacts) -> Result<Beyond> {
        let Some(mut tail) = following.tail.take() else { return Ok(Beyond::Nothing) };
        let seen = loop {
            let seen = tail.look(facts.reign);
            for (epoch, first) in tail.take_epochs() {
                following.epochs.assign(epoch, first);
            }
            self.note_transactional(&tail);
            if !matches!(seen, Ok(Beyond::Nothing)) {
                break seen;
            }
            let next = match self.successor(&tail, facts) {
                Ok(Some(next)) => next,
                Ok(None) => break seen,
                Err(error) => break Err(error),
            };
            // a truncation puts a copy in the place of the file it cuts before anything follows
            match self.still_ends(&tail) {
                Ok(true) => {}
                Ok(false) => break Ok(Beyond::Cut),
                Err(error) => break Err(error),
            }
            let done = std::mem::replace(&mut tail, next).finish();
            debug_assert!(following.segments.last().is_some_and(|last| Arc::ptr_eq(last, &done)));
            following.segments.push(tail.segment().clone());
            for (epoch, first) in tail.take_epochs() {
                following.epochs.assign(epoch, first);
            }
            self.note_transactional(&tail);
        };
        following.tail = Some(tail);
        seen
    }

    /// From the first transactional batch on, looks tell what became of transactions.
    pub(super) fn note_transactional(&self, tail: &FollowedTail) {
        if tail.is_transactional() {
            self.transactional.store(true, Ordering::Release);
        }
    }

    /// The segment that begins where the tail ends, once it holds a batch.
    fn successor(&self, tail: &FollowedTail, facts: &FollowFacts) -> Result<Option<FollowedTail>> {
        let base = tail.next_offset();
        if base == tail.segment().base() {
            return Ok(None);
        }
        let path = self.place.path(base, SegmentFile::Log);
        let Some(len) = self.length(&path)?.filter(|len| *len > 0) else { return Ok(None) };
        let rules = (facts.gapless_from(), tail.epoch());
        let mut next = FollowedTail::begin(&self.place, base, len, base, rules)?;
        next.look(facts.reign)?;
        if next.next_offset() == base {
            return Ok(None);
        }
        self.check_identity()?;
        next.segment().identify();
        Ok(Some(next))
    }

    /// Whether the name leads to another file than the one that is open: an empty segment is made
    /// anew where an earlier one of its name was dropped, and a truncation puts a copy in the place
    /// of the file it cuts. The same file has grown at most.
    fn is_replaced(&self, tail: &FollowedTail, facts: &FollowFacts) -> Result<bool> {
        let path = self.place.path(tail.segment().base(), SegmentFile::Log);
        let Some(named) = self.length(&path)? else { return Ok(true) };
        let open = tail.segment().log()?.len();
        let is_longer = match open.map_err(|error| Error::io("follow log", &path, error)) {
            Err(error) if is_vanished(&error) => return Ok(true),
            open => open? < named,
        };
        Ok(is_longer || (may_be_cut(tail, facts) && !self.still_ends(tail)?))
    }

    /// Whether the last batch that counts lies where it was in the file that the name leads to. A
    /// truncation in the same reign, as hosts have it done that lead a log, is seen by this alone.
    fn still_ends(&self, tail: &FollowedTail) -> Result<bool> {
        let path = self.place.path(tail.segment().base(), SegmentFile::Log);
        let ended = match self.place.disk.open(&path, Access::Read) {
            Ok(file) => tail.still_ends_in(&*file),
            Err(error) => Err(Error::io("follow log", &path, error)),
        };
        match ended {
            Err(error) if is_vanished(&error) => Ok(false),
            ended => ended,
        }
    }

    /// Whether there is more than the name: the directory comes with the first batch.
    fn has_directory(&self) -> Result<bool> {
        let dir = &*self.place.dir;
        let found = self.place.disk.metadata(dir);
        Ok(found.map_err(|error| Error::io("follow log", dir, error))?.is_some())
    }

    fn length(&self, path: &std::path::Path) -> Result<Option<u64>> {
        let found = self.place.disk.metadata(path);
        let found = found.map_err(|error| Error::io("follow log", path, error))?;
        Ok(found.filter(|found| !found.is_dir).map(|found| found.len))
    }
}

impl FollowFacts {
    /// Whether what was told of a log may still hold. One that begins earlier than before does so
    /// by a truncation, and what was told of what lay there is forgotten.
    fn goes_on_to(&self, facts: &FollowFacts) -> bool {
        (self.reign, self.gapless) == (facts.reign, facts.gapless)
            && self.log_start <= facts.log_start
    }
}

impl Following {
    /// Takes over new facts of the same reign.
    fn learn(&mut self, facts: FollowFacts) {
        self.facts = Some(facts);
        self.promised = self.promised.min(facts.recovery_point); // it is lowered before a cut
        let below = |offset: Offset| {
            let later = self.segments.iter().skip(1);
            later.take_while(|next| next.base() <= offset).count()
        };
        let sealed = below(facts.recovery_point);
        self.segments[..sealed].iter().for_each(|segment| segment.let_index_go());
        let gone = below(facts.log_start);
        self.segments.drain(..gone);
    }
}

/// Whether a truncation may be under way that has recorded all it will: no more than up to where it
/// cuts is final then, and what comes after it is of a later reign, or of any where the host leads.
fn may_be_cut(tail: &FollowedTail, facts: &FollowFacts) -> bool {
    facts.recovery_point < tail.next_offset() && tail.epoch() < facts.reign
}
