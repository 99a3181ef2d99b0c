//! (being written)

pub(crate) mod partitioner;
