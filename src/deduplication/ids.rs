//! Deciding for one topic: an id is new and claimed, or its record is there.
//!
//! A claim goes to one caller at a time; who comes with the same id meanwhile waits until the log
//! tells what became of it. The claim ends with its [`Place`], however that goes; a record that
//! lingers keeps it up as an [`Underway`] of the producer's. Lock: `state`, for reading the logs
//! and a look; appends, waits and wakers run under none.

use std::collections::HashMap;
use std::sync::Arc;

use super::MAX_ID_BYTES;
use super::follow::Follower;
use super::window::{Seen, Window};
use crate::engine::Topic;
use crate::error::{Cause, Error, Result};
use crate::ids::{Offset, ProducerId};
use crate::record::PlainLimit;
use crate::sync::Mutex;
use crate::time::Timestamp;
use crate::wait::Completion;

const OPERATION: &str = "send once";
/// Fewer claims are not looked through for such as are over.
const LEAST_SWEPT: usize = 64;

/// A record on its way to the log.
pub(crate) trait Underway: Send + Sync + std::fmt::Debug {
    /// Whether the log tells by now what became of it.
    fn is_over(&self) -> bool;

    /// Sees to it that the log tells; may block.
    fn bring_out(&self);
}

/// One that is appended by the thread that claimed its id.
#[derive(Debug)]
struct Sending(Completion<()>);

impl Underway for Sending {
    fn is_over(&self) -> bool {
        self.0.get().is_some()
    }

    fn bring_out(&self) {
        self.0.get_by(None);
    }
}

/// The answer to a claim.
#[derive(Debug)]
pub(crate) enum Claimed {
    /// The id is new: its record is to be sent.
    First(Place),
    /// Its record is there.
    Before(Original),
}

/// The record that has an id.
pub(crate) type Original = Seen;

/// The sole right to send a record under an id.
#[derive(Debug)]
pub(crate) struct Place {
    ids: Arc<TopicIds>,
    id: Arc<[u8]>,
    sending: Arc<Sending>,
}

/// What decides for one topic.
#[derive(Debug)]
pub(crate) struct TopicIds {
    topic: Arc<Topic>,
    plain: PlainLimit,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// `None` before the first id.
    known: Option<Known>,
    claimed: HashMap<Arc<[u8]>, Arc<dyn Underway>>,
    /// So many claims are looked through.
    sweep_at: usize,
}

/// What the logs say.
#[derive(Debug)]
struct Known {
    window: Window,
    follower: Follower,
}

impl TopicIds {
    pub(super) fn new(topic: Arc<Topic>, plain: PlainLimit) -> Self {
        let state = State { known: None, claimed: HashMap::new(), sweep_at: LEAST_SWEPT };
        TopicIds { topic, plain, state: Mutex::new(state) }
    }

    pub(super) fn topic(&self) -> &Arc<Topic> {
        &self.topic
    }

    /// Claims an id for a record with this timestamp, for a producer's transaction or none. Blocks
    /// while the id is claimed, and for reading what has come since the last claim.
    pub(crate) fn claim(
        self: &Arc<Self>,
        id: &[u8],
        by: Option<ProducerId>,
        (now, timestamp): (Timestamp, Option<Timestamp>),
    ) -> Result<Claimed> {
        self.topic.check_exists(OPERATION)?;
        let config = self.topic.config();
        let Some(length) = config.deduplication_window else {
            let name = self.topic.name();
            return Err(invalid(format!("topic `{name}` has no window: set `deduplicate`")));
        };
        check_id(id)?;
        if timestamp.is_none_or(|timestamp| timestamp < now.saturating_sub(length)) {
            let text = format!("the record's timestamp is not within the last {length:?}");
            return Err(invalid(text));
        }
        loop {
            let mut state = self.state.lock();
            state.sweep();
            if let Some(underway) = state.underway(id) {
                drop(state);
                underway.bring_out();
                self.state.lock().release(id, &underway);
                continue;
            }
            let known = State::know(&mut state.known, (&self.topic, self.plain), length, now)?;
            if let Some(seen) = known.find(id, now)? {
                return match seen.open {
                    Some(producer) if by != Some(producer) => Err(in_doubt(&seen)),
                    _ => Ok(Claimed::Before(seen)),
                };
            }
            if known.window.lacks(now) {
                continue; // its record has gone, and stood before another: it is read again
            }
            state.check_room(config.deduplication_max_ids, now)?;
            let (id, sending) = (Arc::<[u8]>::from(id), Arc::new(Sending(Completion::new())));
            state.claimed.insert(id.clone(), sending.clone());
            return Ok(Claimed::First(Place { ids: self.clone(), id, sending }));
        }
    }
}

