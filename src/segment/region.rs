//! A segment's published bytes, wherever they are: the mapped memory itself where there is some,
//! else what was read of the file.
//!
//! Of a map, what its writer has let go, or has never had in memory, is not looked at before the
//! system was asked for it: two calls a look, which is much for a little. So small ranges of that
//! are read, as those of a sealed segment are. Called by whoever reads batches or looks for them.

use bytes::{Buf, Bytes};

use super::buffers::ReadBuffer;
use super::shared::Segment;
use crate::disk::read_full_at;
use crate::error::{Error, Result};

/// Smaller ranges of a map are read, if they may not be in memory.
const LEAST_VIEWED: u64 = 64 << 10;

impl Segment {
    /// Published bytes `start..end` as they lie in memory; `None` where a read of the file is to
    /// be preferred, or all there is.
    pub(super) fn mapped(&self, start: u64, end: u64) -> Option<Result<Bytes>> {
        debug_assert!(end <= self.published(), "only published bytes are read");
        let map = self.map.load();
        let map = map.as_ref().filter(|map| end <= map.0.published())?;
        if end.saturating_sub(start) < LEAST_VIEWED && !map.0.is_at_hand(start) {
            return None;
        }
        let unreadable = |error| Error::io("read segment", &self.path(), error).at_position(start);
        Some(map.0.view(start, end).map_err(unreadable))
    }

    /// Published bytes `start..end`.
    pub(crate) fn bytes(&self, start: u64, end: u64) -> Result<Bytes> {
        if let Some(mapped) = self.mapped(start, end) {
            return mapped;
        }
        let len = usize::try_from(end.saturating_sub(start)).unwrap_or(0);
        let mut buffer = ReadBuffer::of_len(len);
        let file = self.log()?;
        let got = read_full_at(&**file, &mut buffer, start)
            .map_err(|error| Error::io("read segment", &file.path(), error).at_position(start))?;
        if got < len {
            let short = format!("the file ends after {} bytes", start + got as u64);
            return Err(Error::corrupt("read segment", &file.path(), start, short));
        }
        Ok(buffer.into_bytes())
    }
}

/// Bytes of a segment at hand, and where they begin.
#[derive(Debug)]
pub(super) struct Region {
    pub(super) start: u64,
    pub(super) bytes: Bytes,
}

impl Region {
    pub(super) fn empty() -> Self {
        Region { start: 0, bytes: Bytes::new() }
    }

    /// Has at least `least` bytes from `position`, or all that are published; reads `ahead` bytes
    /// where it must read.
    pub(super) fn cover(
        &mut self,
        segment: &Segment,
        position: u64,
        least: usize,
        ahead: usize,
        published: u64,
    ) -> Result<()> {
        let end_of = |len: usize| position.saturating_add(len as u64).min(published);
        let held_end = self.start + self.bytes.len() as u64;
        if position < self.start || held_end < end_of(least) {
            self.bytes = segment.bytes(position, end_of(least.max(ahead)))?;
            self.start = position;
        }
        Ok(())
    }

    pub(super) fn from(&self, position: u64) -> &[u8] {
        let at = usize::try_from(position.saturating_sub(self.start)).unwrap_or(usize::MAX);
        self.bytes.get(at..).unwrap_or(&[])
    }

    /// So many of its bytes from `start` on; their owner is not counted anew.
    pub(super) fn into_bytes(self, start: u64, len: usize) -> Bytes {
        let mut bytes = self.bytes;
        bytes.advance(usize::try_from(start - self.start).unwrap_or(usize::MAX));
        debug_assert!(len <= bytes.len());
        bytes.truncate(len);
        bytes
    }
}
