//! A consistent copy of the whole store while it is in use.
//!
//! It shows one instant: under the catalog's turn all logs are cut at once (`log::copy_out`), so
//! that no record is in the copy without those it was written after, and no committed offset lies
//! beyond its partition's end. The catalog waits until every byte is secured, by a link or an open
//! handle; appends wait for the cut alone. The rest is copied with nobody waiting, and becomes a
//! cleanly closed store of its own identity in `unfinished`'s directory.
//!
//! The store itself is not changed by it, but that all of it is synced first as by a flush: what a
//! recovery point covers can be linked.
//!
//! Called by the store's door, on the caller's thread; many partitions are copied by several.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::partition::Partition;
use super::root::Root;
use super::root::exports::Exports;
use super::root::fact::Fact;
use super::root::marker::StoreId;
use super::root::state::RootState;
use crate::disk::names::partition_dir;
use crate::error::{Cause, Error, ErrorKind, Result};
use crate::ids::LeaderEpoch;
use crate::log::checkpoint::OffsetLine;
use crate::log::{
    Amounts, Attention, Durable, LogName, LogSetup, PartitionLog, Secured, Sharing, cut_all,
};

mod progress;
mod report;
mod unfinished;

pub use progress::BackupProgress;
pub(crate) use progress::Watch;
pub use report::BackupReport;
use unfinished::Unfinished;

const BACK_UP: &str = "back up store";

/// Everything of the store as of one instant, ready to be copied.
struct Moment<'a> {
    /// The catalog, without what it says of partitions.
    state: RootState,
    logs: Vec<(&'a Partition, Secured<'a>)>,
}

/// A copy is opened and closed by whoever makes it.
#[derive(Debug)]
struct Unattended;

impl Attention for Unattended {
    fn dirty(&self, _: Option<Duration>) {}
    fn due(&self) {}
}

impl Engine {
    /// Makes a copy of the store in `target`, which must be missing or empty, unless who watches
    /// says otherwise.
    pub(crate) fn backup(
        &self,
        target: &Path,
        sharing: Sharing,
        watch: &Watch,
    ) -> Result<BackupReport> {
        watch.check()?;
        self.check_open(BACK_UP)?;
        self.check_writable(BACK_UP)?;
        self.check_apart(target)?;
        let began = self.clock().monotonic();
        let unfinished = Unfinished::begin(&self.options.disk, target, self.store_id())?;
        let filled = self.fill(unfinished.path(), sharing, watch);
        match filled.and_then(|report| watch.check().map(|()| report)) {
            Ok(mut report) => {
                unfinished.finish()?;
                target.clone_into(&mut report.path);
                report.took = self.clock().monotonic().saturating_sub(began);
                Ok(report)
            }
            Err(error) => {
                unfinished.give_up();
                let is_stopped = error.kind() == ErrorKind::Cancelled;
                Err(if is_stopped { watch.verdict() } else { error })
            }
        }
    }

