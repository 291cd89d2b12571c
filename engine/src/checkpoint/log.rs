//! The checkpoint log: one append and one sync for each epoch, compacted in the background.
//!
//! Segments `log-N` hold a header and then records; `base-N`, if it is there, holds in one record all that
//! precedes `log-N`. A header names the segment and the epoch it continues, so the newest readable segment
//! leads back through its predecessors to a base or to the beginning, and whatever stands in a predecessor
//! after the named epoch is void: a torn tail, or epochs that could not be read and were fallen back from.
//! The segments since the last base but one are kept, so that a damaged base can be done without.
//!
//! A header is written whole or not at all (`put`), records are appended behind it. So a segment without a
//! whole header is damage, never the trace of a crash, and nothing is ever appended behind a torn tail.

use super::record::{Frame, Frames, Header, Image, Plan, QueryIdentity, Record, VERSION, write_frame};
use super::storage::CheckpointStorage;
use crate::error::{Error, Result};
use crate::kill_point;
use crate::limits::SEGMENT_BYTES;
use crate::query::Mode;
use lotic_operators::Epoch;
use std::collections::BTreeSet;
use std::io;

/// What was found in a checkpoint location.
#[derive(Debug)]
pub struct Recovered {
    /// Whose checkpoints these are.
    pub query: QueryIdentity,
    /// The newest whole checkpoint.
    pub image: Image,
    /// A micro-batch planned after it and not finished.
    pub plan: Option<Plan>,
    /// The number of the next epoch.
    pub next: Epoch,
    /// What was damaged, by file; empty if all was well.
    pub warnings: Vec<String>,
    /// The segment behind which the log goes on: of the newest whole checkpoint, or of the plan after it.
    segment: u64,
}

struct Segment {
    header: Header,
    frames: Vec<Frame>,
    /// Where the damage begins and how long the file is, if the file does not end with a whole frame.
    damage: Option<(usize, usize)>,
}

fn log_name(number: u64) -> String {
    format!("log-{number:010}")
}

fn base_name(number: u64) -> String {
    format!("base-{number:010}")
}

/// The number in a name that we gave; what others put into the folder is left alone.
fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("log-").or_else(|| name.strip_prefix("base-"))?;
    let number = digits.parse().ok()?;
    (name == log_name(number) || name == base_name(number)).then_some(number)
}

fn numbers(names: &[String], prefix: &str) -> BTreeSet<u64> {
    names.iter().filter(|name| name.starts_with(prefix)).filter_map(|name| number_of(name)).collect()
}

fn segment(storage: &mut dyn CheckpointStorage, name: &str) -> Result<Option<Segment>> {
    let bytes = match storage.read(name) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(Error::external(format!(
                "checkpoint file `{name}` in `{}`: {error}",
                storage.place()
            )));
        }
    };
    let mut reader = Frames::new(&bytes);
    if let Some(version) = reader.version().filter(|version| *version != VERSION) {
        return Err(Error::user(format!(
            "checkpoint file `{name}` in `{}` has format version {version}, this build reads {VERSION}; use \
             the build that wrote it or another location",
            storage.place(),
        )));
    }
    let Some(Frame::Header(header)) = reader.next() else { return Ok(None) };
    let frames: Vec<Frame> = reader.by_ref().collect();
    let position = reader.position();
    let damage = (position < bytes.len()).then_some((position, bytes.len()));
    Ok(Some(Segment { header, frames, damage }))
}

/// The base of a segment, if it is there and whole.
fn base(
    storage: &mut dyn CheckpointStorage,
    number: u64,
    id: &str,
    warnings: &mut Vec<String>,
) -> Result<Option<Record>> {
    let name = base_name(number);
    if let Some(Segment { header, mut frames, damage: None }) = segment(storage, &name)?
        && header.query.id == id
        && frames.len() == 1
        && let Some(Frame::Checkpoint(record)) = frames.pop()
    {
        return Ok(Some(record));
    }
    warnings.push(format!(
        "checkpoint file `{name}` in `{}` is damaged; using the segments before it",
        storage.place()
    ));
    Ok(None)
}

