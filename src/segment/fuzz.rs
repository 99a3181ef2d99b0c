//! Fuzz targets of a segment's files: both indexes, the digests, the tags, the log itself.
//!
//! The files are arbitrary bytes, as they are or with order and checksums mended. Searches agree
//! with plain ones over everything that was read, what is written again reads the same, and a scan
//! stops where a plain walk does, with an index that points to batches.
//!
//! Called by `crate::fuzzing`.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use super::digest::{Identity, OpenHeader, Run};
use super::index::{Indexer, OffsetEntry, TimeEntry, relative};
use super::index_file::{
    Found, IndexFile, Layout, SavedEntries, entries_of, index_bytes, load_indexes, write_indexes,
};
use super::scan::{Scan, Stop, Walk, WalkStep};
use super::shared::{Place, Segment, Tenancy};
use super::sidecar::{self, HEAD_LEN, RUN_CRC_AT, RUN_LEN, Sidecar, sidecar_bytes, write_runs};
use super::tag_file;
use super::tags::{TagRun, TagRuns};
use crate::disk::names::SegmentFile;
use crate::disk::{Access, Disk, MemoryDisk, read_full_at, write_all_at};
use crate::feed::Feed;
use crate::ids::{LeaderEpoch, Offset, PartitionId, TopicId};
use crate::record::fuzz::mend;
use crate::record::{BatchHeader, TagBits};

const OFFSETS: &str = "/offsets";
const TIMES: &str = "/times";
const ORDER: u8 = 1;

fn write(disk: &dyn Disk, path: &str, bytes: &[u8]) {
    let file = disk.open(path.as_ref(), Access::CreateNew).expect("a new file");
    write_all_at(&*file, bytes, 0).expect("room");
}

fn read(disk: &dyn Disk, path: &str) -> Vec<u8> {
    let file = disk.open(path.as_ref(), Access::Read).expect("it was written");
    let mut bytes = vec![0; usize::try_from(file.len().expect("a length")).expect("small")];
    read_full_at(&*file, &mut bytes, 0).expect("read");
    bytes
}

/// An index file is searched as a plain search over its entries does it, or not at all.
fn search<E>(disk: &dyn Disk, path: &str, keys: &[E::Key])
where
    E: Layout + Copy + Debug + PartialEq,
    E::Key: Copy + Debug,
{
    let path = Path::new(path);
    let len = disk.metadata(path).expect("found").expect("written").len;
    let Some(file) = IndexFile::open::<E>(disk, path, u64::MAX).expect("a disk that works") else {
        return assert_ne!(len % E::SIZE, 0, "whole entries are readable");
    };
    assert_eq!(file.len(), len / E::SIZE);
    let entries =
        entries_of::<E>(disk, path, u64::MAX).expect("a disk that works").expect("it opened");
    assert_eq!(entries.len() as u64, file.len());
    assert_eq!(file.last::<E>().expect("read").as_ref(), entries.last());
    let is_sorted = entries.windows(2).all(|two| two[0].key() < two[1].key());
    for key in keys {
        let (floor, above) = file.around::<E>(key).expect("a disk that works");
        if is_sorted {
            let count = entries.partition_point(|entry| entry.key() <= *key);
            let found = |entry: Option<&E>| entry.map_or(Found::Nothing, |one| Found::Entry(*one));
            assert_eq!(floor, found(count.checked_sub(1).map(|at| &entries[at])), "{key:?}");
            assert_eq!(above, found(entries.get(count)), "{key:?}");
        }
        assert!(!matches!(floor, Found::Entry(entry) if entry.key() > *key));
        assert!(!matches!(above, Found::Entry(entry) if entry.key() <= *key));
    }
}

/// Bytes as entries whose fields, each of the given width, rise.
fn ordered(bytes: &[u8], widths: &[usize]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut before = vec![0u64; widths.len()];
    for entry in bytes.chunks(widths.iter().sum()) {
        let mut feed = Feed::new(entry);
        for (width, last) in widths.iter().zip(&mut before) {
            let step = feed.bytes(*width).iter().fold(0u64, |sum, byte| sum * 4 + u64::from(*byte));
            *last += step + 1;
            out.extend_from_slice(&last.to_be_bytes()[8 - width..]);
        }
    }
    out
}

