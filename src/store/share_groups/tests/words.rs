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
