//! `tidelog topics`, `create`, `alter` and `delete`: the topics of a store.
//!
//! Listing takes no lock and works beside a process that writes; the others open the store for
//! writing and are refused while another process has it. Settings go by Kafka's names.
//!
//! Called by `main`.

use std::path::PathBuf;

use serde_json::json;
use tidelog::{Dump, Store, TopicConfig, TopicDescription};

use super::failure::Failure;
use super::json::{Object, list, print};
use super::table::{Side, Table};

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// The store's root
    path: PathBuf,
    /// One JSON object for each topic, its settings and partitions in it
    #[arg(long)]
    json: bool,
    /// The library's own topics, too
    #[arg(long)]
    internal: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Create {
    /// The store's root; made where it is missing
    path: PathBuf,
    /// The topic's name: letters, digits, `.`, `_` and `-`
    topic: String,
    /// How many partitions
    #[arg(long, default_value_t = 1)]
    partitions: u32,
    /// A setting by Kafka's name, as `retention.ms=86400000`; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    config: Vec<(String, String)>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Alter {
    /// The store's root
    path: PathBuf,
    /// The topic
    topic: String,
    /// So many partitions in all; there can only become more
    #[arg(long)]
    partitions: Option<u32>,
    /// A setting by Kafka's name, as `retention.ms=86400000`; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    config: Vec<(String, String)>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Delete {
    /// The store's root
    path: PathBuf,
    /// The topic, with all its records
    topic: String,
}

pub(super) fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// Opens for writing what is there already.
fn open(path: &PathBuf) -> tidelog::Result<Store> {
    Dump::open(path)?;
    Store::open(path)
}

fn with(config: TopicConfig, settings: &[(String, String)]) -> tidelog::Result<TopicConfig> {
    settings.iter().try_fold(config, |config, (key, value)| config.set(key, value))
}

pub(super) fn run_list(arguments: &List) -> Result<(), Failure> {
    let store = Store::open_read_only(&arguments.path)?;
    let mut topics = store.topics()?;
    if arguments.internal {
        let own = |name: &String| topics.iter().all(|topic| topic.name() != name);
        let names: Vec<String> = store.stats().topics.into_iter().map(|it| it.name).collect();
        let names: Vec<String> = names.into_iter().filter(own).collect();
        for name in names {
            topics.push(store.describe(&name)?);
        }
    }
    topics.sort_by(|one, other| one.name().cmp(other.name()));
    if arguments.json {
        for topic in &topics {
            print(topic_line(topic).as_bytes())?;
        }
        return Ok(());
    }
    let columns =
        [("TOPIC", Side::Left), ("PARTITIONS", Side::Right), ("OFFSETS KEPT", Side::Right)];
    let mut table = Table::new(&columns);
    for topic in &topics {
        let partitions = topic.partitions();
        let kept: u64 = partitions.iter().map(|it| it.end_offset().since(it.start_offset())).sum();
        table.row([topic.name().to_owned(), partitions.len().to_string(), kept.to_string()]);
    }
    table.print()
}

fn topic_line(topic: &TopicDescription) -> String {
    let settings: serde_json::Map<_, _> =
        topic.config().entries().into_iter().map(|(key, value)| (key, value.into())).collect();
    let partitions = list(topic.partitions(), |partition| {
        json!({
            "partition": partition.id().get(),
            "logStartOffset": partition.start_offset().get(),
            "logEndOffset": partition.end_offset().get(),
            "failure": partition.failure(),
        })
    });
    Object::new()
        .field("topic", topic.name())
        .field("topicId", topic.id().to_string())
        .field("internal", topic.is_internal())
        .field("adopted", topic.is_adopted())
        .field("config", settings)
        .field("partitions", partitions)
        .line()
}

pub(super) fn run_create(arguments: &Create) -> Result<(), Failure> {
    let config = TopicConfig::new().partitions(arguments.partitions);
    let config = with(config, &arguments.config)?;
    let store = Store::open(&arguments.path)?;
    store.create_topic(&arguments.topic, config)?;
    Ok(store.close()?)
}

pub(super) fn run_alter(arguments: &Alter) -> Result<(), Failure> {
    let store = open(&arguments.path)?;
    if !arguments.config.is_empty() {
        let config = store.describe(&arguments.topic)?.config().clone();
        store.alter_topic(&arguments.topic, with(config, &arguments.config)?)?;
    }
    if let Some(partitions) = arguments.partitions {
        store.add_partitions(&arguments.topic, partitions)?;
    }
    Ok(store.close()?)
}

pub(super) fn run_delete(arguments: &Delete) -> Result<(), Failure> {
    let store = open(&arguments.path)?;
    store.delete_topic(&arguments.topic)?;
    Ok(store.close()?)
}
