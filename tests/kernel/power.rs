//! Power cuts on a real ext4: its shutdown call drops every dirty page, and with the second flag
//! the journal that was not written, as a cut of the power does. The image lies on a tmpfs.
//!
//! What is acknowledged is taken before the call: what races with it vanishes rightly. The control
//! is a victim that does not sync: without its losses the run is void.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidelog::Durability;
use tidelog::disk::IoMode;

use crate::common::budget::{for_each_seed, seeds};
use crate::common::child::{self, Wrapper};
use crate::common::suite::Suite;
use crate::writer::{Manner, Victim, Word, judge};

const TEST: &str = "power::a_power_cut_on_ext4_takes_nothing_that_was_promised";
/// Cuts off the file system of each line's path, with the flag before it.
const CUTTER: &str = "
import fcntl, os, struct, sys
for line in sys.stdin:
    flag, path = line.rstrip('\\n').split(' ', 1)
    place = os.open(path, os.O_RDONLY)
    fcntl.ioctl(place, 0x8004587d, struct.pack('I', int(flag)))
    os.close(place)
    print('cut', flush=True)
";

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().expect("it runs");
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {failed}");
}

/// Another process that makes the call: it is no call of the library's.
struct Cutter {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Cutter {
    fn start() -> Self {
        let mut command = Command::new("python3");
        command.args(["-c", CUTTER]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("python3 runs");
        let orders = child.stdin.take().expect("a pipe");
        let answers = BufReader::new(child.stdout.take().expect("a pipe"));
        Cutter { child, orders, answers }
    }

    fn cut(&mut self, flag: u32, place: &Path) {
        writeln!(self.orders, "{flag} {}", place.display()).expect("ordered");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("answered");
        assert_eq!(answer, "cut\n");
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        // it may have ended with the test
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The image and where it is mounted, in a mount namespace of this process.
struct Machine {
    image: PathBuf,
    place: PathBuf,
    cutter: Cutter,
    store: u32,
}

impl Machine {
    fn new(dir: &Path) -> Self {
        let image = dir.join("image");
        std::fs::File::create(&image).and_then(|file| file.set_len(64 << 20)).expect("an image");
        run("mkfs.ext4", &["-q", "-F", &image.display().to_string()]);
        let place = dir.join("mnt");
        std::fs::create_dir_all(&place).expect("a directory");
        let machine = Machine { image, place, cutter: Cutter::start(), store: 0 };
        machine.mount();
        machine
    }

    fn mount(&self) {
        let (image, place) = (self.image.display().to_string(), self.place.display().to_string());
        run("mount", &["-o", "loop", &image, &place]);
    }

    fn store(&self) -> PathBuf {
        self.place.join(format!("store-{}", self.store))
    }

    /// Another directory from here on, and room for it.
    fn next_store(&mut self) {
        std::fs::remove_dir_all(self.store()).unwrap_or_default();
        self.store += 1;
    }

    /// Lets a victim write for a while and cuts the power; what is found, compared.
    fn cut(&mut self, manner: Manner, flag: u32, while_: Duration) -> Result<u64, String> {
        let mut victim = Victim::start(&self.store(), manner);
        let begun = std::time::Instant::now();
        while victim.acknowledged().is_empty() && begun.elapsed() < Duration::from_secs(20) {
            assert!(!victim.has_ended(), "the victim failed by itself");
            std::thread::sleep(Duration::from_micros(300));
        }
        std::thread::sleep(while_);
        let acknowledged = victim.acknowledged();
        self.cutter.cut(flag, &self.place);
        victim.kill();
        run("umount", &[&self.place.display().to_string()]);
        self.mount();
        let ends = judge(&self.store(), manner.mode, &acknowledged)?;
        Ok(ends.values().fold(0, |hash, end| hash * 1_000_003 + end.unsigned_abs()))
    }
}

fn cuts(dir: &Path) {
    let suite = Suite::new("power-cuts");
    let machine = std::cell::RefCell::new(Machine::new(dir));
    for_each_seed("kernel", TEST, seeds(6, 300, 10_000), |seed| {
        let mut random = StdRng::seed_from_u64(seed);
        let mut machine = machine.borrow_mut();
        let mode = [IoMode::Mapped, IoMode::Positioned][usize::from(seed % 2 == 1)];
        let (flag, while_) = (random.random_range(1..3), random.random_range(0..15_000));
        let while_ = Duration::from_micros(while_);
        let (word, while_) = match seed / 5 % 2 {
            0 => (Word::Of(Durability::Power), while_),
            _ => (Word::Together, while_ * 20), // a round takes longer
        };
        let manner = Manner { mode, word };
        match machine.cut(manner, flag, while_) {
            Ok(found) => drop(suite.state(seed, found)),
            Err(error) => suite.fail(error, format!("TIDELOG_SEED={seed}, flag {flag}, {mode:?}")),
        }
        if seed % 5 == 4 {
            machine.next_store();
        }
        if seed % 10 == 3 {
            // the control: nobody asked for a sync
            machine.next_store();
            let manner = Manner { mode, word: Word::Of(Durability::Process) };
            let lost = machine.cut(manner, 2, while_).is_err();
            suite.control(u64::from(lost));
            machine.next_store();
        }
    });
    let machine = machine.into_inner();
    run("umount", &[&machine.place.display().to_string()]);
    suite.end();
}

#[test]
fn a_power_cut_on_ext4_takes_nothing_that_was_promised() {
    if let Some((_, dir)) = child::part() {
        cuts(&dir);
        return child::done();
    }
    let dir = tempfile::tempdir().expect("a directory");
    let script = "mount -t tmpfs -o size=200m none \"$D\" && mkdir \"$D/try\" && \
                  truncate -s 16M \"$D/try.img\" && mkfs.ext4 -q -F \"$D/try.img\" && \
                  python3 -c '' && mount -o loop \"$D/try.img\" \"$D/try\" && umount \"$D/try\"";
    child::run(TEST, "cuts", dir.path(), &Wrapper::mounts_as_root(script, dir.path()));
}
