//! Which handles are open under which path.
//!
//! A descriptor the pool closed is opened again by path, so the disk must know whom a rename
//! moves and whom an unlink leaves without a name. Entries are weak and go with their file; one
//! whose end met the map's lock in other hands goes when its path is met again or when the map has
//! doubled.
//!
//! Locks: names change under `names` alone, files are opened under a share of it, several at a
//! time; the map's own lock is taken behind it, and held across system calls by who changes names
//! only.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};

use super::file::{Covering, Inner};
use crate::sync::{Mutex, RwLock};

/// The open handles by path.
#[derive(Debug, Default)]
pub(super) struct Registry {
    /// Held whole while a name is changed.
    names: RwLock<()>,
    paths: Mutex<Paths>,
}

#[derive(Debug, Default)]
struct Paths {
    /// Keyed by the very path that the handles hold.
    handles: HashMap<Arc<Path>, Vec<Weak<Inner>>>,
    sweep_at: usize,
}

impl Registry {
    /// Opens a file and remembers its handle, with no removal in between.
    pub(super) fn add(
        &self,
        open: impl FnOnce() -> io::Result<Arc<Inner>>,
    ) -> io::Result<Arc<Inner>> {
        let _names = self.names.read();
        let file = open()?;
        self.paths.lock().add(&file);
        Ok(file)
    }

    /// The last of a file's holders has let go of it. It may do so in the midst of what holds the
    /// lock, or in a forked child whose parent held it: no waiting.
    pub(super) fn gone(&self, path: &Path) {
        if let Some(mut paths) = self.paths.try_lock() {
            paths.forget_dead(path);
        }
    }

    /// The caller has renamed this one file.
    pub(super) fn moved(&self, file: &Arc<Inner>, path: &Path) {
        let _names = self.names.write();
        let mut paths = self.paths.lock();
        let before = file.path();
        if &*before == path {
            return;
        }
        if let Some(handles) = paths.handles.get_mut(&before) {
            handles.retain(|handle| {
                handle.strong_count() > 0 && !handle.ptr_eq(&Arc::downgrade(file))
            });
        }
        file.set_path(&Arc::from(path));
        paths.add(file);
    }

    /// What a sync of all files on a device that begins now has to cover.
    pub(super) fn covering(&self, device: u64) -> Vec<Covering> {
        let paths = self.paths.lock();
        let files = paths.handles.values().flatten().filter_map(Weak::upgrade);
        files.filter_map(|file| file.covering(device)).collect()
    }

    /// Waits for a rename or removal that is under way.
    pub(super) fn settle(&self) {
        drop(self.names.read());
    }

    /// Removes a name; open handles keep a descriptor first.
    pub(super) fn remove(
        &self,
        path: &Path,
        remove: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let _names = self.names.write();
        let mut paths = self.paths.lock();
        let pinned = paths.pin(path)?;
        let removed = remove();
        match removed {
            Ok(()) => drop(paths.handles.remove(path)),
            Err(_) => pinned.iter().for_each(|file| file.unpin()),
        }
        removed
    }

    /// Renames, taking along the handles of the file, or of all files below the directory.
    pub(super) fn rename(
        &self,
        from: &Path,
        to: &Path,
        rename: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let is_dir = std::fs::symlink_metadata(from).is_ok_and(|found| found.is_dir());
        let _names = self.names.write();
        let mut paths = self.paths.lock();
        let pinned = if from == to { Vec::new() } else { paths.pin(to)? };
        if let Err(error) = rename() {
            pinned.iter().for_each(|file| file.unpin());
            return Err(error);
        }
        if from == to {
            return Ok(());
        }
        paths.handles.remove(to);
        if is_dir {
            paths.move_below(from, to);
        } else {
            paths.move_one(from, to);
        }
        Ok(())
    }
}

impl Paths {
    /// Enters a handle under the path it has.
    fn add(&mut self, file: &Arc<Inner>) {
        if self.handles.len() >= self.sweep_at {
            self.handles.retain(|_, handles| handles.iter().any(|file| file.strong_count() > 0));
            self.sweep_at = 2 * self.handles.len() + 64;
        }
        // most files have one handle
        let handles = self.handles.entry(file.path()).or_insert_with(|| Vec::with_capacity(1));
        handles.retain(|handle| handle.strong_count() > 0);
        handles.push(Arc::downgrade(file));
    }

    fn forget_dead(&mut self, path: &Path) {
        if let Some(handles) = self.handles.get_mut(path) {
            handles.retain(|handle| handle.strong_count() > 0);
            if handles.is_empty() {
                self.handles.remove(path);
            }
        }
    }

