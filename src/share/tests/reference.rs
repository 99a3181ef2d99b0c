//! The pure state at random against a plain reference: takes, words of holders right and wrong,
//! time, jumps of the wall, crashes that keep what was written, a log that loses its head or its
//! tail, resets, other settings.
//!
//! The reference keeps the story of each record from the first that is not finished on, in a list
//! that is never long, and knows nothing of ranges, lists or changes: a step costs it a walk over
//! a few dozen records, so that millions can be played. Every answer is foretold, what can be
//! counted is compared after each step, everything after some, and what the log would say is laid
//! together as a reopened store would do it.

mod lives;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::seeds::{end_suite, seeds};
use crate::share::change::{Delta, Open};
use crate::share::deliveries::{Finished, LeaseFault, LeaseId, Phase, Resolution};
use crate::share::owed::AtLast;
use crate::share::saved::{Saved, SavedRun, SavedState};
use crate::share::schema::{Part, encode_value, parse_value};
use crate::share::state::{Now, ShareState};
use crate::time::Timestamp;

/// Of one seed; a failure is repeated by its seed alone.
const STEPS: u64 = 20_000;
const MOST: u16 = 4;
/// So many records are open at most before no new ones come.
const WIDTH: usize = 40;
const KEYS: usize = 4;
/// Everything is compared so often.
const LOOK: u64 = 32;

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
    /// What is finished and comes again is not kept.
    Forgets,
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
    key: Option<usize>,
    /// Other settings have ended its delay, of which the log may not have heard.
    was_parked: bool,
}

struct Model {
    random: StdRng,
    fault: Fault,
    ordered: bool,
    most: u16,
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
    /// The records from here on; everything below is finished.
    first: i64,
    stories: VecDeque<Story>,
    /// The last words that counted.
    said: HashMap<i64, (LeaseId, Resolution)>,
    takes: u64,
    /// The last ones.
    leases: VecDeque<(i64, LeaseId)>,
}

const FREE: Told = Told::Free { due: Duration::ZERO, wall: 0, delay: Duration::ZERO };

impl Story {
    fn is_open(&self) -> bool {
        !matches!(self.told, Told::Done(_))
    }

    fn new(told: Told, key: Option<usize>) -> Self {
        Story { count: 0, told, key, was_parked: false }
    }

    fn gone() -> Self {
        Story::new(Told::Done(Finished::Archived), None)
    }

    /// Its holder is gone.
    fn give_up(&mut self, most: u16) {
        self.told = if self.count >= most { Told::Spent } else { FREE };
    }
}

