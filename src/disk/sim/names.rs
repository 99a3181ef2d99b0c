//! The names of the simulated disk: directories, and changes to them that no sync has covered.
//!
//! A change is one create, rename or removal, with all the entries it touches, and persists whole
//! or not at all. Syncing a directory persists the changes that touch it. At a crash any others
//! may persist, but for one order: a change waits for the earlier ones of the same entry.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Component, Path};
use std::sync::Arc;

use super::super::memory::normal;
use super::Crash;
use super::random::Random;

pub(super) const ROOT: u64 = 0;

/// What a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Directory(u64),
    File(u64),
}

/// Entries that change together: directory, name, what it leads to from then on.
type Change = Vec<(u64, String, Option<Link>)>;

/// Directories; copies share those that neither has changed since.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    directories: HashMap<u64, Arc<BTreeMap<String, Link>>>,
}

impl Tree {
    pub(super) fn get(&self, dir: u64, name: &str) -> Option<Link> {
        self.directories.get(&dir)?.get(name).copied()
    }

    pub(super) fn entries(&self, dir: u64) -> impl Iterator<Item = (&String, Link)> {
        let entries = self.directories.get(&dir);
        entries.into_iter().flat_map(|all| all.iter()).map(|(name, link)| (name, *link))
    }

    pub(super) fn files(&self) -> impl Iterator<Item = u64> {
        self.directories.values().flat_map(|all| all.values()).filter_map(|link| match link {
            Link::File(file) => Some(*file),
            Link::Directory(_) => None,
        })
    }

    /// How many names lead to a file.
    pub(super) fn links(&self, file: u64) -> u32 {
        self.files().filter(|found| *found == file).count().try_into().unwrap_or(u32::MAX)
    }

    fn apply(&mut self, change: &Change) {
        for (dir, name, link) in change {
            let entries = Arc::make_mut(self.directories.entry(*dir).or_default());
            match link {
                Some(link) => drop(entries.insert(name.clone(), *link)),
                None => drop(entries.remove(name)),
            }
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// What programs see.
    pub(super) now: Tree,
    /// What the device holds.
    pub(super) durable: Tree,
    pending: Vec<Change>,
}

impl Names {
    /// The directory a path's last name lies in, and that name; `None` for the root.
    pub(super) fn locate(&self, path: &Path) -> io::Result<Option<(u64, String)>> {
        let mut found: Option<(u64, String)> = None;
        for component in normal(path).components() {
            let Component::Normal(name) = component else { continue };
            let name = name.to_str().ok_or(io::ErrorKind::InvalidFilename)?.to_owned();
            let dir = match found {
                None => ROOT,
                Some((dir, ref name)) => self.enter(dir, name)?,
            };
            found = Some((dir, name));
        }
        Ok(found)
    }

    fn enter(&self, dir: u64, name: &str) -> io::Result<u64> {
        match self.now.get(dir, name) {
            Some(Link::Directory(inner)) => Ok(inner),
            Some(Link::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn directory(&self, path: &Path) -> io::Result<u64> {
        match self.locate(path)? {
            None => Ok(ROOT),
            Some((dir, name)) => self.enter(dir, &name),
        }
    }

    pub(super) fn change(&mut self, change: Change) {
        self.now.apply(&change);
        self.pending.push(change);
    }

    /// Gives a file a second name.
    pub(super) fn link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (from_dir, from_name) = self.locate(from)?.ok_or(io::ErrorKind::PermissionDenied)?;
        let (to_dir, to_name) = self.locate(to)?.ok_or(io::ErrorKind::AlreadyExists)?;
        let file = match self.now.get(from_dir, &from_name) {
            Some(file @ Link::File(_)) => file,
            Some(Link::Directory(_)) => return Err(io::ErrorKind::PermissionDenied.into()),
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        if self.now.get(to_dir, &to_name).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.change(vec![(to_dir, to_name, Some(file))]);
        Ok(())
    }

    pub(super) fn sync(&mut self, dir: u64) {
        let (done, rest) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|change: &Change| change.iter().any(|(touched, ..)| *touched == dir));
        let done: Vec<Change> = done;
        done.iter().for_each(|change| self.durable.apply(change));
        self.pending = rest;
    }

    /// The names as a restarted machine finds them.
    pub(super) fn after(&self, crash: Crash, random: &mut Random) -> Names {
        let prefix = random.below(self.pending.len() + 1);
        let is_in_order = random.below(2) == 0;
        self.with(|at| match crash {
            Crash::Nothing => false,
            Crash::Everything => true,
            Crash::Random(_) if is_in_order => at < prefix,
            Crash::Random(_) => random.below(2) == 0,
        })
    }

    /// How many changes no sync has covered.
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The names when these of the changes persist that no sync has covered.
    pub(super) fn with(&self, mut persists: impl FnMut(usize) -> bool) -> Names {
        let mut durable = self.durable.clone();
        let mut waiting = BTreeSet::new();
        for (at, change) in self.pending.iter().enumerate() {
            let entry = |(dir, name, _): &(u64, String, Option<Link>)| (*dir, name.clone());
            let persists = persists(at);
            if persists && !change.iter().any(|touched| waiting.contains(&entry(touched))) {
                durable.apply(change);
            } else {
                waiting.extend(change.iter().map(entry));
            }
        }
        Names { now: durable.clone(), durable, pending: Vec::new() }
    }

    /// Every file that a name leads to, led to, or may lead to after a crash.
    pub(super) fn reachable(&self) -> BTreeSet<u64> {
        let pending = self.pending.iter().flatten().filter_map(|(_, _, link)| match link {
            Some(Link::File(file)) => Some(*file),
            _ => None,
        });
        self.now.files().chain(self.durable.files()).chain(pending).collect()
    }
}
