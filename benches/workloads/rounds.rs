//! How a workload is run: small or whole, by criterion or in rounds of our own, and how its times
//! are printed. Every workload is handed a [`Run`] by `main`.
//!
//! A rate is told as its median, its least and its most; a time as percentiles that
//! `hdrhistogram` keeps to three digits.

use std::time::Duration;

use criterion::{BenchmarkFilter, Criterion, SamplingMode, Throughput};
use hdrhistogram::Histogram;

/// One run of one workload.
pub struct Run {
    pub name: &'static str,
    /// Whether it is only to be seen to work.
    pub is_test: bool,
    /// The words of the command line that are no options, without the name.
    pub words: Vec<String>,
}

impl Run {
    pub fn new(name: &'static str, words: &[String]) -> Self {
        let is_test = words.iter().any(|word| word == "--test");
        let words = words.iter().filter(|word| !word.starts_with('-') && *word != name);
        Run { name, is_test, words: words.cloned().collect() }
    }

    /// A count, or a hundredth of it where the workload is only to be seen to work.
    pub fn count(&self, whole: u64) -> u64 {
        if self.is_test { (whole / 100).max(1) } else { whole }
    }

    /// How many rounds of our own.
    pub fn rounds(&self) -> usize {
        if self.is_test { 1 } else { 5 }
    }

    /// Measures one routine by criterion: ten samples of whole rounds, as far as it lets us say so.
    pub fn criterion(&self, name: &str, unit: Throughput, mut round: impl FnMut()) {
        let criterion = Criterion::default().configure_from_args();
        // `main` has chosen already, and by the whole name
        let mut criterion = criterion.with_benchmark_filter(BenchmarkFilter::AcceptAll);
        let mut group = criterion.benchmark_group("tidelog");
        group.sample_size(10).sampling_mode(SamplingMode::Flat).throughput(unit);
        group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
        group.bench_function(name, |b| b.iter(&mut round));
        group.finish();
    }
}

/// A histogram of nanoseconds, from one to ten seconds.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 10_000_000_000, 3).expect("legal bounds")
}

/// Keeps a time.
pub fn keep(histogram: &mut Histogram<u64>, took: Duration) {
    histogram.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1));
}

/// Prints percentiles in microseconds.
pub fn print(name: &str, histogram: &Histogram<u64>) {
    let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1e3;
    println!(
        "{name}: p50 {:.2} us, p99 {:.2} us, p99.9 {:.2} us, p99.999 {:.2} us, max {:.2} us ({})",
        at(0.5),
        at(0.99),
        at(0.999),
        at(0.99999),
        histogram.max() as f64 / 1e3,
        histogram.len()
    );
}

/// What this thread has run and how long it has waited for a processor meanwhile, as Linux counts
/// them; nothing elsewhere.
pub fn scheduled() -> (Duration, Duration) {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let mut nanos = text.split_whitespace().map(|number| number.parse().unwrap_or(0));
    let mut next = || Duration::from_nanos(nanos.next().unwrap_or(0));
    (next(), next())
}

/// The processor time of this thread.
pub fn ran() -> Duration {
    scheduled().0
}

/// The median, the least and the most of some figures.
pub fn spread(mut figures: Vec<f64>) -> (f64, f64, f64) {
    figures.sort_by(f64::total_cmp);
    (figures[figures.len() / 2], figures[0], figures[figures.len() - 1])
}

/// Prints a figure of several rounds with its spread.
pub fn print_spread(name: &str, unit: &str, figures: Vec<f64>) {
    let (median, least, most) = spread(figures);
    println!("{name}: {median:.2} {unit} ({least:.2}-{most:.2})");
}
