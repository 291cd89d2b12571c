//! The session: the entry point of the API, with the worker threads and the queries on them.

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::limits::{IDLE_AFTER, IDLE_AFTER_MIN, INGRESS_ROWS, WORKERS};
use crate::plan::graph::Graph;
use crate::query::{QueryListener, StreamingQuery};
use crate::runtime::threads::Threads;
use crate::runtime::wait::WaitStrategy;
use crate::runtime::watermarks::MultipleWatermarkPolicy;
use crate::stream::Stream;
use lotic_connectors::SourceFactory;
use lotic_connectors::ingress::{self, Ingress};
use lotic_operators::Rows;
use lotic_operators::limits::KEY_GROUPS;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What happens when an operator, a source or a sink fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartPolicy {
    /// Restarts from the last checkpoint before the query fails for good. Zero: it fails at once.
    pub attempts: u32,
    /// Wait before the first restart; doubled for each further one.
    pub backoff: Duration,
    /// Longest wait.
    pub backoff_max: Duration,
}

impl RestartPolicy {
    /// The query fails at once, with the cause.
    pub const NEVER: RestartPolicy =
        RestartPolicy { attempts: 0, backoff: Duration::ZERO, backoff_max: Duration::ZERO };

    /// That many restarts, the first after `backoff`, then twice as long each time, at most 30 s.
    #[must_use]
    pub fn attempts(attempts: u32, backoff: Duration) -> RestartPolicy {
        RestartPolicy { attempts, backoff, backoff_max: Duration::from_secs(30) }
    }

    pub(crate) fn delay(self, attempt: u32) -> Duration {
        let doubled = self.backoff.saturating_mul(1 << attempt.saturating_sub(1).min(20));
        doubled.min(self.backoff_max)
    }
}

/// The settings of a session.
#[derive(Debug, Clone)]
pub struct SessionBuilder {
    app_name: String,
    workers: usize,
    parallelism: usize,
    wait: WaitStrategy,
    chaining: bool,
    watermark_policy: MultipleWatermarkPolicy,
    idle_after: Option<Duration>,
}

impl SessionBuilder {
    /// The name that threads and unnamed queries bear.
    #[must_use]
    pub fn app_name(mut self, name: impl Into<String>) -> Self {
        self.app_name = name.into();
        self
    }

    /// Worker threads. Instance i of every pipeline sits on worker i, so more of them serve parallelism and
    /// several queries, not a single pipeline. The default is 1.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Instances of each operator unless it says otherwise. The default is 1: parallelism is for
    /// throughput; a record that crosses threads pays a wake-up.
    #[must_use]
    pub fn parallelism(mut self, parallelism: usize) -> Self {
        self.parallelism = parallelism;
        self
    }

    /// What actors do while their inputs are empty.
    #[must_use]
    pub fn wait(mut self, wait: WaitStrategy) -> Self {
        self.wait = wait;
        self
    }

    /// Whether adjacent stateless steps run in one actor. The default is true.
    #[must_use]
    pub fn chaining(mut self, chaining: bool) -> Self {
        self.chaining = chaining;
        self
    }

    /// How the watermarks of the inputs of a join or a union become one; Spark's
    /// `spark.sql.streaming.multipleWatermarkPolicy`. The default is the minimum. A query may say otherwise.
    #[must_use]
    pub fn multiple_watermark_policy(mut self, policy: MultipleWatermarkPolicy) -> Self {
        self.watermark_policy = policy;
        self
    }

    /// After how long without a row a partition of a source that is caught up is idle: watermarks no longer
    /// wait for it, until its next row. Flink's `withIdleness`. `None`: never. The default is 1 minute. A query
    /// may say otherwise; a source instance that has no partition to read is idle at once, in any case.
    ///
    /// # Delivery
    /// Rows of a partition that was idle are late where the watermark has passed them meanwhile: make it longer
    /// than the producers of a partition may be silent or cut off, or never.
    #[must_use]
    pub fn idle_after(mut self, time: Option<Duration>) -> Self {
        self.idle_after = time;
        self
    }

    /// Starts the session's threads.
    ///
    /// # Errors
    /// If a setting is out of range or threads cannot be started.
    pub fn get_or_create(self) -> Result<Session> {
        if self.workers == 0 || self.workers > WORKERS {
            return Err(Error::user(format!("workers({}): between 1 and {WORKERS}", self.workers)));
        }
        if self.parallelism == 0 || self.parallelism > usize::from(KEY_GROUPS) {
            return Err(Error::user(format!(
                "parallelism({}): between 1 and {KEY_GROUPS}",
                self.parallelism
            )));
        }
        check_idle_after(self.idle_after)?;
        let threads = Arc::new(Threads::start(&self.app_name, self.workers)?);
        Ok(Session {
            inner: Arc::new(Inner {
                settings: self,
                threads,
                clock: Clock::system(),
                graph: Mutex::new(Graph::default()),
                listeners: Mutex::new(Vec::new()),
                queries: Mutex::new(Vec::new()),
                started: AtomicUsize::new(0),
                #[cfg(feature = "sql")]
                tables: Mutex::new(None),
            }),
        })
    }
}

