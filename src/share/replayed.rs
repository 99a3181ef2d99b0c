//! Reading the log of share groups when the store opens: what it says of each place.
//!
//! A snapshot says all, so what a later one stands in for is not even looked into: of each place
//! the bytes of the newest snapshot and of the updates behind it are kept, and read at the end.
//! So an open costs reading the log, not making every state that it ever told of.
//!
//! Invariant: the same as laying each record over the others in turn. Where one that counts cannot
//! be understood that is how it is done: what was said before it counts then. Called by `groups`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::groups::{PlaceKey, STATE_TOPIC};
use super::saved::Saved;
use super::schema::{Part, ShareKey, parse_value};
use crate::error::Result;
use crate::state_log::wire::SchemaFault;
use crate::state_log::{Replayed, Skipped, StateLog};

/// So many bytes of updates are kept before they are laid over the rest.
const MOST: usize = 1 << 20;

/// What the log says, by group and place.
pub(super) struct Told {
    pub(super) groups: BTreeMap<Arc<str>, BTreeMap<PlaceKey, Saved>>,
    pub(super) skipped: Skipped,
    /// Records that could not be understood.
    pub(super) faults: u64,
}

/// How the records of a place are taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// What counts at the end.
    Newest,
    /// Each in turn.
    Each,
}

/// What is known of a place: what was read, and over that what is still to be.
#[derive(Debug, Default)]
struct Place {
    read: Option<Saved>,
    /// Whether there is a snapshot to be read, whose bytes these are.
    has_snapshot: bool,
    snapshot: Vec<u8>,
    /// Bytes of updates behind it, one after the other, and where each ends.
    updates: Vec<u8>,
    ends: Vec<usize>,
}

#[derive(Default)]
struct Reading {
    groups: BTreeMap<Arc<str>, BTreeMap<PlaceKey, Place>>,
    faults: u64,
}

/// Reads the whole log.
pub(super) fn read(log: &StateLog) -> Result<Told> {
    read_all(|fold| log.replay(fold))
}

