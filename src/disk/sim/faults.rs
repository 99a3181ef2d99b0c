//! Which calls fail, and how: counted, so that a test can fail the first, the second, the Nth.
//!
//! A plan names a fault, optionally a kind of call, which call of those it strikes, and whether it
//! goes on striking. Plans live in the world of the disk and are asked before each call.

use std::io;

/// A kind of call to a disk.
///
/// ```
/// use tidelog::disk::{Fault, Operation, Plan};
/// let plan = Plan::new(Fault::Error(5)).on(Operation::Sync);
/// # let _ = plan;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// [`Disk::open`](super::super::Disk::open).
    Open,
    /// Making directories.
    CreateDir,
    /// Listing a directory.
    List,
    /// Asking what lies at a path.
    Metadata,
    /// Renaming.
    Rename,
    /// Giving a file a second name.
    Link,
    /// Removing a file.
    RemoveFile,
    /// Removing a directory.
    RemoveDir,
    /// Making names durable.
    SyncDir,
    /// Taking a directory's lock.
    Lock,
    /// Asking for the boot id.
    BootId,
    /// Asking for a file's length.
    Len,
    /// A positioned read.
    Read,
    /// A positioned write.
    Write,
    /// Cutting or extending a file.
    SetLen,
    /// Making a file durable.
    Sync,
    /// Mapping a tail.
    Map,
    /// Allocating a window of a mapped tail.
    Allocate,
    /// Publishing stores of a mapped tail: counts as a step to cut the power at, cannot fail.
    Publish,
}

impl Operation {
    /// Whether a call of this kind may fail and have had its effect all the same. A write says how
    /// much it has done, and a failed sync leaves its doubt.
    fn may_be_done(self) -> bool {
        use Operation::{CreateDir, Link, RemoveDir, RemoveFile, Rename, SetLen};
        matches!(self, CreateDir | Rename | Link | RemoveFile | RemoveDir | SetLen)
    }
}

/// What a planned call does instead of its work.
///
/// ```
/// use tidelog::disk::{Fault, Plan};
/// let once = Plan::new(Fault::ShortWrite(3));
/// # let _ = once;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Fails with this number of the operating system (5 is EIO, 28 ENOSPC) and has no effect;
    /// a failed sync also leaves what it was to save in doubt for good.
    Error(i32),
    /// Does its work and fails with this number all the same. Strikes changes to names and lengths:
    /// the first of them that is not before its turn.
    DoneError(i32),
    /// A write stores at most this many bytes and says so. Meant for [`Operation::Write`] only.
    ShortWrite(usize),
    /// A read returns at most this many bytes. Meant for [`Operation::Read`] only.
    ShortRead(usize),
    /// A sync says it is done and has saved nothing, as a device that lies does. Meant for
    /// [`Operation::Sync`] and [`Operation::SyncDir`]; strikes both unless told which.
    Lie,
    /// A sync does not come back before [`SimDisk::heal`](super::SimDisk::heal). Meant for
    /// [`Operation::Sync`] only.
    Hang,
}

/// Which calls a [`Fault`] strikes: by default the next one it can strike, once.
///
/// ```
/// use std::path::Path;
/// use tidelog::disk::{Access, Disk, Fault, Operation, Plan, SimDisk};
/// let disk = SimDisk::new(1);
/// disk.fail(Plan::new(Fault::Error(28)).on(Operation::Open).nth(2).for_ever());
/// assert!(disk.open(Path::new("a"), Access::Create).is_ok());
/// assert!(disk.open(Path::new("b"), Access::Create).is_err());
/// assert!(disk.open(Path::new("b"), Access::Create).is_err());
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Plan {
    fault: Fault,
    operation: Option<Operation>,
    nth: u64,
    is_lasting: bool,
    seen: u64,
    has_struck: bool,
}

