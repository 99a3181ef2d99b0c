//! The door for readers in other processes: everything a store can be asked, nothing that writes.
//!
//! A [`ReadOnlyStore`] shares its rooms with a [`Store`](crate::Store): the same consumers, the
//! same descriptions. It takes no lock, and makes, changes, renames and removes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::describe::TopicDescription;
use super::handle::Store;
use super::stats::StoreStats;
use crate::clock::SystemClock;
use crate::config::{IsolationLevel, Threads};
use crate::consumer::ConsumerBuilder;
use crate::disk::{Disk, IoMode, RealDisk};
use crate::engine::{Claim, Engine, FollowOptions};
use crate::error::{Cause, Error, Result};
use crate::group::{Committed, OffsetStore};
use crate::ids::{Offset, PartitionId};
use crate::record::PlainLimit;
use crate::time::{Clock, Timestamp, deadline_after};

/// A store that another process may be writing to, or none: open for reading alone.
///
/// Consumers see new records within [`follow_interval`](ReadOnlyStoreBuilder::follow_interval),
/// perhaps shortly before the writer has acknowledged them, and never one that is not whole. Rolls,
/// retention, deletions, the writer's death and its return are survived; records that a power cut
/// took are a [`LogTruncated`](crate::ErrorKind::LogTruncated) that the reset policy answers.
/// Offsets that groups have committed can be read, not committed. Any number of processes may have
/// it open, on a file system mounted read-only too.
///
/// After a power cut it shows what the next open for writing will find, what only the journal holds
/// included; that part is kept in memory, at most as much as the journal is large.
///
/// A log directory of Kafka's that no store has adopted is read too: its topics show as
/// [adopted](crate::TopicDescription::is_adopted), and everything stays Kafka's, be a broker
/// writing to it or not. What the broker's replicas do not all have is shown as well.
///
/// It is a handle: clones share one, and dropping the last closes it.
///
/// ```
/// use std::time::Duration;
/// use tidelog::{Record, Store, TopicConfig};
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path();
/// // in one process
/// let store = Store::open(path)?;
/// store.ensure_topic("orders", TopicConfig::new())?;
/// store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
///
/// // in another
/// let reading = Store::open_read_only(path)?;
/// let mut reader = reading.reader().subscribe(["orders"]).build()?;
/// for record in &reader.poll(Duration::from_secs(1))? {
///     assert_eq!(record.value(), Some(&b"hello"[..]));
/// }
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ReadOnlyStore {
    engine: Claim,
    offsets: Arc<OffsetStore>,
}

/// Builds a [`ReadOnlyStore`]; begun by [`Store::read_only`].
///
/// ```
/// use std::time::Duration;
/// use tidelog::{Store, Threads};
/// # let dir = tempfile::tempdir().unwrap();
/// # Store::open(dir.path())?;
/// let reading = Store::read_only(dir.path())
///     .follow_interval(Duration::from_millis(2))
///     .threads(Threads::Host)
///     .open()?;
/// assert!(reading.topics()?.is_empty());
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct ReadOnlyStoreBuilder {
    path: PathBuf,
    disk: Option<Arc<dyn Disk>>,
    clock: Arc<dyn Clock>,
    threads: Threads,
    follow_interval: Duration,
    plain: PlainLimit,
}

/// Reading a store of another process.
impl Store {
    /// Opens the store in a directory for reading alone, with every default, whether or not
    /// another process writes to it.
    ///
    /// # Errors
    /// Those of [`ReadOnlyStoreBuilder::open`].
    ///
    /// ```
    /// use tidelog::{ErrorKind, Store};
    /// # let dir = tempfile::tempdir().unwrap();
    /// let error = Store::open_read_only(dir.path()).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::NotAStore); // there is none yet
    /// let store = Store::open(dir.path())?;
    /// let reading = Store::open_read_only(dir.path())?;
    /// assert_eq!(reading.id(), store.id());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<ReadOnlyStore> {
        Store::read_only(path).open()
    }

    /// A builder for reading the store in a directory.
    ///
    /// ```
    /// # use tidelog::Store;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # Store::open(dir.path())?;
    /// let reading = Store::read_only(dir.path()).open()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn read_only(path: impl AsRef<Path>) -> ReadOnlyStoreBuilder {
        ReadOnlyStoreBuilder {
            path: path.as_ref().to_owned(),
            disk: None,
            clock: Arc::new(SystemClock::new()),
            threads: Threads::Own,
            follow_interval: Duration::from_millis(10),
            plain: PlainLimit::DEFAULT,
        }
    }
}