/// The same of what `replay` hands out, each time it is asked.
fn read_all(replay: impl Fn(&mut dyn FnMut(Replayed<'_>)) -> Result<Skipped>) -> Result<Told> {
    let newest = read_by(&replay, Way::Newest)?;
    if newest.faults == 0 { Ok(newest) } else { read_by(&replay, Way::Each) }
}

fn read_by(
    replay: &impl Fn(&mut dyn FnMut(Replayed<'_>)) -> Result<Skipped>,
    way: Way,
) -> Result<Told> {
    let mut reading = Reading::default();
    let skipped = replay(&mut |record| {
        if let Err(fault) = reading.take(record, way) {
            reading.faults += 1;
            if way == Way::Each {
                let (partition, offset) = (record.partition, record.offset);
                log::warn!("{STATE_TOPIC}-{partition}: offset {offset} is skipped: {fault}");
            }
        }
    })?;
    let mut groups: BTreeMap<Arc<str>, BTreeMap<PlaceKey, Saved>> = BTreeMap::new();
    for (name, places) in std::mem::take(&mut reading.groups) {
        for (key, mut place) in places {
            reading.faults += u64::from(place.settle().is_err()); // `Each` has nothing left
            if let Some(saved) = place.read {
                groups.entry(name.clone()).or_default().insert(key, saved);
            }
        }
    }
    Ok(Told { groups, skipped, faults: reading.faults })
}

impl Reading {
    fn take(&mut self, record: Replayed<'_>, way: Way) -> Result<(), SchemaFault> {
        let Some(key) = record.key else { return Ok(()) };
        let Some(key) = ShareKey::parse(key)? else { return Ok(()) };
        if !self.groups.contains_key(key.group) {
            self.groups.insert(Arc::from(key.group), BTreeMap::new());
        }
        let Some(places) = self.groups.get_mut(key.group) else { return Ok(()) };
        let place = places.entry((key.topic, key.partition)).or_default();
        match (key.part, record.value) {
            (Part::Snapshot, Some(value)) => place.begin(value, way),
            (Part::Snapshot, None) => *place = Place::default(),
            (Part::Update, Some(value)) => place.go_on(value),
            (Part::Update, None) => {}
        }
        match way {
            Way::Newest if place.updates.len() < MOST => Ok(()),
            Way::Newest | Way::Each => place.settle(),
        }
    }
}

impl Place {
    /// A snapshot: it stands in for everything before it, once it is understood.
    fn begin(&mut self, value: &[u8], way: Way) {
        if way == Way::Newest {
            self.read = None;
        }
        self.forget();
        self.has_snapshot = true;
        self.snapshot.extend_from_slice(value);
    }

    fn go_on(&mut self, value: &[u8]) {
        self.updates.extend_from_slice(value);
        self.ends.push(self.updates.len());
    }

    fn forget(&mut self) {
        self.has_snapshot = false;
        self.snapshot.clear();
        self.updates.clear();
        self.ends.clear();
    }

    /// Reads what was kept. What cannot be understood is left out, with what came with it.
    fn settle(&mut self) -> Result<(), SchemaFault> {
        let settled = self.lay_together();
        self.forget();
        settled
    }

    fn lay_together(&mut self) -> Result<(), SchemaFault> {
        if self.has_snapshot {
            let (snapshot, state) = parse_value(&self.snapshot, Part::Snapshot)?;
            self.read = Some(Saved { snapshot, state });
        }
        let mut from = 0;
        for end in &self.ends {
            let value = &self.updates[from..*end];
            from = *end;
            let (snapshot, update) = parse_value(value, Part::Update)?;
            // one of another snapshot is of a state that is not known
            if let Some(saved) = self.read.as_mut().filter(|saved| saved.snapshot == snapshot) {
                saved.state.lay_over(&update);
            }
        }
        Ok(())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::ids::{Offset, PartitionId, TopicId};
    use crate::seeds::seeds;
    use crate::share::deliveries::Finished;
    use crate::share::saved::{SavedRun, SavedState};
    use crate::share::schema::encode_value;
    use crate::state_log::runs::Runs;
    use crate::time::Timestamp;

    type Records = Vec<(Vec<u8>, Option<Vec<u8>>)>;

    fn state(random: &mut StdRng, start: i64) -> SavedState {
        let mut runs = Runs::default();
        for _ in 0..random.random_range(0..6) {
            let first = start + random.random_range(0..60);
            let run = match random.random_range(0..3) {
                0 => SavedRun::Done(Finished::Acknowledged),
                1 => SavedRun::Done(Finished::Archived),
                _ => SavedRun::Open { count: random.random_range(1..5), due: None },
            };
            runs.set(first, first + random.random_range(0..5), run);
        }
        SavedState { start, runs, ..SavedState::default() }
    }

    /// Snapshots, updates of them and of others, ends, and bytes that mean nothing.
    fn records(random: &mut StdRng, faulty: bool) -> Records {
        let topic = TopicId::from_bytes([7; 16]).unwrap();
        let (mut numbers, mut start) = ([0; 4], 0);
        let mut record = |_| {
            let place = random.random_range(0..4_u8);
            let number: &mut i32 = &mut numbers[usize::from(place)];
            let part = if random.random_bool(0.2) { Part::Snapshot } else { Part::Update };
            let group = if place < 2 { "g" } else { "h" };
            let partition = PartitionId::new(u32::from(place % 2));
            let key = ShareKey { part, group, topic, partition }.encode().unwrap();
            start += random.random_range(0..3);
            *number += i32::from(part == Part::Snapshot || random.random_bool(0.02));
            let state = state(random, start);
            let value = encode_value(&state, part, *number, Timestamp::from_millis(0));
            match random.random_range(0..50) {
                0 => (key, None),
                1 if faulty => (key, Some(value[..value.len() / 2].to_vec())),
                2 if faulty => (key, Some(Vec::new())),
                _ => (key, Some(value)),
            }
        };
        (0..200).map(&mut record).collect()
    }

    fn replay(records: &Records) -> impl Fn(&mut dyn FnMut(Replayed<'_>)) -> Result<Skipped> {
        move |fold| {
            for (offset, (key, value)) in (0..).zip(records) {
                let (key, value) = (Some(key.as_slice()), value.as_deref());
                let (partition, offset) = (PartitionId::new(0), Offset::new(offset));
                fold(Replayed { partition, offset, timestamp: None, key, value });
            }
            Ok(Skipped::default())
        }
    }

    #[test]
    fn what_counts_at_the_end_is_what_each_record_in_turn_comes_to() {
        let mut places = 0;
        for seed in seeds(200, 2_000, 100_000) {
            let mut random = StdRng::seed_from_u64(seed);
            let records = records(&mut random, seed % 2 == 1);
            let told = read_all(replay(&records)).unwrap();
            let each = read_by(&replay(&records), Way::Each).unwrap();
            assert!(told.groups == each.groups, "TIDELOG_SEED={seed}");
            assert!(told.faults <= each.faults, "TIDELOG_SEED={seed}");
            places += told.groups.values().map(BTreeMap::len).sum::<usize>();
        }
        assert!(places > 0, "the control");
    }

    /// The newest record of a place means nothing: what was said before it counts, and it is told.
    #[test]
    fn what_was_said_before_a_record_that_means_nothing_counts() {
        let topic = TopicId::from_bytes([7; 16]).unwrap();
        let partition = PartitionId::new(0);
        let key = |part| ShareKey { part, group: "g", topic, partition }.encode().unwrap();
        let mut runs = Runs::default();
        runs.set(3, 5, SavedRun::Done(Finished::Acknowledged));
        let said = SavedState { start: 2, runs, ..SavedState::default() };
        let value = |part| Some(encode_value(&said, part, 1, Timestamp::from_millis(0)));
        for (part, nothing) in [Part::Snapshot, Part::Update].into_iter().zip([vec![], vec![9; 9]])
        {
            let first = (key(Part::Snapshot), value(Part::Snapshot));
            let second = (key(Part::Update), value(Part::Update));
            let told = read_all(replay(&vec![first, second, (key(part), Some(nothing))])).unwrap();
            let saved = &told.groups["g"][&(topic, partition)];
            assert_eq!((told.faults, saved.snapshot, &saved.state), (1, 1, &said));
        }
    }
}
