//! Reading the checkpoint log: the newest whole checkpoint, and what was damaged on the way to it.

use super::record::{Frame, Frames, Header, Image, Plan, QueryIdentity, Record, VERSION};
use super::storage::CheckpointStorage;
use crate::error::{Error, Result};
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
    /// The segment and the epoch behind which the log goes on.
    pub(super) continues: (u64, Epoch),
    /// The last record, if it can be read and yet may not be durable: the log goes on with it.
    pub(super) doubtful: Option<Frame>,
}

pub(super) struct Segment {
    pub(super) header: Header,
    pub(super) frames: Vec<Frame>,
    /// Where the damage begins and how long the file is, if the file does not end with a whole frame.
    pub(super) damage: Option<(usize, usize)>,
}

pub(super) fn log_name(number: u64) -> String {
    format!("log-{number:010}")
}

pub(super) fn base_name(number: u64) -> String {
    format!("base-{number:010}")
}

/// The number in a name that we gave; what others put into the folder is left alone.
pub(super) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("log-").or_else(|| name.strip_prefix("base-"))?;
    let number = digits.parse().ok()?;
    (name == log_name(number) || name == base_name(number)).then_some(number)
}

pub(super) fn numbers(names: &[String], prefix: &str) -> BTreeSet<u64> {
    names.iter().filter(|name| name.starts_with(prefix)).filter_map(|name| number_of(name)).collect()
}

pub(super) fn segment(storage: &mut dyn CheckpointStorage, name: &str) -> Result<Option<Segment>> {
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
    if let Some(version) = reader.version().filter(|version| !(1..=VERSION).contains(version)) {
        return Err(Error::user(format!(
            "checkpoint file `{name}` in `{}` has format version {version}, this build reads 1 to {VERSION}; use \
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
        let head = segment(storage, &log_name(newest))?.filter(Segment::is_begun);
        let Some(head) = head else {
            warnings.push(format!("checkpoint file `{}` in `{place}` has no whole header", log_name(newest)));
            continue;
        };
        let query = head.header.query.clone();
        let (image, chain) = chain(storage, newest, head, &bases, &mut warnings)?;
        let mut recovered = Recovered::new(query, image, newest, warnings);
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

/// A segment to be replayed: its number, and the epoch it counts up to if another one continues it.
pub(super) type Link = (u64, Segment, Option<Epoch>);

/// Walks back from a segment to a base or the beginning: the state there, and the segments to replay,
/// oldest first, each with the epoch it counts up to.
pub(super) fn chain(
    storage: &mut dyn CheckpointStorage,
    newest: u64,
    head: Segment,
    bases: &BTreeSet<u64>,
    warnings: &mut Vec<String>,
) -> Result<(Image, Vec<Link>)> {
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

impl Recovered {
    /// What a base holds, to be followed by a [`replay`] that ends with the segment `newest`.
    pub(super) fn new(query: QueryIdentity, image: Image, newest: u64, warnings: Vec<String>) -> Recovered {
        let continues = (newest, image.epoch);
        Recovered { query, image, plan: None, next: Epoch::NONE, warnings, continues, doubtful: None }
    }
}

impl Segment {
    /// Whether all is there that was written at once with the header.
    fn is_begun(&self) -> bool {
        self.frames.len() >= self.header.repeats as usize
    }

    /// The last frame, if nobody can have been told that it is durable: no write followed it.
    fn doubtful(&self) -> Option<&Frame> {
        let appended = self.frames.len() > self.header.repeats as usize;
        self.frames.last().filter(|_| appended && self.damage.is_none())
    }
}

pub(super) fn replay(recovered: &mut Recovered, chain: Vec<Link>, place: &str) {
    let mut newest_seen = recovered.image.epoch;
    let mut before_last = recovered.image.epoch;
    let mut broken = false;
    let doubtful = chain.last().and_then(|(_, segment, _)| segment.doubtful()).cloned();
    for (number, segment, until) in chain {
        newest_seen = newest_seen.max(segment.header.seen);
        recovered.image.keep(&segment.header.query.operators);
        for frame in segment.frames {
            let epoch = match &frame {
                Frame::Checkpoint(record) => record.epoch,
                Frame::Plan(_) | Frame::Header(_) => Epoch::NONE,
            };
            newest_seen = newest_seen.max(epoch);
            let void = broken || until.is_some_and(|until| epoch > until);
            match frame {
                Frame::Checkpoint(record) if !void && record.epoch > recovered.image.epoch => {
                    before_last = recovered.image.epoch;
                    recovered.image.apply(record);
                    // It may repeat one that was written before the query was changed.
                    recovered.image.keep(&segment.header.query.operators);
                    recovered.continues = (number, recovered.image.epoch);
                    recovered.plan = None;
                }
                Frame::Plan(plan) if !void => {
                    recovered.continues = (number, recovered.image.epoch);
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
            recovered.continues = (number, recovered.image.epoch);
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
    recovered.doubtful = doubtful.filter(|frame| match frame {
        Frame::Checkpoint(record) => !broken && record.epoch == recovered.image.epoch,
        Frame::Plan(plan) => recovered.plan.as_ref() == Some(plan),
        Frame::Header(_) => false,
    });
    if let Some(Frame::Checkpoint(_)) = recovered.doubtful {
        recovered.continues.1 = before_last;
    }
}
