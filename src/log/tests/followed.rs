//! A log as one who only reads it takes it in, beside the one who writes: what is recorded, and
//! what lies in the directory, make what is shown.

mod changes;
mod cut;
mod doubted;
mod identified;
mod judged;
mod moving;
mod restored;
mod stepped;
mod told;

use super::*;
use crate::disk::names::PARTITION_METADATA;
use crate::journal::Frame;
use crate::log::checkpoint::format_partition_metadata;
use crate::log::follow::{FactSource, FollowFacts, FollowedLog};
use crate::log::keeper::{Durable, LogFact};
use crate::sync::Mutex;

#[derive(Debug)]
struct Anywhere;

impl Keeper for Anywhere {
    fn record(&self, _: &[(LogId, LogFact)], _: Durable) -> Result<()> {
        Ok(())
    }
}

/// What is asked of what the writer has recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// What was known at the last look at it: also where a reader gives up, or tries again.
    Known,
    /// The facts as they are: before a directory is listed, and after.
    Facts,
    /// What the journal holds: behind a survey.
    Held,
}

/// What the writer does before it is answered, and what it has recorded by then.
type Happens = Box<dyn FnMut(Asked, &mut FollowFacts) -> Result<()> + Send>;

/// What the writer has recorded, as the test says.
#[derive(Default)]
struct Recorded {
    facts: Mutex<Option<FollowFacts>>,
    held: Mutex<Vec<Frame>>,
    happens: Mutex<Option<Happens>>,
}

impl std::fmt::Debug for Recorded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorded").finish_non_exhaustive()
    }
}

impl Recorded {
    fn happen(&self, asked: Asked) -> Result<()> {
        let mut facts = self.facts.lock();
        match (&mut *self.happens.lock(), &mut *facts) {
            (Some(happens), Some(facts)) => happens(asked, facts),
            _ => Ok(()),
        }
    }
}

impl FactSource for Recorded {
    fn known(&self, _: LogId) -> Option<FollowFacts> {
        self.happen(Asked::Known).unwrap();
        *self.facts.lock()
    }

    fn facts(&self, _: LogId) -> Result<Option<FollowFacts>> {
        self.happen(Asked::Facts)?;
        Ok(*self.facts.lock())
    }

    fn held(&self, _: LogId) -> Result<Vec<Frame>> {
        self.happen(Asked::Held)?;
        Ok(self.held.lock().clone())
    }
}

struct Beside {
    bench: Bench,
    log: PartitionLog,
    recorded: Arc<Recorded>,
    followed: FollowedLog,
}

impl Beside {
    fn new() -> Self {
        Beside::of_writer(Bench::new())
    }

    fn of_writer(bench: Bench) -> Self {
        let bench = Bench { config: bench.config.segment_bytes(1024), ..bench };
        let (log, _) = bench.open(facts(0, LastStop::Clean));
        let recorded = Arc::new(Recorded::default());
        *recorded.facts.lock() = Some(FollowFacts {
            log_start: Offset::ZERO,
            recovery_point: Offset::ZERO,
            reign: Some(LeaderEpoch::new(0)),
            gapless: true,
            compacted: Offset::ZERO,
            sparse: Offset::ZERO,
            high_watermark: None,
        });
        let followed = Beside::follow(&bench, &recorded);
        Beside { bench, log, recorded, followed }
    }

    fn follow(bench: &Bench, recorded: &Arc<Recorded>) -> FollowedLog {
        Beside::follow_on(&bench.disk, bench, recorded)
    }

    fn follow_on(disk: &Arc<dyn Disk>, bench: &Bench, recorded: &Arc<Recorded>) -> FollowedLog {
        let name = LogName { topic: Arc::from("orders"), partition: PartitionId::new(0) };
        let reading = (0, PlainLimit::DEFAULT);
        FollowedLog::new(disk, Path::new(DIR), (name, bench.id), reading, recorded.clone())
    }

    /// The same, read by one who comes only now.
    fn late(self) -> Self {
        Beside { followed: Beside::follow(&self.bench, &self.recorded), ..self }
    }

    fn record(&self, change: impl FnOnce(&mut FollowFacts)) {
        change(self.recorded.facts.lock().as_mut().unwrap());
    }

    /// From now on this happens whenever what is recorded is asked for.
    fn meanwhile(
        &self,
        happens: impl FnMut(Asked, &mut FollowFacts) -> Result<()> + Send + 'static,
    ) {
        *self.recorded.happens.lock() = Some(Box::new(happens));
    }

    fn look(&self, second: u64) -> bool {
        self.followed.look(Duration::from_secs(second)).unwrap()
    }

