//! What comes over a place from outside, in the reference: time, consumers that go, what is given
//! up, a log that loses its head or its tail, a reset, consumers with other settings, a restart.
//!
//! A restart keeps what was written and ends leases; what is said of delays there is what the log
//! has heard. Called by the steps of `reference`.

use super::*;
use crate::ids::Offset;
use crate::share::again::Again;
use crate::share::stopped::Verdict;

impl Model {
    pub(super) fn pass_time(&mut self) {
        let by = self.random.random_range(0..1_500);
        self.mono += Duration::from_millis(by);
        self.wall += i64::try_from(by).unwrap();
        match self.random.random_range(0..10) {
            0 => self.wall -= 24 * 3_600_000,
            1 => self.wall += 25 * 3_600_000,
            _ => {}
        }
        self.tick();
    }

    /// A record is to come again, finished or not, looked at or not.
    pub(super) fn bring_again(&mut self) {
        if self.ordered {
            return; // who gives back what it has read keeps no order of keys
        }
        self.tick();
        let at = self.random.random_range((self.first - 4).max(0)..self.end() + 4);
        let delay = [0, 1, 400, 3_000][self.random.random_range(0..4)];
        let (offset, delay) = (Offset::new(at), Duration::from_millis(delay));
        let again = Again { offset, epoch: None, delay };
        let mut delta = Delta::default();
        let archived = self.state.plan_again(again, self.now(), &mut delta);
        if self.fault == Fault::Forgets {
            delta.changes.pop();
        }
        if self.random.random_bool(0.1) {
            return; // the append failed: nothing has changed
        }
        let done = Story::new(Told::Done(Finished::Acknowledged), None);
        while at < self.first {
            self.stories.push_front(done);
            self.first -= 1;
        }
        while at >= self.end() {
            self.stories.push_back(done);
        }
        let index = self.index(at).unwrap();
        let (wall, mono, most, at_last) = (self.wall, self.mono, self.most, self.at_last);
        let story = &mut self.stories[index];
        if story.told == Told::Owed {
            assert!(delta.is_empty() && !archived);
            return;
        }
        self.texts.remove(&at); // of an earlier life of it
        story.count = if story.is_open() { story.count + 1 } else { 1 };
        story.was_parked = false;
        story.told = match at_last {
            AtLast::Bury if story.count >= most => Told::Owed,
            AtLast::Archive if story.count >= most => Told::Done(Finished::Archived),
            _ if delay.is_zero() => FREE,
            _ => {
                let add = i64::try_from(delay.as_millis()).unwrap();
                Told::Free { due: mono + delay, wall: wall + add, delay }
            }
        };
        assert_eq!(archived, story.told == Told::Done(Finished::Archived));
        self.write(&delta);
    }

    /// What is exhausted is archived.
    pub(super) fn bury(&mut self) {
        let spent: Vec<i64> = self.state.exhausted().map(|(at, _)| at).collect();
        let is_spent = |story: &Story, behind: bool| match story.told {
            Told::Owed => true,
            Told::Spent => !behind,
            told => told == FREE && story.count >= self.most && !behind,
        };
        let expected = self.open().filter(|(_, story, behind)| is_spent(story, *behind));
        assert_eq!(spent, expected.map(|(at, ..)| at).collect::<Vec<_>>());
        if self.at_last == AtLast::Bury {
            self.state.owe_exhausted();
            assert!(self.state.exhausted().all(|it| matches!(it.1.phase, Phase::Owed(_))));
        }
        let mut delta = Delta::default();
        for at in spent {
            delta.done(at, at, Finished::Archived);
            let index = self.index(at).unwrap();
            self.stories[index].told = Told::Done(Finished::Archived);
        }
        self.write(&delta);
    }

    /// An operator says what becomes of a record that is given up.
    pub(super) fn end_stop(&mut self) {
        self.tick();
        let spent: Vec<i64> = self.state.exhausted().map(|(at, _)| at).collect();
        let Some(at) = spent.get(self.random.random_range(0..spent.len().max(1))).copied() else {
            let at = self.random.random_range(self.first..self.end() + 1);
            assert!(!self.state.plan_verdict(at, Verdict::Skip, &mut Delta::default()));
            return;
        };
        let verdict = if self.random.random_bool(0.5) { Verdict::Skip } else { Verdict::Release };
        let mut delta = Delta::default();
        assert!(self.state.plan_verdict(at, verdict, &mut delta));
        let index = self.index(at).unwrap();
        let story = &mut self.stories[index];
        (story.count, story.was_parked) = (0, false);
        story.told = match verdict {
            Verdict::Release => FREE,
            Verdict::Skip => Told::Done(Finished::Archived),
        };
        self.texts.remove(&at);
        self.write(&delta);
    }

