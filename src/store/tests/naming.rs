//! Topics that are wanted whether they are there or not.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::TopicConfig;
use crate::error::ErrorKind;
use crate::store::Store;

#[test]
fn a_topic_that_is_deleted_while_it_is_ensured_is_made() {
    let store = Store::in_memory().unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                let _ = store.create_topic("orders", TopicConfig::new());
                let _ = store.delete_topic("orders");
            }
        });
        let ensured: Vec<_> =
            (0..30_000).map(|_| store.ensure_topic("orders", TopicConfig::new())).collect();
        done.store(true, Ordering::Release);
        ensured.into_iter().for_each(Result::unwrap);
    });
}

#[test]
fn who_ensures_a_topic_is_told_what_is_in_its_way() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let in_the_way = directory.path().join("orders-0");
    std::fs::create_dir(&in_the_way).unwrap();
    let error = store.ensure_topic("orders", TopicConfig::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(error.path(), Some(&*in_the_way), "{error}");
}