impl Plan {
    /// The next call that the fault can strike.
    ///
    /// ```
    /// # use tidelog::disk::{Fault, Plan};
    /// let plan = Plan::new(Fault::Error(5));
    /// # let _ = plan;
    /// ```
    pub fn new(fault: Fault) -> Self {
        let operation = match fault {
            Fault::Error(_) | Fault::DoneError(_) | Fault::Lie => None,
            Fault::Hang => Some(Operation::Sync),
            Fault::ShortWrite(_) => Some(Operation::Write),
            Fault::ShortRead(_) => Some(Operation::Read),
        };
        Plan { fault, operation, nth: 1, is_lasting: false, seen: 0, has_struck: false }
    }

    /// Only calls of this kind count.
    ///
    /// ```
    /// # use tidelog::disk::{Fault, Operation, Plan};
    /// let plan = Plan::new(Fault::Error(5)).on(Operation::Sync);
    /// # let _ = plan;
    /// ```
    pub fn on(mut self, operation: Operation) -> Self {
        self.operation = Some(operation);
        self
    }

    /// The `nth` call that counts, from 1; 0 is taken for 1.
    ///
    /// ```
    /// # use tidelog::disk::{Fault, Plan};
    /// let plan = Plan::new(Fault::Error(5)).nth(3);
    /// # let _ = plan;
    /// ```
    pub fn nth(mut self, nth: u64) -> Self {
        self.nth = nth.max(1);
        self
    }

    /// That call and all later ones, until [`SimDisk::heal`](super::SimDisk::heal).
    ///
    /// ```
    /// # use tidelog::disk::{Fault, Plan};
    /// let plan = Plan::new(Fault::Error(5)).for_ever();
    /// # let _ = plan;
    /// ```
    pub fn for_ever(mut self) -> Self {
        self.is_lasting = true;
        self
    }

    /// Counts a call and says whether it is struck.
    fn strikes(&mut self, operation: Operation) -> Option<Fault> {
        let counts = match self.operation {
            Some(wanted) => wanted == operation,
            None if self.fault == Fault::Lie => {
                matches!(operation, Operation::Sync | Operation::SyncDir)
            }
            None => operation != Operation::Publish,
        };
        if !counts {
            return None;
        }
        self.seen += 1;
        let can_strike = match self.fault {
            Fault::DoneError(_) => operation.may_be_done(),
            _ => true,
        };
        if self.seen < self.nth || !can_strike || (self.has_struck && !self.is_lasting) {
            return None;
        }
        self.has_struck = true;
        Some(self.fault)
    }
}

/// The counters of a disk and the plans made for it.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    pub(super) operations: u64,
    pub(super) syncs: u64,
    pub(super) cut_at: Option<u64>,
    /// What a call that is under way says once it has done its work.
    afterwards: Option<i32>,
    /// A sync waits for the disk to be healed.
    pub(super) hanging: bool,
    plans: Vec<Plan>,
}

impl Faults {
    pub(super) fn add(&mut self, plan: Plan) {
        self.plans.push(plan);
    }

    pub(super) fn heal(&mut self) {
        self.plans.clear();
        self.hanging = false;
    }

    /// Counts a call: its failure, or how many bytes it may move; none for a sync that lies.
    pub(super) fn strike(&mut self, operation: Operation) -> io::Result<usize> {
        let mut limit = usize::MAX;
        let mut errno = None;
        self.afterwards = None;
        for plan in &mut self.plans {
            match plan.strikes(operation) {
                Some(Fault::Error(number)) => errno = errno.or(Some(number)),
                Some(Fault::DoneError(number)) => self.afterwards = Some(number),
                Some(Fault::ShortWrite(bytes) | Fault::ShortRead(bytes)) => limit = bytes,
                Some(Fault::Lie) => limit = 0,
                Some(Fault::Hang) => self.hanging = true,
                None => {}
            }
        }
        match errno {
            Some(number) => Err(io::Error::from_raw_os_error(number)),
            None => Ok(limit),
        }
    }

    /// The answer of a call that has done its work.
    pub(super) fn answer(&mut self) -> io::Result<()> {
        self.afterwards.take().map_or(Ok(()), |number| Err(io::Error::from_raw_os_error(number)))
    }
}