/// Reads the newest whole checkpoint; `None` if the location is empty.
///
/// # Errors
/// If the files cannot be read, are of another version, or nothing whole is left although something was
/// there.
pub fn recover(storage: &mut dyn CheckpointStorage) -> Result<Option<Recovered>> {
    let place = storage.place();
    let names = storage
        .list()
        .map_err(|error| Error::external(format!("checkpoint location `{place}` cannot be read: {error}")))?;
    let (logs, bases) = (numbers(&names, "log-"), numbers(&names, "base-"));
    let mut warnings = Vec::new();
    for &newest in logs.iter().rev() {
        let Some(head) = segment(storage, &log_name(newest))? else {
            warnings.push(format!("checkpoint file `{}` in `{place}` has no whole header", log_name(newest)));
            continue;
        };
        let query = head.header.query.clone();
        let (image, chain) = chain(storage, newest, head, &bases, &mut warnings)?;
        let mut recovered =
            Recovered { query, image, plan: None, next: Epoch::NONE, warnings, segment: newest };
        replay(&mut recovered, chain, &place);
        return Ok(Some(recovered));
    }
    if logs.is_empty() && bases.is_empty() {
        return Ok(None);
    }
    for &number in bases.difference(&logs) {
        warnings.push(format!("checkpoint file `{}` is missing", log_name(number)));
    }
    Err(Error::external(format!(
        "checkpoint location `{place}` holds no readable checkpoint: {}; restore the files from a copy, or \
         use an empty location to start from the beginning",
        warnings.join("; ")
    )))
}

/// Walks back from a segment to a base or the beginning: the state there, and the segments to replay,
/// oldest first, each with the epoch it counts up to.
fn chain(
    storage: &mut dyn CheckpointStorage,
    newest: u64,
    head: Segment,
    bases: &BTreeSet<u64>,
    warnings: &mut Vec<String>,
) -> Result<(Image, Vec<(u64, Segment, Option<Epoch>)>)> {
    let id = head.header.query.id.clone();
    let mut chain = Vec::new();
    let (mut number, mut current, mut until) = (newest, head, None);
    loop {
        let mut image = Image::default();
        let found = if bases.contains(&number) { base(storage, number, &id, warnings)? } else { None };
        let continues = current.header.continues;
        chain.push((number, current, until));
        match (found, continues) {
            (Some(record), _) => image.apply(record),
            (None, None) => {}
            (None, Some((before, epoch))) => {
                current = predecessor(storage, number, before, &id)?;
                (number, until) = (before, Some(epoch));
                continue;
            }
        }
        chain.reverse();
        return Ok((image, chain));
    }
}

/// The segment that another one continues.
fn predecessor(storage: &mut dyn CheckpointStorage, number: u64, before: u64, id: &str) -> Result<Segment> {
    let found = if before < number { segment(storage, &log_name(before))? } else { None };
    let (what, place) = match found {
        Some(segment) if segment.header.query.id == id => return Ok(segment),
        Some(_) => ("belongs to another query", storage.place()),
        None => ("is missing or unreadable", storage.place()),
    };
    Err(Error::external(format!(
        "checkpoint location `{place}` is damaged: `{}`, which `{}` builds upon, {what} and there is no whole \
         base after it; restore the files from a copy, or use an empty location to start from the beginning",
        log_name(before),
        log_name(number)
    )))
}

