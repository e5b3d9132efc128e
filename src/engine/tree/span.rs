//! Where in time a node lies.

use crate::model::TimeRange;
use crate::model::time::{MAX_TIME, MIN_TIME};

/// The part of time that a node covers: a level of the tree and a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: i64,
    level: u8,
}

/// The level whose nodes are 4 ns wide and always leaves.
const LEVEL_MAX: u8 = 11;

impl Span {
    /// All of time.
    pub(crate) const ROOT: Self = Self {
        start: MIN_TIME,
        level: 1,
    };

    /// The span of an inner node, if there is one with this start and level.
    pub(crate) fn checked(start: i64, level: u8) -> Option<Self> {
        let span = Self { start, level };
        let aligned = || {
            let width = 1_i64 << (62 - 6 * (u32::from(level) - 1));
            (start.wrapping_sub(MIN_TIME)) & (width - 1) == 0
        };
        let known = (1..LEVEL_MAX).contains(&level) && (MIN_TIME..MAX_TIME).contains(&start);
        (known && aligned()).then_some(span)
    }

    /// 1 for the root, one more with each step down.
    pub(crate) fn level(self) -> u8 {
        self.level
    }

    /// Whether nodes here can only be leaves.
    pub(crate) fn is_bottom(self) -> bool {
        self.level == LEVEL_MAX
    }

    /// The width of a slot is two to this power: 56 in the root, 2 at level 10.
    pub(crate) fn slot_exponent(self) -> u32 {
        56 - 6 * (u32::from(self.level) - 1)
    }

    /// First nanosecond behind the span.
    pub(crate) fn end(self) -> i64 {
        self.start + (1 << (62 - 6 * (u32::from(self.level) - 1)))
    }

    pub(crate) fn range(self) -> TimeRange {
        TimeRange::new(self.start, self.end())
    }

    /// The slot that `time` falls in; times outside fall in the nearest one.
    pub(crate) fn slot_of(self, time: i64) -> usize {
        ((time.saturating_sub(self.start)) >> self.slot_exponent()).clamp(0, 63) as usize
    }

    /// The part of the span that a slot covers.
    pub(crate) fn child(self, slot: usize) -> Self {
        assert!(slot < 64 && !self.is_bottom(), "slot {slot} of {self:?}");
        Self {
            start: self.start + ((slot as i64) << self.slot_exponent()),
            level: self.level + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::MAX_POINT_TIME;

    #[test]
    fn time_zero_starts_slot_sixteen_of_the_root() {
        assert_eq!(Span::ROOT.end(), MAX_TIME);
        assert_eq!(Span::ROOT.slot_of(0), 16);
        assert_eq!(Span::ROOT.child(16).start, 0);
    }

    #[test]
    fn ten_descents_reach_four_nanoseconds() {
        for time in [MIN_TIME, -1, 0, 12_345_678_901_234_567, MAX_POINT_TIME] {
            let mut span = Span::ROOT;
            while !span.is_bottom() {
                assert!(span.range().contains(time), "{time} in {span:?}");
                span = span.child(span.slot_of(time));
            }
            assert!(span.range().contains(time) && span.end() - span.start == 4);
        }
    }
}
