//! What a group has in `__consumer_offsets` besides its offsets: its own records.
//!
//! A classic group has one. A group of one of Kafka's newer kinds has several; their keys are
//! remembered, so that the group can end or become classic without leaving any behind, and
//! nothing else of them is: what is not written anew stays in the log as it is.
//!
//! Invariant: the keys are those that a replay of the log would find alive. Locked by the group
//! that owns it, never during I/O; changed only after the append.

use std::collections::BTreeSet;

use super::identity::Distribution;
use super::schema::{
    BROADCAST_PROTOCOL, CONSUMER_PROTOCOL, GroupKind, GroupValue, OffsetsKey, tombstone_order,
};
use crate::ids::Generation;
use crate::time::Timestamp;

/// A group's own records.
#[derive(Debug, Default)]
pub(super) struct GroupRecords {
    pub(super) classic: Option<ClassicRecord>,
    /// What Kafka's newer kinds have, in the order in which they end.
    pub(super) newer: BTreeSet<NewerKey>,
    /// The epoch of a KIP-848 group.
    pub(super) epoch: Option<Generation>,
}

/// What a classic group's record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClassicRecord {
    pub(super) generation: Generation,
    pub(super) protocol: Protocol,
    pub(super) phase: Phase,
}

/// What its members speak, or spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// It never had any.
    None,
    Consumer,
    /// That of a broadcast consumer.
    Broadcast,
    /// Connect's workers, or another client's.
    Other,
}

/// Whether a group's record says that it has members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It has members in this process.
    Live,
    /// It had members of a Kafka broker when that last wrote it.
    LiveElsewhere,
    EmptySince(Timestamp),
}

/// The key of one record of a newer kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NewerKey {
    order: usize,
    pub(super) bytes: Box<[u8]>,
}

impl Protocol {
    pub(super) fn of(distribution: Distribution) -> Self {
        match distribution {
            Distribution::Divided => Protocol::Consumer,
            Distribution::Broadcast => Protocol::Broadcast,
        }
    }

    /// What the group's record calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Protocol::Broadcast => BROADCAST_PROTOCOL,
            Protocol::Consumer => CONSUMER_PROTOCOL,
            Protocol::None | Protocol::Other => "",
        }
    }

    /// Whether its members are this library's.
    pub(super) fn is_ours(self) -> bool {
        matches!(self, Protocol::Consumer | Protocol::Broadcast)
    }
}

impl GroupRecords {
    pub(super) fn is_empty(&self) -> bool {
        self.classic.is_none() && self.newer.is_empty()
    }

    /// Which kind the records make the group; the first key says it, for kinds do not mix.
    pub(super) fn kind(&self) -> GroupKind {
        let newer = self.newer.first().and_then(|key| match OffsetsKey::parse(&key.bytes) {
            Ok(OffsetsKey::Newer { kind, .. }) => Some(kind),
            _ => None,
        });
        let classic = match self.classic.map(|classic| classic.protocol) {
            None | Some(Protocol::None) => GroupKind::Standalone,
            Some(Protocol::Consumer | Protocol::Other) => GroupKind::Classic,
            Some(Protocol::Broadcast) => GroupKind::Broadcast,
        };
        newer.unwrap_or(classic)
    }

    pub(super) fn generation(&self) -> Generation {
        let classic = self.classic.map(|classic| classic.generation);
        classic.or(self.epoch).unwrap_or_default()
    }

    /// A record of a newer kind was read.
    pub(super) fn note_newer(&mut self, version: i16, key: &[u8], alive: bool) {
        let key = NewerKey { order: tombstone_order(version), bytes: Box::from(key) };
        if alive {
            self.newer.insert(key);
        } else {
            self.newer.remove(&key);
        }
    }

    /// The classic record takes the place of all others.
    pub(super) fn become_classic(&mut self, record: ClassicRecord) {
        self.newer.clear();
        self.epoch = None;
        self.classic = Some(record);
    }
}

impl ClassicRecord {
    pub(super) fn of(value: &GroupValue<'_>) -> Self {
        let protocol = match value.protocol_type {
            "" => Protocol::None,
            CONSUMER_PROTOCOL => Protocol::Consumer,
            BROADCAST_PROTOCOL => Protocol::Broadcast,
            _ => Protocol::Other,
        };
        let phase = match (value.has_members, value.state_since) {
            (true, _) => Phase::LiveElsewhere,
            (false, None) => Phase::Live,
            (false, Some(since)) => Phase::EmptySince(since),
        };
        ClassicRecord { generation: value.generation, protocol, phase }
    }
}
