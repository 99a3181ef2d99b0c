//! The one source of locks and atomics: parking_lot and std in earnest, loom under `cfg(loom)`.
//!
//! Code that is model-checked takes its primitives from here, so that loom runs the very files
//! that ship. What loom cannot see (the segment list behind an atomic pointer, the bytes of a
//! mapped tail) is stood in for by the tests themselves.
//!
//! Fences use `SeqCst`; accesses use only Relaxed, Acquire and Release, since loom does not
//! model `SeqCst` accesses.

#[cfg(not(loom))]
mod real {
    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
    pub(crate) use std::hint::spin_loop;
    pub(crate) use std::sync::Arc;
    pub(crate) use std::sync::atomic;
}

#[cfg(loom)]
#[path = "sync/model.rs"]
mod real;

pub(crate) use real::*;
