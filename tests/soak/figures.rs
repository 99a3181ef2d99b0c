//! What a process takes from the machine, sampled, and whether it stays flat: the lower quartile
//! and the middle of the first third after the warm-up beside those of the last third.
//!
//! What is never let go of lifts both; bursts, as at an opening that reads everything, and the
//! pause between closing and opening shift one of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// What is watched: a name, how much more is allowed in parts of 100, and how much on top.
const WATCHED: [(&str, u64, u64); 7] = [
    ("memory KiB", 25, 16 << 10),
    ("handles", 25, 8),
    ("mappings", 25, 16),
    ("threads", 0, 2),
    ("disk KiB", 30, 8 << 10),
    ("journal KiB", 0, 64),
    ("state log KiB", 0, 1536),
];

/// Of the samples of a series so many in 100 are the warm-up's.
const WARM_UP: usize = 20;
/// Fewer samples say nothing.
const FEWEST: usize = 30;

/// One look, in the order of `WATCHED`.
pub type Sample = [u64; 7];

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

/// Looks at a process and its store; `None` once it is gone.
pub fn look(process: u32, store: &Path) -> Option<Sample> {
    let of = |file: &str| format!("/proc/{process}/{file}");
    let status = fs::read_to_string(of("status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let handles = fs::read_dir(of("fd")).ok()?.count() as u64;
    let mappings = fs::read_to_string(of("maps")).ok()?.lines().count() as u64;
    let length = |name: &str| fs::metadata(store.join(name)).map_or(0, |file| file.len());
    Some([
        field("VmRSS:")?,
        handles,
        mappings,
        field("Threads:")?,
        bytes_below(store) >> 10,
        length("tidelog.journal") >> 10,
        length("tidelog.state") >> 10,
    ])
}

/// Samples of one lane, in their order.
#[derive(Default)]
pub struct Series(Vec<Sample>);

impl Series {
    pub fn add(&mut self, sample: Sample) {
        self.0.push(sample);
    }

    /// Whether the last sample has so many handles.
    pub fn has_handles(&self, count: u64) -> bool {
        self.0.last().is_some_and(|sample| sample[1] >= count)
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
        for (at, (name, ..)) in WATCHED.iter().enumerate() {
            let (first, last) = self.below(at, 50);
            let most = self.0.iter().map(|sample| sample[at]).max().unwrap_or(0);
            write!(line, ", {name} {first} -> {last} (at most {most})").expect("it is text");
        }
        line
    }

    /// Whether nothing has grown by more than is allowed; else what.
    pub fn is_flat(&self) -> Result<(), String> {
        if self.0.len() < FEWEST {
            return Err(format!("{} samples, too few to tell", self.0.len()));
        }
        let grown = WATCHED.iter().enumerate().filter_map(|(at, (name, percent, slack))| {
            let (first, last) = self.below(at, 50);
            let rises = |(first, last): (u64, u64)| last > first + first * percent / 100 + slack;
            let has_grown = rises(self.below(at, 25)) && rises((first, last));
            has_grown.then(|| format!("{name} grew from {first} to {last}"))
        });
        let grown: Vec<String> = grown.collect();
        if grown.is_empty() { Ok(()) } else { Err(grown.join(", ")) }
    }
}

/// All that is watched in a run.
#[derive(Default)]
pub struct Watched(BTreeMap<&'static str, Series>);

impl Watched {
    pub fn add(&mut self, name: &'static str, series: Series) {
        self.0.entry(name).or_default().0.extend(series.0);
    }

    pub fn series(&self) -> impl Iterator<Item = (&'static str, &Series)> {
        self.0.iter().map(|(name, series)| (*name, series))
    }
}

#[test]
fn growth_is_told_from_a_beginning_and_from_noise() {
    let series = |figure: &dyn Fn(u64) -> u64| {
        let mut series = Series::default();
        (0..100).for_each(|at| series.add([figure(at); 7]));
        series
    };
    assert_eq!(series(&|_| 100).is_flat(), Ok(()));
    assert_eq!(series(&|at| if at < 20 { at } else { 20 + at % 2 }).is_flat(), Ok(()));
    let grown = series(&|at| at * 1000).is_flat().expect_err("it grew");
    assert!(WATCHED.iter().all(|(name, ..)| grown.contains(name)), "{grown}");
    assert!(Series::default().is_flat().is_err());
}
