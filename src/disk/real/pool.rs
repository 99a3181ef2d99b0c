//! The pool of descriptors: how ten thousand files are open under a limit of a thousand.
//!
//! A file keeps its descriptor until the pool needs room; then the one least lately used is
//! closed, and opened again by path when its file is next touched. Never closed: a descriptor a
//! write is under way on, one of an unlinked file, and one its user keeps. One with unsynced
//! positioned writes is closed only when no clean one is left, and leaves its file to a mapping the
//! next sync goes by: a descriptor opened later could not prove the durability of bytes written
//! before. So a first write to each of ten thousand files waits for no sync.
//!
//! Locks: the queue's lock is taken before a file's, and a file's only by trying, so a thread that
//! holds a file's lock may never call the pool. Called by `file.rs` and by the disk itself.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use super::file::{Closing, Inner};
use super::os;
use crate::sync::Mutex;

/// Which files hold a descriptor now.
#[derive(Debug)]
pub(super) struct Pool {
    budget: usize,
    open: AtomicUsize,
    /// Files in the order their descriptors were opened; some may be closed or gone by now.
    queue: Mutex<VecDeque<Weak<Inner>>>,
}

impl Pool {
    pub(super) fn new(budget: usize) -> Self {
        Pool { budget, open: AtomicUsize::new(0), queue: Mutex::new(VecDeque::new()) }
    }

    /// Closes descriptors until one more fits. Where all must stay, the budget gives way.
    pub(super) fn make_room(&self) {
        while self.open.load(Ordering::Relaxed) >= self.budget {
            if !self.close_some() {
                return;
            }
        }
    }

    /// Counts a descriptor that was just opened.
    pub(super) fn opened(&self, file: &Arc<Inner>) {
        self.open.fetch_add(1, Ordering::Relaxed);
        let mut queue = self.queue.lock();
        if queue.len() > 2 * self.budget + 64 {
            queue.retain(|file| file.strong_count() > 0);
        }
        queue.push_back(Arc::downgrade(file));
    }

    /// Counts a descriptor that was closed.
    pub(super) fn closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Runs what opens a descriptor; when the system has none left, closes ours and tries again.
    pub(super) fn relieve<T>(&self, mut open: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            match open() {
                Err(error) if os::is_out_of_descriptors(&error) => {
                    if !self.close_some() {
                        return Err(error);
                    }
                }
                other => return other,
            }
        }
    }

    /// How many descriptors are held.
    #[cfg(test)]
    pub(super) fn open_now(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Closes a clean descriptor, or where there is none some dirty ones, the oldest: each look
    /// through the queue is to serve more than one file that opens after it.
    fn close_some(&self) -> bool {
        // Files looked at are kept until the queue is free: dropping the last handle of one
        // under its lock would be legal but slow.
        let mut looked_at = Vec::new();
        let mut dirty = Vec::new();
        let mut queue = self.queue.lock();
        let once = queue.len();
        // Two rounds: the first takes the marks of recent use away.
        for turn in 0..2 * once {
            let Some(entry) = queue.pop_front() else { break };
            let Some(file) = entry.upgrade() else { continue };
            match file.try_close() {
                Closing::Closed => return true,
                Closing::NotOpen => {}
                Closing::Dirty => {
                    queue.push_back(entry);
                    if turn >= once {
                        dirty.push(file.clone());
                    }
                }
                Closing::Needed => queue.push_back(entry),
            }
            looked_at.push(file);
        }
        drop(queue);
        dirty.iter().take(1 + self.budget / 8).filter(|file| file.close_dirty()).count() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Access, Disk as _, DiskFile, IoMode, write_all_at};
    use super::super::RealDisk;
    use super::*;

    fn open(disk: &RealDisk, dir: &std::path::Path, at: i32) -> Arc<dyn DiskFile> {
        disk.open(&dir.join(at.to_string()), Access::Create).unwrap()
    }

    #[test]
    fn files_that_go_leave_the_queue_and_those_that_are_open_do_not() {
        let directory = tempfile::tempdir().unwrap();
        let disk = RealDisk::with_budget(IoMode::Positioned, 64);
        let held: Vec<_> = (0..60).map(|at| open(&disk, directory.path(), at)).collect();
        (100..700).for_each(|at| drop(open(&disk, directory.path(), at)));
        let queue = disk.shared.pool.queue.lock();
        assert!(queue.len() <= 2 * 64 + 64 + 1, "{}", queue.len());
        assert_eq!(queue.iter().filter(|file| file.strong_count() > 0).count(), held.len());
    }

    /// One of ours is closed for it, as long as there is one, and for nothing else.
    #[cfg(unix)]
    #[test]
    fn what_finds_no_descriptor_left_is_tried_again_with_one_of_ours() {
        const EMFILE: i32 = 24;
        let directory = tempfile::tempdir().unwrap();
        let disk = RealDisk::with_budget(IoMode::Positioned, 64);
        let _held: Vec<_> = (0..3).map(|at| open(&disk, directory.path(), at)).collect();
        let pool = &disk.shared.pool;
        let refused = |code: i32| Err::<(), _>(io::Error::from_raw_os_error(code));
        assert_eq!(pool.relieve(|| refused(2)).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(pool.open_now(), 3);
        let mut tries = 0;
        let opened = pool.relieve(|| {
            tries += 1;
            if tries < 3 { refused(EMFILE) } else { Ok(()) }
        });
        opened.unwrap();
        assert_eq!((tries, pool.open_now()), (3, 1));
        let error = pool.relieve(|| refused(EMFILE)).unwrap_err();
        assert_eq!((error.raw_os_error(), pool.open_now()), (Some(EMFILE), 0));
        let dirty = open(&disk, directory.path(), 9);
        write_all_at(&*dirty, b"unsynced", 0).unwrap();
        let mut tries = [refused(EMFILE), Ok(())].into_iter();
        pool.relieve(|| tries.next().unwrap()).unwrap();
        assert_eq!(pool.open_now(), 0);
    }
}
