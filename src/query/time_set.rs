//! Sets of times, which is what predicates on time come to.

use crate::model::time::{MAX_TIME, MIN_TIME};
use crate::model::{Cuts, TimeRange, Timestamp};

/// A set of times: closed intervals, ascending, disjoint, not adjacent.
///
/// Closed, because the last representable nanosecond has no successor to name as an exclusive end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TimeSet(Vec<(Timestamp, Timestamp)>);

impl TimeSet {
    /// Every time.
    pub(super) fn all() -> Self {
        Self(vec![(i64::MIN, i64::MAX)])
    }

    /// No time.
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    /// The times from `first` to `last`, both inside, as far as they can be told.
    pub(super) fn between(first: i128, last: i128) -> Self {
        let first = first.max(i64::MIN.into());
        let last = last.min(i64::MAX.into());
        if first > last {
            return Self::none();
        }
        Self(vec![(first as i64, last as i64)])
    }

    /// These times.
    pub(super) fn at(times: impl IntoIterator<Item = Timestamp>) -> Self {
        Self::of(times.into_iter().map(|time| (time, time)).collect())
    }

    /// The times in these ranges.
    pub(super) fn of_ranges(ranges: &[TimeRange]) -> Self {
        let ranges = ranges.iter().filter(|range| !range.is_empty());
        Self::of(ranges.map(|range| (range.start, range.end - 1)).collect())
    }

    /// The times in both.
    #[must_use]
    pub(super) fn intersect(&self, other: &Self) -> Self {
        let (mut left, mut right) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut shared = Vec::new();
        while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
            let (first, last) = (a.0.max(b.0), a.1.min(b.1));
            if first <= last {
                shared.push((first, last));
            }
            if a.1 < b.1 {
                left.next();
            } else {
                right.next();
            }
        }
        Self(shared)
    }

    /// The times in either.
    #[must_use]
    pub(super) fn union(&self, other: &Self) -> Self {
        Self::of(self.0.iter().chain(&other.0).copied().collect())
    }

    /// The times in any of them.
    pub(super) fn union_of(sets: Vec<Self>) -> Self {
        Self::of(sets.into_iter().flat_map(|set| set.0).collect())
    }

    /// The times that are not in it.
    #[must_use]
    pub(super) fn complement(&self) -> Self {
        let mut rest = Vec::with_capacity(self.0.len() + 1);
        let mut next = Some(i64::MIN);
        for &(first, last) in &self.0 {
            if let Some(start) = next.filter(|start| *start < first) {
                rest.push((start, first - 1));
            }
            next = last.checked_add(1);
        }
        rest.extend(next.map(|start| (start, i64::MAX)));
        Self(rest)
    }

    fn of(mut all: Vec<(Timestamp, Timestamp)>) -> Self {
        all.sort_unstable();
        let mut merged: Vec<(i64, i64)> = Vec::with_capacity(all.len());
        for (first, last) in all {
            match merged.last_mut() {
                Some(previous) if first <= previous.1.saturating_add(1) => {
                    previous.1 = previous.1.max(last);
                }
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    /// What the windows that start in it cover: whole windows, because a condition on the start never changes what is in a
    /// window.
    #[must_use]
    pub(super) fn windows(&self, cuts: &Cuts) -> Self {
        let starts = self.0.iter().map(|&(first, last)| {
            let (start, end) = (
                first_start(cuts, first.into()),
                first_start(cuts, i128::from(last) + 1),
            );
            Self::between(start, end - 1)
        });
        Self::of(starts.flat_map(|set| set.0).collect())
    }

    /// As closed intervals.
    #[cfg(test)]
    pub(super) fn intervals(&self) -> &[(Timestamp, Timestamp)] {
        &self.0
    }

    /// The part inside BTrDB's time, as ranges for the backend: ascending, disjoint, none of them empty.
    pub(super) fn ranges(&self) -> Vec<TimeRange> {
        self.0
            .iter()
            .map(|&(first, last)| {
                TimeRange::new(
                    first.max(MIN_TIME),
                    last.min(MAX_TIME - 1).saturating_add(1),
                )
            })
            .filter(|range| !range.is_empty())
            .collect()
    }
}

/// The start of the first bin that starts at `time` or later; behind all of time if there is none.
pub(super) fn first_start(bins: &Cuts, time: i128) -> i128 {
    match bins {
        Cuts::Every { origin, width } => {
            let (origin, width) = (i128::from(*origin), i128::from(*width));
            origin + (time - origin + width - 1).div_euclid(width) * width
        }
        Cuts::At(cuts) => {
            let at = cuts.partition_point(|&cut| i128::from(cut) < time);
            cuts.get(at)
                .map_or(i128::from(i64::MAX) + 1, |&cut| cut.into())
        }
    }
}
