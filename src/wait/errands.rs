//! `Errands`: what callers leave to a thread that sleeps, and how it learns of it.
//!
//! To wake a thread that sleeps costs its waker what fifty enqueues do. So a runner that was handed
//! something naps instead of sleeping after it: it looks again by itself after a moment, and who
//! brings one thing after the other finds it coming. Who cannot wait for that wakes it all the
//! same. No nap follows one that found nothing.
//!
//! What is brought is put on the list before the runner's state is looked at, and the runner
//! changes its state before it takes the list: so it is taken, or its bringer sees that he has to
//! tell. loom runs this file. Called by `producer`, whose runner is the store's timer.

use std::time::Duration;

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU8, Ordering};

/// How long a nap is: about as long as a quick sender takes to fill a batch or two.
const NAP: Duration = Duration::from_micros(100);

/// Nobody has told the runner since it last took the list, and it does not come by itself.
const IDLE: u8 = 0;
/// It comes by itself.
const NAPS: u8 = 1;
/// It was told and comes at once.
const TOLD: u8 = 2;

/// Something that is on the list once, however often it is brought.
pub(crate) trait Errand {
    /// Marks it as on the list; `false` if it was.
    fn mark(&self) -> bool;

    /// Takes the mark away.
    fn unmark(&self);
}

/// What a runner is asked to do.
#[derive(Debug)]
pub(crate) struct Errands<T> {
    state: AtomicU8,
    list: Mutex<List<T>>,
}

#[derive(Debug)]
struct List<T> {
    called: Vec<T>,
    /// Everything is to be done, whether it is on the list or not.
    all: bool,
    /// One of them may wait for the end of a nap, and is likely to come again.
    handed_over: bool,
    /// When the nap is over, on the runner's clock.
    nap_ends: Option<Duration>,
}

/// What the runner finds when it comes.
#[derive(Debug)]
pub(crate) struct Found<T> {
    pub(crate) called: Vec<T>,
    pub(crate) all: bool,
    handed_over: bool,
}

/// Whom the bringer has to tell.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tell {
    Runner,
    Nobody,
}

impl<T> Default for Errands<T> {
    fn default() -> Self {
        let list = List { called: Vec::new(), all: false, handed_over: false, nap_ends: None };
        Errands { state: AtomicU8::new(IDLE), list: Mutex::new(list) }
    }
}

impl<T: Errand> Errands<T> {
    /// One that is likely to come again and may wait for the end of a nap, if not `in_haste`.
    pub(crate) fn hand_over(&self, errand: T, in_haste: bool) -> Tell {
        self.put(errand, true);
        if in_haste {
            return self.tell();
        }
        let told = self.state.compare_exchange(IDLE, TOLD, Ordering::AcqRel, Ordering::Acquire);
        if told.is_ok() { Tell::Runner } else { Tell::Nobody }
    }

    /// One that is done at once.
    pub(crate) fn call(&self, errand: T) -> Tell {
        self.put(errand, false);
        self.tell()
    }

    /// All there are, at once.
    pub(crate) fn call_all(&self) -> Tell {
        self.list.lock().all = true;
        self.tell()
    }

    fn put(&self, errand: T, handed_over: bool) {
        let mut list = self.list.lock();
        list.handed_over |= handed_over;
        if errand.mark() {
            list.called.push(errand);
        }
    }

    fn tell(&self) -> Tell {
        let before = self.state.swap(TOLD, Ordering::AcqRel);
        if before == TOLD { Tell::Nobody } else { Tell::Runner }
    }

    /// What there is to be done at `now`. The runner's.
    pub(crate) fn take(&self, now: Duration) -> Found<T> {
        self.state.swap(IDLE, Ordering::AcqRel); // sees what came before the telling
        let found = {
            let mut list = self.list.lock();
            list.nap_ends = list.nap_ends.filter(|end| *end > now);
            Found {
                called: std::mem::take(&mut list.called),
                all: std::mem::take(&mut list.all),
                handed_over: std::mem::take(&mut list.handed_over),
            }
        };
        found.called.iter().for_each(Errand::unmark);
        found
    }

