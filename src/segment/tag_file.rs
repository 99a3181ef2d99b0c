//! The file beside a segment that keeps which tags its batches have: `<base offset>.tags`.
//!
//! Layout, big-endian. A head of 64 bytes:
//!
//! ```text
//! 0 magic "TDLT"  4 version u32  8 topic id 16 bytes  24 partition u32  28 base offset i64
//! 36 length of the log u32  40 where its last batch begins u32  44 crc32c of that batch's 61 bytes
//! 48 where the first run begins u32  52 runs u32  56 crc32c of bytes 0..56  60 crc32c of the runs
//! ```
//!
//! then runs of 16 bytes each, from where the one before ends: end u32, next offset u32 (relative
//! to the base), bits u64.
//!
//! Written when the segment grows no more and its batches are on the disk, whole and without a sync
//! of its own; taken only whole, and only by the segment it was made of: of that topic, partition
//! and base offset, as long as it was, and with the same last batch. So a torn, stale or damaged
//! one is as good as none, and none costs but the reading. What cuts or rewrites a segment removes
//! its file besides. One of a newer version is left alone. Where the topic keeps tags, the first
//! reader of some that comes to a segment without a file makes it again.

use std::sync::Arc;

use byteorder::{BigEndian, ByteOrder as _};

use super::digest::Identity;
use super::scan::{Walk, WalkStep};
use super::shared::{Segment, Tenancy};
use super::tags::{TagRun, TagRuns, TaggedBatch};
use crate::disk::names::SegmentFile;
use crate::disk::replace::read_file;
use crate::disk::{Access, read_full_at, write_all_at};
use crate::error::{Error, Result};
use crate::ids::Offset;
use crate::record::{BatchHeader, TagBits};
use crate::sync::atomic::Ordering;

const MAGIC: [u8; 4] = *b"TDLT";
const VERSION: u32 = 1;
const LOG_LEN_AT: usize = 36;
const LAST_AT: usize = LOG_LEN_AT + 4;
const LAST_CRC_AT: usize = LAST_AT + 4;
const FROM_AT: usize = LAST_CRC_AT + 4;
const COUNT_AT: usize = FROM_AT + 4;
const HEAD_CRC_AT: usize = COUNT_AT + 4;
const RUNS_CRC_AT: usize = HEAD_CRC_AT + 4;
/// The length of the head.
pub(super) const HEAD_LEN: usize = RUNS_CRC_AT + 4;
/// The length of a run.
pub(super) const RUN_LEN: usize = 16;

/// What a file is made of: a log of that length, whose last batch begins there and has a header
/// of that checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) log_len: u32,
    pub(super) last: u32,
    pub(super) last_crc: u32,
}

/// The bytes of a file.
pub(super) fn encode(identity: Identity, base: Offset, made: Made, runs: &TagRuns) -> Vec<u8> {
    let mut bytes = vec![0; HEAD_LEN];
    bytes.reserve_exact(runs.runs.len() * RUN_LEN);
    bytes[..4].copy_from_slice(&MAGIC);
    BigEndian::write_u32(&mut bytes[4..8], VERSION);
    bytes[8..24].copy_from_slice(identity.topic.as_bytes());
    BigEndian::write_u32(&mut bytes[24..28], identity.partition.get());
    BigEndian::write_i64(&mut bytes[28..LOG_LEN_AT], base.get());
    let count = u32::try_from(runs.runs.len()).unwrap_or(0); // a log of 4 GiB has fewer
    let numbers = [
        (LOG_LEN_AT, made.log_len),
        (LAST_AT, made.last),
        (LAST_CRC_AT, made.last_crc),
        (FROM_AT, runs.from),
        (COUNT_AT, count),
    ];
    for (at, number) in numbers {
        BigEndian::write_u32(&mut bytes[at..at + 4], number);
    }
    let crc = crc32c::crc32c(&bytes[..HEAD_CRC_AT]);
    BigEndian::write_u32(&mut bytes[HEAD_CRC_AT..RUNS_CRC_AT], crc);
    for run in &runs.runs {
        bytes.extend_from_slice(&run.end.to_be_bytes());
        bytes.extend_from_slice(&run.next.to_be_bytes());
        bytes.extend_from_slice(&run.bits.word().to_be_bytes());
    }
    let crc = crc32c::crc32c(&bytes[HEAD_LEN..]);
    BigEndian::write_u32(&mut bytes[RUNS_CRC_AT..HEAD_LEN], crc);
    bytes
}

