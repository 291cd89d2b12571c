//! The options of files, whatever their format.

use super::listing::Rules;
use super::partition;
use crate::error::{ConnectorError, Result};
use crate::table::options::{OptionSpec, Options};
use glob::Pattern;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a stream looks for new files unless it is told otherwise.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// A file that changed less than this ago may still be growing.
const SETTLE: Duration = Duration::from_millis(100);
const MAX_FILE_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// What all files are read with.
pub(super) const READ: [OptionSpec; 13] = [
    OptionSpec::new(
        "path",
        "",
        "The folder; for a bounded read also a file, or a pattern such as `/data/*.csv`",
    ),
    OptionSpec::new("pathGlobFilter", "", "Only files whose name matches this pattern, such as `*.csv`"),
    OptionSpec::new(
        "recursiveFileLookup",
        "false",
        "Reads the files of all folders below; `name=value` folders are no columns then",
    ),
    OptionSpec::new(
        "ignoreCorruptFiles",
        "false",
        "Leaves out what cannot be read of a file, with a warning, instead of failing",
    ),
    OptionSpec::new(
        "ignoreMissingFiles",
        "false",
        "Leaves out a file that was deleted after it was listed, instead of failing",
    ),
    OptionSpec::new(
        "badRecordsPath",
        "",
        "A folder to which each malformed record is appended as a line of JSON: file, line, text, reason",
    ),
    OptionSpec::new(
        "maxFilesPerTrigger",
        "",
        "Streams: files in one micro-batch, at most; without a limit if not given. A file is never split, \
         however many rows it has",
    ),
    OptionSpec::new(
        "latestFirst",
        "false",
        "Streams: of the files found together, the newest first; `maxFileAge` is ignored then",
    ),
    OptionSpec::new(
        "maxFileAge",
        "7d",
        "Streams: files older than the newest one read by more than this are not read, and forgotten",
    ),
    OptionSpec::new(
        "cleanSource",
        "off",
        "Streams: what becomes of a file that was read, once that is durable: `off`, `archive` or `delete`",
    ),
    OptionSpec::new(
        "sourceArchiveDir",
        "",
        "Streams: the folder files are moved to by `cleanSource` = `archive`",
    ),
    OptionSpec::new(
        "fileNameOnly",
        "false",
        "Streams: files of the same name are the same file, whatever folder they are in",
    ),
    OptionSpec::new("pollInterval", "100 ms", "Streams: how often to look for new files"),
];

/// What all files are written with.
pub(super) const WRITE: [OptionSpec; 4] = [
    OptionSpec::new("path", "", "The folder; made if it is missing"),
    OptionSpec::new(
        "maxRowsPerFile",
        "",
        "Begins a new file after this many rows; without a limit if not given",
    ),
    OptionSpec::new("maxRecordsPerFile", "", "Spark's name for `maxRowsPerFile`"),
    OptionSpec::new(
        "maxFileBytes",
        "",
        "Begins a new file after about this many bytes, such as `64m`; without a limit if not given",
    ),
];

/// What becomes of a file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Clean {
    Off,
    Delete,
    Archive(PathBuf),
}

/// What files are read with.
#[derive(Debug, Clone)]
pub(super) struct ReadSettings {
    pub(super) path: String,
    pub(super) rules: Rules,
    pub(super) ignore_corrupt: bool,
    pub(super) ignore_missing: bool,
    pub(super) bad_records: Option<PathBuf>,
    pub(super) files_max: Option<usize>,
    pub(super) latest_first: bool,
    pub(super) age_max: Duration,
    pub(super) clean: Clean,
    pub(super) name_only: bool,
    pub(super) poll_interval: Duration,
}

impl ReadSettings {
    pub(super) fn new(options: &Options) -> Result<Self> {
        let pattern = |text: &str| Pattern::new(text).ok();
        let settings = ReadSettings {
            path: path_of(options)?,
            rules: Rules {
                filter: options.parsed("pathGlobFilter", "a pattern such as `*.csv`", pattern)?,
                recursive: options.bool("recursiveFileLookup", false)?,
            },
            ignore_corrupt: options.bool("ignoreCorruptFiles", false)?,
            ignore_missing: options.bool("ignoreMissingFiles", false)?,
            bad_records: options.get("badRecordsPath").map(PathBuf::from),
            files_max: options.parsed("maxFilesPerTrigger", "a number from 1 up", positive)?,
            latest_first: options.bool("latestFirst", false)?,
            age_max: options.duration("maxFileAge")?.unwrap_or(MAX_FILE_AGE),
            clean: clean_of(options)?,
            name_only: options.bool("fileNameOnly", false)?,
            poll_interval: options.duration("pollInterval")?.unwrap_or(POLL_INTERVAL),
        };
        settings.check_folders()?;
        Ok(settings)
    }

