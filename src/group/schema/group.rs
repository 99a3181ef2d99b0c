//! The values of groups: a classic one's v0 to v3 read and v3 written, a KIP-848 one's epoch.
//!
//! Members are checked to be there, not kept: those of another broker are nobody here. What we
//! write has none, so that Kafka sees an empty group with its offsets. A group that has members
//! here has no `currentStateTimestamp`; one that is empty has the time since when.

use super::{Input, SchemaFault, put_string};
use crate::error::Result;
use crate::ids::Generation;
use crate::time::Timestamp;

const CLASSIC_VERSION: i16 = 3;
const CONSUMER_VERSION: i16 = 0;

/// What groups of consumers, as opposed to Connect's workers, call their protocol.
pub(crate) const CONSUMER_PROTOCOL: &str = "consumer";
/// What a broadcast consumer's group of one calls its own, which nobody else joins.
pub(crate) const BROADCAST_PROTOCOL: &str = "tidelog.broadcast";

/// The value of a classic group's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupValue<'a> {
    /// Empty for a group that never had members.
    pub protocol_type: &'a str,
    pub generation: Generation,
    /// Since when the group is in its state; before v2 there was none.
    pub state_since: Option<Timestamp>,
    pub has_members: bool,
}

impl<'a> GroupValue<'a> {
    /// That of a group whose members are this process's, or that is empty since then.
    pub(crate) fn of_consumers(generation: Generation, empty_since: Option<Timestamp>) -> Self {
        GroupValue {
            protocol_type: CONSUMER_PROTOCOL,
            generation,
            state_since: empty_since,
            has_members: false,
        }
    }

    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, SchemaFault> {
        let mut input = Input(bytes);
        let version = input.i16("value version")?;
        if !(0..=CLASSIC_VERSION).contains(&version) {
            return Err(SchemaFault::Version { what: "a classic group's value", version });
        }
        let protocol_type = input.string("protocol type")?;
        let generation = Generation::new(input.i32("generation")?);
        input.nullable_string("protocol")?;
        input.nullable_string("leader")?;
        let since = if version >= 2 { input.i64("state timestamp")? } else { -1 };
        let members = input.i32("count of members")?;
        let field = "count of members";
        let count = u32::try_from(members)
            .map_err(|_| SchemaFault::Length { field, length: members.into() })?;
        for _ in 0..count {
            skip_member(&mut input, version)?; // takes bytes: a forged count ends with the input
        }
        input.end()?;
        Ok(GroupValue {
            protocol_type,
            generation,
            state_since: Timestamp::from_wire(since),
            has_members: count > 0,
        })
    }

    /// The bytes of v3, as Kafka 4.1.1 writes a group without members. Fails for a protocol type
    /// longer than the format holds.
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(24 + self.protocol_type.len());
        bytes.extend_from_slice(&CLASSIC_VERSION.to_be_bytes());
        put_string(&mut bytes, "protocol type", self.protocol_type)?;
        bytes.extend_from_slice(&self.generation.get().to_be_bytes());
        bytes.extend_from_slice(&[0xff; 4]); // neither protocol nor leader
        let since = self.state_since.map_or(-1, Timestamp::as_millis);
        bytes.extend_from_slice(&since.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]); // members
        Ok(bytes)
    }
}

fn skip_member(input: &mut Input<'_>, version: i16) -> Result<(), SchemaFault> {
    input.string("member id")?;
    if version >= 3 {
        input.nullable_string("instance id")?;
    }
    input.string("client id")?;
    input.string("client host")?;
    if version >= 1 {
        input.i32("rebalance timeout")?;
    }
    input.i32("session timeout")?;
    input.bytes("subscription")?;
    input.bytes("assignment").map(|_| ())
}

/// The epoch of a KIP-848 group: the number its generations go on from.
pub(crate) fn consumer_group_epoch(bytes: &[u8]) -> Result<Generation, SchemaFault> {
    let mut input = Input(bytes);
    let version = input.i16("value version")?;
    if version != CONSUMER_VERSION {
        return Err(SchemaFault::Version { what: "a KIP-848 group's value", version });
    }
    let epoch = input.i32("group epoch")?;
    input.skip_tagged_fields()?;
    input.end()?;
    Ok(Generation::new(epoch))
}
