//! How far the file of an active segment is mapped, and how much of that may be stored into.
//!
//! A window of zeros lies ahead of what is written. It starts at 4 KiB and grows while the segment
//! stays busy, and so does what is mapped of the file, from 256 KiB on; of a busy one the next is
//! asked for before it is needed. Called by the segment's `tail`, under the writer lock.

use super::shared::Segment;
use crate::disk::TailMap;

/// The first window, and what an idle partition keeps.
const FIRST_WINDOW: u64 = 4 << 10;
/// The largest window: its zeroing is the longest pause an append meets, and costs two system
/// calls, which more than two thousand small appends share.
const LARGEST_WINDOW: u64 = 512 << 10;
/// From this size on a window's successor is asked for at once, from a thread that may have one
/// ready in time; of a smaller one when half of it is full: it may be the log's last for long.
const BUSY_WINDOW: u64 = LARGEST_WINDOW;
/// How much of a file is mapped at first, and by what it is multiplied once that is full. Many
/// small maps lie side by side and share pages of page tables, which large ones do not: an append
/// to one of thousands of logs waits for those as much as for anything.
const FIRST_MAP: u64 = 256 << 10;
const MAP_GROWTH: u64 = 16;

/// What lies ahead of a mapped segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// Up to there a batch is stored without a further look; never above what is allocated.
    pub(super) calm: u64,
    /// How large the next one is to be.
    next: u64,
}

impl Window {
    pub(super) const FIRST: Window = Window { calm: 0, next: FIRST_WINDOW };

    /// Of the next one, where the file is so long: never more zeros than there are bytes.
    fn size(&self, allocated: u64) -> u64 {
        self.next.min(allocated.max(FIRST_WINDOW))
    }

    /// Its segment is busy no more.
    pub(super) fn rest(&mut self) {
        self.next = FIRST_WINDOW;
    }
}

/// How much of a file is to be mapped that reaches to `end`, which is at most its limit or, with a
/// batch that goes beyond, its end.
pub(super) fn map_size(end: u64, limit: u64) -> u64 {
    let sizes = std::iter::successors(Some(FIRST_MAP), |size| size.checked_mul(MAP_GROWTH));
    let size = sizes.into_iter().find(|size| *size > end).unwrap_or(u64::MAX);
    size.min(limit).max(end)
}

/// Maps the file anew, up to `end` at least; `false` where that cannot be had (too many maps, no
/// memory).
#[cold]
pub(super) fn enlarge(map: &mut dyn TailMap, end: u64, limit: u64, segment: &Segment) -> bool {
    match map.enlarge(map_size(end, limit)) {
        Ok(()) => {
            segment.set_map(map);
            true
        }
        Err(error) => {
            log::warn!("{} is not mapped any further: {error}", segment.path().display());
            false
        }
    }
}

/// Where a batch is about to end beyond the calm part of the window: asks for the next one, or,
/// where the window ends too, readies that. It is twice the last one while the segment stays busy,
/// and never longer than what lies before it, for pages are what a log of many costs; nor past the
/// segment's limit unless the batch itself reaches there. `false`: the map does not reach as far.
#[cold]
pub(super) fn grow(
    map: &mut dyn TailMap,
    window: &mut Window,
    end: u64,
    limit: u64,
    segment: &Segment,
) -> std::io::Result<bool> {
    let allocated = map.allocated();
    if end > allocated {
        let page_end = end.next_multiple_of(FIRST_WINDOW);
        let size = window.size(allocated);
        let wanted = allocated.saturating_add(size).min(limit).max(page_end);
        // the last page may reach past the segment's limit; the map's capacity ends there
        let mut wanted = wanted.min(limit.max(end));
        if end <= map.capacity() {
            wanted = wanted.min(map.capacity()); // a larger map once a batch needs it
        } else if !enlarge(map, wanted, limit, segment) {
            return Ok(false);
        }
        map.allocate(wanted)?;
        window.next = (window.next * 2).min(LARGEST_WINDOW);
        let size = map.allocated() - allocated;
        if size < BUSY_WINDOW {
            window.calm = end.max(map.allocated() - size / 2);
            return Ok(true);
        }
    }
    let allocated = map.allocated();
    let size = window.size(allocated);
    map.prepare(size, map_size(allocated.saturating_add(size).min(limit), limit));
    window.calm = allocated;
    Ok(true)
}