fn replay(recovered: &mut Recovered, chain: Vec<(u64, Segment, Option<Epoch>)>, place: &str) {
    let mut newest_seen = recovered.image.epoch;
    let mut broken = false;
    for (number, segment, until) in chain {
        newest_seen = newest_seen.max(segment.header.seen);
        for frame in segment.frames {
            let epoch = match &frame {
                Frame::Checkpoint(record) => record.epoch,
                Frame::Plan(_) | Frame::Header(_) => Epoch::NONE,
            };
            newest_seen = newest_seen.max(epoch);
            let void = broken || until.is_some_and(|until| epoch > until);
            match frame {
                Frame::Checkpoint(record) if !void && record.epoch > recovered.image.epoch => {
                    recovered.image.apply(record);
                    recovered.segment = number;
                    recovered.plan = None;
                }
                Frame::Plan(plan) if !void => {
                    recovered.segment = number;
                    recovered.plan = Some(plan);
                }
                _ => {}
            }
        }
        if let Some((at, length)) =
            segment.damage.filter(|_| until.is_none_or(|until| recovered.image.epoch < until))
        {
            recovered.warnings.push(format!(
                "checkpoint file `{}` in `{place}` is damaged from byte {at} of {length}; falling back to \
                 epoch {}",
                log_name(number),
                recovered.image.epoch
            ));
        }
        if until.is_some_and(|until| recovered.image.epoch < until) && !broken {
            broken = true;
            // The log goes on behind what could be read, not behind what is void.
            recovered.segment = number;
            recovered.warnings.push(format!(
                "checkpoint file `{}` in `{place}` should reach epoch {} and ends at epoch {}; what follows \
                 cannot be used",
                log_name(number),
                until.unwrap_or_default(),
                recovered.image.epoch
            ));
        }
    }
    recovered.next = newest_seen.next();
    recovered.plan = recovered.plan.take().filter(|plan| plan.epoch == recovered.next);
}

/// Appends to a location.
pub struct Log {
    storage: Box<dyn CheckpointStorage>,
    query: QueryIdentity,
    segment: u64,
    /// Bytes in the segment; zero if it was not begun.
    bytes: u64,
    continues: Option<(u64, Epoch)>,
    last: Epoch,
    seen: Epoch,
    segment_bytes_max: u64,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Log({}, segment {}, epoch {})", self.storage.place(), self.segment, self.last)
    }
}

impl Log {
    /// Begins a new segment after what was recovered.
    ///
    /// # Errors
    /// If the segment's header cannot be written.
    pub fn open(
        mut storage: Box<dyn CheckpointStorage>,
        query: QueryIdentity,
        recovered: Option<&Recovered>,
    ) -> Result<Log> {
        let place = storage.place();
        let said = |error: io::Error| {
            Error::external(format!(
                "checkpoint location `{place}` cannot be written to: {error}; choose a folder that can be \
                 written to and has space"
            ))
        };
        let names = storage.list().map_err(said)?;
        let newest = names.iter().filter_map(|name| number_of(name)).max();
        let segment = newest.map_or(Some(0), |number| number.checked_add(1)).ok_or_else(|| {
            let name = log_name(u64::MAX);
            Error::external(format!("checkpoint location `{place}` holds a file `{name}`, which is not ours"))
        })?;
        let mut log = Log {
            storage,
            query,
            segment,
            bytes: 0,
            continues: recovered.map(|recovered| (recovered.segment, recovered.image.epoch)),
            last: recovered.map_or(Epoch::NONE, |recovered| recovered.image.epoch),
            seen: recovered.map_or(Epoch::NONE, |recovered| Epoch(recovered.next.0 - 1)),
            segment_bytes_max: kill_point::segment_bytes(SEGMENT_BYTES),
        };
        log.begin().map_err(said)?;
        Ok(log)
    }

    /// Seals segments at this size instead of [`SEGMENT_BYTES`].
    pub fn set_segment_bytes(&mut self, bytes: u64) {
        self.segment_bytes_max = bytes;
    }

    fn begin(&mut self) -> io::Result<()> {
        let header = Header {
            version: VERSION,
            query: self.query.clone(),
            continues: self.continues,
            seen: self.seen,
        };
        let mut bytes = Vec::new();
        write_frame(&Frame::Header(header), &mut bytes)?;
        self.storage.put(&log_name(self.segment), &bytes)?;
        self.bytes = bytes.len() as u64;
        Ok(())
    }

    fn append(&mut self, frame: &Frame) -> io::Result<u64> {
        let mut bytes = Vec::new();
        write_frame(frame, &mut bytes)?;
        if self.bytes == 0 {
            self.begin()?;
        }
        match self.storage.append(&log_name(self.segment), &bytes) {
            Ok(()) => {
                self.bytes += bytes.len() as u64;
                Ok(bytes.len() as u64)
            }
            Err(error) => {
                // The tail may be torn: nothing is ever written behind it.
                self.next_segment();
                Err(error)
            }
        }
    }

