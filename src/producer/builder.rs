//! How a producer is made: its options, their defaults and their ranges.
//!
//! Options are checked once, in `build`, and then never change: every handle and every lane reads
//! the same `Settings`. The store's door makes the builder.

use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use super::handle::Producer;
use super::partitioner::{DefaultPartitioner, Partitioner};
use super::transaction::TransactionalProducerBuilder;
use crate::config::{Compression, Durability};
use crate::deduplication::Deduplication;
use crate::engine::Claim;
use crate::error::{Cause, Error, Result};
use crate::ids::ProducerEpoch;
use crate::record::{ProducerIdentity, check_built};
use crate::schedule::Schedule;
use crate::txn::Transactions;

/// What [`enqueue`](crate::TopicProducer::enqueue) does when the producer's buffer has no room.
///
/// Either way everything that lingers is flushed at once, which makes room.
///
/// ```
/// use std::time::Duration;
/// use tidelog::BufferFull;
/// assert_eq!(BufferFull::default(), BufferFull::Block(Duration::from_secs(60)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BufferFull {
    /// Waits up to this long, in real time, for room; then fails as
    /// [`ErrorKind::Full`](crate::ErrorKind::Full).
    Block(Duration),
    /// Fails as [`ErrorKind::Full`](crate::ErrorKind::Full) at once; a later try may succeed.
    Fail,
}

impl Default for BufferFull {
    fn default() -> Self {
        BufferFull::Block(Duration::from_secs(60))
    }
}

/// What a producer was built with.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) partitioner: Arc<dyn Partitioner>,
    pub(super) durability: Durability,
    pub(super) linger: Duration,
    pub(super) batch_bytes: usize,
    pub(super) batch_records: u32,
    pub(super) buffer_bytes: usize,
    pub(super) when_buffer_full: BufferFull,
    /// Of an idempotent producer, from its building on.
    pub(super) identity: Option<ProducerIdentity>,
    pub(super) compression: Compression,
    pub(super) compression_level: Option<i32>,
}

impl Settings {
    fn new() -> Self {
        Settings {
            partitioner: Arc::new(DefaultPartitioner::new()),
            durability: Durability::default(),
            linger: Duration::from_millis(5),
            batch_bytes: 64 * 1024,
            batch_records: 10_000,
            buffer_bytes: 32 << 20,
            when_buffer_full: BufferFull::default(),
            identity: None,
            compression: Compression::default(),
            compression_level: None,
        }
    }

    pub(super) fn validate(&self) -> Result<()> {
        let refuse = |key: &str, value: String, allowed: &str| {
            let (key, allowed) = (key.to_owned(), allowed.to_owned());
            Err(Error::new("build producer", Cause::InvalidConfig { key, value, allowed }))
        };
        if let Some(level) = self.compression_level {
            self.compression.check_level("compression_level", level)?;
        }
        check_built("build producer", self.compression)?;
        if self.batch_bytes == 0 {
            return refuse("batch_bytes", "0".to_owned(), "at least 1 byte");
        }
        if self.batch_records == 0 {
            return refuse("batch_records", "0".to_owned(), "at least 1 record");
        }
        if self.buffer_bytes < self.batch_bytes {
            let allowed = format!("at least batch_bytes, {} bytes", self.batch_bytes);
            return refuse("buffer_bytes", self.buffer_bytes.to_string(), &allowed);
        }
        Ok(())
    }
}

/// Builds a [`Producer`]; it comes from `store.producer()`.
///
/// Everything has a default; only what lingers ([`enqueue`](crate::TopicProducer::enqueue)) is
/// touched by the options about batches and the buffer.
///
/// ```
/// use std::time::Duration;
/// use tidelog::{BufferFull, Durability, Store};
/// let store = Store::in_memory()?;
/// let producer = store
///     .producer()
///     .durability(Durability::Power)
///     .linger(Duration::from_millis(20))
///     .when_buffer_full(BufferFull::Fail)
///     .build()?;
/// # drop(producer);
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct ProducerBuilder {
    engine: Claim,
    transactions: Arc<Transactions>,
    schedule: Arc<Schedule>,
    deduplication: Arc<Deduplication>,
    settings: Settings,
    idempotent: bool,
}

