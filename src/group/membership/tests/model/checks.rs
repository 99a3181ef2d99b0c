//! What must hold after each step, and once everybody who has been woken has worked.

use super::*;

impl Model {
    /// Everybody who sleeps in a poll and has been woken works, until nobody is: then nothing may
    /// be left that somebody in a poll could do.
    pub(super) fn let_the_woken_work(&mut self) {
        for round in 0.. {
            let woken: Vec<MemberId> = self
                .clients
                .iter()
                .filter(|(_, c)| c.is_awake)
                .map(|(id, _)| *id)
                .filter(|id| self.is_polling(*id))
                .collect();
            if woken.is_empty() {
                break;
            }
            assert!(round < 100, "they wake each other for ever");
            woken.into_iter().for_each(|member| self.turn(member));
        }
        let polling: Vec<_> =
            self.clients.keys().copied().filter(|m| self.is_polling(*m)).collect();
        if self.state.topics_seen() == self.count {
            assert!(polling.is_empty() || !self.expected.is_due(), "nobody sees to it");
        }
        for member in polling {
            assert_eq!(self.expected.to_revoke(member), [], "{member} sleeps on it");
            assert_eq!(self.expected.to_acquire(member), [], "{member} was not woken");
        }
    }

    /// Everybody polls for a few rounds: everything wanted is owned, and by its target.
    pub(super) fn settle(&mut self) {
        for _ in 0..2 {
            let all: Vec<_> = self.clients.keys().copied().collect();
            all.into_iter().for_each(|member| self.begin_poll(member));
            self.let_the_woken_work();
        }
        assert_eq!(self.expected.owners, self.expected.targets);
        if !self.clients.is_empty() {
            let owned: BTreeSet<_> = self.expected.owners.keys().cloned().collect();
            assert_eq!(owned, self.expected.wanted());
            assert_eq!(self.state.phase(), Phase::Stable);
        }
    }

    pub(super) fn check(&self) {
        self.state.check().unwrap();
        let (mut owners, mut targets) = (BTreeMap::new(), BTreeMap::new());
        for shown in self.state.describe().members {
            assert!(self.expected.members.contains_key(&shown.id));
            owners.extend(shown.owned.into_iter().map(|p| (p, shown.id)));
            targets.extend(shown.target.into_iter().map(|p| (p, shown.id)));
        }
        assert_eq!((&owners, &targets), (&self.expected.owners, &self.expected.targets));
        let mut readers: BTreeMap<&TopicPartition, MemberId> = BTreeMap::new();
        let live = self.clients.iter().filter(|(member, _)| self.is_live(**member));
        for (member, partition) in live.flat_map(|(m, c)| c.holding.iter().map(move |p| (m, p))) {
            let other = readers.insert(partition, *member);
            assert!(other.is_none(), "{partition} is read by {member} and {other:?}");
        }
        if !self.expected.is_due() {
            assert!(targets.into_keys().eq(self.expected.wanted()), "every partition has a target");
        }
        assert_eq!(self.state.generation().get(), self.expected.generation);
        assert!(!self.state.contains(MemberId::new(u64::MAX)));
        assert_eq!(self.state.is_empty(), self.expected.members.is_empty());
    }

    /// What the state is, whatever its members and topics are called.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let ranks: BTreeMap<_, _> = self.expected.members.keys().zip(0..).collect();
        for (member, known) in &self.expected.members {
            (ranks[member], &known.wants, known.away_since.is_none()).hash(&mut hasher);
        }
        for pairs in [&self.expected.owners, &self.expected.targets] {
            for (partition, member) in pairs {
                let gone = self.topics.get(partition.topic()).map(|(id, _)| *id)
                    != Some(partition.topic_id());
                (partition.topic(), partition.partition(), gone, ranks[member]).hash(&mut hasher);
            }
            0xff.hash(&mut hasher);
        }
        self.expected.is_due().hash(&mut hasher);
        hasher.finish()
    }
}
