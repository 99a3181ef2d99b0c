//! How a consumer reads: what its builder notes, and what it is when nobody says.
//!
//! The builder is the one that writes these; the consumer, its polls and its commits read them.
//! They are plain values: copied into the consumer by `build`, and never changed afterwards. A
//! figure that has a range is held against it here, so that each setter refuses in the same words.

use std::time::Duration;

use super::reset::Reset;
use crate::config::{Durability, IsolationLevel};
use crate::error::{Cause, Error, Result};
use crate::priority::Weights;
use crate::record::PlainLimit;

/// How a consumer reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) reset: Reset,
    pub(super) max_bytes: usize,
    pub(super) max_records: usize,
    pub(super) min_bytes: usize,
    pub(super) max_wait: Duration,
    pub(super) auto_commit: Option<Duration>,
    pub(super) durability: Durability,
    pub(super) isolation: IsolationLevel,
    pub(super) plain: PlainLimit,
    pub(super) durable_only: bool,
    pub(super) spin: Duration,
    pub(super) weights: Weights,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            reset: Reset::Earliest,
            max_bytes: 1 << 20,
            max_records: 10_000,
            min_bytes: 1,
            max_wait: Duration::from_millis(500),
            auto_commit: None,
            durability: Durability::Process,
            isolation: IsolationLevel::ReadCommitted,
            plain: PlainLimit::DEFAULT,
            durable_only: false,
            spin: Duration::ZERO,
            weights: Weights::default(),
        }
    }
}

pub(super) fn check_range(key: &str, value: usize, most: usize) -> Result<()> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    let allowed = match most {
        usize::MAX => "at least 1".to_owned(),
        most => format!("1 to {most}, the limit that max_bytes sets"),
    };
    let (key, value) = (key.to_owned(), value.to_string());
    Err(Error::new("build consumer", Cause::InvalidConfig { key, value, allowed }))
}
