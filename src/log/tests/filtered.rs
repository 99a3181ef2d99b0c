//! Filtered reads of a lone log against plain ones, over rolls, truncation, deletion and reopening:
//! what was cut off and written anew is found by its own tags.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::record::{RecordFilter, RecordView};
use crate::seeds::seeds;

const TAGS: [&str; 4] = ["", "paid", "sent", "back"];

fn open(disk: &Arc<MemoryDisk>) -> Log {
    let config = TopicConfig::new().segment_bytes(1_500).index_interval_bytes(150);
    Log::builder("/wal").disk(disk.clone()).config(config.tag_index(true)).open().unwrap()
}

/// Offset and value of every record.
fn seen(records: &Records) -> Vec<(i64, Vec<u8>)> {
    let value = |record: RecordView<'_>| record.value().unwrap_or_default().to_vec();
    records.iter().map(|record| (record.offset().get(), value(record))).collect()
}

fn append(log: &Log, random: &mut StdRng, number: &mut u32) {
    let tag = TAGS[random.random_range(0..TAGS.len())];
    let texts: Vec<String> = (0..random.random_range(1..20))
        .map(|_| {
            *number += 1;
            format!("{tag} {number}")
        })
        .collect();
    for text in &texts {
        let record = Record::new(text);
        let record = if tag.is_empty() { record } else { record.tag(tag) };
        log.append(&[record]).unwrap();
    }
}

fn compare(log: &Log, random: &mut StdRng, seed: u64) {
    let (start, end) = (log.start_offset(), log.end_offset());
    let from = Offset::new(random.random_range(start.get()..=end.get()));
    let (mut all, mut next) = (Vec::new(), from);
    while next < end {
        let records = seen(&log.read(next, 1 << 20).unwrap());
        next = Offset::new(records.last().expect("no gaps").0 + 1);
        all.extend(records);
    }
    let wanted = TAGS[random.random_range(1..TAGS.len())];
    all.retain(|(_, value)| value.starts_with(wanted.as_bytes()));
    let filter = RecordFilter::tags([wanted]);
    let (mut found, mut next) = (Vec::new(), from);
    while next < end {
        let read = log.read_filtered(next, random.random_range(1..3_000), &filter).unwrap();
        assert!(read.next_offset() > next, "seed {seed}: it advances");
        assert_eq!(read.matched(), read.records().len() as u64);
        assert!(read.scanned() >= read.matched());
        found.extend(seen(read.records()));
        next = read.next_offset();
    }
    assert_eq!(found, all, "seed {seed} from {from} of {wanted}");
    let at_end = log.read_filtered(end, 100, &filter).unwrap();
    assert_eq!((at_end.next_offset(), at_end.scanned()), (end, 0));
}

#[test]
fn filtered_reads_agree_with_plain_ones_over_cuts() {
    for seed in seeds(4, 30, 10_000) {
        println!("seed {seed}: TIDELOG_SEED={seed} cargo test --lib filtered_reads_agree");
        let mut random = StdRng::seed_from_u64(seed);
        let disk = Arc::new(MemoryDisk::new());
        let (mut log, mut number) = (open(&disk), 0);
        for _ in 0..60 {
            let (start, end) = (log.start_offset().get(), log.end_offset().get());
            match random.random_range(0..20) {
                0..10 => append(&log, &mut random, &mut number),
                10..15 => compare(&log, &mut random, seed),
                15 => {
                    // and on at once, with records of other tags in the same places
                    let to = Offset::new(random.random_range(start..=end));
                    log.truncate_to(to).unwrap();
                    append(&log, &mut random, &mut number);
                }
                16 => log.flush().unwrap(),
                17 => {
                    let to = random.random_range(start..=end.min(start + 30));
                    log.delete_records_before(Offset::new(to)).unwrap();
                }
                18 => log.maintain().map(drop).unwrap(),
                _ => {
                    log.close().unwrap();
                    log = open(&disk);
                }
            }
        }
        compare(&log, &mut random, seed);
    }
}

