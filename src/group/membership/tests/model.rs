//! The whole protocol at random against the reference: members that join, poll, stall, leave and
//! come back; topics that come, grow, go and come again; assignors that talk nonsense; crashes;
//! a clock that jumps. Each call's answer is foretold, and everything is compared after each step.
//!
//! A member that sleeps in a poll does something only when it has been woken. The controls plant a
//! fault each and see it found.

mod checks;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::reference::{Known, Reference, Wants, all_of};
use super::*;
use crate::seeds::seeds;

const STEPS: u64 = 1_000;
const MOST_MEMBERS: usize = 6;
const NAMES: [&str; 5] = ["a-one", "a-two", "b-one", "b-two", "__inside"];
const INSTANCES: [&str; 3] = ["till-1", "till-2", "till-3"];

/// A fault planted to see that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// A member takes all that is to be its, whoever owns it.
    TakesOwned,
    /// A member gives up everything it owns in every rebalance.
    RevokesAll,
    /// Nobody is woken.
    LosesWakes,
    /// A plan is installed whatever has changed since.
    InstallsStale,
    /// Nobody is expelled.
    NeverExpels,
}

/// One consumer: what it believes.
#[derive(Debug)]
struct Client {
    assignor: Nonsense,
    /// What it reads.
    holding: BTreeSet<TopicPartition>,
    /// Its listener runs: these it will release.
    revoking: Option<Vec<TopicPartition>>,
    /// A plan it has made, and the count of changes it was made at.
    plan: Option<(Plan, u64)>,
    is_awake: bool,
}

/// Assignors that call themselves sticky and are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nonsense {
    Not,
    Panics,
    LeavesOut,
    Twice,
    UnknownMember,
    OldTopic,
}

impl Assignor for Nonsense {
    fn name(&self) -> &str {
        "sticky"
    }

    fn assign(&self, group: &GroupView) -> Assignment {
        let sound = StickyAssignor::new().assign(group);
        let mut pairs: Vec<(MemberId, TopicPartition)> =
            sound.iter().flat_map(|(m, all)| all.iter().map(move |p| (m, p.clone()))).collect();
        if let Some((member, partition)) = pairs.pop() {
            let old = TopicPartition::new(partition.topic(), id(255), partition.partition());
            match self {
                Nonsense::Not => pairs.push((member, partition)),
                Nonsense::Panics => std::panic::resume_unwind(Box::new("nonsense")),
                Nonsense::LeavesOut => {}
                Nonsense::Twice => pairs.extend([(member, partition.clone()), (member, partition)]),
                Nonsense::UnknownMember => pairs.push((MemberId::new(u64::MAX), partition)),
                Nonsense::OldTopic => pairs.push((member, old)),
            }
        }
        let mut said = Assignment::new();
        pairs.into_iter().for_each(|(member, partition)| said.give(member, partition));
        said
    }
}

struct Model {
    random: StdRng,
    fault: Fault,
    now: Duration,
    state: GroupState,
    expected: Reference,
    clients: BTreeMap<MemberId, Client>,
    /// The catalog, and the count of its changes.
    topics: BTreeMap<&'static str, (TopicId, u32)>,
    count: u64,
    topics_made: u128,
    last_member: u64,
}

impl Model {
    fn new(seed: u64, fault: Fault) -> Self {
        Model {
            random: StdRng::seed_from_u64(seed),
            fault,
            now: Duration::from_secs(1_000),
            state: GroupState::new(Generation::default(), Arc::default()),
            expected: Reference::default(),
            clients: BTreeMap::new(),
            topics: BTreeMap::new(),
            count: 0,
            topics_made: 0,
            last_member: 0,
        }
    }

    fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..12 => self.join(),
            12..16 => self.with_client(Model::leave),
            16..28 => self.with_client(Model::begin_poll),
            28..62 => self.with_client(Model::act),
            62..70 => self.with_client(Model::end_poll),
            70..78 => self.pass_time(),
            78..87 => self.change_topics(),
            87..92 => self.with_client(Model::commit),
            92..96 => self.let_the_woken_work(),
            96..99 => self.settle(),
            _ if self.random.random_bool(0.2) => self.crash(),
            _ => {}
        }
        self.check();
    }

    fn with_client(&mut self, does: fn(&mut Self, MemberId)) {
        let ids: Vec<MemberId> = self.clients.keys().copied().collect();
        if !ids.is_empty() {
            let at = self.pick(ids.len());
            does(self, ids[at]);
        }
    }

    fn wake(&mut self, members: Vec<MemberId>) {
        for member in members {
            assert!(self.state.contains(member), "{member} is woken and gone");
            if self.fault != Fault::LosesWakes {
                self.clients.get_mut(&member).unwrap().is_awake = true;
            }
        }
    }

    fn is_live(&self, member: MemberId) -> bool {
        self.expected.members.contains_key(&member)
    }

    fn is_polling(&self, member: MemberId) -> bool {
        self.expected.members.get(&member).is_some_and(|known| known.away_since.is_none())
    }

    fn join(&mut self) {
        if self.clients.len() >= MOST_MEMBERS {
            return;
        }
        let wants = match self.random.random_range(0..10) {
            0..5 => Wants::Names(NAMES[..2].iter().copied().collect()),
            5..8 => {
                let some = NAMES.iter().copied().filter(|_| self.random.random_bool(0.4));
                Wants::Names(some.collect())
            }
            8 => Wants::Prefix("a-"),
            _ => Wants::Prefix(""),
        };
        let instance = self.random.random_bool(0.3).then(|| INSTANCES[self.pick(INSTANCES.len())]);
        let interval = [second(5), second(60), Duration::MAX][self.pick(3)];
        self.last_member += 1;
        let id = MemberId::new(self.last_member);
        let joining = Joining {
            id,
            instance: instance.map(Arc::from),
            interest: wants.interest(),
            assignor: "sticky".into(),
            max_poll_interval: interval,
        };
        let joined = self.state.join(joining, self.now);
        if let Err(holder) = self.expected.may_join(instance) {
            assert_eq!(joined, Err(JoinRefused::InstanceInUse(holder)));
            return;
        }
        self.expected.join(id, Known { wants, instance, interval, away_since: Some(self.now) });
        let assignor = match self.random.random_range(0..20) {
            0 => Nonsense::Panics,
            1 => Nonsense::LeavesOut,
            2 => Nonsense::Twice,
            3 => Nonsense::UnknownMember,
            4 => Nonsense::OldTopic,
            _ => Nonsense::Not,
        };
        let (holding, revoking, plan) = (BTreeSet::new(), None, None);
        self.clients.insert(id, Client { assignor, holding, revoking, plan, is_awake: false });
        self.wake(joined.unwrap());
    }

    fn pick(&mut self, below: usize) -> usize {
        self.random.random_range(0..below)
    }

    fn leave(&mut self, member: MemberId) {
        self.clients.remove(&member);
        let left = self.state.leave(member);
        if self.is_live(member) {
            self.expected.remove(member);
            self.expected.changes += 1;
            self.wake(left.unwrap());
        } else {
            assert_eq!(left, Err(Departed));
        }
    }

    /// Whether the member is live; one that is not finds out, and is gone.
    fn begin_poll(&mut self, member: MemberId) {
        let began = self.state.poll_began(member);
        if let Some(known) = self.expected.members.get_mut(&member) {
            known.away_since = None;
            self.clients.get_mut(&member).unwrap().is_awake = true;
            assert_eq!(began, Ok(()));
        } else {
            assert_eq!(began, Err(Departed));
            self.clients.remove(&member);
        }
    }

    fn end_poll(&mut self, member: MemberId) {
        if !self.is_polling(member) {
            return;
        }
        let client = self.clients.get_mut(&member).unwrap();
        client.plan = None; // an `_async` poll that is dropped
        self.expected.members.get_mut(&member).unwrap().away_since = Some(self.now);
        let woken = self.state.poll_ended(member, self.now).unwrap();
        self.wake(woken);
    }

    /// One step of a poll, if the member is in one and awake.
    fn act(&mut self, member: MemberId) {
        if !self.is_polling(member) || !self.clients[&member].is_awake {
            return;
        }
        match self.random.random_range(0..6) {
            0 => self.see_topics(),
            1 => self.plan(member),
            2 => self.install(member),
            3 => self.revoke(member),
            4 => self.release(member),
            _ => self.acquire(member),
        }
    }

    /// A whole turn of a poll's loop, after which the member sleeps.
    fn turn(&mut self, member: MemberId) {
        self.clients.get_mut(&member).unwrap().is_awake = false;
        self.see_topics();
        while self.state.rebalance().is_some() {
            self.plan(member);
            self.install(member);
        }
        self.release(member);
        self.revoke(member);
        self.release(member);
        self.acquire(member);
    }

    fn see_topics(&mut self) {
        let visibility = |name: &str| match name.starts_with("__") {
            true => Visibility::Internal,
            false => Visibility::Public,
        };
        let known = self.topics.iter().map(|(name, (id, partitions))| KnownTopic {
            name: Arc::from(*name),
            id: *id,
            partitions: *partitions,
            visibility: visibility(name),
        });
        let list = list(self.count, known);
        if self.state.topics_seen() != self.count {
            let woken = self.state.set_topics(&list);
            self.expected.see(&self.topics);
            self.wake(woken);
        }
    }

    fn plan(&mut self, member: MemberId) {
        let rebalance = self.state.rebalance();
        assert_eq!(rebalance.is_some(), self.expected.is_due());
        let Some(rebalance) = rebalance else { return };
        let client = self.clients.get_mut(&member).unwrap();
        let plan = rebalance.plan(&client.assignor);
        let nonsense = client.assignor != Nonsense::Not && !self.expected.wanted().is_empty();
        assert_eq!(plan.fallback().is_some(), nonsense, "{:?}", plan.fallback());
        client.plan = Some((plan, self.expected.changes));
    }

    fn install(&mut self, member: MemberId) {
        let Some((mut plan, changes)) = self.clients.get_mut(&member).unwrap().plan.take() else {
            return;
        };
        if self.fault == Fault::InstallsStale {
            plan.version = self.state.version;
        }
        let pairs = plan.assignment.iter();
        let pairs = pairs.flat_map(|(m, all)| all.iter().map(move |p| (m, p.clone()))).collect();
        let installed = self.state.install(plan);
        if changes != self.expected.changes || !self.expected.is_due() {
            assert_eq!(installed, Installed::Stale);
            return;
        }
        self.expected.install(pairs);
        let Installed::At { generation, wake } = installed else { panic!("it fits") };
        assert_eq!(generation.get(), self.expected.generation);
        self.wake(wake);
    }

    fn revoke(&mut self, member: MemberId) {
        let mut revoked = self.state.to_revoke(member).unwrap();
        if self.fault == Fault::RevokesAll && !revoked.is_empty() {
            revoked.extend(self.clients[&member].holding.iter().cloned());
            revoked.sort();
            revoked.dedup();
        }
        let client = self.clients.get_mut(&member).unwrap();
        assert!(revoked.iter().all(|p| client.holding.contains(p)), "never had it");
        assert_eq!(revoked, self.expected.to_revoke(member), "only what moves");
        client.revoking = Some(revoked);
    }

    fn release(&mut self, member: MemberId) {
        let client = self.clients.get_mut(&member).unwrap();
        let Some(revoked) = client.revoking.take() else { return };
        client.holding.retain(|p| !revoked.contains(p));
        for partition in &revoked {
            if self.expected.owners.get(partition) == Some(&member) {
                self.expected.owners.remove(partition);
            }
        }
        let woken = self.state.release(member, &revoked).unwrap();
        self.wake(woken);
    }

    fn acquire(&mut self, member: MemberId) {
        let mut taken = self.state.acquire(member).unwrap();
        if self.fault == Fault::TakesOwned {
            let shown = self.state.describe();
            let own = shown.members.into_iter().find(|shown| shown.id == member);
            taken = own.map_or_else(Vec::new, |own| own.target);
        } else {
            assert_eq!(taken, self.expected.to_acquire(member));
        }
        for partition in taken {
            self.expected.owners.entry(partition.clone()).or_insert(member);
            self.clients.get_mut(&member).unwrap().holding.insert(partition);
        }
    }

    fn pass_time(&mut self) {
        match self.random.random_range(0..8) {
            0 => self.now = self.now.saturating_sub(second(3)), // no clock does; it harms nobody
            1 => self.now += second(100),
            2 if self.random.random_bool(0.1) => self.now += second(1_000_000),
            _ => self.now += second(2),
        }
        let overdue = self.expected.overdue(self.now);
        let (expelled, woken) = match self.fault {
            Fault::NeverExpels => (Vec::new(), Vec::new()),
            _ => self.state.expire(self.now),
        };
        assert_eq!(expelled.iter().copied().collect::<BTreeSet<_>>(), overdue);
        overdue.iter().for_each(|member| self.expected.remove(*member));
        self.expected.changes += u64::from(!overdue.is_empty());
        assert_eq!(self.state.next_expiry(), self.expected.next_expiry());
        self.wake(woken);
    }

    fn change_topics(&mut self) {
        let name = NAMES[self.pick(NAMES.len())];
        let partitions = self.random.random_range(1..5);
        let known = self.topics.get_mut(name);
        match (known, self.random.random_range(0..4)) {
            (Some((_, count)), 0..2) => *count += 1,
            (Some(_), 2) => drop(self.topics.remove(name)),
            _ => {
                self.topics_made += 1;
                let id = TopicId::from_bytes(self.topics_made.to_be_bytes()).unwrap();
                self.topics.insert(name, (id, partitions));
            }
        }
        self.count += 1;
        // the catalog's signal wakes whoever is in a poll
        let polling: Vec<_> =
            self.clients.keys().copied().filter(|m| self.is_polling(*m)).collect();
        for member in polling {
            self.clients.get_mut(&member).unwrap().is_awake = true;
        }
    }

    fn commit(&mut self, member: MemberId) {
        let all = self.topics.iter().flat_map(|(name, (id, count))| all_of(name, *id, *count));
        let some: Vec<_> = all.filter(|_| self.random.random_bool(0.2)).collect();
        let may = self.state.may_commit(member, &some);
        let other = some.iter().find_map(|p| {
            let owner = self.expected.owners.get(p).filter(|owner| **owner != member)?;
            Some(Fenced::OwnedByAnother(p.clone(), *owner))
        });
        let expected = match (self.is_live(member), other) {
            (false, _) => Err(Fenced::Departed),
            (true, Some(other)) => Err(other),
            (true, None) => Ok(Generation::new(self.expected.generation)),
        };
        assert_eq!(may, expected);
    }

    /// The process is gone, with every member; the generation is not.
    fn crash(&mut self) {
        self.clients.clear();
        self.now = Duration::from_secs(1_000);
        let generation = self.state.generation();
        self.state = GroupState::new(generation, Arc::default());
        self.expected = Reference { generation: generation.get(), ..Reference::default() };
        self.count += 1;
    }
}

