//! A log that its host leads: who may append, under which epoch, and how far readers see.
//!
//! The host replicates the log and has its own way to agree on leaders; this room keeps its word.
//! Leadership itself is durable, by the log's owner. Which replica is the leader is not: after an
//! open, a truncation or a reopening this one follows until the host says otherwise. An epoch below
//! the latest one, in the log or given to this replica, is fenced. The high watermark lies within
//! what the log holds, is recorded with recovery points, and falls where the log is cut.
//!
//! All of it changes under the writer lock, but nothing is recorded under it: a sync would hold up
//! whoever appends. Called by both doors.

use super::append::Appended;
use super::core::{Lead, PartitionLog, Writer};
use super::keeper::{LogFact, LogId};
use crate::config::Leadership;
use crate::error::{Cause, Error, Result};
use crate::ids::{LeaderEpoch, Offset};
use crate::record::AppendBatch;
use crate::time::Timestamp;

/// What became of a change of leadership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum HandedOver {
    Done,
    /// A leader has reached the epoch that was drawn meanwhile: a higher one is to be drawn, and
    /// until then the log is led as before, whatever was recorded.
    Overtaken,
}

/// How often an epoch is drawn for a log that is to lead itself, while leaders reach each.
pub(crate) const MOST_DRAWS: usize = 100;

/// The host has gone on making leaders for too long.
pub(crate) fn outrun(operation: &'static str) -> Error {
    let why = "leaders of the host's raise its epochs faster than higher ones are drawn";
    Error::new(operation, Cause::Locked(why.to_owned()))
}

impl PartitionLog {
    /// Who leads the log.
    pub(crate) fn leadership(&self) -> Leadership {
        match self.offsets.set_watermark() {
            Some(_) => Leadership::HostLed,
            None => Leadership::SelfLed,
        }
    }

    /// The highest epoch there has been: of a batch, or of this replica as the leader.
    pub(crate) fn highest_epoch(&self) -> Option<LeaderEpoch> {
        let writer = self.writer.lock();
        self.latest_epoch().max(Some(writer.epoch))
    }

    /// Changes who leads the log, once `record` has recorded that, with the high watermark where
    /// the host is to set it; nothing changes where it is so already. A log that leads itself has
    /// `epoch`. Appends go on until it is recorded: what a leader appends comes before, or is
    /// refused. One at a time, and neither beside a truncation nor a reopening: the caller sees to
    /// that.
    pub(crate) fn set_leadership(
        &self,
        leadership: Leadership,
        epoch: Option<LeaderEpoch>,
        record: impl FnOnce(Option<Offset>) -> Result<()>,
    ) -> Result<HandedOver> {
        let watermark = match (leadership, self.leadership()) {
            // what a power cut may take is not settled
            (Leadership::HostLed, Leadership::SelfLed) => Some(self.offsets.durable()),
            (Leadership::SelfLed, Leadership::HostLed) if epoch > self.highest_epoch() => None,
            (Leadership::SelfLed, Leadership::HostLed) => return Ok(HandedOver::Overtaken),
            _ => return Ok(HandedOver::Done),
        };
        record(watermark)?;
        let mut writer = self.writer.lock();
        match leadership {
            Leadership::HostLed => {
                // what readers may have seen already stays seen
                self.offsets.set_high_watermark(Some(writer.next_offset));
                (writer.lead, writer.epoch) = (Lead::Follows, LeaderEpoch::new(0));
            }
            Leadership::SelfLed if epoch <= self.latest_epoch().max(Some(writer.epoch)) => {
                return Ok(HandedOver::Overtaken);
            }
            Leadership::SelfLed => {
                self.offsets.set_high_watermark(None);
                writer.lead = Lead::Itself;
                writer.epoch = epoch.unwrap_or(writer.epoch);
                writer.epoch_entered = false;
                self.settle_transactions(&mut writer);
            }
        }
        Ok(HandedOver::Done)
    }

    /// Makes this replica the leader of `epoch`: whoever sends is taken.
    pub(crate) fn become_leader(&self, epoch: LeaderEpoch) -> Result<()> {
        let mut writer = self.writer.lock();
        self.lead_under(&mut writer, epoch).map_err(|error| self.named(error))
    }

    /// Makes this replica a follower: only a leader's batches are taken.
    pub(crate) fn become_follower(&self) -> Result<()> {
        let mut writer = self.writer.lock();
        self.check_host_leads(&writer, "become follower").map_err(|error| self.named(error))?;
        writer.lead = Lead::Follows;
        Ok(())
    }

    /// Appends a batch, as the leader of an epoch where the host says of which.
    pub(crate) fn append_under<B: AppendBatch>(
        &self,
        epoch: Option<LeaderEpoch>,
        batch: &B,
        now: Timestamp,
    ) -> Result<Appended> {
        match epoch {
            Some(epoch) => self.append_as_leader(epoch, batch, now),
            None => self.append(batch, now),
        }
    }

    /// Appends a batch as the leader of `epoch`.
    pub(crate) fn append_as_leader<B: AppendBatch>(
        &self,
        epoch: LeaderEpoch,
        batch: &B,
        now: Timestamp,
    ) -> Result<Appended> {
        self.appending(|writer| {
            self.lead_under(writer, epoch)?;
            self.append_locked(writer, batch, now)
        })
    }

    fn lead_under(&self, writer: &mut Writer, epoch: LeaderEpoch) -> Result<()> {
        const OPERATION: &str = "lead partition";
        self.check_host_leads(writer, OPERATION)?;
        if epoch.get() < 0 {
            let why = format!("{epoch} is no leader epoch: they begin with 0");
            return Err(Error::new(OPERATION, Cause::InvalidArgument(why)));
        }
        let in_log = self.epochs.lock().latest();
        let least = in_log.unwrap_or(writer.epoch).max(writer.epoch);
        if epoch < least {
            return Err(Error::new(OPERATION, Cause::FencedLeaderEpoch { found: epoch, least }));
        }
        if writer.epoch != epoch || writer.lead != Lead::Leads {
            writer.epoch_entered = false;
        }
        (writer.lead, writer.epoch) = (Lead::Leads, epoch);
        Ok(())
    }

    /// Fails where the log leads itself.
    pub(super) fn check_host_leads(&self, writer: &Writer, operation: &'static str) -> Result<()> {
        if writer.lead != Lead::Itself {
            return Ok(());
        }
        let why = "the partition leads itself: the host has to take its leadership first";
        Err(Error::new(operation, Cause::InvalidArgument(why.to_owned())))
    }

    /// Sets how far readers see, within what the log holds; returns where that is.
    pub(crate) fn set_high_watermark(&self, wanted: Offset) -> Result<Offset> {
        let mut writer = self.writer.lock();
        let led = self.check_host_leads(&writer, "set high watermark");
        led.map_err(|error| self.named(error))?;
        let set = self.offsets.set_high_watermark(Some(wanted));
        self.settle_transactions(&mut writer);
        Ok(set)
    }

    /// What is to be recorded of the high watermark, where the host sets it: nothing that a power
    /// cut may take, for what takes its place is not settled by that.
    pub(crate) fn high_watermark_fact(&self) -> Option<(LogId, LogFact)> {
        let set = self.offsets.set_watermark()?.min(self.offsets.durable());
        Some((self.setup.id, LogFact::HighWatermark(set)))
    }
}
