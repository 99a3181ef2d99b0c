//! What the journal has of a log that its segments have not, shown to who only reads.
//!
//! After a power cut records that were promised to survive it may lie in the journal alone until
//! the store is opened for writing. A reader that comes before finds them by the same table as that
//! open (`frames`), and shows them as one segment more, in memory: nothing on the disk changes. It
//! holds what lies above the end of the segments, no more.
//!
//! While there is such a segment nothing can be appended: nobody has begun a new reign. When
//! somebody does the records are in the log's own segments, and a survey finds them there.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::{FollowFacts, FollowedLog, Following, View};
use crate::disk::names::SegmentFile;
use crate::disk::{Access, Disk, MemoryDisk, write_all_at};
use crate::error::{Error, Result};
use crate::ids::{LeaderEpoch, Offset};
use crate::log::frames::{Goes, Ground, Standing, lay};
use crate::record::Batch;
use crate::segment::{Beyond, FollowedTail, Place, Segment, misfit};

/// The records that only the journal has.
#[derive(Clone, Debug)]
pub(super) struct Restored {
    pub(super) segment: Arc<Segment>,
    /// Behind the last of them.
    pub(super) end: Offset,
    /// Each epoch that begins with one of them.
    pub(super) epochs: Vec<(LeaderEpoch, Offset)>,
}

/// A log as a survey found it, while frames are laid against it.
struct Surveyed<'a> {
    log: &'a FollowedLog,
    view: View,
    floor: Offset,
    is_damaged: bool,
    tail: Option<(Offset, u64)>,
    epoch: Option<LeaderEpoch>,
    /// Where the segments end, and what goes on there.
    first: Offset,
    end: Offset,
    bytes: Vec<u8>,
}

impl FollowedLog {
    /// What the journal, or a file beside it, has beyond the segments of a survey, the epoch of
    /// whose last batch is known.
    ///
    /// # Errors
    /// `Corrupt` where what it has does not fit, or cannot be read; the disk's.
    pub(super) fn restored(
        &self,
        following: &Following,
        facts: &FollowFacts,
        epoch: Option<LeaderEpoch>,
    ) -> Result<Option<Restored>> {
        let frames = self.source.held(self.id)?;
        if frames.is_empty() {
            return Ok(None);
        }
        let end = following.end();
        let tail = following.tail.as_ref().map(FollowedTail::segment);
        let mut surveyed = Surveyed {
            log: self,
            view: following.view(facts),
            floor: facts.log_start.max(facts.recovery_point),
            is_damaged: following.seen() < following.promised,
            tail: tail.map(|segment| (segment.base(), segment.published())),
            epoch,
            first: end,
            end,
            bytes: Vec::new(),
        };
        lay(&frames, &mut surveyed)?;
        surveyed.into_segment(facts)
    }
}

impl Ground for Surveyed<'_> {
    fn place(&self) -> &Place {
        &self.log.place
    }

    fn bounds(&self) -> (Offset, Offset) {
        (self.floor, self.end)
    }

    fn batch_at(&self, offset: Offset) -> Result<Option<Bytes>> {
        if offset >= self.first {
            return Ok(self.added_at(offset));
        }
        let fetched = self.log.fetch_all_in(&self.view, offset, None, 1)?;
        Ok(fetched.chunk.map(|chunk| chunk.bytes))
    }

    fn sparse(&self) -> Offset {
        if self.view.gapless { self.view.offsets.sparse } else { Offset::new(i64::MAX) }
    }

    fn standing(&self) -> Standing {
        Standing { tail: self.tail, is_damaged: self.is_damaged }
    }

    fn add(&mut self, batch: &Batch<'_>, goes: Goes) -> Result<Option<&'static str>> {
        let header = batch.header();
        let base = header.base_offset();
        let (segment, position) = match (goes, self.tail) {
            (Goes::On, Some(tail)) => tail,
            (Goes::Anew(from), _) => (from, 0),
            (Goes::On, None) => (base, 0),
        };
        if let Some(wrong) = misfit(header, segment, base, self.epoch) {
            return Ok(Some(wrong));
        }
        self.bytes.extend_from_slice(batch.bytes());
        self.tail = Some((segment, position + header.size() as u64));
        self.epoch = self.epoch.max(header.leader_epoch());
        self.end = header.end_offset();
        Ok(None)
    }
}

impl Surveyed<'_> {
    /// A batch that was added before, by a frame that this one repeats.
    fn added_at(&self, offset: Offset) -> Option<Bytes> {
        let mut rest = &self.bytes[..];
        loop {
            let batch = Batch::verify(rest).ok()?;
            if batch.header().end_offset() > offset {
                return Some(Bytes::copy_from_slice(batch.bytes()));
            }
            rest = &rest[batch.header().size()..];
        }
    }

    fn into_segment(self, facts: &FollowFacts) -> Result<Option<Restored>> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let place = Arc::new(Place { disk, ..Place::clone(&self.log.place) });
        let path = place.path(self.first, SegmentFile::Log);
        put(&*place.disk, &place.dir, &path, &self.bytes)
            .map_err(|error| Error::io("follow log", &path, error))?;
        let (len, rules) = (self.bytes.len() as u64, (facts.gapless_from(), None));
        let mut tail = FollowedTail::begin(&place, self.first, len, self.first, rules)?;
        let beyond = tail.look(facts.reign)?;
        if beyond != Beyond::Nothing || tail.next_offset() != self.end {
            let reason = "what the journal holds is of an epoch that is not recorded";
            return Err(Error::corrupt("replay journal", &path, 0, reason));
        }
        let epochs = tail.take_epochs();
        let segment = tail.finish();
        segment.identify(); // it was made here
        Ok(Some(Restored { segment, end: self.end, epochs }))
    }
}

fn put(disk: &dyn Disk, dir: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    disk.create_dir_all(dir)?;
    let file = disk.open(path, Access::Create)?;
    write_all_at(&*file, bytes, 0)
}
