//! The store itself: opened, shared, closed.
//!
//! A [`Store`] is a handle; clones share one store, and so do the producers and consumers made
//! from it. It closes when `close` is called or when the last of them is dropped.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::builder::{StoreBuilder, Upkeep};
use super::stats::{PreparedStats, ScheduleStats, StoreStats};
use crate::consumer::ConsumerBuilder;
use crate::dead_letters::DeadLetters;
use crate::deduplication::Deduplication;
use crate::engine::{Claim, Engine, OpenReport};
use crate::error::{Error, Result};
use crate::group::OffsetStore;
use crate::inspect::Verifier;
use crate::prepared::Prepared;
use crate::producer::ProducerBuilder;
use crate::schedule::Schedule;
use crate::share::ShareGroups;
use crate::share_consumer::ShareConsumerBuilder;
use crate::time::deadline_after;
use crate::txn::{MarkerFollower, Transactions};
use crate::wait::{Completed, Completion};
use crate::worker::WorkerBuilder;

/// Topics of partitioned logs in a directory, open in this process.
///
/// ```
/// use std::time::Duration;
/// use tidelog::{Record, Store, TopicConfig};
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path();
/// let store = Store::open(path)?;
/// store.ensure_topic("orders", TopicConfig::new().partitions(4))?;
///
/// let orders = store.producer().build()?.topic("orders")?;
/// let receipt = orders.send(Record::new("hello").key("customer-7"))?;
///
/// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
/// for record in &consumer.poll(Duration::from_secs(1))? {
///     assert_eq!(record.offset(), receipt.offset());
/// }
/// consumer.commit()?;
/// store.close()?;
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) engine: Claim,
    pub(super) offsets: Arc<OffsetStore>,
    pub(super) transactions: Arc<Transactions>,
    pub(super) letters: Arc<DeadLetters>,
    pub(super) schedule: Arc<Schedule>,
    deduplication: Arc<Deduplication>,
    pub(super) prepared: Arc<Prepared>,
    pub(super) shares: Arc<ShareGroups>,
}

