//! The processor's counter of ticks, which costs less to read than the system's clock.
//!
//! Here because the instruction is one that no compiler vouches for: a system may forbid it. Where
//! the system tells its own time by the counter, every process reads it in each look at the clock.
//! Called by `clock`, which asks first.

/// The counter as it stands. Only for who knows that the system tells time by it.
#[inline]
pub(crate) fn ticks() -> u64 {
    debug_assert!(super::super::tells_time_by_ticks());
    // SAFETY: the caller has asked whether the system's clock is read off the counter, so the
    // instruction is allowed; it touches nothing but registers.
    unsafe { std::arch::x86_64::_rdtsc() }
}
