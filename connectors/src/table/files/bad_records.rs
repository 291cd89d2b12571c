//! Malformed records set aside: one file of JSON lines for each file that has some.

use super::listing::{FoundFile, failed};
use crate::error::Result;
use crate::table::format::BadRecord;
use lotic_operators::key::hash_of;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

#[derive(Debug, Serialize)]
struct Entry<'a> {
    file: &'a str,
    line: u64,
    text: &'a str,
    reason: &'a str,
}

#[derive(Debug, Deserialize)]
struct Line {
    line: u64,
}

/// Where the malformed records of one file go, each once: a file is read from its start again after a
/// restart, so that only lines behind the last one written are new.
#[derive(Debug)]
pub(super) struct BadRecordsFile {
    path: PathBuf,
    source: String,
    open: Option<File>,
    last_line: u64,
}

impl BadRecordsFile {
    /// Looks up what was written for `file` before.
    pub(super) fn open(folder: &Path, file: &FoundFile) -> Result<Self> {
        let name = file.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        // Names have a longest length; the hash tells files of one name in different folders apart.
        let short: String = name.chars().take(48).collect();
        let source = file.path.display().to_string();
        let path = folder.join(format!("{short}-{:016x}.jsonl", hash_of(source.as_str())));
        fs::create_dir_all(folder)
            .map_err(|cause| failed("make the folder of bad records", folder, cause))?;
        let mut this = BadRecordsFile { path, source, open: None, last_line: 0 };
        this.resume()?;
        Ok(this)
    }

    fn resume(&mut self) -> Result<()> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed("read the bad records", &self.path, error)),
        };
        // A crash may have left the last line incomplete: it is written again.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if whole < bytes.len() {
            let cut =
                OpenOptions::new().write(true).open(&self.path).and_then(|file| file.set_len(whole as u64));
            cut.map_err(|cause| failed("repair the bad records", &self.path, cause))?;
        }
        let lines = bytes[..whole].split(|byte| *byte == b'\n');
        let numbers =
            lines.filter_map(|line| serde_json::from_slice::<Line>(line).ok()).map(|line| line.line);
        self.last_line = numbers.max().unwrap_or(0);
        Ok(())
    }

    /// Appends what is new.
    pub(super) fn append(&mut self, records: &[BadRecord]) -> Result<()> {
        let mut text = Vec::new();
        for record in records.iter().filter(|record| record.line > self.last_line) {
            let BadRecord { line, text: raw, reason } = record;
            let entry = Entry { file: &self.source, line: *line, text: raw, reason };
            serde_json::to_writer(&mut text, &entry).expect("invariant: text and numbers are JSON");
            text.push(b'\n');
        }
        if text.is_empty() {
            return Ok(());
        }
        self.last_line = records.iter().map(|record| record.line).max().unwrap_or(self.last_line);
        let file = match &mut self.open {
            Some(file) => file,
            closed => {
                let file = OpenOptions::new().append(true).create(true).open(&self.path);
                closed.insert(file.map_err(|cause| failed("create", &self.path, cause))?)
            }
        };
        file.write_all(&text).map_err(|cause| failed("write to", &self.path, cause))
    }
}