    /// A store's directory is no place for its backup, nor the other way round.
    fn check_apart(&self, target: &Path) -> Result<()> {
        let absolute =
            |path: &Path| plain(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
        let (root, copy) = (absolute(self.path()), absolute(target));
        if !copy.starts_with(&root) && !root.starts_with(&copy) {
            return Ok(());
        }
        let text = "a backup lies beside its store, not within it or around it".to_owned();
        Err(Error::new(BACK_UP, Cause::InvalidArgument(text)).at_path(target))
    }

    fn fill(&self, dir: &Path, sharing: Sharing, watch: &Watch) -> Result<BackupReport> {
        self.flush_first(watch)?;
        let at = self.clock().wall(); // the host's code: under no lock
        let no_change = self.catalog.lock();
        self.check_open(BACK_UP)?;
        let partitions = self.all_partitions();
        let moment = self.cut(&partitions, dir, sharing)?;
        drop(no_change);
        let sizes = moment.logs.iter().map(|(_, secured)| secured.size());
        let (bytes, segments) = sizes.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
        watch.expect(bytes, segments, partitions.len() as u64);
        let amounts = self.copy_each(&moment, dir, watch)?;
        watch.check()?;
        let disk = self.options.disk.clone();
        let boot_id = disk.boot_id().unwrap_or_else(|_| *StoreId::random().as_bytes());
        let (state, exports) = moment.closed(boot_id);
        let store_id = Root::create_closed(disk, dir, &state, &exports)?;
        Ok(BackupReport {
            path: PathBuf::new(),
            store_id: store_id.to_string(),
            cut: at,
            took: std::time::Duration::ZERO,
            epoch: state.highest_epoch().unwrap_or(LeaderEpoch::new(0)),
            partitions: partitions.len(),
            amounts,
        })
    }

    /// What a recovery point covers can be linked, so the more the better.
    fn flush_first(&self, watch: &Watch) -> Result<()> {
        const AT_A_TIME: usize = 256;
        for partitions in self.dirty_partitions().chunks(AT_A_TIME) {
            watch.check()?;
            if let Some(error) = self.checkpoint(partitions, Durable::Now) {
                log::warn!("{error}: what is not synced is copied, not linked");
            }
        }
        watch.check()
    }

    /// Cuts all logs at one instant and secures what they held then; under the catalog's turn.
    fn cut<'a>(
        &self,
        partitions: &'a [Arc<Partition>],
        dir: &Path,
        sharing: Sharing,
    ) -> Result<Moment<'a>> {
        let logs: Vec<&PartitionLog> =
            partitions.iter().map(|partition| partition.log()).collect::<Result<_>>()?;
        let of_catalog = |fact: &Fact| {
            use Fact::{HighestEpoch, Leadership, OthersWrote, ProducerIds, TopicCreated};
            matches!(
                fact,
                HighestEpoch { .. }
                    | ProducerIds { .. }
                    | TopicCreated { .. }
                    | OthersWrote { .. }
                    | Leadership { .. }
            )
        };
        let facts = self.owner(BACK_UP)?.root.log().with_state(RootState::snapshot);
        let state = RootState::fold(facts.iter().filter(|fact| of_catalog(fact)));
        let secured = partitions.iter().zip(cut_all(&logs)).map(|(partition, cut)| {
            Ok((&**partition, cut.secure(&dir_of(dir, partition), sharing)?))
        });
        Ok(Moment { state, logs: secured.collect::<Result<_>>()? })
    }

    /// Copies and finishes every log, many at a time: each waits for syncs, which the file system
    /// can put together.
    fn copy_each(&self, moment: &Moment<'_>, dir: &Path, watch: &Watch) -> Result<Amounts> {
        const PARTITIONS_PER_THREAD: usize = 64;
        const MOST_THREADS: usize = 16;
        let copy = |share: &[(&Partition, Secured<'_>)]| -> Result<Amounts> {
            let mut all = Amounts::default();
            for (partition, secured) in share {
                self.check_open(BACK_UP)?;
                watch.check()?;
                all.add(self.copy_one(&moment.state, partition, secured, (dir, watch))?);
                watch.partition_done();
            }
            Ok(all)
        };
        let threads = (moment.logs.len() / PARTITIONS_PER_THREAD).clamp(1, MOST_THREADS);
        if threads == 1 {
            return copy(&moment.logs);
        }
        let share = moment.logs.len().div_ceil(threads);
        std::thread::scope(|scope| {
            let shares = moment.logs.chunks(share);
            let handles: Vec<_> = shares.map(|share| scope.spawn(|| copy(share))).collect();
            let mut all = Amounts::default();
            for handle in handles {
                let copied = handle.join();
                let panicked = || Error::new(BACK_UP, Cause::Panicked("a copy"));
                all.add(copied.map_err(|_| panicked())??);
            }
            Ok(all)
        })
    }

    fn copy_one(
        &self,
        state: &RootState,
        partition: &Partition,
        secured: &Secured<'_>,
        (dir, watch): (&Path, &Watch),
    ) -> Result<Amounts> {
        let dir = dir_of(dir, partition);
        let go_on = |bytes, segments| watch.go_on(bytes, segments);
        let amounts = secured.copy(&dir, &go_on)?;
        let setup = LogSetup {
            name: LogName { topic: partition.topic_name().clone(), partition: partition.id() },
            id: secured.id(),
            config: partition.log()?.config(),
            clock: self.clock().clone(),
            sync_after: None,
            attention: Arc::new(Unattended),
            pinned: Arc::default(),
            journal: None,
            plain: self.plain_limit(),
        };
        let foreign = state.topic(partition.topic_id()).is_some_and(|topic| topic.foreign);
        secured.finish(&dir, setup, foreign, &go_on)?;
        Ok(amounts)
    }
}

/// An absolute path without `..`.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, part| {
        match part {
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
        plain
    })
}

fn dir_of(dir: &Path, partition: &Partition) -> PathBuf {
    dir.join(partition_dir(partition.topic_name(), partition.id()))
}

impl Moment<'_> {
    /// What a close at that instant would have left in the root.
    fn closed(&self, boot_id: [u8; 16]) -> (RootState, Exports) {
        let mut state = self.state.clone();
        let mut exports = Exports::default();
        let leader_epoch = state.highest_epoch().unwrap_or(LeaderEpoch::new(0));
        state.apply(&Fact::Opened { leader_epoch, boot_id });
        for (partition, secured) in &self.logs {
            let (id, partition_id) = (partition.topic_id(), partition.id());
            let offsets = secured.offsets();
            let Some(first_base) = offsets.first_base else { continue };
            let line = |offset| OffsetLine {
                topic: partition.topic_name().to_string(),
                partition: partition_id,
                offset,
            };
            exports.recovery_points.push(line(offsets.end));
            let watermark = offsets.set_watermark.unwrap_or(offsets.end);
            exports.high_watermarks.push(line(watermark));
            if offsets.start > first_base {
                exports.log_starts.push(line(offsets.start));
            }
            let partition = partition_id;
            state.apply(&Fact::RecoveryPoint { id, partition, offset: offsets.end });
            state.apply(&Fact::LogStart { id, partition, offset: offsets.start });
            state.apply(&Fact::Compacted { id, partition, offset: offsets.compacted });
            state.apply(&Fact::Sparse { id, partition, offset: offsets.sparse });
            if let Some(offset) = offsets.set_watermark {
                state.apply(&Fact::HighWatermark { id, partition, offset });
            }
        }
        (state, exports)
    }
}
