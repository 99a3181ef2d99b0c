//! Priority lanes through the public door: who overtakes whom, what keeps its order, who gets how
//! much, and what is refused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{BackgroundSync, Priority, Threads, TopicConfig};
use crate::consumer::Consumer;
use crate::disk::{Disk, MemoryDisk};
use crate::error::ErrorKind;
use crate::ids::PartitionId;
use crate::producer::TopicProducer;
use crate::record::Record;
use crate::store::Store;
use crate::worker::JobOutcome;

fn open(disk: &Arc<dyn Disk>) -> Store {
    let builder = Store::builder("/store").disk(disk.clone()).threads(Threads::Host);
    builder.background_sync(BackgroundSync::OFF).open().unwrap()
}

fn begin(partitions: u32, lanes: u32) -> (Store, TopicProducer) {
    let store = open(&(Arc::new(MemoryDisk::new()) as Arc<dyn Disk>));
    let config = TopicConfig::new().partitions(partitions).priority_lanes(lanes);
    store.ensure_topic("a", config).unwrap();
    let topic = store.producer().build().unwrap().topic("a").unwrap();
    (store, topic)
}

fn send(topic: &TopicProducer, priority: u8, values: std::ops::Range<u32>) {
    let topic = topic.with_priority(priority).unwrap();
    for value in values {
        topic.send(Record::new(&value.to_string()).key("k")).unwrap();
    }
}

fn consumer(store: &Store, most: usize) -> Consumer {
    store.consumer("g").subscribe(["a"]).max_records(most).build().unwrap()
}

fn number(value: Option<&[u8]>) -> u32 {
    String::from_utf8(value.unwrap().to_vec()).unwrap().parse().unwrap()
}

/// Lane and value of each record of a poll.
fn take(consumer: &mut Consumer, lanes: u32) -> Vec<(u32, u32)> {
    let records = consumer.try_poll().unwrap();
    let place = |partition: PartitionId| partition.get() % lanes;
    records.iter().map(|it| (place(it.partition()), number(it.value()))).collect()
}

#[test]
fn higher_lanes_overtake_and_each_keeps_its_order() {
    let (store, topic) = begin(6, 3);
    send(&topic, 0, 0..20);
    send(&topic, 4, 20..40);
    send(&topic, 9, 40..60);
    topic.send(Record::new("60").key("k")).unwrap(); // as if with priority 4
    let seen = take(&mut consumer(&store, 1000), 3);
    let of = |lane: u32, values: std::ops::Range<u32>| values.map(move |value| (lane, value));
    let wanted: Vec<_> = of(2, 40..60).chain(of(1, 20..40)).chain(of(1, 60..61)).collect();
    assert_eq!(seen[..41], wanted);
    assert_eq!(seen[41..], of(0, 0..20).collect::<Vec<_>>());
}

#[test]
fn under_load_each_lane_gets_its_share_and_none_starves() {
    for most in [1, 14, 500] {
        let (store, topic) = begin(3, 3);
        for (priority, first) in [(0, 0), (5, 2000), (8, 4000)] {
            send(&topic, priority, first..first + 2000);
        }
        let mut consumer = consumer(&store, most);
        let (mut counts, mut next, mut seen) = ([0; 3], [0, 2000, 4000], 0);
        loop {
            let taken = take(&mut consumer, 3);
            if taken.is_empty() {
                break;
            }
            for (lane, value) in taken {
                let lane = usize::try_from(lane).unwrap();
                assert_eq!(value, next[lane], "in order");
                next[lane] += 1;
                seen += 1;
                counts[lane] += u32::from(seen <= 2 * 14 * 64);
            }
        }
        assert_eq!(counts, [2 * 64, 2 * 5 * 64, 2 * 8 * 64], "polls of {most}");
        assert_eq!(seen, 6000, "and all come");
    }
}

