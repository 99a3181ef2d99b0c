//! The moments of a recorded run: the disk as it was before each call that found it changed.
//!
//! From a moment a test makes any disk that a cut of the power there may leave, change by change,
//! and as many as it likes; the run that was recorded is made once. Copies share what they can, so
//! a moment costs little more than what was written since the one before.

use std::sync::OnceLock;

use super::sectors::Change;
use super::world::World;
use super::{Crash, SimDisk};

/// A moment of a recorded run at which the power could go.
///
/// ```
/// use tidelog::disk::{Access, Disk, SimDisk};
/// let disk = SimDisk::new(1);
/// let file = disk.open("a".as_ref(), Access::Create)?;
/// disk.sync_dir("/".as_ref())?;
/// disk.record();
/// file.write_at(&[1; 512], 0)?;
/// let moments = disk.moments();
/// let now = moments.last().unwrap();
/// assert_eq!(now.changes(), 2, "a length and a sector");
/// let torn = now.cut(|change| change == 0);
/// assert_eq!(torn.list("/".as_ref())?[0].len, 512);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Moment {
    pub(super) operation: u64,
    pub(super) world: World,
    /// The files that have changes, in order; made once asked for.
    files: OnceLock<Vec<(u64, Vec<Change>)>>,
}

impl Moment {
    pub(super) fn new(operation: u64, world: World) -> Self {
        Moment { operation, world, files: OnceLock::new() }
    }

    /// The number of the call that comes next, over crashes and kills.
    ///
    /// ```
    /// assert_eq!(tidelog::disk::SimDisk::new(1).moments()[0].operation(), 1);
    /// ```
    pub fn operation(&self) -> u64 {
        self.operation
    }

    /// How many changes no sync has covered: names, lengths of files, contents of sectors.
    ///
    /// ```
    /// assert_eq!(tidelog::disk::SimDisk::new(1).moments()[0].changes(), 0);
    /// ```
    pub fn changes(&self) -> usize {
        let files: usize = self.files().iter().map(|(_, changes)| changes.len()).sum();
        self.world.state.names.pending() + files
    }

    /// The disk after a cut here that leaves those of the [`changes`](Moment::changes) that
    /// `persists` says, asked for each in turn. Of two contents of a sector the later one counts;
    /// of the changes to one name a later one waits for the earlier ones.
    ///
    /// ```
    /// use tidelog::disk::{Access, Disk, SimDisk};
    /// let disk = SimDisk::new(1);
    /// disk.open("a".as_ref(), Access::Create)?;
    /// let moment = disk.moments().remove(0);
    /// assert!(moment.cut(|_| false).list("/".as_ref())?.is_empty());
    /// assert_eq!(moment.cut(|_| true).list("/".as_ref())?.len(), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn cut(&self, mut persists: impl FnMut(usize) -> bool) -> SimDisk {
        let state = &self.world.state;
        let names = state.names.with(&mut persists);
        let mut first = state.names.pending();
        let mut settled = std::collections::HashMap::new();
        for (file, changes) in self.files() {
            let kept: Vec<&Change> = changes
                .iter()
                .zip(first..)
                .filter(|(_, at)| persists(*at))
                .map(|(one, _)| one)
                .collect();
            first += changes.len();
            settled.insert(*file, state.files[file].with(kept.into_iter()));
        }
        let settle =
            |file, _: &_| settled.remove(&file).expect("all that is unsettled was settled");
        self.started(World { state: state.with(names, settle), ..self.world.carried_over() }, 1)
    }

    /// The disk after a cut here, as [`SimDisk::crash`] makes it.
    ///
    /// ```
    /// use tidelog::disk::{Crash, SimDisk};
    /// let moment = SimDisk::new(1).moments().remove(0);
    /// let _ = moment.crash(Crash::Random(7));
    /// ```
    #[must_use]
    pub fn crash(&self, choice: Crash) -> SimDisk {
        let state = self.world.state.after(choice, self.world.seed);
        self.started(World { state, ..self.world.carried_over() }, 1)
    }

    /// The disk after the end of the process here, as [`SimDisk::kill`] makes it.
    ///
    /// ```
    /// let moment = tidelog::disk::SimDisk::new(1).moments().remove(0);
    /// let _ = moment.kill();
    /// ```
    #[must_use]
    pub fn kill(&self) -> SimDisk {
        let state = self.world.state.clone();
        let mut world = World { state, ..self.world.carried_over() };
        world.sweep();
        self.started(world, 0)
    }

    fn started(&self, world: World, boots: u64) -> SimDisk {
        let mut world = world.restarted();
        world.boots += boots;
        SimDisk::of(world)
    }

    fn files(&self) -> &[(u64, Vec<Change>)] {
        self.files.get_or_init(|| {
            let files = self.world.state.files.iter();
            let unsettled = files.filter(|(_, found)| !found.is_settled());
            let mut changes: Vec<_> =
                unsettled.map(|(file, found)| (*file, found.changes())).collect();
            changes.sort_unstable_by_key(|(file, _)| *file);
            changes
        })
    }
}

