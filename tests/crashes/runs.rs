//! A scenario that was played and recorded, and the judgement of what a crash in it left.
//!
//! Whatever the library does with a disk, a panic included, is a verdict and no end of the suite.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tidelog::disk::{Crash, IoMode, Moment, SimDisk};
use tidelog::{Durability, Journal, LeaderEpoch, Leadership};

use crate::scenarios::Scenario;
use crate::stage::{ALONE, Door, Setup, Stage};
use crate::story::{Deed, Model, Story};
use crate::verdict::{self, Found, Hashed, Promise, ensure};

/// What there is to know of a run, to judge a crash in it.
pub struct Run {
    pub name: String,
    pub mode: IoMode,
    pub setup: Setup,
    pub story: Story,
    pub moments: Vec<Moment>,
}

/// The groups that scenarios commit for.
pub const GROUPS: [&str; 2] = ["g", "h"];

impl Run {
    pub fn of(scenario: &Scenario, mode: IoMode) -> Self {
        Self::on(scenario, mode, scenario.stage(mode))
    }

    /// On a stage that was prepared for it.
    pub fn on(scenario: &Scenario, mode: IoMode, mut stage: Stage) -> Self {
        scenario.play(&mut stage);
        let name = format!("{}-{mode:?}", scenario.name);
        let moments = stage.moments();
        drop(stage.disk.kill());
        Run { name, mode, setup: stage.setup, story: stage.story, moments }
    }

    /// What is promised at a moment, and a number that tells such models apart.
    pub fn model(&self, moment: &Moment) -> (usize, Model) {
        let told = self.story.iter().take_while(|(at, _)| *at < moment.operation()).count();
        (told, Model::before(&self.story, moment.operation()))
    }

