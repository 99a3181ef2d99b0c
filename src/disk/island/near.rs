//! The hints to the processor that a line of memory is wanted soon, to be read or stored into.
//!
//! Here because the instructions take a pointer. They read nothing, store nothing and raise no
//! fault, wherever that points: an address that is kept as a number, and may be of another day, is
//! as good as one that is sure, so of it there is nothing to assert. Called by `disk::near`.

use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

/// Has the processor fetch the line that an address lies on, if anything lies there.
#[inline(always)]
pub(crate) fn fetch_line(address: usize) {
    // SAFETY: a hint accesses no memory that a program could tell of, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::without_provenance(address)) }
}

/// The same of a line that is going to be stored into, which no other processor is to keep. The
/// intrinsic of that hint becomes the other one unless the whole program is made for processors
/// that know it. The oldest of 64 bits take it for an error, those with SSE 4.2 pass over it at
/// least.
#[inline(always)]
pub(crate) fn fetch_line_to_write(address: usize) {
    if is_known() {
        debug_assert!(is_known());
        // SAFETY: a hint as above, which the processor knows; no register or flag is changed.
        unsafe {
            std::arch::asm!(
                "prefetchw [{}]",
                in(reg) address,
                options(nostack, preserves_flags, readonly)
            );
        }
    }
}

#[inline(always)]
fn is_known() -> bool {
    std::arch::is_x86_feature_detected!("sse4.2")
}
