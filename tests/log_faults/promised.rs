//! What a log under faults must hold, and what it may.

use std::collections::BTreeMap;

use tidelog::{Durability, Sequence};

use super::common::decided::{Batches, What};

/// What the log must hold, and what it may.
#[derive(Default)]
pub struct Model {
    pub records: Vec<Vec<u8>>,
    pub batches: Batches,
    /// A batch whose fate is unknown.
    pub perhaps: Option<Sent>,
    /// A truncation to there whose fate is unknown.
    pub cut: Option<usize>,
    pub start: usize,
    /// A delete or a retention may or may not have raised the start.
    pub start_unsure: bool,
    pub durable: usize,
    /// Of producers that have ended a transaction.
    pub producer_epochs: BTreeMap<i64, i16>,
}

/// A batch, or a marker, as it was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub values: Vec<Vec<u8>>,
    pub what: What,
    pub sequence: Option<Sequence>,
    pub durability: Durability,
}

impl Model {
    pub fn keep(&mut self, sent: Sent) {
        self.batches.push(self.records.len(), sent.values.len(), sent.what);
        self.records.extend(sent.values);
        if sent.durability == Durability::Power {
            self.durable = self.records.len();
        }
    }

    pub fn is_sure(&self) -> bool {
        self.perhaps.is_none() && self.cut.is_none()
    }

    /// The same with the batch whose fate was unknown, if a log that ends at `end` has it.
    pub fn seen(&self, end: usize) -> (Batches, Vec<Vec<u8>>) {
        let (mut batches, mut records) = (self.batches.clone(), self.records.clone());
        if let Some(sent) = self.perhaps.as_ref().filter(|_| end > records.len()) {
            batches.push(records.len(), sent.values.len(), sent.what);
            records.extend(sent.values.iter().cloned());
        }
        (batches, records)
    }
}
