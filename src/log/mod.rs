//! One partition: an append-only log of segments, alone or under a store.
//!
//! [`PartitionLog`] is what the engine opens by the thousand; [`Log`] is the same behind a public
//! door of its own, for those who want one durable log and no topics. The rooms: `append`, `fetch`,
//! `lookup`, `durable`, `trim`, `truncate` and `close` are what a log does, `rest` is the fetch of
//! who reads at the end, `stretch` says what a reader of tags may pass over, `filtered` is its
//! door, `journaled` what the journal does, `cover` saves digests; `open`, `leftovers` and
//! `verdict` are recovery, with `replay` of the journal (`frames` decides what is missing),
//! `reopen` lifts a poison by it; `follow` reads a log that another process writes; `retain` and
//! `epochs` decide; `offsets` holds every offset; `claims` admits the batches of producers,
//! `snapshots` are their files, `relearn` reads those, `numbered` and `transactional` are their
//! doors; `aborted` says what readers are not given, `aborted_files` keeps that, and
//! `aborted_vouch` vouches for it; `led` and `replicated` obey a host that leads the log, `replica`
//! and `hosted` are its door, `raw` reads batches as they lie; `audit` holds a directory against
//! what is known of it; `checkpoint` and `directory` are Kafka's small files; `swap` puts rewritten
//! segments in the place of others; `copy_out` copies a log in use; `keeper` remembers the rest.

mod aborted;
mod aborted_files;
mod aborted_vouch;
mod ahead;
mod append;
mod audit;
mod builder;
pub(crate) mod checkpoint;
mod claims;
mod close;
mod copy_out;
mod core;
mod counting;
mod cover;
mod directory;
mod door;
mod durable;
mod epochs;
mod fetch;
mod filtered;
mod finding;
mod follow;
mod frames;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod hosted;
mod journaled;
mod keeper;
mod led;
mod leftovers;
mod lookup;
mod marks;
mod near;
mod numbered;
mod offsets;
mod open;
pub(crate) mod producers;
mod raw;
mod receipt;
mod relearn;
mod reopen;
mod replay;
mod replica;
mod replicated;
mod report;
mod rest;
mod retain;
mod rules;
#[cfg(all(test, shuttle, feature = "sim"))]
mod shuttle_tests;
mod slots;
mod snapshots;
mod stretch;
mod swap;
#[cfg(test)]
mod tests;
mod transactional;
mod trim;
mod truncate;
mod upkeep;
mod verdict;

pub(crate) use crate::segment::{Rest, TagReader};
pub(crate) use aborted::Aborted;
pub(crate) use append::Appended;
pub(crate) use audit::{
    AuditFacts, PartitionAudit, PartitionAudited, SegmentAudited, list_lone, unlisted,
};
pub use builder::LogBuilder;
pub(crate) use claims::LastBatch;
pub(crate) use copy_out::{Amounts, Secured, Sharing, cut_all};
pub(crate) use core::{Attention, LogName, LogSetup, PartitionLog};
pub(crate) use counting::Count;
pub use door::Log;
pub(crate) use durable::BegunSync;
pub(crate) use fetch::{Cursor, FetchLimits, Fetched};
pub use filtered::FilteredRead;
pub use finding::{Finding, FindingKind, Unvouched};
pub(crate) use follow::{FactSource, FollowFacts, FollowedLog};
pub(crate) use keeper::{Durable, Keeper, KnownFacts, LastStop, LogFact, LogId};
pub(crate) use led::{HandedOver, MOST_DRAWS, outrun};
pub use lookup::{FoundOffset, OffsetSpec};
pub(crate) use near::LogNear;
pub(crate) use offsets::OffsetSnapshot;
pub use producers::ProducerState;
pub use raw::{RawBatches, RawLimits};
pub use receipt::LogReceipt;
pub(crate) use replicated::LeaderBatches;
pub use report::{Damage, PartitionReport, TornTail};
pub(crate) use retain::CappedHold;
pub(crate) use slots::epoch_of_nobody;
pub(crate) use stretch::{Ahead, Skipped};
pub(crate) use swap::{Sealed, Swapped};
pub(crate) use trim::Dropped;
