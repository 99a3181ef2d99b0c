//! One segment, read from end to end and held against everything that speaks about it.
//!
//! Nothing is changed and nothing is made again: what is wrong is said, with its place. Batches
//! are read as recovery reads them; behind damage the audit goes on where an index entry or a
//! digest names a batch. Indexes are walked along with the batches, digests are asked run by run.
//!
//! Called by `log::audit`, for many segments at once.

use std::ops::Range;
use std::path::PathBuf;

use bytes::Bytes;

use super::cover::Misfit;
use super::digest::Origin;
use super::index::{OffsetEntry, TimeEntry};
use super::index_file::entries_of;
use super::scan::{Walk, WalkStep, misfit, skips};
use super::shared::Segment;
use super::sidecar::{Found, Sidecar};
use crate::disk::names::SegmentFile;
use crate::error::Result;
use crate::ids::{LeaderEpoch, Offset};
use crate::record::{Batch, BatchHeader, PlainLimit};
use crate::time::Timestamp;

/// What is wrong at a place of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// No batch, or none that fits here; the offsets it hides.
    Batch {
        bytes: u64,
        from: Offset,
        to: Option<Offset>,
    },
    /// Offsets that no batch holds.
    Gap {
        from: Offset,
        to: Offset,
    },
    /// A batch whose checksum fits and whose records cannot be read.
    Records {
        bytes: u64,
        from: Offset,
        to: Offset,
    },
    /// Headers that are not what they were.
    Digest {
        bytes: u64,
        from: Offset,
        to: Offset,
    },
    /// The sidecar itself.
    Sidecar,
    OffsetIndex,
    TimeIndex,
}

/// Something wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) wrong: Wrong,
    pub(crate) path: PathBuf,
    pub(crate) position: u64,
    pub(crate) what: String,
}

/// Bytes of a segment for whose headers no digest of their writer vouches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// There is a digest, taken from the file later.
    pub(crate) taken_later: bool,
}

/// What an audit may assume.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AuditRules {
    pub(crate) recovery_point: Offset,
    /// The offset from which on none may be left out; `None` where any may.
    pub(crate) gapless_from: Option<Offset>,
    /// Another hand wrote last: digests speak of what was there before.
    pub(crate) foreign: bool,
    /// What one batch may take decompressed; of one that takes more the records are not checked.
    pub(crate) plain: PlainLimit,
}

/// What an audit found.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    pub(crate) faults: Vec<Fault>,
    pub(crate) holes: Vec<Hole>,
    pub(crate) batches: u64,
    pub(crate) records: u64,
    /// Where the last whole batch ends, and the offset behind it.
    pub(crate) end: u64,
    pub(crate) next_offset: Offset,
    /// Each epoch that begins here, with its first offset.
    pub(crate) epochs: Vec<(LeaderEpoch, Offset)>,
    /// The caller wanted no more.
    pub(crate) stopped: bool,
    /// Where compressed records are decompressed to be checked.
    room: Vec<u8>,
}

impl Segment {
    /// Reads the segment through. `go_on` is told of bytes as they are done, and ends the audit
    /// by saying no.
    pub(crate) fn audit(&self, rules: AuditRules, go_on: &dyn Fn(u64) -> bool) -> Result<Audit> {
        let mut audit = Audit { next_offset: self.base(), ..Audit::default() };
        let sidecar = match rules.foreign {
            true => None,
            false => self.audit_sidecar(rules, &mut audit)?,
        };
        let misfits = self.audit_digests(sidecar.as_ref(), rules, &mut audit)?;
        let mut indexes = IndexAudit::begin(self)?;
        let mut at = 0;
        while at < self.published() && !audit.stopped {
            let misfit = misfits.iter().find(|misfit| misfit.bytes.start >= at);
            match misfit {
                Some(misfit) if misfit.bytes.start == at => {
                    at = misfit.bytes.end; // said already
                    audit.end = at;
                    audit.next_offset = misfit.offsets.end;
                }
                _ => {
                    let end = misfit.map_or(self.published(), |misfit| misfit.bytes.start);
                    let seen = self.audit_batches(at..end, rules, &mut audit, &mut indexes, go_on);
                    let Some(next) = seen? else { break };
                    at = next;
                }
            }
        }
        if !audit.stopped {
            audit.faults.extend(indexes.finish(self, rules, audit.end));
            self.find_holes(sidecar.as_ref(), &mut audit)?;
        }
        Ok(audit)
    }

