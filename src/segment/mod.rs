//! One segment: a `.log` file of record batches and the sparse indexes over it.
//!
//! A [`Segment`] is what readers share; the one writer of the active segment owns a [`Tail`]
//! beside it. Bytes below the segment's published end are final and read without a lock; bytes
//! above it belong to the tail. Indexes are disposable: while a segment grows they live in memory,
//! once it is sealed they lie in `.index` and `.timeindex`, and whenever those are missing, torn or
//! wrong they are made again from the log, for that segment alone.
//!
//! Called by `log/`, which decides when to roll, seal, drop and recover, and by `compact/`, which
//! reads segments and writes them again.

mod audit;
mod buffers;
mod collect;
mod cover;
mod cut_point;
mod digest;
mod digested;
mod follow;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod index;
mod index_file;
mod legacy;
mod locate;
mod lookup;
mod mend;
mod newest;
mod recover;
mod region;
mod resume;
mod retire;
mod rewrite;
mod scan;
mod shared;
mod sidecar;
mod tag_file;
mod tags;
mod tail;
mod transaction_index;
mod unshare;
mod vouchers;
mod window;

pub(crate) use audit::{Audit, AuditRules, Fault, Wrong};
pub(crate) use collect::Rest;
pub(crate) use digest::{Identity, Origin};
pub(crate) use follow::{Beyond, FollowedTail};
pub(crate) use index::{Indexer, OffsetEntry, TimeEntry, relative};
pub(crate) use index_file::{Layout, entries_of};
pub(crate) use legacy::legacy_at;
pub(crate) use lookup::{Chunk, Limits};
pub(crate) use rewrite::{Rewrite, Rewritten};
pub(crate) use scan::{Scan, Stop, Walk, WalkStep, misfit};
pub(crate) use shared::{Place, Segment, Tenancy};
pub(crate) use tag_file::{Missing, TagReader};
pub(crate) use tail::{NEXT_LINES, Tail, TailLimits};
pub use transaction_index::AbortedTransaction;
pub(crate) use transaction_index::{parse_transaction_index, transaction_index_bytes};
pub(crate) use vouchers::Vouchers;
