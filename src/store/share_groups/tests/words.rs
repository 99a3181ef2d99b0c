//! Words of holders that come in odd company: twice, of an ended lease beside the one that counts,
//! of records that the log has lost meanwhile; and what the timer keeps while they are said.

use super::*;

/// One lease of an offset in a call says nothing about another one of it.
#[test]
fn an_ended_lease_answers_for_itself_beside_the_one_that_counts() {
    let (_, store) = store();
    send(&store, &["1"]);
    let mut consumer = builder(&store).build().unwrap();
    let ended = poll(&mut consumer).iter().next().unwrap().lease();
    consumer.release(&ended).unwrap();
    let current = poll(&mut consumer).iter().next().unwrap().lease();
    let leases = [ended.clone(), current.clone(), ended, current];
    let answers = consumer.ack_each(&leases).unwrap();
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true, false, true]);
    let group = store.describe_share_group("g").unwrap();
    assert_eq!((group.partitions[0].lag, group.partitions[0].leased), (Some(0), 0));
}

/// Each lease, each delay asks the timer to come; what it was asked for is not asked for again.
#[test]
fn the_timer_is_asked_for_each_time_once() {
    let (world, store) = store();
    send(&store, &["far", "near"]);
    let mut consumer = builder(&store).max_deliveries(1_000).build().unwrap();
    let leases: Vec<_> = poll(&mut consumer).iter().map(|record| record.lease()).collect();
    consumer.release_after(&leases[0], Duration::from_secs(365 * 24 * 3_600)).unwrap();
    consumer.release_after(&leases[1], Duration::from_secs(1)).unwrap();
    let tasks = || -> usize {
        let text = format!("{:?}", store.engine.timers());
        text.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap()
    };
    let before = tasks();
    for round in 0..100 {
        world.pass(&store, 1);
        let leased = poll(&mut consumer);
        assert_eq!(values(&leased), ["near"]);
        consumer.release_after(leased.iter().next().unwrap(), Duration::from_secs(1)).unwrap();
        assert!(tasks() <= before + 2, "round {round}: {} tasks, {before} before", tasks());
    }
}

/// What comes at offsets that were cut off is handed out, shorter or longer than what was there.
#[test]
fn a_log_that_is_cut_under_a_group_in_use_gives_what_comes_anew() {
    for sent in [1, 2, 5] {
        let (world, store) = store();
        send(&store, &["0", "1", "2", "3"]);
        let mut consumer = builder(&store).build().unwrap();
        let leased = poll(&mut consumer);
        let leases: Vec<_> = leased.iter().map(|record| record.lease()).collect();
        consumer.ack(&leases[0]).unwrap();
        consumer.ack(&leases[3]).unwrap();
        store.partition("jobs", 0).unwrap().truncate_to(Offset::new(2)).unwrap();
        let error = consumer.ack(&leases[2]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRecordState);
        let fresh: Vec<String> = (0..sent).map(|at| format!("new {at}")).collect();
        send(&store, &fresh.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(values(&consumer.poll(Duration::from_secs(60)).unwrap()), fresh);
        assert!(consumer.ack(&leases[2]).is_err(), "another lease holds what is there now");
        consumer.ack(&leases[1]).unwrap();
        drop(consumer);
        store.close().unwrap();
        let store = world.open();
        assert_eq!(values(&poll(&mut builder(&store).build().unwrap())), fresh);
    }
}

/// The same where nobody has said a word in between, and somebody waits.
#[test]
fn a_waiter_is_given_what_comes_in_place_of_what_was_cut() {
    for sent in [1, 3] {
        let (_, store) = store();
        send(&store, &["0", "1"]);
        let mut consumer = builder(&store).build().unwrap();
        assert_eq!(poll(&mut consumer).len(), 2);
        store.partition("jobs", 0).unwrap().truncate_to(Offset::new(1)).unwrap();
        send(&store, &["new"; 3][..sent]);
        let leased = consumer.poll(Duration::from_millis(50)).unwrap();
        assert_eq!(leased.iter().map(|record| record.offset().get()).min(), Some(1));
        assert_eq!(values(&leased), vec!["new"; sent]);
    }
}

/// To be tried at once and to be tried later are two words: one does not stand for the other.
#[test]
fn a_release_for_later_is_not_taken_for_one_that_was_said_before() {
    let (_, store) = store();
    send(&store, &["1"]);
    let mut consumer = builder(&store).build().unwrap();
    let lease = poll(&mut consumer).iter().next().unwrap().lease();
    let second = Duration::from_secs(1);
    consumer.release(&lease).unwrap();
    consumer.release(&lease).unwrap();
    let refused = consumer.release_after(&lease, second).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidRecordState);
    let lease = poll(&mut consumer).iter().next().unwrap().lease();
    consumer.release_after(&lease, second).unwrap();
    consumer.release_after(&lease, second).unwrap();
    let refused = consumer.release_after(&lease, 2 * second).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidRecordState);
    assert_eq!(consumer.release(&lease).unwrap_err().kind(), ErrorKind::InvalidRecordState);
    assert!(poll(&mut consumer).is_empty());
}