    /// Once that is done, at `now`: when the runner comes again by itself, which it must. One nap
    /// at a time, however often it is told meanwhile.
    pub(crate) fn nap(&self, found: &Found<T>, now: Duration) -> Option<Duration> {
        if !found.handed_over {
            return None;
        }
        let mut list = self.list.lock();
        let naps = self.state.compare_exchange(IDLE, NAPS, Ordering::AcqRel, Ordering::Acquire);
        if naps.is_err() || list.nap_ends.is_some() {
            return None; // it comes at once, or when the nap ends that it was woken from
        }
        list.nap_ends = Some(now.saturating_add(NAP));
        list.nap_ends
    }
}

#[cfg(all(test, not(loom), not(shuttle)))]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    impl Errand for Rc<Cell<bool>> {
        fn mark(&self) -> bool {
            !self.replace(true)
        }

        fn unmark(&self) {
            self.set(false);
        }
    }

    const LATER: Duration = Duration::from_secs(1);

    #[test]
    fn who_finds_the_runner_napping_tells_nobody_unless_in_a_hurry() {
        let (errands, one) = (Errands::default(), Rc::new(Cell::new(false)));
        assert_eq!(errands.hand_over(one.clone(), false), Tell::Runner);
        assert_eq!(errands.hand_over(one.clone(), false), Tell::Nobody, "it was told");
        assert_eq!(errands.call(one.clone()), Tell::Nobody);
        let found = errands.take(LATER);
        assert_eq!((found.called.len(), found.all), (1, false), "once on the list");
        assert_eq!(errands.nap(&found, LATER), Some(LATER + NAP));
        assert_eq!(errands.hand_over(one.clone(), false), Tell::Nobody, "it comes by itself");
        assert_eq!(errands.call_all(), Tell::Runner);
        assert_eq!(errands.call(one.clone()), Tell::Nobody, "it was told now");
        let found = errands.take(LATER);
        assert_eq!((found.called.len(), found.all), (1, true));
        assert_eq!(errands.nap(&found, LATER), None, "there is one");
        let found = errands.take(LATER + NAP);
        assert!(found.called.is_empty() && !found.all);
        assert_eq!(errands.nap(&found, LATER + NAP), None, "it found nothing");
        assert_eq!(errands.hand_over(one, false), Tell::Runner, "and sleeps");
    }

    #[test]
    fn no_nap_follows_what_was_called_for_at_once_or_where_it_was_told_meanwhile() {
        let (errands, one) = (Errands::default(), Rc::new(Cell::new(false)));
        assert_eq!(errands.call(one.clone()), Tell::Runner);
        let found = errands.take(LATER);
        assert_eq!(errands.nap(&found, LATER), None);
        assert_eq!(errands.hand_over(one.clone(), false), Tell::Runner);
        let found = errands.take(LATER);
        assert_eq!(errands.hand_over(one.clone(), false), Tell::Runner, "it is at work");
        assert_eq!(errands.nap(&found, LATER), None);
        assert_eq!(errands.take(LATER).called.len(), 1);
    }

    #[test]
    fn who_is_in_haste_ends_a_nap_and_the_next_begins_where_it_would_have_ended() {
        let (errands, one) = (Errands::default(), Rc::new(Cell::new(false)));
        assert_eq!(errands.hand_over(one.clone(), false), Tell::Runner);
        let found = errands.take(LATER);
        assert_eq!(errands.nap(&found, LATER), Some(LATER + NAP));
        assert_eq!(errands.hand_over(one.clone(), false), Tell::Nobody);
        assert_eq!(errands.hand_over(one.clone(), true), Tell::Runner);
        assert_eq!(errands.hand_over(one.clone(), true), Tell::Nobody, "it was told");
        let found = errands.take(LATER);
        assert_eq!(errands.nap(&found, LATER), None, "there is one");
        assert_eq!(errands.hand_over(one.clone(), true), Tell::Runner);
        let found = errands.take(LATER + NAP);
        assert_eq!(errands.nap(&found, LATER + NAP), Some(LATER + NAP * 2));
    }
}