impl ReadOnlyStoreBuilder {
    /// How old what is known may be before it is looked at again; at least 1 ms, default 10 ms.
    ///
    /// A call that reads looks by itself if the last look is older. While a poll waits, the store
    /// looks once per interval at what it waits for (four system calls per partition, as many for
    /// the topics); with nobody waiting nothing runs. It goes by the store's clock.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidelog::Store;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # Store::open(dir.path())?;
    /// let eager = Store::read_only(dir.path()).follow_interval(Duration::from_millis(1)).open()?;
    /// assert!(Store::read_only(dir.path()).follow_interval(Duration::ZERO).open().is_err());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn follow_interval(mut self, interval: Duration) -> Self {
        self.follow_interval = interval;
        self
    }

    /// Another disk than the real one.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tidelog::{Store, disk::MemoryDisk};
    /// let disk = Arc::new(MemoryDisk::new());
    /// let store = Store::builder("/a").disk(disk.clone()).open()?;
    /// assert_eq!(Store::read_only("/a").disk(disk).open()?.id(), store.id());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.disk = Some(disk);
        self
    }

    /// The clock the store decides by; default the machine's.
    ///
    /// ```
    /// # use tidelog::{ManualClock, Store};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # Store::open(dir.path())?;
    /// let clock = ManualClock::default();
    /// let reading = Store::read_only(dir.path()).clock(clock.clone()).open()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// How many bytes one compressed batch may take decompressed; see
    /// [`StoreBuilder::max_decompressed_bytes`](crate::StoreBuilder::max_decompressed_bytes).
    ///
    /// ```
    /// # use tidelog::Store;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # Store::open(dir.path())?;
    /// let reading = Store::read_only(dir.path()).max_decompressed_bytes(64 << 20).open()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn max_decompressed_bytes(mut self, bytes: usize) -> Self {
        self.plain = PlainLimit::bytes(bytes.max(1));
        self
    }

    /// Who looks while a poll waits: a thread of the store's own (the default), or with
    /// [`Threads::Host`] the poll itself and [`ReadOnlyStore::run_due`].
    ///
    /// ```
    /// # use tidelog::{Store, Threads};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # Store::open(dir.path())?;
    /// let reading = Store::read_only(dir.path()).threads(Threads::Host).open()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn threads(mut self, threads: Threads) -> Self {
        self.threads = threads;
        self
    }

    /// Opens it. Costs a look at what the store knows of itself; partitions are looked at when
    /// they are first read.
    ///
    /// # Errors
    /// [`NotAStore`](crate::ErrorKind::NotAStore) where there is no store: nothing, something else,
    /// or a store that is being made at this moment.
    /// [`NewerVersion`](crate::ErrorKind::NewerVersion),
    /// [`Corrupt`](crate::ErrorKind::Corrupt) for the store's own files, and for a journal that is
    /// damaged or missing after a power cut until the store was opened for writing,
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig), and those of the operating system.
    ///
    /// ```
    /// # use tidelog::{ErrorKind, Store};
    /// # let dir = tempfile::tempdir().unwrap();
    /// let error = Store::read_only(dir.path().join("none")).open().unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::NotAStore);
    /// ```
    pub fn open(self) -> Result<ReadOnlyStore> {
        const LEAST: Duration = Duration::from_millis(1);
        if self.follow_interval < LEAST {
            let (key, value) =
                ("follow_interval".to_owned(), format!("{:?}", self.follow_interval));
            let allowed = "at least 1 ms".to_owned();
            let cause = Cause::InvalidConfig { key, value, allowed };
            return Err(Error::new("open store read-only", cause));
        }
        let disk = match self.disk {
            Some(disk) => disk,
            None => {
                let disk = RealDisk::new(IoMode::Positioned);
                Arc::new(disk.map_err(|error| Error::io("open disk", &self.path, error))?)
            }
        };
        let options = FollowOptions {
            disk,
            clock: self.clock,
            threads: self.threads,
            interval: self.follow_interval,
            plain: self.plain,
        };
        let engine = Engine::follow(options, &self.path)?;
        let offsets = OffsetStore::follow(engine.clone());
        Ok(ReadOnlyStore { engine: Claim::new(engine), offsets })
    }
}

