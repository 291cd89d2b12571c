//! The ranges of offsets of a bounded read, and how they are divided so that several can be read at a time.

use super::super::topics::TopicPartition;

/// Some offsets of a partition, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Range {
    pub(super) partition: TopicPartition,
    pub(super) start: i64,
    /// The offset after the last.
    pub(super) end: i64,
}

/// Divides the largest ranges until there are `ranges_min`, and none has more than `offsets_max`.
pub(super) fn split(ranges: Vec<Range>, ranges_min: usize, offsets_max: u64) -> Vec<Range> {
    let size = |range: &Range| u64::try_from(range.end - range.start).unwrap_or(0);
    let mut parts: Vec<u64> =
        ranges.iter().map(|range| size(range).div_ceil(offsets_max.max(1)).max(1)).collect();
    let mut total: u64 = parts.iter().sum();
    while total < ranges_min as u64 {
        let divisible = (0..ranges.len()).filter(|at| parts[*at] < size(&ranges[*at]));
        let Some(largest) = divisible.max_by_key(|at| size(&ranges[*at]) / parts[*at]) else { break };
        parts[largest] += 1;
        total += 1;
    }
    let mut divided = Vec::new();
    for (range, parts) in ranges.into_iter().zip(parts) {
        let (size, mut start) = (u128::from(size(&range)), range.start);
        for part in 1..=parts {
            // At most the size, which is an offset.
            let end = range.start + (size * u128::from(part) / u128::from(parts)) as i64;
            divided.push(Range { partition: range.partition.clone(), start, end });
            start = end;
        }
    }
    divided
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(partition: i32, start: i64, end: i64) -> Range {
        Range { partition: TopicPartition::new("orders", partition), start, end }
    }

    proptest! {
        #[test]
        fn divided_ranges_hold_every_offset_once(
            sizes in proptest::collection::vec(1i64..1000, 0..6),
            ranges_min in 0usize..50,
            offsets_max in 1u64..2000,
        ) {
            let ranges: Vec<Range> = (0..).zip(&sizes).map(|(at, size)| range(at, 10, 10 + size)).collect();
            let divided = split(ranges.clone(), ranges_min, offsets_max);
            let total: i64 = sizes.iter().sum();
            prop_assert!(divided.len() >= ranges_min.min(usize::try_from(total).unwrap()));
            let mut expected = ranges.iter();
            let mut whole: Option<Range> = None;
            for part in divided {
                prop_assert!(part.start < part.end && (part.end - part.start) as u64 <= offsets_max);
                match &mut whole {
                    Some(whole) if whole.partition == part.partition => {
                        prop_assert_eq!(whole.end, part.start);
                        whole.end = part.end;
                    }
                    _ => {
                        if let Some(whole) = whole.replace(part) {
                            prop_assert_eq!(Some(&whole), expected.next());
                        }
                    }
                }
            }
            prop_assert_eq!(whole.as_ref(), expected.next());
            prop_assert!(expected.next().is_none());
        }
    }

    #[test]
    fn the_largest_range_is_divided_first() {
        let divided = split(vec![range(0, 0, 10), range(1, 0, 1000)], 3, u64::MAX);
        assert_eq!(divided, [range(0, 0, 10), range(1, 0, 500), range(1, 500, 1000)]);
    }
}
