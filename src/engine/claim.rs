//! What the handles of a user hold an open store by: with the last of them it closes.
//!
//! The store's own threads hold the engine too while they work, and so does what they work on. Were
//! it to close when nobody holds the engine, a handle that is dropped while they work would return
//! before the store is closed and its directory free. So handles are counted by themselves, and
//! whoever drops the last one closes, and blocks for it.

use std::ops::Deref;
use std::sync::Arc;

use super::Engine;

/// A handle's share in an open store.
#[derive(Clone, Debug)]
pub(crate) struct Claim(Arc<Claimed>);

#[derive(Debug)]
struct Claimed(Arc<Engine>);

impl Claim {
    /// The first one of a store.
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Claim(Arc::new(Claimed(engine)))
    }

    /// For what works for a handle and may outlive it.
    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.0.0
    }
}

impl Deref for Claim {
    type Target = Engine;

    #[inline]
    fn deref(&self) -> &Engine {
        &self.0.0
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        self.0.close_unasked();
    }
}
