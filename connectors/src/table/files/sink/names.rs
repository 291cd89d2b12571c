//! The names of a sink's files.
//!
//! `part-000000000007-003-0001.csv.gz`: epoch, instance, number within the epoch. A bounded write counts its
//! epochs from 1 each time, so its files also bear the number of the run: `part-...-0001-5f3a9c0e12d47b68.csv`.
//! Until it is committed a file stands in the sink's folder as `.part-000000000007-003-0001-0.inprogress`; the
//! last number tells attempts apart.

use crate::file::folder::{HIDDEN_EXTENSION, number};
use lotic_operators::Epoch;
use std::path::{Component, Path};

/// A file of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    /// Still to be committed.
    Hidden,
    /// Committed, of this epoch, by a stream or by a bounded write of this run.
    Visible { epoch: Epoch, run: Option<u64> },
}

/// Which file of a sink instance.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) epoch: Epoch,
    pub(super) instance: usize,
    pub(super) number: u32,
}

impl Part {
    pub(super) fn hidden(self, attempt: u32) -> String {
        let Part { epoch, instance, number } = self;
        format!(".part-{:012}-{instance:03}-{number:04}-{attempt}.{HIDDEN_EXTENSION}", epoch.0)
    }

    pub(super) fn visible(self, run: Option<u64>, extension: &str) -> String {
        let Part { epoch, instance, number } = self;
        let run = run.map_or_else(String::new, |run| format!("-{run:016x}"));
        format!("part-{:012}-{instance:03}-{number:04}{run}.{extension}", epoch.0)
    }
}

/// What a file name says; `None` for a file that is not ours. Names of ours never contain a separator.
pub(super) fn parse(name: &str) -> Option<Name> {
    let (hidden, rest) = name.strip_prefix('.').map_or((false, name), |rest| (true, rest));
    let (stem, extension) = rest.split_once('.')?;
    let mut fields = stem.strip_prefix("part-")?.split('-');
    let epoch = number(fields.next()?, 12)?;
    number(fields.next()?, 3)?;
    number(fields.next()?, 4)?;
    let last = fields.next();
    if fields.next().is_some() {
        return None;
    }
    if hidden {
        number(last?, 1)?;
        return (extension == HIDDEN_EXTENSION).then_some(Name::Hidden);
    }
    let run = match last {
        None => None,
        Some(hex) if hex.len() == 16 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            Some(u64::from_str_radix(hex, 16).ok()?)
        }
        Some(_) => return None,
    };
    is_plain(extension).then_some(Name::Visible { epoch: Epoch(epoch), run })
}

/// `csv`, `csv.gz`.
fn is_plain(extension: &str) -> bool {
    let plain =
        |part: &str| (1..=16).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    extension.split('.').count() <= 2 && extension.split('.').all(plain)
}

/// Whether a path within the sink's folder is that of a committed file: partition folders and a name of ours.
pub(super) fn is_visible_path(relative: &str) -> bool {
    let path = Path::new(relative);
    let plain = path.components().all(|component| matches!(component, Component::Normal(_)));
    let (folders, name) =
        relative.rsplit_once('/').map_or((None, relative), |(folders, name)| (Some(folders), name));
    let partitions = folders.is_none_or(|folders| {
        folders.split('/').all(|folder| super::super::partition::parse(folder).is_some())
    });
    plain && partitions && matches!(parse(name), Some(Name::Visible { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_ours_are_told_from_all_others() {
        let part = Part { epoch: Epoch(7), instance: 3, number: 12 };
        assert_eq!(parse(&part.hidden(0)), Some(Name::Hidden));
        assert_eq!(parse(&part.visible(None, "csv")), Some(Name::Visible { epoch: Epoch(7), run: None }));
        let run = Some(0x5f3a_9c0e_12d4_7b68);
        assert_eq!(parse(&part.visible(run, "csv.gz")), Some(Name::Visible { epoch: Epoch(7), run }));
        for foreign in [
            "",
            ".",
            "..",
            "part-000000000007-003.csv",
            "part-000000000007-003-0012",
            "part-000000000007-003-0012.csv.gz.crc",
            "part-000000000007-003-0012-5.csv",
            "part-000000000007-003-0012.csv/../x",
            "../part-000000000007-003-0012.csv",
            ".part-000000000007-003-0012.inprogress",
            ".part-000000000007-003-0012-0.tmp",
            "part-00000-3f1c-c000.snappy.parquet",
        ] {
            assert_eq!(parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_path_cannot_lead_out_of_the_folder() {
        let name = Part { epoch: Epoch(7), instance: 3, number: 12 }.visible(None, "csv");
        for good in [name.clone(), format!("a=1/{name}"), format!("a=..%2F../b=__x__/{name}")] {
            assert!(is_visible_path(&good), "{good}");
        }
        for bad in [
            format!("../{name}"),
            format!("/{name}"),
            format!("a=1/../../{name}"),
            format!("plain/{name}"),
            format!("a=1//{name}"),
            "a=1/notes.csv".to_owned(),
            "a=1/".to_owned(),
        ] {
            assert!(!is_visible_path(&bad), "{bad}");
        }
    }
}