/// An offset index, and a time index beside it, as a writer takes them over.
pub(crate) fn offset_index(input: &[u8]) {
    let mut feed = Feed::new(input);
    let (flags, end, key) = (feed.byte(), feed.word(), feed.word());
    let interval = u64::from(feed.byte());
    let length = usize::from(feed.short());
    let (mut offsets, mut times) = (feed.bytes(length).to_vec(), feed.rest().to_vec());
    if flags & ORDER != 0 {
        offsets = ordered(&offsets, &[4, 4]);
        times = ordered(&times, &[8, 4]);
    }
    let disk = MemoryDisk::new();
    write(&disk, OFFSETS, &offsets);
    write(&disk, TIMES, &times);
    search::<OffsetEntry>(&disk, OFFSETS, &[key, end, 0, u32::MAX]);
    let loaded = load_indexes(&disk, OFFSETS.as_ref(), TIMES.as_ref(), (u64::MAX, end));
    let Some(mut loaded) = loaded.expect("a disk that works") else { return };
    let last = loaded.offsets.last().map(|entry| entry.relative);
    assert!(last.is_none_or(|last| last < end));
    assert!(loaded.times.iter().all(|entry| Some(entry.relative) <= last));
    let indexer = Indexer::resume(Offset::new(7), interval, &loaded.offsets, &loaded.times);
    let index = indexer.index();
    assert!(index.offset_entries().eq(loaded.offsets.iter().copied()));
    assert!(index.time_entries().eq(loaded.times.iter().copied()));
    let floor = loaded.offsets.iter().rev().find(|entry| entry.relative <= key);
    assert_eq!(index.floor_offset(key), floor.copied());
    let above = loaded.offsets.iter().find(|entry| entry.relative > key);
    assert_eq!(index.above_offset(key), above.copied());
    let time = i64::from(key);
    let floor = loaded.times.iter().rev().find(|entry| entry.timestamp <= time);
    assert_eq!(index.floor_time(time), floor.copied());
    // whoever goes on with these entries leaves files that hold them, and nothing else
    write_indexes(&disk, OFFSETS.as_ref(), TIMES.as_ref(), index, &mut loaded.saved)
        .expect("a disk that works");
    let (offsets, times) = index_bytes(index, &SavedEntries::default());
    assert_eq!(read(&disk, OFFSETS), offsets);
    assert_eq!(read(&disk, TIMES), times);
    assert!(loaded.saved.cover(index));
}

/// A time index.
pub(crate) fn time_index(input: &[u8]) {
    let mut feed = Feed::new(input);
    let (flags, key) = (feed.byte(), feed.long().cast_signed());
    let bytes = feed.rest();
    let disk = MemoryDisk::new();
    match flags & ORDER {
        0 => write(&disk, TIMES, bytes),
        _ => write(&disk, TIMES, &ordered(bytes, &[8, 4])),
    }
    search::<TimeEntry>(&disk, TIMES, &[key, key >> 32, i64::MIN, i64::MAX]);
}

fn identity() -> Identity {
    let topic = TopicId::from_bytes([7; 16]).expect("not zero");
    Identity { topic, partition: PartitionId::new(3) }
}

const BASE: Offset = Offset::new(1_000);
const DIGESTS: &str = "/digests";
const HEAD: u8 = 2;
const CHECKSUMS: u8 = 4;

/// Makes bytes a sidecar's, its head or the checksums of its runs.
fn mend_digests(bytes: &mut [u8], flags: u8) {
    let Some((front, behind)) = bytes.split_first_chunk_mut::<HEAD_LEN>() else { return };
    if flags & HEAD != 0 {
        *front = sidecar::head(identity(), BASE);
    }
    for run in behind.chunks_exact_mut(RUN_LEN).filter(|_| flags & CHECKSUMS != 0) {
        let crc = crc32c::crc32c_append(sidecar::run_seed(identity(), BASE), &run[..RUN_CRC_AT]);
        run[RUN_CRC_AT..].copy_from_slice(&crc.to_be_bytes());
    }
}

