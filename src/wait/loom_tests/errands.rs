//! Errands: whatever is brought is done, though nobody tells a runner that naps.

use std::time::Duration;

use super::super::errands::{Errand, Errands, Tell};
use crate::sync::Arc;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::explore::{MANY_THREADS, model, thread};
use crate::sync::{Condvar, Mutex};

#[derive(Clone, Default)]
struct Piece(Arc<Work>);

#[derive(Default)]
struct Work {
    called: AtomicBool,
    /// What was brought to it and is not done.
    left: AtomicUsize,
}

impl Errand for Piece {
    fn call(&self) -> bool {
        !self.0.called.swap(true, Ordering::AcqRel)
    }

    fn answer(&self) {
        self.0.called.store(false, Ordering::Release);
    }
}

/// A runner that sleeps until it is told; a nap is over at once.
#[derive(Default)]
struct World {
    errands: Errands<Piece>,
    tellings: Mutex<usize>,
    told: Condvar,
}

impl World {
    fn heed(&self, tell: Tell) {
        if tell == Tell::Runner {
            *self.tellings.lock() += 1;
            self.told.notify_one();
        }
    }

    fn bring(&self, piece: &Piece, at_once: bool) {
        piece.0.left.fetch_add(1, Ordering::Release);
        let errands = &self.errands;
        let piece = piece.clone();
        self.heed(if at_once { errands.call(piece) } else { errands.hand_over(piece) });
    }

    /// Runs until so many pieces were done.
    fn run(&self, pieces: usize) {
        let (mut done, mut now) = (0, Duration::ZERO);
        let mut naps = false;
        while done < pieces {
            if !naps {
                let mut tellings = self.tellings.lock();
                while *tellings == 0 {
                    self.told.wait(&mut tellings);
                }
                *tellings -= 1;
            }
            now += Duration::from_secs(1);
            let found = self.errands.take(now);
            for piece in &found.called {
                done += piece.0.left.swap(0, Ordering::AcqRel);
            }
            naps = self.errands.nap(&found, now).is_some();
        }
    }
}

fn bringing(world: &Arc<World>, piece: &Piece, at_once: &'static [bool]) -> thread::JoinHandle<()> {
    let (world, piece) = (Arc::clone(world), piece.clone());
    thread::spawn(move || at_once.iter().for_each(|at_once| world.bring(&piece, *at_once)))
}

#[test]
fn what_is_handed_over_one_after_the_other_is_done() {
    model(3, || {
        let (world, piece) = (Arc::new(World::default()), Piece::default());
        let sender = bringing(&world, &piece, &[false, false]);
        world.run(2);
        sender.join().unwrap();
    });
}

#[test]
fn what_cannot_wait_wakes_a_runner_that_naps() {
    model(2, || {
        let world = Arc::new(World::default());
        let sender = bringing(&world, &Piece::default(), &[false]);
        let other = bringing(&world, &Piece::default(), &[true]);
        world.run(2);
        sender.join().unwrap();
        other.join().unwrap();
    });
}

#[test]
fn many_bring_much() {
    if !MANY_THREADS {
        return;
    }
    model(2, || {
        const HOW: [&[bool]; 3] = [&[false, false], &[true, false], &[false, true]];
        let (world, piece) = (Arc::new(World::default()), Piece::default());
        let senders: Vec<_> = HOW.iter().map(|how| bringing(&world, &piece, how)).collect();
        let others = HOW.iter().map(|how| bringing(&world, &Piece::default(), how));
        let senders: Vec<_> = others.chain(senders).collect();
        world.run(4 * HOW.len());
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    });
}
