//! The host over three replicas: who leads, who is in sync, what was promised to readers.

use std::collections::BTreeMap;

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::replica::Replica;
use crate::disk::Crash;
use crate::error::ErrorKind;
use crate::ids::{LeaderEpoch, Offset};
use crate::log::RawLimits;
use crate::record::{Record, one_batch};

pub struct Cluster {
    replicas: Vec<Replica>,
    leader: usize,
    epoch: i32,
    /// Where the leader's log ended when its epoch began.
    began: Offset,
    in_sync: Vec<usize>,
    /// How far each is known to be durable, by the leader of `epoch`.
    acknowledged: [Offset; 3],
    /// Value and epoch of every record that was ever below the high watermark.
    promised: BTreeMap<Offset, (Vec<u8>, LeaderEpoch)>,
    deleted: Offset,
    number: u64,
}

impl Cluster {
    pub fn new(seed: u64) -> Self {
        let replicas: Vec<_> = (0..3).map(|number| Replica::new(seed, number)).collect();
        replicas[0].partition().become_leader(LeaderEpoch::new(0)).unwrap();
        Cluster {
            replicas,
            leader: 0,
            epoch: 0,
            began: Offset::ZERO,
            in_sync: vec![0, 1, 2],
            acknowledged: [Offset::ZERO; 3],
            promised: BTreeMap::new(),
            deleted: Offset::ZERO,
            number: 0,
        }
    }

    fn leads(&self) -> Option<&Replica> {
        Some(&self.replicas[self.leader]).filter(|leader| leader.is_up())
    }

    /// Appends to the leader; now and then to one that does not know that it leads no longer.
    pub fn produce(&mut self, random: &mut StdRng, what: &str) {
        self.number += 1;
        let Some(leader) = self.leads() else { return };
        let size = random.random_range(1..200);
        let value = |at| format!("{}.{at}:{:.<size$}", self.number, "");
        let values: Vec<_> = (0..random.random_range(1..4)).map(value).collect();
        let records: Vec<_> = values.iter().map(|value| Record::new(value.as_bytes())).collect();
        let epoch = LeaderEpoch::new(self.epoch);
        let done = leader.partition().append_as_leader(epoch, &records);
        done.unwrap_or_else(|error| panic!("{what}: {error}"));
        if random.random_bool(0.2) {
            leader.maintain();
        }
        if random.random_bool(0.1) {
            self.leave_out(random.random_range(1..30), what);
        }
        self.advance(what);
    }

    /// A record behind a gap, as compaction at an earlier leader would have left one.
    fn leave_out(&self, offsets: i64, what: &str) {
        let leader = &self.replicas[self.leader];
        let base = Offset::new(leader.end().get() + offsets);
        let value = format!("{} behind a gap", self.number);
        let batch = one_batch(base.get(), self.epoch, value.as_bytes(), 1);
        let done = leader.partition().append_as_follower(&batch);
        done.unwrap_or_else(|error| panic!("{what}: {error}"));
        leader.partition().become_leader(LeaderEpoch::new(self.epoch)).unwrap();
    }

    /// A follower fetches once from the leader.
    pub fn fetch(&mut self, number: usize, random: &mut StdRng, what: &str) {
        if number == self.leader || !self.replicas[number].is_up() || self.leads().is_none() {
            return;
        }
        if self.replicas[number].agreed != Some(self.epoch) {
            self.agree(number, what);
        }
        let (leader, follower) = (&self.replicas[self.leader], &self.replicas[number]);
        let partition = follower.partition();
        if follower.end() < leader.start_offset() {
            partition.truncate_fully_and_start_at(leader.start_offset()).unwrap();
        }
        let limits = RawLimits::to_end(random.random_range(1..1500));
        let read = leader.partition().read_batches(follower.end(), limits);
        let read = read.unwrap_or_else(|error| panic!("{what}: {error}"));
        if read.first_offset() < follower.end() {
            // the leader's log starts within a batch, which begins below what was asked for
            partition.truncate_fully_and_start_at(read.first_offset()).unwrap();
        }
        let taken = partition.append_as_follower(read.bytes());
        taken.unwrap_or_else(|error| panic!("{what}: {error}"));
        partition.set_high_watermark(read.high_watermark()).unwrap();
        let start = read.log_start().min(partition.high_watermark().unwrap());
        partition.delete_records_before(start).unwrap();
        if random.random_bool(0.5) {
            partition.flush().unwrap();
        }
        self.acknowledged[number] = follower.durable();
        let watermark = leader.partition().high_watermark().unwrap();
        // the leader's own high watermark may be one of before a crash: all that it had when it was
        // elected may have been promised
        let caught_up = follower.durable() >= watermark.max(self.began);
        if !self.in_sync.contains(&number) && caught_up {
            self.in_sync.push(number);
        }
        self.advance(what);
    }

