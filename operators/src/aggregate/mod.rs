//! Aggregates, the running (unwindowed) keyed aggregation and the stateful map.

mod ready;

pub use ready::{Average, Collect, First, Last, Max, Min, Sum};

use crate::batch::Rows;
use crate::error::Result;
use crate::key::{Key, Value};
use crate::operator::Operator;
use crate::output::Output;
use crate::snapshot::{Restore, Snapshot};
use crate::state::{KeyedState, Updates};
use std::fmt;
use std::marker::PhantomData;

/// How rows of type `T` are folded into a result. Shared by running and windowed aggregation.
///
/// An aggregate whose states can be merged sets [`MERGES`](Aggregate::MERGES) and writes
/// [`merge`](Aggregate::merge): overlapping windows then share work, and sessions can grow together.
pub trait Aggregate<T>: Clone + Send + 'static {
    /// What is kept for each key.
    type State: Value;
    /// What is emitted.
    type Out: Send + 'static;

    /// Whether [`merge`](Aggregate::merge) is there.
    const MERGES: bool = false;

    /// The state before any row.
    fn init(&self) -> Self::State;
    /// Adds a row.
    fn add(&self, state: &mut Self::State, row: T);
    /// The current result.
    fn result(&self, state: &Self::State) -> Self::Out;

    /// Takes the rows of `other` into `state`. Merging the states of two sets of rows gives what adding all
    /// of them to one state gives, in any order of arrival; the rows of `other` have later event times, or
    /// stand in a later part of the window.
    ///
    /// # Panics
    /// Unless it is written; it is called only where [`MERGES`](Aggregate::MERGES) is set.
    fn merge(&self, _state: &mut Self::State, _other: &Self::State) {
        unreachable!("an aggregate with MERGES writes `merge`");
    }
}

/// Counts rows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Count;

impl<T> Aggregate<T> for Count {
    type State = u64;
    type Out = u64;
    const MERGES: bool = true;

    fn init(&self) -> u64 {
        0
    }
    #[inline]
    fn add(&self, state: &mut u64, _row: T) {
        *state += 1;
    }
    #[inline]
    fn result(&self, state: &u64) -> u64 {
        *state
    }
    #[inline]
    fn merge(&self, state: &mut u64, other: &u64) {
        *state += other;
    }
}

/// Folds rows into a state that is itself the result. Its states cannot be merged.
#[derive(Clone)]
pub struct Fold<S, F> {
    init: S,
    add: F,
}

impl<S, F> Fold<S, F> {
    /// Starts at `init` for each key; `add` takes a row in.
    pub fn new(init: S, add: F) -> Self {
        Fold { init, add }
    }
}

impl<S: fmt::Debug, F> fmt::Debug for Fold<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fold({:?})", self.init)
    }
}

impl<T, S: Value, F: Fn(&mut S, T) + Clone + Send + 'static> Aggregate<T> for Fold<S, F> {
    type State = S;
    type Out = S;

    fn init(&self) -> S {
        self.init.clone()
    }
    fn add(&self, state: &mut S, row: T) {
        (self.add)(state, row);
    }
    fn result(&self, state: &S) -> S {
        state.clone()
    }
}

/// Combines the rows of a key two by two: the first row is the first state.
///
/// States are merged by the same function, so in sliding and session windows it has to be associative, and
/// commutative where the result must not depend on the order of arrival.
#[derive(Clone)]
pub struct Reduce<F>(pub F);

impl<F> fmt::Debug for Reduce<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reduce")
    }
}

impl<T: Value, F: Fn(T, T) -> T + Clone + Send + 'static> Aggregate<T> for Reduce<F> {
    type State = Option<T>;
    type Out = T;
    const MERGES: bool = true;

    fn init(&self) -> Option<T> {
        None
    }
    fn add(&self, state: &mut Option<T>, row: T) {
        *state = Some(match state.take() {
            Some(sofar) => (self.0)(sofar, row),
            None => row,
        });
    }
    fn result(&self, state: &Option<T>) -> T {
        state.clone().expect("invariant: a result is asked for after a row was added")
    }
    fn merge(&self, state: &mut Option<T>, other: &Option<T>) {
        if let Some(row) = other {
            self.add(state, row.clone());
        }
    }
}

/// The running aggregation: each row updates its key's state and emits `(key, result so far)`.
#[derive(Debug)]
pub struct RunningAggregate<T, K: Key, A: Aggregate<T>, F> {
    key: F,
    aggregate: A,
    state: KeyedState<K, A::State>,
    updates: Updates<K>,
    rows: PhantomData<fn(T)>,
}

impl<T, K: Key, A: Aggregate<T>, F: FnMut(&T) -> K> RunningAggregate<T, K, A, F> {
    /// `key` reads a row's key.
    pub fn new(key: F, aggregate: A) -> Self {
        let (state, updates) = (KeyedState::new("aggregate"), Updates::default());
        RunningAggregate { key, aggregate, state, updates, rows: PhantomData }
    }
}

impl<T, K, A, F> Operator<Rows<T>, Rows<(K, A::Out)>> for RunningAggregate<T, K, A, F>
where
    T: Send + 'static,
    K: Key,
    A: Aggregate<T>,
    F: FnMut(&T) -> K + Send,
{
    fn process(&mut self, input: &mut Rows<T>, output: &mut Output<Rows<(K, A::Out)>>) -> Result<()> {
        let aggregate = &self.aggregate;
        let init = || aggregate.init();
        self.updates.run(&mut self.state, input, output, &mut self.key, init, |key, state, row| {
            aggregate.add(state, row);
            (key, aggregate.result(state))
        });
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        Ok(Snapshot { tables: vec![self.state.snapshot()] })
    }

    fn restore(&mut self, restore: Restore<'_>, _output: &mut Output<Rows<(K, A::Out)>>) -> Result<()> {
        self.state.restore(restore)
    }
}

/// The stateful map: each row changes its key's state and emits what the function returns. The leanest
/// keyed step: nothing is kept or copied but what the function asks for.
#[derive(Debug)]
pub struct MapWithState<T, K: Key, S: Value, F, G> {
    key: F,
    update: G,
    state: KeyedState<K, S>,
    updates: Updates<K>,
    rows: PhantomData<fn(T)>,
}

impl<T, K: Key, S: Value + Default, F, G> MapWithState<T, K, S, F, G> {
    /// `key` reads a row's key; `update` is given the key's state, at first the default, and the row.
    pub fn new(key: F, update: G) -> Self {
        let (state, updates) = (KeyedState::new("map-with-state"), Updates::default());
        MapWithState { key, update, state, updates, rows: PhantomData }
    }
}

impl<T, K, S, U, F, G> Operator<Rows<T>, Rows<U>> for MapWithState<T, K, S, F, G>
where
    T: Send + 'static,
    K: Key,
    S: Value + Default,
    U: Send + 'static,
    F: FnMut(&T) -> K + Send,
    G: FnMut(&mut S, T) -> U + Send,
{
    fn process(&mut self, input: &mut Rows<T>, output: &mut Output<Rows<U>>) -> Result<()> {
        let update = &mut self.update;
        self.updates.run(&mut self.state, input, output, &mut self.key, S::default, |_, state, row| {
            update(state, row)
        });
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        Ok(Snapshot { tables: vec![self.state.snapshot()] })
    }

    fn restore(&mut self, restore: Restore<'_>, _output: &mut Output<Rows<U>>) -> Result<()> {
        self.state.restore(restore)
    }
}