/// Runs a seed; says what failed.
fn run(seed: u64, fault: Fault, distinct: &mut HashSet<u64>) -> Result<(), String> {
    let run = catch_unwind(AssertUnwindSafe(|| {
        let mut model = Model::new(seed, fault);
        for _ in 0..STEPS {
            model.step();
            distinct.insert(model.fingerprint());
        }
    }));
    run.map_err(|payload| {
        payload.downcast_ref::<String>().cloned().unwrap_or_else(|| "an assertion".to_owned())
    })
}

#[test]
fn the_group_keeps_to_the_reference() {
    let began = Instant::now();
    let seeds = seeds(15, 120, 20_000);
    let (mut distinct, mut failed) = (HashSet::new(), Vec::new());
    let states = (seeds.end - seeds.start) * STEPS;
    for seed in seeds {
        if let Err(what) = run(seed, Fault::None, &mut distinct) {
            println!("seed {seed}: {what}");
            println!(
                "repeat: TIDELOG_SEED={seed} cargo test --lib the_group_keeps_to_the_reference"
            );
            failed.push(seed);
        }
    }
    // past the capture of tests, for scripts
    let said = writeln!(
        std::io::stderr(),
        "suite group_model: {states} states, {} distinct, {} failures, {:.1} s",
        distinct.len(),
        failed.len(),
        began.elapsed().as_secs_f64()
    );
    said.unwrap();
    assert!(failed.is_empty(), "seeds {failed:?}");
}

#[test]
fn planted_faults_are_found() {
    for fault in [
        Fault::TakesOwned,
        Fault::RevokesAll,
        Fault::LosesWakes,
        Fault::InstallsStale,
        Fault::NeverExpels,
    ] {
        let found = (0..20).find_map(|seed| run(seed, fault, &mut HashSet::new()).err());
        println!("{fault:?}: {found:?}");
        assert!(found.is_some(), "{fault:?} goes unnoticed");
    }
}
