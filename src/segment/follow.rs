//! A segment that another process may be appending to: how far it can be believed.
//!
//! A batch counts once it lies whole in the file, its base offset continues, its epoch does not
//! fall and its checksum fits; whatever else lies there is "not yet", and whether it will ever be
//! more is decided by the log, which knows the next segment and the recovery point. What was
//! accepted is published to the segment, with an index in memory, and read like any other.
//!
//! No checksum covers the offset and the epoch of a batch, and a reader may look while they are
//! being stored. The writer stores the length last, and bytes written by position arrive in
//! order; so what a first look finds whole is read a second time, which sees every byte of it.

use std::sync::Arc;

use super::index::{IndexedBatch, Indexer};
use super::scan::{ScanStart, Walk, WalkStep, misfit, skips};
use super::shared::{Place, Segment};
use crate::disk::{DiskFile, read_full_at};
use crate::error::{Error, Result};
use crate::ids::{LeaderEpoch, Offset};
use crate::record::BatchHeader;
use crate::sync::atomic::{Ordering, fence};

/// Bytes of a batch before which it has no length: offset and length.
const LENGTH_END: usize = 12;

/// What only a reader of another process's files asks of a segment.
impl Segment {
    /// A segment of a file that lies under another name.
    pub(crate) fn on_file(
        place: Arc<Place>,
        base: Offset,
        len: u64,
        file: Arc<dyn DiskFile>,
    ) -> Self {
        let segment = Segment::on_disk(place, base, len);
        let _ = segment.log.set(file); // just made: nothing is set
        segment
    }

    /// Whether the log file that is open is known to be of the log's own topic.
    pub(crate) fn is_identified(&self) -> bool {
        self.identified.load(Ordering::Acquire)
    }

    /// Says that the directory was the log's own topic's after the file was opened, if it is open.
    pub(crate) fn identify(&self) {
        let is_opened = self.log.get().is_some();
        self.identified.fetch_or(is_opened, Ordering::AcqRel);
    }

    /// Lets go of the index in memory of a segment whose index files another process has sealed.
    pub(crate) fn let_index_go(&self) {
        self.growing.store(None);
    }
}

/// What lies behind the last batch that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beyond {
    /// The end of the file, or zeros.
    Nothing,
    /// Bytes that are no batch yet, or will never be one.
    Unfinished,
    /// A batch of an epoch that the store is not known to have begun: what was recorded of it has
    /// to be read again before anything of that epoch is believed.
    NewEpoch,
    /// The file ends before what was accepted does: it was cut.
    Cut,
}

/// The end of a segment, as a reader in another process sees it.
#[derive(Debug)]
pub(crate) struct FollowedTail {
    segment: Arc<Segment>,
    indexer: Indexer,
    position: u64,
    next_offset: Offset,
    epoch: Option<LeaderEpoch>,
    /// The offset from which on none may be left out; `None` where any may.
    gapless_from: Option<Offset>,
    /// Each epoch that begins in what was accepted, with its first offset, until it is taken.
    epochs: Vec<(LeaderEpoch, Offset)>,
    transactional: bool,
    /// The last batch that was accepted here, and where it begins.
    last: Option<(u64, BatchHeader)>,
}

/// Where the batches that fit end.
struct Reached {
    position: u64,
    beyond: Beyond,
}

impl FollowedTail {
    /// Begins a segment whose file is `len` bytes long where its saved indexes vouch for what
    /// lies below `recovery_point`; nothing else of it is believed yet. The offset from which on
    /// none may be left out, as other writers and compaction do, and the epoch of what lies before.
    pub(crate) fn begin(
        place: &Arc<Place>,
        base: Offset,
        len: u64,
        recovery_point: Offset,
        (gapless_from, floor): (Option<Offset>, Option<LeaderEpoch>),
    ) -> Result<Self> {
        let whole = Segment::on_disk(place.clone(), base, len);
        let ScanStart { position, next_offset, indexer, epoch, .. } =
            whole.scan_start(recovery_point)?;
        let epoch = epoch.or(floor);
        let segment = Arc::new(Segment::on_disk(place.clone(), base, 0));
        let epochs = Vec::new();
        let tail = FollowedTail {
            segment,
            indexer,
            position,
            next_offset,
            epoch,
            gapless_from,
            epochs,
            transactional: false,
            last: None,
        };
        tail.publish();
        Ok(tail)
    }

    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// The offset behind the last batch that counts.
    pub(crate) fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// The epochs that have begun since this was called last.
    pub(crate) fn take_epochs(&mut self) -> Vec<(LeaderEpoch, Offset)> {
        std::mem::take(&mut self.epochs)
    }

    /// Whether any batch that was accepted belongs to a transaction.
    pub(crate) fn is_transactional(&self) -> bool {
        self.transactional
    }

