//! Time as BTrDB keeps it: signed nanoseconds since 1970 UTC, between two fixed ends.
//!
//! The root of every tree spans [`MIN_TIME`] to [`MAX_TIME`], half-open, exactly 2^62 ns (June 1933 to August 2079).

use std::fmt;

use crate::error::{Code, Error, Result};

/// Nanoseconds since 1970-01-01T00:00:00Z.
pub type Timestamp = i64;

/// The first nanosecond that can hold a point: -2^60.
pub const MIN_TIME: Timestamp = -(1 << 60);

/// The end (exclusive) of time: 3 * 2^60.
pub const MAX_TIME: Timestamp = 3 << 60;

/// The last nanosecond that can hold a point.
///
/// The very last one of the domain is refused, as BTrDB refuses it: no range with BTrDB's `MAXIMUM_TIME` as its
/// exclusive end could return it.
pub const MAX_POINT_TIME: Timestamp = MAX_TIME - 2;

/// A half-open span of time: `start` belongs to it, `end` does not.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeRange {
    /// First nanosecond inside.
    pub start: Timestamp,
    /// First nanosecond behind it.
    pub end: Timestamp,
}

impl TimeRange {
    /// All of BTrDB's time.
    pub const ALL: Self = Self {
        start: MIN_TIME,
        end: MAX_TIME,
    };

    /// `[start, end)`, whatever the two are; a range whose end is not behind its start is empty.
    pub const fn new(start: Timestamp, end: Timestamp) -> Self {
        Self { start, end }
    }

    /// `[start, end)` for a request that names both.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) with BTrDB code 413 if the range is empty, reversed, or
    /// reaches outside [`MIN_TIME`] to [`MAX_TIME`].
    pub fn checked(start: Timestamp, end: Timestamp) -> Result<Self> {
        if start >= end {
            return Err(
                Error::invalid(format!("start time >= end time: {start} >= {end}"))
                    .with_code(Code::InvalidTimeRange),
            );
        }
        if start < MIN_TIME || end > MAX_TIME {
            return Err(Error::invalid(format!(
                "time range out of bounds: [{start}, {end}) is not inside [{MIN_TIME}, {MAX_TIME})"
            ))
            .with_code(Code::InvalidTimeRange));
        }
        Ok(Self { start, end })
    }

    /// Refuses ranges of a request that [`checked`](Self::checked) refuses one by one, or that are not ascending and disjoint.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) with BTrDB code 413.
    pub fn check_all(ranges: &[Self]) -> Result<()> {
        for range in ranges {
            Self::checked(range.start, range.end)?;
        }
        match ranges.windows(2).find(|pair| pair[0].end > pair[1].start) {
            None => Ok(()),
            Some(pair) => Err(Error::invalid(format!(
                "time ranges are not ascending and disjoint: {:?} before {:?}",
                pair[0], pair[1]
            ))
            .with_code(Code::InvalidTimeRange)),
        }
    }

    /// Whether nothing can lie inside.
    pub const fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    /// Whether `time` lies inside.
    pub const fn contains(&self, time: Timestamp) -> bool {
        self.start <= time && time < self.end
    }

    /// The part that both ranges share; empty if they share none.
    #[must_use]
    pub fn intersect(&self, other: Self) -> Self {
        Self {
            start: self.start.max(other.start),
            end: self.end.min(other.end),
        }
    }

    /// Whether the whole of `other` lies inside.
    pub const fn covers(&self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }
}

impl fmt::Display for TimeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", Instant(self.start), Instant(self.end))
    }
}

impl fmt::Debug for TimeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.start, self.end)
    }
}

/// A timestamp for people: RFC 3339 in UTC, with as many digits of the second as it takes, `-inf` and `+inf` at the ends.
#[derive(Clone, Copy, Debug)]
pub struct Instant(pub Timestamp);

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 <= MIN_TIME {
            return f.write_str("-inf");
        }
        if self.0 >= MAX_POINT_TIME {
            return f.write_str("+inf");
        }
        let time = chrono::DateTime::from_timestamp_nanos(self.0);
        f.write_str(&time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reversed_and_outlying_ranges_are_refused() {
        for (start, end) in [(5, 5), (6, 5), (MIN_TIME - 1, 0), (0, MAX_TIME + 1)] {
            let error = TimeRange::checked(start, end).expect_err("must be refused");
            assert_eq!(error.code(), Some(Code::InvalidTimeRange));
        }
        assert_eq!(
            TimeRange::checked(MIN_TIME, MAX_TIME).expect("the whole domain"),
            TimeRange::ALL
        );
    }

    #[test]
    fn ranges_print_as_people_write_them() {
        assert_eq!(
            TimeRange::new(0, 1_500_000_000).to_string(),
            "[1970-01-01T00:00:00Z, 1970-01-01T00:00:01.500Z)"
        );
        assert_eq!(TimeRange::ALL.to_string(), "[-inf, +inf)");
    }
}
