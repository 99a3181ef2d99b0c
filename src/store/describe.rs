//! What a topic is, for programs that manage topics: a snapshot that holds nothing open.
//!
//! A partition that could not be opened is described too, with why.

use crate::config::TopicConfig;
use crate::engine::{FollowedPartition, Partition, Topic};
use crate::ids::{LeaderEpoch, Offset, PartitionId, TopicId};

/// A topic as it was at one moment.
///
/// ```
/// use tidelog::{Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.create_topic("orders", TopicConfig::new().partitions(2))?;
/// let topic = store.describe("orders")?;
/// assert_eq!((topic.name(), topic.partitions().len()), ("orders", 2));
/// assert!(!topic.is_internal() && !topic.is_adopted());
/// assert_eq!(topic.config().get("segment.bytes").as_deref(), Some("1073741824"));
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TopicDescription {
    name: String,
    id: TopicId,
    internal: bool,
    adopted: bool,
    config: TopicConfig,
    partitions: Vec<PartitionDescription>,
}

impl TopicDescription {
    pub(super) fn of(topic: &Topic) -> Self {
        TopicDescription {
            name: topic.name().to_string(),
            id: topic.id(),
            internal: topic.is_internal(),
            adopted: topic.is_adopted(),
            config: TopicConfig::clone(&topic.config()),
            partitions: topic.partitions().iter().map(|p| PartitionDescription::of(p)).collect(),
        }
    }

    /// The name.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// store.create_topic("orders", tidelog::TopicConfig::new())?;
    /// assert_eq!(store.describe("orders")?.name(), "orders");
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The identity, which a topic made again under the name does not share.
    ///
    /// ```
    /// # use tidelog::TopicConfig;
    /// # let store = tidelog::Store::in_memory()?;
    /// store.create_topic("orders", TopicConfig::new())?;
    /// let first = store.describe("orders")?.id();
    /// store.delete_topic("orders")?;
    /// store.create_topic("orders", TopicConfig::new())?;
    /// assert_ne!(store.describe("orders")?.id(), first);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn id(&self) -> TopicId {
        self.id
    }

    /// Whether it is the store's own, such as `__consumer_offsets`.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// store.create_topic("orders", tidelog::TopicConfig::new())?;
    /// assert!(!store.describe("orders")?.is_internal());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn is_internal(&self) -> bool {
        self.internal
    }

    /// Whether it was found in a directory that another program wrote and nobody has set its
    /// policy yet: nothing of it is removed until
    /// [`Store::alter_topic`](crate::Store::alter_topic).
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// store.create_topic("orders", tidelog::TopicConfig::new())?;
    /// assert!(!store.describe("orders")?.is_adopted());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn is_adopted(&self) -> bool {
        self.adopted
    }

    /// The configuration.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// store.create_topic("orders", tidelog::TopicConfig::new())?;
    /// assert_eq!(store.describe("orders")?.config(), &tidelog::TopicConfig::new());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn config(&self) -> &TopicConfig {
        &self.config
    }

    /// The partitions, by number.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// store.create_topic("orders", tidelog::TopicConfig::new())?;
    /// assert_eq!(store.describe("orders")?.partitions()[0].end_offset().get(), 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn partitions(&self) -> &[PartitionDescription] {
        &self.partitions
    }
}

/// A partition as it was at one moment.
///
/// ```
/// use tidelog::{Offset, Record, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.create_topic("orders", TopicConfig::new())?;
/// store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
/// let topic = store.describe("orders")?;
/// let partition = &topic.partitions()[0];
/// assert_eq!(partition.id().get(), 0);
/// assert_eq!((partition.start_offset(), partition.end_offset()), (Offset::ZERO, Offset::new(1)));
/// assert!(partition.durable_offset() <= partition.end_offset());
/// assert_eq!(partition.epochs().len(), 1);
/// assert_eq!(partition.failure(), None);
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct PartitionDescription {
    id: PartitionId,
    start: Offset,
    durable: Offset,
    end: Offset,
    epochs: Vec<(LeaderEpoch, Offset)>,
    failure: Option<String>,
}

impl PartitionDescription {
    fn of(partition: &Partition) -> Self {
        let id = partition.id();
        if let Some(followed) = partition.followed() {
            return PartitionDescription::of_followed(id, followed);
        }
        match partition.log() {
            Ok(log) => {
                let offsets = log.offsets().snapshot();
                PartitionDescription {
                    id,
                    start: offsets.start,
                    durable: offsets.durable,
                    end: offsets.end,
                    epochs: log.epoch_entries(),
                    failure: log.check_healthy("describe").err().map(|error| error.to_string()),
                }
            }
            Err(error) => PartitionDescription::failed(id, error.to_string()),
        }
    }

    fn of_followed(id: PartitionId, followed: &FollowedPartition) -> Self {
        match followed.log() {
            Ok(log) => {
                let offsets = log.offsets();
                let (start, durable, end) = (offsets.start, offsets.durable, offsets.end);
                let epochs = log.epoch_entries();
                PartitionDescription { id, start, durable, end, epochs, failure: None }
            }
            Err(error) => PartitionDescription::failed(id, error.to_string()),
        }
    }

    fn failed(id: PartitionId, why: String) -> Self {
        PartitionDescription {
            id,
            start: Offset::ZERO,
            durable: Offset::ZERO,
            end: Offset::ZERO,
            epochs: Vec::new(),
            failure: Some(why),
        }
    }

    /// Its number.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.create_topic("orders", tidelog::TopicConfig::new())?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// # orders.send(tidelog::Record::new("hello"))?;
    /// # let topic = store.describe("orders")?;
    /// # let partition = &topic.partitions()[0];
    /// assert_eq!(partition.id().get(), 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn id(&self) -> PartitionId {
        self.id
    }

    /// The first offset that can be read.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.create_topic("orders", tidelog::TopicConfig::new())?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// # orders.send(tidelog::Record::new("hello"))?;
    /// # let topic = store.describe("orders")?;
    /// # let partition = &topic.partitions()[0];
    /// assert_eq!(partition.start_offset().get(), 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn start_offset(&self) -> Offset {
        self.start
    }

    /// All records below it survive a power cut.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.create_topic("orders", tidelog::TopicConfig::new())?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// # orders.send(tidelog::Record::new("hello"))?;
    /// # let topic = store.describe("orders")?;
    /// # let partition = &topic.partitions()[0];
    /// assert!(partition.durable_offset() <= partition.end_offset());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn durable_offset(&self) -> Offset {
        self.durable
    }

    /// One past the last record.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.create_topic("orders", tidelog::TopicConfig::new())?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// # orders.send(tidelog::Record::new("hello"))?;
    /// # let topic = store.describe("orders")?;
    /// # let partition = &topic.partitions()[0];
    /// assert_eq!(partition.end_offset().get(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn end_offset(&self) -> Offset {
        self.end
    }

    /// Each leader epoch with the offset of its first record.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.create_topic("orders", tidelog::TopicConfig::new())?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// # orders.send(tidelog::Record::new("hello"))?;
    /// # let topic = store.describe("orders")?;
    /// # let partition = &topic.partitions()[0];
    /// assert_eq!(partition.epochs()[0].1.get(), 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn epochs(&self) -> &[(LeaderEpoch, Offset)] {
        &self.epochs
    }

    /// Why it takes no records, if it does not.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.create_topic("orders", tidelog::TopicConfig::new())?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// # orders.send(tidelog::Record::new("hello"))?;
    /// # let topic = store.describe("orders")?;
    /// # let partition = &topic.partitions()[0];
    /// assert_eq!(partition.failure(), None);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
}
