//! Opening a root: lock, read what it knows, recover every partition, draw an epoch, take over.
//!
//! Order, and why: the directory is locked before anything is read. Partitions are recovered, in
//! parallel, before the epoch is drawn, since it must lie above every epoch they hold. The epoch
//! and all that was adopted or found gone is recorded in one synced write before anything may be
//! appended. Cut short anywhere, the next open does the same again.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;

use super::budget::Budget;
use super::changes::CatalogChanges;
use super::chores::Chores;
use super::compaction::Compaction;
use super::core::{Footing, Owner};
use super::ending::Ending;
use super::gate::Gate;
use super::held::Holdings;
use super::journal::{self, Restored};
use super::keeper::RootKeeper;
use super::known::Known;
use super::producer_ids::ProducerIds;
use super::report::OpenReport;
use super::requests::Requests;
use super::root::exports::Exports;
use super::root::fact::Fact;
use super::root::last_writer::{LastWriter, Trace};
use super::root::reconcile::Reconciled;
use super::root::state::RootState;
use super::root::{Root, RootKind, RootOpening, directory};
use super::shared::{Opened, Shared};
use super::threads::{Running, Wakeup};
use super::timers::Timers;
use super::topic::{Configs, Topic};
use super::{Engine, EngineOptions, Table};
use crate::config::{Leadership, Threads, TopicConfig};
use crate::disk::names::{LOCK, PartitionDir, parse_partition_dir};
use crate::disk::{DirLock, Disk};
use crate::error::{Cause, Error, ErrorKind, Result};
use crate::ids::{LeaderEpoch, PartitionId, TopicId};
use crate::log::{KnownFacts, LogId, PartitionLog};
use crate::stats::PinCounter;
use crate::sync::{Mutex, RwLock};

/// A topic that is about to be opened.
struct OpeningTopic {
    topic: Arc<Topic>,
    partitions: Vec<OpeningPartition>,
}

/// A partition that is about to be opened.
struct OpeningPartition {
    id: LogId,
    known: KnownFacts,
    /// Why it cannot be.
    missing: Option<Error>,
}

impl Engine {
    /// The same with nothing to wait for.
    #[cfg(test)]
    pub(crate) fn open(options: EngineOptions, path: &Path) -> Result<Arc<Engine>> {
        let engine = Engine::open_quiet(options, path)?;
        engine.start()?;
        Ok(engine)
    }

    /// Opens the root at `path`, which is made if it is missing. Nothing happens in the background
    /// until [`start`](Engine::start): those above set their holds first.
    pub(crate) fn open_quiet(options: EngineOptions, path: &Path) -> Result<Arc<Engine>> {
        let (lock, lock_was_there) = lock(&*options.disk, path)?;
        let opened = Root::open_or_create(options.disk.clone(), path);
        if matches!(&opened, Err(error) if error.kind() == ErrorKind::NotAStore) && !lock_was_there
        {
            let _ = options.disk.remove_file(&path.join(LOCK)); // nothing of ours stays
        }
        let (root, mut opening) = opened?;
        if opening.last_writer.is_ours() {
            opening.exports.contents = Exports::default(); // asked of another hand alone
        }
        let timer_wakeup = Arc::new(Wakeup::default());
        let maintenance_wakeup = Arc::new(Wakeup::default());
        let requests = Requests::new(
            [maintenance_wakeup.clone(), timer_wakeup.clone()],
            options.clock.clone(),
            options.background_sync,
        );
        let requests = Arc::new(requests);
        let journal = journal::of_store(&options.disk, &root, options.journal, &requests);
        let shared = Shared {
            gate: Arc::new(Gate::new(&*options.disk)),
            requests,
            journal,
            budget: Arc::new(Budget::new(options.max_bytes, options.when_full)),
            pinned: Arc::new(PinCounter::default()),
            root: Arc::new(root),
            options,
        };
        let mut report = report_of(&opening);
        remove_deleted(&shared, &opening.plan, &mut report)?;
        let (topics, mut facts, state) = topics_of(&shared, &opening)?;
        let held = Holdings::read(shared.whose(), &opening, &state, &mut report)?;
        let (table, restored) = open_topics(&shared, topics, &held, &mut report)?;
        facts.extend(restored.iter().map(Restored::fact));
        let epoch = begin_reign(&shared, opening, &table, facts)?;
        journal::settle(&shared, &table, &held, &restored, epoch);
        report.epoch = epoch;
        let engine = assemble(shared, table, epoch, report, lock, timer_wakeup, maintenance_wakeup);
        engine.gate.set_engine(Arc::downgrade(&engine));
        engine.drop_unreachable();
        Ok(engine)
    }

