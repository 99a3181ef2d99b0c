//! Backups by threads of their own: two at once, broken off, dropped; and places that are taken.

use std::ops::ControlFlow;
use std::sync::{Arc, Barrier};

use tidelog::ErrorKind;

use super::*;

#[test]
fn two_backups_are_made_at_once_and_one_place_takes_one() {
    let dir = scratch();
    let (store, _) = under_load(&dir.path().join("data"), &dir.path().join("copies"), 1, true);
    let at = |name: &str| dir.path().join(name);
    let [one, other] = ["one", "other"].map(|name| store.backup_async(at(name)));
    let [one, other] = [one, other].map(|task| task.wait().expect("a backup"));
    assert_ne!(one.store_id(), other.store_id());
    let range = bounds(&store);
    for name in ["one", "other"] {
        check_copy(&at(name), &store, &range, &range);
    }
    let began = Arc::new(Barrier::new(2));
    let (waits, may_end) = (began.clone(), Arc::new(Barrier::new(2)));
    let ends = may_end.clone();
    let once = AtomicBool::new(true);
    let slow = store.backup_builder(at("same")).on_progress(move |_| {
        if once.swap(false, Ordering::Relaxed) {
            return ControlFlow::Continue(()); // before anything is made
        }
        began.wait();
        ends.wait();
        ControlFlow::Break(())
    });
    let slow = slow.run_async();
    waits.wait();
    let error = store.backup(at("same")).expect_err("it is being made");
    assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
    assert!(Store::open(at("same.unfinished")).is_err(), "it is no store");
    may_end.wait();
    assert_eq!(slow.wait().expect_err("broken off").kind(), ErrorKind::Cancelled);
    assert!(!at("same").exists() && !at("same.unfinished").exists());
    store.backup(at("same")).expect("a backup");
    check_copy(&at("same"), &store, &range, &range);
    store.close().expect("a close");
}

#[test]
fn a_backup_whose_task_is_dropped_is_broken_off() {
    let dir = scratch();
    let (store, _) = under_load(&dir.path().join("data"), &dir.path().join("copies"), 1, true);
    let target = dir.path().join("dropped");
    let (send_began, began) = std::sync::mpsc::channel();
    let may_go = Arc::new(Barrier::new(2));
    let go = may_go.clone();
    let once = AtomicBool::new(true);
    let task = store.backup_builder(&target).copies_only().on_progress(move |_| {
        if once.swap(false, Ordering::Relaxed) {
            send_began.send(()).expect("someone waits");
            go.wait();
        }
        ControlFlow::Continue(())
    });
    let task = task.run_async();
    began.recv().expect("it begins");
    drop(task);
    may_go.wait();
    store.close().expect("a close"); // waits for no backup
    let store = Store::open(dir.path().join("data")).expect("a store");
    assert!(!target.exists());
    store.backup(&target).expect("a backup");
    store.close().expect("a close");
}

#[test]
fn a_backup_to_a_place_that_is_taken_is_refused() {
    let dir = scratch();
    let data = dir.path().join("data");
    let store = Store::open(&data).expect("a store");
    let taken = dir.path().join("taken");
    std::fs::create_dir(&taken).expect("a directory");
    std::fs::write(taken.join("mine"), "mine").expect("a file");
    std::fs::write(dir.path().join("file"), "mine").expect("a file");
    let before = hashes(dir.path());
    let within = data.join("copy");
    for target in [&taken, &dir.path().join("file"), &within, &data, &dir.path().join("file/x")] {
        let error = store.backup(target).expect_err("it is refused");
        let kinds = [ErrorKind::InvalidArgument, ErrorKind::Io];
        assert!(kinds.contains(&error.kind()) && error.path().is_some(), "{error}");
    }
    assert!(hashes(dir.path()) == before, "nothing was touched");
    store.close().expect("a close");
}
