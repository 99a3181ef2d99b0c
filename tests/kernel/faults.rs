//! Failing calls and wants of a real kernel (row 10): a call that the tracer makes fail, files that
//! may not be written any more, limits, a file system remounted or full, in the middle of the work.
//!
//! The victim is `refused`'s: it does a little of everything on a store of its own and says what it
//! was told of each record; here what is left is opened and compared. The controls: a record that
//! was never sent must be missed, and the faults must be felt.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidelog::disk::IoMode;

use crate::common::budget::seeds;
use crate::common::child::{self, Wrapper};
use crate::common::suite::Suite;
use crate::refused::{SENDS, Told, Tracer, Victim, found};

const TEST: &str = "faults::what_a_kernel_refuses_is_a_typed_error_and_takes_nothing";
/// The calls that are made to fail, and how.
const CALLS: [(&str, &[&str]); 11] = [
    ("openat", &["EMFILE", "EACCES", "EIO", "ENOSPC", "EROFS"]),
    ("pwrite64", &["ENOSPC", "EIO", "EDQUOT", "EFBIG", "EROFS"]),
    ("pread64", &["EIO"]),
    ("ftruncate", &["EIO", "EFBIG", "ENOSPC"]),
    ("fallocate", &["ENOSPC", "EIO", "EDQUOT", "EFBIG"]),
    ("fdatasync", &["EIO", "ENOSPC"]),
    ("fsync", &["EIO", "ENOSPC"]),
    ("msync", &["EIO"]),
    ("rename", &["EIO", "ENOSPC", "EACCES"]),
    ("unlink", &["EIO", "EACCES"]),
    ("mkdir", &["ENOSPC", "EIO", "EROFS"]),
];

/// What befalls the victim.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Want {
    /// The tracer's words: from its start.
    Call(String),
    /// In the middle of its work: attributes, limits, the file system.
    Immutable,
    AppendOnly,
    FileSize(u64),
    Handles,
    Remounted,
    Full,
}

