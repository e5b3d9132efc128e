//! Windows of time: a grid of equal widths, or any sorted cut points.

use std::fmt;
use std::sync::Arc;

use super::time::{TimeRange, Timestamp};
use crate::error::{Code, Error, Result};

/// The width of an aligned window, as the exponent of a power of two: 30 is 2^30 ns, a little over a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PointWidth(u8);

impl PointWidth {
    /// From an exponent between 0 and 63.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) with BTrDB code 415 beyond 63.
    pub fn new(exponent: u64) -> Result<Self> {
        match u8::try_from(exponent) {
            Ok(exponent) if exponent <= 63 => Ok(Self(exponent)),
            _ => Err(Error::invalid(format!(
                "pointwidth invalid: {exponent} is not between 0 and 63"
            ))
            .with_code(Code::InvalidPointWidth)),
        }
    }

    /// The exponent.
    pub fn exponent(self) -> u8 {
        self.0
    }

    /// The width in nanoseconds, up to 2^63.
    pub fn width(self) -> u64 {
        1 << self.0
    }

    /// `range` with both ends moved down to multiples of the width, as BTrDB's aligned windows do: the first window may
    /// begin before the range, and a partial one at its end is dropped.
    #[must_use]
    pub fn align(self, range: TimeRange) -> TimeRange {
        let mask = (-1_i64).checked_shl(u32::from(self.0)).unwrap_or(0);
        TimeRange::new(range.start & mask, range.end & mask)
    }
}

/// Where one window ends and the next begins.
///
/// Windows are half-open. A window is named by its start on the grid, even where the range of a query begins inside it.
#[derive(Clone, PartialEq, Eq)]
pub enum Cuts {
    /// `[origin + k * width, origin + (k + 1) * width)` for every whole k.
    Every {
        /// A start of some window.
        origin: Timestamp,
        /// Nanoseconds, 1 to 2^63.
        width: u64,
    },
    /// `[t0, t1), [t1, t2), ...`: strictly ascending, at least two.
    At(Arc<[Timestamp]>),
}

impl Cuts {
    /// One window that covers `range`.
    pub fn whole(range: TimeRange) -> Self {
        Self::At(Arc::from([range.start, range.end]))
    }

    /// Refuses grids that name no windows.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) with BTrDB code 415 for a width of 0 or beyond 2^63, or for
    /// cut points that are not strictly ascending; with 413 where a window of `range` would start before the first
    /// representable nanosecond.
    pub fn check(&self, range: TimeRange) -> Result<()> {
        match self {
            Self::Every { width, .. } if *width == 0 || *width > 1 << 63 => Err(Error::invalid(
                format!("window width {width} ns is not between 1 and 2^63"),
            )
            .with_code(Code::InvalidPointWidth)),
            Self::Every { .. } if self.wide_window_of(range.start).0 < i128::from(i64::MIN) => {
                Err(Error::invalid(format!(
                    "the window of {} ns in {self} starts before time can be told",
                    range.start
                ))
                .with_code(Code::InvalidTimeRange))
            }
            Self::At(cuts) if cuts.len() < 2 || cuts.windows(2).any(|pair| pair[0] >= pair[1]) => {
                Err(
                    Error::invalid("cut points must be strictly ascending, and at least two")
                        .with_code(Code::InvalidPointWidth),
                )
            }
            _ => Ok(()),
        }
    }

    /// The window that `time` lies in, its ends clamped to what can be told; none outside the first and last cut point.
    pub fn window_of(&self, time: Timestamp) -> Option<TimeRange> {
        match self {
            Self::Every { origin, width } => {
                // Division of 64 bits where it will do: this is asked once a window.
                if let (Some(offset), Ok(width)) =
                    (time.checked_sub(*origin), i64::try_from(*width))
                {
                    let start = time.checked_sub(offset.rem_euclid(width));
                    if let Some((start, end)) =
                        start.and_then(|start| Some((start, start.checked_add(width)?)))
                    {
                        return Some(TimeRange::new(start, end));
                    }
                }
                let (start, end) = self.wide_window_of(time);
                let clamp = |t: i128| t.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
                Some(TimeRange::new(clamp(start), clamp(end)))
            }
            Self::At(cuts) => {
                let after = cuts.partition_point(|&cut| cut <= time);
                (after > 0 && after < cuts.len())
                    .then(|| TimeRange::new(cuts[after - 1], cuts[after]))
            }
        }
    }

    /// The same where times are asked for in ascending order and `before` is the window of the last one: on a grid most times
    /// lie in the window behind it, which is found without a division.
    #[inline]
    pub fn window_behind(&self, before: TimeRange, time: Timestamp) -> Option<TimeRange> {
        if let Self::Every { width, .. } = self
            && let Some(end) = before.end.checked_add_unsigned(*width)
            && before.end <= time
            && time < end
        {
            return Some(TimeRange::new(before.end, end));
        }
        self.window_of(time)
    }

