//! The files that were read, as state: what is kept in checkpoints so that no file is read twice.

use super::super::listing::FoundFile;
use crate::error::{ConnectorError, Result};
use lotic_operators::key::{group_of, hash_of};
use lotic_operators::limits::KEY_GROUPS;
use lotic_operators::state::{KeyedState, codec};
use lotic_operators::{Instance, Restore, Snapshot, TableSnapshot};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const FILES: &str = "files";
const FORGOTTEN: &str = "forgotten";

/// A file from the future, of a wrong clock, must not make all others count as old.
fn now_us() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
}

/// The files that this instance has read, by name; the value is when the file was last modified.
///
/// Files older than the newest one by more than the largest age are forgotten. Up to which time they were is
/// kept for each key group, so that after a restart with another parallelism none of them counts as new.
pub(super) struct Seen {
    instance: Instance,
    /// `None`: nothing is ever forgotten.
    age_max_us: Option<i64>,
    files: KeyedState<String, i64>,
    oldest_first: BinaryHeap<Reverse<(i64, String)>>,
    newest_us: i64,
    /// For each key group: files older than this were forgotten.
    forgotten_us: Vec<i64>,
    changed: bool,
}

impl Seen {
    pub(super) fn new(instance: Instance, age_max: Option<Duration>) -> Self {
        Seen {
            instance,
            age_max_us: age_max.map(|age| i64::try_from(age.as_micros()).unwrap_or(i64::MAX)),
            files: KeyedState::new(FILES),
            oldest_first: BinaryHeap::new(),
            newest_us: i64::MIN,
            forgotten_us: vec![i64::MIN; usize::from(KEY_GROUPS)],
            changed: true,
        }
    }

    /// Whether a file of that name was read.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.modified_us(name).is_some()
    }

    /// When the file of that name that was read had last been modified, in microseconds since 1970.
    pub(super) fn modified_us(&self, name: &str) -> Option<i64> {
        self.files.get(hash_of(name), &name.to_owned()).copied()
    }

    /// Whether a file of that name and age counts as forgotten.
    pub(super) fn is_too_old(&self, name: &str, modified_us: i64) -> bool {
        modified_us < self.forgotten_us[usize::from(group_of(hash_of(name)))]
    }

    /// Remembers a file that was read.
    pub(super) fn insert(&mut self, name: &str, modified_us: i64) {
        let name = name.to_owned();
        *self.files.entry(hash_of(&name), &name, || modified_us) = modified_us;
        self.newest_us = self.newest_us.max(modified_us.min(now_us()));
        if self.age_max_us.is_some() {
            self.oldest_first.push(Reverse((modified_us, name)));
        }
    }

    /// Forgets files that are too old, but nothing newer than a file that is still to be read.
    fn forget<'a>(&mut self, unread: impl Iterator<Item = &'a FoundFile>) {
        let Some(age_max_us) = self.age_max_us.filter(|_| self.newest_us > i64::MIN) else { return };
        let limit = self.newest_us.saturating_sub(age_max_us);
        if self.oldest_first.peek().is_none_or(|Reverse((oldest_us, _))| *oldest_us >= limit) {
            return;
        }
        let limit = unread.map(|file| file.modified_us).fold(limit, i64::min);
        let mut any = false;
        while let Some(Reverse((modified_us, _))) = self.oldest_first.peek() {
            if *modified_us >= limit {
                break;
            }
            if let Some(Reverse((_, name))) = self.oldest_first.pop() {
                self.files.remove(hash_of(&name), &name);
                any = true;
            }
        }
        if any {
            self.changed = true;
            let owned = (0..KEY_GROUPS).filter(|group| self.owns(*group)).collect::<Vec<_>>();
            for group in owned {
                let forgotten = &mut self.forgotten_us[usize::from(group)];
                *forgotten = limit.max(*forgotten);
            }
        }
    }

    fn owns(&self, group: u16) -> bool {
        // A key group is the top bits of a hash.
        self.instance.owns(u64::from(group) << (64 - KEY_GROUPS.trailing_zeros()))
    }

    pub(super) fn snapshot<'a>(&mut self, unread: impl Iterator<Item = &'a FoundFile>) -> Result<Snapshot> {
        self.forget(unread);
        let mut tables = vec![self.files.snapshot()];
        if std::mem::take(&mut self.changed) {
            let owned: Vec<(u16, i64)> = (0..KEY_GROUPS)
                .filter(|group| self.owns(*group))
                .map(|group| (group, self.forgotten_us[usize::from(group)]))
                .collect();
            let mut bytes = Vec::new();
            codec::encode(FORGOTTEN, &owned, &mut bytes)
                .map_err(|error| ConnectorError::internal(error.to_string()))?;
            tables.push(TableSnapshot::single(FORGOTTEN, bytes));
        }
        Ok(Snapshot { tables })
    }

    pub(super) fn restore(&mut self, restore: Restore<'_>) -> Result<()> {
        let refused = |error: lotic_operators::OperatorError| {
            ConnectorError::user(format!(
                "the checkpoint's list of files that were read cannot be used: {error}; start from a new \
                 checkpoint location"
            ))
        };
        self.files.restore(restore).map_err(refused)?;
        for chunk in restore.image.chunks(FORGOTTEN) {
            let groups: Vec<(u16, i64)> = codec::decode(FORGOTTEN, chunk).map_err(refused)?;
            for (group, limit) in groups {
                if let Some(forgotten) = self.forgotten_us.get_mut(usize::from(group)) {
                    *forgotten = limit.max(*forgotten);
                }
            }
        }
        let aged = self.age_max_us.is_some();
        let now_us = now_us();
        for (name, modified_us) in self.files.iter() {
            self.newest_us = self.newest_us.max((*modified_us).min(now_us));
            if aged {
                self.oldest_first.push(Reverse((*modified_us, name.clone())));
            }
        }
        Ok(())
    }
}
