//! What is found on a disk after a crash, and whether it is what was promised.
//!
//! A finding is read through the public doors: every topic with its partitions, every record with
//! its offset and epoch, what groups committed. The comparison names the invariant that is broken,
//! as `docs/reliability.md` numbers them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidelog::disk::{Disk as _, SimDisk};
use tidelog::{
    FindingKind, Leadership, Log, ManualClock, Offset, Store, Timestamp, TopicDescription, TopicId,
    Verifier, VerifyReport,
};

use crate::common::golden::Payload;
use crate::stage::work::OF_WORK;
use crate::stage::{
    ALONE, BACKUP, BIRTH, Door, LOG, ROOT, Setup, open_log, open_store, open_store_at,
};
use crate::story::{Commits, Incarnation, Kept, Model, key, numbers, value};

/// What has to survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Promise {
    /// A power cut: what was acknowledged with the word power.
    Power,
    /// The end of the process: whatever was acknowledged.
    Process,
}

pub struct Partition {
    pub start: i64,
    pub end: i64,
    /// Offset, epoch, value.
    pub records: Vec<(i64, Option<i32>, Vec<u8>)>,
}

pub struct Topic {
    pub id: Option<TopicId>,
    pub partitions: Vec<Partition>,
}

#[derive(Default)]
pub struct Found {
    pub topics: BTreeMap<String, Topic>,
    pub commits: BTreeMap<(String, String, u32), i64>,
    /// Transactions that are under way.
    pub open_transactions: usize,
    pub backup: Option<Box<Found>>,
    /// Where there is any.
    pub work: Option<Owed>,
    /// What passes for a store where a backup was being made.
    pub unfinished: Option<Box<Found>>,
}

#[path = "verdict/bytes.rs"]
mod bytes;
#[path = "verdict/tagged.rs"]
mod tagged;
#[path = "verdict/work.rs"]
mod work;

pub use bytes::{Hashed, going, partition_bytes, without_windows};
pub use tagged::TAGGED;
pub use work::{Owed, finish, read_work, tend, values};

macro_rules! ensure {
    ($holds:expr, $($words:tt)*) => {
        if !$holds {
            return Err(format!($($words)*));
        }
    };
}
pub(crate) use ensure;

/// A clock for those who open after the crash.
pub fn later() -> ManualClock {
    ManualClock::new(Timestamp::from_millis(BIRTH + 3_600_000))
}

/// Opens; anything that keeps a partition from being served is an error (I8, I10).
pub fn open(disk: &SimDisk, setup: &Setup) -> Result<Door, String> {
    if setup.is_log {
        let log = open_log(disk, &later(), setup).map_err(|error| format!("I8: open: {error}"))?;
        ensure!(log.report().damage().is_empty(), "I10: damage: {:?}", log.report());
        return Ok(Door::Log(Box::new(log)));
    }
    let store = open_store(disk, &later(), setup);
    served(disk, ROOT, store.map_err(|error| format!("I8: open: {error}"))?)
}

/// Every partition of it is served, and none was damaged.
fn served(disk: &SimDisk, root: &str, store: Store) -> Result<Door, String> {
    let report = store.open_report();
    ensure!(report.failed_partitions().is_empty(), "I8: {:?}", report.failed_partitions());
    let damaged = report.partitions().iter().find(|one| !one.damage().is_empty());
    ensure!(damaged.is_none(), "I10: damage: {damaged:?}");
    let mark = disk.metadata(format!("{root}/.kafka_cleanshutdown").as_ref());
    ensure!(matches!(mark, Ok(None)), "I8: it is open, and marked as closed: {mark:?}");
    Ok(Door::Store(store))
}

/// Opens the backup, and what was to become one, where they are. One that has its name is whole;
/// what lacks it is refused, or it is whole as well.
pub fn read_backups(disk: &SimDisk, groups: &[&str], found: &mut Found) -> Result<(), String> {
    let is_there = |path: &str| disk.metadata(path.as_ref()).is_ok_and(|found| found.is_some());
    let open_at = |path: &str| open_store_at(path, disk, &later(), &Setup::default());
    if is_there(BACKUP) {
        let store = open_at(BACKUP).map_err(|error| format!("I8: open the backup: {error}"))?;
        found.backup = Some(Box::new(read(&served(disk, BACKUP, store)?, groups)?));
    }
    let unfinished = format!("{BACKUP}.unfinished");
    if is_there(&unfinished)
        && let Ok(store) = open_at(&unfinished)
    {
        found.unfinished = Some(Box::new(read(&served(disk, &unfinished, store)?, groups)?));
    }
    Ok(())
}

