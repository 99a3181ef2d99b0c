//! Waiting for records: the blocking call, the one that never waits, and the future.
//!
//! Each round arms the partitions it finds empty and looks at them once more; then the wait
//! set sleeps until one of them publishes, the topics change, the store closes or someone
//! interrupts. No round looks at what is not ready, and nothing wakes up to look.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::assignment::TIMER;
use super::handle::Consumer;
use crate::engine::Due;
use crate::error::Result;
use crate::record::Records;
use crate::time::deadline_after;
use crate::wait::{Signal, Woken};

/// How long a wait may sleep before it runs due work again, where the store has no threads.
const HOST_SLICE: Duration = Duration::from_millis(10);

impl Consumer {
    /// Waits up to `timeout` (of real time, whatever the store's clock) for records and returns
    /// them; none when the time is over or [`Interrupt`](crate::Interrupt) was used. Woken by the
    /// append itself; costs what is ready, not what is assigned.
    ///
    /// Positions move when it returns records. With `min_bytes` it waits for that much, but no
    /// longer than `max_wait` once there is anything. With
    /// [`Threads::Host`](crate::Threads::Host) it runs due work while it waits.
    ///
    /// Fails with an error of one partition after the records before it were returned, at that
    /// partition's every turn until it is dealt with: as corrupt where bytes are damaged
    /// ([`skip_damaged`](Consumer::skip_damaged) goes on behind them), as unsupported where a
    /// batch is compressed or belongs to a transaction, as out of range or truncated where the
    /// position holds no more and the reset policy is [`Reset::None`](crate::Reset::None), as not
    /// found where an assigned topic was deleted or `Reset::None` finds no committed offset. Fails
    /// as closed once the store is, at once if it waits.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidelog::{Record, Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.ensure_topic("orders", TopicConfig::new())?;
    /// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// let orders = store.producer().build()?.topic("orders")?;
    /// let sender = std::thread::spawn(move || orders.send(Record::new("hello")).is_ok());
    /// assert_eq!(consumer.poll(Duration::from_secs(60))?.len(), 1); // returns with the append
    /// # assert!(sender.join().unwrap());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn poll(&mut self, timeout: Duration) -> Result<Records> {
        let deadline = deadline_after(timeout);
        let enough_at = deadline_after(self.options.max_wait).min(deadline);
        self.begin_poll()?;
        self.engine.run_own_work();
        loop {
            if self.gather_all()? || timeout.is_zero() {
                return Ok(self.hand_out());
            }
            let until = if self.stage.has_records() { enough_at } else { deadline };
            match self.wait_until(until) {
                Woken::Ready => {}
                Woken::TimedOut | Woken::Interrupted => {
                    self.engine.check_open("poll")?;
                    return Ok(self.hand_out());
                }
            }
        }
    }

    /// Returns what there is, without waiting; `min_bytes` does not count. Fails as
    /// [`poll`](Consumer::poll) does.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// assert!(consumer.try_poll()?.is_empty());
    /// store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
    /// assert_eq!(consumer.try_poll()?.len(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn try_poll(&mut self) -> Result<Records> {
        self.begin_poll()?;
        self.gather_all()?;
        Ok(self.hand_out())
    }

    /// [`poll`](Consumer::poll) as a future of no particular runtime, without a timeout: it waits
    /// until there are records, or an [`Interrupt`](crate::Interrupt); `max_wait` goes by the
    /// store's clock here. It may be dropped at any
    /// moment, by a timeout of the caller's for one: no record is lost or skipped by that. What
    /// has to be synced or read from a disk is done within the future's poll.
    ///
    /// With [`Threads::Host`](crate::Threads::Host) due work is the host's to run meanwhile.
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
        self.begin_poll()?;
        let begun = self.engine.clock().monotonic();
        let mut timer = None;
        loop {
            if self.gather_all()? {
                return Ok(self.hand_out());
            }
            if self.stage.has_records() && timer.is_none() {
                timer = Some(self.start_timer(begun.saturating_add(self.options.max_wait)));
            }
            self.offsets.registry().counters().waits.add(1);
            let _watched = self.engine.wait_for_news();
            if self.assignment.set().ready().await == Woken::Interrupted {
                self.engine.check_open("poll")?;
                return Ok(self.hand_out());
            }
            if let Some((alarm, _)) = &timer
                && alarm.0.is_closed()
            {
                self.gather_all()?;
                return Ok(self.hand_out());
            }
        }
    }

    /// What every poll does first.
    pub(super) fn begin_poll(&mut self) -> Result<()> {
        self.engine.check_open("poll")?;
        self.engine.look_if_due()?;
        self.offsets.registry().counters().polls.add(1);
        self.commit_if_due()?;
        match self.failed.take() {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    /// Gathers until there is enough (`true`), or nothing is ready any more.
    fn gather_all(&mut self) -> Result<bool> {
        loop {
            self.gather()?;
            if self.is_enough() {
                return Ok(true);
            }
            if self.assignment.ready_len() == 0 {
                return Ok(false);
            }
        }
    }

    fn wait_until(&self, deadline: Instant) -> Woken {
        self.offsets.registry().counters().waits.add(1);
        let _watched = self.engine.wait_for_news();
        let set = self.assignment.set();
        if !self.engine.is_run_by_host() {
            return set.wait(Some(deadline));
        }
        loop {
            self.engine.run_own_work();
            let slice = deadline_after(HOST_SLICE).min(deadline);
            match set.wait(Some(slice)) {
                Woken::TimedOut if slice < deadline => {}
                woken => return woken,
            }
        }
    }

    /// Has the wait set woken at `at` of the store's clock, for as long as what it returns lives.
    fn start_timer(&self, at: Duration) -> (Arc<Alarm>, crate::wait::Registration) {
        let alarm = Arc::new(Alarm(Arc::new(Signal::new())));
        let registration = self.assignment.set().register(&alarm.0, TIMER);
        self.assignment.set().arm(&registration);
        let weak: std::sync::Weak<dyn Due> = Arc::downgrade(&alarm) as _;
        self.engine.timers().schedule(at, weak);
        (alarm, registration)
    }
}

/// The end of a future's patience.
struct Alarm(Arc<Signal>);

impl Due for Alarm {
    fn run(&self, _now: Duration) -> Option<Duration> {
        self.0.close();
        None
    }
}
