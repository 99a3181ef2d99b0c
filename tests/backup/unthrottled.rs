//! A backup of writers that never pause: it ends all the same, and shows one moment.

use super::*;

/// The others end with whoever holds it, however that ends.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One writer a partition, until it is stopped or has sent `most` to each topic.
fn write_on(store: &Store, partition: u32, stop: &AtomicBool, most: i64, written: &AtomicU64) {
    let producer = store.producer().build().expect("a producer");
    let topics = ["first", "second"].map(|topic| (topic, producer.topic(topic).expect("it")));
    for offset in 0..most {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        for (topic, handle) in &topics {
            let value = value(topic, partition, offset);
            handle.send_to(partition, Record::new(&value)).expect("a send");
        }
        written.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_backup_of_writers_that_never_pause_ends_and_shows_one_moment() {
    let most = match Budget::get() {
        Budget::Small => return, // some hundred MiB on a machine that is busy
        Budget::Ci => 50_000,
        Budget::Deep => 3_000_000,
    };
    let dir = tempfile::tempdir().expect("a directory");
    let (data, copy) = (dir.path().join("data"), dir.path().join("copy"));
    let store = Store::open(&data).expect("a store");
    for name in ["first", "second"] {
        store.create_topic(name, config().segment_bytes(1 << 20)).expect("a topic");
    }
    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
    let (before, after) = std::thread::scope(|scope| {
        let (store, stop, written) = (&store, &stop, &written);
        let _stopping = Stopping(stop);
        for partition in 0..PARTITIONS {
            scope.spawn(move || write_on(store, partition, stop, most, written));
        }
        scope.spawn(move || consume(store, stop));
        let is_under_way = || written.load(Ordering::Relaxed) >= 1_000;
        while !is_under_way() || store.committed(GROUP).map_or(true, |found| found.is_empty()) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let before = bounds(store);
        store.backup(&copy).expect("it ends");
        (before, bounds(store))
    });
    let sent = written.load(Ordering::Relaxed);
    assert!(before != after || sent as i64 == most * i64::from(PARTITIONS), "they went on");
    check_copy(&copy, &store, &before, &after);
    store.close().expect("a close");
    println!("{sent} records to each of two topics meanwhile");
}