/// A sidecar of digests.
pub(crate) fn digests(input: &[u8]) {
    let mut feed = Feed::new(input);
    let (flags, position, offset) = (feed.byte(), feed.word(), feed.word());
    let kept = u64::from(feed.byte());
    let mut bytes = feed.rest().to_vec();
    if flags & ORDER != 0 && bytes.len() > HEAD_LEN {
        let runs = ordered(&bytes[HEAD_LEN..], &[4, 4, 4, 4, 8, 8]);
        bytes.splice(HEAD_LEN.., runs);
    }
    mend_digests(&mut bytes, flags);
    let _ = OpenHeader::of(&bytes).map(|header| header.size());
    let disk = MemoryDisk::new();
    write(&disk, DIGESTS, &bytes);
    let open = || Sidecar::open(&disk, DIGESTS.as_ref(), identity(), BASE);
    let sidecar = match open() {
        Ok(sidecar::Found::Sidecar(sidecar)) => sidecar,
        Ok(sidecar::Found::Unusable(_) | sidecar::Found::Unwritten) => return,
        Ok(sidecar::Found::Missing) => panic!("it was written"),
        Err(error) => return assert_eq!(error.kind(), crate::error::ErrorKind::NewerVersion),
    };
    assert_eq!(sidecar.len(), ((bytes.len() - HEAD_LEN) / RUN_LEN) as u64);
    let numbered: Vec<_> = sidecar.runs().map(|run| run.expect("it reads")).collect();
    let damaged = sidecar.damaged_below(u64::MAX).expect("it reads");
    assert_eq!(numbered.len() as u64 + damaged, sidecar.len());
    assert!(numbered.windows(2).all(|two| two[0].0 < two[1].0));
    let runs: Vec<Run> = numbered.iter().map(|(_, run)| *run).collect();
    assert!(runs.iter().all(|run| run.start < run.end && run.first < run.next));
    let is_ordered =
        runs.windows(2).all(|two| two[0].end <= two[1].start && two[0].next <= two[1].first);
    let behind = sidecar.runs_behind(u64::from(position)).map(|run| run.expect("it reads"));
    let beyond = sidecar.runs_beyond(offset).map(|run| run.expect("it reads"));
    let (behind, beyond): (Vec<_>, Vec<_>) = (behind.collect(), beyond.collect());
    assert!(behind.iter().all(|run| run.end > position));
    assert!(beyond.iter().all(|run| run.next > offset));
    if is_ordered {
        assert!(behind.iter().eq(runs.iter().filter(|run| run.end > position)));
        assert!(beyond.iter().eq(runs.iter().filter(|run| run.next > offset)));
    }
    let first = sidecar.with_first(kept);
    let first: Vec<_> = first.runs().map(|run| run.expect("it reads")).collect();
    assert!(first.iter().eq(numbered.iter().filter(|(number, _)| *number < kept)));
    written_again(&disk, &runs, usize::from(kept as u8).min(runs.len()));
}

fn written_again(disk: &dyn Disk, runs: &[Run], kept: usize) {
    let whose = (identity(), BASE);
    write(disk, "/again", &sidecar_bytes(identity(), BASE, runs));
    for path in ["/again", "/parts"] {
        if path == "/parts" {
            write_runs(disk, path.as_ref(), whose, 0, &runs[..kept]).expect("room");
            write_runs(disk, path.as_ref(), whose, kept as u64, &runs[kept..]).expect("room");
        }
        let found = Sidecar::open(disk, path.as_ref(), identity(), BASE);
        let Ok(sidecar::Found::Sidecar(again)) = found else {
            panic!("{path}: what was written is no sidecar: {found:?}");
        };
        assert_eq!(again.damaged_below(u64::MAX).expect("it reads"), 0);
        let read = again.runs().map(|run| run.expect("it reads").1);
        assert!(read.eq(runs.iter().copied()), "{path} reads as it was written");
    }
}