/// What a file says, if it is whole and of that segment, and can be true.
pub(super) fn decode(bytes: &[u8], identity: Identity, base: Offset) -> Option<(Made, TagRuns)> {
    let (head, behind) = bytes.split_first_chunk::<HEAD_LEN>()?;
    let number = |at: usize| BigEndian::read_u32(&head[at..at + 4]);
    let is_ours = head[..4] == MAGIC
        && number(HEAD_CRC_AT) == crc32c::crc32c(&head[..HEAD_CRC_AT])
        && number(4) == VERSION
        && head[8..24] == *identity.topic.as_bytes()
        && number(24) == identity.partition.get()
        && BigEndian::read_i64(&head[28..LOG_LEN_AT]) == base.get();
    let count = usize::try_from(number(COUNT_AT)).ok()?;
    let is_whole = Some(behind.len()) == count.checked_mul(RUN_LEN)
        && number(RUNS_CRC_AT) == crc32c::crc32c(behind);
    if !is_ours || !is_whole {
        return None;
    }
    let made =
        Made { log_len: number(LOG_LEN_AT), last: number(LAST_AT), last_crc: number(LAST_CRC_AT) };
    let run = |bytes: &[u8]| TagRun {
        end: BigEndian::read_u32(&bytes[..4]),
        next: BigEndian::read_u32(&bytes[4..8]),
        bits: TagBits::from_word(BigEndian::read_u64(&bytes[8..])),
    };
    let runs: Vec<TagRun> = behind.chunks_exact(RUN_LEN).map(run).collect();
    let (mut end, mut next) = (number(FROM_AT), 0);
    for run in &runs {
        if run.end <= end || run.next <= next {
            return None;
        }
        (end, next) = (run.end, run.next);
    }
    let fits = end == made.log_len && number(FROM_AT) <= made.last && made.last < end;
    fits.then(|| (made, TagRuns::of(number(FROM_AT), runs, made.last)))
}

impl Segment {
    /// Writes the tags of a segment that grows no more, and lets go of them; what is known of its
    /// last batch tells later whose they are. Where nothing is known nothing is written.
    pub(crate) fn seal_tags(&self) -> Result<()> {
        let place = self.place();
        if self.replaced.load(Ordering::Acquire) {
            return Ok(()); // the file of this name is another's
        }
        let Some((made, bytes)) = self.tags.with(|runs| {
            let made = self.made_of(runs.last)?.filter(|made| runs.ends_at(made.log_len));
            Ok::<_, Error>(made.map(|made| (made, encode(place.identity, self.base(), made, runs))))
        })?
        else {
            return Ok(());
        };
        let path = place.path(self.base(), SegmentFile::Tags);
        self.write_tags(&bytes).map_err(|error| Error::io("write tags", &path, error))?;
        debug_assert_eq!(u64::from(made.log_len), self.published());
        self.tags.let_go();
        Ok(())
    }

    /// What the segment's file says, `None` where there is none that can be believed.
    pub(crate) fn saved_tags(&self) -> Option<TagRuns> {
        let place = self.place();
        if self.replaced.load(Ordering::Acquire) || place.tenancy != Tenancy::Own {
            return None;
        }
        let path = place.path(self.base(), SegmentFile::Tags);
        place.disk.metadata(&path).ok()??;
        // no run is shorter than a batch
        let most = usize::try_from(self.published()).ok()? / BatchHeader::LEN * RUN_LEN + HEAD_LEN;
        let bytes = read_file(&*place.disk, &path, most).ok()??;
        let (made, runs) = decode(&bytes, place.identity, self.base())?;
        let now = self.made_of(made.last).ok()??;
        (now == made).then_some(runs)
    }