    /// The part of `range` that lies in some window.
    #[must_use]
    pub fn clip(&self, range: TimeRange) -> TimeRange {
        match self {
            Self::Every { .. } => range,
            Self::At(cuts) => match (cuts.first(), cuts.last()) {
                (Some(&first), Some(&last)) => range.intersect(TimeRange::new(first, last)),
                _ => TimeRange::new(range.start, range.start),
            },
        }
    }

    /// Both ends of the window of `time` on an endless axis.
    fn wide_window_of(&self, time: Timestamp) -> (i128, i128) {
        match self {
            Self::Every { origin, width } => {
                let (origin, width) = (i128::from(*origin), i128::from(*width));
                let start = origin + (i128::from(time) - origin).div_euclid(width) * width;
                (start, start + width)
            }
            Self::At(_) => (i128::from(time), i128::from(time) + 1),
        }
    }
}

/// Nanoseconds for people, in the largest unit that has a whole number of them.
pub(crate) struct Span(pub(crate) u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 6] = [
            (86_400_000_000_000, "day"),
            (3_600_000_000_000, "hour"),
            (60_000_000_000, "minute"),
            (1_000_000_000, "second"),
            (1_000_000, "millisecond"),
            (1_000, "microsecond"),
        ];
        let unit = UNITS
            .iter()
            .find(|(nanos, _)| self.0 > 0 && self.0.is_multiple_of(*nanos));
        match unit {
            Some((nanos, name)) if self.0 == *nanos => write!(f, "1 {name}"),
            Some((nanos, name)) => write!(f, "{} {name}s", self.0 / nanos),
            None => write!(f, "{} ns", self.0),
        }
    }
}

impl fmt::Display for Cuts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every { origin: 0, width } => write!(f, "every {}", Span(*width)),
            Self::Every { origin, width } => write!(f, "every {} from {origin}", Span(*width)),
            Self::At(cuts) => write!(f, "{} windows", cuts.len().saturating_sub(1)),
        }
    }
}

impl fmt::Debug for Cuts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every { .. } => write!(f, "{self}"),
            Self::At(cuts) => write!(f, "at {cuts:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::{MAX_TIME, MIN_TIME};

    #[test]
    fn aligning_floors_negative_times_too() {
        let width = PointWidth::new(3).expect("in bounds");
        assert_eq!(
            width.align(TimeRange::new(-1, 121)),
            TimeRange::new(-8, 120)
        );
        let widest = PointWidth::new(63).expect("in bounds");
        assert_eq!(
            widest.align(TimeRange::new(MIN_TIME, MAX_TIME)),
            TimeRange::new(i64::MIN, 0)
        );
        assert_eq!(
            PointWidth::new(64).expect_err("too wide").code(),
            Some(Code::InvalidPointWidth)
        );
    }

    #[test]
    fn grids_reach_before_their_origin() {
        let cuts = Cuts::Every {
            origin: 5,
            width: 10,
        };
        assert_eq!(cuts.window_of(4), Some(TimeRange::new(-5, 5)));
        assert_eq!(cuts.window_of(5), Some(TimeRange::new(5, 15)));
    }

    #[test]
    fn the_window_behind_is_the_window_of_its_times() {
        let grids =
            [1, 7, 10, 1 << 40, 1 << 62, 1 << 63].map(|width| Cuts::Every { origin: 5, width });
        let points = Cuts::At(Arc::from([MIN_TIME, -3, 0, 4, 25, MAX_TIME]));
        for cuts in grids.into_iter().chain([points]) {
            let times = [
                MIN_TIME,
                -11,
                -5,
                -4,
                -1,
                0,
                4,
                5,
                11,
                12,
                15,
                26,
                1 << 50,
                MAX_TIME - 1,
            ];
            for (place, &before) in times.iter().enumerate() {
                let Some(before) = cuts.window_of(before) else {
                    continue;
                };
                for &time in &times[place..] {
                    assert_eq!(
                        cuts.window_behind(before, time),
                        cuts.window_of(time),
                        "{time} in {cuts}"
                    );
                }
            }
        }
    }

    #[test]
    fn cut_points_leave_the_outside_alone() {
        let cuts = Cuts::At(Arc::from([0, 10, 15]));
        assert_eq!(cuts.window_of(-1), None);
        assert_eq!(cuts.window_of(14), Some(TimeRange::new(10, 15)));
        assert_eq!(cuts.window_of(15), None);
        assert_eq!(cuts.clip(TimeRange::new(-5, 12)), TimeRange::new(0, 12));
    }

    #[test]
    fn senseless_grids_are_refused() {
        let range = TimeRange::ALL;
        for cuts in [
            Cuts::Every {
                origin: 0,
                width: 0,
            },
            Cuts::Every {
                origin: 0,
                width: u64::MAX,
            },
            Cuts::Every {
                origin: MIN_TIME + 1,
                width: 1 << 63,
            },
            Cuts::At(Arc::from([1])),
            Cuts::At(Arc::from([1, 1])),
        ] {
            cuts.check(range).expect_err("must be refused");
        }
        Cuts::Every {
            origin: 0,
            width: 1 << 63,
        }
        .check(range)
        .expect("aligned at the epoch");
    }
}
