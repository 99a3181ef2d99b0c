//! What is owed of a piece of work, whatever form it has: a job of a share group, a record that an
//! ordinary consumer may give back, a delayed record, a prepared transaction, a record that is sent
//! once under an id.
//!
//! Each piece has a number, which is the value of its record. Until it was said to be done it is
//! owed, and once that was promised it never comes again; a dead letter, a publication, a record
//! of an id are there once. A word that was begun and not answered may have been taken or not.

use std::collections::BTreeMap;

use crate::stage::work::{AGAIN, JOBS, LATE, LEFT, LETTERS, ONCE, ORDERS, RIGHT};
use crate::verdict::{Owed, Promise, ensure};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of a share group.
    Job,
    /// Of a group whose consumers give back.
    Order,
    /// Not before this time, in milliseconds.
    Delayed {
        due: i64,
    },
    Prepared,
    Once,
}

/// How a piece of work ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Done,
    Dead,
    Cancelled,
    Committed,
    RolledBack,
}

/// What is said of a piece of work; `Not` takes back what was begun.
#[derive(Clone, Copy, Debug)]
pub enum Word {
    Making(Kind),
    Made {
        power: bool,
    },
    NotMade,
    Ending(End),
    Ended {
        power: bool,
    },
    NotEnded,
    /// Its letter is being sent back.
    SendingBack,
    SentBack,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sure {
    Not,
    Begun,
    Process,
    Power,
}

impl Sure {
    fn of(power: bool) -> Self {
        if power { Sure::Power } else { Sure::Process }
    }

    fn holds(self, promise: Promise) -> bool {
        match promise {
            Promise::Process => self >= Sure::Process,
            Promise::Power => self == Sure::Power,
        }
    }
}

/// What is known of a piece of work.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    kind: Kind,
    made: Sure,
    end: Option<End>,
    ended: Sure,
    back: Sure,
    /// Two words on its end, and the first was not answered.
    is_unclear: bool,
}

/// All work, by its numbers.
#[derive(Clone, Debug, Default)]
pub struct Work(BTreeMap<u64, Piece>);

impl Work {
    pub fn tell(&mut self, number: u64, word: Word) {
        if let Word::Making(kind) = word {
            let (made, ended, back) = (Sure::Begun, Sure::Not, Sure::Not);
            let piece = Piece { kind, made, end: None, ended, back, is_unclear: false };
            self.0.insert(number, piece);
            return;
        }
        let Some(piece) = self.0.get_mut(&number) else { return };
        match word {
            Word::Making(_) => {}
            Word::Made { power } => piece.made = Sure::of(power),
            Word::NotMade => drop(self.0.remove(&number)),
            Word::Ending(end) => {
                piece.is_unclear |= piece.ended == Sure::Begun;
                (piece.end, piece.ended) = (Some(end), Sure::Begun);
            }
            Word::Ended { power } => piece.ended = Sure::of(power),
            Word::NotEnded => (piece.end, piece.ended) = (None, Sure::Not),
            Word::SendingBack => piece.back = piece.back.max(Sure::Begun),
            Word::SentBack => piece.back = Sure::Power,
        }
    }

    /// Whatever was promised to outlive the process outlives a power cut.
    pub fn durable(&mut self) {
        for piece in self.0.values_mut() {
            for sure in [&mut piece.made, &mut piece.ended] {
                *sure = if *sure == Sure::Process { Sure::Power } else { *sure };
            }
        }
    }

    pub fn check(&self, found: &Owed, promise: Promise) -> Result<(), String> {
        for number in found.numbers() {
            ensure!(self.0.contains_key(&number), "I2: work {number} from nowhere: {found:?}");
        }
        for (number, piece) in &self.0 {
            let checked = match piece.kind {
                Kind::Job => piece.check_job(*number, found, promise),
                Kind::Order => piece.check_order(*number, found, promise),
                Kind::Delayed { due } => piece.check_delayed(*number, due, found, promise),
                Kind::Prepared => piece.check_prepared(*number, found, promise),
                Kind::Once => piece.check_once(*number, found, promise),
            };
            checked.map_err(|error| format!("{error}: {number}, {piece:?}, {found:?}"))?;
        }
        Ok(())
    }
}

