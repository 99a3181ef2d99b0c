//! Publishing what is due: one transaction for many entries, with their resolution.
//!
//! The entries' records go to their targets, in the order of the run, the tombstones of their keys
//! to `__schedule`, in one commit: after a crash at any point an entry is published and resolved,
//! or neither. What was due and its target is gone, or another topic has its name, or its topic
//! takes no such record any more, goes to the dead-letter topic in the same way. A publication is
//! as long as its targets have room for, and goes to a few partitions, so that its syncs hold up
//! nobody for long. A partition that takes nothing at the moment (full, poisoned, led by nobody)
//! has its entries parked, so that it holds up nobody else's; they are tried again every second. So
//! are those whose own partition of `__schedule` takes nothing, and what is to become a dead letter
//! while there is no topic that takes it.
//!
//! Called by `coordinator` with the turn in hand; nothing here holds the state's lock across I/O.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::coordinator::{Portion, Schedule, Turn};
use super::reading::{Loaded, Place};
use super::schema::{KEY_LEN, parse};
use super::state::Key;
use crate::config::Durability;
use crate::dead_letters::{dead_letter_topic, is_of_records, names};
use crate::engine::Partition;
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::ids::{PartitionId, TopicId};
use crate::record::Record;
use crate::state_log::kept::Kept;
use crate::time::Timestamp;
use crate::txn::{Part, check_record};

/// Where entries go that cannot be published where they were to be.
pub(super) const DEAD_LETTERS: &str = "scheduled.dlq";

/// Entries of one transaction.
const MOST: usize = 4096;
/// Partitions of one transaction: each costs two syncs, while other timers wait.
const MOST_TARGETS: usize = 16;
/// How often one portion is tried with what was learnt about it: halved down to one, each of its
/// targets found out about, and some.
const ATTEMPTS: usize = 36;
/// The last of these are for its first entry alone: whatever the others are, one gets on.
const ALONE: usize = 4;

/// A partition as entries name it.
type Where = (TopicId, PartitionId);

/// What is to become of one entry.
#[derive(Debug)]
enum Fate {
    Publish(Arc<Partition>),
    Bury(Arc<Partition>, Obituary),
    /// Its partition takes nothing at the moment.
    Park,
}

/// What a dead letter says of itself.
#[derive(Debug)]
struct Obituary {
    topic_id: String,
    partition: String,
    due: String,
    reason: String,
}

/// What was learnt of a portion's entries while it was tried.
#[derive(Debug, Default)]
struct Learnt {
    /// Why their topic does not take them.
    reasons: BTreeMap<Key, String>,
    /// Nor does the one of the dead letters.
    refused: BTreeSet<Key>,
}

/// What came of an attempt.
enum Attempted {
    Published,
    /// A part failed that one partition is to blame for.
    Refused(Where, Error),
    /// So did one of the schedule's own.
    Unresolved(PartitionId, Error),
}

impl Schedule {
    /// Publishes a portion of what is due at `wall`; what is parked is tried again at `retry`.
    pub(super) fn fire(&self, turn: &mut Turn, wall: Timestamp, retry: Duration) -> Result<()> {
        let due = self.state.lock().due(wall, MOST);
        let due = due.into_iter().map(|(key, offset)| Place { key, offset });
        let is_held = |it: &Place| turn.held.contains_key(&it.key.partition());
        let (held, due): (Vec<_>, Vec<_>) = due.partition(is_held);
        self.park(turn, held.into_iter().map(|it| it.key).collect(), retry);
        let mut loaded = self.load(turn, &due);
        let mut learnt = Learnt::default();
        for attempt in 0..ATTEMPTS {
            if attempt == ATTEMPTS - ALONE {
                loaded.truncate(1);
            }
            let fates = self.fates(turn, &mut loaded, &learnt, retry);
            loaded.truncate(to_a_few_targets(&fates));
            if loaded.is_empty() {
                return Ok(());
            }
            match self.attempt(turn, &loaded, &fates)? {
                Attempted::Published => return Ok(()),
                Attempted::Unresolved(_, error) if error.is_full() && loaded.len() > 1 => {
                    loaded.truncate(loaded.len() / 2);
                }
                Attempted::Unresolved(partition, error) => {
                    log::warn!("scheduled records have to wait: {error}");
                    turn.held.insert(partition, error);
                    return Ok(()); // the next step parks them
                }
                Attempted::Refused(place, error) => match half_for(place, &fates[..loaded.len()]) {
                    Some(half) if error.is_full() => loaded.truncate(half),
                    _ => self.blame(turn, &loaded, &fates, &mut learnt, (place, error)),
                },
            }
        }
        Ok(()) // the rest with the next step
    }

