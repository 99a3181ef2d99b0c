//! Sending under an id: a record that is sent again within the topic's window is not appended.
//!
//! The topic's deduplication says whether the id is new; only who has claimed it sends. A record
//! that lingers keeps the claim up itself, and whoever comes with the same id has it written at
//! once rather than wait for its company. What was there before is made as durable as a new record
//! would have been before its receipt is given. Costs the other doors nothing.

use std::sync::Arc;

use super::batch::Ticket;
use super::lane::Lane;
use super::linger::{needed, pending};
use super::pending::Pending;
use super::receipt::{MaybeTimestamp, Receipt};
use super::topic::TopicProducer;
use super::waiting::Wait;
use crate::config::{Durability, TimestampType};
use crate::deduplication::{Claimed, Original, Place, Underway};
use crate::error::Result;
use crate::ids::{Offset, PartitionId, ProducerId};
use crate::record::{ProducerClaim, Record};
use crate::sync::Arc as SharedArc;
use crate::time::Timestamp;

/// A record that lingers under its id.
#[derive(Debug)]
struct Lingering {
    ticket: SharedArc<Ticket>,
    lane: Arc<Lane>,
}

impl Underway for Lingering {
    fn is_over(&self) -> bool {
        self.ticket.get().is_some()
    }

    fn bring_out(&self) {
        self.lane.bring_out();
    }
}

/// A record that is in the log, now or from before.
pub(super) struct Sent<'p> {
    pub(super) lane: &'p Arc<Lane>,
    pub(super) receipt: Receipt,
}

impl Sent<'_> {
    /// One past it.
    pub(super) fn end(&self) -> Offset {
        self.receipt.offset.next()
    }
}

/// Sending once.
impl TopicProducer {
    /// Sends a record unless one was sent under the same id before, to any partition of the topic
    /// and by any producer, within the topic's window
    /// ([`TopicConfig::deduplicate`](crate::TopicConfig::deduplicate)). Then nothing is appended:
    /// the receipt says where the other one lies and that this is a
    /// [duplicate](Receipt::is_duplicate), whatever key and value it has.
    ///
    /// The id, 1 to 255 bytes, becomes a header of the record, and what is known of ids is read
    /// from the log: so it is there again after a restart or a crash, as far as the records are,
    /// and goes with a record that is deleted. The window counts from the record's timestamp, by
    /// default the time of sending. A record that a transaction aborted was never there. A clock
    /// that is set forward lets ids go early; set back it finds them again. Of two threads that
    /// send under one id at once one appends. Blocks as [`send`](TopicProducer::send), and for
    /// reading: of the window when the first id comes after an opening, then of what others have
    /// appended.
    ///
    /// # Errors
    /// Those of [`send`](TopicProducer::send);
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for an id of other lengths, a topic
    /// without a window or a record whose own timestamp is not within it;
    /// [`Full`](crate::ErrorKind::Full) where the window holds as many ids as the topic allows;
    /// [`InvalidTransactionState`](crate::ErrorKind::InvalidTransactionState) while the record
    /// under the id is part of an open transaction; those of reading where a partition of the topic
    /// cannot be read within the window, for the id may be there. Nothing is written then.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// store.ensure_topic("orders", TopicConfig::new().deduplicate(Duration::from_secs(600)))?;
    /// let orders = store.producer().build()?.topic("orders")?;
    /// let first = orders.send_once("order-7", Record::new("three apples"))?;
    /// let again = orders.send_once("order-7", Record::new("three apples"))?;
    /// assert!(!first.is_duplicate() && again.is_duplicate());
    /// assert_eq!(again.offset(), first.offset());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn send_once(&self, id: impl AsRef<[u8]>, record: Record<'_>) -> Result<Receipt> {
        self.send_once_blocking(None, id.as_ref(), record)
    }

    /// [`send_once`](TopicProducer::send_once) to a partition of the caller's choice; an id is one
    /// of the topic all the same.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// let config = TopicConfig::new().partitions(2).deduplicate(Duration::from_secs(600));
    /// store.ensure_topic("orders", config)?;
    /// let orders = store.producer().build()?.topic("orders")?;
    /// orders.send_once_to(1, "order-7", Record::new("three apples"))?;
    /// let again = orders.send_once_to(0, "order-7", Record::new("three apples"))?;
    /// assert_eq!(again.partition().get(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn send_once_to(
        &self,
        partition: impl Into<PartitionId>,
        id: impl AsRef<[u8]>,
        record: Record<'_>,
    ) -> Result<Receipt> {
        self.send_once_blocking(Some(partition.into()), id.as_ref(), record)
    }

    /// [`send_once`](TopicProducer::send_once) for tasks, as
    /// [`send_async`](TopicProducer::send_async) is for `send`: only the sync is waited for in the
    /// future.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// store.ensure_topic("orders", TopicConfig::new().deduplicate(Duration::from_secs(600)))?;
    /// let orders = store.producer().build()?.topic("orders")?;
    /// let sending = orders.send_once_async("order-7", Record::new("three apples"));
    /// assert!(!pollster::block_on(sending)?.is_duplicate());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[must_use = "its error is known only from here"]
    pub fn send_once_async(&self, id: impl AsRef<[u8]>, record: Record<'_>) -> Pending {
        self.lane_of(None, &record)
            .and_then(|lane| self.once((lane, None), id.as_ref(), record, self.claim()))
            .and_then(|sent| self.pending_of(sent))
            .unwrap_or_else(|error| Pending::known(Err(error)))
    }

    /// [`enqueue`](TopicProducer::enqueue) under an id: it lingers for company unless its id is
    /// taken. What lingers under the same id is written at once and answered with.
    ///
    /// # Errors
    /// Those of [`send_once`](TopicProducer::send_once) and of
    /// [`enqueue`](TopicProducer::enqueue). If a batch fails its ids are free again, unless its
    /// records turn out to be in the log.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// store.ensure_topic("orders", TopicConfig::new().deduplicate(Duration::from_secs(600)))?;
    /// let orders = store.producer().build()?.topic("orders")?;
    /// let first = orders.enqueue_once("order-7", Record::new("three apples"))?;
    /// let again = orders.enqueue_once("order-7", Record::new("three apples"))?;
    /// assert!(!first.wait()?.is_duplicate() && again.wait()?.is_duplicate());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn enqueue_once(&self, id: impl AsRef<[u8]>, record: Record<'_>) -> Result<Pending> {
        let (id, mut deadline) = (id.as_ref(), None);
        let claim = match self.claim_id(id, &record, None)? {
            (Claimed::Before(original), _) => return self.pending_of(self.original(&original)?),
            (Claimed::First(claim), _) => claim,
        };
        let record = record.under(id);
        let place = self.place(None, &record)?;
        loop {
            if let Some(taken) = place.push_only(self, &record)? {
                let (ticket, lane) = (taken.ticket.clone(), place.lane().clone());
                claim.lingers(Arc::new(Lingering { ticket, lane }));
                return Ok(pending(taken));
            }
            self.core().wait_for_room(needed(&record), &mut deadline)?;
        }
    }
}

