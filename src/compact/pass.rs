//! One compaction of one log, a bounded step at a time.
//!
//! First the keys are mapped, from where the last pass of this process came to up to the end of
//! what is sealed or until the map is full. Then the segments are written again from the log's
//! start on, group by group, each put in its place before the next begins: a tombstone goes only
//! after what it hides below is gone. A step reads about as much as [`Settings::step_bytes`];
//! between steps the pass holds no lock, and its files are called `.cleaned`. Whoever stops a pass
//! calls [`Pass::abandon`].

use std::ops::Range;
use std::time::Duration;

use super::key_map::{KeyMap, MOST_KEYS};
use super::plan::{SegmentFacts, SegmentLimits, groups};
use super::sieve::{Fate, Rules, Sieve, readable};
use super::transactions::Transactions;
use crate::error::{Error, Result};
use crate::ids::Offset;
use crate::log::{Keeper, PartitionLog, Sealed, Swapped};
use crate::record::{Batch, BatchHeader, PlainLimit};
use crate::segment::{Origin, Rewrite, Segment, Vouchers, Walk, WalkStep, misfit};
use crate::time::Timestamp;

/// Kafka's `delete.retention.ms`.
const DELETE_RETENTION: Duration = Duration::from_secs(24 * 3600);
/// How long a segment gets at most, which is what Kafka's `segment.bytes` can say.
const MOST_BYTES: u64 = i32::MAX as u64;

/// How a pass goes about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// When it begins: what delete horizons are set from and held against.
    pub(crate) now: Timestamp,
    /// How long a tombstone is kept after it was first passed.
    pub(crate) delete_retention: Duration,
    /// The most keys that are mapped.
    pub(crate) most_keys: usize,
    /// Bytes that are read in a step, soft.
    pub(crate) step_bytes: u64,
    /// Segments that reach beyond it are left alone. Of a log with transactions no more than a last
    /// stable offset, taken before the log was made durable up to its end.
    pub(crate) up_to: Offset,
}

impl Settings {
    /// Those of internal topics: a tombstone stays for a day, a step takes a few milliseconds.
    pub(crate) fn at(now: Timestamp) -> Self {
        Settings {
            now,
            delete_retention: DELETE_RETENTION,
            most_keys: MOST_KEYS,
            step_bytes: 1 << 20,
            up_to: Offset::new(i64::MAX),
        }
    }
}

/// How far a pass has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    More,
    Done(Done),
}

/// What a pass came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    /// Bytes the log has less.
    pub(crate) freed: u64,
    /// Where the next pass begins to map.
    pub(crate) next_from: Offset,
    /// What it was to reach: more than `next_from` if the map was full, or overtaken.
    pub(crate) wanted: Offset,
}

/// A compaction under way.
#[derive(Debug)]
pub(crate) struct Pass {
    settings: Settings,
    sealed: Vec<Sealed>,
    facts: Vec<SegmentFacts>,
    map: KeyMap,
    /// Until the second part has them.
    transactions: Transactions,
    stage: Stage,
    freed: u64,
}

#[derive(Debug)]
enum Stage {
    /// Mapping keys from `from` on, at a position of a segment.
    Map {
        from: Offset,
        at: usize,
        position: u64,
    },
    Rewrite(Box<Rewriting>),
}

/// The state of the second part.
#[derive(Debug)]
struct Rewriting {
    mapped_end: Offset,
    /// Where the next pass begins to map: behind what was mapped, if all of it is carried out.
    next_from: Offset,
    from: Offset,
    sieve: Sieve,
    /// What is left to be written, the group at hand first.
    groups: Vec<Range<usize>>,
    output: Option<Output>,
}

/// The segment that is being written.
#[derive(Debug)]
struct Output {
    rewrite: Rewrite,
    group: Range<usize>,
    at: usize,
    position: u64,
    next_offset: Offset,
    /// Who vouches for what is read.
    vouchers: Vouchers,
    /// The emptied form of the batches that went since the last one that stayed.
    pending: Option<(Vec<u8>, Origin)>,
    changed: bool,
}

impl Pass {
    /// Begins a pass over what of `log` is sealed, mapping keys from `from` on: everything
    /// below it must have been mapped by passes before. `None` where there is nothing to map.
    pub(crate) fn begin(
        log: &PartitionLog,
        from: Offset,
        settings: Settings,
    ) -> Result<Option<Pass>> {
        let mut sealed = log.sealed();
        let up_to = settings.up_to.min(log.offsets().snapshot().last_stable());
        sealed.truncate(sealed.partition_point(|sealed| sealed.end <= up_to));
        if sealed.last().is_none_or(|last| last.end <= from) {
            return Ok(None);
        }
        let facts = sealed.iter().map(|Sealed { segment, end }| SegmentFacts {
            base: segment.base(),
            end: *end,
            bytes: segment.published(),
        });
        let facts = facts.collect();
        let at = sealed.iter().take_while(|sealed| sealed.end <= from).count();
        let stage = Stage::Map { from, at, position: 0 };
        let map = KeyMap::new(settings.most_keys);
        let transactions = Transactions::new(log.aborted(), log.last_batches());
        Ok(Some(Pass { settings, sealed, facts, map, transactions, stage, freed: 0 }))
    }

