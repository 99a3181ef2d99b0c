//! Which batch of a run it is whose header has changed.
//!
//! A digest that does not fit condemns a whole run. But if putting back one field of one batch,
//! as its neighbours, its body or the format have it, makes the digest fit, then that field was
//! what changed, and all the rest is what was written: the damage is that batch's alone. Where
//! nothing fits (a block is gone, two fields have changed) the whole run stays condemned.
//!
//! Asked on the way to an error only, and bounded: runs of many batches are not looked into.

use std::cell::Cell;

use bytes::Bytes;

use super::digest::{Fold, OpenHeader, Run, Seed};
use super::shared::Segment;
use crate::error::Result;
use crate::record::{Batch, BatchHeader};

/// Runs of more batches are condemned as a whole.
const MOST_BATCHES: usize = 512;
/// Longer runs are, too.
const MOST_BYTES: u64 = 4 << 20;

/// How many batches may be to blame for a length that leads astray.
const LAST_SUSPECTS: usize = 3;

/// Bytes that are summed at most to find out which length it was, and how many a try counts for.
const WORK: usize = 64 << 20;
const TRIED: usize = 64 << 10;

const BASE: std::ops::Range<usize> = 0..8;
const LENGTH: std::ops::Range<usize> = 8..12;
const EPOCH: std::ops::Range<usize> = 12..16;
const MAGIC: usize = 16;
const CRC: std::ops::Range<usize> = 17..21;
const DELTA: std::ops::Range<usize> = 23..27;
/// Bytes of a batch that its length does not count.
const UNCOUNTED: usize = 12;

type Head = [u8; BatchHeader::LEN];

/// What is known of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fitness {
    /// Every header is what it was.
    Whole,
    /// Every header but that of the batch `damaged` (first and last byte, exclusive), with the
    /// offsets it has, relative to the base. All batches by their places.
    But { damaged: (u64, u64), offsets: (u32, u32), places: Vec<(u64, u64)> },
    /// Nothing is known.
    None,
}

impl Segment {
    /// How a run fits its digest, and where it does not if that can be told.
    pub(super) fn fitness(&self, run: &Run, have: (u64, &Bytes)) -> Result<Fitness> {
        if self.fits(run, have)? {
            return Ok(Fitness::Whole);
        }
        let (start, end) = (u64::from(run.start), u64::from(run.end));
        if end > self.published() || end - start > MOST_BYTES {
            return Ok(Fitness::None);
        }
        let bytes = self.bytes(start, end)?;
        let seed = Seed::of(self.place().identity, self.base());
        Ok(Looked { bytes: &bytes, run, seed, base: self.base().get(), work: Cell::new(WORK) }
            .fitness())
    }
}

/// A run that does not fit, at hand.
struct Looked<'a> {
    bytes: &'a [u8],
    run: &'a Run,
    seed: Seed,
    base: i64,
    /// Bytes that may still be summed to find a length: values may look like batches everywhere.
    work: Cell<usize>,
}