    fn fill(&self, count: i64) {
        for _ in 0..count {
            append(&self.log, &[7; 300], 5).unwrap();
        }
    }

    /// What a reader gets from an offset on, up to an error.
    fn read(&self, from: i64) -> (Vec<i64>, Option<crate::error::Error>) {
        self.read_as(from, IsolationLevel::ReadUncommitted)
    }

    fn read_as(
        &self,
        from: i64,
        isolation: IsolationLevel,
    ) -> (Vec<i64>, Option<crate::error::Error>) {
        let limits = FetchLimits { bytes: 1, records: 1, durable_only: false, isolation };
        let (mut next, mut cursor, mut found) = (Offset::new(from), None, Vec::new());
        loop {
            match self.followed.fetch(next, cursor.as_ref(), limits, Duration::ZERO) {
                Err(error) => return (found, Some(error)),
                Ok(fetched) => {
                    let bases = fetched.chunk.iter().map(|chunk| chunk.first_offset);
                    let shown = bases.filter(|base| !fetched.aborted.contains(base));
                    found.extend(shown.map(Offset::get));
                    if fetched.next_offset <= next {
                        return (found, None);
                    }
                    (next, cursor) = (fetched.next_offset, fetched.cursor);
                }
            }
        }
    }

    fn all(&self) -> Vec<i64> {
        let (found, error) = self.read(self.followed.offsets().start.get());
        assert!(error.is_none(), "{error:?}");
        found
    }

    fn bases(&self) -> Vec<i64> {
        self.log.segments.load().iter().map(|segment| segment.base().get()).collect()
    }
}

#[test]
fn each_look_shows_what_was_appended_from_segment_to_segment() {
    let it = Beside::new();
    assert!(!it.look(0) && it.all().is_empty());
    let mut end = 0;
    for count in [1, 1, 5, 12] {
        it.fill(count);
        end += count;
        assert!(it.look(0), "{end}");
        assert!(!it.look(0), "nothing has come since");
        assert_eq!(it.all(), (0..end).collect::<Vec<_>>());
        assert_eq!(it.followed.offsets().end.get(), end);
        assert_eq!(it.followed.size(), it.log.size());
    }
    assert_eq!(it.followed.epoch_entries(), it.log.epoch_entries());
    let before = |offset| it.followed.epoch_before(Offset::new(offset));
    assert_eq!([0, 1, end, end + 1].map(before), [None, log_epoch(), log_epoch(), None]);
    assert!(it.followed.counters().fetched.bytes.get() > 0);
    let find =
        |wanted| it.followed.find_offset((wanted, IsolationLevel::default()), Duration::ZERO);
    assert_eq!(find(OffsetSpec::Latest).unwrap().unwrap().offset().get(), end);
    assert_eq!(find(OffsetSpec::MaxTimestamp).unwrap().unwrap().offset().get(), 0);
    // one who comes later takes all of it in at once
    let late = it.late();
    assert!(late.look(0));
    assert_eq!(late.all(), (0..end).collect::<Vec<_>>());
}

fn log_epoch() -> Option<LeaderEpoch> {
    Some(LeaderEpoch::new(0))
}

#[test]
fn what_was_deleted_is_out_of_range_and_what_was_cut_off_is_another_log() {
    let it = Beside::new();
    it.fill(12);
    it.look(0);
    let bases = it.bases();
    it.log.delete_records_before(Offset::new(bases[2]), &Anywhere).unwrap();
    it.record(|facts| {
        facts.log_start = Offset::new(bases[2]);
        facts.recovery_point = Offset::new(12);
    });
    assert!(it.look(0));
    assert_eq!(it.followed.offsets().start.get(), bases[2]);
    assert_eq!(it.all(), (bases[2]..12).collect::<Vec<_>>());
    assert_eq!(it.followed.size(), it.log.size());
    let (_, error) = it.read(0);
    assert_eq!(error.unwrap().kind(), ErrorKind::OffsetOutOfRange);

    let cut = bases[2] + 1;
    it.record(|facts| facts.recovery_point = Offset::new(cut));
    it.log.truncate_to(Offset::new(cut), Some(LeaderEpoch::new(4)), &Anywhere).unwrap();
    it.record(|facts| facts.reign = Some(LeaderEpoch::new(4)));
    append(&it.log, b"of another reign", 6).unwrap();
    assert!(it.look(0));
    assert_eq!(it.all(), [bases[2], cut]);
    assert_eq!(it.followed.epoch_entries(), it.log.epoch_entries());
}

