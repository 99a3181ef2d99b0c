//! `tidelog verify`: reads everything of a closed directory and says what is wrong with it.
//!
//! The library verifies; here its report is printed, as text or as one object for each finding and
//! one for the sums. Damage is the exit code 3.
//!
//! Called by `main`.

use std::ops::ControlFlow;
use std::path::PathBuf;

use serde_json::Value;
use tidelog::{Unvouched, Verifier};

use super::failure::{Failure, Severity};
use super::json::{Object, print};
use super::table::Bar;

#[derive(Debug, clap::Args)]
#[command(after_help = "The exit code is 0 where nothing is wrong, and 3 where something is.")]
pub(super) struct Arguments {
    /// A store's root, or the directory of a lone log
    path: PathBuf,
    /// One JSON object for each finding, then one with the sums
    #[arg(long)]
    json: bool,
    /// A process may be writing to it
    #[arg(long)]
    live: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let verifier = Verifier::new(&arguments.path);
    let verifier = if arguments.live { verifier.beside_writer() } else { verifier };
    let bar = Bar::new("reading");
    let shown = bar.clone();
    let verifier = verifier.on_progress(move |progress| {
        shown.at(progress.bytes_done(), progress.bytes_total());
        ControlFlow::Continue(())
    });
    let report = verifier.run()?;
    bar.end();
    if arguments.json {
        for finding in report.findings() {
            let offsets = finding.offsets();
            let offsets = offsets.map(|it| Value::from(vec![it.start.get(), it.end.get()]));
            let line = Object::new()
                .field("kind", format!("{:?}", finding.kind()))
                .field("path", finding.path().display().to_string())
                .field("position", finding.position())
                .field("bytes", finding.bytes())
                .maybe("offsets", offsets)
                .field("what", finding.what());
            print(line.line().as_bytes())?;
        }
        let sums = Object::new()
            .field("clean", report.is_clean())
            .field("partitions", report.partitions())
            .field("segments", report.segments())
            .field("batches", report.batches())
            .field("records", report.records())
            .field("bytes", report.bytes())
            .field("unvouched", report.unvouched().iter().map(unvouched).sum::<u64>())
            .maybe("anotherHand", report.another_hand());
        print(sums.line().as_bytes())?;
    } else {
        print(report.to_string().as_bytes())?;
    }
    if report.is_clean() { Ok(()) } else { Err(Failure::Told(Severity::Damaged)) }
}

/// Bytes that no digest of their writer covers.
fn unvouched(hole: &Unvouched) -> u64 {
    hole.bytes().end - hole.bytes().start
}
