//! What a log that was opened alone remembers: one file, `tidelog.keeper`, of two slots.
//!
//! Each slot holds everything, with a sequence number and a checksum; a write goes to the slot
//! that is not the newest synced one, so a torn one leaves the other standing. Layout, big-endian:
//!
//! ```text
//! 0  magic "TDLK"   4  version u32   8  sequence u64   16 topic id 16 bytes
//! 32 recovery point i64   40 log start i64   48 leader epoch i32
//! 52 state u8   53 gaps u8   54 sync failed u8   55 led by the host u8
//! 56 boot id 16 bytes     72 crc32c of bytes 0..72
//! 76 high watermark i64   84 crc32c of bytes 0..84
//! ```
//!
//! A directory without the file was written by another hand. One whose file has no whole slot is
//! damaged: an error, never another hand's. Version 1 ends at byte 76, and its log leads itself.

use std::path::{Path, PathBuf};

use byteorder::{BigEndian, ByteOrder as _};

use super::keeper::{Durable, Keeper, LogFact, LogId};
use crate::disk::copy::own;
use crate::disk::latch::Latch;
use crate::disk::names::KEEPER;
use crate::disk::replace::{parent, read_file, replace_file};
use crate::disk::{Access, Disk, DiskFile, write_all_at};
use crate::error::{Cause, Error, Outcome, Result};
use crate::ids::{LeaderEpoch, Offset, TopicId};
use crate::sync::Mutex;
use std::sync::Arc;

const MAGIC: [u8; 4] = *b"TDLK";
const VERSION: u32 = 2;
/// Slots lie a sector apart, so that one torn sector never holds both.
pub(super) const SLOT_DISTANCE: usize = 512;
pub(super) const CRC_AT: usize = 72;
const WATERMARK_AT: usize = CRC_AT + 4;
pub(super) const LAST_CRC_AT: usize = WATERMARK_AT + 8;
pub(super) const SLOT_LEN: usize = LAST_CRC_AT + 4;
/// A slot of version 1.
const FIRST_SLOT_LEN: usize = WATERMARK_AT;
const FILE_LEN: usize = SLOT_DISTANCE + SLOT_LEN;

/// Sequences stay far from overflowing their arithmetic.
const MAX_SEQUENCE: u64 = 1 << 62;

const STATE_OPEN: u8 = 0;
const STATE_CLEAN: u8 = 1;

const WRITE: &str = "write keeper file";

const ADOPTED: u8 = 1;
const SPARSE: u8 = 2;

/// Everything a lone log remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) topic: TopicId,
    pub(super) recovery_point: Offset,
    pub(super) log_start: Offset,
    pub(super) epoch: LeaderEpoch,
    pub(super) clean: bool,
    /// Another hand wrote the log's first records: there may be gaps between offsets.
    pub(super) adopted: bool,
    /// A leader may have left gaps anywhere, above the recovery point too.
    pub(super) sparse: bool,
    /// A sync has failed since the log was opened.
    pub(super) sync_failed: bool,
    pub(super) boot_id: [u8; 16],
    /// The high watermark, where the host leads the log.
    pub(super) host_led: Option<Offset>,
}

impl Slot {
    pub(super) fn encode(&self, sequence: u64) -> [u8; SLOT_LEN] {
        let mut bytes = [0; SLOT_LEN];
        bytes[0..4].copy_from_slice(&MAGIC);
        BigEndian::write_u32(&mut bytes[4..8], VERSION);
        BigEndian::write_u64(&mut bytes[8..16], sequence);
        bytes[16..32].copy_from_slice(self.topic.as_bytes());
        BigEndian::write_i64(&mut bytes[32..40], self.recovery_point.get());
        BigEndian::write_i64(&mut bytes[40..48], self.log_start.get());
        BigEndian::write_i32(&mut bytes[48..52], self.epoch.get());
        bytes[52] = if self.clean { STATE_CLEAN } else { STATE_OPEN };
        bytes[53] = (u8::from(self.adopted) * ADOPTED) | (u8::from(self.sparse) * SPARSE);
        bytes[54] = u8::from(self.sync_failed);
        bytes[55] = u8::from(self.host_led.is_some());
        bytes[56..72].copy_from_slice(&self.boot_id);
        let crc = crc32c::crc32c(&bytes[..CRC_AT]);
        BigEndian::write_u32(&mut bytes[CRC_AT..WATERMARK_AT], crc);
        let watermark = self.host_led.unwrap_or(Offset::ZERO);
        BigEndian::write_i64(&mut bytes[WATERMARK_AT..LAST_CRC_AT], watermark.get());
        let crc = crc32c::crc32c(&bytes[..LAST_CRC_AT]);
        BigEndian::write_u32(&mut bytes[LAST_CRC_AT..], crc);
        bytes
    }