    /// Walks batches; returns where to go on, which is behind what is no batch. `None` where
    /// nothing says where that would be.
    fn audit_batches(
        &self,
        bytes: Range<u64>,
        rules: AuditRules,
        audit: &mut Audit,
        indexes: &mut IndexAudit,
        go_on: &dyn Fn(u64) -> bool,
    ) -> Result<Option<u64>> {
        let file = self.log()?;
        let (mut walk, mut told) = (Walk::new(&**file, bytes.start, bytes.end), bytes.start);
        let next = loop {
            match walk.step()? {
                WalkStep::End => break Some(bytes.end),
                WalkStep::Batch(position, batch) => {
                    self.audit_batch(&batch, position, rules, audit);
                    indexes.batch(self, batch.header(), position);
                }
                WalkStep::Bad(position, fault) => {
                    let behind = self.resume_behind(
                        audit.next_offset,
                        Some(position),
                        Offset::new(i64::MAX),
                    )?;
                    let size = behind.map_or(self.published(), |(at, _)| at) - position;
                    let (from, to) = (audit.next_offset, behind.map(|(_, offset)| offset));
                    let wrong = Wrong::Batch { bytes: size, from, to };
                    audit.fault(self, wrong, position, fault.to_string());
                    audit.next_offset = to.unwrap_or(from);
                    break behind.map(|(at, _)| at);
                }
            }
            let done = walk.position();
            if done - told >= 1 << 20 {
                audit.stopped = !go_on(done - told);
                told = done;
                if audit.stopped {
                    return Ok(None);
                }
            }
        };
        let done = next.unwrap_or(self.published());
        audit.stopped = !go_on(done.saturating_sub(told));
        Ok(next)
    }

    fn audit_batch(&self, batch: &Batch<'_>, position: u64, rules: AuditRules, audit: &mut Audit) {
        let header = batch.header();
        let epoch = audit.epochs.last().map(|(epoch, _)| *epoch);
        let from = audit.next_offset;
        if let Some(what) = misfit(header, self.base(), from, epoch) {
            let wrong = Wrong::Batch { bytes: header.size() as u64, from, to: Some(from) };
            audit.fault(self, wrong, position, what.to_owned());
            return;
        }
        let unpacked = batch.unpacked(&mut audit.room, rules.plain);
        if let Err(fault) = unpacked.and_then(|batch| batch.check_records())
            && fault.is_damage()
        {
            let (from, to) = (header.base_offset(), header.end_offset());
            let wrong = Wrong::Records { bytes: header.size() as u64, from, to };
            audit.fault(self, wrong, position, fault.to_string());
        }
        let to = header.base_offset();
        if rules.gapless_from.is_some_and(|beyond| skips(header, from, beyond)) {
            let what = format!("the records from offset {from} to {to} are missing");
            audit.fault(self, Wrong::Gap { from, to }, position, what);
        }
        audit.count(header, position);
    }

    /// What a crash leaves of digests that no sync had covered is no fault: a recovery point rises
    /// behind that sync, unless it is another hand's.
    fn audit_sidecar(&self, rules: AuditRules, audit: &mut Audit) -> Result<Option<Sidecar>> {
        let place = self.place();
        let path = self.digest_path();
        let mut unusable = |what: String| {
            let fault = Fault { wrong: Wrong::Sidecar, path: path.clone(), position: 0, what };
            audit.faults.push(fault);
        };
        match Sidecar::open(&*place.disk, &path, place.identity, self.base())? {
            Found::Sidecar(sidecar) => {
                let synced = rules.recovery_point.get().saturating_sub(self.base().get());
                let damaged = sidecar.damaged_below(u64::try_from(synced).unwrap_or(0))?;
                if damaged > 0 {
                    unusable(format!("{damaged} of its runs do not fit their checksum"));
                }
                return Ok(Some(sidecar));
            }
            Found::Unwritten
                if rules.gapless_from.is_some() && rules.recovery_point > self.base() =>
            {
                unusable("its head is gone".to_owned());
            }
            Found::Missing | Found::Unwritten => {}
            Found::Unusable(why) => unusable(why.to_owned()),
        }
        Ok(None)
    }

    /// The batches whose headers are not what they were.
    fn audit_digests(
        &self,
        sidecar: Option<&Sidecar>,
        rules: AuditRules,
        audit: &mut Audit,
    ) -> Result<Vec<Misfit>> {
        let (mut misfits, have) = (Vec::new(), (0, &Bytes::new()));
        for run in sidecar.iter().flat_map(|sidecar| sidecar.runs()) {
            let (_, run) = run?;
            if self.offset_of(run.next) > rules.recovery_point {
                break; // it may have been written before its bytes were on the disk
            }
            if !self.fits(&run, have)? {
                let misfit = self.misfit_of(&run, have)?;
                let Misfit { bytes, offsets } = misfit.clone();
                let (from, to, size) = (offsets.start, offsets.end, bytes.end - bytes.start);
                let what = "the batch headers do not fit their digest".to_owned();
                audit.fault(self, Wrong::Digest { bytes: size, from, to }, bytes.start, what);
                misfits.push(misfit);
            }
        }
        Ok(misfits)
    }

