//! Scenarios of producers that number their records: their ids, and the snapshots of what a
//! partition knows of them, written at recovery points and for rolls, and removed.

use std::time::Duration;

use tidelog::Durability::{Power, Process};

use crate::stage::{Stage, small};

pub fn idempotent(stage: &mut Stage) {
    stage.setup.idempotent = true;
    stage.create("a", 1, small());
    stage.send("a", 0, 5, Process);
    stage.wait(Duration::from_secs(31));
    stage.send("a", 0, 6, Power);
    stage.delete_records("a", 0, 7);
    stage.send("a", 0, 2, Process);
    stage.close();
    stage.send("a", 0, 1, Process);
}
