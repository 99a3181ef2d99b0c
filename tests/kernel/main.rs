//! The referee: a real kernel, a real file system, a real process that ends without warning.
//!
//! `writer` is the victim, this binary run again with a role. `power` cuts its file system off as a
//! power cut does (row 5 of `docs/reliability.md`), `kills` ends it (row 7). What it was told is
//! durable goes through a pipe and is read before the cut.
#![cfg(target_os = "linux")]

#[path = "../common/mod.rs"]
mod common;

mod kills;
mod power;
mod writer;
