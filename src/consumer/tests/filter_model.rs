//! Random tags, batches, codecs, transactions, seeks, deletions and reopenings: what a filter
//! returns is what it would have left of everything that a plain reader sees, record for record.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::config::CleanupPolicy;
use crate::ids::{ProducerEpoch, ProducerId};
use crate::record::{
    Marker, MarkerKind, Produced, ProducerClaim, ProducerIdentity, RecordFilter, RecordView, packed,
};
use crate::seeds::seeds;

const US: ProducerIdentity = ProducerIdentity::new(ProducerId::new(7), ProducerEpoch::new(0));
const TAGS: [&str; 5] = ["", "paid", "sent", "back", "a tag that is not so short"];
const CODECS: &[&str] = &[
    "none",
    "none",
    #[cfg(feature = "lz4")]
    "lz4",
    #[cfg(feature = "gzip")]
    "gzip",
];

struct Model {
    random: StdRng,
    world: World,
    config: TopicConfig,
    open: bool,
    sent: u32,
    seed: u64,
}

/// A record as far as it is compared.
type Seen = (i64, String, String);

fn seen(records: &Records) -> Vec<Seen> {
    let tag = |record: &RecordView<'_>| record.tag().map_or(String::new(), |t| text(Some(t)));
    records
        .iter()
        .map(|record| (record.offset().get(), text(record.value()), tag(&record)))
        .collect()
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let world = World::with(Threads::Host); // nothing is compacted while both readers read
        let interval = random.random_range(0..400);
        let config = TopicConfig::new().segment_bytes(3_000).index_interval_bytes(interval);
        let config = config.tag_index(random.random_bool(0.8)).min_cleanable_dirty_ratio(0.0);
        let config = match random.random_bool(0.4) {
            true => config.cleanup_policy(CleanupPolicy::CompactDelete),
            false => config,
        };
        world.create_with("orders", config.clone());
        Model { random, world, config, open: false, sent: 0, seed }
    }

    fn partition(&self) -> Arc<Partition> {
        self.world.partition("orders", 0)
    }

    fn append(&mut self) {
        let count = self.random.random_range(1..12);
        // few tags at a time, so that there are stretches of some
        let kinds = self.random.random_range(1..=TAGS.len());
        let texts: Vec<(String, String, &str)> = (0..count)
            .map(|_| {
                self.sent += 1;
                let key = self.random.random_range(0..40u32).to_string();
                (key, self.sent.to_string(), TAGS[self.random.random_range(0..kinds)])
            })
            .collect();
        let records: Vec<_> = texts
            .iter()
            .map(|(key, text, tag)| {
                let record = Record::new(text).key(key).header("n", text);
                if tag.is_empty() { record } else { record.tag(tag) }
            })
            .collect();
        let partition = self.partition();
        let codec = CODECS[self.random.random_range(0..CODECS.len())];
        let mut rules = partition.batch_rules(START).unwrap();
        rules.packing = rules.packing.by(codec.parse().unwrap(), None);
        let claim = self.random.random_bool(0.3).then(|| {
            self.open = true;
            ProducerClaim { identity: US, sequence: None, transactional: true }
        });
        let batch = packed(&records, &rules).unwrap();
        partition.append(&Produced { batch: &batch, claim }, START, Durability::Process).unwrap();
    }

    fn end_transaction(&mut self) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        let kind =
            if self.random.random_bool(0.5) { MarkerKind::Commit } else { MarkerKind::Abort };
        let marker = Marker { kind, coordinator_epoch: 0 };
        self.partition().append_marker(US, marker, START, Durability::Process).unwrap();
    }

    fn delete_records(&mut self) {
        let partition = self.partition();
        let offsets = partition.offsets().unwrap();
        let most = offsets.last_stable().get();
        let to = self.random.random_range(offsets.start.get()..=most.max(offsets.start.get()));
        self.world.engine.delete_records_before(&partition, Offset::new(to)).unwrap();
    }

    /// Turns the setting on or off; counts from the next append on.
    fn switch(&mut self) {
        self.config = self.config.clone().tag_index(self.random.random_bool(0.7));
        self.world.engine.alter_topic("orders", self.config.clone()).unwrap();
    }

    fn compare(&mut self) {
        let uncommitted = self.random.random_bool(0.2);
        let isolated = |builder: ConsumerBuilder| match uncommitted {
            true => builder.read_uncommitted(),
            false => builder,
        };
        let mut plain = isolated(self.world.reader().assign([("orders", 0)])).build().unwrap();
        let all: Vec<Seen> =
            plain.read_to_end().unwrap().flat_map(|records| seen(&records.unwrap())).collect();
        let tags: Vec<_> = TAGS[1..].iter().filter(|_| self.random.random_bool(0.4)).collect();
        let modulo = self.random.random_range(1..4);
        let filter = match tags.is_empty() {
            true => RecordFilter::by(move |record| record.offset().get() % modulo == 0),
            false => {
                RecordFilter::tags(&tags).and(move |record| record.offset().get() % modulo == 0)
            }
        };
        let wanted = |(offset, _, tag): &&Seen| {
            offset % modulo == 0 && (tags.is_empty() || tags.iter().any(|own| **own == tag))
        };
        let from = self.random.random_range(0..=all.len());
        let expected: Vec<Seen> = all[from..].iter().filter(wanted).cloned().collect();
        let builder = isolated(self.world.reader().assign([("orders", 0)])).filter(filter);
        let builder = builder.max_records(self.random.random_range(1..40));
        let builder = builder.max_bytes(self.random.random_range(1..3_000));
        let mut filtered = builder.scan_limit(self.random.random_range(1..5_000)).build().unwrap();
        if let Some((offset, ..)) = all.get(from) {
            filtered.seek("orders", 0, Offset::new(*offset)).unwrap();
        } else {
            filtered.seek_to_end("orders", 0).unwrap();
        }
        let mut found = Vec::new();
        match self.random.random_bool(0.5) {
            true => {
                for records in filtered.read_to_end().unwrap() {
                    found.extend(seen(&records.unwrap()));
                }
            }
            false => {
                let mut before = None;
                while before != Some(filtered.position("orders", 0).unwrap()) {
                    before = Some(filtered.position("orders", 0).unwrap());
                    found.extend(seen(&filtered.try_poll().unwrap()));
                }
            }
        }
        assert_eq!(found, expected, "seed {} tags {tags:?}", self.seed);
        let end = plain.position("orders", 0).unwrap();
        assert_eq!(filtered.position("orders", 0).unwrap(), end, "seed {}", self.seed);
    }

    fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            match self.random.random_range(0..100) {
                0..60 => self.append(),
                60..72 => self.end_transaction(),
                72..92 => self.compare(),
                92..93 => self.delete_records(),
                93..95 => self.switch(),
                95..98 => {
                    self.world.clock.advance(LONG);
                    self.world.engine.run_maintenance();
                }
                _ => self.world.reopen(),
            }
        }
        self.compare();
    }
}

#[test]
fn a_filter_returns_what_it_would_leave_of_everything() {
    for seed in seeds(6, 35, 10_000) {
        println!("seed {seed}: TIDELOG_SEED={seed} cargo test --lib a_filter_returns_what");
        Model::new(seed).run(150);
    }
}
