//! (being written)

pub(crate) mod schema;