/// Looks into what was closed: nothing is wrong, and digests vouch for all of it (I7, I10).
pub fn verify(disk: &SimDisk, is_log: bool) -> Result<(), String> {
    let verifier = Verifier::new(if is_log { LOG } else { ROOT }).disk(Arc::new(disk.clone()));
    let report = verifier.threads(1).run().map_err(|error| format!("I7: verify: {error}"))?;
    nothing_wrong(&report)?;
    let bare = report.unvouched().iter().find(|bytes| !bytes.is_digested_since());
    ensure!(bare.is_none(), "I7: digests are gone: {bare:?}");
    Ok(())
}

/// Nothing is wrong but what may be wrong with indexes: their names await no sync, and what a cut
/// takes of them is made again. And but for torn tails: that recovery cut one awaits no sync
/// either, so where nothing was appended since, another cut may bring it back.
pub fn nothing_wrong(report: &VerifyReport) -> Result<(), String> {
    let may_be = [FindingKind::Index, FindingKind::TornTail];
    let wrong = report.findings().iter().find(|one| !may_be.contains(&one.kind()));
    ensure!(wrong.is_none(), "I10: {wrong:?}");
    Ok(())
}

/// Reads all there is.
pub fn read(door: &Door, groups: &[&str]) -> Result<Found, String> {
    match door {
        Door::Store(store) => {
            let found = read_store(store, groups).map_err(|error| format!("I7: {error}"))?;
            tagged::check(store, &found).map(|()| found)
        }
        Door::Log(log) => read_log(log).map_err(|error| format!("I7: {error}")),
        Door::Shut => Ok(Found::default()),
    }
}

fn read_store(store: &Store, groups: &[&str]) -> tidelog::Result<Found> {
    let mut found = Found::default();
    let mut places = Vec::new();
    let is_plain = |it: &&TopicDescription| !it.is_internal() && !it.name().starts_with(OF_WORK);
    for topic in store.topics()?.iter().filter(is_plain) {
        let mut partitions = Vec::new();
        for seen in topic.partitions() {
            let (start, end) = (seen.start_offset().get(), seen.end_offset().get());
            let opened = store.partition(topic.name(), seen.id())?;
            if opened.leadership()? == Leadership::HostLed {
                opened.set_high_watermark(Offset::new(end))?; // that its host knows, and moves
            }
            partitions.push(Partition { start, end, records: Vec::new() });
            if start < end {
                places.push((topic.name().to_owned(), seen.id()));
            }
        }
        found.topics.insert(topic.name().to_owned(), Topic { id: Some(topic.id()), partitions });
    }
    if !places.is_empty() {
        let mut reader = store.reader().assign(places).build()?;
        loop {
            let records = reader.try_poll()?;
            if records.is_empty() {
                break;
            }
            for record in &records {
                let topic = found.topics.get_mut(record.topic()).expect("one of these");
                let partition = &mut topic.partitions[record.partition().get() as usize];
                let epoch = record.leader_epoch().map(|epoch| epoch.get());
                let value = record.value().unwrap_or_default().to_vec();
                partition.records.push((record.offset().get(), epoch, value));
            }
        }
    }
    found.open_transactions = store.open_transactions()?.len();
    for group in groups {
        for (topic, partition, committed) in store.committed(group).unwrap_or_default() {
            let place = ((*group).to_owned(), topic, partition.get());
            found.commits.insert(place, committed.offset().get());
        }
    }
    Ok(found)
}

fn read_log(log: &Log) -> tidelog::Result<Found> {
    let (start, end) = (log.start_offset().get(), log.end_offset().get());
    let mut partition = Partition { start, end, records: Vec::new() };
    let mut next = start;
    while next < end {
        let records = log.read(Offset::new(next), 1 << 20)?;
        if records.is_empty() {
            break;
        }
        for record in &records {
            next = record.offset().get() + 1;
            let epoch = record.leader_epoch().map(|epoch| epoch.get());
            let value = record.value().unwrap_or_default().to_vec();
            partition.records.push((record.offset().get(), epoch, value));
        }
    }
    let mut found = Found::default();
    found.topics.insert(ALONE.to_owned(), Topic { id: None, partitions: vec![partition] });
    Ok(found)
}

