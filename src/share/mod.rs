//! Share groups: any number of consumers of one group take records of any partition under a lease.
//!
//! Kafka's KIP-932, which is RocketMQ's POP too. `state` is the pure state of one group in one
//! partition: what is finished, leased, waiting, due later; `deliveries` what one record of it
//! may go through; `owed` what becomes of it at last; `change` a change of it before it takes
//! effect, `written` what the log is to say of it. `schema` owns the bytes in Kafka's
//! `__share_group_state`, `saved` what is read back from them, `replayed` how. `place` is that
//! state behind its lock, with its log, its timer and who waits, `watch` what they wait for;
//! `take` how records come to be leased there, `settle` how leases end, `again` how what an
//! ordinary consumer has read comes once more, `damage` what is passed that cannot be read,
//! `sieve` what a filter wants, `stopped` what a group stops at, `burying` makes dead letters,
//! `cut` what a log that was cut takes back. `groups` are all share groups of a store,
//! `administer` is what operators see and do, `settings` are the words of all.
//!
//! Invariants: memory changes only after the append; what was acknowledged durably is never handed
//! out again, what was not always is; only the holder of the latest lease ends it.
//!
//! Locks: the table of groups, then a group's table of places, then a place. None is held while
//! clocks, wakers or the host's code run.
//!
//! Callers: `share_consumer`, whose handles take and settle, `consumer`, which gives back for
//! later, and `store`, which opens, lists, resets and deletes.

mod administer;
mod again;
mod burying;
mod change;
mod cut;
mod damage;
mod deliveries;
mod groups;
mod owed;
mod place;
mod replayed;
mod saved;
mod schema;
mod settings;
mod settle;
mod sieve;
mod state;
mod stopped;
mod take;
mod watch;
mod written;

#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(fuzzing)]
pub(crate) use schema::fuzz;

pub(crate) use administer::PlaceView;
pub(crate) use again::Again;
pub(crate) use deliveries::{LeaseFault, LeaseId, Resolution, Word};
pub(crate) use groups::{LEASE, ShareGroup, ShareGroups};
pub(crate) use place::{Place, Shown};
pub use settings::ShareStart;
pub(crate) use settings::{GroupSettings, Intake, Letters, RETRIES_OF, Terms};
pub(crate) use settings::{check_settings, retries_of};
pub(crate) use settle::{LONGEST_DELAY, Settling};
pub(crate) use stopped::{StoppedAt, Verdict};
pub(crate) use take::{TakeRequest, TakenNote};
