//! Scenarios of hosts that replicate: tails that are cut off, partitions that the host leads and
//! has follow, with new leaders, offsets left out, and a start elsewhere.

use tidelog::Durability::{Power, Process};

use crate::stage::{ALONE, Stage, small};

pub fn truncate(stage: &mut Stage) {
    stage.create("a", 1, small());
    stage.send("a", 0, 6, Process);
    stage.truncate("a", 0, 4);
    stage.send("a", 0, 1, Power);
    stage.batch("a", 0, 3, 200, Process);
    stage.flush();
    stage.truncate("a", 0, 6); // within the batch, which goes whole
    stage.send("a", 0, 5, Process);
    stage.truncate("a", 0, 1);
    stage.start_anew("a", 0, 100);
    stage.send("a", 0, 2, Process);
    stage.start_anew("a", 0, 50);
    stage.send("a", 0, 1, Power);
    stage.reopen();
    stage.send("a", 0, 1, Process);
}

pub fn truncate_alone(stage: &mut Stage) {
    stage.send(ALONE, 0, 6, Process);
    stage.truncate(ALONE, 0, 3);
    stage.send(ALONE, 0, 1, Power);
    stage.batch(ALONE, 0, 3, 200, Process);
    stage.delete_records(ALONE, 0, 2);
    stage.truncate(ALONE, 0, 5);
    stage.send(ALONE, 0, 1, Process);
    stage.start_anew(ALONE, 0, 20);
    stage.send(ALONE, 0, 1, Power);
    stage.reopen();
    stage.truncate(ALONE, 0, 20);
    stage.send(ALONE, 0, 4, Process);
    stage.delete_records(ALONE, 0, 22);
    stage.start_anew(ALONE, 0, 21); // within the segment that begins at 20
    stage.send(ALONE, 0, 1, Process);
}

/// Frames of what is cut off must not come back.
pub fn truncate_journaled(stage: &mut Stage) {
    stage.send("a", 0, 3, Power);
    stage.send("b", 0, 1, Power);
    stage.truncate("a", 0, 4);
    stage.send("a", 0, 2, Power);
    stage.start_anew("b", 0, 9);
    stage.send("b", 0, 2, Power);
    stage.send("a", 1, 1, Power);
    stage.truncate("b", 0, 10);
    stage.send("a", 0, 1, Process);
}

/// A partition that the host leads, with records of two leaders.
pub fn led_elsewhere(stage: &mut Stage) {
    stage.open();
    stage.create_led("r", small());
    stage.follow("r", 2, 0);
    stage.follow("r", 1, 0);
}

/// It follows, over gaps and rolls, leads, and follows again.
pub fn led(stage: &mut Stage) {
    stage.follow("r", 3, 0);
    stage.follow("r", 1, 5);
    stage.show_all("r");
    stage.lead("r");
    stage.send("r", 0, 3, Process);
    stage.flush();
    stage.delete_records("r", 0, 4);
    stage.follow("r", 2, 0);
    stage.reopen();
    stage.follow("r", 1, 2);
    stage.lead("r");
    stage.send("r", 0, 1, Process);
    stage.flush();
}

/// What another leader does not have is cut off.
pub fn led_and_cut(stage: &mut Stage) {
    stage.lead("r");
    stage.send("r", 0, 4, Process);
    stage.truncate("r", 0, 5);
    stage.follow("r", 2, 0);
    stage.flush();
    stage.lead("r");
    stage.send("r", 0, 2, Process);
    stage.truncate("r", 0, 2);
    stage.follow("r", 1, 0);
    stage.start_anew("r", 0, 40);
    stage.follow("r", 3, 0);
    stage.lead("r");
    stage.send("r", 0, 1, Process);
    stage.reopen();
    stage.flush();
}