    /// Whether the last batch that was accepted lies where it was in a file.
    pub(crate) fn still_ends_in(&self, file: &dyn DiskFile) -> Result<bool> {
        let Some((position, last)) = self.last else { return Ok(true) };
        let mut head = [0; BatchHeader::LEN];
        let got = read_full_at(file, &mut head, position);
        let got = got.map_err(|error| Error::io("follow segment", &file.path(), error))?;
        Ok(BatchHeader::parse(&head[..got], last.size()).is_ok_and(|found| found == last))
    }

    /// The epoch of the last batch that counts.
    pub(crate) fn epoch(&self) -> Option<LeaderEpoch> {
        self.epoch
    }

    /// Accepts what has come of epochs up to `newest`; says what lies behind it.
    pub(crate) fn look(&mut self, newest: Option<LeaderEpoch>) -> Result<Beyond> {
        let file = self.segment.log()?.clone();
        let end = || file.len().map_err(|error| Error::io("follow segment", &file.path(), error));
        match begins_batch(&*file, self.position)? {
            Begins::Batch => {}
            Begins::Zeros => return Ok(Beyond::Nothing),
            Begins::Nothing if end()? < self.position => return Ok(Beyond::Cut),
            Begins::Nothing => return Ok(Beyond::Nothing),
        }
        let seen = self.reach(&*file, end()?, newest, |_, _| {})?;
        if seen.position > self.position {
            fence(Ordering::SeqCst); // see the head of this room
            let from = self.position;
            let (mut accepted, mut transactional) = (Vec::new(), false);
            let reached = self.reach(&*file, seen.position, newest, |header, position| {
                let batch = IndexedBatch::of(header, position);
                transactional |= header.is_transactional();
                accepted.push((batch, *header));
            })?;
            self.transactional |= transactional;
            for (batch, header) in accepted {
                self.accept(batch, header);
            }
            debug_assert!(self.position == reached.position && self.position >= from);
            self.publish();
        }
        Ok(seen.beyond)
    }

    fn accept(&mut self, batch: IndexedBatch, header: BatchHeader) {
        let (first, epoch) = (header.base_offset(), header.leader_epoch());
        self.last = Some((batch.position, header));
        if let Some(begun) = epoch.filter(|_| epoch > self.epoch) {
            self.epoch = epoch;
            self.epochs.push((begun, first));
        }
        self.position = batch.position + batch.size;
        self.next_offset = batch.last_offset.next();
        self.indexer.push(batch);
    }

    /// Walks from the accepted end over the batches that fit there.
    fn reach(
        &self,
        file: &dyn DiskFile,
        end: u64,
        newest: Option<LeaderEpoch>,
        mut take: impl FnMut(&BatchHeader, u64),
    ) -> Result<Reached> {
        let mut walk = Walk::new(file, self.position, end);
        let (mut position, mut next_offset, mut epoch) =
            (self.position, self.next_offset, self.epoch);
        loop {
            match walk.step()? {
                WalkStep::Batch(at, batch) => {
                    let header = batch.header();
                    if header.leader_epoch() > newest {
                        return Ok(Reached { position, beyond: Beyond::NewEpoch });
                    }
                    let from = self.gapless_from;
                    if from.is_some_and(|from| skips(header, next_offset, from))
                        || misfit(header, self.segment.base(), next_offset, epoch).is_some()
                    {
                        return Ok(Reached { position, beyond: Beyond::Unfinished });
                    }
                    take(header, at);
                    next_offset = header.end_offset();
                    epoch = header.leader_epoch().max(epoch);
                    position = at + header.size() as u64;
                }
                WalkStep::End => return Ok(Reached { position, beyond: Beyond::Nothing }),
                WalkStep::Bad(..) => break,
            }
        }
        let begins = begins_batch(file, position)? == Begins::Batch;
        let beyond = if begins { Beyond::Unfinished } else { Beyond::Nothing };
        Ok(Reached { position, beyond })
    }

    fn publish(&self) {
        let largest = self.indexer.largest_timestamp();
        self.segment.set_growing(self.indexer.index().clone(), largest);
        self.segment.publish(self.position, largest);
    }

    /// Ends following a segment that has a successor; its index stays in memory.
    pub(crate) fn finish(mut self) -> Arc<Segment> {
        self.indexer.finish();
        self.publish();
        self.segment
    }
}

/// What the bytes at a place look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begins {
    Batch,
    Zeros,
    /// The file ends here or before.
    Nothing,
}

fn begins_batch(file: &dyn DiskFile, position: u64) -> Result<Begins> {
    let mut head = [0; LENGTH_END];
    let got = read_full_at(file, &mut head, position)
        .map_err(|error| Error::io("follow segment", &file.path(), error).at_position(position))?;
    Ok(match head[..got].iter().any(|byte| *byte != 0) {
        true => Begins::Batch,
        false if got == 0 => Begins::Nothing,
        false => Begins::Zeros,
    })
}
