//! The golden directories that Apache Kafka wrote, unpacked, with what Kafka found in them.
//!
//! `tests/golden/README.md` defines every field; the names here are its names in this language's
//! spelling. A number that stands for nothing (-1) stays as it is: these are Kafka's words.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::scratch::scratch;

/// Where the archives lie: `TIDELOG_GOLDEN_SET` names another set, as `generator/run.sh` makes one.
pub fn directory() -> PathBuf {
    match std::env::var_os("TIDELOG_GOLDEN_SET") {
        Some(set) => PathBuf::from(set),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"),
    }
}

/// The names of all scenarios, sorted.
pub fn names() -> Vec<String> {
    let entries = fs::read_dir(directory()).expect("tests/golden is there");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
        .filter_map(|name| name.strip_suffix(".tar.gz").map(str::to_owned))
        .collect();
    names.sort();
    names
}

/// One scenario, unpacked into a directory of its own that goes with this value.
pub struct Scenario {
    pub name: String,
    pub note: String,
    /// Damage was made by hand.
    pub synthetic: bool,
    pub kind: Kind,
    dir: TempDir,
}

pub enum Kind {
    Partition(Box<Partition>),
    Root(Box<Root>),
    /// Message sets of magic 0 or 1: to be refused.
    Legacy(Vec<LegacyRecord>),
}

/// A whole log directory.
pub struct Root {
    pub meta_properties: BTreeMap<String, String>,
    pub clean_shutdown_file: bool,
    pub broker_epoch: Option<i64>,
    pub recovery_points: BTreeMap<String, i64>,
    pub log_starts: BTreeMap<String, i64>,
    pub high_watermarks: BTreeMap<String, i64>,
    pub cleaner_offsets: BTreeMap<String, i64>,
    /// The names in the directory.
    pub entries: Vec<String>,
    /// By directory name.
    pub partitions: BTreeMap<String, Partition>,
    pub cluster_metadata: Option<OnDisk>,
    /// As the admin client listed them, group to partition to offset, epoch and metadata.
    pub committed_offsets: Value,
    /// The last offset per partition whose producer had an acknowledgement.
    pub last_acked: BTreeMap<String, i64>,
}

pub struct Partition {
    pub topic: String,
    pub partition: u32,
    pub checkpoints: Checkpoints,
    pub on_disk: OnDisk,
    pub opened: Opened,
    pub opened_as_clean: bool,
    pub consumer: Option<Consumer>,
    /// A coordinator topic's records as Kafka's own converters print them.
    pub decoded: Vec<Value>,
}

#[derive(Default)]
pub struct Checkpoints {
    pub recovery_point: Option<i64>,
    pub log_start_offset: Option<i64>,
    pub high_watermark: Option<i64>,
    pub cleaner: Option<i64>,
}

/// What lies in the files, no recovery applied.
pub struct OnDisk {
    pub topic_id: Option<String>,
    /// Epoch and start offset.
    pub leader_epochs: Vec<(i64, i64)>,
    /// Name and length.
    pub files: Vec<(String, u64)>,
    pub segments: Vec<Segment>,
    pub snapshots: Vec<Snapshot>,
    pub batches: Vec<Batch>,
    /// `None` for coordinator topics.
    pub records: Option<Vec<Record>>,
}

pub struct Segment {
    pub base_offset: i64,
    pub log_bytes: u64,
    pub valid_bytes: u64,
    pub batch_count: u64,
    pub stopped_by: Option<String>,
    pub index_bytes: Option<u64>,
    /// Offset and position.
    pub index: Vec<(i64, i64)>,
    pub timeindex_bytes: Option<u64>,
    /// Timestamp and offset.
    pub timeindex: Vec<(i64, i64)>,
    pub txnindex_bytes: Option<u64>,
    pub txnindex: Vec<AbortedTransaction>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: i64,
    pub first_offset: i64,
    pub last_offset: i64,
    pub last_stable_offset: i64,
}

