//! Fuzz targets of a log's small files: Kafka's text checkpoints, the epochs they hold, the keeper,
//! what vouches for indexes of transactions; and of what a leader sends.
//!
//! What is understood is written and read again as the same; what is not is refused at a line of
//! the file. The keeper's slots are taken with their checksums mended, and gone on with. A leader's
//! bytes are taken whole or not at all, and what they tell of producers outlives a close.
//!
//! Called by `crate::fuzzing`.

use std::path::Path;
use std::sync::Arc;

use super::aborted_vouch;
use super::checkpoint::{
    TextFault, format_epochs, format_offsets, format_partition_metadata, parse_epochs,
    parse_offsets, parse_partition_metadata,
};
use super::door::Log;
use super::epochs::EpochCache;
use super::keeper::{Durable, LogId};
use super::slots::{self, CRC_AT, LAST_CRC_AT, SLOT_DISTANCE, SLOT_LEN, Slot, SlotKeeper};
use crate::config::Leadership;
use crate::disk::names::KEEPER;
use crate::disk::{Access, Disk, MemoryDisk, write_all_at};
use crate::error::ErrorKind;
use crate::feed::Feed;
use crate::ids::{LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, Sequence, TopicId};
use crate::record::fuzz::{batch_seeds, mend_all};
use crate::record::{MarkerKind, ProducerIdentity, Record};
use crate::time::{ManualClock, Timestamp};

/// A text that is understood reads the same when it is written again.
fn text<T: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    parse: impl Fn(&[u8]) -> Result<T, TextFault>,
    format: impl Fn(&T) -> Vec<u8>,
) -> Option<T> {
    match parse(bytes) {
        Ok(read) => {
            let again = format(&read);
            assert_eq!(parse(&again).as_ref(), Ok(&read), "it reads as it was written");
            assert_eq!(format(&read), again);
            Some(read)
        }
        Err(TextFault { line, position, .. }) => {
            let position = usize::try_from(position).expect("within the file");
            assert!(position <= bytes.len(), "the fault lies in the file");
            let before = bytes[..position].iter().filter(|byte| **byte == b'\n').count();
            assert!(before < line && line <= before + 2, "line {line} is at {position}");
            None
        }
    }
}

/// The root's checkpoints and `partition.metadata`.
pub(crate) fn checkpoints(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else { return };
    match kind & 1 {
        0 => {
            let lines = text(bytes, parse_offsets, |lines| format_offsets(lines));
            let mut lines = lines.unwrap_or_default().into_iter();
            assert!(lines.all(|line| line.offset >= Offset::ZERO && !line.topic.is_empty()));
        }
        _ => drop(text(bytes, parse_partition_metadata, |id| format_partition_metadata(*id))),
    }
}

/// `leader-epoch-checkpoint`, and the cache of it and of epochs that a scan has met.
pub(crate) fn epochs(input: &[u8]) {
    let mut feed = Feed::new(input);
    let start = Offset::new(i64::from(feed.short()));
    let end = Offset::new(start.get() + i64::from(feed.short()));
    let scanned: Vec<_> = (0..feed.byte() & 7)
        .map(|_| (LeaderEpoch::new(i32::from(feed.byte())), Offset::new(feed.short().into())))
        .collect();
    let lines = text(feed.rest(), parse_epochs, |lines| format_epochs(lines));
    let file: Vec<_> =
        lines.unwrap_or_default().iter().map(|line| (line.epoch, line.start)).collect();
    let mut cache = EpochCache::recovered(&file, &scanned, None, (start, end));
    let entries = cache.entries().to_vec();
    let rises = |two: &[(LeaderEpoch, Offset)]| two[0].0 < two[1].0 && two[0].1 < two[1].1;
    assert!(entries.windows(2).all(rises), "epochs and their offsets rise: {entries:?}");
    assert!(entries.iter().all(|(_, first)| (start..=end).contains(first)), "{entries:?}");
    assert_eq!(cache.latest(), entries.last().map(|(epoch, _)| *epoch));
    assert_eq!(cache.take_changed().is_some(), entries != file);
    for (epoch, first) in &entries {
        assert_eq!(cache.before(first.next()), Some(*epoch));
        let (found, until) = cache.end_offset_for(*epoch, end).expect("it has epochs");
        assert!(found == *epoch && *first <= until && until <= end);
    }
    // an epoch that only reaches to the start of an empty log is dropped at the next, as in Kafka
    let held = entries.iter().filter(|(_, first)| *first < end).copied();
    assert!(
        EpochCache::recovered(&entries, &[], None, (start, end)).entries().iter().copied().eq(held)
    );
}

