//! Whose files are read: those of a topic that was made again under the same name never are.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::stepped::{Call, Stepped};
use super::*;

fn metadata() -> PathBuf {
    Path::new(DIR).join(PARTITION_METADATA)
}

impl Beside {
    /// The directory is another topic's from now on.
    fn make_again(&self) {
        self.bench.put(&metadata(), &format_partition_metadata(TopicId::random()));
    }
}

/// What a read of files comes to that were not opened yet when the log was looked at, where this
/// happens whenever the reader asks whose they are.
fn looked_at(
    happens: impl Fn() -> std::io::Result<()> + Send + 'static,
) -> (Beside, Arc<FollowedLog>) {
    let it = Beside::new();
    it.fill(9);
    it.record(|facts| facts.recovery_point = Offset::new(9));
    let disk = Stepped::over(&it.bench.disk, move |call, path| match call {
        Call::Open if path == metadata() => happens(),
        _ => Ok(()),
    });
    let followed = Arc::new(Beside::follow_on(&disk, &it.bench, &it.recorded));
    followed.look(Duration::ZERO).unwrap();
    it.make_again();
    (it, followed)
}

fn read_kind(followed: &FollowedLog) -> Option<ErrorKind> {
    let fetched = followed.fetch(Offset::ZERO, None, FetchLimits::all(1), Duration::ZERO);
    fetched.err().map(|error| error.kind())
}

/// Made again under the name, it is another topic's.
#[test]
fn a_directory_of_another_topic_is_not_read() {
    let it = Beside::new();
    it.fill(1);
    let path = metadata();
    it.bench.put(&path, b"torn by a power cut");
    assert!(it.look(0), "it says nothing");
    it.bench.put(&path, &format_partition_metadata(TopicId::random()));
    it.fill(9);
    let error = it.followed.look(Duration::ZERO).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    it.bench.disk.remove_file(&path).unwrap();
    it.bench.disk.create_dir_all(&path).unwrap();
    let late = it.late();
    let error = late.followed.look(Duration::ZERO).unwrap_err();
    assert_ne!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[test]
fn a_directory_that_became_another_topics_is_never_read() {
    let it = Beside::new();
    it.fill(9);
    it.record(|facts| facts.recovery_point = Offset::new(9));
    it.look(0);
    it.make_again();
    for attempt in 0..2 {
        let (found, error) = it.read(0);
        assert!(found.is_empty(), "{attempt}: {found:?}");
        assert_eq!(error.unwrap().kind(), ErrorKind::NotFound, "{attempt}");
    }
}

/// As where no descriptor is left: the file is open then, and nobody knows whose it is.
#[test]
fn a_file_whose_owner_could_not_be_asked_for_is_not_read_at_the_next_attempt() {
    let fails = Arc::new(AtomicBool::new(false));
    let armed = fails.clone();
    let (_it, followed) = looked_at(move || match armed.load(Ordering::Relaxed) {
        true => Err(std::io::Error::other("too many open files")),
        false => Ok(()),
    });
    fails.store(true, Ordering::Relaxed);
    assert_eq!(read_kind(&followed), Some(ErrorKind::Io), "the control");
    fails.store(false, Ordering::Relaxed);
    assert_eq!(read_kind(&followed), Some(ErrorKind::NotFound));
}

#[test]
fn a_file_whose_owner_another_reader_is_asking_for_is_not_read_meanwhile() {
    let (reading, met) = (Arc::new(OnceLock::<Arc<FollowedLog>>::new()), Arc::new(OnceLock::new()));
    let (other, met_meanwhile) = (reading.clone(), met.clone());
    let (_it, followed) = looked_at(move || {
        if let Some(followed) = other.get() {
            met_meanwhile.get_or_init(|| read_kind(followed));
        }
        Ok(())
    });
    reading.set(followed.clone()).unwrap();
    assert_eq!(read_kind(&followed), Some(ErrorKind::NotFound));
    assert_eq!(met.get(), Some(&Some(ErrorKind::NotFound)), "the other reader");
}
