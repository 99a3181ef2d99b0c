//! The pure state at random against a plain reference: takes, words of holders right and wrong,
//! time, jumps of the wall, crashes that keep what was written, a log that loses its head.
//!
//! The reference keeps each record's whole story in a list and knows nothing of ranges, lists or
//! changes. Every answer is foretold, everything is compared after each step, and what the log
//! would say is laid together after each step as a reopened store would do it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::seeds::seeds;
use crate::share::change::{Delta, Open};
use crate::share::deliveries::{Finished, LeaseFault, LeaseId, Phase, Resolution};
use crate::share::owed::AtLast;
use crate::share::saved::{Saved, SavedRun, SavedState};
use crate::share::schema::{Part, encode_value, parse_value};
use crate::share::state::{Now, ShareState};
use crate::time::Timestamp;

const STEPS: u64 = 600;
const MOST: u16 = 4;

/// A fault planted to see that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// A word of a lease that is over counts.
    AcceptsStale,
    /// What was written last is not there after a crash.
    LosesWrites,
    /// Delays are over a moment before their time.
    Early,
    /// A later record of a key is handed out beside an earlier one.
    Overtakes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// Not handed out yet, or given back.
    Free {
        due: Duration,
        wall: i64,
        delay: Duration,
    },
    Held {
        lease: LeaseId,
        until: Duration,
    },
    Spent,
    /// Never to be handed out, and open until it is a dead letter.
    Owed,
    Done(Finished),
}

/// What the reference knows of one record.
#[derive(Clone, Copy, Debug)]
struct Story {
    count: u16,
    told: Told,
    key: Option<u64>,
    settled: Option<(LeaseId, u8)>,
}

struct Model {
    random: StdRng,
    fault: Fault,
    ordered: bool,
    at_last: AtLast,
    /// What was said of records that are owed.
    texts: BTreeMap<i64, Arc<str>>,
    mono: Duration,
    wall: i64,
    state: ShareState,
    /// The newest snapshot of the log, and the newest update: compaction has taken the others.
    saved: Saved,
    update: Option<(i32, SavedState)>,
    must_snapshot: bool,
    stories: BTreeMap<i64, Story>,
    end: i64,
    takes: u64,
    leases: Vec<(i64, LeaseId)>,
}

const FREE: Told = Told::Free { due: Duration::ZERO, wall: 0, delay: Duration::ZERO };