const MEND: u8 = 1;
const MEND_SECOND: u8 = 2;
const DIR: &str = "/log";

/// The two slots of a lone log.
pub(crate) fn keeper(input: &[u8]) {
    let Some((flags, bytes)) = input.split_first() else { return };
    let mut bytes = bytes.to_vec();
    for (at, bit) in [(0, MEND), (SLOT_DISTANCE, MEND_SECOND)] {
        if let Some(slot) = bytes.get_mut(at..at + SLOT_LEN)
            && flags & bit != 0
        {
            let crc = crc32c::crc32c(&slot[..CRC_AT]);
            slot[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
            let crc = crc32c::crc32c(&slot[..LAST_CRC_AT]);
            slot[LAST_CRC_AT..].copy_from_slice(&crc.to_be_bytes());
        }
    }
    let (disk, dir) = (MemoryDisk::new(), Path::new(DIR));
    disk.create_dir_all(dir).expect("room");
    let file = disk.open(&dir.join(KEEPER), Access::CreateNew).expect("room");
    write_all_at(&*file, &bytes, 0).expect("room");
    let (sequence, slot) = match slots::read(&disk, dir) {
        Ok(found) => found.expect("the file is there"),
        Err(error) => {
            let kind = error.kind();
            return assert!(matches!(kind, ErrorKind::Corrupt | ErrorKind::NewerVersion));
        }
    };
    assert!(slot.recovery_point >= Offset::ZERO && slot.log_start >= Offset::ZERO);
    assert!(slot.epoch.get() >= 0, "no log ever had the epoch {}", slot.epoch);
    assert_eq!(Slot::decode(&slot.encode(sequence)), Ok(Some((sequence, slot))));
    // whoever goes on with it is heard, though nothing of it is synced
    let kept = SlotKeeper::resume(&disk, dir, sequence, slot).expect("a disk that works");
    for (step, durable) in [(1, Durable::Now), (2, Durable::Later), (3, Durable::Now)] {
        let point = Offset::new(step);
        kept.update(durable, |slot| slot.recovery_point = point).expect("a disk that works");
        let (_, found) = slots::read(&disk, dir).expect("whole").expect("there");
        assert_eq!(found, Slot { recovery_point: point, ..slot });
    }
}

/// Inputs of `checkpoints`.
pub(crate) fn checkpoint_seeds() -> Vec<Vec<u8>> {
    let id = TopicId::from_bytes([7; 16]).expect("not zero");
    vec![
        b"\x000\n2\norders 0 17\nlonger.topic_name 12 9223372036854775807\n".to_vec(),
        b"\x000\r\n1\r\norders 0 17".to_vec(),
        [&[1][..], &format_partition_metadata(id)].concat(),
    ]
}

/// Inputs of `epochs`.
pub(crate) fn epoch_seeds() -> Vec<Vec<u8>> {
    let text = b"0\n3\n0 0\n4 17\n5 300\n";
    vec![
        [&[0, 0, 1, 200, 0][..], text].concat(),
        [&[0, 20, 0, 200, 2, 5, 0, 30, 6, 0, 90][..], text].concat(),
    ]
}

/// Inputs of `keeper`: both slots whole, one torn.
pub(crate) fn keeper_seeds() -> Vec<Vec<u8>> {
    let slot = Slot {
        host_led: None,
        sparse: false,
        topic: TopicId::from_bytes([7; 16]).expect("not zero"),
        recovery_point: Offset::new(7),
        log_start: Offset::new(3),
        epoch: LeaderEpoch::new(2),
        clean: false,
        adopted: true,
        sync_failed: false,
        boot_id: [9; 16],
    };
    let mut both = slot.encode(4).to_vec();
    both.resize(SLOT_DISTANCE, 0);
    both.extend(slot.encode(5));
    let flagged = |flags: u8, bytes: &[u8]| [&[flags][..], bytes].concat();
    let led = Slot { host_led: Some(Offset::new(5)), sparse: true, ..slot }.encode(6);
    vec![
        flagged(0, &both),
        flagged(MEND | MEND_SECOND, &both),
        flagged(MEND, &both[..100]),
        flagged(MEND, &led),
    ]
}

/// What vouches for the indexes of aborted transactions, its checksum mended by an odd first byte.
pub(crate) fn aborted(input: &[u8]) {
    let id = aborted_log();
    let Some((flags, bytes)) = input.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if let Some(end) = bytes.len().checked_sub(4).filter(|_| flags & 1 == 1) {
        let crc = crc32c::crc32c(&bytes[..end]);
        bytes[end..].copy_from_slice(&crc.to_be_bytes());
    }
    if let Some(read) = aborted_vouch::decode(id, &bytes) {
        assert_eq!(aborted_vouch::decode(id, &aborted_vouch::encode(id, &read)), Some(read));
    }
}

fn aborted_log() -> LogId {
    let topic = TopicId::from_hex(&"7".repeat(32)).expect("an id");
    LogId { topic, partition: PartitionId::new(0) }
}

pub(crate) fn aborted_seeds() -> Vec<Vec<u8>> {
    let one = |number: i64| (Offset::new(number), aborted_vouch::Vouched::of(b"abc"));
    let seed = |count| aborted_vouch::encode(aborted_log(), &(0..count).map(one).collect());
    [0, 1, 3].map(|count| [vec![1], seed(count)].concat()).into()
}

fn led(disk: &Arc<dyn Disk>) -> Log {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000)));
    let log = Log::builder(DIR).disk(disk.clone()).clock(clock).read_uncommitted().open();
    log.expect("nothing is wrong with it")
}

