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
//!
//! The last record of the newest segment may be readable and yet not durable: the process may have died, or
//! the sync failed, between the write and the sync. Nothing is committed on its strength: a new run repeats
//! it behind the header of its own segment, in the same `put`, before anything else ([`Log::open`]).

pub use super::read::{Recovered, recover};

use super::read::{base_name, chain, log_name, number_of, numbers, replay, segment};
use super::record::{Frame, Header, Plan, QueryIdentity, Record, VERSION, write_frame};
use super::storage::CheckpointStorage;
use crate::error::{Error, Result};
use crate::kill_point;
use crate::limits::SEGMENT_BYTES;
use crate::query::Mode;
use lotic_operators::Epoch;
use std::io;

/// Appends to a location.
pub struct Log {
    storage: Box<dyn CheckpointStorage>,
    query: QueryIdentity,
    segment: u64,
    /// Bytes in the segment, and what its records cost besides; zero if it was not begun.
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
    /// Begins a new segment after what was recovered. Once it returns, what was recovered is durable:
    /// nothing may be committed before.
    ///
    /// # Errors
    /// If the segment cannot be written.
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
            continues: recovered.map(|recovered| recovered.continues),
            last: recovered.map_or(Epoch::NONE, |recovered| recovered.image.epoch),
            seen: recovered.map_or(Epoch::NONE, |recovered| Epoch(recovered.next.0 - 1)),
            segment_bytes_max: kill_point::segment_bytes(SEGMENT_BYTES),
        };
        log.begin(recovered.and_then(|recovered| recovered.doubtful.as_ref())).map_err(said)?;
        Ok(log)
    }

    /// Seals segments at this size instead of [`SEGMENT_BYTES`].
    pub fn set_segment_bytes(&mut self, bytes: u64) {
        self.segment_bytes_max = bytes;
    }

    /// Writes the header, and behind it what has to be repeated.
    fn begin(&mut self, repeated: Option<&Frame>) -> io::Result<()> {
        let header = Header {
            version: VERSION,
            query: self.query.clone(),
            continues: self.continues,
            seen: self.seen,
            repeats: u32::from(repeated.is_some()),
        };
        let mut bytes = Vec::new();
        write_frame(&Frame::Header(header), &mut bytes);
        if let Some(frame) = repeated {
            write_frame(frame, &mut bytes);
        }
        self.storage.put(&log_name(self.segment), &bytes)?;
        self.bytes = bytes.len() as u64;
        Ok(())
    }

    fn append(&mut self, frame: &Frame) -> io::Result<u64> {
        let mut bytes = Vec::new();
        write_frame(frame, &mut bytes);
        if self.bytes == 0 {
            self.begin(None)?;
        }
        match self.storage.append(&log_name(self.segment), &bytes) {
            Ok(()) => {
                self.bytes += bytes.len() as u64 + self.storage.append_cost();
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

    /// A second handle to the location.
    ///
    /// # Errors
    /// If it cannot be opened again.
    pub fn second_handle(&self) -> io::Result<Box<dyn CheckpointStorage>> {
        self.storage.second_handle()
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
        let mut recovered = Recovered::new(self.query.clone(), image, last, warnings);
        replay(&mut recovered, segments, &place);
        if recovered.image.epoch != epoch {
            return Err(Error::external(format!(
                "the segments in `{place}` end at epoch {}, not {epoch}: {}",
                recovered.image.epoch,
                recovered.warnings.join("; ")
            )));
        }
        let mut bytes = Vec::new();
        let header = Header { version: VERSION, query: self.query, continues: None, seen: epoch, repeats: 1 };
        write_frame(&Frame::Header(header), &mut bytes);
        let record = recovered.image.into_record(Mode::Continuous, 0);
        write_frame(&Frame::Checkpoint(record), &mut bytes);
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
