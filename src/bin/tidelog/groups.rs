//! `tidelog groups`: the consumer groups of a store, and moving or deleting what they committed.
//!
//! Listing and describing take no lock and work beside a process that writes; who the members are
//! is known to that process alone. Resetting and deleting open the store for writing, so that no
//! group has members then.
//!
//! Called by `main`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tidelog::{
    Committed, Dump, Durability, LeaderEpoch, Offset, PartitionId, ReadOnlyStore, ResetPlan,
    ResetTo, Store, Timestamp,
};

use super::failure::Failure;
use super::json::{Object, print};
use super::stopped;
use super::table::{Side, Table, or_dash};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Action {
    /// List the groups, with how many records each has still to read
    List {
        /// The store's root
        path: PathBuf,
        /// One JSON object for each group
        #[arg(long)]
        json: bool,
    },
    /// Show what a group has committed, partition by partition
    Describe {
        /// The store's root
        path: PathBuf,
        /// The group
        group: String,
        /// One JSON object for each partition
        #[arg(long)]
        json: bool,
    },
    /// Move a group's committed offsets
    Reset(Reset),
    /// Delete a group, or what it has committed for one topic
    Delete {
        /// The store's root
        path: PathBuf,
        /// The group
        group: String,
        /// Only what it has committed for this topic
        #[arg(long)]
        topic: Option<String>,
    },
    /// Show the records that a share group stops at
    Stopped {
        /// The store's root
        path: PathBuf,
        /// The group
        group: String,
        /// One JSON object for each record
        #[arg(long)]
        json: bool,
    },
    /// Hand a record out again that a share group stops at
    Release(stopped::Place),
    /// Give a record up that a share group stops at
    Skip(stopped::Place),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Without --topic and --partition: every partition it has committed for. \
    An offset or shift that leads out of a partition becomes the nearest there is.")]
pub(super) struct Reset {
    /// The store's root
    path: PathBuf,
    /// The group
    group: String,
    /// One JSON object for each partition
    #[arg(long)]
    json: bool,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Every partition of this topic; may be repeated
    #[arg(long, value_name = "TOPIC")]
    topic: Vec<String>,
    /// One partition; may be repeated
    #[arg(long, value_name = "TOPIC:N", value_parser = place)]
    partition: Vec<(String, u32)>,
    #[command(flatten)]
    to: Goal,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Goal {
    /// To where the partition starts
    #[arg(long)]
    to_earliest: bool,
    /// To its end
    #[arg(long)]
    to_latest: bool,
    /// To this offset
    #[arg(long, value_name = "OFFSET", value_parser = offset)]
    to_offset: Option<i64>,
    /// To the first record at or after this time, in ms since 1970
    #[arg(long, value_name = "MS")]
    to_time: Option<i64>,
    /// So many records on, or back where negative
    #[arg(long, value_name = "COUNT", allow_hyphen_values = true)]
    shift: Option<i64>,
    /// To the first record that is at most so old, in ms
    #[arg(long, value_name = "MS")]
    back: Option<u64>,
}

impl Goal {
    /// One is given: clap sees to it.
    fn to(&self) -> ResetTo {
        let offset = self.to_offset.map(|offset| ResetTo::Offset(Offset::new(offset)));
        let time = self.to_time.map(|at| ResetTo::Timestamp(Timestamp::from_millis(at)));
        let shift = self.shift.map(ResetTo::Shift);
        let back = self.back.map(|ms| ResetTo::Back(Duration::from_millis(ms)));
        let plain = if self.to_latest { ResetTo::Latest } else { ResetTo::Earliest };
        offset.or(time).or(shift).or(back).unwrap_or(plain)
    }
}

fn offset(text: &str) -> Result<i64, String> {
    match text.parse() {
        Ok(number) if number >= 0 => Ok(number),
        _ => Err("an offset is a number from 0 on".to_owned()),
    }
}

pub(super) fn place(text: &str) -> Result<(String, u32), String> {
    let wrong = || "write it as TOPIC:N".to_owned();
    let (topic, number) = text.rsplit_once(':').ok_or_else(wrong)?;
    Ok((topic.to_owned(), number.parse().map_err(|_| wrong())?))
}

pub(super) fn run(action: &Action) -> Result<(), Failure> {
    match action {
        Action::List { path, json } => run_list(path, *json),
        Action::Describe { path, group, json } => run_describe(path, group, *json),
        Action::Reset(reset) => run_reset(reset),
        Action::Delete { path, group, topic } => run_delete(path, group, topic.as_deref()),
        Action::Stopped { path, group, json } => stopped::run_stopped(path, group, *json),
        Action::Release(place) => stopped::run_verdict(place, false),
        Action::Skip(place) => stopped::run_verdict(place, true),
    }
}

fn run_list(path: &Path, json: bool) -> Result<(), Failure> {
    let store = Store::open_read_only(path)?;
    let columns = [
        ("GROUP", Side::Left),
        ("PARTITIONS", Side::Right),
        ("LAG", Side::Right),
        ("GENERATION", Side::Right),
    ];
    let mut table = Table::new(&columns);
    for group in store.stats().groups {
        let generation = group.generation.get();
        if json {
            let line = Object::new()
                .field("group", group.name)
                .field("partitions", group.partitions)
                .field("lag", group.lag)
                .field("generation", generation);
            print(line.line().as_bytes())?;
        } else {
            let numbers = [group.partitions.to_string(), group.lag.to_string()];
            table.row([group.name].into_iter().chain(numbers).chain([generation.to_string()]));
        }
    }
    if json { Ok(()) } else { table.print() }
}

fn run_describe(path: &Path, group: &str, json: bool) -> Result<(), Failure> {
    let store = Store::open_read_only(path)?;
    if !store.group_names()?.iter().any(|name| name == group) {
        let known = store.group_names()?.join(", ");
        return Err(Failure::Missing(format!("there is no group `{group}`; there are: {known}")));
    }
    let columns = [
        ("TOPIC", Side::Left),
        ("PARTITION", Side::Right),
        ("COMMITTED", Side::Right),
        ("END", Side::Right),
        ("LAG", Side::Right),
        ("AT", Side::Right),
        ("METADATA", Side::Left),
    ];
    let mut table = Table::new(&columns);
    for (topic, partition, committed) in store.committed(group)? {
        let end = end_of(&store, &topic, partition);
        let lag = end.map(|end| end.since(committed.offset()));
        if json {
            print(committed_line(group, (&topic, partition), &committed, end).as_bytes())?;
            continue;
        }
        table.row([
            topic,
            partition.to_string(),
            committed.offset().to_string(),
            or_dash(end),
            or_dash(lag),
            committed.committed_at().as_millis().to_string(),
            committed.metadata().to_owned(),
        ]);
    }
    if json { Ok(()) } else { table.print() }
}

fn end_of(store: &ReadOnlyStore, topic: &str, partition: PartitionId) -> Option<Offset> {
    let topic = store.describe(topic).ok()?;
    topic.partitions().iter().find(|it| it.id() == partition).map(|it| it.end_offset())
}

fn committed_line(
    group: &str,
    (topic, partition): (&str, PartitionId),
    committed: &Committed,
    end: Option<Offset>,
) -> String {
    Object::new()
        .field("group", group)
        .field("topic", topic)
        .field("partition", partition.get())
        .field("committed", committed.offset().get())
        .field("leaderEpoch", committed.leader_epoch().map_or(-1, LeaderEpoch::get))
        .field("committedAt", committed.committed_at().as_millis())
        .field("metadata", committed.metadata())
        .field("logEndOffset", end.map(Offset::get))
        .field("lag", end.map(|end| end.since(committed.offset())))
        .line()
}

fn run_reset(arguments: &Reset) -> Result<(), Failure> {
    Dump::open(&arguments.path)?;
    let store = Store::open(&arguments.path)?;
    let reset = store
        .reset_group(&arguments.group)
        .topics(arguments.topic.iter().cloned())
        .partitions(arguments.partition.iter().cloned())
        .to(arguments.to.to());
    let plan = match arguments.dry_run {
        true => reset.dry_run()?,
        false => reset.execute(Durability::Power)?,
    };
    store.close()?;
    print_plan(&plan, arguments)
}

fn print_plan(plan: &ResetPlan, arguments: &Reset) -> Result<(), Failure> {
    let columns = [
        ("TOPIC", Side::Left),
        ("PARTITION", Side::Right),
        ("OLD", Side::Right),
        ("NEW", Side::Right),
        ("", Side::Left),
    ];
    let mut table = Table::new(&columns);
    for step in &plan.moves {
        if arguments.json {
            let line = Object::new()
                .field("group", arguments.group.as_str())
                .field("topic", step.topic.as_str())
                .field("partition", step.partition.get())
                .field("old", step.old.map(Offset::get))
                .field("new", step.new.get())
                .field("clamped", step.is_clamped)
                .field("done", Value::from(!arguments.dry_run));
            print(line.line().as_bytes())?;
            continue;
        }
        let note = if step.is_clamped { "the nearest there is" } else { "" };
        let numbers = [step.partition.to_string(), or_dash(step.old), step.new.to_string()];
        table.row([step.topic.clone()].into_iter().chain(numbers).chain([note.to_owned()]));
    }
    if arguments.json {
        return Ok(());
    }
    table.print()?;
    if arguments.dry_run { print(b"nothing was changed\n") } else { Ok(()) }
}

fn run_delete(path: &Path, group: &str, topic: Option<&str>) -> Result<(), Failure> {
    Dump::open(path)?;
    let store = Store::open(path)?;
    let deleted = match topic {
        Some(topic) => {
            let count = store.delete_group_offsets(group, topic)?;
            format!("{count} committed offsets deleted\n")
        }
        None => {
            store.delete_group(group)?;
            format!("group {group} deleted\n")
        }
    };
    store.close()?;
    print(deleted.as_bytes())
}
