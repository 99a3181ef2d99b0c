//! The versions of the formats, read where they lie in the files: those that are written now, and
//! the newest of which a golden store is kept.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tidelog::disk::{IoMode, RealDisk};

use crate::archive::{Files, all, read_files};
use crate::{deeds, later, open};

/// What to do about a format without a golden store.
pub const ADVICE: &str = "make the golden stores of the new format, beside the old ones where a \
    version was released, and commit them:\n\
    TIDELOG_GOLDEN=make cargo test --all-features --test golden_stores made_anew";

/// Version by format.
pub type Versions = BTreeMap<String, u32>;

/// Where a file's name says that its first bytes carry a version.
fn versions_of(files: &Files) -> Versions {
    let mut versions = Versions::new();
    let mut seen = |format: &str, version: u32| {
        let newest = versions.entry(format.to_owned()).or_default();
        *newest = version.max(*newest);
    };
    let word = |bytes: &[u8], at: usize| {
        let word = bytes.get(at..at + 4).expect("a head");
        u32::from_be_bytes(word.try_into().expect("four bytes"))
    };
    for (path, bytes) in files {
        let name = path.rsplit('/').next().expect("a name");
        match name {
            "tidelog.store" | "tidelog.state" | "tidelog.journal" => seen(name, word(bytes, 8)),
            "tidelog.keeper" => seen(name, word(bytes, 4)),
            "partition.metadata" => {
                let text = String::from_utf8_lossy(bytes);
                let version = text.lines().next().and_then(|line| line.strip_prefix("version: "));
                seen(name, version.and_then(|it| it.parse().ok()).expect("a version"));
            }
            _ if name.ends_with("-checkpoint") => {
                let text = String::from_utf8_lossy(bytes);
                seen(name, text.lines().next().and_then(|it| it.parse().ok()).expect("a version"));
            }
            _ if name.ends_with(".digest") => seen("*.digest", word(bytes, 4)),
            _ => {}
        }
    }
    versions
}

/// The records of the offsets topic: by the version of the key, which is its kind, that of the
/// value.
fn versions_of_offsets(root: &Path, versions: &mut Versions) {
    let disk = Arc::new(RealDisk::new(IoMode::Positioned).expect("a disk"));
    let store = open(root, disk, &later()).expect("it opens");
    let topic = store.describe("__consumer_offsets").expect("there were commits");
    let places = topic.partitions().iter().map(|one| (topic.name(), one.id()));
    let mut reader = store.reader().assign(places).build().expect("a reader");
    let version = |bytes: &[u8]| u32::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    for records in reader.read_to_end().expect("readable") {
        for record in &records.expect("readable") {
            if let (Some(key), Some(value)) = (record.key(), record.value()) {
                let format = format!("__consumer_offsets, key {}", version(key));
                let newest = versions.entry(format).or_default();
                *newest = version(value).max(*newest);
            }
        }
    }
}

/// What is written now: a store is made, and a log.
pub fn written_now() -> Versions {
    let dir = tempfile::tempdir().expect("a directory");
    let (root, log) = (dir.path().join("store"), dir.path().join("orders-0"));
    deeds::closed_on_real_files(&root, &log);
    let mut versions = versions_of(&read_files(&root));
    versions.extend(versions_of(&read_files(&log)));
    versions_of_offsets(&root, &mut versions);
    for format in
        ["tidelog.store", "tidelog.state", "tidelog.journal", "tidelog.keeper", "*.digest"]
    {
        assert!(versions.contains_key(format), "{format} was not written");
    }
    versions
}

/// The newest version of each format in the golden stores.
pub fn newest_kept() -> Versions {
    let mut newest = Versions::new();
    for golden in all() {
        let (_held, root) = golden.unpack();
        let mut versions = versions_of(&read_files(&root));
        if golden.is_closed() {
            versions_of_offsets(&root, &mut versions);
        }
        for (format, version) in versions {
            let before = newest.entry(format).or_default();
            *before = version.max(*before);
        }
    }
    newest
}

/// Formats of which there is no golden store as they are written now.
pub fn missing(written: &Versions, kept: &Versions) -> Vec<String> {
    let differ = written.iter().filter(|(format, version)| kept.get(*format) != Some(version));
    let told = |(format, version): (&String, &u32)| match kept.get(format) {
        Some(kept) => format!("{format}: version {version}, the newest golden store has {kept}"),
        None => format!("{format}: version {version}, no golden store has any"),
    };
    differ.map(told).collect()
}
