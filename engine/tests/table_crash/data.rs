//! The rows, the query, and what it is to answer, computed here once more without Lotic.

use lotic::table::arrow::array::AsArray;
use lotic::{DataFrame, Result, Session};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every format of files.
pub(crate) const FORMATS: [&str; 5] = ["csv", "json", "text", "parquet", "orc"];

/// Files of an input.
pub(crate) const FILES: usize = 12;

const NAMES: [&str; 7] = ["ana", "bia, filha", "caio \"cacá\"", "joão", "o'brien", " two  spaces ", "日本"];

/// Groups of the count.
const GROUPS: i64 = 7;

/// The number of the row of a last file, which closes what is open by event time: long after all others.
pub(crate) const CLOSER: i64 = 10_000_000;

pub(crate) struct Row {
    pub(crate) id: i64,
    pub(crate) amount: i32,
    pub(crate) name: &'static str,
}

/// The rows of a file; a few files are larger than the batch in which they are read.
fn rows_of(file: usize) -> impl Iterator<Item = Row> {
    let count = |file: usize| if file % 6 == 3 { 9_000 + file } else { 40 + 7 * file };
    let first: usize = (0..file).map(count).sum();
    (first..first + count(file)).map(|number| {
        let id = number as i64;
        Row { id, amount: (id * 37 % 1_000) as i32 - 500, name: NAMES[number % NAMES.len()] }
    })
}

pub(crate) fn all_rows() -> impl Iterator<Item = Row> {
    (0..FILES).flat_map(rows_of)
}

/// What the query answers, a line for each row, in order.
pub(crate) fn expected(partitioned: bool) -> Vec<String> {
    let mut lines: Vec<String> = all_rows()
        .filter(|row| row.id % 3 != 0)
        .map(|Row { id, amount, name }| {
            let label = format!("{}-{}", name.to_uppercase(), amount % 10);
            let shard = if partitioned { format!("|{}", id % 4) } else { String::new() };
            format!("{id}|{}|{label}{shard}", i64::from(amount) * 2)
        })
        .collect();
    lines.sort();
    lines
}

/// The rows of each group.
pub(crate) fn expected_counts() -> BTreeMap<i64, i64> {
    let mut counts = BTreeMap::new();
    for row in all_rows().filter(|row| row.id % 3 != 0) {
        *counts.entry(row.id % GROUPS).or_default() += 1;
    }
    counts
}

/// The columns of an input of this format.
pub(crate) fn input_schema(format: &str) -> &'static str {
    if format == "text" { "value STRING" } else { "id BIGINT, amount INT, name STRING" }
}

/// The columns of an output of this format; none for text with a partition column, which is read with what its
/// folders say.
pub(crate) fn output_schema(format: &str, partitioned: bool) -> Option<&'static str> {
    match (format, partitioned) {
        ("text", false) => Some("value STRING"),
        ("text", true) => None,
        (_, false) => Some("id BIGINT, cents BIGINT, label STRING"),
        (_, true) => Some("id BIGINT, cents BIGINT, label STRING, shard BIGINT"),
    }
}

/// Filter, projection and cast over an input of this format.
pub(crate) fn query(input: &DataFrame, format: &str) -> Result<DataFrame> {
    let rows = match format {
        "text" => input.select_expr(&[
            "CAST(split_part(value, '|', 1) AS BIGINT) AS id",
            "CAST(split_part(value, '|', 2) AS INT) AS amount",
            "split_part(value, '|', 3) AS name",
        ])?,
        _ => input.clone(),
    };
    rows.filter("id % 3 <> 0")?.select_expr(&[
        "id",
        "CAST(amount AS BIGINT) * 2 AS cents",
        "concat(upper(name), '-', CAST(amount % 10 AS STRING)) AS label",
        "id % 4 AS shard",
    ])
}

/// The result in the columns of an output of this format.
pub(crate) fn shaped(result: &DataFrame, format: &str, partitioned: bool) -> Result<DataFrame> {
    let value = "concat(CAST(id AS STRING), '|', CAST(cents AS STRING), '|', label) AS value";
    match (format, partitioned) {
        ("text", false) => result.select_expr(&[value]),
        ("text", true) => result.select_expr(&[value, "shard"]),
        (_, false) => result.drop(&["shard"]),
        (_, true) => Ok(result.clone()),
    }
}

/// How many rows of the result there are in each group, so far.
pub(crate) fn counted(result: &DataFrame) -> Result<DataFrame> {
    let groups = result.select_expr(&[&format!("id % {GROUPS} AS k")])?;
    groups.group_by(["k"])?.count()?.select_expr(&["concat(CAST(k AS STRING), '|', CAST(count AS STRING))"])
}

/// A line for each row of an output of this format, in order.
pub(crate) fn lines_of(output: &DataFrame, format: &str, partitioned: bool) -> Result<Vec<String>> {
    let mut line = match format {
        "text" => "concat(value".to_owned(),
        _ => "concat(CAST(id AS STRING), '|', CAST(cents AS STRING), '|', label".to_owned(),
    };
    line.push_str(if partitioned { ", '|', CAST(shard AS STRING))" } else { ")" });
    sorted(&output.select_expr(&[&line])?)
}

/// The values of a column of text, in order; null where something is missing.
pub(crate) fn sorted(frame: &DataFrame) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for batch in frame.collect()? {
        let values = batch.column(0).as_string::<i32>();
        lines.extend(values.iter().map(|value| value.unwrap_or("null").to_owned()));
    }
    lines.sort();
    Ok(lines)
}

/// Writes the input in every format, through Lotic's own batch writers: `FOLDER/FORMAT/file=N/part-…`.
pub(crate) fn write_inputs(session: &Session, folder: &Path) -> Result<()> {
    let mut json = String::new();
    for file in 0..=FILES {
        let closer = Row { id: CLOSER, amount: 0, name: NAMES[0] };
        let closer = (file == FILES).then_some(closer);
        let rows = rows_of(file).take(if file == FILES { 0 } else { usize::MAX });
        for Row { id, amount, name } in rows.chain(closer) {
            let row = serde_json::json!({ "id": id, "amount": amount, "name": name, "file": file });
            json.push_str(&row.to_string());
            json.push('\n');
        }
    }
    let rows = folder.join("rows.json");
    fs::write(&rows, json).unwrap();
    let schema = "id BIGINT, amount INT, name STRING, file INT";
    let frame = session.read().schema(schema).json(&rows)?;
    let value = "concat(CAST(id AS STRING), '|', CAST(amount AS STRING), '|', name) AS value";
    for format in FORMATS {
        let frame = if format == "text" { frame.select_expr(&[value, "file"])? } else { frame.clone() };
        frame.write().format(format).partition_by(["file"]).save(folder.join(format))?;
    }
    Ok(())
}

/// Copies an input to a folder, under the names `file-00`, `file-01`, …; the names. With the file that closes
/// windows if it is asked for.
pub(crate) fn stage(inputs: &Path, format: &str, to: &Path, closer: bool) -> Vec<PathBuf> {
    fs::create_dir_all(to).unwrap();
    let copy = |file: usize| {
        let parts = fs::read_dir(inputs.join(format).join(format!("file={file}"))).unwrap();
        let parts: Vec<PathBuf> = parts.map(|part| part.unwrap().path()).collect();
        assert_eq!(parts.len(), 1, "a batch write makes one file for each partition: {parts:?}");
        let staged = to.join(format!("file-{file:02}.{format}"));
        fs::copy(&parts[0], &staged).unwrap();
        staged
    };
    (0..FILES + usize::from(closer)).map(copy).collect()
}
