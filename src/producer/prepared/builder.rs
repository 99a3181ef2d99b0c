//! How a producer of prepared transactions is made: its name, its resolver, and when that is asked.
//!
//! Called by the store's door.

use std::sync::Arc;
use std::time::Duration;

use super::super::builder::ProducerBuilder;
use super::handle::PreparedProducer;
use crate::config::Durability;
use crate::error::{Cause, Error, Result};
use crate::prepared::{Checks, Exhausted, Prepared, PreparedTransaction, Resolution, Resolver};

/// The longest name, in bytes.
const NAME_LIMIT: usize = 249;

/// Builds a [`PreparedProducer`]; it comes from [`Store::prepared`](crate::Store::prepared).
///
/// ```
/// use std::time::Duration;
/// use tidelog::{Exhausted, Resolution, Store};
/// let store = Store::in_memory()?;
/// let outbox = store
///     .prepared("shop")
///     .resolver(|transaction| {
///         // was the local work of transaction.id() done?
///         Resolution::Unknown
///     })
///     .first_check(Duration::from_secs(2))
///     .max_checks(10)
///     .when_exhausted(Exhausted::RollBack)
///     .build()?;
/// # drop(outbox);
/// # Ok::<(), tidelog::Error>(())
/// ```
#[must_use = "a builder does nothing until it is built"]
pub struct PreparedBuilder {
    producer: ProducerBuilder,
    prepared: Arc<Prepared>,
    name: String,
    durability: Durability,
    checks: Checks,
    resolver: Option<Box<Resolver>>,
}

impl std::fmt::Debug for PreparedBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("PreparedBuilder");
        shown.field("name", &self.name).field("checks", &self.checks).finish_non_exhaustive()
    }
}

impl PreparedBuilder {
    pub(crate) fn new(producer: ProducerBuilder, prepared: Arc<Prepared>, name: &str) -> Self {
        let checks = Checks {
            first: Duration::from_secs(6),
            longest: Duration::from_secs(600),
            most: 15,
            exhausted: Exhausted::default(),
        };
        let (name, durability, resolver) = (name.to_owned(), Durability::Power, None);
        PreparedBuilder { producer, prepared, name, durability, checks, resolver }
    }

    /// Who is asked about transactions of this name that nobody has resolved in time; default
    /// nobody. It is called under no lock, one question at a time, on a thread of its own (with
    /// [`Threads::Host`](crate::Threads::Host) by
    /// [`check_due`](PreparedProducer::check_due)); a panic says nothing, like
    /// [`Resolution::Unknown`]. It is asked for as long as the producer built here lives, or until
    /// another is built under the name.
    ///
    /// ```
    /// use tidelog::Resolution;
    /// # let store = tidelog::Store::in_memory()?;
    /// let outbox = store.prepared("shop").resolver(|_| Resolution::RollBack).build()?;
    /// # drop(outbox);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn resolver(
        mut self,
        resolver: impl Fn(&PreparedTransaction) -> Resolution + Send + Sync + 'static,
    ) -> Self {
        self.resolver = Some(Box::new(resolver));
        self
    }

    /// How long after it was prepared, or after the store was opened, a transaction is first asked
    /// about; each interval after that is twice the last. Default 6 s, as in RocketMQ; at least
    /// 1 ms.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// let builder = store.prepared("shop").first_check(std::time::Duration::ZERO);
    /// assert!(builder.build().is_err());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn first_check(mut self, delay: Duration) -> Self {
        self.checks.first = delay;
        self
    }

    /// The longest interval between two questions; default 10 min.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// let hour = std::time::Duration::from_secs(3600);
    /// let outbox = store.prepared("shop").longest_interval(hour).build()?;
    /// # drop(outbox);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn longest_interval(mut self, longest: Duration) -> Self {
        self.checks.longest = longest;
        self
    }

    /// How often a transaction is asked about, over all lives of the store, before
    /// [`when_exhausted`](PreparedBuilder::when_exhausted) decides; default 15, as in RocketMQ; at
    /// least 1. Answers that it cannot be told count, not failures to publish it.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// assert!(store.prepared("shop").max_checks(0).build().is_err());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn max_checks(mut self, most: u32) -> Self {
        self.checks.most = most;
        self
    }

    /// What becomes of a transaction then; default [`Exhausted::Park`].
    ///
    /// ```
    /// use tidelog::Exhausted;
    /// # let store = tidelog::Store::in_memory()?;
    /// let outbox = store.prepared("shop").when_exhausted(Exhausted::KeepAsking).build()?;
    /// # drop(outbox);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn when_exhausted(mut self, exhausted: Exhausted) -> Self {
        self.checks.exhausted = exhausted;
        self
    }

    /// What `Ok` of [`prepare`](PreparedProducer::prepare) promises; default
    /// [`Durability::Power`], since local work that survives a power cut must not find its records
    /// gone. How a transaction ends is power-durable in any case.
    ///
    /// ```
    /// use tidelog::Durability;
    /// # let store = tidelog::Store::in_memory()?;
    /// let outbox = store.prepared("shop").durability(Durability::Process).build()?;
    /// # drop(outbox);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// # Errors
    /// [`InvalidName`](crate::ErrorKind::InvalidName) for a name that is empty or over 249 bytes,
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) for options out of range.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// assert!(store.prepared("").build().is_err());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn build(self) -> Result<PreparedProducer> {
        const OPERATION: &str = "build prepared";
        let refuse = |key: &str, value: String, allowed: &str| {
            let (key, allowed) = (key.to_owned(), allowed.to_owned());
            Err(Error::new(OPERATION, Cause::InvalidConfig { key, value, allowed }))
        };
        if self.name.is_empty() || self.name.len() > NAME_LIMIT {
            let (what, name) = ("prepared", self.name.chars().take(64).collect());
            let reason = "it has 1 to 249 bytes";
            return Err(Error::new(OPERATION, Cause::InvalidName { what, name, reason }));
        }
        if self.checks.first < Duration::from_millis(1) {
            return refuse("first_check", format!("{:?}", self.checks.first), "at least 1 ms");
        }
        if self.checks.most == 0 {
            return refuse("max_checks", "0".to_owned(), "at least 1");
        }
        let producer = self.producer.build()?;
        let name: Arc<str> = Arc::from(self.name);
        let asker = match self.resolver {
            Some(resolver) => Some(self.prepared.register(&name, self.checks, resolver)?),
            None => None,
        };
        Ok(PreparedProducer::new(producer, self.prepared, (name, self.durability), asker))
    }
}
