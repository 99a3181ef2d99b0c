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
