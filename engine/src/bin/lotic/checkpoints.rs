//! `lotic checkpoint`: what a checkpoint location holds.

use crate::args::CheckpointCommand;
use crate::fault::{FAILED, Fault};
use lotic::checkpoint::inspect::{Checkpoint, Contents, EpochContents, checkpoint, contents};
use lotic::checkpoint::location;
use lotic::operators::Epoch;
use std::fmt::Write;
use std::path::Path;

/// The text to print, and the exit status.
pub(crate) fn run(command: &CheckpointCommand) -> Result<(String, u8), Fault> {
    match command {
        CheckpointCommand::Ls { folder } => Ok((list(&read(folder)?), 0)),
        CheckpointCommand::Show { folder, epoch } => {
            let mut storage = location::read(folder)?;
            Ok((show(&checkpoint(storage.as_mut(), epoch.map(Epoch))?), 0))
        }
        CheckpointCommand::Verify { folder } => {
            let found = read(folder)?;
            let status = if found.newest_is_whole() { 0 } else { FAILED };
            Ok((verify(&found), status))
        }
    }
}

fn read(folder: &Path) -> Result<Contents, Fault> {
    let found = contents(location::read(folder)?.as_mut())?;
    found.ok_or_else(|| {
        let mut fault = Fault::input(format!("`{}` holds no checkpoint", folder.display()));
        let inner: Vec<String> = std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.path().is_dir())
            .map(|entry| entry.path().display().to_string())
            .collect();
        if !inner.is_empty() {
            fault = fault.help(format!("each query has its own folder in it: {}", inner.join(", ")));
        }
        fault
    })
}

/// One row for each epoch, the newest last.
fn list(found: &Contents) -> String {
    let mut text =
        format!("{:>10}  {:<24}  {:<11}  {:>12}  file\n", "epoch", "written (UTC)", "mode", "bytes");
    for EpochContents { epoch, written, mode, bytes, file, whole } in &found.epochs {
        let mode = mode.map_or_else(|| "-".to_owned(), |mode| mode.to_string());
        let written = written.map_or_else(|| "-".to_owned(), |written| utc(written.0));
        let mark = if *whole { "" } else { "  (cannot be used)" };
        let _ = writeln!(
            text,
            "{epoch:>10}  {written:<24}  {mode:<11}  {bytes:>12}  {file}{mark}",
            epoch = epoch.0
        );
    }
    for warning in &found.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

fn show(found: &Checkpoint) -> String {
    let mut text = format!("query {}\nepoch {}\n", found.query.id, found.epoch);
    for operator in &found.operators {
        let _ = writeln!(text, "\n{} ({}), {} bytes of state", operator.name, operator.kind, operator.bytes);
        for (partition, next) in operator.offsets.iter().flat_map(|offsets| &offsets.0) {
            let _ = writeln!(text, "    {partition}: next row {next}");
        }
    }
    for (sink, epoch, bytes) in &found.pending {
        let _ = writeln!(
            text,
            "\n{sink}: epoch {epoch} is prepared, {bytes} bytes; a restart commits it if need be"
        );
    }
    text
}

fn verify(found: &Contents) -> String {
    let mut text = String::new();
    for file in &found.files {
        let state = match file.damaged_from {
            None => "whole".to_owned(),
            Some(at) => format!("cannot be read from byte {at}: damaged, or a write that was interrupted"),
        };
        let _ = writeln!(text, "{}  {} bytes  {state}", file.name, file.bytes);
    }
    let (whole, broken): (Vec<_>, Vec<_>) = found.epochs.iter().partition(|entry| entry.whole);
    let _ = writeln!(text, "epochs that are whole: {}", ranges(&whole));
    if !broken.is_empty() {
        let _ = writeln!(text, "epochs that cannot be used: {}", ranges(&broken));
    }
    let _ = match found.resume {
        Some(Epoch::NONE) => writeln!(text, "a restart begins anew"),
        Some(epoch) => writeln!(text, "a restart goes on from epoch {epoch}"),
        None => writeln!(text, "a restart is refused"),
    };
    for warning in &found.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

/// `1-4, 6`.
fn ranges(entries: &[&EpochContents]) -> String {
    let mut parts: Vec<(u64, u64)> = Vec::new();
    for entry in entries {
        match parts.last_mut() {
            Some((_, end)) if *end + 1 == entry.epoch.0 => *end += 1,
            _ => parts.push((entry.epoch.0, entry.epoch.0)),
        }
    }
    let shown =
        parts.iter().map(|(from, to)| if from == to { from.to_string() } else { format!("{from}-{to}") });
    let shown: Vec<String> = shown.collect();
    if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }
}

/// Microseconds since the Unix epoch as date and time.
fn utc(micros: i64) -> String {
    use arrow::array::TimestampMillisecondArray;
    use arrow::util::display::{ArrayFormatter, FormatOptions};
    let array = TimestampMillisecondArray::from(vec![micros.div_euclid(1_000)]);
    let options = FormatOptions::default();
    ArrayFormatter::try_new(&array, &options)
        .map_or_else(|_| micros.to_string(), |shown| shown.value(0).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_shown_in_ranges_and_times_as_dates() {
        let entry = |epoch| EpochContents {
            epoch: Epoch(epoch),
            written: None,
            mode: None,
            bytes: 0,
            file: "log-0".to_owned(),
            whole: true,
        };
        let entries = [1, 2, 3, 6].map(entry);
        assert_eq!(ranges(&entries.iter().collect::<Vec<_>>()), "1-3, 6");
        assert_eq!(ranges(&[]), "none");
        assert_eq!(utc(1_500), "1970-01-01T00:00:00.001");
    }
}
