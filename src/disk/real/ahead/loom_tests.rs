//! Every interleaving of a writer and of who readies his windows: no zeros behind the writer's
//! back, nothing handed out that is not ready, and nobody sleeps for good.

use super::*;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicBool, AtomicU64};
use crate::sync::explore::{model, thread};

/// A file's end, which one at a time may change.
#[derive(Default)]
struct End {
    is_changing: AtomicBool,
    zeros_to: AtomicU64,
}

impl End {
    fn change(&self, to: u64) {
        assert!(!self.is_changing.swap(true, Ordering::Relaxed), "two at once");
        thread::yield_now();
        self.zeros_to.store(to, Ordering::Relaxed);
        self.is_changing.store(false, Ordering::Relaxed);
    }
}

struct Zeros(Arc<End>, u64);

impl Job for Zeros {
    type File = ();

    fn bounds(&self) -> (u64, u64) {
        (self.1, self.1 + 2 * PIECE)
    }

    fn run(&self, (): &(), _: u64, to: u64) -> io::Result<()> {
        self.0.change(to);
        Ok(())
    }

    fn cut(&self, (): &(), _: u64) -> io::Result<()> {
        unreachable!("nothing fails")
    }
}

/// A window from 10 on that is asked for, and who serves.
fn asked() -> (Arc<End>, Arc<Window<Zeros>>, thread::JoinHandle<()>) {
    let end = Arc::new(End::default());
    let window = Arc::new(Window::new());
    window.ask(Zeros(end.clone(), 10));
    let served = window.clone();
    let server = thread::spawn(move || served.serve(&()));
    (end, window, server)
}

#[test]
fn who_calls_a_window_in_is_alone_with_the_file() {
    model(3, || {
        let (end, window, server) = asked();
        window.call_in();
        end.change(0);
        assert_eq!(window.take(10), Taken::Nothing);
        server.join().unwrap();
        assert_eq!(end.zeros_to.load(Ordering::Relaxed), 0, "nothing comes after that");
    });
}

#[test]
fn what_is_taken_is_ready_and_what_is_written_over_is_not_zeroed_again() {
    model(3, || {
        let (end, window, server) = asked();
        window.give_way(15);
        end.change(10 + PIECE);
        match window.take(15) {
            Taken::UpTo(to) => assert!([10 + PIECE, 10 + 2 * PIECE].contains(&to)),
            other => assert_eq!(other, Taken::Nothing),
        }
        end.change(30);
        server.join().unwrap();
        assert_eq!(end.zeros_to.load(Ordering::Relaxed), 30);
    });
}

#[test]
fn who_serves_serves_who_asks_and_stops_when_told() {
    model(3, || {
        let queue = Arc::new(Queue::new());
        let goes_on = Arc::new(AtomicBool::new(true));
        let served = Arc::new(AtomicU64::new(0));
        let server = {
            let (queue, goes_on, served) = (queue.clone(), goes_on.clone(), served.clone());
            thread::spawn(move || {
                queue.serve(&|| goes_on.load(Ordering::Acquire), |by: u64| {
                    served.fetch_add(by, Ordering::Relaxed);
                    (by == 10).then_some(100)
                });
            })
        };
        if queue.is_served() {
            assert!(queue.offer(1) && queue.offer_later(10));
        }
        goes_on.store(false, Ordering::Release);
        queue.wake();
        server.join().unwrap();
        let served = served.load(Ordering::Relaxed);
        assert!([0, 1, 11, 111].contains(&served), "{served}: the window goes first");
        assert!(!queue.is_served());
    });
}
