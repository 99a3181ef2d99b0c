//! The archives of golden stores: packed, unpacked, and what lies beside them.
//!
//! `NAME.tar.gz` holds the directory's files below `NAME/`, `NAME.json` what the store holds.
//! A name begins with the version of the library and ends in how the store was left.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde_json::Value;
use tempfile::TempDir;

pub struct Golden {
    pub name: String,
    pub expected: Value,
}

/// Files by their path below the store's directory.
pub type Files = BTreeMap<String, Vec<u8>>;

pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/stores")
}

fn names() -> Vec<String> {
    let entries = fs::read_dir(directory()).expect("tests/golden/stores is there");
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> =
        names.filter_map(|name| name.strip_suffix(".tar.gz").map(str::to_owned)).collect();
    names.sort();
    names
}

/// All of them, by name.
pub fn all() -> Vec<Golden> {
    let read = |name: String| {
        let json = fs::read(directory().join(format!("{name}.json"))).expect("what it holds");
        Golden { expected: serde_json::from_slice(&json).expect("JSON"), name }
    };
    names().into_iter().map(read).collect()
}

/// What all files take, with their descriptions.
pub fn bytes() -> u64 {
    let entries = fs::read_dir(directory()).expect("tests/golden/stores is there");
    entries.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

impl Golden {
    /// Unpacked into a directory that goes with the first of the two.
    pub fn unpack(&self) -> (TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a directory");
        let file = fs::File::open(directory().join(format!("{}.tar.gz", self.name)));
        let mut archive = tar::Archive::new(GzDecoder::new(file.expect("the archive")));
        archive.unpack(dir.path()).expect("unpacked");
        let root = dir.path().join(&self.name);
        if !self.is_log() {
            return (dir, root);
        }
        let named = dir.path().join("orders-0"); // a lone log is called by its directory
        fs::rename(root, &named).expect("renamed");
        (dir, named)
    }

    /// A lone log without a store.
    pub fn is_log(&self) -> bool {
        self.name.ends_with("-log")
    }

    pub fn is_closed(&self) -> bool {
        self.name.ends_with("-closed")
    }

    /// The power was cut, and part of its records lie in its journal only.
    pub fn is_cut(&self) -> bool {
        self.name.ends_with("-cut")
    }
}

/// All files below a directory.
pub fn read_files(root: &Path) -> Files {
    let mut files = Files::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("a directory").map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            let name = path.strip_prefix(root).expect("below it").to_string_lossy().into_owned();
            files.insert(name, fs::read(&path).expect("read"));
        }
    }
    files
}

/// Writes an archive and its description.
#[cfg(feature = "sim")]
pub fn pack(name: &str, files: &Files, expected: &Value) {
    let out = fs::File::create(directory().join(format!("{name}.tar.gz"))).expect("made");
    let coder = flate2::write::GzEncoder::new(out, flate2::Compression::best());
    let mut archive = tar::Builder::new(coder);
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, format!("{name}/{path}"), &bytes[..]).expect("packed");
    }
    archive.into_inner().and_then(|coder| coder.finish()).expect("written");
    let json = format!("{expected}\n");
    fs::write(directory().join(format!("{name}.json")), json).expect("written");
}
