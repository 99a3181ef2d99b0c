//! A truncation that fails says what became of it, and whether it may be made again: whichever call
//! to the disk meets a full one, once or from then on, of a lone log and of a store's partition.
#![cfg(feature = "sim")]

use std::sync::Arc;

use tidelog::disk::{Fault, Operation, Plan, SimDisk};
use tidelog::{
    Error, Journal, Log, Offset, Outcome, Partition, Record, Result, Store, Threads, TopicConfig,
};

const ENOSPC: i32 = 28;
const END: i64 = 12;
const CUT: i64 = 5;

/// What is truncated: one of the two doors.
enum Door {
    Lone(Box<Log>),
    Stored(Store, Partition),
}

impl Door {
    fn open(disk: &SimDisk, is_lone: bool) -> Door {
        let config = TopicConfig::new().segment_bytes(1_024);
        if is_lone {
            let builder = Log::builder("/logs/orders-0").config(config);
            return Door::Lone(Box::new(builder.disk(Arc::new(disk.clone())).open().unwrap()));
        }
        let builder = Store::builder("/store").disk(Arc::new(disk.clone()));
        let builder = builder.threads(Threads::Host).journal(Journal::Bytes(1 << 20));
        let store = builder.open().unwrap();
        store.ensure_topic("orders", config).unwrap();
        let partition = store.partition("orders", 0).unwrap();
        Door::Stored(store, partition)
    }

    fn append(&self) {
        let value = "v".repeat(200);
        match self {
            Door::Lone(log) => drop(log.append(&[Record::new(&value)]).unwrap()),
            Door::Stored(store, _) => {
                let topic = store.producer().build().unwrap().topic("orders").unwrap();
                topic.send_to(0, Record::new(&value)).unwrap();
            }
        }
    }

    fn cut(&self) -> Result<Offset> {
        match self {
            Door::Lone(log) => log.truncate_to(Offset::new(CUT)),
            Door::Stored(_, partition) => partition.truncate_to(Offset::new(CUT)),
        }
    }

    fn end(&self) -> i64 {
        match self {
            Door::Lone(log) => log.end_offset().get(),
            Door::Stored(_, partition) => partition.end_offset().unwrap().get(),
        }
    }

    /// Closes it, whatever comes of that.
    fn close(self) {
        let _ = match self {
            Door::Lone(log) => log.close(),
            Door::Stored(store, _) => store.close(),
        };
    }
}

/// How the refusals of one door ended.
#[derive(Debug, Default)]
struct Seen {
    retried: u32,
    for_good: u32,
    in_doubt: u32,
}

fn judge(door: &Door, disk: &SimDisk, error: &Error, seen: &mut Seen, context: &str) {
    disk.heal();
    if error.outcome() != Outcome::NotWritten {
        assert!(!error.is_retriable(), "{context}");
        seen.in_doubt += 1;
        return;
    }
    assert_eq!(door.end(), END, "{context}: nothing was cut");
    if error.is_retriable() {
        let again = door.cut();
        let end = again.unwrap_or_else(|again| panic!("{context}, but then: {again}"));
        assert_eq!((end.get(), door.end()), (CUT, CUT), "{context}");
        seen.retried += 1;
    } else {
        let again = door.cut().expect_err("it has failed for good");
        assert!(!again.is_retriable(), "{context}, but then: {again}");
        seen.for_good += 1;
    }
}

fn run(is_lone: bool) -> Seen {
    let mut seen = Seen::default();
    let operations =
        [Operation::Sync, Operation::Write, Operation::Open, Operation::Rename, Operation::SyncDir];
    for operation in operations {
        for (nth, for_ever) in (1..200).flat_map(|nth| [(nth, false), (nth, true)]) {
            let disk = SimDisk::new(nth);
            let door = Door::open(&disk, is_lone);
            (0..END).for_each(|_| door.append());
            let plan = Plan::new(Fault::Error(ENOSPC)).on(operation).nth(nth);
            disk.fail(if for_ever { plan.for_ever() } else { plan });
            let context = format!("{operation:?} {nth}, for ever: {for_ever}");
            let Err(error) = door.cut() else {
                assert_eq!(door.end(), CUT, "{context}");
                break;
            };
            let context = format!("{context}: {error}");
            judge(&door, &disk, &error, &mut seen, &context);
            let end = door.end();
            door.close();
            let door = Door::open(&disk, is_lone);
            match error.outcome() {
                Outcome::NotWritten => assert_eq!(door.end(), end, "{context}"),
                // later segments go one by one
                _ => assert!((CUT..=END).contains(&door.end()), "{context}: {}", door.end()),
            }
            door.append();
            door.close();
        }
    }
    seen
}

#[test]
fn a_lone_log_is_cut_again_where_it_says_so() {
    let seen = run(true);
    assert!(seen.retried > 0 && seen.for_good > 0 && seen.in_doubt > 0, "{seen:?}");
}

#[test]
fn a_stores_partition_is_cut_again_where_it_says_so() {
    let seen = run(false); // it tries again itself
    assert!(seen.for_good > 0 && seen.in_doubt > 0, "{seen:?}");
}