    /// A whole slot with its sequence; `Err` holds a version that is newer than ours.
    pub(super) fn decode(bytes: &[u8]) -> Result<Option<(u64, Slot)>, u32> {
        if bytes.len() < FIRST_SLOT_LEN || bytes[0..4] != MAGIC {
            return Ok(None);
        }
        let fits = |at: usize| BigEndian::read_u32(&bytes[at..]) == crc32c::crc32c(&bytes[..at]);
        if !fits(CRC_AT) {
            return Ok(None);
        }
        let version = BigEndian::read_u32(&bytes[4..8]);
        if version > VERSION {
            return Err(version);
        }
        if version > 1 && (bytes.len() < SLOT_LEN || !fits(LAST_CRC_AT)) {
            return Ok(None);
        }
        let host_led = version > 1 && bytes[55] != 0;
        let id = <[u8; 16]>::try_from(&bytes[16..32]).ok().and_then(TopicId::from_bytes);
        let boot_id = <[u8; 16]>::try_from(&bytes[56..72]);
        let (Some(topic), Ok(boot_id)) = (id, boot_id) else { return Ok(None) };
        let slot = Slot {
            topic,
            recovery_point: Offset::new(BigEndian::read_i64(&bytes[32..40])),
            log_start: Offset::new(BigEndian::read_i64(&bytes[40..48])),
            epoch: LeaderEpoch::new(BigEndian::read_i32(&bytes[48..52])),
            clean: bytes[52] == STATE_CLEAN,
            adopted: bytes[53] & ADOPTED != 0,
            sparse: bytes[53] & SPARSE != 0,
            sync_failed: bytes[54] != 0,
            boot_id,
            host_led: host_led.then(|| Offset::new(BigEndian::read_i64(&bytes[WATERMARK_AT..]))),
        };
        let sequence = BigEndian::read_u64(&bytes[8..16]);
        let sane = slot.recovery_point >= Offset::ZERO
            && slot.log_start >= Offset::ZERO
            && slot.epoch.get() >= 0
            && slot.host_led.is_none_or(|watermark| watermark >= Offset::ZERO)
            && sequence < MAX_SEQUENCE;
        Ok(sane.then_some((sequence, slot)))
    }
}

/// Reads the slots of a directory: `None` where there is no file.
pub(super) fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<(u64, Slot)>> {
    const OPERATION: &str = "read keeper file";
    let path = dir.join(KEEPER);
    let bytes = read_file(disk, &path, FILE_LEN).map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => Error::corrupt(OPERATION, &path, 0, error.to_string()),
        _ => Error::io(OPERATION, &path, error),
    })?;
    let Some(bytes) = bytes else { return Ok(None) };
    let second = bytes.get(SLOT_DISTANCE..).unwrap_or(&[]);
    let mut newest = None;
    for half in [&bytes[..], second] {
        let slot = Slot::decode(half).map_err(|found| {
            Error::new(OPERATION, Cause::NewerVersion { found, known: VERSION }).at_path(&path)
        })?;
        newest = newest.max_by_sequence(slot);
    }
    match newest {
        Some(newest) => Ok(Some(newest)),
        None => Err(Error::corrupt(OPERATION, &path, 0, "no slot is whole")),
    }
}

trait MaxBySequence {
    fn max_by_sequence(self, other: Self) -> Self;
}

impl MaxBySequence for Option<(u64, Slot)> {
    fn max_by_sequence(self, other: Self) -> Self {
        match (self, other) {
            (Some(one), Some(two)) => Some(if two.0 > one.0 { two } else { one }),
            (one, two) => one.or(two),
        }
    }
}

/// Where the slot of a sequence number lies: the two take turns.
fn slot_at(sequence: u64) -> usize {
    if sequence.is_multiple_of(2) { 0 } else { SLOT_DISTANCE }
}

/// What was written last.
#[derive(Clone, Copy, Debug)]
struct Kept {
    sequence: u64,
    slot: Slot,
    /// A sync has covered it.
    synced: bool,
    /// Nothing is recorded any more.
    ended: bool,
}

/// The keeper of a lone log.
#[derive(Debug)]
pub(super) struct SlotKeeper {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    kept: Mutex<Kept>,
    /// A failed sync leaves both slots in doubt: nothing is recorded behind it.
    latch: Latch,
}

impl SlotKeeper {
    /// Begins a new file; durable when it returns.
    pub(super) fn create(disk: &dyn Disk, dir: &Path, slot: Slot) -> Result<Self> {
        // whole or not there at all: a file without a whole slot stands for damage
        let mut bytes = vec![0; FILE_LEN];
        let at = slot_at(1);
        bytes[at..at + SLOT_LEN].copy_from_slice(&slot.encode(1));
        let path = dir.join(KEEPER);
        replace_file(disk, &path, &bytes)
            .map_err(|error| Error::io("make keeper file", &path, error))?;
        SlotKeeper::open(disk, dir, 1, slot)
    }

