//! Rewritten logs that no stop leaves: empty, cut, damaged. What they were made of loses nothing.

mod rewriting;

use super::*;

/// A log of two sealed segments and an active one, closed; all that it holds.
fn closed() -> (Bench, i64, Vec<(i64, Vec<u8>)>) {
    let disk = MemoryDisk::new();
    disk.create_dir_all(Path::new(DIR)).unwrap();
    closed_on(Arc::new(disk))
}

fn closed_on(disk: Arc<dyn Disk>) -> (Bench, i64, Vec<(i64, Vec<u8>)>) {
    let config = TopicConfig::new().index_interval_bytes(150).segment_bytes(1024);
    let bench = Bench { config: config.timestamp_after_max(None), ..Bench::on(disk) };
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

/// One of two is not: neither takes the place of what it came from, and nothing is removed.
#[test]
fn of_two_rewrites_both_are_put_aside_where_one_is_not_whole() {
    let (bench, end, all) = closed();
    let [first, second, ..] = bases(&bench)[..] else { panic!("three segments") };
    let swap = |base| Bench::log_path(base).with_extension("log.swap");
    let whole = bench.bytes(&Bench::log_path(first));
    bench.put(&swap(first), &whole);
    let torn = bench.bytes(&Bench::log_path(second));
    bench.put(&swap(second), &torn[..torn.len() / 2]);
    let before = bases(&bench);
    let (log, report) = bench.open(facts(end, LastStop::Clean));
    assert_eq!(bases(&bench), before, "{report:?}");
    assert_eq!(all_of(&log, end), all);
    assert_eq!(report.put_aside().len(), 2, "{report:?}");
}

#[test]
fn a_second_rewrite_that_is_not_whole_is_put_beside_the_first() {
    let (bench, end, all) = closed();
    let first = Bench::log_path(bases(&bench)[0]);
    let swap = first.with_extension("log.swap");
    for put in [&b"one"[..], b"two", b"three"] {
        bench.put(&swap, put);
        let (log, _) = bench.open(facts(end, LastStop::Clean));
        assert_eq!(all_of(&log, end), all);
    }
    let aside = ["log.swap.cut", "log.swap-2.cut", "log.swap-3.cut"];
    let aside = aside.map(|name| bench.bytes(&first.with_extension(name)));
    assert_eq!(aside, [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
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

/// The only copy of its records is not put aside, and what stands beside it stays.
#[test]
fn a_rewrite_that_is_not_whole_keeps_its_name_where_its_origin_is_gone() {
    for at in [0, 1] {
        let (bench, end, all) = closed();
        let bases = bases(&bench);
        let (gone, behind) = (bases[at], bases[at + 1]);
        let path = Bench::log_path(gone);
        let whole = bench.bytes(&path);
        bench.disk.remove_file(&path).unwrap();
        bench.put(&path.with_extension("log.swap"), &whole[..whole.len() / 2]);
        let (log, _) = bench.open(facts(end, LastStop::Clean));
        assert!(bases.iter().all(|base| bench.exists(&Bench::log_path(*base))));
        let rest: Vec<_> = all.iter().filter(|(offset, _)| *offset >= behind).collect();
        assert_eq!(&read_from(&log, behind).unwrap()[0], rest[0]);
        let error = read_from(&log, gone).unwrap_err(); // its digests tell of the half that is gone
        assert!(error.is_corrupt() && error.path() == Some(&*path), "{error}");
    }
}

/// They cannot be made again: those that fit the log that stands get their name, others go.
#[test]
fn digests_whose_rewrite_has_its_name_are_taken_if_they_are_its_own() {
    for fits in [true, false] {
        let (bench, end, all) = closed();
        let [first, second, ..] = bases(&bench)[..] else { panic!("three segments") };
        let path = Bench::path(first, SegmentFile::Digests);
        let own = bench.bytes(&path);
        let other = bench.bytes(&Bench::path(second, SegmentFile::Digests));
        assert_ne!(own, other, "the control");
        let mut swap = path.clone().into_os_string();
        swap.push(".swap");
        bench.put(Path::new(&swap), if fits { &own } else { &other });
        if fits {
            bench.disk.remove_file(&path).unwrap();
        }
        let (log, _) = bench.open(facts(end, LastStop::Clean));
        assert_eq!(bench.bytes(&path), own, "fits: {fits}");
        assert!(!bench.exists(Path::new(&swap)), "fits: {fits}");
        assert_eq!(all_of(&log, end), all, "fits: {fits}");
    }
}

#[cfg(feature = "sim")]
mod cut_short {
    use super::*;
    use crate::disk::{Crash, SimDisk};

    fn last_batch(bytes: &[u8]) -> &[u8] {
        let mut rest = bytes;
        loop {
            let len = u32::from_be_bytes(rest[8..12].try_into().unwrap());
            match rest.split_at(12 + usize::try_from(len).unwrap()) {
                (last, []) => return last,
                (_, next) => rest = next,
            }
        }
    }

    fn save_all(bench: &Bench) {
        for name in bench.names() {
            let file = bench.disk.open(&Path::new(DIR).join(name), Access::Write).unwrap();
            file.sync_data().unwrap();
        }
        bench.disk.sync_dir(Path::new(DIR)).unwrap();
        bench.disk.sync_dir(Path::new("/")).unwrap();
    }

    /// A rewrite joins the first two segments and has only the last record of the second. Where it
    /// was finished it is all there is from then on, and where it was not it never comes to be:
    /// whatever the power takes of the names that were changed on the way.
    #[test]
    fn a_tidying_that_is_cut_short_anywhere_is_gone_on_with() {
        for is_finished in [true, false] {
            let disk = SimDisk::new(1);
            disk.create_dir_all(Path::new(DIR)).unwrap();
            let (bench, end, all) = closed_on(Arc::new(disk.clone()));
            let [first, second, third] = bases(&bench)[..] else { panic!("three segments") };
            let lone = bench.bytes(&Bench::log_path(second));
            let lone = last_batch(&lone);
            let mut known = facts(end, LastStop::PowerCut);
            let mut expected = all;
            if is_finished {
                let joint = [&bench.bytes(&Bench::log_path(first))[..], lone].concat();
                bench.put(&Bench::log_path(first).with_extension("log.swap"), &joint);
                expected.retain(|(at, _)| *at < second || *at >= third - 1);
                known.compacted = Offset::new(end);
            } else {
                bench.put(&Bench::log_path(first).with_extension("log.cleaned"), b"");
                bench.put(&Bench::log_path(second).with_extension("log.swap"), lone);
            }
            save_all(&bench);
            disk.record();
            drop(bench.open(known));
            let moments = disk.moments();
            assert!(moments.len() > 3, "the control: it changes something");
            for moment in moments {
                let random = (0..6).map(Crash::Random);
                for crash in [Crash::Nothing, Crash::Everything].into_iter().chain(random) {
                    let disk = Arc::new(moment.crash(crash));
                    let config = bench.config.clone();
                    let bench = Bench { config, ..Bench::on(disk) };
                    let (log, report) = bench.open(known);
                    let shown = format!("before call {}, {crash:?}", moment.operation());
                    assert_eq!(all_of(&log, end), expected, "{shown}");
                    assert!(report.damage().is_empty(), "{shown}: {report:?}");
                    let names = bench.names();
                    assert!(
                        !names.iter().any(|name| name.ends_with(".swap")),
                        "{shown}: {names:?}"
                    );
                    let bases = bases(&bench);
                    assert_eq!(bases.contains(&second), !is_finished, "{shown}: {bases:?}");
                }
            }
        }
    }
}