/// A read that a host bounds is bounded, and what it does not look at it counts.
#[test]
fn a_filtered_read_ends_at_its_limit_and_counts_what_it_passes_over() {
    let disk = Arc::new(MemoryDisk::new());
    let log = open(&disk);
    for tag in ["paid", "sent", "paid", "paid"] {
        for _ in 0..40 {
            log.append(&[Record::new(format!("{tag} of many").as_bytes()).tag(tag)]).unwrap();
        }
    }
    let of = |tag: &str| RecordFilter::tags([tag]);
    let first = log.read_filtered(Offset::ZERO, 1, &of("paid")).unwrap();
    assert_eq!((first.scanned(), first.next_offset().get()), (1, 1));
    let few = log.read_filtered(Offset::ZERO, 300, &of("paid")).unwrap();
    assert!((2..40).contains(&few.matched()), "{few:?}");
    let sent = log.read_filtered(Offset::ZERO, 1 << 20, &of("sent")).unwrap();
    assert_eq!((sent.matched(), sent.next_offset().get()), (40, 160));
    assert!(sent.passed_over_bytes() > 1000, "{sent:?}");
    assert!(sent.scanned() < 160 && sent.passed_over_bytes() < log.log.size().0, "{sent:?}");
    // what is passed over costs a little: a read without a match ends too
    let none = log.read_filtered(Offset::ZERO, 1 << 20, &of("back")).unwrap();
    assert_eq!((none.matched(), none.next_offset().get()), (0, 160));
    assert!(none.passed_over_bytes() > sent.passed_over_bytes());
    let part = log.read_filtered(Offset::ZERO, 20, &of("back")).unwrap();
    assert!((1..160).contains(&part.next_offset().get()), "{part:?}");
}

/// What was found before it is had first.
#[test]
fn a_filtered_read_ends_before_damage_and_the_next_one_meets_it() {
    let disk = Arc::new(MemoryDisk::new());
    let log = open(&disk);
    for _ in 0..3 {
        log.append(&[Record::new("paid").tag("paid")]).unwrap();
    }
    let path = log.log.segments.load()[0].path();
    let size = log.log.size().0 / 3;
    write_all_at(&*disk.open(&path, Access::Write).unwrap(), b"bad", size + 64).unwrap();
    let filter = RecordFilter::tags(["paid"]);
    let before = log.read_filtered(Offset::ZERO, 1 << 20, &filter).unwrap();
    assert_eq!((before.matched(), before.next_offset().get()), (1, 1));
    let error = log.read_filtered(Offset::new(1), 1 << 20, &filter).unwrap_err();
    assert!(error.is_corrupt() && error.position() == Some(size), "{error}");
}

/// Its checksum fits, and what it holds are no records.
#[test]
fn a_filtered_read_ends_before_a_batch_that_cannot_be_taken_apart() {
    let disk = Arc::new(MemoryDisk::new());
    let log = open(&disk);
    for _ in 0..3 {
        log.append(&[Record::new("paid").tag("paid")]).unwrap();
    }
    let path = log.log.segments.load()[0].path();
    let size = log.log.size().0 / 3;
    let file = disk.open(&path, Access::Write).unwrap();
    let mut bytes = vec![0; usize::try_from(size).unwrap()];
    read_full_at(&*file, &mut bytes, size).unwrap();
    bytes[61] ^= 2; // the length of its record
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    write_all_at(&*file, &bytes, size).unwrap();
    let filter = RecordFilter::tags(["paid"]);
    let before = log.read_filtered(Offset::ZERO, 1 << 20, &filter).unwrap();
    assert_eq!((before.matched(), before.next_offset().get()), (1, 1));
    let error = log.read_filtered(Offset::new(1), 1 << 20, &filter).unwrap_err();
    assert!(error.is_corrupt() && error.position() == Some(size), "{error}");
}

/// Their file would be of less than the segment with the next append.
#[test]
fn a_filtered_read_makes_no_file_of_tags_for_a_segment_that_grows() {
    let disk = Arc::new(MemoryDisk::new());
    let log = open(&disk);
    log.append(&[Record::new("paid").tag("paid")]).unwrap();
    let tags = Path::new("/wal").join(segment_file(Offset::ZERO, SegmentFile::Tags));
    log.close().unwrap();
    let _ = disk.remove_file(&tags);
    let log = open(&disk);
    let read = log.read_filtered(Offset::ZERO, 1 << 20, &RecordFilter::tags(["sent"])).unwrap();
    assert_eq!((read.scanned(), read.next_offset().get()), (1, 1));
    assert_eq!(disk.metadata(&tags).unwrap(), None);
}
