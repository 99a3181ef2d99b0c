//! What a process takes from the machine, as it sees itself at like moments, and whether it stays
//! flat: the lower quartile and the middle of the first third after the warm-up beside those of the
//! last third.
//!
//! At rest everything is closed, whatever the process did before: what is still held was never let
//! go of. At work one life goes on and on: what grows in an open store shows there, and no opening
//! or closing, with all that they read, comes between. What is never let go of lifts both the
//! quartile and the middle; bursts, as when retention deletes, lift one of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// What is watched, and how much more of it is allowed at work and at rest: in parts of 100, and on
/// top of that.
const WATCHED: [(&str, [(u64, u64); 2]); 7] = [
    ("memory KiB", [(25, 16 << 10), (25, 16 << 10)]),
    ("handles", [(25, 8), (0, 2)]),
    ("mappings", [(25, 16), (25, 16)]),
    ("threads", [(0, 2), (0, 1)]),
    ("disk KiB", [(30, 4 << 10), (30, 4 << 10)]),
    ("journal KiB", [(0, 64), (0, 64)]),
    ("state log KiB", [(0, 1536), (0, 1536)]),
];

/// Of the samples of a series so many in 100 are the warm-up's.
const WARM_UP: usize = 20;
/// Fewer samples say nothing.
const FEWEST: usize = 20;

/// One look, in the order of `WATCHED`.
pub type Sample = [u64; 7];

/// The moments at which a process looks at itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Work,
    Rest,
}

/// Bytes of all files below a directory, each name counted; files may vanish meanwhile.
fn bytes_below(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes_below(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    entries.filter_map(Result::ok).map(of).sum()
}

/// Looks at this process and its store.
pub fn look(store: &Path) -> Sample {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has it");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        number.expect("Linux says it")
    };
    let handles = fs::read_dir("/proc/self/fd").expect("Linux has it").count() as u64;
    let mappings = fs::read_to_string("/proc/self/maps").expect("Linux has it");
    let length = |name: &str| fs::metadata(store.join(name)).map_or(0, |file| file.len());
    [
        field("VmRSS:"),
        handles,
        mappings.lines().count() as u64,
        field("Threads:"),
        bytes_below(store) >> 10,
        length("tidelog.journal") >> 10,
        length("tidelog.state") >> 10,
    ]
}

/// A look as a child says it, in one line.
pub fn line(phase: Phase, store: &Path) -> String {
    let figures = look(store).map(|figure| figure.to_string()).join(" ");
    format!("figures {phase:?} {figures} .")
}

/// Samples of one process, or of those that follow one another, in their order.
/// Samples of one lane, in their order.
#[derive(Default)]
pub struct Series(Vec<Sample>);

impl Series {
    pub fn add(&mut self, sample: Sample) {
        self.0.push(sample);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Below which so many in 100 samples of a figure lie, in the first and the last third after
    /// the warm-up.
    fn below(&self, figure: usize, percent: usize) -> (u64, u64) {
        let warm = &self.0[self.0.len() * WARM_UP / 100..];
        let third = (warm.len() / 3).max(1).min(warm.len());
        let below = |samples: &[Sample]| {
            let mut figures: Vec<u64> = samples.iter().map(|sample| sample[figure]).collect();
            figures.sort_unstable();
            figures.get(figures.len() * percent / 100).copied().unwrap_or(0)
        };
        (below(&warm[..third]), below(&warm[warm.len() - third..]))
    }

    /// Every figure, as `first third -> last third (most)`.
    pub fn line(&self) -> String {
        let mut line = format!("{} samples", self.0.len());
        for (at, (name, _)) in WATCHED.iter().enumerate() {
            let (first, last) = self.below(at, 50);
            let most = self.0.iter().map(|sample| sample[at]).max().unwrap_or(0);
            write!(line, ", {name} {first} -> {last} (at most {most})").expect("it is text");
        }
        line
    }

    /// Whether nothing has grown by more than is allowed; else what.
    pub fn is_flat(&self, phase: Phase) -> Result<(), String> {
        if self.0.len() < FEWEST {
            return Err(format!("{} samples, too few to tell", self.0.len()));
        }
        let grown = WATCHED.iter().enumerate().filter_map(|(at, (name, allowed))| {
            let (percent, slack) = allowed[usize::from(phase == Phase::Rest)];
            let rises = |(first, last): (u64, u64)| last > first + first * percent / 100 + slack;
            let (first, last) = self.below(at, 50);
            let has_grown = rises(self.below(at, 25)) && rises((first, last));
            has_grown.then(|| format!("{name} grew from {first} to {last}"))
        });
        let grown: Vec<String> = grown.collect();
        if grown.is_empty() { Ok(()) } else { Err(grown.join(", ")) }
    }
}

/// What the processes of one name have said, by the moment.
#[derive(Default)]
pub struct Figures(BTreeMap<Phase, Series>);

impl Figures {
    /// Takes in a line that says a look; another, or one that was cut short, it leaves.
    pub fn hear(&mut self, line: &str) {
        let Some(line) = line.strip_prefix("figures ").and_then(|line| line.strip_suffix(" ."))
        else {
            return;
        };
        let mut words = line.split(' ');
        let phase = match words.next() {
            Some("Work") => Phase::Work,
            Some("Rest") => Phase::Rest,
            other => panic!("no such moment: {other:?}"),
        };
        let figures: Vec<u64> = words.map(|word| word.parse().expect("a number")).collect();
        let sample = Sample::try_from(figures).expect("as many as are watched");
        self.0.entry(phase).or_default().add(sample);
    }

    pub fn series(&self) -> impl Iterator<Item = (Phase, &Series)> {
        self.0.iter().map(|(phase, series)| (*phase, series))
    }
}

#[test]
fn growth_is_told_from_a_beginning_and_from_noise() {
    let series = |figure: &dyn Fn(u64) -> u64| {
        let mut series = Series::default();
        (0..60).for_each(|at| series.add([figure(at); 7]));
        series
    };
    let is_flat = |figure: &dyn Fn(u64) -> u64| {
        [Phase::Work, Phase::Rest].map(|phase| series(figure).is_flat(phase).is_ok()) == [true; 2]
    };
    assert!(is_flat(&|_| 100));
    assert!(is_flat(&|at| if at < 12 { at } else { 12 + at % 2 }));
    assert!(is_flat(&|at| if at % 3 == 0 && at > 30 { 300_000 } else { 40 }), "bursts late");
    for phase in [Phase::Work, Phase::Rest] {
        let grown = series(&|at| at * 1000).is_flat(phase).expect_err("it grew");
        assert!(WATCHED.iter().all(|(name, _)| grown.contains(name)), "{grown}");
        assert!(Series::default().is_flat(phase).is_err());
        // one handle kept of each life or turn, below bursts
        let slow = series(&|at| 20 + at + if at % 3 == 0 { 100 } else { 0 });
        assert!(slow.is_flat(phase).expect_err("it grew").contains("handles"));
    }
    // one of four lives keeps a handle: at rest that is enough to see it
    let slower = series(&|at| 20 + at / 4).is_flat(Phase::Rest).expect_err("it grew");
    assert!(slower.contains("handles"), "{slower}");
}