impl SimDisk {
    /// Cuts the power at the `n`th call from now, from 1: it and all later ones have no effect and
    /// fail with EIO, until [`crash`](SimDisk::crash) or [`kill`](SimDisk::kill).
    ///
    /// ```
    /// use tidelog::disk::{Disk, SimDisk};
    /// let disk = SimDisk::new(1);
    /// disk.cut_after(2);
    /// assert!(disk.list("/".as_ref()).is_ok());
    /// assert!(disk.list("/".as_ref()).is_err());
    /// ```
    pub fn cut_after(&self, n: u64) {
        let faults = &mut self.shared.world.lock().faults;
        faults.cut_at = Some(faults.operations.saturating_add(n.max(1)));
    }

    /// Whether the power was cut by [`cut_after`](SimDisk::cut_after).
    ///
    /// ```
    /// assert!(!tidelog::disk::SimDisk::new(1).is_cut());
    /// ```
    pub fn is_cut(&self) -> bool {
        self.shared.world.lock().cut.is_some()
    }

    /// Keeps every moment from here on at which the power could go; see [`Moment`].
    ///
    /// ```
    /// use tidelog::disk::{Access, Disk, SimDisk};
    /// let disk = SimDisk::new(1);
    /// disk.record();
    /// disk.open("a".as_ref(), Access::Create)?.write_at(b"x", 0)?;
    /// let moments = disk.moments();
    /// let found = moments.iter().map(|moment| moment.kill().list("/".as_ref()).unwrap().len());
    /// let found: Vec<usize> = found.collect();
    /// assert_eq!(found, [0, 1, 1], "before the file was there, while it was empty, and now");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn record(&self) {
        self.shared.world.lock().recording = Some(Recording::default());
    }

    /// Ends the recording: what was kept, and the present; only that if nothing was recorded.
    ///
    /// ```
    /// assert_eq!(tidelog::disk::SimDisk::new(1).moments().len(), 1);
    /// ```
    #[must_use]
    pub fn moments(&self) -> Vec<Moment> {
        let mut world = self.shared.world.lock();
        let now = world.faults.operations + 1;
        let mut recording = world.recording.take().unwrap_or_default();
        recording.keep(now, || world.moment(now));
        recording.moments
    }
}

/// What a disk that records has kept.
#[derive(Debug, Default)]
pub(super) struct Recording {
    pub(super) moments: Vec<Moment>,
    /// Something changed since the last of them.
    pub(super) is_dirty: bool,
}

impl Recording {
    pub(super) fn keep(&mut self, operation: u64, moment: impl FnOnce() -> Moment) {
        match self.moments.last_mut().filter(|_| !self.is_dirty) {
            Some(last) => last.operation = operation,
            None => self.moments.push(moment()),
        }
        self.is_dirty = false;
    }
}
