//! Errands: whatever is brought is done, though nobody tells a runner that naps.

use std::time::Duration;

use super::super::errands::{Errand, Errands, Tell};
use crate::sync::Arc;
use crate::sync::Monitor;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::explore::{MANY_THREADS, model, thread};

#[derive(Clone, Default)]
struct Piece(Arc<Work>);

#[derive(Default)]
struct Work {
    called: AtomicBool,
    /// What was brought to it and is not done.
    left: AtomicUsize,
}

impl Errand for Piece {
    fn mark(&self) -> bool {
        !self.0.called.swap(true, Ordering::AcqRel)
    }

    fn unmark(&self) {
        self.0.called.store(false, Ordering::Release);
    }
}

/// How a piece is brought.
#[derive(Clone, Copy)]
enum How {
    HandedOver,
    InHaste,
    Called,
}

/// A runner that sleeps until it is told or its nap is over.
#[derive(Default)]
struct World {
    errands: Errands<Piece>,
    tellings: Monitor<usize>,
}

impl World {
    fn heed(&self, tell: Tell) {
        if tell == Tell::Runner {
            *self.tellings.lock() += 1;
            self.tellings.notify_one();
        }
    }

    fn bring(&self, piece: &Piece, how: How) {
        piece.0.left.fetch_add(1, Ordering::Release);
        let (errands, errand) = (&self.errands, piece.clone());
        match how {
            How::HandedOver => self.heed(errands.hand_over(errand, false)),
            How::InHaste => self.heed(errands.hand_over(errand, true)),
            How::Called => self.heed(errands.call(errand)),
        }
    }

    /// Sleeps until it is told, then `false`, or until the nap that is due ends.
    fn sleep(&self, nap: bool) -> bool {
        let mut tellings = self.tellings.lock();
        while *tellings == 0 {
            if nap {
                return true;
            }
            tellings = tellings.wait();
        }
        *tellings -= 1;
        false
    }

    /// Runs until so many pieces were done. `ends`: naps do; else it has to be told.
    fn run(&self, pieces: usize, ends: bool) {
        let (mut done, mut now, mut nap) = (0, Duration::from_secs(1), None);
        while done < pieces {
            let is_over = self.sleep(nap.is_some() && ends);
            now = if is_over {
                nap.take().expect("a nap that is over was one")
            } else {
                now + Duration::from_nanos(1)
            };
            let found = self.errands.take(now);
            for piece in &found.called {
                done += piece.0.left.swap(0, Ordering::AcqRel);
            }
            nap = nap.or(self.errands.nap(&found, now));
        }
    }
}

fn bringing(world: &Arc<World>, piece: &Piece, how: &'static [How]) -> thread::JoinHandle<()> {
    let (world, piece) = (Arc::clone(world), piece.clone());
    thread::spawn(move || how.iter().for_each(|how| world.bring(&piece, *how)))
}

#[test]
fn what_is_handed_over_one_after_the_other_is_done() {
    model(3, || {
        let (world, piece) = (Arc::new(World::default()), Piece::default());
        let sender = bringing(&world, &piece, &[How::HandedOver, How::HandedOver]);
        world.run(2, true);
        sender.join().unwrap();
    });
}

#[test]
fn what_cannot_wait_wakes_a_runner_that_naps() {
    model(2, || {
        let world = Arc::new(World::default());
        let sender = bringing(&world, &Piece::default(), &[How::HandedOver]);
        let other = bringing(&world, &Piece::default(), &[How::Called]);
        world.run(2, true);
        sender.join().unwrap();
        other.join().unwrap();
    });
}

/// No nap of this runner ends: it is told of all, whatever it was at.
#[test]
fn what_is_called_or_in_haste_waits_for_no_nap() {
    const HOW: [&[How]; 3] = [
        &[How::HandedOver, How::Called],
        &[How::HandedOver, How::InHaste],
        &[How::InHaste, How::InHaste],
    ];
    for how in HOW {
        model(3, move || {
            let (world, piece) = (Arc::new(World::default()), Piece::default());
            let sender = bringing(&world, &piece, how);
            world.run(2, false);
            sender.join().unwrap();
        });
    }
}

#[test]
fn many_bring_much() {
    if !MANY_THREADS {
        return;
    }
    model(2, || {
        const HOW: [&[How]; 3] = [
            &[How::HandedOver, How::HandedOver],
            &[How::Called, How::HandedOver],
            &[How::HandedOver, How::InHaste],
        ];
        let (world, piece) = (Arc::new(World::default()), Piece::default());
        let senders: Vec<_> = HOW.iter().map(|how| bringing(&world, &piece, how)).collect();
        let others = HOW.iter().map(|how| bringing(&world, &Piece::default(), how));
        let senders: Vec<_> = others.chain(senders).collect();
        world.run(4 * HOW.len(), true);
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    });
}
