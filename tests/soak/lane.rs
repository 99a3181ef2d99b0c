//! A lane: a store, the processes that work on it, and what ends them. After each end everything is
//! compared, and they are started again.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::common::machine::Machine;
use crate::common::suite::say;
use crate::figures::{self, Figures, Phase};
use crate::promise::{Promised, find};
use crate::{load, reader, time, work};

const ROLE: &str = "TIDELOG_SOAK_ROLE";
const ROOT: &str = "TIDELOG_SOAK_ROOT";
/// So often a process that lets go of nothing looks at itself: no more than one of a run of 60 s.
const LOOKS: usize = 40;

/// What a lane has to tell.
pub enum Report {
    State { lane: &'static str, image: u64 },
    Failed { lane: &'static str, what: String },
    Control(bool),
    Figures(&'static str, Figures),
}

/// Where a child notes why it failed: a kill may come before it has ended.
fn failures(root: &Path) -> PathBuf {
    root.with_extension("failures")
}

/// What a child of this binary does; nothing in a process without a role.
pub fn play_role() {
    let Some(role) = env::var_os(ROLE) else { return };
    let root = PathBuf::from(env::var_os(ROOT).expect("a role has a root"));
    let print = std::panic::take_hook();
    let notes = failures(&root);
    std::panic::set_hook(Box::new(move |panic| {
        let opened = OpenOptions::new().create(true).append(true).open(&notes);
        let _ = opened.and_then(|mut notes| writeln!(notes, "{panic}")); // it may be cut off
        print(panic);
        std::process::exit(1);
    }));
    match role.to_str() {
        Some("load") => load::work(&root, None),
        Some("long") => load::work(&root, Some(time() / 2)),
        Some("work") => work::work(&root),
        Some("reader") => reader::follow(&root, time() / 2),
        Some("leak") => leak(&root),
        _ => panic!("no such role: {role:?}"),
    }
}

/// Takes and never gives back.
fn leak(root: &Path) {
    fs::create_dir_all(root).expect("a directory");
    let mut held = Vec::new();
    for turn in 0u64.. {
        let file = File::create(root.join(turn.to_string())).expect("a file");
        file.set_len(1 << 20).expect("room");
        let stack = std::thread::Builder::new().stack_size(1 << 20);
        let thread = stack.spawn(std::thread::park).expect("a thread with its mapping");
        held.push((file, vec![1u8; 2 << 20], thread));
        load::say(&figures::line(Phase::Rest, root));
        load::say(&figures::line(Phase::Work, root));
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What a child that leaks says.
pub fn leaks() -> Figures {
    let dir = tempfile::tempdir().expect("a directory");
    let (root, began) = (dir.path().join("store"), Instant::now());
    let heard = Arc::new(Mutex::new(Figures::default()));
    let process = Process::start("leak", &root, Promised::default(), &heard);
    while heard.lock().expect("whole").series().all(|(_, series)| series.len() < LOOKS) {
        assert!(began.elapsed() < Duration::from_secs(60), "it leaks too slowly to be of use");
        std::thread::sleep(Duration::from_millis(10));
    }
    process.kill().expect("it did not end by itself");
    std::mem::take(&mut *heard.lock().expect("whole"))
}

/// A child at work, and what it has said.
struct Process {
    child: Child,
    root: PathBuf,
    said: Arc<Mutex<Promised>>,
    listener: JoinHandle<()>,
}

impl Process {
    /// It goes on from what was promised before; its looks at itself are added to `figures`.
    fn start(role: &str, root: &Path, before: Promised, figures: &Arc<Mutex<Figures>>) -> Self {
        let mut command = Command::new(env::current_exe().expect("this test has a path"));
        command.args(["--exact", "role", "--nocapture"]).env(ROLE, role).env(ROOT, root);
        let command = command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("it starts");
        let pipe = BufReader::new(child.stdout.take().expect("a pipe"));
        let said = Arc::new(Mutex::new(before));
        let (heard, figures) = (said.clone(), figures.clone());
        let listener = std::thread::spawn(move || {
            for line in pipe.lines().map_while(std::result::Result::ok) {
                heard.lock().expect("whole").hear(&line);
                figures.lock().expect("whole").hear(&line);
            }
        });
        Process { child, root: root.to_owned(), said, listener }
    }

    /// Ends it; all that it has said before its end. One that ended by itself, or failed, is an
    /// error.
    fn kill(mut self) -> Result<Promised, String> {
        self.child.kill().expect("SIGKILL is sent");
        let ended = self.child.wait().expect("waited for");
        self.listener.join().expect("it listened to the end");
        let noted = fs::read_to_string(failures(&self.root)).unwrap_or_default();
        if ended.signal() != Some(9) || !noted.is_empty() {
            return Err(format!("a child failed or ended by itself ({ended}): {noted}"));
        }
        let said = std::mem::take(&mut *self.said.lock().expect("whole"));
        if said.failures.is_empty() { Ok(said) } else { Err(said.failures.join("; ")) }
    }

    /// The same of one whose file system is cut off: what it said before the cut.
    fn cut(mut self, machine: &mut Machine, flag: u32) -> Result<Promised, String> {
        let ended = self.child.try_wait().expect("asked");
        // before the cut: what races with it vanishes rightly
        let said = self.said.lock().expect("whole").clone();
        machine.cut(flag);
        self.child.kill().expect("SIGKILL is sent");
        self.child.wait().expect("waited for");
        self.listener.join().expect("it listened to the end");
        let later = self.said.lock().expect("whole");
        match ended {
            Some(ended) => Err(format!("a child ended by itself: {ended}")),
            None if said.failures.is_empty() => Ok(said.over_a_power_cut(&later)),
            None => Err(said.failures.join("; ")),
        }
    }
}

fn sleep_until(then: Instant) {
    std::thread::sleep(then.saturating_duration_since(Instant::now()));
}

/// A store under load.
pub struct Lane {
    root: PathBuf,
    until: Instant,
    time: Duration,
    told: Sender<Report>,
    promised: Promised,
    figures: Arc<Mutex<Figures>>,
}

impl Lane {
    pub fn new(root: &Path, until: Instant, time: Duration, told: Sender<Report>) -> Self {
        let (root, promised) = (root.to_owned(), Promised::default());
        Lane { root, until, time, told, promised, figures: Arc::default() }
    }

    fn tell(&self, report: Report) {
        self.told.send(report).expect("the driver listens to the end");
    }

    /// Compares what is left with what was promised, and shows that one record more is missed.
    fn judge(&mut self, lane: &'static str) -> bool {
        let found = find(&self.root).and_then(|found| {
            self.promised.check(&found)?;
            Ok(found)
        });
        match found {
            Ok(found) => {
                self.tell(Report::State { lane, image: found.image() });
                let more = self.promised.clone().and_one_more(&found);
                self.tell(Report::Control(more.check(&found).is_err()));
                true
            }
            Err(what) => {
                self.tell(Report::Failed {
                    lane,
                    what: format!("{what}; kept in {:?}", self.keep()),
                });
                false
            }
        }
    }

    /// A copy of the store for whoever looks into a failure.
    fn keep(&self) -> PathBuf {
        let name = self.root.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let kept = env::temp_dir().join(format!("soak-failed-{}-{name}", std::process::id()));
        let _ = Command::new("cp").arg("-a").arg(&self.root).arg(&kept).status();
        kept
    }

    /// When the next end comes: of `shortest` to `longest`, less in a short run.
    fn next_end(&self, random: &mut StdRng, shortest: Duration, longest: Duration) -> Instant {
        let longest = longest.min(self.time / 5);
        let shortest = shortest.min(longest / 3);
        let wait = random.random_range(shortest..=longest);
        (Instant::now() + wait).min(self.until)
    }

    fn start(&self, role: &str) -> Process {
        Process::start(role, &self.root, self.promised.clone(), &self.figures)
    }

    /// Killed every 5 to 60 s, with a reader beside it that lives on.
    pub fn run_killed(mut self) {
        let mut random = StdRng::seed_from_u64(self.time.as_secs());
        let of_reader = Arc::default();
        let reader = Process::start("reader", &self.root, Promised::default(), &of_reader);
        while Instant::now() < self.until {
            let process = self.start("load");
            let (least, most) = (Duration::from_secs(5), Duration::from_secs(60));
            let end = self.next_end(&mut random, least, most);
            sleep_until(end);
            if !self.end("killed", process.kill()) {
                break;
            }
        }
        match reader.kill() {
            Ok(said) => self.promised.followed = said.followed,
            Err(what) => self.tell(Report::Failed { lane: "reader", what }),
        }
        self.tell_figures("the reader", &of_reader);
        self.conclude("the killed");
    }

    /// What a child's end leaves; `false` ends the lane.
    fn end(&mut self, lane: &'static str, said: Result<Promised, String>) -> bool {
        match said {
            Ok(said) => {
                self.promised = said;
                self.judge(lane)
            }
            Err(what) => {
                let what = format!("{what}; kept in {:?}", self.keep());
                self.tell(Report::Failed { lane, what });
                false
            }
        }
    }

    fn conclude(&self, name: &'static str) {
        let Promised { backups, lives, followed, .. } = &self.promised;
        say(&format!(
            "figures soak, {name}: {lives} openings, {backups} backups verified, \
                      {followed} records followed"
        ));
        self.tell_figures(name, &self.figures);
    }

    fn tell_figures(&self, name: &'static str, figures: &Mutex<Figures>) {
        let figures = std::mem::take(&mut *figures.lock().expect("whole"));
        self.tell(Report::Figures(name, figures));
    }

    /// One process from the beginning to the end.
    pub fn run_long(mut self) {
        let process = self.start("long");
        sleep_until(self.until);
        self.end("long", process.kill());
        self.conclude("the long one");
    }

    /// RocketMQ's half, in one process from the beginning to the end.
    pub fn run_work(mut self) {
        let process = self.start("work");
        sleep_until(self.until);
        self.end("work", process.kill());
        self.conclude("the one with jobs");
    }

    /// On a machine whose power is cut, every 5 minutes or five times.
    pub fn run_cut(mut self, mut machine: Machine) {
        let mut random = StdRng::seed_from_u64(self.time.as_secs());
        while Instant::now() < self.until {
            let process = self.start("load");
            let (least, most) = (Duration::from_secs(5), Duration::from_secs(300));
            let end = self.next_end(&mut random, least, most);
            sleep_until(end);
            let said = process.cut(&mut machine, random.random_range(1..3));
            machine.start_again();
            if !self.end("cut", said) {
                break;
            }
        }
        machine.stop();
        self.conclude("the cut");
    }
}
