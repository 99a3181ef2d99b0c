//! Tidelog beside its neighbours and the machine's limits: `cargo run --release -- [WORKLOADS]`.
//!
//! Every workload runs on every side that takes part, in turn, in this one process, five rounds,
//! the order moved on by one each round; what was appended is read back and compared, value by
//! value. Prints Markdown tables (median, least and most); `--plots DIR` draws them as SVG;
//! `--rounds N` asks for other than five. Data goes to the system's temporary directory, or to
//! `TIDELOG_BENCH_DIR`, which must be on the disk that is meant: a tmpfs syncs for nothing.

mod limits;
mod report;
mod sides;
mod work;

use std::path::PathBuf;

use report::Results;
use sides::NEIGHBOURS;
use work::WORKLOADS;

struct Asked {
    rounds: usize,
    plots: Option<PathBuf>,
    workloads: Vec<String>,
}

fn asked() -> Asked {
    let mut asked = Asked { rounds: 5, plots: None, workloads: Vec::new() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().expect("a value after the option");
        match word.as_str() {
            "--rounds" => asked.rounds = value().parse().expect("a number of rounds"),
            "--plots" => asked.plots = Some(value().into()),
            _ => asked.workloads.push(word),
        }
    }
    asked
}

fn main() {
    let asked = asked();
    let root = std::env::var_os("TIDELOG_BENCH_DIR").map(PathBuf::from);
    let root = root.unwrap_or_else(std::env::temp_dir);
    let root = root.join(format!("tidelog-peers-{}", std::process::id()));
    let wanted =
        |name: &str| asked.workloads.is_empty() || asked.workloads.iter().any(|w| w == name);
    let mut results = Results::default();
    for workload in WORKLOADS.iter().filter(|workload| wanted(workload.name)) {
        let sides: Vec<_> =
            NEIGHBOURS.iter().filter(|side| side.works.contains(&workload.name)).collect();
        for round in 0..asked.rounds {
            for number in 0..sides.len() {
                let side = sides[(number + round) % sides.len()];
                let _ = std::fs::remove_dir_all(&root);
                std::fs::create_dir_all(&root).expect("a directory");
                workload.warm_memory(&root);
                // a side that does not give back what it was given is told so, and no figure
                let run = || (workload.run)(workload, side, &root);
                match std::panic::catch_unwind(run) {
                    Ok(figures) => {
                        for (row, figure) in figures {
                            results.add(row, side.name, figure);
                        }
                    }
                    Err(_) => results.fail(workload.name, side.name),
                }
            }
        }
        eprintln!("{}: done", workload.name);
    }
    let _ = std::fs::remove_dir_all(&root);
    if wanted("limits") {
        limits::measure(asked.rounds, &root, &mut results);
    }
    results.print();
    report::print_promises();
    if let Some(dir) = asked.plots {
        results.plot(&dir).expect("plots");
    }
}