    /// Does the next piece. After an error the pass is over; what it had not put in place is gone.
    pub(crate) fn step(&mut self, log: &PartitionLog, keeper: &dyn Keeper) -> Result<Progress> {
        let stepped = match &self.stage {
            Stage::Map { .. } => self.map_more(log),
            Stage::Rewrite(_) => self.rewrite_more(log, keeper),
        };
        if stepped.is_err() {
            self.drop_output();
        }
        stepped
    }

    /// Gives up what is not in its place yet.
    pub(crate) fn abandon(mut self) {
        self.drop_output();
    }

    fn drop_output(&mut self) {
        if let Stage::Rewrite(rewriting) = &mut self.stage
            && let Some(output) = rewriting.output.take()
        {
            output.rewrite.discard();
        }
    }

    fn map_more(&mut self, log: &PartitionLog) -> Result<Progress> {
        let Stage::Map { from, at, position } = &mut self.stage else { return Ok(Progress::More) };
        let (from, mut left) = (*from, self.settings.step_bytes);
        let (mut mapped_end, mut room) = (None, Vec::new());
        while mapped_end.is_none() && left > 0 {
            let Some(Sealed { segment, .. }) = self.sealed.get(*at) else {
                mapped_end = self.sealed.last().map(|last| last.end);
                break;
            };
            let file = segment.log()?;
            let mut walk = Walk::new(&**file, *position, segment.published());
            let mut ended = false;
            while left > 0 && mapped_end.is_none() {
                let Some(batch) = next_batch(&mut walk, segment)? else {
                    ended = true;
                    break;
                };
                let size = batch.1.header().size() as u64;
                *position = batch.0 + size;
                left = left.saturating_sub(size);
                if !self.transactions.is_aborted(batch.1.header()) {
                    mapped_end =
                        map_batch(&mut self.map, &batch.1, from, (&mut room, log.plain_limit()));
                }
            }
            if ended {
                (*at, *position) = (*at + 1, 0);
            }
        }
        if let Some(mapped_end) = mapped_end {
            self.begin_rewriting(log, from, mapped_end);
        }
        Ok(Progress::More)
    }

    fn begin_rewriting(&mut self, log: &PartitionLog, from: Offset, mapped_end: Offset) {
        let config = log.config();
        let limits = SegmentLimits {
            bytes: config.segment_bytes,
            index_bytes: config.segment_index_bytes,
            index_interval: config.index_interval_bytes,
        };
        let Settings { now, delete_retention, .. } = self.settings;
        let rules = Rules { now, delete_retention, mapped_end, plain: log.plain_limit() };
        let transactions = std::mem::take(&mut self.transactions);
        let rewriting = Rewriting {
            mapped_end,
            next_from: mapped_end,
            from,
            sieve: Sieve::new(rules, transactions),
            groups: groups(&self.facts, mapped_end, limits),
            output: None,
        };
        self.stage = Stage::Rewrite(Box::new(rewriting));
    }

    fn rewrite_more(&mut self, log: &PartitionLog, keeper: &dyn Keeper) -> Result<Progress> {
        let Stage::Rewrite(rewriting) = &mut self.stage else { return Ok(Progress::More) };
        if rewriting.output.is_none() {
            let Some(group) = rewriting.next_group() else {
                let (freed, next_from) = (self.freed, rewriting.next_from);
                let wanted = self.sealed.last().map_or(next_from, |last| last.end);
                return Ok(Progress::Done(Done { freed, next_from, wanted }));
            };
            let base = self.facts[group.start].base;
            let bytes: u64 = self.facts[group.clone()].iter().map(|segment| segment.bytes).sum();
            rewriting.sieve.spare = MOST_BYTES.saturating_sub(bytes);
            let rewrite = log.begin_rewrite(base)?;
            rewriting.output = Some(Output::new(rewrite, group, base));
        }
        let (sieve, map) = (&mut rewriting.sieve, &self.map);
        let Some(output) = &mut rewriting.output else { return Ok(Progress::More) };
        if !output.fill(&self.sealed, sieve, map, self.settings.step_bytes)? {
            return Ok(Progress::More);
        }
        let Some(output) = rewriting.output.take() else { return Ok(Progress::More) };
        let group = output.group.clone();
        let aborted = sieve.transactions.take_index();
        let Some(rewrite) = output.close()? else { return Ok(Progress::More) };
        let old: Vec<_> =
            self.sealed[group.clone()].iter().map(|sealed| sealed.segment.clone()).collect();
        let unreadable = rewriting.sieve.unreadable_from;
        let compacted = rewriting.mapped_end.min(self.facts[group.end - 1].end);
        let compacted = unreadable.map_or(compacted, |from| compacted.min(from));
        match log.swap_in(&old, &rewrite.finish(aborted)?, compacted, keeper)? {
            Swapped::Done { freed } => self.freed += freed,
            // the log start has passed them: the next pass does it all again
            Swapped::Overtaken => {
                rewriting.groups.clear();
                rewriting.next_from = rewriting.from;
            }
        }
        Ok(Progress::More)
    }
}

