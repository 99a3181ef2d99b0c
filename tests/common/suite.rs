//! What a suite of random work has looked at, in one line of the form that all suites print.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

/// Counts what a suite has looked at, and says so when it ends, however it ends.
pub struct Suite {
    name: &'static str,
    began: Instant,
    states: Cell<u64>,
    distinct: RefCell<HashSet<u64>>,
}

impl Suite {
    pub fn new(name: &'static str) -> Self {
        let (states, distinct) = (Cell::new(0), RefCell::default());
        Suite { name, began: Instant::now(), states, distinct }
    }

    pub fn state(&self, state: impl Hash) {
        let mut hasher = DefaultHasher::new();
        state.hash(&mut hasher);
        self.distinct.borrow_mut().insert(hasher.finish());
        self.states.set(self.states.get() + 1);
    }
}

impl Drop for Suite {
    fn drop(&mut self) {
        let failures = u8::from(std::thread::panicking());
        let (name, seconds) = (self.name, self.began.elapsed().as_secs());
        let (states, distinct) = (self.states.get(), self.distinct.borrow().len());
        println!(
            "suite {name}: {states} states, {distinct} distinct, {failures} failures, {seconds} s"
        );
    }
}