    /// Decides on each entry; those that are parked leave the portion.
    fn fates(
        &self,
        turn: &mut Turn,
        loaded: &mut Vec<Loaded>,
        learnt: &Learnt,
        retry: Duration,
    ) -> Vec<Fate> {
        let mut fates = Vec::with_capacity(loaded.len());
        let (mut parked, mut lost) = (Vec::new(), Vec::new());
        loaded.retain(|it| {
            let Ok(entry) = parse(&it.bytes) else {
                log::error!("what is scheduled at offset {} cannot be understood", it.offset);
                lost.push(it.key);
                return false;
            };
            match self.fate(turn, it.key, &entry, learnt) {
                Fate::Park => parked.push(it.key),
                fate => {
                    fates.push(fate);
                    return true;
                }
            }
            false
        });
        let mut state = self.state.lock();
        for key in lost {
            state.put_aside(key);
        }
        drop(state);
        self.park(turn, parked, retry);
        fates
    }

    /// Has entries wait until `retry`, and until all others that are due had their turn.
    fn park(&self, turn: &mut Turn, keys: Vec<Key>, retry: Duration) {
        if keys.is_empty() {
            return;
        }
        turn.expect_retry(retry, self.engine.clock().wall());
        self.state.lock().park(keys);
    }

    fn fate(&self, turn: &mut Turn, key: Key, entry: &Kept<'_>, learnt: &Learnt) -> Fate {
        let target = entry.target;
        if turn.stuck.contains_key(&(target.topic, target.partition)) {
            return Fate::Park;
        }
        let reason = match learnt.reasons.get(&key) {
            Some(reason) => reason.clone(),
            None => match self.engine.topic_by_id(target.topic) {
                Some(topic) => match topic.partition(target.partition) {
                    Ok(partition) => return Fate::Publish(partition),
                    Err(error) => error.to_string(),
                },
                None if self.engine.topic(target.name).is_ok() => {
                    format!("topic `{}` was deleted and made again", target.name)
                }
                None => format!("topic `{}` was deleted", target.name),
            },
        };
        if learnt.refused.contains(&key) {
            return Fate::Park;
        }
        let Some(buried) = self.dead_letters(turn) else { return Fate::Park };
        let (topic_id, partition) = (target.topic.to_string(), target.partition.to_string());
        let due = key.due.to_string();
        Fate::Bury(buried, Obituary { topic_id, partition, due, reason })
    }

    /// The partition of the dead letters; the topic is made if there is none. `None` where that
    /// cannot be, or it takes nothing: who is to go there waits, and holds up nobody else.
    fn dead_letters(&self, turn: &mut Turn) -> Option<Arc<Partition>> {
        if turn.no_dead_letters.is_some() {
            return None;
        }
        let topic = dead_letter_topic(&self.engine, DEAD_LETTERS);
        match topic.and_then(|topic| topic.partition(PartitionId::new(0))) {
            Ok(partition) => {
                let place = (partition.topic_id(), partition.id());
                Some(partition).filter(|_| !turn.stuck.contains_key(&place))
            }
            Err(error) => {
                log::warn!("dead letters of scheduled records have to wait: {error}");
                turn.no_dead_letters = Some(error);
                None
            }
        }
    }