impl Model {
    fn new(seed: u64, fault: Fault) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let ordered = fault == Fault::Overtakes || random.random_bool(0.5);
        let at_last = if random.random_bool(0.5) { AtLast::Bury } else { AtLast::Archive };
        let mut state = ShareState::new(0, MOST);
        state.set_at_last(at_last);
        Model {
            random,
            fault,
            ordered,
            at_last,
            texts: BTreeMap::new(),
            mono: Duration::from_secs(100),
            wall: 1_700_000_000_000,
            state,
            saved: Saved::default(),
            update: None,
            must_snapshot: true,
            stories: BTreeMap::new(),
            end: 0,
            takes: 0,
            leases: Vec::new(),
        }
    }

    fn now(&self) -> Now {
        Now { mono: self.mono, wall: Timestamp::from_millis(self.wall) }
    }

    fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..30 => self.take(),
            30..75 => self.settle(),
            75..82 => self.extend(),
            82..90 => self.pass_time(),
            90..93 => self.bury(),
            93..95 => self.give_up(),
            95..97 => self.lose_head(),
            _ => self.crash(),
        }
        self.check();
    }

    /// Writes a change as a place does, and takes it over.
    fn write(&mut self, delta: &Delta) {
        let must = self.must_snapshot;
        if must || self.state.is_to_be_written(delta) {
            let snapshot = must || self.state.wants_snapshot(delta);
            let part = if snapshot { Part::Snapshot } else { Part::Update };
            let number = self.saved.snapshot + i32::from(snapshot);
            let saved = self.state.to_saved(delta, snapshot);
            let bytes = encode_value(&saved, part, number, Timestamp::from_millis(self.wall));
            let (number, read) = parse_value(&bytes, part).unwrap();
            if self.fault != Fault::LosesWrites || self.random.random_bool(0.8) {
                match part {
                    Part::Snapshot => self.saved = Saved { snapshot: number, state: read },
                    Part::Update => self.update = Some((number, read)),
                }
            }
            self.state.apply(delta);
            if snapshot {
                self.state.snapshot_written();
                self.must_snapshot = false;
            }
        } else {
            self.state.apply(delta);
        }
    }

    /// Whether the reference would hand a record out.
    fn is_free(&self, at: i64) -> bool {
        let story = self.stories[&at];
        let Told::Free { due, .. } = story.told else { return false };
        let early =
            if self.fault == Fault::Early { Duration::from_millis(2) } else { Duration::ZERO };
        let is_due = due.saturating_sub(early) <= self.mono;
        is_due && story.count < MOST && !self.is_behind(at)
    }

    fn is_behind(&self, at: i64) -> bool {
        let Some(key) = self.stories[&at].key else { return false };
        let mut earlier = self.stories.range(..at).map(|(_, story)| story);
        let is_open = |story: &Story| !matches!(story.told, Told::Done(_));
        earlier.any(|story| story.key == Some(key) && is_open(story))
    }

    fn take(&mut self) {
        self.state.tick(self.mono);
        self.tick();
        self.takes += 1;
        let lease = LeaseId { member: self.random.random_range(0..3), take: self.takes };
        let until = self.mono + Duration::from_millis(self.random.random_range(1..2_000));
        let phase = Phase::Leased { lease, deadline: until };
        let mut delta = Delta::default();
        let most = self.random.random_range(1..6);
        let free: Vec<i64> =
            self.stories.keys().copied().filter(|at| self.is_free(*at)).take(most).collect();
        let ready: Vec<(i64, Open)> = self.state.ready(most);
        let offered: Vec<i64> = ready.iter().map(|(at, _)| *at).collect();
        assert_eq!(offered, free, "what may be handed out again");
        for (at, open) in ready {
            let count = open.count + 1;
            delta.open(at, Open { count, phase, key: open.key });
            self.hold(at, lease, until);
        }
        for _ in 0..self.random.random_range(0..6) {
            let at = self.end;
            self.end += 1;
            if self.random.random_bool(0.1) {
                delta.done(at, at, Finished::Archived); // no record here
                let told = Told::Done(Finished::Archived);
                self.stories.insert(at, Story { count: 0, told, key: None, settled: None });
                continue;
            }
            let key = self.ordered.then(|| self.random.random_range(0..4));
            self.stories.insert(at, Story { count: 0, told: FREE, key, settled: None });
            let overtakes = self.fault == Fault::Overtakes && self.random.random_bool(0.1);
            if self.is_behind(at) && !overtakes {
                delta.open(at, Open { count: 0, phase: Phase::Behind, key });
            } else {
                delta.open(at, Open { count: 1, phase, key });
                self.hold(at, lease, until);
            }
        }
        delta.end = Some(self.end);
        self.write(&delta);
    }

    fn hold(&mut self, at: i64, lease: LeaseId, until: Duration) {
        let story = self.stories.get_mut(&at).unwrap();
        story.count += 1;
        story.told = Told::Held { lease, until };
        self.leases.push((at, lease));
    }

    /// What the reference answers to a word of a holder.
    fn answer(&self, at: i64, lease: LeaseId, word: u8) -> Result<bool, LeaseFault> {
        let Some(story) = self.stories.get(&at) else { return Err(LeaseFault::NeverTaken) };
        if story.settled == Some((lease, word)) {
            return Ok(false);
        }
        match story.told {
            Told::Done(_) if at < self.state.start() => Err(LeaseFault::Finished),
            Told::Done(Finished::Acknowledged) => Err(LeaseFault::Acknowledged),
            Told::Done(Finished::Archived) => Err(LeaseFault::Archived),
            Told::Held { lease: by, .. } if by == lease || self.fault == Fault::AcceptsStale => {
                Ok(true)
            }
            Told::Held { .. } => Err(LeaseFault::Stale),
            Told::Free { .. } if story.count == 0 && self.is_behind(at) => {
                Err(LeaseFault::NeverTaken)
            }
            Told::Owed => Err(LeaseFault::Archived),
            Told::Free { .. } | Told::Spent => Err(LeaseFault::NotLeased),
        }
    }

    fn draw_lease(&mut self) -> (i64, LeaseId) {
        if self.leases.is_empty() || self.random.random_bool(0.05) {
            let at = self.random.random_range(0..self.end + 3);
            return (at, LeaseId { member: 9, take: self.random.random_range(0..9) });
        }
        let newest = self.leases.len().saturating_sub(self.random.random_range(1..20));
        self.leases[newest]
    }

    fn settle(&mut self) {
        self.state.tick(self.mono);
        self.tick();
        let (at, lease) = self.draw_lease();
        let delay = Duration::from_millis(self.random.random_range(1..3_000));
        let (how, word) = match self.random.random_range(0..10) {
            0..5 => (Resolution::Ack, 0),
            5..7 => (Resolution::Release { delay: Duration::ZERO }, 1),
            7..9 => (Resolution::Release { delay }, 1),
            _ => (Resolution::Reject, 2),
        };
        let mut delta = Delta::default();
        let planned = self.state.plan_settle((at, lease), how, self.now(), &mut delta);
        let answer = self.answer(at, lease, word);
        assert_eq!(planned, answer, "{at} {lease:?} {how:?}: {:?}", self.stories.get(&at));
        if answer != Ok(true) {
            assert!(delta.is_empty(), "a refusal changes nothing");
            return;
        }
        if self.random.random_bool(0.1) {
            return; // the append failed: nothing has changed
        }
        let is_last = how != Resolution::Ack && self.stories[&at].count >= MOST;
        let is_owed = self.at_last == AtLast::Bury && (how == Resolution::Reject || is_last);
        if how != Resolution::Ack && self.random.random_bool(0.5) {
            delta.texts.push((at, Arc::from(format!("{lease:?}"))));
            self.texts.extend(delta.texts.iter().filter(|_| is_owed).cloned());
        }
        let wall = self.wall;
        let mono = self.mono;
        let story = self.stories.get_mut(&at).unwrap();
        story.settled = Some((lease, word));
        story.told = match how {
            Resolution::Ack => Told::Done(Finished::Acknowledged),
            _ if is_owed => Told::Owed,
            Resolution::Reject => Told::Done(Finished::Archived),
            Resolution::Release { .. } if story.count >= MOST => Told::Spent,
            Resolution::Release { delay } => {
                let add = i64::try_from(delay.as_millis()).unwrap();
                Told::Free { due: mono + delay, wall: wall + add, delay }
            }
        };
        self.write(&delta);
    }

    fn extend(&mut self) {
        self.state.tick(self.mono);
        self.tick();
        let (at, lease) = self.draw_lease();
        let until = self.mono + Duration::from_millis(self.random.random_range(1..4_000));
        let extended = self.state.extend(at, lease, until);
        match self.stories.get_mut(&at) {
            Some(Story { told: Told::Held { lease: by, until: end }, .. }) if *by == lease => {
                assert_eq!(extended, Ok(()));
                *end = until;
            }
            _ => assert!(extended.is_err()),
        }
    }

    fn tick(&mut self) {
        for story in self.stories.values_mut() {
            if let Told::Held { until, .. } = story.told
                && until <= self.mono
            {
                story.told = if story.count >= MOST { Told::Spent } else { FREE };
            }
        }
    }

    fn pass_time(&mut self) {
        let by = self.random.random_range(0..1_500);
        self.mono += Duration::from_millis(by);
        self.wall += i64::try_from(by).unwrap();
        match self.random.random_range(0..10) {
            0 => self.wall -= 24 * 3_600_000,
            1 => self.wall += 3_600_000,
            _ => {}
        }
        self.state.tick(self.mono);
        self.tick();
    }

    /// What is exhausted is archived.
    fn bury(&mut self) {
        let spent: Vec<i64> = self.state.exhausted().map(|(at, _)| at).collect();
        let is_spent = |at: &i64| match self.stories[at].told {
            Told::Spent => !self.is_behind(*at),
            told => told == Told::Owed,
        };
        let expected: Vec<i64> = self.stories.keys().copied().filter(is_spent).collect();
        assert_eq!(spent, expected);
        if self.at_last == AtLast::Bury {
            self.state.owe_exhausted();
            assert!(self.state.exhausted().all(|it| matches!(it.1.phase, Phase::Owed(_))));
        }
        let mut delta = Delta::default();
        for at in spent {
            delta.done(at, at, Finished::Archived);
            self.stories.get_mut(&at).unwrap().told = Told::Done(Finished::Archived);
        }
        self.write(&delta);
    }

    fn give_up(&mut self) {
        let member = self.random.random_range(0..3);
        self.state.give_up(member);
        for story in self.stories.values_mut() {
            if let Told::Held { lease, .. } = story.told
                && lease.member == member
            {
                story.told = if story.count >= MOST { Told::Spent } else { FREE };
            }
        }
    }

    fn lose_head(&mut self) {
        let start = self.state.start() + self.random.random_range(0..4);
        let mut delta = Delta::default();
        self.state.plan_log_start(start, &mut delta);
        self.end = self.end.max(start);
        for at in 0..start {
            let gone =
                Story { count: 0, told: Told::Done(Finished::Archived), key: None, settled: None };
            let story = self.stories.entry(at).or_insert(gone);
            if !matches!(story.told, Told::Done(_)) {
                story.told = Told::Done(Finished::Archived);
            }
        }
        self.write(&delta);
    }

    /// What a reopened store reads.
    fn read_again(&self) -> SavedState {
        let mut state = self.saved.state.clone();
        if let Some((number, update)) = &self.update
            && *number == self.saved.snapshot
        {
            state.lay_over(update);
        }
        state
    }

    /// A restart: leases end, what was said stays said.
    fn crash(&mut self) {
        let saved = self.read_again();
        for (at, story) in &mut self.stories {
            // whether the log has heard that a delay is over depends on what was written since
            if let Told::Free { due, .. } = story.told
                && due <= self.mono
                && matches!(saved.runs.get(*at), Some(SavedRun::Open { due: None, .. }))
            {
                story.told = FREE;
            }
        }
        self.must_snapshot = true;
        self.mono = Duration::from_secs(self.random.random_range(1..100));
        let now = self.now();
        self.state = ShareState::restore(&saved, MOST, now);
        self.state.set_at_last(self.at_last);
        let before = self.end;
        self.end = self.end.min(self.state.end());
        assert!(self.fault != Fault::None || self.end == before, "the end is lost");
        self.leases.clear();
        for story in self.stories.values_mut() {
            story.settled = None;
            story.told = match story.told {
                Told::Done(how) => Told::Done(how),
                Told::Owed => Told::Owed,
                _ if story.count >= MOST => Told::Spent,
                Told::Held { .. } | Told::Spent => FREE,
                Told::Free { delay, .. } if delay.is_zero() => FREE,
                Told::Free { wall, delay, .. } => {
                    let left = u64::try_from((wall - self.wall).max(0)).unwrap();
                    let left = Duration::from_millis(left).min(delay);
                    if left.is_zero() {
                        FREE
                    } else {
                        Told::Free { due: now.mono + left, wall, delay }
                    }
                }
            };
        }
        let keys: Vec<(i64, u64)> =
            self.stories.iter().filter_map(|(at, story)| Some((*at, story.key?))).collect();
        self.state.learn_keys(&keys);
        // one behind another lost its delay: it waits for that one alone
        let behind: Vec<i64> =
            self.stories.keys().copied().filter(|at| self.is_behind(*at)).collect();
        for at in behind {
            let story = self.stories.get_mut(&at).unwrap();
            if matches!(story.told, Told::Free { .. }) {
                story.told = FREE;
            }
        }
    }

    fn check(&self) {
        self.state.check();
        let open: BTreeSet<i64> = self.state.open_offsets().into_iter().collect();
        let told =
            |(at, story): (&i64, &Story)| (!matches!(story.told, Told::Done(_))).then_some(*at);
        let expected: BTreeSet<i64> = self.stories.iter().filter_map(told).collect();
        assert_eq!(open, expected, "what is not finished");
        let is_owed = |at: &i64| self.stories.get(at).is_some_and(|it| it.told == Told::Owed);
        let texts = self.texts.iter().filter(|(at, _)| is_owed(at));
        assert!(texts.eq(self.state.texts.iter()), "what is said of records that are owed");
        assert_eq!(self.state.end(), self.end);
        let start = expected.first().copied().unwrap_or(self.end);
        assert_eq!(self.state.start(), start);
        if let Some(due) = self.state.next_due() {
            assert!(due > Duration::ZERO);
        }
    }
}

fn play(seed: u64, fault: Fault) -> Result<(), String> {
    let mut model = Model::new(seed, fault);
    for step in 0..STEPS {
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| model.step()));
        played.map_err(|_| format!("seed {seed}, step {step}; TIDELOG_SEED={seed}"))?;
    }
    Ok(())
}

#[test]
fn the_state_is_what_the_reference_says() {
    for seed in seeds(3, 50, 20_000) {
        if let Err(failure) = play(seed, Fault::None) {
            panic!("{failure}");
        }
    }
}

#[test]
fn planted_faults_are_found() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {})); // they are to panic
    let faults = [Fault::AcceptsStale, Fault::LosesWrites, Fault::Early, Fault::Overtakes];
    let missed: Vec<Fault> =
        faults.into_iter().filter(|fault| (0..20).all(|seed| play(seed, *fault).is_ok())).collect();
    std::panic::set_hook(hook);
    assert_eq!(missed, []);
}
