//! The one source of locks and atomics: parking_lot and std in earnest, loom under `cfg(loom)`,
//! shuttle under `cfg(shuttle)`. Threads sleep in a [`Monitor`], which is built of either.
//!
//! Code that is model-checked takes its primitives from here, so that loom and shuttle run the very
//! files that ship: loom every interleaving of two or three threads, shuttle many of up to eight,
//! the same models in `loom_tests`. What loom cannot see (the segment list behind an atomic
//! pointer, the bytes of a mapped tail) is stood in for by the tests themselves; under shuttle
//! the whole crate builds, and its models run over real logs too.
//!
//! Fences use `SeqCst`; accesses use only Relaxed, Acquire and Release, since loom does not
//! model `SeqCst` accesses.

#[cfg(not(any(loom, shuttle)))]
mod real {
    pub(crate) use parking_lot::{Mutex, MutexGuard, RwLock};
    pub(crate) use std::hint::spin_loop;
    pub(crate) use std::sync::Arc;
    pub(crate) use std::sync::atomic;
}

mod monitor;

#[cfg(any(loom, shuttle))]
#[path = "sync/model.rs"]
mod real;

#[cfg(all(test, any(loom, shuttle)))]
pub(crate) mod explore;

pub(crate) use monitor::Monitor;
pub(crate) use real::*;