/// The program's own weights, through all three doors: what the first two rounds bring.
#[test]
fn lanes_get_what_the_programs_weights_say() {
    const WEIGHTS: [u32; 10] = [2, 1, 1, 1, 1, 6, 6, 6, 6, 6]; // two lanes: as 0 and 5
    const ROUNDS: usize = 2 * 64 * (2 + 6);
    let begin = || {
        let (store, topic) = begin(2, 2);
        send(&topic, 0, 0..2000);
        send(&topic, 9, 2000..4000);
        store
    };
    let lower = |lanes: &[u32]| lanes.iter().take(ROUNDS).filter(|lane| **lane == 0).count();
    let store = begin();
    let builder = store.consumer("g").subscribe(["a"]).max_records(50);
    let mut consumer = builder.priority_weights(WEIGHTS).build().unwrap();
    let mut lanes = Vec::new();
    while lanes.len() < ROUNDS {
        lanes.extend(take(&mut consumer, 2).iter().map(|(lane, _)| *lane));
    }
    assert_eq!(lower(&lanes), 2 * 64 * 2);
    let store = begin();
    let builder = store.share_consumer("s").subscribe(["a"]).max_records(50);
    let mut consumer = builder.priority_weights(WEIGHTS).build().unwrap();
    let mut lanes = Vec::new();
    while lanes.len() < ROUNDS {
        let leased = consumer.try_poll().unwrap();
        lanes.extend(leased.iter().map(|record| record.partition().get()));
        consumer.ack_all(&leased).unwrap();
    }
    // a place gives once in a look: the end of a poll may go to the other lane
    let lower = lower(&lanes);
    assert!(lower.abs_diff(2 * 64 * 2) <= 50, "{lower} of the lower lane");
    for weight in [0, 1001] {
        let mut wrong = WEIGHTS;
        wrong[9] = weight;
        let errors = [
            store.consumer("g").subscribe(["a"]).priority_weights(wrong).build().err(),
            store.share_consumer("s").subscribe(["a"]).priority_weights(wrong).build().err(),
            store.worker("w").topic("a").priority_weights(wrong).run(|_| JobOutcome::Done).err(),
        ];
        assert!(errors.iter().all(|it| {
            it.as_ref().is_some_and(|error| error.kind() == ErrorKind::InvalidConfig)
        }));
    }
}

#[test]
fn what_comes_late_and_high_is_next() {
    let (store, topic) = begin(2, 2);
    send(&topic, 1, 0..1000);
    let mut consumer = consumer(&store, 10);
    for round in 0..20 {
        assert!(take(&mut consumer, 2).iter().all(|(lane, _)| *lane == 0));
        send(&topic, 9, round..round + 1);
        assert_eq!(take(&mut consumer, 2)[0], (1, round));
    }
}

#[test]
fn a_waiting_consumer_is_woken_by_any_lane() {
    let store = Store::in_memory().unwrap();
    let config = TopicConfig::new().partitions(2).priority_lanes(2);
    store.ensure_topic("a", config).unwrap();
    let topic = store.producer().build().unwrap().topic("a").unwrap();
    let mut consumer = consumer(&store, 10);
    for priority in [9, 0, 4] {
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| consumer.poll(Duration::from_secs(60)).unwrap().len());
            send(&topic, priority, 0..1);
            assert_eq!(waits.join().unwrap(), 1);
        });
    }
}

#[test]
fn every_door_sends_to_the_lane_and_keys_stay_in_it() {
    let (store, topic) = begin(6, 3);
    let urgent = topic.with_priority(Priority::HIGHEST).unwrap();
    let record = || Record::new("1").key("k");
    let first = urgent.send(record()).unwrap().partition();
    assert_eq!(urgent.partition_for_key("k").unwrap(), first);
    let mut producer = store.producer().transactional("t").build().unwrap();
    let transaction = producer.begin().unwrap();
    let partitions = [
        urgent.send_batch(&[record(), record()]).unwrap().partition(),
        urgent.enqueue(record()).unwrap().wait_after(&urgent),
        pollster::block_on(urgent.send_async(record())).unwrap().partition(),
        transaction
            .topic("a")
            .unwrap()
            .with_priority(9)
            .unwrap()
            .send(record())
            .unwrap()
            .partition(),
    ];
    transaction.commit().unwrap();
    assert!(first.get() % 3 == 2 && partitions.iter().all(|partition| *partition == first));
    assert_eq!(urgent.send_to(0, record()).unwrap().partition().get(), 0, "the caller's word");
    // lanes widen in turn, and what has no key uses all of a lane
    store.add_partitions("a", 9).unwrap();
    let mut used = BTreeMap::new();
    for _ in 0..2000 {
        let partition = urgent.send(Record::new(&[b'x'; 200])).unwrap().partition().get();
        *used.entry(partition).or_insert(0) += 1;
    }
    assert_eq!(used.keys().copied().collect::<Vec<_>>(), [2, 5, 8]);
}

trait WaitAfter {
    fn wait_after(self, topic: &TopicProducer) -> PartitionId;
}

impl WaitAfter for crate::producer::Pending {
    fn wait_after(self, topic: &TopicProducer) -> PartitionId {
        topic.flush().unwrap();
        self.wait().unwrap().partition()
    }
}

