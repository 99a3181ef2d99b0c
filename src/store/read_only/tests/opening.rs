//! Opening: what is no store, what is half of one, what is gone; and that nothing is changed.

use std::collections::BTreeMap;

use super::*;
use crate::config::TopicConfig;
use crate::disk::{Access, write_all_at};
use crate::error::ErrorKind;

fn open(disk: &Arc<dyn Disk>) -> Result<ReadOnlyStore> {
    Store::read_only(root()).disk(disk.clone()).threads(Threads::Host).open()
}

fn put(disk: &dyn Disk, name: &str, bytes: &[u8]) {
    let file = disk.open(&root().join(name), Access::Create).unwrap();
    file.set_len(0).unwrap();
    write_all_at(&*file, bytes, 0).unwrap();
}

#[test]
fn what_is_no_store_is_said_to_be_none() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    assert_eq!(open(&disk).unwrap_err().kind(), ErrorKind::NotAStore);
    disk.create_dir_all(root()).unwrap();
    assert_eq!(open(&disk).unwrap_err().kind(), ErrorKind::NotAStore);
    put(&*disk, "holiday.jpg", b"");
    assert_eq!(open(&disk).unwrap_err().kind(), ErrorKind::NotAStore);
    disk.remove_file(&root().join("holiday.jpg")).unwrap();
    put(&*disk, "meta.properties", b"version=1\n");
    assert!(open(&disk).unwrap().topics().unwrap().is_empty(), "a root of Kafka's without topics");
    put(&*disk, "tidelog.store", b"TIDELOG\n\0\0");
    assert!(open(&disk).unwrap_err().is_corrupt(), "half a marker");
}

#[test]
fn a_store_without_its_state_log_or_with_a_damaged_one_is_corrupt() {
    let pair = Pair::new(TopicConfig::new());
    let log = root().join("tidelog.state");
    let file = pair.disk.open(&log, Access::Write).unwrap();
    file.write_at(&[0xff; 8], 70).unwrap();
    assert!(open(&pair.disk).unwrap_err().is_corrupt());
    pair.disk.remove_file(&log).unwrap();
    assert!(open(&pair.disk).unwrap_err().is_corrupt());
    // and a reader that is open is told at its next look
    pair.later();
    assert!(pair.reading.topics().unwrap_err().is_corrupt());
    pair.disk.remove_file(&root().join("tidelog.store")).unwrap();
    pair.later();
    assert_eq!(pair.reading.topics().unwrap_err().kind(), ErrorKind::NotAStore);
}

#[test]
fn what_writes_is_refused_and_nothing_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.create_topic("t", TopicConfig::new().segment_bytes(2_000)).unwrap();
    let topic = store.producer().build().unwrap().topic("t").unwrap();
    (0..100).for_each(|number: u32| {
        topic.send(Record::new(&number.to_string())).unwrap();
    });
    store.close().unwrap();
    // without indexes, so that the reader needs some of its own
    let partition = dir.path().join("t-0");
    let real = RealDisk::new(IoMode::Positioned).unwrap();
    for entry in real.list(&partition).unwrap() {
        if entry.name.ends_with("index") {
            real.remove_file(&partition.join(entry.name)).unwrap();
        }
    }
    let listing = || -> BTreeMap<_, _> {
        let names = [dir.path().to_owned(), partition.clone()].into_iter().flat_map(|dir| {
            let entries = real.list(&dir).unwrap().into_iter();
            entries.map(move |entry| dir.join(entry.name))
        });
        names.map(|path| (path.clone(), real.metadata(&path).unwrap())).collect()
    };
    let before = listing();
    let guest = Arc::new(GuestDisk::new(Arc::new(real.clone())));
    let reading = Store::read_only(dir.path()).disk(guest.clone()).open().unwrap();
    let mut reader = reading.reader().subscribe(["t"]).build().unwrap();
    assert_eq!(
        reader.read_to_end().unwrap().map(|records| records.unwrap().len()).sum::<usize>(),
        100
    );
    reading.offset_at("t", 0, Timestamp::from_millis(1)).unwrap();
    let kind = |result: Result<()>| result.unwrap_err().kind();
    let mut consumer = reading.consumer("g").assign([("t", 0)]).build().unwrap();
    assert_eq!(kind(consumer.commit()), ErrorKind::ReadOnly);
    let group = || reading.consumer("g");
    assert_eq!(kind(group().subscribe(["t"]).build().map(drop)), ErrorKind::ReadOnly);
    let auto = group().assign([("t", 0)]).auto_commit(Duration::from_secs(1));
    assert_eq!(kind(auto.build().map(drop)), ErrorKind::ReadOnly);
    reading.stats();
    reading.close().unwrap();
    assert_eq!((listing(), guest.refused()), (before, 0));
    assert!(guest.calls() > 0);
}

#[test]
fn a_poll_that_waits_is_woken_by_what_another_writes() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let reading = Store::open_read_only(dir.path()).unwrap();
    let mut reader = reading.reader().subscribe(["later"]).build().unwrap();
    let writing = std::thread::spawn(move || {
        store.create_topic("later", TopicConfig::new()).unwrap();
        let topic = store.producer().build().unwrap().topic("later").unwrap();
        topic.send(Record::new("hello")).unwrap();
        store
    });
    assert_eq!(values(&reader.poll(Duration::from_secs(60)).unwrap()), ["hello"]);
    drop(writing.join().unwrap());
}

#[test]
fn a_poll_that_waits_is_told_that_the_store_can_be_followed_no_more() {
    use std::sync::mpsc::channel;
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.create_topic("t", TopicConfig::new()).unwrap();
    let reading = Store::open_read_only(dir.path()).unwrap();
    let (told, answers) = channel();
    let reader = || reading.reader().assign([("t", 0)]).build().unwrap();
    for (is_task, mut reader) in [(false, reader()), (true, reader())] {
        let told = told.clone();
        std::thread::spawn(move || {
            let answer = match is_task {
                false => reader.poll(Duration::from_secs(60)),
                true => pollster::block_on(reader.poll_async()),
            };
            told.send(answer)
        });
    }
    std::thread::sleep(Duration::from_millis(100)); // both have looked, and wait
    std::fs::remove_file(dir.path().join("tidelog.state")).unwrap();
    for _ in 0..2 {
        let answer = answers.recv_timeout(Duration::from_secs(20)).expect("it is woken");
        assert!(answer.unwrap_err().is_corrupt());
    }
}
