//! Scenarios of a lone log.

use std::time::Duration;

use tidelog::Durability::{Power, Process};

use crate::stage::{ALONE, Stage, small};

const SECOND: Duration = Duration::from_secs(1);

pub fn append(stage: &mut Stage) {
    stage.send(ALONE, 0, 3, Process);
    stage.send(ALONE, 0, 1, Power);
    stage.batch(ALONE, 0, 4, 60, Process);
    stage.send(ALONE, 0, 1, Power);
}

pub fn roll(stage: &mut Stage) {
    stage.send(ALONE, 0, 9, Process);
    stage.send(ALONE, 0, 1, Power);
    stage.wait(31 * SECOND);
    stage.send(ALONE, 0, 6, Process);
    stage.flush();
}

pub fn trim(stage: &mut Stage) {
    stage.send(ALONE, 0, 12, Process);
    stage.delete_records(ALONE, 0, 5);
    stage.send(ALONE, 0, 2, Process);
    stage.wait(61 * SECOND);
    stage.delete_records(ALONE, 0, 14);
    stage.send(ALONE, 0, 1, Process);
}

pub fn retention(stage: &mut Stage) {
    stage.close();
    stage.setup.config = small().retention_bytes(2000).file_delete_delay(Duration::ZERO);
    stage.open();
    stage.send(ALONE, 0, 14, Process);
    stage.retain();
    stage.wait(61 * SECOND);
    stage.send(ALONE, 0, 2, Power);
}

pub fn close_and_open(stage: &mut Stage) {
    stage.send(ALONE, 0, 6, Process);
    stage.reopen();
    stage.send(ALONE, 0, 3, Process);
    stage.reopen();
    stage.send(ALONE, 0, 1, Power);
}

pub fn first_open(stage: &mut Stage) {
    stage.open();
    stage.send(ALONE, 0, 1, Power);
}

pub fn interleaved(stage: &mut Stage) {
    for size in [40, 300, 250, 90] {
        stage.batch(ALONE, 0, 2, size, Process);
        stage.send(ALONE, 0, 1, Power);
        stage.batch(ALONE, 0, 3, size, Process);
    }
}

pub fn trim_and_open(stage: &mut Stage) {
    stage.send(ALONE, 0, 10, Process);
    stage.delete_records(ALONE, 0, 4);
    stage.reopen();
    stage.send(ALONE, 0, 4, Process);
    stage.delete_records(ALONE, 0, 11);
    stage.reopen();
    stage.send(ALONE, 0, 2, Power);
}
