//! Scenarios of a topic that keeps the tags of its batches: their files come as segments are sealed
//! and the log is closed, are taken up, go with their segments, and say nothing once they are cut.
//! Whatever a power cut leaves of them, a reader of one tag misses none of its records.

use std::time::Duration;

use tidelog::Durability::{Power, Process};

use crate::stage::{Stage, small};
use crate::verdict::TAGGED;

pub fn tags(stage: &mut Stage) {
    stage.create(TAGGED, 1, small().index_interval_bytes(100).tag_index(true));
    stage.send(TAGGED, 0, 9, Process);
    stage.wait(Duration::from_secs(31));
    stage.send(TAGGED, 0, 2, Power);
    stage.batch(TAGGED, 0, 3, 200, Process);
    stage.reopen();
    stage.send(TAGGED, 0, 4, Process);
    stage.delete_records(TAGGED, 0, 7);
    stage.close();
    stage.send(TAGGED, 0, 3, Power);
}
