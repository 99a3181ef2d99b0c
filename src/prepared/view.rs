//! A prepared transaction as its resolver and operators see it, and its name.
//!
//! The bytes are checked once, when the view is made; records are lent from them. Made by `asking`
//! and, for listings, here.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::coordinator::Prepared;
use super::schema::Value;
use super::state::{Known, Pending, Phase};
use crate::error::{Cause, Error, ErrorKind, Result};
use crate::record::Record;
use crate::time::Timestamp;

/// The name of a prepared transaction, unique in its store for good: a number to be kept with the
/// local work it belongs to.
///
/// ```
/// use tidelog::{PreparedId, Record, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("orders", TopicConfig::new())?;
/// let outbox = store.prepared("shop").build()?;
/// let id = outbox.prepare(&[("orders", Record::new("order 7"))])?;
/// assert_eq!(id.to_string().parse::<PreparedId>()?, id);
/// assert_eq!(PreparedId::new(id.get()), id);
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PreparedId(u64);

impl PreparedId {
    /// The name that this number stands for.
    ///
    /// ```
    /// assert_eq!(tidelog::PreparedId::new(7).get(), 7);
    /// ```
    pub const fn new(number: u64) -> Self {
        PreparedId(number)
    }

    /// The number; it fits an `i64`.
    ///
    /// ```
    /// assert_eq!(tidelog::PreparedId::new(7).get(), 7);
    /// ```
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for PreparedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:x}", self.0))
    }
}

impl FromStr for PreparedId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let id = u64::from_str_radix(text, 16).map(PreparedId).ok();
        id.filter(|id| id.to_string() == text).ok_or_else(|| {
            let shown: String = text.chars().take(64).collect();
            let why = format!("`{shown}` is not the id of a prepared transaction");
            Error::new("read prepared id", Cause::InvalidArgument(why))
        })
    }
}

/// A transaction that is prepared and not resolved yet.
///
/// ```
/// use tidelog::{Record, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("orders", TopicConfig::new())?;
/// let outbox = store.prepared("shop").build()?;
/// let id = outbox.prepare(&[("orders", Record::new("order 7").key("c3"))])?;
/// let all = store.prepared_transactions(None, 10)?;
/// let one = &all[0];
/// assert_eq!((one.id(), one.name(), one.checks(), one.is_parked()), (id, "shop", 0, false));
/// assert_eq!(one.records()[0].1.value(), Some(&b"order 7"[..]));
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct PreparedTransaction {
    id: PreparedId,
    name: Arc<str>,
    prepared: Timestamp,
    asked: u32,
    is_parked: bool,
    /// Checked to be a prepared transaction's value; `None` where it cannot be read.
    bytes: Option<Vec<u8>>,
}

impl PreparedTransaction {
    pub(super) fn new(sequence: u64, pending: &Pending, bytes: Vec<u8>) -> Result<Self> {
        match Value::parse(&bytes) {
            Ok(Value::Prepared { .. }) => {}
            Ok(Value::Ended(_)) => {
                let text = "an outcome lies where records should".to_owned();
                return Err(Error::new("read prepared", Cause::Corrupt(text)));
            }
            Err(fault) => return Err(fault.into_error("read prepared", pending.offset)),
        }
        Ok(PreparedTransaction { bytes: Some(bytes), ..Self::damaged(sequence, pending) })
    }

    /// One whose records cannot be read.
    fn damaged(sequence: u64, pending: &Pending) -> Self {
        PreparedTransaction {
            id: PreparedId(sequence),
            name: pending.name.clone(),
            prepared: pending.prepared,
            asked: pending.asked,
            is_parked: pending.phase == Phase::Parked,
            bytes: None,
        }
    }

