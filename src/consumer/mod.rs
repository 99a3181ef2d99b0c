//! Consumers: reading partitions in order, waiting for more, remembering how far.
//!
//! `builder` says how, `handle` is the [`Consumer`], the rest are its duties, a file each:
//! `assignment` which partitions there are and which are ready, `subscription` how they come and
//! go, `start` where reading a partition begins and begins again, `fetch` one round over what is
//! ready, `poll` the calls that wait for it, `to_end` the one with a definite end, `seek` moving
//! about, `commit` the offsets that are kept.
//!
//! Invariants: a position moves only when the records before it are handed out; a poll costs what
//! is ready, not what is assigned; nothing is committed unless a call says so.
//!
//! Callers: `store` makes builders.

mod assignment;
mod builder;
mod commit;
mod fetch;
mod handle;
mod poll;
mod reset;
mod seek;
mod start;
mod subscription;
mod to_end;

pub use builder::ConsumerBuilder;
pub use commit::OffsetCommit;
pub use handle::{Consumer, Interrupt};
pub use reset::Reset;
pub use to_end::ReadToEnd;

#[cfg(all(test, not(loom)))]
mod tests;