impl Model {
    /// Compares; how many acknowledged records, promised less than this, are gone.
    pub fn check(&self, found: &Found, promise: Promise) -> Result<u64, String> {
        for name in found.topics.keys() {
            ensure!(self.topics.contains_key(name.as_str()), "I2: a topic {name} from nowhere");
        }
        let mut gone = 0;
        for (name, incarnations) in &self.topics {
            let topic = found.topics.get(*name);
            gone += check_topic(name, incarnations, topic, promise)?;
        }
        for (place, commits) in &self.commits {
            let (group, topic, partition) = place;
            let key = ((*group).to_owned(), (*topic).to_owned(), *partition);
            let at = found.commits.get(&key).copied();
            commits.check(at, promise).map_err(|error| format!("{error} of {place:?}"))?;
            self.check_reference(place, commits, found, promise)?;
        }
        self.check_wholes(found, promise)?;
        if let Some(work) = &found.work {
            self.work.check(work, promise)?;
        }
        self.check_backups(found).map_err(|error| format!("{error}, in a backup"))?;
        Ok(gone)
    }

    /// A backup has all that was acknowledged before it was begun, and nothing of what came after.
    fn check_backups(&self, found: &Found) -> Result<(), String> {
        let Some(backup) = &self.backup else {
            ensure!(found.backup.is_none() && found.unfinished.is_none(), "I2: from nowhere");
            return Ok(());
        };
        ensure!(!backup.is_done || found.backup.is_some(), "I1: gone");
        if let Some(found) = &found.backup {
            backup.of.check(found, Promise::Process)?;
        }
        if let Some(found) = &found.unfinished {
            backup.of.without_promises().check(found, Promise::Power)?;
        }
        Ok(())
    }

    /// A commit that was promised to survive the cut refers to records that did (I1).
    fn check_reference(
        &self,
        place: &(&'static str, &'static str, u32),
        commits: &Commits,
        found: &Found,
        promise: Promise,
    ) -> Result<(), String> {
        let promised = match promise {
            Promise::Power => commits.power,
            Promise::Process => commits.process,
        };
        let (_, topic, partition) = place;
        let Some(offset) = commits.tried[..promised].iter().max().copied() else { return Ok(()) };
        let deleting = self.topics.get(topic).is_none_or(|all| all.iter().any(|one| one.deleting));
        let end =
            found.topics.get(*topic).and_then(|seen| seen.partitions.get(*partition as usize));
        let end = end.map_or(0, |partition| partition.end);
        ensure!(deleting || end >= offset, "I1: {offset} was committed of {place:?}, end {end}");
        Ok(())
    }
}

impl Commits {
    fn check(&self, found: Option<i64>, promise: Promise) -> Result<(), String> {
        let promised = match promise {
            Promise::Power => self.power,
            Promise::Process => self.process,
        };
        let Some(at) = found else {
            ensure!(promised == 0 || self.may_be_gone, "I1: a commit is gone: {self:?}");
            return Ok(());
        };
        let place = self.tried.iter().rposition(|tried| *tried == at).map_or(0, |at| at + 1);
        ensure!(place > 0, "I2: {at} was never committed: {self:?}");
        ensure!(place > self.gone, "I9: {at} is back: {self:?}");
        ensure!(place >= promised, "I4: the commit went back to {at}: {self:?}");
        Ok(())
    }
}

fn check_topic(
    name: &str,
    incarnations: &[Incarnation],
    found: Option<&Topic>,
    promise: Promise,
) -> Result<u64, String> {
    let Some(last) = incarnations.last() else {
        ensure!(found.is_none(), "I2: {name} was never created");
        return Ok(0);
    };
    let Some(topic) = found else {
        ensure!(!last.created || last.deleting, "I1: topic {name} is gone");
        let before = incarnations.len().checked_sub(2).map(|at| &incarnations[at]);
        ensure!(before.is_none_or(|one| !one.created || one.deleting), "I1: {name} is gone");
        return Ok(0);
    };
    let known = |one: &Incarnation| one.id.is_some() && one.id == topic.id;
    let at = incarnations.iter().position(known).unwrap_or(incarnations.len() - 1);
    let current = &incarnations[at];
    ensure!(!current.deleted, "I9: deleted topic {name} is back");
    ensure!(!last.created || at + 1 == incarnations.len(), "I9: an older {name} is back");
    let (there, promised) = (topic.partitions.len(), current.partitions as usize);
    ensure!(there >= promised, "I1: {there} of {promised} partitions of {name}");
    let mut gone = 0;
    for (number, partition) in (0u32..).zip(&topic.partitions) {
        let nothing = Kept::default();
        let kept = current.kept.get(&number).unwrap_or(&nothing);
        let checked = kept.check(partition, promise, (name, at + 1, number));
        gone += checked.map_err(|error| format!("{error} in {name}-{number}"))?;
    }
    Ok(gone)
}

