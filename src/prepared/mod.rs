//! Prepared transactions: records that are kept while local work runs, and are published or dropped
//! by what came of it.
//!
//! `state` is which are prepared, when their owner is asked and how the last ones ended, pure;
//! `schema` the bytes; `coordinator` keeps and resolves them, `asking` asks the program about those
//! that nobody resolves, `view` is what the program sees of one.
//!
//! Invariants: a transaction is resolved once and in one way; publishing it and resolving it is one
//! commit, so its records are visible exactly once or never, whatever stops when; nothing waits in
//! a target topic, and nobody waits for a resolver.
//!
//! Callers: `producer` prepares and registers resolvers; `store` opens, resolves and lists.

mod asking;
mod coordinator;
mod schema;
mod state;
mod view;

#[cfg(fuzzing)]
pub(crate) use schema::fuzz;

pub use asking::Resolution;
pub(crate) use asking::{Asker, Resolver};
pub(crate) use coordinator::{Prepared, PreparedNumbers};
pub use state::Exhausted;
pub(crate) use state::{Checks, Outcome};
pub use view::{PreparedId, PreparedTransaction};
