//! Time as the store sees it: a wall for what is written, a monotonic face for what is waited for.
//!
//! All time the store decides by enters through a [`Clock`], so that tests and simulations own it:
//! retention, lingering, background syncs, `segment.ms`, timestamps. The wall may jump; the
//! monotonic face never goes back. The timeout of a call that blocks (`poll`, `wait`) is the
//! caller's own and runs in real time whatever the clock. A clock is never called under a lock.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::sync::Mutex;

/// A point in time: milliseconds since 1970-01-01 00:00 UTC, the unit of Kafka's records.
///
/// ```
/// use std::time::Duration;
/// use tidelog::Timestamp;
/// let start = Timestamp::from_millis(1_700_000_000_000);
/// let later = start.saturating_add(Duration::from_secs(2));
/// assert_eq!(later.as_millis() - start.as_millis(), 2_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The point this many milliseconds after the epoch.
    ///
    /// ```
    /// assert_eq!(tidelog::Timestamp::from_millis(5).as_millis(), 5);
    /// ```
    pub const fn from_millis(millis: i64) -> Self {
        Timestamp(millis)
    }

    /// Milliseconds since the epoch.
    ///
    /// ```
    /// assert_eq!(tidelog::Timestamp::from_millis(5).as_millis(), 5);
    /// ```
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This point moved forward by `duration`, capped at the largest timestamp.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidelog::Timestamp;
    /// let at = Timestamp::from_millis(5).saturating_add(Duration::from_millis(2));
    /// assert_eq!(at, Timestamp::from_millis(7));
    /// ```
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Timestamp(self.0.saturating_add(millis(duration)))
    }

    /// This point moved back by `duration`, capped at the smallest timestamp.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidelog::Timestamp;
    /// let at = Timestamp::from_millis(5).saturating_sub(Duration::from_millis(2));
    /// assert_eq!(at, Timestamp::from_millis(3));
    /// ```
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Timestamp(self.0.saturating_sub(millis(duration)))
    }

    /// The time of day by the system, for who has no clock: when a file in memory was changed.
    #[cfg(not(loom))]
    pub(crate) fn now() -> Self {
        SystemTime::now().into()
    }

    /// The timestamp of a field on disk, where a negative number stands for none.
    pub(crate) const fn from_wire(millis: i64) -> Option<Self> {
        if millis < 0 { None } else { Some(Timestamp(millis)) }
    }

    /// The field on disk for a timestamp that may be missing.
    pub(crate) fn to_wire(timestamp: Option<Self>) -> i64 {
        timestamp.map_or(-1, Timestamp::as_millis)
    }
}

impl From<SystemTime> for Timestamp {
    #[inline]
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Timestamp(millis(after)),
            Err(before) => Timestamp(-millis(before.duration())),
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// What is added to round up to a whole millisecond.
#[cfg(not(loom))]
pub(crate) const FRACTION: Duration = Duration::from_nanos(999_999);

/// Whole milliseconds of a duration, capped at the largest `i64`.
#[inline]
pub(crate) fn millis(duration: Duration) -> i64 {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    seconds.saturating_mul(1_000).saturating_add(i64::from(duration.subsec_millis()))
}

/// Where a store takes its time from.
///
/// Both faces are read often and must be cheap; neither may block or panic.
///
/// ```
/// use tidelog::{Clock, SystemClock};
/// let clock = SystemClock::new();
/// assert!(clock.wall().as_millis() > 1_700_000_000_000);
/// assert!(clock.monotonic() <= clock.monotonic());
/// ```
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// The time of day; may jump either way.
    ///
    /// ```
    /// use tidelog::{Clock, ManualClock, Timestamp};
    /// let clock = ManualClock::new(Timestamp::from_millis(9));
    /// assert_eq!(clock.wall(), Timestamp::from_millis(9));
    /// ```
    fn wall(&self) -> Timestamp;

    /// The first whole millisecond that is not before the time of day: what is due a while from
    /// now is counted from it, so that it is never early. A clock that has parts of a millisecond,
    /// which [`wall`](Clock::wall) cuts off, rounds them up here; the others keep the default.
    ///
    /// ```
    /// use tidelog::{Clock, SystemClock};
    /// let clock = SystemClock::new();
    /// let before = std::time::SystemTime::now();
    /// let rounded = u64::try_from(clock.wall_rounded_up().as_millis())?;
    /// let rounded = std::time::UNIX_EPOCH + std::time::Duration::from_millis(rounded);
    /// assert!(rounded >= before);
    /// # Ok::<(), std::num::TryFromIntError>(())
    /// ```
    fn wall_rounded_up(&self) -> Timestamp {
        self.wall()
    }

