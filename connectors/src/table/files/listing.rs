//! What stands in a folder.
//!
//! Names that begin with `_` or `.`, or end in `.inprogress`, `.tmp` or `._COPYING_`, are not there: files
//! being written and notes of other programs. A listing descends into partition folders (`name=value`), or
//! into all folders if it is recursive; then folders are no columns.

use super::partition;
use crate::error::{ConnectorError, Result};
use crate::limits::FOLDER_DEPTH;
use glob::Pattern;
use std::fs::{self, DirEntry, Metadata, ReadDir};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Which files a listing returns.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    /// What the name of a file must look like.
    pub(super) filter: Option<Pattern>,
    /// Whether to descend into all folders.
    pub(super) recursive: bool,
}

/// A file of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FoundFile {
    pub(super) path: PathBuf,
    /// Its path within the table's folder, with `/`.
    pub(super) relative: String,
    pub(super) bytes: u64,
    /// When it was last modified, in microseconds since 1970.
    pub(super) modified_us: i64,
}

impl FoundFile {
    /// What a stream of files is ordered by.
    pub(super) fn order(&self) -> (i64, &str) {
        (self.modified_us, &self.relative)
    }

    fn new(path: PathBuf, relative: String, metadata: &Metadata) -> Self {
        let modified = metadata.modified().unwrap_or(UNIX_EPOCH);
        let modified_us = match modified.duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |us| -us),
        };
        FoundFile { path, relative, bytes: metadata.len(), modified_us }
    }

    /// Looks a file up; `None` if it is not there, or is no file.
    pub(super) fn look_up(path: PathBuf, relative: String) -> Result<Option<FoundFile>> {
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => Ok(Some(FoundFile::new(path, relative, &metadata))),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("look up the file", &path, error)),
        }
    }
}

/// An error of the file system.
pub(super) fn failed(what: &str, path: &Path, cause: std::io::Error) -> ConnectorError {
    ConnectorError::external(format!("cannot {what} `{}`", path.display()), cause)
}

/// Whether a file or folder of that name is not for readers.
pub(super) fn is_hidden(name: &str) -> bool {
    name.starts_with('.')
        || (name.starts_with('_') && !name.contains('='))
        || [".inprogress", ".tmp", "._COPYING_"].iter().any(|ending| name.ends_with(ending))
}

/// What a step through a folder came upon.
#[derive(Debug)]
pub(super) enum Step {
    /// A file that the rules admit: its path, and its path within the folder.
    File(PathBuf, String),
    /// Something else.
    Other,
    /// The end.
    Done,
}

/// A walk through a folder, one entry at a time, so that a large folder does not hold up anything.
#[derive(Debug)]
pub(super) struct Walk {
    rules: Rules,
    open: Vec<(ReadDir, PathBuf, String)>,
}

impl Walk {
    /// Begins at a folder.
    ///
    /// # Errors
    /// If it is missing, is no folder, or cannot be read.
    pub(super) fn new(root: &Path, rules: &Rules) -> Result<Walk> {
        match fs::read_dir(root) {
            Ok(entries) => {
                let open = vec![(entries, root.to_owned(), String::new())];
                Ok(Walk { rules: rules.clone(), open })
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Err(ConnectorError::external(
                format!(
                    "the folder `{}` does not exist: check option `path`, or make the folder",
                    root.display()
                ),
                error,
            )),
            Err(error) if error.kind() == ErrorKind::NotADirectory => Err(ConnectorError::user(format!(
                "`{}` is a file, not a folder: a stream reads the files of a folder; give the folder it is in, \
                 with option `pathGlobFilter` to choose the file",
                root.display()
            ))),
            Err(error) => Err(failed("list the folder", root, error)),
        }
    }

    /// One entry further.
    ///
    /// # Errors
    /// If something cannot be read, naming it.
    pub(super) fn step(&mut self) -> Result<Step> {
        let Some((entries, folder, prefix)) = self.open.last_mut() else { return Ok(Step::Done) };
        match entries.next() {
            Some(Ok(entry)) => {
                let prefix = prefix.clone();
                self.enter(&entry, &prefix)
            }
            Some(Err(error)) => Err(failed("list the folder", folder, error)),
            None => {
                self.open.pop();
                Ok(Step::Other)
            }
        }
    }

    fn enter(&mut self, entry: &DirEntry, prefix: &str) -> Result<Step> {
        let path = entry.path();
        let Ok(name) = entry.file_name().into_string() else {
            return Err(ConnectorError::user(format!(
                "the name of `{}` is not UTF-8: rename it",
                path.display()
            )));
        };
        if is_hidden(&name) {
            return Ok(Step::Other);
        }
        let mut kind = entry.file_type().map_err(|cause| failed("look up", &path, cause))?;
        if kind.is_symlink() {
            match fs::metadata(&path) {
                Ok(metadata) => kind = metadata.file_type(),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Step::Other),
                Err(error) => return Err(failed("follow the link", &path, error)),
            }
        }
        if kind.is_dir() {
            if self.rules.recursive || partition::parse(&name).is_some() {
                self.descend(path, format!("{prefix}{name}/"))?;
            }
            return Ok(Step::Other);
        }
        let admitted = self.rules.filter.as_ref().is_none_or(|filter| filter.matches(&name));
        if kind.is_file() && admitted {
            return Ok(Step::File(path, format!("{prefix}{name}")));
        }
        Ok(Step::Other)
    }

