//! The failure latch: once something durability rests on has failed, it stays failed.
//!
//! A retried sync can report success for bytes the system has already dropped, so the first
//! failure decides and its text is what every later call gets. Tripping and checking are
//! lock-free on the good path. Used by logs, the state log and group commit.

use std::sync::Arc;
use std::sync::OnceLock;

use crate::error::{Cause, Error, Result};

/// Remembers the first failure for good.
#[derive(Debug, Default)]
pub(crate) struct Latch {
    first: OnceLock<Arc<str>>,
}

impl Latch {
    pub(crate) const fn new() -> Self {
        Latch { first: OnceLock::new() }
    }

    /// Latches `error` unless something was latched before.
    pub(crate) fn trip(&self, error: &Error) {
        self.first.get_or_init(|| error.to_string().into());
    }

    /// `Ok` while nothing failed.
    ///
    /// # Errors
    /// `Poisoned` with the first failure's text.
    pub(crate) fn check(&self, operation: &'static str) -> Result<()> {
        match self.first.get() {
            None => Ok(()),
            Some(text) => Err(Error::new(operation, Cause::Poisoned(text.clone()))),
        }
    }

    #[cfg(test)]
    pub(crate) fn is_tripped(&self) -> bool {
        self.first.get().is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_first_failure_wins() {
        let latch = Latch::new();
        latch.check("append").unwrap();
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
    }
}
