//! Rewritten logs that no stop leaves: empty, cut, damaged. What they were made of loses nothing.

use super::*;

/// A log of two sealed segments and an active one, closed; all that it holds.
fn closed() -> (Bench, i64, Vec<(i64, Vec<u8>)>) {
    let config = TopicConfig::new().index_interval_bytes(150).segment_bytes(1024);
    let bench = Bench { config: config.timestamp_after_max(None), ..Bench::new() };
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    let mut end = 0;
    while log.size().1 < 3 || end % 2 > 0 {
        end = append(&log, format!("value {end}").as_bytes(), end).unwrap() + 1;
    }
    let all = all_of(&log, end);
    log.close().unwrap();
    (bench, end, all)
}

fn all_of(log: &PartitionLog, end: i64) -> Vec<(i64, Vec<u8>)> {
    let mut found: Vec<(i64, Vec<u8>)> = Vec::new();
    while found.last().map_or(0, |(offset, _)| offset + 1) < end {
        let next = found.last().map_or(0, |(offset, _)| offset + 1);
        found.extend(read_from(log, next).unwrap());
    }
    found
}

/// The bases of the segments.
fn bases(bench: &Bench) -> Vec<i64> {
    let names = bench.names();
    let logs = names.iter().filter_map(|name| name.strip_suffix(".log"));
    logs.map(|base| base.parse().unwrap()).collect()
}

/// What stands at a swap's place, not as a rewrite has it.
fn spoilt(whole: &[u8]) -> Vec<Vec<u8>> {
    let mut flipped = whole.to_vec();
    flipped[70] ^= 1;
    let mut behind = whole.to_vec();
    behind.push(1);
    let mut twice = whole.to_vec();
    twice.extend_from_slice(whole);
    vec![Vec::new(), vec![0], whole[..whole.len() / 2].to_vec(), flipped, behind, twice]
}

#[test]
fn a_rewrite_that_is_not_whole_takes_nothing_from_what_stands() {
    let stops = |end| [facts(end, LastStop::Clean), facts(0, LastStop::PowerCut)];
    for case in 0..6 {
        for at in [0, 1, 2] {
            for (number, known) in stops(0).iter().enumerate() {
                let (bench, end, all) = closed();
                let base = if at == 2 { bases(&bench)[1] + 1 } else { bases(&bench)[at] };
                let whole = bench.bytes(&Bench::log_path(bases(&bench)[at.min(1)]));
                let swap = Bench::log_path(base).with_extension("log.swap");
                bench.put(&swap, &spoilt(&whole)[case]);
                let known = if number == 0 { stops(end)[0] } else { *known };
                let (log, _) = bench.open(known);
                assert_eq!(all_of(&log, end), all, "case {case}, at {base}, stop {number}");
                assert!(!bench.exists(&swap), "case {case}, at {base}");
                let aside = Bench::log_path(base).with_extension("log.swap.cut");
                assert_eq!(bench.bytes(&aside), spoilt(&whole)[case], "nothing is thrown away");
            }
        }
    }
}

#[test]
fn a_rewrite_that_is_whole_takes_the_place_of_what_stands() {
    let (bench, end, all) = closed();
    let first = bases(&bench)[0];
    let whole = bench.bytes(&Bench::log_path(first));
    bench.put(&Bench::log_path(first).with_extension("log.swap"), &whole);
    let (log, _) = bench.open(facts(end, LastStop::Clean));
    assert_eq!(all_of(&log, end), all);
    assert!(!bench.names().iter().any(|name| name.ends_with(".swap") || name.ends_with(".cut")));
}

/// The only copy of its records is not put aside, and what stands behind it stays.
#[test]
fn a_rewrite_that_is_not_whole_keeps_its_name_where_its_origin_is_gone() {
    let (bench, end, all) = closed();
    let [first, second, ..] = bases(&bench)[..] else { panic!("three segments") };
    let path = Bench::log_path(first);
    let whole = bench.bytes(&path);
    bench.disk.remove_file(&path).unwrap();
    bench.put(&path.with_extension("log.swap"), &whole[..whole.len() / 2]);
    let (log, _) = bench.open(facts(end, LastStop::Clean));
    assert!(bench.exists(&path) && bench.exists(&Bench::log_path(second)));
    let behind: Vec<_> = all.iter().filter(|(offset, _)| *offset >= second).cloned().collect();
    assert_eq!(read_from(&log, second).unwrap()[0], behind[0]);
    let error = read_from(&log, first).unwrap_err(); // its digests tell of the half that is gone
    assert!(error.is_corrupt() && error.path() == Some(&*path), "{error}");
}
