//! The stream of the files that appear in a folder.
//!
//! # What is read, and when
//! Files are found by looking at the folder every `pollInterval`; those found together are read in the order
//! of (time of modification, path), one after the other, then it looks again. A file is read once, under the
//! name it had: what is appended or changed later is not. So a file should appear whole, by a rename from a
//! hidden name; as a help, a file is left alone while it is empty and until it has not changed for 100 ms (or
//! `pollInterval`, if that is shorter). A file that grows while it is being read is an error. `cleanSource` takes
//! away what was read and nothing else: a file that has come later under the same name stays, unread.
//!
//! # What a checkpoint holds
//! Which files were read, as keyed state that grows with the files of the last `maxFileAge`; the rows read of
//! the file being read, as its offset; the number of files read, as the offset of `/read/INSTANCE`. A planned
//! batch is a list of whole files, so that it holds the same rows when it is run again; a limit of rows does not
//! split a file, and `maxFilesPerTrigger` is what limits a batch.
//!
//! # Cost
//! A poll looks at some hundred entries of the folder, or opens some files, or reads two batches of rows. A file of
//! [`READ_AHEAD_BYTES`](crate::limits::READ_AHEAD_BYTES) or more is read on a thread of its own, a few batches ahead.
//! An epoch costs what changed in it: files that were read are not looked up again, only met in the listing.

mod ahead;
mod clean;
mod discovery;
mod seen;

use super::listing::FoundFile;
use super::reader::{FileRows, FilesTable};
use crate::error::{ConnectorError, Result};
use crate::limits::{FILES_PER_POLL, FOLDER_ENTRIES_PER_POLL, PARALLELISM, TABLE_BATCH_ROWS};
use crate::offsets::Offsets;
use crate::source::{Latest, PollRequest, Polled, Polling, Source, SourceFactory, SourceTraits};
use crate::table::StreamTable;
use ahead::Rows;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use clean::Cleaner;
use discovery::Discovery;
use lotic_operators::table::TableBatch;
use lotic_operators::{Epoch, Instance, Restore, Snapshot};
use seen::Seen;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// The files of a folder as an unbounded table.
#[derive(Debug)]
pub(super) struct StreamFiles(pub(super) Arc<FilesTable>);

impl StreamTable for StreamFiles {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0.schema)
    }

    fn source(&self, projection: Option<&[usize]>) -> Result<Box<dyn SourceFactory<TableBatch>>> {
        let output = self.0.projected(projection)?;
        Ok(Box::new(Factory { table: Arc::clone(&self.0), output }))
    }

    fn reads(&self, folder: &Path) -> bool {
        self.0.settings.reads(folder)
    }
}

struct Factory {
    table: Arc<FilesTable>,
    output: SchemaRef,
}

impl SourceFactory<TableBatch> for Factory {
    fn traits(&self) -> SourceTraits {
        SourceTraits {
            name: self.table.format.name().to_owned(),
            replayable: true,
            polling: Polling::NonBlocking,
            // So that each instance has a share of at least one file of a limited batch.
            max_parallelism: self.table.settings.files_max.unwrap_or(PARALLELISM).min(PARALLELISM),
        }
    }

    fn create(&self, instance: Instance) -> Result<Box<dyn Source<TableBatch>>> {
        let settings = &self.table.settings;
        let age_max = (!settings.latest_first).then_some(settings.age_max);
        Ok(Box::new(FilesSource {
            files_max: settings.files_max.map_or(usize::MAX, |files| share(files, instance)),
            discovery: Discovery::new(settings, instance),
            seen: Seen::new(instance, age_max),
            cleaner: Cleaner::new(settings.clean.clone()),
            counter: format!("/read/{}", instance.index),
            table: Arc::clone(&self.table),
            output: Arc::clone(&self.output),
            reading: None,
            begun: BTreeMap::new(),
            planned: VecDeque::new(),
            files_read: 0,
            settled_at: None,
        }))
    }
}

/// The part of a limit that falls to an instance.
fn share(total: usize, instance: Instance) -> usize {
    total / instance.parallelism + usize::from(instance.index < total % instance.parallelism)
}

/// The file being read.
struct Reading {
    file: FoundFile,
    rows: Rows,
    /// Rows read and not yet returned.
    ahead: Option<RecordBatch>,
    /// Rows returned.
    at: u64,
    /// Rows that were returned before a restart and are still to be passed over.
    skip: u64,
}

/// What comes next.
enum Next {
    Open(FoundFile),
    Nothing,
}

