//! Deletes or archives files that were read, once that is durable.

use super::super::listing::FoundFile;
use super::super::settings::Clean;
use crate::error::Result;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Error, ErrorKind};
use std::path::Path;

/// The files to be cleaned up: by path within the folder, with the number of files that were read to their
/// end before or with it.
pub(super) struct Cleaner {
    how: Clean,
    waiting: BTreeMap<String, (u64, FoundFile)>,
}

impl Cleaner {
    pub(super) fn new(how: Clean) -> Self {
        Cleaner { how, waiting: BTreeMap::new() }
    }

    /// The file was read as the one of this number; 0 if it was before the last restart.
    pub(super) fn add(&mut self, file: &FoundFile, number: u64) {
        if self.how != Clean::Off && !self.waiting.contains_key(&file.relative) {
            self.waiting.insert(file.relative.clone(), (number, file.clone()));
        }
    }

    /// Up to this number all is durable. What cannot be cleaned up stays, with a warning: the query goes on.
    pub(super) fn durable(&mut self, number: u64) {
        let is_due = |_: &String, file: &mut (u64, FoundFile)| file.0 <= number;
        let due: Vec<(String, (u64, FoundFile))> = self.waiting.extract_if(.., is_due).collect();
        for (_, (_, file)) in due {
            if let Err(error) = self.clean(&file) {
                tracing::warn!("`{}` was read but cannot be cleaned up: {error}", file.path.display());
            }
        }
    }

    fn clean(&self, file: &FoundFile) -> Result<(), Error> {
        let FoundFile { path, relative, modified_us, .. } = file;
        let now = FoundFile::look_up(path.clone(), relative.clone()).map_err(Error::other)?;
        if now.is_some_and(|now| now.modified_us != *modified_us) {
            return Err(Error::other("it was replaced since; what is there now was not read"));
        }
        let done = match &self.how {
            Clean::Off => Ok(()),
            Clean::Delete => fs::remove_file(path),
            Clean::Archive(folder) => archive(path, &folder.join(relative)),
        };
        match done {
            Err(error) if error.kind() == ErrorKind::NotFound && !path.exists() => Ok(()),
            done => done,
        }
    }
}

fn archive(path: &Path, target: &Path) -> Result<(), Error> {
    if target.exists() {
        let place = target.display();
        return Err(Error::new(ErrorKind::AlreadyExists, format!("`{place}` exists already in the archive")));
    }
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder)?;
    }
    match fs::rename(path, target) {
        Err(error) if error.kind() == ErrorKind::CrossesDevices => {
            // Under a hidden name first, so that the archive never shows half a file.
            let mut hidden = target.as_os_str().to_owned();
            hidden.push(".tmp");
            fs::copy(path, &hidden)?;
            fs::rename(&hidden, target)?;
            fs::remove_file(path)
        }
        done => done,
    }
}
