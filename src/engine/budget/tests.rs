//! A limit that is set while a batch is on its way, or bytes are on their way out: every order of
//! the steps, and none leaves the budget with another number than the log.

use super::*;

const BATCH: u64 = 10;
const DROPPED: u64 = 40;

/// A log as `log::counting` has it, and what is on its way.
struct Model {
    budget: Budget,
    held: u64,
    joined: Count,
    pending: u64,
    reserved: Option<Reserved>,
    published: Option<Count>,
    begun: Option<(Count, Option<u64>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Reserve,
    Publish,
    Settle,
    Fail,
    Drop,
    TakeFreed,
    Begin,
    Join,
}

impl Model {
    /// A log of a hundred bytes that is part of the count.
    fn new(limit: Option<u64>) -> Model {
        let budget = Budget::new(limit, WhenFull::Fail);
        let joined = budget.begin_count(limit, WhenFull::Fail);
        budget.add(100);
        let (reserved, published, begun) = (None, None, None);
        Model { budget, held: 100, joined, pending: 0, reserved, published, begun }
    }

    fn step(&mut self, step: Step, limit: Option<u64>) {
        match step {
            Step::Reserve => self.reserved = Some(self.budget.try_reserve(BATCH).unwrap()),
            Step::Publish => {
                self.held += BATCH;
                self.published = Some(self.joined);
            }
            Step::Settle => self.budget.settle(self.reserved.unwrap(), self.published.unwrap()),
            Step::Fail => self.budget.give_back(self.reserved.unwrap()),
            Step::Drop => {
                self.held -= DROPPED;
                self.pending += DROPPED;
            }
            Step::TakeFreed => {
                self.budget.freed(std::mem::take(&mut self.pending), self.joined);
            }
            Step::Begin => {
                let count = self.budget.begin_count(limit, WhenFull::Fail);
                self.begun = Some((count, limit));
            }
            Step::Join => {
                self.joined = self.begun.unwrap().0;
                self.pending = 0;
                self.budget.add(self.held);
            }
        }
    }
}

/// Every order of the steps of both that keeps the order within each.
fn merges(one: &[Step], other: &[Step]) -> Vec<Vec<Step>> {
    let (Some(first), Some(second)) = (one.first(), other.first()) else {
        return vec![[one, other].concat()];
    };
    let with = |head: Step, rest: Vec<Vec<Step>>| {
        rest.into_iter().map(move |tail| [vec![head], tail].concat())
    };
    let begun = with(*first, merges(&one[1..], other));
    begun.chain(with(*second, merges(one, &other[1..]))).collect()
}

#[test]
fn a_limit_set_while_a_batch_is_in_flight_counts_it_once() {
    let ways: [&[Step]; 3] = [
        &[Step::Reserve, Step::Publish, Step::Settle],
        &[Step::Reserve, Step::Fail],
        &[Step::Drop, Step::TakeFreed],
    ];
    let settings = [&[Step::Begin, Step::Join][..]; 2].concat();
    let mut orders = 0;
    for way in ways {
        for order in merges(way, &settings) {
            for limits in 0..8_u8 {
                let limit = |bit: u8| (limits & bit != 0).then_some(1000);
                let mut model = Model::new(limit(1));
                let mut next = [limit(2), limit(4)].into_iter();
                let mut last = None;
                for step in &order {
                    if *step == Step::Begin {
                        last = next.next().unwrap();
                    }
                    model.step(*step, last);
                }
                orders += 1;
                if last.is_some() {
                    assert_eq!(model.budget.used(), model.held, "{order:?}, limits {limits:03b}");
                }
            }
        }
    }
    assert_eq!(orders, (35 + 15 + 15) * 8);
}