/// What came of reading the file.
enum Read {
    Rows(RecordBatch),
    /// Rows are still being read; the waker is woken when they are there.
    Waits,
    /// Nothing further of it.
    Over,
}

struct FilesSource {
    table: Arc<FilesTable>,
    output: SchemaRef,
    files_max: usize,
    discovery: Discovery,
    seen: Seen,
    cleaner: Cleaner,
    counter: String,
    reading: Option<Reading>,
    /// Files of which some rows were returned and that are to be read on, with the number of these rows.
    begun: BTreeMap<String, u64>,
    /// Files of the planned batch, in the order in which to read them.
    planned: VecDeque<FoundFile>,
    files_read: u64,
    /// Until when an answer to what there is waits for files that were written just before the question.
    settled_at: Option<Instant>,
}

impl FilesSource {
    /// The rows of a file that a plan admits; none of it if the plan does not name it.
    fn limit(until: Option<&Offsets>, relative: &str) -> u64 {
        until.map_or(u64::MAX, |until| until.get(relative).unwrap_or(0))
    }

    /// Reads one batch ahead, so that a file counts as read together with its last rows.
    fn read(&mut self, request: &PollRequest<'_>) -> Result<Read> {
        let Some(reading) = &mut self.reading else { return Ok(Read::Over) };
        let left = Self::limit(request.until, &reading.file.relative).saturating_sub(reading.at);
        let rows_max =
            request.max_rows.clamp(1, TABLE_BATCH_ROWS).min(usize::try_from(left).unwrap_or(usize::MAX));
        if rows_max == 0 {
            self.set_aside();
            return Ok(Read::Over);
        }
        if reading.ahead.is_none() {
            let Poll::Ready(next) = reading.rows.next(rows_max, request.waker)? else {
                return Ok(Read::Waits);
            };
            reading.ahead = next;
        }
        let Some(mut rows) = reading.ahead.take() else {
            self.finish()?;
            return Ok(Read::Over);
        };
        if rows.num_rows() > rows_max {
            reading.ahead = Some(rows.slice(rows_max, rows.num_rows() - rows_max));
            rows = rows.slice(0, rows_max);
        } else {
            let Poll::Ready(next) = reading.rows.next(rows_max, request.waker)? else {
                reading.ahead = Some(rows);
                return Ok(Read::Waits);
            };
            reading.ahead = next;
        }
        reading.at += rows.num_rows() as u64;
        if reading.ahead.is_none() {
            self.finish()?;
        }
        Ok(Read::Rows(rows))
    }

    /// A plan does not go on with the file.
    fn set_aside(&mut self) {
        match self.reading.take() {
            Some(Reading { file, at: 0, .. }) => self.discovery.put_back(file),
            Some(Reading { file, at, .. }) => {
                self.begun.insert(file.relative, at);
            }
            None => {}
        }
    }

    fn finish(&mut self) -> Result<()> {
        let Some(Reading { file, .. }) = self.reading.take() else { return Ok(()) };
        let now = FoundFile::look_up(file.path.clone(), file.relative.clone())?;
        if let Some(now) = now.filter(|now| now.bytes != file.bytes) {
            return Err(ConnectorError::external(
                format!("`{}` changed while it was read", file.path.display()),
                format!(
                    "it had {} bytes and now has {}; write files under a hidden name (`.name`) and rename them \
                     when they are whole",
                    file.bytes, now.bytes
                ),
            ));
        }
        self.done(&file);
        Ok(())
    }

    fn done(&mut self, file: &FoundFile) {
        let name = self.discovery.name(&file.relative).to_owned();
        self.seen.insert(&name, file.modified_us);
        self.discovery.release(&file.relative);
        self.files_read += 1;
        self.cleaner.add(file, self.files_read);
    }

    /// Opens a file, behind the rows that were returned of it.
    fn open(&mut self, file: FoundFile) -> Result<()> {
        let at = self.begun.remove(&file.relative).unwrap_or(0);
        match FileRows::open(&self.table, &self.output, &file)? {
            Some(rows) => {
                let rows = Rows::new(rows, &file.path, file.bytes)?;
                self.reading = Some(Reading { file, rows, ahead: None, at, skip: at });
            }
            None => self.done(&file),
        }
        Ok(())
    }

