//! Tidying a partition directory before its log is recovered: what a stop in the middle of a
//! deletion, a compaction or a split may leave behind.
//!
//! The rules are Kafka's (`kafka-format.md` 2.4); the table of `swap` is their other side, and says
//! which stop leaves what. In order:
//!
//! | found | it means | done |
//! | --- | --- | --- |
//! | `.deleted` | let go of | goes |
//! | `.cleaned` | a rewrite was not finished | rolled back (1) |
//! | `.log.swap` | a rewrite was finished | rolled forward (2) |
//! | one that is empty or damaged | no stop leaves that | put aside: its origin stands (3) |
//! | an index `.swap` beside it | belongs to it | gets its name |
//! | digests beside it that fit it | they have their name already | stay |
//! | an index `.swap` without it | it may be another log's | goes: an index is made again |
//! | digests `.swap` without it | the same, unless they fit it | get their name, or go |
//! | an index or digests without a log | nothing | goes |
//! | `.tmp` of any of these | a replacement was not finished | goes |
//!
//! (1) Every `.swap` at or above the lowest such base goes, durably, then the `.cleaned` files: the
//! old segments stand. (2) What stands between its base and its last offset goes, durably, then it
//! gets its name. An index `.swap` is alone when its log has its name already, or when a taking
//! back was cut short: then it would mislead about the log that stands. (3) So are the others
//! whose origin stands: a compaction can be done again, and no record goes for what cannot be read.
//! Where its origin is gone it is the only copy: it gets its name, removes nothing, and recovery
//! says what is wrong with it.
//!
//! Every step is safe to repeat, and to be cut short by another stop: what is removed first is what
//! the rest would be misread with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::names::{
    Leftover, PRODUCERS, REPLACEMENT_SUFFIX, SegmentFile, parse_segment_file, segment_file,
};
use crate::disk::{Access, Disk, Entry};
use crate::error::{Error, Result};
use crate::ids::Offset;
use crate::segment::{Place, Segment};

/// A partition directory, tidied.
#[derive(Debug, Default)]
pub(super) struct Directory {
    /// Base offset and length of each log file, in order.
    pub(super) segments: Vec<(Offset, u64)>,
    /// The base offsets of the segments that have digests.
    pub(super) digests: BTreeSet<Offset>,
    pub(super) removed: Vec<PathBuf>,
    /// Rewritten logs that are not whole, under the names they have now.
    pub(super) put_aside: Vec<PathBuf>,
    /// The offsets of the producer snapshots.
    pub(super) snapshots: BTreeSet<Offset>,
    /// The base offsets of the segments with an index of aborted transactions.
    pub(super) indexed: BTreeSet<Offset>,
    /// A file says that there are producers.
    pub(super) of_producers: bool,
}

/// A file of some segment.
#[derive(Clone, Debug)]
struct Found {
    base: Offset,
    kind: SegmentFile,
    path: PathBuf,
    len: u64,
}

/// Removes and renames leftovers, and lists what stands.
pub(super) fn tidy(place: &Arc<Place>) -> Result<Directory> {
    let (disk, dir) = (&*place.disk, &*place.dir);
    let entries = disk.list(dir).map_err(|error| Error::io("open log", dir, error))?;
    let mut tidying = Tidying { disk, dir, place, directory: Directory::default() };
    let mut standing = BTreeMap::new();
    let (mut cleaned, mut swapped) = (Vec::new(), Vec::new());
    for Entry { name, is_dir, len } in entries {
        if is_dir {
            continue;
        }
        tidying.directory.of_producers |= name == PRODUCERS;
        let replacement = name.strip_suffix(REPLACEMENT_SUFFIX);
        if replacement.is_some_and(|name| parse_segment_file(name).is_some()) {
            tidying.remove(&dir.join(&name))?;
            continue;
        }
        let Some((base, kind, leftover)) = parse_segment_file(&name) else { continue };
        let found = Found { base, kind, path: dir.join(&name), len };
        match leftover {
            Leftover::None => {
                standing.insert((base, kind), found);
            }
            Leftover::Deleted => tidying.remove(&found.path)?,
            Leftover::Cleaned => cleaned.push(found),
            Leftover::Swap => swapped.push(found),
        }
    }
    tidying.finish_rewrites(&mut standing, cleaned, swapped)?;
    tidying.remove_orphans(&mut standing)?;
    for ((base, kind), found) in &standing {
        match kind {
            SegmentFile::Log => tidying.directory.segments.push((*base, found.len)),
            SegmentFile::TransactionIndex => drop(tidying.directory.indexed.insert(*base)),
            SegmentFile::ProducerSnapshot => {
                tidying.directory.snapshots.insert(*base);
            }
            SegmentFile::Digests => drop(tidying.directory.digests.insert(*base)),
            SegmentFile::OffsetIndex | SegmentFile::TimeIndex | SegmentFile::Tags => {}
        }
    }
    Ok(tidying.directory)
}