/// What the doors share.
impl TopicProducer {
    fn send_once_blocking(
        &self,
        wanted: Option<PartitionId>,
        id: &[u8],
        record: Record<'_>,
    ) -> Result<Receipt> {
        let lane = self.lane_of(wanted, &record)?;
        let sent = self.once((lane, wanted), id, record, self.claim())?;
        if self.needs_sync(sent.lane) {
            let synced = sent.lane.partition().make_durable(sent.end());
            synced.map_err(|error| sent.lane.not_durable(&error))?;
        }
        Ok(sent.receipt)
    }

    fn pending_of(&self, sent: Sent<'_>) -> Result<Pending> {
        if self.needs_sync(sent.lane)
            && let Some(ride) = sent.lane.ride(sent.end())?
        {
            return Ok(Pending::riding(ride, sent.receipt, self.core().helped()));
        }
        Ok(Pending::known(Ok(sent.receipt)))
    }

    fn needs_sync(&self, lane: &Lane) -> bool {
        self.word() == Durability::Power || lane.partition().is_flush_due()
    }

    /// Appends a record under its id, or finds the one that was. No sync is waited for.
    pub(super) fn once<'p>(
        &'p self,
        (lane, wanted): (&'p Arc<Lane>, Option<PartitionId>),
        id: &[u8],
        record: Record<'_>,
        claim: Option<ProducerClaim>,
    ) -> Result<Sent<'p>> {
        let open = claim.filter(|claim| claim.transactional).map(|claim| claim.identity.id());
        let (place, now): (Place, _) = match self.claim_id(id, &record, open)? {
            (Claimed::Before(original), _) => return self.original(&original),
            (Claimed::First(place), now) => (place, now),
        };
        let record = record.under(id);
        let how = (now, Wait::Rides, claim);
        let sent = self.append_as(lane, std::slice::from_ref(&record), wanted, how)?;
        let receipt = self.receipt(&sent);
        let appended = sent.appended;
        if let Some(timestamp) = sent.max_timestamp {
            let (partition, offset) = (sent.partition, appended.base_offset);
            let epoch = Some(appended.epoch);
            let seen = Original { partition, offset, epoch, timestamp, open };
            place.written(seen, appended.end_offset, now);
        }
        Ok(Sent { lane, receipt })
    }

    fn claim_id(
        &self,
        id: &[u8],
        record: &Record<'_>,
        open: Option<ProducerId>,
    ) -> Result<(Claimed, Timestamp)> {
        let (now, topic) = (self.core().wall(), self.lanes().topic());
        let timestamp = match topic.config().timestamp_type {
            TimestampType::CreateTime => record.timestamp_at(now),
            TimestampType::LogAppendTime => Some(now),
        };
        let ids = self.core().deduplication().of(topic);
        let claimed = ids.claim(id, open, (now, timestamp));
        Ok((claimed?, now))
    }

    /// The record that was sent under the id before.
    fn original(&self, original: &Original) -> Result<Sent<'_>> {
        let lane = self.lanes().lane(original.partition)?;
        let receipt = Receipt {
            topic: self.lanes().topic_name().clone(),
            partition: original.partition,
            offset: original.offset,
            leader_epoch: original.epoch.unwrap_or_default(),
            timestamp: MaybeTimestamp::of(Some(original.timestamp)),
            sequence: None,
            is_duplicate: true,
        };
        Ok(Sent { lane, receipt })
    }
}