impl ReadOnlyStore {
    /// The store's identity, which no other store has; zeros for a directory that is Kafka's alone.
    ///
    /// ```
    /// # use tidelog::Store;
    /// # let dir = tempfile::tempdir().unwrap();
    /// let store = Store::open(dir.path())?;
    /// assert_eq!(Store::open_read_only(dir.path())?.id(), store.id());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn id(&self) -> String {
        self.engine.store_id().to_string()
    }

    /// Every topic but the internal ones, by name.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed), [`NotAStore`](crate::ErrorKind::NotAStore) once the
    /// store is gone, or once one has adopted the directory of Kafka's; those of the operating
    /// system.
    ///
    /// ```
    /// # use tidelog::{Store, TopicConfig};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path())?;
    /// # store.create_topic("orders", TopicConfig::new())?;
    /// let reading = Store::open_read_only(dir.path())?;
    /// assert_eq!(reading.topics()?[0].name(), "orders");
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn topics(&self) -> Result<Vec<TopicDescription>> {
        self.engine.check_open("list topics")?;
        self.engine.look_if_due()?;
        let topics = self.engine.topics();
        let shown = topics.iter().filter(|topic| !topic.is_internal());
        Ok(shown.map(|topic| TopicDescription::of(topic)).collect())
    }

    /// A topic, internal ones too, with the offsets of its partitions.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound), and those of [`ReadOnlyStore::topics`].
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path())?;
    /// # store.create_topic("orders", TopicConfig::new())?;
    /// # store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
    /// let reading = Store::open_read_only(dir.path())?;
    /// assert_eq!(reading.describe("orders")?.partitions()[0].end_offset().get(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn describe(&self, name: &str) -> Result<TopicDescription> {
        Ok(TopicDescription::of(&*self.engine.topic(name)?))
    }

    /// The offset of the first record at or after `timestamp`; see
    /// [`Store::offset_at`](crate::Store::offset_at).
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound), [`Corrupt`](crate::ErrorKind::Corrupt), and those
    /// of [`ReadOnlyStore::topics`].
    ///
    /// ```
    /// # use tidelog::{Store, Timestamp, TopicConfig};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path())?;
    /// # store.create_topic("orders", TopicConfig::new())?;
    /// let reading = Store::open_read_only(dir.path())?;
    /// assert_eq!(reading.offset_at("orders", 0, Timestamp::from_millis(0))?, None);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn offset_at(
        &self,
        topic: &str,
        partition: impl Into<PartitionId>,
        timestamp: Timestamp,
    ) -> Result<Option<Offset>> {
        let partition = self.engine.topic(topic)?.partition(partition.into())?;
        partition.offset_at(timestamp, IsolationLevel::ReadCommitted)
    }

    /// A builder for a consumer that begins where `group` has committed. It is given partitions by
    /// [`assign`](ConsumerBuilder::assign); following topics is for members of the group, which
    /// live in the process that writes. Commits fail as
    /// [`ReadOnly`](crate::ErrorKind::ReadOnly).
    ///
    /// ```
    /// # use tidelog::{ErrorKind, Store, TopicConfig};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path())?;
    /// # store.create_topic("orders", TopicConfig::new())?;
    /// let reading = Store::open_read_only(dir.path())?;
    /// let mut consumer = reading.consumer("billing").assign([("orders", 0)]).build()?;
    /// assert_eq!(consumer.committed("orders", 0)?, None);
    /// assert_eq!(consumer.commit().unwrap_err().kind(), ErrorKind::ReadOnly);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn consumer(&self, group: impl Into<String>) -> ConsumerBuilder {
        let group = Some(group.into());
        ConsumerBuilder::new(self.engine.clone(), self.offsets.clone(), group)
    }

    /// A builder for a consumer that keeps no offsets; it may follow topics.
    ///
    /// ```
    /// # use tidelog::{Store, TopicConfig};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path())?;
    /// # store.create_topic("orders", TopicConfig::new())?;
    /// let reading = Store::open_read_only(dir.path())?;
    /// let mut reader = reading.reader().subscribe(["orders"]).build()?;
    /// assert!(reader.try_poll()?.is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn reader(&self) -> ConsumerBuilder {
        ConsumerBuilder::new(self.engine.clone(), self.offsets.clone(), None)
    }

    /// The names of all groups that have committed something or have records of their own, in
    /// order. Who their members are only the process that writes knows.
    ///
    /// # Errors
    /// Those of [`ReadOnlyStore::topics`].
    ///
    /// ```
    /// # use tidelog::Store;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path())?;
    /// assert!(Store::open_read_only(dir.path())?.group_names()?.is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn group_names(&self) -> Result<Vec<String>> {
        self.engine.check_open("list groups")?;
        self.engine.look_if_due()?;
        Ok(self.offsets.groups().iter().map(ToString::to_string).collect())
    }

    /// All that a group has committed, by topic and partition; empty for a group that has not.
    ///
    /// # Errors
    /// Those of [`ReadOnlyStore::topics`].
    ///
    /// ```
    /// use tidelog::{Offset, OffsetCommit, Store, TopicConfig};
    /// # let dir = tempfile::tempdir().unwrap();
    /// let store = Store::open(dir.path())?;
    /// store.create_topic("orders", TopicConfig::new())?;
    /// let reading = Store::open_read_only(dir.path())?;
    /// let mut consumer = store.consumer("billing").assign([("orders", 0)]).build()?;
    /// consumer.commit_offsets(&[OffsetCommit::new("orders", 0, Offset::ZERO)])?;
    /// assert_eq!(reading.committed("billing")?[0].2.offset(), Offset::ZERO);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn committed(&self, group: &str) -> Result<Vec<(String, PartitionId, Committed)>> {
        self.engine.check_open("look up offsets")?;
        let all = self.offsets.all_committed(group)?;
        let named = all.into_iter().map(|(partition, committed)| {
            (partition.topic_name().to_string(), partition.id(), committed)
        });
        Ok(named.collect())
    }

    /// Numbers for operators: sizes and offsets as they are now, counters of this reader. What
    /// only the writer knows is 0.
    ///
    /// ```
    /// # use tidelog::{Store, TopicConfig};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path())?;
    /// # store.create_topic("orders", TopicConfig::new())?;
    /// let stats = Store::open_read_only(dir.path())?.stats();
    /// assert_eq!((stats.topics[0].name.as_str(), stats.fetched_records), ("orders", 0));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn stats(&self) -> StoreStats {
        StoreStats::of(&self.engine, &self.offsets)
    }

    /// Looks again for those who wait, if that is due; returns when it is next. For
    /// [`Threads::Host`]; with a thread of the store's own there is no need.
    ///
    /// ```
    /// # use tidelog::{Store, Threads};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path())?;
    /// let reading = Store::read_only(dir.path()).threads(Threads::Host).open()?;
    /// assert_eq!(reading.run_due(), None); // nobody waits
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn run_due(&self) -> Option<Instant> {
        let at = self.engine.run_due()?;
        Some(deadline_after(at.saturating_sub(self.engine.clock().monotonic())))
    }

    /// Ends reading: whoever waits is woken, every handle fails as
    /// [`Closed`](crate::ErrorKind::Closed) from then on, records that were fetched stay valid.
    /// Later calls do nothing.
    ///
    /// # Errors
    /// [`Forked`](crate::ErrorKind::Forked) in a forked child.
    ///
    /// ```
    /// # use tidelog::Store;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path())?;
    /// let reading = Store::open_read_only(dir.path())?;
    /// reading.close()?;
    /// assert!(reading.topics().unwrap_err().is_closed());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn close(&self) -> Result<()> {
        self.engine.close()
    }
}

#[cfg(test)]
mod tests;