    /// Time since a fixed moment of the clock's choice; never goes back.
    ///
    /// ```
    /// use tidelog::{Clock, SystemClock};
    /// let clock = SystemClock::new();
    /// let before = clock.monotonic();
    /// assert!(clock.monotonic() >= before);
    /// ```
    fn monotonic(&self) -> Duration;

    /// Asks a clock that is moved by hand to call `moved` after each move. A clock that runs by
    /// itself keeps the default and returns `false`: its sleepers wake by the time that passes.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tidelog::{Clock, ManualClock, SystemClock};
    /// assert!(!SystemClock::new().watch(Arc::new(|| ())));
    /// assert!(ManualClock::default().watch(Arc::new(|| ())));
    /// ```
    fn watch(&self, moved: Arc<dyn Fn() + Send + Sync>) -> bool {
        let _ = moved;
        false
    }
}

/// A clock that stands still until it is moved; clones share one time.
///
/// ```
/// use std::time::Duration;
/// use tidelog::{Clock, ManualClock, Timestamp};
/// let clock = ManualClock::new(Timestamp::from_millis(1_000));
/// clock.advance(Duration::from_secs(1));
/// assert_eq!(clock.wall(), Timestamp::from_millis(2_000));
/// clock.set_wall(Timestamp::from_millis(0)); // the wall may jump back
/// assert_eq!(clock.monotonic(), Duration::from_secs(1)); // the monotonic face does not
/// ```
#[derive(Clone, Default)]
pub struct ManualClock {
    shared: Arc<ManualShared>,
}

#[derive(Default)]
struct ManualShared {
    now: Mutex<ManualNow>,
    watchers: Mutex<Vec<Arc<dyn Fn() + Send + Sync>>>,
}

struct ManualNow {
    wall: Timestamp,
    monotonic: Duration,
}

impl Default for ManualNow {
    fn default() -> Self {
        ManualNow { wall: Timestamp(0), monotonic: Duration::ZERO }
    }
}

impl ManualClock {
    /// A clock whose wall shows `wall` and whose monotonic face shows zero.
    ///
    /// ```
    /// use tidelog::{Clock, ManualClock, Timestamp};
    /// assert_eq!(ManualClock::new(Timestamp::from_millis(3)).wall(), Timestamp::from_millis(3));
    /// ```
    pub fn new(wall: Timestamp) -> Self {
        let clock = ManualClock::default();
        clock.shared.now.lock().wall = wall;
        clock
    }

    /// Moves both faces forward and wakes what waits for this clock.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidelog::{Clock, ManualClock};
    /// let clock = ManualClock::default();
    /// clock.advance(Duration::from_millis(5));
    /// assert_eq!(clock.wall().as_millis(), 5);
    /// ```
    pub fn advance(&self, by: Duration) {
        {
            let mut now = self.shared.now.lock();
            now.wall = now.wall.saturating_add(by);
            now.monotonic = now.monotonic.saturating_add(by);
        }
        self.call_watchers();
    }

    /// Sets the wall alone, as a clock correction would.
    ///
    /// ```
    /// use tidelog::{Clock, ManualClock, Timestamp};
    /// let clock = ManualClock::default();
    /// clock.set_wall(Timestamp::from_millis(77));
    /// assert_eq!(clock.wall().as_millis(), 77);
    /// ```
    pub fn set_wall(&self, wall: Timestamp) {
        self.shared.now.lock().wall = wall;
        self.call_watchers();
    }

    /// Watchers run on the mover's thread, outside the lock.
    fn call_watchers(&self) {
        let watchers = self.shared.watchers.lock().clone();
        for moved in watchers {
            moved();
        }
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> Timestamp {
        self.shared.now.lock().wall
    }

    fn monotonic(&self) -> Duration {
        self.shared.now.lock().monotonic
    }

    fn watch(&self, moved: Arc<dyn Fn() + Send + Sync>) -> bool {
        self.shared.watchers.lock().push(moved);
        true
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let now = self.shared.now.lock();
        f.debug_struct("ManualClock")
            .field("wall", &now.wall)
            .field("monotonic", &now.monotonic)
            .finish()
    }
}

/// The real-time end of a call that may block this long; a century away where it would overflow.
pub(crate) fn deadline_after(patience: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    let now = Instant::now();
    now.checked_add(patience).or_else(|| now.checked_add(CENTURY)).unwrap_or(now)
}

/// What is left until a deadline.
pub(crate) fn left_until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// Whether a deadline is over.
pub(crate) fn is_over(deadline: Instant) -> bool {
    Instant::now() >= deadline
}
