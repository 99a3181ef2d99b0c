//! One partition's directory held against what is known of it: the facts its keeper has, the
//! segments next to each other, the small files. Nothing in it is changed.
//!
//! A [`PartitionAudit`] lists the segments; each is audited on its own, by as many threads as
//! there are; `conclude` puts the pieces together. Of a log that is being written to, what lies
//! behind the recorded recovery point is not judged, and files may go while they are read.

use std::path::Path;

use super::builder::log_name;
use super::checkpoint::{EpochLine, read_epochs, read_partition_metadata, write_epochs};
use super::finding::{Finding, FindingKind, Unvouched};
use super::keeper::{FAR, LogId};
use super::leftovers::tidy;
use super::slots;
use crate::config::TopicConfig;
use crate::disk::Disk;
use crate::disk::names::{
    KEEPER, LEADER_EPOCHS, Leftover, PARTITION_METADATA, SegmentFile, parse_segment_file,
};
use crate::error::{Cause, Error, Result};
use crate::ids::{LeaderEpoch, Offset, TopicId};
use crate::record::PlainLimit;
use crate::segment::{Audit, AuditRules, Fault, Place, Segment, Tenancy, Wrong};
use std::sync::Arc;

/// What is known of a log before its directory is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AuditFacts {
    pub(crate) recovery_point: Offset,
    pub(crate) log_start: Offset,
    /// Whether every offset must be there, but for what compaction took below `compacted`.
    pub(crate) gapless: bool,
    pub(crate) compacted: Offset,
    /// Below it a leader may have left gaps: within segments, or between them if they are wide.
    pub(crate) sparse: Offset,
    /// Somebody is writing to it.
    pub(crate) is_live: bool,
    /// Another hand wrote to it last.
    pub(crate) foreign: bool,
    /// It may have no topic id: Kafka's log class, unlike its broker, writes none by itself.
    pub(crate) may_lack_id: bool,
    /// Bytes of log between two index entries.
    pub(crate) index_interval: u64,
}

const MISSING: &str = "the segment files are missing";

/// What the audit of a segment came to.
pub(crate) type SegmentAudited = Result<Audit>;

/// A partition's directory, listed.
#[derive(Debug)]
pub(crate) struct PartitionAudit {
    place: Arc<Place>,
    id: LogId,
    facts: AuditFacts,
    segments: Vec<Arc<Segment>>,
}

/// What the audit of a partition came to.
#[derive(Debug, Default)]
pub(crate) struct PartitionAudited {
    pub(crate) findings: Vec<Finding>,
    pub(crate) unvouched: Vec<Unvouched>,
    pub(crate) batches: u64,
    pub(crate) records: u64,
    /// Each epoch that begins in the batches, with its first offset.
    pub(crate) epochs: Vec<(LeaderEpoch, Offset)>,
}

impl PartitionAudit {
    /// Lists the segments of a directory, which may be missing.
    pub(crate) fn list(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        id: LogId,
        facts: AuditFacts,
    ) -> Result<PartitionAudit> {
        let fail = |error| Error::io("verify", dir, error);
        let place = Arc::new(Place {
            disk: disk.clone(),
            dir: Arc::from(dir),
            index_interval: facts.index_interval,
            identity: id.identity(),
            tenancy: Tenancy::Auditor,
        });
        let mut segments = Vec::new();
        if disk.metadata(dir).map_err(fail)?.is_some() {
            for entry in disk.list(dir).map_err(fail)? {
                if let Some((base, SegmentFile::Log, Leftover::None)) =
                    parse_segment_file(&entry.name)
                    && !entry.is_dir
                {
                    segments.push(Arc::new(Segment::on_disk(place.clone(), base, entry.len)));
                }
            }
        }
        segments.sort_by_key(|segment| segment.base());
        Ok(PartitionAudit { place, id, facts, segments })
    }

    pub(crate) fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    pub(crate) fn id(&self) -> LogId {
        self.id
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.place.dir
    }

    /// The place for one who mends it and has the directory's lock.
    fn owned_place(&self) -> Arc<Place> {
        Arc::new(Place { tenancy: Tenancy::Own, ..Place::clone(&self.place) })
    }

