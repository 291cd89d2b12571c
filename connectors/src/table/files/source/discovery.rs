//! Finding new files: looks at the folder again and again, a stretch at a time.

use super::super::listing::{FoundFile, Step, Walk};
use super::super::settings::{Clean, ReadSettings};
use super::seen::Seen;
use crate::error::{ConnectorError, ErrorKind, Result};
use lotic_operators::Instance;
use lotic_operators::key::hash_of;
use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A file that has changed so short a time ago that it may still be growing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    bytes: u64,
    modified_us: i64,
    at: Instant,
}

/// The files of this instance that were found and not yet read.
pub(super) struct Discovery {
    settings: ReadSettings,
    root: PathBuf,
    instance: Instance,
    queue: VecDeque<FoundFile>,
    /// The names of all files that are queued or being read.
    known: HashSet<String>,
    unsettled: HashMap<String, Look>,
    walk: Option<(Walk, Vec<FoundFile>)>,
    due: Instant,
    /// Files that were read before, as a walk comes upon them; only if they are to be cleaned up.
    pub(super) read_before: Vec<FoundFile>,
}

impl Discovery {
    pub(super) fn new(settings: &ReadSettings, instance: Instance) -> Self {
        let root = std::path::absolute(&settings.path).unwrap_or_else(|_| PathBuf::from(&settings.path));
        Discovery {
            settings: settings.clone(),
            root,
            instance,
            queue: VecDeque::new(),
            known: HashSet::new(),
            unsettled: HashMap::new(),
            walk: None,
            due: Instant::now(),
            read_before: Vec::new(),
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// What a file is known by.
    pub(super) fn name<'a>(&self, relative: &'a str) -> &'a str {
        if self.settings.name_only { relative.rsplit('/').next().unwrap_or(relative) } else { relative }
    }

    pub(super) fn owns(&self, relative: &str) -> bool {
        self.instance.owns(hash_of(self.name(relative)))
    }

    /// Files found and not yet read, in the order in which to read them.
    pub(super) fn queue(&self) -> &VecDeque<FoundFile> {
        &self.queue
    }

    pub(super) fn pop(&mut self) -> Option<FoundFile> {
        self.queue.pop_front()
    }

    pub(super) fn put_back(&mut self, file: FoundFile) {
        self.queue.push_front(file);
    }

    /// Takes the files out that `wanted` accepts, in order.
    pub(super) fn take(&mut self, wanted: impl Fn(&FoundFile) -> bool) -> VecDeque<FoundFile> {
        let (taken, rest) = std::mem::take(&mut self.queue).into_iter().partition(wanted);
        self.queue = rest;
        taken
    }

    /// From now on the file is being read, or waits to be.
    pub(super) fn claim(&mut self, relative: &str) {
        let name = self.name(relative).to_owned();
        self.known.insert(name);
    }

    /// The file was read to its end.
    pub(super) fn release(&mut self, relative: &str) {
        let name = self.name(relative).to_owned();
        self.known.remove(&name);
    }

    /// Until when there is nothing to do.
    pub(super) fn pause(&self) -> Option<Duration> {
        let left = self.due.saturating_duration_since(Instant::now());
        (self.walk.is_none() && !left.is_zero()).then_some(left)
    }

    /// Looks at up to this many entries, if a look is due. Whether the look is over.
    pub(super) fn advance(&mut self, entries_max: usize, seen: &Seen) -> Result<bool> {
        let (mut walk, mut found) = match self.walk.take() {
            Some(begun) => begun,
            None => (self.begin()?, Vec::new()),
        };
        for _ in 0..entries_max {
            match walk.step()? {
                Step::File(path, relative) => found.extend(self.admit(path, relative, seen)?),
                Step::Other => {}
                Step::Done => {
                    self.finish(found);
                    return Ok(true);
                }
            }
        }
        self.walk = Some((walk, found));
        Ok(false)
    }

    /// Looks at the whole folder now.
    pub(super) fn look(&mut self, seen: &Seen) -> Result<()> {
        if self.walk.is_some() {
            // It may have passed by where something is new.
            while !self.advance(usize::MAX, seen)? {}
        }
        while !self.advance(usize::MAX, seen)? {}
        Ok(())
    }

    /// Whether files were left out because they may still be growing.
    pub(super) fn is_unsettled(&self) -> bool {
        !self.unsettled.is_empty()
    }

    fn begin(&self) -> Result<Walk> {
        Walk::new(&self.root, &self.settings.rules).map_err(|error| match error.kind() {
            ErrorKind::User => error,
            _ => ConnectorError::external("the source of files can look for no new ones", error),
        })
    }

    fn admit(&mut self, path: PathBuf, relative: String, seen: &Seen) -> Result<Option<FoundFile>> {
        if !self.owns(&relative) || self.known.contains(self.name(&relative)) {
            return Ok(None);
        }
        if let Some(read_us) = seen.modified_us(self.name(&relative)) {
            if self.settings.clean != Clean::Off {
                // A later file of the same name was never read: it is left alone.
                let found = FoundFile::look_up(path, relative)?;
                self.read_before.extend(found.filter(|file| file.modified_us == read_us));
            }
            return Ok(None);
        }
        let Some(file) = FoundFile::look_up(path, relative)? else { return Ok(None) };
        if file.bytes == 0
            || seen.is_too_old(self.name(&file.relative), file.modified_us)
            || !self.settled(&file)
        {
            return Ok(None);
        }
        self.claim(&file.relative);
        Ok(Some(file))
    }

    /// Whether a file is as it was some time ago.
    fn settled(&mut self, file: &FoundFile) -> bool {
        let settle = self.settings.settle();
        let now_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_micros());
        let age_us = i128::try_from(now_us).unwrap_or(i128::MAX) - i128::from(file.modified_us);
        let look = Look { bytes: file.bytes, modified_us: file.modified_us, at: Instant::now() };
        let before = self.unsettled.get(&file.relative).copied();
        let same =
            before.filter(|before| (before.bytes, before.modified_us) == (look.bytes, look.modified_us));
        // The clock of a network drive may be ahead: then two looks decide.
        let settled = age_us >= i128::try_from(settle.as_micros()).unwrap_or(i128::MAX)
            || same.is_some_and(|before| look.at.duration_since(before.at) >= settle);
        if settled {
            self.unsettled.remove(&file.relative);
        } else {
            self.unsettled.insert(file.relative.clone(), same.unwrap_or(look));
        }
        settled
    }

    fn finish(&mut self, mut found: Vec<FoundFile>) {
        found.sort_by(|a, b| a.order().cmp(&b.order()));
        if self.settings.latest_first {
            found.reverse();
        }
        self.queue.extend(found);
        // What was not met again is gone.
        let oldest = self.settings.poll_interval.max(self.settings.settle()) * 20 + Duration::from_secs(1);
        self.unsettled.retain(|_, look| look.at.elapsed() < oldest);
        let unsettled = self.is_unsettled();
        self.due =
            Instant::now() + if unsettled { self.settings.settle() } else { self.settings.poll_interval };
    }
}
