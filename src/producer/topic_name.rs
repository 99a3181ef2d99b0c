//! The name of a topic as receipts hold it: shared without a count.
//!
//! Every receipt names its topic. Were the name behind a counted pointer, each send would raise and
//! lower one number that all threads of the program share. So names are kept for as long as the
//! program runs, each once, however many stores, topics and producers have it; beyond
//! [`MOST_BYTES`] of them, for a program that makes topics without end, they are counted after all.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

/// How many bytes of names are kept.
const MOST_BYTES: usize = 1 << 20;

/// A topic's name.
#[derive(Clone)]
pub(super) enum TopicName {
    Kept(&'static str),
    Counted(Arc<str>),
}

/// The names that are kept.
#[derive(Debug)]
struct Kept {
    names: BTreeSet<&'static str>,
    bytes: usize,
    most_bytes: usize,
}

static KEPT: Mutex<Kept> = Mutex::new(Kept::new(MOST_BYTES));

impl TopicName {
    /// The name, kept if there is room for it. Takes a lock: asked once for each topic handle.
    pub(super) fn of(name: &Arc<str>) -> Self {
        KEPT.lock().unwrap_or_else(PoisonError::into_inner).name(name)
    }
}

impl Kept {
    const fn new(most_bytes: usize) -> Self {
        Kept { names: BTreeSet::new(), bytes: 0, most_bytes }
    }

    fn name(&mut self, name: &Arc<str>) -> TopicName {
        if let Some(known) = self.names.get(&**name) {
            return TopicName::Kept(known);
        }
        if self.bytes + name.len() > self.most_bytes {
            return TopicName::Counted(name.clone());
        }
        self.bytes += name.len();
        let kept: &'static str = Box::leak(Box::from(&**name));
        self.names.insert(kept);
        TopicName::Kept(kept)
    }
}

impl Deref for TopicName {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        match self {
            TopicName::Kept(name) => name,
            TopicName::Counted(name) => name,
        }
    }
}

impl PartialEq for TopicName {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for TopicName {}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_once_and_not_without_end() {
        let mut kept = Kept::new(10);
        let name = |kept: &mut Kept, name: &str| kept.name(&Arc::from(name));
        let (first, again) = (name(&mut kept, "orders"), name(&mut kept, "orders"));
        assert!(matches!((&first, &again), (TopicName::Kept(a), TopicName::Kept(b)) if
            std::ptr::eq(*a, *b)));
        let counted = name(&mut kept, "bills");
        assert!(matches!(counted, TopicName::Counted(_)));
        assert!(matches!(name(&mut kept, "four"), TopicName::Kept("four")));
        assert_eq!((&*counted, kept.bytes), ("bills", 10));
        assert_eq!(name(&mut kept, "bills"), counted);
        assert_eq!(format!("{first:?}"), "\"orders\"");
    }
}
