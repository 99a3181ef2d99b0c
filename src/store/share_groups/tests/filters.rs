//! Groups that want some of the log's records only: what they are given, what the rest costs, and
//! who may not come to them.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::*;
use crate::record::RecordFilter;
use crate::seeds::seeds;
use crate::worker::JobOutcome;

fn send_tagged(store: &Store, values: impl Iterator<Item = (u64, &'static str)>) {
    let jobs = store.producer().build().unwrap().topic("jobs").unwrap();
    for (value, tag) in values {
        let (value, key) = (value.to_string(), (value % 3).to_string());
        jobs.send(Record::new(&value).key(&key).tag(tag)).unwrap();
    }
}

fn mail() -> RecordFilter {
    RecordFilter::tags(["mail"])
}

#[test]
fn what_does_not_match_is_passed_over_and_keeps_nobody() {
    let (_, store) = store();
    send_tagged(&store, (0..1_000).map(|at| (at, if at % 100 == 7 { "mail" } else { "print" })));
    let mut consumer = builder(&store).filter(mail()).max_in_flight(4).build().unwrap();
    let mut given = Vec::new();
    loop {
        let leased = poll(&mut consumer);
        if leased.is_empty() {
            break;
        }
        given.extend(values(&leased));
        consumer.ack_all(&leased).unwrap();
    }
    let wanted: Vec<String> = (0..10).map(|at| (at * 100 + 7).to_string()).collect();
    assert_eq!(given, wanted);
    let partition = store.describe_share_group("g").unwrap().partitions[0].clone();
    assert_eq!((partition.start, partition.end), (Offset::new(1_000), Offset::new(1_000)));
    assert_eq!((partition.open, partition.archived), (0, 0));
}

#[test]
fn a_consumer_with_another_filter_is_refused() {
    let (_, store) = store();
    let first = builder(&store).filter(mail()).build().unwrap();
    let again = builder(&store).filter(RecordFilter::tags(["mail", "mail"])).build().unwrap();
    let by = RecordFilter::by(|record| record.key().is_none());
    let others = [
        builder(&store),
        builder(&store).filter(RecordFilter::tags(["print"])),
        builder(&store).filter(mail().and(|_| true)),
        builder(&store).filter(by.clone()),
    ];
    for other in others {
        assert_eq!(other.build().unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    drop((first, again));
    let one = builder(&store).filter(by.clone()).build().unwrap();
    let two = builder(&store).filter(by).build().unwrap(); // a clone is the same
    let none = builder(&store).filter(RecordFilter::tags::<&str>([])).build();
    assert_eq!(none.unwrap_err().kind(), ErrorKind::InvalidArgument);
    drop((one, two));
}

#[test]
fn what_one_filter_has_passed_over_stays_so_and_what_it_took_is_owed() {
    let (_, store) = store();
    send_tagged(&store, [(1, "mail"), (2, "print"), (3, "mail")].into_iter());
    let mut consumer = builder(&store).filter(mail()).build().unwrap();
    let leased = poll(&mut consumer);
    consumer.ack(leased.iter().next().unwrap()).unwrap();
    drop(consumer); // 3 is given back
    send_tagged(&store, [(4, "mail"), (5, "print")].into_iter());
    let mut printer = builder(&store).filter(RecordFilter::tags(["print"])).build().unwrap();
    assert_eq!(values(&poll(&mut printer)), ["3", "5"]);
}

/// A model: whoever takes and whatever comes between, what is given is what matches, in order of
/// keys, each once.
#[test]
fn a_group_with_a_filter_is_given_what_matches_and_nothing_else() {
    for seed in seeds(6, 20, 500) {
        let (world, mut store) = store();
        if seed % 2 == 0 {
            let config = TopicConfig::new().tag_index(true).segment_bytes(1 << 14);
            store.alter_topic("jobs", config).unwrap();
        }
        let filter = match seed % 3 {
            0 => mail(),
            1 => mail().and(|record| record.value().is_some_and(|value| value.len() > 1)),
            _ => RecordFilter::by(|record| record.tag() == Some(b"mail")),
        };
        let make = |store: &Store| {
            let builder = builder(store).filter(filter.clone()).max_records(3);
            let builder = if seed % 5 < 2 { builder.ordered_by_key() } else { builder };
            builder.build().unwrap()
        };
        let (mut sent, mut given): (u64, Vec<u64>) = (0, Vec::new());
        for round in 0..8 {
            let count = 1 + (seed * 7 + round * 13) % 40;
            let is_mail = |at: u64| (at * 31 + seed) % 7 < 2;
            let tag = |at| (at, if is_mail(at) { "mail" } else { "print" });
            send_tagged(&store, (sent..sent + count).map(tag));
            sent += count;
            let mut consumers = [make(&store), make(&store)];
            loop {
                let before = given.len();
                for consumer in &mut consumers {
                    let leased = poll(consumer);
                    given.extend(values(&leased).iter().map(|it| it.parse::<u64>().unwrap()));
                    consumer.ack_all(&leased).unwrap();
                }
                if given.len() == before {
                    break;
                }
            }
            let long = |at: u64| seed % 3 != 1 || at > 9;
            let wanted = (0..sent).filter(|at| is_mail(*at) && long(*at));
            let mut sorted = given.clone();
            sorted.sort_unstable();
            assert!(sorted.iter().copied().eq(wanted), "TIDELOG_SEED={seed}: {given:?}");
            if round % 3 == 2 {
                drop(consumers);
                store.close().unwrap();
                store = world.open();
            }
        }
    }
}

#[test]
fn a_worker_with_a_filter_works_on_what_matches() {
    let store = Store::in_memory().unwrap();
    store.ensure_topic("jobs", TopicConfig::new()).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let worker = store.worker("g").topic("jobs").filter(mail()).concurrency(3);
    let worker = worker.run(move |job| {
        let _ = tell.send(job.record().tag().map(<[u8]>::to_vec));
        JobOutcome::Done
    });
    let worker = worker.unwrap();
    send_tagged(&store, (0..100).map(|at| (at, if at % 10 == 0 { "mail" } else { "print" })));
    let done: Vec<_> = told.iter().take(10).collect();
    assert!(done.iter().all(|tag| tag.as_deref() == Some(b"mail")));
    worker.stop().unwrap();
    assert!(told.try_recv().is_err(), "and on nothing else");
}

#[derive(Default)]
struct Counting(AtomicUsize);

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// How often the consumers of a group that all wait for `filter` are woken by what `send` sends.
fn wakes(config: TopicConfig, filter: &RecordFilter, send: impl Fn(&Store)) -> usize {
    let store = Store::in_memory().unwrap();
    store.ensure_topic("jobs", config).unwrap();
    let make = |_| builder(&store).filter(filter.clone()).build().unwrap();
    let mut consumers: Vec<_> = (0..3).map(make).collect();
    let counter = Arc::new(Counting::default());
    let waker = Waker::from(counter.clone());
    let mut waiting: Vec<_> =
        consumers.iter_mut().map(|consumer| Box::pin(consumer.poll_async())).collect();
    for waits in &mut waiting {
        assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    send(&store);
    let woken = counter.0.load(Ordering::Relaxed);
    assert!(woken <= 3, "each waits once: {woken}");
    woken
}

#[test]
fn only_what_may_match_wakes_a_group_where_tags_are_kept() {
    let tagged = || TopicConfig::new().tag_index(true);
    let others = |store: &Store| send_tagged(store, (0..100).map(|at| (at, "print")));
    assert_eq!(wakes(tagged(), &mail(), others), 0);
    assert_eq!(wakes(tagged(), &mail(), |store| send_tagged(store, [(1, "mail")].into_iter())), 1);
    let two = |store: &Store| {
        others(store);
        send_tagged(store, [(1, "mail"), (2, "print"), (3, "mail")].into_iter());
    };
    assert_eq!(wakes(tagged(), &mail(), two), 2, "one for each that may match");
    let commit = |store: &Store| {
        let mut producer = store.producer().transactional("t").build().unwrap();
        let open = producer.begin().unwrap();
        open.topic("jobs").unwrap().send(Record::new("x").tag("print")).unwrap();
        open.commit().unwrap();
    };
    assert!(wakes(tagged(), &mail(), commit) > 0, "it may show records of any tag");
    assert_eq!(wakes(TopicConfig::new(), &mail(), others), 3, "nothing is known of tags");
    let by = RecordFilter::by(|record| record.tag() == Some(b"mail"));
    assert_eq!(wakes(tagged(), &by, others), 3, "a predicate may want all");
}

/// What nobody was woken for is passed over by the next poll, and what the group waits for is told
/// from it although nobody looked at the rest.
#[test]
fn a_group_that_is_not_woken_misses_nothing() {
    let store = Store::in_memory().unwrap();
    store.ensure_topic("jobs", TopicConfig::new().tag_index(true)).unwrap();
    let wanted = |tag| builder(&store).filter(RecordFilter::tags([tag])).build().unwrap();
    for (round, tag) in ["mail", "print", "mail"].into_iter().enumerate() {
        // the group's filter is another each time: so is what is heard
        let other = if tag == "mail" { "print" } else { "mail" };
        let mut consumer = wanted(tag);
        let counter = Arc::new(Counting::default());
        let waker = Waker::from(counter.clone());
        let leased = {
            let mut waits = pin!(consumer.poll_async());
            let mut poll = || waits.as_mut().poll(&mut Context::from_waker(&waker));
            assert!(poll().is_pending());
            send_tagged(&store, (0..50).map(|at| (at, other)));
            assert_eq!(counter.0.load(Ordering::Relaxed), 0, "round {round}");
            send_tagged(&store, [(50, tag), (51, other)].into_iter());
            assert_eq!(counter.0.load(Ordering::Relaxed), 1, "round {round}");
            match poll() {
                Poll::Ready(leased) => leased.unwrap(),
                Poll::Pending => panic!("round {round}: it was woken"),
            }
        };
        assert_eq!(values(&leased), ["50"]);
        consumer.ack_all(&leased).unwrap();
        assert!(poll(&mut consumer).is_empty());
    }
}

/// A look goes further than a take: what it has found out counts no more where the log was cut
/// behind what was taken.
#[test]
fn what_was_found_out_of_what_was_cut_off_is_forgotten() {
    let (_, store) = store();
    let tags = ["mail", "mail", "print", "print", "mail"];
    send_tagged(&store, (0..).zip(tags));
    let mut consumer = builder(&store).filter(mail()).max_records(1).build().unwrap();
    assert_eq!(values(&poll(&mut consumer)), ["0"]);
    store.partition("jobs", 0).unwrap().truncate_to(Offset::new(2)).unwrap();
    send_tagged(&store, (12..).zip(["mail", "mail", "print"]));
    let mut given = Vec::new();
    loop {
        let leased = poll(&mut consumer);
        if leased.is_empty() {
            break;
        }
        given.extend(values(&leased));
    }
    assert_eq!(given, ["1", "12", "13"]);
}
