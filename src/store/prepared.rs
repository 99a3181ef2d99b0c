//! What a store does with prepared transactions: making their producers, resolving one by hand,
//! and showing those that are not resolved. The coordinator decides; each call goes down to it.
//! Whose name is used again after a restart is asked about what that name left.

use super::handle::Store;
use crate::error::Result;
use crate::prepared::{Outcome, PreparedId, PreparedTransaction};
use crate::producer::PreparedBuilder;

impl Store {
    /// A builder for a producer of prepared transactions. `name` is whose resolver is asked about
    /// what it prepares: use the same name again after a restart.
    ///
    /// ```
    /// use tidelog::{Record, Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.ensure_topic("orders", TopicConfig::new())?;
    /// let outbox = store.prepared("shop").build()?;
    /// let id = outbox.prepare(&[("orders", Record::new("order 7"))])?;
    /// // the program's own work, which keeps the id
    /// outbox.commit(id)?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn prepared(&self, name: &str) -> PreparedBuilder {
        PreparedBuilder::new(self.producer(), self.prepared.clone(), name)
    }

    /// Commits a prepared transaction by hand; see
    /// [`PreparedProducer::commit`](crate::PreparedProducer::commit).
    ///
    /// # Errors
    /// Those of that.
    ///
    /// ```
    /// use tidelog::{ErrorKind, PreparedId, Store};
    /// let store = Store::in_memory()?;
    /// let error = store.commit_prepared(PreparedId::new(7)).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::NotFound);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn commit_prepared(&self, id: PreparedId) -> Result<()> {
        self.prepared.resolve(id.get(), Outcome::Committed)
    }

    /// Rolls a prepared transaction back by hand; see
    /// [`PreparedProducer::roll_back`](crate::PreparedProducer::roll_back).
    ///
    /// # Errors
    /// Those of that.
    ///
    /// ```
    /// use tidelog::{ErrorKind, PreparedId, Store};
    /// let store = Store::in_memory()?;
    /// let error = store.roll_back_prepared(PreparedId::new(7)).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::NotFound);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn roll_back_prepared(&self, id: PreparedId) -> Result<()> {
        self.prepared.resolve(id.get(), Outcome::RolledBack)
    }

    /// The transactions that are prepared and not resolved, in the order of their preparation: the
    /// first `most` behind `after`, or from the start; fewer only where there are no more. Reads
    /// their records; one whose records are damaged is listed without, see
    /// [`PreparedTransaction::is_damaged`].
    ///
    /// # Errors
    /// Those of a read, but for damage.
    ///
    /// ```
    /// use tidelog::{Record, Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.ensure_topic("orders", TopicConfig::new())?;
    /// let outbox = store.prepared("shop").build()?;
    /// let one = outbox.prepare(&[("orders", Record::new("1"))])?;
    /// let two = outbox.prepare(&[("orders", Record::new("2"))])?;
    /// assert_eq!(store.prepared_transactions(Some(one), 10)?[0].id(), two);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn prepared_transactions(
        &self,
        after: Option<PreparedId>,
        most: usize,
    ) -> Result<Vec<PreparedTransaction>> {
        self.prepared.list(after, most)
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