pub struct Snapshot {
    pub offset: i64,
    pub producers: Vec<Producer>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    pub producer_id: i64,
    pub producer_epoch: i64,
    pub last_sequence: i64,
    /// In a snapshot only.
    pub last_data_offset: Option<i64>,
    /// In a snapshot only.
    pub offset_delta: Option<i64>,
    pub last_timestamp: i64,
    pub coordinator_epoch: i64,
    pub current_txn_first_offset: Option<i64>,
}

pub struct Batch {
    /// Base offset of its segment.
    pub segment: i64,
    pub position: u64,
    pub size: u64,
    pub base_offset: i64,
    pub last_offset: i64,
    pub leader_epoch: i64,
    pub crc: u32,
    pub attributes: i64,
    pub codec: String,
    pub timestamp_type: String,
    pub transactional: bool,
    pub control: bool,
    pub control_type: Option<String>,
    pub coordinator_epoch: Option<i64>,
    pub delete_horizon: Option<i64>,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i64,
    pub base_sequence: i64,
    pub last_sequence: i64,
    pub count: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub offset: i64,
    pub timestamp: i64,
    pub sequence: i64,
    pub key: Option<Vec<u8>>,
    pub value: Payload,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Index into the batches.
    pub batch: usize,
}

/// A value, or its length and hash where it is long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    Null,
    Bytes(Vec<u8>),
    Hashed { len: u64, sha256: String },
}

impl Payload {
    /// Whether `value` is what Kafka read.
    pub fn matches(&self, value: Option<&[u8]>) -> bool {
        match (self, value) {
            (Payload::Null, None) => true,
            (Payload::Bytes(ours), Some(value)) => ours == value,
            (Payload::Hashed { len, sha256 }, Some(value)) => {
                *len == value.len() as u64 && *sha256 == hex(&Sha256::digest(value))
            }
            _ => false,
        }
    }
}

/// What Kafka's log holds after it opened a copy.
pub struct Opened {
    pub log_start_offset: i64,
    pub log_end_offset: i64,
    pub last_stable_offset: i64,
    pub recovery_point: i64,
    pub batch_count: u64,
    pub control_record_count: u64,
    pub record_count: u64,
    pub records_sha256: String,
    pub aborted_transactions: Vec<AbortedTransaction>,
    pub leader_epochs: Vec<(i64, i64)>,
    /// Base offset and bytes.
    pub segments: Vec<(i64, i64)>,
    pub producers: Vec<Producer>,
    pub files_after_close: Vec<(String, u64)>,
}

/// What real consumers got from the live broker.
pub struct Consumer {
    pub read_uncommitted: Consumed,
    pub read_committed: Consumed,
}

pub struct Consumed {
    pub beginning_offset: i64,
    pub end_offset: i64,
    pub record_count: u64,
    pub records_sha256: String,
    /// First and last, both inclusive.
    pub offset_ranges: Vec<(i64, i64)>,
}

pub struct LegacyRecord {
    pub offset: i64,
    pub magic: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
}

impl Scenario {
    /// Unpacks a scenario and reads what is expected of it.
    pub fn load(name: &str) -> Self {
        let dir = scratch();
        let archive = directory().join(format!("{name}.tar.gz"));
        let file = File::open(&archive).expect("the scenario's archive is there");
        let mut archive = tar::Archive::new(GzDecoder::new(BufReader::new(file)));
        archive.unpack(dir.path()).expect("the archive unpacks");
        let json = expected(name);
        let kind = if let Some(legacy) = json.get("recordsAsKafkaReadsThem") {
            Kind::Legacy(list(legacy, legacy_record))
        } else if json.get("partitions").is_some() {
            Kind::Root(Box::new(root(&json)))
        } else {
            Kind::Partition(Box::new(partition(&json)))
        };
        let note = text(&json, "note");
        let synthetic = json.get("synthetic") == Some(&Value::Bool(true));
        Scenario { name: name.to_owned(), note, synthetic, kind, dir }
    }

