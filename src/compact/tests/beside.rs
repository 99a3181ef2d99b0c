//! What goes on beside a pass: readers, truncations, deletions, and passes that are given up.

use super::*;

#[test]
fn who_reads_meanwhile_goes_on() {
    let mut bench = Bench::new();
    let log = filled(&mut bench);
    let before = log.fetch(Offset::ZERO, None, LIMITS).unwrap();
    let held = before.chunk.as_ref().unwrap().bytes.clone();
    let seen = taken(&held, 0);
    bench.compact(&log);
    assert_eq!(taken(&held, 0), seen, "what is held stays");
    // the cursor names a segment that is gone: it is read on behind it all the same
    let rest = read_from(&log, before.next_offset, before.cursor.clone());
    let state = fold(seen.iter().chain(&rest).map(|(_, key, value)| (key, value)));
    assert_eq!(state, bench.state());
}

#[test]
fn a_pass_given_up_or_overtaken_leaves_the_log_as_it_was() {
    let mut bench = Bench::new();
    let log = filled(&mut bench);
    bench.seal(&log);
    let names = bench.names();
    let mut steps = 0;
    loop {
        let mut pass = Pass::begin(&log, Offset::ZERO, bench.settings()).unwrap().unwrap();
        let ended = (0..=steps).any(|_| pass.step(&log, &bench.kept).unwrap() != Progress::More);
        if ended || log.counters().compactions.get() > 0 {
            break;
        }
        pass.abandon();
        assert_eq!(bench.names(), names, "after {steps} steps");
        bench.check(&log);
        steps += 1;
    }
    assert!(steps > 10);

    let mut bench = Bench::new();
    let log = filled(&mut bench);
    bench.seal(&log);
    let mut pass = Pass::begin(&log, Offset::ZERO, bench.settings()).unwrap().unwrap();
    pass.step(&log, &bench.kept).unwrap();
    log.delete_records_before(Offset::new(60), &bench.kept).unwrap();
    while pass.step(&log, &bench.kept).unwrap() == Progress::More {}
    let read: Vec<_> = read(&log).into_iter().map(|record| record.0).collect();
    assert_eq!(read, (60..80).collect::<Vec<_>>());
    assert!(bench.names().iter().all(|name| !name.ends_with(".cleaned")));
}

#[test]
fn readers_on_other_threads_see_one_state_or_the_next() {
    let mut bench = Bench::new();
    let log = filled(&mut bench);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let done = || stop.load(std::sync::atomic::Ordering::Relaxed);
    std::thread::scope(|scope| {
        let log = &log;
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(move || {
                    let mut rounds = 0;
                    while !done() {
                        let state = fold(read(log).iter().map(|(_, key, value)| (key, value)));
                        assert_eq!(state.len(), 4);
                        log.find_timestamp(
                            Timestamp::from_millis(1),
                            IsolationLevel::ReadUncommitted,
                        )
                        .unwrap()
                        .unwrap();
                        rounds += 1;
                    }
                    rounds
                })
            })
            .collect();
        for round in 0..60 {
            for key in ["a", "b", "c", "d"] {
                bench.put(log, key, Some(&format!("round {round}")));
            }
            bench.compact(log);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let rounds: u64 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
        assert!(rounds > 0);
    });
    bench.check(&log);
}