impl State {
    /// A claim on the id that may not be over.
    fn underway(&mut self, id: &[u8]) -> Option<Arc<dyn Underway>> {
        let underway = self.claimed.get(id)?;
        if underway.is_over() {
            self.claimed.remove(id);
            return None;
        }
        Some(underway.clone())
    }

    /// Ends a claim, unless it is another's by now.
    fn release(&mut self, id: &[u8], underway: &Arc<dyn Underway>) {
        if self.claimed.get(id).is_some_and(|it| Arc::ptr_eq(it, underway)) {
            self.claimed.remove(id);
        }
    }

    /// Lets go of claims that are over, once there are twice as many as the last time. Comes before
    /// the logs are read: what was appended meanwhile is found there.
    fn sweep(&mut self) {
        if self.claimed.len() >= self.sweep_at {
            self.claimed.retain(|_, underway| !underway.is_over());
            self.sweep_at = LEAST_SWEPT.max(self.claimed.len() * 2);
        }
    }

    /// Fails where one more id would be too many.
    fn check_room(&mut self, most: usize, now: Timestamp) -> Result<()> {
        let count = |state: &State| {
            state.claimed.len() + state.known.as_ref().map_or(0, |known| known.window.len())
        };
        if count(self) < most {
            return Ok(());
        }
        self.claimed.retain(|_, underway| !underway.is_over());
        if let Some(known) = &mut self.known {
            known.window.forget(now, true);
        }
        if count(self) < most {
            return Ok(());
        }
        let text = format!("the window holds {most} ids, as many as the topic allows");
        Err(Error::new(OPERATION, Cause::Full(text)))
    }

    /// What the logs say now.
    fn know<'a>(
        known: &'a mut Option<Known>,
        (topic, plain): (&Topic, PlainLimit),
        length: std::time::Duration,
        now: Timestamp,
    ) -> Result<&'a mut Known> {
        if let Some(it) = known
            && (it.window.length() != length
                || it.window.lacks(now)
                || it.follower.is_outdated()?)
        {
            *known = None;
        }
        let new = || Known { window: Window::new(length), follower: Follower::new(plain) };
        let it = known.get_or_insert_with(new);
        it.window.forget(now, false);
        it.follower.read(topic, &mut it.window, now)?;
        Ok(it)
    }
}

impl Known {
    /// The record under an id, if it is within the window and in its log.
    fn find(&mut self, id: &[u8], now: Timestamp) -> Result<Option<Seen>> {
        while let Some(seen) = self.window.find(id, now) {
            if self.follower.holds(&seen)? {
                return Ok(Some(seen));
            }
            self.window.remove(id);
        }
        Ok(None)
    }
}

impl Place {
    /// The record is in the log: spares the next claim reading it.
    pub(crate) fn written(self, seen: Seen, end: Offset, now: Timestamp) {
        let mut state = self.ids.state.lock();
        if let Some(Known { window, follower }) = &mut state.known
            && follower.step_over(&seen, end)
        {
            window.note(&self.id, seen, now);
        }
        // the lock goes before the place does, which takes it
    }

    /// The record lingers: the claim stands until that is over.
    pub(crate) fn lingers(self, underway: Arc<dyn Underway>) {
        self.ids.state.lock().claimed.insert(self.id.clone(), underway);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let sending: Arc<dyn Underway> = self.sending.clone();
        self.ids.state.lock().release(&self.id, &sending);
        self.sending.0.complete(());
    }
}

fn invalid(text: String) -> Error {
    Error::new(OPERATION, Cause::InvalidArgument(text))
}

fn check_id(id: &[u8]) -> Result<()> {
    if (1..=MAX_ID_BYTES).contains(&id.len()) {
        return Ok(());
    }
    Err(invalid(format!("an id has 1 to {MAX_ID_BYTES} bytes, not {}", id.len())))
}

/// Whether the record of another's transaction is to stay nobody knows yet.
fn in_doubt(seen: &Seen) -> Error {
    let Seen { partition, offset, .. } = seen;
    let text =
        format!("the id is that of offset {offset} in {partition}, whose transaction is open");
    Error::new(OPERATION, Cause::InvalidTransactionState(text))
}
