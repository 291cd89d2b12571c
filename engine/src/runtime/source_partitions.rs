//! What a source actor says of the partitions it reads: which there are, and which are idle.
//!
//! A partition is idle once it was caught up at two looks with at least the idle time between them, and no row
//! came of it in between; it is active again before its next row. What a gate hides counts neither way: an
//! instance that is read as one sequence is only looked at where the source has just said that nothing is there.
//! See design note 4.

use super::metrics::ActorMetrics;
use super::stage::Signal;
use lotic_connectors::SourcePartition;
use lotic_operators::{Instance, PartitionId, PartitionStatus, Timestamp};
use std::collections::VecDeque;
use std::time::Duration;

/// Looks within the time after which a quiet partition is idle.
const LOOKS: u64 = 8;

struct Known {
    id: PartitionId,
    idle: bool,
    /// Rows came of it since the last look.
    had_rows: bool,
    /// When it was first seen to be caught up since its last row.
    quiet_since_ns: Option<u64>,
}

/// The partitions of one source instance.
pub(crate) struct SourcePartitions {
    source: String,
    instance: Instance,
    /// `None`: none is idle because it is quiet.
    idle_after_ns: Option<u64>,
    known: Vec<Known>,
    /// Whether the source names its partitions.
    named: bool,
    /// Whether all of them were said to be idle.
    idle: bool,
    look_at_ns: u64,
    /// Whether the input has ended.
    finished: bool,
    /// To be passed on before anything else.
    pub(crate) signals: VecDeque<Signal>,
}

