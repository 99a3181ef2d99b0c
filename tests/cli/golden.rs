//! Kafka's own directories through the program: what `dump` prints is held against what Kafka's
//! reader found, every field of every record, batch, index entry, snapshot and epoch, with every
//! codec; what `open` prints against what Kafka's log class holds. Nothing that is looked at
//! changes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::common::crew;
use super::common::golden::{Kind, Scenario, expected, hex, names};
use super::{DAMAGED, DONE, FAILED, dump, raw};

/// Every file below a directory: its bytes' checksum and when it was last written.
fn state(dir: &Path) -> BTreeMap<PathBuf, (u32, SystemTime)> {
    let mut files = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        let written = fs::metadata(&dir).unwrap().modified().unwrap();
        files.insert(dir.clone(), (0, written));
        for entry in fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                left.push(entry.path());
            } else {
                let hash = crc32c::crc32c(&fs::read(entry.path()).unwrap());
                files.insert(entry.path(), (hash, metadata.modified().unwrap()));
            }
        }
    }
    files
}

/// One partition of a scenario: where it lies and what Kafka found in it.
struct Golden {
    shown: String,
    dir: PathBuf,
    json: Value,
}

impl Golden {
    fn list(&self, key: &str) -> &[Value] {
        self.json["onDisk"][key].as_array().map_or(&[], Vec::as_slice)
    }

    /// How many batches lie before the first place that is neither a batch nor zeros to the end.
    fn readable(&self) -> (usize, bool) {
        let mut readable = 0;
        for segment in self.list("segments") {
            readable += usize::try_from(segment["batchCount"].as_u64().unwrap()).unwrap();
            let valid = usize::try_from(segment["validBytes"].as_u64().unwrap()).unwrap();
            let name = format!("{:020}.log", segment["baseOffset"].as_i64().unwrap());
            let log = fs::read(self.dir.join(name)).unwrap();
            if log[valid..].iter().any(|byte| *byte != 0) {
                return (readable, true);
            }
        }
        (readable, false)
    }

    /// The batches, with whose they are.
    fn batches(&self) -> Vec<Value> {
        self.list("batches").iter().map(|batch| self.named(batch.clone())).collect()
    }

    fn named(&self, mut object: Value) -> Value {
        for key in ["topic", "partition"] {
            object[key] = self.json[key].clone();
        }
        object
    }

    /// The records of the first `batches` batches, with what is told inline of their batch.
    fn records(&self, batches: usize) -> Vec<Value> {
        let of = |record: &Value| usize::try_from(record["batch"].as_u64().unwrap()).unwrap();
        let records = self.list("records").iter().filter(|record| of(record) < batches);
        let inline = |record: &Value| {
            let batch = &self.list("batches")[of(record)];
            let mut line = self.named(record.clone());
            line.as_object_mut().unwrap().remove("batch");
            for key in INLINE {
                line[key] = batch[key].clone();
            }
            if batch["control"] == true {
                line["controlType"] = batch["controlType"].clone();
            }
            line
        };
        records.map(inline).collect()
    }
}

const INLINE: [&str; 7] = [
    "timestampType",
    "leaderEpoch",
    "producerId",
    "producerEpoch",
    "codec",
    "transactional",
    "control",
];

/// Every scenario but the legacy ones, each with its partitions, on all cores.
fn each_scenario(each: impl Fn(&Scenario, &[Golden]) + Sync) {
    crew::each(&names(), |name| {
        let scenario = Scenario::load(name);
        let json = expected(name);
        let partitions = match &scenario.kind {
            Kind::Legacy(_) => return,
            Kind::Partition(_) => {
                vec![Golden { shown: name.clone(), dir: scenario.partition_path(), json }]
            }
            Kind::Root(_) => {
                let partitions = json["partitions"].as_object().unwrap().iter();
                let golden = |(dir, json): (&String, &Value)| Golden {
                    shown: format!("{name}/{dir}"),
                    dir: scenario.path().join(dir),
                    json: json.clone(),
                };
                partitions.map(golden).collect()
            }
        };
        each(&scenario, &partitions);
    });
}

/// A long value is known by its hash.
fn with_hash(mut line: Value, wanted: &Value) -> Value {
    if wanted.get("valueSha256").is_some() {
        let value = STANDARD.decode(line["value"].as_str().unwrap()).unwrap();
        let fields = line.as_object_mut().unwrap();
        fields.remove("value");
        fields.insert("valueLength".to_owned(), value.len().into());
        fields.insert("valueSha256".to_owned(), hex(&Sha256::digest(&value)).into());
    }
    line
}

