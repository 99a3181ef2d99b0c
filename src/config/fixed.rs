//! Kafka's topic settings that mean nothing else here than their one value, or nothing at all.
//!
//! A configuration that was written for Kafka is taken as far as it says what is so anyway; what
//! would be a promise that nobody keeps is refused with the reason. Nothing of it is kept: the
//! catalog holds what a topic differs in. Asked by `topic` for keys that are not in `settings`.

use super::settings::SETTINGS;
use super::words::refuse;
use crate::error::Error;

/// A setting of Kafka's with one value.
pub(super) struct Fixed {
    pub(super) key: &'static str,
    pub(super) value: &'static str,
    /// Why it has no other.
    pub(super) why: &'static str,
}

const ONE_COPY: &str = "1: a store holds one copy; who replicates it counts the others";
const NO_ELECTION: &str = "false: nothing is elected here; who replicates chooses the leader";
const NO_THROTTLE: &str = "empty: nothing is fetched by replicas here that could be throttled";
const NO_REMOTE: &str = "false: segments are not copied to remote storage";
const ALL_LOCAL: &str = "-2: all segments are local, and retention.ms and retention.bytes say it";

pub(super) const FIXED: &[Fixed] = &[
    Fixed {
        key: "preallocate",
        value: "false",
        why: "false: files grow by small windows of zeros; none is allocated whole",
    },
    Fixed { key: "min.insync.replicas", value: "1", why: ONE_COPY },
    Fixed { key: "unclean.leader.election.enable", value: "false", why: NO_ELECTION },
    Fixed { key: "leader.replication.throttled.replicas", value: "", why: NO_THROTTLE },
    Fixed { key: "follower.replication.throttled.replicas", value: "", why: NO_THROTTLE },
    Fixed { key: "remote.storage.enable", value: "false", why: NO_REMOTE },
    Fixed { key: "remote.log.copy.disable", value: "false", why: NO_REMOTE },
    Fixed { key: "remote.log.delete.on.disable", value: "false", why: NO_REMOTE },
    Fixed { key: "local.retention.ms", value: "-2", why: ALL_LOCAL },
    Fixed { key: "local.retention.bytes", value: "-2", why: ALL_LOCAL },
];

/// Settings that older or inner Kafkas have, and what is to be used instead.
pub(super) const GONE: &[(&str, &str)] = &[
    ("message.format.version", "Kafka 4 has none: records are written in format 2"),
    ("message.downconversion.enable", "Kafka 4 has none: records are never converted"),
    (
        "message.timestamp.difference.max.ms",
        "Kafka 4 has none: message.timestamp.before.max.ms and message.timestamp.after.max.ms are",
    ),
    ("internal.segment.bytes", "it is Kafka's own: segment.bytes may be 1024 bytes here"),
];

/// Fails unless it is a setting that has this value anyway.
pub(super) fn check(key: &str, value: &str) -> Result<(), Error> {
    if let Some(fixed) = FIXED.iter().find(|fixed| fixed.key == key) {
        let same = value.trim().eq_ignore_ascii_case(fixed.value);
        return if same { Ok(()) } else { Err(refuse(key, value, fixed.why)) };
    }
    if let Some((_, why)) = GONE.iter().find(|(gone, _)| *gone == key) {
        return Err(refuse(key, value, *why));
    }
    let known = SETTINGS.iter().map(|it| it.key).chain(FIXED.iter().map(|it| it.key));
    let known = known.collect::<Vec<_>>().join(", ");
    Err(refuse(key, value, format!("no such setting; known: {known}")))
}

/// The value of a setting that has one.
pub(super) fn value(key: &str) -> Option<String> {
    let fixed = FIXED.iter().find(|fixed| fixed.key == key);
    fixed.map(|fixed| fixed.value.to_owned())
}

/// All of them.
pub(super) fn entries() -> impl Iterator<Item = (String, String)> {
    FIXED.iter().map(|fixed| (fixed.key.to_owned(), fixed.value.to_owned()))
}
