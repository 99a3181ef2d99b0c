//! What a journal holds for an open after an unclean stop. Pure but for reading the file.
//!
//! Every frame of the reign is looked for, wherever it lies: its checksum covers its place. Those
//! from the oldest that counts on are taken as long as their sequences have no gap. A gap is a torn
//! end unless some frame knows that what is missing was durable: that is damage, and an error.
//!
//! The file is looked through a part at a time, and frames that are known to count no more are let
//! go of on the way: what is held is what counts, and at most a half's frames of the lap before.
//!
//! Frames of a partition that could not be recovered are put aside in a file of the same layout, by
//! [`encode_aside`], so that the next reign does not lose them.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use bytes::Bytes;

use super::file::{READ, head_in};
use super::frame::{
    ALIGN, Content, Extent, FILE_HEAD, FileHead, HEAD, Parsed, Reign, Standing, StoreId, begins,
    claimed, frame_size, parse, put,
};
use crate::disk::{Access, Disk, DiskFile, read_full_at};
use crate::error::{Error, Result};
use crate::ids::{LeaderEpoch, LogId};

/// Bytes read at a time, but for frames that are longer.
pub(super) const WINDOW: usize = 256 << 10;

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
    let fail = |error| Error::io(READ, path, error);
    let file = match disk.open(path, Access::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    let head = head_in(&*file, path)?;
    if head.store != reign.store {
        return Err(Error::corrupt(READ, path, 12, "it belongs to another store"));
    }
    let (len, most) = (file.len().map_err(fail)?, FILE_HEAD + 2 * head.half);
    if len > most {
        let reason = format!("the file is {len} bytes long, at most {most} are expected");
        return Err(Error::corrupt(READ, path, 0, reason));
    }
    let found = gather(&*file, head.half, reign, WINDOW).map_err(fail)?;
    in_order(found).map_err(|gap| {
        let reason = format!("frame {}, which was durable, is damaged or gone", gap.sequence);
        Error::corrupt(READ, path, gap.position, reason)
    })
}

/// A frame and where it lies.
#[derive(Debug)]
struct Placed {
    at: u64,
    size: u64,
    standing: Standing,
    taken: Taken,
}

#[derive(Debug)]
enum Taken {
    Records(Frame),
    LapEnd,
    Bar(LogId),
}

impl Placed {
    fn new(at: u64, frame: &Parsed<'_>) -> Placed {
        let taken = match frame.content {
            Content::Records(extent, batches) => {
                Taken::Records(Frame { extent, batches: Bytes::copy_from_slice(batches) })
            }
            Content::LapEnd => Taken::LapEnd,
            Content::Bar(log) => Taken::Bar(log),
        };
        Placed { at, size: frame.size as u64, standing: frame.standing, taken }
    }

    /// Whether this one stands where the one before it leads: behind it in its lap, or first in
    /// the next.
    fn follows(&self, before: &Placed) -> bool {
        let (lap, next) = (before.standing.lap, self.standing.lap);
        match before.taken {
            Taken::LapEnd => lap.checked_add(1) == Some(next),
            Taken::Records(_) | Taken::Bar(_) => next == lap && self.at == before.at + before.size,
        }
    }
}

/// What was found of a reign.
#[derive(Debug, Default)]
struct Found {
    /// Each half's, as they lie there.
    halves: [VecDeque<Placed>; 2],
    /// The oldest sequence that counts, as the frames say; `None` where there is none.
    oldest: Option<u64>,
    /// Frames up to here were durable.
    vouched: u64,
}

impl Found {
    /// Takes a frame that lies in half `number`. What counts no more is let go of, be it this one:
    /// the oldest that counts only becomes younger.
    fn take(&mut self, number: u64, at: u64, frame: &Parsed<'_>) {
        self.oldest = self.oldest.max(Some(frame.standing.oldest));
        self.vouched = self.vouched.max(frame.standing.durable_through);
        if Some(frame.standing.sequence) >= self.oldest {
            self.halves[usize::from(number == 1)].push_back(Placed::new(at, frame));
        }
        for half in &mut self.halves {
            while half.front().is_some_and(|first| Some(first.standing.sequence) < self.oldest) {
                half.pop_front();
            }
        }
    }
}

