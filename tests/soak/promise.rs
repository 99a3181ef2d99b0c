//! What a child was told is acknowledged, and whether all of it is there after its end.
//!
//! A value says where it was appended, so whoever reads needs nothing else to know it. What races
//! with a power cut is no promise: the driver takes it before the cut. Of what takes a promise back
//! it hears to the end: a deletion may be begun, and durable, after that look and before the cut.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;

use tidelog::{Journal, Result, Store};

use crate::work;

/// The topics that are always there; their names say how they are written to.
pub const STEADY: [&str; 2] = ["process", "power"];
pub const PARTITIONS: u32 = 2;
pub const SEGMENT: u64 = 64 << 10;
/// The least and the most that retention is set to keep.
pub const KEPT: [u64; 2] = [384 << 10, 512 << 10];
/// Of the journal, in bytes.
pub const JOURNAL: u64 = 4 << 20;
/// So many deleted topics are remembered: a run of days makes millions.
const REMEMBERED: usize = 2_000;
/// Topics that come and go are called so.
pub const PASSING: &str = "passing-";

pub fn value(topic: &str, partition: u32, offset: i64) -> String {
    let size = match offset % 50 {
        49 => 9_000, // by position, whatever the mode
        at => at * 17 % 700,
    };
    format!("{topic}:{partition}:{offset}:{}", "x".repeat(usize::try_from(size).unwrap_or(0)))
}

/// Whether a record is the one that belongs there.
pub fn is_at_home(topic: &str, partition: u32, offset: i64, found: Option<&[u8]>) -> bool {
    found == Some(value(topic, partition, offset).as_bytes())
}

/// Word for word what a child says; a line without its end counts for nothing.
#[derive(Clone, Default)]
pub struct Promised {
    /// Acknowledged ends, by topic and partition.
    ends: BTreeMap<(String, u32), i64>,
    /// Acknowledged commits, by group, topic and partition.
    commits: BTreeMap<(String, String, u32), i64>,
    present: BTreeSet<String>,
    /// The last of those that were deleted.
    gone: VecDeque<String>,
    /// Backups that were made and verified, and openings, of all children.
    pub backups: u64,
    pub lives: u64,
    /// Records that the reader beside it has compared.
    pub followed: i64,
    /// What failed that was not to fail.
    pub failures: Vec<String>,
}

impl Promised {
    /// Takes a line in.
    pub fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |text: &str| text.parse::<i64>().expect("a number");
        let partition = |text: &str| text.parse::<u32>().expect("a partition");
        match words[..] {
            ["sent", topic, at, end] => {
                self.ends.insert((topic.into(), partition(at)), number(end));
            }
            ["committed", group, topic, at, offset] => {
                let place = (group.into(), topic.into(), partition(at));
                self.commits.insert(place, number(offset));
            }
            ["created", topic] => drop(self.present.insert(topic.into())),
            ["deleting", topic] => drop(self.present.remove(topic)),
            ["deleted", topic] => {
                self.gone.push_back(topic.into());
                let excess = self.gone.len().saturating_sub(REMEMBERED);
                self.gone.drain(..excess);
            }
            ["verified", "backup"] => self.backups += 1,
            ["followed", records] => self.followed += number(records),
            ["opened"] => self.lives += 1,
            ["failed", ..] => self.failures.push(line.to_owned()),
            _ => {}
        }
    }

    /// What a power cut must leave of what was said before it: what is of the topic that is written
    /// to durably, and no topic whose deletion `later` says was begun before the process ended.
    pub fn over_a_power_cut(mut self, later: &Promised) -> Self {
        self.present.retain(|topic| later.present.contains(topic));
        self.ends.retain(|(topic, _), _| topic == "power");
        self.commits.retain(|(_, topic, _), _| topic == "power");
        self
    }

    /// One record more than was acknowledged, of each partition.
    pub fn and_one_more(mut self, found: &Found) -> Self {
        self.ends = found.ends.iter().map(|(place, end)| (place.clone(), end + 1)).collect();
        self
    }

    /// Whether all of it is there.
    pub fn check(&self, found: &Found) -> std::result::Result<(), String> {
        for (place, promised) in &self.ends {
            let end = found.ends.get(place).copied().unwrap_or(0);
            if end < *promised {
                return Err(format!("I1: {place:?} ends at {end}, {promised} acknowledged"));
            }
        }
        for (place, promised) in &self.commits {
            let committed = found.commits.get(place).copied().unwrap_or(-1);
            if committed < *promised {
                return Err(format!("I4: {place:?} is at {committed}, {promised} committed"));
            }
        }
        if let Some(topic) = self.present.difference(&found.topics).next() {
            return Err(format!("I1: {topic} was created and is missing"));
        }
        if let Some(topic) = self.gone.iter().find(|topic| found.topics.contains(*topic)) {
            return Err(format!("I9: {topic} was deleted and is back"));
        }
        Ok(())
    }
}