/// Until its epoch is recorded nobody knows who has written it.
#[test]
fn a_batch_of_a_reign_that_is_not_recorded_is_not_shown() {
    let it = Beside::new();
    it.fill(2);
    it.look(0);
    it.log.begin_epoch(LeaderEpoch::new(3));
    it.fill(1);
    it.look(0);
    assert_eq!(it.all(), [0, 1]);
    it.record(|facts| facts.reign = Some(LeaderEpoch::new(3)));
    assert!(it.look(0));
    assert_eq!(it.all(), [0, 1, 2]);
}

#[test]
fn a_segment_that_is_lost_is_a_gap_that_reads_as_damage() {
    let it = Beside::new();
    it.fill(12);
    let bases = it.bases();
    it.record(|facts| facts.recovery_point = Offset::new(12));
    it.bench.disk.remove_file(&Bench::log_path(bases[1])).unwrap();
    it.look(0);
    assert_eq!(it.followed.offsets().end.get(), 12);
    let (found, error) = it.read(0);
    assert_eq!(found, (0..bases[1]).collect::<Vec<_>>());
    assert!(error.unwrap().is_corrupt());
    let resume = |from| it.followed.resume_above(Offset::new(from), Duration::ZERO).unwrap().get();
    assert_eq!(resume(bases[1]), bases[2]);
    assert_eq!(it.read(bases[2]).0, (bases[2]..12).collect::<Vec<_>>());
    // and one in front, and one behind
    it.bench.disk.remove_file(&Bench::log_path(0)).unwrap();
    let front = it.late();
    front.look(0);
    let resume = |from| front.followed.resume_above(Offset::new(from), Duration::ZERO).unwrap();
    assert_eq!(resume(0).get(), bases[2]);
    assert!(front.read(0).1.unwrap().is_corrupt());
    // where gaps are allowed there is none
    front.record(|facts| facts.compacted = Offset::new(bases[2]));
    let gone_by = front.late();
    gone_by.look(0);
    assert_eq!(gone_by.all(), (bases[2]..12).collect::<Vec<_>>());
}

/// A writer would take them away, and may be at it: they are left out, and looked at again later.
#[test]
fn bytes_that_are_no_batch_yet_are_left_out_until_they_are_one() {
    let it = Beside::new();
    it.fill(1);
    let path = Bench::log_path(0);
    let whole = it.bench.bytes(&path)[..usize::try_from(it.log.size().0).unwrap()].to_vec();
    let more = batch(1, b"comes in two parts");
    let put = |bytes: &[u8]| it.bench.put(&path, &[&whole[..], bytes].concat());
    put(&more[..more.len() - 5]);
    it.look(0);
    assert_eq!(it.all(), [0]);
    put(&more);
    it.look(5);
    it.look(10);
    assert_eq!(it.all(), [0, 1]);
}

/// An empty segment is made anew where an earlier one of its name was dropped.
#[test]
fn a_file_that_takes_the_place_of_an_empty_one_is_looked_into() {
    let it = Beside::new();
    it.fill(1);
    it.look(0);
    it.log.roll_active(Timestamp::from_millis(9)).unwrap();
    it.look(0);
    let path = Bench::log_path(1);
    it.bench.disk.remove_file(&path).unwrap();
    it.bench.put(&path, &batch(1, b"in another file"));
    it.look(0);
    it.look(5);
    assert_eq!(it.all(), [0, 1]);
}

/// As the writer's next open judges.
#[test]
fn a_rewrite_under_way_is_read_where_it_is_whole() {
    for (is_whole, is_cleaned) in [(true, false), (false, false), (true, true)] {
        let it = Beside::new();
        it.fill(9);
        let bases = it.bases();
        it.record(|facts| {
            facts.recovery_point = Offset::new(9);
            facts.compacted = Offset::new(bases[2]);
        });
        let first = it.bench.bytes(&Bench::log_path(0));
        let second = it.bench.bytes(&Bench::log_path(bases[1]));
        let one = batch(0, b"is left of the first");
        let joint = [&one[..], &second].concat();
        let swap = Bench::log_path(0).with_extension("log.swap");
        it.bench.put(&swap, if is_whole { &joint } else { &joint[..joint.len() - 9] });
        if is_cleaned {
            it.bench.put(&Bench::log_path(0).with_extension("log.cleaned"), &first);
        }
        it.look(0);
        let taken = is_whole && !is_cleaned;
        let expected: Vec<_> = match taken {
            true => [0].into_iter().chain(bases[1]..9).collect(),
            false => (0..9).collect(),
        };
        assert_eq!(it.all(), expected, "whole {is_whole}, cleaned {is_cleaned}");
    }
}