impl Piece {
    /// The end that counts for certain.
    fn ended(&self, promise: Promise) -> Option<End> {
        self.end.filter(|_| self.ended.holds(promise) && !self.is_unclear)
    }

    /// Whether an end may count.
    fn may_be(&self, end: End) -> bool {
        self.is_unclear || self.end == Some(end)
    }

    fn check_job(&self, number: u64, found: &Owed, promise: Promise) -> Result<(), String> {
        let count = |topic| found.count(topic, number);
        let (there, letters, back) = (count(JOBS), count(LETTERS), count(AGAIN));
        let comes = found.handed.contains(&number);
        ensure!(there <= 1 && letters <= 1 && back <= letters, "I3: twice");
        ensure!(there == 1 || !self.made.holds(promise), "I1: lost");
        ensure!(there == 1 || !comes && letters == 0, "I2: of what is not there");
        ensure!(letters == 0 || !comes, "I3: a dead letter comes");
        ensure!(letters == 0 || self.may_be(End::Dead), "I3: a dead letter of what is none");
        ensure!(back == 0 || self.back > Sure::Not, "I2: sent back by nobody");
        ensure!(back == 1 || !self.back.holds(promise), "I1: it was sent back");
        match self.ended(promise) {
            Some(End::Done) => ensure!(there == 1 && !comes, "I4: it was done, and comes again"),
            Some(_) => ensure!(letters == 1, "I1: no dead letter"),
            None => {
                let is_owed = there == 0 || comes || letters == 1;
                ensure!(is_owed || self.may_be(End::Done), "I1: not handed out");
            }
        }
        Ok(())
    }

    fn check_order(&self, number: u64, found: &Owed, promise: Promise) -> Result<(), String> {
        let there = found.count(ORDERS, number);
        let comes = found.handed.contains(&number);
        ensure!(there <= 1, "I3: twice");
        ensure!(there == 1 || !self.made.holds(promise), "I1: lost");
        let is_owed = there == 0 || comes;
        match self.ended(promise) {
            Some(_) => ensure!(there == 1 && !comes, "I4: it was done, and comes again"),
            None => ensure!(is_owed || self.may_be(End::Done), "I1: not handed out"),
        }
        Ok(())
    }

    fn check_delayed(
        &self,
        number: u64,
        due: i64,
        found: &Owed,
        promise: Promise,
    ) -> Result<(), String> {
        let waits = found.pending.contains(&number);
        let there = found.count(LATE, number);
        ensure!(there + usize::from(waits) <= 1, "I3: twice");
        ensure!(!waits || due > found.now, "I1: it is due and waits");
        let early = found.topics[LATE].iter().find(|(one, at)| *one == number && *at < due);
        ensure!(early.is_none() && (there == 0 || due <= found.now), "I3: early: {early:?}");
        let is_there = there == 1 || waits;
        match self.ended(promise) {
            Some(_) => ensure!(!is_there, "I9: it was cancelled"),
            None => {
                let may_lack = !self.made.holds(promise) || self.may_be(End::Cancelled);
                ensure!(is_there || may_lack, "I1: lost");
            }
        }
        Ok(())
    }

    fn check_prepared(&self, number: u64, found: &Owed, promise: Promise) -> Result<(), String> {
        let (left, right) = (found.count(LEFT, number), found.count(RIGHT, number));
        let waits = found.prepared.contains(&number);
        ensure!(left == right, "I6: half of it");
        ensure!(left + usize::from(waits) <= 1, "I6: twice, or not resolved");
        ensure!(left == 0 || self.may_be(End::Committed), "I6: nobody committed it");
        match self.ended(promise) {
            Some(End::Committed) => ensure!(left == 1, "I6: it was committed"),
            Some(_) => ensure!(left == 0 && !waits, "I6: it was rolled back"),
            None => {
                let may_lack = !self.made.holds(promise) || self.may_be(End::RolledBack);
                ensure!(left == 1 || waits || may_lack, "I1: lost");
            }
        }
        Ok(())
    }

    fn check_once(&self, number: u64, found: &Owed, promise: Promise) -> Result<(), String> {
        let there = found.count(ONCE, number);
        ensure!(there <= 1, "I5: twice");
        ensure!(there == 1 || !self.made.holds(promise), "I1: lost");
        Ok(())
    }
}
