//! The bytes of partitions, to be compared over an open that must not change them (I8), and the
//! files that are on their way out, which it takes away.

use std::collections::BTreeSet;
use std::path::PathBuf;

use tidelog::disk::{Disk as _, SimDisk};

/// A file: its path, a hash of all before the zeros at its end, and how many those are.
pub type Hashed = (String, u64, usize);

/// The most that a mapped tail has written ahead of itself.
const WINDOW: usize = 256 << 10;

/// Takes the rest of each tail's window for gone: recovery has appended to a mapped tail what the
/// journal had, and the process has ended; the next open trims it, or appends the same again.
pub fn without_windows(files: &mut [Hashed]) {
    let logs = files.iter().map(|(path, ..)| path.clone());
    let logs: Vec<String> = logs.filter(|path| path.ends_with(".log")).collect();
    let dir = |path: &str| path.rsplit_once('/').map(|(dir, _)| dir.to_owned());
    for (path, _, zeros) in files.iter_mut().filter(|(path, ..)| path.ends_with(".log")) {
        let is_last = !logs.iter().any(|log| *log > *path && dir(log) == dir(path));
        if is_last && *zeros <= WINDOW {
            *zeros = 0;
        }
    }
}

/// The directories of partitions.
fn partitions(disk: &SimDisk, is_log: bool) -> Vec<PathBuf> {
    if is_log {
        return vec![crate::stage::LOG.into()];
    }
    let store = PathBuf::from(crate::stage::ROOT);
    let entries = disk.list(&store).unwrap_or_default();
    entries.into_iter().filter(|one| one.is_dir).map(|one| store.join(one.name)).collect()
}

/// The files that have been let go of: an open removes each that it finds, and none comes back.
pub fn going(disk: &SimDisk, is_log: bool) -> BTreeSet<PathBuf> {
    let mut going = BTreeSet::new();
    for dir in partitions(disk, is_log) {
        let entries = disk.list(&dir).unwrap_or_default();
        let names = entries.into_iter().map(|entry| entry.name);
        going.extend(names.filter(|name| name.ends_with(".deleted")).map(|name| dir.join(name)));
    }
    going
}

/// All files below the directories of partitions but those that every open writes to, hashed.
pub fn partition_bytes(disk: &SimDisk, is_log: bool) -> Vec<Hashed> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut below = Vec::new();
    for dir in partitions(disk, is_log) {
        let entries = disk.list(&dir).unwrap_or_default();
        // the last segment when a cut left it nothing: the next open removes it, digests and all
        let is_empty = |name: &str| {
            let log = name.strip_suffix(".digest").map(|base| format!("{base}.log"));
            log.is_some_and(|log| entries.iter().any(|one| one.name == log && one.len == 0))
        };
        for entry in &entries {
            let path = dir.join(&entry.name);
            if entry.name.starts_with("tidelog.") || entry.name.starts_with('.') {
                continue;
            }
            // on its way out, once recovery saw that its records are gone: see `going`
            let is_going = entry.name.ends_with(".deleted");
            if entry.len == 0 || is_going || is_empty(&entry.name) {
                continue;
            }
            let file = disk.open(&path, tidelog::disk::Access::Read).expect("listed");
            let mut bytes = vec![0; usize::try_from(entry.len).expect("small")];
            let read = file.read_at(&mut bytes, 0).expect("read");
            let end = bytes[..read].iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
            let mut hasher = DefaultHasher::new();
            bytes[..end].hash(&mut hasher);
            below.push((path.display().to_string(), hasher.finish(), read - end));
        }
    }
    below.sort();
    below
}
