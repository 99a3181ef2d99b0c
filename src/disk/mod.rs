//! All input and output, mappings included, behind one object-safe trait family.
//!
//! Nothing above this floor touches `std::fs`. The family has three forms that promise the same:
//! [`RealDisk`] (mapped or positioned), [`MemoryDisk`], and with the feature `sim` a simulated
//! disk that loses what was not synced. The traits are sealed in 0.x: hosts choose a disk, they do
//! not write one.
//!
//! What a disk promises: a byte written is read back by every later read of any handle; what
//! `sync_data` covered, with the file's length, survives a power cut once it returned; a name
//! survives once `sync_dir` of its directory returned. After a failed sync nothing unsynced may be
//! believed: callers latch that failure and never sync again to hide it.
//!
//! The whole of the crate's `unsafe` lies in `island`, below this module.

use std::io;

pub(crate) mod copy;
pub(crate) mod directory;
mod family;
mod file_range;
mod fork;
#[cfg(target_os = "linux")]
mod island;
pub(crate) mod latch;
mod memory;
pub(crate) mod names;
mod near;
mod real;
pub(crate) mod replace;
#[cfg(feature = "sim")]
mod sim;
mod tail;
#[cfg(test)]
mod tests;
mod windows;

#[cfg(not(target_os = "linux"))]
pub(crate) use crc32c::{crc32c as crc32c_of, crc32c_append};
pub use family::{Access, DirLock, Disk, DiskFile, Entry, IoMode, MapReader, Metadata, TailMap};
pub use file_range::FileRange;
pub use fork::ForkCheck;
#[cfg(target_os = "linux")]
pub(crate) use island::checksum::{crc32c_append, crc32c_of};
#[cfg(all(test, target_os = "linux"))]
pub(crate) use island::in_forked_child;
pub use memory::MemoryDisk;
pub(crate) use near::{Near, SharedNear};
pub use real::RealDisk;
pub(crate) use real::{tells_time_by_ticks, ticks};
#[cfg(feature = "sim")]
pub use sim::{Crash, Fault, Moment, Operation, Plan, SimDisk};
#[cfg(test)]
pub(crate) use tail::LARGEST_MAP;
pub use windows::Windows;

pub(crate) mod sealed {
    /// Keeps the family closed to other crates.
    pub trait Sealed {}
}

/// Writes all of `bytes` at `position`, over short writes and interruptions.
///
/// On an error some of the bytes may have been written.
pub(crate) fn write_all_at(file: &dyn DiskFile, bytes: &[u8], position: u64) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match file.write_at(&bytes[done..], position + done as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The same of pieces that follow each other.
pub(crate) fn write_all_pieces_at(
    file: &dyn DiskFile,
    mut pieces: &mut [io::IoSlice<'_>],
    position: u64,
) -> io::Result<()> {
    let mut at = position;
    io::IoSlice::advance_slices(&mut pieces, 0); // those that are empty in front
    while !pieces.is_empty() {
        match file.write_pieces_at(pieces, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                at += count as u64;
                io::IoSlice::advance_slices(&mut pieces, count);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads from `position` until `buffer` is full or the file ends; returns how many bytes.
pub(crate) fn read_full_at(
    file: &dyn DiskFile,
    buffer: &mut [u8],
    position: u64,
) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], position + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
