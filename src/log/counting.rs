//! What a log tells whoever counts the bytes of many logs against a limit.
//!
//! A limit that is set while appends are under way begins a new *count* of what the logs hold. Each
//! log joins it at one moment under its writer lock: what was published before is in the sum that
//! it hands over, what is published later says that it is not. Bytes that leave a log wait in it,
//! under the same lock, until they are taken; those that left before it joined are not in its sum.
//!
//! Called by the engine, whose budget is locked inside the writer lock, never around it.

use super::core::PartitionLog;

/// A count of bytes, above all that were begun before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Count(pub(crate) u64);

/// What a log joins a count with, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Joining {
    /// What it holds.
    pub(crate) held: u64,
    /// What has left it since that was asked last: no part of `held`.
    pub(crate) freed: u64,
}

impl PartitionLog {
    /// Joins a count; `take` is told what the log brings along, under its writer lock.
    pub(crate) fn join_count(&self, count: Count, take: impl FnOnce(Joining)) {
        let mut writer = self.writer.lock();
        writer.count = count;
        let freed = std::mem::take(&mut writer.freed);
        take(Joining { held: self.size().0, freed });
    }

    /// Tells `take`, under the writer lock, how many bytes have left the log since this was called
    /// last, and what count they were part of.
    pub(crate) fn take_freed(&self, take: impl FnOnce(Count, u64)) {
        let mut writer = self.writer.lock();
        take(writer.count, std::mem::take(&mut writer.freed));
    }
}