/// What a leader sends: as it is, or as one to four batches that only their records, producers and
/// epochs can be wrong in.
pub(crate) fn replicated(input: &[u8]) {
    let Some((flags, bytes)) = input.split_first() else { return };
    let bytes = match flags & MEND {
        0 => bytes.to_vec(),
        _ => mend_all(bytes, 1 + usize::from(flags >> 1 & 3)),
    };
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let log = led(&disk);
    log.set_leadership(Leadership::HostLed).expect("a disk that works");
    let Ok(end) = log.append_as_follower(&bytes) else {
        return assert_eq!(log.end_offset(), Offset::ZERO, "all or nothing");
    };
    assert_eq!(end, log.end_offset());
    assert!(log.leader_epochs().expect("open").iter().all(|(epoch, _)| epoch.get() >= 0));
    log.set_high_watermark(end).expect("the host leads");
    let all = Offset::ZERO..end;
    let found = |log: &Log| {
        let told = (log.leader_epochs().expect("open"), log.aborted_transactions(all.clone()));
        let seen = (log.end_offset(), log.first_unstable_offset(), log.last_stable_offset());
        (told, seen, log.producers(), log.open_transactions())
    };
    let before = found(&log);
    assert!(before.3.iter().all(|open| open.transaction_start().is_some_and(|at| at < end)));
    log.close().expect("a disk that works");
    assert_eq!(found(&led(&disk)), before, "the next life knows the same");
}

/// Inputs of `replicated`: batches of nobody, and transactions with their markers.
pub(crate) fn replicated_seeds() -> Vec<Vec<u8>> {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let log = led(&disk);
    let of = |id| ProducerIdentity::new(ProducerId::new(id), ProducerEpoch::new(2));
    let first = Sequence::FIRST;
    log.append_transactional(&[Record::new("a")], of(7), first).expect("room");
    log.append_produced(&[Record::new("b")], of(8), first).expect("room");
    log.append_marker(of(7), 3, MarkerKind::Abort).expect("room");
    log.append_transactional(&[Record::new("c")], of(7), first.after(1)).expect("room");
    let limits = super::raw::RawLimits::to_end(1 << 20);
    let sent = log.read_batches(Offset::ZERO, limits).expect("they are there");
    let mut seeds =
        vec![[&[0][..], sent.bytes()].concat(), [&[MEND | 6][..], sent.bytes()].concat()];
    seeds.extend(batch_seeds().into_iter().map(|seed| [&[MEND][..], &seed[2..]].concat()));
    seeds
}