impl Looked<'_> {
    fn fitness(&self) -> Fitness {
        let (places, derailed) = self.walk(0);
        if places.len() > MOST_BATCHES {
            return Fitness::None;
        }
        let found = if derailed { None } else { self.one_field(&places) };
        found.or_else(|| self.one_length(&places, derailed)).unwrap_or(Fitness::None)
    }

    /// The run, if a length has changed. One that led nowhere is the last one's, or of one shortly
    /// before it whose end looked like a batch by chance; one that led to where a later batch
    /// begins, or to the run's end, left its own batch with a checksum that does not fit. Every
    /// place is tried at which a whole batch follows, or the end.
    fn one_length(&self, places: &[(usize, usize)], derailed: bool) -> Option<Fitness> {
        let is_whole = |(start, _): (usize, usize)| self.is_whole_at(start);
        let suspects = (0..places.len()).rev().filter(|at| derailed || !is_whole(places[*at]));
        suspects.take(LAST_SUSPECTS).find_map(|at| {
            let suspect = places[at].0;
            let mut ends = suspect + BatchHeader::LEN..=self.bytes.len();
            ends.find_map(|end| {
                self.may_begin(end).then(|| self.length(&places[..at], suspect, end)).flatten()
            })
        })
    }

    /// The batches from `at` on as their lengths lead, and whether that leads astray.
    fn walk(&self, mut at: usize) -> (Vec<(usize, usize)>, bool) {
        let mut places = Vec::new();
        while at < self.bytes.len() {
            if places.len() > MOST_BATCHES {
                return (places, true); // too many to look into
            }
            let end = self.head(at).and_then(|head| self.end_of(at, &head));
            let Some(end) = end else {
                // what begins here is no batch, or has no length: the one before, or this one
                if self.looks_like_one(at) || places.is_empty() {
                    places.push((at, at));
                }
                return (places, true);
            };
            places.push((at, end));
            if end < self.bytes.len() && !self.looks_like_one(end) {
                return (places, true);
            }
            at = end;
        }
        (places, false)
    }

    fn head(&self, at: usize) -> Option<Head> {
        self.bytes.get(at..)?.first_chunk().copied()
    }

    fn end_of(&self, at: usize, head: &Head) -> Option<usize> {
        let length = usize::try_from(number(&head[LENGTH])).ok()?;
        let end = at.checked_add(length)?.checked_add(UNCOUNTED)?;
        (end >= at + BatchHeader::LEN && end <= self.bytes.len()).then_some(end)
    }

    /// Whether the format or the offset of a batch stands at `at`: one of them may have changed.
    fn looks_like_one(&self, at: usize) -> bool {
        let Some(head) = self.head(at) else { return false };
        let offset = |relative| self.base.saturating_add(i64::from(relative));
        let offsets = offset(self.run.first)..offset(self.run.next);
        head[MAGIC] == 2 || offsets.contains(&number(&head[BASE]))
    }

    fn may_begin(&self, at: usize) -> bool {
        at == self.bytes.len() || (self.bytes.get(at + MAGIC) == Some(&2) && self.is_whole_at(at))
    }

    /// Whether a whole batch begins at `at`, while there is work left.
    fn is_whole_at(&self, at: usize) -> bool {
        let bytes = &self.bytes[at..];
        let Ok(header) = BatchHeader::parse(bytes, bytes.len()) else { return false };
        let left = self.work.get().checked_sub(TRIED.max(header.size()));
        self.work.set(left.unwrap_or(0));
        left.is_some() && Batch::verify(bytes).is_ok()
    }

    /// The run, if the batch at `suspect` ends at `end` and nothing else has changed.
    fn length(&self, before: &[(usize, usize)], suspect: usize, end: usize) -> Option<Fitness> {
        let (after, derailed) = self.walk(end);
        let mut head = self.head(suspect)?;
        let length = i32::try_from(end - suspect - UNCOUNTED).ok()?;
        head[LENGTH].copy_from_slice(&length.to_be_bytes());
        let mut places = before.to_vec();
        places.push((suspect, end));
        places.extend(after);
        let fits = !derailed && self.folds_to(&places, before.len(), &head)?;
        fits.then(|| self.but(&places, before.len()))
    }

    /// The run, if one field of one of its batches has changed.
    fn one_field(&self, places: &[(usize, usize)]) -> Option<Fitness> {
        (0..places.len()).find_map(|at| {
            let head = self.head(places[at].0)?;
            let fits = self.candidates(places, at, &head).into_iter().any(|candidate| {
                candidate != head && self.folds_to(places, at, &candidate) == Some(true)
            });
            fits.then(|| self.but(places, at))
        })
    }

    /// What the header of batch `at` may have been.
    fn candidates(&self, places: &[(usize, usize)], at: usize, head: &Head) -> Vec<Head> {
        let (start, end) = places[at];
        let mut candidates = Vec::new();
        let mut put = |range: std::ops::Range<usize>, bytes: &[u8]| {
            let mut candidate = *head;
            candidate[range].copy_from_slice(bytes);
            candidates.push(candidate);
        };
        let neighbour = |at: usize| places.get(at).and_then(|(start, _)| self.head(*start));
        let before = at.checked_sub(1).and_then(neighbour);
        let after = neighbour(at + 1);
        let first = match &before {
            Some(before) => end_offset(before),
            None => Some(self.base + i64::from(self.run.first)),
        };
        let next = match &after {
            Some(after) => Some(number(&after[BASE])),
            None => Some(self.base + i64::from(self.run.next)),
        };
        let from_next = next.and_then(|next| next.checked_sub(number(&head[DELTA]) + 1));
        for base in first.into_iter().chain(from_next) {
            put(BASE, &base.to_be_bytes());
        }
        for neighbour in before.iter().chain(&after) {
            put(EPOCH, &neighbour[EPOCH]);
        }
        for bit in 0..32 {
            // a run of one epoch has no neighbour to tell it
            let epoch = u32::from_be_bytes([head[12], head[13], head[14], head[15]]) ^ (1 << bit);
            put(EPOCH, &epoch.to_be_bytes());
        }
        put(MAGIC..MAGIC + 1, &[2]);
        let crc = crc32c::crc32c(&self.bytes[start + CRC.end..end]);
        put(CRC, &crc.to_be_bytes());
        candidates
    }

    /// Whether the digest fits once batch `at` has the header `head`.
    fn folds_to(&self, places: &[(usize, usize)], at: usize, head: &Head) -> Option<bool> {
        let mut fold = Fold::begin(self.seed, u64::from(self.run.start));
        for (number, (start, _)) in places.iter().enumerate() {
            let own = OpenHeader::of(&self.bytes[*start..])?;
            fold.push(if number == at { OpenHeader::of(head)? } else { own });
        }
        Some(fold.finish() == self.run.digest)
    }

    fn but(&self, places: &[(usize, usize)], at: usize) -> Fitness {
        let relative =
            |offset: Option<i64>| offset.and_then(|offset| u32::try_from(offset - self.base).ok());
        let head = |at: usize| places.get(at).and_then(|(start, _)| self.head(*start));
        let before = at.checked_sub(1).and_then(head);
        let first = before.and_then(|before| relative(end_offset(&before)));
        let next = head(at + 1).and_then(|after| relative(Some(number(&after[BASE]))));
        let offsets = (first.unwrap_or(self.run.first), next.unwrap_or(self.run.next));
        let start = u64::from(self.run.start);
        let place = |(from, to): (usize, usize)| (start + from as u64, start + to as u64);
        Fitness::But {
            damaged: place(places[at]),
            offsets,
            places: places.iter().copied().map(place).collect(),
        }
    }
}

fn number(bytes: &[u8]) -> i64 {
    match *bytes {
        [a, b, c, d] => i64::from(i32::from_be_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => i64::from_be_bytes([a, b, c, d, e, f, g, h]),
        _ => 0,
    }
}

fn end_offset(head: &Head) -> Option<i64> {
    number(&head[BASE]).checked_add(number(&head[DELTA]))?.checked_add(1)
}
