//! Crashes on the simulated disk, through the public doors: every point, every failing call, torn
//! writes, random lives.
//!
//! `scenarios` says what is done, `stage` does it and tells the `story`, `verdict` compares what is
//! found with what the story promises; each other room is one row of `docs/reliability.md`.
#![cfg(feature = "sim")]

#[path = "../common/mod.rs"]
mod common;

mod clocks;
mod copies;
mod failing;
mod foreign;
mod journals;
mod lies;
mod lives;
mod lone;
mod points;
mod producers;
mod reach;
mod replicas;
mod runs;
mod scenarios;
mod stage;
mod story;
mod tagged;
mod torn;
mod transactions;
mod verdict;
mod work;