    /// Cuts what a follower has and the leader has not: epoch by epoch, the latest first.
    fn agree(&mut self, number: usize, what: &str) {
        let (leader, follower) = (&self.replicas[self.leader], &self.replicas[number]);
        let partition = follower.partition();
        partition.become_follower().unwrap();
        while let Some(asked) = follower.last_epoch() {
            let answer = leader.partition().end_offset_for_epoch(asked).unwrap();
            let (epoch, end) = answer.unwrap_or_else(|| panic!("{what}: epoch {asked} is unknown"));
            let (own_epoch, own_end) = match partition.end_offset_for_epoch(epoch).unwrap() {
                Some(own) => own,
                None => (epoch, follower.end()),
            };
            let target = end.min(own_end);
            if target < follower.end() {
                let kept = partition.high_watermark().unwrap();
                assert!(target >= kept, "{what}: {number} is cut to {target}, below {kept}");
                partition.truncate_to(target).unwrap();
            }
            if own_epoch == epoch || follower.last_epoch() == Some(asked) {
                break;
            }
        }
        self.replicas[number].agreed = Some(self.epoch);
    }

    pub fn flush(&mut self, number: usize, what: &str) {
        if !self.replicas[number].is_up() {
            return;
        }
        self.replicas[number].partition().flush().unwrap();
        self.advance(what);
    }

    /// The high watermark rises to what all in sync have durably; it never falls.
    fn advance(&mut self, what: &str) {
        let Some(leader) = self.leads() else { return };
        let partition = leader.partition();
        let ends = self.in_sync.iter().map(|number| match *number == self.leader {
            true => leader.durable(),
            false => self.acknowledged[*number],
        });
        let least = ends.min().unwrap();
        if least <= partition.high_watermark().unwrap() {
            return;
        }
        partition.set_high_watermark(least).unwrap();
        let before = self.promised.last_key_value().map_or(Offset::ZERO, |(last, _)| last.next());
        let from = before.max(leader.start_offset());
        if from >= least {
            return; // a new leader's may have been lower
        }
        for (offset, value, epoch) in leader.seen_from(from) {
            assert!(offset < least, "{what}: {offset} at {least}");
            self.promised.insert(offset, (value, epoch));
        }
    }

    /// Another one that is in sync leads from now on. The old one may write on for a while.
    pub fn elect(&mut self, random: &mut StdRng, what: &str) {
        let able = |number: &&usize| self.replicas[**number].is_up();
        let able: Vec<_> = self.in_sync.iter().filter(able).copied().collect();
        if able.is_empty() {
            return;
        }
        let (old, old_epoch) = (self.leader, LeaderEpoch::new(self.epoch));
        self.leader = able[random.random_range(0..able.len())];
        self.epoch += 1;
        // the new one knows of no follower what it has: that they are asked anew
        self.acknowledged = [Offset::ZERO; 3];
        let partition = self.replicas[self.leader].partition();
        partition.become_leader(LeaderEpoch::new(self.epoch)).unwrap();
        self.began = partition.end_offset().unwrap();
        let (deposed, leader) = (&self.replicas[old], self.leader);
        if old != leader && deposed.is_up() {
            for number in 0..random.random_range(0..3) {
                let value = format!("divergent {number} of {old_epoch}");
                let records = [Record::new(value.as_bytes())];
                let done = deposed.partition().append_as_leader(old_epoch, &records);
                assert!(done.is_ok(), "{what}: {done:?}");
            }
        } else if old == leader {
            let late = partition.append_as_leader(old_epoch, &[Record::new("late")]).unwrap_err();
            assert_eq!(late.kind(), ErrorKind::FencedLeaderEpoch, "{what}");
        }
        self.shrink();
    }

    /// Who is down is in sync no longer, unless nobody else is.
    fn shrink(&mut self) {
        let up: Vec<_> =
            self.in_sync.iter().copied().filter(|at| self.replicas[*at].is_up()).collect();
        if !up.is_empty() && self.leads().is_some() {
            self.in_sync = up;
        }
    }