    /// The segment of a log file, for one who has the directory's lock.
    pub(crate) fn owned(&self, path: &Path) -> Option<Segment> {
        let segment = self.segments.iter().find(|segment| segment.path() == path)?;
        Some(Segment::on_disk(self.owned_place(), segment.base(), segment.published()))
    }

    /// Finishes or takes back what a stop has left half done, as an open does.
    pub(crate) fn tidy(&self) -> Result<()> {
        let there = self.place.disk.metadata(&self.place.dir);
        if there.map_err(|error| Error::io("repair", &self.place.dir, error))?.is_none() {
            return Ok(());
        }
        tidy(&self.owned_place()).map(drop)
    }

    /// Writes the epoch file again from what the batches say; durable when it returns.
    pub(crate) fn mend_epochs(&self, epochs: &[(LeaderEpoch, Offset)]) -> Result<()> {
        let line = |(epoch, start): &(LeaderEpoch, Offset)| EpochLine {
            epoch: *epoch,
            start: (*start).max(self.facts.log_start),
        };
        let lines: Vec<_> = epochs.iter().map(line).collect();
        let (disk, dir) = (&*self.place.disk, &*self.place.dir);
        write_epochs(disk, &dir.join(LEADER_EPOCHS), &lines)?;
        disk.sync_dir(dir).map_err(|error| Error::io("repair", dir, error))
    }