fn assert_lines(shown: &str, got: &[Value], wanted: &[Value]) {
    for (line, wanted) in got.iter().zip(wanted) {
        assert_eq!(with_hash(line.clone(), wanted), *wanted, "{shown}");
    }
    assert_eq!(got.len(), wanted.len(), "{shown}: as many lines");
}

/// Damage ends what is shown.
fn assert_records(golden: &Golden, records: &AtomicUsize) {
    let (readable, is_damaged) = golden.readable();
    let ran = dump(&golden.dir, &[]);
    let shown = &golden.shown;
    let code = if is_damaged { DAMAGED } else { DONE };
    assert_eq!(ran.code, code, "{shown}: {}", ran.err);
    if golden.json["onDisk"].get("records").is_some() {
        assert_lines(shown, &ran.out, &golden.records(readable));
        records.fetch_add(ran.out.len(), Ordering::Relaxed);
    } else {
        assert_decoded(shown, &ran.out, &golden.json["decoded"]);
        let wanted = golden.json["decoded"].as_array().unwrap();
        let wanted: Vec<_> = wanted.iter().map(|line| golden.named(line.clone())).collect();
        assert_lines(shown, &dump(&golden.dir, &["--decode"]).out, &wanted);
    }
}

/// A coordinator topic's records are listed by key and value only.
fn assert_decoded(shown: &str, lines: &[Value], decoded: &Value) {
    let data: Vec<&Value> = lines.iter().filter(|line| line["control"] == false).collect();
    let wanted: Vec<&Value> = decoded.as_array().unwrap().iter().collect();
    let wanted: Vec<&Value> =
        wanted.into_iter().filter(|it| it.get("keyBytes").is_some()).collect();
    assert_eq!(data.len(), wanted.len(), "{shown}");
    for (line, wanted) in data.iter().zip(wanted) {
        for (ours, theirs) in
            [("offset", "offset"), ("timestamp", "timestamp"), ("key", "keyBytes")]
        {
            assert_eq!(line[ours], wanted[theirs], "{shown} {ours}");
        }
        assert_eq!(line["value"], wanted["valueBytes"], "{shown}");
    }
}

/// Epochs, then segment by segment its indexes, then snapshots.
fn assert_files(golden: &Golden) {
    let mut epochs = golden.named(serde_json::json!({}));
    for key in ["topicId", "leaderEpochs"] {
        epochs[key] = golden.json["onDisk"][key].clone();
    }
    let mut wanted = vec![epochs];
    for segment in golden.list("segments") {
        for (key, bytes) in [
            ("index", "indexBytes"),
            ("timeindex", "timeindexBytes"),
            ("txnindex", "txnindexBytes"),
        ] {
            if segment.get(bytes).is_none() {
                continue;
            }
            let mut line = golden.named(serde_json::json!({}));
            for key in [key, bytes, "baseOffset"] {
                line[key] = segment[key].clone();
            }
            wanted.push(line);
        }
    }
    wanted.extend(golden.list("snapshots").iter().cloned().map(|it| golden.named(it)));
    let flags = ["--epochs", "--index", "--timeindex", "--txnindex", "--snapshot"];
    let ran = dump(&golden.dir, &flags);
    assert_eq!(ran.code, DONE, "{}: {}", golden.shown, ran.err);
    assert_lines(&golden.shown, &ran.out, &wanted);
}

/// What a consumer at `read_committed` got from the broker is what is shown at that isolation.
fn assert_committed(golden: &Golden, compared: &AtomicUsize) {
    let consumed = &golden.json["consumer"]["readCommitted"];
    if consumed.is_null() || golden.json["onDisk"].get("records").is_none() {
        return;
    }
    let ran = dump(&golden.dir, &["--read-committed"]);
    let first = consumed["beginningOffset"].as_i64().unwrap();
    let offsets = ran.out.iter().map(|line| line["offset"].as_i64().unwrap());
    let ranges = consumed["offsetRanges"].as_array().unwrap().iter();
    let wanted = ranges.flat_map(|it| it[0].as_i64().unwrap()..=it[1].as_i64().unwrap());
    assert!(offsets.filter(|offset| *offset >= first).eq(wanted), "{}", golden.shown);
    compared.fetch_add(1, Ordering::Relaxed);
}

