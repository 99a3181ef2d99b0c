//! Dead-letter topics with little room: what goes there, what waits, and that nobody waits with it.

use super::*;

/// It waits until its topic may hold it; those behind it do not.
#[test]
fn a_letter_larger_than_its_topic_may_hold_keeps_nobody() {
    for when_full in
        [WhenFull::Fail, WhenFull::Block(Duration::from_secs(60)), WhenFull::DropOldest]
    {
        let (world, store) = begin();
        let small = TopicConfig::new().max_bytes(16 << 10, when_full);
        store.ensure_topic("g.dlq", small).unwrap();
        let large = "l".repeat(20 << 10);
        send(&store, &[&large, "2", "3"]);
        let mut consumer = consumer(&store);
        assert_eq!(reject_all(&mut consumer), 3);
        (0..20).for_each(|_| tend(&store));
        assert_eq!(values(&store, "g.dlq"), ["2", "3"], "{when_full}");
        assert_eq!(group(&store).owed, 1);
        store.alter_topic("g.dlq", TopicConfig::new()).unwrap();
        world.pass(&store, 31);
        assert!(values(&store, "g.dlq").pop() == Some(large));
        assert_eq!(group(&store).owed, 0);
    }
}

#[test]
fn what_drops_its_oldest_takes_a_letter_of_most_of_its_room() {
    let (world, store) = begin();
    let small =
        TopicConfig::new().max_bytes(16 << 10, WhenFull::DropOldest).segment_bytes(14 << 10);
    store.ensure_topic("g.dlq", small).unwrap();
    let large = "l".repeat(12 << 10);
    for values in [["1", "2", "3"], ["4", &large, "6"]] {
        send(&store, &values);
        assert_eq!(reject_all(&mut consumer(&store)), 3);
        (0..20).for_each(|_| tend(&store));
        world.pass(&store, 1);
    }
    let left: Vec<usize> = values(&store, "g.dlq").iter().map(String::len).collect();
    assert_eq!(left[left.len() - 2..], [12 << 10, 1]);
    assert_eq!(group(&store).owed, 0);
}

/// Nor does one that no segment of it may hold.
#[test]
fn a_letter_larger_than_a_segment_keeps_nobody() {
    let (world, store) = begin();
    store.ensure_topic("g.dlq", TopicConfig::new().segment_bytes(4 << 10)).unwrap();
    let large = "l".repeat(6 << 10);
    send(&store, &["1", &large, "3"]);
    assert_eq!(reject_all(&mut consumer(&store)), 3);
    (0..20).for_each(|_| tend(&store));
    assert_eq!((values(&store, "g.dlq"), group(&store).owed), (vec!["1".into(), "3".into()], 1));
    store.alter_topic("g.dlq", TopicConfig::new()).unwrap();
    world.pass(&store, 31);
    assert_eq!((values(&store, "g.dlq").len(), group(&store).owed), (3, 0));
}

/// However many there are: to try all of them at once would be refused each time.
#[test]
fn more_letters_than_their_topic_has_room_for_go_as_far_as_it_has() {
    let (_, store) = begin();
    let small = TopicConfig::new().max_bytes(64 << 10, WhenFull::Fail).segment_bytes(16 << 10);
    store.ensure_topic("g.dlq", small).unwrap();
    let value = "v".repeat(1_000);
    send(&store, &vec![value.as_str(); 200]);
    let mut consumer = builder(&store).max_records(500).build().unwrap();
    assert_eq!(reject_all(&mut consumer), 200);
    (0..20).for_each(|_| tend(&store));
    let letters = records(&store, "g.dlq").len();
    assert!((30..64).contains(&letters), "{letters} letters of 1,000 bytes in 64 KiB");
    let state = group(&store);
    assert_eq!((state.dead_letters, state.owed), (letters as u64, 200 - letters));
}
