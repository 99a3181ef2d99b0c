//! Room on the device for what a busy segment is still to hold: found before a sync, so that
//! appends do not wait for it, and given back by whoever ends the business.
//!
//! Found under the log's sync lock; given back there, once the segment has stopped growing, or
//! under the writer lock, where its log is left alone, for nobody may append meanwhile. That there
//! is some is said only once it was found, and until it was given back.

use super::Segment;
use crate::sync::atomic::Ordering;

/// From so many unsynced bytes on a log is worth finding room for.
const BUSY_BYTES: u64 = if cfg!(test) { 256 << 10 } else { 16 << 20 };
/// Room is found for so many times what is unsynced: a sender may be so much quicker than the sync.
const TIMES_AHEAD: u64 = 4;

impl Segment {
    /// Before a sync of `unsynced` bytes of a log that takes more and more: has room found, up to
    /// `limit`, for what is appended while this sync lasts and the next. It could not be found then
    /// without whoever appends waiting for it. Of a log that rested after its last sync, as where
    /// each burst is flushed, nobody knows yet that more will come.
    pub(crate) fn reserve(&self, unsynced: u64, limit: u64) {
        if unsynced < BUSY_BYTES || self.rested.swap(false, Ordering::Relaxed) {
            return;
        }
        let end = self.published().saturating_add(unsynced.saturating_mul(TIMES_AHEAD)).min(limit);
        // said only afterwards: whoever rolls the segment meanwhile leaves it to the next sync
        if self.log().is_ok_and(|file| file.reserve(end)) {
            self.room.store(true, Ordering::Relaxed);
        }
    }

    /// Its log is left alone: the file, `len` bytes long, has room beyond its end no more.
    pub(in crate::segment) fn rest(&self, len: u64) {
        self.rested.store(true, Ordering::Relaxed);
        self.give_back_room(len);
    }

    /// Gives back what room the file, `len` bytes long, has beyond its end; where nobody appends.
    pub(super) fn give_back_room(&self, len: u64) {
        if self.room.load(Ordering::Relaxed) && self.log().is_ok_and(|file| file.release(len)) {
            self.room.store(false, Ordering::Relaxed);
        }
    }

    /// The same for what a process that was killed has left of this one.
    pub(crate) fn give_back_old_room(&self) {
        if let Ok(file) = self.log() {
            let _ = file.release(self.published()); // else the next open tries again
        }
    }
}
