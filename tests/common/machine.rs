//! A machine whose power can be cut: an ext4 image that is mounted in a mount namespace of this
//! process, and the file system's shutdown call, which drops every dirty page and, with flag 2, the
//! journal that was not written.
//!
//! Only for parts that run under [`wrapper`], which gives them a tmpfs for the image.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::child::Wrapper;

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

/// Root's own mount namespace with a tmpfs at `dir`, where the machine can be had.
pub fn wrapper(dir: &Path) -> Wrapper {
    let script = "mount -t tmpfs -o size=200m none \"$D\" && mkdir \"$D/try\" && \
                  truncate -s 16M \"$D/try.img\" && mkfs.ext4 -q -F \"$D/try.img\" && \
                  python3 -c '' && mount -o loop \"$D/try.img\" \"$D/try\" && umount \"$D/try\"";
    Wrapper::mounts_as_root(script, dir)
}

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
}

impl Drop for Cutter {
    fn drop(&mut self) {
        // it may have ended with the test
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The image, and where it is mounted.
pub struct Machine {
    image: PathBuf,
    place: PathBuf,
    cutter: Cutter,
}

impl Machine {
    /// Begins with an empty file system of 64 MiB below `dir`.
    pub fn new(dir: &Path) -> Self {
        let image = dir.join("image");
        std::fs::File::create(&image).and_then(|file| file.set_len(64 << 20)).expect("an image");
        run("mkfs.ext4", &["-q", "-F", &image.display().to_string()]);
        let place = dir.join("mnt");
        std::fs::create_dir_all(&place).expect("a directory");
        let machine = Machine { image, place, cutter: Cutter::start() };
        machine.mount();
        machine
    }

    /// Where it is mounted.
    pub fn place(&self) -> &Path {
        &self.place
    }

    fn mount(&self) {
        let (image, place) = (self.image.display().to_string(), self.place.display().to_string());
        run("mount", &["-o", "loop", &image, &place]);
    }

    /// Cuts the power; whoever writes there meets errors from now on.
    pub fn cut(&mut self, flag: u32) {
        writeln!(self.cutter.orders, "{flag} {}", self.place.display()).expect("ordered");
        let mut answer = String::new();
        self.cutter.answers.read_line(&mut answer).expect("answered");
        assert_eq!(answer, "cut\n");
    }

    /// Starts again after a cut, once nobody has a file open there.
    pub fn start_again(&self) {
        self.stop();
        self.mount();
    }

    pub fn stop(&self) {
        run("umount", &[&self.place.display().to_string()]);
    }
}
