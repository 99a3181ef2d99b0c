//! Parts of tests that need a process of their own: with few handles, without rights, with mounts
//! that nobody else sees, under a tracer that makes calls fail.
//!
//! The test binary runs itself again, naming one test and saying which part; the test asks first
//! whether it is the part. A wrapper stands between where the part needs one. Where the machine
//! does not allow a wrapper, the test says `SKIP 1: reason` and passes.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const PART: &str = "TIDELOG_TEST_PART";
const DIRECTORY: &str = "TIDELOG_TEST_DIRECTORY";
/// What a part says when it has come to its end: one that never ran must not pass.
const DONE: &str = "the part is done";

/// A command that runs another one in other circumstances.
#[derive(Clone, Debug)]
pub struct Wrapper(Vec<String>);

impl Wrapper {
    /// None: the part needs only to be alone.
    pub fn none() -> Self {
        Wrapper(Vec::new())
    }

    /// Has these variables of the environment besides.
    pub fn with(variables: &[&str]) -> Self {
        let words = ["env"].iter().chain(variables);
        Wrapper(words.map(|word| (*word).to_owned()).collect())
    }

    /// Runs in a mount namespace, `script` first: it mounts what the part is to meet. `$D` is the
    /// directory.
    pub fn mounts(script: &str, dir: &Path) -> Self {
        let script = format!("D='{}'; {script} && exec \"$@\"", dir.display());
        Wrapper(["unshare", "-r", "-m", "sh", "-c", &script, "sh"].map(str::to_owned).to_vec())
    }

    /// The same with root's own rights, for mounts that only root may make.
    pub fn mounts_as_root(script: &str, dir: &Path) -> Self {
        let script = format!("D='{}'; {script} && exec \"$@\"", dir.display());
        Wrapper(["unshare", "-m", "sh", "-c", &script, "sh"].map(str::to_owned).to_vec())
    }

    /// Runs without any right that comes from being root.
    pub fn without_rights() -> Self {
        Wrapper(["unshare", "-U"].map(str::to_owned).to_vec())
    }

    /// Runs under `strace` with the call `inject` names failing; `path` narrows it to one file.
    pub fn fault(inject: &str, path: Option<&Path>) -> Self {
        let call = inject.split(':').next().unwrap_or(inject);
        let inject = format!("inject={inject}");
        let trace = format!("trace={call}");
        let words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
        let mut words = words.map(str::to_owned).to_vec();
        if let Some(path) = path {
            words.extend(["-P".to_owned(), path.display().to_string()]);
        }
        Wrapper(words)
    }

    fn command(&self, program: &Path) -> Command {
        let Some((first, rest)) = self.0.split_first() else { return Command::new(program) };
        let mut command = Command::new(first);
        command.args(rest).arg(program);
        command
    }

    /// Why the machine does not have it.
    fn lack(&self) -> Option<String> {
        match self.command(Path::new("true")).output() {
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Some(error.to_string()),
        }
    }
}

/// Which part this process is to play, and in which directory; `None` in the test itself.
pub fn part() -> Option<(String, PathBuf)> {
    let part = std::env::var(PART).ok()?;
    Some((part, std::env::var_os(DIRECTORY)?.into()))
}

/// The part has come to its end.
pub fn done() {
    println!("{DONE}");
}

/// Runs a part of `test` and asserts that it came to its end. `false`, with a printed reason,
/// where the machine does not have the wrapper.
pub fn run(test: &str, part: &str, dir: &Path, wrapper: &Wrapper) -> bool {
    if let Some(reason) = wrapper.lack() {
        let _ = writeln!(std::io::stderr(), "SKIP 1: {test}, {part}: {reason}");
        return false;
    }
    let output = wrapper
        .command(&std::env::current_exe().expect("this test has a path"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(PART, part)
        .env(DIRECTORY, dir)
        .output()
        .expect("the part runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    let is_done = output.status.success() && said.contains(DONE);
    assert!(is_done, "{test}, {part}:\n{}{}", quoted(&failed), quoted(&said));
    let told = |line: &&str| ["suite ", "figures "].iter().any(|word| line.starts_with(word));
    failed.lines().filter(told).for_each(super::suite::say); // for whoever reads this output
    true
}

/// Lines of a part, set apart, so that no reader takes its summary for that of the whole.
fn quoted(lines: &str) -> String {
    lines.lines().filter(|line| !line.is_empty()).map(|line| format!("  | {line}\n")).collect()
}
