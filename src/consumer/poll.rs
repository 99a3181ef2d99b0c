//! Waiting for records: the blocking call, the one that never waits, and what all polls share.
//!
//! Each round arms the partitions it finds empty and looks at them once more; then the wait
//! set sleeps until one of them publishes, the topics change, the store closes or someone
//! interrupts. No round looks at what is not ready, and nothing wakes up to look.

use std::time::{Duration, Instant};

use super::handle::Consumer;
use super::member::Polling;
use crate::error::Result;
use crate::record::Records;
use crate::time::deadline_after;
use crate::wait::Woken;

/// How long a wait may sleep before it runs due work again, where the store has no threads.
const HOST_SLICE: Duration = Duration::from_millis(10);

impl Consumer {
    /// Waits up to `timeout` (of real time, whatever the store's clock) for records and returns
    /// them; none when the time is over or [`Interrupt`](crate::Interrupt) was used. Woken by the
    /// append itself; costs what is ready, not what is assigned.
    ///
    /// With a [`filter`](crate::ConsumerBuilder::filter) it returns records that match; and also,
    /// be it with nothing, once it has looked through
    /// [`scan_limit`](crate::ConsumerBuilder::scan_limit).
    ///
    /// Positions move when it returns: behind the records, and over offsets that have none to show,
    /// up to an error. With `min_bytes` it waits for that much, but no longer than `max_wait` once
    /// there is anything. With [`Threads::Host`](crate::Threads::Host) it runs due work while it
    /// waits.
    ///
    /// In a group this is where partitions come and go and where the listener is called; what was
    /// fetched of a partition that goes is not returned. A member that was expelled joins again.
    ///
    /// Fails with an error of one partition after the records before it were returned, at that
    /// partition's every turn until it is dealt with: as corrupt where bytes are damaged
    /// ([`skip_damaged`](Consumer::skip_damaged) goes on behind them), as unsupported where a
    /// batch is compressed or belongs to a transaction, as out of range or truncated where the
    /// position holds no more and the reset policy is [`Reset::None`](crate::Reset::None), as not
    /// found where an assigned topic was deleted or `Reset::None` finds no committed offset. Fails
    /// as closed once the store is, at once if it waits. A member also fails with what its listener
    /// returns, with what keeps a new generation from being written, and as locked while another
    /// has the instance id it wants to join again with.
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
        let _polling = self.begin_poll()?;
        self.engine.run_own_work();
        if self.gather_all()? || timeout.is_zero() {
            return Ok(self.hand_out());
        }
        // only who waits needs the clock
        let deadline = deadline_after(timeout);
        let enough_at = deadline_after(self.options.max_wait).min(deadline);
        loop {
            let until = if self.stage.has_records() { enough_at } else { deadline };
            match self.wait_until(until) {
                Woken::Ready => self.engine.look_for_news()?,
                Woken::TimedOut | Woken::Interrupted => {
                    self.engine.check_open("poll")?;
                    return Ok(self.hand_out());
                }
            }
            if self.gather_all()? {
                return Ok(self.hand_out());
            }
        }
    }

    /// Returns what there is, without waiting; `min_bytes` does not count. Every record whose send
    /// returned before this call is there to it. Fails as [`poll`](Consumer::poll) does.
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
        let _polling = self.begin_poll()?;
        self.gather_all()?;
        Ok(self.hand_out())
    }

    /// What every poll does first.
    pub(super) fn begin_poll(&mut self) -> Result<Polling> {
        self.engine.check_open("poll")?;
        self.engine.look_for_news()?;
        self.tally.polls.add_alone(1);
        let polling = self.begin_polling()?;
        self.commit_if_due()?;
        self.look_at_unwoken();
        match self.failed.take() {
            Some((_, error)) => Err(error),
            None => Ok(polling),
        }
    }

    /// Gathers until there is enough (`true`), or nothing is ready any more.
    pub(super) fn gather_all(&mut self) -> Result<bool> {
        loop {
            self.gather()?;
            if self.is_enough() && !self.looks_on() {
                return Ok(true);
            }
            if self.assignment.ready_len() == 0 {
                return Ok(self.is_enough());
            }
        }
    }

    fn wait_until(&mut self, deadline: Instant) -> Woken {
        self.tally.waits.add_alone(1);
        let _news = self.engine.wait_for_news();
        if !self.engine.is_run_by_host() {
            return self.spin_and_park(deadline);
        }
        loop {
            self.engine.run_own_work();
            let slice = deadline_after(HOST_SLICE).min(deadline);
            match self.spin_and_park(slice) {
                Woken::TimedOut if slice < deadline => {}
                woken => return woken,
            }
        }
    }
}
