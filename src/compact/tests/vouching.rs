//! What the digests of a rewritten segment vouch for: no more than those of what it was made from.

use super::*;

const HEAD: usize = 40;
const RUN: usize = 32;
const ORIGIN: usize = 27;

/// Which runs of a sidecar were taken from a file, in order.
fn taken_later(bench: &Bench, base: i64) -> Vec<bool> {
    let path = Path::new(DIR).join(format!("{base:020}.digest"));
    let file = bench.disk.open(&path, Access::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    read_full_at(&*file, &mut bytes, 0).unwrap();
    bytes[HEAD..].chunks_exact(RUN).map(|run| run[ORIGIN] == 1).collect()
}

fn sidecars(bench: &Bench) -> Vec<String> {
    bench.names().into_iter().filter(|name| name.ends_with(".digest")).collect()
}

/// The origin of every run of what a compaction leaves of a log whose first sidecar was `touched`.
fn compacted(touch: impl Fn(&Bench, &str)) -> Vec<bool> {
    let mut bench = Bench::new();
    let log = filled(&mut bench);
    bench.seal(&log);
    let point = log.close().unwrap();
    bench.kept.record(&[(bench.id, LogFact::RecoveryPoint(point))], Durable::Now).unwrap();
    drop(log);
    let sidecars = sidecars(&bench);
    assert!(sidecars.len() > 2, "{sidecars:?}");
    touch(&bench, &format!("{DIR}/{}", sidecars[0]));
    let (log, damage) = bench.open(LastStop::Clean);
    assert_eq!(damage, 0);
    // one pass that empties and joins, so that kept, thinned and emptied batches are written
    let done = bench.compact_from(&log, 0, bench.settings()).unwrap();
    assert!(done.freed > 0);
    bench.check(&log);
    taken_later(&bench, 0)
}

#[test]
fn whole_digests_are_passed_on() {
    let later = compacted(|_, _| {});
    assert!(!later.is_empty() && later.iter().all(|later| !later), "{later:?}");
}

#[test]
fn what_no_digest_covered_is_not_vouched_for_after_a_compaction() {
    let later = compacted(|bench, sidecar| bench.disk.remove_file(Path::new(sidecar)).unwrap());
    assert!(later[0], "nothing vouched for its headers before: {later:?}");
}

#[test]
fn a_digest_that_was_taken_later_stays_one() {
    let later = compacted(|bench, sidecar| {
        // as it is for a segment that another hand has written
        bench.disk.remove_file(Path::new(sidecar)).unwrap();
        let (log, _) = bench.open(LastStop::AnotherHandClean);
        while log.lacks_digests() {
            log.digest_one().unwrap();
        }
        log.close().unwrap();
    });
    assert!(later.iter().all(|later| *later), "all of it was another hand's: {later:?}");
}

#[test]
fn what_is_damaged_is_not_written_again() {
    let mut bench = Bench::new();
    let log = filled(&mut bench);
    bench.seal(&log);
    let path = log_path(0);
    let file = bench.disk.open(&path, Access::Write).unwrap();
    let mut damaged = bytes(&bench, &path);
    damaged[200] ^= 1;
    write_all_at(&*file, &damaged, 0).unwrap();
    let error = bench.compact_from(&log, 0, bench.settings()).unwrap_err();
    assert!(error.is_corrupt(), "{error}");
    assert_eq!(bytes(&bench, &path), damaged);
    assert!(bench.names().iter().all(|name| !name.ends_with(".cleaned")));
    bench.put(&log, "a", Some("goes on"));
}
