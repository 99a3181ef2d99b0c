//! The handle a program holds, and the count of them.
//!
//! Handles count themselves rather than lean on the `Arc`: the timer borrows the core now and
//! then, and the last handle must find everything flushed when its drop returns.

use std::fmt;
use std::sync::Arc;

use super::core::Core;
use super::topic::TopicProducer;
use crate::engine::Claim;
use crate::error::{Cause, Error, Result};

/// One handle's share in the producer, and in the store, which outlives what the producer still
/// has to send.
#[derive(Debug)]
pub(super) struct Lease(Arc<Core>, Claim);

impl Lease {
    #[inline]
    pub(super) fn core(&self) -> &Arc<Core> {
        &self.0
    }
}

impl Clone for Lease {
    fn clone(&self) -> Self {
        self.0.enter();
        Lease(self.0.clone(), self.1.clone())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Puts records into topics. Cheap to clone and to share between threads: clones, and the topic
/// handles made from them, are one producer with one linger buffer.
///
/// When the last of them is dropped, what lingers is flushed first, which may block; a failure is
/// logged. Closing the store flushes too, and every later call fails as
/// [`ErrorKind::Closed`](crate::ErrorKind::Closed).
///
/// ```
/// use tidelog::{Record, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("orders", TopicConfig::new().partitions(4))?;
/// let producer = store.producer().build()?;
/// let orders = producer.topic("orders")?; // resolves the name once
/// orders.send(Record::new("hello").key("customer-7"))?;
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone)]
pub struct Producer {
    lease: Lease,
}

impl Producer {
    pub(super) fn core(&self) -> &Arc<Core> {
        self.lease.core()
    }

    /// Takes over the count that the core was made with.
    pub(super) fn new(core: Arc<Core>, claim: Claim) -> Self {
        Producer { lease: Lease(core, claim) }
    }

    /// A handle for the topic that has this name now.
    ///
    /// It stays with that topic: it sees partitions that are added, and once the topic is deleted
    /// each call fails as [`ErrorKind::NotFound`], also if another topic was made under the name.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::InvalidArgument`] for a topic the store keeps for
    /// itself; [`ErrorKind::Closed`].
    ///
    /// ```
    /// # use tidelog::{ErrorKind, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # let producer = store.producer().build()?;
    /// assert_eq!(producer.topic("orders").unwrap_err().kind(), ErrorKind::NotFound);
    /// store.ensure_topic("orders", TopicConfig::new())?;
    /// assert_eq!(producer.topic("orders")?.name(), "orders");
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    ///
    /// [`ErrorKind::NotFound`]: crate::ErrorKind::NotFound
    /// [`ErrorKind::InvalidArgument`]: crate::ErrorKind::InvalidArgument
    /// [`ErrorKind::Closed`]: crate::ErrorKind::Closed
    pub fn topic(&self, name: &str) -> Result<TopicProducer> {
        let core = self.lease.core();
        let topic = core.engine().topic(name)?;
        if topic.is_internal() {
            let text = format!("topic `{name}` is the store's own");
            return Err(Error::new("find topic", Cause::InvalidArgument(text)));
        }
        Ok(TopicProducer::new(self.lease.clone(), core.lanes_of(topic)))
    }

    /// Writes everything that lingers and blocks until it is in the log, as durable as was asked
    /// for. Not to be called inside a waker: it may be the one of a batch this waits for.
    ///
    /// # Errors
    /// `Ok`: every record enqueued since the last flush is in the log. Otherwise the first failure
    /// since then, which each record of that batch got too; it is reported once, and records of
    /// other batches may be in the log. [`ErrorKind::Closed`](crate::ErrorKind::Closed) once the
    /// store is closed, which flushed.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// let producer = store.producer().build()?;
    /// let orders = producer.topic("orders")?;
    /// for value in ["one", "two", "three"] {
    ///     orders.enqueue(Record::new(value))?;
    /// }
    /// producer.flush()?; // all three are in the log
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn flush(&self) -> Result<()> {
        let core = self.lease.core();
        core.engine().check_open("flush")?;
        core.flush_all()
    }

    /// [`flush`](Producer::flush) as a future of no runtime. What lingers is on its way when this
    /// returns; appends are made in the call, syncs are waited for in the future.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// let producer = store.producer().build()?;
    /// producer.topic("orders")?.enqueue(Record::new("hello"))?;
    /// pollster::block_on(producer.flush_async())?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn flush_async(&self) -> impl Future<Output = Result<()>> + Send + Unpin + 'static + use<> {
        let core = self.lease.core();
        let flushing = core.engine().check_open("flush").map(|()| core.flush_all_async());
        Box::pin(async move { flushing?.await })
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").finish_non_exhaustive()
    }
}