impl ProducerBuilder {
    pub(crate) fn new(
        engine: Claim,
        transactions: Arc<Transactions>,
        schedule: Arc<Schedule>,
        deduplication: Arc<Deduplication>,
    ) -> Self {
        let (settings, idempotent) = (Settings::new(), false);
        ProducerBuilder { engine, transactions, schedule, deduplication, settings, idempotent }
    }

    /// What an acknowledgement promises unless a handle says otherwise; default
    /// [`Durability::Process`].
    ///
    /// ```
    /// # use tidelog::{Durability, Store};
    /// # let store = Store::in_memory()?;
    /// let producer = store.producer().durability(Durability::Power).build()?;
    /// # drop(producer);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn durability(mut self, durability: Durability) -> Self {
        self.settings.durability = durability;
        self
    }

    /// How its batches are compressed, unless their topic names a codec itself
    /// ([`TopicConfig::compression`](crate::TopicConfig::compression)); default
    /// [`Compression::Producer`]: as the topic says, and not at all where it leaves that to
    /// producers. A batch is what is compressed, so records that linger or are sent in batches gain
    /// most, a `send` by itself little. The topic's limit on batches is one on their compressed
    /// size.
    ///
    /// ```
    /// # use tidelog::{Compression, Store};
    /// # let store = Store::in_memory()?;
    /// let built = store.producer().compression(Compression::Lz4).build();
    /// assert_eq!(built.is_ok(), cfg!(feature = "lz4")); // else unsupported
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn compression(mut self, compression: Compression) -> Self {
        self.settings.compression = compression;
        self
    }

    /// The level of [`compression`](ProducerBuilder::compression): 1 to 9 or -1 for gzip, 1 to 17
    /// for lz4 (all mean the fast compressor), -131,072 to 22 for zstd; no other codec has levels.
    /// Default: the codec's own, which a topic that names the codec may set.
    ///
    /// ```
    /// # use tidelog::{Compression, Store};
    /// # let store = Store::in_memory()?;
    /// let builder = store.producer().compression(Compression::Gzip).compression_level(10);
    /// assert!(builder.build().is_err());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn compression_level(mut self, level: i32) -> Self {
        self.settings.compression_level = Some(level);
        self
    }

    /// Who chooses the partition of a record that was sent without one; default
    /// [`DefaultPartitioner`].
    ///
    /// ```
    /// # use tidelog::{RoundRobin, Store};
    /// # let store = Store::in_memory()?;
    /// let producer = store.producer().partitioner(RoundRobin::new()).build()?;
    /// # drop(producer);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn partitioner(mut self, partitioner: impl Partitioner) -> Self {
        self.settings.partitioner = Arc::new(partitioner);
        self
    }

    /// How long a record lingers for others to share its batch, on the store's clock; default
    /// 5 ms. Zero: not at all, each enqueue is appended as it comes. There is no largest value.
    ///
    /// ```
    /// # use tidelog::Store;
    /// # use std::time::Duration;
    /// # let store = Store::in_memory()?;
    /// let producer = store.producer().linger(Duration::from_millis(50)).build()?;
    /// # drop(producer);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn linger(mut self, linger: Duration) -> Self {
        self.settings.linger = linger;
        self
    }

    /// A batch that has reached this many encoded bytes is written; default 65,536, at least 1. It
    /// passes that by no more than its last record, and never the topic's `max.message.bytes`.
    ///
    /// ```
    /// # use tidelog::Store;
    /// # let store = Store::in_memory()?;
    /// let producer = store.producer().batch_bytes(256 * 1024).build()?;
    /// # drop(producer);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.settings.batch_bytes = bytes;
        self
    }

    /// A batch that has reached this many records is written; default 10,000, at least 1.
    ///
    /// ```
    /// # use tidelog::Store;
    /// # let store = Store::in_memory()?;
    /// let producer = store.producer().batch_records(100).build()?;
    /// # drop(producer);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn batch_records(mut self, records: u32) -> Self {
        self.settings.batch_records = records;
        self
    }

    /// How many bytes may linger in the whole producer, its clones included; default 32 MiB, at
    /// least `batch_bytes`. It counts encoded records, a little ahead of them; the memory behind
    /// a batch that grows may be up to twice that, and receipts that are made beforehand take up
    /// to 8 KiB a batch. A larger record cannot linger.
    ///
    /// ```
    /// # use tidelog::Store;
    /// # let store = Store::in_memory()?;
    /// let producer = store.producer().buffer_bytes(1 << 20).build()?;
    /// # drop(producer);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.settings.buffer_bytes = bytes;
        self
    }

    /// What an enqueue does when `buffer_bytes` are taken; default: block for up to 60 s.
    ///
    /// ```
    /// # use tidelog::{BufferFull, Store};
    /// # let store = Store::in_memory()?;
    /// let producer = store.producer().when_buffer_full(BufferFull::Fail).build()?;
    /// # drop(producer);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn when_buffer_full(mut self, what: BufferFull) -> Self {
        self.settings.when_buffer_full = what;
        self
    }

    /// Whether records are numbered, so that a batch which is sent again is appended once; default
    /// `false`. Building one draws a producer id, which no other producer of the store ever has:
    /// that blocks for a sync once in a thousand times. Costs a look into a table at each append,
    /// and the checksum of a lingering batch under the partition's lock.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// let orders = store.producer().idempotent(true).build()?.topic("orders")?;
    /// let receipt = orders.send(Record::new("hello"))?;
    /// assert_eq!(receipt.sequence().map(|it| it.get()), Some(0));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.idempotent = idempotent;
        self.settings.identity = self.settings.identity.filter(|_| idempotent);
        self
    }

    /// Makes the idempotent producer again that a program was before it crashed or closed the
    /// store, to go on with its sequences. See
    /// [`send_numbered`](crate::TopicProducer::send_numbered) for how rows are sent again.
    ///
    /// ```
    /// # use tidelog::Store;
    /// # let store = Store::in_memory()?;
    /// let identity = store.producer().idempotent(true).build()?.identity().expect("it has one");
    /// let same = store.producer().resume(identity).build()?;
    /// assert_eq!(same.identity(), Some(identity));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn resume(mut self, identity: ProducerIdentity) -> Self {
        self.idempotent = true;
        self.settings.identity = Some(identity);
        self
    }

    /// Makes it a producer that sends in transactions, under a transactional id of 1 to 32,767
    /// bytes that it has to itself. Of the options so far the partitioner and the compression
    /// count; nothing lingers in a transaction, and durability is a matter of its commit.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// let mut producer = store.producer().transactional("checkout").build()?;
    /// let transaction = producer.begin()?;
    /// transaction.topic("orders")?.send(Record::new("hello"))?;
    /// transaction.commit()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn transactional(self, id: impl Into<String>) -> TransactionalProducerBuilder {
        let settings = Settings { identity: None, ..self.settings };
        let coordinators = (self.transactions, self.schedule, self.deduplication);
        TransactionalProducerBuilder::new(self.engine, coordinators, settings, id.into())
    }

    /// The producer.
    ///
    /// # Errors
    /// Of an idempotent one those of recording its id;
    /// [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig) for options out of range,
    /// [`ErrorKind::Closed`](crate::ErrorKind::Closed) once the store is closed.
    ///
    /// ```
    /// # use tidelog::{ErrorKind, Store};
    /// # let store = Store::in_memory()?;
    /// assert!(store.producer().build().is_ok());
    /// let error = store.producer().batch_bytes(0).build().unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn build(self) -> Result<Producer> {
        self.settings.validate()?;
        self.engine.check_open("build producer")?;
        let (engine, mut settings) = (self.engine.engine(), self.settings);
        match settings.identity {
            Some(identity) if !identity.is_legal() => {
                let why = format!("{identity} is no producer's identity");
                return Err(Error::new("build producer", Cause::InvalidArgument(why)));
            }
            Some(identity) => engine.reserve_producer_ids([identity.id()])?,
            None if self.idempotent => {
                let id = engine.draw_producer_id()?;
                settings.identity = Some(ProducerIdentity::new(id, ProducerEpoch::new(0)));
            }
            None => {}
        }
        let core = Core::new(engine.clone(), (self.schedule, self.deduplication), settings);
        Ok(Producer::new(core, self.engine))
    }
}
