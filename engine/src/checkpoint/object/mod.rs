//! Checkpoints in an object store: Amazon S3, Google Cloud Storage, Azure Blob Storage, or whatever else the
//! crate `object_store` speaks to.
//!
//! Objects are written whole and never appended to. So a name is an object, `log-0000000007`, and what is appended
//! to it are further ones, `log-0000000007.000000` and so on. What finds many small objects costs more than what
//! reads as many bytes; the log is told so ([`CheckpointStorage::append_cost`]) and is compacted sooner.

mod address;
mod courier;

use super::storage::CheckpointStorage;
use courier::Courier;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::io;
use std::sync::Arc;

const CLAIM: &str = "claim-";
const PART_DIGITS: usize = 6;
/// Requests for parts that are under way at once.
const READS_AT_ONCE: usize = 16;
/// Bytes that arrive in the time that one request takes.
const REQUEST_BYTES: u64 = 64 * 1024;

/// A folder of an object store.
///
/// # Delivery
/// An object store keeps an object or does not, and tells every reader of it from then on. Objects are only ever
/// created, never written over, so that a request that was repeated does no harm.
///
/// # One query at a time
/// The query that opened the place last has it. It leaves an object that says so, takes away those of the queries
/// before it, and only then reads. A query tells the engine that a checkpoint is durable after it has written it
/// **and then** seen that its own claim is still there. So an older query that goes on elsewhere, cut off or
/// forgotten, ends with an error at its next checkpoint and commits nothing; and what it was told is durable is
/// what the newer one has read. The same fencing as Kafka's for transactional producers.
///
/// # Cost
/// Two requests in turn for each epoch, which take 10 to 100 ms with the stores of the large clouds: epochs of less
/// than about 100 ms make no sense there. A restart reads the objects of two or three segments, several at once.
#[derive(Debug)]
pub struct ObjectStorage {
    place: Place,
    claim: Option<Path>,
    /// The parts of the names that were appended to here.
    parts: BTreeMap<String, usize>,
}

#[derive(Debug, Clone)]
struct Place {
    store: Arc<dyn ObjectStore>,
    folder: Path,
    address: String,
    courier: Arc<Courier>,
}

impl ObjectStorage {
    /// Opens a folder of a store, as the only query that may write there from now on. `address` is what to call it
    /// in errors.
    ///
    /// # Errors
    /// If the store cannot be reached or does not let us write.
    pub fn open(store: Arc<dyn ObjectStore>, folder: &str, address: &str) -> io::Result<ObjectStorage> {
        let place = Place::new(store, folder, address)?;
        let claim =
            place.at(&format!("{CLAIM}{:016x}", std::hash::RandomState::new().hash_one(std::process::id())));
        let (path, of) = (claim.clone(), place.clone());
        place.courier.wait(async move { of.take(&path).await }).map_err(|error| {
            io::Error::new(error.kind(), format!("checkpoint location `{address}` cannot be used: {error}"))
        })?;
        Ok(ObjectStorage { place, claim: Some(claim), parts: BTreeMap::new() })
    }

    /// Opens the place at an address such as `s3://bucket/folder`, `gs://..` or `az://..`, with credentials and
    /// settings out of the environment: `AWS_*`, `GOOGLE_*` and `AZURE_*`, as the tools of those stores have them.
    ///
    /// # Errors
    /// If the address is of no known store, and as [`ObjectStorage::open`].
    pub fn open_address(address: &str) -> io::Result<ObjectStorage> {
        let (store, folder) = address::store_at(address)?;
        ObjectStorage::open(store, folder.as_ref(), address)
    }

    /// Opens the place at an address for looking only: a query that writes there is not disturbed.
    ///
    /// # Errors
    /// If the address is of no known store.
    pub fn read_address(address: &str) -> io::Result<ObjectStorage> {
        let (store, folder) = address::store_at(address)?;
        ObjectStorage::reader(store, folder.as_ref(), address)
    }