    fn find_holes(&self, sidecar: Option<&Sidecar>, audit: &mut Audit) -> Result<()> {
        let mut covered = 0;
        for run in sidecar.iter().flat_map(|sidecar| sidecar.runs()) {
            let (_, run) = run?;
            let (start, end) = (u64::from(run.start), u64::from(run.end));
            audit.hole(covered, start, false);
            if run.origin == Origin::File {
                audit.hole(start, end, true);
            }
            covered = end;
        }
        audit.hole(covered, audit.end, false);
        Ok(())
    }
}

impl Audit {
    fn fault(&mut self, segment: &Segment, wrong: Wrong, position: u64, what: String) {
        self.faults.push(Fault { wrong, path: segment.path(), position, what });
    }

    fn count(&mut self, header: &BatchHeader, position: u64) {
        if let Some(epoch) = header.leader_epoch()
            && self.epochs.last().is_none_or(|(last, _)| *last < epoch)
        {
            self.epochs.push((epoch, header.base_offset()));
        }
        self.batches += 1;
        self.records += u64::from(header.count());
        self.end = position + header.size() as u64;
        self.next_offset = header.end_offset();
    }

    fn hole(&mut self, from: u64, to: u64, taken_later: bool) {
        if from >= to {
            return;
        }
        match self.holes.last_mut() {
            Some(last) if last.to == from && last.taken_later == taken_later => last.to = to,
            _ => self.holes.push(Hole { from, to, taken_later }),
        }
    }
}

/// The index files, walked along with the batches.
#[derive(Debug)]
struct IndexAudit {
    offsets: Option<Vec<OffsetEntry>>,
    times: Option<Vec<TimeEntry>>,
    next_offset_entry: usize,
    next_time_entry: usize,
    wrong: [Option<(usize, String)>; 2],
}

impl IndexAudit {
    fn begin(segment: &Segment) -> Result<Self> {
        let disk = &*segment.place().disk;
        let path = |kind| segment.place().path(segment.base(), kind);
        Ok(IndexAudit {
            offsets: entries_of(disk, &path(SegmentFile::OffsetIndex), segment.published())?,
            times: entries_of(disk, &path(SegmentFile::TimeIndex), segment.published())?,
            next_offset_entry: 0,
            next_time_entry: 0,
            wrong: [None, None],
        })
    }

    fn batch(&mut self, segment: &Segment, header: &BatchHeader, position: u64) {
        let last = header.last_offset();
        while let Some(entry) = self.offsets.iter().flatten().nth(self.next_offset_entry) {
            if u64::from(entry.position) > position {
                break;
            }
            let at = self.next_offset_entry;
            let fits =
                u64::from(entry.position) == position && segment.offset_of(entry.relative) == last;
            if !fits && self.wrong[0].is_none() {
                let what = format!("entry {at} names no batch of the log");
                self.wrong[0] = Some((at * 8, what));
            }
            self.next_offset_entry += 1;
        }
        while let Some(entry) = self.times.iter().flatten().nth(self.next_time_entry) {
            let named = segment.offset_of(entry.relative);
            if named > last {
                break;
            }
            let at = self.next_time_entry;
            let newest = Timestamp::to_wire(header.max_timestamp());
            let fits = header.count() == 0 || (named == last && newest == entry.timestamp);
            if !fits && self.wrong[1].is_none() {
                let what = format!("entry {at} does not tell a batch's largest timestamp");
                self.wrong[1] = Some((at * 12, what));
            }
            self.next_time_entry += 1;
        }
    }

    /// What is wrong with the files; entries for what a growing segment no longer holds are.
    fn finish(self, segment: &Segment, rules: AuditRules, end: u64) -> Vec<Fault> {
        let kinds = [
            (SegmentFile::OffsetIndex, Wrong::OffsetIndex),
            (SegmentFile::TimeIndex, Wrong::TimeIndex),
        ];
        let left = [
            self.offsets.as_ref().map(|entries| entries.len() - self.next_offset_entry),
            self.times.as_ref().map(|entries| entries.len() - self.next_time_entry),
        ];
        let mut faults = Vec::new();
        for (((kind, wrong), left), found) in kinds.into_iter().zip(left).zip(self.wrong) {
            let path = segment.place().path(segment.base(), kind);
            let mut say = |position: usize, what: String| {
                let position = position as u64;
                faults.push(Fault { wrong: wrong.clone(), path: path.clone(), position, what });
            };
            match (found, left) {
                (Some((position, what)), _) => say(position, what),
                (None, Some(left)) if left > 0 => {
                    say(0, format!("its last {left} entries name nothing in the log"));
                }
                (None, None) if end > 0 && rules.recovery_point > segment.base() => {
                    say(0, "it is missing, or its length cannot be right".to_owned());
                }
                _ => {}
            }
        }
        faults
    }
}
