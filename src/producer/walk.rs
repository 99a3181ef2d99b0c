//! The walk of a send: the clock, the partitioner, the lane of the partition, the topic's rules,
//! one measure of the record, the append, the receipt.
//!
//! No lock of the producer's is taken on the way unless something lingers for that partition: then
//! it goes first, so that the log has the order of the calls. Nothing that threads share is written
//! on the way but the log itself and, where that comes to another page, a hint in the handle.
//!
//! One record that is sent goes the whole way in one body of code (`send_one`): handed from
//! function to function, what an append answers would be stored in pieces and loaded whole at each,
//! which a processor waits for. So all below it is marked to be made part of it, closures are
//! avoided, and what producers with numbers and codecs need is a body of its own, for it would have
//! the answer in memory. Called by `topic`, `numbered` and `transaction`.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::lane::Lane;
use super::partitioner;
use super::pending::Pending;
use super::receipt::{BatchReceipt, Receipt};
use super::topic::TopicProducer;
use super::waiting::{Sent, Wait};
use crate::config::Durability;
use crate::error::{Cause, Error, RecordError, RecordRefusal, Refused, Result};
use crate::ids::PartitionId;
use crate::log::Appended;
use crate::record::{
    AppendBatch, BatchRules, BorrowedBatch, Produced, ProducerClaim, Record, check_built, packed,
};
use crate::time::Timestamp;
use crate::wait::commit::Ride;

impl TopicProducer {
    /// The lane a record goes to, and whether the partitioner chose it.
    #[inline(always)]
    pub(super) fn lane_of(
        &self,
        wanted: Option<PartitionId>,
        record: &Record<'_>,
    ) -> Result<&Arc<Lane>> {
        match self.lanes().only() {
            Some(lane) if wanted.is_none() => Ok(lane),
            _ => self.lane_among(wanted, record),
        }
    }

    #[inline(never)]
    fn lane_among(&self, wanted: Option<PartitionId>, record: &Record<'_>) -> Result<&Arc<Lane>> {
        let id = match wanted {
            Some(id) => id,
            None => self.choose(record)?,
        };
        self.lanes().lane(id)
    }

    #[inline]
    pub(super) fn choose(&self, record: &Record<'_>) -> Result<PartitionId> {
        let count = self.lanes().count()?;
        if count == NonZeroU32::MIN {
            return Ok(PartitionId::new(0));
        }
        if let Some(band) = self.band() {
            return self.choose_in(band, record, count);
        }
        let partitioner = &*self.core().settings().partitioner;
        partitioner::choose(partitioner, self.name(), record.key_bytes(), count)
    }

    /// Tells the partitioner of records it chose the partition of.
    #[inline(always)]
    pub(super) fn tell_taken(&self, wanted: Option<PartitionId>, lane: &Lane, bytes: usize) {
        if wanted.is_none() && !self.lanes().are_single() {
            self.tell_chosen(lane, bytes);
        }
    }

    #[inline(never)]
    fn tell_chosen(&self, lane: &Lane, bytes: usize) {
        if let Some(band) = self.band() {
            return self.tell_taken_in(band, lane.id(), bytes);
        }
        let partitioner = &*self.core().settings().partitioner;
        partitioner::report_taken(partitioner, self.name(), lane.id(), bytes);
    }