impl SourcePartitions {
    pub(crate) fn new(source: String, instance: Instance, idle_after: Option<Duration>) -> Self {
        SourcePartitions {
            source,
            instance,
            idle_after_ns: idle_after.map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)),
            known: Vec::new(),
            named: false,
            idle: false,
            look_at_ns: 0,
            finished: false,
            signals: VecDeque::new(),
        }
    }

    /// Speaks of each partition for the first time. An instance without any is idle at once.
    pub(crate) fn begin(&mut self, found: Option<Vec<SourcePartition>>, now_ns: u64, metrics: &ActorMetrics) {
        self.named = found.is_some();
        self.look_at_ns = now_ns.saturating_add(self.pause_ns());
        match found {
            Some(found) => self.meet(&found, metrics),
            None => {
                let Instance { index, parallelism } = self.instance;
                let name = if parallelism == 1 { String::new() } else { format!("{index} of {parallelism}") };
                self.meet(&[SourcePartition { name, caught_up: false }], metrics);
            }
        }
        if self.known.is_empty() {
            self.idle = true;
            self.signals.push_back(Signal::Idle(true));
        }
    }

    /// Whether the source is to be asked for its partitions: it read a row of one that is not known.
    #[inline]
    pub(crate) fn is_new(&self, partition: usize) -> bool {
        partition >= self.known.len()
    }

    /// Takes up partitions that were not known.
    pub(crate) fn meet(&mut self, found: &[SourcePartition], metrics: &ActorMetrics) {
        let new = &found[self.known.len().min(found.len())..];
        for (at, partition) in new.iter().enumerate() {
            let id = PartitionId::of(&self.source, &partition.name);
            let name = if partition.name.is_empty() {
                self.source.clone()
            } else {
                format!("{}/{}", self.source, partition.name)
            };
            metrics.name_partition(id, name);
            self.known.push(Known { id, idle: false, had_rows: false, quiet_since_ns: None });
            self.say_active();
            let status = PartitionStatus { id, idle: false, more: at + 1 < new.len() };
            self.signals.push_back(Signal::Partition(status));
        }
    }

    /// Rows of a partition come next.
    #[inline]
    pub(crate) fn rows_of(&mut self, partition: usize) -> PartitionId {
        let Some(known) = self.known.get_mut(partition) else { return PartitionId::NONE };
        known.had_rows = true;
        let id = known.id;
        if known.idle {
            self.wake(partition);
        }
        id
    }

    #[cold]
    fn wake(&mut self, partition: usize) {
        let known = &mut self.known[partition];
        known.idle = false;
        let status = PartitionStatus { id: known.id, idle: false, more: false };
        self.signals.push_back(Signal::Partition(status));
        self.say_active();
    }

    fn say_active(&mut self) {
        if std::mem::take(&mut self.idle) {
            self.signals.push_back(Signal::Idle(false));
        }
    }

    fn pause_ns(&self) -> u64 {
        self.idle_after_ns.map_or(u64::MAX, |time| time / LOOKS)
    }

    /// Whether it is time to look again.
    #[inline]
    pub(crate) fn is_due(&self, now_ns: u64) -> bool {
        now_ns >= self.look_at_ns
    }

    /// Whether the source may be looked at whatever it said last: it knows its partitions.
    #[inline]
    pub(crate) fn are_named(&self) -> bool {
        self.named
    }

    /// Looks at what the source says of its partitions; of one that does not, `nothing_there` is what it has
    /// said just now.
    pub(crate) fn look(
        &mut self,
        found: Option<&[SourcePartition]>,
        nothing_there: bool,
        now_ns: u64,
        metrics: &ActorMetrics,
    ) {
        let Some(idle_after_ns) = self.idle_after_ns else {
            self.look_at_ns = u64::MAX;
            return;
        };
        self.look_at_ns = now_ns.saturating_add(self.pause_ns());
        if let Some(found) = found {
            self.meet(found, metrics);
        }
        let mut idle = Vec::new();
        for (at, known) in self.known.iter_mut().enumerate() {
            let caught_up = match found {
                Some(found) => found.get(at).is_some_and(|partition| partition.caught_up),
                None => nothing_there,
            };
            let had_rows = std::mem::take(&mut known.had_rows);
            if !caught_up {
                known.quiet_since_ns = None;
                continue;
            }
            if had_rows {
                known.quiet_since_ns = None;
            }
            let since = *known.quiet_since_ns.get_or_insert(now_ns);
            if !known.idle && now_ns.saturating_sub(since) >= idle_after_ns {
                idle.push(at);
            }
        }
        self.say_idle(&idle);
    }

    /// The input has ended: nothing will ever come, so event time is at its end. That is more than being idle:
    /// what operators still hold of this input comes out before anybody downstream stops waiting for it.
    pub(crate) fn finish(&mut self) {
        if !std::mem::replace(&mut self.finished, true) {
            self.say_active();
            self.signals.push_back(Signal::Watermark(Timestamp::MAX));
            let active: Vec<usize> =
                self.known.iter().enumerate().filter(|(_, known)| !known.idle).map(|(at, _)| at).collect();
            self.say_partitions_idle(&active);
        }
        self.look_at_ns = u64::MAX;
    }

    fn say_idle(&mut self, partitions: &[usize]) {
        self.say_partitions_idle(partitions);
        if !partitions.is_empty() && self.known.iter().all(|known| known.idle) && !self.idle {
            self.idle = true;
            self.signals.push_back(Signal::Idle(true));
        }
    }

    fn say_partitions_idle(&mut self, partitions: &[usize]) {
        let Some((last, _)) = partitions.split_last() else { return };
        for at in partitions {
            let known = &mut self.known[*at];
            known.idle = true;
            let status = PartitionStatus { id: known.id, idle: true, more: at != last };
            self.signals.push_back(Signal::Partition(status));
        }
    }

    /// How long until the next look, if one is of use.
    pub(crate) fn next_look(&self, now_ns: u64) -> Option<Duration> {
        if self.finished || self.idle_after_ns.is_none() || self.known.iter().all(|known| known.idle) {
            return None;
        }
        Some(Duration::from_nanos(self.look_at_ns.saturating_sub(now_ns)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const IDLE_AFTER_NS: u64 = 800;

    /// One step of a source of three partitions.
    #[derive(Debug, Clone)]
    enum Step {
        Row(usize),
        /// Time passes, then it is looked which are caught up.
        Look(u64, [bool; 3]),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0usize..3).prop_map(Step::Row),
            (1u64..600, any::<[bool; 3]>()).prop_map(|(by, caught_up)| Step::Look(by, caught_up)),
            (100u64..900).prop_map(|by| Step::Look(by, [true; 3])),
        ]
    }

    fn found(caught_up: [bool; 3]) -> Vec<SourcePartition> {
        let named = caught_up.iter().enumerate();
        named.map(|(at, caught_up)| SourcePartition { name: at.to_string(), caught_up: *caught_up }).collect()
    }

    /// Since when a partition was caught up at every look, without a row between.
    fn quiet_since(history: &[(u64, Step)], partition: usize) -> Option<u64> {
        let mut since = None;
        let mut had_rows = false;
        for (now, step) in history {
            match step {
                Step::Row(of) if *of == partition => had_rows = true,
                Step::Row(_) => {}
                Step::Look(_, caught_up) => {
                    let had_rows = std::mem::take(&mut had_rows);
                    let before = since.filter(|_| !had_rows);
                    since = caught_up[partition].then(|| before.unwrap_or(*now));
                }
            }
        }
        since
    }

    proptest! {
        #[test]
        fn a_partition_is_idle_when_it_was_caught_up_and_quiet_long_enough_until_its_next_row(
            steps in proptest::collection::vec(step(), 0..60),
        ) {
            let metrics = ActorMetrics::new("source[0]".to_owned(), Vec::new());
            let time = Some(Duration::from_nanos(IDLE_AFTER_NS));
            let mut partitions = SourcePartitions::new("source".to_owned(), Instance::ONLY, time);
            partitions.begin(Some(found([false; 3])), 0, &metrics);
            let ids: Vec<PartitionId> = (0..3).map(|at| PartitionId::of("source", &at.to_string())).collect();
            let (mut said, mut said_all, mut expected) = ([false; 3], false, [false; 3]);
            let (mut now, mut history) = (0, Vec::new());
            for step in steps {
                match &step {
                    Step::Row(of) => {
                        prop_assert_eq!(partitions.rows_of(*of), ids[*of]);
                        expected[*of] = false;
                    }
                    Step::Look(by, caught_up) => {
                        now += by;
                        partitions.look(Some(&found(*caught_up)), false, now, &metrics);
                    }
                }
                history.push((now, step.clone()));
                if matches!(step, Step::Look(..)) {
                    for (at, expected) in expected.iter_mut().enumerate() {
                        *expected |= quiet_since(&history, at).is_some_and(|since| now - since >= IDLE_AFTER_NS);
                    }
                }
                let mut more_follows = false;
                for signal in partitions.signals.drain(..) {
                    match signal {
                        Signal::Partition(PartitionStatus { id, idle, more }) => {
                            let at = ids.iter().position(|other| *other == id).unwrap();
                            (said[at], more_follows) = (idle, more);
                        }
                        Signal::Idle(idle) => {
                            prop_assert_ne!(said_all, idle);
                            said_all = idle;
                        }
                        other => prop_assert!(false, "{other:?}"),
                    }
                }
                prop_assert!(!more_follows, "what follows was not said");
                prop_assert_eq!(said, expected, "after {:?}", history);
                prop_assert_eq!(said_all, expected == [true; 3]);
            }
        }
    }

    #[test]
    fn an_instance_without_partitions_is_idle_at_once_and_the_end_is_the_end_of_time() {
        let metrics = ActorMetrics::new("source[0]".to_owned(), Vec::new());
        let mut partitions = SourcePartitions::new("source".to_owned(), Instance::ONLY, None);
        partitions.begin(Some(Vec::new()), 0, &metrics);
        assert_eq!(partitions.signals.drain(..).collect::<Vec<_>>(), [Signal::Idle(true)]);
        partitions.meet(&found([true; 3])[..2], &metrics);
        assert_eq!(partitions.signals.pop_front(), Some(Signal::Idle(false)), "it was given some after all");
        partitions.signals.clear();
        partitions.finish();
        let more = |signal| match signal {
            Signal::Partition(PartitionStatus { idle: true, more, .. }) => Some(more),
            _ => None,
        };
        let signals: Vec<Signal> = partitions.signals.drain(..).collect();
        assert_eq!(
            signals.iter().map(|signal| more(*signal)).collect::<Vec<_>>(),
            [None, Some(true), Some(false)]
        );
        assert_eq!(signals[0], Signal::Watermark(Timestamp::MAX), "before anything stops waiting");
    }

    #[test]
    fn a_sequence_counts_as_quiet_only_where_the_source_said_that_nothing_is_there() {
        let metrics = ActorMetrics::new("source[0]".to_owned(), Vec::new());
        let time = Some(Duration::from_nanos(IDLE_AFTER_NS));
        let mut partitions = SourcePartitions::new("source".to_owned(), Instance::ONLY, time);
        partitions.begin(None, 0, &metrics);
        partitions.signals.clear();
        partitions.look(None, true, 100, &metrics);
        partitions.look(None, false, 700, &metrics);
        partitions.look(None, true, 1_000, &metrics);
        assert!(partitions.signals.is_empty(), "there was something at 700");
        partitions.look(None, true, 1_900, &metrics);
        assert_eq!(partitions.signals.len(), 2, "the partition and the whole");
    }
}
