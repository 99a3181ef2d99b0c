//! Work that is owed to somebody: jobs of a share group with their dead letters, records that a
//! consumer gives back for later, delayed records, prepared transactions, records sent once.
//!
//! The value of each record is a number used once. Consumers live for one deed, so that the stage
//! keeps none that a crash would have to take from it.

use std::collections::BTreeSet;
use std::time::Duration;

use tidelog::Durability::{self, Power};
use tidelog::{
    Clock as _, Consumer, Outcome, PreparedId, PreparedTransaction, Record, RecordView, Resolution,
    Result, ScheduleId, ShareConsumer, Store, Timestamp,
};

use super::{Stage, small};
use crate::story::Deed;
use crate::story::work::{End, Kind, Word};

pub const JOBS: &str = "work-jobs";
/// Of the group that takes the jobs.
pub const LETTERS: &str = "work-crew.dlq";
/// Where letters are sent back to.
pub const AGAIN: &str = "work-again";
pub const ORDERS: &str = "work-orders";
pub const LATE: &str = "work-late";
/// What is prepared has a record in both.
pub const LEFT: &str = "work-left";
pub const RIGHT: &str = "work-right";
pub const ONCE: &str = "work-once";
/// How the topics of work are called, and no others.
pub const OF_WORK: &str = "work-";
pub const TOPICS: [&str; 8] = [JOBS, LETTERS, AGAIN, ORDERS, LATE, LEFT, RIGHT, ONCE];

/// No record is to be given up for the crashes it saw.
const MOST: u16 = 1000;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What a consumer says of a record.
#[derive(Clone, Copy)]
pub enum Verb {
    Ack,
    Reject,
    Release,
    /// After ten seconds.
    Later,
    /// Nothing, its lease ends.
    Leave,
}

pub fn crew(store: &Store, word: Durability, most: usize) -> Result<ShareConsumer> {
    let builder = store.share_consumer("work-crew").subscribe([JOBS]).max_deliveries(MOST);
    builder.durability(word).max_records(most).build()
}

pub fn shop(store: &Store) -> Result<Consumer> {
    store.consumer("shop").subscribe([ORDERS]).max_attempts(MOST).build()
}

pub fn number_of(record: &RecordView<'_>) -> u64 {
    numeral(record.value())
}

/// One that none of ours has where it is no number.
pub fn numeral(value: Option<&[u8]>) -> u64 {
    let text = std::str::from_utf8(value.unwrap_or_default());
    text.ok().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX)
}

/// The number of what was prepared.
pub fn prepared_number(transaction: &PreparedTransaction) -> u64 {
    numeral(transaction.records().first().and_then(|(_, record)| record.value()))
}

impl Stage {
    /// The topics of all work; whoever reads them knows them by their names.
    pub fn make_work_topics(&mut self) {
        let store = self.store().expect("nothing fails yet");
        for topic in TOPICS.into_iter().filter(|topic| *topic != LETTERS) {
            let config = if topic == ONCE { small().deduplicate(DAY) } else { small() };
            store.ensure_topic(topic, config).expect("made");
        }
        store.flush().expect("synced");
    }

    fn say(&mut self, number: u64, word: Word) {
        self.note(Deed::Work { number, word });
    }

    fn make<T>(
        &mut self,
        kind: Kind,
        word: Durability,
        make: impl FnOnce(&Store, &str) -> Result<T>,
    ) -> Option<(u64, T)> {
        let store = self.store()?;
        self.number += 1;
        let number = self.number;
        self.say(number, Word::Making(kind));
        let made = make(&store, &number.to_string());
        let made = self.bear_or(made, Deed::Work { number, word: Word::NotMade })?;
        self.say(number, Word::Made { power: word == Power });
        Some((number, made))
    }

    fn end_work(&mut self, number: u64, end: End, power: bool, done: impl FnOnce() -> Result<()>) {
        self.say(number, Word::Ending(end));
        if self.bear_or(done(), Deed::Work { number, word: Word::NotEnded }).is_some() {
            self.say(number, Word::Ended { power });
        }
    }

    /// Sends records that are work.
    pub fn offer(&mut self, kind: Kind, count: u32, word: Durability) {
        let topic = if kind == Kind::Order { ORDERS } else { JOBS };
        for _ in 0..count {
            self.make(kind, word, |store, text| {
                store.producer().durability(word).build()?.topic(topic)?.send(Record::new(text))
            });
        }
    }

    /// Takes jobs, and says this of them, one after the other.
    pub fn take(&mut self, verbs: &[Verb], word: Durability) {
        let Some(store) = self.store() else { return };
        let Some(mut crew) = self.bear(crew(&store, word, verbs.len())) else { return };
        let taken = crew.try_poll();
        let Some(taken) = self.bear(taken) else { return };
        let power = word == Power;
        for (record, verb) in taken.iter().zip(verbs) {
            let number = numeral(record.value());
            match verb {
                Verb::Ack => self.end_work(number, End::Done, power, || crew.ack(record)),
                Verb::Reject => self.end_work(number, End::Dead, power, || crew.reject(record)),
                Verb::Release => {
                    self.bear(crew.release(record));
                }
                Verb::Later => {
                    self.bear(crew.release_after(record, Duration::from_secs(10)));
                }
                Verb::Leave => {}
            }
        }
    }

