//! Backing a store up while it is in use: at once, or by a thread that ends with it.
//!
//! The door only: how it is done is the engine's. A [`BackupTask`] shares a `Watch` and the result
//! with its thread, which has the store open until it ends; whoever drops the task has the backup
//! broken off, and waits for nothing.

use std::future::Future;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::handle::Store;
use crate::engine::{BackupProgress, BackupReport, Claim, Watch};
use crate::error::{Cause, Error, Result};
use crate::log::Sharing;
use crate::wait::{Completed, Completion};

impl Store {
    /// Makes a copy of the whole store in `dir`, which must be missing or empty, while everything
    /// goes on: topics, records, groups and their offsets as of one moment, so that no record is
    /// there without those acknowledged before it, and no committed offset without its records.
    ///
    /// `Ok` promises that the copy is whole and durable: a cleanly closed store with an identity of
    /// its own, which is opened like any other. What lingers in producers is not acknowledged and
    /// not in it. It is made in `<dir>.unfinished`, which no open takes for a store, and gets its
    /// name last; whatever stops it, `dir` is missing or whole, and this store as it was.
    ///
    /// Segments that will never change again are shared by a second name (a hard link), which takes
    /// neither time nor space, but shares what damage the device does to them; see
    /// [`BackupBuilder::copies_only`]. On another file system they are copied. The copy needs
    /// the space of what is copied, and later of every shared segment that this store drops.
    ///
    /// Blocks for a flush of the store, for the copying, and for a few syncs a partition; what is
    /// appended after the one moment costs it nothing, however fast that goes on. Meanwhile
    /// appends wait once, for less than a millisecond per thousand partitions and for the appends
    /// that are under way; retention and changes of topics wait while the segments are linked or
    /// opened. [`backup_async`](Store::backup_async) does not block, and can be broken off.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) where something is in the way in
    /// `dir` or `<dir>.unfinished`, or where `dir` lies within this store;
    /// [`Locked`](crate::ErrorKind::Locked) while another backup is made there;
    /// [`Full`](crate::ErrorKind::Full), [`Corrupt`](crate::ErrorKind::Corrupt) where the end of a
    /// partition cannot be read, what a partition that could not be opened fails with, and those of
    /// the operating system. Nothing is left then but `<dir>.unfinished`, where that cannot be
    /// removed either; the next backup to `dir` takes it over.
    ///
    /// ```
    /// use tidelog::{Record, Store, TopicConfig};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path();
    /// let store = Store::open(path.join("data"))?;
    /// store.ensure_topic("orders", TopicConfig::new())?;
    /// store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
    /// store.backup(path.join("monday"))?;
    ///
    /// let copy = Store::open(path.join("monday"))?;
    /// assert!(copy.open_report().was_closed_cleanly());
    /// assert_eq!(copy.describe("orders")?.partitions()[0].end_offset().get(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn backup(&self, dir: impl AsRef<Path>) -> Result<BackupReport> {
        self.backup_builder(dir).run()
    }

    /// [`Store::backup`] by a thread of its own, as a future of any runtime.
    ///
    /// ```
    /// let store = tidelog::Store::in_memory()?;
    /// let report = pollster::block_on(store.backup_async("/backup"))?;
    /// assert_eq!(report.path(), std::path::Path::new("/backup"));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn backup_async(&self, dir: impl AsRef<Path>) -> BackupTask {
        self.backup_builder(dir).run_async()
    }

    /// A builder for [`backup`](Store::backup), where more than the directory is to be said.
    ///
    /// ```
    /// let store = tidelog::Store::in_memory()?;
    /// let report = store.backup_builder("/backup").copies_only().run()?;
    /// assert_eq!(report.files_linked(), 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn backup_builder(&self, dir: impl AsRef<Path>) -> BackupBuilder {
        BackupBuilder {
            engine: self.engine.clone(),
            dir: dir.as_ref().to_owned(),
            sharing: Sharing::Links,
            watch: Watch::default(),
        }
    }
}

/// Says how a store is backed up, and does it.
///
/// ```
/// let store = tidelog::Store::in_memory()?;
/// store.backup_builder("/backup").run()?;
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct BackupBuilder {
    engine: Claim,
    dir: PathBuf,
    sharing: Sharing,
    watch: Watch,
}

