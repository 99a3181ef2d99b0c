//! Filtered reads of a lone log against plain ones, over rolls, truncation, deletion and reopening:
//! what was cut off and written anew is found by its own tags.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

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