impl Model {
    fn new(seed: u64, fault: Fault) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let ordered = match fault {
            Fault::Overtakes => true,
            Fault::Forgets => false,
            _ => random.random_bool(0.5),
        };
        let at_last = if random.random_bool(0.5) { AtLast::Bury } else { AtLast::Archive };
        let mut state = ShareState::new(0, MOST);
        state.set_at_last(at_last);
        Model {
            random,
            fault,
            ordered,
            most: MOST,
            at_last,
            texts: BTreeMap::new(),
            mono: Duration::from_secs(100),
            wall: 1_700_000_000_000,
            state,
            saved: Saved::default(),
            update: None,
            must_snapshot: true,
            first: 0,
            stories: VecDeque::new(),
            said: HashMap::new(),
            takes: 0,
            leases: VecDeque::new(),
        }
    }

    fn now(&self) -> Now {
        Now { mono: self.mono, wall: Timestamp::from_millis(self.wall) }
    }

    fn end(&self) -> i64 {
        self.first + self.stories.len() as i64
    }

    fn index(&self, at: i64) -> Option<usize> {
        usize::try_from(at - self.first).ok().filter(|index| *index < self.stories.len())
    }

    fn step(&mut self) {
        match self.random.random_range(0..1000) {
            0..300 => self.take(),
            300..735 => self.settle(),
            735..750 => self.bring_again(),
            750..820 => self.extend(),
            820..900 => self.pass_time(),
            900..940 => self.bury(),
            940..960 => self.give_up(),
            960..975 => self.lose_head(),
            975..980 => self.lose_tail(),
            980..981 => self.reset(),
            981..985 => self.end_stop(),
            985..990 => self.set_most(),
            _ => self.crash(),
        }
        while self.stories.front().is_some_and(|story| !story.is_open()) {
            self.stories.pop_front();
            self.first += 1;
        }
        self.count();
    }

    /// Writes a change as a place does, and takes it over.
    fn write(&mut self, delta: &Delta) {
        let must = self.must_snapshot;
        if must || self.state.is_to_be_written(delta) {
            let (part, saved) = self.state.to_saved(delta, must);
            let snapshot = part == Part::Snapshot;
            let number = self.saved.snapshot.wrapping_add(i32::from(snapshot));
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

    /// Each open record with its offset and whether an earlier one of its key is open.
    fn open(&self) -> impl Iterator<Item = (i64, &Story, bool)> {
        let mut seen = [false; KEYS];
        let open = (self.first..).zip(&self.stories).filter(|(_, story)| story.is_open());
        open.map(move |(at, story)| {
            let is_behind = story.key.is_some_and(|key| std::mem::replace(&mut seen[key], true));
            (at, story, is_behind)
        })
    }

    fn is_behind(&self, at: i64) -> bool {
        self.open().find(|open| open.0 == at).is_some_and(|open| open.2)
    }

    /// Whether the reference would hand a record out.
    fn is_free(&self, story: &Story) -> bool {
        let Told::Free { due, .. } = story.told else { return false };
        let early =
            if self.fault == Fault::Early { Duration::from_millis(2) } else { Duration::ZERO };
        due.saturating_sub(early) <= self.mono && story.count < self.most
    }

    fn take(&mut self) {
        self.tick();
        self.takes += 1;
        let lease = LeaseId { member: self.random.random_range(0..3), take: self.takes };
        let until = self.mono + Duration::from_millis(self.random.random_range(1..2_000));
        let phase = Phase::Leased { lease, deadline: until };
        let mut delta = Delta::default();
        let most = self.random.random_range(1..6);
        let free = self.open().filter(|(_, story, behind)| !behind && self.is_free(story));
        let free: Vec<i64> = free.map(|(at, ..)| at).take(most).collect();
        let ready: Vec<(i64, Open)> = self.state.ready(most);
        let offered: Vec<i64> = ready.iter().map(|(at, _)| *at).collect();
        let told = |at: &i64| (self.state.open.get(at), self.index(*at).map(|at| self.stories[at]));
        let differs = offered.iter().chain(&free).min().map(told);
        assert_eq!(offered, free, "what may be handed out again: {differs:?}");
        for (at, open) in ready {
            delta.open(at, Open { count: open.count + 1, phase, key: open.key });
            self.hold(at, lease, until);
        }
        let mut taken: Vec<usize> = self.open().filter_map(|(_, story, _)| story.key).collect();
        let room = WIDTH.saturating_sub(self.stories.len());
        for _ in 0..self.random.random_range(0..6).min(room) {
            let at = self.end();
            if self.random.random_bool(0.1) {
                delta.done(at, at, Finished::Archived); // no record here
                self.stories.push_back(Story::gone());
                continue;
            }
            let key = self.ordered.then(|| self.random.random_range(0..KEYS));
            self.stories.push_back(Story::new(FREE, key));
            let overtakes = self.fault == Fault::Overtakes && self.random.random_bool(0.1);
            let is_behind = key.is_some_and(|key| taken.contains(&key));
            taken.extend(key);
            let key = key.map(|key| key as u64);
            if is_behind && !overtakes {
                delta.open(at, Open { count: 0, phase: Phase::Behind, key });
            } else {
                delta.open(at, Open { count: 1, phase, key });
                self.hold(at, lease, until);
            }
        }
        delta.end = Some(self.end());
        self.write(&delta);
    }

    fn hold(&mut self, at: i64, lease: LeaseId, until: Duration) {
        let index = self.index(at).unwrap();
        let story = &mut self.stories[index];
        story.count += 1;
        (story.told, story.was_parked) = (Told::Held { lease, until }, false);
        self.leases.push_back((at, lease));
        if self.leases.len() > 64 {
            self.leases.pop_front();
        }
    }

    /// What the reference answers to a word of a holder.
    fn answer(&self, at: i64, lease: LeaseId, how: Resolution) -> Result<bool, LeaseFault> {
        if self.said.get(&at) == Some(&(lease, how)) {
            return Ok(false);
        }
        if at >= self.end() {
            return Err(LeaseFault::NeverTaken);
        }
        let Some(index) = self.index(at) else { return Err(LeaseFault::Finished) };
        let story = self.stories[index];
        match story.told {
            Told::Done(Finished::Acknowledged) => Err(LeaseFault::Acknowledged),
            Told::Done(Finished::Archived) => Err(LeaseFault::Archived),
            Told::Held { lease: by, .. } if by == lease => Ok(true),
            Told::Held { .. } if self.fault == Fault::AcceptsStale => Ok(true),
            Told::Held { .. } => Err(LeaseFault::Stale),
            Told::Owed => Err(LeaseFault::Archived),
            Told::Free { .. } if story.count == 0 && self.is_behind(at) => {
                Err(LeaseFault::NeverTaken)
            }
            Told::Free { .. } | Told::Spent => Err(LeaseFault::NotLeased),
        }
    }

    fn draw_lease(&mut self) -> (i64, LeaseId) {
        if self.leases.is_empty() || self.random.random_bool(0.05) {
            let at = self.random.random_range((self.first - 5).max(0)..self.end() + 3);
            return (at, LeaseId { member: 9, take: self.random.random_range(0..9) });
        }
        let newest = self.leases.len().saturating_sub(self.random.random_range(1..20));
        self.leases[newest]
    }

    fn settle(&mut self) {
        self.tick();
        let (at, lease) = self.draw_lease();
        let delay = [0, 1, 400, 3_000][self.random.random_range(0..4)];
        let how = match self.random.random_range(0..10) {
            0..5 => Resolution::Ack,
            5..9 => Resolution::Release { delay: Duration::from_millis(delay) },
            _ => Resolution::Reject,
        };
        let mut delta = Delta::default();
        let planned = self.state.plan_settle((at, lease), how, self.now(), &mut delta);
        let answer = self.answer(at, lease, how);
        assert_eq!(planned, answer, "{at} {lease:?} {how:?}");
        if answer != Ok(true) {
            assert!(delta.is_empty(), "a refusal changes nothing");
            return;
        }
        if self.random.random_bool(0.1) {
            return; // the append failed: nothing has changed
        }
        let index = self.index(at).unwrap();
        let buries = self.at_last == AtLast::Bury;
        let is_last = how == Resolution::Reject
            || how != Resolution::Ack && self.stories[index].count >= self.most;
        if how != Resolution::Ack && self.random.random_bool(0.5) {
            let text: Arc<str> = Arc::from(format!("{lease:?}"));
            delta.texts.push((at, text.clone()));
            if buries && is_last {
                self.texts = self.texts.split_off(&self.first);
                self.texts.insert(at, text);
            }
        }
        self.said.insert(at, (lease, how));
        if self.said.len() > 2_000 {
            let newest = self.end() - 1_000;
            self.said.retain(|at, _| *at >= newest);
        }
        let (wall, mono, most) = (self.wall, self.mono, self.most);
        let story = &mut self.stories[index];
        story.told = match how {
            Resolution::Ack => Told::Done(Finished::Acknowledged),
            _ if buries && is_last => Told::Owed,
            Resolution::Reject => Told::Done(Finished::Archived),
            Resolution::Release { .. } if story.count >= most => Told::Spent,
            Resolution::Release { delay } if delay.is_zero() => FREE,
            Resolution::Release { delay } => {
                let add = i64::try_from(delay.as_millis()).unwrap();
                Told::Free { due: mono + delay, wall: wall + add, delay }
            }
        };
        self.write(&delta);
    }

    fn extend(&mut self) {
        self.tick();
        let (at, lease) = self.draw_lease();
        let until = self.mono + Duration::from_millis(self.random.random_range(1..4_000));
        let extended = self.state.extend(at, lease, until);
        let index = self.index(at);
        match index.map(|index| &mut self.stories[index]) {
            Some(Story { told: Told::Held { lease: by, until: end }, .. }) if *by == lease => {
                assert_eq!(extended, Ok(()));
                *end = until;
            }
            _ => assert!(extended.is_err()),
        }
    }

    /// Time has passed, for both.
    fn tick(&mut self) {
        self.state.tick(self.mono);
        for story in &mut self.stories {
            if let Told::Held { until, .. } = story.told
                && until <= self.mono
            {
                story.give_up(self.most);
            }
        }
    }

    /// What can be told without a walk over the state.
    fn count(&self) {
        let (mut open, mut held) = (0, 0);
        for story in &self.stories {
            open += usize::from(story.is_open());
            held += usize::from(matches!(story.told, Told::Held { .. }));
        }
        let counted = (self.state.open_len(), self.state.leased_len());
        assert_eq!(counted, (open, held), "open, leased");
        assert_eq!((self.state.start(), self.state.end()), (self.first, self.end()));
        assert!(self.state.next_due().is_none_or(|due| due > Duration::ZERO));
    }

    fn check(&self) {
        self.state.check();
        let expected: Vec<i64> = self.open().map(|(at, ..)| at).collect();
        assert_eq!(self.state.open_offsets(), expected, "what is not finished");
        let is_owed =
            |at: i64| self.index(at).is_some_and(|index| self.stories[index].told == Told::Owed);
        let texts = self.texts.iter().filter(|(at, _)| is_owed(**at));
        assert!(texts.eq(self.state.texts.iter()), "what is said of records that are owed");
    }
}

fn play(seed: u64, fault: Fault) -> Result<(), String> {
    let mut model = Model::new(seed, fault);
    for step in 0..STEPS {
        let play = || {
            model.step();
            if step.is_multiple_of(LOOK) || step + 1 == STEPS {
                model.check();
            }
        };
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(play));
        played.map_err(|_| {
            let again = "cargo test --lib is_what_the_reference_says";
            format!("seed {seed}, step {step}: TIDELOG_SEED={seed} {again}")
        })?;
    }
    Ok(())
}

#[test]
fn the_state_is_what_the_reference_says() {
    let (began, mut states) = (Instant::now(), 0);
    for seed in seeds(2, 50, 5_000) {
        if let Err(failure) = play(seed, Fault::None) {
            panic!("{failure}");
        }
        states += STEPS;
    }
    end_suite("share-model", states, began);
}

#[test]
fn planted_faults_are_found() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {})); // they are to panic
    let faults =
        [Fault::AcceptsStale, Fault::LosesWrites, Fault::Early, Fault::Overtakes, Fault::Forgets];
    let missed: Vec<Fault> =
        faults.into_iter().filter(|fault| (0..20).all(|seed| play(seed, *fault).is_ok())).collect();
    std::panic::set_hook(hook);
    assert_eq!(missed, []);
}