/// The whole folder, partition by partition.
fn assert_batches(scenario: &Scenario, goldens: &[Golden]) {
    let mut sorted: Vec<&Golden> = goldens.iter().collect();
    let topic = |it: &Golden| it.json["topic"].as_str().unwrap().to_owned();
    sorted.sort_by_key(|it| (topic(it), it.json["partition"].as_i64()));
    let own = |it: &&Golden| it.batches().into_iter().take(it.readable().0);
    let wanted: Vec<Value> = sorted.iter().flat_map(own).collect();
    let ran = dump(&scenario.path(), &["--batches"]);
    assert_lines(&scenario.name, &ran.out, &wanted);
    let is_damaged = sorted.iter().any(|it| it.readable().1);
    let code = if is_damaged { DAMAGED } else { DONE };
    assert_eq!(ran.code, code, "{}: {}", scenario.name, ran.err);
}

#[test]
fn kafkas_directories_are_shown_as_kafka_reads_them_and_nothing_in_them_changes() {
    let (records, compared) = (AtomicUsize::new(0), AtomicUsize::new(0));
    each_scenario(|scenario, goldens| {
        let before = state(&scenario.path());
        for golden in goldens {
            assert_records(golden, &records);
            assert_files(golden);
            assert_committed(golden, &compared);
        }
        assert_batches(scenario, goldens);
        assert!(state(&scenario.path()) == before, "{}: files have changed", scenario.name);
    });
    println!("{records:?} records, {compared:?} partitions at read_committed");
    assert!(records.into_inner() > 10_000 && compared.into_inner() > 10);
}

/// Copies a partition's files.
fn copy(from: &Path) -> (tempfile::TempDir, PathBuf) {
    let held = tempfile::tempdir().unwrap();
    let dir = held.path().join(from.file_name().unwrap());
    fs::create_dir(&dir).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), dir.join(entry.file_name())).unwrap();
    }
    (held, dir)
}

/// What `open` shows otherwise than Kafka, on purpose: the scenario, the field, why.
const DIFFERENCES: &[(&str, &str, &str)] = &[(
    "torn-no-index",
    "filesAfterClose",
    "Kafka makes a snapshot anew at each segment it recovers, we at the last two",
)];

/// Whether Kafka's files are those we leave, by name: every index subset is a valid one.
fn same_names(ours: &Value, theirs: &Value) -> bool {
    let names = |files: &Value| -> Vec<String> {
        let files = files.as_array().unwrap().iter();
        files.map(|file| file[0].as_str().unwrap().to_owned()).collect()
    };
    names(ours) == names(theirs)
}

#[test]
fn a_partition_opened_for_writing_holds_what_kafka_holds() {
    let mismatches = std::sync::Mutex::new(Vec::new());
    each_scenario(|scenario, goldens| {
        let [golden] = goldens else { return };
        if !matches!(scenario.kind, Kind::Partition(_)) {
            return;
        }
        let (_held, dir) = copy(&golden.dir);
        let start = golden.json["checkpoints"]["logStartOffset"].as_i64();
        let start = start.unwrap_or(0).to_string();
        let clean = golden.json["openedAsClean"] == true;
        let word = if clean { "--clean" } else { "--unclean" };
        let dir = dir.to_str().unwrap();
        let (out, err, code) = raw(&[
            "open",
            "--json",
            "--no-producer-expiry",
            word,
            "--log-start-offset",
            &start,
            dir,
        ]);
        let shown = &golden.shown;
        if code != DONE {
            mismatches.lock().unwrap().push(format!("{shown}: code {code}: {err}"));
            return;
        }
        let ours: Value = serde_json::from_str(&out).unwrap();
        for (key, theirs) in golden.json["opened"].as_object().unwrap() {
            let differs = DIFFERENCES.iter().any(|(name, field, _)| name == shown && field == key);
            let is_same = match key.as_str() {
                "filesAfterClose" => same_names(&ours[key], theirs),
                _ => ours[key] == *theirs,
            };
            if is_same == differs {
                let mismatch = format!("{shown} {key}: {} for Kafka's {theirs}", ours[key]);
                mismatches.lock().unwrap().push(mismatch);
            }
        }
    });
    let mismatches = mismatches.into_inner().unwrap();
    assert!(mismatches.is_empty(), "{}", mismatches.join("\n"));
}

