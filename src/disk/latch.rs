//! The failure latch: once something durability rests on has failed, it stays failed.
//!
//! A retried sync can report success for bytes the system has already dropped, so the first
//! failure decides and its text is what every later call gets. Checking is lock-free. Only who
//! has put new files in the place of what failed may lift it. Used by logs and the state log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Cause, Error, Result};
use crate::sync::Mutex;

/// Remembers the first failure.
#[derive(Debug, Default)]
#[repr(C)] // beside what else its owner's every call reads
pub(crate) struct Latch {
    first: Mutex<Option<Arc<str>>>,
    /// Whether there is one; written under the lock.
    tripped: AtomicBool,
}

impl Latch {
    /// Latches `error` unless something was latched before.
    pub(crate) fn trip(&self, error: &Error) {
        let mut first = self.first.lock();
        first.get_or_insert_with(|| error.to_string().into());
        self.tripped.store(true, Ordering::Release);
    }

    /// Forgets the failure: nothing that it put in doubt is in use any more.
    pub(crate) fn lift(&self) {
        let mut first = self.first.lock();
        *first = None;
        self.tripped.store(false, Ordering::Release);
    }

    /// `Ok` while nothing failed.
    ///
    /// # Errors
    /// `Poisoned` with the first failure's text.
    #[inline]
    pub(crate) fn check(&self, operation: &'static str) -> Result<()> {
        if self.is_tripped() { self.tripped(operation) } else { Ok(()) }
    }

    #[cold]
    fn tripped(&self, operation: &'static str) -> Result<()> {
        match &*self.first.lock() {
            None => Ok(()), // lifted just now
            Some(text) => Err(Error::new(operation, Cause::Poisoned(text.clone()))),
        }
    }

    #[inline]
    pub(crate) fn is_tripped(&self) -> bool {
        self.tripped.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_first_failure_wins() {
        let latch = Latch::default();
        latch.check("append").unwrap();
        assert!(!latch.is_tripped());
        let fail = |errno| {
            Error::io("sync segment", Path::new("x.log"), io::Error::from_raw_os_error(errno))
        };
        latch.trip(&fail(5));
        latch.trip(&fail(28));
        assert!(latch.is_tripped());
        let error = latch.check("append").unwrap_err();
        assert!(error.is_poisoned() && !error.is_retriable());
        assert_eq!(error.operation(), "append");
        assert!(error.to_string().contains("sync segment"), "{error}");
        assert!(!error.to_string().contains("No space"), "{error}");
        latch.lift();
        latch.check("append").unwrap();
        assert!(!latch.is_tripped());
    }
}