/// What lies in a store.
#[derive(Default)]
pub struct Found {
    ends: BTreeMap<(String, u32), i64>,
    commits: BTreeMap<(String, String, u32), i64>,
    topics: BTreeSet<String>,
}

impl Found {
    /// A hash of all of it, to tell one state from another.
    pub fn image(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.ends, &self.commits, &self.topics).hash(&mut hasher);
        hasher.finish()
    }
}

/// Opens what is left and compares every record with its place.
pub fn find(root: &Path) -> std::result::Result<Found, String> {
    let builder = Store::builder(root).journal(Journal::Bytes(JOURNAL));
    let store = builder.open().map_err(|error| format!("I8: {error}"))?;
    let report = store.open_report();
    if !report.failed_partitions().is_empty() {
        return Err(format!("I8: {:?}", report.failed_partitions()));
    }
    if let Some(one) = report.partitions().iter().find(|one| !one.damage().is_empty()) {
        return Err(format!("I10: {one:?}"));
    }
    let found = read(&store).map_err(|error| format!("I7: {error}"))??;
    work::find(&store).map_err(|error| format!("I7: {error}"))??;
    store.close().map_err(|error| format!("I7: {error}"))?;
    Ok(found)
}

fn read(store: &Store) -> Result<std::result::Result<Found, String>> {
    let mut found = Found::default();
    let topics = store.topics()?;
    found.topics = topics.iter().map(|topic| topic.name().to_owned()).collect();
    for topic in topics.iter().filter(|topic| STEADY.contains(&topic.name())) {
        for partition in topic.partitions() {
            let (name, at) = (topic.name(), partition.id().get());
            let mut reader = store.reader().assign([(name, at)]).build()?;
            let mut next = partition.start_offset().get();
            for records in reader.read_to_end()? {
                for record in &records? {
                    let offset = record.offset().get();
                    if offset != next || !is_at_home(name, at, offset, record.value()) {
                        return Ok(Err(format!("I2, I3: {name}-{at}: {offset}, {next} was next")));
                    }
                    next += 1;
                }
            }
            if next != partition.end_offset().get() {
                return Ok(Err(format!("I7: {name}-{at} ends at {next} for a reader")));
            }
            found.ends.insert((name.to_owned(), at), next);
        }
    }
    let stats = store.stats();
    for topic in stats.topics.iter().filter(|topic| STEADY.contains(&topic.name.as_str())) {
        for one in &topic.partitions {
            if one.start_offset.get() > 0 && one.bytes < KEPT[0] - SEGMENT {
                return Ok(Err(format!("I9: {}-{}: {} bytes left", topic.name, one.id, one.bytes)));
            }
        }
    }
    for group in store.groups()? {
        for (topic, partition, committed) in store.committed(&group.name)? {
            let place = (group.name.clone(), topic, partition.get());
            found.commits.insert(place, committed.offset().get());
        }
    }
    Ok(Ok(found))
}

/// Found by a run whose driver was held up there: "passing-25105-3 was created and is missing".
#[test]
fn a_deletion_between_the_look_and_the_cut_takes_its_promise_back() {
    let mut said = Promised::default();
    ["created passing-1", "created passing-2"].iter().for_each(|line| said.hear(line));
    let before = said.clone();
    said.hear("deleting passing-1");
    let promised = before.over_a_power_cut(&said);
    let mut found = Found::default();
    found.topics.insert("passing-2".to_owned());
    assert_eq!(promised.check(&found), Ok(()), "it went rightly");
    found.topics.clear();
    assert!(promised.check(&found).is_err(), "the other had to stay");
}