/// Every frame of the reign in a file, but for some that count no more.
fn gather(file: &dyn DiskFile, half: u64, reign: &Reign, window: usize) -> io::Result<Found> {
    let (mut found, len) = (Found::default(), file.len()?);
    let mut window = Window { file, size: window, at: 0, bytes: Vec::new() };
    for number in 0..2 {
        let start = FILE_HEAD + number * half;
        let (mut at, end) = (start, len.min(start + half));
        while at < end {
            let bytes = window.read(at, ALIGN, end)?;
            let Some(skipped) = begins(bytes) else {
                let passed = bytes.len() - bytes.len() % ALIGN;
                if passed == 0 {
                    break; // there is no more of the file
                }
                at += passed as u64;
                continue;
            };
            at += skipped as u64;
            let claimed = claimed(window.read(at, HEAD, end)?, reign);
            let size = claimed.filter(|size| *size as u64 <= end - at).unwrap_or(0);
            match parse(window.read(at, size, end)?, at, reign) {
                Some(frame) if frame.standing.lap % 2 == number => {
                    found.take(number, at, &frame);
                    at += frame.size as u64;
                }
                _ => at += ALIGN as u64,
            }
        }
    }
    Ok(found)
}

/// A part of the file.
struct Window<'a> {
    file: &'a dyn DiskFile,
    /// Bytes read at a time.
    size: usize,
    at: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// What lies from `at` on, `least` bytes or more unless `end` comes first, or the file's own.
    fn read(&mut self, at: u64, least: usize, end: u64) -> io::Result<&[u8]> {
        let place = |from: u64, to: u64| usize::try_from(to - from).unwrap_or(usize::MAX);
        let left = place(at, end);
        let is_here = at >= self.at && place(self.at, at) + least.min(left) <= self.bytes.len();
        if !is_here {
            self.bytes.resize(least.max(self.size).min(left), 0);
            let got = read_full_at(self.file, &mut self.bytes, at)?;
            self.bytes.truncate(got);
            self.at = at;
        }
        let from = place(self.at, at);
        Ok(&self.bytes[from..self.bytes.len().min(from.saturating_add(left))])
    }
}

/// What counts of what was found; `None` where nothing is of the reign.
fn in_order(found: Found) -> Result<Option<Vec<Frame>>, Gap> {
    let Some(oldest) = found.oldest else { return Ok(None) };
    let mut placed: Vec<Placed> = found.halves.into_iter().flatten().collect();
    placed.retain(|one| one.standing.sequence >= oldest);
    placed.sort_by_key(|one| one.standing.sequence);
    let is_next = |(nth, one): &(usize, &Placed)| {
        let leads = nth.checked_sub(1).is_none_or(|before| one.follows(&placed[before]));
        one.standing.sequence == oldest.wrapping_add(*nth as u64) && leads
    };
    let whole = placed.iter().enumerate().take_while(is_next).count();
    let expected = oldest.saturating_add(whole as u64);
    if found.vouched >= expected {
        let last = whole.checked_sub(1).map(|last| &placed[last]);
        let position = last.map_or(FILE_HEAD, |last| last.at + last.size);
        return Err(Gap { position, sequence: expected });
    }
    placed.truncate(whole);
    let mut frames = Vec::new();
    for one in placed {
        match one.taken {
            Taken::Records(frame) => frames.push(frame),
            Taken::Bar(log) => frames.retain(|frame: &Frame| frame.extent.log != log),
            Taken::LapEnd => {}
        }
    }
    Ok(Some(frames))
}

/// What counts of a whole file that has a head of any kind, and how many frames are held at the end
/// of looking through it. How much is read at a time makes no difference.
#[cfg(any(test, fuzzing))]
pub(super) fn scan(bytes: &Bytes, half: u64, reign: &Reign) -> (Counted, usize) {
    let disk = crate::disk::MemoryDisk::new();
    let file = disk.open(Path::new("/journal"), Access::CreateNew).expect("a new file");
    crate::disk::write_all_at(&*file, bytes, 0).expect("room");
    let [wide, narrow, odd] = [WINDOW, ALIGN, HEAD + 3 * ALIGN + 5].map(|window| {
        let found = gather(&*file, half, reign, window).expect("it can be read");
        let held = found.halves.iter().map(VecDeque::len).sum();
        (in_order(found), held)
    });
    assert!(wide == narrow && wide == odd, "{wide:?}, {narrow:?}, {odd:?}");
    wide
}

#[cfg(any(test, fuzzing))]
pub(super) type Counted = Result<Option<Vec<Frame>>, Gap>;

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