/// Makes bytes a file of tags: its head, its checksums.
fn mend_tags(bytes: &mut [u8], flags: u8) {
    let Some((head, runs)) = bytes.split_first_chunk_mut::<{ tag_file::HEAD_LEN }>() else {
        return;
    };
    if flags & HEAD != 0 {
        let (made, none) =
            (tag_file::Made { log_len: 9, last: 5, last_crc: 7 }, TagRuns::default());
        let right = tag_file::encode(identity(), BASE, made, &none);
        head[..36].copy_from_slice(&right[..36]);
        let count = u32::try_from(runs.len() / tag_file::RUN_LEN).expect("small");
        head[52..56].copy_from_slice(&count.to_be_bytes());
        if let Some(last) = runs.len().checked_sub(tag_file::RUN_LEN) {
            head[36..40].copy_from_slice(&runs[last..last + 4]);
        }
    }
    if flags & CHECKSUMS != 0 {
        let crc = crc32c::crc32c(&head[..56]);
        head[56..60].copy_from_slice(&crc.to_be_bytes());
        head[60..].copy_from_slice(&crc32c::crc32c(runs).to_be_bytes());
    }
}

/// A file of tags.
pub(crate) fn tags(input: &[u8]) {
    let mut feed = Feed::new(input);
    let (flags, position, bound) = (feed.byte(), feed.word(), i64::from(feed.word()));
    let wanted = TagBits::from_word(1 << (feed.byte() & 63));
    let mut bytes = feed.rest().to_vec();
    if flags & ORDER != 0 && bytes.len() > tag_file::HEAD_LEN {
        let runs = ordered(&bytes[tag_file::HEAD_LEN..], &[4, 4, 8]);
        bytes.splice(tag_file::HEAD_LEN.., runs);
    }
    mend_tags(&mut bytes, flags);
    let Some((made, runs)) = tag_file::decode(&bytes, identity(), BASE) else { return };
    assert_eq!(tag_file::encode(identity(), BASE, made, &runs), bytes, "it is written as it reads");
    assert!(runs.ends_at(made.log_len) && made.last < made.log_len);
    let bound = BASE.checked_add(bound).expect("small");
    let found = runs.stretch(BASE, u64::from(position), bound, wanted);
    let within = |run: &&TagRun| BASE.get() + i64::from(run.next) <= bound.get();
    let behind = runs.runs.iter().filter(|run| run.end > position).take_while(within);
    let first = behind.clone().next().filter(|_| position >= runs.from);
    assert_eq!(found.is_some(), first.is_some());
    let (Some(found), Some(first)) = (found, first) else { return };
    assert_eq!(found.is_wanted, first.bits.may_have(wanted));
    let last = behind.take_while(|run| run.bits.may_have(wanted) == found.is_wanted).last();
    let last = last.expect("the first is one");
    assert_eq!(
        (found.end, found.next.get()),
        (u64::from(last.end), BASE.get() + i64::from(last.next))
    );
}

const GAPLESS: u8 = 8;

/// The bytes of a log, walked and scanned.
pub(crate) fn scan(input: &[u8]) {
    let mut feed = Feed::new(input);
    let (flags, interval) = (feed.byte(), u64::from(feed.byte()) * 8);
    let point = BASE.checked_add(i64::from(feed.byte())).expect("small");
    let bytes = log_bytes(flags, feed);
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let place = Arc::new(Place {
        disk: disk.clone(),
        dir: Arc::from(Path::new("/")),
        index_interval: interval,
        identity: identity(),
        tenancy: Tenancy::Auditor,
    });
    let path = place.path(BASE, SegmentFile::Log);
    write(&*disk, path.to_str().expect("text"), &bytes);
    let len = bytes.len() as u64;
    let segment = Segment::on_disk(place.clone(), BASE, len);
    let mut start = segment.scan_start_at_front();
    start.gapless_from = (flags & GAPLESS != 0).then_some(point);
    let found = segment.scan(start, point).expect("a disk that works");
    check_scan(&segment, &found, &bytes);
    // what was found to be whole is found again, and nothing else
    let cut = Segment::on_disk(place, BASE, found.position);
    let mut start = cut.scan_start_at_front();
    start.gapless_from = (flags & GAPLESS != 0).then_some(point);
    let again = cut.scan(start, point).expect("a disk that works");
    assert_eq!((again.position, again.next_offset), (found.position, found.next_offset));
    assert_eq!((again.records, &again.epochs), (found.records, &found.epochs));
    assert_eq!(again.stop, Stop::End);
    let _ = segment.legacy_at(found.position).expect("a disk that works");
}

