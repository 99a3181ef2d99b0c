//! A part of a whole, from 0 to 1, as settings have it.
//!
//! It is kept as millionths, so that configurations can be compared and texts are exact. A number
//! that is none of 0 to 1 is kept as what it is, out of range, until `TopicConfig::validate` says
//! so with the setting's name.

use std::fmt;

const WHOLE: u32 = 1_000_000;

/// Millionths of a whole; more than a million for what is no part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ratio(u32);

impl Ratio {
    pub(crate) const HALF: Ratio = Ratio(WHOLE / 2);

    /// The nearest millionth.
    pub(super) fn of(number: f64) -> Ratio {
        if !(0.0..=1.0).contains(&number) {
            return Ratio(u32::MAX);
        }
        // within 0 to a million: nothing is cut off
        Ratio((number * f64::from(WHOLE)).round() as u32)
    }

    pub(super) fn is_legal(self) -> bool {
        self.0 <= WHOLE
    }

    /// Whether `part` is more than this of `whole`.
    pub(crate) fn is_below(self, part: u64, whole: u64) -> bool {
        u128::from(part) * u128::from(WHOLE) > u128::from(whole) * u128::from(self.0)
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_legal() {
            true => write!(f, "{}", f64::from(self.0) / f64::from(WHOLE)),
            false => f.write_str("not within 0 to 1"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["0", "1", "0.5", "0.01", "0.123457"] {
            assert_eq!(Ratio::of(text.parse().unwrap()).to_string(), text);
        }
        for wrong in [-0.1, 1.000_001, f64::NAN, f64::INFINITY] {
            assert!(!Ratio::of(wrong).is_legal(), "{wrong}");
        }
    }

    #[test]
    fn a_part_is_compared_without_rounding() {
        assert!(!Ratio::HALF.is_below(50, 100) && Ratio::HALF.is_below(51, 100));
        assert!(Ratio::of(0.0).is_below(1, u64::MAX) && !Ratio::of(0.0).is_below(0, 9));
        assert!(!Ratio::of(1.0).is_below(u64::MAX, u64::MAX));
    }
}
