//! What a window comes to, whoever makes it: jobs that fail, go by pieces, wait or give way.

mod tails;

use std::sync::atomic::AtomicBool;

use super::*;

struct Fails {
    is_undone: bool,
}

impl Job for Fails {
    type File = ();

    fn bounds(&self) -> (u64, u64) {
        (10, 20)
    }

    fn run(&self, (): &(), _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn cut(&self, (): &(), end: u64) -> io::Result<()> {
        assert_eq!(end, 10);
        if self.is_undone { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }
}

#[test]
fn a_window_that_failed_is_nothing_or_has_to_be_cut() {
    let window = Window::new();
    window.ask(Fails { is_undone: true });
    window.serve(&());
    assert_eq!(window.take(10), Taken::Nothing);
    window.ask(Fails { is_undone: false });
    window.serve(&());
    window.give_way(15);
    assert_eq!(window.take(15), Taken::Littered);
    assert_eq!(window.take(15), Taken::Nothing, "it is told once");
    window.ask(Fails { is_undone: false });
    window.serve(&());
    window.call_in();
    assert_eq!(window.take(10), Taken::Nothing, "the file was cut");
}

/// Of three pieces, so many can be made.
struct Pieces(u64);

impl Job for Pieces {
    type File = ();

    fn bounds(&self) -> (u64, u64) {
        (10, 10 + 3 * PIECE)
    }

    fn run(&self, (): &(), from: u64, to: u64) -> io::Result<()> {
        assert_eq!(to - from, PIECE);
        match from < 10 + self.0 * PIECE {
            true => Ok(()),
            false => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    fn cut(&self, (): &(), end: u64) -> io::Result<()> {
        assert_eq!(end, 10 + self.0 * PIECE);
        Ok(())
    }
}

#[test]
fn what_was_made_before_a_failure_or_a_call_is_ready() {
    for made in 0..=3 {
        let window = Window::new();
        window.ask(Pieces(made));
        window.serve(&());
        let end = 10 + made * PIECE;
        let expected = if made > 0 { Taken::UpTo(end) } else { Taken::Nothing };
        assert_eq!(window.take(10), expected);
    }
    let window = Window::new();
    window.ask(Pieces(3));
    assert!(window.serve_piece(&()));
    assert_eq!(window.take(10), Taken::UpTo(10 + PIECE));
    assert!(!window.serve_piece(&()), "the rest is asked for no more");
    window.ask(Pieces(3));
    assert!(window.serve_piece(&()));
    window.give_way(11);
    assert!(!window.serve_piece(&()));
    assert_eq!(window.take(11), Taken::UpTo(10 + PIECE));
}

struct Made;

impl Job for Made {
    type File = ();

    fn bounds(&self) -> (u64, u64) {
        (10, 20)
    }

    fn run(&self, (): &(), from: u64, to: u64) -> io::Result<()> {
        assert_eq!((from, to), (10, 20));
        Ok(())
    }

    fn cut(&self, (): &(), _: u64) -> io::Result<()> {
        unreachable!("nothing failed")
    }
}

#[test]
fn what_is_ready_is_taken_by_who_stands_before_its_end_and_behind_its_beginning() {
    let made = || {
        let window = Window::new();
        window.ask(Made);
        window.serve(&());
        window.serve(&()); // who was asked twice comes twice
        window
    };
    assert_eq!(made().take(9), Taken::Nothing, "what lies between is not ready");
    assert_eq!(made().take(10), Taken::UpTo(20));
    assert_eq!(made().take(19), Taken::UpTo(20));
    assert_eq!(made().take(20), Taken::Nothing);
    let written_over = |end| {
        let window = made();
        window.give_way(end);
        window
    };
    assert_eq!(written_over(5).take(10), Taken::UpTo(20));
    assert_eq!(written_over(15).take(14), Taken::Nothing, "what was written may have failed");
    assert_eq!(written_over(15).take(15), Taken::UpTo(20));
    assert_eq!(written_over(20).take(20), Taken::Nothing);
    let asked = Window::new();
    asked.ask(Made);
    asked.give_way(12);
    asked.serve(&());
    assert_eq!(asked.take(12), Taken::Nothing);
}

#[test]
fn no_more_windows_wait_than_may() {
    let queue = Queue::new();
    assert_eq!((0..MOST_WAITING + 5).filter(|window| queue.offer(*window)).count(), MOST_WAITING);
    let goes_on = AtomicBool::new(true);
    let served = std::cell::RefCell::new(Vec::new());
    queue.serve(&|| goes_on.load(Ordering::Relaxed), |window| {
        assert!(queue.is_served());
        served.borrow_mut().push(window);
        goes_on.store(served.borrow().len() < 3, Ordering::Relaxed);
        None
    });
    let newest = [MOST_WAITING - 1, MOST_WAITING - 2, MOST_WAITING - 3];
    assert_eq!(*served.borrow(), newest, "the newest first");
    assert!(!queue.is_served() && queue.waiting.lock().windows.is_empty());
}

#[test]
fn what_no_writer_waits_for_is_done_by_pieces_while_no_window_waits() {
    let queue = Queue::new();
    let asked = (100..100 + MOST_LATER + 5).filter(|task| queue.offer_later(*task));
    assert_eq!(asked.count(), MOST_LATER);
    assert!(queue.offer(1) && queue.offer(2));
    let goes_on = AtomicBool::new(true);
    let served = std::cell::RefCell::new(Vec::new());
    queue.serve(&|| goes_on.load(Ordering::Relaxed), |task| {
        served.borrow_mut().push(task);
        goes_on.store(served.borrow().len() < 7, Ordering::Relaxed);
        if task == 1000 {
            assert!(queue.offer(3), "a window that is asked for meanwhile goes first");
        }
        [100, 1000].contains(&task).then_some(task * 10)
    });
    assert_eq!(*served.borrow(), [2, 1, 100, 1000, 3, 10_000, 101], "the oldest first");
    assert!(queue.waiting.lock().is_empty());
}
