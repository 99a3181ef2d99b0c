//! Every call of a scenario at which the power may go, the process be killed or the call fail, and
//! the recovery from it cut short in its turn.

use super::super::suite::say;
use super::*;

#[derive(Clone, Copy, Debug)]
pub(super) enum Stop {
    Cut(Crash),
    Kill,
}

impl Keyed {
    /// The disk after a stop, and how far what was acknowledged must be there.
    pub(super) fn stop(&mut self, stop: Stop) -> i64 {
        let (disk, promised) = match stop {
            Stop::Cut(crash) => (self.disk.crash(crash), self.durable),
            Stop::Kill => (self.disk.kill(), self.acknowledged),
        };
        self.engine = None; // it closes in vain
        self.disk = disk;
        promised
    }
}

/// What an enumeration has been through.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) states: u64,
    pub(super) distinct: HashSet<u64>,
    pub(super) gone: u64,
    leftovers: HashSet<&'static str>,
}

impl Tally {
    pub(super) fn print(&self, name: &str, since: std::time::Instant) {
        let (states, distinct) = (self.states, self.distinct.len());
        let seconds = since.elapsed().as_secs_f64();
        let line = format!("{states} states, {distinct} distinct, 0 failures, {seconds:.1} s");
        say(&format!("suite {name}: {line}"));
    }
}

/// Stops at call `cut`, opens (cut short at its own call `again`, if any), checks all, goes on,
/// stops once more and checks all again.
fn stop_at(seed: u64, cut: u64, stop: Stop, again: Option<u64>, tally: &mut Tally) {
    let context = format!(
        "seed {seed}, cut {cut}, {stop:?}, again {again:?}; repeat with TIDELOG_SEED={seed} \
         TIDELOG_BUDGET=deep cargo test --features sim --lib engine::tests::compaction"
    );
    let mut keyed = Keyed::new(disk(seed));
    keyed.disk.cut_after(cut);
    run(&mut keyed, SCENARIO);
    let mut promised = keyed.stop(stop);
    if let Some(again) = again {
        keyed.disk.cut_after(again);
        let _ = keyed.open(); // cut short, or it came through
        promised = keyed.stop(stop).min(promised);
    }
    tally.states += 1;
    tally.distinct.insert(keyed.disk.image_hash());
    keyed.open().unwrap_or_else(|error| panic!("{context}: reopen: {error}"));
    tally.gone += keyed.take_stock(promised, &context);
    for step in [Put(1, 2, Power), Compact(MANY), Put(3, 1, Process)] {
        keyed.step(step).unwrap_or_else(|error| panic!("{context}: {step:?}: {error}"));
        keyed.check().unwrap_or_else(|error| panic!("{context}, {step:?}: {error}"));
    }
    let promised = keyed.stop(Stop::Cut(Crash::Nothing));
    keyed.open().unwrap_or_else(|error| panic!("{context}: second reopen: {error}"));
    keyed.take_stock(promised, &format!("{context}, second"));
    tally.leftovers.extend(keyed.leftovers);
}

fn enumerate(name: &str, stops: impl Fn(u64) -> Vec<Stop>, again: bool) -> Tally {
    let (mut tally, since) = (Tally::default(), std::time::Instant::now());
    let (small, ci) = if again { (25, 40) } else { (120, 300) };
    let most = pick(small, ci, 100_000);
    for seed in seeds(2, 2, 100) {
        let (total, passes) = operations(SCENARIO, seed);
        assert_eq!(passes, 3);
        for cut in cuts(total + 1, most) {
            for stop in stops(seed ^ (cut << 8)) {
                let retry = if again { cuts(60, pick(4, 8, 60)).collect() } else { vec![0] };
                for at in retry {
                    stop_at(seed, cut, stop, again.then_some(at + cut % 5), &mut tally);
                }
            }
        }
    }
    tally.print(name, since);
    tally
}

#[test]
fn a_power_cut_at_any_call_of_a_compaction_loses_no_state() {
    let cuts = |seed| {
        let random = (0..3).map(|more| Crash::Random(seed ^ (more << 40)));
        [Crash::Nothing, Crash::Everything].into_iter().chain(random).map(Stop::Cut).collect()
    };
    let tally = enumerate("compaction_cuts", cuts, false);
    assert!(tally.gone > 0, "the control: what was promised less must be seen to vanish");
    assert_eq!(tally.leftovers.len(), 3, "every kind of leftover: {:?}", tally.leftovers);
}

#[test]
fn a_kill_at_any_call_of_a_compaction_loses_nothing() {
    let tally = enumerate("compaction_kills", |_| vec![Stop::Kill], false);
    assert_eq!(tally.gone, 0);
}

#[test]
fn a_recovery_of_a_compaction_cut_short_is_recovered_from() {
    let stops = |seed| vec![Stop::Cut(Crash::Random(seed)), Stop::Cut(Crash::Random(!seed))];
    let tally = enumerate("compaction_recoveries", stops, true);
    assert!(tally.gone > 0, "the control");
}

#[test]
fn any_call_of_a_compaction_may_fail_and_nothing_is_lost() {
    let (mut tally, mut failures) = (Tally::default(), 0);
    let since = std::time::Instant::now();
    let faults = [28, 5, 24, 30].map(Fault::Error).into_iter();
    let others = [Fault::ShortWrite(3), Fault::ShortRead(7), Fault::DoneError(5)];
    for fault in faults.chain(others) {
        for seed in seeds(2, 2, 30) {
            let (total, _) = operations(SCENARIO, seed);
            for nth in cuts(total, pick(60, 100, 100_000)) {
                let context = format!("seed {seed}, call {nth}, {fault:?}");
                let mut keyed = Keyed::new(disk(seed));
                keyed.disk.fail(Plan::new(fault).nth(nth));
                while keyed.open().is_err() {
                    failures += 1;
                }
                for step in SCENARIO {
                    if let Err(error) = keyed.step(*step) {
                        assert!(!error.is_corrupt(), "{context}: {error}");
                        failures += 1;
                    }
                }
                keyed.disk.heal();
                keyed.check().unwrap_or_else(|error| panic!("{context}, still open: {error}"));
                let promised = keyed.stop(Stop::Kill);
                tally.states += 1;
                tally.distinct.insert(keyed.disk.image_hash());
                keyed.open().unwrap_or_else(|error| panic!("{context}: reopen: {error}"));
                keyed.take_stock(promised, &context);
                keyed.step(Compact(MANY)).unwrap_or_else(|e| panic!("{context}: compact: {e}"));
                keyed.check().unwrap_or_else(|error| panic!("{context}, compacted: {error}"));
            }
        }
    }
    tally.print("compaction_faults", since);
    assert!(failures > 0, "the control: faults are felt");
}