type Standing = BTreeMap<(Offset, SegmentFile), Found>;

struct Tidying<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    place: &'a Arc<Place>,
    directory: Directory,
}

impl Tidying<'_> {
    fn remove(&mut self, path: &Path) -> Result<()> {
        self.disk.remove_file(path).map_err(|error| Error::io("tidy log", path, error))?;
        self.directory.removed.push(path.to_owned());
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        self.disk.sync_dir(self.dir).map_err(|error| Error::io("tidy log", self.dir, error))
    }

    /// Rolls unfinished rewrites back and finished ones forward.
    fn finish_rewrites(
        &mut self,
        standing: &mut Standing,
        cleaned: Vec<Found>,
        swapped: Vec<Found>,
    ) -> Result<()> {
        let lowest_cleaned = cleaned.iter().map(|found| found.base).min();
        let (undone, swapped): (Vec<_>, Vec<_>) = swapped
            .into_iter()
            .partition(|swap| lowest_cleaned.is_some_and(|lowest| swap.base >= lowest));
        for found in &undone {
            self.remove(&found.path)?;
        }
        if !undone.is_empty() {
            self.sync()?; // without the `.cleaned` files beside them they would pass for finished
        }
        for found in &cleaned {
            self.remove(&found.path)?;
        }
        let mut swapped = swapped;
        let whole = self.put_aside_unless_whole(&mut swapped, standing)?;
        let stray = self.strays(&swapped, standing)?;
        for found in &stray {
            self.remove(&found.path)?;
        }
        let mut replaced = None;
        for (base, end) in whole {
            let (first, last) = replaced.unwrap_or((base, end));
            replaced = Some((base.min(first), end.max(last)));
        }
        if let Some((first, end)) = replaced {
            let own = self.digests_in_place(&swapped, standing)?;
            let is_replaced = |base: &Offset, kind: &SegmentFile| {
                (first..end).contains(base)
                    && *kind != SegmentFile::ProducerSnapshot
                    && !(*kind == SegmentFile::Digests && own.contains(base))
            };
            let gone: Vec<_> =
                standing.keys().filter(|(base, kind)| is_replaced(base, kind)).copied().collect();
            for key in gone {
                if let Some(found) = standing.remove(&key) {
                    self.remove(&found.path)?;
                }
            }
        }
        if replaced.is_some() {
            self.sync()?; // what is replaced must not come back beside what replaces it
        }
        let stays = |swap: &Found| stray.iter().all(|stray| stray.path != swap.path);
        self.name_finished(standing, swapped.into_iter().filter(stays).collect())
    }

    /// Puts rewritten logs aside where one of them is not whole and what they were made of stands.
    /// Returns where whole ones that are left begin and end.
    fn put_aside_unless_whole(
        &mut self,
        swapped: &mut Vec<Found>,
        standing: &Standing,
    ) -> Result<Vec<(Offset, Offset)>> {
        let mut ends = Vec::new();
        for swap in swapped.iter().filter(|swap| swap.kind == SegmentFile::Log) {
            let (end, is_whole) = self.end_of(swap)?;
            ends.push((swap.clone(), end, is_whole));
        }
        if ends.iter().any(|(_, _, is_whole)| !is_whole) {
            for (swap, _, _) in &ends {
                if !self.has_origin(swap, standing)? {
                    continue;
                }
                let aside = self.aside(swap)?;
                log::warn!("{}: a rewrite that is not whole is put aside", aside.display());
                let renamed = self.disk.rename(&swap.path, &aside);
                renamed.map_err(|error| Error::io("tidy log", &swap.path, error))?;
                swapped.retain(|found| found.path != swap.path);
                self.directory.put_aside.push(aside);
            }
        }
        let is_left = |path: &Path| swapped.iter().any(|found| found.path == path);
        let whole = ends.iter().filter(|(swap, _, is_whole)| *is_whole && is_left(&swap.path));
        Ok(whole.map(|(swap, end, _)| (swap.base, *end)).collect())
    }

    /// Where a rewritten log goes that is not whole: beside what was put there before.
    fn aside(&self, swap: &Found) -> Result<PathBuf> {
        let mut number = 1;
        loop {
            let mut path = swap.path.clone().into_os_string();
            path.push(match number {
                1 => ".cut".to_owned(),
                _ => format!("-{number}.cut"),
            });
            let path = PathBuf::from(path);
            let there = self.disk.metadata(&path);
            let there = there.map_err(|error| Error::io("tidy log", &path, error))?;
            if there.is_none() {
                return Ok(path);
            }
            number += 1;
        }
    }

    /// Whether a segment stands that a rewritten one's first records came from.
    fn has_origin(&self, swap: &Found, standing: &Standing) -> Result<bool> {
        let logs = standing.values().filter(|found| found.kind == SegmentFile::Log);
        let Some(origin) = logs.filter(|log| log.base <= swap.base).max_by_key(|log| log.base)
        else {
            return Ok(false);
        };
        Ok(origin.base == swap.base || self.end_of(origin)?.0 > swap.base)
    }

    /// Gives what is finished its names.
    fn name_finished(&self, standing: &mut Standing, swapped: Vec<Found>) -> Result<()> {
        if swapped.is_empty() {
            return Ok(());
        }
        for swap in swapped {
            let path = self.dir.join(segment_file(swap.base, swap.kind));
            self.disk
                .rename(&swap.path, &path)
                .map_err(|error| Error::io("tidy log", &swap.path, error))?;
            standing.insert((swap.base, swap.kind), Found { path, ..swap });
        }
        self.sync() // a clean close speaks of these names
    }

    /// Files of rewrites whose log has its name already, or is not there: of no use, or made anew.
    fn strays(&self, swapped: &[Found], standing: &Standing) -> Result<Vec<Found>> {
        let whole = |index: &Found| {
            let is_log = |swap: &&Found| swap.kind == SegmentFile::Log && swap.base == index.base;
            swapped.iter().find(is_log).is_some()
        };
        let mut stray = Vec::new();
        for found in swapped.iter().filter(|found| !whole(found)) {
            let goes = match found.kind {
                SegmentFile::OffsetIndex
                | SegmentFile::TimeIndex
                | SegmentFile::TransactionIndex => true,
                SegmentFile::Digests => !self.fits_standing(found, standing)?,
                _ => false,
            };
            stray.extend(goes.then(|| found.clone()));
        }
        Ok(stray)
    }

    /// The bases of the finished rewrites whose digests have their name already: a power cut may
    /// keep that and take the log's.
    fn digests_in_place(&self, swapped: &[Found], standing: &Standing) -> Result<BTreeSet<Offset>> {
        let mut own = BTreeSet::new();
        for swap in swapped.iter().filter(|swap| swap.kind == SegmentFile::Log) {
            let Some(digests) = standing.get(&(swap.base, SegmentFile::Digests)) else { continue };
            let fail = |error| Error::io("tidy log", &swap.path, error);
            let file = self.disk.open(&swap.path, Access::Read).map_err(fail)?;
            let segment = Segment::on_file(self.place.clone(), swap.base, swap.len, file);
            if segment.is_vouched_for_by(&digests.path)? {
                own.insert(swap.base);
            }
        }
        Ok(own)
    }

    /// Whether digests are those of the log of their base that stands: they cannot be made again.
    fn fits_standing(&self, digests: &Found, standing: &Standing) -> Result<bool> {
        let Some(log) = standing.get(&(digests.base, SegmentFile::Log)) else { return Ok(false) };
        let segment = Segment::on_disk(self.place.clone(), log.base, log.len);
        segment.is_vouched_for_by(&digests.path)
    }

    /// The offset behind the last batch of a log file, and whether it is whole.
    fn end_of(&self, log: &Found) -> Result<(Offset, bool)> {
        let file = self
            .disk
            .open(&log.path, Access::Read)
            .map_err(|error| Error::io("tidy log", &log.path, error))?;
        Segment::end_offset_of(&*file, log.base, log.len)
    }

    /// Removes indexes whose log is gone; a snapshot stands for itself.
    fn remove_orphans(&mut self, standing: &mut Standing) -> Result<()> {
        let orphans: Vec<_> = standing
            .keys()
            .filter(|(base, kind)| {
                !matches!(kind, SegmentFile::Log | SegmentFile::ProducerSnapshot)
                    && !standing.contains_key(&(*base, SegmentFile::Log))
            })
            .copied()
            .collect();
        for key in orphans {
            if let Some(found) = standing.remove(&key) {
                self.remove(&found.path)?;
            }
        }
        Ok(())
    }
}