/// In a root the numbers come from its files. Coordinator topics are written to by an open.
#[test]
fn a_root_opened_for_writing_holds_what_kafka_holds() {
    each_scenario(|scenario, goldens| {
        if !matches!(scenario.kind, Kind::Root(_)) || scenario.name.starts_with("live") {
            return;
        }
        let path = scenario.path();
        let (out, err, _) = raw(&["open", "--no-producer-expiry", path.to_str().unwrap()]);
        let lines: Vec<Value> =
            out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        for golden in goldens {
            let is_its = |line: &&Value| {
                ["topic", "partition"].iter().all(|key| line[key] == golden.json[key])
            };
            let topic = golden.json["topic"].as_str().unwrap();
            if topic.starts_with("__") {
                continue;
            }
            let shown = &golden.shown;
            let line = lines.iter().find(is_its).unwrap_or_else(|| panic!("{shown}: {err}"));
            for (key, theirs) in golden.json["opened"].as_object().unwrap() {
                match key.as_str() {
                    "filesAfterClose" => assert!(same_names(&line[key], theirs), "{shown} {key}"),
                    _ => assert_eq!(line[key], *theirs, "{shown} {key}"),
                }
            }
        }
    });
}

#[test]
fn one_log_file_is_dumped_alone() {
    let scenario = Scenario::load("segments");
    let golden = Golden {
        shown: "segments".to_owned(),
        dir: scenario.partition_path(),
        json: expected("segments"),
    };
    let base = golden.list("segments")[2]["baseOffset"].as_i64().unwrap();
    let wanted = golden.batches().into_iter().filter(|it| it["segment"] == base);
    let file = golden.dir.join(format!("{base:020}.log"));
    assert_lines("a file", &dump(&file, &["--batches"]).out, &wanted.collect::<Vec<_>>());
    let aside = golden.dir.join(format!("{base:020}.log.deleted"));
    fs::rename(&file, &aside).unwrap();
    assert_eq!(dump(&aside, &["--batches"]).code, DONE);
}

#[test]
fn damage_is_located() {
    let scenario = Scenario::load("torn-flip-middle");
    let json = expected("torn-flip-middle");
    let segments = json["onDisk"]["segments"].as_array().unwrap();
    let damaged = segments.iter().find(|segment| !segment["stoppedBy"].is_null()).unwrap();
    let file = format!("{:020}.log", damaged["baseOffset"].as_i64().unwrap());
    let position = format!("position {}", damaged["validBytes"]);
    let ran = dump(&scenario.partition_path(), &[]);
    assert_eq!(ran.code, DAMAGED);
    for told in [&*file, &*position, "offset"] {
        assert!(ran.err.contains(told), "{told}: {}", ran.err);
    }
}

#[test]
fn formats_before_2_are_refused_with_their_place() {
    for name in ["legacy-magic-0", "legacy-magic-1"] {
        let ran = dump(&Scenario::load(name).partition_path(), &[]);
        assert_eq!((ran.code, ran.out.len()), (FAILED, 0), "{name}: {}", ran.err);
        for told in ["format", "up to offset 4", "position 0", "offset 0"] {
            assert!(ran.err.contains(told), "{name}: {}", ran.err);
        }
    }
}

/// What recovery cuts off or puts aside is told with its place, and is no failure.
#[test]
fn an_open_tells_what_it_cut_off() {
    let (_held, partition) = copy(&Scenario::load("torn-flip-middle").partition_path());
    let (out, err, code) = raw(&["open", "--json", partition.to_str().unwrap()]);
    assert_eq!((out.lines().count(), code), (1, DONE), "{err}");
    let told = err.lines().find(|line| line.starts_with("warning: ")).unwrap_or_default();
    assert!(told.contains("with whole batches, kept in ") && told.contains(".log."), "{err}");
    assert!(told.contains("position ") && told.contains("the log goes on at offset "), "{err}");
    let kept = told.split("kept in ").nth(1).and_then(|rest| rest.split(';').next()).unwrap();
    assert!(kept.split(", ").all(|path| Path::new(path).exists()), "{kept}");
    fs::write(partition.join("00000000000000000000.log.swap"), b"").unwrap();
    let (_, err, code) = raw(&["open", "--json", partition.to_str().unwrap()]);
    assert_eq!(code, DONE, "{err}");
    assert!(err.contains("was put aside") && err.contains(".log.swap.cut)"), "{err}");
    let (_, err, _) = raw(&["open", "--json", partition.to_str().unwrap()]);
    assert_eq!(err, "", "nothing is told twice");
}