    pub(super) fn give_up(&mut self) {
        let member = self.random.random_range(0..3);
        self.state.give_up(|gone| gone == member);
        for story in &mut self.stories {
            if let Told::Held { lease, .. } = story.told
                && lease.member == member
            {
                story.give_up(self.most);
            }
        }
    }

    /// Retention was faster.
    pub(super) fn lose_head(&mut self) {
        let start = self.state.start() + self.random.random_range(0..4);
        let mut delta = Delta::default();
        self.state.plan_log_start(start, &mut delta);
        while self.end() < start {
            self.stories.push_back(Story::gone());
        }
        for (_, story) in (self.first..start).zip(&mut self.stories) {
            if story.is_open() {
                story.told = Told::Done(Finished::Archived);
            }
        }
        self.write(&delta);
    }

    /// The log is cut; the next record of the group's log says so.
    pub(super) fn lose_tail(&mut self) {
        let to = self.end() - self.random.random_range(0..6);
        self.cut(to.max(0));
        self.must_snapshot = true;
    }

    fn cut(&mut self, to: i64) {
        self.state.cut(to);
        self.stories.truncate(usize::try_from(to - self.first).unwrap_or(0));
        self.first = self.first.min(to);
        drop(self.texts.split_off(&to));
    }

    /// An operator has the group go on elsewhere: of what was there nothing is known any more.
    pub(super) fn reset(&mut self) {
        let to = self.random.random_range((self.first - 9).max(0)..self.end() + 1);
        self.state = ShareState::new(to, self.most);
        self.state.set_at_last(self.at_last);
        self.texts.clear();
        (self.first, self.must_snapshot) = (to, true);
        self.stories.clear();
        self.said.clear();
        self.write(&Delta::default());
    }

    /// Consumers with other settings come.
    pub(super) fn set_most(&mut self) {
        self.most = self.random.random_range(1..7);
        self.state.set_most(self.most);
        let behind: Vec<i64> = self.open().filter(|open| open.2).map(|(at, ..)| at).collect();
        for (at, story) in (self.first..).zip(&mut self.stories) {
            match story.told {
                Told::Free { delay, .. } if story.count >= self.most && !behind.contains(&at) => {
                    story.was_parked |= !delay.is_zero();
                    story.told = Told::Spent;
                }
                Told::Spent if story.count < self.most => story.told = FREE,
                _ => {}
            }
        }
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
    pub(super) fn crash(&mut self) {
        let saved = self.read_again();
        for (at, story) in (self.first..).zip(&mut self.stories) {
            // whether the log has heard that a delay is over depends on what was written since
            if let Told::Free { due, .. } = story.told
                && due <= self.mono
                && matches!(saved.runs.get(at), Some(SavedRun::Open { due: None, .. }))
            {
                story.told = FREE;
            }
            if story.was_parked
                && let Some(SavedRun::Open { due: Some((wall, delay)), .. }) = saved.runs.get(at)
            {
                let (wall, due) = (wall.as_millis(), Duration::MAX);
                story.told = Told::Free { due, wall, delay };
            }
        }
        self.must_snapshot = true;
        self.mono = Duration::from_secs(self.random.random_range(1..100));
        let now = self.now();
        self.state = ShareState::restore(&saved, self.most, now);
        self.state.set_at_last(self.at_last);
        let end = self.end();
        assert!(self.fault != Fault::None || self.state.end() >= end, "the end is lost");
        self.cut(end.min(self.state.end()));
        self.leases.clear();
        self.said.clear();
        let (wall, most) = (self.wall, self.most);
        for story in &mut self.stories {
            story.told = match story.told {
                Told::Done(how) => Told::Done(how),
                Told::Owed => Told::Owed,
                _ if story.count >= most => Told::Spent,
                Told::Held { .. } | Told::Spent => FREE,
                Told::Free { delay, .. } if delay.is_zero() => FREE,
                Told::Free { wall: due, delay, .. } => {
                    let left = u64::try_from((due - wall).max(0)).unwrap();
                    let left = Duration::from_millis(left).min(delay);
                    // even if it is over: what the log says next may be that it is not
                    Told::Free { due: now.mono + left, wall: due, delay }
                }
            };
        }
        let keys = self.open().filter_map(|(at, story, _)| Some((at, story.key? as u64)));
        let keys: Vec<(i64, u64)> = keys.collect();
        self.state.learn_keys(&keys);
        // one behind another lost its delay: it waits for that one alone
        let behind: Vec<i64> = self.open().filter(|open| open.2).map(|(at, ..)| at).collect();
        for at in behind {
            let index = self.index(at).unwrap();
            if matches!(self.stories[index].told, Told::Free { .. }) {
                self.stories[index].told = FREE;
            }
        }
    }
}