impl BackupBuilder {
    /// Copies every file, where by default the files of segments that no longer change are shared
    /// by a second name. What the device damages in one is not damaged in the other then.
    ///
    /// ```
    /// let store = tidelog::Store::in_memory()?;
    /// let report = store.backup_builder("/backup").copies_only().run()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn copies_only(mut self) -> Self {
        self.sharing = Sharing::Nothing;
        self
    }

    /// Called as the backup goes on, with every 256 KiB or so that is copied and at the end of
    /// every segment, from the threads that copy; [`ControlFlow::Break`] breaks it off. No lock of
    /// the store is held meanwhile, but the backup waits for it.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// let store = tidelog::Store::in_memory()?;
    /// let backup = store.backup_builder("/backup").on_progress(|_| ControlFlow::Break(()));
    /// assert_eq!(backup.run().unwrap_err().kind(), tidelog::ErrorKind::Cancelled);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn on_progress(
        mut self,
        told: impl Fn(&BackupProgress) -> ControlFlow<()> + Send + Sync + 'static,
    ) -> Self {
        self.watch = Watch::telling(told);
        self
    }

    /// Makes the backup; blocks for as long as that takes.
    ///
    /// # Errors
    /// Those of [`Store::backup`]; [`Cancelled`](crate::ErrorKind::Cancelled) where
    /// [`on_progress`](BackupBuilder::on_progress) has broken it off,
    /// [`Panicked`](crate::ErrorKind::Panicked) where that panicked.
    ///
    /// ```
    /// let store = tidelog::Store::in_memory()?;
    /// let report = store.backup_builder("/backup").run()?;
    /// assert_eq!(report.path(), std::path::Path::new("/backup"));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn run(self) -> Result<BackupReport> {
        self.engine.backup(&self.dir, self.sharing, &self.watch)
    }

    /// Has a thread make the backup that ends with it, whatever threads the store has, and keeps
    /// the store open until then. Begins at the call.
    ///
    /// ```
    /// let store = tidelog::Store::in_memory()?;
    /// let task = store.backup_builder("/backup").run_async();
    /// println!("{} bytes so far", task.progress().bytes_done());
    /// let report = task.wait()?; // or .await
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn run_async(self) -> BackupTask {
        let BackupBuilder { engine, dir, sharing, watch } = self;
        let (watch, done) = (Arc::new(watch), Arc::new(Completion::new()));
        let task = BackupTask { watch: watch.clone(), done: Completed::of(&done) };
        let ended = done.clone();
        let run = move || {
            let made = catch_unwind(AssertUnwindSafe(|| engine.backup(&dir, sharing, &watch)));
            drop(engine); // should it be the last, the store is closed when the task has ended
            let panicked = || Error::new("back up store", Cause::Panicked("a backup"));
            ended.complete(made.unwrap_or_else(|_| Err(panicked())).map_err(Arc::new));
        };
        if let Err(error) = std::thread::Builder::new().name("tidelog-backup".to_owned()).spawn(run)
        {
            done.complete(Err(Arc::new(Error::new("back up store", Cause::Io(error)))));
        }
        task
    }
}

/// A backup that is being made: wait for its report, `.await` it, look how far it is, break it off.
/// Dropped, it is broken off.
///
/// ```
/// use tidelog::{ErrorKind, Store};
/// let store = Store::in_memory()?;
/// let task = store.backup_async("/backup");
/// task.cancel();
/// if let Err(error) = task.wait() {
///     assert_eq!(error.kind(), ErrorKind::Cancelled); // else it was whole by then
/// }
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a backup whose task is dropped is broken off"]
pub struct BackupTask {
    watch: Arc<Watch>,
    done: Completed<Result<BackupReport, Arc<Error>>>,
}

impl BackupTask {
    /// How far it is.
    ///
    /// ```
    /// let store = tidelog::Store::in_memory()?;
    /// let task = store.backup_async("/backup");
    /// assert!(task.progress().bytes_done() <= task.progress().bytes_total());
    /// task.wait()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn progress(&self) -> BackupProgress {
        self.watch.progress()
    }

    /// Has it end soon, at the next 256 KiB or the next segment, with
    /// [`Cancelled`](crate::ErrorKind::Cancelled), and with everything it has made taken away
    /// again. Returns at once. One that is whole by then stays.
    ///
    /// ```
    /// let task = tidelog::Store::in_memory()?.backup_async("/backup");
    /// task.cancel();
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn cancel(&self) {
        self.watch.stop();
    }

    /// Blocks until it is made, or has failed.
    ///
    /// # Errors
    /// Those of [`BackupBuilder::run`], and [`Cancelled`](crate::ErrorKind::Cancelled) after
    /// [`cancel`](BackupTask::cancel).
    ///
    /// ```
    /// let store = tidelog::Store::in_memory()?;
    /// let report = store.backup_async("/backup").wait()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn wait(self) -> Result<BackupReport> {
        let done = self.done.wait(None);
        let never = || Arc::new(Error::new("back up store", Cause::Panicked("a backup")));
        done.unwrap_or_else(|| Err(never())).map_err(|error| error.again())
    }
}

impl Future for BackupTask {
    type Output = Result<BackupReport>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let done = Pin::new(&mut self.done).poll(cx);
        done.map(|ended| ended.map_err(|error| error.again()))
    }
}

impl Drop for BackupTask {
    fn drop(&mut self) {
        self.watch.stop();
    }
}
