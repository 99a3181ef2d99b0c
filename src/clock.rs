//! The machine's own clock.
//!
//! Most calls of a thread that calls often come within the millisecond of the call before, whose
//! name is known. The system's clock says so for the price of a call that holds the processor up;
//! its counter of ticks, where the system itself tells time by that, for less. So the first look
//! in a millisecond is at the clock, and says for how many ticks the name holds: never longer than
//! the millisecond does, for the rate is taken a fifth too low, which is more than clocks are
//! steered by. A clock that is set shows within that time.
//!
//! How fast the counter runs is found out on the way, by two looks less than a second apart; before
//! the second, and on machines without it, each call looks at the clock.

use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::disk::{tells_time_by_ticks, ticks};
use crate::time::{Clock, FRACTION, Timestamp};

/// The machine's own clock.
///
/// Where the system tells its own time by the processor's counter of ticks (Linux on x86-64, clock
/// source `tsc`), a thread looks at the system's clock once a millisecond and at the counter in
/// between: the time of day is the system's, to the millisecond, but for the one in which that is
/// set.
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
    /// The first of the looks that tell the rate.
    static FIRST: Cell<Option<Look>> = const { Cell::new(None) };

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
    (ticks, ticks.saturating_add(ticks_in(left, rate())))
}

/// Ticks in 2^20 nanoseconds, a fifth too low; nought as long as that is unknown.
static RATE: AtomicU64 = AtomicU64::new(0);
/// The rate is taken over no less, so that what lies between looks at clocks and counter is little,
/// and over no more: the machine may have slept, which not all clocks count.
const MEASURED: Range<Duration> = Duration::from_millis(20)..Duration::from_secs(1);

/// Where the clocks and the counter stood.
#[derive(Clone, Copy, Debug)]
struct Look {
    instant: Instant,
    wall: SystemTime,
    /// Before the clocks were looked at, and after.
    ticks: (u64, u64),
}

impl Look {
    fn now() -> Self {
        let before = ticks();
        let (instant, wall) = (Instant::now(), SystemTime::now());
        Look { instant, wall, ticks: (before, ticks()) }
    }

    /// The time since another, the longest that a clock has counted.
    fn since(&self, first: &Look) -> Duration {
        let instant = self.instant.saturating_duration_since(first.instant);
        instant.max(self.wall.duration_since(first.wall).unwrap_or_default())
    }
}

fn ticks_in(time: Duration, rate: u64) -> u64 {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(0).min(1_000_000);
    nanos.saturating_mul(rate) >> 20
}

fn rate() -> u64 {
    match RATE.load(Ordering::Relaxed) {
        0 => find_rate(),
        known => known,
    }
}

#[cold]
fn find_rate() -> u64 {
    let now = Look::now();
    match FIRST.get().map(|first| rate_between(&first, &now)) {
        Some(Between::Rate(rate)) => {
            RATE.store(rate, Ordering::Relaxed);
            rate
        }
        Some(Between::TooSoon) => 0,
        Some(Between::Unusable) | None => {
            FIRST.set(Some(now));
            0
        }
    }
}

/// What two looks say of the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Between {
    Rate(u64),
    TooSoon,
    /// Too long ago, or one of them was held up.
    Unusable,
}

/// Each error makes the rate lower: ticks are counted from after the first look to before the next.
fn rate_between(first: &Look, now: &Look) -> Between {
    let passed = now.since(first);
    let counted = now.ticks.0.saturating_sub(first.ticks.1);
    let unsure = now.ticks.1.saturating_sub(first.ticks.0).saturating_sub(counted);
    if passed < MEASURED.start {
        return Between::TooSoon;
    }
    if passed >= MEASURED.end || unsure > counted / 64 {
        return Between::Unusable;
    }
    match rate_of(counted, passed) {
        0 => Between::Unusable,
        rate => Between::Rate(rate),
    }
}

fn rate_of(ticks: u64, passed: Duration) -> u64 {
    let whole = (u128::from(ticks) << 20) / passed.as_nanos().max(1);
    u64::try_from(whole - whole / 5).unwrap_or(0)
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
        println!("{by_ticks} of {calls} by ticks, {}", clock.has_ticks);
    }

    #[test]
    fn while_the_ticks_say_so_the_system_is_not_asked() {
        let clock = SystemClock::new();
        let name = Timestamp::from_millis(7);
        let (begin, end) = (UNIX_EPOCH, UNIX_EPOCH); // the clock itself says another
        let held = |ticks| LAST.set(Millisecond { ticks, begin, end, name });
        held((0, u64::MAX));
        assert_eq!(clock.wall() == name, clock.has_ticks);
        for over in [(0, 0), (u64::MAX, u64::MAX)] {
            held(over);
            assert_ne!(clock.wall(), name, "{over:?}");
        }
    }

    /// The counter runs at three ticks a nanosecond; what the machine slept no instant counts.
    #[test]
    fn the_rate_is_never_taken_too_high() {
        let first = Look { instant: Instant::now(), wall: SystemTime::now(), ticks: (1000, 1300) };
        let later = |instant: u64, wall: u64, ticks: (u64, u64)| {
            let (instant, wall) = (Duration::from_micros(instant), Duration::from_micros(wall));
            let (instant, wall) = (first.instant + instant, first.wall + wall);
            rate_between(&first, &Look { instant, wall, ticks })
        };
        let at = |micros: u64| (1000 + micros * 3000, 1300 + micros * 3000);
        let whole = (3 << 20) * 4 / 5;
        let Between::Rate(rate) = later(30_000, 30_000, at(30_000)) else { panic!("no rate") };
        assert!(rate <= whole && rate > whole - whole / 100, "{rate} of {whole}");
        assert_eq!(later(19_999, 19_999, at(19_999)), Between::TooSoon);
        assert_eq!(later(1_000_000, 1_000_000, at(1_000_000)), Between::Unusable);
        assert_eq!(later(30_000, 28_800_000_000, at(28_800_000_000)), Between::Unusable, "asleep");
        let Between::Rate(rate) = later(30_000, 500_000, at(500_000)) else { panic!("no rate") };
        assert!(rate <= whole, "a short sleep: {rate} of {whole}");
        let held_up = (at(30_000).0, at(31_000).1);
        assert_eq!(later(30_000, 30_000, held_up), Between::Unusable);
        assert_eq!(later(30_000, 0, (5, 9)), Between::Unusable, "the counter began anew");
    }

    #[test]
    fn a_name_holds_no_longer_than_its_millisecond() {
        let rate = rate_of(60_000_000, Duration::from_millis(20)); // three a nanosecond
        for left in [1, 999, 1_000, 500_000, 1_000_000_u64] {
            let ticks = ticks_in(Duration::from_nanos(left), rate);
            assert!(ticks <= left * 3 * 4 / 5 + 1, "{left}: {ticks}");
            assert!(ticks >= left * 3 * 3 / 5, "{left}: {ticks}");
        }
        assert_eq!(ticks_in(Duration::from_nanos(1_000_000), 0), 0, "unknown");
        assert_eq!(ticks_in(Duration::MAX, rate), 0);
        assert_eq!(rate_of(u64::MAX, Duration::ZERO), 0, "no clock at all");
    }
}
