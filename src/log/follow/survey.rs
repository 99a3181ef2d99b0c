//! Taking a whole directory in: at the first look, and when going on does not explain what is
//! there.
//!
//! The writer goes on meanwhile. What it had recorded as final before the listing is in the files
//! listed, unless it had recorded after the listing that they may go: so its facts are read before
//! and after, and only what both say is promised. A survey that the writer outran is made again.
//!
//! The same judgement as recovery's (`verdict`), without its deeds: what a writer would cut is left
//! out, what it would call damage is a gap that reads as damage. Files that a compaction is about
//! to rename are read where they are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::patience::{Patience, is_vanished};
use super::{FollowFacts, FollowedLog, Following};
use crate::disk::names::{LEADER_EPOCHS, Leftover, SegmentFile, leftover_file, parse_segment_file};
use crate::disk::{Access, DiskFile};
use crate::error::{Error, Result};
use crate::ids::{LeaderEpoch, Offset};
use crate::log::checkpoint::read_epochs;
use crate::log::epochs::EpochCache;
use crate::segment::{Beyond, FollowedTail, Segment};

/// How often a directory that changes under the reader is taken in anew before that is an error.
const ATTEMPTS: usize = 5;
/// How often where the writer's records say each time that it has gone on meanwhile.
const OUTRUN: usize = 20;

/// A log file, and the open file of one that lies under another name.
#[derive(Debug)]
struct Found {
    base: Offset,
    len: u64,
    file: Option<Arc<dyn DiskFile>>,
}

/// A directory as a survey took it in.
#[derive(Debug)]
struct Taken {
    following: Following,
    /// Something changed meanwhile: another survey will see more.
    is_moving: bool,
}

/// A log that a compaction has written, before it has its name.
struct Rewritten {
    base: Offset,
    end: Offset,
    file: Arc<dyn DiskFile>,
}

impl FollowedLog {
    /// Takes the directory in and shows it. Where a writer outruns that again and again, what was
    /// shown before stays, until the next look.
    pub(super) fn survey(&self, following: &mut Following, now: Duration) -> Result<()> {
        let mut patience = Patience::new(ATTEMPTS, OUTRUN);
        loop {
            let taken = self.take_in();
            let is_last = !patience.lasts(self.source.known(self.id));
            let is_outrun = patience.is_outrun() && following.facts.is_some();
            match taken {
                Ok(taken) if !taken.is_moving || (is_last && !is_outrun) => {
                    *following = Following { surveyed: now, ..taken.following };
                    self.show(following);
                    return Ok(());
                }
                Err(error) if !is_vanished(&error) || (is_last && !is_outrun) => return Err(error),
                Ok(_) | Err(_) if is_last => return Ok(()),
                Ok(_) | Err(_) => {}
            }
        }
    }

    fn take_in(&self) -> Result<Taken> {
        let before = self.source.facts(self.id)?.ok_or_else(|| self.deleted())?;
        let keeps_files = before.gapless && before.compacted == Offset::ZERO;
        let (names, is_settled) = self.list(keeps_files)?;
        let facts = self.source.facts(self.id)?.ok_or_else(|| self.deleted())?;
        let found = self.standing(&names, facts.log_start)?;
        // what was final only after the listing may lie in files that are not in it
        let promised = before.recovery_point.min(facts.recovery_point);
        let epochs_file = match read_epochs(&*self.place.disk, &self.place.dir.join(LEADER_EPOCHS))
        {
            Err(error) if error.is_corrupt() => Vec::new(),
            read => read?,
        };
        let mut taking = Taking {
            log: self,
            facts,
            promised,
            segments: Vec::new(),
            tail: None,
            scanned: Vec::new(),
            epoch: None,
            is_moving: !is_settled
                || (before.reign, before.gapless, before.compacted)
                    != (facts.reign, facts.gapless, facts.compacted),
        };
        taking.run(found)?;
        if !taking.segments.is_empty() {
            self.check_identity()?;
            taking.segments.iter().for_each(|segment| segment.identify());
        }
        let file: Vec<_> = epochs_file.iter().map(|line| (line.epoch, line.start)).collect();
        let mut following = Following {
            facts: Some(facts),
            promised,
            segments: taking.segments,
            tail: taking.tail,
            ..Following::default()
        };
        match self.restored(&following, &facts, taking.epoch) {
            Ok(restored) => following.restored = restored,
            // who opens the store meanwhile has given it back, and has gone on
            Err(error) if error.is_corrupt() && self.source.facts(self.id)? != Some(facts) => {
                log::debug!("{error}");
                taking.is_moving = true;
            }
            Err(error) => return Err(error),
        }
        let given_back = following.restored.iter().flat_map(|restored| &restored.epochs);
        taking.scanned.extend(given_back);
        let (start, end) = (facts.log_start, following.end());
        following.epochs = EpochCache::recovered(&file, &taking.scanned, None, (start, end));
        Ok(Taken { following, is_moving: taking.is_moving })
    }

