//! Sets of positive numbers as sorted, disjoint, non-adjacent closed ranges: the arithmetic under both flavours of GTID set.
//! In: ranges and other sets. Out: sets. Every operation is linear in the number of ranges, never in the numbers covered,
//! since one range may stand for billions of transactions.

use std::fmt;

/// The largest number that a server gives out: MySQL reserves `2^63 - 1` itself, and no server reaches the end of `MariaDB`'s
/// unsigned range, so one bound serves both and additions cannot overflow.
pub const NUMBER_MAX: u64 = i64::MAX as u64 - 1;

/// A closed range of transaction numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    /// The first number in the range, at least 1.
    pub first: u64,
    /// The last number in the range, at least `first`.
    pub last: u64,
}

impl Range {
    /// The range from `first` to `last`, or `None` if it is empty, starts below 1 or ends above [`NUMBER_MAX`].
    pub fn new(first: u64, last: u64) -> Option<Self> {
        (first >= 1 && first <= last && last <= NUMBER_MAX).then_some(Self { first, last })
    }

    /// How many numbers the range covers.
    pub fn count(self) -> u64 {
        self.last - self.first + 1
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

/// A set of transaction numbers. Two sets are equal exactly when they cover the same numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Intervals(Vec<Range>);

impl Intervals {
    /// The set of the numbers in any of `ranges`, which may overlap and come in any order.
    pub fn of(mut ranges: Vec<Range>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<Range> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match merged.last_mut() {
                Some(before) if range.first <= before.last + 1 => before.last = before.last.max(range.last),
                _ => merged.push(range),
            }
        }
        Self(merged)
    }

    /// The ranges, ascending, disjoint and never adjacent.
    pub fn ranges(&self) -> &[Range] {
        &self.0
    }

    /// Whether no number is in the set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many numbers are in the set. It cannot overflow, since all numbers lie below `2^63`.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|range| range.count()).sum()
    }

    /// The largest number in the set.
    pub fn last(&self) -> Option<u64> {
        self.0.last().map(|range| range.last)
    }

    /// Whether `number` is in the set.
    pub fn contains(&self, number: u64) -> bool {
        let after = self.0.partition_point(|range| range.first <= number);
        after > 0 && self.0[after - 1].last >= number
    }

    /// The numbers in either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::of(self.0.iter().chain(&other.0).copied().collect())
    }

    /// The numbers in this set that are not in `other`.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        let mut left = Vec::with_capacity(self.0.len());
        let mut holes = other.0.as_slice();
        for range in &self.0 {
            // Holes that end before this range cannot touch a later one either.
            holes = &holes[holes.partition_point(|hole| hole.last < range.first)..];
            let mut first = range.first;
            for hole in holes.iter().take_while(|hole| hole.first <= range.last) {
                left.extend(Range::new(first, hole.first - 1));
                first = hole.last + 1;
            }
            left.extend(Range::new(first, range.last));
        }
        Self(left)
    }

    /// Whether every number of this set is in `other`.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.0.iter().all(|range| {
            let after = other.0.partition_point(|hull| hull.first <= range.first);
            after > 0 && other.0[after - 1].last >= range.last
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    use super::*;

    fn any_intervals() -> impl Strategy<Value = Intervals> {
        prop::collection::vec((1_u64..60, 0_u64..8), 0..12).prop_map(|ranges| {
            Intervals::of(ranges.into_iter().filter_map(|(first, more)| Range::new(first, first + more)).collect())
        })
    }

    /// The same set, number by number: the slow model that the ranges are held to.
    fn numbers(set: &Intervals) -> BTreeSet<u64> {
        set.ranges().iter().flat_map(|range| range.first..=range.last).collect()
    }

    proptest! {
        #[test]
        fn ranges_behave_as_sets_of_numbers(a in any_intervals(), b in any_intervals(), n in 1_u64..70) {
            let (x, y) = (numbers(&a), numbers(&b));
            prop_assert_eq!(numbers(&a.union(&b)), x.union(&y).copied().collect::<BTreeSet<_>>());
            prop_assert_eq!(numbers(&a.subtract(&b)), x.difference(&y).copied().collect::<BTreeSet<_>>());
            prop_assert_eq!(a.is_subset(&b), x.is_subset(&y));
            prop_assert_eq!(a.contains(n), x.contains(&n));
            prop_assert_eq!(a.count(), x.len() as u64);
            prop_assert_eq!(a.last(), x.last().copied());
        }

        #[test]
        fn equal_sets_have_equal_ranges(a in any_intervals(), b in any_intervals()) {
            prop_assert_eq!(a == b, numbers(&a) == numbers(&b));
            prop_assert_eq!(a.subtract(&b).union(&b), a.union(&b));
        }
    }

    #[test]
    fn the_ends_of_the_number_range_do_not_overflow() {
        let all = Intervals::of(vec![Range::new(1, NUMBER_MAX).unwrap()]);
        let end = Intervals::of(vec![Range::new(NUMBER_MAX, NUMBER_MAX).unwrap()]);
        assert_eq!(all.subtract(&end).last(), Some(NUMBER_MAX - 1));
        assert_eq!(all.union(&end), all);
        assert!(all.subtract(&all).is_empty());
        assert_eq!(Range::new(1, NUMBER_MAX + 1), None);
        assert_eq!(Range::new(0, 4), None);
        assert_eq!(Range::new(5, 4), None);
    }
}
