//! The merged watermark of an actor's inputs.

use lotic_operators::Timestamp;

/// How the watermarks of several inputs of one operator, as of a join or a union, become one: Spark's
/// `spark.sql.streaming.multipleWatermarkPolicy`. The instances of one input always count with their minimum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MultipleWatermarkPolicy {
    /// The slowest input decides: no row that is in time for its own watermark is late.
    #[default]
    Min,
    /// The fastest input decides: results come sooner, and rows of slower inputs are dropped as late.
    Max,
}

impl std::str::FromStr for MultipleWatermarkPolicy {
    type Err = crate::Error;

    /// `min` or `max`, in any case.
    fn from_str(text: &str) -> crate::Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "min" => Ok(MultipleWatermarkPolicy::Min),
            "max" => Ok(MultipleWatermarkPolicy::Max),
            _ => Err(crate::Error::user(format!("multiple watermark policy `{text}`: it is `min` or `max`"))),
        }
    }
}

/// Merges the watermarks of channels: within an input the minimum over those that are neither idle nor at their end,
/// between inputs as the policy says, never lower than before. When none is left, it is the largest of all: in
/// whatever order they went, every instance of an operator comes to the same, and a neighbour downstream that no
/// longer waits for one of them has not gone further than that one did.
#[derive(Debug)]
pub(crate) struct Watermarks {
    channels: Vec<Channel>,
    inputs: usize,
    policy: MultipleWatermarkPolicy,
    current: Timestamp,
    /// The same before the end of the input.
    before_end: Timestamp,
    idle: bool,
    held_by: Option<usize>,
}

#[derive(Debug, Clone, Copy)]
struct Channel {
    input: usize,
    watermark: Timestamp,
    idle: bool,
    ended: bool,
}

/// What has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Merged {
    /// The new merged watermark.
    pub(crate) watermark: Option<Timestamp>,
    /// The actor as a whole became idle or active.
    pub(crate) idle: Option<bool>,
}

impl Watermarks {
    /// `inputs` says of each channel which input it belongs to, counted from 0.
    pub(crate) fn new(inputs: &[usize], policy: MultipleWatermarkPolicy) -> Watermarks {
        let channel =
            |input: &usize| Channel { input: *input, watermark: Timestamp::MIN, idle: false, ended: false };
        Watermarks {
            channels: inputs.iter().map(channel).collect(),
            inputs: inputs.iter().max().map_or(0, |last| last + 1),
            policy,
            current: Timestamp::MIN,
            before_end: Timestamp::MIN,
            idle: false,
            held_by: None,
        }
    }

    /// The merged watermark.
    #[cfg(test)]
    pub(crate) fn current(&self) -> Timestamp {
        self.current
    }

    /// What a checkpoint is to keep: not the end of the input, since a query that is started again may find more.
    pub(crate) fn lasting(&self) -> Timestamp {
        self.before_end
    }

    /// The channel that the merged watermark waits for.
    pub(crate) fn held_by(&self) -> Option<usize> {
        self.held_by
    }

    /// What a checkpoint said: the merged watermark does not fall behind it.
    pub(crate) fn restore(&mut self, watermark: Timestamp) {
        self.current = self.current.max(watermark);
        self.before_end = self.current;
    }

    /// A channel has promised more.
    pub(crate) fn advance(&mut self, channel: usize, watermark: Timestamp) -> Merged {
        let held = &mut self.channels[channel].watermark;
        *held = (*held).max(watermark);
        self.merge()
    }

    /// A channel went idle or became active.
    pub(crate) fn set_idle(&mut self, channel: usize, idle: bool) -> Merged {
        self.channels[channel].idle = idle;
        self.merge()
    }

    /// A channel has ended.
    pub(crate) fn end(&mut self, channel: usize) -> Merged {
        self.channels[channel].ended = true;
        self.merge()
    }