    /// Gives each handle of a path that is about to lose its file a descriptor for good.
    fn pin(&self, path: &Path) -> io::Result<Vec<Arc<Inner>>> {
        let mut pinned: Vec<Arc<Inner>> = Vec::new();
        for file in self.handles.get(path).into_iter().flatten().filter_map(Weak::upgrade) {
            match file.pin() {
                Ok(()) => pinned.push(file),
                // Its file went away by another's hand: there is nothing left to hold.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    pinned.iter().for_each(|file| file.unpin());
                    return Err(error);
                }
            }
        }
        Ok(pinned)
    }

    fn move_one(&mut self, from: &Path, to: &Path) {
        if let Some(handles) = self.handles.remove(from) {
            let to: Arc<Path> = Arc::from(to);
            for file in handles.iter().filter_map(Weak::upgrade) {
                file.set_path(&to);
            }
            self.handles.insert(to, handles);
        }
    }

    fn move_below(&mut self, from: &Path, to: &Path) {
        let below: Vec<Arc<Path>> =
            self.handles.keys().filter(|path| path.starts_with(from)).cloned().collect();
        for path in below {
            let rest = path.strip_prefix(from).expect("the path was chosen by this prefix");
            self.move_one(&path, &to.join(rest));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::super::super::{Access, Disk as _, IoMode};
    use super::super::RealDisk;

    /// Paths and handles come and go without end.
    #[test]
    fn what_is_closed_is_forgotten_and_what_is_open_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let disk = RealDisk::with_budget(IoMode::Positioned, 16);
        let path = |at: i32| directory.path().join(at.to_string());
        let open = |at: i32| disk.open(&path(at), Access::Create).unwrap();
        let held: Vec<_> = (0..80).map(open).collect();
        (100..700).for_each(|at| drop(open(at)));
        (0..50).for_each(|_| drop(open(0)));
        let paths = disk.shared.registry.paths.lock();
        assert_eq!(paths.handles.len(), held.len());
        assert_eq!(paths.handles[&*path(0)].len(), 1);
        for at in 0..80 {
            let found = paths.handles.get(&*path(at)).into_iter().flatten();
            assert_eq!(found.filter(|handle| handle.strong_count() > 0).count(), 1, "{at}");
        }
    }

    /// An open that waits for its device holds up no other.
    #[cfg(unix)]
    #[test]
    fn files_are_opened_side_by_side() {
        let directory = tempfile::tempdir().unwrap();
        let disk = RealDisk::with_budget(IoMode::Positioned, 16);
        let slow = directory.path().join("slow");
        let made = std::process::Command::new("mkfifo").arg(&slow).status().unwrap();
        assert!(made.success());
        let (opened, waits) = mpsc::channel();
        thread::scope(|scope| {
            // waits until somebody writes to it
            let reads = scope.spawn(|| disk.open(&slow, Access::Read).map(drop));
            thread::sleep(Duration::from_millis(50));
            let (disk, other) = (&disk, directory.path().join("other"));
            scope.spawn(move || {
                let _ = opened.send(disk.open(&other, Access::Create).map(drop));
            });
            let other = waits.recv_timeout(Duration::from_secs(30));
            let had_to_wait = !reads.is_finished();
            fs::OpenOptions::new().write(true).open(&slow).unwrap();
            assert!(had_to_wait && matches!(other, Ok(Ok(()))), "{other:?}");
            assert!(reads.join().unwrap().is_ok());
        });
    }

    /// Another file may be made at once where one was renamed by its holder.
    #[test]
    fn a_file_that_was_moved_and_the_one_in_its_place_go_their_own_ways() {
        let directory = tempfile::tempdir().unwrap();
        let disk = RealDisk::with_budget(IoMode::Positioned, 16);
        let path = |name: &str| directory.path().join(name);
        let moved = disk.open(&path("a"), Access::Create).unwrap();
        fs::rename(path("a"), path("b")).unwrap();
        let other = disk.open(&path("a"), Access::Create).unwrap();
        moved.renamed(&path("b"));
        moved.renamed(&path("b"));
        disk.rename(&path("a"), &path("c")).unwrap();
        assert_eq!((moved.path(), other.path()), (path("b"), path("c")));
        disk.rename(&path("b"), &path("d")).unwrap();
        assert_eq!((moved.path(), other.path()), (path("d"), path("c")));
    }

    /// What cannot be held by its handles keeps its name; what is gone has none to keep.
    #[cfg(unix)]
    #[test]
    fn a_name_goes_once_its_handles_have_their_file() {
        let directory = tempfile::tempdir().unwrap();
        let disk = RealDisk::with_budget(IoMode::Positioned, 2);
        let path = |name: &str| directory.path().join(name);
        let open = |name: &str| disk.open(&path(name), Access::Create).unwrap();
        let _closed = [open("gone"), open("loop")];
        let _others: Vec<_> = (0..9).map(|at| open(&at.to_string())).collect();
        fs::remove_file(path("gone")).unwrap();
        disk.rename(&path("8"), &path("gone")).unwrap();
        fs::remove_file(path("loop")).unwrap();
        std::os::unix::fs::symlink(path("loop"), path("loop")).unwrap();
        assert!(disk.remove_file(&path("loop")).is_err());
        assert!(fs::symlink_metadata(path("loop")).is_ok());
    }
}
