//! The records of `__dead_letters`, in bytes of our own: which records of a partition were moved.
//!
//! Key of version 0: the version (two bytes), who moves (a byte: 0 a share group that buries, with
//! its name as a string behind it; 1 a redrive), topic id, partition. Value of version 0: the
//! version, the leader epoch of the last record (-1 for none), a count, and as many first and last
//! offsets. A tombstone says that it is known elsewhere. Everything is big-endian.
//!
//! Rules against foreign bytes are those of `state_log::wire`. Called by `coordinator`.

use std::sync::Arc;

use super::coordinator::{Moved, MovedFrom};
use crate::error::Result;
use crate::ids::{LeaderEpoch, TopicId};
use crate::state_log::runs::Runs;
use crate::state_log::wire::{Input, SchemaFault, put_string};

const VERSION: i16 = 0;
const BURIED: i8 = 0;
const REDRIVEN: i8 = 1;

impl MovedFrom {
    /// Fails for a name longer than the format holds.
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let mut bytes = VERSION.to_be_bytes().to_vec();
        match &self.group {
            Some(group) => {
                bytes.extend_from_slice(&BURIED.to_be_bytes());
                put_string(&mut bytes, "group name", group)?;
            }
            None => bytes.extend_from_slice(&REDRIVEN.to_be_bytes()),
        }
        bytes.extend_from_slice(self.topic.as_bytes());
        bytes.extend_from_slice(&self.partition.get().to_be_bytes());
        Ok(bytes)
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, SchemaFault> {
        let mut input = Input(bytes);
        let version = input.i16("key version")?;
        if version != VERSION {
            return Err(SchemaFault::Version { what: "a key of moved records", version });
        }
        let group = match input.i8("who moves")? {
            BURIED => Some(Arc::from(input.string("group")?)),
            REDRIVEN => None,
            other => {
                return Err(SchemaFault::Number { field: "who moves", number: other.into() });
            }
        };
        let mut id = [0; 16];
        id.copy_from_slice(input.take("topic id", 16)?);
        let none = SchemaFault::Number { field: "topic id", number: 0 };
        let topic = TopicId::from_bytes(id).ok_or(none)?;
        let partition = input.partition()?;
        input.end()?;
        Ok(MovedFrom { group, topic, partition })
    }
}

impl Moved {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = VERSION.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.epoch.map_or(-1, LeaderEpoch::get).to_be_bytes());
        // there is a bound on how many are written
        let count = i32::try_from(self.runs.len()).unwrap_or(i32::MAX);
        bytes.extend_from_slice(&count.to_be_bytes());
        for (first, last, ()) in self.runs.iter() {
            bytes.extend_from_slice(&first.to_be_bytes());
            bytes.extend_from_slice(&last.to_be_bytes());
        }
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, SchemaFault> {
        let mut input = Input(bytes);
        let version = input.i16("value version")?;
        if version != VERSION {
            return Err(SchemaFault::Version { what: "moved records", version });
        }
        let epoch = LeaderEpoch::from_wire(input.i32("leader epoch")?);
        let mut runs = Runs::default();
        for _ in 0..input.i32("count of ranges")?.max(0) {
            let (first, last) = (input.i64("first offset")?, input.i64("last offset")?);
            if first < 0 || last < first || last == i64::MAX {
                return Err(SchemaFault::Number { field: "last offset", number: last });
            }
            runs.set(first, last, ());
        }
        input.end()?;
        Ok(Moved { runs, epoch })
    }
}

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz {
    //! Keys and values from foreign bytes: written again they read the same.

    use super::*;
    use crate::ids::PartitionId;

    /// The first byte chooses; the rest is a key or a value.
    pub(crate) fn schema(bytes: &[u8]) {
        let Some((kind, bytes)) = bytes.split_first() else { return };
        if kind & 1 == 0 {
            if let Ok(key) = MovedFrom::parse(bytes) {
                assert_eq!(key.encode().expect("it was a key"), bytes);
            }
        } else if let Ok(moved) = Moved::parse(bytes) {
            assert_eq!(Moved::parse(&moved.encode()), Ok(moved));
        }
    }

    /// Inputs of `schema`: what is written here.
    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        let topic = TopicId::from_bytes([7; 16]).expect("not nil");
        let mut runs = Runs::default();
        runs.set(3, 9, ());
        runs.set(12, 12, ());
        let moved = Moved { runs, epoch: LeaderEpoch::from_wire(2) };
        let mut all = vec![[&[1], &moved.encode()[..]].concat()];
        for group in [None, Some(Arc::from("g"))] {
            let key = MovedFrom { group, topic, partition: PartitionId::new(3) };
            all.push([&[0], &key.encode().expect("short")[..]].concat());
        }
        all
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::fuzz;

    #[test]
    fn bytes_are_read_as_they_were_written() {
        for seed in fuzz::seeds() {
            fuzz::schema(&seed);
            (0..seed.len()).for_each(|len| fuzz::schema(&seed[..len]));
            for at in 1..seed.len() {
                for value in [0, 1, 0x7f, 0x80, 0xff] {
                    let mut bytes = seed.clone();
                    bytes[at] = value;
                    fuzz::schema(&bytes);
                }
            }
        }
    }
}