    /// The scenario's folder: a root for the root scenarios, else what holds the partition.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join(&self.name)
    }

    /// The partition's directory, where the scenario is a single partition.
    pub fn partition_path(&self) -> PathBuf {
        let mut dirs: Vec<PathBuf> = fs::read_dir(self.path())
            .expect("the scenario's folder is there")
            .map(|entry| entry.expect("readable").path())
            .collect();
        assert_eq!(dirs.len(), 1, "{} holds one partition", self.name);
        dirs.remove(0)
    }

    /// # Panics
    /// When the scenario is not a single partition.
    pub fn partition(&self) -> &Partition {
        match &self.kind {
            Kind::Partition(partition) => partition,
            _ => panic!("{} is not a single partition", self.name),
        }
    }

    /// # Panics
    /// When the scenario is not a root.
    pub fn root(&self) -> &Root {
        match &self.kind {
            Kind::Root(root) => root,
            _ => panic!("{} is not a root", self.name),
        }
    }
}

impl Partition {
    /// The data records (no control records) that Kafka serves after it opened the partition.
    /// `None` for a coordinator topic, whose records are not listed.
    pub fn data_records(&self) -> Option<impl Iterator<Item = &Record>> {
        let served = self.opened.log_start_offset..self.opened.log_end_offset;
        let records = self.on_disk.records.as_ref()?.iter();
        Some(records.filter(move |record| {
            served.contains(&record.offset) && !self.on_disk.batches[record.batch].control
        }))
    }
}

/// `recordsSha256` of the README: fed with the data records in order of offset.
#[derive(Default)]
pub struct RecordsSha256(Sha256);

impl RecordsSha256 {
    /// Adds one record; `headers` in order.
    pub fn add<'a>(
        &mut self,
        offset: i64,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
    ) {
        self.0.update(offset.to_be_bytes());
        self.0.update(timestamp.to_be_bytes());
        self.bytes(key);
        self.bytes(value);
        let headers: Vec<_> = headers.into_iter().collect();
        self.0.update(length(headers.len()).to_be_bytes());
        for (name, value) in headers {
            self.bytes(Some(name.as_bytes()));
            self.bytes(value);
        }
    }

    fn bytes(&mut self, bytes: Option<&[u8]>) {
        self.0.update(bytes.map_or(-1, |bytes| length(bytes.len())).to_be_bytes());
        self.0.update(bytes.unwrap_or_default());
    }

    pub fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

