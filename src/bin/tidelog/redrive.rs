//! `tidelog redrive`: sending the records of a dead-letter topic back, each once, or counting what
//! would be sent.
//!
//! The store is opened as its owner would; what was sent back is noted in it, so that the same
//! command run again goes on. Called by `main`.

use std::path::PathBuf;

use tidelog::{DeadLetter, Dump, RecordView, Store};

use super::failure::Failure;
use super::json::{Object, print};

#[derive(Debug, clap::Args)]
#[command(after_help = "Letters whose topic is gone, or was made again under its name, stay: \
    name another topic with --to.")]
pub(super) struct Arguments {
    /// The store's root
    path: PathBuf,
    /// The dead-letter topic; with --group it may be left out
    #[arg(required_unless_present = "group")]
    topic: Option<String>,
    /// To this topic, not where they come from
    #[arg(long, value_name = "TOPIC")]
    to: Option<String>,
    /// So many records at most
    #[arg(long, value_name = "COUNT")]
    max: Option<u64>,
    /// Only those that this group has given up
    #[arg(long)]
    group: Option<String>,
    /// Only those given up for this cause
    #[arg(long, value_parser = ["attempts", "rejected"])]
    cause: Option<String>,
    /// Count what would be sent back, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl Arguments {
    fn chooses(&self, record: RecordView<'_>) -> bool {
        if self.group.is_none() && self.cause.is_none() {
            return true;
        }
        let is = |wanted: &Option<String>, said: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| said == Some(wanted))
        };
        DeadLetter::of(record)
            .is_some_and(|letter| is(&self.group, letter.group) && is(&self.cause, letter.cause))
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    Dump::open(&arguments.path)?;
    let store = Store::open(&arguments.path)?;
    let redrive = match (&arguments.topic, &arguments.group) {
        (Some(topic), _) => store.redrive_dead_letters(topic),
        (None, group) => store.redrive_group(group.clone().unwrap_or_default()),
    };
    let mut redrive = redrive
        .max_records(arguments.max.unwrap_or(u64::MAX))
        .filter(|record| arguments.chooses(record));
    if let Some(to) = &arguments.to {
        redrive = redrive.to(to);
    }
    let done = if arguments.dry_run { redrive.count()? } else { redrive.run()? };
    store.close()?;
    if arguments.json {
        let line = Object::new()
            .maybe("topic", arguments.topic.clone())
            .maybe("group", arguments.group.clone())
            .field("records", done.records)
            .field("passedOver", done.passed_over)
            .field("stranded", done.stranded)
            .maybe("whyStranded", done.why_stranded);
        return print(line.line().as_bytes());
    }
    let verb = if arguments.dry_run { "would be sent back" } else { "sent back" };
    let mut text = format!("{} {verb}, {} passed over", done.records, done.passed_over);
    if let Some(why) = &done.why_stranded {
        text += &format!(", {} stay: {why}", done.stranded);
    }
    print(format!("{text}\n").as_bytes())
}
