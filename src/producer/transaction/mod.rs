//! Producing in transactions.
//!
//! `builder` makes a [`TransactionalProducer`], which has a transactional id to itself; `handle` is
//! that producer, `open` the one [`Transaction`] it may have open, which borrows it, and `topic` a
//! transaction's handle for one topic, which sends.
//!
//! Invariants: at most one transaction of a producer is open, by its type; what is sent lies in the
//! log when the call returns, as the transaction's, and nothing of it lingers; a transaction that
//! is dropped is aborted. The coordinator below decides everything else.

mod builder;
mod handle;
mod open;
mod topic;

pub use builder::TransactionalProducerBuilder;
pub use handle::TransactionalProducer;
pub use open::Transaction;
pub use topic::TransactionTopic;
