//! Topics that come, grow, change and go; a partition that another hand wrote; copies of the store.
//!
//! A creation or deletion that says that nothing was done is taken at its word by what follows.

use std::path::Path;

use tidelog::disk::{Access, Disk as _};
use tidelog::{CleanupPolicy, Leadership, Outcome, TopicConfig};

use super::{BACKUP, LOG, ROOT, Stage, small};
use crate::foreign::Foreign;
use crate::story::Deed;

impl Stage {
    pub fn create(&mut self, topic: &'static str, partitions: u32, config: TopicConfig) {
        self.create_as(topic, partitions, config, Leadership::SelfLed);
    }

    /// One that the host leads, in epoch 0.
    pub fn create_led(&mut self, topic: &'static str, config: TopicConfig) {
        self.led.insert(topic, 0);
        self.create_as(topic, 1, config, Leadership::HostLed);
    }

    /// One that is compacted, as soon as it can be.
    pub fn create_compacted(&mut self, topic: &'static str, partitions: u32) {
        self.compacted.insert(topic);
        let config = small().cleanup_policy(CleanupPolicy::Compact).min_cleanable_dirty_ratio(0.0);
        self.create_as(topic, partitions, config, Leadership::SelfLed);
    }

    fn create_as(
        &mut self,
        topic: &'static str,
        partitions: u32,
        config: TopicConfig,
        leadership: Leadership,
    ) {
        let Some(store) = self.store() else { return };
        *self.incarnations.entry(topic).or_default() += 1;
        self.note(Deed::Creating { topic });
        if self.compacted.contains(topic) {
            (0..partitions).for_each(|partition| self.note(Deed::Thinning { topic, partition }));
        }
        let before = store.describe(topic).ok().map(|seen| seen.id());
        let config = config.partitions(partitions);
        let created = match leadership {
            Leadership::HostLed => store.create_host_led_topic(topic, config),
            _ => store.create_topic(topic, config),
        };
        let created = created.and_then(|()| Ok(store.describe(topic)?.id()));
        let is_unwritten = matches!(&created, Err(error) if error.outcome() == Outcome::NotWritten);
        match self.bear(created) {
            Some(id) => self.note(Deed::Created { topic, id: Some(id), partitions }),
            None if self.disk.is_cut() => {}
            None if is_unwritten || before.is_some() => {
                *self.incarnations.entry(topic).or_default() -= 1;
                self.note(Deed::NotCreated { topic });
            }
            None => {}
        }
    }

    /// Creates a topic where there is none.
    pub fn ensure(&mut self, topic: &'static str, partitions: u32, config: TopicConfig) {
        let Some(store) = self.store() else { return };
        if store.describe(topic).is_err() && !self.disk.is_cut() {
            self.create(topic, partitions, config);
        }
    }

    pub fn grow(&mut self, topic: &'static str, partitions: u32) {
        let Some(store) = self.store() else { return };
        let grown = store.add_partitions(topic, partitions);
        if self.bear(grown).is_some() {
            let id = store.describe(topic).ok().map(|seen| seen.id());
            self.note(Deed::Created { topic, id, partitions });
        }
    }

    pub fn alter(&mut self, topic: &'static str, config: TopicConfig) {
        if let Some(store) = self.store() {
            self.bear(store.alter_topic(topic, config));
        }
    }

    pub fn delete(&mut self, topic: &'static str) {
        let Some(store) = self.store().filter(|_| self.has(topic)) else { return };
        self.note(Deed::Deleting { topic });
        if self.bear_or(store.delete_topic(topic), Deed::NotDeleted { topic }).is_some() {
            self.note(Deed::Deleted { topic });
        }
    }

    /// Makes a backup, where there is none.
    pub fn back_up(&mut self) {
        let Some(store) = self.store() else { return };
        let there = self.disk.metadata(BACKUP.as_ref());
        if !matches!(there, Ok(None)) {
            return;
        }
        self.note(Deed::BackingUp);
        if self.bear(store.backup(BACKUP)).is_some() {
            self.note(Deed::BackedUp);
        }
    }

    /// A partition that Kafka wrote lies there.
    pub fn find(&mut self, topic: &'static str, golden: &Foreign) {
        let dir = if self.setup.is_log { LOG.to_owned() } else { format!("{ROOT}/{topic}-0") };
        let dir = Path::new(&dir);
        self.disk.create_dir_all(dir).expect("made");
        for (name, bytes) in &golden.files {
            let file = self.disk.open(&dir.join(name), Access::Create).expect("made");
            file.write_at(bytes, 0).expect("written");
            file.sync_data().expect("synced");
        }
        dir.ancestors().for_each(|dir| self.disk.sync_dir(dir).expect("synced"));
        self.incarnations.insert(topic, 1);
        self.note(Deed::Creating { topic });
        self.note(Deed::Created { topic, id: None, partitions: 1 });
        self.note(Deed::Found { topic, records: golden.records.clone() });
    }
}
