//! Priority lanes: which partitions are whose, and which lane is next.
//!
//! `lanes` is the arithmetic of a topic's lanes, `fairness` the turn of lanes that all have
//! something: both pure. A record's lane is its partition, so nothing is kept or rewritten for it,
//! and each partition keeps its order.
//!
//! Callers: producers choose within a lane, consumers of both kinds ask for the next.

mod fairness;
mod lanes;

pub(crate) use fairness::{Fairness, Turn, Weights};
pub(crate) use lanes::PriorityLanes;

#[cfg(all(test, not(loom)))]
mod tests;