    /// Passes over some rows that were returned before a restart. Whether there were any; pending if they are still
    /// being read.
    fn skip(&mut self, waker: &Waker) -> Result<Poll<bool>> {
        let Some(Reading { file, rows, ahead, at, skip }) = &mut self.reading else {
            return Ok(Poll::Ready(false));
        };
        if *skip == 0 {
            return Ok(Poll::Ready(false));
        }
        let rows_max = usize::try_from(*skip).unwrap_or(usize::MAX).min(TABLE_BATCH_ROWS);
        let Poll::Ready(next) = rows.next(rows_max, waker)? else { return Ok(Poll::Pending) };
        let Some(next) = next else {
            return Err(ConnectorError::user(format!(
                "{at} rows of `{}` were read before the restart, now it has {}: it was changed; restore it, or \
                 start from a new checkpoint location",
                file.path.display(),
                *at - *skip
            )));
        };
        let skipped = next.num_rows().min(rows_max);
        *skip -= skipped as u64;
        *ahead = (skipped < next.num_rows()).then(|| next.slice(skipped, next.num_rows() - skipped));
        Ok(Poll::Ready(true))
    }

    /// The next file without a plan.
    fn next_free(&mut self) -> Result<Next> {
        while let Some(file) = self.planned.pop_back() {
            self.discovery.put_back(file);
        }
        if let Some(relative) = self.begun.keys().next().cloned() {
            return self.look_up(relative).map(|file| file.map_or(Next::Nothing, Next::Open));
        }
        Ok(self.discovery.pop().map_or(Next::Nothing, Next::Open))
    }

    /// The next file of a plan.
    fn next_planned(&mut self, until: &Offsets) -> Result<Next> {
        if self.planned.is_empty() {
            self.take_plan(until)?;
        }
        while let Some(file) = self.planned.pop_front() {
            if Self::limit(Some(until), &file.relative) > 0 {
                return Ok(Next::Open(file));
            }
            self.discovery.put_back(file);
        }
        Ok(Next::Nothing)
    }

    /// Collects what is left to read of a plan: files that were begun, files found, and, when a batch is run
    /// again after a restart, files not found yet.
    fn take_plan(&mut self, until: &Offsets) -> Result<()> {
        let mut planned = VecDeque::new();
        for relative in
            self.begun.clone().into_iter().filter(|(name, at)| Self::limit(Some(until), name) > *at)
        {
            planned.extend(self.look_up(relative.0)?);
        }
        planned.extend(self.discovery.take(|file| until.get(&file.relative).is_some()));
        let taken: HashSet<&str> = planned.iter().map(|file: &FoundFile| file.relative.as_str()).collect();
        let mut again = Vec::new();
        let left = until.0.iter().filter(|(name, limit)| !name.starts_with('/') && **limit > 0);
        for (name, limit) in left {
            let begun = self.begun.get(name).is_some_and(|at| at >= limit);
            let read = self.seen.contains(self.discovery.name(name));
            if !begun && !read && self.discovery.owns(name) && !taken.contains(name.as_str()) {
                again.push(name.clone());
            }
        }
        let mut found = Vec::new();
        for name in again {
            self.discovery.claim(&name);
            found.extend(self.look_up(name)?);
        }
        found.sort_by(|a, b| a.order().cmp(&b.order()));
        if self.table.settings.latest_first {
            found.reverse();
        }
        planned.extend(found);
        self.planned = planned;
        Ok(())
    }

    /// A file known by name alone; `None` if it is gone and that is allowed.
    fn look_up(&mut self, relative: String) -> Result<Option<FoundFile>> {
        let path = self.discovery.root().join(&relative);
        if let Some(file) = FoundFile::look_up(path.clone(), relative.clone())? {
            return Ok(Some(file));
        }
        if !self.table.settings.ignore_missing {
            return Err(ConnectorError::external(
                format!("cannot read `{}`", path.display()),
                "it was to be read on after a restart, but is gone; put it back, or set option \
                 `ignoreMissingFiles` to go on without it",
            ));
        }
        tracing::warn!("`{}` is gone: what was not read of it is left out", path.display());
        self.begun.remove(&relative);
        self.done(&FoundFile { path, relative, bytes: 0, modified_us: i64::MIN });
        Ok(None)
    }

    /// Goes on to the next file, or looks for new ones. `None` if the poll is to try again.
    fn go_on(&mut self, request: &PollRequest<'_>) -> Result<Option<Polled<TableBatch>>> {
        let next = match request.until {
            Some(until) => self.next_planned(until)?,
            None => self.next_free()?,
        };
        match (next, request.until) {
            (Next::Open(file), _) => self.open(file).map(|()| None),
            (Next::Nothing, Some(_)) => Ok(Some(Polled::AtEnd)),
            (Next::Nothing, None) => {
                if let Some(pause) = self.discovery.pause() {
                    return Ok(Some(Polled::Pending(Some(pause))));
                }
                let over = self.discovery.advance(FOLDER_ENTRIES_PER_POLL, &self.seen)?;
                self.clean_read_before();
                // The rest at the next poll, so that nothing is held up.
                Ok(if over { None } else { Some(again(request)) })
            }
        }
    }