    /// Opens a folder of a store for looking only.
    ///
    /// # Errors
    /// If the folder's name is not one.
    pub fn reader(store: Arc<dyn ObjectStore>, folder: &str, address: &str) -> io::Result<ObjectStorage> {
        let place = Place::new(store, folder, address)?;
        Ok(ObjectStorage { place, claim: None, parts: BTreeMap::new() })
    }

    fn claim(&self) -> io::Result<Path> {
        let reading = || io::Error::new(io::ErrorKind::PermissionDenied, "opened for reading only");
        self.claim.clone().ok_or_else(reading)
    }
}

impl Place {
    fn new(store: Arc<dyn ObjectStore>, folder: &str, address: &str) -> io::Result<Place> {
        let folder = Path::parse(folder).map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("checkpoint location `{address}`: {error}"))
        })?;
        Ok(Place { store, folder, address: address.to_owned(), courier: Arc::new(Courier::start()?) })
    }

    fn at(&self, object: &str) -> Path {
        self.folder.clone().join(object)
    }

    /// The objects of the folder, without those of folders in it.
    async fn objects(&self) -> io::Result<Vec<String>> {
        let found = self.store.list_with_delimiter(Some(&self.folder)).await.map_err(said)?;
        Ok(found.objects.iter().filter_map(|object| object.location.filename()).map(str::to_owned).collect())
    }

    /// Makes the place ours.
    async fn take(&self, claim: &Path) -> io::Result<()> {
        self.create(claim, format!("process {}", std::process::id()).into_bytes()).await?;
        for object in self.objects().await?.iter().filter(|object| object.starts_with(CLAIM)) {
            let other = self.at(object);
            if other != *claim {
                self.delete(&other).await?;
            }
        }
        self.check(claim).await
    }

    /// Whether the place is still ours.
    async fn check(&self, claim: &Path) -> io::Result<()> {
        match self.store.head(claim).await {
            Ok(_) => Ok(()),
            Err(Error::NotFound { .. }) => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "another query has taken the place over; stop one of the two or give each a place of its own",
            )),
            Err(error) => Err(said(error)),
        }
    }

    /// Writes an object that is not there. It may be there already by an attempt that seemed to fail.
    async fn create(&self, path: &Path, bytes: Vec<u8>) -> io::Result<()> {
        let payload = PutPayload::from(bytes);
        match self.store.put_opts(path, payload.clone(), PutMode::Create.into()).await {
            Ok(_) => Ok(()),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
                let there = self.get(path).await?;
                let ours: Vec<u8> = payload.iter().flat_map(|bytes| bytes.iter().copied()).collect();
                if there == ours {
                    return Ok(());
                }
                Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    format!("`{path}` is there already, written by another query"),
                ))
            }
            Err(error) => Err(said(error)),
        }
    }

    async fn get(&self, path: &Path) -> io::Result<Vec<u8>> {
        let found = self.store.get(path).await.map_err(said)?;
        Ok(found.bytes().await.map_err(said)?.to_vec())
    }

    async fn delete(&self, path: &Path) -> io::Result<()> {
        match self.store.delete(path).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(said(error)),
        }
    }

    /// How many parts a name has.
    async fn parts(&self, name: &str) -> io::Result<usize> {
        let before = self.at(&format!("{name}."));
        let objects: Vec<_> =
            self.store.list_with_offset(Some(&self.folder), &before).map_err(said).try_collect().await?;
        let parts = objects.iter().filter_map(|object| part_of(object.location.filename()?));
        let mut found: Vec<usize> = parts.filter(|(of, _)| *of == name).map(|(_, number)| number).collect();
        found.sort_unstable();
        // They were written one after the other, and are removed from the last to the first.
        match (0..).zip(&found).find(|(expected, number)| expected != *number) {
            None => Ok(found.len()),
            Some((missing, _)) => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "`{}` is missing, although later parts are there: bring it back from a copy, or remove what \
                     follows it to go on from the checkpoint before",
                    self.at(&part_name(name, missing))
                ),
            )),
        }
    }

    async fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let parts = self.parts(name).await?;
        let mut bytes = match self.get(&self.at(name)).await {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound && parts > 0 => Vec::new(),
            Err(error) => return Err(error),
        };
        let parts = futures::stream::iter((0..parts).map(|number| self.at(&part_name(name, number))));
        let mut parts = parts.map(|part| async move { self.get(&part).await }).buffered(READS_AT_ONCE);
        while let Some(part) = parts.try_next().await? {
            bytes.extend_from_slice(&part);
        }
        Ok(bytes)
    }

    async fn remove(&self, name: &str) -> io::Result<()> {
        for number in (0..self.parts(name).await?).rev() {
            self.delete(&self.at(&part_name(name, number))).await?;
        }
        self.delete(&self.at(name)).await
    }
}