    /// The partition that all records of a batch map to.
    pub(super) fn choose_one(&self, records: &[Record<'_>]) -> Result<PartitionId> {
        let Some((first, rest)) = records.split_first() else {
            let why = "a batch has at least one record".to_owned();
            return Err(Error::new("append", Cause::InvalidArgument(why)));
        };
        let first = self.choose(first)?;
        let mut elsewhere = Vec::new();
        for (index, record) in (1..).zip(rest) {
            let partition = self.choose(record)?;
            if partition != first {
                let reason = RecordRefusal::OtherPartition { partition, first };
                elsewhere.push(RecordError::new(index, reason));
            }
        }
        let Some(refused) = Refused::all(elsewhere) else { return Ok(first) };
        let error = Error::new("append", Cause::InvalidRecord(refused));
        Err(error.at_partition(self.lanes().topic().name(), first))
    }

    /// Appends records to a lane's partition, behind what lingers there.
    fn append(
        &self,
        lane: &Arc<Lane>,
        records: &[Record<'_>],
        wanted: Option<PartitionId>,
        (now, wait): (Timestamp, Wait),
    ) -> Result<Sent> {
        self.append_as(lane, records, wanted, (now, wait, self.claim()))
    }

    #[inline]
    pub(super) fn claim(&self) -> Option<ProducerClaim> {
        self.core().settings().identity.map(ProducerClaim::next)
    }

    pub(super) fn append_as(
        &self,
        lane: &Arc<Lane>,
        records: &[Record<'_>],
        wanted: Option<PartitionId>,
        (now, wait, claim): (Timestamp, Wait, Option<ProducerClaim>),
    ) -> Result<Sent> {
        if lane.holds_records() {
            lane.clear_the_way(self.core());
        }
        let partition = lane.partition();
        let placed = |error: Error| error.at_partition(partition.topic_name(), partition.id());
        let rules = self.core().rules_in(partition.log().map_err(placed)?, now);
        if !rules.packing.is_plain() {
            return self.append_packed(lane, records, rules, wanted, (now, wait, claim));
        }
        let batch = BorrowedBatch::measure(records, &rules).map_err(placed)?;
        let batch = Produced { batch: &batch, claim };
        let appended = wait.append(partition, &batch, now).map_err(placed)?;
        Ok(self.sent(&batch, lane, wanted, appended))
    }

    #[cold]
    fn append_packed(
        &self,
        lane: &Lane,
        records: &[Record<'_>],
        rules: BatchRules,
        wanted: Option<PartitionId>,
        (now, wait, claim): (Timestamp, Wait, Option<ProducerClaim>),
    ) -> Result<Sent> {
        let partition = lane.partition();
        let placed = |error: Error| error.at_partition(partition.topic_name(), partition.id());
        check_built("append", rules.packing.codec()).map_err(placed)?;
        let batch = packed(records, &rules).map_err(placed)?;
        let batch = Produced { batch: &batch, claim };
        let appended = wait.append(partition, &batch, now).map_err(placed)?;
        Ok(self.sent(&batch, lane, wanted, appended))
    }

    #[inline(always)]
    fn sent<B: AppendBatch>(
        &self,
        batch: &B,
        lane: &Lane,
        wanted: Option<PartitionId>,
        appended: Appended,
    ) -> Sent {
        self.tell_taken(wanted, lane, batch.size());
        let max_timestamp = appended.timestamp(batch.max_timestamp());
        Sent { partition: lane.id(), appended, max_timestamp }
    }

    /// The head of the file says why all of it is here.
    #[inline]
    pub(super) fn send_one(
        &self,
        wanted: Option<PartitionId>,
        record: &Record<'_>,
    ) -> Result<Receipt> {
        if let Some(near) = &self.near {
            near.fetch();
        }
        let now = self.core().wall();
        let lane = self.lane_of(wanted, record)?;
        if self.near.is_none() || lane.id() != PartitionId::new(0) {
            lane.near().fetch(); // one of several: where it lies is known now
        }
        if self.core().settings().identity.is_some() {
            return self.send_one_apart(lane, wanted, record, now);
        }
        if lane.holds_records() {
            lane.clear_the_way(self.core());
        }
        let partition = lane.partition();
        let placed = |error: Error| error.at_partition(partition.topic_name(), partition.id());
        let rules = self.core().rules_in(partition.log().map_err(placed)?, now);
        if !rules.packing.is_plain() {
            return self.send_one_apart(lane, wanted, record, now);
        }
        let records = std::slice::from_ref(record);
        let batch = BorrowedBatch::measure(records, &rules).map_err(placed)?;
        let appended = partition.append(&batch, now, self.word()).map_err(placed)?;
        if let Some(near) = &self.near {
            near.follow(appended.next);
        }
        Ok(self.receipt(&self.sent(&batch, lane, wanted, appended)))
    }

    /// The same where the producer numbers its records or the batch is compressed.
    #[inline(never)]
    fn send_one_apart(
        &self,
        lane: &Arc<Lane>,
        wanted: Option<PartitionId>,
        record: &Record<'_>,
        now: Timestamp,
    ) -> Result<Receipt> {
        let how = (now, Wait::Blocks(self.word()), self.claim());
        let sent = self.append_as(lane, std::slice::from_ref(record), wanted, how)?;
        Ok(self.receipt(&sent))
    }

    pub(super) fn send_many(
        &self,
        wanted: Option<PartitionId>,
        records: &[Record<'_>],
    ) -> Result<BatchReceipt> {
        let now = self.core().wall();
        let id = wanted.map_or_else(|| self.choose_one(records), Ok)?;
        let lane = self.lanes().lane(id)?;
        Ok(self.batch_receipt(&self.append(
            lane,
            records,
            wanted,
            (now, Wait::Blocks(self.word())),
        )?))
    }

    pub(super) fn send_later(&self, wanted: Option<PartitionId>, record: &Record<'_>) -> Pending {
        match self.append_one_now(wanted, record) {
            Ok((receipt, Some(ride))) => Pending::riding(ride, receipt, self.core().helped()),
            Ok((receipt, None)) => Pending::known(Ok(receipt)),
            Err(error) => Pending::known(Err(error)),
        }
    }

    fn append_one_now(
        &self,
        wanted: Option<PartitionId>,
        record: &Record<'_>,
    ) -> Result<(Receipt, Option<Ride>)> {
        let now = self.core().wall();
        let lane = self.lane_of(wanted, record)?;
        let records = std::slice::from_ref(record);
        let sent = self.append(lane, records, wanted, (now, Wait::Rides))?;
        Ok((self.receipt(&sent), self.ride(lane, &sent)?))
    }

    pub(super) fn send_batch_later(
        &self,
        wanted: Option<PartitionId>,
        records: &[Record<'_>],
    ) -> impl Future<Output = Result<BatchReceipt>> + Send + Unpin + 'static + use<> {
        let appended = self.append_batch_now(wanted, records);
        Box::pin(async move {
            let (receipt, ride) = appended?;
            let Some(ride) = ride else { return Ok(receipt) };
            match ride.await {
                Ok(()) => Ok(receipt),
                Err(error) => {
                    Err(error.again().at_partition(&Arc::from(&*receipt.topic), receipt.partition))
                }
            }
        })
    }

    fn append_batch_now(
        &self,
        wanted: Option<PartitionId>,
        records: &[Record<'_>],
    ) -> Result<(BatchReceipt, Option<Ride>)> {
        let now = self.core().wall();
        let id = wanted.map_or_else(|| self.choose_one(records), Ok)?;
        let lane = self.lanes().lane(id)?;
        let sent = self.append(lane, records, wanted, (now, Wait::Rides))?;
        Ok((self.batch_receipt(&sent), self.ride(lane, &sent)?))
    }

    /// The sync that what was sent still needs.
    fn ride(&self, lane: &Lane, sent: &Sent) -> Result<Option<Ride>> {
        if self.word() == Durability::Power || lane.partition().is_flush_due() {
            return lane.ride(sent.appended.end_offset);
        }
        Ok(None)
    }
}
