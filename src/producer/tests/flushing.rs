//! A topic that bounds its unsynced records (`flush.messages`): whoever is told of a record that
//! was one too many has waited for the sync.

use super::*;

fn durable(topic: &Topic) -> i64 {
    topic.partition(partition(0)).unwrap().offsets().unwrap().durable.get()
}

fn of_three() -> TopicConfig {
    TopicConfig::new().flush_records(Some(3))
}

#[test]
fn a_send_waits_for_the_sync_of_so_many_records() {
    let world = World::by_hand();
    let (topic, orders) = world.orders(of_three(), world.producer());
    let mut seen = Vec::new();
    for _ in 0..7 {
        orders.send(Record::new("x")).unwrap();
        seen.push(durable(&topic));
    }
    assert_eq!(seen, [0, 0, 3, 3, 3, 6, 6]);
    let many: Vec<_> = (0..5).map(|_| Record::new("x")).collect();
    orders.send_batch(&many).unwrap();
    assert_eq!(durable(&topic), 12);
    world.engine.alter_topic("orders", TopicConfig::new().flush_records(Some(1))).unwrap();
    orders.send(Record::new("x")).unwrap();
    assert_eq!(durable(&topic), 13, "a change counts from the next append on");
    world.engine.alter_topic("orders", TopicConfig::new()).unwrap();
    orders.send_batch(&many).unwrap();
    assert_eq!(durable(&topic), 13);
}

#[test]
fn a_receipt_of_what_lingered_comes_after_the_sync() {
    let world = World::by_hand();
    let (topic, orders) = world.orders(of_three(), world.producer());
    let pending: Vec<_> = (0..4).map(|_| orders.enqueue(Record::new("x")).unwrap()).collect();
    orders.flush().unwrap();
    assert_eq!(durable(&topic), 4);
    assert_eq!(pending.into_iter().map(|it| it.wait().unwrap().offset().get()).max(), Some(3));
    let short = orders.enqueue(Record::new("x")).unwrap();
    orders.flush().unwrap();
    assert_eq!((short.wait().unwrap().offset().get(), durable(&topic)), (4, 4));
}

#[test]
fn a_task_rides_on_the_sync() {
    let world = World::by_hand();
    let (topic, orders) = world.orders(of_three(), world.producer());
    assert_eq!(orders.send_async(Record::new("x")).wait().unwrap().offset().get(), 0);
    let two = [Record::new("y"), Record::new("z")];
    let sent = orders.send_batch_async(&two);
    assert_eq!(durable(&topic), 0, "the append itself has not waited");
    world.engine.run_due();
    pollster::block_on(sent).unwrap();
    assert_eq!(durable(&topic), 3);
    orders.send_batch(&two).unwrap();
    assert_eq!(orders.send_async(Record::new("x")).wait().unwrap().offset().get(), 5);
    assert_eq!(durable(&topic), 6);
}
