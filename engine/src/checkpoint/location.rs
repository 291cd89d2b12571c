//! From a checkpoint location as it is written to the storage behind it.

use super::inspect::LocalReader;
use super::local::LocalStorage;
use super::storage::CheckpointStorage;
use crate::error::{Error, Result};
use std::io;
use std::path::Path;

/// What stands between a scheme and the rest of an address.
const SCHEME_END: &str = "://";
const LOCAL: &str = "file://";

/// What a location is.
enum Kind<'a> {
    Folder(&'a Path),
    /// Of an object store.
    Address(&'a str),
}

fn kind(location: &Path) -> Kind<'_> {
    match location.to_str() {
        Some(address) if address.starts_with(LOCAL) => Kind::Folder(Path::new(&address[LOCAL.len()..])),
        Some(address) if address.contains(SCHEME_END) => Kind::Address(address),
        _ => Kind::Folder(location),
    }
}

/// Opens a location to write to: a local folder, also as `file://..`, or with the feature `object-store` the address
/// of an object store, `s3://..`, `gs://..` or `az://..`.
///
/// # Errors
/// If it cannot be written to, another query has it, or it is an address that this build does not know.
pub fn open(location: &Path) -> io::Result<Box<dyn CheckpointStorage>> {
    match kind(location) {
        Kind::Folder(folder) => Ok(Box::new(LocalStorage::open(folder)?)),
        #[cfg(feature = "object-store")]
        Kind::Address(address) => Ok(Box::new(super::object::ObjectStorage::open_address(address)?)),
        #[cfg(not(feature = "object-store"))]
        Kind::Address(address) => Err(without_feature(address)),
    }
}

/// Opens a location for looking only: a query that writes there is not disturbed.
///
/// # Errors
/// If it is not there or is an address that this build does not know.
pub fn read(location: &Path) -> Result<Box<dyn CheckpointStorage>> {
    match kind(location) {
        Kind::Folder(folder) => Ok(Box::new(LocalReader::open(folder)?)),
        #[cfg(feature = "object-store")]
        Kind::Address(address) => match super::object::ObjectStorage::read_address(address) {
            Ok(storage) => Ok(Box::new(storage)),
            Err(error) => Err(Error::user(error.to_string())),
        },
        #[cfg(not(feature = "object-store"))]
        Kind::Address(address) => Err(Error::user(without_feature(address).to_string())),
    }
}

#[cfg(not(feature = "object-store"))]
fn without_feature(address: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!(
            "checkpoint location `{address}` is the address of an object store, which this build cannot reach: build \
             with the feature `object-store`, or name a folder"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_told_from_addresses() {
        for (location, folder) in [
            ("/var/lib/query", Some("/var/lib/query")),
            ("relative/query", Some("relative/query")),
            ("file:///var/lib/query", Some("/var/lib/query")),
            ("s3://bucket/query", None),
        ] {
            let found = match kind(Path::new(location)) {
                Kind::Folder(folder) => Some(folder),
                Kind::Address(_) => None,
            };
            assert_eq!(found, folder.map(Path::new), "{location}");
        }
    }

    #[test]
    fn an_address_of_no_store_is_refused_and_named() {
        for error in [
            open(Path::new("ftp://host/query")).err().map(|error| error.to_string()),
            read(Path::new("ftp://host/query")).err().map(|error| error.to_string()),
        ] {
            assert!(error.as_deref().is_some_and(|error| error.contains("`ftp://host/query`")), "{error:?}");
        }
    }
}
