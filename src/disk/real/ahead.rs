//! Windows that another thread makes ready while the one before is still being filled.
//!
//! Writing zeros is most of what a busy writer's appends cost: half of its time goes into pages
//! that are new. So a writer asks for the next window before it has filled one, and a thread that
//! serves does there what the writer would have done: zeros first, then the pages of the map. Where
//! nobody serves, or too late, the writer does it itself, as ever.
//!
//! While no window is wanted the same thread does what no writer waits for (`reading`).
//!
//! Invariants. A window lies behind what its writer knows to be allocated, so nobody stores into it
//! before it is taken. Its lock is held while it is made ready: who writes by position, cuts the
//! file, maps it anew or lets the map go calls in the window first, and from then on no zeros are
//! written behind his back. What is left of a window that was called in is zeros that the file
//! ends in, as after a window that was never filled. A failure leaves the file as it was, and the
//! writer to meet it for himself.

use std::collections::VecDeque;
use std::io;

use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Monitor, Mutex};

/// How much is made ready at a time: a writer who needs the file waits for a piece or two, not for
/// a window.
const PIECE: u64 = if cfg!(test) { 8 << 10 } else { 256 << 10 };

/// So many windows wait at most: where more are wanted than are made, their writers make them.
/// The newest is made first. A writer of many logs in turn comes back to the oldest first: who met
/// him there would have him wait for each that is being made, all the way.
const MOST_WAITING: usize = if cfg!(test) { 64 } else { 4_096 };

/// So much else waits at most.
const MOST_LATER: usize = 64;

/// What makes a file ready to be stored into.
pub(super) trait Job: Send {
    /// What it is done through; nobody keeps it open for a job that waits.
    type File;

    /// Where it begins and ends.
    fn bounds(&self) -> (u64, u64);
    /// Zeros, and pages in the map.
    fn run(&self, file: &Self::File, from: u64, to: u64) -> io::Result<()>;
    /// Cuts the file there.
    fn cut(&self, file: &Self::File, end: u64) -> io::Result<()>;
}

#[derive(Debug, Default)]
enum Stage<J> {
    #[default]
    None,
    /// Zeros from one end to the other, allocated, and not yet known to the writer; with the job
    /// where it is to go on.
    Ready { from: u64, to: u64, job: Option<Box<J>> },
    /// Part of what was written could not be taken back.
    Littered,
}

/// What a window has come to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// All up to there can be stored into.
    UpTo(u64),
    /// The file has to be cut to what is allocated before it grows again.
    Littered,
    Nothing,
}

/// The window ahead of one file's writer.
#[derive(Debug)]
pub(super) struct Window<J> {
    stage: Mutex<Stage<J>>,
}

impl<J: Job> Window<J> {
    pub(super) fn new() -> Self {
        Window { stage: Mutex::new(Stage::None) }
    }

    /// Asks for the window; by its writer, who has taken the one before.
    pub(super) fn ask(&self, job: J) {
        let from = job.bounds().0;
        *self.stage.lock() = Stage::Ready { from, to: from, job: Some(Box::new(job)) };
    }

    /// Whether there is something to do.
    pub(super) fn is_asked_for(&self) -> bool {
        matches!(&*self.stage.lock(), Stage::Ready { job: Some(_), .. })
    }

    /// Makes it ready, piece by piece, as long as it is asked for.
    pub(super) fn serve(&self, file: &J::File) {
        while self.serve_piece(file) {}
    }

    /// Whether there is more to do.
    fn serve_piece(&self, file: &J::File) -> bool {
        let mut stage = self.stage.lock();
        let Stage::Ready { to, job, .. } = &mut *stage else { return false };
        let Some(wanted) = job else { return false };
        let all = wanted.bounds().1;
        let next = (*to + PIECE).min(all);
        if let Err(error) = wanted.run(file, *to, next) {
            match wanted.cut(file, *to) {
                Ok(()) => *job = None,
                Err(_) => *stage = Stage::Littered,
            }
            drop(stage); // whoever listens to what is logged may write to this file
            log::debug!("a window ahead was not made: {error}");
            return false;
        }
        *to = next;
        if next == all {
            *job = None;
        }
        next < all
    }

