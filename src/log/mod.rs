//! (being written)

pub(crate) mod checkpoint;
