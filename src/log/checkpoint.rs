//! Kafka's small text files, strictly parsed: the generic checkpoint and `partition.metadata`.
//!
//! A checkpoint is a version line `0`, a line with the number of entries, and one entry a line; a
//! file of no bytes stands for no entries. `leader-epoch-checkpoint` holds `<epoch> <start>`, the
//! checkpoints of a log directory's root `<topic> <partition> <offset>`. Whatever else a file
//! holds is a fault that names its line: half-understood numbers are worse than none.
//!
//! Parsing and formatting are pure. The file ends of both are thin: a file is replaced whole
//! (temporary file, sync, rename, sync directory), so a crash leaves the old or the new one.
//!
//! Called by the log for its own directory, by the engine for the root's exports.

use std::fmt;
use std::io;
use std::path::Path;

use crate::disk::Disk;
use crate::disk::names::PARTITION_METADATA;
use crate::disk::replace::{Beside, affirm_beside, read_file, replace_file, write_beside};
use crate::error::{Error, Result};
use crate::ids::{LeaderEpoch, Offset, PartitionId, TopicId};
use crate::segment::Place;

/// The largest file that is read whole: some five million lines of text. A root takes no more
/// partitions than its files have room for; epochs beyond it are learnt from the batches.
pub(crate) const MOST_SMALL: usize = 256 << 20;

pub(super) const WRITE_METADATA: &str = "write partition metadata";
pub(super) const WRITE_EPOCHS: &str = "write leader epoch checkpoint";

/// What is wrong with a text file, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub(crate) struct TextFault {
    /// The line to blame, counted from 1.
    pub(crate) line: usize,
    /// Where that line begins, in bytes.
    pub(crate) position: u64,
    /// What it should have been.
    pub(crate) what: &'static str,
}

impl TextFault {
    /// The error of a caller that read `path`.
    pub(crate) fn into_error(self, operation: &'static str, path: &Path) -> Error {
        Error::corrupt(operation, path, self.position, self.to_string())
    }
}

/// One line of a root checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OffsetLine {
    pub(crate) topic: String,
    pub(crate) partition: PartitionId,
    pub(crate) offset: Offset,
}

/// One line of `leader-epoch-checkpoint`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EpochLine {
    pub(crate) epoch: LeaderEpoch,
    pub(crate) start: Offset,
}

/// The lines of a text, with what a fault has to name.
struct Lines<'a> {
    rest: &'a str,
    line: usize,
    position: u64,
    next_position: u64,
}

impl<'a> Lines<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, TextFault> {
        let rest = std::str::from_utf8(bytes).map_err(|error| {
            let good = &bytes[..error.valid_up_to()];
            let line_start = good.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
            TextFault {
                line: 1 + good.iter().filter(|&&byte| byte == b'\n').count(),
                position: line_start as u64,
                what: "not UTF-8",
            }
        })?;
        Ok(Lines { rest, line: 0, position: 0, next_position: 0 })
    }

    /// The next line without its end, `None` after the last. The last one may lack its end, as it
    /// may in Kafka's own reader.
    fn next(&mut self) -> Option<&'a str> {
        self.line += 1;
        self.position = self.next_position;
        if self.rest.is_empty() {
            return None;
        }
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        self.next_position += (self.rest.len() - rest.len()) as u64;
        self.rest = rest;
        Some(line.strip_suffix('\r').unwrap_or(line))
    }

    fn fault(&self, what: &'static str) -> TextFault {
        TextFault { line: self.line, position: self.position, what }
    }
}