    /// How long a file has to stay as it is before it is read.
    pub(super) fn settle(&self) -> Duration {
        self.poll_interval.min(SETTLE)
    }

    /// Whether files that a sink makes in a folder, or in partition folders of it, are to be read.
    pub(super) fn reads(&self, folder: &Path) -> bool {
        let (root, folder) = (absolute(Path::new(&self.path)), absolute(folder));
        match (folder.strip_prefix(&root), root.strip_prefix(&folder)) {
            (Ok(below), _) => self.rules.recursive || is_partition(below),
            (_, Ok(below)) => is_partition(below),
            _ => false,
        }
    }

    /// What the source writes must not be read by it.
    fn check_folders(&self) -> Result<()> {
        let archive = match &self.clean {
            Clean::Archive(folder) => Some(("sourceArchiveDir", folder)),
            _ => None,
        };
        let bad_records = self.bad_records.as_ref().map(|folder| ("badRecordsPath", folder));
        let root = absolute(Path::new(&self.path));
        for (option, folder) in archive.into_iter().chain(bad_records) {
            if absolute(folder).starts_with(&root) {
                return Err(ConnectorError::user(format!(
                    "option `{option}` is `{}`, which lies within the folder that is read (`{}`): choose one \
                     beside it",
                    folder.display(),
                    self.path
                )));
            }
        }
        Ok(())
    }
}

fn clean_of(options: &Options) -> Result<Clean> {
    let expected = "`off`, `archive` or `delete`";
    let known = |text: &str| {
        let text = text.to_ascii_lowercase();
        ["off", "archive", "delete"].into_iter().find(|known| *known == text)
    };
    match options.parsed("cleanSource", expected, known)? {
        Some("delete") => Ok(Clean::Delete),
        Some("archive") => {
            let folder = options.get("sourceArchiveDir").ok_or_else(|| {
                ConnectorError::user(
                    "option `cleanSource` is `archive`, but there is no folder to move files to: set option \
                     `sourceArchiveDir`",
                )
            })?;
            Ok(Clean::Archive(PathBuf::from(folder)))
        }
        _ => Ok(Clean::Off),
    }
}

fn positive(text: &str) -> Option<usize> {
    text.parse().ok().filter(|number| *number > 0)
}

/// Whether a path leads through nothing but partition folders.
fn is_partition(path: &Path) -> bool {
    path.components().all(|folder| partition::parse(&folder.as_os_str().to_string_lossy()).is_some())
}

/// Whether a file is one that a read of the folder finds.
pub(super) fn is_in(file: &Path, folder: &Path) -> bool {
    let place = file.parent().map(absolute).unwrap_or_default();
    place.strip_prefix(absolute(folder)).is_ok_and(is_partition)
}

/// The path from the root of the file system, without links as far as it exists.
fn absolute(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for there in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (std::fs::canonicalize(there), path.strip_prefix(there)) {
            return real.join(rest);
        }
    }
    path
}

/// The option `path`, with or without `file:` before it.
pub(super) fn path_of(options: &Options) -> Result<String> {
    let path = options.get("path").map(str::trim).unwrap_or_default();
    let plain = path.strip_prefix("file://").or_else(|| path.strip_prefix("file:")).unwrap_or(path);
    if plain.is_empty() {
        return Err(ConnectorError::user(
            "there is no path: give one to `load`, `save` or `start`, or set option `path`",
        ));
    }
    if plain.contains("://") {
        return Err(ConnectorError::user(format!(
            "option `path` is `{path}`: only local folders can be used"
        )));
    }
    Ok(plain.to_owned())
}

/// When a file is ended and the next one begun.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileLimits {
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

impl FileLimits {
    pub(super) fn new(options: &Options) -> Result<Self> {
        let count = |text: &str| text.parse::<u64>().ok().filter(|number| *number > 0);
        let expected = "a number from 1 up";
        let rows = options.parsed("maxRowsPerFile", expected, count)?;
        let records = options.parsed("maxRecordsPerFile", expected, count)?;
        let bytes = options.bytes("maxFileBytes")?;
        Ok(FileLimits { rows: rows.or(records).unwrap_or(u64::MAX), bytes: bytes.unwrap_or(u64::MAX).max(1) })
    }
}
