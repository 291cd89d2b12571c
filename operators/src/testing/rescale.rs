//! Keyed operators over a changing number of instances.

use super::driver::{Driver, Feed};
use super::{Event, Side, TwoInput};
use super::{OperatorHarness, Outcome, Stored, one_input, two_inputs};
use crate::batch::{Batch, Rows};
use crate::key::{Instance, owner_of};
use crate::operator::Operator;
use crate::time::Timestamp;
use crate::two_input::TwoInputOperator;
use std::fmt::Debug;

impl<F> OperatorHarness<F> {
    /// Runs a keyed operator in several instances, each of which gets the rows whose keys it owns and every
    /// watermark and time. `hash` is [`crate::key::hash_of`] a row's key. What follows marker `n` runs in
    /// `parallelism[n]` instances (counted from 0, for what comes before the first; the list begins anew
    /// when it is used up). When the number changes, new instances are restored from what the old ones
    /// stored. Rows are returned sorted; the watermark is the lowest of all instances.
    ///
    /// # Panics
    /// As for [`OperatorHarness::run`], or if `parallelism` is empty.
    pub fn rescaled<T, O, P>(
        &self,
        events: &[Event<T>],
        hash: impl Fn(&T) -> u64,
        parallelism: &[usize],
    ) -> Outcome<O>
    where
        T: Clone + Send + 'static,
        O: Debug + Ord + Send + 'static,
        P: Operator<Rows<T>, Rows<O>>,
        F: Fn() -> P,
    {
        self.rescale(&self.factory, Feed::new(events, one_input), &hash, parallelism)
    }

    /// As [`OperatorHarness::rescaled`] for an operator of two inputs.
    ///
    /// # Panics
    /// As for [`OperatorHarness::rescaled`].
    pub fn rescaled_two_inputs<L, R, O, P>(
        &self,
        events: &[Event<Side<L, R>>],
        hash: impl Fn(&Side<L, R>) -> u64,
        parallelism: &[usize],
    ) -> Outcome<O>
    where
        L: Clone + Send + 'static,
        R: Clone + Send + 'static,
        O: Debug + Ord + Send + 'static,
        P: TwoInputOperator<Rows<L>, Rows<R>, Rows<O>>,
        F: Fn() -> P,
    {
        let build = || TwoInput((self.factory)());
        self.rescale(&build, Feed::new(events, two_inputs), &hash, parallelism)
    }

    fn rescale<T, B, O, P>(
        &self,
        build: &dyn Fn() -> P,
        feed: Feed<'_, T, B, O>,
        hash: &dyn Fn(&T) -> u64,
        parallelism: &[usize],
    ) -> Outcome<O>
    where
        T: Clone,
        B: Batch,
        O: Debug + Ord + Send + 'static,
        P: Operator<B, Rows<O>>,
    {
        let feed = Feed { batch_rows: 7, ..feed };
        let mut sizes = parallelism.iter().copied().cycle();
        let mut size = sizes.next().expect("at least one parallelism is given");
        let fresh = |_| (Driver::new(build(), 3, None), Stored::default());
        let mut instances: Vec<_> = (0..size).map(fresh).collect();
        let mut total = Outcome { rows: Vec::new(), late_rows: 0, watermark: Timestamp::MAX };
        let mut segments = feed.segments().peekable();
        while let Some(segment) = segments.next() {
            for (index, (driver, stored)) in instances.iter_mut().enumerate() {
                driver.play(&owned(segment, hash, Instance { index, parallelism: size }), feed);
                if segments.peek().is_some() {
                    stored.store(&driver.snapshot());
                }
            }
            let next = sizes.next().unwrap_or(size);
            if segments.peek().is_none() || next == size {
                continue;
            }
            size = next;
            let image = Stored::image_of(instances.iter().map(|(_, stored)| stored));
            let mark = instances[0].0.mark();
            let old = std::mem::replace(&mut instances, (0..size).map(fresh).collect());
            old.into_iter().for_each(|(driver, _)| total.add(driver.end(false)));
            for (index, (driver, _)) in instances.iter_mut().enumerate() {
                driver.resume(&image, Instance { index, parallelism: size }, mark.clone());
            }
        }
        total.watermark = Timestamp::MAX;
        instances.into_iter().for_each(|(driver, _)| total.add(driver.end(self.finish)));
        total.rows.sort();
        total
    }
}

impl<O> Outcome<O> {
    fn add(&mut self, instance: Outcome<O>) {
        self.rows.extend(instance.rows);
        self.late_rows += instance.late_rows;
        self.watermark = self.watermark.min(instance.watermark);
    }
}

fn owned<T: Clone>(events: &[Event<T>], hash: &dyn Fn(&T) -> u64, instance: Instance) -> Vec<Event<T>> {
    let mine = |event: &&Event<T>| match event {
        Event::Row(row) => owner_of(hash(row), instance.parallelism) == instance.index,
        _ => true,
    };
    events.iter().filter(mine).cloned().collect()
}
