//! Preparing: records that are published or dropped by what comes of the program's local work.
//!
//! `builder` says who is asked about what nobody resolved, when and how often; `handle` prepares
//! and resolves. The coordinator below keeps and decides.

mod builder;
mod handle;

pub use builder::PreparedBuilder;
pub use handle::PreparedProducer;
