//! What a record of `__consumer_offsets` is about: its key.
//!
//! v0 and v1 are committed offsets, v2 a classic group. Kafka's newer kinds of groups have keys of
//! their own, all of which begin with the group's name: 3 to 8 and 16 of KIP-848 groups, 10 to 15
//! of share groups, 17 and 19 to 23 of streams groups. Of those only the group is read; their
//! bytes are remembered, so that a group that ends or changes its kind takes them along.

use super::{Input, SchemaFault, put_string};
use crate::error::{Cause, Error, Result};
use crate::ids::PartitionId;

const COMMITTED: i16 = 1;
const CLASSIC_GROUP: i16 = 2;
/// The one record a KIP-848 group has for as long as it exists; its value has the epoch.
pub(crate) const CONSUMER_GROUP_KEY: i16 = 3;

/// Records of a group in the order in which Kafka ends them, by version of their key: what
/// belongs to members first, the record that makes the group last.
const TOMBSTONE_ORDER: &[i16] =
    &[8, 7, 6, 5, 16, 4, CONSUMER_GROUP_KEY, 14, 13, 12, 10, 15, 11, 22, 21, 20, 19, 23, 17];

/// Which of Kafka's protocols a group's members speak.
///
/// ```
/// assert_eq!(tidelog::GroupKind::Classic.to_string(), "classic");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GroupKind {
    /// It has offsets and has never had members: whoever commits assigns partitions himself.
    Standalone,
    /// What this library's members make, and Kafka's with `group.protocol=classic`.
    Classic,
    /// Kafka's newer protocol, KIP-848. Such a group becomes classic with its first member here.
    Consumer,
    /// Whose consumers take records under leases, KIP-932: see
    /// [`Store::share_consumer`](crate::Store::share_consumer).
    Share,
    /// One consumer that reads everything it subscribes to: see
    /// [`Store::broadcast_consumer`](crate::Store::broadcast_consumer).
    Broadcast,
    /// Kafka Streams' own protocol, KIP-1071; nothing can be done to one here.
    Streams,
}

impl std::fmt::Display for GroupKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            GroupKind::Standalone => "standalone",
            GroupKind::Classic => "classic",
            GroupKind::Consumer => "consumer",
            GroupKind::Share => "share",
            GroupKind::Broadcast => "broadcast",
            GroupKind::Streams => "streams",
        })
    }
}

/// What the key of a record in `__consumer_offsets` says the record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OffsetsKey<'a> {
    /// A group's committed offset of one partition.
    Committed { group: &'a str, topic: &'a str, partition: PartitionId },
    /// A classic group: its generation, its members.
    Classic { group: &'a str },
    /// Something else that a group of one of Kafka's newer kinds has.
    Newer { group: &'a str, kind: GroupKind, version: i16 },
    /// Of a kind not known here: kept as it is, through compaction too.
    Unknown { version: i16 },
}

/// Whether a group has one record of a kind, or one for each of its members or expressions.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    Named,
}

fn newer_kind(version: i16) -> Option<(GroupKind, Part)> {
    let kind = match version {
        3..=8 | 16 => GroupKind::Consumer,
        10..=15 => GroupKind::Share,
        17 | 19..=23 => GroupKind::Streams,
        _ => return None,
    };
    let named = matches!(version, 5 | 7 | 8 | 16 | 10 | 13 | 14 | 19 | 21 | 22);
    Some((kind, if named { Part::Named } else { Part::Whole }))
}

/// Where the tombstone of a record stands among those of its group.
pub(crate) fn tombstone_order(version: i16) -> usize {
    let place = TOMBSTONE_ORDER.iter().position(|other| *other == version);
    place.unwrap_or(TOMBSTONE_ORDER.len())
}

impl<'a> OffsetsKey<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, SchemaFault> {
        let mut input = Input(bytes);
        let key = match input.i16("key version")? {
            0 | 1 => OffsetsKey::Committed {
                group: input.string("group")?,
                topic: input.string("topic")?,
                partition: input.partition()?,
            },
            2 => OffsetsKey::Classic { group: input.string("group")? },
            version => match newer_kind(version) {
                None => return Ok(OffsetsKey::Unknown { version }),
                Some((kind, part)) => {
                    let group = input.string("group")?;
                    if part == Part::Named {
                        input.string("member or expression")?;
                    }
                    OffsetsKey::Newer { group, kind, version }
                }
            },
        };
        input.end()?;
        Ok(key)
    }
}

/// The key under which a group's offset of one partition is committed.
///
/// Fails for names longer than the format holds (32,767 bytes) and for a partition above
/// `i32::MAX`.
pub(crate) fn committed_key(group: &str, topic: &str, partition: PartitionId) -> Result<Vec<u8>> {
    let partition = i32::try_from(partition.get()).map_err(|_| {
        let text = format!("partition {partition} is above {}", i32::MAX);
        Error::new("encode committed offset", Cause::InvalidArgument(text))
    })?;
    let mut bytes = Vec::with_capacity(10 + group.len() + topic.len());
    bytes.extend_from_slice(&COMMITTED.to_be_bytes());
    put_string(&mut bytes, "group name", group)?;
    put_string(&mut bytes, "topic name", topic)?;
    bytes.extend_from_slice(&partition.to_be_bytes());
    Ok(bytes)
}

/// The key of a classic group's own record. Fails for a name longer than the format holds.
pub(crate) fn group_key(group: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(4 + group.len());
    bytes.extend_from_slice(&CLASSIC_GROUP.to_be_bytes());
    put_string(&mut bytes, "group name", group)?;
    Ok(bytes)
}
