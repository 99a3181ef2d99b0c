//! Transactions: all or nothing over any partitions, and over the offsets of groups.
//!
//! `state` is the pure state of one transactional id, `schema` its bytes in Kafka's
//! `__transaction_state`, `coordinator` all ids of a store: who has one, what its transaction has
//! reached, its end. `ending` carries a decision through: the record that decides, the markers in
//! every partition, the record that they are there. `recover` does what an earlier life left
//! undone, `administer` is what operators see and do, and what time does; `publish` is how the
//! coordinators above use all this for the store's own ends.
//!
//! Invariants: a partition is named in the log before a record of the transaction is written to it;
//! a decision takes effect only once it is in the log, and, where it was promised to survive a
//! power cut, only once that and every record it is about is on disk; what is decided is carried
//! through, by whoever comes by, in this life or the next.
//!
//! Locks: the table of ids, then one id's slot, which is held across appends. Below it a group's
//! turn may be taken, never the other way round.
//!
//! Callers: `producer` takes an id and ends transactions; `store` opens it, lists and aborts.

mod administer;
mod coordinator;
mod ending;
mod publish;
mod recover;
mod schema;
mod state;

#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(fuzzing)]
pub(crate) use schema::fuzz;

pub use administer::{OpenTransaction, TransactionDescription};
pub(crate) use coordinator::{MarkerFollower, Reached, Taken, Transactions};
pub(crate) use publish::{Part, Publisher, Unpublished, check_not_own, check_record};
pub use state::TransactionPhase;