    fn groups(&self) -> &'static [&'static str] {
        let is_one = |deed: &Deed| matches!(deed, Deed::Committing { .. } | Deed::Staging { .. });
        let commits = self.story.iter().any(|(_, deed)| is_one(deed));
        if commits { &GROUPS } else { &[] }
    }

    /// Whether an open may append: what the journal has, the markers of transactions, what became
    /// of work.
    fn opens_append(&self) -> bool {
        self.setup.journal != Journal::Off || self.has_transactions() || self.has_work()
    }

    fn has_transactions(&self) -> bool {
        self.story.iter().any(|(_, deed)| matches!(deed, Deed::Beginning { .. }))
    }

    fn has_work(&self) -> bool {
        self.story.iter().any(|(_, deed)| matches!(deed, Deed::Work { .. }))
    }

    /// Opens what a crash left and reads it. The disk is left as the end of that process leaves it.
    pub fn look(&self, disk: &mut SimDisk) -> Result<Found, String> {
        guarded(|| {
            let door = verdict::open(disk, &self.setup)?;
            let mut found = verdict::read(&door, self.groups())?;
            if self.has_work() {
                verdict::read_work(&door, &mut found)?;
            }
            if self.story.iter().any(|(_, deed)| matches!(deed, Deed::BackingUp)) {
                verdict::read_backups(disk, self.groups(), &mut found)?;
            }
            *disk = disk.kill();
            Ok(found)
        })
    }

    /// Opens what a crash left and compares it; how much is gone that was promised less.
    pub fn judge(
        &self,
        disk: &mut SimDisk,
        model: &Model,
        promise: Promise,
    ) -> Result<u64, String> {
        model.check(&self.look(disk)?, promise)
    }

    /// Opens twice more: the partitions' bytes stay the same (I8). Then life goes on.
    pub fn judge_further(&self, disk: &mut SimDisk) -> Result<(), String> {
        guarded(|| {
            if self.has_transactions() || self.has_work() {
                // a marker that the first has appended may have begun a segment, and the second
                // drops what lies below the start then
                let door = verdict::open(disk, &self.setup)?;
                *disk = disk.kill();
                drop(door);
            }
            let mut before = verdict::partition_bytes(disk, self.setup.is_log);
            let gone = verdict::going(disk, self.setup.is_log);
            let door = verdict::open(disk, &self.setup)?;
            *disk = disk.kill();
            drop(door);
            let going = verdict::going(disk, self.setup.is_log);
            ensure!(going.is_disjoint(&gone), "I8: an open leaves {going:?} of {gone:?}");
            let mut after = verdict::partition_bytes(disk, self.setup.is_log);
            if self.opens_append() && self.mode == IoMode::Mapped {
                verdict::without_windows(&mut before);
                verdict::without_windows(&mut after);
            }
            ensure!(before == after, "I8: an open changes {:?}", difference(&before, &after));
            Ok(())
        })?;
        self.go_on(disk)
    }

    /// Life goes on: what is sent and promised now is there after one more cut, and all that was
    /// found below it. At last it is closed, and a cut after that leaves no doubt about any of it.
    pub fn go_on(&self, disk: &mut SimDisk) -> Result<(), String> {
        if self.has_work() {
            return guarded(|| verdict::finish(disk, &self.setup));
        }
        guarded(|| {
            let door = verdict::open(disk, &self.setup)?;
            let found = verdict::read(&door, &[])?;
            let mut sent = send_everywhere(&door, &found);
            if let Door::Store(store) = &door {
                if self.setup.journal != Journal::Off {
                    store.run_maintenance(); // it has been asked for, and is made
                    sent = sent.and_then(|_| send_everywhere(&door, &found));
                }
                let report = store.verifier().run().map_err(|error| format!("I7: {error}"))?;
                verdict::nothing_wrong(&report)?;
            }
            *disk = disk.crash(Crash::Nothing);
            drop(door);
            let sent = sent.map_err(|error| format!("I8: no sending after it: {error}"))?;
            let door = verdict::open(disk, &self.setup)?;
            let again = verdict::read(&door, &[])?;
            let closed = door.close();
            *disk = disk.crash(Crash::Nothing);
            closed.map_err(|error| format!("I8: no closing after it: {error}"))?;
            verdict::verify(disk, self.setup.is_log)?;
            for (topic, at, offset) in sent {
                let was = &found.topics[&topic].partitions[at];
                let is = &again.topics[&topic].partitions[at];
                let there = is.records.iter().any(|one| (one.0, &one.2[..]) == (offset, b"after"));
                // what a cut took of an abort is aborted once more
                let is_last = is.end == offset + 1 || self.has_transactions();
                ensure!(there && is_last, "I1: {topic}-{at}: sent at {offset}, end {}", is.end);
                let kept = is.start > was.start || is.records.starts_with(&was.records);
                ensure!(kept, "I1: {topic}-{at} lost what lay below a promise");
            }
            Ok(())
        })
    }
}

/// A panic is a verdict as well.
pub fn guarded<T>(body: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("I7: a panic: {}", text.unwrap_or("of an unknown kind")))
    })
}

fn difference(before: &[Hashed], after: &[Hashed]) -> Vec<String> {
    let differing = before.iter().filter(|one| !after.contains(one));
    let added = after.iter().filter(|one| !before.contains(one));
    differing.chain(added).map(|(path, ..)| path.clone()).collect()
}

type Sent = Vec<(String, usize, i64)>;

/// Beyond all that scenarios come to.
const NEXT_LEADERS: LeaderEpoch = LeaderEpoch::new(1000);

fn send_everywhere(door: &Door, found: &verdict::Found) -> tidelog::Result<Sent> {
    let mut sent = Vec::new();
    match door {
        Door::Shut => {}
        Door::Log(log) => {
            let receipt = log.append_with(&[tidelog::Record::new("after")], Durability::Power)?;
            sent.push((ALONE.to_owned(), 0, receipt.first_offset().get()));
        }
        Door::Store(store) => {
            let producer = store.producer().durability(Durability::Power).build()?;
            for (name, topic) in &found.topics {
                for partition in 0..topic.partitions.len() {
                    let number = u32::try_from(partition).unwrap_or(u32::MAX);
                    let one = store.partition(name, number)?;
                    if one.leadership()? == Leadership::HostLed {
                        one.become_leader(NEXT_LEADERS)?;
                    }
                    let record = tidelog::Record::new("after").key("after");
                    let receipt = producer.topic(name)?.send_to(number, record)?;
                    sent.push((name.clone(), partition, receipt.offset().get()));
                }
            }
        }
    }
    Ok(sent)
}
