//! Opening a log: tidy the directory, look at what the recovery point does not cover, put the
//! pieces together.
//!
//! Segments that lie wholly below the recovery point are not read at all. The one that holds it,
//! and all after it, are scanned, and `verdict` says what becomes of each end. Recovery may itself
//! be cut short at any step: each is safe to repeat, and what it cuts is saved before it is cut.

mod anothers;
mod lost;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use arc_swap::{ArcSwap, ArcSwapOption};

use super::checkpoint;
use super::core::{Lead, LogSetup, PartitionLog, Unproven, Writer, tail_limits};
use super::counting::Count;
use super::epochs::EpochCache;
use super::journaled::covered;
use super::keeper::{KnownFacts, LastStop};
use super::leftovers::{Directory, tidy};
use super::marks::Marks;
use super::relearn::Seen;
use super::report::{Damage, PartitionReport, TornTail};
use super::rules::RulesCell;
use super::verdict::{Ending, Successor, Then, Verdict, judge};
use crate::disk::Disk;
use crate::disk::latch::Latch;
use crate::disk::names::{LEADER_EPOCHS, SegmentFile};
use crate::error::{Error, Result};
use crate::ids::{LeaderEpoch, Offset};
use crate::segment::{Indexer, Place, Scan, Segment, Stop, Tail, Tenancy};
use crate::stats::LogCounters;
use crate::sync::atomic::AtomicU64;
use crate::sync::{Mutex, RwLock};
use crate::wait::commit::Commit;
use std::sync::Arc;

/// What recovery has put together so far.
struct Recovery<'a> {
    setup: &'a LogSetup,
    known: &'a KnownFacts,
    report: PartitionReport,
    segments: Vec<Arc<Segment>>,
    /// What there is to know of the last segment, if it can go on growing.
    active: Option<Active>,
    end: Offset,
    /// What the epoch file says, and what the scanned batches do.
    epochs: [Vec<(LeaderEpoch, Offset)>; 2],
    unproven: Vec<Unproven>,
    /// Segments below the recovery point that have no digests.
    bare: Vec<Arc<Segment>>,
    /// Segments that no longer grow and whose indexes are to be sealed.
    rolled: Vec<Arc<Segment>>,
    seen: Seen,
    snapshots: BTreeSet<Offset>,
    /// Empty files of another hand's between others, which stay as long as those do.
    unlisted: Vec<Offset>,
    /// The segment at hand has damage.
    hurt: bool,
}

/// What a scan has found of a segment that can go on growing.
struct Active {
    indexer: Indexer,
    /// Of its first batch, if the scan has seen it.
    first_timestamp: Option<Option<i64>>,
}

impl PartitionLog {
    /// Opens the log in `dir`, which need not exist yet: it is made at the first append.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        setup: LogSetup,
        known: KnownFacts,
    ) -> Result<(PartitionLog, PartitionReport)> {
        let name = setup.name.clone();
        let opened = PartitionLog::open_named(disk, dir, setup, known);
        opened.map_err(|error| error.at_partition(&name.topic, name.partition))
    }

    fn open_named(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        setup: LogSetup,
        known: KnownFacts,
    ) -> Result<(PartitionLog, PartitionReport)> {
        let place = Arc::new(Place {
            disk: disk.clone(),
            dir: Arc::from(dir),
            index_interval: setup.config.index_interval_bytes,
            identity: setup.id.identity(),
            tenancy: Tenancy::Own,
        });
        let mut recovery = Recovery {
            setup: &setup,
            known: &known,
            report: PartitionReport {
                topic: setup.name.topic.to_string(),
                partition: setup.name.partition,
                ..PartitionReport::default()
            },
            segments: Vec::new(),
            active: None,
            end: Offset::ZERO,
            epochs: [const { Vec::new() }; 2],
            unproven: Vec::new(),
            bare: Vec::new(),
            rolled: Vec::new(),
            seen: Seen::new(known.last_stop),
            snapshots: BTreeSet::new(),
            unlisted: Vec::new(),
            hurt: false,
        };
        let exists =
            disk.metadata(dir).map_err(|error| Error::io("open log", dir, error))?.is_some();
        if exists {
            let directory = tidy(&place)?;
            recovery.run(&place, directory)?;
        }
        recovery.finish(place)
    }
}

