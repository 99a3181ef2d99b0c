//! Kafka's log class in a process of its own: a line in, a line out.
//!
//! One for all scripts of a test, because it takes a second to start. What a line means is in
//! `tests/kafka-check/README.md`. Without Java the test is skipped, loudly, as the checks of
//! directories are.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::common::budget::Budget;
use crate::common::kafka_check::skip;

/// A running driver; it ends with its input.
#[derive(Debug)]
pub struct Kafka {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Kafka {
    /// Starts it; `None` in a small budget, and, with a printed reason, where it cannot run.
    ///
    /// # Panics
    /// As [`skip`] under `TIDELOG_REQUIRE=all`.
    pub fn start(test: &str) -> Option<Kafka> {
        if Budget::get() == Budget::Small && std::env::var_os("TIDELOG_SEED").is_none() {
            return None;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka-check/run.sh");
        let mut command = Command::new(&script);
        command.arg("--drive").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                skip(test, &format!("{}: {error}", script.display()));
                return None;
            }
        };
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut kafka = Kafka { child, input, output };
        match kafka.try_ask("time 0") {
            Some(_) => Some(kafka),
            None => {
                skip(test, "Kafka's log class does not run here; see what it printed");
                None
            }
        }
    }

    /// What it answers.
    ///
    /// # Panics
    /// When it has ended.
    pub fn ask(&mut self, line: &str) -> String {
        self.try_ask(line).unwrap_or_else(|| panic!("the driver ended at: {line}"))
    }

    fn try_ask(&mut self, line: &str) -> Option<String> {
        let input = self.input.as_mut().expect("it runs");
        writeln!(input, "{line}").and_then(|()| input.flush()).ok()?;
        let mut answer = String::new();
        self.output.read_line(&mut answer).ok()?;
        (!answer.is_empty()).then(|| answer.trim_end().to_owned())
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}