    /// Goes on with what was read, durable when it returns: whoever wrote it may have been killed
    /// before it synced the slot or the names. The slot is written again as it is, in its place,
    /// so that the other one stands until then.
    pub(super) fn resume(disk: &dyn Disk, dir: &Path, sequence: u64, slot: Slot) -> Result<Self> {
        let keeper = SlotKeeper::open(disk, dir, sequence, slot)?;
        let fail = |error| Error::io(WRITE, &keeper.path, error);
        write_all_at(&*keeper.file, &slot.encode(sequence), slot_at(sequence) as u64)
            .and_then(|()| keeper.file.sync_data())
            .and_then(|()| disk.sync_dir(dir))
            .map_err(fail)?;
        Ok(keeper)
    }

    fn open(disk: &dyn Disk, dir: &Path, sequence: u64, slot: Slot) -> Result<Self> {
        let path = dir.join(KEEPER);
        let open = || {
            disk.sync_dir(parent(dir))?;
            own(disk, &path)?;
            disk.open(&path, Access::Write)
        };
        let file = open().map_err(|error| Error::io("open keeper file", &path, error))?;
        let kept = Mutex::new(Kept { sequence, slot, synced: true, ended: false });
        Ok(SlotKeeper { path, file, kept, latch: Latch::default() })
    }

    /// Draws an epoch above `latest` and every one that was drawn before; durable when it returns.
    pub(super) fn draw_epoch(&self, latest: Option<LeaderEpoch>) -> Result<LeaderEpoch> {
        let drawn = self.kept.lock().slot.epoch;
        let epoch = next_epoch(Some(drawn).max(latest)).map_err(|it| it.at_path(&self.path))?;
        let recorded = self.update(Durable::Now, |slot| slot.epoch = epoch);
        recorded.map_err(epoch_of_nobody)?;
        Ok(epoch)
    }

    /// Changes what is kept and writes it over the slot that is not the newest durable one: one
    /// whole slot always stands, however many writes go unsynced.
    pub(super) fn update(&self, durable: Durable, change: impl FnOnce(&mut Slot)) -> Result<()> {
        let mut kept = self.kept.lock();
        self.check()?; // only now: whoever had the lock before may have failed
        if kept.ended {
            return Err(Error::new(WRITE, Cause::Closed("the log")).at_path(&self.path));
        }
        let mut slot = kept.slot;
        change(&mut slot);
        let sequence = kept.sequence + if kept.synced { 1 } else { 2 };
        let fail = |error| Error::io(WRITE, &self.path, error);
        let at = slot_at(sequence) as u64;
        write_all_at(&*self.file, &slot.encode(sequence), at).map_err(fail)?;
        if durable == Durable::Now
            && let Err(error) = self.file.sync_data().map_err(fail)
        {
            self.latch.trip(&error);
            // a kill leaves the slot that was written, a power cut may not
            return Err(error.with_outcome(Outcome::Unknown));
        }
        *kept = Kept { sequence, slot, synced: durable == Durable::Now, ended: kept.ended };
        Ok(())
    }

    /// Fails if a sync of the file has failed: what it holds is not known any more.
    pub(super) fn check(&self) -> Result<()> {
        self.latch.check(WRITE)
    }

    /// Records nothing more: the log is closed, and its directory may become another process's.
    pub(super) fn end(&self) {
        self.kept.lock().ended = true;
    }
}

/// An epoch above every one that was ever used here.
pub(super) fn next_epoch(latest: Option<LeaderEpoch>) -> Result<LeaderEpoch> {
    let next = latest.map_or(Some(0), |latest| latest.get().checked_add(1));
    next.map(LeaderEpoch::new).ok_or_else(|| {
        let why = "its leader epochs are used up: none lies above 2147483647".to_owned();
        Error::new("open log", Cause::Unsupported(why))
    })
}

/// What drawing an epoch fails with: one that nobody got means nothing, recorded or not. A keeper
/// that has failed for good says so, whatever it failed of: a full disk that a sync has met is no
/// reason to try again.
pub(crate) fn epoch_of_nobody(error: Error) -> Error {
    match error.outcome() {
        Outcome::NotWritten => error,
        _ => Error::new("draw leader epoch", Cause::Poisoned(error.to_string().into())),
    }
}

impl Keeper for SlotKeeper {
    fn record(&self, facts: &[(LogId, LogFact)], durable: Durable) -> Result<()> {
        self.update(durable, |slot| {
            for (_, fact) in facts {
                match fact {
                    LogFact::RecoveryPoint(point) => {
                        slot.recovery_point = slot.recovery_point.max(*point);
                    }
                    LogFact::Lowered(point) => {
                        slot.recovery_point = slot.recovery_point.min(*point);
                        slot.host_led = slot.host_led.map(|watermark| watermark.min(*point));
                    }
                    LogFact::LogStart(start) => slot.log_start = *start,
                    // a slot has one word for gaps: they are no damage, wherever they are
                    LogFact::Compacted(_) => slot.adopted = true,
                    LogFact::Sparse(_) => slot.sparse = true,
                    LogFact::HighWatermark(watermark) => {
                        slot.host_led = slot.host_led.map(|_| *watermark);
                    }
                    // until the next open has put fresh files in place
                    LogFact::SyncFailed(_) => slot.sync_failed = true,
                }
            }
        })
    }
}

#[cfg(test)]
mod tests;