impl Recovery<'_> {
    fn run(&mut self, place: &Arc<Place>, mut directory: Directory) -> Result<()> {
        self.report.removed = directory.removed;
        self.report.put_aside = directory.put_aside;
        self.seen.indexed = std::mem::take(&mut directory.indexed);
        self.seen.noted = directory.of_producers;
        self.snapshots = std::mem::take(&mut directory.snapshots);
        let path = place.dir.join(LEADER_EPOCHS);
        self.epochs[0] = match checkpoint::read_epochs(&*place.disk, &path) {
            Ok(lines) => lines.iter().map(|line| (line.epoch, line.start)).collect(),
            Err(error) if error.is_corrupt() => {
                log::warn!("{error}: epochs are taken from the batches that are scanned");
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        let mut found = directory.segments;
        if !self.known.last_stop.is_ours() {
            // another hand may have written anything again: what was true of it says nothing now
            for (base, len) in &found {
                let segment = Segment::on_disk(place.clone(), *base, *len);
                segment.remove_digests()?;
                segment.remove_tags()?;
            }
            directory.digests.clear();
        }
        if self.known.is_gapless() {
            self.drop_below_start(place, &mut found)?;
        }
        self.drop_empty(place, &mut found)?;
        self.end = found.first().map_or(Offset::ZERO, |(base, _)| *base);
        let known = self.known;
        let promised = known.recovery_point > known.log_start;
        if known.is_gapless() && !promised && self.end > known.log_start {
            // the names of the first files were lost with the power: nothing leads to the rest
            return self.cut_all(place, &found);
        }
        for (at, (base, len)) in found.iter().enumerate() {
            let next = found.get(at + 1).map(|(base, _)| *base);
            let next_empty = found.get(at + 1).is_some_and(|(_, len)| *len == 0);
            let segment = Arc::new(Segment::on_disk(place.clone(), *base, *len));
            // a recovery point at its very end may be older than the roll that ended it
            if !next_empty && next.is_some_and(|next| next < self.known.recovery_point) {
                segment.assume_synced();
                segment.settle();
                if !directory.digests.contains(base) {
                    self.bare.push(segment.clone());
                }
                self.end = next.unwrap_or(self.end);
                self.segments.push(segment);
                continue;
            }
            if self.recover(segment, next)? == Then::Stop {
                self.cut_later(place, &found[at + 1..])?;
                let end = self.end;
                let unlisted = std::mem::take(&mut self.unlisted);
                let beyond = unlisted.into_iter().filter(|base| *base >= end).map(|base| (base, 0));
                self.cut_later(place, &beyond.collect::<Vec<_>>())?;
                break;
            }
        }
        Ok(())
    }

    /// Finishes a retention that was cut short: the start was recorded, the segments below it were
    /// not all gone. They vouch for nothing any more, not even for each other.
    fn drop_below_start(
        &mut self,
        place: &Arc<Place>,
        found: &mut Vec<(Offset, u64)>,
    ) -> Result<()> {
        let start = self.known.log_start;
        let below = found.iter().skip(1).take_while(|(base, _)| *base <= start).count();
        for (base, len) in found.drain(..below) {
            let segment = Segment::on_disk(place.clone(), base, len);
            segment.remove_files()?;
            if !self.known.last_stop.is_clean() {
                self.report.removed.push(segment.path());
            }
        }
        Ok(())
    }

    /// Leaves out empty files that others surround. A roll that failed may have left one, after
    /// which its predecessor grew past it: it says nothing about where that one ends.
    fn drop_empty(&mut self, place: &Arc<Place>, found: &mut Vec<(Offset, u64)>) -> Result<()> {
        let gapless = self.known.is_gapless();
        let is_ours = |base| gapless || self.known.ours_from.is_some_and(|from| base > from);
        let last = found.last().map(|(base, _)| *base);
        let mut kept = Vec::with_capacity(found.len());
        for (base, len) in found.drain(..) {
            let surrounded = !kept.is_empty() && (is_ours(base) || Some(base) != last);
            if len > 0 || !surrounded {
                kept.push((base, len));
            } else if is_ours(base) {
                Segment::on_disk(place.clone(), base, len).remove_files()?;
            } else {
                self.unlisted.push(base);
            }
        }
        *found = kept;
        Ok(())
    }

    /// Scans one segment and does what the table says.
    fn recover(&mut self, segment: Arc<Segment>, next: Option<Offset>) -> Result<Then> {
        let known = self.known;
        let point = known.recovery_point;
        // below the log start nothing is promised
        let promised = point > self.known.log_start;
        self.hurt = false;
        segment.unshare()?; // it may be cut, written again or appended to from here on
        if !known.last_stop.is_clean() {
            segment.give_back_old_room();
        }
        let mut start = match self.known.sync_failed {
            true => segment.scan_start_at_front(), // its index files are no better than it is
            false => segment.scan_start(point)?,
        };
        start.next_offset = start.next_offset.max(segment.base());
        let first_scanned = start.position;
        // below the recovery point digests vouch for offsets, but they may be gone
        let gapless_from = match known.is_gapless() {
            true => Some(known.gapless_from()),
            false => known.ours_from,
        };
        loop {
            start.gapless_from = gapless_from;
            let scan = segment.scan(start, point)?;
            self.note(&scan);
            if let Stop::Bad { .. } = &scan.stop
                && let Some(fault) = segment.legacy_at(scan.position)?
            {
                let (path, at) = (segment.path(), Some(scan.next_offset));
                return Err(fault.into_error("open log", &path, scan.position, at));
            }
            let promised = promised && !self.is_end_of_anothers(&scan, next);
            let below = promised && scan.next_offset < point
                || self.is_vouched_for_by_another(&segment, &scan, next)?;
            let far = next.filter(|next| known.is_far(scan.next_offset, *next));
            let successor = Successor::of(next, far.unwrap_or(scan.next_offset));
            let (end, next_base) = (scan.next_offset, next.unwrap_or(scan.next_offset));
            let gapless = !known.allows_gap(end, next_base);
            match judge(Ending::of(&scan.stop), successor, below, gapless) {
                Verdict::Keep => return self.keep(segment, scan, first_scanned),
                Verdict::Trim => {
                    let segment = self.cut(&segment, scan.position, false)?;
                    return self.keep(segment, scan, first_scanned);
                }
                Verdict::CutTail => return self.cut_tail(&segment, scan, next, first_scanned),
                Verdict::Damage => {
                    let epoch = scan.epochs.last().map(|(epoch, _)| *epoch);
                    let (from, at) = (scan.next_offset, scan.position);
                    let bound = next.unwrap_or(Offset::new(i64::MAX));
                    let behind = segment.scan_start_behind(from, at, epoch, bound)?;
                    let to = match &behind {
                        Some(start) => start.next_offset,
                        None => next.map_or(point, |next| next.max(scan.next_offset)),
                    };
                    self.damaged(&segment, &scan, to);
                    let Some(behind) = behind else {
                        self.end = self.end.max(to);
                        segment.resume_digests(scan.digests, point, false)?;
                        self.seal_active();
                        self.rolled.push(segment.clone());
                        self.segments.push(segment);
                        return Ok(Then::GoOn);
                    };
                    start = behind;
                }
            }
        }
    }

    fn note(&mut self, scan: &Scan) {
        self.report.scanned_records += scan.records;
        self.seen.producers |= scan.has_producers;
        self.epochs[1].extend(&scan.epochs);
    }

    fn keep(&mut self, segment: Arc<Segment>, scan: Scan, first_scanned: u64) -> Result<Then> {
        self.end = self.end.max(scan.next_offset);
        let point = self.known.recovery_point;
        let stop = self.known.last_stop;
        let mut segment = segment;
        if self.known.sync_failed {
            if scan.next_offset > point || scan.position < segment.published() {
                segment = segment.renew(scan.position)?;
            }
            segment.assume_synced();
        } else if stop == LastStop::AnotherHandClean
            || (stop.is_clean() && scan.next_offset <= point)
        {
            segment.assume_synced();
        } else if scan.position > first_scanned {
            let (from, to) = (first_scanned, scan.position);
            self.unproven.push(Unproven { segment: segment.clone(), from, to });
        }
        segment.resume_digests(scan.digests, point, !self.hurt)?;
        self.seal_active();
        if self.hurt {
            self.rolled.push(segment.clone()); // its digests are to be saved
        }
        let (indexer, first_timestamp) = (scan.indexer, scan.first_timestamp); // of all, or none
        self.active = (!self.hurt).then_some(Active { indexer, first_timestamp });
        self.segments.push(segment);
        Ok(Then::GoOn)
    }

    /// Cuts a segment, where that is not left to its renewal.
    fn cut(&self, segment: &Arc<Segment>, len: u64, synced: bool) -> Result<Arc<Segment>> {
        if self.known.sync_failed { Ok(segment.clone()) } else { segment.cut(len, synced) }
    }

    /// The last segment grows no more: the index that its scan made is sealed with those of the
    /// rolled ones, for its files may be old or missing.
    fn seal_active(&mut self) {
        if let (Some(active), Some(segment)) = (self.active.take(), self.segments.last()) {
            segment.indexed_by(active.indexer);
            self.rolled.push(segment.clone());
        }
    }

    /// Cuts off what lies behind the valid end; saved aside first if it may hold whole batches.
    fn cut_tail(
        &mut self,
        segment: &Arc<Segment>,
        scan: Scan,
        next: Option<Offset>,
        first_scanned: u64,
    ) -> Result<Then> {
        let later_batch = matches!(scan.stop, Stop::Bad { later_batch: Some(_), .. });
        let bytes = segment.published() - scan.position;
        let mut torn = TornTail {
            path: segment.path(),
            position: scan.position,
            bytes,
            offset: scan.next_offset,
            saved: Vec::new(),
        };
        if later_batch || (next.is_some() && bytes > 0 && scan.stop != Stop::Zeros) {
            torn.saved.push(segment.save_aside(scan.position)?);
        }
        self.report.torn_tails.push(torn);
        let segment = self.cut(segment, scan.position, true)?;
        self.keep(segment, scan, first_scanned)?;
        Ok(Then::Stop)
    }

    /// Nothing that was promised is among the segments, and what came before them is gone.
    fn cut_all(&mut self, place: &Arc<Place>, found: &[(Offset, u64)]) -> Result<()> {
        let start = self.known.log_start;
        self.report.torn_tails.push(TornTail {
            path: place.path(start, SegmentFile::Log),
            position: 0,
            bytes: 0,
            offset: start,
            saved: Vec::new(),
        });
        self.end = start;
        self.cut_later(place, found)
    }

    /// The segments behind a cut leave the log; what they hold is kept under another name.
    fn cut_later(&mut self, place: &Arc<Place>, later: &[(Offset, u64)]) -> Result<()> {
        for (base, len) in later {
            let segment = Segment::on_disk(place.clone(), *base, *len);
            let saved = (*len > 0).then(|| segment.save_aside(0)).transpose()?;
            segment.remove_files()?;
            if let Some(torn) = self.report.torn_tails.last_mut() {
                torn.bytes += len;
                torn.saved.extend(saved);
            }
        }
        Ok(())
    }

    /// The writer's side of the last segment, if it can go on growing.
    fn tail(&mut self) -> Result<Option<Tail>> {
        let (Some(active), Some(segment)) = (self.active.take(), self.segments.last()) else {
            return Ok(None);
        };
        let (limits, now) = (tail_limits(&self.setup.config), self.setup.clock.wall());
        let Active { indexer, first_timestamp } = active;
        Tail::new(segment.clone(), indexer, first_timestamp, limits, now).map(Some)
    }

    /// Where appends go on: behind everything that is known to have been.
    fn settled_end(&mut self) -> Offset {
        // what another hand says of offsets that are not there is no promise of ours
        let promised = self.known.last_stop.is_ours().then_some(self.known.recovery_point);
        let end = self.end.max(promised.unwrap_or(self.end)).max(self.known.log_start);
        if end > self.end {
            self.seal_active(); // they go on in a segment that begins there
        }
        end
    }

    /// Puts the log together.
    fn finish(mut self, place: Arc<Place>) -> Result<(PartitionLog, PartitionReport)> {
        let known = *self.known;
        let first = self.segments.first().map_or(Offset::ZERO, |segment| segment.base());
        let end = self.settled_end();
        self.note_missing(&place, end);
        let gapless = known.is_gapless();
        let start = if gapless { known.log_start } else { known.log_start.max(first).min(end) };
        let epoch_floor = self.epochs.iter().flatten().map(|(epoch, _)| *epoch).max();
        let epochs = self.recovered_epochs(start, end);
        let (tail, wait) = (self.tail()?, self.must_sync());
        let names_changed = !self.segments.is_empty() && !known.last_stop.is_clean();
        let metadata_lost = names_changed && !checkpoint::names_topic(&place, self.setup.id.topic);
        let (config, damage) = (&self.setup.config, &self.report.damage);
        let damage = (!damage.is_empty()).then(|| Arc::new(damage.clone()));
        self.segments.shrink_to_fit(); // most logs of many have one
        let log = PartitionLog {
            config: ArcSwap::new(config.clone()),
            rules: RulesCell::new(config),
            setup: self.setup.clone(),
            place,
            offsets: known.offsets(start, end),
            segments: ArcSwap::from_pointee(self.segments),
            covered: Mutex::new(covered(tail.as_ref(), known.recovery_point, end)),
            writer: Mutex::new(Writer {
                tail,
                next_offset: end,
                rolled: self.rolled,
                lead: if known.host_led.is_some() { Lead::Follows } else { Lead::Itself },
                announces: false,
                epoch: LeaderEpoch::new(0),
                epoch_entered: false,
                refuses: None,
                count: Count::default(),
                freed: 0,
                producers: None,
            }),
            commit: Commit::new(Box::new({
                let attention = self.setup.attention.clone();
                move || attention.tasks_wait()
            })),
            unproven: Mutex::new(self.unproven),
            trimming: Mutex::new(Vec::new()),
            bare: Mutex::new(self.bare),
            epochs: Mutex::new(epochs),
            epoch_floor,
            snapshots: Mutex::new(self.snapshots),
            producers_noted: AtomicBool::new(self.seen.noted),
            aborted: RwLock::default(),
            has_aborted: AtomicBool::new(false),
            aborted_files: Mutex::default(),
            damage: ArcSwapOption::new(damage),
            gapless,
            swaps: AtomicU64::new(0),
            marks: Marks::new(self.setup.sync_after),
            latch: Latch::default(),
            counters: LogCounters::default(),
            names_changed: AtomicBool::new(names_changed),
            own_name_changed: AtomicBool::new(names_changed),
            metadata_unsynced: AtomicBool::new(metadata_lost),
            announces: AtomicBool::new(false),
            beside: Mutex::new(None),
            synced_bytes: AtomicU64::new(0),
            flush_after: AtomicU64::new(config.flush_records.unwrap_or(u64::MAX)),
        };
        log.relearn_producers(&self.seen)?;
        if wait {
            log.make_durable(end)?; // what the cache says may not be what the disk holds
        }
        Ok((log, self.report))
    }
}
