//! A record's way into its lane's open batch.
//!
//! A record that is enqueued and stays within what its batch has looked at beforehand joins at
//! once. Any other goes the long way: one that opens a batch, fills it or has no room in it, one
//! that is refused, the first that asks for power durability, the first after the topic's rules
//! have changed, and whatever a task or an id comes with. There every question is asked, the batch
//! that is full is sealed, and what is left to be done is done once the lock is free. Both ways
//! store the same bytes of a record. Called by `linger` and `once`.

use std::sync::Arc;

use super::{Lane, Queue};
use crate::config::Durability;
use crate::error::Result;
use crate::producer::batch::{Asked, Joined, LingerBatch, Ticket, size_bound};
use crate::producer::core::Core;
use crate::record::Record;
use crate::sync::Arc as SharedArc;
use crate::sync::atomic::Ordering;
use crate::time::Timestamp;

/// Batches from this size on are worth waking the timer for.
const HANDED_OVER_BYTES: usize = 32 * 1024;
/// At most so many wait for the timer.
const MOST_HANDED_OVER: usize = 16;
/// With so many it is behind, and does not nap on.
const MANY_HANDED_OVER: usize = 3;

/// A record's share in the ticket of its batch, and its place there.
pub(in crate::producer) type Joint = (SharedArc<Ticket>, u32);

/// What became of a record that was to join the open batch.
#[derive(Debug)]
pub(in crate::producer) enum Pushed {
    Taken(Taken),
    /// There is no memory for it.
    NoRoom,
}

/// A record's place in its batch.
#[derive(Debug)]
pub(in crate::producer) struct Taken {
    pub(in crate::producer) ticket: SharedArc<Ticket>,
    pub(in crate::producer) index: u32,
    after: After,
}

impl Pushed {
    /// Once a batch was sealed to make way, for which so much is left to be done.
    fn after(mut self, write: Appender) -> Self {
        if let Pushed::Taken(taken) = &mut self {
            taken.after.write.get_or_insert(write);
        }
        self
    }
}

/// What the lane needs once its lock is free.
#[derive(Clone, Copy, Debug)]
struct After {
    /// A batch was sealed: who is to append it.
    write: Option<Appender>,
    /// A batch was begun.
    set_alarm: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Appender {
    /// Whoever sealed it.
    Sender,
    /// Which does not nap on, if it is behind: one batch more may wait for it.
    Timer { is_behind: bool },
}

impl Queue {
    /// Seals a batch that is full; returns who is to append it.
    #[cold]
    fn seal_full(&mut self, core: &Core) -> Appender {
        let is_large =
            self.open.as_ref().is_some_and(|open| open.buffer.len() >= HANDED_OVER_BYTES);
        self.seal();
        let waiting = self.sealed.len();
        if is_large && waiting <= MOST_HANDED_OVER && core.may_hand_over() {
            return Appender::Timer { is_behind: waiting >= MANY_HANDED_OVER };
        }
        Appender::Sender
    }
}

impl Lane {
    /// The short way of a record into the open batch, at the time that is given. `None`: `push` has
    /// to look.
    #[inline(always)] // see `linger`
    pub(in crate::producer) fn push_known(
        &self,
        core: &Core,
        record: (&Record<'_>, Timestamp),
        durability: Durability,
    ) -> Option<Joint> {
        let version = self.partition.log_to_append().ok()?.rules_version();
        let mut queue = self.queue.lock();
        core.check_taking().ok()?; // under the lock: what ends the producer seals after it
        let open = queue.open.as_mut()?;
        let index = open.join_known(record, version, durability)?;
        Some((open.promise.share(), index))
    }

    /// Encodes a record into the open batch, or into the next one if that has no room for it.
    pub(in crate::producer) fn push(
        &self,
        core: &Core,
        record: &Record<'_>,
        asked: &Asked,
        durability: Durability,
    ) -> Result<Pushed> {
        let mut unused = None;
        let pushed = self.push_locked(core, record, asked, durability, &mut unused);
        if let Some(batch) = unused {
            core.take_back(batch); // its memory comes free, which may run wakers
        }
        pushed
    }

    /// The same under the lock; what is left over is to be taken back without it.
    fn push_locked(
        &self,
        core: &Core,
        record: &Record<'_>,
        asked: &Asked,
        durability: Durability,
        unused: &mut Option<LingerBatch>,
    ) -> Result<Pushed> {
        let bound = size_bound(record);
        let mut queue = self.queue.lock();
        let queue = &mut *queue;
        core.check_taking()?; // under the lock: what ends the producer seals after it
        let Some(open) = &mut queue.open else {
            return self.push_first(core, (queue, unused), (record, bound), asked, durability);
        };
        match open.join((record, bound), asked, core.settings(), durability) {
            Ok(Joined::At(index)) => {
                let ticket = open.promise.share();
                let write = core.is_full(open).then(|| queue.seal_full(core));
                let after = After { write, set_alarm: false };
                Ok(Pushed::Taken(Taken { ticket, index, after }))
            }
            Ok(Joined::NoRoom) => Ok(Pushed::NoRoom),
            Ok(Joined::Full) => {
                let write = queue.seal_full(core);
                let places = (queue, unused);
                let pushed = self.push_first(core, places, (record, bound), asked, durability);
                pushed.map(|pushed| pushed.after(write))
            }
            Err(error) => Err(self.placed(error)),
        }
    }

    /// The same where no batch is open.
    #[cold]
    #[inline(never)]
    fn push_first(
        &self,
        core: &Core,
        (queue, unused): (&mut Queue, &mut Option<LingerBatch>),
        (record, bound): (&Record<'_>, usize),
        asked: &Asked,
        durability: Durability,
    ) -> Result<Pushed> {
        let mut batch = core.new_batch(self.most());
        let index = match batch.join((record, bound), asked, core.settings(), durability) {
            Ok(Joined::At(index)) => index,
            Ok(refused) => {
                debug_assert_eq!(refused, Joined::NoRoom, "an empty batch is not full");
                *unused = Some(batch);
                return Ok(Pushed::NoRoom);
            }
            Err(error) => {
                *unused = Some(batch);
                return Err(self.placed(error));
            }
        };
        let ticket = batch.promise.share();
        self.unwritten.fetch_add(1, Ordering::Release);
        queue.tickets.push(ticket.clone());
        let full = core.is_full(&batch);
        queue.open = Some(batch);
        let write = full.then(|| queue.seal_full(core));
        let after = After { write, set_alarm: !full };
        Ok(Pushed::Taken(Taken { ticket, index, after }))
    }

    /// Several records that fit one by one are not gathered to a batch that never does.
    #[cold]
    fn most(&self) -> usize {
        let most = self.partition.largest_batch().unwrap_or(u64::MAX);
        usize::try_from(most).unwrap_or(usize::MAX)
    }

    /// Does what a push left to be done.
    pub(in crate::producer) fn follow_up(self: &Arc<Self>, core: &Core, taken: &Taken) {
        if taken.after.set_alarm {
            self.set_alarm(core);
        }
        match taken.after.write {
            None => {}
            Some(Appender::Timer { is_behind }) if self.has_room(core) => {
                core.hand_over(self, is_behind);
            }
            Some(_) => self.clear(core),
        }
    }

    /// Whether a batch can be appended without waiting, which the timer should not do for one.
    fn has_room(&self, core: &Core) -> bool {
        let bytes = u64::try_from(core.settings().batch_bytes).unwrap_or(u64::MAX);
        self.partition.check_room(bytes).is_ok()
    }
}
