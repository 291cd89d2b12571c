//! Windows over keyed streams.
//!
//! A [`Window`] says how event time is cut, for how long a window waits for late rows, and when its result is
//! emitted; [`aggregate`] makes the operator of it. Windows hold their start and not their end.
//!
//! ```
//! use lotic_operators::aggregate::Count;
//! use lotic_operators::window::{self, Window, Windowed};
//! use lotic_operators::{Emitted, Operator, Output, Rows, Timestamp};
//! use std::time::Duration;
//!
//! let window = Window::sliding(Duration::from_secs(10), Duration::from_secs(5), |row: &(char, i64)| {
//!     Timestamp::from_millis(row.1)
//! });
//! let mut counts = window::aggregate(|row: &(char, i64)| row.0, window, Count);
//! let mut output = Output::<Rows<Windowed<char, u64>>>::default();
//! counts.process(&mut Rows::from(vec![('a', 1000), ('a', 6000), ('b', 7000)]), &mut output)?;
//! let _ = counts.watermark(Timestamp::from_millis(5000), &mut output)?;
//! let Some(Emitted::Batch(rows)) = output.take() else { unreachable!() };
//! let closed: Vec<_> = rows.map(|row| (row.key, row.start.0 / 1_000_000, row.value)).collect();
//! assert_eq!(closed, [('a', -5, 1)], "the window from -5 s to 5 s");
//! # Ok::<(), lotic_operators::OperatorError>(())
//! ```
//!
//! # Cost
//! A row costs one look-up of its key, whatever the windows. Tumbling and session windows keep a state for
//! each open window of a key. Sliding windows share panes (Li, Maier, Tufte, Papadimos and Tucker, "No Pane,
//! No Gain", 2005) if the aggregate can be merged and the windows are emitted as [`Emit::Final`] or
//! [`Emit::OnTime`]: a row is added once, however many windows hold it, and a window merges its panes, at most
//! two for each slide, when it is emitted. Otherwise a row is added to each window that holds it.
//!
//! # State
//! For each key: the key and, for each of its open windows or panes that has rows, about 40 bytes and the
//! aggregate's state; one timer of a time and a clone of the key for each open window, or for each key that
//! has panes. A window is removed once the watermark has reached its end and the allowed lateness, so state is
//! bounded by the keys that are active in that time. A key without rows takes nothing.

mod count;
pub(crate) mod cut;
mod each;
mod panes;

pub use count::CountWindow;

use crate::aggregate::Aggregate;
use crate::batch::Rows;
use crate::key::Key;
use crate::limits::WINDOWS_OF_A_ROW;
use crate::operator::Operator;
use crate::time::Timestamp;
use cut::Cut;
use each::EachWindow;
use panes::SharedPanes;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

/// The result of one window of one key. A window holds `start` and not `end`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Windowed<K, V> {
    /// The key.
    pub key: K,
    /// The first time in the window.
    pub start: Timestamp,
    /// The first time after the window.
    pub end: Timestamp,
    /// The aggregate of the window's rows.
    pub value: V,
}

/// What [`aggregate_and_late`] emits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum WindowedOrLate<K, V, T> {
    /// The result of a window.
    Windowed(Windowed<K, V>),
    /// A row that came after every window that holds it was closed.
    Late(T),
}

impl<K, V, T> From<Windowed<K, V>> for WindowedOrLate<K, V, T> {
    fn from(windowed: Windowed<K, V>) -> Self {
        WindowedOrLate::Windowed(windowed)
    }
}

/// When the result of a window is emitted. A window is closed when the watermark reaches its end plus the
/// allowed lateness; rows that come later are late.
///
/// # Cost
/// Sliding windows that are emitted once or at their ends share panes: a row costs one addition, a window the
/// merge of its panes. With [`Emit::Every`] and [`Emit::EachChange`] each window has a state of its own, since it
/// is a window that changes: a row costs an addition and an entry of state for every window that holds it, size /
/// slide of them, and with [`Emit::EachChange`] as many rows come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Emit {
    /// Once, when it is closed: append. Nothing emitted is ever corrected.
    #[default]
    Final,
    /// When the watermark reaches its end, and again for each row that comes between then and its close.
    OnTime,
    /// Early: if it has changed, at every multiple of this *processing* time since the Unix epoch, when the
    /// watermark reaches its end, and when it is closed.
    Every(Duration),
    /// For each row that changes it: update.
    EachChange,
}