    /// Starts the threads, where the store has some of its own.
    pub(crate) fn start(self: &Arc<Self>) -> Result<()> {
        if self.options.threads == Threads::Host {
            return Ok(());
        }
        let weak = Arc::downgrade(self);
        self.running.start("timer", weak.clone(), self.timer_wakeup.clone(), Engine::run_due)?;
        let wakeup = self.maintenance_wakeup.clone();
        self.running.start("maintenance", weak.clone(), wakeup, Engine::run_maintenance)?;
        if let Some(windows) = self.options.disk.windows()
            && let Err(error) = self.running.start_ahead(weak, windows)
        {
            log::warn!("writers make their windows ready themselves: {error}");
        }
        Ok(())
    }
}

/// Takes the directory's lock; says whether its file was there before.
fn lock(disk: &dyn Disk, path: &Path) -> Result<(Box<dyn DirLock>, bool)> {
    let fail = |error: std::io::Error| Error::io("open store", path, error);
    directory::make(disk, path)?;
    let file = path.join(LOCK);
    let was_there = disk.metadata(&file).map_err(fail)?.is_some();
    let lock = disk.lock(&file).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => {
            let text = "another store, process or program uses the directory".to_owned();
            Error::new("open store", Cause::Locked(text)).at_path(&file)
        }
        _ => Error::io("lock store", &file, error),
    })?;
    Ok((lock, was_there))
}

fn assemble(
    shared: Shared,
    table: Table,
    epoch: LeaderEpoch,
    report: OpenReport,
    lock: Box<dyn DirLock>,
    timer_wakeup: Arc<Wakeup>,
    maintenance_wakeup: Arc<Wakeup>,
) -> Arc<Engine> {
    let wakeups = [timer_wakeup.clone(), maintenance_wakeup.clone()];
    let by_hand = shared.options.clock.watch(Arc::new(move || {
        wakeups.iter().for_each(|wakeup| wakeup.wake());
    }));
    let used: u64 =
        table.names.values().filter(|topic| !topic.is_internal()).map(|t| t.bytes()).sum();
    shared.budget.begin_count(shared.options.max_bytes, shared.options.when_full);
    shared.budget.add(used);
    Arc::new(Engine {
        gate: shared.gate,
        footing: Footing::Owner(Owner {
            producer_ids: ProducerIds::default(),
            keeper: RootKeeper(shared.root.clone()),
            root: shared.root,
            epoch,
            journal: shared.journal,
            ending: Ending::new(lock),
        }),
        catalog: Mutex::default(),
        catalog_changes: CatalogChanges::default(),
        table: RwLock::new(table),
        points: RwLock::default(),
        budget: shared.budget,
        timers: Timers::new(timer_wakeup.clone()),
        chores: Chores::new(maintenance_wakeup.clone()),
        requests: shared.requests,
        compaction: Compaction::default(),
        timer_wakeup,
        maintenance_wakeup,
        running: Running::default(),
        by_hand,
        hooks: Mutex::new(Vec::new()),
        pinned: shared.pinned,
        report,
        options: shared.options,
    })
}

fn report_of(opening: &RootOpening) -> OpenReport {
    let another_hand = match opening.last_writer {
        LastWriter::AnotherHand { why: why @ Trace::NeverOpened } => {
            (opening.kind == RootKind::Kafka).then(|| why.to_string())
        }
        LastWriter::AnotherHand { why } => Some(why.to_string()),
        _ => None,
    };
    let mut notes: Vec<_> = opening.exports.faults.iter().map(ToString::to_string).collect();
    notes.extend(opening.state_log.torn.as_ref().map(|torn| format!("state log: {torn:?}")));
    OpenReport {
        new: opening.kind == RootKind::Fresh,
        clean: opening.last_writer == LastWriter::OursClean,
        another_hand,
        epoch: LeaderEpoch::new(0),
        adopted: Vec::new(),
        partitions: Vec::new(),
        failed: Vec::new(),
        removed: Vec::new(),
        left_alone: Vec::new(),
        notes,
        journal_missing: false,
    }
}

