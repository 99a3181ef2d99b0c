//! The receipt of a record that is still on its way.
//!
//! It holds a share of its batch's ticket, or a place in the sync of a record that is in the log
//! already, never the producer or the store. With threads of the
//! host's it also knows, weakly, whose due work it has to run while it waits.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Weak;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::batch::{Ending, Ticket};
use super::core::Core;
use super::receipt::{MaybeTimestamp, Receipt};
use crate::error::Result;
use crate::sync::Arc;
use crate::time::{Timestamp, deadline_after};
use crate::wait::Completed;
use crate::wait::commit::{Ending as Synced, Ride};

/// A record that was taken but is not yet acknowledged: wait for its [`Receipt`], `.await` it, or
/// drop it, which takes nothing back.
///
/// It comes from [`enqueue`](crate::TopicProducer::enqueue) and from
/// [`send_async`](crate::TopicProducer::send_async). It ends with the error of its batch if that
/// could not be written: every record of a batch fails or none does. It can be sent to other
/// threads and outlives the producer, which flushes before it goes.
///
/// ```
/// use tidelog::{Record, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("orders", TopicConfig::new())?;
/// let orders = store.producer().build()?.topic("orders")?;
/// let pending = orders.enqueue(Record::new("hello"))?;
/// assert_eq!(pending.wait()?.offset().get(), 0);
/// # Ok::<(), tidelog::Error>(())
/// ```
pub struct Pending(State);

enum State {
    /// Known from the start.
    Known(Result<Receipt>),
    Waiting(Waiting),
}

struct Waiting {
    on: On,
    /// Whose due work a thread runs while it waits; `None` where the store has a timer thread.
    helped: Option<Weak<Core>>,
}

/// What is waited for.
enum On {
    /// That a batch with others is written, as durably as it has to be.
    Batch { ticket: Completed<Ending>, index: u32, timestamp: MaybeTimestamp },
    /// The sync of a record that is in the log already.
    Sync(Box<OnSync>),
}

/// Apart from the rest, which is small: programs keep receipts of batches by the million.
struct OnSync {
    ride: Ride,
    receipt: Receipt,
}

impl On {
    #[inline]
    fn try_get(&self) -> Option<Result<Receipt>> {
        match self {
            On::Batch { ticket, index, timestamp } => {
                ticket.get().map(|ending| batched(ending, *index, timestamp.get()))
            }
            On::Sync(on) => on.ride.try_get().map(|ending| synced(&ending, &on.receipt)),
        }
    }