impl Emit {
    /// Whether the end of a window is a time to emit it, apart from its close.
    fn at_end(self) -> bool {
        matches!(self, Emit::OnTime | Emit::Every(_))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Aligned(Cut),
    Session(Duration),
    Global,
}

/// Windows in event time: their shape, the allowed lateness and when they are emitted.
///
/// With an allowed lateness the watermark is passed on that much later, so that what a window emits after its
/// end is not late further down.
pub struct Window<T, E> {
    kind: Kind,
    event_time: E,
    /// For rows that belong to several windows.
    copy: Option<fn(&T) -> T>,
    lateness: Duration,
    emit: Emit,
    rows: PhantomData<fn(T)>,
}

impl<T, E: Clone> Clone for Window<T, E> {
    fn clone(&self) -> Self {
        Window { event_time: self.event_time.clone(), rows: PhantomData, ..*self }
    }
}

impl<T, E> fmt::Debug for Window<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Window({self})")
    }
}

/// In words, for `explain`.
impl<T, E> fmt::Display for Window<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Aligned(cut) => write!(f, "{cut}")?,
            Kind::Session(gap) => write!(f, "gap {gap:?}")?,
            Kind::Global => f.write_str("all time")?,
        }
        if !self.lateness.is_zero() {
            write!(f, ", allowed lateness {:?}", self.lateness)?;
        }
        match self.emit {
            Emit::Final => Ok(()),
            Emit::OnTime => f.write_str(", emitted on time and for each later row"),
            Emit::Every(interval) => write!(f, ", emitted every {interval:?} and at the end"),
            Emit::EachChange => f.write_str(", emitted at each change"),
        }
    }
}

impl<T> Window<T, fn(&T) -> Timestamp> {
    /// One window of all time for each key, which closes when the input ends: with [`Emit::Every`] the running
    /// result, at most once in an interval. See [`CountWindow`] for windows of a number of rows.
    #[must_use]
    pub fn global() -> Self {
        Window::new(Kind::Global, (|_| Timestamp::MIN) as fn(&T) -> Timestamp)
    }
}

impl<T, E: FnMut(&T) -> Timestamp> Window<T, E> {
    fn new(kind: Kind, event_time: E) -> Self {
        let (lateness, emit) = (Duration::ZERO, Emit::Final);
        Window { kind, event_time, copy: None, lateness, emit, rows: PhantomData }
    }

    /// Windows of `size`, in whole microseconds, one after the other, aligned to the Unix epoch;
    /// `event_time` reads a row's time.
    ///
    /// # Panics
    /// If `size` is shorter than a microsecond.
    pub fn tumbling(size: Duration, event_time: E) -> Self {
        Window::new(Kind::Aligned(Cut::new(size, size)), event_time)
    }

    /// Windows of `size` of which one begins every `slide`, so that they overlap, aligned to the Unix epoch.
    ///
    /// # Panics
    /// If `slide` is shorter than a microsecond or longer than `size`, or if more than
    /// [`WINDOWS_OF_A_ROW`] windows hold a row.
    pub fn sliding(size: Duration, slide: Duration, event_time: E) -> Self
    where
        T: Clone,
    {
        let cut = Cut::new(size, slide);
        assert!(cut.overlap() <= WINDOWS_OF_A_ROW, "at most {WINDOWS_OF_A_ROW} windows may hold one row");
        Window { copy: Some(T::clone), ..Window::new(Kind::Aligned(cut), event_time) }
    }

    /// Sessions: the rows of a key whose times lie less than `gap` apart, directly or through others between
    /// them. A session ends `gap` after its last row. A row may join sessions that were apart, so the
    /// aggregate must be one that can be merged.
    ///
    /// What was emitted of a session before it was closed, or was joined to another, is void once it is
    /// emitted with other bounds.
    ///
    /// # Panics
    /// If `gap` is shorter than a microsecond.
    pub fn session(gap: Duration, event_time: E) -> Self {
        assert!(gap >= Duration::from_micros(1), "a session lasts at least one microsecond");
        Window::new(Kind::Session(gap), event_time)
    }

    /// Moves the windows by `offset` from the Unix epoch: days of a time zone that is a fixed distance from
    /// UTC begin at 24 hours less that distance.
    ///
    /// # Panics
    /// If these are not tumbling or sliding windows.
    #[must_use]
    pub fn offset(self, offset: Duration) -> Self {
        let Kind::Aligned(cut) = self.kind else {
            panic!("only tumbling and sliding windows have an offset")
        };
        Window { kind: Kind::Aligned(cut.with_offset(offset)), ..self }
    }

    /// Keeps a window open until the watermark has passed its end by this much. None unless it is set.
    #[must_use]
    pub fn allowed_lateness(self, lateness: Duration) -> Self {
        Window { lateness, ..self }
    }

    /// Chooses when results are emitted; [`Emit::Final`] unless it is set.
    ///
    /// # Panics
    /// If the interval of [`Emit::Every`] is shorter than a microsecond.
    #[must_use]
    pub fn emit(self, emit: Emit) -> Self {
        if let Emit::Every(interval) = emit {
            assert!(interval >= Duration::from_micros(1), "an interval is at least one microsecond long");
        }
        Window { emit, ..self }
    }