fn part_name(name: &str, number: usize) -> String {
    format!("{name}.{number:0PART_DIGITS$}")
}

/// The name and the number of an object that was appended to a name.
fn part_of(object: &str) -> Option<(&str, usize)> {
    let (name, digits) = object.rsplit_once('.')?;
    let is_number = digits.len() >= PART_DIGITS && digits.bytes().all(|digit| digit.is_ascii_digit());
    Some((name, is_number.then(|| digits.parse().ok())??))
}

fn said(error: Error) -> io::Error {
    let kind = match &error {
        Error::NotFound { .. } => io::ErrorKind::NotFound,
        Error::AlreadyExists { .. } | Error::Precondition { .. } => io::ErrorKind::AlreadyExists,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => io::ErrorKind::PermissionDenied,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

impl CheckpointStorage for ObjectStorage {
    fn place(&self) -> String {
        self.place.address.clone()
    }

    fn list(&mut self) -> io::Result<Vec<String>> {
        let place = self.place.clone();
        let mut names = self.place.courier.wait(async move { place.objects().await })?;
        names.retain(|name| !name.starts_with(CLAIM));
        names.iter_mut().for_each(|name| name.truncate(part_of(name).map_or(name.len(), |(of, _)| of.len())));
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn read(&mut self, name: &str) -> io::Result<Vec<u8>> {
        let (place, name) = (self.place.clone(), name.to_owned());
        self.place.courier.wait(async move { place.read(&name).await })
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let claim = self.claim()?;
        let (place, of, known) = (self.place.clone(), name.to_owned(), self.parts.get(name).copied());
        let bytes = bytes.to_vec();
        let number = self.place.courier.wait(async move {
            let number = match known {
                Some(number) => number,
                None => place.parts(&of).await?,
            };
            place.create(&place.at(&part_name(&of, number)), bytes).await?;
            place.check(&claim).await?;
            Ok(number)
        })?;
        self.parts.insert(name.to_owned(), number + 1);
        Ok(())
    }

    fn put(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let claim = self.claim()?;
        let (place, path, bytes) = (self.place.clone(), self.place.at(name), bytes.to_vec());
        let of = name.to_owned();
        self.place.courier.wait(async move {
            if place.parts(&of).await? > 0 {
                let said = format!("`{path}` has been appended to: it is not written anew");
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, said));
            }
            place.create(&path, bytes).await?;
            place.check(&claim).await
        })?;
        self.parts.insert(name.to_owned(), 0);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.claim()?;
        self.parts.remove(name);
        let (place, name) = (self.place.clone(), name.to_owned());
        self.place.courier.wait(async move { place.remove(&name).await })
    }

    fn append_cost(&self) -> u64 {
        REQUEST_BYTES
    }

    fn second_handle(&self) -> io::Result<Box<dyn CheckpointStorage>> {
        let (place, claim) = (self.place.clone(), self.claim.clone());
        Ok(Box::new(ObjectStorage { place, claim, parts: BTreeMap::new() }))
    }
}