impl Store {
    /// Opens the store in a directory, which is made if it is missing, with every default.
    ///
    /// # Errors
    /// Those of [`StoreBuilder::open`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// let store = tidelog::Store::open(dir.path())?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Store> {
        Store::builder(path).open()
    }

    /// A builder for the store in a directory.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// let store = tidelog::Store::builder(dir.path()).open()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn builder(path: impl AsRef<Path>) -> StoreBuilder {
        StoreBuilder::new(path.as_ref())
    }

    /// A store in memory, for tests and for what need not last.
    ///
    /// # Errors
    /// Those of [`StoreBuilder::open`].
    ///
    /// ```
    /// let store = tidelog::Store::in_memory()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn in_memory() -> Result<Store> {
        Store::builder_in_memory().open()
    }

    /// A builder for a store in memory.
    ///
    /// ```
    /// let clock = tidelog::ManualClock::default();
    /// let store = tidelog::Store::builder_in_memory().clock(clock).open()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn builder_in_memory() -> StoreBuilder {
        StoreBuilder::in_memory()
    }

    /// The coordinators come up on the recovered engine: their state is in its topics. Nothing is
    /// removed before they have said what they still need.
    pub(super) fn over(engine: Arc<Engine>, upkeep: Upkeep) -> Result<Store> {
        // first: what it ends at the opening, groups read from their own log
        let transactions = Transactions::open(engine.clone())?;
        let offsets = OffsetStore::open(engine.clone())?;
        let follower: Weak<dyn MarkerFollower> = Arc::downgrade(&offsets) as _;
        transactions.set_follower(follower);
        transactions.begin_upkeep(upkeep.transactional_id_expiration);
        let letters = DeadLetters::open(engine.clone(), transactions.clone())?;
        let shares = ShareGroups::open(engine.clone(), letters.clone())?;
        offsets.hold_all();
        shares.hold_all();
        offsets.begin_expiry(upkeep.offsets_retention);
        let schedule = Schedule::open(engine.clone(), transactions.clone())?;
        let prepared = Prepared::open(engine.clone(), &transactions)?;
        engine.start()?;
        let engine = Claim::new(engine);
        let deduplication = Arc::new(Deduplication::new(engine.plain_limit()));
        Ok(Store {
            engine,
            offsets,
            transactions,
            letters,
            schedule,
            deduplication,
            prepared,
            shares,
        })
    }

    /// The identity of the store, drawn when its directory was taken: 32 hexadecimal digits.
    ///
    /// ```
    /// assert_eq!(tidelog::Store::in_memory()?.id().len(), 32);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn id(&self) -> String {
        self.engine.store_id().to_string()
    }

    /// What opening found and did.
    ///
    /// ```
    /// assert!(tidelog::Store::in_memory()?.open_report().was_new());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn open_report(&self) -> &OpenReport {
        self.engine.open_report()
    }

    /// A builder for a producer.
    ///
    /// ```
    /// let store = tidelog::Store::in_memory()?;
    /// let producer = store.producer().build()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn producer(&self) -> ProducerBuilder {
        let (transactions, schedule) = (self.transactions.clone(), self.schedule.clone());
        let deduplication = self.deduplication.clone();
        ProducerBuilder::new(self.engine.clone(), transactions, schedule, deduplication)
    }

    /// A builder for a consumer whose committed offsets are kept under `group`.
    ///
    /// ```
    /// use tidelog::TopicConfig;
    /// let store = tidelog::Store::in_memory()?;
    /// store.create_topic("orders", TopicConfig::new())?;
    /// let consumer = store.consumer("billing").assign([("orders", 0)]).build()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn consumer(&self, group: impl Into<String>) -> ConsumerBuilder {
        let group = Some(group.into());
        let builder = ConsumerBuilder::new(self.engine.clone(), self.offsets.clone(), group);
        builder.beside(self.shares.clone())
    }

    /// A builder for a broadcast consumer: it reads every partition of what it subscribes to, and
    /// keeps offsets under its own name, so that each such consumer sees everything and goes on
    /// where it stopped. New partitions and topics of its pattern come to it, and nothing that
    /// others do. One consumer at a time has a name; its group of one is listed, described, reset,
    /// deleted and expires as groups do ([`GroupKind::Broadcast`](crate::GroupKind::Broadcast)).
    ///
    /// Beside what any consumer's `build` fails with: as
    /// [`Locked`](crate::ErrorKind::Locked) while another has the name, as
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) where an ordinary group has it, or
    /// for `assign`, `assignor` and `instance_id`, which have no meaning here.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidelog::{Record, TopicConfig};
    /// let store = tidelog::Store::in_memory()?;
    /// store.create_topic("prices", TopicConfig::new().partitions(4))?;
    /// let mut caches = Vec::new();
    /// for name in ["cache-1", "cache-2"] {
    ///     caches.push(store.broadcast_consumer(name).subscribe(["prices"]).build()?);
    /// }
    /// store.producer().build()?.topic("prices")?.send(Record::new("12.50"))?;
    /// for cache in &mut caches {
    ///     assert_eq!(cache.poll(Duration::from_secs(1))?.len(), 1); // each sees it
    ///     cache.commit()?;
    /// }
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn broadcast_consumer(&self, name: impl Into<String>) -> ConsumerBuilder {
        self.consumer(name).broadcast()
    }

    /// A builder for a consumer that keeps no offsets.
    ///
    /// ```
    /// use tidelog::TopicConfig;
    /// let store = tidelog::Store::in_memory()?;
    /// store.create_topic("orders", TopicConfig::new())?;
    /// let reader = store.reader().assign([("orders", 0)]).build()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn reader(&self) -> ConsumerBuilder {
        ConsumerBuilder::new(self.engine.clone(), self.offsets.clone(), None)
    }

    /// A builder for a consumer of a share group: any number of them take records of the same
    /// partitions, each record leased to one.
    ///
    /// ```
    /// use tidelog::{Record, Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.ensure_topic("jobs", TopicConfig::new())?;
    /// store.producer().build()?.topic("jobs")?.send(Record::new("hello"))?;
    /// let mut first = store.share_consumer("workers").subscribe(["jobs"]).build()?;
    /// let mut second = store.share_consumer("workers").subscribe(["jobs"]).build()?;
    /// let leased = first.try_poll()?;
    /// assert_eq!((leased.len(), second.try_poll()?.len()), (1, 0));
    /// first.ack_all(&leased)?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn share_consumer(&self, group: impl Into<String>) -> ShareConsumerBuilder {
        let (shares, offsets) = (self.shares.clone(), self.offsets.clone());
        ShareConsumerBuilder::new(self.engine.clone(), shares, offsets, group.into())
    }

    /// A builder for a worker: a handler that is called for each record of a share group, a few at
    /// a time, with retries.
    ///
    /// ```
    /// use tidelog::{JobOutcome, Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.ensure_topic("jobs", TopicConfig::new())?;
    /// let worker = store.worker("workers").topic("jobs").run(|_job| JobOutcome::Done)?;
    /// worker.stop()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn worker(&self, group: impl Into<String>) -> WorkerBuilder {
        WorkerBuilder::new(self.engine.clone(), self.share_consumer(group))
    }

    /// Numbers for operators, as they are now.
    ///
    /// ```
    /// assert_eq!(tidelog::Store::in_memory()?.stats().appended_records, 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn stats(&self) -> StoreStats {
        let unreadable_transactions = self.transactions.skipped();
        let unreadable_shares = self.shares.skipped();
        let unreadable_dead_letters = self.letters.unreadable();
        let scheduled = ScheduleStats::of(self.schedule.numbers());
        let prepared = PreparedStats::of(self.prepared.numbers());
        let all = StoreStats::of(&self.engine, &self.offsets);
        StoreStats {
            unreadable_transactions,
            unreadable_shares,
            unreadable_dead_letters,
            scheduled,
            prepared,
            ..all
        }
    }

    /// Reads everything the store holds and says what is wrong, while it is open:
    /// [`Verifier::run`](crate::Verifier::run) blocks for as long as that takes, and nobody waits
    /// for it.
    ///
    /// ```
    /// let store = tidelog::Store::in_memory()?;
    /// assert!(store.verifier().run()?.is_clean());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn verifier(&self) -> Verifier {
        let verifier = Verifier::new(self.engine.root_path()).disk(self.engine.disk().clone());
        verifier.plain(self.engine.plain_limit()).beside_writer()
    }

    /// Makes every record appended so far durable, in all partitions, and records it. Blocks for
    /// the syncs.
    ///
    /// # Errors
    /// [`Poisoned`](crate::ErrorKind::Poisoned) and those of the operating system; the partitions
    /// that could be synced are.
    ///
    /// ```
    /// tidelog::Store::in_memory()?.flush()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn flush(&self) -> Result<()> {
        self.engine.flush()
    }

    /// [`Store::flush`] as a future of any runtime: `Ok` means that every record appended before
    /// this call, in any partition, survives a power cut. The store's timer makes the syncs, or
    /// threads that sync anyway; with [`Threads::Host`](crate::Threads::Host) whoever calls
    /// [`run_due`](Store::run_due). How far each partition is safe is recorded in the background,
    /// not here: that shortens the next recovery and promises nothing more. Dropping it undoes
    /// nothing.
    ///
    /// ```
    /// let store = tidelog::Store::in_memory()?;
    /// pollster::block_on(store.flush_async())?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn flush_async(&self) -> impl Future<Output = Result<()>> + Send + 'static + use<> {
        self.engine.flush_later()
    }

    /// Does what is due of lingering and timers; returns when there is more. For a store with
    /// [`Threads::Host`](crate::Threads::Host); with threads of its own there is no need.
    ///
    /// ```
    /// use tidelog::{Store, Threads};
    /// let store = Store::builder_in_memory().threads(Threads::Host).open()?;
    /// assert_eq!(store.run_due(), None);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn run_due(&self) -> Option<Instant> {
        self.engine.run_due().map(|at| self.instant(at))
    }

    /// Does what is due of background syncs, retention and removal of files; returns when there
    /// is more. May block for syncs.
    ///
    /// ```
    /// use tidelog::{Store, Threads};
    /// let store = Store::builder_in_memory().threads(Threads::Host).open()?;
    /// assert!(store.run_maintenance().is_some()); // when expired offsets are looked for
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn run_maintenance(&self) -> Option<Instant> {
        self.engine.run_maintenance().map(|at| self.instant(at))
    }

    /// A point of the store's monotonic clock in real time.
    fn instant(&self, at: Duration) -> Instant {
        deadline_after(at.saturating_sub(self.engine.clock().monotonic()))
    }

    /// Closes the store: flushes what lingers, wakes whoever waits, seals and syncs every log, and
    /// frees the directory. Every handle fails as [`Closed`](crate::ErrorKind::Closed) from then
    /// on; records that were fetched stay valid. Blocks for the syncs. A call while another thread
    /// closes waits for that and returns the same; later calls return `Ok`. A call out of the
    /// closing itself, such as from a waker, cannot wait for it and returns at once.
    ///
    /// # Errors
    /// The first failure; the rest is carried out all the same, and the directory is free.
    ///
    /// ```
    /// let store = tidelog::Store::in_memory()?;
    /// store.close()?;
    /// assert!(store.describe("orders").unwrap_err().is_closed());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn close(&self) -> Result<()> {
        self.engine.close()
    }

    /// [`Store::close`] as a future of any runtime. The work begins at the call, on a thread that
    /// ends with it, and is done whether or not the future is awaited.
    ///
    /// ```
    /// let store = tidelog::Store::in_memory()?;
    /// pollster::block_on(store.close_async())?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn close_async(&self) -> impl Future<Output = Result<()>> + Send + use<> {
        let done: Arc<Completion<Result<(), Arc<Error>>>> = Arc::new(Completion::new());
        let closing = (self.engine.engine().clone(), done.clone());
        let run = move || {
            let (engine, done) = closing;
            done.complete(engine.close().map_err(Arc::new));
        };
        let spawned = std::thread::Builder::new().name("tidelog-close".to_owned()).spawn(run);
        if spawned.is_err() {
            done.complete(self.engine.close().map_err(Arc::new));
        }
        let done = Completed::of(&done);
        async move { done.await.map_err(|error| error.again()) }
    }
}
