//! The straight way of a poll: a partition that was read to its end has a little more.
//!
//! Called by `fetch` before its long way. What it does not know at once it leaves to the long way:
//! a position that is not decided, a filter, what another process writes, more than the stage has
//! room for, and whatever [`PartitionLog::rest`] says nothing of. It stages what the long way would
//! stage. It needs no look for a cut: the read that left the cursor was followed by one, and the
//! cursor holds only while no offset has fallen since.
//!
//! [`PartitionLog::rest`]: crate::log::PartitionLog::rest

use super::assignment::{Ahead, Delivered, Position, Slot};
use super::fetch::Read;
use super::handle::Consumer;
use crate::log::Rest;

impl Consumer {
    /// Reads a slot once. `None` says nothing, and has changed nothing.
    #[inline(always)] // see `log::rest`
    pub(super) fn read_straight(&mut self, index: usize) -> Option<Read> {
        if self.filtering.filter.is_some() {
            return None;
        }
        let (limits, (room, _)) = (self.limits(), self.room());
        let slot = self.assignment.get_mut(index)?;
        let at = slot.next().filter(|at| at.epoch.is_some())?;
        let from = at.offset;
        let cursor = at.cursor.as_ref().filter(|cursor| cursor.is_at(from))?;
        let log = slot.partition.readable_log()?;
        let rest = log.rest(cursor, limits, room)?;
        slot.is_near = false;
        let touched = slot.pass(&rest).then_some(index);
        self.stage.take(&slot.origin, rest, from, touched);
        Some(Read::More)
    }
}

impl Slot {
    /// Goes ahead behind records that were read where its cursor stands; returns whether it is the
    /// first time since something was handed out. The cursor comes along: if what is staged is
    /// dropped, its place is looked up once.
    #[inline(always)] // see `log::rest`
    fn pass(&mut self, rest: &Rest) -> bool {
        let is_first = self.ahead.is_none();
        if let Some(position) = self.position.as_mut().filter(|_| is_first) {
            let Position { offset, epoch, ref mut cursor } = *position;
            let position = Position { offset, epoch, cursor: cursor.take() };
            self.ahead = Some(Ahead { position, delivered: None }); // moved on below
        }
        if let Some(Ahead { position, delivered }) = &mut self.ahead {
            position.offset = rest.sound.next_offset;
            position.epoch = rest.sound.epoch.or(position.epoch);
            if let Some(cursor) = &mut position.cursor {
                cursor.pass(rest);
            }
            *delivered = Some(Delivered::behind(position));
        }
        is_first
    }
}