    fn next_segment(&mut self) {
        self.continues = Some((self.segment, self.last));
        self.segment += 1;
        self.bytes = 0;
    }

    /// Writes a checkpoint. This is the instant that decides about its epoch. Returns the bytes written.
    ///
    /// # Errors
    /// If it may not be durable; the next attempt goes to a new segment.
    pub fn append_checkpoint(&mut self, record: Record) -> io::Result<u64> {
        let epoch = record.epoch;
        assert!(epoch > self.last, "epochs become durable in order");
        let written = self.append(&Frame::Checkpoint(record))?;
        self.last = epoch;
        self.seen = self.seen.max(epoch);
        Ok(written)
    }

    /// Writes the plan of a micro-batch down, before it runs.
    ///
    /// # Errors
    /// If it may not be durable.
    pub fn append_plan(&mut self, plan: Plan) -> io::Result<u64> {
        self.append(&Frame::Plan(plan))
    }

    /// Seals the segment if it has grown enough and says what to compact: to be run on another thread.
    ///
    /// # Errors
    /// If the storage cannot be opened a second time.
    pub fn seal(&mut self, base_bytes: u64) -> io::Result<Option<Compaction>> {
        if self.bytes < self.segment_bytes_max.max(base_bytes) {
            return Ok(None);
        }
        let storage = self.storage.second_handle()?;
        self.next_segment();
        Ok(Some(Compaction {
            storage,
            query: self.query.clone(),
            number: self.segment,
            sealed: (self.segment - 1, self.last),
        }))
    }
}

/// The writing of a base from the segments before it, and the removal of what is no longer needed.
pub struct Compaction {
    storage: Box<dyn CheckpointStorage>,
    query: QueryIdentity,
    number: u64,
    sealed: (u64, Epoch),
}

impl std::fmt::Debug for Compaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Compaction(base {})", self.number)
    }
}

impl Compaction {
    /// Writes the base and returns its size in bytes.
    ///
    /// # Errors
    /// If the segments cannot be read or the base not written. Nothing was removed then, and the segments
    /// serve on.
    pub fn run(mut self) -> Result<u64> {
        let place = self.storage.place();
        let said = |error: io::Error| Error::external(format!("compaction in `{place}`: {error}"));
        let names = self.storage.list().map_err(said)?;
        let bases = numbers(&names, "base-");
        let (last, epoch) = self.sealed;
        let storage = self.storage.as_mut();
        let head = segment(storage, &log_name(last))?
            .ok_or_else(|| Error::external(format!("`{}` in `{place}` is unreadable", log_name(last))))?;
        let mut warnings = Vec::new();
        let (image, segments) = chain(storage, last, head, &bases, &mut warnings)?;
        // What the new base replaces, and the base it was made from, serve on if the new one is damaged.
        let oldest = segments.first().map_or(last, |(number, ..)| *number);
        let query = self.query.clone();
        let mut recovered =
            Recovered { query, image, plan: None, next: Epoch::NONE, warnings, segment: last };
        replay(&mut recovered, segments, &place);
        if recovered.image.epoch != epoch {
            return Err(Error::external(format!(
                "the segments in `{place}` end at epoch {}, not {epoch}: {}",
                recovered.image.epoch,
                recovered.warnings.join("; ")
            )));
        }
        let mut bytes = Vec::new();
        let header = Header { version: VERSION, query: self.query, continues: None, seen: epoch };
        write_frame(&Frame::Header(header), &mut bytes).map_err(said)?;
        let record = recovered.image.into_record(Mode::Continuous, 0);
        write_frame(&Frame::Checkpoint(record), &mut bytes).map_err(said)?;
        kill_point::reach("compaction-before-base");
        storage.put(&base_name(self.number), &bytes).map_err(said)?;
        kill_point::reach("compaction-after-base");
        for name in names.iter().filter(|name| number_of(name).is_some_and(|number| number < oldest)) {
            storage.remove(name).map_err(said)?;
            kill_point::reach("compaction-mid-removal");
        }
        Ok(bytes.len() as u64)
    }
}
