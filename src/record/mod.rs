//! Records and record batches: Kafka's format version 2, bytes to records and back, no I/O.
//!
//! `header` owns the layout of a batch's first 61 bytes, `batch` reads the records behind them in
//! place, `plain` looks at such a batch as nearly all are, `before` passes over those that lie
//! before an offset, `lend` walks over records once they are checked, `codec` decompresses and
//! compresses them, `encode` and `buffer` write, `produced` says for whom, `marker` is the end of a
//! transaction, `pack` compresses what they wrote, `sent` takes in what others made, `rewrite`
//! writes again what compaction keeps, `deduplicated` has the id that a record is sent once under,
//! `single`, `records` and `view` are what programs hand in and get back, `iter` lends that one by
//! one, `filter` says which are wanted and `choose` takes those, `fault` says what can be wrong.
//! Every length is bounded before it is used; nothing here allocates by a number it read, and
//! nothing panics on bytes.

mod batch;
mod before;
mod buffer;
mod choose;
mod codec;
mod deduplicated;
mod encode;
mod fault;
mod fields;
mod filter;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod header;
mod iter;
mod lend;
mod marker;
mod pack;
mod pieces;
mod plain;
mod produced;
mod records;
mod rewrite;
mod sent;
mod single;
mod times;
mod varint;
mod view;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use {pieces::tests::check as check_pieces, tests::one_batch};

pub use batch::Headers;
pub(crate) use batch::{Batch, ControlRecord, RecordIter};
pub(crate) use before::len_before;
pub(crate) use buffer::BatchBuffer;
pub(crate) use codec::PlainLimit;
pub(crate) use deduplicated::DEDUPLICATION_ID;
pub(crate) use encode::{AppendBatch, BatchRules, BorrowedBatch, Reach, Stamp, Sum, TimestampRule};
pub(crate) use fault::BatchFault;
pub use filter::RecordFilter;
pub(crate) use filter::TagBits;
pub(crate) use header::BatchHeader;
pub use iter::RecordsIter;
pub use marker::MarkerKind;
pub(crate) use marker::{Marker, MarkerBatch};
pub(crate) use pack::{check_built, packed};
pub(crate) use pieces::Pieces;
pub(crate) use plain::{Follows, Plain};
pub use produced::ProducerIdentity;
pub(crate) use produced::{Produced, ProducerClaim, ProducerStamp};
pub use records::Records;
pub(crate) use records::{Batches, RecordsOrigin, Sound, TakeRules, Taken};
pub(crate) use sent::SentBatch;
pub use single::{Header, OwnedRecord, Record};
pub(crate) use times::Times;
pub use view::RecordView;
