//! The name of a topic as receipts hold it: shared without a count.
//!
//! Every receipt names its topic. Were the name behind a counted pointer, each send would raise and
//! lower one number that all threads of the program share. So names are kept for as long as the
//! program runs, each once, however many stores, topics and producers have it; beyond
//! [`MOST_BYTES`] of them, for a program that makes topics without end, they are counted after all.
//!
//! Kept names stand in chains that only grow, so nobody takes a lock. Asked once for each topic of
//! a producer.

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// How many bytes of names are kept.
const MOST_BYTES: usize = 1 << 20;
/// Chains that names are found by.
const CHAINS: usize = 4096;

/// A topic's name, behind a thin pointer: receipts are kept by the million.
#[derive(Clone)]
pub(super) enum TopicName {
    Kept(&'static Link),
    Counted(Arc<Link>),
}

/// The names that are kept.
struct Kept {
    chains: [OnceLock<Box<Link>>; CHAINS],
    bytes: AtomicUsize,
    most_bytes: usize,
}

/// A name, and what came into its chain after it.
pub(super) struct Link {
    name: Box<str>,
    next: OnceLock<Box<Link>>,
}

static KEPT: Kept = Kept::new(MOST_BYTES);

impl TopicName {
    /// The name, kept if there is room for it.
    pub(super) fn of(name: &str) -> Self {
        KEPT.name(name)
    }
}

impl Kept {
    const fn new(most_bytes: usize) -> Self {
        let chains = [const { OnceLock::new() }; CHAINS];
        Kept { chains, bytes: AtomicUsize::new(0), most_bytes }
    }

    fn name(&'static self, name: &str) -> TopicName {
        let mut place = &self.chains[chain(name)];
        loop {
            match place.get() {
                Some(link) if *link.name == *name => return TopicName::Kept(link),
                Some(link) => place = &link.next,
                None => {
                    let taken = self.bytes.fetch_add(name.len(), Ordering::Relaxed);
                    let fits = taken.saturating_add(name.len()) <= self.most_bytes;
                    let link = || Link { name: Box::from(name), next: OnceLock::new() };
                    // another may be quicker: then that one is looked at
                    if !fits || place.set(Box::new(link())).is_err() {
                        self.bytes.fetch_sub(name.len(), Ordering::Relaxed);
                    }
                    if !fits {
                        return TopicName::Counted(Arc::new(link()));
                    }
                }
            }
        }
    }
}

/// The chain of a name, by FNV-1a.
fn chain(name: &str) -> usize {
    let hash = name
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash as usize % CHAINS
}

impl Deref for TopicName {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        match self {
            TopicName::Kept(link) => &link.name,
            TopicName::Counted(link) => &link.name,
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
        let kept: &'static Kept = Box::leak(Box::new(Kept::new(10)));
        let (first, again) = (kept.name("orders"), kept.name("orders"));
        assert!(matches!((&first, &again), (TopicName::Kept(a), TopicName::Kept(b)) if
            std::ptr::eq(*a, *b)));
        let counted = kept.name("bills");
        assert!(matches!(counted, TopicName::Counted(_)));
        assert!(matches!(kept.name("four"), TopicName::Kept(link) if *link.name == *"four"));
        assert_eq!((&*counted, kept.bytes.load(Ordering::Relaxed)), ("bills", 10));
        assert_eq!(kept.name("bills"), counted);
        assert_eq!(format!("{first:?}"), "\"orders\"");
    }

    #[test]
    fn names_of_one_chain_are_told_apart_by_many_threads() {
        let kept: &'static Kept = Box::leak(Box::new(Kept::new(MOST_BYTES)));
        let names: Vec<_> = (0..20_000).map(|number| format!("topic-{number}")).collect();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| names.iter().for_each(|name| assert_eq!(*kept.name(name), **name)));
            }
        });
        let bytes: usize = names.iter().map(String::len).sum();
        assert_eq!(kept.bytes.load(Ordering::Relaxed), bytes, "each once");
    }
}
