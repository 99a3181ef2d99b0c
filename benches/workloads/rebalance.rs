//! What a rebalance costs in a group of 1,000 members over 10,000 partitions:
//! `cargo bench -- rebalance`.
//!
//! The time counts from the change until every partition is with the member that is to have it,
//! all members' polls included, in one thread. A change alone costs far less than that: most of
//! the polls find nothing to do.

use std::time::{Duration, Instant};

use tidelog::{Consumer, Store, TopicConfig};

use crate::rounds::Run;

const TOPICS: usize = 100;
const PARTITIONS: u32 = 100;
const MEMBERS: usize = 1_000;

pub fn rebalance(_run: &Run) {
    let store = Store::in_memory().expect("a store");
    let names: Vec<String> = (0..TOPICS).map(|number| format!("t{number}")).collect();
    let config = || TopicConfig::new().partitions(PARTITIONS);
    let configs = names.iter().map(|name| (name.as_str(), config()));
    store.create_topics(configs).expect("new topics");

    let mut members = vec![member(&store, &names)];
    assert_eq!(members[0].assignment().len(), TOPICS * PARTITIONS as usize);
    let began = Instant::now();
    members.extend((1..MEMBERS).map(|_| member(&store, &names)));
    println!("rebalance: {} members built in {:?}", MEMBERS - 1, began.elapsed());
    report("they and the first divide all partitions", settle(&mut members));

    members.push(member(&store, &names));
    report("one member joins", settle(&mut members));

    members.pop();
    report("one member leaves", settle(&mut members));

    let began = Instant::now();
    let rest = members.split_off(MEMBERS / 2);
    drop(rest);
    println!("rebalance: {} members dropped in {:?}", MEMBERS / 2, began.elapsed());
    report("half of the members have left", settle(&mut members));

    store.add_partitions("t0", PARTITIONS + 1).expect("one more");
    report("a topic grows by a partition", settle(&mut members));
    store.close().expect("closed");
}

fn member(store: &Store, topics: &[String]) -> Consumer {
    let builder = store.consumer("bench").subscribe(topics.iter().map(String::as_str));
    builder.build().expect("a member")
}

/// Polls all members in turn until nothing moves any more; how long that took, and how many rounds.
fn settle(members: &mut [Consumer]) -> (Duration, usize) {
    let began = Instant::now();
    let mut before = Vec::new();
    for round in 1.. {
        for member in members.iter_mut() {
            assert!(member.try_poll().expect("a poll").is_empty());
        }
        let took = began.elapsed();
        let owned: Vec<usize> = members.iter().map(|member| member.assignment().len()).collect();
        if owned == before {
            let (least, most) = (owned.iter().min(), owned.iter().max());
            assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1), "unbalanced");
            return (took, round);
        }
        before = owned;
    }
    unreachable!("it settles")
}

fn report(what: &str, (took, rounds): (Duration, usize)) {
    println!("rebalance: {what}: {took:?} in {rounds} rounds of polls");
}
