//! A truncation that is looked at between two steps of its own: what goes is shown no more once it
//! is done, and at no step is there an error.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::changes::led_by_a_host;
use super::stepped::{Call, Stepped};
use super::*;

/// As a store's state log keeps it.
impl Keeper for Recorded {
    fn record(&self, recorded: &[(LogId, LogFact)], _: Durable) -> Result<()> {
        let mut facts = self.facts.lock();
        let facts = facts.as_mut().unwrap();
        for (_, fact) in recorded {
            match *fact {
                LogFact::Lowered(most) => {
                    facts.recovery_point = facts.recovery_point.min(most);
                    facts.high_watermark = facts.high_watermark.map(|set| set.min(most));
                }
                LogFact::RecoveryPoint(point) => facts.recovery_point = point,
                LogFact::LogStart(start) => facts.log_start = start,
                _ => panic!("{fact:?}"),
            }
        }
        Ok(())
    }
}

/// What is there, batch for batch, as one that fetches from an offset on is given it.
fn bytes_of(mut fetch: impl FnMut(Offset) -> Result<Fetched>, start: Offset) -> Result<Vec<u8>> {
    let (mut next, mut found) = (start, Vec::new());
    loop {
        let fetched = fetch(next)?;
        found.extend(fetched.chunk.iter().flat_map(|chunk| chunk.bytes.to_vec()));
        if fetched.next_offset <= next {
            return Ok(found);
        }
        next = fetched.next_offset;
    }
}

fn followed_bytes(followed: &FollowedLog) -> Result<Vec<u8>> {
    let fetch = |from| followed.fetch(from, None, FetchLimits::all(1 << 20), Duration::ZERO);
    bytes_of(fetch, followed.offsets().start)
}

fn own_bytes(log: &PartitionLog) -> Vec<u8> {
    let fetch = |from| log.fetch(from, None, FetchLimits::all(1 << 20));
    bytes_of(fetch, log.offsets().snapshot().start).unwrap()
}

/// Cuts a log of 8 batches while somebody looks before one of the changes that this makes to the
/// disk; says whether there was one.
fn cut_and_looked_at(
    led: fn(&mut FollowFacts),
    (target, looks_behind): (i64, bool),
    at: usize,
) -> bool {
    let bench = Bench::new();
    let (steps, seen) = (Arc::new(AtomicUsize::new(usize::MAX / 2)), Arc::new(OnceLock::new()));
    let reading = Arc::new(OnceLock::<Arc<FollowedLog>>::new());
    let (step, looking, sees) = (steps.clone(), reading.clone(), seen.clone());
    let disk = Stepped::under_writer(&bench.disk, move |call, _| {
        if call == Call::Change && step.fetch_add(1, Ordering::Relaxed) == at {
            let followed = looking.get().unwrap();
            let looked = followed.look(Duration::ZERO);
            sees.set(looked.and_then(|_| followed_bytes(followed))).unwrap();
        }
        Ok(())
    });
    let guest = bench.disk.clone();
    let bench = Bench { disk, ..bench };
    let it = Beside::of_writer(bench);
    it.record(led);
    it.fill(8);
    it.record(|facts| facts.high_watermark = facts.high_watermark.map(|_| Offset::new(8)));
    let followed = Arc::new(Beside::follow_on(&guest, &it.bench, &it.recorded));
    followed.look(Duration::ZERO).unwrap();
    assert!(reading.set(followed.clone()).is_ok());
    let before = own_bytes(&it.log);
    assert_eq!(followed_bytes(&followed).unwrap(), before, "the control");
    // the epoch is drawn first, where the host does not lead
    it.record(|facts| facts.reign = facts.reign.max(Some(LeaderEpoch::new(4))));
    steps.store(0, Ordering::Relaxed);
    let went = if target < 8 { 8 - target } else { 2 };
    let (target, epoch) = (Offset::new(target), Some(LeaderEpoch::new(4)));
    match target < it.log.offsets().end() {
        true => drop(it.log.truncate_to(target, epoch, &*it.recorded).unwrap()),
        false => it.log.truncate_fully_and_start_at(target, epoch, &*it.recorded).unwrap(),
    }
    let taken = steps.swap(usize::MAX / 2, Ordering::Relaxed);
    let shows_the_log = |when: &str| {
        followed.look(Duration::ZERO).unwrap();
        let shown = followed_bytes(&followed).unwrap();
        assert!(shown == own_bytes(&it.log), "{when}, looked at before change {at} of {taken}");
        let offsets = [followed.offsets(), it.log.offsets().snapshot()];
        let ends = offsets.map(|offsets| (offsets.start, offsets.end));
        assert_eq!(ends[0], ends[1], "{when}, looked at before change {at} of {taken}");
    };
    if looks_behind {
        shows_the_log("once it is done");
    }
    it.fill(went); // the files are as long again
    let end = it.log.offsets().end();
    it.record(|facts| facts.high_watermark = facts.high_watermark.map(|_| end));
    shows_the_log("with more in its place");
    assert_eq!(followed.epoch_entries(), it.log.epoch_entries());
    let Some(seen) = seen.get() else { return false };
    let seen = seen.as_ref().unwrap_or_else(|error| panic!("before change {at}: {error}"));
    assert!(before.starts_with(seen), "before change {at} of {taken}");
    true
}