    /// Sends all dead letters back.
    pub fn send_back(&mut self) {
        let Some(store) = self.store() else { return };
        let letters = crate::verdict::values(&store, LETTERS);
        let Some(letters) = self.bear(letters) else { return };
        letters.iter().for_each(|(number, _)| self.say(*number, Word::SendingBack));
        let done = store.redrive_dead_letters(LETTERS).to(AGAIN).run();
        if self.bear(done).is_some() {
            letters.iter().for_each(|(number, _)| self.say(*number, Word::SentBack));
        }
    }

    /// Reads orders, gives back every so-manieth for ten seconds, and commits.
    pub fn serve(&mut self, back: usize, word: Durability) {
        let Some(store) = self.store() else { return };
        let Some(mut shop) = self.bear(shop(&store)) else { return };
        let polled = shop.try_poll();
        let Some(records) = self.bear(polled) else { return };
        let (mut done, mut given_back) = (BTreeSet::new(), BTreeSet::new());
        for (at, record) in records.iter().enumerate() {
            if at % back > 0 {
                done.insert(number_of(&record));
                continue;
            }
            given_back.insert(number_of(&record));
            let given = shop.retry_later(&record, Duration::from_secs(10));
            if self.bear(given).is_none() {
                return; // what was read counts for nothing
            }
        }
        let done = &done - &given_back; // after a failure one may come twice in a poll
        done.iter().for_each(|number| self.say(*number, Word::Ending(End::Done)));
        let committed = shop.commit_with(word);
        let is_undone = committed.as_ref().is_err_and(|it| it.outcome() == Outcome::NotWritten);
        if self.bear(committed).is_some() {
            let power = word == Power;
            done.iter().for_each(|number| self.say(*number, Word::Ended { power }));
        } else if is_undone && !self.disk.is_cut() {
            done.iter().for_each(|number| self.say(*number, Word::NotEnded));
        }
    }

    /// Schedules a record; its number and the id to cancel it by.
    pub fn schedule(&mut self, delay: Duration, word: Durability) -> Option<Scheduled> {
        let due = self.clock.wall().saturating_add(delay).as_millis();
        let made = self.make(Kind::Delayed { due }, word, |store, text| {
            let late = store.producer().durability(word).build()?.topic(LATE)?;
            late.schedule(Record::new(text), Timestamp::from_millis(due))
        })?;
        Some(Scheduled(made.0, made.1))
    }

    pub fn cancel(&mut self, scheduled: Option<Scheduled>) {
        let (Some(store), Some(Scheduled(number, id))) = (self.store(), scheduled) else { return };
        self.end_work(number, End::Cancelled, true, || store.cancel_scheduled(&id));
    }

    /// Prepares a record for each of two topics.
    pub fn prepare(&mut self, word: Durability) -> Option<Prepared> {
        let made = self.make(Kind::Prepared, word, |store, text| {
            let outbox = store.prepared("outbox").durability(word).build()?;
            outbox.prepare(&[(LEFT, Record::new(text)), (RIGHT, Record::new(text))])
        })?;
        Some(Prepared(made.0, made.1))
    }

    pub fn resolve(&mut self, prepared: Option<Prepared>, commits: bool) {
        let (Some(store), Some(Prepared(number, id))) = (self.store(), prepared) else { return };
        if commits {
            self.end_work(number, End::Committed, true, || store.commit_prepared(id));
        } else {
            self.end_work(number, End::RolledBack, true, || store.roll_back_prepared(id));
        }
    }

    /// Whoever prepared it is asked: what has an even number is committed, the rest rolled back.
    pub fn check_back(&mut self, delay: Duration) {
        let Some(store) = self.store() else { return };
        let numbers = |store: &Store| -> Result<Vec<u64>> {
            Ok(store.prepared_transactions(None, 100)?.iter().map(prepared_number).collect())
        };
        let answer = |it: &PreparedTransaction| match prepared_number(it).is_multiple_of(2) {
            true => Resolution::Commit,
            false => Resolution::RollBack,
        };
        let Some(asked) = self.bear(numbers(&store)) else { return };
        let outbox = store.prepared("outbox").resolver(answer).build();
        let Some(outbox) = self.bear(outbox) else { return };
        for number in &asked {
            let even = number.is_multiple_of(2);
            self.say(*number, Word::Ending(if even { End::Committed } else { End::RolledBack }));
        }
        self.clock.advance(delay);
        outbox.check_due();
        let Some(left) = self.bear(numbers(&store)) else { return };
        for number in asked.into_iter().filter(|number| !left.contains(number)) {
            self.say(number, Word::Ended { power: true });
        }
    }

    /// Sends a record under an id of its own, again and again.
    pub fn send_once(&mut self, times: usize, word: Durability) {
        let send = |store: &Store, text: &str| {
            let once = store.producer().durability(word).build()?.topic(ONCE)?;
            (0..times).try_for_each(|_| once.send_once(text, Record::new(text)).map(drop))
        };
        self.make(Kind::Once, word, send);
    }
}

/// A record that was scheduled.
#[derive(Clone, Copy)]
pub struct Scheduled(u64, ScheduleId);

/// A transaction that was prepared.
#[derive(Clone, Copy)]
pub struct Prepared(u64, PreparedId);
