//! A batch that one open of a log cannot read and the next one can: it takes more than the first
//! one's limit.

use super::*;
use crate::config::Compression;
use crate::record::packed;

impl Bench {
    fn put_packed(&mut self, log: &PartitionLog, key: &str, value: Option<&str>) {
        let now = self.clock_now();
        let rules = BatchRules {
            timestamps: TimestampRule::Append { now },
            max_bytes: 1 << 20,
            keyed: false,
            tagged: false,
            packing: Packing::default().by(Compression::Gzip, None),
        };
        let record = value.map_or(Record::tombstone(), Record::new).key(key);
        let batch = packed(&[record], &rules).unwrap();
        let base = log.append(&batch, now).unwrap().base_offset.get();
        self.history.insert(base, (key.to_owned(), value.map(str::to_owned)));
    }

    fn compacted(&self) -> i64 {
        self.kept.0.lock()[2]
    }
}

#[test]
fn a_deletion_that_could_not_be_read_at_first_still_deletes() {
    let mut bench = Bench::new();
    bench.plain = PlainLimit::bytes(4);
    let (log, _) = bench.open(LastStop::Clean);
    for value in ["1", "2"] {
        bench.put(&log, "often", Some(value));
    }
    bench.put(&log, "deleted", Some("old"));
    bench.put_packed(&log, "deleted", None);
    bench.put(&log, "other", Some("1"));
    let first = bench.compact_from(&log, 0, bench.settings()).unwrap();
    assert_eq!(first.next_from, log.offsets().end(), "it does not try again and again");
    assert!(first.freed > 0);
    // a second pass of the same life goes on where the first ended
    bench.put(&log, "often", Some("3"));
    bench.compact_from(&log, first.next_from.get(), bench.settings()).unwrap();
    bench.plain = PlainLimit::DEFAULT;
    let log = bench.reopen(log);
    bench.put(&log, "often", Some("4"));
    let next = bench.compact_from(&log, bench.compacted(), bench.settings()).unwrap();
    bench.clock.advance(2 * DAY);
    bench.put(&log, "often", Some("5"));
    bench.compact_from(&log, next.next_from.get(), bench.settings()).unwrap();
    let read = bench.check(&log);
    assert!(read.iter().all(|(_, key, _)| key != "deleted"), "the deletion went, after all");
}
