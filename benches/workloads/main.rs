//! The workloads of `docs/performance.md`, each under its own name: `cargo bench -- single100`.
//!
//! A name that is one of them runs that one alone; any other word runs those that contain it, and
//! no word runs all. `--list` names them, `--test` runs each once, small, to see that it works.
//! What follows the name goes to the workload (`journal 15 10`). Counts and times are fixed, so
//! that runs compare: one name ends within a minute once it is built.
//!
//! Data goes to the system's temporary directory, or to `TIDELOG_BENCH_DIR`. Background syncs are
//! on, as they are for users. Workloads of a rate are measured by criterion, whose options are
//! understood; those of times print percentiles.

mod append;
mod durable;
mod end2end;
mod filter;
mod floor;
mod journal;
mod many;
mod place;
mod read;
mod rebalance;
mod rounds;
mod shared;
mod tails;
mod topics;
mod transactions;
mod upkeep;
mod wake;
mod whole;

use rounds::Run;

type Workload = fn(&Run);

const WORKLOADS: &[(&str, Workload)] = &[
    ("single100", append::single100),
    ("linger100", append::linger100),
    ("batch1k", append::batch1k),
    ("floor", floor::floor),
    ("threads2", append::threads2),
    ("threads16", append::threads16),
    ("topics10", topics::topics10),
    ("topics100", topics::topics100),
    ("topics1000", topics::topics1000),
    ("topics10000", topics::topics10000),
    ("read100", read::read100),
    ("read100b", read::read100b),
    ("read1k", read::read1k),
    ("readcold", read::readcold),
    ("filterone", filter::filterone),
    ("filterrun", filter::filterrun),
    ("filterall", filter::filterall),
    ("overwrite", durable::overwrite),
    ("sync1", durable::sync1),
    ("sync16", durable::sync16),
    ("sync64", durable::sync64),
    ("synctopics", durable::synctopics),
    ("journal", journal::journal),
    ("transactions", transactions::transactions),
    ("wake", wake::wake),
    ("tails", tails::tails),
    ("create", many::create),
    ("open10k", many::open10k),
    ("open1k", many::open1k),
    ("end2end", end2end::end2end),
    ("compact", upkeep::compact),
    ("seek", upkeep::seek),
    ("rebalance", rebalance::rebalance),
    ("backup", whole::backup),
    ("verify", whole::verify),
    ("shared", shared::shared),
    ("delays", shared::delays),
];

/// The workloads that a command line asks for: its first word decides.
fn chosen(words: &[String]) -> Vec<&'static (&'static str, Workload)> {
    let Some(asked) = words.iter().find(|word| !word.starts_with('-')) else {
        return WORKLOADS.iter().collect();
    };
    match WORKLOADS.iter().find(|(name, _)| name == asked) {
        Some(one) => vec![one],
        None => WORKLOADS.iter().filter(|(name, _)| name.contains(asked.as_str())).collect(),
    }
}

fn main() {
    if many::is_child() {
        return many::child();
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let chosen = chosen(&words);
    if words.iter().any(|word| word == "--list") {
        chosen.iter().for_each(|(name, _)| println!("{name}: benchmark"));
        return;
    }
    for (name, workload) in chosen {
        workload(&Run::new(name, &words));
    }
}
