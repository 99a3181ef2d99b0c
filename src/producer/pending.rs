//! The receipt of a record that is still on its way.
//!
//! It holds a share of its batch's ticket, or a place in the sync of a record that is in the log
//! already, never the producer or the store. With threads of the
//! host's it also learns, weakly, whose due work it has to run while it waits.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::batch::{Ending, Helped, Ticket};
use super::receipt::Receipt;
use crate::error::Result;
use crate::sync::Arc as SharedArc;
use crate::time::deadline_after;
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

/// Small: programs keep those of batches by the million.
enum State {
    Batched(Batched),
    Apart(Box<Apart>),
}

/// A record that waits for its batch, written as durably as it has to be. The note is the record's
/// place in the batch.
struct Batched(Completed<Ending, Helped, u32>);

enum Apart {
    /// Known from the start.
    Known(Result<Receipt>),
    Sync(OnSync),
}

/// A record that is in the log already and waits for its sync.
struct OnSync {
    ride: Ride,
    receipt: Receipt,
    helped: Helped,
}

/// What can be waited for.
trait Awaited {
    /// Whose due work a thread runs while it waits.
    fn helped(&self) -> &Helped;

    fn try_get(&self) -> Option<Result<Receipt>>;

    fn get_by(&self, deadline: Option<Instant>) -> Option<Result<Receipt>>;

    /// Waits, running the host's due work where nobody else does.
    #[inline]
    fn wait(&self, patience: Option<Duration>) -> Option<Result<Receipt>> {
        if self.helped().is_none() {
            return self.get_by(patience.map(deadline_after));
        }
        self.wait_and_help(patience)
    }

    fn wait_and_help(&self, patience: Option<Duration>) -> Option<Result<Receipt>> {
        let deadline = patience.map(deadline_after);
        while let Some(core) = self.helped().as_ref().and_then(Weak::upgrade) {
            if let Some(result) = self.try_get() {
                return Some(result);
            }
            let nap = deadline_after(core.help());
            drop(core);
            let until = deadline.map_or(nap, |deadline| deadline.min(nap));
            let result = self.get_by(Some(until));
            if result.is_some() || deadline.is_some_and(|deadline| deadline <= until) {
                return result;
            }
        }
        self.get_by(deadline)
    }
}

impl Batched {
    #[inline]
    fn of(&self, ending: &Ending) -> Result<Receipt> {
        match &**ending {
            Ok(written) => Ok(written.receipt(*self.0.note())),
            Err(error) => Err(error.again()),
        }
    }
}

impl Awaited for Batched {
    #[inline]
    fn helped(&self) -> &Helped {
        self.0.about()
    }

    #[inline]
    fn try_get(&self) -> Option<Result<Receipt>> {
        self.0.get().map(|ending| self.of(ending))
    }

    #[inline]
    fn get_by(&self, deadline: Option<Instant>) -> Option<Result<Receipt>> {
        self.0.get_by(deadline).map(|ending| self.of(ending))
    }
}

impl OnSync {
    fn of(&self, ending: &Synced) -> Result<Receipt> {
        let Receipt { topic, partition, .. } = &self.receipt;
        match ending {
            Ok(()) => Ok(self.receipt.clone()),
            Err(error) => Err(error.again().at_partition(&Arc::from(&**topic), *partition)),
        }
    }
}

impl Awaited for OnSync {
    fn helped(&self) -> &Helped {
        &self.helped
    }

    fn try_get(&self) -> Option<Result<Receipt>> {
        self.ride.try_get().map(|ending| self.of(&ending))
    }

    fn get_by(&self, deadline: Option<Instant>) -> Option<Result<Receipt>> {
        self.ride.wait(deadline).map(|ending| self.of(&ending))
    }
}

impl Pending {
    pub(super) fn known(result: Result<Receipt>) -> Self {
        Pending(State::Apart(Box::new(Apart::Known(result))))
    }

    #[inline(always)] // see `producer::linger`
    pub(super) fn batched(ticket: SharedArc<Ticket>, index: u32) -> Self {
        Pending(State::Batched(Batched(Completed::noting(ticket, index))))
    }

    pub(super) fn riding(ride: Ride, receipt: Receipt, helped: Helped) -> Self {
        Pending(State::Apart(Box::new(Apart::Sync(OnSync { ride, receipt, helped }))))
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
    #[inline]
    pub fn wait(self) -> Result<Receipt> {
        if let State::Batched(batched) = &self.0
            && let Some(result) = batched.try_get()
        {
            return result;
        }
        self.wait_for_it()
    }

    /// The same for what is not known yet, or not of a batch.
    #[inline(never)]
    fn wait_for_it(self) -> Result<Receipt> {
        let result = match self.0 {
            State::Batched(batched) => batched.wait(None),
            State::Apart(apart) => match *apart {
                Apart::Known(result) => Some(result),
                Apart::Sync(sync) => sync.wait(None),
            },
        };
        result.expect("a wait without deadline ends with a result")
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
            State::Batched(batched) => batched.wait(Some(patience)),
            State::Apart(apart) => match &**apart {
                Apart::Known(result) => Some(again(result)),
                Apart::Sync(sync) => sync.wait(Some(patience)),
            },
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
            State::Batched(batched) => batched.try_get(),
            State::Apart(apart) => match &**apart {
                Apart::Known(result) => Some(again(result)),
                Apart::Sync(sync) => sync.try_get(),
            },
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
            State::Batched(batched) => {
                Pin::new(&mut batched.0).poll(cx).map(|ending| batched.of(&ending))
            }
            State::Apart(apart) => match &mut **apart {
                Apart::Known(result) => Poll::Ready(again(result)),
                Apart::Sync(sync) => Pin::new(&mut sync.ride).poll(cx).map(|end| sync.of(&end)),
            },
        }
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("known", &self.try_get()).finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_pending_receipt_is_two_words() {
        assert_eq!(size_of::<Pending>(), 16);
    }
}
