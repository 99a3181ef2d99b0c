//! What a journal holds for an open after an unclean stop. Pure but for reading the file.
//!
//! Every frame of the reign is looked for, wherever it lies: its checksum covers its place. Those
//! from the oldest that counts on are taken as long as their sequences have no gap. A gap is a torn
//! end unless some frame knows that what is missing was durable: that is damage, and an error.
//!
//! Frames of a partition that could not be recovered are put aside in a file of the same layout, by
//! [`encode_aside`], so that the next reign does not lose them.

use std::path::Path;

use bytes::Bytes;

use super::file::{head_of, read_head};
use super::frame::{
    ALIGN, Content, Extent, FILE_HEAD, FileHead, HEAD, Parsed, Reign, Standing, StoreId, begins,
    frame_size, parse, put,
};
use crate::disk::Disk;
use crate::disk::replace::read_file;
use crate::error::{Error, Result};
use crate::ids::LeaderEpoch;

const OPERATION: &str = "read journal";

/// Batches of one partition that were durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) extent: Extent,
    pub(crate) batches: Bytes,
}

/// What has not survived, though it was durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    /// Where in the file it should be.
    pub(super) position: u64,
    pub(super) sequence: u64,
}

/// The frames of `reign` in the file at `path`, in order; `None` where there is no file, or none of
/// that reign in it.
///
/// # Errors
/// `NewerVersion`; `Corrupt` where what was durable is missing, or the file is another store's;
/// those of the disk. Nothing was changed then.
pub(crate) fn read(disk: &dyn Disk, path: &Path, reign: &Reign) -> Result<Option<Vec<Frame>>> {
    let Some(head) = read_head(disk, path)? else { return Ok(None) };
    if head.store != reign.store {
        return Err(Error::corrupt(OPERATION, path, 12, "it belongs to another store"));
    }
    let len = usize::try_from(FILE_HEAD + 2 * head.half).unwrap_or(usize::MAX);
    let bytes = read_file(disk, path, len).map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => Error::corrupt(OPERATION, path, 0, error.to_string()),
        _ => Error::io(OPERATION, path, error),
    })?;
    let bytes = Bytes::from(bytes.unwrap_or_default());
    head_of(&bytes, path)?;
    scan(&bytes, head.half, reign).map_err(|gap| {
        let reason = format!("frame {}, which was durable, is damaged or gone", gap.sequence);
        Error::corrupt(OPERATION, path, gap.position, reason)
    })
}

/// A frame and where it lies.
#[derive(Clone, Copy, Debug)]
struct Placed<'a> {
    at: usize,
    frame: Parsed<'a>,
}

/// Takes what counts from the bytes of a whole file; `None` where nothing is of the reign.
pub(super) fn scan(bytes: &Bytes, half: u64, reign: &Reign) -> Result<Option<Vec<Frame>>, Gap> {
    let mut found = Vec::new();
    for number in 0..2 {
        collect(bytes, half, number, reign, &mut found);
    }
    found.sort_by_key(|placed| placed.frame.standing.sequence);
    let standings = || found.iter().map(|placed| placed.frame.standing);
    let Some(oldest) = standings().map(|standing| standing.oldest).max() else {
        return Ok(None);
    };
    let vouched = standings().map(|standing| standing.durable_through).max().unwrap_or(0);
    let mut expected = oldest;
    let mut before: Option<Placed<'_>> = None;
    let mut frames = Vec::new();
    for placed in found.iter().filter(|placed| placed.frame.standing.sequence >= oldest) {
        let Parsed { standing, content, .. } = placed.frame;
        if standing.sequence != expected || before.is_some_and(|before| !follows(before, placed)) {
            break;
        }
        match content {
            Content::Records(extent, batches) => {
                let start = placed.at + HEAD;
                let batches = bytes.slice(start..start + batches.len());
                frames.push(Frame { extent, batches });
            }
            Content::Bar(log) => frames.retain(|frame: &Frame| frame.extent.log != log),
            Content::LapEnd => {}
        }
        before = Some(*placed);
        expected += 1;
    }
    if vouched >= expected {
        let position = before.map_or(FILE_HEAD, |last| (last.at + last.frame.size) as u64);
        return Err(Gap { position, sequence: expected });
    }
    Ok(Some(frames))
}

/// Whether a frame stands where the one before it leads: behind it in its lap, or first in the
/// next.
fn follows(before: Placed<'_>, placed: &Placed<'_>) -> bool {
    let (lap, next) = (before.frame.standing.lap, placed.frame.standing.lap);
    match before.frame.content {
        Content::LapEnd => next == lap + 1,
        Content::Records(..) | Content::Bar(_) => {
            next == lap && placed.at == before.at + before.frame.size
        }
    }
}

/// The frames of one half.
fn collect<'a>(
    bytes: &'a Bytes,
    half: u64,
    number: u64,
    reign: &Reign,
    found: &mut Vec<Placed<'a>>,
) {
    let place = |position: u64| usize::try_from(position).unwrap_or(usize::MAX).min(bytes.len());
    let start = FILE_HEAD + number * half;
    let (mut at, end) = (place(start), place(start + half));
    while let Some(skipped) = begins(&bytes[at..end]) {
        at += skipped;
        match parse(&bytes[at..end], at as u64, reign) {
            Some(frame) if frame.standing.lap % 2 == number => {
                found.push(Placed { at, frame });
                at += frame.size;
            }
            _ => at += ALIGN,
        }
    }
}

/// A file that [`read`] returns these frames from, under `reign`.
pub(crate) fn encode_aside(frames: &[Frame], reign: &Reign) -> Vec<u8> {
    let sizes = frames.iter().filter_map(|frame| frame_size(frame.batches.len()));
    let half = sizes.map(|size| size as u64).sum::<u64>().max(1);
    let mut bytes = FileHead { store: reign.store, half }.encode().to_vec();
    bytes.resize(usize::try_from(FILE_HEAD).unwrap_or(bytes.len()), 0);
    let last = frames.len() as u64;
    for (sequence, frame) in (1..).zip(frames) {
        let standing = Standing { lap: 0, sequence, durable_through: last, oldest: 1 };
        let (at, content) = (bytes.len() as u64, Content::Records(frame.extent, &frame.batches));
        put(&mut bytes, at, reign, &standing, content);
    }
    bytes
}

/// The reign that frames are put aside under: one for all, since they wait for their partition.
impl Reign {
    pub(crate) fn aside(store: StoreId) -> Self {
        Reign { store, epoch: LeaderEpoch::new(0) }
    }
}
