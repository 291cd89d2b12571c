//! What a reader of the output sees must be part of the answer at any time, and the answer at the end.

use crate::child::{Output, Settings};
use crate::data;
use crate::windows;
use lotic::Session;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What was visible so far.
pub(crate) struct Checker<'a> {
    session: &'a Session,
    answer: Vec<String>,
    visible: Vec<String>,
}

impl<'a> Checker<'a> {
    pub(crate) fn new(session: &'a Session, output: &Output) -> Checker<'a> {
        let answer = match output {
            Output::Windows { kind, .. } => windows::expected(*kind, false),
            _ => data::expected(matches!(output, Output::Files { partitioned: true, .. })),
        };
        Checker { session, answer, visible: Vec::new() }
    }

    /// Nothing twice, nothing that is not in the answer, nothing gone that was there.
    pub(crate) fn check(&mut self, settings: &Settings) -> Result<(), String> {
        if settings.output == (Output::Batches { counted: true }) {
            return counts(settings).map(|_| ());
        }
        let now = visible(self.session, settings)?;
        if let Some(pair) = now.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("DUPLICATED: {}", pair[0]));
        }
        if let Some(wrong) = now.iter().find(|row| self.answer.binary_search(row).is_err()) {
            return Err(format!("WRONG: {wrong}"));
        }
        if let Some(gone) = self.visible.iter().find(|row| now.binary_search(row).is_err()) {
            return Err(format!("GONE: {gone}"));
        }
        self.visible = now;
        Ok(())
    }

    /// All of the answer, and nothing left behind.
    pub(crate) fn check_complete(&mut self, settings: &Settings) -> Result<(), String> {
        self.check(settings)?;
        if settings.output == (Output::Batches { counted: true }) {
            let (counts, expected) = (counts(settings)?, data::expected_counts());
            return if counts == expected {
                Ok(())
            } else {
                Err(format!("LOST: {counts:?} of {expected:?}"))
            };
        }
        let lost: Vec<_> =
            self.answer.iter().filter(|row| self.visible.binary_search(row).is_err()).collect();
        if let Some(first) = lost.first() {
            return Err(format!("LOST: {} rows, for example {first}", lost.len()));
        }
        let batch = self.batch_answer(settings).map_err(|error| error.to_string())?;
        let answer = match settings.output {
            Output::Windows { kind, .. } => windows::expected(kind, true),
            _ => self.answer.clone(),
        };
        if batch != answer {
            return Err("the batch answer over the same files is another".to_owned());
        }
        let hidden = hidden_in(&settings.output_folder());
        if hidden.is_empty() { Ok(()) } else { Err(format!("left behind in the output: {hidden:?}")) }
    }

    /// The same query over the same files as a batch.
    fn batch_answer(&self, settings: &Settings) -> lotic::Result<Vec<String>> {
        let schema = data::input_schema(&settings.input);
        let reader = self.session.read().format(&settings.input).schema(schema);
        let result = data::query(&reader.load_path(settings.input_folder())?, &settings.input)?;
        if let Output::Windows { kind, ordered } = settings.output {
            return data::sorted(&windows::query(&result, kind, ordered)?);
        }
        let partitioned = matches!(settings.output, Output::Files { partitioned: true, .. });
        data::lines_of(&data::shaped(&result, "csv", partitioned)?, "csv", partitioned)
    }
}

/// The rows that are visible, in order.
fn visible(session: &Session, settings: &Settings) -> Result<Vec<String>, String> {
    let folder = settings.output_folder();
    if !folder.exists() {
        return Ok(Vec::new());
    }
    if let Output::Windows { .. } = settings.output {
        let reader = session.read().format("csv").schema("line STRING").option("mode", "FAILFAST");
        let read = reader.load_path(&folder).and_then(|frame| data::sorted(&frame));
        return read.map_err(|error| format!("the output cannot be read: {error}"));
    }
    let Output::Files { format, partitioned } = &settings.output else {
        let mut rows: Vec<String> = Vec::new();
        for (_, text) in batches(&folder)? {
            rows.extend(text.lines().map(str::to_owned));
        }
        rows.sort();
        return Ok(rows);
    };
    let mut reader = session.read().format(format);
    match data::output_schema(format, *partitioned) {
        Some(schema) => reader = reader.schema(schema),
        None if !has_partitions(&folder) => return Ok(Vec::new()),
        None => {}
    }
    if matches!(format.as_str(), "csv" | "json") {
        // Half a record would be an error, not a row of nulls.
        reader = reader.option("mode", "FAILFAST");
    }
    let read = reader.load_path(&folder).and_then(|frame| data::lines_of(&frame, format, *partitioned));
    read.map_err(|error| format!("the output cannot be read: {error}"))
}

fn has_partitions(folder: &Path) -> bool {
    let mut names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.any(|name| name.to_string_lossy().starts_with("shard="))
}

/// What `foreach_batch` wrote, by the number of the batch.
fn batches(folder: &Path) -> Result<BTreeMap<String, String>, String> {
    let mut batches = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(|error| error.to_string())? {
        let entry = entry.map_err(|error| error.to_string())?;
        let name = entry.file_name().into_string().unwrap();
        if !name.starts_with('.') {
            batches.insert(name, fs::read_to_string(entry.path()).map_err(|error| error.to_string())?);
        }
    }
    Ok(batches)
}

/// The newest count of each group. Each batch must raise the counts it names, and never above the total.
fn counts(settings: &Settings) -> Result<BTreeMap<i64, i64>, String> {
    let totals = data::expected_counts();
    let mut counts = BTreeMap::new();
    let folder = settings.output_folder();
    if !folder.exists() {
        return Ok(counts);
    }
    for (name, text) in batches(&folder)? {
        for line in text.lines() {
            let parsed = line.split_once('|').and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
            let (group, count): (i64, i64) = parsed.ok_or_else(|| format!("WRONG: {name}: {line}"))?;
            let before = counts.insert(group, count).unwrap_or(0);
            if count <= before || totals.get(&group).is_none_or(|total| count > *total) {
                return Err(format!("DUPLICATED: {name}: group {group} counts {count} after {before}"));
            }
        }
    }
    Ok(counts)
}

/// Files that a sink had not yet committed.
fn hidden_in(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(".part")).collect()
}
