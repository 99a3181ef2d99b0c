//! A partition that Kafka wrote, from `tests/golden`, as files for the simulated disk: its bytes,
//! and the records that Kafka reads in it.
//!
//! Unpacked once; every play of a scenario puts the same files on its own disk.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use crate::common::golden::{Payload, Scenario};

pub struct Foreign {
    /// By name.
    pub files: BTreeMap<String, Vec<u8>>,
    /// By offset.
    pub records: Arc<BTreeMap<i64, Payload>>,
}

/// Two hundred records in twelve batches, without producer ids.
pub fn plain() -> &'static Foreign {
    static PLAIN: OnceLock<Foreign> = OnceLock::new();
    PLAIN.get_or_init(|| unpack("codec-none"))
}

fn unpack(name: &str) -> Foreign {
    let golden = Scenario::load(name);
    let entries = std::fs::read_dir(golden.partition_path()).expect("unpacked");
    let file = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.expect("listed");
        let bytes = std::fs::read(entry.path()).expect("read");
        (entry.file_name().into_string().expect("a plain name"), bytes)
    };
    let records = golden.partition().data_records().expect("listed records");
    let records = records.map(|record| (record.offset, record.value.clone()));
    Foreign { files: entries.map(file).collect(), records: Arc::new(records.collect()) }
}