/// Parses a checkpoint whose lines `entry` understands.
fn parse_checkpoint<T>(
    bytes: &[u8],
    entry: impl Fn(&str) -> Result<T, &'static str>,
) -> Result<Vec<T>, TextFault> {
    let mut lines = Lines::new(bytes)?;
    let Some(version) = lines.next() else { return Ok(Vec::new()) };
    if version != "0" {
        return Err(lines.fault("expected version 0"));
    }
    let count = lines.next().and_then(number::<usize>);
    let count = count.ok_or_else(|| lines.fault("expected the number of entries"))?;
    let mut entries = Vec::with_capacity(count.min(bytes.len() / 4));
    while let Some(line) = lines.next() {
        if entries.len() == count {
            return Err(lines.fault("more entries than were announced"));
        }
        entries.push(entry(line).map_err(|what| lines.fault(what))?);
    }
    if entries.len() < count {
        return Err(lines.fault("fewer entries than were announced"));
    }
    Ok(entries)
}

/// A number written as Kafka writes it: digits, a minus where the type has one, nothing else.
fn number<N: std::str::FromStr>(text: &str) -> Option<N> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

fn offset(text: &str) -> Option<Offset> {
    number::<i64>(text).filter(|&number| number >= 0).map(Offset::new)
}

/// Formats a checkpoint of lines that display themselves.
fn format_checkpoint<L: fmt::Display>(lines: impl ExactSizeIterator<Item = L>) -> Vec<u8> {
    use std::fmt::Write as _;
    let mut text = format!("0\n{}\n", lines.len());
    for line in lines {
        let _ = writeln!(text, "{line}"); // writing into a String cannot fail
    }
    text.into_bytes()
}

/// Parses a root checkpoint: lines `<topic> <partition> <offset>`.
pub(crate) fn parse_offsets(bytes: &[u8]) -> Result<Vec<OffsetLine>, TextFault> {
    parse_checkpoint(bytes, |line| {
        const WHAT: &str = "expected `<topic> <partition> <offset>`";
        let mut words = line.split(' ');
        let (Some(topic), Some(partition), Some(at), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(WHAT);
        };
        let partition = number::<u32>(partition).filter(|&number| i32::try_from(number).is_ok());
        match (topic.is_empty(), partition, offset(at)) {
            (false, Some(partition), Some(offset)) => Ok(OffsetLine {
                topic: topic.to_owned(),
                partition: PartitionId::new(partition),
                offset,
            }),
            _ => Err(WHAT),
        }
    })
}

/// Formats a root checkpoint, in the order given.
pub(crate) fn format_offsets(lines: &[OffsetLine]) -> Vec<u8> {
    format_checkpoint(
        lines.iter().map(|line| format!("{} {} {}", line.topic, line.partition, line.offset)),
    )
}

/// Parses `leader-epoch-checkpoint`: lines `<epoch> <start offset>`.
///
/// Order is not judged here: the epoch cache knows what to make of epochs that do not rise.
pub(crate) fn parse_epochs(bytes: &[u8]) -> Result<Vec<EpochLine>, TextFault> {
    parse_checkpoint(bytes, |line| {
        let parsed = line.split_once(' ').and_then(|(epoch, start)| {
            let epoch = number::<i32>(epoch).and_then(LeaderEpoch::from_wire)?;
            Some(EpochLine { epoch, start: offset(start)? })
        });
        parsed.ok_or("expected `<epoch> <start offset>`")
    })
}

/// Formats `leader-epoch-checkpoint`, in the order given.
pub(crate) fn format_epochs(lines: &[EpochLine]) -> Vec<u8> {
    format_checkpoint(lines.iter().map(|line| format!("{} {}", line.epoch, line.start)))
}

/// Parses `partition.metadata`.
pub(crate) fn parse_partition_metadata(bytes: &[u8]) -> Result<TopicId, TextFault> {
    let mut lines = Lines::new(bytes)?;
    if lines.next() != Some("version: 0") {
        return Err(lines.fault("expected `version: 0`"));
    }
    let id = lines.next().and_then(|line| line.strip_prefix("topic_id: "));
    let id = id.and_then(|text| text.parse::<TopicId>().ok());
    let id = id.ok_or_else(|| lines.fault("expected `topic_id: ` and a topic id"))?;
    match lines.next() {
        None => Ok(id),
        Some(_) => Err(lines.fault("expected the end of the file")),
    }
}