    /// A file may have been read before a crash and not cleaned up.
    fn clean_read_before(&mut self) {
        for file in std::mem::take(&mut self.discovery.read_before) {
            self.cleaner.add(&file, 0);
        }
    }

    fn look(&mut self) -> Result<()> {
        self.discovery.look(&self.seen)?;
        self.clean_read_before();
        Ok(())
    }

    /// All there is includes files that were written just now: how long to wait until they have settled. Files
    /// that come while it waits are not waited for in turn. `looked_at` is when the last look began: only a look
    /// that began when they had settled has found them.
    fn settling(&mut self, looked_at: Instant) -> Option<Duration> {
        match self.settled_at {
            Some(at) if at > looked_at => Some(at.saturating_duration_since(Instant::now())),
            Some(_) => {
                self.settled_at = None;
                None
            }
            None if self.discovery.is_unsettled() => {
                let wait = self.table.settings.settle();
                self.settled_at = Some(Instant::now() + wait);
                Some(wait)
            }
            None => None,
        }
    }
}

/// There is more to do, at the next poll.
fn again(request: &PollRequest<'_>) -> Polled<TableBatch> {
    request.waker.wake_by_ref();
    Polled::Pending(Some(Duration::ZERO))
}

impl Source<TableBatch> for FilesSource {
    fn start(&mut self, from: &Offsets) -> Result<()> {
        for (name, at) in from.0.iter().filter(|(name, at)| !name.starts_with('/') && **at > 0) {
            if self.discovery.owns(name) && !self.seen.contains(self.discovery.name(name)) {
                self.discovery.claim(name);
                self.begun.insert(name.clone(), *at);
            }
        }
        self.look()
    }

    fn restore(&mut self, restore: Restore<'_>) -> Result<()> {
        self.seen.restore(restore)
    }

    fn poll(&mut self, request: PollRequest<'_>) -> Result<Polled<TableBatch>> {
        for _ in 0..FILES_PER_POLL {
            match self.skip(request.waker)? {
                Poll::Ready(true) => continue,
                Poll::Ready(false) => {}
                Poll::Pending => return Ok(Polled::Pending(None)),
            }
            match self.read(&request)? {
                Read::Rows(rows) => return Ok(Polled::Batch(TableBatch::from(rows))),
                Read::Waits => return Ok(Polled::Pending(None)),
                Read::Over => {}
            }
            if let Some(polled) = self.go_on(&request)? {
                return Ok(polled);
            }
        }
        Ok(again(&request))
    }

    fn offsets(&self) -> Offsets {
        let mut offsets = Offsets(self.begun.clone());
        offsets.0.insert(self.counter.clone(), self.files_read);
        if let Some(Reading { file, at: at @ 1.., .. }) = &self.reading {
            offsets.0.insert(file.relative.clone(), *at);
        }
        offsets
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        let reading = self.reading.iter().map(|reading| &reading.file);
        self.seen.snapshot(reading.chain(&self.planned).chain(self.discovery.queue()))
    }

    fn latest(&mut self, max_rows: u64, _waker: &Waker) -> Result<Latest> {
        let all = max_rows == u64::MAX;
        let looked_at = Instant::now();
        if all || self.discovery.queue().is_empty() {
            self.look()?;
        }
        if all && let Some(wait) = self.settling(looked_at) {
            return Ok(Latest::Pending(Some(wait)));
        }
        let reading = self.reading.iter().map(|reading| &reading.file);
        let found = reading.chain(&self.planned).chain(self.discovery.queue());
        let files = self.begun.keys().chain(found.map(|file| &file.relative));
        let mut offsets = Offsets::default();
        for relative in files.take(if all { usize::MAX } else { self.files_max }) {
            offsets.0.insert(relative.clone(), u64::MAX);
        }
        let read_then = self.files_read + offsets.0.len() as u64;
        offsets.0.insert(self.counter.clone(), read_then);
        Ok(Latest::At(offsets))
    }

    fn committed(&mut self, _epoch: Epoch, offsets: &Offsets) {
        if let Some(files_read) = offsets.get(&self.counter) {
            self.cleaner.durable(files_read);
        }
    }
}