    /// The bytes there are to be read.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.published()).sum()
    }

    /// Reads one segment through.
    pub(crate) fn audit(
        &self,
        at: usize,
        plain: PlainLimit,
        go_on: &dyn Fn(u64) -> bool,
    ) -> SegmentAudited {
        let AuditFacts { recovery_point, gapless, compacted, sparse, foreign, .. } = self.facts;
        let gapless_from = gapless.then_some(compacted.max(sparse));
        self.segments[at].audit(AuditRules { recovery_point, gapless_from, foreign, plain }, go_on)
    }

    /// Reads all of it through.
    pub(crate) fn audit_all(&self, plain: PlainLimit) -> PartitionAudited {
        let audits = (0..self.segments.len()).map(|at| self.audit(at, plain, &|_| true));
        self.conclude(audits.collect())
    }

    /// Puts the audits of all segments together, in their order.
    pub(crate) fn conclude(&self, audits: Vec<SegmentAudited>) -> PartitionAudited {
        let mut done = PartitionAudited::default();
        let mut epochs = Vec::new();
        let mut end = self.facts.log_start;
        self.check_front(&mut done.findings);
        let whole = audits.len() == self.segments.len();
        let whole =
            whole && audits.iter().all(|audit| audit.as_ref().is_ok_and(|audit| !audit.stopped));
        for ((at, segment), audit) in self.segments.iter().enumerate().zip(audits) {
            let next = self.segments.get(at + 1).map(|next| next.base());
            match audit {
                Ok(audit) if audit.stopped => {}
                Ok(audit) => {
                    end = audit.next_offset;
                    self.judge(segment, &audit, next, &mut done);
                    epochs.extend(audit.epochs);
                }
                Err(error) if self.facts.is_live && self.is_gone(segment) => {
                    log::debug!("{error}");
                }
                Err(error) => {
                    done.findings.push(Finding {
                        offsets: next.map(|next| segment.base()..next),
                        ..Finding::new(FindingKind::Unreadable, &segment.path(), error.to_string())
                    });
                }
            }
        }
        if whole {
            self.check_end(end, &mut done.findings);
            self.check_epochs(&epochs, &mut done.findings);
        }
        epochs.dedup_by_key(|(epoch, _)| *epoch);
        done.epochs = epochs;
        self.check_metadata(&mut done.findings);
        let start = self.facts.log_start;
        // nobody is served from below the log start
        done.findings
            .retain(|finding| finding.offsets.as_ref().is_none_or(|offsets| offsets.end > start));
        done
    }

    fn is_gone(&self, segment: &Segment) -> bool {
        matches!(self.place.disk.metadata(&segment.path()), Ok(None))
    }

    fn judge(
        &self,
        segment: &Segment,
        audit: &Audit,
        next: Option<Offset>,
        done: &mut PartitionAudited,
    ) {
        done.batches += audit.batches;
        done.records += audit.records;
        done.unvouched.extend(audit.holes.iter().map(|hole| Unvouched {
            path: segment.path(),
            bytes: hole.from..hole.to,
            taken_later: hole.taken_later,
        }));
        let mut is_open = true; // nothing has been said about its end yet
        for fault in &audit.faults {
            is_open &= !matches!(fault.wrong, Wrong::Batch { to: None, .. });
            done.findings.extend(self.finding_of(fault, next));
        }
        let (end, Some(next)) = (audit.next_offset, next) else { return };
        let is_far = next <= self.facts.sparse && next.since(end) >= FAR;
        let gap = self.facts.gapless && end < next && next > self.facts.compacted && !is_far;
        if end > next || (is_open && gap) {
            let what = format!("it ends at offset {end}, the next segment begins at {next}");
            let offsets = (end < next).then_some(end..next);
            let kind = if end < next { FindingKind::Gap } else { FindingKind::Batch };
            let position = audit.end;
            let finding = Finding::new(kind, &segment.path(), what);
            done.findings.push(Finding { position, offsets, ..finding });
        }
    }

    /// What a fault of a segment means here; nothing where the log is just being written.
    fn finding_of(&self, fault: &Fault, next: Option<Offset>) -> Option<Finding> {
        let point = self.facts.recovery_point;
        let (kind, bytes, offsets) = match fault.wrong {
            Wrong::Batch { bytes, from, to } => {
                let to = to.or(next).unwrap_or(point);
                let is_tail = next.is_none() && from >= point;
                if is_tail && self.facts.is_live {
                    return None;
                }
                let kind = if is_tail { FindingKind::TornTail } else { FindingKind::Batch };
                (kind, bytes, (from < to).then_some(from..to))
            }
            Wrong::Gap { from, to } => (FindingKind::Gap, 0, Some(from..to)),
            Wrong::Records { bytes, from, to } => (FindingKind::Batch, bytes, Some(from..to)),
            Wrong::Digest { bytes, from, to } => (FindingKind::Digest, bytes, Some(from..to)),
            Wrong::Sidecar => (FindingKind::Sidecar, 0, None),
            Wrong::OffsetIndex | Wrong::TimeIndex => {
                // at its very end the point may be older than the roll that ended it
                let is_growing = next.is_none_or(|next| next >= point);
                if is_growing && self.facts.is_live {
                    return None; // it is written when the segment is sealed
                }
                (FindingKind::Index, 0, None)
            }
        };
        let finding = Finding::new(kind, &fault.path, fault.what.clone());
        Some(Finding { position: fault.position, bytes, offsets, ..finding })
    }

    /// Whether segments are missing before the first.
    fn check_front(&self, findings: &mut Vec<Finding>) {
        let AuditFacts { log_start, recovery_point, gapless, .. } = self.facts;
        let first = self.segments.first().map_or(recovery_point, |segment| segment.base());
        if gapless && first > log_start {
            let offsets = Some(log_start..first);
            let finding = Finding::new(FindingKind::Gap, &self.place.dir, MISSING);
            findings.push(Finding { offsets, ..finding });
        }
    }

    /// Whether the log ends before what was promised does.
    fn check_end(&self, end: Offset, findings: &mut Vec<Finding>) {
        let AuditFacts { recovery_point: point, gapless, foreign, .. } = self.facts;
        let Some(last) = self.segments.last() else {
            // of a log without gaps its front is missed already; what another hand has left may
            // have been deleted by it
            if end < point && !gapless && !foreign {
                let finding = Finding::new(FindingKind::Gap, &self.place.dir, MISSING);
                findings.push(Finding { offsets: Some(end..point), ..finding });
            }
            return;
        };
        let told = findings.iter().any(|finding| {
            finding.path == last.path() && finding.offsets.as_ref().is_some_and(|o| o.end >= point)
        });
        if end < point && !told {
            let what = format!("the file ends at offset {end}, the log at {point} at least");
            let finding = Finding::new(FindingKind::Gap, &last.path(), what);
            let position = last.published();
            findings.push(Finding { position, offsets: Some(end..point), ..finding });
        }
    }

    /// Holds the epochs of the batches against the epoch file, which may know more.
    fn check_epochs(&self, seen: &[(LeaderEpoch, Offset)], findings: &mut Vec<Finding>) {
        let path = self.place.dir.join(LEADER_EPOCHS);
        let lines = match read_epochs(&*self.place.disk, &path) {
            Ok(lines) => lines,
            Err(error) => {
                findings.push(Finding::new(FindingKind::Epochs, &path, error.to_string()));
                return;
            }
        };
        let AuditFacts { recovery_point, log_start, gapless, compacted, .. } = self.facts;
        let (mut latest, mut before) = (None, None);
        for (epoch, start) in seen {
            if *start >= recovery_point {
                break;
            }
            let falls = latest.is_some_and(|latest| *epoch < latest);
            let begins = latest != Some(*epoch) && *start > log_start;
            latest = latest.max(Some(*epoch));
            // compaction takes records, and leaves where their epoch began; a leader's gap may lie
            // over the log start
            let taken = !gapless || *start <= compacted.max(self.facts.sparse);
            let earlier = before.replace(*start);
            let may_have_begun = |at: Offset| match at < *start {
                true => taken && earlier.is_none_or(|earlier| at > earlier),
                false => at == *start,
            };
            let known = |line: &EpochLine| line.epoch == *epoch && may_have_begun(line.start);
            if falls || (begins && !lines.iter().any(known)) {
                let what = format!("epoch {epoch} begins at offset {start} in the log, not here");
                findings.push(Finding::new(FindingKind::Epochs, &path, what));
                return;
            }
        }
    }

    fn check_metadata(&self, findings: &mut Vec<Finding>) {
        if self.segments.is_empty() || self.facts.recovery_point == Offset::ZERO {
            return; // it is made again from the catalog
        }
        let path = self.place.dir.join(PARTITION_METADATA);
        let what = match read_partition_metadata(&*self.place.disk, &path) {
            Ok(Some(id)) if id == self.id.topic => return,
            Ok(Some(id)) => format!("it names topic {id}, not {}", self.id.topic),
            Ok(None) if self.facts.may_lack_id => return,
            Ok(None) => "it is missing".to_owned(),
            Err(error) => error.to_string(),
        };
        findings.push(Finding::new(FindingKind::Metadata, &path, what));
    }
}