/// Formats `partition.metadata`, which ends without a line end.
pub(crate) fn format_partition_metadata(id: TopicId) -> Vec<u8> {
    format!("version: 0\ntopic_id: {id}").into_bytes()
}

/// The bytes of a small file, `None` where there is none; one beyond all reason is corrupt.
pub(crate) fn read_small_file(
    disk: &dyn Disk,
    path: &Path,
    operation: &'static str,
) -> Result<Option<Vec<u8>>> {
    read_file(disk, path, MOST_SMALL).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => Error::corrupt(operation, path, 0, error.to_string()),
        _ => Error::io(operation, path, error),
    })
}

/// The entries of a `leader-epoch-checkpoint`; none where the file is missing.
pub(crate) fn read_epochs(disk: &dyn Disk, path: &Path) -> Result<Vec<EpochLine>> {
    const OPERATION: &str = "read leader epoch checkpoint";
    let bytes = read_small_file(disk, path, OPERATION)?.unwrap_or_default();
    parse_epochs(&bytes).map_err(|fault| fault.into_error(OPERATION, path))
}

/// Replaces a `leader-epoch-checkpoint`; durable once the caller has synced the directory.
pub(crate) fn write_epochs(disk: &dyn Disk, path: &Path, lines: &[EpochLine]) -> Result<()> {
    put_beside(disk, WRITE_EPOCHS, write_epochs_beside(disk, path, lines)?)
}

/// Writes what is to replace it, and no more.
pub(super) fn write_epochs_beside(
    disk: &dyn Disk,
    path: &Path,
    lines: &[EpochLine],
) -> Result<Beside> {
    write_beside(disk, path, &format_epochs(lines))
        .map_err(|error| Error::io(WRITE_EPOCHS, path, error))
}

/// Puts a checkpoint or metadata in place; durable once the caller has synced the directory.
pub(super) fn put_beside(disk: &dyn Disk, operation: &'static str, beside: Beside) -> Result<()> {
    let path = beside.path().to_owned();
    beside.put(disk).map_err(|error| Error::io(operation, &path, error))
}

/// The topic id in a `partition.metadata`, `None` where the file is missing.
pub(crate) fn read_partition_metadata(disk: &dyn Disk, path: &Path) -> Result<Option<TopicId>> {
    const OPERATION: &str = "read partition metadata";
    let Some(bytes) = read_small_file(disk, path, OPERATION)? else { return Ok(None) };
    let id = parse_partition_metadata(&bytes);
    id.map(Some).map_err(|fault| fault.into_error(OPERATION, path))
}

/// Whether a log's `partition.metadata` is there and names the topic. It is not synced before the
/// names are: a power cut may have torn or taken it.
pub(super) fn names_topic(place: &Place, topic: TopicId) -> bool {
    let path = place.dir.join(PARTITION_METADATA);
    read_partition_metadata(&*place.disk, &path).is_ok_and(|found| found == Some(topic))
}

/// Replaces a `partition.metadata`; durable when it returns.
pub(crate) fn write_partition_metadata(disk: &dyn Disk, path: &Path, id: TopicId) -> Result<()> {
    replace_file(disk, path, &format_partition_metadata(id))
        .map_err(|error| Error::io(WRITE_METADATA, path, error))
}

/// The same; durable once the caller has synced the directory. Where the file holds the id
/// already, a full disk does not stand in the way.
pub(crate) fn affirm_partition_metadata_name_later(
    disk: &dyn Disk,
    path: &Path,
    id: TopicId,
) -> Result<()> {
    put_beside(disk, WRITE_METADATA, write_partition_metadata_beside(disk, path, id)?)
}

/// Writes what is to replace it, or it again, and no more.
pub(super) fn write_partition_metadata_beside(
    disk: &dyn Disk,
    path: &Path,
    id: TopicId,
) -> Result<Beside> {
    affirm_beside(disk, path, &format_partition_metadata(id))
        .map_err(|error| Error::io(WRITE_METADATA, path, error))
}

#[cfg(test)]
mod tests;