    #[inline]
    fn wait(&self, deadline: Option<Instant>) -> Option<Result<Receipt>> {
        match self {
            On::Batch { ticket, index, timestamp } => {
                ticket.get_by(deadline).map(|ending| batched(ending, *index, timestamp.get()))
            }
            On::Sync(on) => on.ride.wait(deadline).map(|ending| synced(&ending, &on.receipt)),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Receipt>> {
        match self {
            On::Batch { ticket, index, timestamp } => {
                Pin::new(ticket).poll(cx).map(|ending| batched(&ending, *index, timestamp.get()))
            }
            On::Sync(on) => {
                let OnSync { ride, receipt } = &mut **on;
                Pin::new(ride).poll(cx).map(|ending| synced(&ending, receipt))
            }
        }
    }
}

#[inline]
fn batched(ending: &Ending, index: u32, timestamp: Option<Timestamp>) -> Result<Receipt> {
    match &**ending {
        Ok(written) => Ok(written.receipt(index, timestamp)),
        Err(error) => Err(error.again()),
    }
}

fn synced(ending: &Synced, receipt: &Receipt) -> Result<Receipt> {
    match ending {
        Ok(()) => Ok(receipt.clone()),
        Err(error) => Err(error
            .again()
            .at_partition(&std::sync::Arc::from(&*receipt.topic), receipt.partition)),
    }
}

impl Waiting {
    /// Waits, running the host's due work where nobody else does.
    #[inline]
    fn wait(&self, patience: Option<Duration>) -> Option<Result<Receipt>> {
        if self.helped.is_none() {
            return self.on.wait(patience.map(deadline_after));
        }
        self.wait_and_help(patience)
    }

    fn wait_and_help(&self, patience: Option<Duration>) -> Option<Result<Receipt>> {
        let deadline = patience.map(deadline_after);
        while let Some(core) = self.helped.as_ref().and_then(Weak::upgrade) {
            if let Some(result) = self.on.try_get() {
                return Some(result);
            }
            let nap = deadline_after(core.help());
            drop(core);
            let until = deadline.map_or(nap, |deadline| deadline.min(nap));
            let result = self.on.wait(Some(until));
            if result.is_some() || deadline.is_some_and(|deadline| deadline <= until) {
                return result;
            }
        }
        self.on.wait(deadline)
    }
}

impl Pending {
    pub(super) fn known(result: Result<Receipt>) -> Self {
        Pending(State::Known(result))
    }

    #[inline]
    pub(super) fn waiting(
        ticket: Arc<Ticket>,
        index: u32,
        timestamp: Option<Timestamp>,
        helped: Option<Weak<Core>>,
    ) -> Self {
        let timestamp = MaybeTimestamp::of(timestamp);
        let on = On::Batch { ticket: Completed::new(ticket), index, timestamp };
        Pending(State::Waiting(Waiting { on, helped }))
    }

    pub(super) fn riding(ride: Ride, receipt: Receipt, helped: Option<Weak<Core>>) -> Self {
        let on = On::Sync(Box::new(OnSync { ride, receipt }));
        Pending(State::Waiting(Waiting { on, helped }))
    }

    /// Blocks until the record is in the log, as durable as its producer promised, or has failed.
    ///
    /// A record that lingers is waited for until its batch is written, by size or by time; it is
    /// not hurried. With [`Threads::Host`](crate::Threads::Host) the call runs due work itself.
    ///
    /// # Errors
    /// Whatever kept the batch from being written; `outcome()` says what became of the record.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// let receipt = orders.enqueue(Record::new("hello"))?.wait()?;
    /// assert_eq!(receipt.topic(), "orders");
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn wait(self) -> Result<Receipt> {
        match self.0 {
            State::Known(result) => result,
            State::Waiting(waiting) => {
                waiting.wait(None).expect("a wait without deadline ends with a result")
            }
        }
    }

    /// Blocks like [`wait`](Pending::wait), but for at most `patience` of real time; `None` after
    /// that, and the record is still on its way.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # use std::time::Duration;
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// let producer = store.producer().linger(Duration::from_secs(3600)).build()?;
    /// let pending = producer.topic("orders")?.enqueue(Record::new("hello"))?;
    /// assert!(pending.wait_for(Duration::from_millis(1)).is_none());
    /// producer.flush()?;
    /// assert!(pending.wait_for(Duration::from_millis(1)).is_some());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn wait_for(&self, patience: Duration) -> Option<Result<Receipt>> {
        match &self.0 {
            State::Known(result) => Some(again(result)),
            State::Waiting(waiting) => waiting.wait(Some(patience)),
        }
    }

    /// The receipt or the error, if it is known; never blocks.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # use std::time::Duration;
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// let producer = store.producer().linger(Duration::from_secs(3600)).build()?;
    /// let pending = producer.topic("orders")?.enqueue(Record::new("hello"))?;
    /// assert!(pending.try_get().is_none()); // in the linger buffer: not acknowledged
    /// producer.flush()?;
    /// assert_eq!(pending.try_get().unwrap()?.offset().get(), 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn try_get(&self) -> Option<Result<Receipt>> {
        match &self.0 {
            State::Known(result) => Some(again(result)),
            State::Waiting(waiting) => waiting.on.try_get(),
        }
    }
}

fn again(result: &Result<Receipt>) -> Result<Receipt> {
    match result {
        Ok(receipt) => Ok(receipt.clone()),
        Err(error) => Err(error.again()),
    }
}

/// Any runtime will do, or none; dropping it midway takes nothing back. With
/// [`Threads::Host`](crate::Threads::Host) somebody has to call `run_due`.
impl Future for Pending {
    type Output = Result<Receipt>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Receipt>> {
        match &mut self.get_mut().0 {
            State::Known(result) => Poll::Ready(again(result)),
            State::Waiting(waiting) => waiting.on.poll(cx),
        }
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("known", &self.try_get()).finish()
    }
}
