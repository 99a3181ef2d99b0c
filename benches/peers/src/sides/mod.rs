//! Who is compared, each behind one small trait and driven as its own documentation advises.
//!
//! A side promises what it promises: `Neighbour` says in words what it checks when it reads, what
//! its plain append survives and what its synced append does. It takes part in the workloads that
//! it can do with that promise, and in no others. krabka-log needs a newer compiler than the rest:
//! `--features krabka`.

mod batches;
mod commitlog;
mod fjall;
#[cfg(feature = "krabka")]
mod krabka;
mod okaywal;
mod raft_engine;
pub mod raw;
mod receipts;
mod redb;
mod tidelog;
mod walrus;

use std::path::Path;

/// Streams of values in one directory, by number. Everything panics on failure.
pub trait Side: Send + Sync {
    /// Appends one value with the plain promise.
    fn append(&self, topic: usize, value: &[u8]);

    /// Appends values as one call, however the side does that.
    fn append_many(&self, topic: usize, values: &[&[u8]]) {
        values.iter().for_each(|value| self.append(topic, value));
    }

    /// Appends one value and returns when it is on the device.
    fn append_synced(&self, _topic: usize, _value: &[u8]) {
        unreachable!("the side does not take part")
    }

    /// Appends values one at a time, to be awaited together; returns when all are appended.
    fn linger(&self, _values: &mut dyn Iterator<Item = &'static [u8]>) {
        unreachable!("the side does not take part")
    }

    /// Hands every value of a stream to `each`, in order, from the first.
    fn read(&self, topic: usize, each: &mut dyn FnMut(&[u8]));

    /// Whether `read` can be called more than once.
    fn rereads(&self) -> bool {
        true
    }
}

/// What a side is to do in the directory it opens.
pub struct Job<'a> {
    pub dir: &'a Path,
    pub topics: usize,
    /// More bytes than any log needs for its values of a topic.
    pub room: usize,
    /// Whether appends are to be synced.
    pub synced: bool,
}

type Open = fn(&Job<'_>) -> Box<dyn Side>;

pub struct Neighbour {
    pub name: &'static str,
    /// What is compared with a checksum on reading.
    pub checks: &'static str,
    /// What a plain append survives.
    pub plain: &'static str,
    /// What a synced append does.
    pub synced: &'static str,
    /// The workloads it takes part in.
    pub works: &'static [&'static str],
    pub open: Open,
}

const ALL: &[&str] = &[
    "single100",
    "many100",
    "batch1k",
    "threads2",
    "threads16",
    "sync1",
    "sync16",
    "sync64",
    "synctopics",
    "topics1000",
];

pub const NEIGHBOURS: &[Neighbour] = &[
    Neighbour {
        name: "tidelog",
        checks: "CRC-32C a batch, offsets, epochs",
        plain: "kill -9; synced in the background",
        synced: "fdatasync, grouped; journal",
        works: &[
            "single100",
            "many100",
            "linger100",
            "batch1k",
            "threads2",
            "threads16",
            "sync1",
            "sync16",
            "sync64",
            "synctopics",
            "topics1000",
            "topics10000",
        ],
        open: tidelog::open,
    },
    Neighbour {
        name: "walrus 0.2 mmap",
        checks: "FNV-64 an entry",
        plain: "kill -9; synced every 200 ms",
        synced: "msync each",
        works: &["single100", "many100", "batch1k", "threads2", "sync1", "topics1000"],
        open: walrus::open_mapped,
    },
    Neighbour {
        name: "walrus 0.2 fd",
        checks: "FNV-64 an entry",
        plain: "kill -9; synced every 200 ms",
        synced: "O_SYNC, fsync each",
        works: &["single100", "many100", "batch1k", "threads2", "sync1", "topics1000"],
        open: walrus::open_by_position,
    },
    Neighbour {
        name: "commitlog 0.2",
        checks: "CRC-32C a message",
        plain: "kill -9; never synced",
        synced: "none: its flush does not sync",
        works: &["single100", "many100", "batch1k", "threads2", "threads16", "topics1000"],
        open: commitlog::open,
    },
    #[cfg(feature = "krabka")]
    Neighbour {
        name: "krabka-log 1",
        checks: "CRC-32C a batch",
        plain: "kill -9; never synced by itself",
        synced: "fsync of every segment",
        works: &["single100", "many100", "batch1k", "threads2", "sync1"],
        open: krabka::open,
    },
    Neighbour {
        name: "raft-engine 0.4",
        checks: "CRC-32 a batch",
        plain: "kill -9; synced when a file is full",
        synced: "fdatasync, grouped",
        works: ALL,
        open: raft_engine::open,
    },
    Neighbour {
        name: "okaywal 0.3",
        checks: "CRC-32 a chunk",
        plain: "none: it always syncs",
        synced: "fdatasync, grouped",
        works: &["sync1", "sync16", "sync64"],
        open: okaywal::open,
    },
    Neighbour {
        name: "fjall 3",
        checks: "xxh3 a block",
        plain: "kill -9; synced when a journal is full",
        synced: "fdatasync",
        works: ALL,
        open: fjall::open,
    },
    Neighbour {
        name: "redb 4",
        checks: "xxh3 of the tree, at repair",
        plain: "none: what is not synced is lost",
        synced: "fdatasync",
        works: &["batch1k", "sync1", "sync16"],
        open: redb::open,
    },
    Neighbour {
        name: "raw map",
        checks: "CRC-32C a frame",
        plain: "kill -9; never synced",
        synced: "-",
        works: &["single100", "many100"],
        open: raw::open_map,
    },
    Neighbour {
        name: "raw pwrite",
        checks: "CRC-32C a frame",
        plain: "kill -9; never synced",
        synced: "fdatasync of overwritten space",
        works: &["single100", "many100", "batch1k", "sync1"],
        open: raw::open_file,
    },
    Neighbour {
        name: "raw pwrite, new pages",
        checks: "CRC-32C a frame",
        plain: "kill -9; never synced",
        synced: "-",
        works: &["many100", "batch1k"],
        open: raw::open_new_file,
    },
    Neighbour {
        name: "raw batches, warm",
        checks: "CRC-32C a batch",
        plain: "kill -9; never synced",
        synced: "-",
        works: &["single100", "linger100", "topics1000", "topics10000"],
        open: batches::open_warm,
    },
    Neighbour {
        name: "raw batches, new pages",
        checks: "CRC-32C a batch",
        plain: "kill -9; never synced",
        synced: "-",
        works: &["single100", "linger100"],
        open: batches::open_new,
    },
    Neighbour {
        name: "raw batches, receipts",
        checks: "CRC-32C a batch",
        plain: "kill -9; never synced",
        synced: "-",
        works: &["linger100"],
        open: receipts::open,
    },
];
