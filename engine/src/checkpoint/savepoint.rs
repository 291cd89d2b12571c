//! Savepoints: one checkpoint, whole, in a place of its own.
//!
//! A savepoint is a checkpoint location that holds a single checkpoint. So everything that reads a location reads a
//! savepoint, and a query that starts from one begins its own location with a copy of it.

use super::inspect::image_at;
use super::location;
use super::log::{Recovered, recover};
use super::read::log_name;
use super::record::{Frame, Header, QueryIdentity, Record, VERSION, write_frame};
use super::storage::CheckpointStorage;
use crate::error::{Error, Result};
use crate::query::Mode;
use lotic_operators::Epoch;
use std::io;
use std::path::Path;

/// Copies the checkpoint of an epoch that is committed to an empty place.
///
/// # Errors
/// If the checkpoint cannot be read, or the place is not empty or cannot be written to.
pub(crate) fn write(
    from: &mut dyn CheckpointStorage,
    epoch: Epoch,
    written_micros: i64,
    to: &Path,
) -> Result<Epoch> {
    let said = |error: io::Error| Error::user(format!("savepoint `{}`: {error}", to.display()));
    let mut target = location::open(to).map_err(said)?;
    if !target.list().map_err(said)?.is_empty() {
        return Err(Error::user(format!(
            "savepoint `{}`: there is something already; name a place that is empty or not there yet",
            to.display()
        )));
    }
    let (query, image) = match image_at(from, epoch) {
        // All that was prepared up to this epoch is committed.
        Ok((query, mut image)) => {
            image.handles.clear();
            (query, image)
        }
        // It was compacted meanwhile. What a newer one has prepared is committed by whoever starts from it.
        Err(_) => {
            let newest = recover(from)?;
            let newest = newest
                .ok_or_else(|| Error::external(format!("`{}` no longer holds a checkpoint", from.place())))?;
            (newest.query, newest.image)
        }
    };
    let epoch = image.epoch;
    put(target.as_mut(), query, image.into_record(Mode::Continuous, written_micros)).map_err(said)?;
    Ok(epoch)
}

fn put(target: &mut dyn CheckpointStorage, query: QueryIdentity, record: Record) -> io::Result<()> {
    let header = Header { version: VERSION, query, continues: None, seen: record.epoch, repeats: 1 };
    let mut bytes = Vec::new();
    write_frame(&Frame::Header(header), &mut bytes);
    write_frame(&Frame::Checkpoint(record), &mut bytes);
    target.put(&log_name(0), &bytes)
}

/// Begins a checkpoint location with a savepoint if it is empty; one that goes on from the savepoint stays as it is.
/// `held` is what was read of it. Returns what it holds then.
///
/// # Errors
/// If the savepoint cannot be read, or the location holds something that does not go on from it.
pub(crate) fn begin_from(
    savepoint: &Path,
    location: &mut dyn CheckpointStorage,
    held: Option<Recovered>,
) -> Result<Option<Recovered>> {
    let shown = savepoint.display();
    let place = location.place();
    let read = location::read(savepoint).and_then(|mut storage| recover(storage.as_mut()));
    let (found, held) = match (read, held) {
        // It was needed for the first start only.
        (Err(_) | Ok(None), Some(held)) => return Ok(Some(held)),
        (Err(error), None) => return Err(Error::user(format!("savepoint `{shown}`: {error}"))),
        (Ok(None), None) => return Err(Error::user(format!("savepoint `{shown}` holds no checkpoint"))),
        (Ok(Some(found)), held) => (found, held),
    };
    let Some(held) = held else {
        for warning in &found.warnings {
            tracing::warn!("savepoint `{shown}`: {warning}");
        }
        let record = found.image.into_record(Mode::Continuous, 0);
        put(location, found.query, record).map_err(|error| {
            Error::external(format!("checkpoint location `{place}` cannot be written to: {error}"))
        })?;
        return recover(location);
    };
    if held.query.id == found.query.id && held.image.epoch >= found.image.epoch {
        tracing::info!(
            "`{place}` goes on from savepoint `{shown}`: resuming after epoch {}",
            held.image.epoch
        );
        return Ok(Some(held));
    }
    Err(Error::user(format!(
        "checkpoint location `{place}` holds epoch {} of query {}, which does not go on from savepoint `{shown}`, epoch \
         {} of query {}: choose an empty location, or leave the savepoint out to go on from the location",
        held.image.epoch, held.query.id, found.image.epoch, found.query.id
    )))
}