impl Want {
    /// One of them; a call that the work makes so often fails at one of its times.
    fn of(random: &mut StdRng, calls: &[(&'static str, u64)]) -> Want {
        match random.random_range(0..20) {
            0 => Want::Immutable,
            1 => Want::AppendOnly,
            2 => Want::FileSize(random.random_range(0..300_000)),
            3 => Want::Handles,
            4 => Want::Remounted,
            5 => Want::Full,
            _ => {
                let (call, times) = calls[random.random_range(0..calls.len())];
                let (_, numbers) = CALLS.iter().find(|(name, _)| *name == call).expect("known");
                let number = numbers[random.random_range(0..numbers.len())];
                let nth = random.random_range(1..=times);
                let lasting = if random.random_bool(0.4) { "+" } else { "" };
                Want::Call(format!("{call}:error={number}:when={nth}{lasting}"))
            }
        }
    }

    /// Whether a page that is mapped may suddenly not be written any more.
    fn forbids_pages(&self) -> bool {
        matches!(self, Want::Immutable | Want::Remounted)
    }

    /// Whether what the kernel had not synced is gone with it.
    fn is_a_cut(&self) -> bool {
        *self == Want::Remounted
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().expect("it runs");
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {failed}");
}

/// An ext4 of its own, for what only root may do to one.
struct Place {
    dir: PathBuf,
    store: PathBuf,
}

impl Place {
    fn mounted(dir: &Path) -> Place {
        let place = Place { dir: dir.to_owned(), store: dir.join("mnt/store") };
        let image = dir.join("image").display().to_string();
        fs::File::create(&image).and_then(|file| file.set_len(24 << 20)).expect("an image");
        run("mkfs.ext4", &["-q", "-F", &image]);
        fs::create_dir_all(dir.join("mnt")).expect("a directory");
        place.mount();
        place
    }

    fn mount(&self) {
        let [image, mnt] = ["image", "mnt"].map(|name| self.dir.join(name).display().to_string());
        run("mount", &["-o", "loop", &image, &mnt]);
    }

    fn unmount(&self) {
        run("umount", &[&self.dir.join("mnt").display().to_string()]);
    }

    /// Every file of the store, for a change of its attributes.
    fn change(&self, attribute: &str) {
        run("chattr", &["-R", "-f", attribute, &self.store.display().to_string()]);
    }

    /// Has `want` begin, in the middle of the victim's work.
    fn begin(&self, want: &Want, victim: &Victim) {
        let process = victim.child.id().to_string();
        match want {
            Want::Call(_) => {}
            Want::Immutable => self.change("+i"),
            Want::AppendOnly => self.change("+a"),
            Want::FileSize(bytes) => {
                run("prlimit", &["--pid", &process, &format!("--fsize={bytes}")]);
            }
            Want::Handles => run("prlimit", &["--pid", &process, "--nofile=3"]),
            Want::Remounted => {
                let mnt = self.dir.join("mnt").display().to_string();
                run("mount", &["-o", "remount,abort", &mnt]);
            }
            Want::Full => {
                let filler = fs::File::create(self.dir.join("mnt/filler"));
                let mut filler = filler.expect("a file");
                for block in [1 << 20, 4096, 1] {
                    let block = vec![1; block];
                    while filler.write_all(&block).is_ok() {}
                }
            }
        }
    }

    /// Takes `want` back.
    fn end(&self, want: &Want) {
        match want {
            Want::Immutable => self.change("-i"),
            Want::AppendOnly => self.change("-a"),
            Want::Full => fs::remove_file(self.dir.join("mnt/filler")).expect("removed"),
            Want::Remounted => {
                self.unmount();
                self.mount();
            }
            _ => {}
        }
    }

    /// How often the work makes each call while nothing is wrong.
    fn calls(&self, mode: IoMode, journal: bool) -> Vec<(&'static str, u64)> {
        let mut victim = Victim::start(&self.store, mode, journal);
        let names = CALLS.map(|(name, _)| name).join(",");
        let tracer = Tracer::of(&victim, &names, None, self.dir.join("notes"));
        let mut told = Told::default();
        victim.go();
        victim.go();
        victim.listen(&mut told, |_, _| false);
        assert!(victim.end().is_ok_and(|whole| whole) && told.ended, "nothing was wrong");
        let notes = tracer.notes();
        fs::remove_dir_all(&self.store).expect("removed");
        let times = |name: &str| {
            let call = format!(" {name}(");
            notes.lines().filter(|line| line.contains(&call)).count() as u64
        };
        CALLS.iter().map(|(name, _)| (*name, times(name))).filter(|(_, times)| *times > 0).collect()
    }

    /// One victim; what was told and found, and whether the want was felt.
    fn live(&self, want: &Want, mode: IoMode, journal: bool) -> Result<(Told, bool), String> {
        let mut victim = Victim::start(&self.store, mode, journal);
        let tracer = match want {
            Want::Call(inject) => {
                let call = inject.split(':').next().unwrap_or(inject);
                Some(Tracer::of(&victim, call, Some(inject), self.dir.join("notes")))
            }
            _ => None,
        };
        let mut told = Told::default();
        victim.go();
        victim.listen(&mut told, |_, told| told.half);
        if told.half {
            self.begin(want, &victim);
            victim.go();
            victim.listen(&mut told, |_, _| false);
        }
        let ended = victim.end();
        let felt = tracer.is_none_or(|tracer| tracer.notes().contains("(INJECTED)"));
        self.end(want);
        // the one signal that there may be, and where (README, "Honest limits")
        let may_be_ended = mode == IoMode::Mapped && want.forbids_pages();
        if !ended? && !may_be_ended {
            return Err("I7: SIGBUS".to_owned());
        }
        if !told.ended && !may_be_ended {
            return Err("I7: it did not come to its end".to_owned());
        }
        Ok((told, felt))
    }

    /// Every so many of `seeds`, on this file system.
    fn faults(&self, suite: &Mutex<Suite>, seeds: impl Iterator<Item = u64>) {
        let manners = [IoMode::Mapped, IoMode::Positioned].map(|mode| (mode, false));
        let manners = [manners, manners.map(|(mode, _)| (mode, true))].concat();
        let calls: Vec<_> =
            manners.iter().map(|(mode, journal)| self.calls(*mode, *journal)).collect();
        for seed in seeds {
            let mut random = StdRng::seed_from_u64(seed);
            let manner = random.random_range(0..manners.len());
            let (mode, journal) = manners[manner];
            let want = Want::of(&mut random, &calls[manner]);
            let judged = self.live(&want, mode, journal).and_then(|(told, felt)| {
                let found = found(&self.store, mode)?;
                told.compare(&found, want.is_a_cut())?;
                Ok((told, found, felt))
            });
            fs::remove_dir_all(&self.store).unwrap_or_default();
            let suite = suite.lock().expect("whole");
            match judged {
                Ok((_, _, false)) => {} // the calls of other threads came in another order
                Ok((mut told, found, true)) => {
                    suite.state((&want, manner), &found);
                    told.durable.push(SENDS); // the control: nobody sent it
                    suite.control(u64::from(told.compare(&found, false).is_err()));
                }
                Err(error) => {
                    let what = format!("{want:?} {mode:?}, journal {journal}: {error}");
                    suite.fail(what, format!("TIDELOG_SEED={seed}"));
                }
            }
        }
    }
}

fn faults(dir: &Path) {
    const AT_ONCE: u64 = 2;
    let suite = Mutex::new(Suite::new("real-faults"));
    let seeds = seeds(6, 440, 10_000);
    let wanted = seeds.end - seeds.start;
    std::thread::scope(|scope| {
        for part in 0..AT_ONCE {
            let (suite, seeds) = (&suite, seeds.clone());
            let dir = dir.join(part.to_string());
            fs::create_dir(&dir).expect("a directory");
            scope.spawn(move || {
                let place = Place::mounted(&dir);
                place.faults(suite, seeds.filter(|seed| seed % AT_ONCE == part));
                place.unmount();
            });
        }
    });
    let suite = suite.into_inner().expect("whole");
    assert!(suite.states() * 10 >= wanted * 9, "most faults are felt");
    suite.end();
}

#[test]
fn what_a_kernel_refuses_is_a_typed_error_and_takes_nothing() {
    if let Some((_, dir)) = child::part() {
        faults(&dir);
        return child::done();
    }
    let dir = tempfile::tempdir().expect("a directory");
    let script = "mount -t tmpfs -o size=100m none \"$D\" && mkdir \"$D/try\" && \
                  truncate -s 16M \"$D/try.img\" && mkfs.ext4 -q -F \"$D/try.img\" && \
                  strace -V > /dev/null && mount -o loop \"$D/try.img\" \"$D/try\" && \
                  umount \"$D/try\"";
    child::run(TEST, "faults", dir.path(), &Wrapper::mounts_as_root(script, dir.path()));
}
