//! An object store whose requests fail.

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An in-memory store in which one request in so many fails: before it has had an effect, or after.
#[derive(Clone)]
pub(crate) struct Flaky {
    pub(crate) store: Arc<InMemory>,
    requests: Arc<AtomicU64>,
    pub(crate) faults: Arc<AtomicU64>,
    one_in: u64,
}

/// When a request fails.
#[derive(PartialEq, Eq)]
enum Fails {
    Never,
    Before,
    After,
}

fn failed<T>() -> Result<T> {
    Err(Error::Generic { store: "flaky", source: "the connection was lost".into() })
}

impl Flaky {
    /// The seed decides which requests fail.
    pub(crate) fn new(seed: u64, one_in: u64) -> Flaky {
        Flaky {
            store: Arc::default(),
            requests: Arc::new(AtomicU64::new(seed << 32)),
            faults: Arc::default(),
            one_in,
        }
    }

    fn fails(&self) -> Fails {
        self.fails_once_in(self.one_in)
    }

    fn fails_once_in(&self, one_in: u64) -> Fails {
        let random = lotic::operators::key::hash_of(&self.requests.fetch_add(1, Ordering::Relaxed));
        if !random.is_multiple_of(one_in) {
            return Fails::Never;
        }
        self.faults.fetch_add(1, Ordering::Relaxed);
        if (random / one_in).is_multiple_of(2) { Fails::Before } else { Fails::After }
    }
}

impl fmt::Debug for Flaky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let requests = self.requests.load(Ordering::Relaxed) & 0xffff_ffff;
        write!(f, "{} of {requests} requests failed", self.faults.load(Ordering::Relaxed))
    }
}

impl fmt::Display for Flaky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flaky({})", self.store)
    }
}

#[async_trait]
impl ObjectStore for Flaky {
    async fn put_opts(&self, at: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let fails = self.fails();
        if fails == Fails::Before {
            return failed();
        }
        let done = self.store.put_opts(at, payload, options).await?;
        if fails == Fails::After { failed() } else { Ok(done) }
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        // Seldom: a restart has to get hundreds of them, one after the other, without a failure.
        let fails = self.fails_once_in(self.one_in * 50);
        if fails == Fails::Never { self.store.get_opts(at, options).await } else { failed() }
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.fails() {
            Fails::Never => self.store.delete_stream(paths),
            _ => Box::pin(futures::stream::once(std::future::ready(failed()))),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.fails() {
            Fails::Never => self.store.list(prefix),
            _ => Box::pin(futures::stream::once(std::future::ready(failed()))),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        if self.fails() == Fails::Never { self.store.list_with_delimiter(prefix).await } else { failed() }
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}