    /// The names in the directory, and whether they are to be relied on. Where segments are
    /// replaced by others, two listings have to agree: a name that changes meanwhile may be in
    /// none. Where they only come and go, the facts tell which of them went.
    fn list(&self, keeps_files: bool) -> Result<(Vec<String>, bool)> {
        let mut before = self.list_once()?;
        if keeps_files {
            return Ok((before, true));
        }
        for _ in 0..ATTEMPTS {
            let again = self.list_once()?;
            if before == again {
                return Ok((again, true));
            }
            before = again;
        }
        Ok((before, false))
    }

    /// The names of log files that may stand, in order.
    fn list_once(&self) -> Result<Vec<String>> {
        let dir = &*self.place.dir;
        let mut names = match self.place.disk.names(dir) {
            Ok(names) => names,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::io("follow log", dir, error)),
        };
        names.retain(|name| {
            let parsed = parse_segment_file(name);
            matches!(parsed, Some((_, SegmentFile::Log, leftover)) if leftover != Leftover::Deleted)
        });
        names.sort_unstable();
        Ok(names)
    }

    /// Which files make up the log from `start` on; of a rewrite under way, or cut short, what
    /// recovery would keep.
    fn standing(&self, names: &[String], start: Offset) -> Result<Vec<Found>> {
        let mut standing = BTreeMap::new();
        let (mut swapped, mut cleaned) = (Vec::new(), None);
        for name in names {
            match parse_segment_file(name) {
                Some((base, _, Leftover::None)) => drop(standing.insert(base, None)),
                Some((base, _, Leftover::Swap)) => swapped.push(base),
                Some((base, _, Leftover::Cleaned)) => {
                    cleaned = Some(cleaned.unwrap_or(base).min(base));
                }
                _ => {}
            }
        }
        swapped.retain(|base| cleaned.is_none_or(|lowest| *base < lowest));
        for Rewritten { base, end, file } in self.rewritten(&swapped, &standing)? {
            standing.retain(|replaced, _| !(base..end).contains(replaced));
            standing.insert(base, Some(file));
        }
        let below = standing.keys().skip(1).take_while(|next| **next <= start).count();
        let found = standing.into_iter().skip(below);
        found.filter_map(|(base, file)| self.find(base, file).transpose()).collect()
    }

    /// Which rewritten logs count, with where they end: as the writer's next open judges, none of
    /// which the origin stands where one of them is not whole.
    fn rewritten(
        &self,
        swapped: &[Offset],
        standing: &BTreeMap<Offset, Option<Arc<dyn DiskFile>>>,
    ) -> Result<Vec<Rewritten>> {
        let (mut found, mut are_whole) = (Vec::new(), true);
        for base in swapped {
            let (end, is_whole, file) = self.end_of(*base, Leftover::Swap)?;
            are_whole &= is_whole;
            found.push(Rewritten { base: *base, end, file });
        }
        if are_whole {
            return Ok(found);
        }
        let mut counts = Vec::new();
        for rewritten in found {
            let base = rewritten.base;
            let has_origin = match standing.range(..=base).next_back() {
                None => false,
                Some((origin, _)) if *origin == base => true,
                Some((origin, _)) => self.end_of(*origin, Leftover::None)?.0 > base,
            };
            if !has_origin {
                counts.push(rewritten);
            }
        }
        Ok(counts)
    }

    /// The offset behind the last batch of a log file, and whether it is whole.
    fn end_of(
        &self,
        base: Offset,
        leftover: Leftover,
    ) -> Result<(Offset, bool, Arc<dyn DiskFile>)> {
        let path = self.place.dir.join(leftover_file(base, SegmentFile::Log, leftover));
        let fail = |error| Error::io("follow log", &path, error);
        let file = self.place.disk.open(&path, Access::Read).map_err(fail)?;
        let (end, is_whole) = Segment::end_offset_of(&*file, base, file.len().map_err(fail)?)?;
        Ok((end, is_whole, file))
    }

    /// A file that stands, if it is one.
    fn find(&self, base: Offset, file: Option<Arc<dyn DiskFile>>) -> Result<Option<Found>> {
        let path = self.place.path(base, SegmentFile::Log);
        let fail = |error| Error::io("follow log", &path, error);
        if let Some(file) = file {
            let len = file.len().map_err(fail)?;
            return Ok(Some(Found { base, len, file: Some(file) }));
        }
        let found = self.place.disk.metadata(&path).map_err(fail)?;
        let found = found.ok_or_else(|| fail(std::io::ErrorKind::NotFound.into()))?;
        Ok((!found.is_dir).then_some(Found { base, len: found.len, file: None }))
    }
}

