//! Ten thousand partitions in one store, with 1,024 descriptors: in processes of their own, one
//! that is aborted, one that closes, one that looks.
//!
//! What is asserted is that it works. The times and sizes that are printed are for people.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use super::super::{Engine, EngineOptions, NewTopic};
use super::{append, options, values};
use crate::config::{Durability, TopicConfig};
use crate::disk::{IoMode, RealDisk};
use crate::ids::PartitionId;
use crate::seeds::pick;

const PHASE: &str = "TIDELOG_TEST_MANY";
const NAME: &str = "engine::tests::many::ten_thousand_partitions_work_with_few_descriptors";

fn limit_descriptors() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let limit = Rlimit { current: Some(1024), maximum: Some(1024) };
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// Resident memory and open descriptors, as the system counts them.
fn resources() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let lines = status.lines().filter(|line| line.starts_with("Rss"));
    let rss: Vec<_> = lines.map(|line| line.split_whitespace().collect::<String>()).collect();
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    format!("{} fds {open}", rss.join(" "))
}

fn child(phase: &str) {
    let mut parts = phase.splitn(4, ':');
    let mut next = || parts.next().unwrap().to_owned();
    let (step, mode, count, dir) = (next(), next(), next().parse::<u64>().unwrap(), next());
    limit_descriptors();
    let mode = if mode == "mapped" { IoMode::Mapped } else { IoMode::Positioned };
    let disk = Arc::new(RealDisk::new(mode).unwrap());
    let mut at = Instant::now();
    println!("  {step} {mode:?}: start {}", resources());
    let mut lap = |what: &str| {
        println!("  {step} {mode:?}: {what} {:?}, {}", at.elapsed(), resources());
        at = Instant::now();
    };
    let options =
        EngineOptions { clock: Arc::new(crate::clock::SystemClock::new()), ..options(disk) };
    let engine = Engine::open(options, Path::new(&dir)).unwrap();
    lap("open");
    let names: Vec<String> = (0..count).map(|number| format!("topic-{number}")).collect();
    if step == "fill" {
        let config = TopicConfig::new();
        let new =
            names.iter().map(|name| NewTopic { name, config: config.clone(), internal: false });
        engine.create_topics(&new.collect::<Vec<_>>()).unwrap();
        lap("create");
    }
    let expected: &[&str] = match &*step {
        "fill" => &[],
        "close" => &["first"],
        _ => &["first", "second"],
    };
    for name in &names {
        let partition = engine.topic(name).unwrap().partition(PartitionId::new(0)).unwrap();
        assert_eq!(values(&partition), expected, "{name}");
    }
    lap("read");
    let value = match &*step {
        "fill" => "first",
        "close" => "second",
        _ => {
            engine.close().unwrap();
            lap("close idle");
            return;
        }
    };
    for name in &names {
        let partition = engine.topic(name).unwrap().partition(PartitionId::new(0)).unwrap();
        append(&partition, value, Durability::Process).unwrap();
    }
    lap("append");
    if step == "fill" {
        std::process::abort();
    }
    engine.close().unwrap();
    lap("close");
}

#[test]
fn ten_thousand_partitions_work_with_few_descriptors() {
    if let Ok(phase) = std::env::var(PHASE) {
        return child(&phase);
    }
    let count = pick(200, 1_000, 10_000);
    for mode in ["mapped", "positioned"] {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("store");
        for (step, ends_well) in [("fill", false), ("close", true), ("look", true)] {
            let phase = format!("{step}:{mode}:{count}:{}", root.display());
            let output = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", NAME, "--nocapture", "--test-threads=1"])
                .env(PHASE, phase)
                .output()
                .unwrap();
            let told = String::from_utf8_lossy(&output.stdout);
            let failed = String::from_utf8_lossy(&output.stderr);
            told.lines().filter(|line| line.starts_with("  ")).for_each(|line| println!("{line}"));
            assert_eq!(output.status.success(), ends_well, "{mode} {step}: {told}{failed}");
            assert!(ends_well || told.contains("append"), "{mode} {step}: {told}{failed}");
        }
        let used = Command::new("du").arg("-sk").arg(&root).output();
        let used = used.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        println!("  disk used, KiB: {}", used.unwrap_or_default().trim());
    }
}