/// Parts of a log, each behind its length: batches, mended or not, garbage, zeros.
fn log_bytes(flags: u8, mut feed: Feed<'_>) -> Vec<u8> {
    if flags & ORDER == 0 {
        return feed.rest().to_vec();
    }
    let (mut out, mut next) = (Vec::new(), BASE);
    while !feed.is_empty() && out.len() < 64 << 10 {
        let (kind, length) = (feed.byte(), usize::from(feed.byte()));
        let from = out.len();
        match kind & 7 {
            0 => out.resize(from + length, 0),
            1 => out.extend_from_slice(feed.bytes(length)),
            _ => out.extend_from_slice(feed.bytes(length.max(BatchHeader::LEN))),
        }
        if kind & 7 > 1 {
            let follows = (kind & 7 > 2).then_some(next);
            mend(&mut out[from..], follows);
            if let Ok(header) = BatchHeader::parse(&out[from..], usize::MAX) {
                next = header.end_offset();
            }
        }
    }
    out
}

fn check_scan(segment: &Segment, found: &Scan, bytes: &[u8]) {
    let len = bytes.len() as u64;
    assert!(found.position <= len && found.next_offset >= BASE);
    let rest = &bytes[usize::try_from(found.position).expect("small")..];
    match &found.stop {
        Stop::End => assert!(rest.is_empty()),
        Stop::Zeros => assert!(!rest.is_empty() && rest.iter().all(|byte| *byte == 0)),
        Stop::Bad { later_batch, .. } => {
            assert!(rest.iter().any(|byte| *byte != 0));
            assert!(later_batch.is_none_or(|at| is_batch(segment, at, len)));
        }
    }
    let file = segment.log().expect("a disk that works");
    let mut walk = Walk::new(&**file, 0, found.position);
    let (mut end, mut records, mut places) = (BASE, 0, Vec::new());
    let mut epochs: Vec<(LeaderEpoch, Offset)> = Vec::new();
    while let WalkStep::Batch(position, batch) = walk.step().expect("a disk that works") {
        let header = batch.header();
        assert!(header.base_offset() >= end, "offsets rise");
        end = header.end_offset();
        records += u64::from(header.count());
        places.push((position, relative(BASE, header.last_offset())));
        if let Some(epoch) = header.leader_epoch()
            && epochs.last().is_none_or(|(last, _)| *last < epoch)
        {
            epochs.push((epoch, header.base_offset()));
        }
    }
    assert_eq!(walk.position(), found.position, "a scan stops where batches end");
    assert_eq!((end, records), (found.next_offset, found.records));
    assert_eq!(epochs, found.epochs);
    let is_there =
        |entry: OffsetEntry| places.contains(&(u64::from(entry.position), Some(entry.relative)));
    assert!(found.indexer.index().offset_entries().all(is_there), "an entry points to no batch");
}

fn is_batch(segment: &Segment, at: u64, end: u64) -> bool {
    let file = segment.log().expect("a disk that works");
    let mut walk = Walk::new(&**file, at, end);
    matches!(walk.step().expect("a disk that works"), WalkStep::Batch(..))
}

