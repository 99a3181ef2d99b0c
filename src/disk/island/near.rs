//! The hint to the processor that a line of memory is wanted soon.
//!
//! Here because the instruction takes a pointer. It reads nothing, stores nothing and raises no
//! fault, wherever that points: an address that is kept as a number, and may be of another day, is
//! as good as one that is sure. So there is nothing to assert. Called by `disk::near`.

use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

/// Has the processor fetch the line that an address lies on, if anything lies there.
#[inline(always)]
pub(crate) fn fetch_line(address: usize) {
    // SAFETY: a hint accesses no memory that a program could tell of, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::without_provenance(address)) }
}