    /// The kind of windows in one word: `tumbling`, `sliding`, `session` or `global`.
    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Aligned(cut) if cut.overlap() == 1 => "tumbling",
            Kind::Aligned(_) => "sliding",
            Kind::Session(_) => "session",
            Kind::Global => "global",
        }
    }

    /// Makes sure that an aggregate can be computed over these windows.
    ///
    /// # Panics
    /// If these are sessions and the aggregate cannot be merged.
    pub fn assert_fits<A: Aggregate<T>>(&self) {
        let fits = A::MERGES || !matches!(self.kind, Kind::Session(_));
        assert!(fits, "sessions grow together, so their aggregate must be one that can be merged");
    }

    /// When a window with this end is closed.
    fn close(&self, end: Timestamp) -> Timestamp {
        end.plus(self.lateness)
    }

    /// What may be promised downstream at a watermark.
    fn promise(&self, watermark: Timestamp) -> Timestamp {
        if watermark == Timestamp::MAX { watermark } else { watermark.minus(self.lateness) }
    }
}

/// [`Window::tumbling`] by another name.
#[derive(Debug, Clone, Copy)]
pub struct Tumbling;

impl Tumbling {
    /// The same as [`Window::tumbling`].
    ///
    /// # Panics
    /// As for [`Window::tumbling`].
    #[allow(clippy::new_ret_no_self, reason = "all windows are of one type")]
    pub fn new<T, E: FnMut(&T) -> Timestamp>(size: Duration, event_time: E) -> Window<T, E> {
        Window::tumbling(size, event_time)
    }
}

/// The operator that aggregates the windows of each key; `key` reads a row's key. Late rows are dropped and
/// counted ([`Output::count_late`](crate::Output::count_late)).
///
/// Windows due at one watermark are emitted in the order of their times, those of one time in no order that
/// outlives a restart, in slices of [`FIRINGS_PER_CALL`](crate::limits::FIRINGS_PER_CALL) windows and, where they are made of panes,
/// [`PANES_PER_CALL`](crate::limits::PANES_PER_CALL) of these. At the end of the
/// input every window is closed.
///
/// # Restart
/// Tumbling windows and sessions that were open keep their bounds if the query is started again with another
/// size; sliding windows can only go on as they were.
///
/// # Panics
/// If these are sessions and the aggregate cannot be merged.
pub fn aggregate<T, K, A, F, E>(
    key: F,
    window: Window<T, E>,
    aggregate: A,
) -> Box<dyn Operator<Rows<T>, Rows<Windowed<K, A::Out>>>>
where
    T: Send + 'static,
    K: Key,
    A: Aggregate<T>,
    F: FnMut(&T) -> K + Send + 'static,
    E: FnMut(&T) -> Timestamp + Send + 'static,
{
    operator(Parts { key, window, aggregate, late: None })
}

/// As [`aggregate`], and emits the late rows too, as they come. They are counted all the same.
///
/// # Panics
/// As for [`aggregate`].
pub fn aggregate_and_late<T, K, A, F, E>(
    key: F,
    window: Window<T, E>,
    aggregate: A,
) -> Box<dyn Operator<Rows<T>, Rows<WindowedOrLate<K, A::Out, T>>>>
where
    T: Send + 'static,
    K: Key,
    A: Aggregate<T>,
    F: FnMut(&T) -> K + Send + 'static,
    E: FnMut(&T) -> Timestamp + Send + 'static,
{
    operator(Parts { key, window, aggregate, late: Some(WindowedOrLate::Late) })
}

/// What an operator of windows is made of.
#[derive(Debug)]
struct Parts<T, E, F, A, O> {
    key: F,
    window: Window<T, E>,
    aggregate: A,
    /// What becomes of a late row; dropped if there is nothing.
    late: Option<fn(T) -> O>,
}

fn operator<T, K, A, F, E, O>(parts: Parts<T, E, F, A, O>) -> Box<dyn Operator<Rows<T>, Rows<O>>>
where
    T: Send + 'static,
    K: Key,
    A: Aggregate<T>,
    F: FnMut(&T) -> K + Send + 'static,
    E: FnMut(&T) -> Timestamp + Send + 'static,
    O: From<Windowed<K, A::Out>> + Send + 'static,
{
    parts.window.assert_fits::<A>();
    match parts.window.kind {
        Kind::Aligned(cut)
            if A::MERGES && cut.overlap() > 1 && matches!(parts.window.emit, Emit::Final | Emit::OnTime) =>
        {
            Box::new(SharedPanes::new(parts, cut))
        }
        _ => Box::new(EachWindow::new(parts)),
    }
}

/// A key is found again by what it equals, so one that does not equal its own clone would lose its windows.
fn check_key<K: Key>(key: &K) -> crate::error::Result<()> {
    if key.clone() == *key {
        return Ok(());
    }
    Err(crate::error::OperatorError::User("a key is not equal to itself: see its Eq and Hash".to_owned()))
}
