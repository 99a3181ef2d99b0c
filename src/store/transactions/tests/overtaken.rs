//! What ends a transaction in the middle of a call that adds to it.
//!
//! Offsets are in the log before they are staged: who is woken by their append may end the
//! transaction, and its marker has to find the group that they are of.

use std::sync::mpsc;
use std::task::{Context, Wake, Waker};

use super::*;
use crate::sync::Mutex;

const GROUPS: &str = "__consumer_offsets";

/// Has another thread abort the transaction of `t` when it is woken, and gives that thread time.
struct Aborts {
    store: Store,
    done: Mutex<Option<mpsc::Receiver<()>>>,
}

impl Wake for Aborts {
    fn wake(self: Arc<Self>) {
        let mut done = self.done.lock();
        if done.is_some() {
            return; // the marker wakes once more
        }
        let (tell, told) = mpsc::channel();
        *done = Some(told);
        let store = self.store.clone();
        std::thread::spawn(move || {
            store.abort_transaction("t").expect("an operator's abort");
            drop(tell);
        });
        let told = done.as_ref().expect("just begun");
        // it waits for the group's turn, if it has found the group
        let _ = told.recv_timeout(Duration::from_millis(500));
    }
}

#[test]
fn offsets_that_an_abort_overtakes_are_dropped_with_it() {
    let (_world, store) = store();
    send_plain(&store, "in", &["1", "2"]);
    store.reset_offsets("other", [("in", 0, Offset::new(1))], Durability::Process).unwrap();
    let mut consumer = store.consumer("g").assign([("in", 0)]).build().unwrap();
    assert_eq!(consumer.try_poll().unwrap().len(), 2);
    let mut producer = transactional(&store, "t");
    let transaction = producer.begin().unwrap();
    transaction.topic("b").unwrap().send(Record::new("x")).unwrap();

    let all: Vec<_> = (0..50).map(|partition| (GROUPS, partition)).collect();
    let mut watcher = store.reader().assign(all).read_uncommitted().build().unwrap();
    while !watcher.try_poll().unwrap().is_empty() {}
    let aborts = Arc::new(Aborts { store: store.clone(), done: Mutex::new(None) });
    let waker = Waker::from(aborts.clone());
    let mut wait = Box::pin(watcher.poll_async());
    assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());

    transaction.send_offsets(&consumer.consumed().unwrap()).unwrap();
    let told = aborts.done.lock().take().expect("the append woke it");
    assert_eq!(told.recv(), Err(mpsc::RecvError), "the abort has ended");
    assert!(transaction.commit().is_err());
    assert_eq!(committed(&store), None);
    drop(consumer);
    let group = store.offsets.staged_of("g");
    assert!(group.is_empty(), "staged still, by a transaction that is over: {group:?}");
}