    /// What there is for a writer to whom the file reaches to `allocated`; it is his from now on.
    pub(super) fn take(&self, allocated: u64) -> Taken {
        match std::mem::take(&mut *self.stage.lock()) {
            Stage::Ready { from, to, .. } if from <= allocated && allocated < to => Taken::UpTo(to),
            Stage::Littered => Taken::Littered,
            _ => Taken::Nothing,
        }
    }

    /// Before something is written up to `end`: what is asked for is asked for no more, and only
    /// what lies behind is left of what is ready.
    pub(super) fn give_way(&self, end: u64) {
        let mut stage = self.stage.lock();
        *stage = match std::mem::take(&mut *stage) {
            Stage::Ready { from, to, .. } if end < to => {
                Stage::Ready { from: from.max(end), to, job: None }
            }
            Stage::Littered => Stage::Littered,
            _ => Stage::None,
        };
    }

    /// Before the file is cut or its map goes: there is no window any more.
    pub(super) fn call_in(&self) {
        *self.stage.lock() = Stage::None;
    }
}

/// The windows that were asked for, what else is to be done meanwhile, and who serves.
#[derive(Debug)]
pub(super) struct Queue<T> {
    waiting: Monitor<Waiting<T>>,
    serving: AtomicUsize,
}

#[derive(Debug)]
struct Waiting<T> {
    windows: VecDeque<T>,
    /// What is done once no window waits.
    later: VecDeque<T>,
    /// How often those who serve were woken to look whether they are to go on.
    wakes: u64,
}

impl<T> Waiting<T> {
    fn is_empty(&self) -> bool {
        self.windows.is_empty() && self.later.is_empty()
    }

    fn next(&mut self) -> Option<T> {
        self.windows.pop_back().or_else(|| self.later.pop_front())
    }
}

/// One who serves, for as long as it lives.
struct Serving<'q>(&'q AtomicUsize);

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        let waiting = Waiting { windows: VecDeque::new(), later: VecDeque::new(), wakes: 0 };
        Queue { waiting: Monitor::new(waiting), serving: AtomicUsize::new(0) }
    }

    /// Whether anybody would serve who asks.
    pub(super) fn is_served(&self) -> bool {
        self.serving.load(Ordering::Relaxed) > 0
    }

    /// Has a window served, the newest first; whether that will be.
    pub(super) fn offer(&self, window: T) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.windows.len() >= MOST_WAITING {
            return false;
        }
        waiting.windows.push_back(window);
        drop(waiting);
        self.waiting.notify_one();
        true
    }

    /// Has something done that no writer waits for, the oldest first; whether that will be.
    pub(super) fn offer_later(&self, task: T) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.later.len() >= MOST_LATER {
            return false;
        }
        waiting.later.push_back(task);
        drop(waiting);
        self.waiting.notify_one();
        true
    }

    /// Serves, one after the other, as long as `goes_on` says so; asked again after each wake-up.
    /// What `serve` leaves to do is done once no window waits.
    pub(super) fn serve(&self, goes_on: &dyn Fn() -> bool, serve: impl Fn(T) -> Option<T>) {
        self.serving.fetch_add(1, Ordering::Relaxed);
        let serving = Serving(&self.serving);
        let mut seen = self.waiting.lock().wakes;
        while goes_on() {
            let mut waiting = self.waiting.lock();
            while waiting.is_empty() && waiting.wakes == seen {
                waiting = waiting.wait();
            }
            if waiting.wakes != seen {
                seen = waiting.wakes;
                continue;
            }
            let next = waiting.next();
            drop(waiting);
            if let Some(rest) = next.and_then(&serve) {
                self.waiting.lock().later.push_front(rest);
            }
        }
        drop(serving);
        if self.is_served() {
            self.waiting.notify_one(); // what is left is another's
            return;
        }
        let mut waiting = self.waiting.lock();
        waiting.windows.clear();
        waiting.later.clear();
    }

    /// Has everybody who serves look whether they are to go on.
    pub(super) fn wake(&self) {
        self.waiting.lock().wakes += 1;
        self.waiting.notify_all();
    }
}

#[cfg(all(test, any(loom, shuttle)))]
#[path = "ahead/loom_tests.rs"] // of `lib.rs` too, under loom
mod loom_tests;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