fn length(len: usize) -> i32 {
    i32::try_from(len).expect("Kafka's lengths are 32 bits")
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The expectations of a scenario as they stand in its file.
pub fn expected(name: &str) -> Value {
    let plain = directory().join(format!("{name}.expected.json"));
    let mut json = Vec::new();
    if plain.exists() {
        json = fs::read(plain).expect("readable");
    } else {
        let packed = directory().join(format!("{name}.expected.json.gz"));
        let file = File::open(packed).expect("the scenario's expectations are there");
        GzDecoder::new(file).read_to_end(&mut json).expect("gzip");
    }
    let json: Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(json["schema"], 1, "{name}: the schema this loader reads");
    assert_eq!(json["scenario"], *name);
    json
}

fn root(json: &Value) -> Root {
    let map = |key: &str| numbers(json.get(key).unwrap_or(&Value::Null));
    let partitions = object(&json["partitions"]).map(|(name, it)| (name, partition(it)));
    let properties = object(&json["metaProperties"]);
    Root {
        meta_properties: properties.map(|(key, value)| (key, string(value))).collect(),
        clean_shutdown_file: flag(json, "cleanShutdownFile"),
        broker_epoch: json.get("brokerEpoch").map(number),
        recovery_points: map("recovery-point-offset-checkpoint"),
        log_starts: map("log-start-offset-checkpoint"),
        high_watermarks: map("replication-offset-checkpoint"),
        cleaner_offsets: map("cleaner-offset-checkpoint"),
        entries: list(&json["entries"], string),
        partitions: partitions.collect(),
        cluster_metadata: json.get("clusterMetadata").map(on_disk),
        committed_offsets: json.get("committedOffsets").cloned().unwrap_or_default(),
        last_acked: map("lastAckedOffset"),
    }
}

fn partition(json: &Value) -> Partition {
    let checkpoint = |key: &str| maybe(json["checkpoints"].get(key));
    Partition {
        topic: text(json, "topic"),
        partition: small(json, "partition"),
        checkpoints: Checkpoints {
            recovery_point: checkpoint("recoveryPoint"),
            log_start_offset: checkpoint("logStartOffset"),
            high_watermark: checkpoint("highWatermark"),
            cleaner: checkpoint("cleaner"),
        },
        on_disk: on_disk(&json["onDisk"]),
        opened: opened(&json["opened"]),
        opened_as_clean: flag(json, "openedAsClean"),
        consumer: json.get("consumer").map(|json| Consumer {
            read_uncommitted: consumed(&json["readUncommitted"]),
            read_committed: consumed(&json["readCommitted"]),
        }),
        decoded: json.get("decoded").map_or_else(Vec::new, |list_of| list(list_of, Value::clone)),
    }
}

fn on_disk(json: &Value) -> OnDisk {
    OnDisk {
        topic_id: json["topicId"].as_str().map(str::to_owned),
        leader_epochs: list(&json["leaderEpochs"], pair),
        files: list(&json["files"], name_and_length),
        segments: list(&json["segments"], segment),
        snapshots: list(&json["snapshots"], |json| Snapshot {
            offset: number(&json["offset"]),
            producers: list(&json["producers"], producer),
        }),
        batches: list(&json["batches"], batch),
        records: json.get("records").map(|records| list(records, record)),
    }
}

fn segment(json: &Value) -> Segment {
    let pairs = |key: &str| json.get(key).map_or_else(Vec::new, |pairs| list(pairs, pair));
    let bytes = |key: &str| json.get(key).map(unsigned);
    Segment {
        base_offset: number(&json["baseOffset"]),
        log_bytes: unsigned(&json["logBytes"]),
        valid_bytes: unsigned(&json["validBytes"]),
        batch_count: unsigned(&json["batchCount"]),
        stopped_by: json.get("stoppedBy").map(string),
        index_bytes: bytes("indexBytes"),
        index: pairs("index"),
        timeindex_bytes: bytes("timeindexBytes"),
        timeindex: pairs("timeindex"),
        txnindex_bytes: bytes("txnindexBytes"),
        txnindex: json.get("txnindex").map_or_else(Vec::new, |entries| list(entries, aborted)),
    }
}

fn batch(json: &Value) -> Batch {
    let field = |key: &str| number(&json[key]);
    Batch {
        segment: field("segment"),
        position: unsigned(&json["position"]),
        size: unsigned(&json["size"]),
        base_offset: field("baseOffset"),
        last_offset: field("lastOffset"),
        leader_epoch: field("leaderEpoch"),
        crc: small(json, "crc"),
        attributes: field("attributes"),
        codec: text(json, "codec"),
        timestamp_type: text(json, "timestampType"),
        transactional: flag(json, "transactional"),
        control: flag(json, "control"),
        control_type: json.get("controlType").map(string),
        coordinator_epoch: maybe(json.get("coordinatorEpoch")),
        delete_horizon: maybe(json.get("deleteHorizonMs")),
        base_timestamp: field("baseTimestamp"),
        max_timestamp: field("maxTimestamp"),
        producer_id: field("producerId"),
        producer_epoch: field("producerEpoch"),
        base_sequence: field("baseSequence"),
        last_sequence: field("lastSequence"),
        count: unsigned(&json["count"]),
    }
}

fn record(json: &Value) -> Record {
    let value = match json.get("valueSha256") {
        Some(sha256) => {
            Payload::Hashed { len: unsigned(&json["valueLength"]), sha256: string(sha256) }
        }
        None => base64(&json["value"]).map_or(Payload::Null, Payload::Bytes),
    };
    let header = |json: &Value| (string(&json[0]), base64(&json[1]));
    Record {
        offset: number(&json["offset"]),
        timestamp: number(&json["timestamp"]),
        sequence: number(&json["sequence"]),
        key: base64(&json["key"]),
        value,
        headers: json.get("headers").map_or_else(Vec::new, |headers| list(headers, header)),
        batch: usize::try_from(unsigned(&json["batch"])).expect("64-bit"),
    }
}

fn opened(json: &Value) -> Opened {
    Opened {
        log_start_offset: number(&json["logStartOffset"]),
        log_end_offset: number(&json["logEndOffset"]),
        last_stable_offset: number(&json["lastStableOffset"]),
        recovery_point: number(&json["recoveryPoint"]),
        batch_count: unsigned(&json["batchCount"]),
        control_record_count: unsigned(&json["controlRecordCount"]),
        record_count: unsigned(&json["recordCount"]),
        records_sha256: text(json, "recordsSha256"),
        aborted_transactions: list(&json["abortedTransactions"], aborted),
        leader_epochs: list(&json["leaderEpochs"], pair),
        segments: list(&json["segments"], pair),
        producers: list(&json["producers"], producer),
        files_after_close: list(&json["filesAfterClose"], name_and_length),
    }
}

fn consumed(json: &Value) -> Consumed {
    Consumed {
        beginning_offset: number(&json["beginningOffset"]),
        end_offset: number(&json["endOffset"]),
        record_count: unsigned(&json["recordCount"]),
        records_sha256: text(json, "recordsSha256"),
        offset_ranges: list(&json["offsetRanges"], pair),
    }
}

fn producer(json: &Value) -> Producer {
    Producer {
        producer_id: number(&json["producerId"]),
        producer_epoch: number(&json["producerEpoch"]),
        last_sequence: number(&json["lastSequence"]),
        last_data_offset: maybe(json.get("lastDataOffset")),
        offset_delta: maybe(json.get("offsetDelta")),
        last_timestamp: number(&json["lastTimestamp"]),
        coordinator_epoch: number(&json["coordinatorEpoch"]),
        current_txn_first_offset: maybe(json.get("currentTxnFirstOffset")),
    }
}

fn aborted(json: &Value) -> AbortedTransaction {
    AbortedTransaction {
        producer_id: number(&json["producerId"]),
        first_offset: number(&json["firstOffset"]),
        last_offset: number(&json["lastOffset"]),
        last_stable_offset: number(&json["lastStableOffset"]),
    }
}

fn legacy_record(json: &Value) -> LegacyRecord {
    LegacyRecord {
        offset: number(&json["offset"]),
        magic: number(&json["magic"]),
        key: base64(&json["key"]),
        value: base64(&json["value"]),
    }
}

fn list<T>(json: &Value, each: impl Fn(&Value) -> T) -> Vec<T> {
    json.as_array().unwrap_or_else(|| panic!("a list, not {json}")).iter().map(each).collect()
}

fn object(json: &Value) -> impl Iterator<Item = (String, &Value)> {
    let object = json.as_object().unwrap_or_else(|| panic!("an object, not {json}"));
    object.iter().map(|(key, value)| (key.clone(), value))
}

fn numbers(json: &Value) -> BTreeMap<String, i64> {
    let entries = json.as_object().into_iter().flatten();
    entries.map(|(key, value)| (key.clone(), number(value))).collect()
}

fn number(json: &Value) -> i64 {
    json.as_i64().unwrap_or_else(|| panic!("a number, not {json}"))
}

fn unsigned(json: &Value) -> u64 {
    json.as_u64().unwrap_or_else(|| panic!("a number from 0, not {json}"))
}

fn small(json: &Value, key: &str) -> u32 {
    u32::try_from(unsigned(&json[key])).unwrap_or_else(|_| panic!("32 bits: {key}"))
}

fn maybe(json: Option<&Value>) -> Option<i64> {
    json.filter(|json| !json.is_null()).map(number)
}

fn flag(json: &Value, key: &str) -> bool {
    json[key].as_bool().unwrap_or_else(|| panic!("{key} is true or false"))
}

fn string(json: &Value) -> String {
    json.as_str().unwrap_or_else(|| panic!("a string, not {json}")).to_owned()
}

fn text(json: &Value, key: &str) -> String {
    string(&json[key])
}

fn pair(json: &Value) -> (i64, i64) {
    (number(&json[0]), number(&json[1]))
}

fn name_and_length(json: &Value) -> (String, u64) {
    (string(&json[0]), unsigned(&json[1]))
}

fn base64(json: &Value) -> Option<Vec<u8>> {
    json.as_str().map(|text| STANDARD.decode(text).expect("base64"))
}
