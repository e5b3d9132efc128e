//! Points and statistics in columns, as reads deliver them.

use arrow::buffer::ScalarBuffer;

use super::stat::Stat;
use super::stream::Version;
use super::time::{MAX_POINT_TIME, MIN_TIME, Timestamp};
use crate::error::{Code, Error, Result};

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// When.
    pub time: Timestamp,
    /// What.
    pub value: f64,
}

/// Points of one stream in two columns of equal length.
///
/// The buffers are Arrow's: cloning and slicing share memory, and becoming a record batch is a move.
#[derive(Clone, Debug)]
pub struct PointBatch {
    /// Position of the stream in the query that asked.
    pub stream: usize,
    /// The version that was read.
    pub version: Version,
    /// Times, in the direction asked for.
    pub times: ScalarBuffer<i64>,
    /// Values, beside their times.
    pub values: ScalarBuffer<f64>,
}

impl PointBatch {
    /// How many points.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }
}

/// Statistics of one stream's windows, in columns of equal length, ascending by `times`.
///
/// Only windows that hold points appear.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StatBatch {
    /// Position of the stream in the query that asked.
    pub stream: usize,
    /// The version that was read.
    pub version: Version,
    /// Starts of the windows, on the grid asked for, not clipped to the range.
    pub times: Vec<Timestamp>,
    /// One statistic a window.
    pub stats: Vec<Stat>,
}

/// Refuses points that BTrDB does not store: NaN, infinities, and times outside its domain.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) with code 413 or 425, naming the first offender by its row.
pub fn check_points(times: &[Timestamp], values: &[f64]) -> Result<()> {
    if times.len() != values.len() {
        return Err(
            Error::invalid(format!("{} times but {} values", times.len(), values.len()))
                .with_code(Code::InvalidParameter),
        );
    }
    if let Some(row) = times
        .iter()
        .position(|time| !(MIN_TIME..=MAX_POINT_TIME).contains(time))
    {
        return Err(Error::invalid(format!(
            "insert contains points outside valid time interval: row {row} has time {} ns, valid are {MIN_TIME} to \
             {MAX_POINT_TIME} (1933-06-20 to 2079-08-08)",
            times[row]
        ))
        .with_code(Code::InvalidTimeRange));
    }
    if let Some(row) = values.iter().position(|value| !value.is_finite()) {
        let what = if values[row].is_nan() { "NaN" } else { "Inf" };
        return Err(Error::invalid(format!(
            "insert contains {what} values: row {row}, time {}",
            times[row]
        ))
        .with_code(Code::BadValue));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unstorable_points_are_named_by_row() {
        let error = check_points(&[1, 2], &[0.0, f64::NAN]).expect_err("NaN");
        assert_eq!(error.code(), Some(Code::BadValue));
        assert!(error.message().contains("row 1"), "{error}");
        assert_eq!(
            check_points(&[1], &[f64::INFINITY])
                .expect_err("Inf")
                .code(),
            Some(Code::BadValue)
        );
        for time in [MIN_TIME - 1, MAX_POINT_TIME + 1] {
            assert_eq!(
                check_points(&[time], &[0.0]).expect_err("time").code(),
                Some(Code::InvalidTimeRange)
            );
        }
        check_points(
            &[MIN_TIME, MAX_POINT_TIME],
            &[-0.0, f64::MIN_POSITIVE / 2.0],
        )
        .expect("the ends are storable");
    }
}
