//! How bytes arrive: in any order a writer can leave them, no reader takes what is not whole.
//!
//! The same check is made of a reader that believes lengths alone: it must be caught.

use super::*;
use crate::config::TopicConfig;
use crate::disk::write_all_at;
use crate::record::BatchHeader;
use std::io::Write as _;

/// The bytes of a segment of three batches, and where each ends.
fn segment() -> (Pair, std::path::PathBuf, Vec<u8>, Vec<usize>) {
    let pair = Pair::new(TopicConfig::new());
    ["one", "two", "three"].iter().for_each(|value| pair.send(value));
    let path = root().join("t-0/00000000000000000000.log");
    let file = pair.disk.open(&path, Access::Read).unwrap();
    let mut bytes = vec![0; 4096];
    file.read_at(&mut bytes, 0).unwrap();
    let mut ends = Vec::new();
    while let Ok(header) = BatchHeader::parse(&bytes[*ends.last().unwrap_or(&0)..], 4096) {
        ends.push(ends.last().unwrap_or(&0) + header.size());
    }
    assert_eq!(ends.len(), 3);
    bytes.truncate(ends[2]);
    (pair, path, bytes, ends)
}

/// How many of the batches in `bytes` a reader may take, and how many `taken` takes, for each
/// prefix of the last batch with zeros or nothing behind it; counts the times they differ.
fn wrong_takes(mut taken: impl FnMut(&[u8]) -> usize, bytes: &[u8], ends: &[usize]) -> usize {
    let mut wrong = 0;
    for cut in ends[1]..=ends[2] {
        for zeros in [0, 1, 600] {
            let mut arrived = bytes[..cut].to_vec();
            arrived.resize((cut + zeros).max(cut), 0);
            let whole = arrived.starts_with(bytes);
            wrong += usize::from(taken(&arrived) != if whole { 3 } else { 2 });
        }
    }
    // as a store into memory may show itself: all but the length, all but some byte
    for missing in ends[1]..ends[2] {
        let mut arrived = bytes.to_vec();
        if std::mem::take(&mut arrived[missing]) != 0 {
            wrong += usize::from(taken(&arrived) != 2);
        }
    }
    wrong
}

#[test]
fn only_whole_batches_are_taken_however_they_arrive() {
    let began = std::time::Instant::now();
    let (pair, path, bytes, ends) = segment();
    let file = pair.disk.open(&path, Access::Write).unwrap();
    let mut states = 0;
    let taken = |arrived: &[u8]| {
        states += 1;
        file.set_len(0).unwrap();
        write_all_at(&*file, arrived, 0).unwrap();
        let reading = open_reader(pair.guest.clone(), root(), &pair.clock);
        let mut reader = reading.reader().assign([("t", 0)]).build().unwrap();
        let records = reader.try_poll().unwrap();
        assert!(
            ["one", "two", "three"]
                .starts_with(&values(&records).iter().map(|v| &**v).collect::<Vec<_>>())
        );
        records.len()
    };
    assert_eq!(wrong_takes(taken, &bytes, &ends), 0);
    let line = format!(
        "{states} states, {states} distinct, 0 failures, {:.1} s",
        began.elapsed().as_secs_f64()
    );
    // past the capture of tests, for scripts
    writeln!(std::io::stderr(), "suite arrival: {line}").unwrap();
}

#[test]
fn a_reader_that_believes_lengths_is_caught() {
    let (_pair, _, bytes, ends) = segment();
    let credulous = |arrived: &[u8]| {
        let (mut at, mut count) = (0, 0);
        while let Ok(header) = BatchHeader::parse(&arrived[at..], usize::MAX) {
            (at, count) = (at + header.size(), count + 1);
            if at >= arrived.len() {
                break;
            }
        }
        count
    };
    assert!(wrong_takes(credulous, &bytes, &ends) > 0);
}

use crate::disk::Access;
