//! Consumers: reading partitions in order, waiting for more, remembering how far.
//!
//! `builder` says how, `place` the part of it that only a member of a group has, `handle` is the
//! [`Consumer`], the rest are its duties, a file each: `assignment` which partitions there are and
//! which are ready, `ranked` in which order where they have priorities, `subscription` how they
//! come and go, `member` how a group has them come and go, `rebalance` who is told of it, `start`
//! where reading a partition begins and begins again, `fetch` one round over what is ready and
//! `straight` its short way, `filter` what of it is wanted, `poll` the calls that wait for it,
//! `stream` the tasks that do, `to_end` the call with a definite end, `undecided` partitions that
//! wait for a transaction, `seek` moving about, `commit` the offsets that are kept,
//! `consumed` those that a transaction keeps, `later` records that are given back, `retrying` how
//! those come again.
//!
//! Invariants: a position moves only when the records before it are handed out; a poll costs what
//! is ready, not what is assigned; nothing is committed unless a call says so.
//!
//! Callers: `store` makes builders.

mod assignment;
mod builder;
mod commit;
mod consumed;
mod fetch;
mod filter;
mod handle;
mod later;
mod member;
mod options;
mod place;
mod poll;
mod ranked;
mod rebalance;
mod reset;
mod retrying;
mod seek;
mod start;
mod straight;
mod stream;
mod subscription;
mod to_end;
mod undecided;
mod watch;

pub use builder::ConsumerBuilder;
pub use commit::OffsetCommit;
pub use filter::PartitionScan;
pub use handle::{Consumer, Interrupt};
pub use member::Membership;
pub use rebalance::{Assigned, RebalanceListener, Revoked};
pub use reset::Reset;
pub use to_end::ReadToEnd;

#[cfg(all(test, not(loom)))]
mod tests;
