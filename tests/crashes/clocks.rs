//! Clocks that jump: back and forward by an hour, a day, fifty years, and clocks that stand still
//! (row 16 of `docs/reliability.md`), across appends, background syncs, retention by time, expiry
//! of offsets, closes and crashes.
//!
//! Whatever the clock says, no promised record is lost but to a policy of time, offsets stay dense,
//! and what comes without a policy keeps everything.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidelog::Durability::{Power, Process};
use tidelog::Timestamp;
use tidelog::disk::{Crash, SimDisk};

use crate::common::budget::{for_each_seed, seeds};
use crate::common::suite::Suite;
use crate::runs::GROUPS;
use crate::scenarios::MODES;
use crate::stage::{BIRTH, Door, Stage, small};
use crate::story::{Deed, Model};
use crate::verdict::{self, Promise};

const HOUR: i64 = 3_600_000;
const JUMPS: [i64; 7] =
    [0, HOUR, -HOUR, 24 * HOUR, -24 * HOUR, 50 * 8766 * HOUR, -50 * 8766 * HOUR];

fn jump(stage: &mut Stage, wall: &mut i64, by: i64) {
    *wall = (*wall + by).max(1);
    stage.clock.set_wall(Timestamp::from_millis(*wall));
}

#[test]
fn jumping_clocks_take_nothing_but_what_a_policy_names() {
    let suite = Suite::new("clock-jumps");
    let test = "clocks::jumping_clocks_take_nothing_but_what_a_policy_names";
    for_each_seed("crashes", test, seeds(60, 600, 50_000), |seed| {
        let mut random = StdRng::seed_from_u64(seed);
        let disk = SimDisk::new(seed);
        disk.set_mode(MODES[usize::from(seed % 2 == 0)]);
        let mut stage = Stage::new(disk);
        let mut wall = BIRTH;
        stage.open();
        // one topic keeps everything, the other a day
        stage.create("a", 1, small());
        stage.create("b", 1, small().retention(Duration::from_secs(24 * 3600)));
        let groups = seed % 8 == 0;
        for _ in 0..12 {
            jump(&mut stage, &mut wall, JUMPS[random.random_range(0..JUMPS.len())]);
            let topic = if random.random_bool(0.5) { "a" } else { "b" };
            let word = if random.random_bool(0.3) { Power } else { Process };
            stage.send(topic, 0, random.random_range(1..4), word);
            jump(&mut stage, &mut wall, JUMPS[random.random_range(0..JUMPS.len())]);
            match random.random_range(0..5) {
                0 => stage.retain_topic("b"),
                1 => {
                    stage.retaining("b", 0);
                    stage.wait(Duration::from_secs(31));
                }
                2 => stage.reopen(),
                3 if groups => {
                    stage.commit("g", "a", 0, 0, Process);
                    stage.note(Deed::Forgetting { group: "g" }); // it may expire
                }
                _ => {}
            }
        }
        let model = Model::before(&stage.story, u64::MAX);
        let power = random.random_bool(0.5);
        let next = match power {
            true => stage.disk.crash(Crash::Random(seed)),
            false => stage.disk.kill(),
        };
        let promise = if power { Promise::Power } else { Promise::Process };
        stage.door = Door::Shut;
        suite.state(seed, next.image_hash());
        let door = verdict::open(&next, &stage.setup);
        let door = door.unwrap_or_else(|error| panic!("{error}"));
        let found = verdict::read(&door, &GROUPS).unwrap_or_else(|error| panic!("{error}"));
        model.check(&found, promise).unwrap_or_else(|error| panic!("{error}"));
        let deleted = found.topics["b"].partitions[0].start > 0;
        suite.control(u64::from(deleted)); // the clock counts where a policy asks it
        assert_eq!(found.topics["a"].partitions[0].start, 0, "nothing goes without a policy");
        drop(next.kill());
    });
    suite.end();
}
