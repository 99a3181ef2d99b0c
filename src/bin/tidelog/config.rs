//! `tidelog config`: the settings of a topic, by Kafka's names.
//!
//! Describing takes no lock and works beside a process that writes; altering opens the store for
//! writing. What a key means and which values it takes is the library's to say.
//!
//! Called by `main`.

use std::path::{Path, PathBuf};

use tidelog::{Dump, Store, TopicConfig};

use super::failure::Failure;
use super::json::{Object, print};
use super::table::{Side, Table};
use super::topics::setting;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Action {
    /// Show every setting of a topic, and which differ from the defaults
    Describe {
        /// The store's root
        path: PathBuf,
        /// The topic
        topic: String,
        /// One JSON object for each setting
        #[arg(long)]
        json: bool,
        /// Only those that differ from the defaults
        #[arg(long)]
        changed: bool,
    },
    /// Change settings of a topic
    Alter {
        /// The store's root
        path: PathBuf,
        /// The topic
        topic: String,
        /// A setting by Kafka's name, as `retention.ms=86400000`; may be repeated
        #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
        set: Vec<(String, String)>,
        /// A setting that is to have its default again; may be repeated
        #[arg(long, value_name = "KEY")]
        unset: Vec<String>,
    },
}

pub(super) fn run(action: &Action) -> Result<(), Failure> {
    match action {
        Action::Describe { path, topic, json, changed } => describe(path, topic, *json, *changed),
        Action::Alter { path, topic, set, unset } => alter(path, topic, set, unset),
    }
}

fn describe(path: &Path, topic: &str, json: bool, changed: bool) -> Result<(), Failure> {
    let store = Store::open_read_only(path)?;
    let topic = store.describe(topic)?;
    let defaults = TopicConfig::new();
    let columns = [("KEY", Side::Left), ("VALUE", Side::Left), ("DEFAULT", Side::Left)];
    let mut table = Table::new(&columns);
    for (key, value) in topic.config().entries() {
        let default = defaults.get(&key).unwrap_or_default();
        if changed && value == default {
            continue;
        }
        if json {
            let line = Object::new()
                .field("topic", topic.name())
                .field("key", key)
                .field("changed", value != default)
                .field("value", value)
                .field("default", default);
            print(line.line().as_bytes())?;
        } else {
            table.row([key, value, default]);
        }
    }
    if json {
        return Ok(());
    }
    table.print()?;
    if topic.is_adopted() {
        print(b"the topic is adopted: nothing is removed from it until a setting is made\n")?;
    }
    Ok(())
}

fn alter(
    path: &Path,
    topic: &str,
    set: &[(String, String)],
    unset: &[String],
) -> Result<(), Failure> {
    if set.is_empty() && unset.is_empty() {
        let mend = "say what to change: --set KEY=VALUE or --unset KEY";
        return Err(Failure::Usage(mend.to_owned()));
    }
    Dump::open(path)?;
    let store = Store::open(path)?;
    let mut config = store.describe(topic)?.config().clone();
    let defaults = TopicConfig::new();
    for key in unset {
        let default = defaults.get(key).unwrap_or_default(); // unknown: `set` says what is
        config = config.set(key, &default)?;
    }
    for (key, value) in set {
        config = config.set(key, value)?;
    }
    store.alter_topic(topic, config)?;
    Ok(store.close()?)
}
