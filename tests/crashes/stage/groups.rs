//! What groups commit, and how it is forgotten.

use tidelog::{Durability, Offset, OffsetCommit};

use super::Stage;
use crate::story::Deed;

impl Stage {
    pub fn commit(
        &mut self,
        group: &'static str,
        topic: &'static str,
        partition: u32,
        offset: i64,
        word: Durability,
    ) {
        let Some(store) = self.store() else { return };
        self.note(Deed::Committing { group, topic, partition, offset });
        let one = OffsetCommit::new(topic, partition, Offset::new(offset));
        let consumer = store.consumer(group).assign([(topic, partition)]).build();
        let done = consumer.and_then(|mut it| it.commit_offsets_with(&[one], word));
        let undone = Deed::NotCommitted { group, topic, partition };
        if self.bear_or(done, undone).is_some() {
            let power = word == Durability::Power;
            self.note(Deed::Committed { group, topic, partition, offset, power });
        }
    }

    /// Commits the same again so many times, each with metadata of 4,000 bytes: the topic grows.
    pub fn commit_at_length(&mut self, group: &'static str, topic: &'static str, times: u32) {
        let Some(store) = self.store() else { return };
        let (metadata, offset) = ("m".repeat(4000), 1);
        self.note(Deed::Committing { group, topic, partition: 0, offset });
        let commits = [OffsetCommit::new(topic, 0, Offset::new(offset)).metadata(&metadata)];
        let built = store.consumer(group).assign([(topic, 0)]).build();
        let Some(mut consumer) = self.bear(built) else { return };
        for _ in 0..times {
            let done = consumer.commit_offsets_with(&commits, Durability::Process);
            if self.bear(done).is_none() {
                return;
            }
        }
        self.note(Deed::Committed { group, topic, partition: 0, offset, power: false });
    }

    /// What groups committed may expire from here on.
    pub fn expiring(&mut self, groups: &[&'static str]) {
        for &group in groups {
            self.note(Deed::Forgetting { group });
        }
    }

    pub fn forget(&mut self, group: &'static str) {
        let Some(store) = self.store() else { return };
        self.note(Deed::Forgetting { group });
        if self.bear_or(store.delete_group(group), Deed::NotForgot { group }).is_some() {
            self.note(Deed::Forgot { group });
        }
    }
}
