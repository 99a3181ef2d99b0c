//! The inputs that a corpus begins with: each target's own, and Kafka's files cut to size.

use std::path::Path;
use std::{env, fs, io};

use tidelog::fuzzing::Target;

/// A file that Kafka wrote becomes an input of these targets, behind these bytes.
const GOLDEN: &[(&str, &str, &[u8])] = &[
    (".log", "batch", &[0, 0xff]),
    (".log", "batch", &[1, 0xff]),
    (".log", "scan", &[0, 0, 0]),
    (".log", "recovery", &[1]),
    (".index", "offset-index", &[0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 9, 1, 0x7f, 0xf8]),
    (".timeindex", "time-index", &[0; 9]),
    ("leader-epoch-checkpoint", "epochs", &[0, 0, 0xff, 0xff, 0]),
    ("partition.metadata", "checkpoints", &[1]),
    ("-checkpoint", "checkpoints", &[0]),
];
/// Longer ones are cut.
const LONGEST: usize = 3 << 10;

pub fn write<'t>(dir: &Path, targets: impl Iterator<Item = &'t Target>) -> io::Result<()> {
    for target in targets {
        let dir = dir.join(target.name);
        fs::create_dir_all(&dir)?;
        for (number, seed) in (target.seeds)().into_iter().enumerate() {
            fs::write(dir.join(format!("seed-{number}")), seed)?;
        }
    }
    match env::var("FUZZ_GOLDEN") {
        Ok(golden) => take_in(golden.as_ref(), dir),
        Err(_) => Ok(()),
    }
}

fn take_in(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if path.is_dir() {
            take_in(&path, to)?;
            continue;
        }
        let name = path.to_string_lossy();
        for (number, (_, target, head)) in
            GOLDEN.iter().enumerate().filter(|(_, (suffix, ..))| name.ends_with(suffix))
        {
            let bytes = fs::read(&path)?;
            let input = [head, &bytes[..bytes.len().min(LONGEST)]].concat();
            let place: String =
                name.chars().rev().take(80).filter(|c| c.is_alphanumeric()).collect();
            fs::write(to.join(target).join(format!("golden-{number}-{place}")), input)?;
        }
    }
    Ok(())
}