    /// Its name; resolve it by this.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let outbox = store.prepared("shop").build()?;
    /// # let id = outbox.prepare(&[("orders", Record::new("order 7"))])?;
    /// let one = store.prepared_transactions(None, 1)?.remove(0);
    /// assert_eq!(one.id(), id);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn id(&self) -> PreparedId {
        self.id
    }

    /// Under which name it was prepared: whose resolver is asked.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let outbox = store.prepared("shop").build()?;
    /// # let _id = outbox.prepare(&[("orders", Record::new("order 7"))])?;
    /// let one = store.prepared_transactions(None, 1)?.remove(0);
    /// assert_eq!(one.name(), "shop");
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn name(&self) -> &str {
        &self.name
    }

    /// When it was prepared, on the wall of the store's clock.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let outbox = store.prepared("shop").build()?;
    /// # let _id = outbox.prepare(&[("orders", Record::new("order 7"))])?;
    /// let one = store.prepared_transactions(None, 1)?.remove(0);
    /// assert!(one.prepared_at().as_millis() > 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn prepared_at(&self) -> Timestamp {
        self.prepared
    }

    /// How often its resolver could not tell.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let outbox = store.prepared("shop").build()?;
    /// # let _id = outbox.prepare(&[("orders", Record::new("order 7"))])?;
    /// let one = store.prepared_transactions(None, 1)?.remove(0);
    /// assert_eq!(one.checks(), 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn checks(&self) -> u32 {
        self.asked
    }

    /// Whether it is asked about no more; see [`Exhausted::Park`](crate::Exhausted::Park).
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let outbox = store.prepared("shop").build()?;
    /// # let _id = outbox.prepare(&[("orders", Record::new("order 7"))])?;
    /// let one = store.prepared_transactions(None, 1)?.remove(0);
    /// assert!(!one.is_parked());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn is_parked(&self) -> bool {
        self.is_parked
    }

    /// Whether its records are damaged and cannot be read: it can be rolled back, and no longer
    /// committed. A resolver is never given such a one.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let outbox = store.prepared("shop").build()?;
    /// # let _id = outbox.prepare(&[("orders", Record::new("order 7"))])?;
    /// let one = store.prepared_transactions(None, 1)?.remove(0);
    /// assert!(!one.is_damaged());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn is_damaged(&self) -> bool {
        self.bytes.is_none()
    }

    /// Its records, each with the name of its topic, in their order; none where they cannot be
    /// read.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let outbox = store.prepared("shop").build()?;
    /// # let _id = outbox.prepare(&[("orders", Record::new("order 7"))])?;
    /// let one = store.prepared_transactions(None, 1)?.remove(0);
    /// assert_eq!(one.records()[0].0, "orders");
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn records(&self) -> Vec<(&str, Record<'_>)> {
        let Some(Ok(Value::Prepared { records, .. })) = self.bytes.as_deref().map(Value::parse)
        else {
            return Vec::new(); // damaged: else it was checked
        };
        records.into_iter().map(|kept| (kept.target.name, kept.record)).collect()
    }
}

impl Prepared {
    /// Those that are prepared, behind `after`, in order: fewer than `most` only where there are no
    /// more. It has no turn, so one may be resolved meanwhile, and compaction may have taken it.
    pub(crate) fn list(
        &self,
        after: Option<PreparedId>,
        most: usize,
    ) -> Result<Vec<PreparedTransaction>> {
        self.engine.check_open("list prepared transactions")?;
        let (mut listed, mut after) = (Vec::new(), after.map(PreparedId::get));
        while listed.len() < most {
            let pending: Vec<(u64, Pending)> = {
                let state = self.state.lock();
                let some = state.after(after).take(most - listed.len());
                some.map(|(sequence, pending)| (sequence, pending.clone())).collect()
            };
            let Some((last, _)) = pending.last() else { break };
            after = Some(*last);
            for (sequence, pending) in &pending {
                listed.extend(self.view(*sequence, pending)?);
            }
        }
        Ok(listed)
    }

    /// One of a listing; `None` where it was resolved meanwhile.
    pub(super) fn view(
        &self,
        sequence: u64,
        pending: &Pending,
    ) -> Result<Option<PreparedTransaction>> {
        let read = self.load(sequence, pending.offset);
        let read = read.and_then(|bytes| PreparedTransaction::new(sequence, pending, bytes));
        match read {
            Ok(transaction) => Ok(Some(transaction)),
            Err(_) if !matches!(self.state.lock().get(sequence), Known::Pending(_)) => Ok(None),
            Err(error) if error.is_corrupt() || error.kind() == ErrorKind::OffsetOutOfRange => {
                log::error!("prepared transaction {sequence:x} is listed without records: {error}");
                Ok(Some(PreparedTransaction::damaged(sequence, pending)))
            }
            Err(error) => Err(error),
        }
    }
}