    pub fn stop(&mut self, number: usize, random: &mut StdRng) {
        if !self.replicas[number].is_up() {
            return;
        }
        let power = match random.random_range(0..4) {
            0 => None,
            1 => Some(Crash::Nothing),
            _ => Some(Crash::Random(random.random())),
        };
        self.replicas[number].stop(power);
        self.shrink();
    }

    pub fn start(&mut self, number: usize, what: &str) {
        if self.replicas[number].is_up() {
            return;
        }
        self.replicas[number].start(what);
        if number == self.leader {
            // it has perhaps lost what it had not synced: it leads under a new epoch alone
            self.epoch += 1;
            self.acknowledged = [Offset::ZERO; 3];
            let partition = self.replicas[number].partition();
            partition.become_leader(LeaderEpoch::new(self.epoch)).unwrap();
            self.began = partition.end_offset().unwrap();
            self.shrink();
        }
    }

    pub fn close_and_open(&mut self, number: usize, what: &str) {
        if self.replicas[number].is_up() {
            self.replicas[number].close();
            self.start(number, what);
        }
    }

    pub fn delete_records(&mut self, random: &mut StdRng, what: &str) {
        let Some(leader) = self.leads() else { return };
        let partition = leader.partition();
        let most = partition.high_watermark().unwrap();
        let to = Offset::new(random.random_range(leader.start_offset().get()..=most.get()));
        let done = partition.delete_records_before(to);
        done.unwrap_or_else(|error| panic!("{what}: {error}"));
        self.deleted = self.deleted.max(to);
    }

    /// What any replica shows its readers is what was promised.
    pub fn check(&self, what: &str) {
        for replica in self.replicas.iter().filter(|replica| replica.is_up()) {
            let watermark = replica.partition().high_watermark().unwrap();
            let start = replica.start_offset();
            let promised = self.promised.range(start..watermark.max(start));
            let promised: Vec<_> =
                promised.map(|(offset, (value, epoch))| (*offset, value.clone(), *epoch)).collect();
            let seen = replica.seen_from(start);
            let offsets = |all: &[(Offset, Vec<u8>, LeaderEpoch)]| -> Vec<_> {
                all.iter().map(|(offset, _, epoch)| (offset.get(), epoch.get())).collect()
            };
            let (seen_at, promised_at) = (offsets(&seen), offsets(&promised));
            assert_eq!(seen_at, promised_at, "{what}: {start}..{watermark}");
            assert!(seen == promised, "{what}: {start}..{watermark}");
        }
    }

    /// All come up and catch up; then they are the same.
    pub fn heal(&mut self, what: &str) {
        let random = &mut <StdRng as rand::SeedableRng>::seed_from_u64(0);
        (0..3).for_each(|number| self.start(number, what));
        for _ in 0..1000 {
            let end = self.replicas[self.leader].end();
            (0..3).for_each(|number| self.flush(number, what));
            (0..3).for_each(|number| self.fetch(number, random, what));
            let leader = &self.replicas[self.leader];
            if self.replicas.iter().all(|replica| replica.end() == end)
                && leader.partition().high_watermark().unwrap() == end
            {
                break;
            }
        }
        self.check(what);
        let leader = &self.replicas[self.leader];
        assert_eq!(leader.partition().high_watermark().unwrap(), leader.end(), "{what}");
        let start = self.replicas.iter().map(Replica::start_offset).max().unwrap();
        let bytes = leader.bytes_from(start);
        // before the first batch there may be a gap, which the epoch may reach over or begin behind
        let base = bytes.first_chunk().map(|base| Offset::new(i64::from_be_bytes(*base)));
        let begins = base.unwrap_or(start).max(start);
        let epochs = leader.partition().leader_epochs().unwrap();
        for replica in &self.replicas {
            assert_eq!(replica.bytes_from(start), bytes, "{what}");
            let own = replica.partition().leader_epochs().unwrap();
            let since = |all: &[(LeaderEpoch, Offset)]| -> Vec<_> {
                all.iter().copied().filter(|(_, first)| *first > begins).collect()
            };
            assert_eq!(since(&own), since(&epochs), "{what}");
            let report = replica.store().verifier().run().unwrap();
            assert!(report.findings().is_empty(), "{what}: {:?}", report.findings());
        }
        (0..3).for_each(|number| self.replicas[number].close());
        if self.deleted == Offset::ZERO {
            let files: Vec<_> = self.replicas.iter().map(Replica::file_bytes).collect();
            assert!(files.iter().all(|file| *file == files[0]), "{what}: the files differ");
        }
    }
}