/// Finishes deletions that were cut short.
fn remove_deleted(shared: &Shared, plan: &Reconciled, report: &mut OpenReport) -> Result<()> {
    let root = shared.root.path();
    let disk = &*shared.options.disk;
    for directory in &plan.delete {
        let dir = root.join(directory);
        match super::catalog::remove_dir(disk, &dir) {
            Ok(()) => report.removed.push(dir),
            // its name is no partition's: it is in nobody's way, and the next open tries again
            Err(error) if parse_partition_dir(directory) == Some(PartitionDir::Deleting) => {
                report.notes.push(error.to_string());
            }
            Err(error) => return Err(error),
        }
    }
    for foreign in &plan.foreign {
        report.leave_alone(root, &foreign.directory);
    }
    if !plan.delete.is_empty() {
        disk.sync_dir(root).map_err(|error| Error::io("open store", root, error))?;
    }
    Ok(())
}

/// The topics to open, and the facts that make those of them new to us ours.
fn topics_of<'a>(
    shared: &Shared,
    opening: &'a RootOpening,
) -> Result<(Vec<OpeningTopic>, Vec<Fact>, Cow<'a, RootState>)> {
    let plan = &opening.plan;
    let mut facts: Vec<Fact> = Vec::new();
    for id in &plan.replaced {
        if let Some(topic) = opening.state.topic(*id) {
            facts.push(Fact::TopicDeleted { id: *id, name: topic.name.to_string() });
            facts.push(Fact::TopicForgotten { id: *id });
        }
    }
    facts.extend(plan.forget.iter().map(|id| Fact::TopicForgotten { id: *id }));
    for (id, total) in &plan.grown {
        facts.push(Fact::PartitionsAdded { id: *id, total: *total });
    }
    if !opening.last_writer.is_ours() {
        facts.extend(opening.state.topics().map(|topic| Fact::OthersWrote { id: topic.id }));
    }
    for adopted in &plan.adopt {
        facts.push(adopted.fact(None));
    }
    let mut state = Cow::Borrowed(&*opening.state);
    facts.iter().for_each(|fact| state.to_mut().apply(fact));
    let mut configs = Configs::default();
    let known = Known::new(opening, &state);
    let mut topics = Vec::new();
    for topic in state.topics() {
        let count = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
        let config = TopicConfig::from_entries(count.max(1), &topic.config)?;
        let config = configs.share(config);
        let shared_topic = Arc::new(Topic::new(
            topic.name.clone(),
            topic.id,
            (topic.internal, topic.adopted),
            config.clone(),
            Arc::new(Budget::new(config.max_bytes, config.when_full)),
        ));
        let partitions = (0..count).map(PartitionId::new).map(|partition| {
            let id = LogId { topic: topic.id, partition };
            let missing = plan
                .missing
                .iter()
                .find(|missing| missing.topic == topic.id && missing.partition == partition)
                .map(|missing| missing.error(shared.root.path()));
            OpeningPartition { id, known: known.of(&topic.name, id, &mut facts), missing }
        });
        let partitions = partitions.collect();
        topics.push(OpeningTopic { topic: shared_topic, partitions });
    }
    write_lost_metadata(shared, opening, &state)?;
    Ok((topics, facts, state))
}

/// Writes `partition.metadata` again where a directory has lost it.
fn write_lost_metadata(shared: &Shared, opening: &RootOpening, state: &RootState) -> Result<()> {
    let disk = &*shared.options.disk;
    let root = shared.root.path();
    let write = |directory: &str, id: TopicId| {
        let path = root.join(directory).join(crate::disk::names::PARTITION_METADATA);
        crate::log::checkpoint::write_partition_metadata(disk, &path, id)
    };
    for open in opening.plan.open.iter().filter(|open| open.write_metadata) {
        write(&open.directory, open.topic)?;
    }
    for adopted in &opening.plan.adopt {
        let Some(topic) = state.topic_named(&adopted.name) else { continue };
        for directory in adopted.directories.iter().filter(|dir| dir.write_metadata) {
            write(&directory.directory, topic.id)?;
        }
    }
    Ok(())
}

