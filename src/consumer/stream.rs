//! Waiting as a task: the future of one poll, and the consumer as a stream of polls.
//!
//! Both look through [`Consumer::look`]; what lies between two looks is kept in the consumer, so
//! that dropping a future or leaving a stream alone loses and skips nothing: positions move only
//! when records are handed out. A task that waits is woken by the append, as a thread is.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;

use super::assignment::TIMER;
use super::handle::Consumer;
use super::member::Polling;
use crate::engine::{Due, Waiting as Watching};
use crate::error::Result;
use crate::record::Records;
use crate::wait::{Registration, Signal, Woken};

/// A poll that waits as a task.
pub(super) struct Waiting {
    /// On the store's monotonic clock.
    begun: Duration,
    /// Ends the patience for `min_bytes`.
    timer: Option<(Arc<Alarm>, Registration)>,
    /// Has what another process writes looked at meanwhile.
    watching: Option<Watching>,
    _polling: Polling,
}

/// The end of a task's patience.
struct Alarm(Arc<Signal>);

impl Due for Alarm {
    fn run(&self, _now: Duration) -> Option<Duration> {
        self.0.close();
        None
    }
}

impl Consumer {
    /// [`poll`](Consumer::poll) as a future of no particular runtime, without a timeout: it waits
    /// until there are records, or an [`Interrupt`](crate::Interrupt); `max_wait` goes by the
    /// store's clock here. It may be dropped at any
    /// moment, by a timeout of the caller's for one: no record is lost or skipped by that. What
    /// has to be synced or read from a disk is done within the future's poll, and a listener is
    /// called there.
    ///
    /// With [`Threads::Host`](crate::Threads::Host) due work is the host's to run meanwhile. In a
    /// group it counts as polling as long as its task is driven: it is woken when it has waited
    /// for `max_poll_interval`, and away from then on if it does not come.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
    /// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// let records = pollster::block_on(consumer.poll_async())?;
    /// assert_eq!(records.len(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub async fn poll_async(&mut self) -> Result<Records> {
        /// Ends the waiting when the future is dropped.
        struct GivesUp<'a>(&'a mut Consumer);
        impl Drop for GivesUp<'_> {
            fn drop(&mut self) {
                self.0.give_up_waiting();
            }
        }
        let waits = GivesUp(self);
        poll_fn(|cx| waits.0.poll_records(cx)).await
    }

    fn poll_records(&mut self, cx: &mut Context<'_>) -> Poll<Result<Records>> {
        let looked = self.look(cx);
        match (&looked, self.seat()) {
            (Poll::Ready(_), _) => self.give_up_waiting(),
            (Poll::Pending, Some(seat)) => seat.task_waits(),
            (Poll::Pending, None) => {}
        }
        looked
    }

    /// Begins to wait, or goes on with it.
    fn look(&mut self, cx: &mut Context<'_>) -> Poll<Result<Records>> {
        if self.waiting.is_some() {
            self.be_polling()?;
            self.engine.look_for_news()?; // what it was woken for may be that there is none
        } else {
            let polling = self.begin_poll()?;
            let begun = self.engine.clock().monotonic();
            self.waiting = Some(Waiting { begun, timer: None, watching: None, _polling: polling });
        }
        loop {
            if self.gather_all()? || self.is_out_of_patience() {
                return Poll::Ready(Ok(self.hand_out()));
            }
            self.start_patience();
            if let Some(waiting) = &mut self.waiting {
                waiting.watching = self.engine.wait_for_news();
            }
            if self.arm_watched() {
                continue;
            }
            self.tally.waits.add_alone(1);
            match self.assignment.set().poll_wait(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Woken::Interrupted) => {
                    self.engine.check_open("poll")?;
                    return Poll::Ready(Ok(self.hand_out()));
                }
                Poll::Ready(Woken::Ready | Woken::TimedOut) => {}
            }
        }
    }

    fn is_out_of_patience(&self) -> bool {
        let timer = self.waiting.as_ref().and_then(|waiting| waiting.timer.as_ref());
        timer.is_some_and(|(alarm, _)| alarm.0.is_closed())
    }

    /// From the first record on, the wait for more ends `max_wait` after it began.
    fn start_patience(&mut self) {
        let Some(waiting) = &mut self.waiting else { return };
        if !self.stage.has_records() || waiting.timer.is_some() {
            return;
        }
        let alarm = Arc::new(Alarm(Arc::new(Signal::new())));
        let registration = self.assignment.set().register(&alarm.0, TIMER);
        self.assignment.set().arm(&registration);
        let weak: Weak<dyn Due> = Arc::downgrade(&alarm) as _;
        let at = waiting.begun.saturating_add(self.options.max_wait);
        waiting.timer = Some((alarm, registration));
        self.engine.timers().schedule(at, weak);
    }

    /// Ends the waiting as a task, if there is any; what was gathered stays.
    pub(super) fn give_up_waiting(&mut self) {
        if self.waiting.take().is_some() {
            self.assignment.set().forget_waker();
        }
    }
}

/// Each item is what one [`poll_async`](Consumer::poll_async) returns, an error of one partition
/// included; it ends once the store is closed. An item may be empty, after an interrupt. Between
/// two items the consumer is free for everything else, commits above all; not asking for the next
/// item loses and skips nothing.
///
/// ```
/// use std::future::poll_fn;
/// use std::pin::Pin;
/// use futures_core::Stream;
/// use tidelog::{Record, Store, TopicConfig};
/// # let store = Store::in_memory()?;
/// # store.ensure_topic("orders", TopicConfig::new())?;
/// # store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
/// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
/// # pollster::block_on(async {
/// // as `consumer.next().await` of the crate futures-util
/// while let Some(records) = poll_fn(|cx| Pin::new(&mut consumer).poll_next(cx)).await {
///     for record in &records? {
///         assert_eq!(record.value(), Some(&b"hello"[..]));
///     }
///     consumer.commit()?;
/// #   store.close()?;
/// }
/// # Ok::<(), tidelog::Error>(())
/// # })?;
/// # Ok::<(), tidelog::Error>(())
/// ```
impl Stream for Consumer {
    type Item = Result<Records>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Records>>> {
        match self.get_mut().poll_records(cx) {
            Poll::Ready(Err(error)) if error.is_closed() => Poll::Ready(None),
            looked => looked.map(Some),
        }
    }
}
