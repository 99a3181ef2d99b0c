//! Where a segment's published bytes are had from: the mapped memory itself, or a read of the file.
//!
//! Of a map, what its writer has let go, or has never had in memory, is not looked at before the
//! system was asked for it: two calls a look, which is much for a little. So small ranges of that
//! are read, as those of a sealed segment are; where the file cannot be read, for there is no
//! handle to be had or it has gone from its place, the map has them all the same. What was read and
//! of which little is handed out is copied, or a record would keep a whole buffer. Called by
//! whoever looks at batches where they lie, in `lookup` by way of a [`Region`].

use bytes::{Buf, Bytes};

use super::buffers::ReadBuffer;
use super::shared::Segment;
use crate::disk::{MapReader, read_full_at};
use crate::error::{Error, Result};

/// Smaller ranges of a map are read, if they may not be in memory.
const LEAST_VIEWED: u64 = 64 << 10;

impl Segment {
    /// Published bytes `start..end` as they lie in memory; `None` where there is no map, or a read
    /// of the file is to be preferred.
    pub(super) fn mapped(&self, start: u64, end: u64) -> Option<Result<Bytes>> {
        debug_assert!(end <= self.published(), "only published bytes are read");
        let map = self.map.load();
        let map = map.as_ref().filter(|map| end <= map.0.published())?;
        if end.saturating_sub(start) < LEAST_VIEWED && !map.0.is_at_hand(start) {
            return None;
        }
        Some(self.view(&*map.0, start, end))
    }

    fn view(&self, map: &dyn MapReader, start: u64, end: u64) -> Result<Bytes> {
        let unreadable = |error| Error::io("read segment", &self.path(), error).at_position(start);
        map.view(start, end).map_err(unreadable)
    }

    /// Published bytes `start..end`.
    pub(crate) fn bytes(&self, start: u64, end: u64) -> Result<Bytes> {
        match self.mapped(start, end) {
            Some(mapped) => mapped,
            None => self.read_or_view(start, end),
        }
    }

    fn read_or_view(&self, start: u64, end: u64) -> Result<Bytes> {
        self.read_bytes(start, end).or_else(|error| self.view_after(error, start, end))
    }

    /// The same after a read that failed, unless the file is too short: so it is for a view.
    #[cold]
    fn view_after(&self, error: Error, start: u64, end: u64) -> Result<Bytes> {
        let map = self.map.load();
        match map.as_ref().filter(|map| end <= map.0.published()) {
            Some(map) if !error.is_corrupt() => self.view(&*map.0, start, end).or(Err(error)),
            _ => Err(error),
        }
    }

    fn read_bytes(&self, start: u64, end: u64) -> Result<Bytes> {
        let len = usize::try_from(end.saturating_sub(start)).unwrap_or(0);
        let mut buffer = ReadBuffer::of_len(len);
        let file = self.log()?;
        let got = read_full_at(&**file, &mut buffer, start)
            .map_err(|error| Error::io("read segment", &file.path(), error).at_position(start))?;
        if got < len {
            let end = start + got as u64;
            let end = file.len().map_or(end, |len| len.min(end));
            let short = format!("the file ends after {end} bytes");
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
    /// They lie in a buffer of their own.
    is_read: bool,
}

impl Region {
    pub(super) fn empty() -> Self {
        Region { start: 0, bytes: Bytes::new(), is_read: false }
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
            let (least, likely) = (end_of(least), end_of(least.max(ahead)));
            let bytes = match segment.mapped(position, likely) {
                Some(mapped) => (mapped?, false),
                // what lies behind what is asked for may have been cut off
                None => match segment.read_or_view(position, likely) {
                    Err(error) if error.is_corrupt() && least < likely => {
                        (segment.read_or_view(position, least)?, true)
                    }
                    read => (read?, true),
                },
            };
            (self.bytes, self.is_read) = bytes;
            self.start = position;
        }
        Ok(())
    }

    pub(super) fn from(&self, position: u64) -> &[u8] {
        let at = usize::try_from(position.saturating_sub(self.start)).unwrap_or(usize::MAX);
        self.bytes.get(at..).unwrap_or(&[])
    }

    /// So many of its bytes from `start` on; the owner of those in a map is not counted anew.
    pub(super) fn into_bytes(self, start: u64, len: usize) -> Bytes {
        let held = self.bytes.len();
        let mut bytes = self.bytes;
        bytes.advance(usize::try_from(start - self.start).unwrap_or(usize::MAX));
        debug_assert!(len <= bytes.len());
        bytes.truncate(len);
        match self.is_read && len < held / 4 {
            true => Bytes::copy_from_slice(&bytes),
            false => bytes,
        }
    }
}
