//! Deletes or archives files that were read, once that is durable.

use super::super::settings::Clean;
use crate::error::Result;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

/// The files to be cleaned up: by path within the folder, with the number of files that were read to their
/// end before or with it.
pub(super) struct Cleaner {
    how: Clean,
    waiting: BTreeMap<String, (u64, PathBuf)>,
}

impl Cleaner {
    pub(super) fn new(how: Clean) -> Self {
        Cleaner { how, waiting: BTreeMap::new() }
    }

    /// The file was read as the one of this number; 0 if it was before the last restart.
    pub(super) fn add(&mut self, relative: &str, path: &Path, number: u64) {
        if self.how != Clean::Off && !self.waiting.contains_key(relative) {
            self.waiting.insert(relative.to_owned(), (number, path.to_owned()));
        }
    }

    /// Up to this number all is durable. What cannot be cleaned up stays, with a warning: the query goes on.
    pub(super) fn durable(&mut self, number: u64) {
        let later = |_: &String, file: &mut (u64, PathBuf)| file.0 <= number;
        let due: Vec<(String, (u64, PathBuf))> = self.waiting.extract_if(.., later).collect();
        for (relative, (_, path)) in due {
            if let Err(error) = self.clean(&relative, &path) {
                tracing::warn!("`{}` was read but cannot be cleaned up: {error}", path.display());
            }
        }
    }

    fn clean(&self, relative: &str, path: &Path) -> Result<(), Error> {
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
