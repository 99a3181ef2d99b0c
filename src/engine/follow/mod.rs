//! An engine that reads a root another process may be writing to.
//!
//! `follower` is when it looks again and for whom, `partition` one partition's part of that,
//! `catalog` how topics come and go, `left` what only the journal has. Nothing here writes, locks
//! or makes a file.
//!
//! Who reads looks for himself, at most once per `follow_interval`; only for those who wait is
//! there a timer, and it looks at what they wait for and at the state log. With nobody waiting
//! nothing runs.

mod catalog;
mod follower;
mod left;
mod partition;

pub(super) use catalog::Applied;
pub(crate) use catalog::FollowOptions;
pub(super) use follower::Follower;
pub(crate) use follower::Waiting;
pub(crate) use partition::FollowedPartition;