/// How many of so many partitions each thread opens: few need no thread but the caller's.
fn share_of(partitions: usize) -> usize {
    const PARTITIONS_PER_THREAD: usize = 32;
    let most = partitions / PARTITIONS_PER_THREAD + 1;
    if most == 1 {
        return partitions.max(1);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    partitions.div_ceil(cores.min(most))
}

/// Opens all partitions, a thread per core; what one of them fails with stays with it.
fn open_topics(
    shared: &Shared,
    topics: Vec<OpeningTopic>,
    held: &Holdings,
    report: &mut OpenReport,
) -> Result<(Table, Vec<Restored>)> {
    let work: Vec<_> = topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(move |partition| (topic, partition)))
        .collect();
    let share = share_of(work.len());
    let open_share = |share: &[(&OpeningTopic, &OpeningPartition)]| -> Vec<Opened> {
        share
            .iter()
            .map(|(topic, partition)| {
                let missing = partition.missing.as_ref().map(Error::again);
                let (id, known) = (partition.id, partition.known);
                shared.open_partition(&topic.topic, id, known, missing, held.of(id))
            })
            .collect()
    };
    let opened: Vec<Vec<Opened>> = std::thread::scope(|scope| {
        let mut shares = work.chunks(share);
        let own = shares.next().unwrap_or_default();
        let handles: Vec<_> = shares.map(|share| scope.spawn(|| open_share(share))).collect();
        let own = std::panic::catch_unwind(AssertUnwindSafe(|| open_share(own)));
        let others = handles.into_iter().map(|handle| handle.join());
        std::iter::once(own).chain(others).collect::<Result<_, _>>()
    })
    .map_err(|_| Error::new("open store", Cause::Panicked("recovery")))?;
    let mut table = Table::default();
    let mut restored = Vec::new();
    let mut opened = opened.into_iter().flatten();
    for topic in &topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for opened in opened.by_ref().take(topic.partitions.len()) {
            let partition = opened.partition;
            let id = LogId { topic: topic.topic.id(), partition: partition.id() };
            if let Err(error) = partition.log() {
                report.failed.push(error.to_string());
                held.put_aside(shared.whose(), id)?;
            }
            report.partitions.extend(opened.report.map(|report| *report));
            restored.extend(opened.point.map(|point| Restored { id, point }));
            partitions.push(partition);
        }
        topic.topic.set_partitions(partitions);
        topic.topic.count_bytes();
        if topic.topic.is_adopted() {
            report.adopted.push(topic.topic.name().to_string());
        }
        table.insert(topic.topic.clone());
    }
    Ok((table, restored))
}

/// Draws the epoch of this open, above every other, and records it with all that became so.
fn begin_reign(
    shared: &Shared,
    opening: RootOpening,
    table: &Table,
    facts: Vec<Fact>,
) -> Result<LeaderEpoch> {
    let logs = || {
        let partitions = table.names.values().flat_map(|topic| topic.partitions().to_vec());
        partitions.collect::<Vec<_>>()
    };
    // those that the host leads have its epochs, which bind nobody else
    let own = |log: &&PartitionLog| log.leadership() == Leadership::SelfLed;
    let seen = logs()
        .iter()
        .filter_map(|partition| partition.log().ok().filter(own)?.latest_epoch())
        .max();
    let RootOpening { state, exports, .. } = opening;
    let epoch = state.next_epoch(seen)?;
    let mut facts = facts;
    promise_what_is_there(&mut facts, table);
    drop(state); // of ten thousand topics: before the facts make the root's own a second one
    shared.root.begin_reign(epoch, &exports, facts)?;
    for partition in logs() {
        if let Ok(log) = partition.log() {
            log.begin_epoch(epoch);
        }
    }
    Ok(epoch)
}

/// Another hand's recovery point may lie above the end of its log; recorded as ours it would be a
/// promise of records that never were, and the next open would miss them.
fn promise_what_is_there(facts: &mut [Fact], table: &Table) {
    for fact in facts {
        if let Fact::RecoveryPoint { id, partition, offset } = fact
            && let Some(topic) = table.ids.get(id)
            && let Ok(partition) = topic.partition(*partition)
            && let Ok(log) = partition.log()
        {
            *offset = (*offset).min(log.offsets().end());
        }
    }
}
