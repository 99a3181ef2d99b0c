//! `tidelog repair`, `backup` and `stats`: mending a directory, copying it, and its numbers.
//!
//! A repair shows its plan and, unless it is only asked for that, carries it out; a backup opens
//! the store, as its owner would, and makes a consistent copy; statistics take no lock and work
//! beside a process that writes.
//!
//! Called by `main`.

use std::ops::ControlFlow;
use std::path::PathBuf;

use serde_json::{Value, json};
use tidelog::{Dump, PartitionStats, Repair, RepairStep, Store, Verifier};

use super::failure::{Failure, Severity};
use super::json::{Object, list, print};
use super::table::{Bar, Side, Table};

#[derive(Debug, clap::Args)]
#[command(after_help = "Nothing that can be read is given up; what is cut out is kept beside, in \
    a file that ends in .cut. The exit code is 3 where something is left that no repair mends.")]
pub(super) struct RepairArguments {
    /// A store's root, or the directory of a lone log, that nobody has open
    path: PathBuf,
    /// One JSON object for each step, then one with the sums
    #[arg(long)]
    json: bool,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct BackupArguments {
    /// The store's root
    path: PathBuf,
    /// The directory to make; must not exist, or be empty
    to: PathBuf,
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// Copy every file, where by default those that never change are shared by a second name
    #[arg(long)]
    copies_only: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct StatsArguments {
    /// The store's root
    path: PathBuf,
    /// One JSON object for each partition, then one with the sums
    #[arg(long)]
    json: bool,
    /// The library's own topics, too
    #[arg(long)]
    internal: bool,
}

pub(super) fn run_repair(arguments: &RepairArguments) -> Result<(), Failure> {
    let bar = Bar::new("reading");
    let shown = bar.clone();
    let verifier = Verifier::new(&arguments.path).on_progress(move |progress| {
        shown.at(progress.bytes_done(), progress.bytes_total());
        ControlFlow::Continue(())
    });
    let repair = Repair::begin_with(verifier)?;
    bar.end();
    let plan = repair.plan().clone();
    if arguments.json {
        for step in plan.steps() {
            print(step_line(step).as_bytes())?;
        }
    } else {
        print(plan.to_string().as_bytes())?;
    }
    let kept = if arguments.dry_run { Vec::new() } else { repair.run()?.kept().to_vec() };
    let done = !arguments.dry_run;
    if arguments.json {
        let sums = Object::new()
            .field("steps", plan.steps().len())
            .field("done", done)
            .field("kept", list(&kept, |path| path.display().to_string().into()))
            .field("left", list(plan.left(), |finding| finding.what().into()));
        print(sums.line().as_bytes())?;
    } else {
        for path in &kept {
            print(format!("kept: {}\n", path.display()).as_bytes())?;
        }
        let ending = if done { "done" } else { "nothing was changed" };
        print(format!("{} steps: {ending}\n", plan.steps().len()).as_bytes())?;
    }
    if plan.left().is_empty() { Ok(()) } else { Err(Failure::Told(Severity::Damaged)) }
}

fn step_line(step: &RepairStep) -> String {
    let (kind, path) = match step {
        RepairStep::RebuildIndex { segment } => ("RebuildIndex", segment),
        RepairStep::RebuildDigests { segment } => ("RebuildDigests", segment),
        RepairStep::RebuildEpochs { partition } => ("RebuildEpochs", partition),
        RepairStep::CutOut { segment, .. } => ("CutOut", segment),
        _ => return Object::new().field("what", step.to_string()).line(),
    };
    let lost = match step {
        RepairStep::CutOut { lost, .. } => {
            Some(list(lost, |lost| json!([lost.start.get(), lost.end.get()])))
        }
        _ => None,
    };
    Object::new()
        .field("kind", kind)
        .field("path", path.display().to_string())
        .maybe("lost", lost)
        .field("what", step.to_string())
        .line()
}

pub(super) fn run_backup(arguments: &BackupArguments) -> Result<(), Failure> {
    Dump::open(&arguments.path)?;
    let store = Store::open(&arguments.path)?;
    let bar = Bar::new("copying");
    let shown = bar.clone();
    let backup = store.backup_builder(&arguments.to).on_progress(move |progress| {
        shown.at(progress.bytes_done(), progress.bytes_total());
        ControlFlow::Continue(())
    });
    let backup = if arguments.copies_only { backup.copies_only() } else { backup };
    let report = backup.run()?;
    bar.end();
    store.close()?;
    if !arguments.json {
        let text = format!(
            "{} partitions: {} files linked ({} bytes), {} copied ({} bytes)\n",
            report.partitions(),
            report.files_linked(),
            report.bytes_linked(),
            report.files_copied(),
            report.bytes_copied()
        );
        return print(text.as_bytes());
    }
    let line = Object::new()
        .field("path", report.path().display().to_string())
        .field("storeId", report.store_id())
        .field("cutAt", report.cut_at().as_millis())
        .field("partitions", report.partitions())
        .field("filesLinked", report.files_linked())
        .field("bytesLinked", report.bytes_linked())
        .field("filesCopied", report.files_copied())
        .field("bytesCopied", report.bytes_copied());
    print(line.line().as_bytes())
}

pub(super) fn run_stats(arguments: &StatsArguments) -> Result<(), Failure> {
    let store = Store::open_read_only(&arguments.path)?;
    let mut stats = store.stats();
    if !arguments.internal {
        let listed = store.topics()?;
        stats.topics.retain(|topic| listed.iter().any(|listed| listed.name() == topic.name));
    }
    let columns = [
        ("TOPIC", Side::Left),
        ("PARTITION", Side::Right),
        ("START", Side::Right),
        ("END", Side::Right),
        ("SEGMENTS", Side::Right),
        ("BYTES", Side::Right),
        ("", Side::Left),
    ];
    let mut table = Table::new(&columns);
    for topic in &stats.topics {
        for partition in &topic.partitions {
            if arguments.json {
                print(partition_line(&topic.name, partition).as_bytes())?;
                continue;
            }
            table.row([
                topic.name.clone(),
                partition.id.to_string(),
                partition.start_offset.to_string(),
                partition.end_offset.to_string(),
                partition.segments.to_string(),
                partition.bytes.to_string(),
                if partition.failed { "cannot be read".to_owned() } else { String::new() },
            ]);
        }
    }
    let partitions = || stats.topics.iter().flat_map(|topic| &topic.partitions);
    let offsets: u64 = partitions().map(|it| it.end_offset.since(it.start_offset)).sum();
    let bytes: u64 = partitions().map(|it| it.bytes).sum();
    let (topics, count) = (stats.topics.len(), partitions().count());
    let groups = stats.groups.len();
    if arguments.json {
        let sums = Object::new()
            .field("topics", topics)
            .field("partitions", count)
            .field("offsets", offsets)
            .field("bytes", bytes)
            .field("groups", groups)
            .field("lag", stats.groups.iter().map(|group| group.lag).sum::<u64>());
        return print(sums.line().as_bytes());
    }
    table.print()?;
    let sums = format!(
        "{topics} topics, {count} partitions, {offsets} offsets, {bytes} bytes, {groups} groups\n"
    );
    print(sums.as_bytes())
}

fn partition_line(topic: &str, stats: &PartitionStats) -> String {
    Object::new()
        .field("topic", topic)
        .field("partition", stats.id.get())
        .field("logStartOffset", stats.start_offset.get())
        .field("recoveryPoint", stats.recovery_point.get())
        .field("logEndOffset", stats.end_offset.get())
        .field("segments", stats.segments)
        .field("bytes", stats.bytes)
        .field("failed", Value::from(stats.failed))
        .line()
}