    fn attempt(&self, turn: &mut Turn, loaded: &[Loaded], fates: &[Fate]) -> Result<Attempted> {
        let keys: Vec<(PartitionId, [u8; KEY_LEN])> =
            loaded.iter().map(|it| (it.key.partition(), it.key.encode())).collect();
        let mut parts: Vec<Part<'_>> = Vec::new();
        let mut numbers: HashMap<Where, usize> = HashMap::new();
        let mut buried = 0;
        for (it, fate) in loaded.iter().zip(fates) {
            let Ok(entry) = parse(&it.bytes) else { continue }; // it was understood before
            let (partition, record) = match fate {
                Fate::Publish(partition) => (partition, entry.record),
                Fate::Bury(partition, obituary) => {
                    buried += 1;
                    (partition, dead_letter(entry, obituary))
                }
                Fate::Park => continue, // it has left the portion
            };
            let number =
                *numbers.entry((partition.topic_id(), partition.id())).or_insert_with(|| {
                    parts.push(Part { partition: partition.clone(), records: Vec::new() });
                    parts.len() - 1
                });
            parts[number].records.push(record);
        }
        let targets = parts.len();
        let mut resolved: BTreeMap<PartitionId, Vec<Record<'_>>> = BTreeMap::new();
        for (partition, key) in &keys {
            resolved.entry(*partition).or_default().push(Record::tombstone().key(key));
        }
        for (id, records) in resolved {
            parts.push(Part { partition: self.log.partition(id)?, records });
        }
        let portion = Portion { keys: loaded.iter().map(|it| it.key).collect(), buried };
        let failed = match self.publisher.publish(&parts, Durability::Power) {
            Ok(()) => {
                self.resolve(&portion);
                return Ok(Attempted::Published);
            }
            Err(failed) => failed,
        };
        if failed.error.outcome() != Outcome::NotWritten {
            turn.in_doubt = Some(portion);
            return Err(failed.error);
        }
        let Some(part) = failed.part else { return Err(failed.error) };
        let partition = &parts[part].partition;
        Ok(match part < targets {
            true => Attempted::Refused((partition.topic_id(), partition.id()), failed.error),
            false => Attempted::Unresolved(partition.id(), failed.error),
        })
    }

    /// Learns from a refusal: which records their topic does not take, or that the partition takes
    /// nothing at all.
    fn blame(
        &self,
        turn: &mut Turn,
        loaded: &[Loaded],
        fates: &[Fate],
        learnt: &mut Learnt,
        (place, error): (Where, Error),
    ) {
        if error.kind() == ErrorKind::NotFound {
            return; // deleted meanwhile: the next attempt sees that
        }
        let now = self.engine.clock().wall();
        let (mut is_known, mut letters, mut why_refused) = (false, 0, None);
        if is_of_records(error.kind()) {
            for (it, fate) in loaded.iter().zip(fates).filter(|(_, it)| it.place() == Some(place)) {
                let Some(why) = refusal(it, fate, now) else { continue };
                is_known = true;
                if let Fate::Publish(_) = fate {
                    learnt.reasons.insert(it.key, why.to_string());
                } else {
                    learnt.refused.insert(it.key);
                    letters += 1;
                    why_refused = Some(why);
                }
            }
        }
        if let Some(why) = why_refused {
            log::error!("{letters} dead letters of scheduled records have to wait: {why}");
        }
        if !is_known {
            log::warn!("scheduled records have to wait: {error}");
            turn.stuck.insert(place, error);
        }
    }
}

/// Why its topic never takes what is to go there, if that is so.
fn refusal(it: &Loaded, fate: &Fate, now: Timestamp) -> Option<Error> {
    let entry = parse(&it.bytes).ok()?;
    let refused = match fate {
        Fate::Publish(to) => check_record(to, &entry.record, now),
        Fate::Bury(to, obituary) => check_record(to, &dead_letter(entry, obituary), now),
        Fate::Park => return None, // it has left the portion
    };
    refused.err().filter(|why| is_of_records(why.kind()))
}

/// How many entries of a portion, from the first on, go to as many partitions as one transaction
/// may.
fn to_a_few_targets(fates: &[Fate]) -> usize {
    let mut targets: HashSet<Where> = HashSet::new();
    let is_within = |fate: &&Fate| {
        targets.extend(fate.place());
        targets.len() <= MOST_TARGETS
    };
    fates.iter().take_while(is_within).count()
}

/// Where to end a portion of which a partition has not enough room: behind the first half of what
/// goes there; `None` where that is one entry.
fn half_for(place: Where, fates: &[Fate]) -> Option<usize> {
    let own = || fates.iter().enumerate().filter(|(_, fate)| fate.place() == Some(place));
    let half = own().count() / 2;
    own().nth(half).filter(|_| half > 0).map(|(number, _)| number)
}

impl Fate {
    /// The partition that it is for.
    fn place(&self) -> Option<Where> {
        match self {
            Fate::Publish(to) | Fate::Bury(to, _) => Some((to.topic_id(), to.id())),
            Fate::Park => None,
        }
    }
}

/// The record with where it was to go, when, and why it is not there.
fn dead_letter<'a>(entry: Kept<'a>, obituary: &'a Obituary) -> Record<'a> {
    let Kept { target, record } = entry;
    record
        .header(names::TOPIC, target.name)
        .header(names::TOPIC_ID, &obituary.topic_id)
        .header(names::PARTITION, &obituary.partition)
        .header(names::DUE, &obituary.due)
        .header(names::ERROR, &obituary.reason)
}