    /// Makes the runs of a segment that grows no more, and its file, again; `None` where its
    /// batches cannot all be read. Reads all of it.
    fn rebuild_tags(&self) -> Option<TagRuns> {
        let _alone = self.making_index.lock(); // nobody replaces it meanwhile
        if let Some(runs) = self.saved_tags() {
            return Some(runs); // somebody else was faster
        }
        let place = self.place();
        if self.replaced.load(Ordering::Acquire) || place.tenancy != Tenancy::Own {
            return None;
        }
        let file = self.log().ok()?.clone();
        let mut walk = Walk::new(&*file, 0, self.published());
        let mut runs = TagRuns::default();
        loop {
            match walk.step().ok()? {
                WalkStep::Batch(position, batch) => {
                    let (header, bits) = (batch.header(), TagBits::of_records(&batch));
                    let (size, next) = (header.size() as u64, header.end_offset());
                    let first = header.base_offset();
                    let batch = TaggedBatch { position, size, first, next, bits, shows: bits };
                    runs.push(self.base(), place.index_interval, batch);
                }
                WalkStep::End => break,
                WalkStep::Bad(..) => return None,
            }
        }
        let made = self.made_of(runs.last).ok()??;
        if !runs.ends_at(made.log_len) {
            return None;
        }
        let path = place.path(self.base(), SegmentFile::Tags);
        let written = self.write_tags(&encode(place.identity, self.base(), made, &runs));
        match written {
            Ok(()) => log::debug!("{} made again", path.display()),
            Err(error) => log::warn!("{} is not made again: {error}", path.display()),
        }
        Some(runs)
    }

    /// Writes the file, unless one of a newer version is there.
    fn write_tags(&self, bytes: &[u8]) -> std::io::Result<()> {
        let place = self.place();
        let path = place.path(self.base(), SegmentFile::Tags);
        let file = place.disk.open(&path, Access::Create)?;
        let mut head = [0; 8];
        let got = read_full_at(&*file, &mut head, 0)?;
        let is_newer = head[..4] == MAGIC && BigEndian::read_u32(&head[4..]) > VERSION;
        if got == head.len() && is_newer {
            return Ok(());
        }
        file.set_len(0)?;
        write_all_at(&*file, bytes, 0)
    }

    /// Removes the file: what it speaks of is about to change.
    pub(crate) fn remove_tags(&self) -> Result<()> {
        let path = self.place().path(self.base(), SegmentFile::Tags);
        let disk = &self.place().disk;
        let remove = || match disk.metadata(&path)? {
            Some(_) => disk.remove_file(&path),
            None => Ok(()),
        };
        remove().map_err(|error| Error::io("remove tags", &path, error))
    }

    /// What the segment is now, if its last batch begins at `last`.
    fn made_of(&self, last: u32) -> Result<Option<Made>> {
        let published = self.published();
        let head_end = u64::from(last) + BatchHeader::LEN as u64;
        let Ok(log_len) = u32::try_from(published) else { return Ok(None) };
        if head_end > published {
            return Ok(None);
        }
        let head = self.bytes(u64::from(last), head_end)?;
        Ok(Some(Made { log_len, last, last_crc: crc32c::crc32c(&head) }))
    }

    /// The writer goes on where an earlier open has stopped: with the tags of that, if they are
    /// all there.
    pub(super) fn take_up_tags(&self) {
        if let Some(runs) = self.saved_tags() {
            self.tags.take_up(runs);
        }
    }
}

/// What becomes of a file that is not there, or cannot be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// It is made again.
    IsMade,
    Stays,
}

/// The tags of the segment that a reader is in, where they lie in its file.
#[derive(Debug, Default)]
pub(crate) struct TagReader(Option<(Arc<Segment>, TagRuns)>);

impl TagReader {
    /// What is known of a segment that this process does not write; made again where nothing is
    /// and the topic keeps tags.
    pub(crate) fn of(&mut self, segment: &Arc<Segment>, missing: Missing) -> &TagRuns {
        let is_here = self.0.as_ref().is_some_and(|(here, _)| Arc::ptr_eq(here, segment));
        if !is_here {
            self.0 = None; // not two at a time
        }
        let again = || match missing {
            Missing::IsMade => segment.rebuild_tags(),
            Missing::Stays => None,
        };
        let runs = || segment.saved_tags().or_else(again).unwrap_or_default();
        let fill = || (segment.clone(), runs());
        &self.0.get_or_insert_with(fill).1
    }
}