/// Inputs of `offset_index`: a few entries of each index, in order.
pub(crate) fn offset_index_seeds() -> Vec<Vec<u8>> {
    let offsets: Vec<u8> =
        [5u32, 100, 9, 200, 12, 300].iter().flat_map(|n| n.to_be_bytes()).collect();
    let time = |time: u64, at: u32| [&time.to_be_bytes()[..], &at.to_be_bytes()].concat();
    let times = [time(40, 4), time(50, 9), time(90, 12)].concat();
    let head = |flags: u8, end: u32| {
        let length = u16::try_from(offsets.len()).expect("small");
        [&[flags][..], &end.to_be_bytes(), &9u32.to_be_bytes(), &[1], &length.to_be_bytes()]
            .concat()
    };
    [(0, 100), (0, 10), (1, u32::MAX)]
        .map(|(flags, end)| [head(flags, end), offsets.clone(), times.clone()].concat())
        .to_vec()
}

/// Inputs of `time_index`.
pub(crate) fn time_index_seeds() -> Vec<Vec<u8>> {
    let time = |time: u64, at: u32| [&time.to_be_bytes()[..], &at.to_be_bytes()].concat();
    let times = [time(40, 4), time(50, 9), time(90, 12)].concat();
    vec![[&[0][..], &50u64.to_be_bytes(), &times].concat(), [&[1; 9][..], &times].concat()]
}

/// Inputs of `digests`: a sidecar of a few runs, mended and not.
pub(crate) fn digests_seeds() -> Vec<Vec<u8>> {
    let run = |at: u32| Run {
        start: at * 100,
        end: at * 100 + 100,
        first: at * 5,
        next: at * 5 + 5,
        digest: u64::from(at) << 40,
        origin: super::digest::Origin::Append,
    };
    let bytes = sidecar_bytes(identity(), BASE, &[run(0), run(1), run(2)]);
    let head =
        |flags: u8| [&[flags][..], &150u32.to_be_bytes(), &7u32.to_be_bytes(), &[1]].concat();
    [0, HEAD, HEAD | CHECKSUMS, ORDER | HEAD | CHECKSUMS, CHECKSUMS]
        .map(|flags| [head(flags), bytes.clone()].concat())
        .to_vec()
}

/// Inputs of `tags`: a file of a few runs, mended and not.
pub(crate) fn tags_seeds() -> Vec<Vec<u8>> {
    let run = |at: u32| TagRun {
        end: at * 100 + 100,
        next: at * 5 + 5,
        bits: TagBits::from_word(u64::from(at)),
    };
    let runs = TagRuns::of(0, vec![run(0), run(1), run(2)], 250);
    let made = tag_file::Made { log_len: 300, last: 250, last_crc: 7 };
    let bytes = tag_file::encode(identity(), BASE, made, &runs);
    let head =
        |flags: u8| [&[flags][..], &150u32.to_be_bytes(), &11u32.to_be_bytes(), &[0]].concat();
    [0, CHECKSUMS, HEAD | CHECKSUMS, ORDER | HEAD | CHECKSUMS]
        .map(|flags| [head(flags), bytes.clone()].concat())
        .to_vec()
}

/// Inputs of `scan`: batches, garbage and zeros.
pub(crate) fn scan_seeds() -> Vec<Vec<u8>> {
    let batch = &crate::record::fuzz::batch_seeds()[0][2..];
    let part = |kind: u8, bytes: &[u8]| {
        [&[kind, u8::try_from(bytes.len()).unwrap_or(u8::MAX)][..], bytes].concat()
    };
    let parts = [part(3, batch), part(3, batch), part(1, b"garbage"), part(3, batch)].concat();
    let heads = [[0, 0, 0], [ORDER, 0, 0], [ORDER | GAPLESS, 1, 9]];
    let mut seeds: Vec<_> = heads.iter().map(|head| [&head[..], &parts].concat()).collect();
    seeds.push([&[0, 0, 0][..], batch, batch, &[0; 70]].concat());
    seeds.push([&[ORDER, 0, 0][..], &part(3, batch), &[0, 90]].concat());
    seeds
}
