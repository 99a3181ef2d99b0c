//! Tidelog, by its public API: cached handles, default settings, background syncs on.

use tidelog::{Durability, Pending, Record, Store, TopicConfig, TopicProducer};

use super::{Job, Side};

struct Tidelog {
    store: Store,
    topics: Vec<TopicProducer>,
    durable: Vec<TopicProducer>,
}

fn name(topic: usize) -> String {
    format!("t{topic}")
}

pub fn open(job: &Job<'_>) -> Box<dyn Side> {
    let store = Store::open(job.dir).expect("a new store");
    let names: Vec<_> = (0..job.topics).map(name).collect();
    store.create_topics(names.iter().map(|name| (name.as_str(), TopicConfig::new()))).expect("new");
    let producer = store.producer().build().expect("a producer");
    let topics: Vec<_> = names.iter().map(|name| producer.topic(name).expect("it")).collect();
    let durable = topics.iter().map(|topic| topic.with_durability(Durability::Power)).collect();
    Box::new(Tidelog { store, topics, durable })
}

impl Side for Tidelog {
    fn append(&self, topic: usize, value: &[u8]) {
        self.topics[topic].send(Record::new(value)).expect("an append");
    }

    fn append_many(&self, topic: usize, values: &[&[u8]]) {
        let records: Vec<_> = values.iter().map(|value| Record::new(*value)).collect();
        self.topics[topic].send_batch(&records).expect("an append");
    }

    fn append_synced(&self, topic: usize, value: &[u8]) {
        self.durable[topic].send(Record::new(value)).expect("an append");
    }

    fn linger(&self, values: &mut dyn Iterator<Item = &'static [u8]>) {
        let enqueue = |value| self.topics[0].enqueue(Record::new(value)).expect("room");
        let pending: Vec<Pending> = values.map(enqueue).collect();
        for pending in pending {
            pending.wait().expect("an append");
        }
    }

    fn read(&self, topic: usize, each: &mut dyn FnMut(&[u8])) {
        let reader = self.store.reader().assign([(name(topic), 0)]).max_bytes(1 << 20);
        let mut reader = reader.max_records(usize::MAX).build().expect("a reader");
        loop {
            let records = reader.try_poll().expect("a poll");
            if records.is_empty() {
                return;
            }
            for record in &records {
                each(record.value().expect("a value"));
            }
        }
    }
}
