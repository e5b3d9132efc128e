//! What statistics of windows look like as columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, TimestampNanosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::{DataFusionError, Result};

use super::extremes::Extremes;
use super::points::{time_column, time_type};
use crate::model::{Stat, Timestamp};

/// A column made of the statistics of a window, or of its first and last point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StatColumn {
    Start,
    /// What streams are grouped by, in this place.
    Key(usize),
    Count,
    Min,
    Max,
    Mean,
    Sum,
    StddevPopulation,
    StddevSample,
    VariancePopulation,
    VarianceSample,
    FirstTime,
    FirstValue,
    LastTime,
    LastValue,
}

impl StatColumn {
    /// The columns of `windows` and `aligned_windows`.
    pub(super) const OF_WINDOWS: [Self; 6] = [
        Self::Start,
        Self::Min,
        Self::Mean,
        Self::Max,
        Self::Count,
        Self::StddevPopulation,
    ];

    /// The schema of `windows` and `aligned_windows`: a window that is there has points, so nothing is null.
    pub(super) fn windows_schema() -> SchemaRef {
        let names = ["time", "min", "mean", "max", "count", "stddev"];
        let fields = names
            .iter()
            .zip(Self::OF_WINDOWS)
            .filter_map(|(name, column)| Some(Field::new(*name, column.data_type()?, false)));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// Its type; that of a key is its own.
    pub(super) fn data_type(self) -> Option<DataType> {
        match self {
            Self::Key(_) => None,
            Self::Start | Self::FirstTime | Self::LastTime => Some(time_type()),
            Self::Count => Some(DataType::Int64),
            _ => Some(DataType::Float64),
        }
    }

    /// Whether it takes the first or last point, and not statistics.
    pub(super) fn is_extreme(self) -> bool {
        matches!(
            self,
            Self::FirstTime | Self::FirstValue | Self::LastTime | Self::LastValue
        )
    }

    pub(super) fn is_stat(self) -> bool {
        !self.is_extreme() && !matches!(self, Self::Start | Self::Key(_))
    }

    /// The column over `rows`. Without points there is a count of 0, and nothing else.
    pub(super) fn column(self, rows: &[Row]) -> Result<ArrayRef> {
        let value = match self {
            Self::Start => {
                let times = rows.iter().map(|row| row.start);
                return Ok(time_column(TimestampNanosecondArray::from_iter_values(
                    times,
                )));
            }
            Self::Key(_) => {
                return Err(DataFusionError::Internal(
                    "a key is no statistic".to_owned(),
                ));
            }
            Self::Count => {
                return Ok(Arc::new(Int64Array::from_iter_values(
                    rows.iter().map(|row| row.stat.count as i64),
                )));
            }
            Self::FirstTime | Self::LastTime => {
                let times = rows.iter().map(|row| match self {
                    Self::FirstTime => row.extremes.first.map(|point| point.time),
                    _ => row.extremes.last.map(|point| point.time),
                });
                return Ok(time_column(times.collect::<TimestampNanosecondArray>()));
            }
            Self::FirstValue | Self::LastValue => {
                let values = rows.iter().map(|row| match self {
                    Self::FirstValue => row.extremes.first.map(|point| point.value),
                    _ => row.extremes.last.map(|point| point.value),
                });
                return Ok(Arc::new(values.collect::<Float64Array>()));
            }
            Self::Min => |stat: &Stat| Some(stat.min),
            Self::Max => |stat: &Stat| Some(stat.max),
            // Rounding may carry a mean beyond the values it is of.
            Self::Mean => |stat: &Stat| Some(stat.mean.max(stat.min).min(stat.max)),
            Self::Sum => |stat: &Stat| Some(stat.total()),
            Self::StddevPopulation => |stat: &Stat| Some(stat.stddev()),
            Self::VariancePopulation => |stat: &Stat| Some(stat.variance_population()),
            Self::StddevSample => |stat: &Stat| stat.variance_sample().map(f64::sqrt),
            Self::VarianceSample => Stat::variance_sample,
        };
        let values = rows.iter().map(|row| match row.stat.count {
            0 => None,
            _ => value(&row.stat),
        });
        Ok(Arc::new(values.collect::<Float64Array>()))
    }
}

/// A window of one stream, or of several together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Row {
    pub(super) start: Timestamp,
    pub(super) stat: Stat,
    pub(super) extremes: Extremes,
}

impl Row {
    /// Whether there is a point in it.
    pub(super) fn is_found(&self) -> bool {
        self.stat.count > 0 || self.extremes.first.is_some() || self.extremes.last.is_some()
    }

    pub(super) fn merge(&mut self, start: Timestamp, other: &Self) {
        self.start = start;
        self.stat.merge(&other.stat);
        self.extremes.merge(&other.extremes);
    }
}
