//! What is found of work that is owed: what its topics hold, what is handed out, what waits. And
//! the end of it: all that is owed is done, and none of it comes again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidelog::Durability::Power;
use tidelog::disk::{Crash, SimDisk};
use tidelog::{Clock as _, Record, Store};

use super::{Door, Found, ensure, later};
use crate::stage::work::{
    AGAIN, LATE, LEFT, LETTERS, ONCE, RIGHT, TOPICS, crew, number_of, numeral, prepared_number,
    shop,
};
use crate::stage::{Setup, open_store};

/// Reads and looks are few and small.
const MOST: usize = 500;

#[derive(Clone, Debug, Default)]
pub struct Owed {
    /// Numbers and timestamps, in order.
    pub topics: BTreeMap<&'static str, Vec<(u64, i64)>>,
    /// What the next consumers are given.
    pub handed: BTreeSet<u64>,
    /// What is scheduled and has not come.
    pub pending: BTreeSet<u64>,
    pub prepared: BTreeSet<u64>,
    /// When this was found.
    pub now: i64,
}

impl Owed {
    pub fn count(&self, topic: &str, number: u64) -> usize {
        self.topics.get(topic).map_or(0, |all| all.iter().filter(|one| one.0 == number).count())
    }

    pub fn numbers(&self) -> BTreeSet<u64> {
        let mut all: BTreeSet<u64> = self.topics.values().flatten().map(|one| one.0).collect();
        for some in [&self.handed, &self.pending, &self.prepared] {
            all.extend(some);
        }
        all
    }

    fn of(&self, topic: &str) -> BTreeSet<u64> {
        self.topics.get(topic).into_iter().flatten().map(|one| one.0).collect()
    }
}

/// The numbers and timestamps of a topic's records; none where it is not there yet.
pub fn values(store: &Store, topic: &str) -> tidelog::Result<Vec<(u64, i64)>> {
    let mut all = Vec::new();
    if !store.topics()?.iter().any(|one| one.name() == topic) {
        return Ok(all);
    }
    for records in store.reader().subscribe([topic]).build()?.read_to_end()? {
        let of = |record: tidelog::RecordView<'_>| {
            (number_of(&record), record.timestamp().map_or(0, |at| at.as_millis()))
        };
        all.extend(records?.iter().map(of));
    }
    Ok(all)
}

/// What the store's own threads would do.
pub fn tend(store: &Store) {
    for _ in 0..4 {
        store.run_due();
        store.run_maintenance();
    }
}

/// Looks at it where there is a store.
pub fn read_work(door: &Door, found: &mut Found) -> Result<(), String> {
    let Door::Store(store) = door else { return Ok(()) };
    let owed = read(store, later().wall().as_millis());
    found.work = Some(owed.map_err(|error| format!("I7: work: {error}"))?);
    Ok(())
}

/// Looks at all of it; nothing is said of what is handed out.
pub(super) fn read(store: &Store, now: i64) -> tidelog::Result<Owed> {
    let mut owed = Owed { now, ..Owed::default() };
    let mut crew = crew(store, Power, MOST)?; // letters are made once the group is there
    tend(store);
    loop {
        let taken = crew.try_poll()?;
        if taken.is_empty() {
            break;
        }
        owed.handed.extend(taken.iter().map(|record| numeral(record.value())));
    }
    let mut shop = shop(store)?;
    loop {
        let records = shop.try_poll()?;
        if records.is_empty() {
            break;
        }
        owed.handed.extend(records.iter().map(|record| number_of(&record)));
    }
    for topic in TOPICS {
        owed.topics.insert(topic, values(store, topic)?);
    }
    let pending = store.scheduled(None, MOST)?;
    owed.pending.extend(pending.iter().map(|it| numeral(it.value())));
    owed.prepared.extend(store.prepared_transactions(None, MOST)?.iter().map(prepared_number));
    Ok(owed)
}

/// Does all that is owed, has the power go, and looks whether any of it is owed again.
pub fn finish(disk: &mut SimDisk, setup: &Setup) -> Result<(), String> {
    let clock = later();
    let told = |error: tidelog::Error| format!("I8: work does not go on: {error}");
    let store = open_store(disk, &clock, setup).map_err(told)?;
    let before = read(&store, clock.wall().as_millis()).map_err(told)?;
    clock.advance(Duration::from_secs(61)); // the leases end
    tend(&store);
    let done = do_all(&store).map_err(told)?;
    ensure!(done == before.handed, "I1: {done:?} come a second time, of {before:?}");
    clock.advance(Duration::from_secs(10 * 3600));
    tend(&store);
    let sent = store.redrive_dead_letters(LETTERS).to(AGAIN).run();
    ensure!(sent.is_ok() || before.of(LETTERS).is_empty(), "I8: no sending back: {sent:?}");
    *disk = disk.crash(Crash::Nothing);
    drop(store);
    let store = open_store(disk, &clock, setup).map_err(told)?;
    let after = read(&store, clock.wall().as_millis()).map_err(told)?;
    let left = [&after.handed, &after.pending, &after.prepared];
    ensure!(left.iter().all(|some| some.is_empty()), "I4: {left:?} is owed again, of {before:?}");
    for (topic, all) in &after.topics {
        ensure!(all.len() == after.of(topic).len(), "I3: {topic} has some twice: {after:?}");
    }
    let late = &before.of(LATE) | &before.pending;
    ensure!(after.of(LATE) == late, "I1: {late:?} were to come: {after:?}");
    let committed = &before.of(LEFT) | &before.prepared;
    let both = (after.of(LEFT), after.of(RIGHT));
    ensure!(both == (committed.clone(), committed), "I6: of {before:?} {both:?}");
    ensure!(after.of(AGAIN) == before.of(LETTERS), "I1: not sent back: {before:?} {after:?}");
    ensure!(after.of(ONCE) == before.of(ONCE), "I5: {before:?} {after:?}");
    Ok(())
}

/// Acknowledges, commits, resolves, sends once more; what was handed out.
fn do_all(store: &Store) -> tidelog::Result<BTreeSet<u64>> {
    let mut done = BTreeSet::new();
    let mut crew = crew(store, Power, MOST)?;
    loop {
        let taken = crew.try_poll()?;
        if taken.is_empty() {
            break;
        }
        done.extend(taken.iter().map(|record| numeral(record.value())));
        crew.ack_all(&taken)?;
    }
    let mut shop = shop(store)?;
    loop {
        let records = shop.try_poll()?;
        if records.is_empty() {
            break;
        }
        done.extend(records.iter().map(|record| number_of(&record)));
        shop.commit_with(Power)?;
    }
    for prepared in store.prepared_transactions(None, MOST)? {
        store.commit_prepared(prepared.id())?;
    }
    let once = store.producer().durability(Power).build()?.topic(ONCE)?;
    for (number, _) in values(store, ONCE)? {
        let text = number.to_string();
        once.send_once(&text, Record::new(&text))?;
    }
    Ok(done)
}
