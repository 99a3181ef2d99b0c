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
    pub(crate) use std::sync::Arc;
    pub(crate) use std::sync::atomic;
}

#[cfg(loom)]
mod real {
    pub(crate) use loom::sync::Arc;
    pub(crate) use loom::sync::atomic;

    /// loom's mutex with parking_lot's face: no poisoning to speak of.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);
    pub(crate) type MutexGuard<'a, T> = loom::sync::MutexGuard<'a, T>;

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Mutex(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
        }
    }

    impl<T: Default> Default for Mutex<T> {
        fn default() -> Self {
            Mutex::new(T::default())
        }
    }
}

pub(crate) use real::*;
