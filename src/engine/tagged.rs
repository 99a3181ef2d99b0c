//! What a partition does for readers who want some tags alone: it wakes them for what may have one,
//! and tells them what to pass over.
//!
//! Which tags an append has is asked only once somebody waits. Where that is not known (the topic
//! does not keep tags, another process writes the log) everybody is woken and nothing is passed
//! over. Callers: whoever appends, and consumers.

use super::partition::Partition;
use crate::ids::Offset;
use crate::log::{Ahead, Appended, Cursor, FetchLimits, TagReader};
use crate::record::TagBits;
use crate::wait::{Registration, WaitSet};

impl Partition {
    /// Has a set of waits told of what is appended from here on, and of whatever else changes; of
    /// appends, where `bits` are given, those alone that may have one of these tags.
    pub(crate) fn register(&self, set: &WaitSet, token: usize, bits: u64) -> Registration {
        if let Ok(log) = self.log() {
            log.announce_appends();
        }
        set.register_for(self.signal(), token, bits)
    }

    /// Wakes who waits for what was appended; of those who wait for some tags, those whom it may
    /// concern. With no lock held: it may run wakers.
    #[inline(always)] // see `producer::walk`
    pub(crate) fn announce(&self, appended: &Appended) {
        if appended.is_awaited {
            self.announce_at([appended.base_offset]);
        }
    }

    /// The same for several.
    pub(crate) fn announce_all<'a>(&self, all: impl Iterator<Item = &'a Appended> + Clone) {
        let awaited = all.filter(|appended| appended.is_awaited);
        if awaited.clone().next().is_some() {
            self.announce_at(awaited.map(|appended| appended.base_offset));
        }
    }

    fn announce_at(&self, bases: impl IntoIterator<Item = Offset>) {
        self.signal().notify_wanting(|| {
            let shown = bases.into_iter().map(|base| self.shown_by(base));
            shown.fold(TagBits::NONE, TagBits::and).word()
        });
    }

    #[cold]
    fn shown_by(&self, base: Offset) -> TagBits {
        self.log().map_or(TagBits::ANY, |log| log.shown_by(base))
    }

    /// What lies from `from` on, as far as the tags of batches tell.
    pub(crate) fn look_ahead(
        &self,
        from: Offset,
        cursor: Option<&Cursor>,
        limits: FetchLimits,
        wanted: (TagBits, &mut TagReader),
    ) -> Ahead {
        match self.log() {
            Ok(log) => log.look_ahead(from, cursor, limits, wanted),
            Err(_) => Ahead::Unknown,
        }
    }
}
