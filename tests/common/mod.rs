//! What the integration tests share. Each of them compiles the whole and uses a part.
#![allow(dead_code)]

pub mod budget;
pub mod child;
pub mod crew;
pub mod decided;
pub mod golden;
pub mod kafka_check;
pub mod log_worlds;
#[cfg(target_os = "linux")]
pub mod machine;
pub mod orders;
pub mod scratch;
pub mod suite;
pub mod worlds;
