//! When a record that failed is tried again: a pure table, by how often it was handed out.
//!
//! The count says which delivery failed. Jitter is drawn from what the caller passes in, so that a
//! schedule can be foretold in tests. Called by workers.

use std::sync::Arc;
use std::time::Duration;

/// RocketMQ's levels, in seconds.
const LEVELS: [u64; 18] =
    [1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1_200, 1_800, 3_600, 7_200];

/// When a record that was given back for a retry is handed out again.
///
/// Used by a [`Worker`](crate::Worker); whoever polls asks it for the delay and gives that to
/// [`ShareConsumer::release_after`](crate::ShareConsumer::release_after).
///
/// ```
/// use std::time::Duration;
/// use tidelog::RetryPolicy;
/// let policy = RetryPolicy::rocketmq();
/// assert_eq!(policy.delay(1, 0), Duration::from_secs(10)); // after the first delivery
/// assert_eq!(policy.delay(16, 0), Duration::from_secs(7_200));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    steps: Steps,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Steps {
    Fixed(Duration),
    Exponential { first: Duration, most: Duration, jitter: bool },
    List(Arc<[Duration]>),
    RocketMq,
}

impl RetryPolicy {
    /// The same delay each time; zero is at once.
    ///
    /// ```
    /// use std::time::Duration;
    /// let policy = tidelog::RetryPolicy::fixed(Duration::from_secs(5));
    /// assert_eq!(policy.delay(3, 0), Duration::from_secs(5));
    /// ```
    pub const fn fixed(delay: Duration) -> Self {
        RetryPolicy { steps: Steps::Fixed(delay) }
    }

    /// `first`, then twice as long each time, at most `most`.
    ///
    /// ```
    /// use std::time::Duration;
    /// let second = Duration::from_secs(1);
    /// let policy = tidelog::RetryPolicy::exponential(second, 60 * second);
    /// assert_eq!(policy.delay(1, 0), second);
    /// assert_eq!(policy.delay(4, 0), 8 * second);
    /// assert_eq!(policy.delay(40, 0), 60 * second);
    /// ```
    pub const fn exponential(first: Duration, most: Duration) -> Self {
        RetryPolicy { steps: Steps::Exponential { first, most, jitter: false } }
    }

    /// An [`exponential`](RetryPolicy::exponential) policy whose delays are drawn between half and
    /// all of that, so that what failed together does not come back together. Changes no other
    /// policy.
    ///
    /// ```
    /// use std::time::Duration;
    /// let second = Duration::from_secs(1);
    /// let policy = tidelog::RetryPolicy::exponential(second, 60 * second).with_jitter();
    /// let mut delays = (1..99).map(|draw| policy.delay(3, draw));
    /// assert!(delays.all(|it| it >= 2 * second && it <= 4 * second));
    /// ```
    #[must_use]
    pub fn with_jitter(mut self) -> Self {
        if let Steps::Exponential { jitter, .. } = &mut self.steps {
            *jitter = true;
        }
        self
    }

    /// These delays, one after the other; the last one stays. An empty list is at once.
    ///
    /// ```
    /// use std::time::Duration;
    /// let policy = tidelog::RetryPolicy::list([1, 5].map(Duration::from_secs));
    /// assert_eq!(policy.delay(9, 0), Duration::from_secs(5));
    /// ```
    pub fn list(delays: impl IntoIterator<Item = Duration>) -> Self {
        RetryPolicy { steps: Steps::List(delays.into_iter().collect()) }
    }

    /// RocketMQ's: 10 s, 30 s, 1 min, 2 to 10 min by the minute, 20 min, 30 min, 1 h, 2 h, which
    /// are its levels from the third on; 16 retries, so 17 deliveries.
    ///
    /// ```
    /// use std::time::Duration;
    /// let policy = tidelog::RetryPolicy::rocketmq();
    /// assert_eq!(policy.delay(3, 0), Duration::from_secs(60));
    /// ```
    pub const fn rocketmq() -> Self {
        RetryPolicy { steps: Steps::RocketMq }
    }

    /// How long a record waits that failed in its delivery number `count`, from 1 on; `draw` is
    /// what jitter is taken from.
    ///
    /// ```
    /// use std::time::Duration;
    /// let policy = tidelog::RetryPolicy::fixed(Duration::ZERO);
    /// assert_eq!(policy.delay(1, 0), Duration::ZERO);
    /// ```
    pub fn delay(&self, count: u32, draw: u64) -> Duration {
        let step = count.saturating_sub(1);
        match &self.steps {
            Steps::Fixed(delay) => *delay,
            Steps::Exponential { first, most, jitter } => {
                let factor = 1u32.checked_shl(step).unwrap_or(u32::MAX);
                let whole = first.saturating_mul(factor).min(*most);
                if !jitter {
                    return whole;
                }
                let half = whole / 2;
                let nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
                half + Duration::from_nanos(draw % nanos.saturating_add(1).max(1))
            }
            Steps::List(delays) => {
                let at = usize::try_from(step).unwrap_or(usize::MAX);
                delays.get(at).or(delays.last()).copied().unwrap_or_default()
            }
            Steps::RocketMq => {
                let at = usize::try_from(step).unwrap_or(usize::MAX).saturating_add(2);
                Duration::from_secs(LEVELS[at.min(LEVELS.len() - 1)])
            }
        }
    }

    /// How often a record is handed out at most, where the policy says so.
    pub(crate) fn deliveries(&self) -> Option<u16> {
        (self.steps == Steps::RocketMq).then_some(17)
    }
}

impl Default for RetryPolicy {
    /// At once.
    fn default() -> Self {
        RetryPolicy::fixed(Duration::ZERO)
    }
}
