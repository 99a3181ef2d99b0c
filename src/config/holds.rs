//! How far a group's need of old records goes, and for how long offsets are kept.
//!
//! A hold without a cap would let one dead group fill the disk: so there is none. As text, a
//! topic's holds are one setting, `GROUP=bytes:N,ms:N;...`, with every byte of a group's name that
//! is not a letter, a digit, `.`, `_` or `-` written as `%` and two hexadecimal digits.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::time::millis;

/// How much a topic keeps for a group that has not read it yet; beyond that retention goes on.
///
/// ```
/// use std::time::Duration;
/// use tidelog::{HoldCap, TopicConfig};
/// let cap = HoldCap::bytes(1 << 30).and_age(Duration::from_secs(3 * 24 * 3600));
/// let config = TopicConfig::new().retention(Duration::from_secs(3600)).retain_for("billing", cap);
/// assert_eq!(
///     config.get("tidelog.retain.for").as_deref(),
///     Some("billing=bytes:1073741824,ms:259200000")
/// );
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HoldCap {
    pub(crate) bytes: Option<u64>,
    pub(crate) age: Option<Duration>,
}

impl HoldCap {
    /// As long as the partition is not larger than that; at least 1 byte.
    ///
    /// ```
    /// assert_eq!(tidelog::HoldCap::bytes(4096).to_string(), "bytes:4096");
    /// ```
    pub const fn bytes(bytes: u64) -> Self {
        HoldCap { bytes: Some(bytes), age: None }
    }

    /// As long as a segment's newest record is not older than that; at least 1 ms.
    ///
    /// ```
    /// use std::time::Duration;
    /// assert_eq!(tidelog::HoldCap::age(Duration::from_secs(1)).to_string(), "ms:1000");
    /// ```
    pub const fn age(age: Duration) -> Self {
        HoldCap { bytes: None, age: Some(age) }
    }

    /// The size too: what passes either cap is held no longer.
    ///
    /// ```
    /// use std::time::Duration;
    /// let cap = tidelog::HoldCap::age(Duration::from_secs(1)).and_bytes(4096);
    /// assert_eq!(cap.to_string(), "bytes:4096,ms:1000");
    /// ```
    #[must_use]
    pub const fn and_bytes(self, bytes: u64) -> Self {
        HoldCap { bytes: Some(bytes), age: self.age }
    }

    /// The age too: what passes either cap is held no longer.
    ///
    /// ```
    /// use std::time::Duration;
    /// let cap = tidelog::HoldCap::bytes(4096).and_age(Duration::from_secs(1));
    /// assert_eq!(cap.to_string(), "bytes:4096,ms:1000");
    /// ```
    #[must_use]
    pub const fn and_age(self, age: Duration) -> Self {
        HoldCap { bytes: self.bytes, age: Some(age) }
    }

    pub(super) fn is_legal(self) -> bool {
        let holds_something = self.bytes.is_some() || self.age.is_some();
        let age = self.age.is_none_or(|age| age >= Duration::from_millis(1));
        holds_something && self.bytes != Some(0) && age
    }

    fn read(text: &str) -> Option<Self> {
        let mut cap = HoldCap { bytes: None, age: None };
        for part in text.split(',') {
            match part.split_once(':')? {
                ("bytes", number) if cap.bytes.is_none() => cap.bytes = Some(number.parse().ok()?),
                ("ms", number) if cap.age.is_none() => {
                    let millis: u64 =
                        number.parse().ok().filter(|it| i64::try_from(*it).is_ok())?;
                    cap.age = Some(Duration::from_millis(millis));
                }
                _ => return None,
            }
        }
        Some(cap)
    }
}

impl fmt::Display for HoldCap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.bytes.map(|bytes| format!("bytes:{bytes}"));
        let age = self.age.map(|age| format!("ms:{}", millis(age)));
        let parts: Vec<String> = bytes.into_iter().chain(age).collect();
        f.pad(&parts.join(","))
    }
}

/// A topic's holds, by group.
pub(crate) type GroupHolds = BTreeMap<String, HoldCap>;

pub(super) fn write_holds(holds: &GroupHolds) -> String {
    let of = |(group, cap): (&String, &HoldCap)| format!("{}={cap}", escaped(group));
    holds.iter().map(of).collect::<Vec<_>>().join(";")
}

pub(super) fn read_holds(text: &str) -> Option<GroupHolds> {
    let mut holds = GroupHolds::new();
    for part in text.split(';').filter(|part| !part.is_empty()) {
        let (group, cap) = part.split_once('=')?;
        if holds.insert(unescaped(group)?, HoldCap::read(cap)?).is_some() {
            return None; // named twice
        }
    }
    Some(holds)
}

fn escaped(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"._-".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02x}"));
        }
    }
    text
}

fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

/// How long committed offsets outlive their group; Kafka's `offsets.retention.minutes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum OffsetsRetention {
    /// 7 days, and for ever where the offsets came from Kafka.
    #[default]
    Default,
    Never,
    For(Duration),
}

impl OffsetsRetention {
    pub(crate) const DEFAULT_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_are_read_as_they_are_written() {
        let second = Duration::from_secs(1);
        let all = [
            ("billing", HoldCap::bytes(7)),
            ("a=b;c,d:e%f grüße", HoldCap::age(second)),
            ("%41", HoldCap::bytes(1).and_age(second)),
        ];
        let holds: GroupHolds = all.iter().map(|(name, cap)| ((*name).to_owned(), *cap)).collect();
        let text = write_holds(&holds);
        assert!(text.contains("a%3db%3bc%2cd%3ae%25f%20gr%c3%bc%c3%9fe=ms:1000"), "{text}");
        assert_eq!(read_holds(&text), Some(holds));
        assert_eq!(read_holds(""), Some(GroupHolds::new()));
    }

    #[test]
    fn texts_that_say_nothing_are_refused() {
        for text in [
            "billing",
            "billing=",
            "billing=7",
            "billing=bytes:-1",
            "billing=bytes:1,bytes:2",
            "billing=ms:9223372036854775808",
            "billing=days:1",
            "billing=bytes:1;billing=bytes:2",
            "bil%4=bytes:1",
            "%ff=bytes:1",
        ] {
            assert_eq!(read_holds(text), None, "{text}");
        }
    }
}