    fn merge(&mut self) -> Merged {
        let over = |channel: &Channel| channel.ended || channel.watermark == Timestamp::MAX;
        let counted = |channel: &Channel| !channel.idle && !over(channel);
        let all_idle = !self.channels.iter().any(counted) && !self.channels.iter().all(over);
        let idle = (all_idle != self.idle).then_some(all_idle);
        self.idle = all_idle;
        let slowest_of = |input: Option<usize>| {
            let channels = self.channels.iter().enumerate();
            let ours = channels
                .filter(|(_, channel)| counted(channel) && input.is_none_or(|input| channel.input == input));
            ours.min_by_key(|(_, channel)| channel.watermark).map(|(at, channel)| (channel.watermark, at))
        };
        let merged = match self.policy {
            MultipleWatermarkPolicy::Min => slowest_of(None),
            MultipleWatermarkPolicy::Max => {
                (0..self.inputs).filter_map(|input| slowest_of(Some(input))).max_by_key(|(time, _)| *time)
            }
        };
        self.held_by = merged.map(|(_, at)| at);
        let times = self.channels.iter().map(|channel| channel.watermark);
        let largest = || match all_idle {
            true => times.filter(|time| *time < Timestamp::MAX).max(),
            false => times.max(),
        };
        let merged = merged.map(|(time, _)| time).or_else(largest);
        let watermark = merged.filter(|time| *time > self.current);
        self.current = watermark.unwrap_or(self.current);
        if self.current < Timestamp::MAX {
            self.before_end = self.current;
        }
        Merged { watermark, idle }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use MultipleWatermarkPolicy::{Max, Min};
    use proptest::prelude::*;

    fn moved(watermark: i64) -> Merged {
        Merged { watermark: Some(Timestamp(watermark)), idle: None }
    }

    #[test]
    fn the_slowest_active_input_decides_and_nothing_moves_back() {
        let mut merged = Watermarks::new(&[0, 1], Min);
        assert_eq!(merged.advance(0, Timestamp(10)), Merged::default());
        assert_eq!(merged.held_by(), Some(1));
        assert_eq!(merged.advance(1, Timestamp(5)), moved(5));
        assert_eq!(merged.set_idle(1, true), moved(10));
        assert_eq!(merged.held_by(), Some(0));
        assert_eq!(merged.set_idle(1, false), Merged::default());
        assert_eq!(merged.current(), Timestamp(10));
        assert_eq!(merged.advance(1, Timestamp(7)), Merged::default());
        assert_eq!(merged.end(1), Merged::default());
        assert_eq!(merged.advance(0, Timestamp(20)), moved(20));
        assert_eq!(merged.set_idle(0, true), Merged { watermark: None, idle: Some(true) });
        assert_eq!(merged.held_by(), None);
        assert_eq!(merged.set_idle(0, false), Merged { watermark: None, idle: Some(false) });
    }

    #[test]
    fn an_actor_is_idle_when_its_last_active_input_ends() {
        let mut merged = Watermarks::new(&[0, 1], Min);
        assert_eq!(merged.set_idle(0, true), Merged::default());
        assert_eq!(merged.end(1), Merged { watermark: None, idle: Some(true) });
    }

    /// A and B are two instances of one operator, of which the inputs went in another order.
    #[test]
    fn instances_whose_inputs_have_all_gone_idle_have_come_equally_far() {
        for order in [[0, 1], [1, 0]] {
            let mut merged = Watermarks::new(&[0, 0], Min);
            assert_eq!(merged.advance(0, Timestamp(50)), Merged::default());
            assert_eq!(merged.advance(1, Timestamp(45)), moved(45));
            for channel in order {
                let _ = merged.set_idle(channel, true);
            }
            assert_eq!(merged.current(), Timestamp(50), "{order:?}");
        }
    }

    #[test]
    fn by_the_policy_max_the_fastest_input_decides_by_its_slowest_instance() {
        let mut merged = Watermarks::new(&[0, 0, 1], Max);
        assert_eq!(
            merged.advance(0, Timestamp(90)),
            Merged::default(),
            "the other instance promised nothing"
        );
        assert_eq!(merged.advance(2, Timestamp(5)), moved(5));
        assert_eq!(merged.advance(1, Timestamp(50)), moved(50));
        assert_eq!(merged.held_by(), Some(1));
        assert_eq!(merged.set_idle(1, true), moved(90));
        assert_eq!(
            merged.set_idle(0, true),
            Merged::default(),
            "the slower input is left, and nothing moves back"
        );
    }

    #[test]
    fn an_input_at_its_end_is_not_waited_for_and_a_quiet_one_is_not_at_its_end() {
        let mut merged = Watermarks::new(&[0, 1], Min);
        assert_eq!(merged.advance(0, Timestamp::MAX), Merged::default());
        assert_eq!(merged.advance(1, Timestamp(5)), moved(5));
        assert_eq!(merged.set_idle(1, true), Merged { watermark: None, idle: Some(true) });
        assert_eq!(merged.set_idle(1, false), Merged { watermark: None, idle: Some(false) });
        assert_eq!(merged.advance(1, Timestamp::MAX), moved(i64::MAX));
    }

    #[test]
    fn the_end_of_the_input_is_not_kept() {
        let mut merged = Watermarks::new(&[0, 0], Min);
        for time in [Timestamp(7), Timestamp::MAX] {
            let _ = merged.advance(0, time);
            let _ = merged.advance(1, time);
        }
        assert_eq!((merged.current(), merged.lasting()), (Timestamp::MAX, Timestamp(7)));
    }

    #[test]
    fn a_policy_is_read_from_text() {
        assert_eq!("MAX".parse::<MultipleWatermarkPolicy>().unwrap(), Max);
        assert!(
            "mean".parse::<MultipleWatermarkPolicy>().unwrap_err().to_string().contains("`min` or `max`")
        );
    }

    #[derive(Debug, Clone)]
    enum Said {
        Advance(usize, i64),
        Idle(usize, bool),
        End(usize),
    }

    fn said() -> impl Strategy<Value = Said> {
        prop_oneof![
            5 => (0usize..4, 0i64..100).prop_map(|(channel, time)| Said::Advance(channel, time)),
            3 => (0usize..4, any::<bool>()).prop_map(|(channel, idle)| Said::Idle(channel, idle)),
            1 => (0usize..4).prop_map(Said::End),
        ]
    }

    proptest! {
        /// Against the definition, taken from the whole history at each step.
        #[test]
        fn the_merged_watermark_is_what_the_policy_says_of_the_whole_history(
            history in proptest::collection::vec(said(), 0..60),
            policy in prop_oneof![Just(Min), Just(Max)],
        ) {
            let inputs = [0, 0, 1, 2];
            let mut merged = Watermarks::new(&inputs, policy);
            let (mut reached, mut idle) = (i64::MIN, false);
            for length in 1..=history.len() {
                let changed = match history[length - 1] {
                    Said::Advance(channel, time) => merged.advance(channel, Timestamp(time)),
                    Said::Idle(channel, idle) => merged.set_idle(channel, idle),
                    Said::End(channel) => merged.end(channel),
                };
                let past = &history[..length];
                let ended = |at: usize| past.iter().any(|said| matches!(said, Said::End(of) if *of == at));
                let counts = |at: usize| {
                    let last = past.iter().rev().find_map(|said| match said {
                        Said::Idle(of, idle) if *of == at => Some(*idle),
                        _ => None,
                    });
                    last != Some(true) && !ended(at)
                };
                let time = |at: usize| {
                    let times = past.iter().filter_map(|said| match said {
                        Said::Advance(of, time) if *of == at => Some(*time),
                        _ => None,
                    });
                    times.max().unwrap_or(i64::MIN)
                };
                let by_input = (0..3).filter_map(|input| {
                    (0..4).filter(|at| inputs[*at] == input && counts(*at)).map(time).min()
                });
                let now = if policy == Min { by_input.min() } else { by_input.max() };
                // When none is left, they have come as far as the furthest of them.
                let now = now.or_else(|| (0..4).map(time).max());
                let before = reached;
                reached = reached.max(now.unwrap_or(i64::MIN));
                prop_assert_eq!(merged.current(), Timestamp(reached));
                prop_assert_eq!(changed.watermark, (reached > before).then_some(Timestamp(reached)));
                let all_idle = !(0..4).any(counts) && !(0..4).all(ended);
                prop_assert_eq!(changed.idle, (all_idle != idle).then_some(all_idle));
                idle = all_idle;
            }
        }
    }
}