impl Rewriting {
    fn next_group(&mut self) -> Option<Range<usize>> {
        (!self.groups.is_empty()).then(|| self.groups.remove(0))
    }
}

impl Output {
    fn new(rewrite: Rewrite, group: Range<usize>, base: Offset) -> Self {
        let changed = group.len() > 1;
        let at = group.start;
        let vouchers = Vouchers::default();
        Output {
            rewrite,
            group,
            at,
            position: 0,
            next_offset: base,
            vouchers,
            pending: None,
            changed,
        }
    }

    /// Sifts the next batches; says whether the group's last one has been.
    fn fill(
        &mut self,
        sealed: &[Sealed],
        sieve: &mut Sieve,
        map: &KeyMap,
        step_bytes: u64,
    ) -> Result<bool> {
        let mut left = step_bytes;
        while self.at < self.group.end {
            let segment = &sealed[self.at].segment;
            let path = segment.path();
            let file = segment.log()?;
            let mut walk = Walk::new(&**file, self.position, segment.published());
            while let Some((position, batch)) = next_batch(&mut walk, segment)? {
                if left == 0 {
                    return Ok(false);
                }
                let header = batch.header();
                if let Some(wrong) = misfit(header, segment.base(), self.next_offset, None) {
                    return Err(Error::corrupt("compact", &path, position, wrong));
                }
                self.next_offset = header.end_offset();
                self.position = position + header.size() as u64;
                left = left.saturating_sub(header.size() as u64);
                let fate = sieve.sift(&batch, map).map_err(|fault| {
                    fault.into_error("compact", &path, position, Some(header.base_offset()))
                })?;
                let origin = self.vouchers.of(segment, position)?;
                self.write(&batch, fate, origin)?;
            }
            (self.at, self.position) = (self.at + 1, 0);
            self.vouchers = Vouchers::default();
        }
        Ok(true)
    }

    fn write(&mut self, batch: &Batch<'_>, fate: Fate, origin: Origin) -> Result<()> {
        match fate {
            Fate::Whole => self.push(batch.header(), batch.bytes(), origin),
            Fate::Rewritten(bytes) => {
                self.changed = true;
                self.push(&reread(&bytes)?, &bytes, origin)
            }
            Fate::Gone(emptied) => {
                // one that was emptied before, and is the last again, is no change
                self.changed |= self.pending.is_some() || batch.header().count() > 0;
                self.pending = Some((emptied, origin));
                Ok(())
            }
        }
    }

    fn push(&mut self, header: &BatchHeader, bytes: &[u8], origin: Origin) -> Result<()> {
        self.changed |= self.pending.take().is_some();
        self.rewrite.push(header, bytes, origin)
    }

    /// Writes the last batch, if it went; `None` where the segment is as it was.
    fn close(mut self) -> Result<Option<Rewrite>> {
        if !self.changed {
            self.rewrite.discard();
            return Ok(None);
        }
        if let Some((emptied, origin)) = self.pending.take() {
            self.rewrite.push(&reread(&emptied)?, &emptied, origin)?;
        }
        Ok(Some(self.rewrite))
    }
}

/// The header of a batch that was just written.
fn reread(bytes: &[u8]) -> Result<BatchHeader> {
    BatchHeader::parse(bytes, bytes.len())
        .map_err(|fault| fault.into_error("compact", std::path::Path::new(""), 0, None))
}

/// The next batch of a walk, `None` at its end. What is damaged is never written again: the
/// segment stays as it is.
fn next_batch<'w>(walk: &'w mut Walk<'_>, segment: &Segment) -> Result<Option<(u64, Batch<'w>)>> {
    segment.vouch(walk.position(), walk.position() + 1)?;
    match walk.step()? {
        WalkStep::Batch(position, batch) => Ok(Some((position, batch))),
        WalkStep::End => Ok(None),
        WalkStep::Bad(position, fault) => {
            Err(fault.into_error("compact", &segment.path(), position, None))
        }
    }
}

/// Maps the keys of a batch from `from` on; the offset it did not come past, if the map is full.
fn map_batch(
    map: &mut KeyMap,
    batch: &Batch<'_>,
    from: Offset,
    (room, plain): (&mut Vec<u8>, PlainLimit),
) -> Option<Offset> {
    if batch.header().last_offset() < from {
        return None;
    }
    readable(batch, room, plain)?
        .records()
        .ok()?
        .filter_map(|record| record.ok())
        .filter(|record| record.offset() >= from)
        .find_map(|record| map.put(record.key()?, record.offset()).err().map(|_| record.offset()))
}