/// What of it is still on its way when a group or its topic is deleted writes nothing any more: a
/// state that comes behind the tombstones would be there again after a restart.
#[test]
fn a_word_that_comes_behind_a_deletion_brings_nothing_back() {
    let (world, store) = store();
    send(&store, &["1", "2"]);
    let mut consumer = builder(&store).durability(Durability::Process).build().unwrap();
    let leases: Vec<_> = poll(&mut consumer).iter().map(|record| record.lease()).collect();
    let late: Vec<_> = leases.iter().map(|lease| consumer.ack_async(lease.clone())).collect();
    drop(consumer);
    store.delete_group("g").unwrap();
    for word in late {
        pollster::block_on(word).unwrap_err();
    }
    assert_eq!(store.delete_group("g").unwrap_err().kind(), ErrorKind::NotFound);
    store.close().unwrap();
    let store = world.open();
    assert!(store.groups().unwrap().is_empty());
    let mut consumer = builder(&store).build().unwrap();
    assert_eq!(values(&poll(&mut consumer)), ["1", "2"]);
}

/// In the life that deletes it the group has not been used.
#[test]
fn a_group_that_is_deleted_lets_go_of_what_it_held() {
    let (world, store) = store();
    let held = TopicConfig::new().retain_for("g", HoldCap::bytes(1 << 30));
    store.ensure_topic("held", held).unwrap();
    drop(store.share_consumer("g").subscribe(["held"]).build().unwrap());
    store.close().unwrap();
    let store = world.open();
    let holds = || {
        let stats = store.stats();
        let topic = stats.topics.iter().find(|topic| &*topic.name == "held").unwrap();
        topic.partitions[0].holds.len()
    };
    assert_eq!(holds(), 1, "the control");
    store.delete_group("g").unwrap();
    assert_eq!(holds(), 0);
}

#[test]
fn a_name_is_that_of_a_share_group_or_of_another() {
    let (_, store) = store();
    send(&store, &["1"]);
    let refused = |error: crate::error::Error| assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let mut shared = builder(&store).build().unwrap();
    refused(store.consumer("g").subscribe(["jobs"]).build().unwrap_err());
    refused(store.consumer("g").assign([("jobs", 0)]).build().unwrap_err());
    refused(store.reset_offsets("g", [("jobs", 0, Offset::ZERO)], Durability::Power).unwrap_err());
    let other = store.consumer("other").subscribe(["jobs"]).build().unwrap();
    refused(store.share_consumer("other").subscribe(["jobs"]).build().unwrap_err());
    store.reset_offsets("committed", [("jobs", 0, Offset::ZERO)], Durability::Power).unwrap();
    refused(store.share_consumer("committed").subscribe(["jobs"]).build().unwrap_err());
    refused(store.clone_group("committed", "g", Durability::Power).unwrap_err());
    assert_eq!(store.groups().unwrap().len(), 3, "who is refused leaves nothing");
    let leased = poll(&mut shared);
    let group = store.describe_group("g").unwrap();
    assert_eq!((group.kind, group.partitions[0].lag), (GroupKind::Share, Some(1)));
    shared.ack_all(&leased).unwrap();
    let group = store.describe_group("g").unwrap();
    let first = &group.partitions[0];
    assert_eq!((first.committed, first.lag), (Some(Offset::new(1)), Some(0)));
    drop((shared, other));
}

/// However many one word was about.
#[test]
fn a_large_poll_may_be_acknowledged_again() {
    const RECORDS: usize = 5_000;
    let (_, store) = store();
    let jobs = store.producer().build().unwrap().topic("jobs").unwrap();
    jobs.send_batch(&vec![Record::new("1"); RECORDS]).unwrap();
    let limits = builder(&store).max_records(RECORDS).max_in_flight(RECORDS);
    let mut consumer = limits.build().unwrap();
    let leased = poll(&mut consumer);
    assert_eq!(leased.len(), RECORDS);
    consumer.ack_all(&leased).unwrap();
    consumer.ack_all(&leased).unwrap();
}

/// Also where the group kept no order of keys when the delay was said.
#[test]
fn a_delay_is_kept_by_who_comes_for_order_by_key() {
    let (world, store) = store();
    send_keyed(&store, &[("k", "1"), ("k", "2")]);
    let mut first = builder(&store).build().unwrap();
    let leased = poll(&mut first);
    let leases: Vec<_> = leased.iter().map(|record| record.lease()).collect();
    first.release(&leases[0]).unwrap();
    first.release_after(&leases[1], Duration::from_secs(3_600)).unwrap();
    drop(first);
    for lives in 0..2 {
        let mut consumer = builder(&store).ordered_by_key().build().unwrap();
        if lives == 0 {
            assert_eq!(values(&poll(&mut consumer)), ["1"]);
            continue; // it is given back
        }
        let leased = poll(&mut consumer);
        world.pass(&store, 10);
        consumer.ack_all(&leased).unwrap();
        assert!(poll(&mut consumer).is_empty(), "not before the hour is over");
        world.pass(&store, 3_600);
        assert_eq!(values(&poll(&mut consumer)), ["2"]);
    }
}

/// The delay is over before the earlier record of its key is done.
#[test]
fn a_delay_that_is_over_does_not_let_a_record_overtake_its_key() {
    let (world, store) = store();
    send_keyed(&store, &[("k", "1"), ("k", "2")]);
    let mut first = builder(&store).build().unwrap();
    let leased = poll(&mut first);
    let leases: Vec<_> = leased.iter().map(|record| record.lease()).collect();
    first.release_after(&leases[1], Duration::from_secs(5)).unwrap();
    drop(first);
    let mut consumer = builder(&store).ordered_by_key().build().unwrap();
    let leased = poll(&mut consumer);
    assert_eq!(values(&leased), ["1"]);
    world.pass(&store, 10);
    assert!(poll(&mut consumer).is_empty(), "the earlier one is out");
    consumer.ack_all(&leased).unwrap();
    assert_eq!(values(&poll(&mut consumer)), ["2"]);
}