/// Lists the directory of a lone log; whatever its keeper file says is what is known.
pub(crate) fn list_lone(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    is_live: bool,
) -> Result<(Vec<Finding>, Vec<PartitionAudit>)> {
    let slot = match slots::read(&**disk, dir) {
        Ok(slot) => slot.map(|(_, slot)| slot),
        Err(error) if error.is_corrupt() => {
            let kind = FindingKind::State;
            return Ok((
                vec![Finding::new(kind, &dir.join(KEEPER), error.to_string())],
                Vec::new(),
            ));
        }
        Err(error) => return Err(error),
    };
    let metadata = dir.join(PARTITION_METADATA);
    let topic = match (&slot, read_partition_metadata(&**disk, &metadata)) {
        (Some(slot), _) => slot.topic,
        (None, Ok(Some(topic))) => topic,
        (None, _) => TopicId::random(), // nobody's: no digest is its own
    };
    let id = LogId { topic, partition: log_name(dir).partition };
    let facts = AuditFacts {
        recovery_point: slot.map_or(Offset::ZERO, |slot| slot.recovery_point),
        log_start: slot.map_or(Offset::ZERO, |slot| slot.log_start),
        gapless: slot.is_some_and(|slot| !slot.adopted && !slot.sparse),
        compacted: Offset::ZERO,
        sparse: Offset::ZERO,
        is_live,
        foreign: false,
        may_lack_id: slot.is_some_and(|slot| slot.adopted),
        index_interval: TopicConfig::default().index_interval_bytes,
    };
    Ok((Vec::new(), vec![PartitionAudit::list(disk, dir, id, facts)?]))
}

/// A finding of a whole directory that could not be listed.
pub(crate) fn unlisted(dir: &Path, error: &Error) -> Finding {
    let kind = match error.cause() {
        Cause::Corrupt(_) => FindingKind::State,
        _ => FindingKind::Unreadable,
    };
    Finding::new(kind, dir, error.to_string())
}
