//! What only a member of a group has: its assignor, its identity, its patience, its listener.
//!
//! The part of the builder that says so. A consumer that is no member has none of it, and is
//! refused if it asks for some.
//!
//! Called by `builder`, which makes the member of it.

use std::sync::Arc;
use std::time::Duration;

use super::builder::ConsumerBuilder;
use super::rebalance::RebalanceListener;
use crate::error::{Cause, Error, Result};
use crate::group::Assignor;
use crate::share::ShareGroups;

/// What only a member of a group has.
#[derive(Default)]
pub(super) struct Place {
    pub(super) assignor: Option<Arc<dyn Assignor>>,
    pub(super) instance_id: Option<String>,
    pub(super) max_poll_interval: Option<Duration>,
    pub(super) listener: Option<Box<dyn RebalanceListener>>,
}

/// Kafka's `max.poll.interval.ms`.
pub(super) const MAX_POLL_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// The longest identity of a member, in bytes: what Kafka's format can hold.
const INSTANCE_ID_LIMIT: usize = 0x7fff;

/// Refuses a group the name of a share group.
pub(super) fn check_not_shared(shares: Option<&ShareGroups>, group: Option<&str>) -> Result<()> {
    match (shares, group) {
        (Some(shares), Some(group)) => shares.check_free("build consumer", group),
        _ => Ok(()),
    }
}

/// What a member may say of itself; all of it is refused for others.
impl ConsumerBuilder {
    /// How the group divides partitions; default [`StickyAssignor`](crate::StickyAssignor). All
    /// members must name the same one: `build` fails as invalid otherwise.
    ///
    /// ```
    /// # use tidelog::RangeAssignor;
    /// # let store = tidelog::Store::in_memory()?;
    /// let builder = store.consumer("billing").subscribe(["orders"]);
    /// let consumer = builder.assignor(RangeAssignor::new()).build()?;
    /// assert!(store.consumer("billing").subscribe(["orders"]).build().is_err()); // sticky
    /// # drop(consumer);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn assignor(mut self, assignor: impl Assignor + 'static) -> Self {
        self.place.assignor = Some(Arc::new(assignor));
        self
    }

    /// An identity of this member's own, 1 to 32,767 bytes; assignors see it. While a member with
    /// it lives, `build` fails as locked for another. Default: none.
    ///
    /// ```
    /// # use tidelog::ErrorKind;
    /// # let store = tidelog::Store::in_memory()?;
    /// let builder = || store.consumer("billing").subscribe(["orders"]).instance_id("worker-1");
    /// let worker = builder().build()?;
    /// assert_eq!(builder().build().unwrap_err().kind(), ErrorKind::Locked);
    /// drop(worker);
    /// builder().build()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn instance_id(mut self, id: impl Into<String>) -> Self {
        self.place.instance_id = Some(id.into());
        self
    }

    /// How long, on the store's clock, the member may be away between two polls; at least 1 ms,
    /// default 5 minutes. A poll that waits is not away. Who is away longer loses its partitions
    /// to the others: its next commit fails as fenced, its next poll joins again.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let store = tidelog::Store::in_memory()?;
    /// let builder = store.consumer("billing").subscribe(["orders"]);
    /// let builder = builder.max_poll_interval(Duration::from_secs(30));
    /// # builder.build()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn max_poll_interval(mut self, interval: Duration) -> Self {
        self.place.max_poll_interval = Some(interval);
        self
    }

    /// Who is told of partitions that come and go, within this consumer's own polls.
    ///
    /// ```
    /// use tidelog::{Assigned, RebalanceListener, TopicConfig};
    /// struct Print;
    /// impl RebalanceListener for Print {
    ///     fn on_assigned(&mut self, assigned: &mut Assigned<'_>) -> tidelog::Result<()> {
    ///         println!("mine: {:?}", assigned.partitions());
    ///         Ok(())
    ///     }
    /// }
    /// # let store = tidelog::Store::in_memory()?;
    /// store.ensure_topic("orders", TopicConfig::new())?;
    /// let builder = store.consumer("billing").subscribe(["orders"]);
    /// let mut consumer = builder.rebalance_listener(Print).build()?;
    /// consumer.try_poll()?; // prints
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn rebalance_listener(mut self, listener: impl RebalanceListener + 'static) -> Self {
        self.place.listener = Some(Box::new(listener));
        self
    }
}

impl Place {
    /// Refuses what is out of its range, and anything at all of who is no member.
    pub(super) fn validate(&self, is_member: bool, is_broadcast: bool) -> Result<()> {
        let refuse = |key: &str, value: String, allowed: &str| {
            let (key, allowed) = (key.to_owned(), allowed.to_owned());
            Err(Error::new("build consumer", Cause::InvalidConfig { key, value, allowed }))
        };
        let has_any = self.assignor.is_some()
            || self.instance_id.is_some()
            || self.max_poll_interval.is_some()
            || self.listener.is_some();
        if has_any && !is_member {
            let text = "an assignor, an instance id, a poll interval and a listener are for \
                        members: consumers that subscribe with a group";
            return Err(Error::new("build consumer", Cause::InvalidArgument(text.to_owned())));
        }
        if is_broadcast && (self.assignor.is_some() || self.instance_id.is_some()) {
            let text = "a broadcast consumer has everything: no assignor, no instance id";
            return Err(Error::new("build consumer", Cause::InvalidArgument(text.to_owned())));
        }
        if let Some(interval) = self.max_poll_interval
            && interval < Duration::from_millis(1)
        {
            return refuse("max_poll_interval", format!("{interval:?}"), "at least 1 ms");
        }
        match self.instance_id.as_deref().map(str::len) {
            None | Some(1..=INSTANCE_ID_LIMIT) => Ok(()),
            Some(len) => refuse("instance_id", format!("{len} bytes"), "1 to 32,767 bytes"),
        }
    }
}
