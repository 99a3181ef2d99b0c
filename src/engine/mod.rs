//! (being written)

pub(crate) mod root;