#[test]
fn share_consumers_and_workers_take_the_high_ones_first_and_starve_none() {
    let (store, topic) = begin(2, 2);
    send(&topic, 0, 0..400);
    send(&topic, 9, 1000..1600);
    let mut consumer = store.share_consumer("s").subscribe(["a"]).max_records(50).build().unwrap();
    let mut counts = [0, 0];
    while counts[0] + counts[1] < 7 * 64 {
        let leased = consumer.poll(Duration::ZERO).unwrap();
        let mut high = leased.iter().map(|it| it.partition().get() == 1).collect::<Vec<_>>();
        counts[1] += high.iter().filter(|it| **it).count();
        counts[0] += high.iter().filter(|it| !**it).count();
        high.dedup();
        assert!(high != [false, true], "high ones come first");
        consumer.ack_all(&leased).unwrap();
    }
    let share = counts[1] as f64 / (counts[0] + counts[1]) as f64;
    assert!((0.75..0.95).contains(&share), "six of seven parts: {counts:?}");

    let store = Store::in_memory().unwrap();
    let config = TopicConfig::new().partitions(2).priority_lanes(2);
    store.ensure_topic("a", config).unwrap();
    let topic = store.producer().build().unwrap().topic("a").unwrap();
    send(&topic, 0, 0..5);
    send(&topic, 9, 5..10);
    let (tell, told) = std::sync::mpsc::channel();
    let worker = store.worker("w").topic("a").concurrency(1).run(move |job| {
        tell.send(number(job.record().value())).unwrap();
        JobOutcome::Done
    });
    let done: Vec<u32> = told.iter().take(10).collect();
    worker.unwrap().stop().unwrap();
    assert_eq!(done, [5, 6, 7, 8, 9, 0, 1, 2, 3, 4]);
}

#[test]
fn bad_lanes_are_refused() {
    let (store, topic) = begin(3, 1);
    assert_eq!(topic.with_priority(1).unwrap_err().kind(), ErrorKind::InvalidArgument);
    for (partitions, lanes) in [(3, 0), (20, 11), (2, 3)] {
        let config = TopicConfig::new().partitions(partitions).priority_lanes(lanes);
        let error = store.create_topic("b", config).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
    }
    let error = store.alter_topic("a", TopicConfig::new().priority_lanes(3)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.to_string().contains("as the topic was made with"), "{error}");
}

#[cfg(feature = "sim")]
mod stops {
    use super::*;
    use crate::config::Durability;
    use crate::disk::{Crash, SimDisk};
    use crate::seeds::{pick, seeds};

    /// Random sends, polls, commits and stops: each partition's records come in order, each at
    /// least once, none that was committed again, whatever is taken first.
    fn play(seed: u64) {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut draw = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let mut disk = SimDisk::new(seed);
        let (mut sent, mut committed) = (BTreeMap::new(), BTreeMap::new());
        for _ in 0..pick(3, 5, 10) {
            let store = open(&(Arc::new(disk.clone()) as Arc<dyn Disk>));
            let config = TopicConfig::new().partitions(5).priority_lanes(4);
            store.ensure_topic("a", config).unwrap();
            let topic = store.producer().durability(Durability::Power).build().unwrap();
            let topic = topic.topic("a").unwrap();
            let most = usize::try_from(1 + draw(20)).unwrap();
            let mut consumer = consumer(&store, most);
            let mut next = committed.clone();
            for _ in 0..20 {
                for _ in 0..draw(12) {
                    let priority = u8::try_from(draw(10)).unwrap();
                    let topic = topic.with_priority(priority).unwrap();
                    let key = draw(4).to_string();
                    let receipt = topic.send(Record::new("x").key(&key)).unwrap();
                    let lane = u32::from(priority) * 4 / 10;
                    assert_eq!(receipt.partition().get() % 4, lane, "seed {seed}");
                    *sent.entry(receipt.partition()).or_insert(0_i64) += 1;
                }
                for record in &consumer.try_poll().unwrap() {
                    let next = next.entry(record.partition()).or_insert(0_i64);
                    assert_eq!(record.offset().get(), *next, "seed {seed}: in order");
                    *next += 1;
                }
                if draw(3) == 0 {
                    consumer.commit_with(Durability::Power).unwrap();
                    committed = next.clone();
                }
            }
            disk = match draw(3) {
                0 => disk.kill(),
                1 => disk.crash(Crash::Random(draw(u64::MAX))),
                _ => {
                    drop(consumer);
                    store.close().unwrap();
                    disk
                }
            };
        }
        let store = open(&(Arc::new(disk) as Arc<dyn Disk>));
        let mut consumer = consumer(&store, 7);
        let mut next = committed;
        loop {
            let records = consumer.try_poll().unwrap();
            if records.is_empty() {
                break;
            }
            for record in &records {
                let next = next.entry(record.partition()).or_insert(0_i64);
                assert_eq!(record.offset().get(), *next, "seed {seed}: in order");
                *next += 1;
            }
        }
        assert_eq!(next, sent, "seed {seed}: all of them");
    }

    #[test]
    fn whatever_is_taken_first_nothing_is_lost_or_out_of_order() {
        seeds(3, 12, 1000).for_each(play);
    }
}
