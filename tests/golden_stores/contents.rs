//! What a store holds, as it is kept beside its archive, and the comparison with what is found.
//!
//! `{"topics": {NAME: {"id", "config", "partitions": [{"start", "end", "epochs", "records"}]}},
//! "groups": {NAME: [[topic, partition, offset, epoch, metadata, when]]}}`; a record is
//! `[offset, epoch, timestamp, hash]`, its hash the first half of the SHA-256 over key, value and
//! headers. Internal topics are not listed: groups are what they say.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tidelog::{
    Committed, ConsumerBuilder, Log, Offset, PartitionId, ReadOnlyStore, RecordView, Result, Store,
    TopicDescription,
};

/// A door through which a store is read.
pub trait Door {
    fn topics(&self) -> Result<Vec<TopicDescription>>;
    fn reader(&self) -> ConsumerBuilder;
    fn groups(&self) -> Result<Vec<String>>;
    fn committed(&self, group: &str) -> Result<Vec<(String, PartitionId, Committed)>>;
}

impl Door for Store {
    fn topics(&self) -> Result<Vec<TopicDescription>> {
        self.topics()
    }
    fn reader(&self) -> ConsumerBuilder {
        self.reader()
    }
    fn groups(&self) -> Result<Vec<String>> {
        Ok(self.groups()?.into_iter().map(|group| group.name).collect())
    }
    fn committed(&self, group: &str) -> Result<Vec<(String, PartitionId, Committed)>> {
        self.committed(group)
    }
}

impl Door for ReadOnlyStore {
    fn topics(&self) -> Result<Vec<TopicDescription>> {
        self.topics()
    }
    fn reader(&self) -> ConsumerBuilder {
        self.reader()
    }
    fn groups(&self) -> Result<Vec<String>> {
        self.group_names()
    }
    fn committed(&self, group: &str) -> Result<Vec<(String, PartitionId, Committed)>> {
        self.committed(group)
    }
}

fn record(record: &RecordView<'_>) -> Value {
    let mut hash = Sha256::new();
    let mut field = |bytes: Option<&[u8]>| {
        hash.update(bytes.map_or(-1, |bytes| bytes.len() as i64).to_be_bytes());
        hash.update(bytes.unwrap_or_default());
    };
    field(record.key());
    field(record.value());
    for header in record.headers() {
        field(Some(header.name().as_bytes()));
        field(header.value());
    }
    let hash = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>();
    let timestamp = record.timestamp().map(tidelog::Timestamp::as_millis);
    json!([record.offset().get(), record.leader_epoch().map(|it| it.get()), timestamp, hash])
}

fn records(door: &impl Door, topic: &str, partition: PartitionId) -> Result<Vec<Value>> {
    let mut reader = door.reader().assign([(topic, partition)]).build()?;
    let mut found = Vec::new();
    for records in reader.read_to_end()? {
        found.extend(records?.iter().map(|one| record(&one)));
    }
    Ok(found)
}

pub fn of_store(door: &impl Door) -> Result<Value> {
    let mut topics = Map::new();
    for topic in door.topics()?.iter().filter(|topic| !topic.is_internal()) {
        let mut partitions = Vec::new();
        for seen in topic.partitions() {
            let epochs = seen.epochs().iter().map(|(epoch, at)| json!([epoch.get(), at.get()]));
            partitions.push(json!({
                "start": seen.start_offset().get(),
                "end": seen.end_offset().get(),
                "epochs": epochs.collect::<Vec<_>>(),
                "records": records(door, topic.name(), seen.id())?,
            }));
        }
        let config: Map<_, _> =
            topic.config().entries().into_iter().map(|(key, value)| (key, value.into())).collect();
        let id = format!("{}", topic.id());
        let one = json!({"id": id, "config": config, "partitions": partitions});
        topics.insert(topic.name().to_owned(), one);
    }
    let mut groups = Map::new();
    for name in door.groups()? {
        let committed = door.committed(&name)?.into_iter().map(|(topic, partition, one)| {
            let epoch = one.leader_epoch().map(|epoch| epoch.get());
            let when = one.committed_at().as_millis();
            json!([topic, partition.get(), one.offset().get(), epoch, one.metadata(), when])
        });
        groups.insert(name, committed.collect());
    }
    Ok(json!({"topics": topics, "groups": groups}))
}

pub fn of_log(log: &Log) -> Result<Value> {
    let (mut next, mut found) = (log.start_offset(), Vec::new());
    loop {
        let records = log.read(next, 1 << 20)?;
        let Some(last) = records.iter().last() else { break };
        next = Offset::new(last.offset().get() + 1);
        found.extend(records.iter().map(|one| record(&one)));
    }
    let (start, end) = (log.start_offset().get(), log.end_offset().get());
    let partition = json!({"start": start, "end": end, "epochs": [], "records": found});
    let topic = json!({"id": null, "config": {}, "partitions": [partition]});
    Ok(json!({"topics": {"orders": topic}, "groups": {}}))
}

/// How what is found may differ from what was held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Than {
    Equal,
    /// More may have been appended and committed since.
    More,
    /// The end may be out of sight still.
    Less,
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Whether a list is as it was, goes on, or is as far as it goes what it was.
fn follows(held: &Value, found: &Value, than: Than) -> bool {
    let (held, found) = (list(held), list(found));
    match than {
        Than::Equal => held == found,
        Than::More => found.starts_with(held),
        Than::Less => held.starts_with(found),
    }
}

pub fn check(held: &Value, found: &Value, than: Than) -> std::result::Result<(), String> {
    let names = |value: &Value| -> Vec<String> {
        value["topics"].as_object().map(|it| it.keys().cloned().collect()).unwrap_or_default()
    };
    if names(held) != names(found) {
        return Err(format!("topics {:?}, {:?} wanted", names(found), names(held)));
    }
    for name in names(held) {
        let (held, found) = (&held["topics"][&name], &found["topics"][&name]);
        let differs = |what: &str| Err(format!("{name}: another {what}: {found} for {held}"));
        // settings that came later are not in what an older build wrote down
        let configs = (held["config"].as_object(), found["config"].as_object());
        let kept = matches!(configs, (Some(held), Some(found))
            if held.iter().all(|(key, value)| found.get(key) == Some(value)));
        if held["id"] != found["id"] || !kept {
            return differs("id or configuration");
        }
        let (before, after) = (list(&held["partitions"]), list(&found["partitions"]));
        if before.len() != after.len() {
            return differs("number of partitions");
        }
        for (before, after) in before.iter().zip(after) {
            let ends = |it: &Value| it["end"].as_i64().unwrap_or(-1);
            let epochs = if than == Than::Less { Than::Less } else { Than::More };
            if before["start"] != after["start"]
                || !follows(&before["epochs"], &after["epochs"], epochs)
                || !follows(&before["records"], &after["records"], than)
                || (than != Than::Less && ends(before) > ends(after))
            {
                return Err(format!("{name}: {after} for {before}"));
            }
        }
    }
    let (before, after) = (&held["groups"], &found["groups"]);
    let kept = |(name, commits): (&String, &Value)| after[name] == *commits;
    match than {
        Than::Less => Ok(()),
        _ if before.as_object().is_some_and(|groups| groups.iter().all(kept)) => Ok(()),
        _ => Err(format!("groups {after} for {before}")),
    }
}
