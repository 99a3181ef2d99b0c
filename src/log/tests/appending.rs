//! What an append refuses, and what is left of one that was refused.

use super::*;

/// A batch that says it has so many records.
struct Counts<'a>(BorrowedBatch<'a>, u32);

impl crate::record::AppendBatch for Counts<'_> {
    fn size(&self) -> usize {
        self.0.size()
    }

    fn count(&self) -> u32 {
        self.1
    }

    fn max_timestamp(&self) -> Option<Timestamp> {
        self.0.max_timestamp()
    }

    fn write(&self, stamp: Stamp, out: &mut [u8], sum: impl crate::record::Sum) {
        self.0.write(stamp, out, sum);
    }
}

/// The next one would get the same offset.
#[test]
fn a_batch_without_an_offset_of_its_own_is_refused() {
    let bench = Bench::new();
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    let now = Timestamp::from_millis(1);
    let records = [Record::new(b"a")];
    let measured = || BorrowedBatch::measure(&records, &log.batch_rules(now)).unwrap();
    let error = log.append(&Counts(measured(), 0), now).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert_eq!(log.offsets().end(), Offset::ZERO);
    assert_eq!(log.append(&Counts(measured(), 1), now).unwrap().end_offset, Offset::new(1));
}

/// A batch may have been made before the configuration has changed, and goes whole into one
/// segment: a new one that it would roll to is as small as the one that is in use.
#[test]
fn a_batch_larger_than_a_segment_is_refused_at_any_place_in_one() {
    for before in [0, 1] {
        let bench = Bench::new();
        let (log, _) = bench.open(facts(0, LastStop::Clean));
        let now = Timestamp::from_millis(1);
        let large = [Record::new(&[1; 2000][..])];
        let batch = BorrowedBatch::measure(&large, &log.batch_rules(now)).unwrap();
        log.set_config(Arc::new(bench.config.clone().segment_bytes(1024)));
        for _ in 0..before {
            append(&log, b"small", 1).unwrap();
        }
        let error = log.append(&batch, now).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge, "behind {before}: {error}");
        assert_eq!(log.offsets().end().get(), before);
        assert!(log.size().1 <= 1, "no segment was begun for it");
    }
}

/// Whatever it was, it is not this topic's id by then.
#[test]
fn a_longer_file_in_the_place_of_the_topics_name_is_written_over_whole() {
    use crate::disk::names::PARTITION_METADATA;
    use crate::log::checkpoint::format_partition_metadata;
    let bench = Bench::new();
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    let path = Path::new(DIR).join(PARTITION_METADATA);
    bench.put(&path, &[b'x'; 200]);
    append(&log, b"first", 1).unwrap();
    assert_eq!(bench.bytes(&path), format_partition_metadata(bench.id.topic));
}

/// Whatever its checksum says: what lies in the next file would be hidden.
#[test]
fn a_batch_that_says_it_reaches_into_the_next_file_hides_nothing_of_it() {
    let bench = Bench::new();
    let mut bytes = batches(0, 3);
    let last = batches(0, 2).len();
    bytes[last + 26] += 2; // offsets 2 to 4
    bytes[last + 60] += 2; // and as many records
    let crc = crc32c::crc32c(&bytes[last + 21..]);
    bytes[last + 17..last + 21].copy_from_slice(&crc.to_be_bytes());
    bench.put(&Bench::log_path(0), &bytes);
    bench.put(&Bench::log_path(3), &batches(3, 6));
    let (log, _) = bench.open(facts(6, LastStop::Clean));
    let one = FetchLimits { records: 1, bytes: 1, ..FetchLimits::all(1) };
    let (mut next, mut cursor, mut read) = (Offset::ZERO, None, Vec::new());
    while next < Offset::new(6) {
        match log.fetch(next, cursor.as_ref(), one) {
            Ok(fetched) => {
                read.extend(fetched.chunk.map(|chunk| chunk.first_offset.get()));
                (next, cursor) = (fetched.next_offset, fetched.cursor);
            }
            Err(error) => {
                assert_eq!((next.get(), error.position()), (2, Some(last as u64)), "{error}");
                (next, cursor) = (log.resume_above(next).unwrap(), None);
            }
        }
    }
    assert_eq!(read, [0, 1, 3, 4, 5]);
}
