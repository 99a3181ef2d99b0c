//! What a scan takes of digests on its way: nothing is read twice for them, and none is missing
//! wherever the scan began and however old the sidecar was.

use super::digests::{costs_one_batch, faults_of_sidecars};
use super::*;

/// Bytes of a sidecar's head and of each of its runs.
const HEAD: usize = 40;
const RUN: usize = 32;

/// What is left of a sidecar behind its head, by runs.
fn with_runs(sidecar: &[u8], runs: usize) -> &[u8] {
    &sidecar[..sidecar.len().min(HEAD + runs * RUN)]
}

/// A closed log of one sealed segment and an active one, with several runs and several entries of
/// the index in each.
fn closed() -> (Bench, i64) {
    let config = TopicConfig::new().segment_bytes(24 << 10).timestamp_after_max(None);
    let bench = Bench { config, ..Bench::new() };
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    let end = (0..26).map(|at| append(&log, &[at as u8; 1500], at).unwrap() + 1).max().unwrap();
    assert_eq!(log.size().1, 2);
    log.close().unwrap();
    (bench, end)
}

#[test]
fn none_is_missing_wherever_a_scan_began_and_however_old_the_sidecar_was() {
    let (bench, end) = closed();
    let last = bench.names().into_iter().rfind(|name| name.ends_with(".digest")).unwrap();
    let path = Path::new(DIR).join(last);
    let whole = bench.bytes(&path);
    let all: Vec<_> = {
        let (log, _) = bench.open(facts(end, LastStop::Clean));
        read_from(&log, 0).unwrap()
    };
    let runs = (whole.len() - HEAD) / RUN;
    assert!(runs >= 3, "{runs}");
    for stop in [LastStop::KilledSameBoot, LastStop::PowerCut] {
        for point in (0..=end).rev() {
            for left in 0..=runs {
                let case = format!("{stop:?}, recovery point {point}, {left} of {runs} runs");
                bench.put(&path, with_runs(&whole, left));
                let (log, report) = bench.open(facts(point, stop));
                assert!(!report.is_notable(), "{case}: {report:?}");
                log.close().unwrap();
                assert_eq!(faults_of_sidecars(&bench, end), 0, "{case}");
            }
        }
    }
    assert_eq!(read_from(&bench.open(facts(end, LastStop::Clean)).0, 0).unwrap(), all);
    let log = path.with_extension("log");
    let bytes = bench.bytes(&log);
    for left in 0..=runs {
        bench.put(&path, with_runs(&whole, left));
        bench.open(facts(end, LastStop::KilledSameBoot)).0.close().unwrap();
        let mut start = 0;
        while start < bytes.len() {
            let mut flipped = bytes.clone();
            flipped[start + 12 + 3] ^= 1; // the epoch
            bench.put(&log, &flipped);
            costs_one_batch(&bench, &all, 1, &format!("{left} runs, batch at {start}"));
            let length = u32::from_be_bytes(bytes[start + 8..start + 12].try_into().unwrap());
            start += length as usize + 12;
        }
        bench.put(&log, &bytes);
    }
}

/// Calls of the disk that it takes to open a log after a kill, with so many batches of 60 KiB
/// behind its recovery point.
#[cfg(feature = "sim")]
fn calls_of_an_open(batches: i64) -> u64 {
    let disk = crate::disk::SimDisk::new(1);
    disk.create_dir_all(Path::new(DIR)).unwrap();
    let bench = Bench::on(Arc::new(disk.clone()));
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    for at in 0..batches {
        append(&log, &[7; 60 << 10], at).unwrap();
    }
    drop(log);
    let disk = disk.kill();
    let bench = Bench { disk: Arc::new(disk.clone()), ..bench };
    let before = disk.operations();
    let (log, _) = bench.open(facts(0, LastStop::KilledSameBoot));
    let calls = disk.operations() - before;
    assert_eq!(read_from(&log, 0).unwrap().len() as i64, batches);
    calls
}

#[cfg(feature = "sim")]
#[test]
fn what_lies_behind_the_recovery_point_is_read_once() {
    let more = calls_of_an_open(80) - calls_of_an_open(16);
    let reads = (64 * 60 * 1024_u64).div_ceil(256 << 10);
    assert!((reads - 1..=reads + 2).contains(&more), "{more} calls for {reads} reads");
}
