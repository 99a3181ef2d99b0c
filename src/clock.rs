//! The machine's own clock.
//!
//! Most calls of a thread that calls often come within the millisecond of the call before, whose
//! name is known. The system's clock says so for the price of a call that holds the processor up;
//! its counter of ticks, where the system itself tells time by that, for less. So the first look
//! in a millisecond is at the clock, and says for how many ticks the name holds: never longer than
//! the millisecond does, for the rate is taken an eighth too low, and no clock is steered by more.
//! A clock that is set shows within that time.
//!
//! How fast the counter runs is found out on the way, by two looks; before the second, and on
//! machines without it, each call looks at the clock.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::disk::{tells_time_by_ticks, ticks};
use crate::time::{Clock, FRACTION, Timestamp};

/// The machine's own clock.
///
/// ```
/// use tidelog::{Clock, SystemClock};
/// assert!(SystemClock::new().wall().as_millis() > 0);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: Instant,
    has_ticks: bool,
}

impl SystemClock {
    /// A clock whose monotonic face counts from now.
    ///
    /// ```
    /// let clock = tidelog::SystemClock::new();
    /// # let _ = clock;
    /// ```
    pub fn new() -> Self {
        SystemClock { origin: Instant::now(), has_ticks: tells_time_by_ticks() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock::new()
    }
}

/// One millisecond of the system's time.
#[derive(Clone, Copy, Debug)]
struct Millisecond {
    /// Between these ticks of this thread it is that one.
    ticks: (u64, u64),
    begin: SystemTime,
    end: SystemTime,
    name: Timestamp,
}

thread_local! {
    /// That of this thread's last look at the clock.
    static LAST: Cell<Millisecond> = const {
        Cell::new(Millisecond {
            ticks: (0, 0),
            begin: UNIX_EPOCH,
            end: UNIX_EPOCH,
            name: Timestamp::from_millis(0),
        })
    };
}

/// The millisecond of a time, exactly as [`Timestamp::from`] has it. Telling it apart from the
/// last one's ends costs less than dividing.
#[inline]
fn millisecond_of(now: SystemTime, ticks: Option<u64>) -> Timestamp {
    let last = LAST.get();
    if !(last.begin <= now && now < last.end) {
        return new_millisecond(now, ticks);
    }
    if let Some(ticks) = ticks {
        LAST.set(Millisecond { ticks: holds_for(ticks, last.end, now), ..last });
    }
    last.name
}

#[cold]
fn new_millisecond(now: SystemTime, ticks: Option<u64>) -> Timestamp {
    let name = Timestamp::from(now);
    let since = u64::try_from(name.as_millis()).ok().map(Duration::from_millis);
    let begin = since.and_then(|since| UNIX_EPOCH.checked_add(since));
    let end = begin.and_then(|begin| begin.checked_add(Duration::from_millis(1)));
    // before 1970 a millisecond is rounded the other way: there none is kept
    if let (Some(begin), Some(end)) = (begin, end)
        && begin <= now
    {
        let ticks = ticks.map_or((0, 0), |ticks| holds_for(ticks, end, now));
        LAST.set(Millisecond { ticks, begin, end, name });
    }
    name
}

/// The ticks between which a millisecond lasts that ends at `end`. The counter was at `ticks`
/// before the clock was at `now`, so that what is left at `now` lasts no shorter from `ticks` on.
fn holds_for(ticks: u64, end: SystemTime, now: SystemTime) -> (u64, u64) {
    let left = end.duration_since(now).unwrap_or_default();
    (ticks, ticks.saturating_add(ticks_in(left, rate(ticks))))
}

/// Ticks in 2^20 nanoseconds, an eighth too low; nought as long as that is unknown.
static RATE: AtomicU64 = AtomicU64::new(0);
/// When the counter stood where: the first look, not earlier than the instant beside it.
static FIRST: OnceLock<(Instant, u64)> = OnceLock::new();
/// A rate is taken over no less, so that what lies between the looks at clock and counter is none.
const MEASURED: Duration = Duration::from_millis(20);

fn ticks_in(time: Duration, rate: u64) -> u64 {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(0).min(1_000_000);
    nanos.saturating_mul(rate) >> 20
}

/// The rate of the counter, which stands at `now` or above.
fn rate(now: u64) -> u64 {
    match RATE.load(Ordering::Relaxed) {
        0 => find_rate(now),
        known => known,
    }
}

#[cold]
fn find_rate(now: u64) -> u64 {
    let (instant, first) = FIRST.get_or_init(|| (Instant::now(), ticks()));
    // both errors make it lower: the first look may have been earlier, this one is later
    let passed = instant.elapsed();
    if passed < MEASURED {
        return 0;
    }
    let rate = rate_of(now.saturating_sub(*first), passed);
    RATE.store(rate, Ordering::Relaxed);
    rate
}

fn rate_of(ticks: u64, passed: Duration) -> u64 {
    let whole = (u128::from(ticks) << 20) / passed.as_nanos().max(1);
    u64::try_from(whole - whole / 8).unwrap_or(0)
}

impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        if !self.has_ticks {
            return millisecond_of(SystemTime::now(), None);
        }
        let (now, last) = (ticks(), LAST.get());
        if last.ticks.0 <= now && now < last.ticks.1 {
            return last.name;
        }
        millisecond_of(SystemTime::now(), Some(now))
    }

    fn wall_rounded_up(&self) -> Timestamp {
        let now = SystemTime::now();
        Timestamp::from(now.checked_add(FRACTION).unwrap_or(now))
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_millisecond_that_is_known_has_the_name_that_dividing_gives_it() {
        let at = |nanos: u64| UNIX_EPOCH + Duration::from_nanos(nanos);
        let mut times = vec![UNIX_EPOCH - Duration::from_nanos(1), UNIX_EPOCH];
        for millis in [1_u64, 2, 1_700_000_000_000, 5, 1_700_000_000_000] {
            let nanos = millis * 1_000_000;
            times.extend([nanos - 1, nanos, nanos + 1, nanos + 999_999, nanos + 1_000_000].map(at));
        }
        times.push(UNIX_EPOCH - Duration::from_micros(1_500));
        for time in times {
            assert_eq!(millisecond_of(time, None), Timestamp::from(time), "{time:?}");
            assert_eq!(millisecond_of(time, None), Timestamp::from(time), "{time:?} again");
        }
    }

    #[test]
    fn a_millisecond_is_never_named_before_it_begins_nor_after_it_has_ended() {
        let clock = SystemClock::new();
        let begun = Instant::now();
        let (mut calls, mut by_ticks) = (0_u32, 0_u32);
        while begun.elapsed() < Duration::from_millis(200) {
            let before = Timestamp::from(SystemTime::now());
            let held = LAST.get().ticks;
            let named = clock.wall();
            let after = Timestamp::from(SystemTime::now());
            assert!(before <= named && named <= after, "{before} {named} {after}");
            calls += 1;
            by_ticks += u32::from(clock.has_ticks && LAST.get().ticks == held);
        }
        assert!(!clock.has_ticks || by_ticks > 0, "the control: of {calls} none by its ticks");
    }

    #[test]
    fn a_name_holds_no_longer_than_its_millisecond() {
        let rate = rate_of(60_000_000, Duration::from_millis(20)); // three a nanosecond
        for left in [1, 999, 1_000, 500_000, 1_000_000_u64] {
            let ticks = ticks_in(Duration::from_nanos(left), rate);
            assert!(ticks <= left * 3 * 7 / 8 + 1, "{left}: {ticks}");
            assert!(ticks >= left * 3 * 6 / 8, "{left}: {ticks}");
        }
        assert_eq!(ticks_in(Duration::from_nanos(1_000_000), 0), 0, "unknown");
        assert_eq!(ticks_in(Duration::MAX, rate), 0);
        assert_eq!(rate_of(u64::MAX, Duration::ZERO), 0, "no clock at all");
    }
}
