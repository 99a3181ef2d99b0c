//! The journal: power-durable appends to many partitions for the price of one sequential sync.
//!
//! One file in the root, written over in place: `frame` knows its bytes, `ring` where the next
//! frame goes and what may be written over, `file` makes it, `core` is the [`Journal`] that logs
//! commit through, `replay` reads what an unclean stop left.
//!
//! A frame holds whole batches of one partition: the bytes of one segment from where the partition
//! was durable to where it shall be. So a frame that is durable makes the whole prefix durable, and
//! the segment may be synced later. What a frame says is a copy: segments stay the log.
//!
//! Invariants: space is written over only after the segments of every partition with frames in it
//! were synced beyond them, and after a durable frame has said so. Sequences have no gap. No sync
//! is tried again: a journal that failed is retired, and logs sync their segments themselves. It
//! never blocks an append for want of space.
//!
//! Called by `log` (commits, syncs of segments) and `engine` (making, replay, retirement).

mod core;
mod file;
mod frame;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod replay;
mod ring;
#[cfg(test)]
mod tests;

pub(crate) use self::core::{Journal, Kept, Upkeep};
pub(crate) use self::frame::{Extent, Reign};
pub(crate) use self::replay::{Frame, encode_aside, read};