/// Within the last file, between two, within the first; all of it, and beyond its end.
#[test]
fn a_truncation_that_is_looked_at_at_any_step_is_seen_once_it_is_done() {
    for led in [|_: &mut FollowFacts| {}, led_by_a_host] {
        for cut in
            [7, 6, 1, 0, 100].into_iter().flat_map(|target| [(target, true), (target, false)])
        {
            let steps = (0..).take_while(|at| cut_and_looked_at(led, cut, *at)).count();
            assert!(steps > 3, "the control: {steps}");
        }
    }
}

/// One that many partitions pay for at each look is made where it can be of use only.
#[test]
fn a_look_opens_no_file_while_nothing_that_was_seen_can_be_cut_off() {
    let (it, opens) = (Beside::new(), Arc::new(AtomicUsize::new(0)));
    it.fill(2);
    let counted = opens.clone();
    let disk = Stepped::over(&it.bench.disk, move |call, _| {
        counted.fetch_add(usize::from(call == Call::Open), Ordering::Relaxed);
        Ok(())
    });
    let it = Beside { followed: Beside::follow_on(&disk, &it.bench, &it.recorded), ..it };
    for (reign, point, expected) in [(0, 0, 0), (4, 0, 1), (4, 1, 1), (4, 2, 0)] {
        it.record(|facts| {
            facts.reign = Some(LeaderEpoch::new(reign));
            facts.recovery_point = Offset::new(point);
        });
        it.look(0);
        opens.store(0, Ordering::Relaxed);
        it.look(0);
        assert_eq!(opens.load(Ordering::Relaxed), expected, "reign {reign}, final up to {point}");
    }
}

/// All of it may be final by the next look: what is recorded then says that there is something to
/// ask.
#[test]
fn what_is_in_the_place_of_what_was_cut_is_seen_though_all_of_it_is_final() {
    for led in [|_: &mut FollowFacts| {}, led_by_a_host] {
        let it = Beside::new();
        let recorded = |end: i64, point: i64| {
            it.record(|facts| {
                facts.high_watermark = facts.high_watermark.map(|_| Offset::new(end));
                facts.recovery_point = Offset::new(point);
            });
        };
        it.record(led);
        it.fill(3);
        recorded(3, 0);
        it.look(0);
        assert_eq!(followed_bytes(&it.followed).unwrap(), own_bytes(&it.log), "the control");
        it.record(|facts| facts.reign = facts.reign.max(Some(LeaderEpoch::new(4))));
        it.log.truncate_to(Offset::new(2), Some(LeaderEpoch::new(4)), &*it.recorded).unwrap();
        it.fill(1); // the file is as long again
        recorded(3, 3);
        it.look(0);
        assert_eq!(followed_bytes(&it.followed).unwrap(), own_bytes(&it.log));
    }
}
