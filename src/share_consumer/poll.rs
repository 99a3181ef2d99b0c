//! Polling: one look over the places, and the wait between two looks.
//!
//! A look takes from the places in turn, each poll beginning with the next one. A wait is armed at
//! every place, and taken back when it is over; whatever ends a poll, places that have more wake
//! the next of those who wait there. So no record waits for a consumer that was woken for it and
//! does something else.
//!
//! Invariant: a place where a look found nothing is looked at again only once it shows something
//! else, whatever it promises: neither the end of a poll nor other tasks wait for it.

use std::future::poll_fn;
use std::ops::ControlFlow;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::handle::{ShareConsumer, Watched};
use super::leased::{LeasedPart, LeasedRecords};
use crate::error::Result;
use crate::share::{ShareStart, TakeRequest};
use crate::time::{deadline_after, is_over};
use crate::wait::Woken;

/// How long a wait may sleep before it runs due work again, where the store has no threads.
const HOST_SLICE: Duration = Duration::from_millis(10);

impl ShareConsumer {
    /// Waits up to `timeout` (of real time, whatever the store's clock) for records and leases
    /// them; none when the time is over. Woken by the append, by a record that is given back, by
    /// a lease or a delay that ends; of many that wait one is woken for each.
    ///
    /// Costs a look at each of its partitions, and an append to the store's own log, which is not
    /// synced, where there is something. With [`Threads::Host`](crate::Threads::Host) it runs due
    /// work while it waits.
    ///
    /// # Errors
    /// Nothing is leased then: [`Closed`](crate::ErrorKind::Closed) at once if it waits;
    /// [`Corrupt`](crate::ErrorKind::Corrupt) where the next record is damaged;
    /// [`NotFound`](crate::ErrorKind::NotFound) once an assigned topic is deleted; those of an
    /// append.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidelog::{Record, Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.ensure_topic("jobs", TopicConfig::new())?;
    /// let mut consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
    /// let jobs = store.producer().build()?.topic("jobs")?;
    /// let sender = std::thread::spawn(move || jobs.send(Record::new("hello")).is_ok());
    /// assert_eq!(consumer.poll(Duration::from_secs(60))?.len(), 1); // returns with the append
    /// # assert!(sender.join().unwrap());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn poll(&mut self, timeout: Duration) -> Result<LeasedRecords> {
        let deadline = deadline_after(timeout);
        self.engine.run_own_work();
        loop {
            let taken = self.look()?;
            if !taken.is_empty() || timeout.is_zero() {
                return Ok(taken);
            }
            let woken = match self.start_waiting() {
                true if !is_over(deadline) => Woken::Ready,
                true => Woken::TimedOut,
                false => self.wait_until(deadline),
            };
            self.stop_waiting();
            if woken != Woken::Ready {
                self.engine.check_open("poll")?;
                self.pass_on();
                return Ok(LeasedRecords::default());
            }
        }
    }

    /// Leases what there is, without waiting. Every record whose send returned before this call is
    /// there to it, unless others hold it. Fails as [`poll`](ShareConsumer::poll) does.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// let mut consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
    /// assert!(consumer.try_poll()?.is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn try_poll(&mut self) -> Result<LeasedRecords> {
        self.engine.run_own_work();
        self.look()
    }

    /// [`poll`](ShareConsumer::poll) as a future of no particular runtime, without a timeout. It
    /// may be dropped at any moment: nothing is leased by a future that has not returned. With
    /// [`Threads::Host`](crate::Threads::Host) due work is the host's to run meanwhile.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// # store.producer().build()?.topic("jobs")?.send(Record::new("hello"))?;
    /// let mut consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
    /// assert_eq!(pollster::block_on(consumer.poll_async())?.len(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub async fn poll_async(&mut self) -> Result<LeasedRecords> {
        /// Ends the waiting when the future is dropped.
        struct GivesUp<'a>(&'a mut ShareConsumer);
        impl Drop for GivesUp<'_> {
            fn drop(&mut self) {
                self.0.stop_waiting();
                self.0.pass_on();
            }
        }
        let waits = GivesUp(self);
        poll_fn(|cx| waits.0.poll_leased(cx)).await
    }

    /// What [`poll_async`](ShareConsumer::poll_async) does at each of its polls.
    pub(crate) fn poll_leased(&mut self, cx: &mut Context<'_>) -> Poll<Result<LeasedRecords>> {
        loop {
            self.stop_waiting();
            let taken = self.look()?;
            if !taken.is_empty() {
                return Poll::Ready(Ok(taken));
            }
            if self.start_waiting() {
                continue;
            }
            if self.set.poll_wait(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Takes what there is, one look at each place.
    fn look(&mut self) -> Result<LeasedRecords> {
        let mut taken = LeasedRecords::default();
        let looked = self.engine.check_open("poll").and_then(|()| {
            self.follow(ShareStart::Earliest)?;
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            self.look_around(&mut taken)
        });
        if !taken.is_empty() || looked.is_err() {
            self.pass_on(); // who found nothing has looked everywhere, and leaves nothing
        }
        looked.map(|()| taken)
    }

    fn look_around(&mut self, taken: &mut LeasedRecords) -> Result<()> {
        if self.fairness.is_some() {
            return self.look_by_priority(taken);
        }
        let places = self.watched.len();
        let mut bytes = self.options.max_bytes;
        for step in 0..places {
            let at = (self.next + step) % places;
            let left = self.options.max_records - taken.len();
            if left == 0 || bytes == 0 {
                break;
            }
            if !self.is_worth_a_look(at) {
                continue;
            }
            if self.take_from(at, left, &mut bytes, taken)? == ControlFlow::Break(()) {
                break;
            }
        }
        self.next = if places == 0 { 0 } else { (self.next + 1) % places };
        Ok(())
    }

    pub(super) fn is_worth_a_look(&self, at: usize) -> bool {
        let place = &self.watched[at].place;
        place.partition().signal().is_closed() || place.has_work(&self.settings)
    }

    /// Takes from one place; on a break the others are not looked at.
    pub(super) fn take_from(
        &mut self,
        at: usize,
        most: usize,
        bytes: &mut usize,
        taken: &mut LeasedRecords,
    ) -> Result<ControlFlow<()>> {
        let place = self.watched[at].place.clone();
        let lease = self.shares.next_lease(self.member);
        let lasts = self.options.lease;
        let request = TakeRequest { lease, lasts, max_records: most, max_bytes: *bytes };
        let before = taken.len();
        let shown = place.shown(&self.settings);
        self.watched[at].fruitless = None;
        let sifted = match self.is_filtered {
            true => place.sift(&request),
            false => Ok(()),
        };
        let (records, notes) = (&mut taken.records, &mut taken.notes);
        match sifted.and_then(|()| place.take(request, records, notes)) {
            Ok(ends) => {
                let len = taken.len() - before;
                if len == 0 {
                    self.watched[at].fruitless = Some(shown);
                } else {
                    *bytes = bytes.saturating_sub(taken.last_bytes(len));
                    taken.parts.push(LeasedPart { place, lease, ends, len });
                }
                Ok(ControlFlow::Continue(()))
            }
            Err(error) if !taken.is_empty() => {
                self.failed = Some(error); // the next poll says so
                Ok(ControlFlow::Break(()))
            }
            Err(error) => {
                self.next = (at + 1) % self.watched.len(); // the others are not to wait for it
                Err(error)
            }
        }
    }

    /// Wakes the next of those who wait where something is left.
    fn pass_on(&self) {
        self.watched.iter().for_each(|watched| watched.place.pass_on(&self.settings));
    }

    /// Arms the wait; `true` if there is something after all.
    fn start_waiting(&mut self) -> bool {
        let changes = self.engine.catalog_changes().count();
        self.set.arm(&self.catalog);
        for watched in &self.watched {
            self.set.arm(&watched.registration);
            watched.place.watch();
        }
        let is_new = |it: &Watched| it.fruitless != Some(it.place.shown(&self.settings));
        let worth = |it: &Watched| it.place.has_work(&self.settings) && is_new(it);
        let has_work = self.watched.iter().any(worth);
        has_work || self.engine.catalog_changes().count() != changes
    }

    /// Takes the wait back.
    pub(super) fn stop_waiting(&mut self) {
        for watched in &self.watched {
            self.set.disarm(&watched.registration);
        }
        self.set.disarm(&self.catalog);
        self.set.drain_ready(&mut Vec::new());
        self.set.forget_waker();
    }

    /// Waits no longer, as a task that has something else to do now.
    pub(crate) fn stop_polling(&mut self) {
        self.stop_waiting();
        self.pass_on();
    }

    fn wait_until(&self, deadline: Instant) -> Woken {
        if !self.engine.is_run_by_host() {
            return self.set.wait(Some(deadline));
        }
        loop {
            self.engine.run_own_work();
            let slice = deadline_after(HOST_SLICE).min(deadline);
            match self.set.wait(Some(slice)) {
                Woken::TimedOut if slice < deadline => {}
                woken => return woken,
            }
        }
    }
}

impl LeasedRecords {
    /// Bytes of keys and values of the last `len` records.
    fn last_bytes(&self, len: usize) -> usize {
        let skipped = self.len() - len;
        let size = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        self.records.iter().skip(skipped).map(|it| size(it.key()) + size(it.value())).sum()
    }
}
