//! The referee: a real kernel, a real file system, a real process that ends without warning.
//!
//! `writer` is the victim, this binary run again with a role. `power` cuts its file system off as a
//! power cut does (row 5 of `docs/reliability.md`), `kills` ends it (row 7). `faults` has a victim
//! of its own, `refused`, whose calls the kernel refuses (row 10). What they were told goes through
//! a pipe, and is read before a cut.
#![cfg(target_os = "linux")]

#[path = "../common/mod.rs"]
mod common;

mod faults;
mod kills;
mod power;
mod refused;
mod writer;
