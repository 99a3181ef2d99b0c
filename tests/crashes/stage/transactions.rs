//! Transactions: what is done in one, in order, and how it ends.
//!
//! A transaction is a plan and not a handle, so that the stage keeps nothing open that a crash
//! would have to take from it; what is done beside one, other transactions too, is a step of it.
//! A step that fails has it aborted, as hosts do. What was sent counts once the story says that it
//! is being decided; from then on all of it counts or nothing.

use std::time::Duration;

use tidelog::{Error, Offset, Outcome, Store, Transaction};

use super::Stage;
use crate::story::Deed;

/// After this an open one is aborted.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is done in a transaction.
#[derive(Clone, Copy)]
pub enum Step {
    /// A batch of so many records of 200 bytes.
    Send(&'static str, u32, u32),
    /// A group has read the record before this offset.
    Offsets(&'static str, &'static str, u32, i64),
    /// Something beside it.
    Beside(fn(&mut Stage)),
}

/// How a transaction ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    Commit,
    Abort,
    /// Time passes, and it is too late.
    TimeOut,
    /// It has been ended by what was done beside it.
    Lost,
}

impl Stage {
    /// A transaction of that id, from its beginning to its end.
    pub fn transact(&mut self, who: &'static str, steps: &[Step], end: End) {
        let Some(store) = self.store() else { return };
        let builder = store.producer().transactional(who).timeout(TIMEOUT);
        let Some(mut producer) = self.bear(builder.build()) else { return };
        self.note(Deed::Beginning { who });
        let Some(open) = self.bear(producer.begin()) else { return };
        for step in steps {
            let done = match *step {
                Step::Send(topic, partition, count) => {
                    self.join(who, &open, (topic, partition), count)
                }
                Step::Offsets(group, topic, partition, offset) => {
                    self.stage_offset(who, (&open, &store), group, (topic, partition), offset)
                }
                Step::Beside(deed) => {
                    deed(self);
                    Some(())
                }
            };
            if done.is_none() {
                self.note(Deed::Dropped { who });
                return; // and so is the transaction
            }
        }
        self.end_transaction(who, open, &store, end);
    }

    fn join(
        &mut self,
        who: &'static str,
        open: &Transaction<'_>,
        (topic, partition): (&'static str, u32),
        count: u32,
    ) -> Option<()> {
        if !self.has(topic) {
            return Some(());
        }
        let (batch, values) = self.make_batch(topic, partition, count, 200);
        let number = batch.number;
        self.note(Deed::Joining { who, topic, partition, batch });
        let records = self.records(topic, number, &values);
        let sent = open.topic(topic).and_then(|to| to.send_batch_to(partition, &records));
        let receipt = self.bear(sent)?;
        let (offset, epoch) = (receipt.base_offset().get(), receipt.leader_epoch());
        self.note(Deed::Joined { who, number, offset, epoch });
        Some(())
    }

    fn stage_offset(
        &mut self,
        who: &'static str,
        (open, store): (&Transaction<'_>, &Store),
        group: &'static str,
        (topic, partition): (&'static str, u32),
        offset: i64,
    ) -> Option<()> {
        let builder = store.consumer(group).assign([(topic, partition)]).max_records(1);
        let mut consumer = self.bear(builder.build())?;
        let read = consumer
            .seek(topic, partition, Offset::new(offset - 1))
            .and_then(|()| Ok(consumer.try_poll()?.iter().next().map(|it| it.offset().get() + 1)));
        if self.bear(read)? != Some(offset) {
            return Some(()); // it has gone meanwhile
        }
        self.note(Deed::Staging { who, group, topic, partition, offset });
        let staged = consumer.consumed().and_then(|consumed| open.send_offsets(&consumed));
        self.bear(staged)
    }

    fn end_transaction(
        &mut self,
        who: &'static str,
        open: Transaction<'_>,
        store: &Store,
        end: End,
    ) {
        if end == End::TimeOut {
            self.clock.advance(TIMEOUT + Duration::from_secs(1));
            store.run_due();
        }
        match end {
            End::Commit => {
                self.note(Deed::Deciding { who });
                if self.bear_or(open.commit(), Deed::Dropped { who }).is_some() {
                    self.note(Deed::Decided { who });
                }
            }
            End::Abort => {
                self.bear(open.abort());
                self.note(Deed::Dropped { who });
            }
            End::TimeOut | End::Lost => self.commit_too_late(who, open),
        }
    }

    /// It is over already, unless what was to end it has failed.
    fn commit_too_late(&mut self, who: &'static str, open: Transaction<'_>) {
        if self.goes_on {
            self.note(Deed::Deciding { who });
        }
        let committed = open.commit();
        if self.disk.is_cut() {
            return;
        }
        let outcome = committed.as_ref().err().map(Error::outcome);
        let is_refused = outcome == Some(Outcome::NotWritten);
        assert!(is_refused || self.goes_on, "I6: it was over, and {committed:?}");
        match committed {
            Ok(()) => self.note(Deed::Decided { who }),
            Err(_) if is_refused => self.note(Deed::Dropped { who }),
            Err(_) => self.failures += 1,
        }
    }

    /// Aborts whatever of that id is open, as an operator does.
    pub fn abort_for(&mut self, who: &'static str) {
        let Some(store) = self.store() else { return };
        self.bear(store.abort_transaction(who));
    }
}