/// A survey under way.
struct Taking<'a> {
    log: &'a FollowedLog,
    facts: FollowFacts,
    /// What is there below it is final, and in the files that were listed.
    promised: Offset,
    segments: Vec<Arc<Segment>>,
    tail: Option<FollowedTail>,
    scanned: Vec<(LeaderEpoch, Offset)>,
    /// That of the last batch that was scanned.
    epoch: Option<LeaderEpoch>,
    is_moving: bool,
}

impl Taking<'_> {
    fn run(&mut self, mut found: Vec<Found>) -> Result<()> {
        // what others surround and is empty is left over from a roll that failed
        let last = found.len().saturating_sub(1);
        let mut at = 0;
        found.retain(|found| {
            at += 1;
            found.len > 0 || at == 1 || at > last
        });
        let start = self.facts.log_start;
        let lacks_front = found.first().is_some_and(|first| first.base > start);
        if lacks_front && self.facts.gapless && self.promised <= start {
            found.clear(); // a power cut took it, nobody was promised it: a writer begins again
        }
        let mut bases: Vec<_> = found.iter().skip(1).map(|found| Some(found.base)).collect();
        bases.push(None);
        for (found, next) in found.into_iter().zip(bases) {
            if self.take(found, next)? == Then::Stop {
                break;
            }
        }
        Ok(())
    }

    fn take(&mut self, found: Found, next: Option<Offset>) -> Result<Then> {
        let Found { base, len, file } = found;
        let place = self.log.place.clone();
        let point = self.promised;
        if let Some(file) = file {
            self.segments.push(Arc::new(Segment::on_file(place, base, len, file)));
            return Ok(Then::GoOn);
        }
        if next.is_some_and(|next| next < point) {
            self.segments.push(Arc::new(Segment::on_disk(place, base, len)));
            return Ok(Then::GoOn);
        }
        let rules = (self.facts.gapless_from(), self.epoch);
        let mut tail = FollowedTail::begin(&place, base, len, point, rules)?;
        let beyond = tail.look(self.facts.reign)?;
        self.is_moving |= beyond == Beyond::NewEpoch;
        self.log.note_transactional(&tail);
        self.scanned.extend(tail.take_epochs());
        self.epoch = tail.epoch();
        let reached = tail.next_offset();
        let Some(next) = next else { return Ok(self.stop_at(tail)) };
        let promised = point > self.facts.log_start && reached < point;
        let is_torn = reached < next && !self.facts.allows_gap(reached, next) && !promised;
        if reached > next || is_torn {
            // a writer would take the rest away
            return Ok(self.stop_at(tail));
        }
        let whole = reached == next || beyond == Beyond::Nothing;
        self.segments.push(match whole {
            true => tail.finish(),
            // what an index vouches for behind the damage can still be read
            false => Arc::new(Segment::on_disk(place, base, len)),
        });
        Ok(Then::GoOn)
    }

    fn stop_at(&mut self, tail: FollowedTail) -> Then {
        self.segments.push(tail.segment().clone());
        self.tail = Some(tail);
        Then::Stop
    }
}

/// Whether the next segment is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    GoOn,
    Stop,
}