/// Whether a time after which partitions are idle can be kept.
pub(crate) fn check_idle_after(time: Option<Duration>) -> Result<()> {
    match time {
        Some(time) if time < IDLE_AFTER_MIN => {
            Err(Error::user(format!("idle_after({time:?}): at least {IDLE_AFTER_MIN:?}, or none, for never")))
        }
        _ => Ok(()),
    }
}

/// The entry point: makes streams and holds the threads on which queries run. Cheap to clone; when the last
/// clone and the last query handle are gone the threads end, and with them what still runs.
#[derive(Clone)]
pub struct Session {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    settings: SessionBuilder,
    pub(crate) threads: Arc<Threads>,
    pub(crate) clock: Clock,
    graph: Mutex<Graph>,
    listeners: Mutex<Vec<Arc<dyn QueryListener>>>,
    queries: Mutex<Vec<StreamingQuery>>,
    started: AtomicUsize,
    /// Made when the first table is.
    #[cfg(feature = "sql")]
    tables: Mutex<Option<Arc<crate::table::TableContext>>>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({}, {} workers)", self.inner.settings.app_name, self.inner.threads.workers())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    /// Settings, to be changed and created.
    #[must_use]
    pub fn builder() -> SessionBuilder {
        SessionBuilder {
            app_name: "lotic".to_owned(),
            workers: 1,
            parallelism: 1,
            wait: WaitStrategy::default(),
            chaining: true,
            watermark_policy: MultipleWatermarkPolicy::default(),
            idle_after: Some(IDLE_AFTER),
        }
    }

    /// A stream from any source.
    pub fn source<T: Send + 'static>(&self, factory: impl SourceFactory<Rows<T>> + 'static) -> Stream<T> {
        Stream::from_source(self, Box::new(factory))
    }

    /// A stream fed from the service's own threads, through the handle returned with it. The handle waits
    /// when the engine is full, or gives the value back.
    ///
    /// # Delivery
    /// Not replayable: what was pushed and is not yet in a checkpoint is lost when the process dies.
    pub fn ingress<T: Send + 'static>(&self, name: &str) -> (Stream<T>, Ingress<T>) {
        let (handle, source) = ingress::channel(name, INGRESS_ROWS);
        (self.source(source), handle)
    }

    /// A stream that comes from a vector, for examples and tests.
    pub fn rows<T: Clone + Send + Sync + 'static>(&self, rows: Vec<T>) -> Stream<T> {
        self.source(lotic_connectors::memory::MemorySource::new(rows).named("rows"))
    }

    /// Registers a listener for all queries started from now on.
    pub fn add_listener(&self, listener: Arc<dyn QueryListener>) {
        lock(&self.inner.listeners).push(listener);
    }

    /// The queries that are running.
    pub fn active_queries(&self) -> Vec<StreamingQuery> {
        let mut queries = lock(&self.inner.queries);
        queries.retain(StreamingQuery::is_active);
        queries.clone()
    }

    /// What tables need: made at the first call.
    #[cfg(feature = "sql")]
    pub(crate) fn tables(&self) -> Result<Arc<crate::table::TableContext>> {
        let mut tables = lock(&self.inner.tables);
        if let Some(tables) = tables.as_ref() {
            return Ok(Arc::clone(tables));
        }
        let made = Arc::new(crate::table::TableContext::new(&self.inner.settings.app_name)?);
        *tables = Some(Arc::clone(&made));
        Ok(made)
    }

    /// The session, without keeping it alive.
    #[cfg(feature = "sql")]
    pub(crate) fn downgrade(&self) -> WeakSession {
        WeakSession(Arc::downgrade(&self.inner))
    }

    pub(crate) fn graph(&self) -> MutexGuard<'_, Graph> {
        lock(&self.inner.graph)
    }

    pub(crate) fn listeners(&self) -> Vec<Arc<dyn QueryListener>> {
        lock(&self.inner.listeners).clone()
    }

    pub(crate) fn register(&self, query: &StreamingQuery) {
        let mut queries = lock(&self.inner.queries);
        queries.retain(StreamingQuery::is_active);
        queries.push(query.clone());
    }

    /// How many queries were started before.
    pub(crate) fn number_query(&self) -> usize {
        self.inner.started.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn settings(&self) -> SessionSettings<'_> {
        let settings = &self.inner.settings;
        SessionSettings {
            app_name: &settings.app_name,
            parallelism: settings.parallelism,
            wait: settings.wait,
            chaining: settings.chaining,
            watermark_policy: settings.watermark_policy,
            idle_after: settings.idle_after,
        }
    }
}

/// A session that may be gone.
#[cfg(feature = "sql")]
pub(crate) struct WeakSession(std::sync::Weak<Inner>);

#[cfg(feature = "sql")]
impl WeakSession {
    pub(crate) fn upgrade(&self) -> Option<Session> {
        Some(Session { inner: self.0.upgrade()? })
    }
}

/// What queries inherit from their session.
pub(crate) struct SessionSettings<'a> {
    pub(crate) app_name: &'a str,
    pub(crate) parallelism: usize,
    pub(crate) wait: WaitStrategy,
    pub(crate) chaining: bool,
    pub(crate) watermark_policy: MultipleWatermarkPolicy,
    pub(crate) idle_after: Option<Duration>,
}