    fn descend(&mut self, path: PathBuf, prefix: String) -> Result<()> {
        if self.open.len() >= FOLDER_DEPTH {
            return Err(ConnectorError::user(format!(
                "`{}` lies more than {FOLDER_DEPTH} folders deep: is there a link that leads in a circle?",
                path.display()
            )));
        }
        match fs::read_dir(&path) {
            Ok(entries) => self.open.push((entries, path, prefix)),
            // It was deleted since its parent was listed.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed("list the folder", &path, error)),
        }
        Ok(())
    }
}

/// All files of a folder, by path.
///
/// # Errors
/// If something cannot be read.
pub(super) fn list(root: &Path, rules: &Rules) -> Result<Vec<FoundFile>> {
    let mut walk = Walk::new(root, rules)?;
    let mut files = Vec::new();
    loop {
        match walk.step()? {
            Step::File(path, relative) => files.extend(FoundFile::look_up(path, relative)?),
            Step::Other => {}
            Step::Done => break,
        }
    }
    files.sort_by(|a, b| a.relative.cmp(&b.relative));
    Ok(files)
}

/// The files that a path of a bounded read stands for: a folder, a file, or a pattern of these.
///
/// # Errors
/// If nothing is there, or something cannot be read.
pub(super) fn resolve(path: &str, rules: &Rules) -> Result<Vec<FoundFile>> {
    let root = Path::new(path);
    match fs::metadata(root) {
        Ok(metadata) if metadata.is_dir() => return list(root, rules),
        Ok(_) => return Ok(FoundFile::look_up(root.to_owned(), file_name(root))?.into_iter().collect()),
        Err(error) if error.kind() == ErrorKind::NotFound && path.contains(['*', '?', '[']) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(ConnectorError::user(format!("`{path}` does not exist: check option `path`")));
        }
        Err(error) => return Err(failed("look up", root, error)),
    }
    let wrong = |error: glob::PatternError| {
        ConnectorError::user(format!("option `path` is `{path}`, which is no pattern: {error}"))
    };
    let mut files = Vec::new();
    for found in glob::glob(path).map_err(wrong)? {
        let found = found.map_err(|error| {
            let place = error.path().to_owned();
            failed("list", &place, error.into())
        })?;
        if is_hidden(&file_name(&found)) {
            continue;
        }
        if found.is_dir() {
            files.extend(list(&found, rules)?);
        } else {
            let name = file_name(&found);
            files.extend(FoundFile::look_up(found, name)?);
        }
    }
    if files.is_empty() {
        return Err(ConnectorError::user(format!("no file matches `{path}`: check option `path`")));
    }
    Ok(files)
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_being_written_is_not_there() {
        for hidden in [".x", "_SUCCESS", "a.csv.tmp", "a.csv._COPYING_", "a.inprogress", "_temporary"] {
            assert!(is_hidden(hidden), "{hidden}");
        }
        for visible in ["a.csv", "_k=1", "k=_", "tmp", "a.tmp.csv"] {
            assert!(!is_hidden(visible), "{visible}");
        }
    }
}