impl Kept {
    fn check(
        &self,
        found: &Partition,
        promise: Promise,
        (name, incarnation, number): (&str, usize, u32),
    ) -> Result<u64, String> {
        let Partition { start, end, records } = found;
        let (lowest, highest) = self.starts;
        ensure!((lowest..=highest).contains(start), "I9: start {start}, not {:?}", self.starts);
        let len = records.len() as i64;
        ensure!(self.has_gaps || len == end - start, "I3: {len} of {start}..{end}");
        let mut before = (0, 0);
        let mut last: Option<(u32, u32)> = None;
        let mut expected = *start;
        for (offset, _, bytes) in records {
            let is_next = *offset == expected || (self.has_gaps && *offset > expected);
            ensure!(is_next && offset < end, "I3: {offset} in place of {expected}");
            expected = offset + 1;
            if let Some(foreign) = self.foreign.get(offset) {
                let is_it = foreign.matches(Some(bytes)) || *foreign == Payload::Null;
                ensure!(is_it, "I2: another value at {offset} than was found");
                continue;
            }
            let read = numbers(bytes).and_then(|(n, place)| Some((self.tried.get(&n)?, place)));
            let Some((batch, place)) = read else {
                let text = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
                return Err(format!("I2: a phantom at {offset}: {text}"));
            };
            let wanted = value(name, incarnation, number, *batch, place);
            ensure!(*bytes == wanted, "I2: another value at {offset} than was sent");
            let is_back = self.was_deleted(batch.number, *offset);
            ensure!(!is_back, "I9: what was deleted at {offset} is back");
            let now = (batch.number, place + 1);
            ensure!(now > before, "I3: {now:?} follows {before:?}");
            let is_whole = match last {
                Some(_) if now.0 == before.0 => place == before.1,
                Some((count, last)) => last + 1 == count && place == 0,
                None => place == 0 || offset == start,
            };
            ensure!(is_whole || self.is_thinned, "I3: {now:?} follows {before:?}: half a batch");
            (before, last) = (now, Some((batch.count, place)));
        }
        let foreign_end = self.foreign.keys().next_back().map_or(0, |last| last + 1);
        ensure!(*end >= foreign_end, "I1: {end} of {foreign_end} that lay there");
        let whole = last.is_none_or(|(count, place)| place + 1 == count);
        ensure!(whole || self.is_thinned, "I3: half a batch at the end {end}");
        self.check_acknowledged(found, promise)
    }

    fn check_acknowledged(&self, found: &Partition, promise: Promise) -> Result<u64, String> {
        let mut gone = 0;
        for (offset, promised) in self.acknowledged.range(found.start..) {
            let at = found.records.binary_search_by_key(offset, |(offset, ..)| *offset);
            let there = at.ok().map(|at| &found.records[at]);
            let is_it = there.is_some_and(|(_, _, bytes)| {
                numbers(bytes) == Some((promised.number, promised.place))
            });
            if is_it || self.is_superseded(promised.number, found) {
                continue;
            }
            let lost = promised.power || promise == Promise::Process;
            ensure!(!lost, "I1: {promised:?} was acknowledged at {offset} and is not there");
            if let Some((_, epoch, _)) = there {
                let promised = Some(promised.epoch.get());
                // what a cut in doubt had taken may be back, of an earlier epoch
                let newer = *epoch > promised || (self.has_doubtful_cut() && *epoch != promised);
                ensure!(newer, "I4: {offset} is another record, and its epoch does not show it");
            }
            gone += 1;
        }
        Ok(gone)
    }

    /// Whether compaction may have removed a batch's records: there is a later one of their key.
    fn is_superseded(&self, number: u64, found: &Partition) -> bool {
        let mut later = found.records.iter().filter_map(|(_, _, bytes)| numbers(bytes));
        self.is_thinned && later.any(|(one, _)| one > number && key(one) == key(number))
    }
}
