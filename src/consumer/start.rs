//! Where reading a partition begins, and where it goes on once its position holds no more.
//!
//! A committed offset counts if its epoch has not ended before it and the log still has it; else
//! the reset policy answers. What is decided is decided once, at the build or when the partition
//! appears; where that failed, the next poll tries again and says why.

use super::assignment::{Position, Slot};
use super::handle::Consumer;
use super::reset::Reset;
use crate::error::{Cause, Error, ErrorKind, Result};
use crate::ids::Offset;

/// Where to go, and whether what is committed lies beyond what the log has.
struct Start {
    position: Position,
    truncated: bool,
    /// The reset policy's answer for a group that has committed nothing.
    began: Option<Offset>,
}

impl Start {
    fn at(offset: Offset) -> Self {
        let position = Position { offset, epoch: None, cursor: None };
        Start { position, truncated: false, began: None }
    }
}

impl Consumer {
    /// Decides where reading a slot begins, if that is open.
    pub(super) fn resolve(&mut self, index: usize) -> Result<()> {
        match self.assignment.get(index) {
            Some(slot) if slot.position.is_none() => self.begin_at(index),
            _ => Ok(()),
        }
    }

    #[inline(never)] // once a partition
    fn begin_at(&mut self, index: usize) -> Result<()> {
        let Some(slot) = self.assignment.get(index) else { return Ok(()) };
        if self.has_open_offset(&slot.partition) {
            return Ok(());
        }
        let start = self.start_of(slot).map_err(|error| slot.named(error))?;
        if let Some(slot) = self.assignment.get_mut(index) {
            slot.position = Some(start.position);
            slot.truncated |= start.truncated;
            slot.began = start.began.or(slot.began);
            slot.learn_epoch().map_err(|error| slot.named(error))?;
        }
        Ok(())
    }

    /// [`resolve`](Consumer::resolve) before it is needed; what fails is met again when it is.
    pub(super) fn resolve_early(&mut self, index: usize) {
        if let Err(error) = self.resolve(index) {
            log::debug!("the next poll will fail: {error}");
        }
    }

    /// As far as the caller may read now.
    pub(super) fn bound(&self, slot: &Slot) -> Result<Offset> {
        let offsets = slot.partition.offsets()?;
        let bound = offsets.bound(self.options.isolation);
        Ok(if self.options.durable_only { bound.min(offsets.durable) } else { bound })
    }

    fn start_of(&self, slot: &Slot) -> Result<Start> {
        let committed = match &self.group {
            Some(group) => self.offsets.committed(group, &slot.partition)?,
            None => None,
        };
        let Some(committed) = committed else { return self.first_start(slot) };
        let (offset, epoch) = (committed.offset(), committed.leader_epoch());
        if let Some(epoch) = epoch
            && let Err(error) = slot.partition.check_epoch("poll", offset, epoch)
        {
            let offset = self.after_truncation(slot, error)?;
            return Ok(Start { truncated: true, ..Start::at(offset) });
        }
        let offsets = slot.partition.offsets()?;
        let (start, end) = (offsets.start, offsets.end);
        if offset < start || offset > end {
            let error = Error::new("poll", Cause::OutOfRange { requested: offset, start, end });
            let placed = self.after_out_of_range(slot, error)?;
            return Ok(Start { truncated: offset > end, ..Start::at(placed) });
        }
        Ok(Start { position: Position { offset, epoch, cursor: None }, ..Start::at(offset) })
    }

    /// The policy's answer where nothing is committed; in a group, its first one, so that what
    /// came since is not skipped when a partition moves before a commit.
    fn first_start(&self, slot: &Slot) -> Result<Start> {
        let (topic, id) = (slot.partition.topic_id(), slot.partition.id());
        let seat = self.seat();
        let began = seat.and_then(|seat| seat.start_of(topic, id)).or(slot.began);
        if let Some(offset) = began {
            return Ok(Start::at(offset.max(slot.partition.offsets()?.start)));
        }
        let policy = match self.options.reset {
            // all it holds came after the consumer
            Reset::Latest if slot.is_new => Reset::Earliest,
            policy => policy,
        };
        if let Some(offset) = self.place(slot, policy)? {
            if let Some(seat) = seat {
                seat.note_start(topic, id, offset);
            }
            return Ok(Start { began: Some(offset), ..Start::at(offset) });
        }
        let (what, place) = (
            "committed offset",
            format!("{}-{}", slot.partition.topic_name(), slot.partition.id()),
        );
        let name = match &self.group {
            Some(group) => format!("{group} {place}"),
            None => place,
        };
        Err(Error::new("poll", Cause::NotFound { what, name }))
    }

    fn place(&self, slot: &Slot, policy: Reset) -> Result<Option<Offset>> {
        let now = self.engine.clock().wall();
        policy.place(&slot.partition, self.bound(slot)?, now)
    }

    /// The policy's answer to `error`, which says that the position lies outside the log.
    pub(super) fn after_out_of_range(&self, slot: &Slot, error: Error) -> Result<Offset> {
        let Some(offset) = self.place(slot, self.options.reset)? else { return Err(error) };
        log::warn!("a consumer goes on at offset {offset}: {error}");
        Ok(offset)
    }

    /// The policy's answer to `error`, which may say that the log was truncated.
    pub(super) fn after_truncation(&self, slot: &Slot, error: Error) -> Result<Offset> {
        let Cause::LogTruncated { epoch_end, .. } = *error.cause() else { return Err(error) };
        let (end, now) = (self.bound(slot)?, self.engine.clock().wall());
        let policy = self.options.reset;
        match policy.after_truncation(&slot.partition, epoch_end, end, now)? {
            Some(offset) => {
                log::warn!("a consumer goes on at offset {offset}: {error}");
                Ok(offset)
            }
            None => Err(error),
        }
    }

    /// Whether a slot's position still means what it meant when it was reached; if not, the policy
    /// moves it.
    pub(super) fn check_position(&mut self, index: usize) -> Result<()> {
        let Some(slot) = self.assignment.get(index) else { return Ok(()) };
        let Some(Position { offset, epoch: Some(epoch), .. }) = slot.position else {
            return Ok(());
        };
        let Err(error) = slot.partition.check_epoch("resume", offset, epoch) else {
            return Ok(());
        };
        debug_assert!(error.kind() != ErrorKind::OffsetOutOfRange, "epochs know no range");
        let placed = self.after_truncation(slot, error).map_err(|error| slot.named(error))?;
        if let Some(slot) = self.assignment.get_mut(index) {
            slot.move_to(placed, None);
            slot.truncated = true;
        }
        Ok(())
    }
}
