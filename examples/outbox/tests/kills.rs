//! The program killed again and again, at any moment: the topics say what the database says.
//!
//! `cargo test --release` in this directory. `OUTBOX_KILLS` is how often; default 20.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

fn outbox(dir: &Path, second: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outbox"));
    command.arg(dir).arg(second);
    command
}

fn check(dir: &Path) -> Output {
    outbox(dir, "--check").output().expect("it runs")
}

#[test]
fn nothing_is_lost_and_nothing_is_there_twice_however_often_it_is_killed() {
    let kills = std::env::var("OUTBOX_KILLS").map_or(20, |text| text.parse().expect("a number"));
    let dir = tempfile::tempdir().expect("a directory");
    let mut state = u64::from(std::process::id());
    for kill in 0..kills {
        let mut child = outbox(dir.path(), "1000000").spawn().expect("it starts");
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
        std::thread::sleep(Duration::from_millis(50 + (state >> 40) % 600));
        child.kill().expect("it runs");
        child.wait().expect("it is a child");
        if kill % 5 == 4 {
            let checked = check(dir.path());
            assert!(checked.status.success(), "after kill {kill}: {checked:?}");
        }
    }
    let checked = check(dir.path());
    assert!(checked.status.success(), "{checked:?}");
    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    let count: u64 = text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0);
    assert!(count > kills, "the control: {text}");
}
